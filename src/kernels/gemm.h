// SPDX-License-Identifier: Apache-2.0
/* Dense products for training: C (M, N) = or += A (M, K) B (K, N), sums in F32.
 *
 * The three of a linear layer Y = X W^T are Y = X W^T itself, dX = dY W and dW += dY^T X. Each needs another
 * of its operands turned round, so at least one of them is copied into *panels* first: 48 vectors side by
 * side, the K elements of each going down, one step after the other. A panel lies in the second level cache
 * while all rows of A pass over it, and conversion to the type that is multiplied is free on the way there:
 * no second copy of the weights.
 *
 *     table->pack_rows(panel, w, PC_F32, row_size, 48, k);              // 48 rows of W: Y = X W^T
 *     table->pack_columns(panel, w, PC_F32, row_size, 48, k);           // 48 columns of W: dX = dY W
 *     table->multiply(&(struct pc_gemm_call){.c = y, .c_stride = n_out, .a = x, .a_row = .., .a_step = ..,
 *         .panels = panel, .n_rows = T, .n_columns = 48, .k = k});
 *
 * The contract (docs/design/numerics.md). Every output is one chain over K, whatever M, N, tile or thread:
 *
 *     f32:   total = 0, then for k = 0, 1, 2, ...  total = fmaf(a[k], b[k], total)
 *     bf16:  total = 0, then for k = 0, 2, 4, ...  total = fmaf(a[k + 1], b[k + 1], total),
 *                                                  total = fmaf(a[k], b[k], total)
 *     c      = total, or c += total once
 *
 * with a zero behind an odd K. In bf16 both operands are rounded to BF16 (as bf16.h's round), and denormal
 * operands and sums count as zeros of their sign, as `vdpbf16ps` has it. f32 is the same bits at every level;
 * bf16 too as far as the processor's instruction is the one described, and in any case within
 *
 *     |c - exact| <= gamma_n sum |a b| + 2 n 2^-126,   n = K + 1,   gamma_n = n u / (1 - n u),   u = 2^-24
 *
 * A long K may go in pieces, whole steps each: the totals so far are stored in F32 and taken up again
 * (`start`), which loses nothing. */
#ifndef PC_KERNELS_GEMM_H
#define PC_KERNELS_GEMM_H

#include "base/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PC_GEMM_PANEL = 48, /* vectors of a panel */
    PC_GEMM_LANES = 16, /* those of a tail are packed, with zeros, up to a multiple of this */
};

/** Rows that will be wanted next, of size bytes: the panels' or the rows' sources of the next call. They are
 * fetched into the second level cache meanwhile, and need not exist. n is 0 for none. */
struct pc_gemm_fetch {
    const void *rows;
    size_t size, stride, n;
};

/** One product of rows by panels. Steps are elements of K in f32, pairs of them in bf16. */
struct pc_gemm_call {
    /** (n_rows, n_columns), c_stride floats from row to row: stored, or added to with add. */
    float *c;
    size_t c_stride;
    bool add;
    /** Totals so far (n_rows, n_columns), as an earlier call stored them; may be c where add is false. NULL:
     * zeros. */
    const float *start;
    size_t start_stride;
    /** Step s of row i is the element or pair at a + i * a_row + s * a_step bytes, aligned to the element.
     * Rows in memory: a_row is their size, a_step 4. Vectors of a panel: a_row 4, a_step PC_GEMM_PANEL * 4.
     * The last pair of an odd k is read as one element. */
    const void *a;
    size_t a_row, a_step;
    /** ceil(n_columns / 48) panels of k elements, one behind the other, 64-byte aligned. */
    const void *panels;
    size_t n_rows, n_columns, k;
    struct pc_gemm_fetch fetch;
};

struct pc_gemm_type {
    /** Elements of K in a step: 1, or 2. A step of a vector takes four bytes. */
    size_t step;
    /** Vector i is row i: element k at rows + i * stride + k * size, dtype F32 or BF16 on any address. n (1
     * to 48) vectors go to the first lanes of panel, zeros up to a multiple of PC_GEMM_LANES; lanes behind
     * stay. panel may point at a lane that is such a multiple, or at a later step. */
    void (*pack_rows)(void *panel, const void *rows, enum pc_dtype dtype, size_t stride, size_t n, size_t k);
    /** Vector i is column i: element k at rows + k * stride + i * size. */
    void (*pack_columns)(
        void *panel, const void *rows, enum pc_dtype dtype, size_t stride, size_t n, size_t k);
    /** c overlaps nothing but start. Thread-safe on disjoint c. k may be 0. */
    void (*multiply)(const struct pc_gemm_call *call);
};

struct pc_gemm {
    struct pc_gemm_type f32, bf16;
};

/** Bytes of a panel of k elements. */
static inline size_t pc_gemm_panel_size(const struct pc_gemm_type *type, size_t k)
{
    return (k + type->step - 1) / type->step * PC_GEMM_PANEL * sizeof(float);
}

/** Fill table with the scalar versions, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_gemm_init(struct pc_gemm *table, unsigned cpu_flags);

/* Each fills what it has; see gemm.c. */
void pc_gemm_init_avx2(struct pc_gemm *table);
void pc_gemm_init_avx512(struct pc_gemm *table);
void pc_gemm_init_avx512_bf16(struct pc_gemm *table);

#endif
