// SPDX-License-Identifier: Apache-2.0
#include "model/llama_delta.h"

#include <assert.h>
#include <string.h>

/* Units of work: the narrow side of a pair for some rows; some outputs of a matrix for all rows of a span.
 * Inside, dense rows are multiplied a small block at a time. */
enum { LOW_ROWS = 32, OUT_TILE = 4 * PC_GEMM_PANEL, BLOCK_ROWS = 32, BLOCK_OUT = 16, PIECE = 1024 };

/* Speeds for choosing how many workers a round is worth: products in a nanosecond, and bytes. */
static const double DENSE_PER_NS = 16, INT8_PER_NS = 100, BYTES_PER_NS = 24, SPARSE_PER_NS = 0.5;

/* Floats that a quantised narrow side takes, 32 elements in a cache line. */
static size_t quant_floats(const struct pc_delta *d)
{
    const size_t line = sizeof(struct pc_quant_block) / sizeof(float);
    return d->int8 ? (d->rank + PC_QUANT_BLOCK - 1) / PC_QUANT_BLOCK * line : 0;
}

/* Floats of one row between the rounds for n matrices of one input. */
static size_t group_low(const struct pc_delta *d, size_t n)
{
    size_t sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += d[k].rank + quant_floats(&d[k]);
    return sum;
}

size_t pc_llama_delta_low(const struct pc_llama_delta *d, int32_t n_layers)
{
    size_t most = group_low(&d->head, 1);
    for (int32_t i = 0; i < n_layers; i++) {
        const struct pc_delta *m = d->layers[i].matrix;
        const size_t groups[] = {group_low(m + PC_LLAMA_Q, 3), group_low(m + PC_LLAMA_GATE, 2),
            group_low(m + PC_LLAMA_O, 1), group_low(m + PC_LLAMA_DOWN, 1)};
        for (size_t k = 0; k < sizeof groups / sizeof *groups; k++)
            most = groups[k] > most ? groups[k] : most;
    }
    return most;
}

static const struct pc_delta *beside(const struct pc_llama_delta *d, int32_t i_layer, int i_matrix)
{
    return i_layer == PC_DELTA_HEAD ? &d->head : &d->layers[i_layer].matrix[i_matrix];
}

static bool is_there(const struct pc_delta *d)
{
    return d->rank || d->dense.n || d->sparse.starts || d->signs.bits || d->bias;
}

bool pc_delta_is_beside(const struct pc_delta_rows *rows, int32_t i_layer, int first, int n)
{
    for (size_t i = 0; rows && i < rows->n_spans; i++)
        for (int k = first; rows->spans[i].delta && k < first + n; k++)
            if (is_there(beside(rows->spans[i].delta, i_layer, k)))
                return true;
    return false;
}

/* ---- the two rounds ---- */

