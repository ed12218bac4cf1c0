// SPDX-License-Identifier: Apache-2.0
#include "base/sha256_lanes.h"

#include "base/cpu.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

enum { BLOCK = 64 };

static const uint32_t K[64] __attribute__((aligned(64))) = {0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5,
    0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
    0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5,
    0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#define SHA_TARGET __attribute__((target("sha,sse4.1")))
#if defined(__clang__) /* which drops the whole attribute for a word it does not know */
#define AVX512_TARGET __attribute__((target("avx512f,avx512bw,avx512vl")))
#else
#define AVX512_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,prefer-vector-width=512")))
#endif

unsigned pc_sha256_lanes(void)
{
    return PC_CPU_SHA | PC_CPU_AVX512;
}

/* ---- two, by the SHA extension ---- */

/* The two halves of a state in the order the instructions want: ABEF and CDGH. */
struct lane {
    __m128i abef, cdgh;
};

SHA_TARGET static inline struct lane load_state(const uint32_t h[8])
{
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)h), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(h + 4)), 0x1b);
    return (struct lane){_mm_alignr_epi8(abcd, efgh, 8), _mm_blend_epi16(efgh, abcd, 0xf0)};
}

SHA_TARGET static inline void store_state(uint32_t h[8], struct lane s)
{
    __m128i feba = _mm_shuffle_epi32(s.abef, 0x1b), dchg = _mm_shuffle_epi32(s.cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)h, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}

/* n blocks of two messages in step. A round's result is the next one's operand four cycles later, and the
 * unit takes a new round every two: the second message goes in between. */
SHA_TARGET void pc_sha256_two(uint32_t *const state[2], const uint8_t *const bytes[2], size_t n)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    struct lane s[2] = {load_state(state[0]), load_state(state[1])};
    for (size_t b = 0; b < n; b++) {
        const struct lane before[2] = {s[0], s[1]};
        __m128i w[4][2];
        for (int l = 0; l < 2; l++)
            for (int i = 0; i < 4; i++) {
                const __m128i *from = (const __m128i *)(bytes[l] + BLOCK * b + 16 * (size_t)i);
                w[i][l] = _mm_shuffle_epi8(_mm_loadu_si128(from), big_endian);
            }
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m128i k = _mm_load_si128((const __m128i *)(K + 4 * i));
            for (int l = 0; l < 2; l++) {
                __m128i x = _mm_add_epi32(w[i & 3][l], k);
                s[l].cdgh = _mm_sha256rnds2_epu32(s[l].cdgh, s[l].abef, x);
                s[l].abef = _mm_sha256rnds2_epu32(s[l].abef, s[l].cdgh, _mm_shuffle_epi32(x, 0x0e));
            }
            for (int l = 0; l < 2 && i < 12; l++) {
                __m128i m = _mm_sha256msg1_epu32(w[i & 3][l], w[(i + 1) & 3][l]);
                m = _mm_add_epi32(m, _mm_alignr_epi8(w[(i + 3) & 3][l], w[(i + 2) & 3][l], 4));
                w[i & 3][l] = _mm_sha256msg2_epu32(m, w[(i + 3) & 3][l]);
            }
        }
        for (int l = 0; l < 2; l++) {
            s[l].abef = _mm_add_epi32(s[l].abef, before[l].abef);
            s[l].cdgh = _mm_add_epi32(s[l].cdgh, before[l].cdgh);
        }
    }
    store_state(state[0], s[0]);
    store_state(state[1], s[1]);
}

/* ---- sixteen, word i of all messages in one vector ---- */

/* Rows to columns: r[m] is a block of message m, then word m of all blocks. */
AVX512_TARGET static inline void transpose(__m512i r[16])
{
    __m512i t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
        t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
        t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
        r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
        r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
        r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
    }
}

AVX512_TARGET static inline __m512i xor3(__m512i a, __m512i b, __m512i c)
{
    return _mm512_ternarylogic_epi32(a, b, c, 0x96);
}

/* The message schedule: word i + 16 over word i. */
AVX512_TARGET static inline __m512i next_word(const __m512i w[16], int i)
{
    __m512i x = w[(i + 1) & 15], y = w[(i + 14) & 15];
    __m512i s0 = xor3(_mm512_ror_epi32(x, 7), _mm512_ror_epi32(x, 18), _mm512_srli_epi32(x, 3));
    __m512i s1 = xor3(_mm512_ror_epi32(y, 17), _mm512_ror_epi32(y, 19), _mm512_srli_epi32(y, 10));
    return _mm512_add_epi32(_mm512_add_epi32(w[i & 15], w[(i + 9) & 15]), _mm512_add_epi32(s0, s1));
}

