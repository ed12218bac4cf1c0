// SPDX-License-Identifier: Apache-2.0
/* How fast products of packed weights are, beside the memory they read:
 *
 *     kernels [-t THREADS] [-q SECONDS] [-r ROWS] [-k K] [-c LEVEL] [TYPE ...]      q4_0 q4_1 q5_0 q5_1 q8_0
 * q4_k q5_k q6_k; default all
 *
 * One line per type, shape and number of rows: milliseconds (the median call), GOP/s (a multiplication and an
 * addition are two), GB/s of packed weights. A product takes turns on copies of its matrix that are together
 * larger than any cache, so that one row shows the memory and many rows the multipliers. One thread is timed
 * by its processor time, so that neighbours matter less. */
#include "base/cpu.h"
#include "base/threads.h"
#include "kernels/packed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { COPIES_SIZE = 256 << 20, TASK_TILES = 8, MAX_CALLS = 1000, ALIGN = 2 << 20 };

static const struct shape {
    size_t n_out, k;
} g_shapes[] = {{576, 576}, {1536, 576}, {576, 1536}, {49152, 576}, {4096, 4096}, {11008, 4096},
    {4096, 11008}, {32000, 4096}};
static const size_t g_rows[] = {1, 2, 4, 8, 16, 64, 512};

static size_t g_only_rows, g_only_k; /* 0: all */
static clockid_t g_clock = CLOCK_MONOTONIC;

