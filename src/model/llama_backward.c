// SPDX-License-Identifier: Apache-2.0
#include "model/llama_backward.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { ALIGN = 64, MOST_TOGETHER = 3 };

/* What rows cost besides products, for choosing how many workers share them: about, in nanoseconds. */
static const double NORM_NS = 1, ROTATE_NS = 2, SILU_NS = 1.5, KEY_NS = 0.1, COLUMN_NS = 0.2;

struct back {
    const struct pc_compute *compute;
    const struct pc_config *config;
    const struct pc_llama_layer *layer;
    const struct pc_llama_rows *rows;
    const struct pc_llama_tape *tape;
    const struct pc_llama_gradients *gradients;
    const struct pc_llama_scratch *s;
    float *dx;
    int32_t i_layer;

    /* The products at work: those of one input, from matrix `first` on. */
    int first, n;
    struct pc_input in, dy[MOST_TOGETHER];
    /* The norm at work, whose result is their input. */
    const float *x, *norm_weight;
    float *norm_gradient;
};

typedef void range_fn(void *arg, int64_t first, int64_t end, int i_worker);

static void share(struct back *b, size_t n, double ns_each, range_fn *fn)
{
    pc_pool_share(b->compute->pool, (int64_t)n, pc_compute_workers(b->compute, ns_each * (double)n), fn, b);
}

/* ---- products ---- */

static size_t forms_size(const struct pc_input *in)
{
    return (in->n_rows * pc_input_form_size(in->needs, in->n_in) + ALIGN - 1) / ALIGN * ALIGN;
}

/* Matrices [first, first + n) of the layer, of one input x; the gradients of their outputs are dy. */
static void set_products(struct back *b, int first, int n, const float *x, float *const dy[])
{
    const struct pc_weight *w = &b->layer->matrix[first];
    unsigned char *forms = b->s->forms;
    b->first = first;
    b->n = n;
    b->in = (struct pc_input){.x = x, .forms = forms, .n_rows = b->rows->n, .n_in = w->n_in};
    for (int i = 0; i < n; i++)
        b->in.needs |= pc_input_needs(&w[i]);
    for (int i = 0; i < n; i++) {
        forms += i ? forms_size(&b->dy[i - 1]) : forms_size(&b->in);
        b->dy[i] = (struct pc_input){.x = dy[i],
            .forms = forms,
            .needs = pc_input_needs(&w[i]),
            .n_rows = b->rows->n,
            .n_in = w[i].n_out};
    }
}

static void prepare_gradients(const struct back *b, size_t first, size_t end)
{
    for (int i = 0; i < b->n; i++)
        pc_input_prepare(&b->dy[i], b->compute->kernels, first, end);
}

static void prepare_all_gradients(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    prepare_gradients(arg, (size_t)first, (size_t)end);
}

static void prepare_all(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct back *b = arg;
    prepare_gradients(b, (size_t)first, (size_t)end);
    pc_input_prepare(&b->in, b->compute->kernels, (size_t)first, (size_t)end);
}

/* Whether any of the products at work is trained, so that gradients of weights are wanted. */
static bool is_trained(const struct back *b)
{
    bool trained = false;
    for (int i = b->first; i < b->first + b->n; i++)
        trained = trained || b->gradients->matrix[i] || b->gradients->bias[i];
    return trained;
}

/* Or has adapters, which need their input too. */
static bool needs_input(const struct back *b)
{
    return is_trained(b) || pc_lora_is_beside(b->rows->lora, b->i_layer, b->first, b->n);
}

static void add_weight_gradients(const struct back *b)
{
    if (!is_trained(b))
        return;
    struct pc_linear_dw jobs[MOST_TOGETHER];
    for (int i = 0; i < b->n; i++)
        jobs[i] = (struct pc_linear_dw){&b->layer->matrix[b->first + i], &b->dy[i],
            b->gradients->matrix[b->first + i], b->gradients->bias[b->first + i]};
    pc_linear_backward_weight(b->compute, jobs, b->n, &b->in, b->s->panels);
}

/* Of the input of the products at work, by way of the matrices and of what stands beside them. */
static void find_input_gradient(const struct back *b, float *d_input)
{
    struct pc_linear_dx jobs[MOST_TOGETHER + PC_LORA_TOGETHER];
    struct pc_lora_group beside;
    for (int i = 0; i < b->n; i++)
        jobs[i] = (struct pc_linear_dx){&b->layer->matrix[b->first + i], &b->dy[i]};
    pc_lora_backward(&beside, b->compute, b->rows->lora, b->rows->pos, b->i_layer, b->first, b->n, &b->in,
        b->dy, b->gradients->lora_a + b->first, b->gradients->lora_b + b->first);
    int n = b->n + pc_lora_backward_jobs(&beside, jobs + b->n);
    pc_linear_backward_input(b->compute, jobs, n, d_input, false);
    pc_lora_backward_input(&beside, d_input);
}

/* ---- norms ---- */

