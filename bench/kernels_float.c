// SPDX-License-Identifier: Apache-2.0
/* Float products and attention against what this machine can do, on a pool's threads.
 *
 *     bench_kernels_float [-t THREADS] [decode|batch|prefill|training|attention]...
 *
 * Decoding reads half a gigabyte of matrices per round, so that no cache holds them; prefill runs 512 rows
 * through one matrix; training runs 512 rows forwards and backwards through matrices of SmolLM2-135M, whose
 * weights and gradients come from memory, packing included. Every figure is the median of its rounds, and
 * limits are measured before and after. One thread is timed by its processor time, so that neighbours matter
 * less. */
#include "base/cpu.h"
#include "base/memory.h"
#include "base/threads.h"
#include "kernels/attention.h"
#include "kernels/bf16.h"
#include "kernels/limits.h"
#include "kernels/matmul.h"
#include "model/linear.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_ROUNDS = 64, MATRICES = 512 << 20, TILE = 64 };

static struct pc_pool *g_pool;
static struct pc_limits g_limits;
static struct pc_matmul g_matmul;
static struct pc_bf16 g_bf16;
static struct pc_attention g_attention;

static clockid_t g_clock = CLOCK_MONOTONIC;

static double now(void)
{
    struct timespec t;
    clock_gettime(g_clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of one run: the median of half a second of them, at least three. */
static double seconds(int64_t n_tasks, void (*fn)(void *, int64_t, int), void *arg)
{
    double times[MOST_ROUNDS];
    int n = 0;
    pc_pool_run(g_pool, n_tasks, fn, arg);
    for (double end = now() + 0.5; n < 3 || (now() < end && n < MOST_ROUNDS); n++) {
        double t0 = now();
        pc_pool_run(g_pool, n_tasks, fn, arg);
        times[n] = now() - t0;
    }
    qsort(times, (size_t)n, sizeof *times, ascending);
    return times[n / 2];
}

static void *allocate(size_t size)
{
    void *p = pc_alloc_huge(size);
    if (!p) {
        fprintf(stderr, "no memory for %zu bytes\n", size);
        exit(1);
    }
    return p;
}

/* BF16 and F16 numbers of ordinary size, and floats of them: the same bits serve all. */
static void *random_bytes(enum pc_dtype type, size_t n)
{
    size_t size = type == PC_F32 ? 4 : 2;
    char *p = allocate(n * size);
    uint64_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        float f = (float)(int32_t)(state >> 32) * 0x1p-31f;
        uint16_t half = (uint16_t)((state >> 48 & 0x83ff) | 0x3000),
                 b = (uint16_t)((state >> 48 & 0x80ff) | 0x3f00);
        memcpy(p + i * size, type == PC_F32 ? (void *)&f : type == PC_F16 ? (void *)&half : (void *)&b, size);
    }
    return p;
}

static void *g_memory;
static size_t g_memory_lines;

static void read_task(void *arg, int64_t i, int worker)
{
    (void)worker;
    size_t n = g_memory_lines / 64;
    ((uint64_t *)arg)[i] = g_limits.read((char *)g_memory + (size_t)i * n * 64, n);
}

static void fma_task(void *arg, int64_t i, int worker)
{
    (void)worker;
    ((double *)arg)[i] = g_limits.fma_f32(1 << 16, 1, 1);
}

static void dot_task(void *arg, int64_t i, int worker)
{
    (void)worker;
    ((double *)arg)[i] = g_limits.dot_bf16(1 << 16, 1, 1);
}

static double g_bandwidth, g_fma, g_dot;

static void limits(void)
{
    uint64_t words[64];
    double sums[64];
    g_bandwidth = (double)g_memory_lines * 64 / seconds(64, read_task, words);
    double t = seconds(64, fma_task, sums);
    g_fma = 64 * sums[0] * 2 / t;
    if (g_limits.dot_bf16) {
        t = seconds(64, dot_task, sums);
        g_dot = 64 * sums[0] * 2 / t;
    }
    printf("limits: read %.1f GB/s, F32 %.0f GFLOP/s, BF16 pairs %.0f GFLOP/s\n", g_bandwidth * 1e-9,
        g_fma * 1e-9, g_dot * 1e-9);
}

/* Y = X W^T, W of n_w rows in tiles of a task, as often as matrices fit. */
struct product {
    enum pc_dtype type;
    bool pairs; /* BF16 activations */
    size_t n_x, n_w, k, n_tiles;
    const float *x;
    const uint16_t *x_bf16;
    const char *w;
    float *y;
};

static size_t element(enum pc_dtype type)
{
    return type == PC_F32 ? 4 : 2;
}

static void product_task(void *arg, int64_t i_task, int worker)
{
    (void)worker;
    const struct product *p = arg;
    size_t row = p->k * element(p->type), first = (size_t)i_task % p->n_tiles * TILE;
    size_t n = p->n_w - first < TILE ? p->n_w - first : TILE;
    const char *w = p->w + ((size_t)i_task / p->n_tiles * p->n_w + first) * row;
    if (p->pairs)
        g_bf16.matmul(p->y + first, p->n_w, p->x_bf16, p->k, p->n_x, w, row, n, p->k);
    else
        pc_matmul_for(&g_matmul, p->type)(p->y + first, p->n_w, p->x, p->k, p->n_x, w, row, n, p->k);
}

static const struct {
    const char *name;
    enum pc_dtype type;
    bool pairs;
} g_types[] = {
    {"bf16", PC_BF16, true}, {"bf16 as f32", PC_BF16, false}, {"f16", PC_F16, false}, {"f32", PC_F32, false}};

static const size_t g_shapes[][2] = {{576, 1536}, {1536, 576}, {4096, 4096}, {576, 576}, {11008, 4096}};

static void products(const char *what, size_t n_x, bool cold, int n_shapes)
{
    for (size_t t = 0; t < sizeof g_types / sizeof *g_types; t++)
        for (int s = 0; s < n_shapes; s++) {
            struct product p = {.type = g_types[t].type,
                .pairs = g_types[t].pairs,
                .n_x = n_x,
                .n_w = g_shapes[s][1],
                .k = g_shapes[s][0]};
            if (p.pairs && !g_bf16.native)
                continue;
            size_t matrix = p.n_w * p.k, n = cold ? MATRICES / (matrix * element(p.type)) : 1;
            p.n_tiles = (p.n_w + TILE - 1) / TILE;
            p.x = random_bytes(PC_F32, n_x * p.k);
            p.x_bf16 = random_bytes(PC_BF16, n_x * p.k);
            p.w = random_bytes(p.type, n * matrix);
            p.y = allocate(n_x * p.n_w * sizeof *p.y);
            double time = seconds((int64_t)(n * p.n_tiles), product_task, &p);
            double bytes = (double)(n * matrix * element(p.type)) / time;
            double flop = 2.0 * (double)(n * matrix * n_x) / time, limit = p.pairs ? g_dot : g_fma;
            printf("%s %-11s (%zu,%zu,%zu): %6.1f GB/s (%.2f of reading) %6.0f GFLOP/s (%.2f of the limit)\n",
                what, g_types[t].name, n_x, p.k, p.n_w, bytes * 1e-9, bytes / g_bandwidth, flop * 1e-9,
                flop / limit);
            pc_free((void *)(uintptr_t)p.x);
            pc_free((void *)(uintptr_t)p.x_bf16);
            pc_free((void *)(uintptr_t)p.w);
            pc_free(p.y);
        }
}

/* ---- training ---- */

/* One layer's three products of T rows; every run goes to other weights and gradients. */
struct layer {
    const struct pc_compute *compute;
    struct pc_weight *w;
    float **dw;
    struct pc_input x, dy;
    float *y, *dx;
    void *panels;
    size_t n_weights, i_weight;
};

static void forward(struct layer *l)
{
    const struct pc_linear job = {&l->w[l->i_weight], l->y};
    pc_linear_forward(l->compute, &job, 1, &l->x);
}

static void backward_input(struct layer *l)
{
    const struct pc_linear_dx job = {&l->w[l->i_weight], &l->dy};
    pc_linear_backward_input(l->compute, &job, 1, l->dx, false);
}

static void backward_weight(struct layer *l)
{
    const struct pc_linear_dw job = {&l->w[l->i_weight], &l->dy, l->dw[l->i_weight], NULL};
    pc_linear_backward_weight(l->compute, &job, 1, &l->x, l->panels);
}

static double seconds_of(struct layer *l, void (*fn)(struct layer *))
{
    double times[MOST_ROUNDS];
    int n = 0;
    for (double end = now() + 0.4; n < 3 || (now() < end && n < MOST_ROUNDS); n++) {
        l->i_weight = (l->i_weight + 1) % l->n_weights;
        double t0 = now();
        fn(l);
        times[n] = now() - t0;
    }
    qsort(times, (size_t)n, sizeof *times, ascending);
    return times[n / 2];
}

static struct pc_input input(const struct pc_kernels *kernels, unsigned needs, size_t n_rows, size_t n_in)
{
    struct pc_input in = {
        .x = random_bytes(PC_F32, n_rows * n_in), .needs = needs, .n_rows = n_rows, .n_in = n_in};
    in.forms = allocate(n_rows * pc_input_form_size(needs, n_in) + 1);
    pc_input_prepare(&in, kernels, 0, n_rows);
    return in;
}

static void free_input(struct pc_input *in)
{
    pc_free((void *)(uintptr_t)in->x);
    pc_free(in->forms);
}

static void layer(const struct pc_compute *compute, enum pc_weight_class arithmetic, size_t n_rows,
    size_t n_in, size_t n_out)
{
    enum { MOST_WEIGHTS = 64, COLD = 160 << 20 };
    struct pc_weight w[MOST_WEIGHTS];
    float *dw[MOST_WEIGHTS];
    struct layer l = {.compute = compute, .w = w, .dw = dw};
    size_t size = n_in * n_out * sizeof(float);
    for (; l.n_weights < MOST_WEIGHTS && l.n_weights <= COLD / size; l.n_weights++) {
        w[l.n_weights] = (struct pc_weight){.arithmetic = arithmetic,
            .dtype = PC_F32,
            .n_out = n_out,
            .n_in = n_in,
            .row_size = n_in * sizeof(float),
            .data = random_bytes(PC_F32, n_in * n_out)};
        dw[l.n_weights] = allocate(size);
        memset(dw[l.n_weights], 0, size);
    }
    unsigned needs = pc_input_needs(w);
    l.x = input(compute->kernels, needs, n_rows, n_in);
    l.dy = input(compute->kernels, needs, n_rows, n_out);
    l.y = allocate(n_rows * n_out * sizeof(float));
    l.dx = allocate(n_rows * n_in * sizeof(float));
    l.panels = allocate(pc_linear_panels_size(w, n_rows));
    static void (*const fns[])(struct layer *) = {forward, backward_input, backward_weight};
    static const char *const names[] = {"Y", "dX", "dW"};
    double limit = arithmetic == PC_CLASS_PANELS ? g_dot : g_fma;
    printf("training %-11s (%zu,%zu,%zu):", pc_weight_class_name(arithmetic), n_rows, n_in, n_out);
    for (int i = 0; i < 3; i++) {
        double flop = 2.0 * (double)(n_rows * n_in * n_out) / seconds_of(&l, fns[i]);
        printf("  %s %4.0f GFLOP/s (%.2f)", names[i], flop * 1e-9, flop / limit);
    }
    printf("\n");
    for (size_t i = 0; i < l.n_weights; i++) {
        pc_free((void *)(uintptr_t)w[i].data);
        pc_free(dw[i]);
    }
    free_input(&l.x);
    free_input(&l.dy);
    pc_free(l.y);
    pc_free(l.dx);
    pc_free(l.panels);
}

static void training(void)
{
    static const size_t shapes[][3] = {{512, 576, 576}, {512, 576, 192}, {512, 576, 1536}, {512, 1536, 576},
        {512, 576, 49152}, {256, 576, 49152}, {64, 576, 49152}};
    static const enum pc_weight_class classes[] = {PC_CLASS_PANELS, PC_CLASS_F32};
    struct pc_kernels kernels;
    pc_kernels_init(&kernels, pc_cpu_flags());
    struct pc_compute compute = {.kernels = &kernels, .pool = g_pool};
    compute.n_scratch = (pc_linear_backward_scratch() + 15) / 16 * 16;
    compute.scratch = allocate((size_t)pc_pool_size(g_pool) * compute.n_scratch * sizeof(float));
    for (size_t c = 0; c < sizeof classes / sizeof *classes; c++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            layer(&compute, classes[c], shapes[s][0], shapes[s][1], shapes[s][2]);
    pc_free(compute.scratch);
}

/* A cache as an engine lays it out: blocks of 32 positions, in each all layers and heads. */
struct cache {
    const struct pc_attention_type *fns;
    enum pc_dtype type;
    size_t n_layers, n_heads, n_kv, head_dim, n_keys, tile_size;
    size_t rows; /* of a piece */
    char *memory;
    const float *q;
    float *out;
};

static struct pc_kv_tile tile(const struct cache *c, size_t layer, size_t head, size_t i)
{
    char *k = c->memory + ((i * c->n_layers + layer) * c->n_kv + head) * 2 * c->tile_size;
    return (struct pc_kv_tile){k, k + c->tile_size};
}

/* n_q queries, row t of which stands at position first + t, over one segment into s. */
static void one_segment(const struct cache *c, size_t layer, size_t head, size_t segment, const float *q,
    size_t n_rows, size_t first, const struct pc_attention_state *s, float *scratch)
{
    enum { MOST = 256 };
    struct pc_kv_tile tiles[PC_KV_SEGMENT_TILES];
    int32_t n_keys[MOST];
    size_t group = c->n_heads / c->n_kv, n_tiles = 0, last = first + n_rows - 1;
    for (size_t i = segment * PC_KV_SEGMENT_TILES; i <= last / PC_KV_BLOCK && n_tiles < PC_KV_SEGMENT_TILES;
         i++)
        tiles[n_tiles++] = tile(c, layer, head, i);
    for (size_t i = 0; i < n_rows * group; i++)
        n_keys[i] = (int32_t)(first + i / group + 1 - segment * PC_KV_SEGMENT);
    pc_attention_begin(s, n_rows * group, c->head_dim);
    c->fns->fold(s, q, n_rows * group, c->head_dim, tiles, n_tiles, n_keys, 0.125f, scratch);
}

enum { STATE = 1 << 15, SCRATCH = 1 << 14 };

/* One query at the end of the sequence. */
static void decode_task(void *arg, int64_t i_task, int worker)
{
    (void)worker;
    const struct cache *c = arg;
    static _Thread_local float memory[STATE], scratch[SCRATCH];
    size_t segments = (c->n_keys + PC_KV_SEGMENT - 1) / PC_KV_SEGMENT, i = (size_t)i_task,
           group = c->n_heads / c->n_kv;
    struct pc_attention_state s = pc_attention_state_place(memory, group, c->head_dim);
    one_segment(
        c, i / segments / c->n_kv, i / segments % c->n_kv, i % segments, c->q, 1, c->n_keys - 1, &s, scratch);
    g_attention.end(c->out, &s, 0, c->head_dim);
}

/* A piece of a prompt on one head. */
static void prefill_task(void *arg, int64_t i_task, int worker)
{
    (void)worker;
    const struct cache *c = arg;
    static _Thread_local float memory[2][STATE], scratch[SCRATCH];
    size_t i = (size_t)i_task, group = c->n_heads / c->n_kv, first = i / c->n_kv * c->rows, d = c->head_dim;
    size_t n_rows = c->n_keys - first < c->rows ? c->n_keys - first : c->rows, n = n_rows * group;
    struct pc_attention_state total = pc_attention_state_place(memory[0], n, d),
                              part = pc_attention_state_place(memory[1], n, d);
    one_segment(c, 0, i % c->n_kv, 0, c->q, n_rows, first, &total, scratch);
    for (size_t s = 1; s <= first / PC_KV_SEGMENT; s++) {
        one_segment(c, 0, i % c->n_kv, s, c->q, n_rows, first, &part, scratch);
        g_attention.join(&total, &part, n, d);
    }
    for (size_t j = 0; j < n; j++)
        g_attention.end(
            c->out + (first * c->n_heads + i % c->n_kv * group + j / group * c->n_heads + j % group) * d,
            &total, j, d);
}

static void attention_of(enum pc_dtype type, size_t n_heads, size_t n_kv, size_t head_dim)
{
    size_t most_queries = 48 > n_heads / n_kv ? 48 : n_heads / n_kv;
    struct cache c = {.fns = pc_attention_for(&g_attention, type),
        .type = type,
        .n_heads = n_heads,
        .n_kv = n_kv,
        .head_dim = head_dim,
        .tile_size = pc_kv_tile_size(type, head_dim),
        .rows = most_queries / (n_heads / n_kv)};
    c.q = random_bytes(PC_F32, most_queries * head_dim);
    c.n_layers = 30;
    c.n_keys = MATRICES / 2 / (c.n_layers * n_kv * 2 * c.tile_size) * PC_KV_BLOCK;
    size_t n = c.n_keys / PC_KV_BLOCK * c.n_layers * n_kv * 2 * c.tile_size;
    c.memory = allocate(n);
    memset(c.memory, 0x11, n);
    c.out = allocate(2048 * n_heads * head_dim * sizeof *c.out);
    size_t segments = (c.n_keys + PC_KV_SEGMENT - 1) / PC_KV_SEGMENT;
    double time = seconds((int64_t)(c.n_layers * n_kv * segments), decode_task, &c), bytes = (double)n / time;
    printf("attention %-4s %zu/%zu heads of %zu: decode %5.1f GB/s (%.2f of reading)", pc_dtype_name(type),
        n_heads, n_kv, head_dim, bytes * 1e-9, bytes / g_bandwidth);
    c.n_layers = 1;
    for (c.n_keys = 512; c.n_keys <= 2048; c.n_keys *= 4) {
        time = seconds((int64_t)((c.n_keys + c.rows - 1) / c.rows * n_kv), prefill_task, &c);
        double flop = 2.0 * (double)(c.n_keys * (c.n_keys + 1) * head_dim * n_heads) / time;
        printf(", prefill %zu %4.0f GFLOP/s (%.2f of F32)", c.n_keys, flop * 1e-9, flop / g_fma);
    }
    printf("\n");
    pc_free(c.memory);
    pc_free(c.out);
    pc_free((void *)(uintptr_t)c.q);
}

static void attention(void)
{
    static const enum pc_dtype types[] = {PC_F32, PC_F16, PC_BF16, PC_Q8_0};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        attention_of(types[t], 9, 3, 64);
        attention_of(types[t], 32, 8, 128);
        attention_of(types[t], 32, 32, 128);
    }
}

static bool wanted(int argc, char **argv, const char *name)
{
    bool any = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-t") == 0) {
            i++;
            continue;
        }
        any = true;
        if (strcmp(argv[i], name) == 0)
            return true;
    }
    return !any;
}

