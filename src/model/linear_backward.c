// SPDX-License-Identifier: Apache-2.0
/* The two products of a linear layer's backward pass, shared by all workers: dX by columns of dX, dW by rows
 * of dW, so that each packs what nobody else does; the input's panels, which all rows of dW meet, are made
 * once before. */
#include "model/linear_panels.h"

#include <assert.h>

enum { PANEL = PC_GEMM_PANEL, MAX_JOBS = 3, MAX_INPUT_JOBS = 6, LEAST_SPLIT = 64 };
/* Panels of the input that stay in a worker's cache while a unit's go over them; of so many columns at most.
 */
enum { GROUP_SIZE = 640 * 1024, MOST_COLUMNS = 16 * PANEL };

static const double PRODUCTS_PER_NS = 100;

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t n_panels(size_t n)
{
    return (n + PANEL - 1) / PANEL;
}

/* Rows as the arithmetic takes them. */
struct rows {
    const char *data;
    enum pc_dtype dtype;
    size_t stride; /* bytes */
};

static struct rows rows_of(const struct pc_input *in, const struct pc_gemm_type *type)
{
    struct rows rows = {(const char *)in->x, PC_F32, in->n_in * sizeof(float)};
    if (type->step == 2) {
        rows.data = (const char *)pc_input_rounded(in, &rows.stride);
        rows.dtype = PC_BF16;
    }
    return rows;
}

static float *scratch_of(const struct pc_compute *compute, int i_worker)
{
    return compute->scratch + (size_t)i_worker * compute->n_scratch;
}

/* ---- dX ---- */

struct input_round {
    const struct pc_compute *compute;
    const struct pc_linear_dx *jobs;
    int n_jobs;
    float *dx;
    bool add;
    size_t n_columns, n_panels, n_rows, n_splits; /* units are panels of columns, by parts of the rows */
};

static void input_part(
    const struct input_round *r, size_t first, size_t n, size_t row, size_t n_rows, float *scratch)
{
    const struct pc_kernels *kernels = r->compute->kernels;
    for (int i = 0; i < r->n_jobs; i++) {
        const struct pc_weight *w = r->jobs[i].weight;
        const struct pc_gemm_type *type = pc_panels_type(kernels, w);
        struct rows dy = rows_of(r->jobs[i].dy, type);
        struct pc_panels_product p = {.kernels = kernels,
            .type = type,
            .weight = w,
            .columns = true,
            .a = dy.data + row * dy.stride,
            .a_row = dy.stride,
            .n_rows = n_rows,
            .c = r->dx + row * r->n_columns,
            .c_stride = r->n_columns,
            .add = r->add || i > 0,
            .first = first,
            .n = n};
        pc_panels_run(&p, scratch);
    }
}

static void input_units(void *arg, int64_t first, int64_t end, int i_worker)
{
    const struct input_round *r = arg;
    size_t at = (size_t)first, n;
    for (; at < (size_t)end; at += n) {
        size_t split = at / r->n_panels, panel = at % r->n_panels;
        n = least((size_t)end - at, r->n_panels - panel);
        size_t column = panel * PANEL, row = r->n_rows * split / r->n_splits;
        input_part(r, column, least(n * PANEL, r->n_columns - column), row,
            r->n_rows * (split + 1) / r->n_splits - row, scratch_of(r->compute, i_worker));
    }
}

