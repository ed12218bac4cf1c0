// SPDX-License-Identifier: Apache-2.0
#include "train/pass.h"

#include "base/memory.h"
#include "model/llama_backward.h"
#include "model/llama_batch.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { ALIGN = 16 }; /* floats */

struct pc_pass {
    struct pc_llama *model;
    const struct pc_params *params;
    struct pc_pass_options options;
    struct pc_compute compute;
    struct pc_llama_batch *batch;
    struct pc_llama_scratch scratch;
    struct pc_llama_tape *tapes;          /* of each layer */
    struct pc_llama_gradients *gradients; /* of each layer, in g */
    struct pc_llama_end_gradients ends;
    struct pc_lora_scratch lora_scratch;
    struct pc_lora_span span; /* all rows */
    struct pc_lora_rows lora;
    struct pc_llama_rows rows;  /* of the examples at hand */
    float *g;                   /* where gradients go, all of them; or */
    struct pc_pass_parts parts; /* a part's at a time */
    float *memory;
    float *x;            /* (T, C) */
    double *row_loss;    /* (T) */
    int32_t *id, *label; /* (T) */
    float *weight;       /* (T) */
    uint64_t *key;       /* (T) */
    size_t *length;      /* of each example */
    size_t n_rows, n_examples;
};

static size_t round_up(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* Cut the pass's buffers out of memory; with pass == NULL only count. Returns floats. */
static size_t lay_out(const struct pc_llama *m, const struct pc_pass_options *o, struct pc_pass *pass,
    float *memory, size_t *n_tapes)
{
    const struct pc_config *c = &m->config;
    size_t rows = o->max_rows, n_loss = pc_llama_loss_rows(rows), at = 0,
           n_workers = (size_t)pc_pool_size(o->pool);
    size_t tape = round_up(pc_llama_tape_size(c, rows, o->recompute));
    for (int32_t i = 0; i < c->n_layers; i++, at += tape)
        if (pass)
            pc_llama_tape_place(&pass->tapes[i], c, rows, o->recompute, memory + at);
    *n_tapes = at;
    if (pass)
        pc_llama_scratch_place(&pass->scratch, m, rows, n_loss, o->recompute, memory + at);
    at += round_up(
        (pc_llama_scratch_size(m, rows, n_loss, o->recompute) + sizeof *memory - 1) / sizeof *memory);
    if (pass && o->lora)
        pc_lora_scratch_place(&pass->lora_scratch, o->lora, rows, memory + at);
    if (o->lora)
        at += round_up((pc_lora_scratch_size(o->lora, rows) + sizeof *memory - 1) / sizeof *memory);
    if (pass)
        pass->x = memory + at;
    at += round_up(rows * (size_t)c->hidden_size);
    if (pass)
        pass->compute.scratch = memory + at;
    at += n_workers * pc_llama_training_scratch(m, rows);
    if (pass)
        pass->compute.parts = memory + at;
    return at + round_up(pc_llama_attention_parts(c, (int)n_workers));
}

struct pc_pass_plan pc_pass_plan(const struct pc_llama *m, const struct pc_pass_options *o)
{
    size_t tapes, n = lay_out(m, o, NULL, NULL, &tapes);
    uint64_t per_row = sizeof(double) + 2 * sizeof(int32_t) + sizeof(float) + sizeof(uint64_t);
    return (struct pc_pass_plan){.activations = tapes * sizeof(float),
        .scratch = (n - tapes) * sizeof(float) + o->max_rows * per_row +
                   pc_llama_batch_size(&m->config, o->max_rows, o->max_examples, o->kv_type)};
}

static int make_room(struct pc_pass *pass, struct paco_error *err)
{
    const struct pc_pass_options *o = &pass->options;
    size_t rows = o->max_rows, layers = (size_t)pass->model->config.n_layers, tapes;
    size_t size = lay_out(pass->model, o, NULL, NULL, &tapes) * sizeof(float);
    pass->memory = pc_alloc_huge(size);
    pass->tapes = pc_alloc_zero(layers, sizeof *pass->tapes);
    pass->gradients = pc_alloc_zero(layers, sizeof *pass->gradients);
    pass->row_loss = pc_alloc(rows, sizeof *pass->row_loss);
    pass->id = pc_alloc(rows, sizeof *pass->id);
    pass->label = pc_alloc(rows, sizeof *pass->label);
    pass->weight = pc_alloc(rows, sizeof *pass->weight);
    pass->key = pc_alloc_zero(rows, sizeof *pass->key);
    pass->length = pc_alloc(o->max_examples, sizeof *pass->length);
    if (!pass->memory || !pass->tapes || !pass->gradients || !pass->row_loss || !pass->id || !pass->label ||
        !pass->weight || !pass->key || !pass->length)
        return pc_error_mem(err, size, "activations");
    lay_out(pass->model, o, pass, pass->memory, &tapes);
    pass->compute.kernels = o->kernels;
    pass->compute.pool = o->pool;
    pass->compute.n_scratch = pc_llama_training_scratch(pass->model, rows);
    return 0;
}

static int fill(struct pc_pass *pass, struct paco_error *err)
{
    struct pc_pool *pool = pass->options.pool;
    int rc = pc_llama_fill_embedding(pass->model, pool, err);
    for (int32_t i = 0; i < pass->model->config.n_layers && rc == 0; i++)
        rc = pc_llama_fill_layer(pass->model, i, pool, err);
    return rc < 0 ? rc : pc_llama_fill_head(pass->model, pool, err);
}

int pc_pass_new(struct pc_llama *model, const struct pc_params *params, const struct pc_pass_options *options,
    struct pc_pass **out, struct paco_error *err)
{
    struct pc_pass *pass = pc_alloc_zero(1, sizeof *pass);
    if (!pass)
        return pc_error_mem(err, sizeof *pass, "a pass");
    pass->model = model;
    pass->params = params;
    pass->options = *options;
    int rc = make_room(pass, err);
    if (rc == 0)
        rc = fill(pass, err);
    if (rc == 0)
        rc = pc_llama_batch_new(
            model, options->max_rows, options->max_examples, options->kv_type, &pass->batch, err);
    if (rc < 0)
        return pc_pass_free(pass), rc;
    *out = pass;
    return 0;
}

void pc_pass_free(struct pc_pass *pass)
{
    if (!pass)
        return;
    pc_llama_batch_free(pass->batch);
    pc_free(pass->memory);
    pc_free(pass->tapes);
    pc_free(pass->gradients);
    pc_free(pass->row_loss);
    pc_free(pass->id);
    pc_free(pass->label);
    pc_free(pass->weight);
    pc_free(pass->key);
    pc_free(pass->length);
    pc_free(pass);
}

/* ---- rows ---- */

void pc_pass_begin(struct pc_pass *pass)
{
    pass->n_rows = pass->n_examples = 0;
}

bool pc_pass_fits(const struct pc_pass *pass, size_t n)
{
    return pass->n_examples < pass->options.max_examples && n <= pass->options.max_rows - pass->n_rows;
}

struct pc_pass_rows pc_pass_add(struct pc_pass *pass, size_t n)
{
    assert(n && pc_pass_fits(pass, n));
    size_t at = pass->n_rows;
    pass->length[pass->n_examples++] = n;
    pass->n_rows += n;
    return (struct pc_pass_rows){pass->id + at, pass->label + at, pass->weight + at, pass->key + at};
}

/* ---- gradients by name ---- */

static float *gradient_of(const struct pc_pass *pass, const char *name)
{
    const struct pc_params *p = pass->params;
    const struct pc_param *param = pc_params_find(p, name);
    uint64_t first, end;
    if (!param || pass->g)
        return param ? pass->g + param->offset : NULL;
    int32_t part = pc_params_part_of(p, param);
    pc_params_part(p, part, &first, &end);
    return (part < 0 ? pass->parts.embedding : pass->parts.part) + (param->offset - first);
}

static void point_layer(struct pc_pass *pass, int32_t i_layer)
{
    struct pc_llama_gradients *to = &pass->gradients[i_layer];
    char name[128];
    snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", i_layer);
    to->attention_norm = gradient_of(pass, name);
    snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", i_layer);
    to->mlp_norm = gradient_of(pass, name);
    for (int k = 0; k < PC_LLAMA_N_MATRICES; k++) {
        const char *matrix = pc_llama_shape_of(&pass->model->config, (enum pc_llama_matrix)k).name;
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", i_layer, matrix);
        to->matrix[k] = gradient_of(pass, name);
        snprintf(name, sizeof name, "model.layers.%d.%s.bias", i_layer, matrix);
        to->bias[k] = gradient_of(pass, name);
        snprintf(name, sizeof name, "base_model.model.model.layers.%d.%s.lora_A.weight", i_layer, matrix);
        to->lora_a[k] = gradient_of(pass, name);
        snprintf(name, sizeof name, "base_model.model.model.layers.%d.%s.lora_B.weight", i_layer, matrix);
        to->lora_b[k] = gradient_of(pass, name);
    }
}

/* Let the tables of gradients lead into g, or where g is NULL into parts. */
static void point_gradients(struct pc_pass *pass, float *g, const struct pc_pass_parts *parts)
{
    if (g == pass->g && parts->part == pass->parts.part)
        return;
    pass->g = g;
    pass->parts = *parts;
    for (int32_t i = 0; i < pass->model->config.n_layers; i++)
        point_layer(pass, i);
    pass->ends.embedding = gradient_of(pass, "model.embed_tokens.weight");
    pass->ends.final_norm = gradient_of(pass, "model.norm.weight");
    pass->ends.head = pass->model->config.tied ? pass->ends.embedding : gradient_of(pass, "lm_head.weight");
}

/* ---- there and back ---- */

/* One row after the other: an embedding that is not filled is read by way of one buffer, and it is little. */
static void embed_rows(struct pc_pass *pass)
{
    size_t width = (size_t)pass->model->config.hidden_size;
    for (size_t t = 0; t < pass->n_rows; t++)
        (void)pc_llama_embed(pass->model, pass->id[t], pass->x + t * width, NULL); /* filled: cannot fail */
}

/* Lay out the rows; the adapter, if there is one, is beside all of them. */
static void set_rows(struct pc_pass *pass, bool training)
{
    const struct pc_pass_options *o = &pass->options;
    pc_llama_batch_set(pass->batch, pass->length, pass->n_examples);
    pass->rows = *pc_llama_batch_rows(pass->batch);
    if (!o->lora)
        return;
    pass->span = (struct pc_lora_span){0, pass->n_rows, o->lora};
    pass->lora = (struct pc_lora_rows){.spans = &pass->span,
        .n_spans = 1,
        .dropout = training ? o->dropout : 0,
        .key = pass->key,
        .scratch = &pass->lora_scratch};
    pass->rows.lora = &pass->lora;
}

/* x = the stream behind the last block; training: with dropout, and what backward needs of the way is kept.
 */
static void need(const struct pc_pass *pass, int32_t part, bool back)
{
    if (pass->options.hooks.need)
        pass->options.hooks.need(pass->options.hooks.ctx, part, back);
}

static void done(const struct pc_pass *pass, int32_t part, bool back)
{
    if (pass->options.hooks.done)
        pass->options.hooks.done(pass->options.hooks.ctx, part, back);
}

static bool ready(const struct pc_pass *pass, int32_t part)
{
    done(pass, part, true);
    return !pass->options.hooks.ready || pass->options.hooks.ready(pass->options.hooks.ctx, part);
}

static void forward(struct pc_pass *pass, bool training)
{
    const struct pc_config *c = &pass->model->config;
    struct pc_llama_weights weights = pc_llama_weights(pass->model);
    set_rows(pass, training);
    need(pass, -1, false);
    embed_rows(pass);
    done(pass, -1, false);
    for (int32_t i = 0; i < c->n_layers; i++) {
        need(pass, i, false);
        pc_llama_block_forward(&pass->compute, c, &weights, i, &pass->rows, pass->x, &pass->scratch.forward,
            training ? &pass->tapes[i] : NULL);
        done(pass, i, false);
    }
}

static void sum_losses(const struct pc_pass *pass, double *loss)
{
    size_t t = 0;
    for (size_t i = 0; i < pass->n_examples; i++) {
        loss[i] = 0;
        for (size_t end = t + pass->length[i]; t < end; t++)
            loss[i] += pass->row_loss[t];
    }
}

/* Forward, and back to the gradients that the tables lead to. */
static bool run(struct pc_pass *pass, double *loss)
{
    const struct pc_config *c = &pass->model->config;
    const struct pc_llama_targets targets = {pass->label, pass->weight};
    struct pc_llama_weights weights = pc_llama_weights(pass->model);
    forward(pass, true);
    need(pass, c->n_layers, true);
    pc_llama_loss_backward(&pass->compute, pass->model, pass->n_rows, pass->x, &targets, &pass->ends,
        pass->row_loss, &pass->scratch);
    sum_losses(pass, loss);
    if (!ready(pass, c->n_layers))
        return false;
    for (int32_t i = c->n_layers; i-- > 0;) {
        need(pass, i, true);
        pc_llama_block_backward(&pass->compute, c, &weights, i, &pass->rows, &pass->tapes[i], pass->x,
            &pass->gradients[i], &pass->scratch);
        if (!ready(pass, i))
            return false;
    }
    if (pass->ends.embedding)
        pc_llama_embed_backward(&pass->compute, c, pass->n_rows, pass->id, pass->x, pass->ends.embedding);
    return true;
}

void pc_pass_run(struct pc_pass *pass, float *gradients, double *loss)
{
    point_gradients(pass, gradients, &(struct pc_pass_parts){.part = NULL});
    (void)run(pass, loss);
}

bool pc_pass_run_parts(struct pc_pass *pass, const struct pc_pass_parts *parts, double *loss)
{
    point_gradients(pass, NULL, parts);
    return run(pass, loss);
}

void pc_pass_measure(struct pc_pass *pass, double *loss)
{
    const struct pc_llama_targets targets = {pass->label, pass->weight};
    int32_t end = pass->model->config.n_layers;
    forward(pass, false);
    need(pass, end, false);
    pc_llama_loss(
        &pass->compute, pass->model, pass->n_rows, pass->x, &targets, pass->row_loss, &pass->scratch);
    done(pass, end, false);
    sum_losses(pass, loss);
}
