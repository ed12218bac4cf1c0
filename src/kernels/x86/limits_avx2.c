// SPDX-License-Identifier: Apache-2.0
#include "kernels/limits.h"
#include "kernels/limits_chains.h"

#include <immintrin.h>

static uint64_t read_words(const void *p, size_t n_lines)
{
    const __m256i *at = p;
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (; n_lines >= 2; n_lines -= 2, at += 4) {
        a = _mm256_xor_si256(a, _mm256_load_si256(at));
        b = _mm256_xor_si256(b, _mm256_load_si256(at + 1));
        c = _mm256_xor_si256(c, _mm256_load_si256(at + 2));
        d = _mm256_xor_si256(d, _mm256_load_si256(at + 3));
    }
    if (n_lines) {
        a = _mm256_xor_si256(a, _mm256_load_si256(at));
        b = _mm256_xor_si256(b, _mm256_load_si256(at + 1));
    }
    uint64_t word[4];
    _mm256_storeu_si256((__m256i *)word, _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d)));
    return word[0] ^ word[1] ^ word[2] ^ word[3];
}

static double add_lanes(const float lane[8])
{
    double all = 0;
    for (int l = 0; l < 8; l++)
        all += (double)lane[l];
    return all;
}

static double fma_f32(int64_t n, float x, float y)
{
    __m256 vx = _mm256_set1_ps(x), vy = _mm256_set1_ps(y);
#define BEGIN(i)                                                                                             \
    __m256 sum##i = _mm256_setzero_ps();                                                                     \
    PC_OPAQUE(sum##i);
    PC_CHAINS(BEGIN)
    for (int64_t r = 0; r < n; r++) {
#define STEP(i) sum##i = _mm256_fmadd_ps(vx, vy, sum##i);
        PC_CHAINS(STEP)
    }
    double all = 0;
    float lane[8];
#define END(i)                                                                                               \
    _mm256_storeu_ps(lane, sum##i);                                                                          \
    all += add_lanes(lane);
    PC_CHAINS(END)
    return all;
}

#undef BEGIN
#undef STEP
#undef END

/* Bytes to pairs to fours, and the sum: three instructions where VNNI has one. */
static double dot_int8(int64_t n, int8_t x, int8_t y)
{
    __m256i vx = _mm256_set1_epi8(x), vy = _mm256_set1_epi8(y), ones = _mm256_set1_epi16(1);
#define BEGIN(i)                                                                                             \
    __m256i sum##i = _mm256_setzero_si256();                                                                 \
    PC_OPAQUE(sum##i);
    PC_CHAINS(BEGIN)
    for (int64_t r = 0; r < n; r++) {
#define STEP(i)                                                                                              \
    PC_OPAQUE(vx); /* or the products would be made once */                                                  \
    sum##i = _mm256_add_epi32(sum##i, _mm256_madd_epi16(_mm256_maddubs_epi16(vx, vy), ones));
        PC_CHAINS(STEP)
    }
    double all = 0;
    float lane[8];
#define END(i)                                                                                               \
    _mm256_storeu_ps(lane, _mm256_cvtepi32_ps(sum##i));                                                      \
    all += add_lanes(lane);
    PC_CHAINS(END)
    return all;
}

void pc_limits_init_avx2(struct pc_limits *table)
{
    table->read = read_words;
    table->fma_f32 = fma_f32;
    table->dot_int8 = dot_int8;
}
