// SPDX-License-Identifier: Apache-2.0
/* A checkpoint in other element types. */
#ifndef PC_ALGEBRA_CAST_H
#define PC_ALGEBRA_CAST_H

#include "format/checkpoint.h"

/** inner with tensor i in dtypes[i], widened exactly and then narrowed to nearest, ties to even, or quantised
 * (kernels/quantise.h). A tensor whose type stays passes through, mapped where inner maps it. Traced reads
 * count elements that a narrowing changed, and by how much at most (algebra/trace.h); one that becomes
 * infinite changes by infinity. Quantising counts nothing; NaN, infinity and what no scale can hold are
 * PACO_EFORMAT, naming the row.
 *
 * dtypes: inner->n_tensors of them, *borrowed* for the call; inner is *borrowed* until *out, which is
 * *owned*, is closed. PACO_EUNSUPPORTED when a type that must change cannot be widened, the target is no
 * floating point or block type, or a block type's rows are no whole number of blocks. */
int pc_checkpoint_cast(const struct pc_checkpoint *inner, const enum pc_dtype *dtypes,
    struct pc_checkpoint **out, struct paco_error *err);

/** What narrowing n floats to dtype (plain floating point) loses: adds to *n_lossy and raises *max_error. dst
 * receives the narrowed values; may be NULL. */
void pc_cast_narrow(
    enum pc_dtype dtype, void *dst, const float *src, size_t n, uint64_t *n_lossy, double *max_error);

#endif