static void norm_again(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct back *b = arg;
    size_t width = (size_t)b->config->hidden_size, at = (size_t)first * width;
    b->compute->kernels->rmsnorm.forward(
        b->s->norm + at, b->x + at, b->norm_weight, (size_t)(end - first), width, b->config->rms_norm_eps);
    pc_input_prepare(&b->in, b->compute->kernels, (size_t)first, (size_t)end);
}

static void norm_backward(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct back *b = arg;
    size_t width = (size_t)b->config->hidden_size, at = (size_t)first * width;
    b->compute->kernels->rmsnorm.backward(b->dx + at, b->s->scale + first, b->s->d_norm + at, b->x + at,
        b->norm_weight, (size_t)(end - first), width, b->config->rms_norm_eps);
}

static void norm_weight_backward(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct back *b = arg;
    size_t width = (size_t)b->config->hidden_size, from = (size_t)first * ALIGN, to = (size_t)end * ALIGN;
    b->compute->kernels->rmsnorm.backward_weight(
        b->norm_gradient, b->s->d_norm, b->x, b->s->scale, b->rows->n, width, from, to < width ? to : width);
}

/* Through the products at work, whose input is norm(x), and the norm: dx += the gradient of x. */
static void through_norm(struct back *b, const float *x, const float *weight, float *gradient)
{
    size_t width = (size_t)b->config->hidden_size;
    b->x = x;
    b->norm_weight = weight;
    b->norm_gradient = gradient;
    if (needs_input(b))
        share(b, b->rows->n, NORM_NS * (double)width, norm_again);
    add_weight_gradients(b);
    find_input_gradient(b, b->s->d_norm);
    share(b, b->rows->n, NORM_NS * (double)width, norm_backward);
    if (gradient)
        share(b, (width + ALIGN - 1) / ALIGN, COLUMN_NS * ALIGN * (double)b->rows->n, norm_weight_backward);
}

/* ---- the half behind attention ---- */

/* act for the gradient of DOWN, and the gradients of gate and up where those were. */
static void gate_backward(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct back *b = arg;
    size_t inner = (size_t)b->config->intermediate_size, at = (size_t)first * inner;
    float *gate = b->tape->gate + at, *up = b->tape->up + at;
    b->compute->kernels->silu.backward(
        gate, up, b->s->act + at, gate, up, b->s->d_act + at, (size_t)(end - first) * inner);
    if (is_trained(b))
        pc_input_prepare(&b->in, b->compute->kernels, (size_t)first, (size_t)end);
}

/* act and its forms alone, for adapters that want it before its gradient is known. */
static void gate_again(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct back *b = arg;
    size_t inner = (size_t)b->config->intermediate_size, at = (size_t)first * inner;
    b->compute->kernels->silu.mul(
        b->s->act + at, b->tape->gate + at, b->tape->up + at, (size_t)(end - first) * inner);
    pc_input_prepare(&b->in, b->compute->kernels, (size_t)first, (size_t)end);
}

static void mlp_backward(struct back *b)
{
    double inner = b->config->intermediate_size;
    set_products(b, PC_LLAMA_DOWN, 1, b->s->act, (float *const[]){b->dx});
    if (pc_lora_is_beside(b->rows->lora, b->i_layer, PC_LLAMA_DOWN, 1))
        share(b, b->rows->n, SILU_NS * inner, gate_again);
    if (b->dy[0].needs)
        share(b, b->rows->n, NORM_NS * b->config->hidden_size, prepare_all_gradients);
    find_input_gradient(b, b->s->d_act);
    share(b, b->rows->n, SILU_NS * inner, gate_backward);
    add_weight_gradients(b);

    set_products(b, PC_LLAMA_GATE, 2, b->s->norm, (float *const[]){b->tape->gate, b->tape->up});
    if (b->dy[0].needs || b->dy[1].needs)
        share(b, b->rows->n, inner, prepare_all_gradients);
    through_norm(b, b->tape->x_mid, b->layer->mlp_norm, b->gradients->mlp_norm);
}

/* ---- attention's half ---- */

/* Where the sequences begin, and the end. */
static size_t find_sequences(const struct pc_llama_rows *rows, size_t *starts)
{
    size_t n = 0;
    for (size_t t = 0; t < rows->n; t++) {
        if (rows->pos[t] == 0)
            starts[n++] = t;
        assert(n && rows->pos[t] == (int32_t)(t - starts[n - 1]));
    }
    starts[n] = rows->n;
    return n;
}