/* Products of one input: jobs, and their units of work numbered through. */
struct round {
    const struct pc_compute *compute;
    const struct pc_delta_job *jobs;
    size_t n_jobs, n_low, n_out; /* n_low, n_out: units of the two rounds */
    size_t low_stride;           /* floats from row to row of low */
    double low_ns, out_ns;       /* of one worker */
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Row t of a job's narrow side, times scale, in INT8. */
static void quantise_low(const struct round *r, const struct pc_delta_job *j, size_t t)
{
    const struct pc_delta *d = j->delta;
    const float *low = j->low + t * r->low_stride;
    struct pc_quant_block *to = (void *)(j->quant + t * r->low_stride);
    float x[PC_QUANT_BLOCK];
    for (size_t at = 0; at < d->rank; at += PC_QUANT_BLOCK, to++) {
        for (size_t i = 0; i < PC_QUANT_BLOCK; i++)
            x[i] = at + i < d->rank ? low[at + i] * d->scale : 0;
        r->compute->kernels->packed.quantise(to, x, PC_QUANT_BLOCK);
    }
}

/* The same in INT8, for all matrices of the input whose rows lie together. */
static void make_low_int8(const struct round *r, const struct pc_delta_job *j, size_t first, size_t n)
{
    const struct pc_delta *d = j->delta;
    const struct pc_packed *packed = &r->compute->kernels->packed;
    packed->type[PC_Q8_0].multiply(j->low + first * r->low_stride, r->low_stride,
        (const char *)j->xq + first * pc_quant_row_size(d->n_in), n, d->a, d->n_low, d->n_in);
    size_t done = 0;
    for (const struct pc_delta_job *k = j; done < d->n_low; done += k++->delta->rank)
        for (size_t t = first; t < first + n && k->delta->rank; t++)
            quantise_low(r, k, t);
}

static void make_low(const struct round *r, const struct pc_delta_job *j, size_t unit)
{
    const struct pc_delta *d = j->delta;
    size_t first = unit * LOW_ROWS, n = smaller(j->n_rows - first, LOW_ROWS);
    if (d->int8) {
        make_low_int8(r, j, first, n);
        return;
    }
    float *low = j->low + first * r->low_stride;
    size_t row_size = d->n_in * (d->a_type == PC_F32 ? sizeof(float) : sizeof(uint16_t));
    pc_matmul_for(&r->compute->kernels->matmul, d->a_type)(
        low, r->low_stride, j->x + first * d->n_in, d->n_in, n, d->a, row_size, d->rank, d->n_in);
    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < d->rank; i++)
            low[t * r->low_stride + i] *= d->scale;
}

/* Narrow panels are widened one at a time. */
static void add_factors(const struct round *r, const struct pc_delta_job *j, size_t out, size_t n_out)
{
    const struct pc_delta *d = j->delta;
    const struct pc_kernels *kernels = r->compute->kernels;
    _Alignas(64) float wide[PC_GEMM_PANEL * PC_DELTA_MAX_NARROW];
    struct pc_gemm_call call = {.c_stride = d->n_out,
        .add = true,
        .a = j->low,
        .a_row = r->low_stride * sizeof(float),
        .a_step = sizeof(float),
        .n_rows = j->n_rows,
        .k = d->rank};
    size_t step = d->b_type == PC_F32 ? n_out : PC_GEMM_PANEL, size = pc_dtype_traits(d->b_type)->block_size;
    for (size_t at = 0; at < n_out; at += step) {
        const unsigned char *panel = d->b + (out + at) * d->rank * size;
        call.n_columns = smaller(n_out - at, step);
        call.c = j->y + out + at;
        call.panels = d->b_type == PC_F32 ? (const void *)panel : wide;
        if (d->b_type != PC_F32)
            kernels->convert.to_f32[d->b_type](wide, panel, PC_GEMM_PANEL * d->rank);
        kernels->gemm.f32.multiply(&call);
    }
}

/* What an int8 delta's outputs are computed from, and where they go. */
static struct pc_beside_call call_of(const struct pc_delta_job *j, size_t out, size_t n_out)
{
    const struct pc_delta *d = j->delta;
    return (struct pc_beside_call){.y = j->y + out,
        .y_stride = d->n_out,
        .xq = j->xq,
        .x_stride = pc_quant_row_size(d->n_in),
        .n_x = j->n_rows,
        .n_out = n_out,
        .k = d->n_in};
}

static void add_factors_int8(const struct round *r, const struct pc_delta_job *j, size_t out, size_t n_out)
{
    const struct pc_delta *d = j->delta;
    struct pc_beside_call c = call_of(j, out, n_out);
    c.xq = j->quant;
    c.x_stride = r->low_stride * sizeof(float);
    c.tiles = d->b + out / PC_TILE_ROWS * pc_beside_factor_tile(d->rank);
    c.k = d->rank;
    r->compute->kernels->beside.add_factor(&c);
}

static void add_signs_int8(const struct round *r, const struct pc_delta_job *j, size_t out, size_t n_out)
{
    const struct pc_delta *d = j->delta;
    struct pc_beside_call c = call_of(j, out, n_out);
    c.tiles = d->signs.bits + out / PC_TILE_ROWS * pc_beside_signs_tile(d->n_in);
    c.scale = d->signs.scale + out;
    r->compute->kernels->beside.add_signs(&c);
}

