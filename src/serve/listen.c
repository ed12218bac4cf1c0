// SPDX-License-Identifier: Apache-2.0
#include "serve/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

const char *pc_listen_path(const char *host)
{
    static const char scheme[] = "unix:";
    return strncmp(host, scheme, sizeof scheme - 1) == 0 ? host + sizeof scheme - 1 : NULL;
}

static int refuse_address(const char *host, int port, int cause, struct paco_error *err)
{
    if (cause == EADDRINUSE)
        return pc_error_set(err, PACO_EEXIST,
            "%s port %d is in use by another program (is a server running already? --port chooses another)",
            host, port);
    if (cause == EACCES)
        return pc_error_set(err, PACO_EIO,
            "%s port %d: permission denied (ports below 1024 are the system's; --port chooses another)", host,
            port);
    if (cause == EADDRNOTAVAIL)
        return pc_error_set(err, PACO_EINVAL, "%s is no address of this machine", host);
    return pc_error_os(err, cause, "%s port %d", host, port);
}

static int listen_at(const struct addrinfo *a, int *cause)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol), on = 1;
    *cause = errno;
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    *cause = errno;
    close(fd);
    return -1;
}

static int port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &size) < 0)
        return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
}

static int listen_tcp(const char *host, int *port, int *fd, struct paco_error *err)
{
    char service[16];
    snprintf(service, sizeof service, "%d", *port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list;
    int rc = getaddrinfo(host, service, &hints, &list), cause = 0;
    if (rc != 0)
        return pc_error_set(err, PACO_EINVAL, "--host %s: %s", host, gai_strerror(rc));
    *fd = -1;
    for (const struct addrinfo *a = list; a && *fd < 0; a = a->ai_next)
        *fd = listen_at(a, &cause);
    freeaddrinfo(list);
    if (*fd < 0)
        return refuse_address(host, *port, cause, err);
    *port = port_of(*fd);
    return 0;
}

/* A socket at path that nobody answers at is what a killed server left behind. */
static int clear_path(const struct sockaddr_un *a, struct paco_error *err)
{
    struct stat st;
    if (lstat(a->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : pc_error_os(err, errno, "%s", a->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return pc_error_set(err, PACO_EEXIST, "%s is there already, and no socket", a->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool answers = fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof *a) == 0;
    if (fd >= 0)
        close(fd);
    if (answers)
        return pc_error_set(err, PACO_EEXIST, "a server is listening at %s already", a->sun_path);
    return unlink(a->sun_path) < 0 ? pc_error_os(err, errno, "%s", a->sun_path) : 0;
}

static int listen_unix(const char *path, int *fd, struct paco_error *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof a.sun_path)
        return pc_error_set(err, PACO_EINVAL, "a socket's path has 1 to %zu bytes, this one %zu",
            sizeof a.sun_path - 1, strlen(path));
    memcpy(a.sun_path, path, strlen(path) + 1);
    int rc = clear_path(&a, err);
    if (rc < 0)
        return rc;
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return pc_error_os(err, errno, "%s", path);
    mode_t mask = umask(0177);
    bool bound = bind(*fd, (const struct sockaddr *)&a, sizeof a) == 0 && listen(*fd, BACKLOG) == 0;
    int cause = errno;
    umask(mask);
    if (bound)
        return 0;
    close(*fd);
    *fd = -1;
    return pc_error_os(err, cause, "%s", path);
}

int pc_listen(const char *host, int *port, int *fd, struct paco_error *err)
{
    const char *path = pc_listen_path(host);
    return path ? listen_unix(path, fd, err) : listen_tcp(host, port, fd, err);
}
