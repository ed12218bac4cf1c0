// SPDX-License-Identifier: Apache-2.0
#ifndef PC_KERNELS_TRANSPOSE_AVX2_H
#define PC_KERNELS_TRANSPOSE_AVX2_H

#include <immintrin.h>

/* Lane l of vector i becomes lane i of vector l. */
static inline __attribute__((always_inline)) void pc_transpose_avx2(__m256i v[8])
{
    __m256i t[8];
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        __m256i a = _mm256_unpacklo_epi32(v[i], v[i + 1]), b = _mm256_unpackhi_epi32(v[i], v[i + 1]);
        __m256i c = _mm256_unpacklo_epi32(v[i + 2], v[i + 3]), d = _mm256_unpackhi_epi32(v[i + 2], v[i + 3]);
        t[i] = _mm256_unpacklo_epi64(a, c);
        t[i + 1] = _mm256_unpackhi_epi64(a, c);
        t[i + 2] = _mm256_unpacklo_epi64(b, d);
        t[i + 3] = _mm256_unpackhi_epi64(b, d);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(t[i], t[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(t[i], t[i + 4], 0x31);
    }
}

#endif
