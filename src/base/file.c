// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_error(const char *path, int e, struct paco_error *err)
{
    struct stat st;
    if (e == ELOOP)
        pc_error_set(err, PACO_EIO, "the symbolic link leads round in a loop");
    else if (e == ENOENT && lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
        pc_error_set(err, PACO_ENOENT, "the symbolic link leads nowhere (was the download interrupted?)");
    else
        pc_error_os(err, e, "cannot open");
    pc_error_path(err, path);
    return e == ENOENT || e == ENOTDIR ? PACO_ENOENT : PACO_EIO;
}

int pc_file_open(struct pc_file *f, const char *path, struct paco_error *err)
{
    *f = (struct pc_file){.fd = -1};
    int rc;
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return open_error(path, errno, err);
    struct stat st;
    if (fstat(fd, &st) < 0) {
        rc = pc_error_os(err, errno, "cannot stat");
        goto fail;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = pc_error_set(err, PACO_EFORMAT, "is %s, not a regular file",
            S_ISDIR(st.st_mode) ? "a directory" : "a device, pipe or socket");
        goto fail;
    }
    f->path = pc_strdup(path);
    if (!f->path) {
        rc = pc_error_mem(err, strlen(path), "a path");
        goto fail;
    }
    f->fd = fd;
    f->size = (uint64_t)st.st_size;
    return 0;
fail:
    close(fd);
    pc_error_path(err, path);
    return rc;
}

void pc_file_close(struct pc_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    pc_free(f->path);
    *f = (struct pc_file){.fd = -1};
}

int pc_file_read(const struct pc_file *f, uint64_t offset, void *buf, size_t len, struct paco_error *err)
{
    if (offset > f->size || len > f->size - offset) {
        pc_error_set(err, PACO_EFORMAT,
            "the file ends at byte %llu, but %zu bytes are needed from byte %llu (truncated?)",
            (unsigned long long)f->size, len, (unsigned long long)offset);
        pc_error_at(err, f->path, offset);
        return PACO_EFORMAT;
    }
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(f->fd, (char *)buf + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int rc = n == 0 ? pc_error_set(err, PACO_EFORMAT, "the file shrank while it was read")
                            : pc_error_os(err, errno, "cannot read");
            pc_error_at(err, f->path, offset + done);
            return rc;
        }
        done += (size_t)n;
    }
    return 0;
}

int pc_file_slurp(const char *path, size_t max, struct pc_buf *b, struct paco_error *err)
{
    pc_buf_init(b, max);
    struct pc_file f;
    int rc = pc_file_open(&f, path, err);
    if (rc < 0)
        return rc;
    if (f.size > max) {
        rc = pc_error_set(err, PACO_ELIMIT, "is %llu bytes; a file of this kind has at most %zu",
            (unsigned long long)f.size, max);
        pc_error_path(err, path);
        goto out;
    }
    char *to = pc_buf_reserve(b, (size_t)f.size);
    if (!to) {
        rc = pc_error_mem(err, f.size, path);
        goto out;
    }
    rc = pc_file_read(&f, 0, to, (size_t)f.size, err);
    if (rc == 0) {
        b->len = (size_t)f.size;
        b->data[b->len] = '\0';
    }
out:
    pc_file_close(&f);
    return rc;
}

int pc_fd_write(
    int fd, const char *path, uint64_t offset, const void *buf, size_t len, struct paco_error *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int rc = pc_error_os(err, errno, "cannot write");
            pc_error_at(err, path, offset + done);
            return rc;
        }
        done += (size_t)n;
    }
    return 0;
}

int pc_file_write_atomic(const char *path, const void *bytes, size_t len, struct paco_error *err)
{
    int rc = 0, fd = -1;
    size_t room = strlen(path) + 16;
    char *tmp = pc_alloc(room, 1);
    if (!tmp)
        return pc_error_mem(err, room, "a path");
    snprintf(tmp, room, "%s.XXXXXX", path);
    fd = mkstemp(tmp);
    if (fd < 0) {
        rc = pc_error_os(err, errno, "cannot create a file beside it");
        pc_error_path(err, path);
        goto out;
    }
    mode_t mask = umask(0);
    umask(mask);
    fchmod(fd, 0666 & ~mask);
    rc = pc_fd_write(fd, path, 0, bytes, len, err);
    if (rc == 0 && fsync(fd) < 0)
        rc = pc_error_os(err, errno, "cannot sync");
    if (rc == 0 && rename(tmp, path) < 0)
        rc = pc_error_os(err, errno, "cannot rename into place");
    if (rc < 0) {
        pc_error_path(err, path);
        unlink(tmp);
    }
out:
    if (fd >= 0)
        close(fd);
    pc_free(tmp);
    return rc;
}

char *pc_path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir), m = strlen(name);
    bool slash = n > 0 && dir[n - 1] != '/';
    char *path = pc_alloc(n + slash + m + 1, 1);
    if (path) {
        memcpy(path, dir, n);
        if (slash)
            path[n] = '/';
        memcpy(path + n + slash, name, m + 1);
    }
    return path;
}

const char *pc_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool pc_path_is_plain(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len <= 255 && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

bool pc_path_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

bool pc_path_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool pc_path_is_inside(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

bool pc_path_resolve(const char *path, char out[PATH_MAX])
{
    char above[PATH_MAX];
    size_t n = strlen(path), rest = n;
    if (n == 0 || n >= sizeof above)
        return false;
    memcpy(above, path, n + 1);
    while (!realpath(above, out)) {
        while (rest > 0 && path[rest - 1] == '/')
            rest--;
        while (rest > 0 && path[rest - 1] != '/')
            rest--;
        if (rest == 0 && strcmp(above, ".") == 0)
            return false;
        memcpy(above, rest ? path : ".", rest ? rest : 1);
        above[rest ? rest : 1] = '\0';
    }
    size_t end = strlen(out);
    const char *slash = rest < n && out[end - 1] != '/' ? "/" : "";
    int more = snprintf(out + end, PATH_MAX - end, "%s%s", slash, path + rest);
    for (end += more > 0 ? (size_t)more : 0; end > 1 && end < PATH_MAX && out[end - 1] == '/';)
        out[--end] = '\0';
    return end < PATH_MAX;
}

bool pc_ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void pc_names_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pc_free(names[i]);
    pc_free(names);
}

int pc_dir_list(const char *dir, char ***names, size_t *n, struct paco_error *err)
{
    const size_t max_names = 100000;
    int rc = 0;
    char **list = NULL;
    size_t count = 0, capacity = 0;
    DIR *d = opendir(dir);
    if (!d) {
        rc = pc_error_os(err, errno, "cannot list the directory");
        pc_error_path(err, dir);
        return rc;
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (count == max_names) {
            rc = pc_error_set(err, PACO_ELIMIT, "the directory holds more than %zu files", max_names);
            break;
        }
        rc = pc_grow(&list, &capacity, count, sizeof *list, "a directory listing", err);
        if (rc < 0)
            break;
        list[count] = pc_strdup(e->d_name);
        if (!list[count]) {
            rc = pc_error_mem(err, strlen(e->d_name), "a file name");
            break;
        }
        count++;
    }
    closedir(d);
    if (rc < 0) {
        pc_error_path(err, dir);
        pc_names_free(list, count);
        return rc;
    }
    if (count)
        qsort(list, count, sizeof *list, by_bytes);
    *names = list;
    *n = count;
    return 0;
}
