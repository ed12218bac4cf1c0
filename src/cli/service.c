// SPDX-License-Identifier: Apache-2.0
#include "cli/service.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* One datagram to a socket in the file system, or in the abstract name space when the name begins with '@'.
 * A manager that is not there to hear it is no reason to do anything else. */
static void tell(const char *text)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t len = name ? strlen(name) : 0;
    if (len < 2 || len >= sizeof a.sun_path || (*name != '/' && *name != '@'))
        return;
    memcpy(a.sun_path, name, len);
    if (*name == '@')
        a.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&a,
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    close(fd);
}

void pc_service_ready(void)
{
    tell("READY=1\nSTATUS=answering");
}

void pc_service_reloading(void)
{
    char text[128];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=reloading",
        (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    tell(text);
}

void pc_service_stopping(void)
{
    tell("STOPPING=1\nSTATUS=finishing what is under way");
}
