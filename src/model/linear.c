// SPDX-License-Identifier: Apache-2.0
#include "model/linear.h"

#include "model/linear_panels.h"

#include <assert.h>

/* A unit is 16 outputs (of panels: 48) of some rows, or of all. */
enum { TILE = PC_TILE_ROWS, MAX_JOBS = 3, LEAST_SPLIT = 64, ALIGN = 64 };
/* Activations that stay in a worker's second level cache while a run of tiles goes over them. */
enum { ROWS_SIZE = 256 * 1024, MIN_ROWS = 16 };
/* Weights turned into F32 together, where they must be. */
enum { WIDENED_FLOATS = 32 * 1024, WIDENED_ROWS = 64 };

enum { NEEDS_INT8 = 1, NEEDS_BF16 = 2, NEEDS_LLM_INT8 = 4 };

/* Opening a round and closing it costs about a microsecond, and a worker's share should be thrice that. The
 * speeds are those of one processor of 2024, a little low, so that a doubtful round goes to all. */
static const double NS_PER_WORKER = 3000, BYTES_PER_NS = 24, PRODUCTS_PER_NS = 100;

int pc_compute_workers(const struct pc_compute *compute, double ns)
{
    double n = ns / NS_PER_WORKER, most = pc_pool_size(compute->pool);
    return n < 1 ? 1 : n < most ? (int)n : (int)most;
}

/* ---- forms of activations ---- */

unsigned pc_input_needs(const struct pc_weight *w)
{
    return w->arithmetic == PC_CLASS_INT8       ? NEEDS_INT8
           : w->arithmetic == PC_CLASS_BF16     ? NEEDS_BF16
           : w->arithmetic == PC_CLASS_PANELS   ? NEEDS_BF16
           : w->arithmetic == PC_CLASS_LLM_INT8 ? NEEDS_LLM_INT8
                                                : 0;
}