void pc_linear_backward_input(
    const struct pc_compute *compute, const struct pc_linear_dx *jobs, int n_jobs, float *dx, bool add)
{
    struct input_round r = {.compute = compute, .jobs = jobs, .n_jobs = n_jobs, .dx = dx, .add = add};
    double products = 0;
    assert(n_jobs >= 1 && n_jobs <= MAX_INPUT_JOBS && compute->n_scratch >= pc_linear_backward_scratch());
    r.n_columns = jobs->weight->n_in;
    r.n_rows = jobs->dy->n_rows;
    for (int i = 0; i < n_jobs; i++) {
        const struct pc_weight *w = jobs[i].weight;
        assert(w->n_in == r.n_columns && !pc_weight_is_packed(w) && jobs[i].dy->n_rows == r.n_rows);
        products += (double)w->n_out * (double)w->n_in * (double)r.n_rows;
    }
    int workers = pc_compute_workers(compute, products / PRODUCTS_PER_NS);
    r.n_panels = n_panels(r.n_columns);
    size_t splits = least(2 * (size_t)workers / (r.n_panels ? r.n_panels : 1), r.n_rows / LEAST_SPLIT);
    r.n_splits = splits ? splits : 1;
    pc_pool_share(compute->pool, (int64_t)(r.n_panels * r.n_splits), workers, input_units, &r);
}

/* ---- dW ---- */

struct weight_round {
    const struct pc_compute *compute;
    const struct pc_linear_dw *jobs;
    const struct pc_gemm_type *type;
    const struct pc_input *x;
    char *panels;
    int n_jobs;
    size_t n_panels, piece;              /* of x; rows in a piece of K */
    size_t group, n_groups;              /* panels that go together */
    size_t n_units, job_units[MAX_JOBS]; /* of a group: panels of outputs */
};

/* Pieces of x one after the other, all panels of each. */
static char *panel_of(const struct weight_round *r, size_t row, size_t i_panel)
{
    size_t n = least(r->piece, r->x->n_rows - row);
    return r->panels + r->n_panels * pc_gemm_panel_size(r->type, row) +
           i_panel * pc_gemm_panel_size(r->type, n);
}

static void pack_input(void *arg, int64_t i_task, int i_worker)
{
    (void)i_worker;
    const struct weight_round *r = arg;
    size_t row = (size_t)i_task / r->n_panels * r->piece, i = (size_t)i_task % r->n_panels;
    struct rows x = rows_of(r->x, r->type);
    size_t size = x.dtype == PC_F32 ? sizeof(float) : sizeof(uint16_t);
    r->type->pack_columns(panel_of(r, row, i), x.data + row * x.stride + i * PANEL * size, x.dtype, x.stride,
        least(PANEL, r->x->n_in - i * PANEL), least(r->piece, r->x->n_rows - row));
}

/* Columns [first, first + n) of dY, down all rows. */
static void add_bias(const struct pc_linear_dw *job, size_t first, size_t n)
{
    float sum[PANEL] = {0};
    size_t stride = job->weight->n_out;
    for (size_t t = 0; t < job->dy->n_rows; t++)
        for (size_t j = 0; j < n; j++)
            sum[j] += job->dy->x[t * stride + first + j];
    for (size_t j = 0; j < n; j++)
        job->db[first + j] += sum[j];
}

/* Rows [out, out + n) of dW, the columns of one group. */
static void weight_part(
    const struct weight_round *r, const struct pc_linear_dw *job, size_t out, size_t i_group, float *scratch)
{
    const struct pc_gemm_type *type = r->type;
    size_t n_in = r->x->n_in, column = i_group * r->group * PANEL, n = least(PANEL, job->weight->n_out - out);
    struct rows dy = rows_of(job->dy, type);
    size_t size = dy.dtype == PC_F32 ? sizeof(float) : sizeof(uint16_t);
    float *waiting = scratch + PC_PANELS_STEPS * PANEL, *dw = job->dw + out * n_in + column;
    struct pc_gemm_call call = {
        .a = scratch, .a_row = sizeof(float), .a_step = PANEL * sizeof(float), .n_rows = n};
    call.n_columns = least(r->group * PANEL, n_in - column);
    for (size_t row = 0; row < r->x->n_rows; row += r->piece) {
        bool last = r->x->n_rows - row <= r->piece;
        call.k = least(r->piece, r->x->n_rows - row);
        type->pack_columns(scratch, dy.data + row * dy.stride + out * size, dy.dtype, dy.stride, n, call.k);
        call.fetch = (struct pc_gemm_fetch){
            dy.data + (last ? 0 : row + r->piece) * dy.stride + (out + (last ? PANEL : 0)) * size, n * size,
            dy.stride, call.k};
        call.panels = panel_of(r, row, i_group * r->group);
        call.c = last ? dw : waiting;
        call.c_stride = last ? n_in : call.n_columns;
        call.add = last;
        type->multiply(&call);
        call.start = waiting;
        call.start_stride = call.n_columns;
    }
}

