// SPDX-License-Identifier: Apache-2.0
#include "kernels/limits.h"
#include "kernels/limits_chains.h"

#include <immintrin.h>

static uint64_t read_words(const void *p, size_t n_lines)
{
    const __m512i *at = p;
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (; n_lines >= 4; n_lines -= 4, at += 4) {
        a = _mm512_xor_si512(a, _mm512_load_si512(at));
        b = _mm512_xor_si512(b, _mm512_load_si512(at + 1));
        c = _mm512_xor_si512(c, _mm512_load_si512(at + 2));
        d = _mm512_xor_si512(d, _mm512_load_si512(at + 3));
    }
    for (; n_lines; n_lines--, at++)
        a = _mm512_xor_si512(a, _mm512_load_si512(at));
    uint64_t word[8], all = 0;
    _mm512_storeu_si512(word, _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d)));
    for (int l = 0; l < 8; l++)
        all ^= word[l];
    return all;
}

static double add_lanes(const float lane[16])
{
    double all = 0;
    for (int l = 0; l < 16; l++)
        all += (double)lane[l];
    return all;
}

static double fma_f32(int64_t n, float x, float y)
{
    __m512 vx = _mm512_set1_ps(x), vy = _mm512_set1_ps(y);
#define BEGIN(i)                                                                                             \
    __m512 sum##i = _mm512_setzero_ps();                                                                     \
    PC_OPAQUE(sum##i);
    PC_CHAINS(BEGIN)
    for (int64_t r = 0; r < n; r++) {
#define STEP(i) sum##i = _mm512_fmadd_ps(vx, vy, sum##i);
        PC_CHAINS(STEP)
    }
    double all = 0;
    float lane[16];
#define END(i)                                                                                               \
    _mm512_storeu_ps(lane, sum##i);                                                                          \
    all += add_lanes(lane);
    PC_CHAINS(END)
    return all;
}

void pc_limits_init_avx512(struct pc_limits *table)
{
    table->read = read_words;
    table->fma_f32 = fma_f32;
}
