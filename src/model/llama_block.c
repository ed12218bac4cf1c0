// SPDX-License-Identifier: Apache-2.0
#include "model/llama_block.h"

#include "kernels/float_bits.h"

#include <assert.h>
#include <string.h>

enum { ALIGN = 16 };

/* What rows cost besides products, for choosing how many workers share them: about, in nanoseconds. */
static const double NORM_NS = 0.5, ROTATE_NS = 1.5, FORM_NS = 0.2, GATE_NS = 0.5;

struct block {
    const struct pc_compute *compute;
    const struct pc_config *config;
    const struct pc_llama_layer *layer;
    const struct pc_llama_rows *rows;
    const struct pc_llama_tape *tape;
    struct pc_llama_activations a; /* of these, what the tape keeps lies there */
    float *x;
    struct pc_input in; /* of the next products */
    int32_t i_layer;
};

struct buffer {
    float **at;
    size_t width;
};

/* Cut the buffers out of memory in order, or with memory NULL only count. */
static size_t place(const struct buffer *buffers, size_t n_buffers, size_t n_rows, float *memory)
{
    size_t at = 0;
    for (size_t i = 0; i < n_buffers; i++) {
        *buffers[i].at = memory ? memory + at : NULL;
        at += (n_rows * buffers[i].width + ALIGN - 1) / ALIGN * ALIGN;
    }
    return at;
}

static size_t place_activations(
    struct pc_llama_activations *a, const struct pc_config *c, size_t n_rows, float *memory)
{
    size_t width = (size_t)c->hidden_size, inner = (size_t)c->intermediate_size;
    size_t q = (size_t)c->n_heads * (size_t)c->head_dim, kv = (size_t)c->n_kv_heads * (size_t)c->head_dim;
    const struct buffer buffers[] = {{&a->norm, width}, {&a->q, q}, {&a->mix, q}, {&a->k, kv}, {&a->v, kv},
        {&a->gate, inner}, {&a->up, inner}, {&a->delta, width}};
    size_t size = place(buffers, sizeof buffers / sizeof *buffers, n_rows, memory);
    a->act = a->gate;
    return size;
}

size_t pc_llama_activations_size(const struct pc_config *config, size_t n_rows)
{
    return place_activations(&(struct pc_llama_activations){0}, config, n_rows, NULL);
}

void pc_llama_activations_place(
    struct pc_llama_activations *a, const struct pc_config *config, size_t n_rows, float *memory)
{
    place_activations(a, config, n_rows, memory);
}

static size_t place_tape(
    struct pc_llama_tape *t, const struct pc_config *c, size_t n_rows, bool recompute, float *memory)
{
    size_t width = (size_t)c->hidden_size, inner = (size_t)c->intermediate_size;
    size_t q = (size_t)c->n_heads * (size_t)c->head_dim, kv = (size_t)c->n_kv_heads * (size_t)c->head_dim;
    const struct buffer buffers[] = {{&t->x_in, width}, {&t->x_mid, width}, {&t->q, q}, {&t->k, kv},
        {&t->v, kv}, {&t->mix, q}, {&t->max, (size_t)c->n_heads}, {&t->inverse, (size_t)c->n_heads},
        {&t->gate, inner}, {&t->up, inner}};
    *t = (struct pc_llama_tape){0};
    return place(buffers, recompute ? 1 : sizeof buffers / sizeof *buffers, n_rows, memory);
}

size_t pc_llama_tape_size(const struct pc_config *config, size_t n_rows, bool recompute)
{
    return place_tape(&(struct pc_llama_tape){0}, config, n_rows, recompute, NULL);
}

void pc_llama_tape_place(
    struct pc_llama_tape *tape, const struct pc_config *config, size_t n_rows, bool recompute, float *memory)
{
    place_tape(tape, config, n_rows, recompute, memory);
}

/* Run fn over all rows; one takes so long alone. A few rows are done before others would have come to help.
 */
static void for_rows(struct block *b, double ns_per_row, void (*fn)(void *, int64_t, int64_t, int))
{
    double ns = ns_per_row * (double)b->rows->n;
    pc_pool_share(b->compute->pool, (int64_t)b->rows->n, pc_compute_workers(b->compute, ns), fn, b);
}

