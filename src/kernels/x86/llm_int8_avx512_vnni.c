// SPDX-License-Identifier: Apache-2.0
/* Sixteen outputs are one register. A quad of k is 64 weights, loaded once for up to 16 activation rows whose
 * sums are 16 more registers; the sums are exact integers, so that their grouping shows in no bit. One row
 * alone takes four sums by turns, not to wait for each. */
#include "kernels/llm_int8.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { LINE = 64, MAX_ROWS = 16 };

INLINE __m512 halved(__m512 x)
{
    return _mm512_cvtph_ps(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* Sixteen values from x + i, zeros behind the end. */
INLINE __m512 load(const float *x, size_t i, size_t k)
{
    __mmask16 there = k - i < 16 ? (__mmask16)((1u << (k - i)) - 1) : 0xffff;
    return halved(_mm512_maskz_loadu_ps(there, x + i));
}

INLINE __mmask16 is_outlier(__m512 x)
{
    return _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(PC_LLM_OUTLIER), _CMP_GE_OQ);
}

static int32_t add_outliers(struct pc_llm_outlier *out, __m512 x, size_t i, __mmask16 which)
{
    float values[16];
    int32_t n = 0;
    _mm512_storeu_ps(values, x);
    for (unsigned left = which; left; left &= left - 1) {
        int at = __builtin_ctz(left);
        out[n++] = (struct pc_llm_outlier){(int32_t)i + at, values[at]};
    }
    return n;
}

static void quantise(void *dst, struct pc_llm_outlier *outliers, const float *x, size_t k)
{
    struct pc_llm_row *row = dst;
    __m512 most = _mm512_setzero_ps();
    unsigned broken = 0;
    memset(row, 0, sizeof *row);
    for (size_t i = 0; i < k; i += 16) {
        __m512 h = load(x, i, k);
        __mmask16 out = is_outlier(h), nan = _mm512_cmp_ps_mask(h, h, _CMP_UNORD_Q);
        broken |= nan;
        most = _mm512_mask_max_ps(most, (__mmask16) ~(out | nan), most, _mm512_abs_ps(h));
        if (out)
            row->n_outliers += add_outliers(outliers + row->n_outliers, h, i, out);
    }
    float a = _mm512_reduce_max_ps(most);
    __m512 scale = _mm512_set1_ps(a > 0 ? 127 / a : 0);
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < k; i += 16) {
        __m512 h = load(x, i, k);
        __mmask16 in = _mm512_cmp_ps_mask(_mm512_abs_ps(h), _mm512_set1_ps(PC_LLM_OUTLIER), _CMP_LT_OQ);
        __m512i q = _mm512_maskz_cvtps_epi32(in, _mm512_mul_ps(h, scale));
        sum = _mm512_add_epi32(sum, q);
        _mm_storeu_si128((__m128i *)(row->q + i), _mm512_cvtepi32_epi8(q));
    }
    size_t end = (k + 15) / 16 * 16;
    memset(row->q + end, 0, pc_llm_row_size(k) - sizeof *row - end);
    row->a = broken ? NAN : a;
    row->less_128 = -128 * _mm512_reduce_add_epi32(sum);
}

INLINE __m512i quad(const struct pc_llm_row *row, size_t j)
{
    int32_t four;
    memcpy(&four, row->q + 4 * j, sizeof four);
    return _mm512_set1_epi32(four);
}

/* The outliers' part of sixteen outputs. */
static __m512 outlier_sum(const struct pc_llm_tile *tile, const struct pc_llm_outlier *o, int32_t n)
{
    __m512 acc = _mm512_setzero_ps(), a = _mm512_loadu_ps(tile->a);
    for (int32_t i = 0; i < n; i++) {
        __m512i w = _mm512_loadu_si512(tile->q + (size_t)o[i].k / 4 * LINE);
        w = _mm512_and_si512(_mm512_srl_epi32(w, _mm_cvtsi32_si128(o[i].k % 4 * 8)), _mm512_set1_epi32(255));
        __m512 f = _mm512_cvtepi32_ps(_mm512_sub_epi32(w, _mm512_set1_epi32(128)));
        f = halved(_mm512_div_ps(_mm512_mul_ps(f, a), _mm512_set1_ps(127)));
        acc = _mm512_fmadd_ps(_mm512_set1_ps(o[i].x), f, acc);
    }
    return acc;
}

