// SPDX-License-Identifier: Apache-2.0
/* Rows are narrowed by vectors; what goes into a transposed tile then goes there one element after another,
 * at a store per cycle. Bit for bit what pc_cache_f16, pc_f32_to_bf16 and pc_cache_q8_0 make. */
#include "kernels/attention_cache.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { STEP = 16, BLOCK = 32, CHUNK = 256 };

INLINE __mmask16 first(size_t n)
{
    return n >= STEP ? 0xffff : (__mmask16)((1u << n) - 1);
}

/* Infinite elements stay so, finite ones become at most 65504. */
INLINE __m256i to_f16(__m512 x)
{
    const __m512 most = _mm512_set1_ps(65504.0f), least = _mm512_set1_ps(-65504.0f);
    __mmask16 infinite = _mm512_fpclass_ps_mask(x, 0x18);
    __m512 inside = _mm512_min_ps(most, _mm512_max_ps(least, x)); /* of two with a NaN, the second */
    return _mm512_cvtps_ph(_mm512_mask_mov_ps(inside, infinite, x), _MM_FROUND_TO_NEAREST_INT);
}

INLINE __m256i to_bf16(__m512 x)
{
    __m512i bits = _mm512_castps_si512(x);
    __m512i tie = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(tie, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    up = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
}

INLINE __m256i narrow(enum pc_dtype type, __m512 x)
{
    return type == PC_F16 ? to_f16(x) : to_bf16(x);
}

/* One position's key, n elements from element d on, into column j. */
INLINE void store_key(enum pc_dtype type, char *k, size_t j, const float *key, size_t d, size_t n)
{
    _Alignas(64) uint16_t row[CHUNK];
    if (type == PC_F32) {
        for (size_t i = 0; i < n; i++)
            ((float *)k)[(d + i) * PC_KV_BLOCK + j] = key[i];
        return;
    }
    for (size_t i = 0; i < n; i += STEP)
        _mm256_store_si256((__m256i *)(row + i), narrow(type, _mm512_maskz_loadu_ps(first(n - i), key + i)));
    if (type == PC_F16)
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)k)[(d + i) * PC_KV_BLOCK + j] = row[i];
    else
        for (size_t i = 0; i < n; i += 2)
            memcpy(k + ((d + i) / 2 * PC_KV_BLOCK + j) * 4, row + i, 4);
}

INLINE void store_value(enum pc_dtype type, char *v, size_t j, const float *value, size_t head_dim)
{
    for (size_t d = 0; d < head_dim; d += STEP) {
        __mmask16 mask = first(head_dim - d);
        __m512 x = _mm512_maskz_loadu_ps(mask, value + d);
        if (type == PC_F32) {
            _mm512_mask_storeu_ps((float *)v + j * head_dim + d, mask, x);
        } else if (type == PC_F16) {
            _mm256_mask_storeu_epi16((uint16_t *)v + j * head_dim + d, mask, to_f16(x));
        } else { /* one half of each pair: the other belongs to another position, and maybe another thread */
            __m512i wide = _mm512_cvtepu16_epi32(to_bf16(x));
            uint32_t halves = head_dim - d >= STEP ? UINT32_MAX : (UINT32_C(1) << 2 * (head_dim - d)) - 1;
            wide = j % 2 ? _mm512_slli_epi32(wide, 16) : wide;
            halves &= j % 2 ? 0xaaaaaaaa : 0x55555555;
            _mm512_mask_storeu_epi16((uint16_t *)v + (j / 2 * head_dim + d) * 2, halves, wide);
        }
    }
}

INLINE void store(enum pc_dtype type, struct pc_kv_tile tile, size_t first_j, size_t n, const float *key,
    const float *value, size_t stride, size_t head_dim)
{
    for (size_t j = first_j; j < first_j + n; j++, key += stride, value += stride) {
        for (size_t d = 0; d < head_dim; d += CHUNK)
            store_key(type, tile.k, j, key + d, d, head_dim - d < CHUNK ? head_dim - d : CHUNK);
        store_value(type, tile.v, j, value, head_dim);
    }
}

/* Up to 32 elements to integers; returns their scale. */
INLINE uint16_t quantise(int8_t q[BLOCK], const float *x, size_t n)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    const __m512 top = _mm512_set1_ps(127.0f), bottom = _mm512_set1_ps(-127.0f);
    __m512 lo = _mm512_maskz_loadu_ps(first(n), x);
    __m512 hi = n > STEP ? _mm512_maskz_loadu_ps(first(n - STEP), x + STEP) : _mm512_setzero_ps();
    uint32_t most =
        _mm512_reduce_max_epu32(_mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(lo), magnitude),
            _mm512_and_si512(_mm512_castps_si512(hi), magnitude)));
    if (most >= 0x7f800000) {
        memset(q, 0, BLOCK);
        return 0x7e00;
    }
    float step = pc_f32_from_bits(most) / 127.0f;
    __m128i half = _mm_cvtps_ph(_mm_set_ss(step < 65504.0f ? step : 65504.0f), _MM_FROUND_TO_NEAREST_INT);
    step = _mm_cvtss_f32(_mm_cvtph_ps(half));
    __m512 inverse = _mm512_set1_ps(step > 0 ? 1.0f / step : 0.0f);
    lo = _mm512_max_ps(bottom, _mm512_min_ps(top, _mm512_mul_ps(lo, inverse)));
    hi = _mm512_max_ps(bottom, _mm512_min_ps(top, _mm512_mul_ps(hi, inverse)));
    _mm_storeu_si128((__m128i *)q, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(lo)));
    _mm_storeu_si128((__m128i *)(q + STEP), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(hi)));
    return (uint16_t)_mm_extract_epi16(half, 0);
}

static void store_q8_0(struct pc_kv_tile tile, size_t first_j, size_t n, const float *key, const float *value,
    size_t stride, size_t head_dim)
{
    for (size_t j = first_j; j < first_j + n; j++, key += stride, value += stride)
        for (size_t d = 0; d < head_dim; d += BLOCK) {
            size_t len = head_dim - d < BLOCK ? head_dim - d : BLOCK;
            int8_t q[BLOCK];
            pc_tile_scales(tile.k, head_dim)[d + j] = quantise(q, key + d, len);
            for (size_t i = 0; i < len; i++)
                ((int8_t *)tile.k)[(d + i) * PC_KV_BLOCK + j] = q[i];
            pc_tile_scales(tile.v, head_dim)[d + j] = quantise(q, value + d, len);
            memcpy((int8_t *)tile.v + j * head_dim + d, q, len);
        }
}

#define STORE(name, TYPE)                                                                                    \
    static void name(struct pc_kv_tile tile, size_t first_j, size_t n, const float *key, const float *value, \
        size_t stride, size_t head_dim)                                                                      \
    {                                                                                                        \
        store(TYPE, tile, first_j, n, key, value, stride, head_dim);                                         \
    }

STORE(store_f32, PC_F32)
STORE(store_f16, PC_F16)
STORE(store_bf16, PC_BF16)

void pc_attention_init_store_avx512(struct pc_attention *table)
{
    table->f32.store = store_f32;
    table->f16.store = store_f16;
    table->bf16.store = store_bf16;
    table->q8_0.store = store_q8_0;
}