/* Rows [first, end), each with its own fine-tune's norm. */
static void norm_rows(const struct block *b, enum pc_delta_norm which, float *keep, size_t first, size_t end)
{
    size_t width = (size_t)b->config->hidden_size;
    const float *base = which == PC_DELTA_MLP_NORM ? b->layer->mlp_norm : b->layer->attention_norm;
    if (keep)
        memcpy(keep + first * width, b->x + first * width, (end - first) * width * sizeof *keep);
    for (size_t t = first, n; t < end; t += n) {
        n = end - t;
        const float *weight = pc_delta_norm(b->rows->delta, b->i_layer, which, base, t, &n);
        b->compute->kernels->rmsnorm.forward(
            b->a.norm + t * width, b->x + t * width, weight, n, width, b->config->rms_norm_eps);
    }
    pc_input_prepare(&b->in, b->compute->kernels, first, end);
}

static void first_norm(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct block *b = arg;
    norm_rows(b, PC_DELTA_ATTENTION_NORM, b->tape ? b->tape->x_in : NULL, (size_t)first, (size_t)end);
}

static void second_norm(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct block *b = arg;
    norm_rows(b, PC_DELTA_MLP_NORM, b->tape ? b->tape->x_mid : NULL, (size_t)first, (size_t)end);
}

static void prepare(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct block *b = arg;
    pc_input_prepare(&b->in, b->compute->kernels, (size_t)first, (size_t)end);
}

/* The next round's input: x (T, n_in), in the forms that these n matrices want. */
static void set_input(struct block *b, const float *x, const struct pc_weight *w, int n)
{
    b->in = (struct pc_input){.x = x, .forms = b->a.forms, .n_rows = b->rows->n, .n_in = w->n_in};
    for (int i = 0; i < n; i++)
        b->in.needs |= pc_input_needs(&w[i]);
}

static void set_and_prepare_input(struct block *b, const float *x, const struct pc_weight *w)
{
    set_input(b, x, w, 1);
    if (b->in.needs)
        for_rows(b, FORM_NS * (double)w->n_in, prepare);
}

/* What attention makes of it: backward has to see the same. */
static void round_rows(const struct block *b, float *x, size_t n)
{
    if (b->rows->kv_type == PC_BF16)
        for (size_t i = 0; i < n; i++)
            x[i] = pc_bf16_to_f32(pc_f32_to_bf16(x[i]));
}

/* Rotate queries and keys, and put keys and values where attention will look for them. */
static void rotate_and_store(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct block *b = arg;
    const struct pc_config *c = b->config;
    const struct pc_attention_type *type =
        pc_attention_for(&b->compute->kernels->attention, b->rows->kv_type);
    int32_t layer = pc_kv_layer(b->rows, b->i_layer);
    size_t d = (size_t)c->head_dim, n_q = (size_t)c->n_heads, n_kv = (size_t)c->n_kv_heads;
    for (size_t t = (size_t)first; t < (size_t)end; t++) {
        const float *cos_sin = b->rows->cos_sin + t * d;
        float *q = b->a.q + t * n_q * d, *k = b->a.k + t * n_kv * d, *v = b->a.v + t * n_kv * d;
        b->compute->kernels->rope.forward(q, cos_sin, n_q, d);
        b->compute->kernels->rope.forward(k, cos_sin, n_kv, d);
        int32_t pos = b->rows->pos[t];
        void *kv = b->rows->kv_block(b->rows->seq[t], pos / PC_KV_BLOCK);
        for (size_t h = 0; h < n_kv; h++)
            type->store(pc_kv_tiles(c, b->rows->kv_type, kv, layer, (int32_t)h), (size_t)pos % PC_KV_BLOCK, 1,
                k + h * d, v + h * d, n_kv * d, d);
        if (b->tape) {
            round_rows(b, q, n_q * d);
            round_rows(b, k, n_kv * d);
            round_rows(b, v, n_kv * d);
        }
    }
}

/* Where everything goes: onto the tape, if it keeps more than the input. */
static struct pc_llama_activations places(
    const struct pc_llama_activations *scratch, const struct pc_llama_tape *tape)
{
    struct pc_llama_activations a = *scratch;
    if (tape && tape->q) {
        a.q = tape->q;
        a.k = tape->k;
        a.v = tape->v;
        a.mix = tape->mix;
        a.gate = tape->gate;
        a.up = tape->up;
    }
    return a;
}

