// SPDX-License-Identifier: Apache-2.0
#include "model/llama_lora.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ALIGN = 64 };

/* What rows cost besides products, about, in nanoseconds for each element. */
static const double ELEMENT_NS = 0.5;

/* ---- binding ---- */

static int find(const struct pc_checkpoint *ck, int32_t i_layer, const char *module, char factor,
    const struct pc_tensor **out, struct paco_error *err)
{
    char name[160];
    snprintf(
        name, sizeof name, "base_model.model.model.layers.%d.%s.lora_%c.weight", i_layer, module, factor);
    const struct pc_tensor *t = *out = pc_checkpoint_find(ck, name);
    char shape[160];
    if (t && (t->n_dims != 2 || !pc_dtype_traits(t->dtype)->is_float))
        return pc_error_set(err, PACO_EMISMATCH, "tensor '%s': shape %s of %s is no factor of a matrix", name,
            pc_tensor_shape(t, shape, sizeof shape), pc_dtype_name(t->dtype));
    return 0;
}

static int check_shapes(const struct pc_tensor *a, const struct pc_tensor *b, uint64_t n_out, uint64_t n_in,
    struct paco_error *err)
{
    char of_a[160], of_b[160];
    if (a->shape[1] == n_in && b->shape[0] == n_out && b->shape[1] == a->shape[0] && a->shape[0])
        return 0;
    return pc_error_set(err, PACO_EMISMATCH,
        "tensor '%s': shapes %s and %s of A and B do not make a matrix of [%llu,%llu] (is the base the "
        "adapter's?)",
        a->name, pc_tensor_shape(a, of_a, sizeof of_a), pc_tensor_shape(b, of_b, sizeof of_b),
        (unsigned long long)n_out, (unsigned long long)n_in);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static int bind_pair(struct pc_lora *l, const struct pc_checkpoint *ck, int32_t i_layer, const char *module,
    uint64_t n_out, uint64_t n_in, const struct pc_kernels *kernels, enum pc_products products,
    struct pc_lora_pair *pair, struct paco_error *err)
{
    const struct pc_tensor *a, *b;
    int rc = find(ck, i_layer, module, 'A', &a, err);
    if (rc == 0)
        rc = find(ck, i_layer, module, 'B', &b, err);
    if (rc < 0 || (!a && !b))
        return rc;
    if (!a || !b)
        return pc_error_set(err, PACO_ENOENT, "tensor '%s' is there without its %s", a ? a->name : b->name,
            a ? "lora_B" : "lora_A");
    rc = check_shapes(a, b, n_out, n_in, err);
    if (rc < 0)
        return rc;
    pair->a = pc_weight_of(a, kernels, products);
    pair->b = pc_weight_of(b, kernels, products);
    pair->a.data = pc_tensor_map(a);
    pair->b.data = pc_tensor_map(b);
    if (!pair->a.data || !pair->b.data)
        return pc_error_set(err, PACO_EUNSUPPORTED, "tensor '%s' is not in memory", a->name);
    l->n_pairs++;
    l->largest_rank = larger(l->largest_rank, pair->a.n_out);
    l->largest_in = larger(l->largest_in, pair->a.n_in);
    l->largest_out = larger(l->largest_out, pair->b.n_out);
    return 0;
}

static int bind_layer(struct pc_lora *l, const struct pc_checkpoint *ck, const struct pc_config *c,
    int32_t i_layer, const struct pc_kernels *kernels, enum pc_products products, float scale,
    struct paco_error *err)
{
    int rc = 0;
    for (int k = 0; k < PC_LLAMA_N_MATRICES && rc == 0; k++) {
        const struct pc_llama_shape row = pc_llama_shape_of(c, (enum pc_llama_matrix)k);
        l->layers[i_layer][k].scale = scale;
        rc = bind_pair(
            l, ck, i_layer, row.name, row.n_out, row.n_in, kernels, products, &l->layers[i_layer][k], err);
    }
    return rc;
}

int pc_lora_bind(const struct pc_checkpoint *ck, const struct pc_config *config,
    const struct pc_kernels *kernels, enum pc_products products, float scale, struct pc_lora **out,
    struct paco_error *err)
{
    struct pc_lora *l = pc_alloc_zero(1, sizeof *l);
    if (!l)
        return pc_error_mem(err, sizeof *l, "an adapter");
    l->layers = pc_arena_alloc(&l->arena, (size_t)config->n_layers, sizeof *l->layers);
    int rc = l->layers ? 0 : pc_error_mem(err, (uint64_t)config->n_layers * sizeof *l->layers, "an adapter");
    for (int32_t i = 0; i < config->n_layers && rc == 0; i++)
        rc = bind_layer(l, ck, config, i, kernels, products, scale, err);
    if (rc == 0 && l->n_pairs == 0)
        rc = pc_error_set(err, PACO_ENOENT,
            "no tensor is called like 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight': this "
            "is no adapter of a LLaMA");
    if (rc < 0) {
        pc_lora_free(l);
        return rc;
    }
    *out = l;
    return 0;
}

void pc_lora_free(struct pc_lora *l)
{
    if (!l)
        return;
    pc_arena_release(&l->arena);
    pc_free(l);
}

/* ---- memory ---- */

static size_t rounded(size_t size)
{
    return (size + ALIGN - 1) / ALIGN * ALIGN;
}

/* Any pair's: they are all multiplied in one way. */
static const struct pc_lora_pair *any_pair(const struct pc_lora *l)
{
    const struct pc_lora_pair *pair = l->layers[0];
    while (!pair->a.data)
        pair++;
    return pair;
}

static size_t lay_out(
    struct pc_lora_scratch *s, const struct pc_lora *l, size_t n_rows, unsigned char *memory)
{
    struct pc_weight a = any_pair(l)->a;
    unsigned needs = pc_input_needs(&a);
    size_t forms = rounded(n_rows * pc_input_form_size(needs, l->largest_in)) +
                   2 * rounded(n_rows * pc_input_form_size(needs, l->largest_rank));
    a.n_in = larger(l->largest_in, l->largest_rank);
    const struct {
        void *field;
        size_t size;
    } parts[] = {
        {&s->x, n_rows * l->largest_in * sizeof(float)},
        {&s->wide, n_rows * larger(l->largest_in, l->largest_out) * sizeof(float)},
        {&s->low, n_rows * l->largest_rank * sizeof(float)},
        {&s->d_low, n_rows * l->largest_rank * sizeof(float)},
        {&s->forms, forms},
        {&s->panels, pc_linear_panels_size(&a, n_rows)},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        void *p = memory ? memory + at : NULL;
        memcpy(parts[i].field, &p, sizeof p);
        at += rounded(parts[i].size);
    }
    return at;
}

size_t pc_lora_scratch_size(const struct pc_lora *lora, size_t n_rows)
{
    return lay_out(&(struct pc_lora_scratch){0}, lora, n_rows, NULL);
}

void pc_lora_scratch_place(struct pc_lora_scratch *s, const struct pc_lora *lora, size_t n_rows, void *memory)
{
    lay_out(s, lora, n_rows, memory);
}

/* ---- one pair and the rows of one span ---- */

struct work {
    const struct pc_compute *compute;
    const struct pc_lora_rows *rows;
    const struct pc_lora_pair *pair;
    const int32_t *pos; /* of the span's rows, as all that follows */
    const uint64_t *key;
    const float *x;
    uint64_t number;                /* of the matrix in the model */
    struct pc_input in, low, d_low; /* x with dropout; A of it, scaled; and the gradient of that */
    float *d_x;
};

static bool drops(const struct pc_lora_rows *rows)
{
    return rows->dropout > 0;
}

static struct work work_of(const struct pc_compute *compute, const struct pc_lora_rows *rows,
    const struct pc_lora_span *span, const int32_t *pos, int32_t i_layer, int i_matrix, const float *x)
{
    const struct pc_lora_pair *pair = &span->lora->layers[i_layer][i_matrix];
    const struct pc_lora_scratch *s = rows->scratch;
    struct work w = {.compute = compute, .rows = rows, .pair = pair, .pos = pos + span->first};
    size_t n_in = pair->a.n_in, r = pair->a.n_out;
    w.key = drops(rows) ? rows->key + span->first : NULL;
    w.number = (uint64_t)i_layer * PC_LLAMA_N_MATRICES + (uint64_t)i_matrix;
    w.x = x + span->first * n_in;
    unsigned needs = pc_input_needs(&pair->a);
    unsigned char *forms = s->forms;
    w.in = (struct pc_input){drops(rows) ? s->x : w.x, forms, needs, span->n, n_in};
    forms += rounded(span->n * pc_input_form_size(needs, n_in));
    w.low = (struct pc_input){s->low, forms, needs, span->n, r};
    forms += rounded(span->n * pc_input_form_size(needs, r));
    w.d_low = (struct pc_input){s->d_low, forms, needs, span->n, r};
    return w;
}

static void share(
    struct work *w, size_t width, void (*fn)(void *arg, int64_t first, int64_t end, int i_worker))
{
    double ns = ELEMENT_NS * (double)(w->in.n_rows * width);
    pc_pool_share(w->compute->pool, (int64_t)w->in.n_rows, pc_compute_workers(w->compute, ns), fn, w);
}

/* Row t of any matrix of this pair's width, with what dropout takes from it. */
static void drop(const struct work *w, float *out, const float *x, size_t t)
{
    uint64_t key = pc_dropout_key(pc_dropout_key(w->key[t], (uint64_t)w->pos[t]), w->number);
    double p = (double)w->rows->dropout;
    w->compute->kernels->dropout.apply(out, x, w->in.n_in, key, (uint32_t)(p * 0x1p32), (float)(1 / (1 - p)));
}

static void prepare_input(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct work *w = arg;
    for (size_t t = (size_t)first; t < (size_t)end && drops(w->rows); t++)
        drop(w, w->rows->scratch->x + t * w->in.n_in, w->x + t * w->in.n_in, t);
    pc_input_prepare(&w->in, w->compute->kernels, (size_t)first, (size_t)end);
}

static void scale_rows(const struct work *w, float *x, size_t first, size_t end)
{
    size_t r = w->pair->a.n_out;
    for (size_t i = first * r; i < end * r; i++)
        x[i] *= w->pair->scale;
}

static void scale_low(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct work *w = arg;
    scale_rows(w, w->rows->scratch->low, (size_t)first, (size_t)end);
    pc_input_prepare(&w->low, w->compute->kernels, (size_t)first, (size_t)end);
}

static void scale_d_low(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct work *w = arg;
    scale_rows(w, w->rows->scratch->d_low, (size_t)first, (size_t)end);
    pc_input_prepare(&w->d_low, w->compute->kernels, (size_t)first, (size_t)end);
}

/* low = scale A dropout(x). */
static void go_down(struct work *w)
{
    share(w, w->in.n_in, prepare_input);
    const struct pc_linear a = {&w->pair->a, w->rows->scratch->low};
    pc_linear_forward(w->compute, &a, 1, &w->in);
    share(w, w->low.n_in, scale_low);
}

bool pc_lora_is_beside(const struct pc_lora_rows *rows, int32_t i_layer, int first, int n)
{
    for (size_t i = 0; rows && i < rows->n_spans; i++)
        for (int k = first; rows->spans[i].lora && k < first + n; k++)
            if (rows->spans[i].lora->layers[i_layer][k].a.data)
                return true;
    return false;
}

void pc_lora_forward(const struct pc_compute *compute, const struct pc_lora_rows *rows, const int32_t *pos,
    int32_t i_layer, int first, int n, const float *x, float *const y[])
{
    for (size_t i = 0; rows && i < rows->n_spans; i++) {
        const struct pc_lora_span *span = &rows->spans[i];
        for (int k = 0; span->lora && k < n; k++) {
            const struct pc_lora_pair *pair = &span->lora->layers[i_layer][first + k];
            if (!pair->a.data)
                continue;
            struct work w = work_of(compute, rows, span, pos, i_layer, first + k, x);
            go_down(&w);
            const struct pc_linear b = {&pair->b, rows->scratch->wide};
            pc_linear_forward_add(compute, &b, y[k] + span->first * pair->b.n_out, &w.low);
        }
    }
}

static void drop_and_add(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct work *w = arg;
    size_t n = w->in.n_in;
    for (size_t t = (size_t)first; t < (size_t)end; t++) {
        float *wide = w->rows->scratch->wide + t * n;
        drop(w, wide, wide, t);
        for (size_t c = 0; c < n; c++)
            w->d_x[t * n + c] += wide[c];
    }
}

static void backward(struct work *w, const struct pc_input *dy, float *d_a, float *d_b)
{
    const struct pc_lora_pair *pair = w->pair;
    const struct pc_lora_scratch *s = w->rows->scratch;
    assert(pc_input_needs(&pair->b) == dy->needs);
    if (d_b)
        go_down(w);
    else if (d_a)
        share(w, w->in.n_in, prepare_input);
    const struct pc_linear_dw of_b = {&pair->b, dy, d_b, NULL};
    if (d_b)
        pc_linear_backward_weight(w->compute, &of_b, 1, &w->low, s->panels);
    const struct pc_linear_dx through_b = {&pair->b, dy};
    pc_linear_backward_input(w->compute, &through_b, 1, s->d_low, false);
    share(w, w->low.n_in, scale_d_low);
    const struct pc_linear_dw of_a = {&pair->a, &w->d_low, d_a, NULL};
    if (d_a)
        pc_linear_backward_weight(w->compute, &of_a, 1, &w->in, s->panels);
    const struct pc_linear_dx through_a = {&pair->a, &w->d_low};
    if (w->d_x)
        pc_linear_backward_input(
            w->compute, &through_a, 1, drops(w->rows) ? s->wide : w->d_x, !drops(w->rows));
    if (w->d_x && drops(w->rows))
        share(w, w->in.n_in, drop_and_add);
}

void pc_lora_backward(const struct pc_compute *compute, const struct pc_lora_rows *rows, const int32_t *pos,
    int32_t i_layer, int first, int n, const float *x, const struct pc_input dy[], float *d_x,
    float *const d_a[], float *const d_b[])
{
    if (!pc_lora_is_beside(rows, i_layer, first, n))
        return;
    assert(rows->n_spans == 1 && rows->spans->first == 0 && rows->spans->n == dy->n_rows);
    for (int k = 0; k < n; k++) {
        if (!rows->spans->lora->layers[i_layer][first + k].a.data)
            continue;
        struct work w = work_of(compute, rows, rows->spans, pos, i_layer, first + k, x);
        w.d_x = d_x;
        backward(&w, &dy[k], d_a[k], d_b[k]);
    }
}
