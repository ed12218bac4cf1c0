// SPDX-License-Identifier: Apache-2.0
/* gemm.h in 512 bits: a block of up to eight rows by 48 columns keeps 24 accumulators, and a step of it is
 * eleven loads for 24 products, which two loads and two products a cycle do in twelve. The panel streams from
 * the second level cache, eight rows at a time wait in the first. c is sent for when a block begins; what the
 * next call wants is fetched a few lines every so many steps, for in bursts it would wait for itself. An
 * output is one lane of one accumulator: its chain is the contract's by itself.
 * Without BF16 products a step of pairs is two, as in 256 bits.
 *
 * Packing turns 16 vectors by 16 steps at a time in registers, or copies what lies right already. */
#ifndef PC_KERNELS_GEMM_AVX512_H
#define PC_KERNELS_GEMM_AVX512_H

#include "kernels/x86/flush_mode.h"
#include "kernels/x86/gemm_fetch.h"
#include "kernels/x86/gemm_functions.h"
#include "kernels/x86/transpose_avx512.h"

#include <string.h>

enum { LANES = PC_GEMM_LANES, ROWS = 8, WIDTH = PC_GEMM_PANEL / LANES };

#ifdef __AVX512BF16__
enum { HAS_PAIRS = 1 };
#else
enum { HAS_PAIRS = 0 };
#endif

/* A step of pairs that the processor cannot multiply is two: the odd elements', then the even ones'. */
INLINE int parts_of(enum operand t)
{
    return t == PAIRS && !HAS_PAIRS ? 2 : 1;
}

INLINE __m512 part_of(enum operand t, int part, __m512 v)
{
    if (parts_of(t) == 1)
        return v;
    __m512i bits = _mm512_castps_si512(v);
    return _mm512_castsi512_ps(
        part == 0 ? _mm512_and_si512(bits, _mm512_set1_epi32((int)0xffff0000)) : _mm512_slli_epi32(bits, 16));
}

INLINE __m512 multiply_part(enum operand t, __m512 total, __m512 a, __m512 b)
{
#ifdef __AVX512BF16__
    if (t == PAIRS)
        return _mm512_dpbf16_ps(total, (__m512bh)a, (__m512bh)b);
#endif
    (void)t;
    return _mm512_fmadd_ps(a, b, total);
}

INLINE __m512 broadcast(const char *a)
{
    float x;
    memcpy(&x, a, sizeof x);
    return _mm512_set1_ps(x);
}

/* The last element of an odd number, and a zero. */
INLINE __m512 broadcast_half(const char *a)
{
    uint16_t x;
    memcpy(&x, a, sizeof x);
    return _mm512_castsi512_ps(_mm512_set1_epi32(x));
}

/* Step at of every row; half: it is one element. */
INLINE void step(enum operand t, int n_rows, int n_wide, __m512 sum[ROWS][WIDTH], const char *const row[ROWS],
    size_t at, const float *panel, bool half)
{
#pragma GCC unroll 2
    for (int part = 0; part < parts_of(t); part++) {
        __m512 b[WIDTH];
#pragma GCC unroll 3
        for (int j = 0; j < n_wide; j++)
            b[j] = part_of(t, part, _mm512_load_ps(panel + j * LANES));
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; i++) {
            __m512 x = part_of(t, part, half ? broadcast_half(row[i] + at) : broadcast(row[i] + at));
#pragma GCC unroll 3
            for (int j = 0; j < n_wide; j++)
                sum[i][j] = multiply_part(t, sum[i][j], x, b[j]);
        }
    }
}

/* One block of c. n_rows and n_wide are constants after inlining, so that sums live in registers; last masks
 * the columns of the last vector. */
INLINE void block(enum operand t, int n_rows, int n_wide, const struct pc_gemm_call *call, const char *a,
    const float *panel, float *c, const float *start, __mmask16 last, struct fetching *next)
{
    __m512 sum[ROWS][WIDTH];
    const char *row[ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
        row[i] = a + (size_t)i * call->a_row;
#pragma GCC unroll 3
        for (int j = 0; j < n_wide; j++)
            sum[i][j] = start ? _mm512_maskz_loadu_ps(j + 1 < n_wide ? 0xffff : last,
                                    start + (size_t)i * call->start_stride + j * LANES)
                              : _mm512_setzero_ps();
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j <= n_wide; j++)
            _mm_prefetch((const char *)(c + (size_t)i * call->c_stride) + j * LINE, _MM_HINT_T0);
    const size_t a_step = call->a_step;
    size_t at = 0;
    unsigned mode = parts_of(t) == 2 ? _mm_getcsr() : 0;
    if (parts_of(t) == 2)
        pc_set_mode(mode | PC_FLUSH);
    for (size_t left = call->k / (size_t)t; left > 0;) {
        size_t n = left < STRETCH ? left : STRETCH;
        left -= n;
        fetch_lines(next);
        for (; n > 0; n--, at += a_step, panel += PC_GEMM_PANEL)
            step(t, n_rows, n_wide, sum, row, at, panel, false);
    }
    if (t == PAIRS && call->k % 2)
        step(t, n_rows, n_wide, sum, row, at, panel, true);
    if (parts_of(t) == 2) {
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 3
            for (int j = 0; j < n_wide; j++)
                __asm__ volatile("" : "+v"(sum[i][j])); /* no sum after the mode has changed */
        pc_set_mode(mode);
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < n_wide; j++) {
            float *to = c + (size_t)i * call->c_stride + j * LANES;
            __mmask16 mask = j + 1 < n_wide ? 0xffff : last;
            if (call->add)
                sum[i][j] = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), sum[i][j]);
            _mm512_mask_storeu_ps(to, mask, sum[i][j]);
        }
}

