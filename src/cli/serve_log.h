// SPDX-License-Identifier: Apache-2.0
/* Where paco serve writes a line for each request: a file that may be moved away and begun anew, or standard
 * error. */
#ifndef PC_CLI_SERVE_LOG_H
#define PC_CLI_SERVE_LOG_H

#include "base/error.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct pc_serve_log {
    const char *path; /* borrowed; NULL: there is none; "-": standard error */
    bool is_private;  /* it holds what people wrote: for the owner alone */
    int fd;           /* under the lock, as is failed */
    int failed;       /* errno of a line that was lost, not yet told; or 0 */
    pthread_mutex_t lock;
};

/** *owned*: pc_serve_log_close. Errors: what opening says. */
int pc_serve_log_open(struct pc_serve_log *log, const char *path, bool is_private, struct paco_error *err);
/** Begin path anew, if it was moved away; after an error all goes on where it was. */
int pc_serve_log_reopen(struct pc_serve_log *log, struct paco_error *err);
/** A line, with its end. Thread-safe. */
void pc_serve_log_write(struct pc_serve_log *log, const char *line, size_t len);
/** Why lines were lost since this was last asked: an errno, or 0. */
int pc_serve_log_lost(struct pc_serve_log *log);
void pc_serve_log_close(struct pc_serve_log *log);

#endif
