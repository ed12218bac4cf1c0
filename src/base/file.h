// SPDX-License-Identifier: Apache-2.0
/* Regular files read by position, and the few path operations everyone needs. */
#ifndef PC_BASE_FILE_H
#define PC_BASE_FILE_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** An open file. Reading is thread-safe: only pread is used. `{.fd = -1}` is a valid closed file. */
struct pc_file {
    int fd;
    uint64_t size; /* bytes, when opened */
    char *path;    /* as given; owned */
};

/** Open path for reading. It must be a regular file: a FIFO, device or directory is PACO_EFORMAT at once, a
 * missing file PACO_ENOENT, a dangling link or a loop of links says so. Close with pc_file_close. */
int pc_file_open(struct pc_file *f, const char *path, struct paco_error *err);
void pc_file_close(struct pc_file *f);

/** Read exactly len bytes at offset. A range beyond the end is PACO_EFORMAT "ends at N, M needed" with the
 * offset. */
int pc_file_read(const struct pc_file *f, uint64_t offset, void *buf, size_t len, struct paco_error *err);

/** Read a whole file of at most max bytes into b (initialised here; release it in any case). */
int pc_file_slurp(const char *path, size_t max, struct pc_buf *b, struct paco_error *err);

/** Write exactly len bytes at offset, retrying short writes. */
int pc_fd_write(
    int fd, const char *path, uint64_t offset, const void *buf, size_t len, struct paco_error *err);

/** Create or replace path with len bytes: temporary file beside it, sync, rename. */
int pc_file_write_atomic(const char *path, const void *bytes, size_t len, struct paco_error *err);

/** "dir/name" as an owned string (pc_free), NULL when memory is out. */
char *pc_path_join(const char *dir, const char *name);
/** The part after the last slash; a view. */
const char *pc_path_base(const char *path);
/** True if name is one plain file name: not empty, no slash, no NUL, not "." or "..", at most 255 bytes.
 * Names that come from an index file must pass this before they touch the disk. */
bool pc_path_is_plain(const char *name);
bool pc_path_exists(const char *path);
/** True if path is dir or lies below it, going by the text of the two. */
bool pc_path_is_inside(const char *path, const char *dir);
bool pc_path_is_dir(const char *path);
/** realpath of what exists of path, and the rest of it as it stands: what it will be called when it is there.
 * PATH_MAX is 4096. False when it is too long, or nothing above it can be looked up. */
bool pc_path_resolve(const char *path, char out[4096]);
bool pc_ends_with(const char *s, const char *suffix);

/** Names in a directory (no "." or ".."), sorted by byte. names and its strings are owned: pc_names_free. At
 * most 100,000 names. */
int pc_dir_list(const char *dir, char ***names, size_t *n, struct paco_error *err);
void pc_names_free(char **names, size_t n);

#endif
