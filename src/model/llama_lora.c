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
    size_t low = n_rows * l->largest_rank * sizeof(float) * PC_LORA_TOGETHER;
    size_t forms = rounded(n_rows * pc_input_form_size(needs, l->largest_in)) +
                   2 * PC_LORA_TOGETHER * rounded(n_rows * pc_input_form_size(needs, l->largest_rank));
    a.n_in = larger(l->largest_in, l->largest_rank);
    const struct {
        void *field;
        size_t size;
    } parts[] = {
        {&s->x, n_rows * l->largest_in * sizeof(float)},
        {&s->wide, n_rows * larger(l->largest_in, l->largest_out) * sizeof(float)},
        {&s->low, low},
        {&s->d_low, low},
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

/* ---- the pairs of one input, and the rows of one span ---- */

static bool drops(const struct pc_lora_rows *rows)
{
    return rows->dropout > 0;
}

static void add_pair(struct pc_lora_group *g, const struct pc_lora_pair *pair, uint64_t number, int i_matrix)
{
    const struct pc_lora_scratch *s = g->rows->scratch;
    struct pc_lora_beside *b = &g->beside[g->n], *last = g->n++ ? b - 1 : NULL;
    size_t r = pair->a.n_out, n = g->in.n_rows;
    unsigned needs = pc_input_needs(&pair->a);
    *b = (struct pc_lora_beside){.pair = pair, .i_matrix = i_matrix, .number = number};
    b->x = last ? last->x + n * last->low.n_in : s->low;
    b->d_x = last ? last->d_x + n * last->low.n_in : s->d_low;
    unsigned char *forms = s->forms + rounded(n * pc_input_form_size(needs, g->in.n_in));
    if (last)
        forms = last->d_low.forms + rounded(n * pc_input_form_size(needs, last->low.n_in));
    b->low = (struct pc_input){b->x, forms, needs, n, r};
    forms += rounded(n * pc_input_form_size(needs, r));
    b->d_low = (struct pc_input){b->d_x, forms, needs, n, r};
}

/* The input's forms serve the adapters too where these take all rows as they are. */
static void set_input(struct pc_lora_group *g, const struct pc_input *in)
{
    const struct pc_lora_scratch *s = g->rows->scratch;
    unsigned needs = pc_input_needs(&g->beside->pair->a);
    g->is_prepared = !drops(g->rows) && g->in.n_rows == in->n_rows && !(needs & ~in->needs);
    if (g->is_prepared)
        g->in = *in;
    else
        g->in = (struct pc_input){drops(g->rows) ? s->x : g->x, s->forms, needs, g->in.n_rows, in->n_in};
}

static struct pc_lora_group group_of(const struct pc_compute *compute, const struct pc_lora_rows *rows,
    const struct pc_lora_span *span, const int32_t *pos, int32_t i_layer, int first, int n,
    const struct pc_input *in)
{
    struct pc_lora_group g = {.compute = compute,
        .rows = rows,
        .pos = pos + span->first,
        .key = drops(rows) ? rows->key + span->first : NULL,
        .x = in->x + span->first * in->n_in,
        .first = span->first,
        .in = {.n_rows = span->n, .n_in = in->n_in}};
    for (int k = 0; span->lora && k < n; k++) {
        const struct pc_lora_pair *pair = &span->lora->layers[i_layer][first + k];
        uint64_t number = (uint64_t)i_layer * PC_LLAMA_N_MATRICES + (uint64_t)(first + k);
        if (pair->a.data)
            add_pair(&g, pair, number, k);
    }
    if (g.n)
        set_input(&g, in);
    return g;
}

/* All together, or with dropout one after the other. */
static void in_turns(const struct pc_lora_group *all, void (*fn)(struct pc_lora_group *g))
{
    struct pc_lora_group g = *all;
    if (!drops(all->rows)) {
        fn(&g);
        return;
    }
    g.n = 1;
    for (int i = 0; i < all->n; i++) {
        g.beside[0] = all->beside[i];
        fn(&g);
    }
}

static void share(
    struct pc_lora_group *g, size_t width, void (*fn)(void *arg, int64_t first, int64_t end, int i_worker))
{
    double ns = ELEMENT_NS * (double)(g->in.n_rows * width);
    pc_pool_share(g->compute->pool, (int64_t)g->in.n_rows, pc_compute_workers(g->compute, ns), fn, g);
}

/* Row t of any matrix of the input's width, with what dropout takes from it. */
static void drop(const struct pc_lora_group *g, float *out, const float *x, size_t t)
{
    uint64_t key = pc_dropout_key(pc_dropout_key(g->key[t], (uint64_t)g->pos[t]), g->beside->number);
    double p = (double)g->rows->dropout;
    g->compute->kernels->dropout.apply(out, x, g->in.n_in, key, (uint32_t)(p * 0x1p32), (float)(1 / (1 - p)));
}

static void prepare_rows(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct pc_lora_group *g = arg;
    for (size_t t = (size_t)first; t < (size_t)end && drops(g->rows); t++)
        drop(g, g->rows->scratch->x + t * g->in.n_in, g->x + t * g->in.n_in, t);
    pc_input_prepare(&g->in, g->compute->kernels, (size_t)first, (size_t)end);
}

static void prepare_input(struct pc_lora_group *g)
{
    if (!g->is_prepared)
        share(g, g->in.n_in, prepare_rows);
}

static void scale_rows(
    const struct pc_lora_group *g, float scale, float *x, const struct pc_input *in, size_t first, size_t end)
{
    for (size_t i = first * in->n_in; i < end * in->n_in; i++)
        x[i] *= scale;
    pc_input_prepare(in, g->compute->kernels, first, end);
}

static void scale_low(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct pc_lora_group *g = arg;
    for (const struct pc_lora_beside *b = g->beside; b < g->beside + g->n; b++)
        scale_rows(g, b->pair->scale, b->x, &b->low, (size_t)first, (size_t)end);
}

static void scale_d_low(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct pc_lora_group *g = arg;
    for (const struct pc_lora_beside *b = g->beside; b < g->beside + g->n; b++)
        scale_rows(g, b->pair->scale, b->d_x, &b->d_low, (size_t)first, (size_t)end);
}

static size_t ranks(const struct pc_lora_group *g)
{
    size_t sum = 0;
    for (int i = 0; i < g->n; i++)
        sum += g->beside[i].low.n_in;
    return sum;
}

/* low = scale A dropout(x). */
static void go_down(struct pc_lora_group *g)
{
    struct pc_linear jobs[PC_LORA_TOGETHER];
    prepare_input(g);
    for (int i = 0; i < g->n; i++)
        jobs[i] = (struct pc_linear){&g->beside[i].pair->a, g->beside[i].x};
    pc_linear_forward(g->compute, jobs, g->n, &g->in);
    share(g, ranks(g), scale_low);
}

bool pc_lora_is_beside(const struct pc_lora_rows *rows, int32_t i_layer, int first, int n)
{
    for (size_t i = 0; rows && i < rows->n_spans; i++)
        for (int k = first; rows->spans[i].lora && k < first + n; k++)
            if (rows->spans[i].lora->layers[i_layer][k].a.data)
                return true;
    return false;
}

static void add_outputs(struct pc_lora_group *g)
{
    go_down(g);
    for (int i = 0; i < g->n; i++) {
        const struct pc_weight *b = &g->beside[i].pair->b;
        const struct pc_linear job = {b, g->rows->scratch->wide};
        pc_linear_forward_add(
            g->compute, &job, g->y[g->beside[i].i_matrix] + g->first * b->n_out, &g->beside[i].low);
    }
}

void pc_lora_forward(const struct pc_compute *compute, const struct pc_lora_rows *rows, const int32_t *pos,
    int32_t i_layer, int first, int n, const struct pc_input *in, float *const y[])
{
    for (size_t i = 0; rows && i < rows->n_spans; i++) {
        struct pc_lora_group g = group_of(compute, rows, &rows->spans[i], pos, i_layer, first, n, in);
        g.y = y;
        if (g.n)
            in_turns(&g, add_outputs);
    }
}

/* ---- back ---- */

static void factors_of_b(struct pc_lora_group *g)
{
    for (int i = 0; i < g->n; i++) {
        const struct pc_lora_beside *b = &g->beside[i];
        const struct pc_input *dy = &g->dy[b->i_matrix];
        const struct pc_linear_dw dw = {&b->pair->b, dy, g->d_b[b->i_matrix], NULL};
        const struct pc_linear_dx through = {&b->pair->b, dy};
        assert(b->low.needs == dy->needs);
        if (dw.dw)
            pc_linear_backward_weight(g->compute, &dw, 1, &b->low, g->rows->scratch->panels);
        pc_linear_backward_input(g->compute, &through, 1, b->d_x, false);
    }
    share(g, ranks(g), scale_d_low);
}

static void backward(struct pc_lora_group *g)
{
    struct pc_linear_dw jobs[PC_LORA_TOGETHER];
    int n_b = 0, n_a = 0;
    for (int i = 0; i < g->n; i++) {
        const struct pc_lora_beside *b = &g->beside[i];
        n_b += g->d_b[b->i_matrix] != NULL;
        if (g->d_a[b->i_matrix])
            jobs[n_a++] = (struct pc_linear_dw){&b->pair->a, &b->d_low, g->d_a[b->i_matrix], NULL};
    }
    if (n_b)
        go_down(g);
    else if (n_a)
        prepare_input(g);
    factors_of_b(g);
    if (n_a)
        pc_linear_backward_weight(g->compute, jobs, n_a, &g->in, g->rows->scratch->panels);
}

void pc_lora_backward(struct pc_lora_group *group, const struct pc_compute *compute,
    const struct pc_lora_rows *rows, const int32_t *pos, int32_t i_layer, int first, int n,
    const struct pc_input *in, const struct pc_input dy[], float *const d_a[], float *const d_b[])
{
    *group = (struct pc_lora_group){.n = 0};
    if (!pc_lora_is_beside(rows, i_layer, first, n))
        return;
    assert(rows->n_spans == 1 && rows->spans->first == 0 && rows->spans->n == dy->n_rows);
    *group = group_of(compute, rows, rows->spans, pos, i_layer, first, n, in);
    group->dy = dy;
    group->d_a = d_a;
    group->d_b = d_b;
    in_turns(group, backward);
}

int pc_lora_backward_jobs(const struct pc_lora_group *g, struct pc_linear_dx *jobs)
{
    if (!g->n || drops(g->rows))
        return 0;
    for (int i = 0; i < g->n; i++)
        jobs[i] = (struct pc_linear_dx){&g->beside[i].pair->a, &g->beside[i].d_low};
    return g->n;
}

struct adding {
    struct pc_lora_group *g;
    float *d_x;
};

static void drop_and_add(void *arg, int64_t first, int64_t end, int i_worker)
{
    (void)i_worker;
    const struct adding *a = arg;
    size_t n = a->g->in.n_in;
    for (size_t t = (size_t)first; t < (size_t)end; t++) {
        float *wide = a->g->rows->scratch->wide + t * n;
        drop(a->g, wide, wide, t);
        for (size_t c = 0; c < n; c++)
            a->d_x[t * n + c] += wide[c];
    }
}

void pc_lora_backward_input(const struct pc_lora_group *all, float *d_x)
{
    if (!all->n || !drops(all->rows))
        return;
    struct pc_lora_group g = *all;
    struct adding adding = {&g, d_x};
    double ns = ELEMENT_NS * (double)(g.in.n_rows * g.in.n_in);
    for (int i = 0; i < all->n; i++) {
        g.beside[0] = all->beside[i];
        const struct pc_linear_dx through = {&g.beside->pair->a, &g.beside->d_low};
        pc_linear_backward_input(g.compute, &through, 1, g.rows->scratch->wide, false);
        pc_pool_share(
            g.compute->pool, (int64_t)g.in.n_rows, pc_compute_workers(g.compute, ns), drop_and_add, &adding);
    }
}