static void store(float *y, __mmask16 there, const struct pc_llm_row *row, const struct pc_llm_outlier *o,
    const struct pc_llm_tile *tile, __m512i sum)
{
    sum = _mm512_add_epi32(sum, _mm512_set1_epi32(row->less_128));
    __m512 scale = _mm512_mul_ps(
        _mm512_mul_ps(_mm512_set1_ps(row->a), _mm512_loadu_ps(tile->a)), _mm512_set1_ps(1.0f / 16129));
    __m512 acc = outlier_sum(tile, o, row->n_outliers);
    _mm512_mask_storeu_ps(y, there, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, acc));
}

/* n rows, which is known when this is compiled, by one tile. */
INLINE void pass(size_t n, float *y, size_t y_stride, __mmask16 there, const char *rows,
    const struct pc_llm_outlier *outliers, const struct pc_llm_tile *tile, size_t k)
{
    size_t row_size = pc_llm_row_size(k), n_quads = (k + 3) / 4;
    __m512i acc[MAX_ROWS];
    for (size_t i = 0; i < n; i++)
        acc[i] = _mm512_setzero_si512();
    for (size_t j = 0; j < n_quads; j++) {
        __m512i w = _mm512_loadu_si512(tile->q + j * LINE);
#pragma GCC unroll 16
        for (size_t i = 0; i < n; i++)
            acc[i] = _mm512_dpbusd_epi32(acc[i], w, quad((const void *)(rows + i * row_size), j));
    }
    for (size_t i = 0; i < n; i++)
        store(y + i * y_stride, there, (const void *)(rows + i * row_size), outliers + i * k, tile, acc[i]);
}

static void pass_one(float *y, __mmask16 there, const struct pc_llm_row *row,
    const struct pc_llm_outlier *outliers, const struct pc_llm_tile *tile, size_t k)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i acc[4] = {zero, zero, zero, zero};
    size_t n_quads = (k + 3) / 4, j = 0;
    for (; j + 4 <= n_quads; j += 4)
        for (size_t i = 0; i < 4; i++)
            acc[i] =
                _mm512_dpbusd_epi32(acc[i], _mm512_loadu_si512(tile->q + (j + i) * LINE), quad(row, j + i));
    for (; j < n_quads; j++)
        acc[0] = _mm512_dpbusd_epi32(acc[0], _mm512_loadu_si512(tile->q + j * LINE), quad(row, j));
    acc[0] = _mm512_add_epi32(_mm512_add_epi32(acc[0], acc[1]), _mm512_add_epi32(acc[2], acc[3]));
    store(y, there, row, outliers, tile, acc[0]);
}

static void multiply(float *y, size_t y_stride, const void *rows, const struct pc_llm_outlier *outliers,
    size_t n_x, const void *tiles, size_t n_out, size_t k)
{
    size_t row_size = pc_llm_row_size(k), tile_size = pc_llm_tile_size(k), n;
    for (size_t j = 0; j < n_out; j += PC_LLM_TILE_ROWS) {
        const struct pc_llm_tile *tile =
            (const void *)((const char *)tiles + j / PC_LLM_TILE_ROWS * tile_size);
        __mmask16 there = n_out - j < 16 ? (__mmask16)((1u << (n_out - j)) - 1) : 0xffff;
        for (size_t i = 0; i < n_x; i += n) {
            const char *row = (const char *)rows + i * row_size;
            const struct pc_llm_outlier *o = outliers + i * k;
            float *to = y + i * y_stride + j;
            size_t left = n_x - i;
            n = left >= 16 ? 16 : left >= 8 ? 8 : left >= 4 ? 4 : 1;
            if (n == 16)
                pass(16, to, y_stride, there, row, o, tile, k);
            else if (n == 8)
                pass(8, to, y_stride, there, row, o, tile, k);
            else if (n == 4)
                pass(4, to, y_stride, there, row, o, tile, k);
            else
                pass_one(to, there, (const void *)row, o, tile, k);
        }
    }
}

void pc_llm_int8_init_avx512_vnni(struct pc_llm_int8 *table)
{
    *table = (struct pc_llm_int8){quantise, multiply};
}
