// SPDX-License-Identifier: Apache-2.0
/* Rows of any tensor as F32: the first half of every algebra node. */
#ifndef PC_ALGEBRA_READ_F32_H
#define PC_ALGEBRA_READ_F32_H

#include "format/checkpoint.h"

/** True if t's elements can be widened to F32 (plain floats, integers, the block types paco dequantises). */
bool pc_tensor_has_f32(const struct pc_tensor *t);

/** Rows [row0, row0 + n_rows) of t into buf, widened exactly: n_rows * row_elems floats. Allocates at most
 * 256 KiB or one row, whichever is larger, for the call, nothing when t is F32. PACO_EUNSUPPORTED names a
 * type that cannot be widened. Thread-safe. */
int pc_tensor_read_f32(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, float *buf, struct paco_error *err);

#endif
