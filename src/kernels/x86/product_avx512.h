// SPDX-License-Identifier: Apache-2.0
/* Y = X W^T in 512 bits, for matmul.h (F32 activations) and bf16.h (BF16 pairs): the same lanes, one register
 * of them per output.
 *
 * A block of four weight rows by up to six activation rows keeps 24 accumulators; two products a cycle then
 * need ten loads in twelve, and joining lanes hides behind the next block's products. Around it:
 *
 *   - Activation rows go by sixes (evenly divided: 8 are 4 and 4), and each six through all rows of a subtile
 * of weights, which lies in the second level cache; long rows are cut in chunks, so that a six's part lies in
 *     the first. Accumulators wait in `spill` between chunks, and lose nothing by it.
 *   - While a subtile is at work, the next is fetched: each pass of a six takes its share of rows. For few
 *     activation rows this is what keeps memory busy; past the end of w it fetches what follows, likely the
 *     next call's.
 *   - One activation row (decoding) takes eight weight rows at a time, to hide the latency of the sums. */
#ifndef PC_KERNELS_PRODUCT_AVX512_H
#define PC_KERNELS_PRODUCT_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

/* What weights are: widened to meet F32 activations, or BF16 that meets BF16 pair by pair. */
enum operand { F32, F16, BF16, PAIRS };

enum {
    QUAD = 4,         /* weight rows of a block */
    SIX = 6,          /* activation rows of a block */
    SUBTILE = 32,     /* weight rows of a subtile, where there is more than one six */
    PANEL = 8,        /* sixes of a panel */
    CHUNK = 48,       /* steps: 3 KiB of each row */
    ACCUMULATOR = 16, /* floats */
};

struct product {
    float *y;
    size_t y_stride; /* floats */
    const char *x, *w;
    size_t x_stride, w_stride; /* bytes */
    size_t n_x, n_w, k;
};

/* Elements in a register of activations. */
INLINE size_t step_of(enum operand t)
{
    return t == PAIRS ? 32 : 16;
}

INLINE size_t w_size(enum operand t)
{
    return t == F32 ? 4 : 2;
}

INLINE __m512 widen(enum operand t, __m256i h)
{
    return t == F16 ? _mm512_cvtph_ps(h)
                    : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

INLINE __m512 load_w(enum operand t, const char *w)
{
    return t == F32 || t == PAIRS ? _mm512_loadu_ps(w) : widen(t, _mm256_loadu_si256((const __m256i *)w));
}

/* The first n elements, zeros behind them. */
INLINE __m512 load_w_tail(enum operand t, const char *w, size_t n)
{
    uint32_t mask = (UINT32_C(1) << n) - 1;
    return t == F32     ? _mm512_maskz_loadu_ps((__mmask16)mask, w)
           : t == PAIRS ? _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, w))
                        : widen(t, _mm256_maskz_loadu_epi16((__mmask16)mask, w));
}

INLINE __m512 load_x_tail(enum operand t, const char *x, size_t n)
{
    return load_w_tail(t == PAIRS ? PAIRS : F32, x, n);
}

INLINE __m512 multiply(enum operand t, __m512 acc, __m512 x, __m512 w)
{
#ifdef __AVX512BF16__
    if (t == PAIRS)
        return _mm512_dpbf16_ps(acc, (__m512bh)x, (__m512bh)w);
#endif
    (void)t;
    return _mm512_fmadd_ps(x, w, acc);
}

/* In F32 a lane that the tail does not reach is not touched; pairs meet zeros there. */
INLINE __m512 multiply_tail(enum operand t, __m512 acc, __m512 x, __m512 w, size_t n)
{
    return t == PAIRS ? multiply(t, acc, x, w)
                      : _mm512_mask3_fmadd_ps(x, w, acc, (__mmask16)((UINT32_C(1) << n) - 1));
}

/* The sums of four accumulators, each joined by the contract's tree: 8, 4, 2, 1. */
INLINE __m128 join4(__m512 a, __m512 b, __m512 c, __m512 d)
{
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    __m512 s = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0x4e));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, s));
}

/* Elements [at, end) of a block's rows, and what to fetch meanwhile. */
struct span {
    size_t at, end, k;
    float *spill;      /* accumulators before and after, where the span is not the whole */
    const char *fetch; /* the elements at the same place of n_fetch rows, fetch_stride bytes apart */
    size_t n_fetch, fetch_stride;
};

