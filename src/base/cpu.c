// SPDX-License-Identifier: Apache-2.0
#include "base/cpu.h"

#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* clang 14's __builtin_cpu_supports does not know "f16c". That the system saves its registers follows from
 * AVX2. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool has_sha(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

static unsigned detect(void)
{
    unsigned flags = 0;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        flags |= PC_CPU_AVX2;
    if (has_sha())
        flags |= PC_CPU_SHA;
    bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    if ((flags & PC_CPU_AVX2) && v4) {
        flags |= PC_CPU_AVX512;
        if (__builtin_cpu_supports("avx512vnni"))
            flags |= PC_CPU_AVX512_VNNI;
        if (__builtin_cpu_supports("avx512bf16"))
            flags |= PC_CPU_AVX512_BF16;
    }
    return flags;
}
#elif defined(__aarch64__)
#include <sys/auxv.h>
static unsigned detect(void)
{
    unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
    const unsigned long asimd = 1ul << 1, dotprod = 1ul << 20, i8mm = 1ul << 13;
    return (cap & asimd ? PC_CPU_NEON : 0) | (cap & dotprod ? PC_CPU_DOTPROD : 0) |
           (cap2 & i8mm ? PC_CPU_I8MM : 0);
}
#else
static unsigned detect(void)
{
    return 0;
}
#endif

static const struct {
    const char *name;
    unsigned allowed;
} g_levels[] = {
    {"scalar", 0},
    {"avx2", PC_CPU_AVX2 | PC_CPU_SHA},
    {"avx512", PC_CPU_AVX2 | PC_CPU_AVX512 | PC_CPU_AVX512_VNNI | PC_CPU_AVX512_BF16 | PC_CPU_SHA},
    {"neon", PC_CPU_NEON | PC_CPU_DOTPROD | PC_CPU_I8MM},
    {"native", ~0u},
};

static _Atomic unsigned g_mask = ~0u;

bool pc_cpu_mask(const char *level)
{
    for (size_t i = 0; i < sizeof g_levels / sizeof *g_levels; i++)
        if (strcmp(level, g_levels[i].name) == 0) {
            atomic_store(&g_mask, g_levels[i].allowed);
            return true;
        }
    return false;
}

/* Asking the processor traps to the hypervisor on virtual machines: once is enough. */
static unsigned detected(void)
{
    static _Atomic unsigned known, flags;
    if (!atomic_load_explicit(&known, memory_order_acquire)) {
        atomic_store_explicit(&flags, detect(), memory_order_relaxed);
        atomic_store_explicit(&known, 1, memory_order_release);
    }
    return atomic_load_explicit(&flags, memory_order_relaxed);
}

unsigned pc_cpu_flags(void)
{
    return detected() & atomic_load_explicit(&g_mask, memory_order_relaxed);
}

const char *pc_cpu_level(void)
{
    unsigned flags = pc_cpu_flags();
    return flags & PC_CPU_AVX512 ? "avx512"
           : flags & PC_CPU_AVX2 ? "avx2"
           : flags & PC_CPU_NEON ? "neon"
                                 : "scalar";
}

/* cgroup v2 first, then v1; a quota of 150 % of a processor counts as 2, since a pool thread may sleep. */
static int quota(void)
{
    double max = 0, period = 0;
    char word[32] = "";
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (f) {
        int n = fscanf(f, "%31s %lf", word, &period);
        fclose(f);
        if (n != 2 || strcmp(word, "max") == 0)
            return INT_MAX;
        max = strtod(word, NULL);
    } else {
        FILE *q = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "re");
        FILE *p = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "re");
        if (!q || !p || fscanf(q, "%lf", &max) != 1 || fscanf(p, "%lf", &period) != 1)
            max = 0;
        if (q)
            fclose(q);
        if (p)
            fclose(p);
    }
    if (max <= 0 || period <= 0 || max / period > 65536)
        return INT_MAX;
    int n = (int)(max / period + 0.999);
    return n < 1 ? 1 : n;
}

int pc_cpu_count(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int limit = quota();
    if (n > limit)
        n = limit;
    return n < 1 ? 1 : n;
}

bool pc_cpu_keeps_denormals(void)
{
    volatile float smallest_normal = 0x1p-126f, denormal = 0x1p-127f;
    return smallest_normal * 0.5f != 0.0f && denormal * 2.0f != 0.0f;
}
