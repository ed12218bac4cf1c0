// SPDX-License-Identifier: Apache-2.0
/* Products of packed weights: what the three levels of Arm have in common. A file that includes this defines
 * `dots`, and hands `fill` a table.
 *
 * Four output rows are one register: a quad of k is then 16 weights, and a tile's block of 32 k is four
 * *parts* of eight registers each. A part is unpacked once and multiplied with up to four activation rows,
 * whose F32 sums are 16 registers for the whole tile. All stored values but Q8_0's are below 64, so that they
 * are signed bytes as they stand; Q8_0's lose their bias while they are unpacked.
 *
 * Many rows are blocked as on x86 (packed_avx512_vnni.c); between pieces of k a sum waits in y. */
#ifndef PC_KERNELS_ARM_PACKED_ARM_H
#define PC_KERNELS_ARM_PACKED_ARM_H

#include "kernels/packed_layout.h"

#include <arm_neon.h>
#include <string.h>

enum type { Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K };

enum {
    PARTS = 4,       /* of four rows: a tile */
    ROWS = 4,        /* activation rows in registers */
    ROW_BLOCK = 64,  /* activation rows in the second level cache */
    TILE_BLOCK = 16, /* tiles that meet a row block before it goes */
    K_PIECE = 64,    /* blocks of 32: a piece of k */
};

#define INLINE static inline __attribute__((always_inline))

/* sum[r] = start[r] + the products of n_quads (4 or 8) quads of a part with row r's activations, for n rows
 * that lie x_stride blocks apart. A value times an activation is below 2^11 for n_quads = 8, but for those of
 * Q8_0 (wide), and below 2^13 for 4. All but the pointers are constants after inlining. */
INLINE void dots(int n, bool wide, int n_quads, const int8x16_t *w, const int8_t *x, size_t x_stride,
    const int32_t *start, int32x4_t *sum);

/* One part of a block, ready to be multiplied. */
struct weights {
    int8x16_t w[8];
    float32x4_t d, m;   /* scale and minimum of each row; Q4_K's and Q5_K's minimum is subtracted */
    int32x4_t scale[2]; /* Q6_K's integer scales of 16 k each */
};

INLINE float32x4_t halves(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

INLINE uint32x2_t four_bytes(const void *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return vdup_n_u32(word);
}

INLINE float32x4_t k_scale(const uint16_t *d, const uint8_t *scale)
{
    uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(four_bytes(scale)));
    return vmulq_f32(halves(d), vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide))));
}

INLINE int32x4_t signed_scale(const int8_t *scale)
{
    int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(four_bytes(scale)));
    return vmovl_s16(vget_low_s16(wide));
}

INLINE void nibbles(int8x16_t w[8], const uint8_t *q)
{
    for (int j = 0; j < 4; j++) {
        uint8x16_t v = vld1q_u8(q + 64 * j);
        w[2 * j] = vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15)));
        w[2 * j + 1] = vreinterpretq_s8_u8(vshrq_n_u8(v, 4));
    }
}

/* w | (v shifted to the left by `by`, which may be negative) & mask */
INLINE int8x16_t or_shifted(int8x16_t w, uint8x16_t v, int by, uint8_t mask)
{
    uint8x16_t bits = vandq_u8(vshlq_u8(v, vdupq_n_s8((int8_t)by)), vdupq_n_u8(mask));
    return vorrq_s8(w, vreinterpretq_s8_u8(bits));
}

INLINE void fifths(int8x16_t w[8], const uint8_t *high)
{
    uint8x16_t v = vld1q_u8(high);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        w[j] = or_shifted(w[j], v, 4 - j, 16);
}

INLINE void fifths_and_sixths(int8x16_t w[8], const uint8_t *high)
{
    for (int half = 0; half < 2; half++) {
        uint8x16_t v = vld1q_u8(high + 64 * half);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            w[4 * half + j] = or_shifted(w[4 * half + j], v, 4 - 2 * j, 48);
    }
}

