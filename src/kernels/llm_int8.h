// SPDX-License-Identifier: Apache-2.0
/* LLM.int8(): products with weights in INT8 by rows and outlying activations in F16, as a model loaded with
 * load_in_8bit computes them (Dettmers, Lewis, Belkada, Zettlemoyer 2022, section 3; bitsandbytes 0.37).
 *
 *     pc_llm_int8_init(&table, pc_cpu_flags());
 *     for each row r of weights: pc_llm_int8_pack_row(tiles, r, w + r * k, k);   // of F16 values
 *     for each row i of x: table.quantise(rows + i * row_size, outliers + i * k, x + i * k, k);
 *     table.multiply(y, n_out, rows, outliers, n_x, tiles, n_out, k);
 *
 * The contract (docs/math/llm_int8.md). Activations are rounded to F16. Elements with |x| >= 6 are the row's
 * outliers; of the others
 *
 *     a = max |x|, q = x * (127 / a) to nearest, ties to even, 0 for outliers and where a is 0
 *
 * and likewise for a row of weights, which has no outliers. An output is
 *
 *     acc = 0, then for outliers k ascending: acc = fmaf(x[k], F16(qw[k] * aw / 127), acc)
 *     y   = fmaf(sum of q qw, a * aw * (1 / 16129), acc)
 *
 * the sum an exact integer, every operation in F32 but for the rounding F16(). A NaN among the activations
 * makes the row's outputs NaN. Every version gives the same bits (but for the payload of a NaN), whatever the
 * number of rows. */
#ifndef PC_KERNELS_LLM_INT8_H
#define PC_KERNELS_LLM_INT8_H

#include <stddef.h>
#include <stdint.h>

enum {
    PC_LLM_TILE_ROWS = 16,
    PC_LLM_MAX_K = 65536 /* sums of 255 * 127 fit 32 bits */
};

/** A quantised row of activations: 64 bytes, then its k values and zeros. */
struct pc_llm_row {
    float a;
    int32_t less_128; /* -128 * sum q: where a sum with the tiles' biased values starts */
    int32_t n_outliers;
    int32_t zero[13];
    int8_t q[];
};
_Static_assert(sizeof(struct pc_llm_row) == 64, "one cache line");

struct pc_llm_outlier {
    int32_t k;
    float x;
};

/** Sixteen rows of weights: their a, then value 4 j + i of row r, plus 128, at q[64 j + 4 r + i]. */
struct pc_llm_tile {
    float a[PC_LLM_TILE_ROWS];
    uint8_t q[];
};

struct pc_llm_int8 {
    /** row: pc_llm_row_size(k) bytes at a multiple of 4, all written; outliers: room for k. */
    void (*quantise)(void *row, struct pc_llm_outlier *outliers, const float *x, size_t k);
    /** y (n_x, n_out) = x w^T, y_stride floats between rows; rows pc_llm_row_size(k) bytes apart, outliers k
     * elements; tiles begin with the first output. Columns of y from n_out on are not touched. Thread-safe on
     * disjoint y. */
    void (*multiply)(float *y, size_t y_stride, const void *rows, const struct pc_llm_outlier *outliers,
        size_t n_x, const void *tiles, size_t n_out, size_t k);
};

/** Fill table with the scalar versions, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_llm_int8_init(struct pc_llm_int8 *table, unsigned cpu_flags);

/** Bytes of a row of activations: an odd number of cache lines. */
size_t pc_llm_row_size(size_t k);
/** Bytes of a tile of weights. */
size_t pc_llm_tile_size(size_t k);

/** Put row r (k values, F16 in F32) of a matrix whose tiles begin at tiles where it belongs. What a last tile
 * lacks need not be written: it decides no output. Thread-safe on different rows. */
void pc_llm_int8_pack_row(void *tiles, size_t r, const float *w, size_t k);

void pc_llm_int8_init_avx512_vnni(struct pc_llm_int8 *table);

#define PC_LLM_OUTLIER 6.0f

#endif