/* One query head of one sequence. */
static void attend_back(void *arg, int64_t i_task, int i_worker)
{
    const struct back *b = arg;
    const struct pc_config *c = b->config;
    const struct pc_llama_scratch *s = b->s;
    size_t heads = (size_t)c->n_heads, d = (size_t)c->head_dim, head = (size_t)i_task % heads,
           i = (size_t)i_task / heads, t = s->starts[i], kv_head = head / (heads / (size_t)c->n_kv_heads);
    size_t q_stride = heads * d, kv_stride = (size_t)c->n_kv_heads * d;
    size_t q = t * q_stride + head * d, kv = t * kv_stride + kv_head * d, row = t * heads + head;
    const struct pc_attention_head h = {.n = s->starts[i + 1] - t,
        .head_dim = d,
        .q_stride = q_stride,
        .kv_stride = kv_stride,
        .scale = 1.0f / sqrtf((float)d),
        .q = b->tape->q + q,
        .k = b->tape->k + kv,
        .v = b->tape->v + kv,
        .out = b->tape->mix + q,
        .d_out = s->d_mix + q,
        .max = b->tape->max + row,
        .inverse = b->tape->inverse + row,
        .dot = s->dot + row,
        .row_stride = heads,
        .d_q = s->d_q + q,
        .d_k = s->d_k_heads + q,
        .d_v = s->d_v_heads + q};
    float *scratch = b->compute->scratch + (size_t)i_worker * b->compute->n_scratch;
    if (b->rows->kv_type == PC_BF16)
        pc_attention_backward_bf16(b->compute->kernels, &h, scratch);
    else
        b->compute->kernels->attention_backward.head(&h, scratch);
}

static void attention_backward(struct back *b)
{
    double keys = 0;
    for (size_t t = 0; t < b->rows->n; t++)
        keys += b->rows->pos[t] + 1;
    int64_t n = (int64_t)find_sequences(b->rows, b->s->starts) * b->config->n_heads;
    if (pc_compute_workers(b->compute, KEY_NS * keys * b->config->n_heads * b->config->head_dim) > 1)
        pc_pool_run(b->compute->pool, n, attend_back, b);
    else
        for (int64_t i = 0; i < n; i++)
            attend_back(b, i, 0);
}

/* to (G, D) = the sums over the query heads of each group, ascending. */
static void join_heads(const struct pc_config *c, float *to, const float *from)
{
    size_t d = (size_t)c->head_dim, group = (size_t)(c->n_heads / c->n_kv_heads);
    for (size_t g = 0; g < (size_t)c->n_kv_heads; g++, to += d, from += group * d) {
        memcpy(to, from, d * sizeof *to);
        for (size_t h = 1; h < group; h++)
            for (size_t i = 0; i < d; i++)
                to[i] += from[h * d + i];
    }
}

/* Back from what attention saw to what Q, K and V gave; k and v are used up, and their gradients take the
 * place. */
static void rotate_back(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct back *b = arg;
    const struct pc_config *c = b->config;
    size_t heads = (size_t)c->n_heads, kv_heads = (size_t)c->n_kv_heads, d = (size_t)c->head_dim;
    for (size_t t = (size_t)first; t < (size_t)end; t++) {
        const float *cos_sin = b->rows->cos_sin + t * d;
        float *d_k = b->tape->k + t * kv_heads * d, *d_v = b->tape->v + t * kv_heads * d;
        join_heads(c, d_k, b->s->d_k_heads + t * heads * d);
        join_heads(c, d_v, b->s->d_v_heads + t * heads * d);
        b->compute->kernels->rope.backward(b->s->d_q + t * heads * d, cos_sin, heads, d);
        b->compute->kernels->rope.backward(d_k, cos_sin, kv_heads, d);
    }
    prepare_gradients(b, (size_t)first, (size_t)end);
}

static void mixing_backward(struct back *b)
{
    const struct pc_config *c = b->config;
    set_products(b, PC_LLAMA_O, 1, b->tape->mix, (float *const[]){b->dx});
    if (b->in.needs)
        share(b, b->rows->n, NORM_NS * c->hidden_size, prepare_all);
    find_input_gradient(b, b->s->d_mix);
    add_weight_gradients(b);

    attention_backward(b);
    set_products(b, PC_LLAMA_Q, 3, b->s->norm, (float *const[]){b->s->d_q, b->tape->k, b->tape->v});
    share(b, b->rows->n, ROTATE_NS * c->n_heads * c->head_dim, rotate_back);
    through_norm(b, b->tape->x_in, b->layer->attention_norm, b->gradients->attention_norm);
}

void pc_llama_block_backward(const struct pc_compute *compute, const struct pc_config *config,
    const struct pc_llama_weights *weights, int32_t i_layer, const struct pc_llama_rows *rows,
    const struct pc_llama_tape *tape, float *dx, const struct pc_llama_gradients *gradients,
    const struct pc_llama_scratch *s)
{
    struct pc_llama_tape again = s->spare;
    if (!tape->q) {
        memcpy(s->stream, tape->x_in, rows->n * (size_t)config->hidden_size * sizeof *s->stream);
        pc_llama_block_forward(compute, config, weights, i_layer, rows, s->stream, &s->forward, &again);
        tape = &again;
    }
    struct back b = {.compute = compute,
        .config = config,
        .layer = weights->layer(weights->ctx, i_layer),
        .rows = rows,
        .tape = tape,
        .gradients = gradients,
        .s = s,
        .dx = dx,
        .i_layer = i_layer};
    mlp_backward(&b);
    mixing_backward(&b);
}
