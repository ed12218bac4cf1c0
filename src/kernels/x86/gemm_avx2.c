// SPDX-License-Identifier: Apache-2.0
/* gemm.h in 256 bits: blocks of four rows by half a panel, twelve accumulators. Pairs of BF16 are taken apart
 * into floats in registers and multiplied odd ones first; the flushing that belongs to them is the
 * processor's own mode, switched on around a block's sums and off before anything else is computed. */
#include "kernels/x86/flush_mode.h"
#include "kernels/x86/gemm_fetch.h"
#include "kernels/x86/gemm_functions.h"
#include "kernels/x86/transpose_avx2.h"

#include <string.h>

enum { LANES = 8, ROWS = 4, WIDTH = 3, HALF = LANES * WIDTH, STEPS = 8 };

/* ---- products ---- */

INLINE __m256 odd(__m256i pairs)
{
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000)));
}

INLINE __m256 even(__m256i pairs)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
}

INLINE __m256i broadcast(const char *a, size_t size)
{
    int32_t x = 0;
    memcpy(&x, a, size);
    return _mm256_set1_epi32(x);
}

/* One step of a block. */
INLINE void step(enum operand t, int n_rows, int n_wide, __m256 sum[ROWS][WIDTH], const char *const row[ROWS],
    size_t at, const float *panel, size_t a_size)
{
    __m256 b[WIDTH];
#pragma GCC unroll 2
    for (int part = 0; part < (int)t; part++) {
#pragma GCC unroll 3
        for (int j = 0; j < n_wide; j++) {
            __m256 v = _mm256_load_ps(panel + j * LANES);
            b[j] = t == FLOATS ? v : part == 0 ? odd(_mm256_castps_si256(v)) : even(_mm256_castps_si256(v));
        }
#pragma GCC unroll 4
        for (int i = 0; i < n_rows; i++) {
            __m256i v = broadcast(row[i] + at, a_size);
            __m256 x = t == FLOATS ? _mm256_castsi256_ps(v) : part == 0 ? odd(v) : even(v);
#pragma GCC unroll 3
            for (int j = 0; j < n_wide; j++)
                sum[i][j] = _mm256_fmadd_ps(x, b[j], sum[i][j]);
        }
    }
}

/* The totals of one block of c, in out and from there: (n_rows, HALF). n_rows and n_wide are constants after
 * inlining. */
INLINE void block(enum operand t, int n_rows, int n_wide, const struct pc_gemm_call *call, const char *a,
    const float *panel, float *out, struct fetching *next)
{
    __m256 sum[ROWS][WIDTH];
    const char *row[ROWS];
#pragma GCC unroll 4
    for (int i = 0; i < n_rows; i++) {
        row[i] = a + (size_t)i * call->a_row;
#pragma GCC unroll 3
        for (int j = 0; j < n_wide; j++)
            sum[i][j] = _mm256_load_ps(out + i * HALF + j * LANES);
    }
    const size_t a_step = call->a_step;
    size_t at = 0;
    for (size_t left = call->k / (size_t)t; left > 0;) {
        size_t n = left < STRETCH ? left : STRETCH;
        left -= n;
        fetch_lines(next);
        for (; n > 0; n--, at += a_step, panel += PC_GEMM_PANEL)
            step(t, n_rows, n_wide, sum, row, at, panel, sizeof(float));
    }
    if (t == PAIRS && call->k % 2)
        step(t, n_rows, n_wide, sum, row, at, panel, sizeof(uint16_t));
#pragma GCC unroll 4
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < n_wide; j++)
            _mm256_store_ps(out + i * HALF + j * LANES, sum[i][j]);
}

INLINE void block_of(enum operand t, size_t n_rows, int n_wide, const struct pc_gemm_call *call,
    const char *a, const float *panel, float *out, struct fetching *next)
{
    switch (n_rows) {
    case 4: block(t, 4, n_wide, call, a, panel, out, next); break;
    case 3: block(t, 3, n_wide, call, a, panel, out, next); break;
    case 2: block(t, 2, n_wide, call, a, panel, out, next); break;
    default: block(t, 1, n_wide, call, a, panel, out, next); break;
    }
}

