// SPDX-License-Identifier: Apache-2.0
/* Writing large files while computing: a few threads that only write, and the buffers they take over.
 *
 *     struct pc_disk *disk;
 *     struct pc_disk_file f;
 *     pc_disk_open(&f, path, size, true, &err);
 *     pc_disk_new(1 << 20, 8, 4, &disk, &err);
 *     while ((b = pc_disk_take(disk))) {           // NULL: a write failed, stop
 *         ... fill b->data + start ...
 *         pc_disk_write(disk, b, &f, offset, start, len, &batch);
 *     }
 *     rc = pc_disk_wait(disk, &err);
 *     pc_disk_free(disk);
 *
 * Where the file system takes it, whole pages bypass the page cache: copying there costs more processor time
 * than the sum that is being written, and would push the inputs out. For that a buffer's data must lie in
 * memory as it will in the file: put the first byte at data + offset % PC_DISK_PAGE. Bytes before the first
 * and after the last page boundary go through the cache, as everything does when bypassing is refused. */
#ifndef PC_BASE_DISK_H
#define PC_BASE_DISK_H

#include "base/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PC_DISK_PAGE = 4096 };

/** A file being written at positions. `{.fd = -1, .direct_fd = -1}` is a valid closed one. */
struct pc_disk_file {
    int fd;                /* through the page cache */
    _Atomic int direct_fd; /* past it, or -1 */
    const char *path;      /* *borrowed*, for messages */
};

/** Open or create path with exactly size bytes, reserved on the disk where the file system can (a full disk
 * is PACO_ENOSPC here and not halfway). What an existing file holds stays. */
int pc_disk_open(
    struct pc_disk_file *f, const char *path, uint64_t size, bool direct, struct paco_error *err);
/** A file in dir that has no name and is gone when it is closed, of size zeros, reserved likewise: scratch.
 */
int pc_disk_open_unnamed(struct pc_disk_file *f, const char *dir, uint64_t size, struct paco_error *err);
void pc_disk_close(struct pc_disk_file *f);

/** Write, or read, len bytes at offset, at once; past the page cache where memory, offset and length are
 * whole pages. Thread-safe on disjoint bytes. Reading beyond the end is PACO_EIO. */
int pc_disk_write_at(
    struct pc_disk_file *f, uint64_t offset, const void *bytes, size_t len, struct paco_error *err);
int pc_disk_read_at(
    const struct pc_disk_file *f, uint64_t offset, void *buf, size_t len, struct paco_error *err);
/** Make the open file fd at least size bytes long, all of them reserved on the disk. 0, or why not: an errno
 * value, ENOSPC or EDQUOT where there is no room. A file system that cannot promise is believed. */
int pc_disk_reserve(int fd, uint64_t size);
/** Everything written so far is on the disk, past every cache. */
int pc_disk_sync(const struct pc_disk_file *f, struct paco_error *err);

/** Counts the writes of one unit of work. Set n_pending to 1, pass it to each pc_disk_write, then
 * pc_disk_batch_end: done(arg) is called once, by whichever thread finds that all is written. Not called
 * after a failed write. */
struct pc_disk_batch {
    _Atomic uint64_t n_pending;
    void (*done)(void *arg);
    void *arg;
};

struct pc_disk;

struct pc_disk_buffer {
    unsigned char *data; /* aligned to PC_DISK_PAGE */
    size_t size;
    /* of the write under way */
    struct pc_disk_buffer *next;
    struct pc_disk_file *file;
    struct pc_disk_batch *batch;
    uint64_t offset;
    size_t start, len;
};

/** n_buffers of buffer_size bytes, made when first taken, and n_threads threads that write. */
int pc_disk_new(
    size_t buffer_size, int n_buffers, int n_threads, struct pc_disk **out, struct paco_error *err);
/** Waits for the writes under way. NULL is fine. */
void pc_disk_free(struct pc_disk *disk);

/** A buffer that is free, waiting for one if need be. NULL once a write, or an allocation, has failed.
 * Thread-safe, as the following are. */
struct pc_disk_buffer *pc_disk_take(struct pc_disk *disk);
/** Hand b back without writing it. */
void pc_disk_return(struct pc_disk *disk, struct pc_disk_buffer *b);
/** Write b->data[start, start + len) at offset of file and take b back. batch may be NULL. */
void pc_disk_write(struct pc_disk *disk, struct pc_disk_buffer *b, struct pc_disk_file *file, uint64_t offset,
    size_t start, size_t len, struct pc_disk_batch *batch);
/** No more writes will join batch. */
void pc_disk_batch_end(struct pc_disk_batch *batch);
/** Until all is written. Returns the first failure. */
int pc_disk_wait(struct pc_disk *disk, struct paco_error *err);
/** Record a failure from elsewhere (reading, a `done` that could not), so that everybody stops. What was
 * handed over before is still written. */
void pc_disk_fail(struct pc_disk *disk, const struct paco_error *err);

#endif
