// SPDX-License-Identifier: Apache-2.0
#include "model/weight.h"

#include "base/memory.h"

#include <stdatomic.h>

/* A run is what one worker reads at once: small enough to be in its second level cache when it is packed. */
enum { RUN_SIZE = 384 * 1024 };

const char *pc_weight_class_name(enum pc_weight_class arithmetic)
{
    static const char *const names[] = {[PC_CLASS_F32] = "f32",
        [PC_CLASS_BF16] = "bf16",
        [PC_CLASS_INT8] = "int8",
        [PC_CLASS_LLM_INT8] = "llm.int8",
        [PC_CLASS_PANELS] = "bf16 panels",
        [PC_CLASS_WIDENED] = "widened f32"};
    return names[arithmetic];
}

static enum pc_weight_class choose(
    const struct pc_tensor *t, const struct pc_kernels *kernels, enum pc_products products)
{
    bool fast = products == PC_PRODUCTS_FAST;
    if (products == PC_PRODUCTS_LLM_INT8 && t->shape[1] <= PC_LLM_MAX_K)
        return PC_CLASS_LLM_INT8;
    if (products == PC_PRODUCTS_TRAIN_BF16)
        return PC_CLASS_PANELS;
    if (fast && t->dtype == PC_BF16 && kernels->bf16.native)
        return PC_CLASS_BF16;
    if (fast && kernels->packed.type[t->dtype].pack && t->shape[1] % PC_QUANT_BLOCK == 0)
        return PC_CLASS_INT8;
    return pc_matmul_for(&kernels->matmul, t->dtype) ? PC_CLASS_F32 : PC_CLASS_WIDENED;
}

struct pc_weight pc_weight_of(
    const struct pc_tensor *t, const struct pc_kernels *kernels, enum pc_products products)
{
    return (struct pc_weight){.source = t,
        .arithmetic = choose(t, kernels, products),
        .dtype = t->dtype,
        .n_out = (size_t)t->shape[0],
        .n_in = (size_t)t->shape[1],
        .row_size = (size_t)(t->size / t->shape[0])};
}

uint64_t pc_weight_own_size(const struct pc_weight *w, const struct pc_kernels *kernels, bool mapped)
{
    if (w->arithmetic == PC_CLASS_INT8)
        return pc_packed_size(&kernels->packed, w->dtype, w->n_out, w->n_in);
    uint64_t tiles = (w->n_out + PC_LLM_TILE_ROWS - 1) / PC_LLM_TILE_ROWS, size;
    if (w->arithmetic == PC_CLASS_LLM_INT8)
        return pc_mul_u64(tiles, pc_llm_tile_size(w->n_in), &size) ? size : UINT64_MAX;
    return mapped ? 0 : w->source->size;
}

/* Slices along the first dimension, which may be several of the checkpoint's rows each. */
static uint64_t pieces(const struct pc_weight *w)
{
    return w->source->n_rows / w->n_out;
}

int pc_weight_read(const struct pc_weight *w, size_t first, size_t n, void *out, struct paco_error *err)
{
    return pc_tensor_read(w->source, first * pieces(w), n * pieces(w), out, err);
}

/* ---- filling ---- */

struct fill {
    struct pc_weight *const *weights;
    const struct pc_kernels *kernels;
    unsigned char *buffers;
    size_t buffer_size;
    atomic_flag failed;
    _Atomic int rc;
    struct paco_error *err;
};

/* Beside the row itself: in F16, and in F32. */
uint64_t pc_weight_fill_row(const struct pc_weight *w)
{
    return w->row_size + (w->arithmetic == PC_CLASS_LLM_INT8 ? 6 * (uint64_t)w->n_in : 0);
}

static size_t run_rows(const struct pc_weight *w)
{
    size_t n = RUN_SIZE / (size_t)pc_weight_fill_row(w) / PC_TILE_ROWS * PC_TILE_ROWS;
    return n ? n : PC_TILE_ROWS;
}