/* Rows [i, i + n_rows) by columns [j, j + n) of half a panel. */
INLINE void half_panel(enum operand t, const struct pc_gemm_call *call, size_t i, size_t n_rows, size_t j,
    size_t n, const float *panel, struct fetching *next)
{
    _Alignas(32) float total[ROWS * HALF] = {0};
    const char *a = (const char *)call->a + i * call->a_row;
    for (size_t r = 0; r < n_rows; r++) {
        if (call->start)
            memcpy(total + r * HALF, call->start + (i + r) * call->start_stride + j, n * sizeof *total);
        for (size_t at = 0; at < n; at += LINE / sizeof(float))
            _mm_prefetch((const char *)(call->c + (i + r) * call->c_stride + j + at), _MM_HINT_T0);
    }
    unsigned mode = _mm_getcsr();
    if (t == PAIRS)
        pc_set_mode(mode | PC_FLUSH);
    switch ((n + LANES - 1) / LANES) {
    case 3: block_of(t, n_rows, 3, call, a, panel, total, next); break;
    case 2: block_of(t, n_rows, 2, call, a, panel, total, next); break;
    default: block_of(t, n_rows, 1, call, a, panel, total, next); break;
    }
    if (t == PAIRS)
        pc_set_mode(mode);
    for (size_t r = 0; r < n_rows; r++) {
        float *c = call->c + (i + r) * call->c_stride + j;
        if (call->add)
            for (size_t m = 0; m < n; m++)
                c[m] += total[r * HALF + m];
        else
            memcpy(c, total + r * HALF, n * sizeof *c);
    }
}

/* Rows by fours (by threes where a register goes to a mask), evenly divided; each over all panels. */
INLINE void multiply(enum operand t, const struct pc_gemm_call *call)
{
    const size_t most = t == FLOATS ? ROWS : ROWS - 1;
    size_t parts = (call->n_rows + most - 1) / most, halves = (call->n_columns + HALF - 1) / HALF;
    size_t panel_size = (call->k + (size_t)t - 1) / (size_t)t * PC_GEMM_PANEL;
    struct fetching next = begin_fetching(&call->fetch, parts * halves * (call->k / (size_t)t / STRETCH + 1));
    for (size_t p = 0; p < parts; p++) {
        size_t i = call->n_rows * p / parts, n_rows = call->n_rows * (p + 1) / parts - i;
        for (size_t j = 0; j < call->n_columns; j += HALF) {
            const float *panel =
                (const float *)call->panels + j / PC_GEMM_PANEL * panel_size + j % PC_GEMM_PANEL;
            half_panel(
                t, call, i, n_rows, j, call->n_columns - j < HALF ? call->n_columns - j : HALF, panel, &next);
        }
    }
}

/* ---- packing ---- */

INLINE size_t size_of(enum pc_dtype dtype)
{
    return dtype == PC_F32 ? sizeof(float) : sizeof(uint16_t);
}

/* F32 bits rounded to the BF16 in their upper half: as bf16.h's round. */
INLINE __m256i rounded(__m256i x)
{
    const __m256i size = _mm256_set1_epi32(0x7fffffff), upper = _mm256_set1_epi32((int)0xffff0000);
    __m256i magnitude = _mm256_and_si256(x, size),
            least = _mm256_and_si256(_mm256_srli_epi32(x, 16), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(x, _mm256_add_epi32(least, _mm256_set1_epi32(0x7fff)));
    __m256i nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f800000));
    __m256i tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x00800000), magnitude);
    up = _mm256_blendv_epi8(up, _mm256_or_si256(x, _mm256_set1_epi32(0x00400000)), nan);
    up = _mm256_blendv_epi8(up, _mm256_andnot_si256(size, x), tiny);
    return _mm256_and_si256(up, upper);
}

/* The first n (at most 8) elements widened to F32, zeros behind. */
INLINE __m256i load(enum pc_dtype dtype, const char *from, size_t n)
{
    uint32_t few[LANES] = {0};
    if (n < LANES)
        from = memcpy(few, from, n * size_of(dtype));
    return dtype == PC_F32
               ? _mm256_loadu_si256((const __m256i *)from)
               : _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)from)), 16);
}

