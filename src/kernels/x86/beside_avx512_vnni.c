// SPDX-License-Identifier: Apache-2.0
/* Sixteen outputs are one register, and a quad of k is 64 weights, which VPDPBUSD multiplies with four
 * activations broadcast to every lane (packed_avx512_vnni.c). Four bits of a sign's row and sixteen rows are
 * the mask of a register of twos: sum of +-q = 2 * sum of q where the bit is set - sum of q. */
#include "kernels/beside.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { MOST_ROWS = 4, AHEAD = 2048 };

INLINE __m512i quad_of(const struct pc_quant_block *x, size_t j)
{
    int32_t quad;
    memcpy(&quad, x->q + 4 * j, sizeof quad);
    return _mm512_set1_epi32(quad);
}

INLINE void put(const struct pc_beside_call *c, size_t i, size_t j, __m512 acc)
{
    size_t left = c->n_out - j;
    __mmask16 lanes = left < PC_TILE_ROWS ? (__mmask16)((1u << left) - 1) : 0xffff;
    float *y = c->y + i * c->y_stride + j;
    _mm512_mask_storeu_ps(y, lanes, _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, y), acc));
}

/* n is a constant after inlining. */
INLINE void factor_rows(const struct pc_beside_call *c, const unsigned char *block, size_t i, size_t j, int n)
{
    __m512 acc[MOST_ROWS];
    for (int r = 0; r < n; r++)
        acc[r] = _mm512_setzero_ps();
    for (size_t at = 0, n_quads; at < c->k; at += PC_QUANT_BLOCK) {
        const struct pc_beside_block *b = (const void *)block;
        const struct pc_quant_block *x[MOST_ROWS];
        __m512i sum[MOST_ROWS];
        n_quads = pc_beside_quads(c->k, at);
        for (int r = 0; r < n; r++) {
            x[r] = pc_beside_row(c, i + (size_t)r) + at / PC_QUANT_BLOCK;
            sum[r] = _mm512_set1_epi32(x[r]->less_128);
        }
        for (size_t quad = 0; quad < n_quads; quad++) {
            __m512i w = _mm512_loadu_si512(b->q + 64 * quad);
            for (int r = 0; r < n; r++)
                sum[r] = _mm512_dpbusd_epi32(sum[r], w, quad_of(x[r], quad));
        }
        __m512 d = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)b->d));
        for (int r = 0; r < n; r++)
            acc[r] = _mm512_fmadd_ps(
                _mm512_mul_ps(d, _mm512_set1_ps(x[r]->d)), _mm512_cvtepi32_ps(sum[r]), acc[r]);
        block += pc_beside_block_size(n_quads);
    }
    for (int r = 0; r < n; r++)
        put(c, i + (size_t)r, j, acc[r]);
}

INLINE void sign_rows(
    const struct pc_beside_call *c, const struct pc_beside_bits *b, size_t i, size_t j, int n)
{
    const __m512i two = _mm512_set1_epi8(2);
    size_t left = c->n_out - j;
    __mmask16 lanes = left < PC_TILE_ROWS ? (__mmask16)((1u << left) - 1) : 0xffff;
    __m512 acc[MOST_ROWS], scale = _mm512_maskz_loadu_ps(lanes, c->scale + j);
    for (int r = 0; r < n; r++)
        acc[r] = _mm512_setzero_ps();
    for (size_t at = 0; at < c->k / PC_QUANT_BLOCK; at++, b++) {
        const struct pc_quant_block *x[MOST_ROWS];
        __m512i sum[MOST_ROWS];
        _mm_prefetch((const char *)b + AHEAD, _MM_HINT_T0);
        for (int r = 0; r < n; r++) {
            x[r] = pc_beside_row(c, i + (size_t)r) + at;
            sum[r] = _mm512_set1_epi32(x[r]->less_8 / 8);
        }
#pragma GCC unroll 8
        for (size_t quad = 0; quad < 8; quad++) {
            __m512i w = _mm512_maskz_mov_epi8((__mmask64)b->quad[quad], two);
            for (int r = 0; r < n; r++)
                sum[r] = _mm512_dpbusd_epi32(sum[r], w, quad_of(x[r], quad));
        }
        for (int r = 0; r < n; r++)
            acc[r] = _mm512_fmadd_ps(_mm512_set1_ps(x[r]->d), _mm512_cvtepi32_ps(sum[r]), acc[r]);
    }
    for (int r = 0; r < n; r++)
        put(c, i + (size_t)r, j, _mm512_mul_ps(scale, acc[r]));
}

/* All rows by one tile, as many at once as are left. */
#define ROWS(FN, TILE)                                                                                       \
    for (size_t i = 0, n; i < c->n_x; i += n) {                                                              \
        n = c->n_x - i < MOST_ROWS ? c->n_x - i : MOST_ROWS;                                                 \
        switch (n) {                                                                                         \
        case 4: FN(c, TILE, i, j, 4); break;                                                                 \
        case 3: FN(c, TILE, i, j, 3); break;                                                                 \
        case 2: FN(c, TILE, i, j, 2); break;                                                                 \
        default: FN(c, TILE, i, j, 1); break;                                                                \
        }                                                                                                    \
    }

static void add_factor(const struct pc_beside_call *c)
{
    const unsigned char *tiles = c->tiles;
    size_t size = pc_beside_factor_tile(c->k);
    for (size_t j = 0; j < c->n_out; j += PC_TILE_ROWS) {
        for (size_t line = 0; line < size; line += 64)
            _mm_prefetch((const char *)tiles + AHEAD + line, _MM_HINT_T0);
        ROWS(factor_rows, tiles)
        tiles += size;
    }
}

static void add_signs(const struct pc_beside_call *c)
{
    const struct pc_beside_bits *tiles = c->tiles;
    for (size_t j = 0; j < c->n_out; j += PC_TILE_ROWS, tiles += c->k / PC_QUANT_BLOCK)
        ROWS(sign_rows, tiles)
}

void pc_beside_init_avx512_vnni(struct pc_beside *table)
{
    *table = (struct pc_beside){add_factor, add_signs};
}
