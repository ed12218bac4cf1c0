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

static bool has_avx_vnni(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

static unsigned detect(void)
{
    unsigned flags = 0;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        flags |= PC_CPU_AVX2 | (has_avx_vnni() ? PC_CPU_AVX_VNNI : 0);
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
    {"avx2", PC_CPU_AVX2 | PC_CPU_AVX_VNNI | PC_CPU_SHA},
    {"avx512",
        PC_CPU_AVX2 | PC_CPU_AVX_VNNI | PC_CPU_AVX512 | PC_CPU_AVX512_VNNI | PC_CPU_AVX512_BF16 | PC_CPU_SHA},
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

/* max microseconds of processor time every period. */
static int processors(double max, double period)
{
    if (max <= 0 || period <= 0 || max / period > 65536)
        return INT_MAX;
    int n = (int)(max / period + 0.999);
    return n < 1 ? 1 : n;
}

/* The first one or two numbers of a file; those that are not there stay 0, as "max" does. */
static void read_numbers(const char *dir, const char *name, double *a, double *b)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    char word[32];
    *a = *b = 0;
    if (f && fscanf(f, "%31s %lf", word, b) >= 1)
        *a = strtod(word, NULL);
    if (f)
        fclose(f);
}

static int group_quota(const char *dir)
{
    double max, period, unused;
    read_numbers(dir, "cpu.max", &max, &period);
    int quota = processors(max, period);
    read_numbers(dir, "cpu.cfs_quota_us", &max, &unused);
    read_numbers(dir, "cpu.cfs_period_us", &period, &unused);
    int old = processors(max, period);
    return quota < old ? quota : old;
}

/* The group at path below mount, and all above it. In a container path may be one of the host's: the mount
 * then is the container's own group, and what is not there says nothing. */
static int lineage_quota(const char *mount, const char *path)
{
    char dir[PATH_MAX];
    int n = snprintf(dir, sizeof dir, "%s%s", mount, path), quota = INT_MAX;
    if (n < 0 || (size_t)n >= sizeof dir)
        return INT_MAX;
    for (size_t end = strlen(dir), least = strlen(mount);; dir[end] = '\0') {
        int here = group_quota(dir);
        quota = here < quota ? here : quota;
        if (end <= least)
            return quota;
        while (end > least && dir[--end] != '/')
            ;
    }
}

/* Whether list ("cpu,cpuacct") has the controller cpu; the unified hierarchy's list is empty. */
static bool has_cpu(const char *list)
{
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, "cpu", 3) == 0 && (at[3] == '\0' || at[3] == ','))
            return true;
    }
    return false;
}

int pc_cpu_quota(const char *root)
{
    char line[PATH_MAX], mount[PATH_MAX];
    int quota = INT_MAX;
    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    FILE *f = fopen(line, "re");
    while (f && fgets(line, sizeof line, f)) { /* number:controllers:path */
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        list++;
        const char *const mounts[] = {*list ? list : "unified", *list ? "cpu" : ""};
        for (size_t i = 0; i < 2 && (*list == '\0' || has_cpu(list)); i++) {
            int n =
                snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s%s", root, *mounts[i] ? "/" : "", mounts[i]);
            int here = n > 0 && (size_t)n < sizeof mount ? lineage_quota(mount, path) : INT_MAX;
            quota = here < quota ? here : quota;
        }
    }
    if (f)
        fclose(f);
    return quota;
}

int pc_cpu_count(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int limit = pc_cpu_quota("");
    if (n > limit)
        n = limit;
    return n < 1 ? 1 : n;
}

bool pc_cpu_keeps_denormals(void)
{
    volatile float smallest_normal = 0x1p-126f, denormal = 0x1p-127f;
    return smallest_normal * 0.5f != 0.0f && denormal * 2.0f != 0.0f;
}