/* In its upper half, as packing wants it: BF16 keeps its bits. */
INLINE __m256i load_bf16(enum pc_dtype dtype, const char *from, size_t n)
{
    return dtype == PC_F32 ? rounded(load(dtype, from, n)) : load(dtype, from, n);
}

/* Eight steps of a row; n elements, zeros behind. */
INLINE __m256i load_steps(enum operand t, enum pc_dtype dtype, const char *from, size_t n)
{
    if (t == FLOATS)
        return load(dtype, from, n);
    size_t low = n < LANES ? n : LANES;
    __m256i v[2] = {load_bf16(dtype, from, low), load_bf16(dtype, from + LANES * size_of(dtype), n - low)};
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) /* pairs into the lower half of 64 bits */
        v[i] = _mm256_or_si256(_mm256_srli_epi64(v[i], 32),
            _mm256_and_si256(_mm256_srli_epi64(v[i], 16), _mm256_set1_epi64x(0xffff)));
    __m256 both = _mm256_shuffle_ps(_mm256_castsi256_ps(v[0]), _mm256_castsi256_ps(v[1]), 0x88);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(both), 0xd8);
}

INLINE void store(float *to, __m256i v)
{
    _mm256_store_si256((__m256i *)to, v);
}

INLINE void turn_rows(
    enum operand t, enum pc_dtype dtype, float *panel, const char *from, size_t stride, size_t n, size_t k)
{
    const size_t most = STEPS * (size_t)t, lanes = (n + PC_GEMM_LANES - 1) / PC_GEMM_LANES * PC_GEMM_LANES;
    for (size_t i = 0; i < lanes; i += LANES)
        for (size_t at = 0; at < k; at += most) {
            size_t some = k - at < most ? k - at : most, steps = (some + (size_t)t - 1) / (size_t)t;
            float *to = panel + at / (size_t)t * PC_GEMM_PANEL + i;
            __m256i v[LANES];
#pragma GCC unroll 8
            for (size_t r = 0; r < LANES; r++)
                v[r] = i + r < n ? load_steps(t, dtype, from + (i + r) * stride + at * size_of(dtype), some)
                                 : _mm256_setzero_si256();
            pc_transpose_avx2(v);
            for (size_t s = 0; s < steps; s++)
                store(to + s * PC_GEMM_PANEL, v[s]);
        }
}

/* Eight columns of a step; odd: the last, which has one row. */
INLINE __m256i load_columns(
    enum operand t, enum pc_dtype dtype, const char *from, size_t stride, size_t n, bool half)
{
    if (t == FLOATS)
        return load(dtype, from, n);
    __m256i second = half ? _mm256_setzero_si256() : load_bf16(dtype, from + stride, n);
    return _mm256_or_si256(second, _mm256_srli_epi32(load_bf16(dtype, from, n), 16));
}

INLINE void copy_columns(
    enum operand t, enum pc_dtype dtype, float *panel, const char *from, size_t stride, size_t n, size_t k)
{
    const size_t lanes = (n + PC_GEMM_LANES - 1) / PC_GEMM_LANES * PC_GEMM_LANES;
    for (size_t at = 0; at < k; at += (size_t)t, from += stride * (size_t)t, panel += PC_GEMM_PANEL) {
        size_t i = 0;
        for (; i + LANES <= n; i += LANES)
            store(panel + i,
                load_columns(t, dtype, from + i * size_of(dtype), stride, LANES, k - at < (size_t)t));
        for (; i < lanes; i += LANES)
            store(panel + i,
                i < n ? load_columns(t, dtype, from + i * size_of(dtype), stride, n - i, k - at < (size_t)t)
                      : _mm256_setzero_si256());
    }
}

GEMM(FLOATS, f32)
GEMM(PAIRS, bf16)

void pc_gemm_init_avx2(struct pc_gemm *table)
{
    *table = (struct pc_gemm){g_f32, g_bf16};
}