/* Part p of block i of a tile. */
INLINE struct weights unpacked(enum type type, const void *tile, size_t i, int p)
{
    struct weights b;
    switch (type) {
    case Q4_0: {
        const struct pc_tile_q4_0 *t = (const struct pc_tile_q4_0 *)tile + i;
        nibbles(b.w, t->q + 16 * p);
        b.d = halves(t->d + 4 * p);
        break;
    }
    case Q4_1: {
        const struct pc_tile_q4_1 *t = (const struct pc_tile_q4_1 *)tile + i;
        nibbles(b.w, t->q + 16 * p);
        b.d = halves(t->d + 4 * p);
        b.m = halves(t->m + 4 * p);
        break;
    }
    case Q5_0: {
        const struct pc_tile_q5_0 *t = (const struct pc_tile_q5_0 *)tile + i;
        nibbles(b.w, t->q + 16 * p);
        fifths(b.w, t->high + 16 * p);
        b.d = halves(t->d + 4 * p);
        break;
    }
    case Q5_1: {
        const struct pc_tile_q5_1 *t = (const struct pc_tile_q5_1 *)tile + i;
        nibbles(b.w, t->q + 16 * p);
        fifths(b.w, t->high + 16 * p);
        b.d = halves(t->d + 4 * p);
        b.m = halves(t->m + 4 * p);
        break;
    }
    case Q8_0: {
        const struct pc_tile_q8_0 *t = (const struct pc_tile_q8_0 *)tile + i;
        for (int j = 0; j < 8; j++)
            b.w[j] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(t->q + 64 * j + 16 * p), vdupq_n_u8(128)));
        b.d = halves(t->d + 4 * p);
        break;
    }
    case Q4_K: {
        const struct pc_tile_q4_k *t = (const struct pc_tile_q4_k *)tile + i / 8;
        nibbles(b.w, t->part[i % 8].q + 16 * p);
        b.d = k_scale(t->d + 4 * p, t->scale[i % 8] + 4 * p);
        b.m = k_scale(t->dmin + 4 * p, t->min[i % 8] + 4 * p);
        break;
    }
    case Q5_K: {
        const struct pc_tile_q5_k *t = (const struct pc_tile_q5_k *)tile + i / 8;
        nibbles(b.w, t->part[i % 8].q + 16 * p);
        fifths(b.w, t->part[i % 8].high + 16 * p);
        b.d = k_scale(t->d + 4 * p, t->scale[i % 8] + 4 * p);
        b.m = k_scale(t->dmin + 4 * p, t->min[i % 8] + 4 * p);
        break;
    }
    case Q6_K: {
        const struct pc_tile_q6_k *t = (const struct pc_tile_q6_k *)tile + i / 8;
        nibbles(b.w, t->part[i % 8].q + 16 * p);
        fifths_and_sixths(b.w, t->part[i % 8].high + 16 * p);
        b.d = halves(t->d + 4 * p);
        for (size_t half = 0; half < 2; half++)
            b.scale[half] = signed_scale(t->scale[i % 8 * 2 + half] + 4 * p);
        break;
    }
    }
    return b;
}

/* The exact sums of a part's block with n rows. */
INLINE void sums(enum type type, int n, const struct weights *b, const struct pc_quant_block *x,
    size_t x_stride, int32x4_t *sum)
{
    int32_t start[ROWS], start_high[ROWS];
    for (int r = 0; r < n; r++) {
        const struct pc_quant_block *xr = x + (size_t)r * x_stride;
        start[r] = type == Q4_0 ? xr->less_8 : type == Q5_0 ? xr->less_16 : type == Q6_K ? xr->less_32[0] : 0;
        start_high[r] = xr->less_32[1];
    }
    if (type != Q6_K) {
        dots(n, type == Q8_0, 8, b->w, x->q, x_stride, start, sum);
        return;
    }
    int32x4_t high[ROWS];
    dots(n, false, 4, b->w, x->q, x_stride, start, sum);
    dots(n, false, 4, b->w + 4, x->q + 16, x_stride, start_high, high);
    for (int r = 0; r < n; r++)
        sum[r] = vmlaq_s32(vmulq_s32(sum[r], b->scale[0]), high[r], b->scale[1]);
}

INLINE size_t tile_size(enum type type, size_t n_blocks)
{
    static const size_t size[] = {sizeof(struct pc_tile_q4_0), sizeof(struct pc_tile_q4_1),
        sizeof(struct pc_tile_q5_0), sizeof(struct pc_tile_q5_1), sizeof(struct pc_tile_q8_0),
        sizeof(struct pc_tile_q4_k), sizeof(struct pc_tile_q5_k), sizeof(struct pc_tile_q6_k)};
    return (type >= Q4_K ? n_blocks / 8 : n_blocks) * size[type];
}

/* A tile's blocks [from, to) by n rows of activations: n is a constant after inlining, so that acc lives in
 * registers. Columns [0, 16) of y. */
INLINE void rows(enum type type, int n, float *y, size_t y_stride, const struct pc_quant_block *x,
    size_t x_stride, const void *tile, size_t from, size_t to)
{
    float32x4_t acc[ROWS][PARTS];
    for (int r = 0; r < n; r++)
        for (int p = 0; p < PARTS; p++)
            acc[r][p] = from ? vld1q_f32(y + (size_t)r * y_stride + 4 * p) : vdupq_n_f32(0);
    for (size_t i = from; i < to; i++)
#pragma GCC unroll 4
        for (int p = 0; p < PARTS; p++) {
            struct weights b = unpacked(type, tile, i, p);
            int32x4_t sum[ROWS];
            sums(type, n, &b, x + i, x_stride, sum);
#pragma GCC unroll 4
            for (int r = 0; r < n; r++) {
                const struct pc_quant_block *xr = x + (size_t)r * x_stride + i;
                float32x4_t a = vfmaq_f32(acc[r][p], vmulq_n_f32(b.d, xr->d), vcvtq_f32_s32(sum[r]));
                if (type == Q4_1 || type == Q5_1)
                    a = vfmaq_f32(a, b.m, vdupq_n_f32(xr->d_sum));
                if (type == Q4_K || type == Q5_K)
                    a = vfmsq_f32(a, b.m, vdupq_n_f32(xr->d_sum));
                acc[r][p] = a;
            }
        }
    for (int r = 0; r < n; r++)
        for (int p = 0; p < PARTS; p++)
            vst1q_f32(y + (size_t)r * y_stride + 4 * p, acc[r][p]);
}