static size_t n_runs(const struct pc_weight *w)
{
    return w->own || pc_tensor_has_check(w->source) ? (w->n_out + run_rows(w) - 1) / run_rows(w) : 0;
}

uint64_t pc_weights_fill_size(uint64_t largest_row, int n_workers)
{
    uint64_t least = PC_TILE_ROWS * largest_row;
    return (least > RUN_SIZE ? least : RUN_SIZE) * (uint64_t)n_workers;
}

/* Through F16, as a model in F16 is quantised. */
static void pack_llm_int8(
    const struct pc_weight *w, const struct pc_convert *convert, unsigned char *rows, size_t first, size_t n)
{
    float *wide = (float *)(rows + (n * w->row_size + 63) / 64 * 64);
    void *half = wide + w->n_in;
    for (size_t i = 0; i < n; i++) {
        convert->to_f32[w->dtype](wide, rows + i * w->row_size, w->n_in);
        convert->from_f32[PC_F16](half, wide, w->n_in);
        convert->to_f32[PC_F16](wide, half, w->n_in);
        pc_llm_int8_pack_row(w->own, first + i, wide, w->n_in);
    }
}

static void fill_run(void *arg, int64_t i_task, int i_worker)
{
    struct fill *f = arg;
    struct pc_weight *const *at = f->weights;
    size_t run = (size_t)i_task;
    if (atomic_load_explicit(&f->rc, memory_order_relaxed) < 0)
        return;
    for (; run >= n_runs(*at); at++)
        run -= n_runs(*at);
    const struct pc_weight *w = *at;
    size_t first = run * run_rows(w), n = w->n_out - first < run_rows(w) ? w->n_out - first : run_rows(w);
    bool packed = w->own && pc_weight_is_packed(w);
    unsigned char *rows = !w->own  ? NULL
                          : packed ? f->buffers + (size_t)i_worker * f->buffer_size
                                   : w->own + first * w->row_size;
    struct paco_error err = {0};
    int rc = w->own ? pc_weight_read(w, first, n, rows, &err)
                    : pc_tensor_check(w->source, first * pieces(w), n * pieces(w), &err);
    if (rc < 0 && !atomic_flag_test_and_set(&f->failed)) {
        if (f->err)
            *f->err = err;
        atomic_store_explicit(&f->rc, rc, memory_order_relaxed);
    }
    if (rc < 0 || !packed)
        return;
    if (w->arithmetic == PC_CLASS_LLM_INT8) {
        pack_llm_int8(w, &f->kernels->convert, rows, first, n);
        return;
    }
    uint64_t tile = pc_packed_tile_size(&f->kernels->packed, w->dtype, w->n_in);
    f->kernels->packed.type[w->dtype].pack(
        w->own + first / PC_TILE_ROWS * tile, rows, w->row_size, n, w->n_in);
}

int pc_weights_fill(struct pc_weight *const *weights, size_t n, const struct pc_kernels *kernels,
    struct pc_pool *pool, struct paco_error *err)
{
    struct fill f = {.weights = weights, .kernels = kernels, .failed = ATOMIC_FLAG_INIT, .err = err};
    size_t n_tasks = 0, row = 0;
    for (size_t i = 0; i < n; i++) {
        n_tasks += n_runs(weights[i]);
        if (weights[i]->own && pc_weight_is_packed(weights[i]))
            row = pc_weight_fill_row(weights[i]) > row ? (size_t)pc_weight_fill_row(weights[i]) : row;
    }
    if (row) {
        uint64_t size = pc_weights_fill_size(row, pc_pool_size(pool));
        f.buffer_size = (size_t)(size / (uint64_t)pc_pool_size(pool));
        f.buffers = pc_alloc_pages((size_t)size);
        if (!f.buffers)
            return pc_error_mem(err, size, "buffers to read weights into");
    }
    pc_pool_run(pool, (int64_t)n_tasks, fill_run, &f);
    pc_free(f.buffers);
    for (size_t i = 0; i < n && f.rc == 0; i++)
        if (weights[i]->own)
            weights[i]->data = weights[i]->own;
    return f.rc;
}
