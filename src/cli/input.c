// SPDX-License-Identifier: Apache-2.0
#include "cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 16 };

int pc_read_input(const char *path, struct pc_buf *b, struct paco_error *err)
{
    bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? pc_error_os(err, errno, "cannot open %s", name) : 0;
    for (ssize_t n = 1; rc == 0 && n != 0;) {
        char *to = pc_buf_reserve(b, CHUNK);
        if (!to) {
            rc = pc_buf_check(b, name, err);
            break;
        }
        n = read(fd, to, CHUNK - 1);
        if (n > 0)
            b->len += (size_t)n;
        b->data[b->len] = '\0';
        if (n < 0 && errno != EINTR)
            rc = pc_error_os(err, errno, "reading %s", name);
    }
    if (fd >= 0 && !standard)
        close(fd);
    return rc;
}
