// SPDX-License-Identifier: Apache-2.0
#include "kernels/limits.h"

#include "base/cpu.h"

#include <math.h>
#include <string.h>

enum { CHAINS = 8 }; /* sums that do not wait for each other */

static uint64_t read_words(const void *p, size_t n_lines)
{
    enum { WORDS = PC_LIMITS_LINE / sizeof(uint64_t) };
    uint64_t sum[WORDS] = {0}, all = 0;
    const unsigned char *at = p;
    for (size_t i = 0; i < n_lines; i++, at += PC_LIMITS_LINE)
        for (size_t l = 0; l < WORDS; l++) {
            uint64_t word;
            memcpy(&word, at + l * sizeof word, sizeof word);
            sum[l] ^= word;
        }
    for (size_t l = 0; l < WORDS; l++)
        all ^= sum[l];
    return all;
}

static double fma_f32(int64_t n, float x, float y)
{
    volatile float zero = 0; /* sums known to be alike would be computed once */
    float sum[CHAINS];
    double all = 0;
    for (int c = 0; c < CHAINS; c++)
        sum[c] = zero;
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < CHAINS; c++)
            sum[c] = fmaf(x, y, sum[c]);
    for (int c = 0; c < CHAINS; c++)
        all += (double)sum[c];
    return all;
}

void pc_limits_init(struct pc_limits *table, unsigned cpu_flags)
{
    *table = (struct pc_limits){.read = read_words, .fma_f32 = fma_f32};
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_limits_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_limits_init_avx512(table);
#endif
#ifdef PC_HAVE_AVX512_VNNI
    if (cpu_flags & PC_CPU_AVX512_VNNI)
        pc_limits_init_avx512_vnni(table);
#endif
#ifdef PC_HAVE_AVX512_BF16
    if (cpu_flags & PC_CPU_AVX512_BF16)
        pc_limits_init_avx512_bf16(table);
#endif
#ifdef PC_HAVE_NEON
    if (!(cpu_flags & PC_CPU_NEON))
        return;
    pc_limits_init_neon(table);
#endif
#ifdef PC_HAVE_DOTPROD
    if (!(cpu_flags & PC_CPU_DOTPROD))
        return;
    pc_limits_init_dotprod(table);
#endif
#ifdef PC_HAVE_I8MM
    if (!(cpu_flags & PC_CPU_I8MM))
        return;
    pc_limits_init_i8mm(table);
#endif
    (void)cpu_flags;
}