static void gate_rows(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct block *b = arg;
    size_t inner = (size_t)b->config->intermediate_size, at = (size_t)first * inner;
    b->compute->kernels->silu.mul(b->a.act + at, b->a.gate + at, b->a.up + at, (size_t)(end - first) * inner);
}

/* What stands beside matrices [first, first + n) adds to their outputs y of the input at hand. */
static void add_beside(const struct block *b, int first, int n, float *const y[])
{
    pc_lora_forward(b->compute, b->rows->lora, b->rows->pos, b->i_layer, first, n, &b->in, y);
    pc_delta_forward(b->compute, b->rows->delta, b->i_layer, first, n, &b->in, y);
}

/* act = silu(gate) * up: while the products are still in the cache, unless adapters have to be added to them
 * first. */
static void gate_and_up(struct block *b)
{
    const struct pc_weight *w = b->layer->matrix;
    const struct pc_linear gate_up[] = {{&w[PC_LLAMA_GATE], b->a.gate}, {&w[PC_LLAMA_UP], b->a.up}};
    if (!pc_lora_is_beside(b->rows->lora, b->i_layer, PC_LLAMA_GATE, 2) &&
        !pc_delta_is_beside(b->rows->delta, b->i_layer, PC_LLAMA_GATE, 2)) {
        pc_linear_forward_gated(b->compute, gate_up, b->a.act, &b->in);
        return;
    }
    pc_linear_forward(b->compute, gate_up, 2, &b->in);
    add_beside(b, PC_LLAMA_GATE, 2, (float *const[]){b->a.gate, b->a.up});
    for_rows(b, GATE_NS * b->config->intermediate_size, gate_rows);
}

void pc_llama_block_forward(const struct pc_compute *compute, const struct pc_config *config,
    const struct pc_llama_weights *weights, int32_t i_layer, const struct pc_llama_rows *rows, float *x,
    const struct pc_llama_activations *scratch, const struct pc_llama_tape *tape)
{
    const struct pc_llama_layer *layer = weights->layer(weights->ctx, i_layer);
    const struct pc_weight *w = layer->matrix;
    struct block b = {.compute = compute,
        .config = config,
        .layer = layer,
        .rows = rows,
        .tape = tape,
        .a = places(scratch, tape),
        .x = x,
        .i_layer = i_layer};
    const struct pc_llama_activations *a = &b.a;
    double width = config->hidden_size;
    assert(pc_llama_attention_scratch(config) <= compute->n_scratch);

    set_input(&b, a->norm, &w[PC_LLAMA_Q], 3);
    for_rows(&b, NORM_NS * width, first_norm);
    const struct pc_linear qkv[] = {{&w[PC_LLAMA_Q], a->q}, {&w[PC_LLAMA_K], a->k}, {&w[PC_LLAMA_V], a->v}};
    pc_linear_forward(compute, qkv, 3, &b.in);
    add_beside(&b, PC_LLAMA_Q, 3, (float *const[]){a->q, a->k, a->v});
    for_rows(&b, ROTATE_NS * (config->n_heads + 2 * config->n_kv_heads) * config->head_dim, rotate_and_store);
    pc_llama_attention_forward(
        compute, config, rows, i_layer, a->q, a->mix, tape ? tape->max : NULL, tape ? tape->inverse : NULL);
    set_and_prepare_input(&b, a->mix, &w[PC_LLAMA_O]);
    const struct pc_linear o = {&w[PC_LLAMA_O], a->delta};
    pc_linear_forward_add(compute, &o, x, &b.in);
    add_beside(&b, PC_LLAMA_O, 1, &x);

    set_input(&b, a->norm, &w[PC_LLAMA_GATE], 2);
    for_rows(&b, NORM_NS * width, second_norm);
    gate_and_up(&b);
    set_and_prepare_input(&b, a->act, &w[PC_LLAMA_DOWN]);
    const struct pc_linear down = {&w[PC_LLAMA_DOWN], a->delta};
    pc_linear_forward_add(compute, &down, x, &b.in);
    add_beside(&b, PC_LLAMA_DOWN, 1, &x);
}
