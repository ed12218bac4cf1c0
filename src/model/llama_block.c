// SPDX-License-Identifier: Apache-2.0
#include "model/llama_block.h"

#include <assert.h>
#include <string.h>

enum { ALIGN = 16 };

/* What rows cost besides products, for choosing how many workers share them: about, in nanoseconds. */
static const double NORM_NS = 0.5, ROTATE_NS = 1.5, FORM_NS = 0.2;

struct block {
    const struct pc_compute *compute;
    const struct pc_config *config;
    const struct pc_llama_layer *layer;
    const struct pc_llama_rows *rows;
    const struct pc_llama_activations *a;
    float *x;
    unsigned char *forms;
    struct pc_input in; /* of the next products */
    int32_t i_layer;
};

/* Walk over the buffers in order; with a == NULL only count. */
static size_t place(
    struct pc_llama_activations *a, const struct pc_config *c, size_t n_rows, bool keep, float *memory)
{
    size_t width = (size_t)c->hidden_size, inner = (size_t)c->intermediate_size, at = 0;
    size_t q = (size_t)c->n_heads * (size_t)c->head_dim, kv = (size_t)c->n_kv_heads * (size_t)c->head_dim;
    struct pc_llama_activations unused;
    if (!a)
        a = &unused;
    const struct {
        float **buffer;
        size_t width;
        float **shares; /* the buffer it may share at inference */
    } rows[] = {{&a->norm_in, width, NULL}, {&a->norm_mid, width, &a->norm_in}, {&a->q, q, NULL},
        {&a->mix, q, NULL}, {&a->k, kv, NULL}, {&a->v, kv, NULL}, {&a->gate, inner, NULL},
        {&a->up, inner, NULL}, {&a->act, inner, &a->gate}, {&a->delta, width, NULL}, {&a->x_in, width, NULL},
        {&a->x_mid, width, NULL}};
    a->x_in = a->x_mid = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool stream = rows[i].buffer == &a->x_in || rows[i].buffer == &a->x_mid;
        if (!keep && stream)
            continue;
        if (!keep && rows[i].shares) {
            *rows[i].buffer = *rows[i].shares;
            continue;
        }
        *rows[i].buffer = memory ? memory + at : NULL;
        at += (n_rows * rows[i].width + ALIGN - 1) / ALIGN * ALIGN;
    }
    return at;
}

size_t pc_llama_activations_size(const struct pc_config *config, size_t n_rows, bool keep)
{
    return place(NULL, config, n_rows, keep, NULL);
}

void pc_llama_activations_place(
    struct pc_llama_activations *a, const struct pc_config *config, size_t n_rows, bool keep, float *memory)
{
    place(a, config, n_rows, keep, memory);
}

/* Run fn over all rows; one takes so long alone. A few rows are done before others would have come to help.
 */
static void for_rows(struct block *b, double ns_per_row, void (*fn)(void *, int64_t, int64_t, int))
{
    double ns = ns_per_row * (double)b->rows->n;
    pc_pool_share(b->compute->pool, (int64_t)b->rows->n, pc_compute_workers(b->compute, ns), fn, b);
}

static void norm_rows(
    const struct block *b, float *out, const float *weight, float *keep, size_t first, size_t n)
{
    size_t width = (size_t)b->config->hidden_size;
    if (keep)
        memcpy(keep + first * width, b->x + first * width, n * width * sizeof *keep);
    b->compute->kernels->rmsnorm.forward(
        out + first * width, b->x + first * width, weight, n, width, b->config->rms_norm_eps);
    pc_input_prepare(&b->in, b->compute->kernels, first, first + n);
}

static void first_norm(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct block *b = arg;
    norm_rows(b, b->a->norm_in, b->layer->attention_norm, b->a->x_in, (size_t)first, (size_t)(end - first));
}

static void second_norm(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct block *b = arg;
    norm_rows(b, b->a->norm_mid, b->layer->mlp_norm, b->a->x_mid, (size_t)first, (size_t)(end - first));
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
    b->in = (struct pc_input){.x = x, .forms = b->forms, .n_rows = b->rows->n, .n_in = w->n_in};
    for (int i = 0; i < n; i++)
        b->in.needs |= pc_input_needs(&w[i]);
}

