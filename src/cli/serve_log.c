// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* O_NONBLOCK: a pipe that nobody reads is an error, not a stop. */
static int open_fd(const struct pc_serve_log *log, int *fd, struct paco_error *err)
{
    if (strcmp(log->path, "-") == 0)
        *fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    else
        *fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
            log->is_private ? 0600 : 0640);
    return *fd < 0 ? pc_error_os(err, errno, "the log %s", log->path) : 0;
}

int pc_serve_log_open(struct pc_serve_log *log, const char *path, bool is_private, struct paco_error *err)
{
    *log = (struct pc_serve_log){.path = path, .is_private = is_private, .fd = -1};
    pthread_mutex_init(&log->lock, NULL);
    return path ? open_fd(log, &log->fd, err) : 0;
}

int pc_serve_log_reopen(struct pc_serve_log *log, struct paco_error *err)
{
    int fd = -1, rc = log->path ? open_fd(log, &fd, err) : 0;
    if (fd < 0)
        return rc;
    pthread_mutex_lock(&log->lock);
    int before = log->fd;
    log->fd = fd;
    pthread_mutex_unlock(&log->lock);
    close(before);
    return 0;
}

void pc_serve_log_write(struct pc_serve_log *log, const char *line, size_t len)
{
    pthread_mutex_lock(&log->lock);
    while (len > 0) {
        ssize_t n = write(log->fd, line, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            log->failed = n < 0 ? errno : EIO;
            break;
        }
        line += n;
        len -= (size_t)n;
    }
    pthread_mutex_unlock(&log->lock);
}

int pc_serve_log_lost(struct pc_serve_log *log)
{
    pthread_mutex_lock(&log->lock);
    int cause = log->failed;
    log->failed = 0;
    pthread_mutex_unlock(&log->lock);
    return cause;
}

void pc_serve_log_close(struct pc_serve_log *log)
{
    if (log->fd >= 0)
        close(log->fd);
    pthread_mutex_destroy(&log->lock);
}
