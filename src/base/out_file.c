// SPDX-License-Identifier: Apache-2.0
#include "base/out_file.h"

#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_BUFFER = 1 << 30, LARGE = 1 << 20 };

static int os_error(const char *path, const char *what, struct paco_error *err)
{
    int rc = pc_error_os(err, errno, "%s", what);
    pc_error_path(err, path);
    return rc;
}

int pc_dir_make(const char *dir, struct paco_error *err)
{
    char *path = pc_strdup(dir);
    int rc = path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    for (char *p = path; p && *p && rc == 0; p++) {
        // Each folder above, and at the end the whole.
        if (p[1] != '/' && p[1] != '\0')
            continue;
        char held = p[1];
        p[1] = '\0';
        if (mkdir(path, 0777) < 0 && !pc_path_is_dir(path))
            rc = os_error(path, "cannot make the folder", err);
        p[1] = held;
    }
    pc_free(path);
    return rc;
}

int pc_dir_make_above(const char *path, struct paco_error *err)
{
    size_t n = (size_t)(pc_path_base(path) - path);
    if (n == 0)
        return 0;
    char *dir = pc_strndup(path, n);
    int rc = dir ? pc_dir_make(dir, err) : pc_error_mem(err, n, "a path");
    pc_free(dir);
    return rc;
}

static int check_free(const struct pc_out_file *f, struct paco_error *err)
{
    if (f->force || !pc_path_exists(f->path))
        return 0;
    int rc = pc_error_set(err, PACO_EEXIST, "exists already (--force replaces it)");
    pc_error_path(err, f->path);
    return rc;
}

int pc_out_file_open(struct pc_out_file *f, const char *path, bool force, struct paco_error *err)
{
    *f = (struct pc_out_file){.fd = -1, .force = force};
    pc_buf_init(&f->buf, MAX_BUFFER);
    size_t room = strlen(path) + 24;
    f->path = pc_strdup(path);
    f->part = pc_alloc(room, 1);
    if (!f->path || !f->part)
        return pc_error_mem(err, room, "a path");
    *f->part = '\0';
    int rc = check_free(f, err);
    if (rc == 0)
        rc = pc_dir_make_above(path, err);
    if (rc < 0)
        return rc;
    snprintf(f->part, room, "%s.paco-part-XXXXXX", path);
    f->fd = mkstemp(f->part);
    if (f->fd < 0) {
        *f->part = '\0';
        return os_error(path, "cannot create a file beside it", err);
    }
    mode_t mask = umask(0);
    umask(mask);
    fchmod(f->fd, 0666 & ~mask);
    return 0;
}

int pc_out_file_flush(struct pc_out_file *f, bool all, struct paco_error *err)
{
    int rc = pc_buf_check(&f->buf, f->path, err);
    if (rc < 0 || f->buf.len == 0 || (!all && f->buf.len < LARGE))
        return rc;
    rc = pc_fd_write(f->fd, f->path, f->size, f->buf.data, f->buf.len, err);
    f->size += f->buf.len;
    pc_buf_clear(&f->buf);
    return rc;
}

int pc_out_file_commit(struct pc_out_file *f, struct paco_error *err)
{
    int rc = pc_out_file_flush(f, true, err);
    if (rc == 0 && fsync(f->fd) < 0)
        rc = os_error(f->path, "cannot sync", err);
    if (rc == 0)
        rc = check_free(f, err);
    if (rc == 0 && rename(f->part, f->path) < 0)
        rc = os_error(f->path, "cannot rename into place", err);
    if (rc == 0)
        *f->part = '\0';
    return rc;
}

void pc_out_file_close(struct pc_out_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    if (f->part && *f->part)
        unlink(f->part);
    pc_buf_release(&f->buf);
    pc_free(f->path);
    pc_free(f->part);
    *f = (struct pc_out_file){.fd = -1};
}