static void set_and_prepare_input(struct block *b, const float *x, const struct pc_weight *w)
{
    set_input(b, x, w, 1);
    if (b->in.needs)
        for_rows(b, FORM_NS * (double)w->n_in, prepare);
}

/* Rotate queries and keys, and put keys and values where attention will look for them. */
static void rotate_and_store(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct block *b = arg;
    const struct pc_config *c = b->config;
    const struct pc_attention_type *type =
        pc_attention_for(&b->compute->kernels->attention, b->rows->kv_type);
    size_t d = (size_t)c->head_dim, n_q = (size_t)c->n_heads, n_kv = (size_t)c->n_kv_heads;
    for (size_t t = (size_t)first; t < (size_t)end; t++) {
        const float *cos_sin = b->rows->cos_sin + t * d;
        float *k = b->a->k + t * n_kv * d, *v = b->a->v + t * n_kv * d;
        b->compute->kernels->rope.forward(b->a->q + t * n_q * d, cos_sin, n_q, d);
        b->compute->kernels->rope.forward(k, cos_sin, n_kv, d);
        int32_t pos = b->rows->pos[t];
        void *kv = b->rows->kv_block(b->rows->seq[t], pos / PC_KV_BLOCK);
        for (size_t h = 0; h < n_kv; h++)
            type->store(pc_kv_tiles(c, b->rows->kv_type, kv, b->i_layer, (int32_t)h),
                (size_t)pos % PC_KV_BLOCK, 1, k + h * d, v + h * d, n_kv * d, d);
    }
}

void pc_llama_block_forward(const struct pc_compute *compute, const struct pc_config *config,
    const struct pc_llama_weights *weights, int32_t i_layer, const struct pc_llama_rows *rows, float *x,
    const struct pc_llama_activations *scratch, const struct pc_llama_activations *tape)
{
    const struct pc_llama_activations *a = tape ? tape : scratch;
    const struct pc_llama_layer *layer = weights->layer(weights->ctx, i_layer);
    const struct pc_weight *w = layer->matrix;
    struct block b = {.compute = compute,
        .config = config,
        .layer = layer,
        .rows = rows,
        .a = a,
        .x = x,
        .forms = scratch->forms,
        .i_layer = i_layer};
    double width = config->hidden_size;
    assert(pc_llama_attention_scratch(config) <= compute->n_scratch);

    set_input(&b, a->norm_in, &w[PC_LLAMA_Q], 3);
    for_rows(&b, NORM_NS * width, first_norm);
    const struct pc_linear qkv[] = {{&w[PC_LLAMA_Q], a->q}, {&w[PC_LLAMA_K], a->k}, {&w[PC_LLAMA_V], a->v}};
    pc_linear_forward(compute, qkv, 3, &b.in);
    for_rows(&b, ROTATE_NS * (config->n_heads + 2 * config->n_kv_heads) * config->head_dim, rotate_and_store);
    pc_llama_attention_forward(compute, config, rows, i_layer, a->q, a->mix);
    set_and_prepare_input(&b, a->mix, &w[PC_LLAMA_O]);
    const struct pc_linear o = {&w[PC_LLAMA_O], a->delta};
    pc_linear_forward_add(compute, &o, x, &b.in);

    set_input(&b, a->norm_mid, &w[PC_LLAMA_GATE], 2);
    for_rows(&b, NORM_NS * width, second_norm);
    const struct pc_linear gate_up[] = {{&w[PC_LLAMA_GATE], a->gate}, {&w[PC_LLAMA_UP], a->up}};
    pc_linear_forward_gated(compute, gate_up, a->act, &b.in);
    set_and_prepare_input(&b, a->act, &w[PC_LLAMA_DOWN]);
    const struct pc_linear down = {&w[PC_LLAMA_DOWN], a->delta};
    pc_linear_forward_add(compute, &down, x, &b.in);
}