/* Rows of four bits, all of them, as the base's own are multiplied. */
static void add_dense_int8(const struct round *r, const struct pc_delta_job *j, size_t out, size_t n_out)
{
    const struct pc_delta *d = j->delta;
    const struct pc_packed *packed = &r->compute->kernels->packed;
    size_t tile = (size_t)pc_packed_tile_size(packed, d->dense.dtype, d->n_in), n;
    float block[BLOCK_ROWS * OUT_TILE];
    for (size_t t = 0; t < j->n_rows; t += n) {
        n = smaller(j->n_rows - t, BLOCK_ROWS);
        packed->type[d->dense.dtype].multiply(block, n_out,
            (const char *)j->xq + t * pc_quant_row_size(d->n_in), n,
            d->dense.data + out / PC_TILE_ROWS * tile, n_out, d->n_in);
        for (size_t s = 0; s < n; s++)
            for (size_t o = 0; o < n_out; o++)
                j->y[(t + s) * d->n_out + out + o] += block[s * n_out + o];
    }
}

/* The first of ascending rows (n) that is not below row. */
static size_t lower_bound(const uint32_t *rows, size_t n, size_t row)
{
    size_t from = 0;
    while (from < n) {
        size_t mid = from + (n - from) / 2;
        if (rows[mid] < row)
            from = mid + 1;
        else
            n = mid;
    }
    return from;
}

/* Where row is among the dense ones, or would be. */
static size_t dense_index(const struct pc_delta_dense *dense, size_t row)
{
    return dense->rows ? lower_bound(dense->rows, dense->n, row) : smaller(row, dense->n);
}

static size_t dense_row_size(const struct pc_delta_dense *dense, size_t n_in)
{
    const struct pc_dtype_traits *t = pc_dtype_traits(dense->dtype);
    return n_in / t->n_block * t->block_size;
}

/* y (n_rows, BLOCK_OUT) = x by n dense rows, from the i-th on. */
static void multiply_dense(const struct round *r, const struct pc_delta *d, const float *x, size_t n_rows,
    size_t i, size_t n, float *y)
{
    const struct pc_delta_dense *dense = &d->dense;
    const struct pc_kernels *kernels = r->compute->kernels;
    size_t size = dense_row_size(dense, d->n_in);
    pc_matmul_fn *multiply = pc_matmul_for(&kernels->matmul, dense->dtype);
    if (multiply) {
        multiply(y, BLOCK_OUT, x, d->n_in, n_rows, dense->data + i * size, size, n, d->n_in);
        return;
    }
    float wide[BLOCK_OUT * PIECE], part[BLOCK_ROWS * BLOCK_OUT];
    for (size_t at = 0, k; at < d->n_in; at += k) {
        k = smaller(d->n_in - at, PIECE);
        for (size_t o = 0; o < n; o++)
            kernels->convert.to_f32[dense->dtype](
                wide + o * k, dense->data + (i + o) * size + dense_row_size(dense, at), k);
        kernels->matmul.f32(part, BLOCK_OUT, x + at, d->n_in, n_rows, wide, k * sizeof *wide, n, k);
        for (size_t t = 0; t < n_rows; t++)
            for (size_t o = 0; o < n; o++)
                y[t * BLOCK_OUT + o] =
                    at ? y[t * BLOCK_OUT + o] + part[t * BLOCK_OUT + o] : part[t * BLOCK_OUT + o];
    }
}

