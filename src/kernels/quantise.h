// SPDX-License-Identifier: Apache-2.0
/* F32 to the block types, bit-compatible with GGUF's formats (docs/formats/blocks.md). What is searched, and
 * why, is in docs/math/quantise.md.
 *
 * The inner loops score sixteen candidates at once, one to a lane, going through a block's elements in order.
 * So the scalar version defines every sum's order and no register width changes it: every level gives the
 * same bytes, which checkasm compares by memcmp. */
#ifndef PC_KERNELS_QUANTISE_H
#define PC_KERNELS_QUANTISE_H

#include "base/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PC_QUANTISE_LANES = 16 };

/** Candidates for one run of elements: x is taken for scale * q + offset with
 * q = round((x - offset) * inverse), clamped. */
struct pc_quantise_lanes {
    float scale[PC_QUANTISE_LANES], offset[PC_QUANTISE_LANES], inverse[PC_QUANTISE_LANES];
    /* Results, with e = x - (scale * q + offset): the sums of w e^2, w e q, w q^2 and, by `affine` alone, of
     * w e and w q. */
    float ee[PC_QUANTISE_LANES], eq[PC_QUANTISE_LANES], qq[PC_QUANTISE_LANES];
    float e[PC_QUANTISE_LANES], q[PC_QUANTISE_LANES];
};

struct pc_quantise {
    /** Score the candidates on n elements x with weights w, levels q from lo to hi (|lo|, |hi| below 2^21).
     * `scaled` takes all offsets for 0. x - offset must not overflow. */
    void (*affine)(struct pc_quantise_lanes *c, const float *x, const float *w, size_t n, float lo, float hi);
    void (*scaled)(struct pc_quantise_lanes *c, const float *x, const float *w, size_t n, float lo, float hi);
};

enum pc_quantise_result {
    PC_QUANTISE_OK,
    PC_QUANTISE_NOT_FINITE, /* an element is NaN or infinite */
    PC_QUANTISE_TOO_LARGE,  /* a block's scale or offset is beyond F16 */
};

/** Fill table with scalar versions, then with the faster ones cpu_flags allow (enum pc_cpu_flag). */
void pc_quantise_init(struct pc_quantise *table, unsigned cpu_flags);

/** The table for pc_cpu_flags(), filled on first use. Thread-safe. */
const struct pc_quantise *pc_quantise(void);

/** Whether there is a quantiser for dtype: all block types have one. */
bool pc_quantise_knows(enum pc_dtype dtype);

/** n elements of src, a multiple of dtype's n_block, as blocks into dst, which needs no alignment and may not
 * overlap src. Each block depends on its own elements alone. What stands in dst after a failure is undefined.
 *
 * Blocks whose elements are all of one value, or lie on a grid of the type, are reproduced as closely as F16
 * scales allow; elements too small for an F16 scale become zero. Thread-safe. */
enum pc_quantise_result pc_quantise_run(
    const struct pc_quantise *table, enum pc_dtype dtype, void *dst, const float *src, size_t n);

#endif