/* A round; the caller names the eight words one further each time, instead of moving them. */
#define ROUND(i, a, b, c, d, e, f, g, h)                                                                     \
    do {                                                                                                     \
        __m512i s1 = xor3(_mm512_ror_epi32(e, 6), _mm512_ror_epi32(e, 11), _mm512_ror_epi32(e, 25));         \
        __m512i s0 = xor3(_mm512_ror_epi32(a, 2), _mm512_ror_epi32(a, 13), _mm512_ror_epi32(a, 22));         \
        __m512i choice = _mm512_ternarylogic_epi32(e, f, g, 0xca);                                           \
        __m512i majority = _mm512_ternarylogic_epi32(a, b, c, 0xe8);                                         \
        __m512i word = _mm512_add_epi32(w[(i)&15], _mm512_set1_epi32((int)K[i]));                            \
        __m512i t = _mm512_add_epi32(_mm512_add_epi32(h, word), _mm512_add_epi32(s1, choice));               \
        d = _mm512_add_epi32(d, t);                                                                          \
        h = _mm512_add_epi32(t, _mm512_add_epi32(s0, majority));                                             \
    } while (0)

#define EIGHT_ROUNDS(i)                                                                                      \
    do {                                                                                                     \
        ROUND((i) + 0, a, b, c, d, e, f, g, h);                                                              \
        ROUND((i) + 1, h, a, b, c, d, e, f, g);                                                              \
        ROUND((i) + 2, g, h, a, b, c, d, e, f);                                                              \
        ROUND((i) + 3, f, g, h, a, b, c, d, e);                                                              \
        ROUND((i) + 4, e, f, g, h, a, b, c, d);                                                              \
        ROUND((i) + 5, d, e, f, g, h, a, b, c);                                                              \
        ROUND((i) + 6, c, d, e, f, g, h, a, b);                                                              \
        ROUND((i) + 7, b, c, d, e, f, g, h, a);                                                              \
    } while (0)

AVX512_TARGET static inline void sixteen_blocks(__m512i s[8], const uint8_t *const bytes[16], size_t offset)
{
    const __m512i big_endian = _mm512_set4_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203);
    __m512i w[16];
    for (int l = 0; l < 16; l++)
        w[l] = _mm512_loadu_si512(bytes[l] + offset);
    transpose(w);
    for (int i = 0; i < 16; i++)
        w[i] = _mm512_shuffle_epi8(w[i], big_endian);
    __m512i a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
    EIGHT_ROUNDS(0);
    EIGHT_ROUNDS(8);
#pragma GCC unroll 3
    for (int i = 16; i < 64; i += 16) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
            w[k] = next_word(w, k);
        EIGHT_ROUNDS(i);
#pragma GCC unroll 8
        for (int k = 8; k < 16; k++)
            w[k] = next_word(w, k);
        EIGHT_ROUNDS(i + 8);
    }
    const __m512i after[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++)
        s[i] = _mm512_add_epi32(s[i], after[i]);
}

AVX512_TARGET void pc_sha256_sixteen(uint32_t *const state[16], const uint8_t *const bytes[16], size_t n)
{
    _Alignas(64) uint32_t columns[8][16];
    __m512i s[8];
    for (int i = 0; i < 8; i++) {
        for (int l = 0; l < 16; l++)
            columns[i][l] = state[l][i];
        s[i] = _mm512_load_si512(columns[i]);
    }
    for (size_t b = 0; b < n; b++)
        sixteen_blocks(s, bytes, b * BLOCK);
    for (int i = 0; i < 8; i++) {
        _mm512_store_si512(columns[i], s[i]);
        for (int l = 0; l < 16; l++)
            state[l][i] = columns[i][l];
    }
}

#else
unsigned pc_sha256_lanes(void)
{
    return 0;
}

void pc_sha256_two(uint32_t *const state[2], const uint8_t *const bytes[2], size_t n)
{
    (void)state, (void)bytes, (void)n;
}

void pc_sha256_sixteen(uint32_t *const state[16], const uint8_t *const bytes[16], size_t n)
{
    (void)state, (void)bytes, (void)n;
}
#endif
