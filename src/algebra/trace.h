// SPDX-License-Identifier: Apache-2.0
/* Reading with a witness: rows of a checkpoint made of checkpoints, and the very bytes of the files they were
 * made of. So a job that streams base + diff hashes both inputs in the same pass, whatever nodes lie in
 * between.
 *
 *     struct pc_trace tr = {0};
 *     for (row = 0; row < t->n_rows; row += n) {
 *         n = pc_trace_rows(t, t->n_rows - row);
 *         pc_trace_reset(&tr);
 *         if (pc_tensor_read_traced(t, row, n, buf, &tr, err) < 0) ...
 *         for (i = 0; i < tr.n_views; i++) ... // tr.views[i]
 *     }
 *     pc_trace_release(&tr);
 *
 * The trace also lends nodes their scratch memory, which it keeps from read to read: after the first few,
 * reading allocates nothing. */
#ifndef PC_ALGEBRA_TRACE_H
#define PC_ALGEBRA_TRACE_H

#include "format/checkpoint.h"

enum { PC_TRACE_VIEWS = 8, PC_TRACE_SLOTS = 16 };

struct pc_trace_view {
    const struct pc_tensor *t; /* of a file, not of a node */
    uint64_t row0, n_rows;
    const void *bytes; /* n_rows * t->row_size of them, as in the file; valid until the next reset */
};

/** One thread at a time. `{0}` is a valid empty trace; release with pc_trace_release. */
struct pc_trace {
    struct pc_trace_view views[PC_TRACE_VIEWS]; /* since the reset */
    size_t n_views;
    struct {
        void *bytes;
        size_t size;
    } slots[PC_TRACE_SLOTS];
    size_t n_slots; /* lent since the reset */

    /* Counted by nodes over all reads; the caller zeroes them when it wants to. */
    uint64_t n_special; /* results that are NaN or infinite */
    uint64_t n_lossy;   /* results that a cast changed */
    double max_error;   /* by how much at most */
};

/** Rows of t that make a good piece: about 16,384 elements, at least one row, at most n_left. The scratch of
 * a read stays in the processor's second-level cache. */
uint64_t pc_trace_rows(const struct pc_tensor *t, uint64_t n_left);

/** Forget views, take scratch back. */
void pc_trace_reset(struct pc_trace *tr);
void pc_trace_release(struct pc_trace *tr);

/** size bytes of scratch, page-aligned, until the reset. NULL with err set when memory or slots are out. */
void *pc_trace_scratch(struct pc_trace *tr, uint64_t size, struct paco_error *err);

/** pc_tensor_read, adding a view for each file's tensor the rows came from. For a file's own tensor that is
 * buf itself: the caller must leave buf as it is until it has looked at the view. Errors as pc_tensor_read's,
 * and PACO_EMEM. */
int pc_tensor_read_traced(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf,
    struct pc_trace *tr, struct paco_error *err);

/** Rows of t as F32 in scratch memory, or buf when given (n_rows * row_elems floats), views added. For nodes.
 * PACO_EUNSUPPORTED names a type that cannot be widened. *out is valid until the reset. */
int pc_trace_read_f32(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, float *buf,
    const float **out, struct pc_trace *tr, struct paco_error *err);

/** For a node's `read` op: read_traced piece by piece with a trace of its own. */
int pc_read_untraced(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err);

#endif