static double now(void)
{
    struct timespec t;
    clock_gettime(g_clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *need(size_t size)
{
    size = (size + ALIGN - 1) / ALIGN * ALIGN;
    void *p = aligned_alloc(ALIGN, size);
    if (!p) {
        fprintf(stderr, "kernels: no memory for %zu bytes\n", size);
        exit(1);
    }
    madvise(p, size, MADV_HUGEPAGE);
    return p;
}

/* Blocks of any bits whose scales are ordinary numbers. */
static void fill_blocks(enum pc_dtype dtype, uint8_t *p, size_t n_blocks)
{
    size_t size = pc_dtype_traits(dtype)->block_size;
    unsigned seed = 1;
    for (size_t i = 0; i < n_blocks; i++, p += size) {
        for (size_t j = 0; j < size; j++)
            p[j] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
        uint8_t *d = dtype == PC_Q6_K ? p + 208 : p;
        bool min = dtype == PC_Q4_1 || dtype == PC_Q5_1 || dtype == PC_Q4_K || dtype == PC_Q5_K;
        d[1] = 0x14;
        if (min)
            d[3] = 0x14;
    }
}

struct product {
    pc_packed_fn *multiply;
    const uint8_t *tiles, *xq;
    size_t tile_size, n_x, n_out, k;
    float *y;
};

static void run_task(void *arg, int64_t i_task, int i_worker)
{
    (void)i_worker;
    const struct product *p = arg;
    size_t rows = TASK_TILES * PC_TILE_ROWS, first = (size_t)i_task * rows,
           n = p->n_out - first < rows ? p->n_out - first : rows;
    p->multiply(
        p->y + first, p->n_out, p->xq, p->n_x, p->tiles + first / PC_TILE_ROWS * p->tile_size, n, p->k);
}

static int64_t n_tasks(size_t n_out)
{
    return (int64_t)((n_out + TASK_TILES * PC_TILE_ROWS - 1) / (TASK_TILES * PC_TILE_ROWS));
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median seconds of a call, over at least `seconds`. */
static double timed(struct pc_pool *pool, struct product *p, const uint8_t *copies, size_t n_copies,
    size_t copy_size, double seconds)
{
    static double took[MAX_CALLS];
    int n = 0;
    for (double end = now() + seconds; n < 3 || (now() < end && n < MAX_CALLS); n++) {
        p->tiles = copies + (size_t)n % n_copies * copy_size;
        double start = now();
        pc_pool_run(pool, n_tasks(p->n_out), run_task, p);
        took[n] = now() - start;
    }
    qsort(took, (size_t)n, sizeof *took, ascending);
    return took[n / 2];
}

static void bench_shape(const struct pc_packed *table, struct pc_pool *pool, enum pc_dtype dtype,
    struct shape s, const float *x, double seconds)
{
    const struct pc_dtype_traits *traits = pc_dtype_traits(dtype);
    if (s.k % traits->n_block || (g_only_k && s.k != g_only_k))
        return;
    struct product p = {.multiply = table->type[dtype].multiply, .n_out = s.n_out, .k = s.k};
    p.tile_size = (size_t)pc_packed_tile_size(table, dtype, s.k);
    size_t size = (size_t)pc_packed_size(table, dtype, s.n_out, s.k), n_copies = COPIES_SIZE / size + 1;
    size_t row_size = s.k / traits->n_block * traits->block_size, q_size = pc_quant_row_size(s.k);
    uint8_t *copies = need(n_copies * size), *strip = need(PC_TILE_ROWS * row_size), *xq = need(512 * q_size);
    p.y = need(512 * s.n_out * sizeof *p.y);
    p.xq = xq;
    fill_blocks(dtype, strip, PC_TILE_ROWS * s.k / traits->n_block);
    table->type[dtype].pack(copies, strip, row_size, PC_TILE_ROWS, s.k);
    for (size_t at = p.tile_size; at < n_copies * size; at += p.tile_size)
        memcpy(copies + at, copies, p.tile_size);
    memset(p.y, 0, 512 * s.n_out * sizeof *p.y);
    for (size_t i = 0; i < 512; i++)
        table->quantise(xq + i * q_size, x, s.k);
    for (size_t i = 0; i < sizeof g_rows / sizeof *g_rows; i++) {
        p.n_x = g_rows[i];
        if (g_only_rows && p.n_x != g_only_rows)
            continue;
        double t = timed(pool, &p, copies, n_copies, size, seconds);
        printf("%-5s %5zu x %-5zu rows %3zu  %9.3f ms  %7.1f GOP/s  %6.1f GB/s\n", traits->name, s.n_out, s.k,
            p.n_x, t * 1e3, 2 * (double)s.n_out * (double)s.k * (double)p.n_x / t * 1e-9,
            (double)size / t * 1e-9);
        fflush(stdout);
    }
    free(p.y);
    free(xq);
    free(strip);
    free(copies);
}

struct sums {
    const uint64_t *p;
    size_t n; /* numbers of a task */
    uint64_t *sum;
};

static void sum_task(void *arg, int64_t i_task, int i_worker)
{
    (void)i_worker;
    const struct sums *s = arg;
    const uint64_t *p = s->p + (size_t)i_task * s->n;
    uint64_t lane[32] = {0};
    for (size_t i = 0; i + 32 <= s->n; i += 32)
        for (int j = 0; j < 32; j++)
            lane[j] += p[i + (size_t)j];
    for (int j = 0; j < 32; j++)
        s->sum[i_task] += lane[j];
}

/* What all threads read together from memory, at best. */
static void bench_memory(struct pc_pool *pool)
{
    enum { SIZE = 1 << 30, N_TASKS = 256 };
    static uint64_t sum[N_TASKS];
    uint64_t *p = need(SIZE);
    memset(p, 1, SIZE);
    double best = 1e9;
    for (int i = 0; i < 7; i++) {
        struct sums s = {p, SIZE / sizeof *p / N_TASKS, sum};
        double start = now();
        pc_pool_run(pool, N_TASKS, sum_task, &s);
        double t = now() - start;
        best = t < best ? t : best;
    }
    printf("memory: %.1f GB/s read\n", SIZE / best * 1e-9);
    free(p);
}

static void bench_quantise(const struct pc_packed *table, const float *x)
{
    enum { K = 4096, N = 2000 };
    char *q = need(pc_quant_row_size(K));
    double start = now();
    for (int i = 0; i < N; i++)
        table->quantise(q, x, K);
    double t = (now() - start) / N;
    printf("quantise a row of %d: %.2f us, %.1f GB/s\n", K, t * 1e6, K * sizeof *x / t * 1e-9);
    free(q);
}

static void bench_pack(const struct pc_packed *table, enum pc_dtype dtype)
{
    enum { K = 4096, ROWS = 2048 };
    const struct pc_dtype_traits *traits = pc_dtype_traits(dtype);
    size_t row_size = K / traits->n_block * traits->block_size;
    uint8_t *rows = need(ROWS * row_size), *tiles = need((size_t)pc_packed_size(table, dtype, ROWS, K));
    fill_blocks(dtype, rows, ROWS * K / traits->n_block);
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        double start = now();
        table->type[dtype].pack(tiles, rows, row_size, ROWS, K);
        double t = now() - start;
        best = t < best ? t : best;
    }
    printf("%-5s pack %d x %d: %.2f ms, %.1f GB/s\n", traits->name, ROWS, K, best * 1e3,
        (double)(ROWS * row_size) / best * 1e-9);
    free(tiles);
    free(rows);
}

static bool wanted(int argc, char **argv, int first, const char *name)
{
    for (int i = first; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return first >= argc;
}

int main(int argc, char **argv)
{
    int n_threads = 0, first = 1;
    double seconds = 0.3;
    for (; first + 1 < argc && argv[first][0] == '-'; first += 2)
        if (strcmp(argv[first], "-t") == 0)
            n_threads = atoi(argv[first + 1]);
        else if (strcmp(argv[first], "-q") == 0)
            seconds = atof(argv[first + 1]);
        else if (strcmp(argv[first], "-r") == 0)
            g_only_rows = strtoul(argv[first + 1], NULL, 10);
        else if (strcmp(argv[first], "-k") == 0)
            g_only_k = strtoul(argv[first + 1], NULL, 10);
        else if (strcmp(argv[first], "-c") == 0 && pc_cpu_mask(argv[first + 1]))
            continue;
        else
            return fprintf(stderr,
                       "usage: kernels [-t THREADS] [-q SECONDS] [-r ROWS] [-k K] [-c LEVEL] [TYPE ...]\n"),
                   2;
    struct pc_packed table;
    pc_packed_init(&table, pc_cpu_flags());
    struct pc_pool *pool = pc_pool_new(n_threads, NULL);
    if (!pool)
        return fprintf(stderr, "kernels: no threads\n"), 1;
    if (pc_pool_size(pool) == 1)
        g_clock = CLOCK_THREAD_CPUTIME_ID;
    printf("%s, %d threads\n", pc_cpu_level(), pc_pool_size(pool));
    static float x[11008];
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (float)(int)(i * 2654435761u % 2001) / 1000 - 1;
    bench_memory(pool);
    bench_quantise(&table, x);
    for (enum pc_dtype t = 0; t < PC_N_DTYPES; t++)
        if (table.type[t].pack && wanted(argc, argv, first, pc_dtype_name(t)))
            bench_pack(&table, t);
    for (enum pc_dtype t = 0; t < PC_N_DTYPES; t++)
        for (size_t i = 0; i < sizeof g_shapes / sizeof *g_shapes; i++)
            if (table.type[t].multiply && wanted(argc, argv, first, pc_dtype_name(t)))
                bench_shape(&table, pool, t, g_shapes[i], x, seconds);
    pc_pool_free(pool);
    return 0;
}
