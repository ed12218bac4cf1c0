// SPDX-License-Identifier: Apache-2.0
/* A table filled for the flags in use is compared with tables filled for fewer: the first level that gives
 * the same function is the one it comes from. So nobody has to write down which file has what. */
#include "cli/doctor_kernels.h"

#include "base/cpu.h"
#include "kernels/kernels.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned flag;
} g_flags[] = {{"avx2", PC_CPU_AVX2}, {"avx512", PC_CPU_AVX512}, {"avx512-vnni", PC_CPU_AVX512_VNNI},
    {"avx512-bf16", PC_CPU_AVX512_BF16}, {"neon", PC_CPU_NEON}, {"dotprod", PC_CPU_DOTPROD},
    {"i8mm", PC_CPU_I8MM}, {"sha", PC_CPU_SHA}};

/* Ascending; a level of another processor has flags that are not in use. */
static const struct {
    const char *name;
    unsigned flags;
} g_levels[] = {{"scalar", 0}, {"avx2", PC_CPU_AVX2}, {"avx512", PC_CPU_AVX2 | PC_CPU_AVX512},
    {"avx512-vnni", PC_CPU_AVX2 | PC_CPU_AVX512 | PC_CPU_AVX512_VNNI},
    {"avx512-bf16", PC_CPU_AVX2 | PC_CPU_AVX512 | PC_CPU_AVX512_VNNI | PC_CPU_AVX512_BF16},
    {"neon", PC_CPU_NEON}, {"dotprod", PC_CPU_NEON | PC_CPU_DOTPROD},
    {"i8mm", PC_CPU_NEON | PC_CPU_DOTPROD | PC_CPU_I8MM}};

enum { N_LEVELS = sizeof g_levels / sizeof *g_levels };

#define KERNEL(TEXT, FIELD)                                                                                  \
    {                                                                                                        \
        TEXT, offsetof(struct pc_kernels, FIELD)                                                             \
    }
#define PACKED(TYPE) KERNEL("products of " #TYPE " weights", packed.type[PC_##TYPE].multiply)

static const struct {
    const char *operation;
    size_t at;
} g_kernels[] = {
    KERNEL("activations to INT8", packed.quantise),
    PACKED(Q8_0),
    PACKED(Q4_0),
    PACKED(Q4_1),
    PACKED(Q5_0),
    PACKED(Q5_1),
    PACKED(Q4_K),
    PACKED(Q5_K),
    PACKED(Q6_K),
    KERNEL("products of BF16 weights", bf16.matmul),
    KERNEL("products of F16 weights", matmul.f16),
    KERNEL("products of F32 weights", matmul.f32),
    KERNEL("attention over F16", attention.f16.fold),
    KERNEL("attention over BF16", attention.bf16.fold),
    KERNEL("attention over Q8_0", attention.q8_0.fold),
    KERNEL("attention over F32", attention.f32.fold),
    KERNEL("softmax", softmax.exp_shifted),
    KERNEL("F16 to F32", convert.to_f32[PC_F16]),
    KERNEL("sums of recover", convert.add),
};

size_t pc_doctor_kernels(struct pc_kernel_use out[PC_DOCTOR_MAX_KERNELS])
{
    enum { POINTER = sizeof(void (*)(void)) };
    struct pc_kernels used, level[N_LEVELS];
    unsigned flags = pc_cpu_flags();
    size_t n = sizeof g_kernels / sizeof *g_kernels;
    pc_kernels_init(&used, flags);
    for (int l = 0; l < N_LEVELS; l++)
        pc_kernels_init(&level[l], g_levels[l].flags & flags);
    for (size_t i = 0; i < n; i++) {
        int l = 0;
        while (l + 1 < N_LEVELS &&
               memcmp((char *)&used + g_kernels[i].at, (char *)&level[l] + g_kernels[i].at, POINTER) != 0)
            l++;
        out[i] = (struct pc_kernel_use){g_kernels[i].operation, g_levels[l].name};
    }
    return n;
}

size_t pc_doctor_cpu_flags(const char *out[PC_DOCTOR_MAX_KERNELS])
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof g_flags / sizeof *g_flags; i++)
        if (pc_cpu_flags() & g_flags[i].flag)
            out[n++] = g_flags[i].name;
    return n;
}
