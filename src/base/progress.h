// SPDX-License-Identifier: Apache-2.0
/* Progress flows up, and the wish to stop flows down, by one callback. */
#ifndef PC_BASE_PROGRESS_H
#define PC_BASE_PROGRESS_H

#include <stdint.h>

/** Where a job is. Called from one thread at a time, but not always the same one, as often as the job likes:
 * the receiver thins out what it shows. */
struct pc_progress_event {
    const char *phase;    /* "recovering", "verifying": static or valid for the call */
    const char *item;     /* the tensor or file at hand, may be NULL */
    uint64_t done, total; /* in unit; total 0 = unknown */
    const char *unit;     /* "B" for bytes, else a noun: "tensors", "tokens" */
    /** What else is to be seen, in place of the rate: facts with two spaces between them, the weightiest
     * first ("loss 1.234  980 tokens/s"). May be NULL. */
    const char *status;
};

struct pc_progress {
    /** Returns nonzero to stop: the job ends with PACO_ECANCELLED, leaving what can be resumed. */
    int (*update)(void *ctx, const struct pc_progress_event *event);
    /** A remark worth showing (a repair, a warning); may be NULL. */
    void (*note)(void *ctx, const char *text);
    void *ctx;
};

/** Forward to p->update; 0 when p or its callback is NULL. */
static inline int pc_progress(const struct pc_progress *p, const struct pc_progress_event *event)
{
    return p && p->update ? p->update(p->ctx, event) : 0;
}

#endif
