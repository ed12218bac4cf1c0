// SPDX-License-Identifier: Apache-2.0
#include "base/disk.h"

#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_THREADS = 16, STACK_SIZE = 128 * 1024 };

struct pc_disk {
    pthread_mutex_t lock;
    pthread_cond_t free_one, work, idle;
    struct pc_disk_buffer *buffers, *free, *first, *last; /* first..last: to be written, oldest first */
    int n_buffers, n_busy, n_threads;
    pthread_t threads[MAX_THREADS];
    bool stop, failed; /* failed: nobody gets a buffer any more */
    bool broken; /* a write failed: what waits is dropped. After a failure elsewhere it is still written */
    struct paco_error err;
};

/* ---- files ---- */

int pc_disk_reserve(int fd, uint64_t size)
{
    int failed;
    do
        failed = size && fallocate(fd, 0, 0, (off_t)size) < 0 ? errno : 0;
    while (failed == EINTR);
    return failed == EOPNOTSUPP || failed == ENOSYS ? 0 : failed;
}

static int resize(int fd, uint64_t size, struct paco_error *err)
{
    if (ftruncate(fd, (off_t)size) < 0)
        return pc_error_os(err, errno, "cannot make it %llu bytes long", (unsigned long long)size);
    int failed = pc_disk_reserve(fd, size);
    return failed ? pc_error_os(err, failed, "cannot reserve %llu bytes", (unsigned long long)size) : 0;
}

int pc_disk_open(struct pc_disk_file *f, const char *path, uint64_t size, bool direct, struct paco_error *err)
{
    f->path = path;
    f->direct_fd = -1;
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    int rc = f->fd < 0 ? pc_error_os(err, errno, "cannot create") : resize(f->fd, size, err);
    if (rc < 0) {
        pc_error_path(err, path);
        pc_disk_close(f);
        return rc;
    }
    if (direct)
        f->direct_fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
    return 0;
}

/* Where the file system cannot make one without a name, its name is taken away at once. */
static int open_unnamed(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL))
        return fd;
    char *path = pc_path_join(dir, ".paco-scratch-XXXXXX");
    if (!path)
        return errno = ENOMEM, -1;
    fd = mkostemp(path, O_CLOEXEC);
    int why = errno;
    if (fd >= 0)
        (void)unlink(path);
    pc_free(path);
    return errno = why, fd;
}

int pc_disk_open_unnamed(struct pc_disk_file *f, const char *dir, uint64_t size, struct paco_error *err)
{
    char again[64];
    *f = (struct pc_disk_file){.fd = open_unnamed(dir), .direct_fd = -1, .path = dir};
    int rc =
        f->fd < 0 ? pc_error_os(err, errno, "a scratch file cannot be made there") : resize(f->fd, size, err);
    if (rc < 0) {
        pc_error_path(err, dir);
        pc_disk_close(f);
        return rc;
    }
    snprintf(again, sizeof again, "/proc/self/fd/%d", f->fd);
    f->direct_fd = open(again, O_RDWR | O_DIRECT | O_CLOEXEC);
    return 0;
}

void pc_disk_close(struct pc_disk_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    if (f->direct_fd >= 0)
        close(f->direct_fd);
    f->fd = -1;
    f->direct_fd = -1;
}

int pc_disk_sync(const struct pc_disk_file *f, struct paco_error *err)
{
    if (fdatasync(f->fd) == 0)
        return 0;
    int rc = pc_error_os(err, errno, "cannot sync");
    pc_error_path(err, f->path);
    return rc;
}

/* ---- the queue ---- */

void pc_disk_fail(struct pc_disk *d, const struct paco_error *err)
{
    pthread_mutex_lock(&d->lock);
    if (!d->failed)
        d->err = *err;
    d->failed = true;
    pthread_cond_broadcast(&d->free_one);
    pthread_mutex_unlock(&d->lock);
}