static void weight_units(void *arg, int64_t first, int64_t end, int i_worker)
{
    const struct weight_round *r = arg;
    for (size_t at = (size_t)first; at < (size_t)end; at++) {
        size_t i_group = at / r->n_units, unit = at % r->n_units;
        int i = 0;
        for (; unit >= r->job_units[i]; i++)
            unit -= r->job_units[i];
        const struct pc_linear_dw *job = &r->jobs[i];
        if (job->dw)
            weight_part(r, job, unit * PANEL, i_group, scratch_of(r->compute, i_worker));
        if (job->db && i_group == 0)
            add_bias(job, unit * PANEL, least(PANEL, job->weight->n_out - unit * PANEL));
    }
}

/* Few outputs, as of an adapter's A, make up for it by smaller groups. */
static void choose_groups(struct weight_round *r)
{
    size_t panel = pc_gemm_panel_size(r->type, least(r->piece, r->x->n_rows));
    size_t units = 2 * (size_t)pc_pool_size(r->compute->pool), wanted = r->n_units ? units / r->n_units : 0;
    r->group = least(GROUP_SIZE / panel, least(MOST_COLUMNS / PANEL, r->n_panels));
    if (wanted > 1)
        r->group = least(r->group, (r->n_panels + wanted - 1) / wanted);
    r->n_groups = (r->n_panels + r->group - 1) / r->group;
}

static void count_units(struct weight_round *r)
{
    for (int i = 0; i < r->n_jobs; i++) {
        const struct pc_linear_dw *job = &r->jobs[i];
        assert(job->weight->n_in == r->x->n_in && job->dy->n_rows == r->x->n_rows);
        assert(job->dy->n_in == job->weight->n_out);
        r->job_units[i] = job->dw || job->db ? n_panels(job->weight->n_out) : 0;
        r->n_units += r->job_units[i];
    }
}

void pc_linear_backward_weight(const struct pc_compute *compute, const struct pc_linear_dw *jobs, int n_jobs,
    const struct pc_input *x, void *panels)
{
    struct weight_round r = {.compute = compute, .jobs = jobs, .n_jobs = n_jobs, .x = x, .panels = panels};
    assert(n_jobs >= 1 && n_jobs <= MAX_JOBS && compute->n_scratch >= pc_linear_backward_scratch() &&
           x->n_rows > 0);
    r.type = pc_panels_type(compute->kernels, jobs->weight);
    r.n_panels = n_panels(x->n_in);
    r.piece = PC_PANELS_STEPS * r.type->step;
    count_units(&r);
    choose_groups(&r);
    double inputs = (double)x->n_in * (double)x->n_rows, products = inputs * (double)(r.n_units * PANEL);
    size_t n_pieces = (x->n_rows + r.piece - 1) / r.piece;
    pc_pool_run(compute->pool, (int64_t)(r.n_panels * n_pieces), pack_input, &r);
    pc_pool_share(compute->pool, (int64_t)(r.n_units * r.n_groups),
        pc_compute_workers(compute, products / PRODUCTS_PER_NS), weight_units, &r);
}

size_t pc_linear_panels_size(const struct pc_weight *weight, size_t n_rows)
{
    size_t steps = weight->arithmetic == PC_CLASS_PANELS ? (n_rows + 1) / 2 : n_rows;
    return n_panels(weight->n_in) * steps * PANEL * sizeof(float);
}

size_t pc_linear_backward_scratch(void)
{
    size_t weight = PC_PANELS_STEPS * PANEL + PANEL * MOST_COLUMNS;
    return weight > pc_panels_scratch() ? weight : pc_panels_scratch();
}
