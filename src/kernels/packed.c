// SPDX-License-Identifier: Apache-2.0
#include "kernels/packed.h"

#include "base/cpu.h"
#include "kernels/float_bits.h"
#include "kernels/packed_layout.h"
#include "kernels/packed_tiles.h"

#include <math.h>
#include <string.h>

size_t pc_quant_row_size(size_t k)
{
    return (k / PC_QUANT_BLOCK | 1) * sizeof(struct pc_quant_block);
}

static struct pc_quant_block quantise_block(const float *x)
{
    float most = 0;
    struct pc_quant_block b = {0};
    for (int i = 0; i < PC_QUANT_BLOCK; i++) {
        if (!isfinite(x[i]))
            return (struct pc_quant_block){.d = NAN, .d_sum = NAN};
        most = fmaxf(most, fabsf(x[i]));
    }
    if (most < PC_QUANT_LEAST)
        return b;
    float inverse = 127 / most;
    int sum[2] = {0};
    for (int i = 0; i < PC_QUANT_BLOCK; i++) {
        b.q[i] = (int8_t)rintf(x[i] * inverse);
        sum[i / 16] += b.q[i];
    }
    b.d = most / 127;
    b.d_sum = b.d * (float)(sum[0] + sum[1]);
    b.less_8 = -8 * (sum[0] + sum[1]);
    b.less_16 = -16 * (sum[0] + sum[1]);
    b.less_128 = -128 * (sum[0] + sum[1]);
    b.less_32[0] = -32 * sum[0];
    b.less_32[1] = -32 * sum[1];
    return b;
}

static void quantise(void *dst, const float *x, size_t k)
{
    struct pc_quant_block *b = dst;
    for (size_t i = 0; i < k / PC_QUANT_BLOCK; i++)
        b[i] = quantise_block(x + i * PC_QUANT_BLOCK);
    if (k / PC_QUANT_BLOCK % 2 == 0)
        b[k / PC_QUANT_BLOCK] = (struct pc_quant_block){0};
}

/* What row r of a tile's block has to say to 32 activations: acc = fmaf(d * x.d, sum, acc), then
 * fmaf(m, x.d_sum, acc). */
struct term {
    float d, m;
    int32_t sum;
};

static int nibble(const uint8_t *q, int r, int e)
{
    uint8_t pair = q[e / 8 * 64 + 4 * r + e % 4];
    return e / 4 % 2 ? pair >> 4 : pair & 15;
}

static int bit_4(const uint8_t *high, int r, int e)
{
    return (high[4 * r + e % 4] >> (e / 4) & 1) << 4;
}

static int bits_4_5(const uint8_t *high, int r, int e)
{
    return (high[e / 16 * 64 + 4 * r + e % 4] >> (e / 4 % 4 * 2) & 3) << 4;
}

static int32_t sum_4(const uint8_t *q, int r, const int8_t *x)
{
    int32_t sum = 0;
    for (int e = 0; e < PC_QUANT_BLOCK; e++)
        sum += nibble(q, r, e) * x[e];
    return sum;
}

static int32_t sum_5(const uint8_t *q, const uint8_t *high, int r, const int8_t *x)
{
    int32_t sum = 0;
    for (int e = 0; e < PC_QUANT_BLOCK; e++)
        sum += (nibble(q, r, e) | bit_4(high, r, e)) * x[e];
    return sum;
}

static int32_t sum_6(const uint8_t *q, const uint8_t *high, int r, const int8_t *x, int half)
{
    int32_t sum = 0;
    for (int e = 16 * half; e < 16 * half + 16; e++)
        sum += (nibble(q, r, e) | bits_4_5(high, r, e)) * x[e];
    return sum;
}

static int32_t sum_8(const uint8_t *q, int r, const int8_t *x)
{
    int32_t sum = 0;
    for (int e = 0; e < PC_QUANT_BLOCK; e++)
        sum += q[e / 4 * 64 + 4 * r + e % 4] * x[e];
    return sum;
}

