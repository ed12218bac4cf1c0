// SPDX-License-Identifier: Apache-2.0
#include "model/linear.h"

#include <assert.h>

/* Rows of a tile: enough to keep the kernel's registers busy, few enough that converted ones stay in the
 * second level cache, and that a matrix of a small model is still work for several threads. */
enum { MIN_TILE = 8, MAX_TILE = 64, TILE_FLOATS = 32 * 1024 };

static size_t tile_rows(const struct pc_weight *w)
{
    size_t n = TILE_FLOATS / (w->n_in ? w->n_in : 1) / MIN_TILE * MIN_TILE;
    return n < MIN_TILE ? MIN_TILE : n > MAX_TILE ? MAX_TILE : n;
}

static size_t n_tiles(const struct pc_weight *w)
{
    size_t rows = tile_rows(w);
    return (w->n_out + rows - 1) / rows;
}

static bool is_direct(enum pc_dtype dtype)
{
    return dtype == PC_F32 || dtype == PC_F16 || dtype == PC_BF16;
}

size_t pc_linear_scratch(const struct pc_weight *w)
{
    return is_direct(w->dtype) ? 0 : tile_rows(w) * w->n_in;
}

struct round {
    const struct pc_compute *compute;
    const struct pc_linear *jobs;
    size_t n_rows;
};

static void run_tile(void *arg, int64_t i_task, int i_worker)
{
    const struct round *r = arg;
    const struct pc_linear *job = r->jobs;
    size_t tile = (size_t)i_task;
    for (; tile >= n_tiles(job->weight); job++)
        tile -= n_tiles(job->weight);
    const struct pc_weight *w = job->weight;
    const struct pc_kernels *kernels = r->compute->kernels;
    size_t first = tile * tile_rows(w), n = w->n_out - first < tile_rows(w) ? w->n_out - first : tile_rows(w);

    const void *rows = w->data + first * w->row_size;
    size_t row_size = w->row_size;
    pc_matmul_fn *multiply = pc_matmul_for(&kernels->matmul, w->dtype);
    if (!multiply) {
        float *converted = r->compute->scratch + (size_t)i_worker * r->compute->n_scratch;
        kernels->convert.to_f32[w->dtype](converted, rows, n * w->n_in);
        rows = converted;
        row_size = w->n_in * sizeof(float);
        multiply = kernels->matmul.f32;
    }
    multiply(job->y + first, w->n_out, job->x, w->n_in, r->n_rows, rows, row_size, n, w->n_in);
    if (w->bias)
        for (size_t t = 0; t < r->n_rows; t++)
            for (size_t j = first; j < first + n; j++)
                job->y[t * w->n_out + j] += w->bias[j];
}

void pc_linear_forward(
    const struct pc_compute *compute, const struct pc_linear *jobs, int n_jobs, size_t n_rows)
{
    struct round round = {compute, jobs, n_rows};
    size_t n = 0;
    for (int i = 0; i < n_jobs; i++) {
        assert(pc_linear_scratch(jobs[i].weight) <= compute->n_scratch);
        n += n_tiles(jobs[i].weight);
    }
    pc_pool_run(compute->pool, (int64_t)n, run_tile, &round);
}