static int write_cached(
    struct pc_disk_file *f, uint64_t offset, const unsigned char *bytes, size_t len, struct paco_error *err)
{
    if (len == 0)
        return 0;
    int rc = pc_fd_write(f->fd, f->path, offset, bytes, len, err);
    // Start writing back now, or the last sync waits for everything.
    if (rc == 0 && len >= PC_DISK_PAGE)
        (void)sync_file_range(f->fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
    return rc;
}

/* Whole pages past the cache. A file system may accept the flag and refuse the write: then it never was
 * direct. */
static int write_pages(
    struct pc_disk_file *f, uint64_t offset, const unsigned char *bytes, size_t len, struct paco_error *err)
{
    size_t done = 0;
    int fd = f->direct_fd;
    while (fd >= 0 && done < len) {
        ssize_t n = pwrite(fd, bytes + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EINVAL && errno != EOPNOTSUPP) {
            int rc = pc_error_os(err, errno, "cannot write");
            pc_error_at(err, f->path, offset + done);
            return rc;
        }
        if (n > 0)
            done += (size_t)n;
        // A short count may leave the rest unaligned, and is a full disk's first sign: let the cache's path
        // tell.
        if (n <= 0 || done % PC_DISK_PAGE != 0)
            break;
    }
    return write_cached(f, offset + done, bytes + done, len - done, err);
}

static bool is_whole_pages(uint64_t offset, const void *memory, size_t len)
{
    return (offset | (uintptr_t)memory | len) % PC_DISK_PAGE == 0;
}

int pc_disk_write_at(
    struct pc_disk_file *f, uint64_t offset, const void *bytes, size_t len, struct paco_error *err)
{
    return f->direct_fd >= 0 && is_whole_pages(offset, bytes, len) ? write_pages(f, offset, bytes, len, err)
                                                                   : write_cached(f, offset, bytes, len, err);
}

/* What cannot be read past the cache is read through it. */
int pc_disk_read_at(
    const struct pc_disk_file *f, uint64_t offset, void *buf, size_t len, struct paco_error *err)
{
    bool direct = f->direct_fd >= 0 && is_whole_pages(offset, buf, len);
    for (size_t done = 0; done < len;) {
        int fd = direct && done % PC_DISK_PAGE == 0 ? f->direct_fd : f->fd;
        ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(offset + done));
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && direct && (errno == EINVAL || errno == EOPNOTSUPP)) {
            direct = false;
        } else if (n == 0 || errno != EINTR) {
            int rc = n == 0 ? pc_error_set(err, PACO_EIO, "the file ends there")
                            : pc_error_os(err, errno, "cannot read");
            pc_error_at(err, f->path, offset + done);
            return rc;
        }
    }
    return 0;
}

static int write_buffer(const struct pc_disk_buffer *b, struct paco_error *err)
{
    const unsigned char *bytes = b->data + b->start;
    uint64_t offset = b->offset;
    size_t len = b->len, head = (size_t)(-offset % PC_DISK_PAGE);
    bool fits = b->start % PC_DISK_PAGE == offset % PC_DISK_PAGE;
    if (!fits || head >= len || b->file->direct_fd < 0)
        return write_cached(b->file, offset, bytes, len, err);
    size_t pages = (len - head) / PC_DISK_PAGE * PC_DISK_PAGE;
    int rc = write_cached(b->file, offset, bytes, head, err);
    if (rc == 0)
        rc = write_pages(b->file, offset + head, bytes + head, pages, err);
    if (rc == 0)
        rc = write_cached(b->file, offset + head + pages, bytes + head + pages, len - head - pages, err);
    return rc;
}

static void batch_drop(struct pc_disk_batch *batch)
{
    if (batch && atomic_fetch_sub(&batch->n_pending, 1) == 1)
        batch->done(batch->arg);
}

