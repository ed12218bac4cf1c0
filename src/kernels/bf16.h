// SPDX-License-Identifier: Apache-2.0
/* Products of BF16 weights with activations rounded to BF16: the fast class for BF16 models, where the
 * processor multiplies pairs of BF16 (`vdpbf16ps`).
 *
 *     if (table->native)                       // else the product of matmul.h, on F32 activations
 *         table->round(xb, x, k);              // each activation row once
 *         table->matmul(y, n_out, xb, k, n_rows, w, 2 * k, n_out, k);
 *
 * The contract (docs/design/numerics.md). Denormal operands and results count as zeros of their sign, as the
 * instruction has it. Every output is
 *
 *     lane[l] = 0, then for k = 2 l, 2 l + 32, 2 l + 64, ... ascending                              (l < 16)
 *         lane[l] = fmaf(x[k + 1], w[k + 1], lane[l]), then fmaf(x[k], w[k], lane[l])
 *     join    = lane[l] += lane[l + 8], then + 4, then + 2, then + 1
 *
 * with zeros behind the last element. So a result depends on its two rows alone, and one row of many is the
 * row by itself, bit for bit. Scalar emulates the instruction as its makers describe it; between levels only
 * the bound is promised:
 *
 *     |y - exact| <= gamma_n sum |x w| + 2 n 2^-126,   n = 2 ceil(K / 32) + 4,   gamma_n = n u / (1 - n u)
 *
 * with x and w as rounded and flushed, u = 2^-24. */
#ifndef PC_KERNELS_BF16_H
#define PC_KERNELS_BF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_bf16 {
    /** dst (n) = x (n) in BF16: to nearest, ties to even; denormals become zero, NaN stays NaN and becomes
     *  quiet. The same bits at every level. */
    void (*round)(uint16_t *dst, const float *x, size_t n);
    /** y is (n_x, n_w) float32 with y_stride floats between rows; x is (n_x, k) with x_stride elements; w is
     *  (n_w, k) BF16 with w_stride bytes, on any address. y overlaps neither x nor w. k may be 0. Thread-safe
     *  on disjoint y. */
    void (*matmul)(float *y, size_t y_stride, const uint16_t *x, size_t x_stride, size_t n_x, const void *w,
        size_t w_stride, size_t n_w, size_t k);
    /** True where the processor has the instruction; scalar exists to be compared with. */
    bool native;
};

/** Fill table with the scalar versions, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_bf16_init(struct pc_bf16 *table, unsigned cpu_flags);

void pc_bf16_init_avx512_bf16(struct pc_bf16 *table);

#endif