INLINE void block_of(enum operand t, int n_rows, size_t n_columns, const struct pc_gemm_call *call,
    const char *a, const float *panel, float *c, const float *start, struct fetching *next)
{
    __mmask16 last = (__mmask16)(0xffff >> (LANES - 1 - (n_columns - 1) % LANES));
    switch ((n_columns - 1) / LANES) {
    case 2: block(t, n_rows, 3, call, a, panel, c, start, last, next); break;
    case 1: block(t, n_rows, 2, call, a, panel, c, start, last, next); break;
    default: block(t, n_rows, 1, call, a, panel, c, start, last, next); break;
    }
}

/* Rows by eights, evenly divided; each eight over all panels. */
INLINE void multiply(enum operand t, const struct pc_gemm_call *call)
{
    size_t eights = (call->n_rows + ROWS - 1) / ROWS;
    size_t panel_size = (call->k + (size_t)t - 1) / (size_t)t * PC_GEMM_PANEL;
    struct fetching next =
        begin_fetching(&call->fetch, eights * ((call->n_columns + PC_GEMM_PANEL - 1) / PC_GEMM_PANEL) *
                                         (call->k / (size_t)t / STRETCH + 1));
    for (size_t e = 0; e < eights; e++) {
        size_t i = call->n_rows * e / eights, n = call->n_rows * (e + 1) / eights - i;
        const char *a = (const char *)call->a + i * call->a_row;
        const float *panel = call->panels;
        for (size_t j = 0; j < call->n_columns; j += PC_GEMM_PANEL, panel += panel_size) {
            size_t columns = call->n_columns - j < PC_GEMM_PANEL ? call->n_columns - j : PC_GEMM_PANEL;
            float *c = call->c + i * call->c_stride + j;
            const float *start = call->start ? call->start + i * call->start_stride + j : NULL;
            switch (n) {
            case 8: block_of(t, 8, columns, call, a, panel, c, start, &next); break;
            case 7: block_of(t, 7, columns, call, a, panel, c, start, &next); break;
            case 6: block_of(t, 6, columns, call, a, panel, c, start, &next); break;
            case 5: block_of(t, 5, columns, call, a, panel, c, start, &next); break;
            case 4: block_of(t, 4, columns, call, a, panel, c, start, &next); break;
            case 3: block_of(t, 3, columns, call, a, panel, c, start, &next); break;
            case 2: block_of(t, 2, columns, call, a, panel, c, start, &next); break;
            default: block_of(t, 1, columns, call, a, panel, c, start, &next); break;
            }
        }
    }
}

/* ---- packing ---- */

INLINE __m512 widen(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* The first n (at most 16) elements as floats, zeros behind. */
INLINE __m512 load_floats(enum pc_dtype dtype, const char *from, size_t n)
{
    __mmask16 mask = (__mmask16)((1u << n) - 1);
    return dtype == PC_F32 ? _mm512_maskz_loadu_ps(mask, from) : widen(_mm256_maskz_loadu_epi16(mask, from));
}

/* Two vectors in BF16, low first, as bf16.h's round. */
INLINE __m512i narrow(__m512 high, __m512 low)
{
#ifdef __AVX512BF16__
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
#else
    const __m512i upper = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31,
        29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    __m512i v[2] = {_mm512_castps_si512(low), _mm512_castps_si512(high)};
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const __m512i size = _mm512_set1_epi32(0x7fffffff);
        __m512i x = v[i], magnitude = _mm512_and_si512(x, size);
        __m512i least = _mm512_and_si512(_mm512_srli_epi32(x, 16), _mm512_set1_epi32(1));
        __mmask16 nan = _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f800000));
        __mmask16 tiny = _mm512_cmplt_epi32_mask(magnitude, _mm512_set1_epi32(0x00800000));
        v[i] = _mm512_add_epi32(x, _mm512_add_epi32(least, _mm512_set1_epi32(0x7fff)));
        v[i] = _mm512_mask_or_epi32(v[i], nan, x, _mm512_set1_epi32(0x00400000));
        v[i] = _mm512_mask_andnot_epi32(v[i], tiny, size, x);
    }
    return _mm512_permutex2var_epi16(v[0], upper, v[1]);