int main(int argc, char **argv)
{
    int n_threads = 0;
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "-t") == 0)
            n_threads = atoi(argv[i + 1]);
    struct paco_error err = {0};
    g_pool = pc_pool_new(n_threads, &err);
    if (!g_pool)
        return fprintf(stderr, "%s\n", err.message), 1;
    pc_limits_init(&g_limits, pc_cpu_flags());
    pc_matmul_init(&g_matmul, pc_cpu_flags());
    pc_bf16_init(&g_bf16, pc_cpu_flags());
    pc_attention_init(&g_attention, pc_cpu_flags());
    g_memory_lines = (1 << 30) / 64;
    g_memory = allocate(g_memory_lines * 64);
    memset(g_memory, 1, g_memory_lines * 64);
    if (pc_pool_size(g_pool) == 1)
        g_clock = CLOCK_THREAD_CPUTIME_ID;
    printf("%d threads, %s\n", pc_pool_size(g_pool), pc_cpu_level());
    limits();
    if (wanted(argc, argv, "decode"))
        products("decode", 1, true, 3);
    if (wanted(argc, argv, "batch"))
        for (size_t n = 2; n <= 16; n *= 2)
            products("batch", n, true, 1);
    if (wanted(argc, argv, "prefill"))
        products("prefill", 512, false, 5);
    if (wanted(argc, argv, "training"))
        training();
    if (wanted(argc, argv, "attention"))
        attention();
    limits();
    pc_free(g_memory);
    pc_pool_free(g_pool);
    return 0;
}