static void add_dense(const struct round *r, const struct pc_delta_job *j, size_t out, size_t n_out)
{
    const struct pc_delta *d = j->delta;
    size_t end = dense_index(&d->dense, out + n_out);
    float block[BLOCK_ROWS * BLOCK_OUT] = {0};
    for (size_t i = dense_index(&d->dense, out), n; i < end; i += n) {
        n = smaller(end - i, BLOCK_OUT);
        for (size_t t = 0; t < j->n_rows; t += BLOCK_ROWS) {
            size_t n_t = smaller(j->n_rows - t, BLOCK_ROWS);
            multiply_dense(r, d, j->x + t * d->n_in, n_t, i, n, block);
            for (size_t s = 0; s < n_t; s++)
                for (size_t o = 0; o < n; o++)
                    j->y[(t + s) * d->n_out + (d->dense.rows ? d->dense.rows[i + o] : i + o)] +=
                        block[s * BLOCK_OUT + o];
        }
    }
}

/* Products of two floats are exact in double: only the sum rounds, the same way everywhere. */
static double sparse_dot(const struct pc_delta_sparse *s, size_t row, const float *x)
{
    double sum = 0;
    for (uint64_t i = s->starts[row]; i < s->starts[row + 1]; i++)
        sum += (double)s->values[i] * (double)x[s->columns[i]];
    return sum;
}

static void add_sparse(const struct pc_delta_job *j, size_t out, size_t n_out)
{
    const struct pc_delta *d = j->delta;
    for (size_t o = out; o < out + n_out; o++)
        for (size_t t = 0; t < j->n_rows && d->sparse.starts[o] < d->sparse.starts[o + 1]; t++)
            j->y[t * d->n_out + o] += (float)sparse_dot(&d->sparse, o, j->x + t * d->n_in);
}

static void add_signs(const struct round *r, const struct pc_delta_job *j, size_t out, size_t n_out)
{
    const struct pc_delta *d = j->delta;
    r->compute->kernels->signs.add(&(struct pc_signs_call){.y = j->y + out,
        .y_stride = d->n_out,
        .x = j->x,
        .n_x = j->n_rows,
        .bits = d->signs.bits + out * (d->n_in / 8),
        .scale = d->signs.scale + out,
        .n_w = n_out,
        .k = d->n_in});
}

static void add_bias(const struct pc_delta_job *j, size_t out, size_t n_out)
{
    const struct pc_delta *d = j->delta;
    for (size_t t = 0; t < j->n_rows; t++)
        for (size_t o = out; o < out + n_out; o++)
            j->y[t * d->n_out + o] += d->bias[o];
}

static void add_outputs(const struct round *r, const struct pc_delta_job *j, size_t unit)
{
    const struct pc_delta *d = j->delta;
    size_t out = unit * OUT_TILE, n_out = smaller(d->n_out - out, OUT_TILE);
    if (d->rank)
        (d->int8 ? add_factors_int8 : add_factors)(r, j, out, n_out);
    if (d->dense.n)
        (d->int8 && d->dense.dtype == PC_Q4_0 ? add_dense_int8 : add_dense)(r, j, out, n_out);
    if (d->sparse.starts)
        add_sparse(j, out, n_out);
    if (d->signs.bits)
        (d->int8 ? add_signs_int8 : add_signs)(r, j, out, n_out);
    if (d->bias)
        add_bias(j, out, n_out);
}

/* The last of the jobs that begin at unit or before it, and have any. */
static const struct pc_delta_job *job_at(const struct round *r, size_t unit, bool low)
{
    size_t from = 0, n = r->n_jobs;
    while (n - from > 1) {
        size_t mid = from + (n - from) / 2;
        if ((low ? r->jobs[mid].first_low : r->jobs[mid].first_out) <= unit)
            from = mid;
        else
            n = mid;
    }
    return &r->jobs[from];
}

static void run_low(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct round *r = arg;
    for (size_t unit = (size_t)first; unit < (size_t)end; unit++) {
        const struct pc_delta_job *j = job_at(r, unit, true);
        make_low(r, j, unit - j->first_low);
    }
}

static void run_out(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct round *r = arg;
    for (size_t unit = (size_t)first; unit < (size_t)end; unit++) {
        const struct pc_delta_job *j = job_at(r, unit, false);
        add_outputs(r, j, unit - j->first_out);
    }
}