#endif
}

/* 32 elements as pairs. */
INLINE __m512 load_pairs(enum pc_dtype dtype, const char *from, size_t n)
{
    if (dtype == PC_BF16)
        return _mm512_castsi512_ps(
            _mm512_maskz_loadu_epi16(n < 32 ? (UINT32_C(1) << n) - 1 : UINT32_MAX, from));
    size_t low = n < 16 ? n : 16;
    return _mm512_castsi512_ps(narrow(load_floats(dtype, from + 64, n - low), load_floats(dtype, from, low)));
}

INLINE __m512 load_steps(enum operand t, enum pc_dtype dtype, const char *from, size_t n)
{
    return t == PAIRS ? load_pairs(dtype, from, n) : load_floats(dtype, from, n);
}

INLINE size_t size_of(enum pc_dtype dtype)
{
    return dtype == PC_F32 ? sizeof(float) : sizeof(uint16_t);
}

/* 16 steps of up to 16 vectors. */
INLINE void turn(
    enum operand t, enum pc_dtype dtype, float *to, const char *from, size_t stride, size_t n, size_t k)
{
    __m512 v[LANES];
    if (n == LANES && k == LANES * (size_t)t)
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            v[i] = load_steps(t, dtype, from + (size_t)i * stride, LANES * (size_t)t);
    else
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            v[i] = (size_t)i < n ? load_steps(t, dtype, from + (size_t)i * stride, k) : _mm512_setzero_ps();
    pc_transpose_avx512(v);
    size_t steps = (k + (size_t)t - 1) / (size_t)t;
#pragma GCC unroll 16
    for (int s = 0; s < LANES; s++)
        if ((size_t)s < steps)
            _mm512_store_ps(to + s * PC_GEMM_PANEL, v[s]);
}

INLINE void turn_rows(
    enum operand t, enum pc_dtype dtype, float *panel, const char *from, size_t stride, size_t n, size_t k)
{
    const size_t most = LANES * (size_t)t;
    for (size_t i = 0; i < n; i += LANES, panel += LANES, from += LANES * stride) {
        size_t vectors = n - i < LANES ? n - i : LANES, at = 0;
        for (; at + most <= k; at += most)
            turn(t, dtype, panel + at / (size_t)t * PC_GEMM_PANEL, from + at * size_of(dtype), stride,
                vectors, most);
        if (at < k)
            turn(t, dtype, panel + at / (size_t)t * PC_GEMM_PANEL, from + at * size_of(dtype), stride,
                vectors, k - at);
    }
}

/* A step of up to 16 columns: one row of floats, or two rows whose elements alternate. */
INLINE __m512 load_columns(
    enum operand t, enum pc_dtype dtype, const char *from, size_t stride, size_t n, bool odd)
{
    const __m512i alternate = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
        23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    if (t == FLOATS)
        return load_floats(dtype, from, n);
    __m512i both;
    if (dtype == PC_F32) {
        __m512 second = odd ? _mm512_setzero_ps() : load_floats(dtype, from + stride, n);
        both = narrow(second, load_floats(dtype, from, n));
    } else {
        __mmask16 mask = (__mmask16)((1u << n) - 1);
        both = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi16(mask, from)),
            _mm256_maskz_loadu_epi16(odd ? 0 : mask, from + stride), 1);
    }
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(alternate, both));
}

INLINE void copy_columns(
    enum operand t, enum pc_dtype dtype, float *panel, const char *from, size_t stride, size_t n, size_t k)
{
    size_t step_stride = stride * (size_t)t, wide = LANES * size_of(dtype);
    if (n == PC_GEMM_PANEL)
        for (; k >= (size_t)t; k -= (size_t)t, from += step_stride, panel += PC_GEMM_PANEL)
#pragma GCC unroll 3
            for (size_t j = 0; j < WIDTH; j++)
                _mm512_store_ps(
                    panel + j * LANES, load_columns(t, dtype, from + j * wide, stride, LANES, false));
    for (size_t left = k; left > 0; from += step_stride, panel += PC_GEMM_PANEL) {
        for (size_t i = 0; i < n; i += LANES)
            _mm512_store_ps(panel + i, load_columns(t, dtype, from + i * size_of(dtype), stride,
                                           n - i < LANES ? n - i : LANES, left < (size_t)t));
        left -= left < (size_t)t ? left : (size_t)t;
    }
}

#endif