static struct term term_q4_0(const void *tile, size_t i, int r, const struct pc_quant_block *x)
{
    const struct pc_tile_q4_0 *b = (const struct pc_tile_q4_0 *)tile + i;
    return (struct term){.d = pc_f16_to_f32(b->d[r]), .sum = sum_4(b->q, r, x->q) + x->less_8};
}

static struct term term_q4_1(const void *tile, size_t i, int r, const struct pc_quant_block *x)
{
    const struct pc_tile_q4_1 *b = (const struct pc_tile_q4_1 *)tile + i;
    return (struct term){pc_f16_to_f32(b->d[r]), pc_f16_to_f32(b->m[r]), sum_4(b->q, r, x->q)};
}

static struct term term_q5_0(const void *tile, size_t i, int r, const struct pc_quant_block *x)
{
    const struct pc_tile_q5_0 *b = (const struct pc_tile_q5_0 *)tile + i;
    return (struct term){.d = pc_f16_to_f32(b->d[r]), .sum = sum_5(b->q, b->high, r, x->q) + x->less_16};
}

static struct term term_q5_1(const void *tile, size_t i, int r, const struct pc_quant_block *x)
{
    const struct pc_tile_q5_1 *b = (const struct pc_tile_q5_1 *)tile + i;
    return (struct term){pc_f16_to_f32(b->d[r]), pc_f16_to_f32(b->m[r]), sum_5(b->q, b->high, r, x->q)};
}

static struct term term_q8_0(const void *tile, size_t i, int r, const struct pc_quant_block *x)
{
    const struct pc_tile_q8_0 *b = (const struct pc_tile_q8_0 *)tile + i;
    return (struct term){.d = pc_f16_to_f32(b->d[r]), .sum = sum_8(b->q, r, x->q) + x->less_128};
}

static struct term term_q4_k(const void *tile, size_t i, int r, const struct pc_quant_block *x)
{
    const struct pc_tile_q4_k *b = (const struct pc_tile_q4_k *)tile + i / 8;
    return (struct term){pc_f16_to_f32(b->d[r]) * (float)b->scale[i % 8][r],
        -(pc_f16_to_f32(b->dmin[r]) * (float)b->min[i % 8][r]), sum_4(b->part[i % 8].q, r, x->q)};
}

static struct term term_q5_k(const void *tile, size_t i, int r, const struct pc_quant_block *x)
{
    const struct pc_tile_q5_k *b = (const struct pc_tile_q5_k *)tile + i / 8;
    return (struct term){pc_f16_to_f32(b->d[r]) * (float)b->scale[i % 8][r],
        -(pc_f16_to_f32(b->dmin[r]) * (float)b->min[i % 8][r]),
        sum_5(b->part[i % 8].q, b->part[i % 8].high, r, x->q)};
}

static struct term term_q6_k(const void *tile, size_t i, int r, const struct pc_quant_block *x)
{
    const struct pc_tile_q6_k *b = (const struct pc_tile_q6_k *)tile + i / 8;
    int32_t sum = 0;
    for (int half = 0; half < 2; half++)
        sum += b->scale[i % 8 * 2 + (size_t)half][r] *
               (sum_6(b->part[i % 8].q, b->part[i % 8].high, r, x->q, half) + x->less_32[half]);
    return (struct term){.d = pc_f16_to_f32(b->d[r]), .sum = sum};
}

/* A template: term and has_min are constants of each caller. */
static inline void multiply(
    struct term (*term)(const void *tile, size_t i, int r, const struct pc_quant_block *x), bool has_min,
    uint64_t tile_size, float *y, size_t y_stride, const void *xq, size_t n_x, const void *tiles,
    size_t n_out, size_t k)
{
    for (size_t j = 0; j < n_out; j++)
        for (size_t i = 0; i < n_x; i++) {
            const char *tile = (const char *)tiles + j / PC_TILE_ROWS * tile_size;
            const struct pc_quant_block *x = (const void *)((const char *)xq + i * pc_quant_row_size(k));
            float acc = 0;
            for (size_t b = 0; b < k / PC_QUANT_BLOCK; b++) {
                struct term t = term(tile, b, (int)(j % PC_TILE_ROWS), &x[b]);
                acc = fmaf(t.d * x[b].d, (float)t.sum, acc);
                if (has_min)
                    acc = fmaf(t.m, x[b].d_sum, acc);
            }
            y[i * y_stride + j] = acc;
        }
}

