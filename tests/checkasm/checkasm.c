// SPDX-License-Identifier: Apache-2.0
#include "checkasm.h"

#include "base/cpu.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* One row per family, sorted; each is defined in its own check_OP.c. */
static const struct {
    const char *name;
    void (*run)(void);
} g_families[] = {
    {"adamw", check_adamw},
    {"attention", check_attention},
    {"attention_backward", check_attention_backward},
    {"beside", check_beside},
    {"bf16", check_bf16},
    {"convert", check_convert},
    {"cross_entropy", check_cross_entropy},
    {"dropout", check_dropout},
    {"gemm", check_gemm},
    {"limits", check_limits},
    {"llm_int8", check_llm_int8},
    {"matmul", check_matmul},
    {"packed", check_packed},
    {"quantisers", check_quantisers},
    {"rmsnorm", check_rmsnorm},
    {"rope", check_rope},
    {"signs", check_signs},
    {"silu", check_silu},
    {"softmax", check_softmax},
    {NULL, NULL},
};

enum { MAX_BUFFERS = 64, GUARD = 0xa5 };

static struct {
    uint64_t state;
    char name[96];
    int n_passed, n_failed, n_skipped, n_case_failures;
    bool in_case, bench;
    struct {
        uint8_t *map, *start;
        size_t map_size, front, size, pad;
    } buffers[MAX_BUFFERS];
    int n_buffers;
} g_check;

static const struct check_level g_all_levels[] = {
    {"avx2", PC_CPU_AVX2},
    {"avx_vnni", PC_CPU_AVX2 | PC_CPU_AVX_VNNI},
    {"avx512", PC_CPU_AVX2 | PC_CPU_AVX512},
    {"avx512_vnni", PC_CPU_AVX2 | PC_CPU_AVX512 | PC_CPU_AVX512_VNNI},
    {"avx512_bf16", PC_CPU_AVX2 | PC_CPU_AVX512 | PC_CPU_AVX512_VNNI | PC_CPU_AVX512_BF16},
    {"neon", PC_CPU_NEON},
    {"dotprod", PC_CPU_NEON | PC_CPU_DOTPROD},
    {"i8mm", PC_CPU_NEON | PC_CPU_DOTPROD | PC_CPU_I8MM},
};
enum { N_LEVELS = sizeof g_all_levels / sizeof *g_all_levels };

static bool is_foreign(const struct check_level *l)
{
#if defined(__aarch64__)
    return !(l->flags & PC_CPU_NEON);
#else
    return (l->flags & PC_CPU_NEON) != 0;
#endif
}

const struct check_level *check_levels(void)
{
    static struct check_level levels[N_LEVELS + 1];
    int n = 0;
    for (int i = 0; i < N_LEVELS; i++)
        if ((g_all_levels[i].flags & pc_cpu_flags()) == g_all_levels[i].flags)
            levels[n++] = g_all_levels[i];
    levels[n] = (struct check_level){0};
    return levels;
}

static void end_case(void)
{
    if (!g_check.in_case)
        return;
    g_check.in_case = false;
    if (g_check.n_case_failures == 0) {
        g_check.n_passed++;
        printf("ok - %s\n", g_check.name);
    } else {
        g_check.n_failed++;
        printf("not ok - %s (%d differences)\n", g_check.name, g_check.n_case_failures);
    }
}

void check_case(const char *function, const struct check_level *level)
{
    end_case();
    snprintf(g_check.name, sizeof g_check.name, "%s %s", function, level->name);
    g_check.in_case = true;
    g_check.n_case_failures = 0;
}

static void fail(const char *what, const char *fmt, va_list args)
{
    if (g_check.n_case_failures++ > 0)
        return;
    printf("# %s: ", g_check.name);
    vprintf(fmt, args);
    printf("%s%s\n", *what ? ": " : "", what);
}

void check_fail(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail("", fmt, args);
    va_end(args);
}

void check_same(const void *want, const void *got, size_t size, const char *fmt, ...)
{
    const uint8_t *a = want, *b = got;
    if (size == 0 || memcmp(a, b, size) == 0)
        return;
    size_t i = 0;
    while (a[i] == b[i])
        i++;
    uint32_t x = 0, y = 0;
    size_t word = i / 4 * 4, len = size - word < 4 ? size - word : 4;
    memcpy(&x, a + word, len);
    memcpy(&y, b + word, len);
    char what[128];
    snprintf(
        what, sizeof what, "byte %zu of %zu differs: 32-bit word 0x%08x, scalar has 0x%08x", i, size, y, x);
    va_list args;
    va_start(args, fmt);
    fail(what, fmt, args);
    va_end(args);
}

void check_near(const float *want, const float *got, const float *bound, size_t n, const char *fmt, ...)
{
    for (size_t i = 0; i < n; i++) {
        bool both_nan = isnan(want[i]) && isnan(got[i]);
        if (both_nan || want[i] == got[i] || fabsf(want[i] - got[i]) <= bound[i])
            continue;
        char what[160];
        snprintf(what, sizeof what, "element %zu of %zu is %.9g, scalar has %.9g, bound %.3g", i, n,
            (double)got[i], (double)want[i], (double)bound[i]);
        va_list args;
        va_start(args, fmt);
        fail(what, fmt, args);
        va_end(args);
        return;
    }
}

/* splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
uint64_t check_random(void)
{
    uint64_t z = g_check.state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void *check_buffer(size_t size, size_t pad)
{
    const size_t page = 4096, front = 64;
    if (g_check.n_buffers == MAX_BUFFERS) {
        fprintf(stderr, "check_buffer: more than %d at once\n", MAX_BUFFERS);
        exit(1);
    }
    size_t usable = (front + size + pad + page - 1) / page * page;
    uint8_t *map = mmap(NULL, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + usable, page, PROT_NONE) != 0) {
        perror("check_buffer");
        exit(1);
    }
    uint8_t *start = map + usable - pad - size;
    memset(map, GUARD, usable);
    for (size_t i = 0; i < size; i++)
        start[i] = (uint8_t)(check_random() >> 32);
    g_check.buffers[g_check.n_buffers].map = map;
    g_check.buffers[g_check.n_buffers].map_size = usable + page;
    g_check.buffers[g_check.n_buffers].start = start;
    g_check.buffers[g_check.n_buffers].front = front;
    g_check.buffers[g_check.n_buffers].size = size;
    g_check.buffers[g_check.n_buffers++].pad = pad;
    return start;
}

static float ordinary(void)
{
    float x = ldexpf((float)(int32_t)check_random(), -31);
    return ldexpf(x, (int)(check_random() % 16) - 8);
}

static float *floats(size_t n, bool all)
{
    static const float rare[] = {
        0.0f, -0.0f, 1e-40f, -1e-45f, 1e38f, -3e38f, 65504.0f, 65520.0f, 6e-8f, 1.0f};
    float *x = check_buffer(n * sizeof *x, n % 4 * 4);
    for (size_t i = 0; i < n; i++) {
        uint64_t r = check_random();
        x[i] = r % 16 ? ordinary() : rare[(r >> 8) % (sizeof rare / sizeof *rare)];
        if (all && r % 64 == 1)
            x[i] = r & 128 ? NAN : r & 256 ? INFINITY : -INFINITY;
    }
    return x;
}

float *check_floats(size_t n)
{
    return floats(n, false);
}

float *check_floats_all(size_t n)
{
    return floats(n, true);
}

static bool all_guard(const uint8_t *p, size_t n)
{
    while (n > 0 && p[n - 1] == GUARD)
        n--;
    return n == 0;
}

void check_release(void)
{
    for (int i = 0; i < g_check.n_buffers; i++) {
        const uint8_t *start = g_check.buffers[i].start;
        if (!all_guard(start - g_check.buffers[i].front, g_check.buffers[i].front))
            check_fail("wrote in front of a buffer of %zu bytes", g_check.buffers[i].size);
        if (!all_guard(start + g_check.buffers[i].size, g_check.buffers[i].pad))
            check_fail("wrote behind a buffer of %zu bytes", g_check.buffers[i].size);
        munmap(g_check.buffers[i].map, g_check.buffers[i].map_size);
    }
    g_check.n_buffers = 0;
}

bool check_bench(void)
{
    return g_check.bench;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void check_time(
    const char *function, const struct check_level *level, uint64_t n_bytes, void (*fn)(void *arg), void *arg)
{
    double best = 1e30, end = now() + 0.25;
    for (double t0 = now(), t1; t0 < end; t0 = t1) {
        fn(arg);
        t1 = now();
        if (t1 - t0 < best)
            best = t1 - t0;
    }
    printf("# bench %s %s: %.3g us, %.2f GB/s\n", function, level ? level->name : "scalar", best * 1e6,
        (double)n_bytes / best * 1e-9);
}

static int report(void)
{
    end_case();
    for (int i = 0; i < N_LEVELS; i++) {
        const struct check_level *l = &g_all_levels[i];
        if (is_foreign(l) || (l->flags & pc_cpu_flags()) == l->flags)
            continue;
        g_check.n_skipped++;
        printf("ok - level %s # SKIP this processor has no %s\n", l->name, l->name);
    }
    printf("%d passed, %d failed, %d skipped\n", g_check.n_passed, g_check.n_failed, g_check.n_skipped);
    return g_check.n_failed ? 1 : 0;
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    uint64_t seed = (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0)
            g_check.bench = true;
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 0);
        else if (argv[i][0] != '-')
            only = argv[i];
        else
            return fprintf(stderr, "usage: checkasm [--bench] [--seed N] [FAMILY]\n"), 2;
    }
    printf("# seed %llu\n", (unsigned long long)seed);
    for (int i = 0; g_families[i].name; i++) {
        g_check.state = seed;
        if (!only || strcmp(only, g_families[i].name) == 0)
            g_families[i].run();
    }
    return report();
}