/* Nanoseconds of one worker for so many weights by rows, of bits each. */
static double time_of(const struct pc_delta *d, double weights, double rows, double bits)
{
    double reading = weights * bits / 8 / BYTES_PER_NS;
    double computing = weights * rows / (d->int8 ? INT8_PER_NS : DENSE_PER_NS);
    return reading > computing ? reading : computing;
}

static double out_time(const struct pc_delta_job *j)
{
    const struct pc_delta *d = j->delta;
    const struct pc_dtype_traits *dense = pc_dtype_traits(d->dense.dtype);
    double rows = (double)j->n_rows, n_in = (double)d->n_in, n_out = (double)d->n_out;
    double ns = time_of(d, (double)d->rank * n_out, rows, d->int8 ? 9 : 16);
    ns += d->signs.bits ? time_of(d, n_out * n_in, rows, 1) : 0;
    if (d->dense.n)
        ns += time_of(
            d, (double)d->dense.n * n_in, rows, 8 * (double)dense->block_size / (double)dense->n_block);
    return ns + (d->sparse.starts ? rows * (double)d->sparse.starts[d->n_out] / SPARSE_PER_NS : 0);
}

static void add_job(struct round *r, struct pc_delta_job *j)
{
    const struct pc_delta *d = j->delta;
    j->first_low = r->n_low;
    j->first_out = r->n_out;
    r->n_low += d->a ? (j->n_rows + LOW_ROWS - 1) / LOW_ROWS : 0;
    r->n_out += (d->n_out + OUT_TILE - 1) / OUT_TILE;
    r->n_jobs++;
    r->low_ns += time_of(d, (double)d->rank * (double)d->n_in, (double)j->n_rows, d->int8 ? 9 : 16);
    r->out_ns += out_time(j);
}

/* Floats of one row between the rounds: as many as the spans of this input need. */
static size_t low_stride(const struct pc_delta_rows *rows, int32_t i_layer, int first, int n)
{
    size_t most = 0;
    for (size_t i = 0; i < rows->n_spans; i++) {
        const struct pc_llama_delta *d = rows->spans[i].delta;
        size_t own = d ? group_low(beside(d, i_layer, first), (size_t)n) : 0;
        most = own > most ? own : most;
    }
    return most;
}

/* What a span adds to n matrices of one input. */
static void add_span(struct round *r, const struct pc_delta_rows *rows, const struct pc_delta_span *span,
    const struct pc_delta *d, int n, const struct pc_input *in, float *const y[])
{
    float *low = rows->low + span->first * r->low_stride, *quant = low;
    for (int k = 0; k < n; k++)
        quant += d[k].rank;
    for (int k = 0; k < n; k++, d++) {
        if (!is_there(d))
            continue;
        struct pc_delta_job *j = &rows->jobs[r->n_jobs];
        *j = (struct pc_delta_job){.delta = d,
            .x = in->x + span->first * d->n_in,
            .xq = pc_input_int8(in, span->first),
            .y = y[k] + span->first * d->n_out,
            .low = low,
            .quant = quant,
            .n_rows = span->n};
        low += d->rank;
        quant += quant_floats(d);
        add_job(r, j);
    }
}

void pc_delta_forward(const struct pc_compute *compute, const struct pc_delta_rows *rows, int32_t i_layer,
    int first, int n, const struct pc_input *in, float *const y[])
{
    if (!rows)
        return;
    assert(n <= PC_DELTA_JOBS);
    struct round r = {
        .compute = compute, .jobs = rows->jobs, .low_stride = low_stride(rows, i_layer, first, n)};
    for (size_t i = 0; i < rows->n_spans; i++)
        if (rows->spans[i].delta)
            add_span(&r, rows, &rows->spans[i], beside(rows->spans[i].delta, i_layer, first), n, in, y);
    pc_pool_share(compute->pool, (int64_t)r.n_low, pc_compute_workers(compute, r.low_ns), run_low, &r);
    pc_pool_share(compute->pool, (int64_t)r.n_out, pc_compute_workers(compute, r.out_ns), run_out, &r);
}

/* ---- the ends ---- */

