// SPDX-License-Identifier: Apache-2.0
/* Products of activations in INT8 that are added to what others computed: what fine-tunes add to a base whose
 * own products are in INT8 (model/llama_delta.h). Rows are quantised as for kernels/packed.h, and weights lie
 * in tiles of 16 outputs, as there. Two kinds:
 *
 *     factors   a matrix (n_out, k) of few columns, in INT8: per row and block of 32, of which the last may
 *               be shorter,   a = max |w|,  d = a / 127 as F16,  q = w / d to nearest, ties to even
 *     signs     a matrix of +1 and -1, one bit for an element, one scale for a row (Liu et al. 2024,
 *               "BitDelta"); k is a multiple of 32
 *
 * An output takes the blocks of 32 in ascending order:
 *
 *     factors   acc = fmaf(d_w * d_x, sum, acc)     sum = sum of w q over the block, exact
 *     signs     acc = fmaf(d_x, sum, acc)           sum = sum of +-q over the block, exact
 *               acc = scale * acc
 *     y += acc
 *
 * from acc = 0: the same bits at every level, for any number of rows (but for the payload of a NaN). */
#ifndef PC_KERNELS_BESIDE_H
#define PC_KERNELS_BESIDE_H

#include "kernels/float_bits.h"
#include "kernels/packed_layout.h"

#include <math.h>
#include <stddef.h>

struct pc_beside_call {
    float *y; /* (n_x, n_out), y_stride floats from row to row; added to */
    size_t y_stride;
    const void *xq; /* n_x quantised rows, x_stride bytes apart, at a multiple of 4 */
    size_t x_stride, n_x;
    const void *tiles;
    const float *scale; /* (n_out), of signs */
    size_t n_out, k;
};

struct pc_beside {
    /** Thread-safe on disjoint y. */
    void (*add_factor)(const struct pc_beside_call *call);
    void (*add_signs)(const struct pc_beside_call *call);
};

/** Fill table with the scalar versions, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_beside_init(struct pc_beside *table, unsigned cpu_flags);
void pc_beside_init_avx2(struct pc_beside *table);
void pc_beside_init_avx512_vnni(struct pc_beside *table);

/** Tiles of w (n_out, k), row-major. Elements are finite and at most 2^22 in magnitude. */
void pc_beside_pack_factor(void *tiles, const float *w, size_t n_out, size_t k);

/** Tiles of bits (n_out, k / 8): element e of a row is bit e % 8 of byte e / 8. */
void pc_beside_pack_signs(void *tiles, const unsigned char *bits, size_t n_out, size_t k);

/* ---- the layout, for the versions ---- */

/* A block of factors: the scales of 16 rows, then quads of k as in packed_layout.h, bytes + 128. */
struct pc_beside_block {
    uint16_t d[PC_TILE_ROWS];
    uint8_t q[];
};

/* How many quads a block that begins at `at` has. */
static inline size_t pc_beside_quads(size_t k, size_t at)
{
    size_t n = k - at < PC_QUANT_BLOCK ? k - at : PC_QUANT_BLOCK;
    return (n + 3) / 4;
}

static inline size_t pc_beside_block_size(size_t n_quads)
{
    return sizeof(struct pc_beside_block) + n_quads * 4 * PC_TILE_ROWS;
}

/** Bytes of a tile of factors; of a matrix, whole tiles. */
static inline size_t pc_beside_factor_tile(size_t k)
{
    size_t last = pc_beside_quads(k, k / PC_QUANT_BLOCK * PC_QUANT_BLOCK);
    return k / PC_QUANT_BLOCK * pc_beside_block_size(8) + (last ? pc_beside_block_size(last) : 0);
}

static inline size_t pc_beside_factor_size(size_t n_out, size_t k)
{
    return (n_out + PC_TILE_ROWS - 1) / PC_TILE_ROWS * pc_beside_factor_tile(k);
}

/* A block of signs: bit 4 r + i of word j is element 4 j + i of row r. */
struct pc_beside_bits {
    uint64_t quad[8];
};

/** The same for signs. */
static inline size_t pc_beside_signs_tile(size_t k)
{
    return k / PC_QUANT_BLOCK * sizeof(struct pc_beside_bits);
}

static inline size_t pc_beside_signs_size(size_t n_out, size_t k)
{
    return (n_out + PC_TILE_ROWS - 1) / PC_TILE_ROWS * pc_beside_signs_tile(k);
}

/* The loops that versions without instructions of their own compile with their flags. */
static inline float pc_beside_factor_sum(
    const unsigned char *block, size_t row, const struct pc_quant_block *x, size_t k)
{
    float acc = 0;
    for (size_t at = 0, n_quads; at < k; at += PC_QUANT_BLOCK, x++) {
        const struct pc_beside_block *b = (const void *)block;
        int32_t sum = x->less_128;
        n_quads = pc_beside_quads(k, at);
        for (size_t e = 0; e < 4 * n_quads; e++)
            sum += b->q[e / 4 * 64 + 4 * row + e % 4] * x->q[e];
        acc = fmaf(pc_f16_to_f32(b->d[row]) * x->d, (float)sum, acc);
        block += pc_beside_block_size(n_quads);
    }
    return acc;
}

static inline float pc_beside_sign_sum(
    const struct pc_beside_bits *b, size_t row, const struct pc_quant_block *x, size_t k)
{
    float acc = 0;
    for (size_t at = 0; at < k; at += PC_QUANT_BLOCK, x++, b++) {
        int32_t sum = 0;
        for (size_t e = 0; e < PC_QUANT_BLOCK; e++)
            sum += b->quad[e / 4] >> (4 * row + e % 4) & 1 ? x->q[e] : -x->q[e];
        acc = fmaf(x->d, (float)sum, acc);
    }
    return acc;
}

static inline const struct pc_quant_block *pc_beside_row(const struct pc_beside_call *c, size_t i)
{
    return (const void *)((const char *)c->xq + i * c->x_stride);
}

static inline void pc_beside_factor_loop(const struct pc_beside_call *c)
{
    const unsigned char *tiles = c->tiles;
    size_t size = pc_beside_factor_tile(c->k);
    for (size_t j = 0; j < c->n_out; j++)
        for (size_t i = 0; i < c->n_x; i++)
            c->y[i * c->y_stride + j] += pc_beside_factor_sum(
                tiles + j / PC_TILE_ROWS * size, j % PC_TILE_ROWS, pc_beside_row(c, i), c->k);
}

static inline void pc_beside_signs_loop(const struct pc_beside_call *c)
{
    const struct pc_beside_bits *tiles = c->tiles;
    for (size_t j = 0; j < c->n_out; j++)
        for (size_t i = 0; i < c->n_x; i++)
            c->y[i * c->y_stride + j] +=
                c->scale[j] * pc_beside_sign_sum(tiles + j / PC_TILE_ROWS * (c->k / PC_QUANT_BLOCK),
                                  j % PC_TILE_ROWS, pc_beside_row(c, i), c->k);
}

#endif