INLINE void all_rows(enum type type, float *y, size_t y_stride, const struct pc_quant_block *x,
    size_t x_stride, size_t n_x, const void *tile, size_t from, size_t to)
{
    for (; n_x >= ROWS; n_x -= ROWS, y += ROWS * y_stride, x += ROWS * x_stride)
        rows(type, ROWS, y, y_stride, x, x_stride, tile, from, to);
    switch (n_x) {
    case 3: rows(type, 3, y, y_stride, x, x_stride, tile, from, to); break;
    case 2: rows(type, 2, y, y_stride, x, x_stride, tile, from, to); break;
    case 1: rows(type, 1, y, y_stride, x, x_stride, tile, from, to); break;
    default: break;
    }
}

static void copy_columns(
    float *dst, size_t dst_stride, const float *src, size_t src_stride, size_t n_rows, size_t n)
{
    for (size_t r = 0; r < n_rows; r++)
        memcpy(dst + r * dst_stride, src + r * src_stride, n * sizeof *dst);
}

/* One tile by at most ROW_BLOCK rows. Where fewer than 16 outputs exist, it goes by way of rows that have
 * room for all. */
INLINE void tile_rows(enum type type, float *y, size_t y_stride, size_t n_columns,
    const struct pc_quant_block *x, size_t x_stride, size_t n_x, const void *tile, size_t from, size_t to)
{
    float edge[ROW_BLOCK * PC_TILE_ROWS];
    bool whole = n_columns >= PC_TILE_ROWS;
    if (!whole && from)
        copy_columns(edge, PC_TILE_ROWS, y, y_stride, n_x, n_columns);
    all_rows(type, whole ? y : edge, whole ? y_stride : PC_TILE_ROWS, x, x_stride, n_x, tile, from, to);
    if (!whole)
        copy_columns(y, y_stride, edge, PC_TILE_ROWS, n_x, n_columns);
}

INLINE void multiply(enum type type, float *y, size_t y_stride, const void *xq, size_t n_x,
    const uint8_t *tiles, size_t n_out, size_t k)
{
    const size_t n_blocks = k / PC_QUANT_BLOCK, step = n_x > ROWS || !n_blocks ? K_PIECE : n_blocks,
                 x_stride = pc_quant_row_size(k) / sizeof(struct pc_quant_block);
    const struct pc_quant_block *x = xq;
    for (size_t first = 0; first < n_out; first += TILE_BLOCK * PC_TILE_ROWS)
        for (size_t from = 0; from == 0 || from < n_blocks; from += step)
            for (size_t i = 0; i < n_x; i += ROW_BLOCK)
                for (size_t j = first; j < n_out && j < first + TILE_BLOCK * PC_TILE_ROWS;
                     j += PC_TILE_ROWS) {
                    size_t to = n_blocks - from < step ? n_blocks : from + step;
                    tile_rows(type, y + i * y_stride + j, y_stride, n_out - j, x + i * x_stride, x_stride,
                        n_x - i < ROW_BLOCK ? n_x - i : ROW_BLOCK,
                        tiles + j / PC_TILE_ROWS * tile_size(type, n_blocks), from, to);
                }
}

#define MULTIPLY(name, type)                                                                                 \
    static void multiply_##name(                                                                             \
        float *y, size_t y_stride, const void *xq, size_t n_x, const void *tiles, size_t n_out, size_t k)    \
    {                                                                                                        \
        multiply(type, y, y_stride, xq, n_x, tiles, n_out, k);                                               \
    }

MULTIPLY(q4_0, Q4_0)
MULTIPLY(q4_1, Q4_1)
MULTIPLY(q5_0, Q5_0)
MULTIPLY(q5_1, Q5_1)
MULTIPLY(q8_0, Q8_0)
MULTIPLY(q4_k, Q4_K)
MULTIPLY(q5_k, Q5_K)
MULTIPLY(q6_k, Q6_K)

static void fill(struct pc_packed *table)
{
    table->type[PC_Q4_0].multiply = multiply_q4_0;
    table->type[PC_Q4_1].multiply = multiply_q4_1;
    table->type[PC_Q5_0].multiply = multiply_q5_0;
    table->type[PC_Q5_1].multiply = multiply_q5_1;
    table->type[PC_Q8_0].multiply = multiply_q8_0;
    table->type[PC_Q4_K].multiply = multiply_q4_k;
    table->type[PC_Q5_K].multiply = multiply_q5_k;
    table->type[PC_Q6_K].multiply = multiply_q6_k;
}

#endif