static void *writer_main(void *arg)
{
    struct pc_disk *d = arg;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        while (!d->first && !d->stop)
            pthread_cond_wait(&d->work, &d->lock);
        struct pc_disk_buffer *b = d->first;
        if (!b)
            break;
        d->first = b->next;
        bool skip = d->broken;
        pthread_mutex_unlock(&d->lock);
        struct pc_disk_batch *batch = b->batch;
        struct paco_error err = {0};
        int rc = skip ? -1 : write_buffer(b, &err);
        if (rc < 0 && !skip) {
            pc_disk_fail(d, &err);
            pthread_mutex_lock(&d->lock);
            d->broken = true;
            pthread_mutex_unlock(&d->lock);
        }
        pc_disk_return(d, b);
        if (rc == 0)
            batch_drop(batch);
        pthread_mutex_lock(&d->lock);
        if (--d->n_busy == 0)
            pthread_cond_broadcast(&d->idle);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

int pc_disk_new(
    size_t buffer_size, int n_buffers, int n_threads, struct pc_disk **out, struct paco_error *err)
{
    struct pc_disk *d = pc_alloc_zero(1, sizeof *d);
    struct pc_disk_buffer *buffers = pc_alloc_zero((size_t)n_buffers, sizeof *buffers);
    if (!d || !buffers) {
        pc_free(d);
        pc_free(buffers);
        return pc_error_mem(err, sizeof *d, "a write queue");
    }
    d->buffers = buffers;
    d->n_buffers = n_buffers;
    for (int i = 0; i < n_buffers; i++) {
        buffers[i].size = buffer_size;
        buffers[i].next = d->free;
        d->free = &buffers[i];
    }
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->free_one, NULL);
    pthread_cond_init(&d->work, NULL);
    pthread_cond_init(&d->idle, NULL);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    int rc = 0;
    while (rc == 0 && d->n_threads < n_threads && d->n_threads < MAX_THREADS) {
        rc = pthread_create(&d->threads[d->n_threads], &attr, writer_main, d);
        d->n_threads += rc == 0;
    }
    pthread_attr_destroy(&attr);
    if (d->n_threads == 0) {
        pc_disk_free(d);
        return pc_error_os(err, rc, "cannot start a thread that writes");
    }
    *out = d;
    return 0;
}

void pc_disk_free(struct pc_disk *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_broadcast(&d->work);
    pthread_mutex_unlock(&d->lock);
    for (int i = 0; i < d->n_threads; i++)
        pthread_join(d->threads[i], NULL);
    for (int i = 0; i < d->n_buffers; i++)
        pc_free(d->buffers[i].data);
    pthread_cond_destroy(&d->idle);
    pthread_cond_destroy(&d->work);
    pthread_cond_destroy(&d->free_one);
    pthread_mutex_destroy(&d->lock);
    pc_free(d->buffers);
    pc_free(d);
}

struct pc_disk_buffer *pc_disk_take(struct pc_disk *d)
{
    pthread_mutex_lock(&d->lock);
    while (!d->free && !d->failed)
        pthread_cond_wait(&d->free_one, &d->lock);
    struct pc_disk_buffer *b = d->failed ? NULL : d->free;
    if (b)
        d->free = b->next;
    pthread_mutex_unlock(&d->lock);
    if (b && !b->data && !(b->data = pc_alloc_pages(b->size))) {
        struct paco_error err = {0};
        pc_error_mem(&err, b->size, "a buffer of the write queue");
        pc_disk_return(d, b);
        pc_disk_fail(d, &err);
        return NULL;
    }
    return b;
}

void pc_disk_return(struct pc_disk *d, struct pc_disk_buffer *b)
{
    pthread_mutex_lock(&d->lock);
    b->next = d->free;
    d->free = b;
    pthread_cond_signal(&d->free_one);
    pthread_mutex_unlock(&d->lock);
}

void pc_disk_write(struct pc_disk *d, struct pc_disk_buffer *b, struct pc_disk_file *file, uint64_t offset,
    size_t start, size_t len, struct pc_disk_batch *batch)
{
    b->file = file;
    b->offset = offset;
    b->start = start;
    b->len = len;
    b->batch = batch;
    b->next = NULL;
    if (batch)
        atomic_fetch_add(&batch->n_pending, 1);
    pthread_mutex_lock(&d->lock);
    if (d->first)
        d->last->next = b;
    else
        d->first = b;
    d->last = b;
    d->n_busy++;
    pthread_cond_signal(&d->work);
    pthread_mutex_unlock(&d->lock);
}

void pc_disk_batch_end(struct pc_disk_batch *batch)
{
    batch_drop(batch);
}

int pc_disk_wait(struct pc_disk *d, struct paco_error *err)
{
    pthread_mutex_lock(&d->lock);
    while (d->n_busy > 0)
        pthread_cond_wait(&d->idle, &d->lock);
    int rc = d->failed ? d->err.code : 0;
    if (rc < 0 && err)
        *err = d->err;
    pthread_mutex_unlock(&d->lock);
    return rc;
}