static size_t rounded_size(size_t n_in)
{
    return (n_in * sizeof(uint16_t) + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t outliers_size(size_t n_in)
{
    return (n_in * sizeof(struct pc_llm_outlier) + ALIGN - 1) / ALIGN * ALIGN;
}

size_t pc_input_form_size(unsigned needs, size_t n_in)
{
    return (needs & NEEDS_INT8 ? pc_quant_row_size(n_in) : 0) +
           (needs & NEEDS_BF16 ? rounded_size(n_in) : 0) +
           (needs & NEEDS_LLM_INT8 ? pc_llm_row_size(n_in) + outliers_size(n_in) : 0);
}

static unsigned char *quantised(const struct pc_input *in, size_t row)
{
    return in->forms + row * pc_quant_row_size(in->n_in);
}

bool pc_input_has_int8(unsigned needs)
{
    return needs & NEEDS_INT8;
}

const void *pc_input_int8(const struct pc_input *in, size_t row)
{
    return pc_input_has_int8(in->needs) ? quantised(in, row) : NULL;
}

/* Behind the quantised rows, if there are any. */
static uint16_t *rounded(const struct pc_input *in, size_t row)
{
    unsigned char *first = in->needs & NEEDS_INT8 ? quantised(in, in->n_rows) : in->forms;
    return (uint16_t *)(first + row * rounded_size(in->n_in));
}

const uint16_t *pc_input_rounded(const struct pc_input *in, size_t *stride)
{
    *stride = rounded_size(in->n_in);
    return rounded(in, 0);
}

/* Behind those: rows of LLM.int8(), and behind all of them their outliers. */
static unsigned char *llm_row(const struct pc_input *in, size_t row)
{
    size_t others = pc_input_form_size(in->needs & ~(unsigned)NEEDS_LLM_INT8, in->n_in);
    return in->forms + others * in->n_rows + row * pc_llm_row_size(in->n_in);
}

static struct pc_llm_outlier *outliers(const struct pc_input *in, size_t row)
{
    return (struct pc_llm_outlier *)llm_row(in, in->n_rows) + row * in->n_in;
}

void pc_input_prepare(const struct pc_input *in, const struct pc_kernels *kernels, size_t first, size_t end)
{
    for (size_t t = first; t < end; t++) {
        const float *x = in->x + t * in->n_in;
        if (in->needs & NEEDS_INT8)
            kernels->packed.quantise(quantised(in, t), x, in->n_in);
        if (in->needs & NEEDS_BF16)
            kernels->bf16.round(rounded(in, t), x, in->n_in);
        if (in->needs & NEEDS_LLM_INT8)
            kernels->llm_int8.quantise(llm_row(in, t), outliers(in, t), x, in->n_in);
    }
}

/* ---- products ---- */

static size_t widened_rows(const struct pc_weight *w)
{
    size_t n = WIDENED_FLOATS / (w->n_in ? w->n_in : 1) / TILE * TILE;
    return n < TILE ? TILE : n > WIDENED_ROWS ? WIDENED_ROWS : n;
}

size_t pc_linear_scratch(const struct pc_weight *w)
{
    return w->arithmetic == PC_CLASS_WIDENED  ? widened_rows(w) * w->n_in
           : w->arithmetic == PC_CLASS_PANELS ? pc_panels_scratch()
                                              : 0;
}

struct round {
    const struct pc_compute *compute;
    const struct pc_linear *jobs;
    const struct pc_input *in;
    float *sum, *act; /* what becomes of y, if anything */
    bool adds;        /* to sum at once: there is no y */
    int n_jobs;
    size_t unit;                   /* outputs of a tile */
    size_t n_tiles[MAX_JOBS];      /* of each job */
    size_t tiles, n_splits, split; /* tiles of all; by how many the rows are split, and how many they are */
};

/* A part of one job: outputs [out, out + n_out) of rows [row, row + n_rows). */
struct part {
    size_t out, n_out, row, n_rows;
};

static void multiply_panels(
    const struct round *r, const struct pc_linear *job, const struct part *p, float *scratch)
{
    struct pc_panels_product product = {.kernels = r->compute->kernels,
        .type = &r->compute->kernels->gemm.bf16,
        .weight = job->weight,
        .n_rows = p->n_rows,
        .c = (r->adds ? r->sum : job->y) + p->row * job->weight->n_out,
        .add = r->adds,
        .c_stride = job->weight->n_out,
        .first = p->out,
        .n = p->n_out};
    product.a = rounded(r->in, p->row);
    product.a_row = rounded_size(r->in->n_in);
    pc_panels_run(&product, scratch);
}

/* Weights in F32, a few rows at a time, for all rows of the part. */
static void multiply_widened(
    const struct round *r, const struct pc_linear *job, const struct part *p, float *scratch)
{
    const struct pc_weight *w = job->weight;
    const struct pc_kernels *kernels = r->compute->kernels;
    for (size_t done = 0, n; done < p->n_out; done += n) {
        n = p->n_out - done < widened_rows(w) ? p->n_out - done : widened_rows(w);
        size_t out = p->out + done;
        kernels->convert.to_f32[w->dtype](scratch, w->data + out * w->row_size, n * w->n_in);
        kernels->matmul.f32(job->y + p->row * w->n_out + out, w->n_out, r->in->x + p->row * w->n_in, w->n_in,
            p->n_rows, scratch, w->n_in * sizeof *scratch, n, w->n_in);
    }
}

static void multiply(const struct round *r, const struct pc_linear *job, const struct part *p, int i_worker)
{
    const struct pc_weight *w = job->weight;
    const struct pc_kernels *kernels = r->compute->kernels;
    float *y = (r->adds ? r->sum : job->y) + p->row * w->n_out + p->out;
    const unsigned char *rows = w->data + p->out * w->row_size;
    float *scratch = r->compute->scratch + (size_t)i_worker * r->compute->n_scratch;
    size_t tile;
    switch (w->arithmetic) {
    case PC_CLASS_INT8:
        tile = (size_t)pc_packed_tile_size(&kernels->packed, w->dtype, w->n_in);
        kernels->packed.type[w->dtype].multiply(y, w->n_out, quantised(r->in, p->row), p->n_rows,
            w->data + p->out / PC_TILE_ROWS * tile, p->n_out, w->n_in);
        break;
    case PC_CLASS_LLM_INT8:
        tile = pc_llm_tile_size(w->n_in);
        kernels->llm_int8.multiply(y, w->n_out, llm_row(r->in, p->row), outliers(r->in, p->row), p->n_rows,
            w->data + p->out / PC_LLM_TILE_ROWS * tile, p->n_out, w->n_in);
        break;
    case PC_CLASS_BF16:
        kernels->bf16.matmul(y, w->n_out, rounded(r->in, p->row), rounded_size(w->n_in) / sizeof(uint16_t),
            p->n_rows, rows, w->row_size, p->n_out, w->n_in);
        break;
    case PC_CLASS_F32:
        pc_matmul_for(&kernels->matmul, w->dtype)(y, w->n_out, r->in->x + p->row * w->n_in, w->n_in,
            p->n_rows, rows, w->row_size, p->n_out, w->n_in);
        break;
    case PC_CLASS_PANELS: multiply_panels(r, job, p, scratch); break;
    case PC_CLASS_WIDENED:
    case PC_N_CLASSES: multiply_widened(r, job, p, scratch); break;
    }
    for (size_t t = 0; w->bias && t < p->n_rows; t++)
        for (size_t j = 0; j < p->n_out; j++)
            y[t * w->n_out + j] += w->bias[p->out + j];
}

/* What follows the product while its outputs are still in the cache. */
static void finish(const struct round *r, const struct part *p)
{
    size_t stride = r->jobs->weight->n_out, at = p->row * stride + p->out;
    for (size_t t = 0; t < p->n_rows && r->act; t++)
        r->compute->kernels->silu.mul(r->act + at + t * stride, r->jobs[0].y + at + t * stride,
            r->jobs[1].y + at + t * stride, p->n_out);
    for (size_t t = 0; t < p->n_rows && r->sum && !r->adds; t++)
        for (size_t j = at + t * stride; j < at + t * stride + p->n_out; j++)
            r->sum[j] += r->jobs[0].y[j];
}

static size_t block_rows(const struct pc_input *in)
{
    size_t row = in->needs ? pc_input_form_size(in->needs, in->n_in) : in->n_in * sizeof(float);
    size_t n = ROWS_SIZE / (row ? row : 1) / MIN_ROWS * MIN_ROWS;
    return n ? n : MIN_ROWS;
}

/* Whether weights are turned into something for all rows of a part together. */
static bool made_for_all_rows(const struct pc_weight *w)
{
    return w->arithmetic == PC_CLASS_WIDENED || w->arithmetic == PC_CLASS_PANELS;
}

/* Tiles [tile, end) of a job, or of both of a gated pair, for some rows. */
static void run_tiles(
    const struct round *r, const struct pc_linear *job, size_t tile, size_t end, size_t split, int i_worker)
{
    size_t last = split + 1 == r->n_splits ? r->in->n_rows : (split + 1) * r->split;
    struct part p = {.out = tile * r->unit, .row = split * r->split};
    size_t n_out = job->weight->n_out;
    p.n_out = end * r->unit < n_out ? (end - tile) * r->unit : n_out - p.out;
    bool once = made_for_all_rows(job->weight);
    size_t most = once ? last : block_rows(r->in);
    for (; p.row < last; p.row += p.n_rows) {
        p.n_rows = last - p.row < most ? last - p.row : most;
        multiply(r, job, &p, i_worker);
        if (r->act)
            multiply(r, job + 1, &p, i_worker);
        finish(r, &p);
    }
}

static void run_units(void *arg, int64_t first, int64_t end, int i_worker)
{
    const struct round *r = arg;
    size_t at = (size_t)first, n;
    for (; at < (size_t)end; at += n) {
        size_t split = at / r->tiles, tile = at % r->tiles, left = (size_t)end - at;
        int i = 0;
        for (; tile >= r->n_tiles[i]; i++)
            tile -= r->n_tiles[i];
        n = r->n_tiles[i] - tile < left ? r->n_tiles[i] - tile : left;
        run_tiles(r, &r->jobs[i], tile, tile + n, split, i_worker);
    }
}

static int n_workers(const struct round *r)
{
    double bytes = 0, products = 0;
    for (int i = 0; i < r->n_jobs; i++) {
        const struct pc_weight *w = r->jobs[i].weight;
        bytes += (double)w->n_out * (double)w->row_size;
        products += (double)w->n_out * (double)w->n_in;
    }
    products *= (double)r->in->n_rows;
    double ns =
        bytes / BYTES_PER_NS > products / PRODUCTS_PER_NS ? bytes / BYTES_PER_NS : products / PRODUCTS_PER_NS;
    return pc_compute_workers(r->compute, ns);
}

static void run_round(struct round *r)
{
    int workers = n_workers(r), n_ranges = r->act ? 1 : r->n_jobs;
    bool panels = r->jobs->weight->arithmetic == PC_CLASS_PANELS;
    assert(r->n_jobs <= MAX_JOBS && r->in->n_rows > 0);
    r->unit = panels ? PC_GEMM_PANEL : TILE;
    for (int i = 0; i < n_ranges; i++) {
        assert(pc_linear_scratch(r->jobs[i].weight) <= r->compute->n_scratch);
        r->n_tiles[i] = (r->jobs[i].weight->n_out + r->unit - 1) / r->unit;
        r->tiles += r->n_tiles[i];
    }
    size_t most = r->in->n_rows / LEAST_SPLIT,
           wanted = (panels ? 2 : 8) * (size_t)workers / (r->tiles ? r->tiles : 1);
    if (panels && r->tiles > 1 && r->tiles < 2 * (size_t)workers)
        wanted++; /* three adapters' A and two workers */
    r->n_splits = wanted < most ? wanted : most;
    r->n_splits = r->n_splits ? r->n_splits : 1;
    r->split = r->in->n_rows / r->n_splits;
    pc_pool_share(r->compute->pool, (int64_t)(r->tiles * r->n_splits), workers, run_units, r);
}

void pc_linear_forward(
    const struct pc_compute *compute, const struct pc_linear *jobs, int n_jobs, const struct pc_input *in)
{
    struct round r = {.compute = compute, .jobs = jobs, .in = in, .n_jobs = n_jobs};
    run_round(&r);
}

void pc_linear_forward_add(
    const struct pc_compute *compute, const struct pc_linear *job, float *sum, const struct pc_input *in)
{
    struct round r = {.compute = compute, .jobs = job, .in = in, .n_jobs = 1, .sum = sum};
    r.adds = job->weight->arithmetic == PC_CLASS_PANELS && !job->weight->bias;
    run_round(&r);
}

void pc_linear_forward_gated(
    const struct pc_compute *compute, const struct pc_linear *gate_up, float *act, const struct pc_input *in)
{
    struct round r = {.compute = compute, .jobs = gate_up, .in = in, .n_jobs = 2, .act = act};
    run_round(&r);
}