struct new_logits {
    const struct pc_delta_dense *head;
    const struct pc_kernels *kernels;
    const float *x;
    float *out;
    size_t width, n_rows, stride;
};

static void run_new_logits(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct new_logits *l = arg;
    size_t size = dense_row_size(l->head, l->width), out = (size_t)first * BLOCK_OUT;
    size_t n = smaller((size_t)end * BLOCK_OUT, l->head->n) - out;
    pc_matmul_for(&l->kernels->matmul, l->head->dtype)(
        l->out + out, l->stride, l->x, l->width, l->n_rows, l->head->data + out * size, size, n, l->width);
}

void pc_delta_new_logits(const struct pc_compute *compute, const struct pc_llama_delta *delta, const float *x,
    size_t width, size_t n_rows, float *out, size_t out_stride)
{
    struct new_logits l = {.head = &delta->new_head,
        .kernels = compute->kernels,
        .x = x,
        .out = out,
        .width = width,
        .n_rows = n_rows,
        .stride = out_stride};
    double ns = (double)(n_rows * width * l.head->n) / DENSE_PER_NS;
    pc_pool_share(compute->pool, (int64_t)((l.head->n + BLOCK_OUT - 1) / BLOCK_OUT),
        pc_compute_workers(compute, ns), run_new_logits, &l);
}

static const float *own_norm(const struct pc_llama_delta *d, int32_t i_layer, enum pc_delta_norm which)
{
    return which == PC_DELTA_FINAL_NORM       ? d->final_norm
           : which == PC_DELTA_ATTENTION_NORM ? d->layers[i_layer].attention_norm
                                              : d->layers[i_layer].mlp_norm;
}

const float *pc_delta_norm(const struct pc_delta_rows *rows, int32_t i_layer, enum pc_delta_norm which,
    const float *base, size_t first, size_t *n)
{
    if (!rows)
        return base;
    const struct pc_delta_span *s = rows->spans;
    while (s->first + s->n <= first)
        s++;
    *n = smaller(*n, s->first + s->n - first);
    const float *own = s->delta ? own_norm(s->delta, i_layer, which) : NULL;
    return own ? own : base;
}

/* Elements [at, at + n) of a row of the fine-tune's change: exactly what it was before it was kept in parts.
 */
static void widen_change(
    const struct pc_kernels *kernels, const struct pc_delta *e, size_t row, size_t at, size_t n, float *part)
{
    const struct pc_delta_dense *dense = &e->dense;
    size_t i = dense_index(dense, row);
    memset(part, 0, n * sizeof *part);
    if (i < dense->n && (!dense->rows || dense->rows[i] == row))
        kernels->convert.to_f32[dense->dtype](part,
            dense->data + i * dense_row_size(dense, e->n_in) + at * pc_dtype_traits(dense->dtype)->block_size,
            n);
    for (uint64_t k = e->sparse.starts ? e->sparse.starts[row] : 0;
         e->sparse.starts && k < e->sparse.starts[row + 1]; k++)
        if (e->sparse.columns[k] >= at && e->sparse.columns[k] < at + n)
            part[e->sparse.columns[k] - at] += e->sparse.values[k];
}

void pc_delta_embed(const struct pc_kernels *kernels, const struct pc_llama_delta *delta, int32_t token,
    int32_t base_vocab, float *x)
{
    enum { PART = 256 };
    const struct pc_delta *e = &delta->embedding;
    const struct pc_delta_dense *new_rows = &delta->new_embedding;
    size_t row = (size_t)token;
    float part[PART];
    if (token >= base_vocab) {
        row -= (size_t)base_vocab;
        kernels->convert.to_f32[new_rows->dtype](
            x, new_rows->data + row * dense_row_size(new_rows, e->n_in), e->n_in);
        return;
    }
    for (size_t at = 0, n; is_there(e) && at < e->n_in; at += n) {
        n = smaller(e->n_in - at, PART);
        widen_change(kernels, e, row, at, n, part);
        for (size_t c = 0; c < n; c++)
            x[at + c] += part[c];
    }
}