/* n_w is 4 or 8, n_x at most 6: constants after inlining, so that acc lives in registers. */
INLINE void block(enum operand t, int n_w, int n_x, float *y, size_t y_stride, const char *x, size_t x_stride,
    const char *w, size_t w_stride, struct span s)
{
    const size_t step = step_of(t), x_step = 64, w_step = step * w_size(t);
    __m512 acc[8][SIX];
#pragma GCC unroll 8
    for (int j = 0; j < n_w; j++)
#pragma GCC unroll 6
        for (int i = 0; i < n_x; i++)
            acc[j][i] = s.at ? _mm512_loadu_ps(s.spill + (j * n_x + i) * ACCUMULATOR) : _mm512_setzero_ps();
    size_t steps = (s.end - s.at) / step;
    x += s.at / step * x_step;
    w += s.at / step * w_step;
    const char *fetch = s.fetch + s.at / step * w_step;
    for (; steps > 0; steps--, x += x_step, w += w_step, fetch += w_step) {
        for (size_t r = 0; r < s.n_fetch; r++)
            _mm_prefetch(fetch + r * s.fetch_stride, _MM_HINT_T0);
        __m512 xs[SIX];
#pragma GCC unroll 6
        for (int i = 0; i < n_x; i++)
            xs[i] = _mm512_loadu_ps(x + (size_t)i * x_stride);
#pragma GCC unroll 8
        for (int j = 0; j < n_w; j++) {
            __m512 ws = load_w(t, w + (size_t)j * w_stride);
#pragma GCC unroll 6
            for (int i = 0; i < n_x; i++)
                acc[j][i] = multiply(t, acc[j][i], xs[i], ws);
        }
    }
    if (s.end < s.k) {
#pragma GCC unroll 8
        for (int j = 0; j < n_w; j++)
#pragma GCC unroll 6
            for (int i = 0; i < n_x; i++)
                _mm512_storeu_ps(s.spill + (j * n_x + i) * ACCUMULATOR, acc[j][i]);
        return;
    }
    size_t tail = s.k % step;
    if (tail)
#pragma GCC unroll 8
        for (int j = 0; j < n_w; j++) {
            __m512 ws = load_w_tail(t, w + (size_t)j * w_stride, tail);
#pragma GCC unroll 6
            for (int i = 0; i < n_x; i++)
                acc[j][i] =
                    multiply_tail(t, acc[j][i], load_x_tail(t, x + (size_t)i * x_stride, tail), ws, tail);
        }
#pragma GCC unroll 2
    for (int j = 0; j < n_w; j += 4)
#pragma GCC unroll 6
        for (int i = 0; i < n_x; i++)
            _mm_storeu_ps(
                y + (size_t)i * y_stride + j, join4(acc[j][i], acc[j + 1][i], acc[j + 2][i], acc[j + 3][i]));
}

/* One weight row by one activation row: what is left of n_w modulo 4. */
INLINE float dot(enum operand t, const char *x, const char *w, size_t k)
{
    const size_t step = step_of(t);
    __m512 acc = _mm512_setzero_ps();
    size_t at = 0;
    for (; at + step <= k; at += step, x += 64, w += step * w_size(t))
        acc = multiply(t, acc, _mm512_loadu_ps(x), load_w(t, w));
    if (at < k)
        acc = multiply_tail(t, acc, load_x_tail(t, x, k - at), load_w_tail(t, w, k - at), k - at);
    return _mm_cvtss_f32(join4(acc, acc, acc, acc));
}

/* Weight rows [first, first + n), n a multiple of four, by all activation rows. */
INLINE void subtile(enum operand t, const struct product *p, size_t first, size_t n, float *spill)
{
    const size_t step = step_of(t), steps = p->k / step, sixes = (p->n_x + SIX - 1) / SIX;
    const size_t chunks = sixes > 1 && steps > CHUNK ? (steps + CHUNK - 1) / CHUNK : 1;
    for (size_t turn = 0; turn < (sixes + PANEL - 1) / PANEL * chunks * PANEL; turn++) {
        size_t pass = turn / (chunks * PANEL) * PANEL + turn % PANEL, c = turn / PANEL % chunks;
        if (pass >= sixes)
            continue;
        size_t i = p->n_x * pass / sixes, n_x = p->n_x * (pass + 1) / sixes - i;
        const char *x = p->x + i * p->x_stride;
        struct span s = {.at = steps * c / chunks * step, .k = p->k};
        s.end = c + 1 < chunks ? steps * (c + 1) / chunks * step : p->k;
        s.n_fetch = pass < QUAD ? (QUAD - 1 - pass) / sixes + 1 : 0;
        s.fetch_stride = sixes * p->w_stride;
        for (size_t j = first; j < first + n; j += QUAD) {
            const char *w = p->w + j * p->w_stride;
            float *y = p->y + i * p->y_stride + j;
            s.fetch = w + (n + pass) * p->w_stride;
            s.spill = spill + (pass % PANEL * n + j - first) * SIX * ACCUMULATOR;
            switch (n_x) {
            case 6: block(t, QUAD, 6, y, p->y_stride, x, p->x_stride, w, p->w_stride, s); break;
            case 5: block(t, QUAD, 5, y, p->y_stride, x, p->x_stride, w, p->w_stride, s); break;
            case 4: block(t, QUAD, 4, y, p->y_stride, x, p->x_stride, w, p->w_stride, s); break;
            case 3: block(t, QUAD, 3, y, p->y_stride, x, p->x_stride, w, p->w_stride, s); break;
            case 2: block(t, QUAD, 2, y, p->y_stride, x, p->x_stride, w, p->w_stride, s); break;
            default: block(t, QUAD, 1, y, p->y_stride, x, p->x_stride, w, p->w_stride, s); break;
            }
        }
    }
}

INLINE void product(enum operand t, const struct product *p)
{
    size_t j = 0;
    if (p->n_x == 1)
        for (; j + 8 <= p->n_w; j += 8) {
            const char *w = p->w + j * p->w_stride;
            struct span s = {.at = 0, .end = p->k, .k = p->k, .fetch = w + 8 * p->w_stride};
            s.n_fetch = 8;
            s.fetch_stride = p->w_stride;
            block(t, 8, 1, p->y + j, p->y_stride, p->x, p->x_stride, w, p->w_stride, s);
        }
    float spill[PANEL * SUBTILE * SIX * ACCUMULATOR];
    size_t most = p->n_x <= SIX ? QUAD : SUBTILE, n_quads = p->n_w / QUAD * QUAD;
    for (size_t n; j < n_quads; j += n) {
        n = n_quads - j < most ? n_quads - j : most;
        subtile(t, p, j, n, spill);
    }
    for (; j < p->n_w; j++)
        for (size_t i = 0; i < p->n_x; i++)
            p->y[i * p->y_stride + j] = dot(t, p->x + i * p->x_stride, p->w + j * p->w_stride, p->k);
}

#endif
