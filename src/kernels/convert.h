// SPDX-License-Identifier: Apache-2.0
/* Conversions between element types, and element-wise sums: the arithmetic of recover, and how weights reach
 * F32.
 *
 * Every version of every function gives the same bits (checkasm compares them by memcmp): widening is exact,
 * narrowing rounds to nearest, ties to even, on the integer, denormals included; NaN stays NaN (quiet, sign
 * and upper payload kept), overflow becomes infinity. F8_E4M3 (no infinity) saturates overflow to NaN as
 * PyTorch does. Where both operands of a sum are NaN, it is unspecified which of them the
 * result resembles. Block types are exactly GGUF's formulas in F32: docs/formats/blocks.md.
 *
 * dst and src may not overlap, except that src == dst is fine where both element sizes are equal. n counts
 * elements, a multiple of n_block for block types. Floats lie at
 * multiples of four bytes; what is behind a void pointer needs no alignment. */
#ifndef PC_KERNELS_CONVERT_H
#define PC_KERNELS_CONVERT_H

#include "base/dtype.h"

#include <stddef.h>
#include <stdint.h>

struct pc_convert {
    /** NULL where a type cannot be widened to F32. Integers (buffers) are converted by value. */
    void (*to_f32[PC_N_DTYPES])(float *dst, const void *src, size_t n);
    /** NULL for every type that is not plain floating point. */
    void (*from_f32[PC_N_DTYPES])(void *dst, const float *src, size_t n);
    /** dst = a + b and dst = a - b, one rounding each; dst may be a or b. */
    void (*add)(float *dst, const float *a, const float *b, size_t n);
    void (*sub)(float *dst, const float *a, const float *b, size_t n);
    /** dst = a + alpha * b with the product rounded first, then the sum: the order of merge_lora. */
    void (*add_scaled)(float *dst, const float *a, const float *b, float alpha, size_t n);
    /** How many elements of x are neither NaN nor infinite, subtracted from n. */
    size_t (*count_nonfinite)(const float *x, size_t n);
};

/** Fill table with scalar versions, then with the faster ones cpu_flags allow (enum pc_cpu_flag). */
void pc_convert_init(struct pc_convert *table, unsigned cpu_flags);

/** The table for pc_cpu_flags(), filled on first use. Thread-safe. */
const struct pc_convert *pc_convert(void);

#endif
