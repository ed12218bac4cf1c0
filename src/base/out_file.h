// SPDX-License-Identifier: Apache-2.0
/* One file written from front to back that appears whole or not at all.
 *
 *     rc = pc_out_file_open(&f, path, force, &err);
 *     pc_buf_puts(&f.buf, "...");  rc = pc_out_file_flush(&f, false, &err);  now and then
 *     rc = pc_out_file_commit(&f, &err);
 *     pc_out_file_close(&f);       what was not committed is gone
 *
 * Until it is committed it is called PATH.paco-part-XXXXXX. */
#ifndef PC_BASE_OUT_FILE_H
#define PC_BASE_OUT_FILE_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/** `{.fd = -1}` may be closed. */
struct pc_out_file {
    struct pc_buf buf; /* what is appended here is written by pc_out_file_flush */
    uint64_t size;     /* bytes written so far */
    int fd;
    char *path, *part;
    bool force;
};

/** Begin; folders above path are made. PACO_EEXIST when path exists and force is false. */
int pc_out_file_open(struct pc_out_file *f, const char *path, bool force, struct paco_error *err);
/** Write the buffer when it is large (or with all in any case), and check it. */
int pc_out_file_flush(struct pc_out_file *f, bool all, struct paco_error *err);
/** Write the rest, sync, and give the file its name. */
int pc_out_file_commit(struct pc_out_file *f, struct paco_error *err);
void pc_out_file_close(struct pc_out_file *f);

/** Make dir and the folders above it; those that exist are fine. */
int pc_dir_make(const char *dir, struct paco_error *err);
/** The same for the folders above path. */
int pc_dir_make_above(const char *path, struct paco_error *err);

#endif