#define MULTIPLY(type, n_block, has_min)                                                                     \
    static void multiply_##type(                                                                             \
        float *y, size_t y_stride, const void *xq, size_t n_x, const void *tiles, size_t n_out, size_t k)    \
    {                                                                                                        \
        multiply(term_##type, has_min, k / (n_block) * sizeof(struct pc_tile_##type), y, y_stride, xq, n_x,  \
            tiles, n_out, k);                                                                                \
    }

MULTIPLY(q4_0, 32, false)
MULTIPLY(q4_1, 32, true)
MULTIPLY(q5_0, 32, false)
MULTIPLY(q5_1, 32, true)
MULTIPLY(q8_0, 32, false)
MULTIPLY(q4_k, 256, true)
MULTIPLY(q5_k, 256, true)
MULTIPLY(q6_k, 256, false)

void pc_packed_init(struct pc_packed *table, unsigned cpu_flags)
{
    *table = (struct pc_packed){.quantise = quantise,
        .type = {
            [PC_Q4_0] = {sizeof(struct pc_tile_q4_0), pc_pack_q4_0, multiply_q4_0},
            [PC_Q4_1] = {sizeof(struct pc_tile_q4_1), pc_pack_q4_1, multiply_q4_1},
            [PC_Q5_0] = {sizeof(struct pc_tile_q5_0), pc_pack_q5_0, multiply_q5_0},
            [PC_Q5_1] = {sizeof(struct pc_tile_q5_1), pc_pack_q5_1, multiply_q5_1},
            [PC_Q8_0] = {sizeof(struct pc_tile_q8_0), pc_pack_q8_0, multiply_q8_0},
            [PC_Q4_K] = {sizeof(struct pc_tile_q4_k), pc_pack_q4_k, multiply_q4_k},
            [PC_Q5_K] = {sizeof(struct pc_tile_q5_k), pc_pack_q5_k, multiply_q5_k},
            [PC_Q6_K] = {sizeof(struct pc_tile_q6_k), pc_pack_q6_k, multiply_q6_k},
        }};
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_packed_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX_VNNI
    if (cpu_flags & PC_CPU_AVX_VNNI)
        pc_packed_init_avx_vnni(table);
#endif
#ifdef PC_HAVE_AVX512_VNNI
    if (!(cpu_flags & PC_CPU_AVX512_VNNI))
        return;
    pc_packed_init_avx512_vnni(table);
#endif
#ifdef PC_HAVE_NEON
    if (!(cpu_flags & PC_CPU_NEON))
        return;
    pc_packed_init_neon(table);
#endif
#ifdef PC_HAVE_DOTPROD
    if (!(cpu_flags & PC_CPU_DOTPROD))
        return;
    pc_packed_init_dotprod(table);
#endif
#ifdef PC_HAVE_I8MM
    if (!(cpu_flags & PC_CPU_I8MM))
        return;
    pc_packed_init_i8mm(table);
#endif
    (void)cpu_flags;
}

uint64_t pc_packed_tile_size(const struct pc_packed *table, enum pc_dtype dtype, uint64_t k)
{
    return k / pc_dtype_traits(dtype)->n_block * table->type[dtype].block_size;
}

uint64_t pc_packed_size(const struct pc_packed *table, enum pc_dtype dtype, uint64_t n_out, uint64_t k)
{
    return (n_out + PC_TILE_ROWS - 1) / PC_TILE_ROWS * pc_packed_tile_size(table, dtype, k);
}
