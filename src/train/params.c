// SPDX-License-Identifier: Apache-2.0
#include "train/params.h"

#include "algebra/column_mean.h"
#include "algebra/read_f32.h"
#include "base/memory.h"
#include "kernels/float_bits.h"
#include "train/keyed.h"
#include "weights/sweep.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the space ---- */

static const struct pc_param *param_of(const struct pc_tensor *t)
{
    const struct pc_params *p = t->owner->impl;
    return &p->v[t->index];
}

static const void *map(const struct pc_tensor *t)
{
    const struct pc_params *p = t->owner->impl;
    return p->w || p->w16 ? pc_params_weights(p, param_of(t)) : NULL;
}

static int read_rows(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    (void)err;
    const char *w = map(t);
    memcpy(buf, w + row0 * t->row_size, (size_t)(n_rows * t->row_size));
    return 0;
}

static const struct pc_checkpoint_ops g_ops = {.read = read_rows, .map = map};

int pc_params_new(struct pc_params **out, struct paco_error *err)
{
    struct pc_params *p = pc_alloc_zero(1, sizeof *p);
    if (!p)
        return pc_error_mem(err, sizeof *p, "parameters");
    p->ck = pc_checkpoint_new("parameters", &g_ops, NULL, err);
    if (!p->ck)
        return pc_free(p), PACO_EMEM;
    p->ck->impl = p;
    p->matrices = PC_F32;
    *out = p;
    return 0;
}

void pc_params_free(struct pc_params *p)
{
    if (!p)
        return;
    pc_checkpoint_close(p->ck);
    pc_free(p->w);
    pc_free(p->w16);
    pc_free(p->vectors);
    pc_free(p->v);
    pc_free(p);
}

/* The layer a tensor belongs to by its name, "model.layers.7.mlp.up_proj.weight"; -1: none. */
static int32_t layer_of(const char *name)
{
    const char *at = strstr(name, "layers.");
    char *end;
    long n = at ? strtol(at + strlen("layers."), &end, 10) : -1;
    return at && *end == '.' && n >= 0 && n < INT32_MAX ? (int32_t)n : -1;
}

int pc_params_add(
    struct pc_params *p, const char *name, uint64_t n_out, uint64_t n_in, struct paco_error *err)
{
    assert(!p->w && !p->w16);
    const uint64_t shape[] = {n_out, n_in};
    enum pc_dtype dtype = n_in ? p->matrices : PC_F32;
    if (pc_grow(&p->v, &p->capacity, p->n, sizeof *p->v, "the table of parameters", err) < 0)
        return PACO_EMEM;
    int rc = pc_checkpoint_add_tensor(p->ck, name, strlen(name), dtype, n_in ? 2 : 1, shape, err);
    if (rc < 0)
        return rc;
    const struct pc_tensor *t = &p->ck->tensors[p->n];
    uint64_t n = pc_tensor_n_elements(t), n_room = (n + PC_PARAM_ALIGN - 1) / PC_PARAM_ALIGN * PC_PARAM_ALIGN;
    p->v[p->n++] = (struct pc_param){.name = t->name,
        .offset = p->n_flat,
        .n = n,
        .n_out = n_out,
        .n_in = n_in ? n_in : 1,
        .vector = p->n_vectors,
        .dtype = dtype,
        .layer = layer_of(name),
        .is_norm = strstr(name, "norm.weight") != NULL,
        .is_bias = strstr(name, "bias") != NULL};
    p->n_elements += n;
    p->n_flat += n_room;
    p->n_vectors += n_in ? 0 : n_room;
    return 0;
}

static int add_layer(struct pc_params *p, const struct pc_config *c, int32_t i_layer, struct paco_error *err)
{
    static const enum pc_llama_matrix order[PC_LLAMA_N_MATRICES] = {
        PC_LLAMA_Q, PC_LLAMA_K, PC_LLAMA_V, PC_LLAMA_O, PC_LLAMA_GATE, PC_LLAMA_DOWN, PC_LLAMA_UP};
    static const char *const norms[] = {"input_layernorm", "post_attention_layernorm"};
    char name[128];
    int rc = 0;
    for (size_t i = 0; i < PC_LLAMA_N_MATRICES && rc == 0; i++) {
        const struct pc_llama_shape row = pc_llama_shape_of(c, order[i]);
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", i_layer, row.name);
        rc = pc_params_add(p, name, row.n_out, row.n_in, err);
        snprintf(name, sizeof name, "model.layers.%d.%s.bias", i_layer, row.name);
        if (rc == 0 && (order[i] <= PC_LLAMA_O ? c->attention_bias : c->mlp_bias))
            rc = pc_params_add(p, name, row.n_out, 0, err);
    }
    for (size_t i = 0; i < sizeof norms / sizeof *norms && rc == 0; i++) {
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", i_layer, norms[i]);
        rc = pc_params_add(p, name, (uint64_t)c->hidden_size, 0, err);
    }
    return rc;
}

int pc_params_add_llama(struct pc_params *p, const struct pc_config *c, struct paco_error *err)
{
    uint64_t width = (uint64_t)c->hidden_size, vocab = (uint64_t)c->vocab_size;
    int rc = pc_params_add(p, "model.embed_tokens.weight", vocab, width, err);
    for (int32_t i = 0; i < c->n_layers && rc == 0; i++)
        rc = add_layer(p, c, i, err);
    if (rc == 0)
        rc = pc_params_add(p, "model.norm.weight", width, 0, err);
    if (rc == 0 && !c->tied)
        rc = pc_params_add(p, "lm_head.weight", vocab, width, err);
    return rc;
}

uint64_t pc_params_size(const struct pc_params *p)
{
    if (p->matrices == PC_F32)
        return p->n_flat * sizeof *p->w;
    return p->n_flat * sizeof *p->w16 + p->n_vectors * sizeof *p->vectors;
}

int pc_params_allocate(struct pc_params *p, struct paco_error *err)
{
    uint64_t size;
    if (!pc_mul_u64(p->n_flat, sizeof *p->w, &size) || size > SIZE_MAX)
        return pc_error_mem(err, UINT64_MAX, "the parameters");
    if (p->matrices == PC_F32) {
        p->w = pc_alloc_huge((size_t)size);
        return p->w ? 0 : pc_error_mem(err, size, "the parameters");
    }
    p->w16 = pc_alloc_huge((size_t)p->n_flat * sizeof *p->w16);
    p->vectors = pc_alloc_zero((size_t)p->n_vectors + 1, sizeof *p->vectors);
    return p->w16 && p->vectors ? 0 : pc_error_mem(err, pc_params_size(p), "the parameters");
}

/* ---- what they are at first ---- */

struct reading {
    struct pc_params *p;
    const struct pc_tensor **from; /* by parameter */
};

/* Everything of parameter i from its element n on, the gap behind it included. */
static void zero_rest(struct pc_params *p, size_t i, uint64_t n)
{
    uint64_t next = i + 1 < p->n ? p->v[i + 1].offset : p->n_flat, rest = next - p->v[i].offset - n;
    size_t size = p->v[i].dtype == PC_F32 ? sizeof *p->w : sizeof *p->w16;
    memset((char *)pc_params_weights(p, &p->v[i]) + n * size, 0, (size_t)rest * size);
}

/* Rows of t, n of them, to where the weights of a parameter have place for them. wide: (n rows), for those in
 * BF16. */
static int read_rows_of(struct pc_params *p, const struct pc_param *param, const struct pc_tensor *t,
    uint64_t row, uint64_t n, float *wide, struct paco_error *err)
{
    uint64_t at = row * t->row_elems;
    float *to = param->dtype == PC_F32 ? (float *)pc_params_weights(p, param) + at : wide;
    int rc = pc_tensor_read_f32(t, row, n, to, err);
    if (param->dtype == PC_F32 || rc < 0)
        return rc;
    uint16_t *narrow = (uint16_t *)pc_params_weights(p, param) + at;
    for (uint64_t i = 0; i < n * t->row_elems; i++)
        narrow[i] = pc_f32_to_bf16(wide[i]);
    return 0;
}

static int read_param(void *ctx, size_t i, struct pc_sweep *sweep, struct paco_error *err)
{
    enum { PIECE = 1 << 18 }; /* elements */
    const struct reading *r = ctx;
    const struct pc_tensor *t = r->from[i];
    const struct pc_param *param = &r->p->v[i];
    uint64_t step = t->row_elems && t->row_elems < PIECE ? PIECE / t->row_elems : 1;
    float *wide = param->dtype == PC_F32 ? NULL : pc_alloc((size_t)(step * t->row_elems), sizeof *wide);
    int rc = wide || param->dtype == PC_F32
                 ? 0
                 : pc_error_mem(err, step * t->row_elems * sizeof *wide, "rows of a tensor");
    for (uint64_t row = 0; row < t->n_rows && rc == 0; row += step) {
        uint64_t n = t->n_rows - row < step ? t->n_rows - row : step;
        rc = read_rows_of(r->p, param, t, row, n, wide, err);
        if (rc == 0)
            rc = pc_sweep_step(sweep, t->name, n * r->p->ck->tensors[i].row_size, err);
    }
    pc_free(wide);
    zero_rest(r->p, i, t->n_rows * t->row_elems);
    if (r->p->arrived)
        r->p->arrived(r->p->ctx, param->offset, param->offset + param->n);
    return rc;
}

/* The tensor of source that belongs to a parameter: of its shape, or with fewer rows. */
static int find_source(const struct pc_checkpoint *source, const struct pc_tensor *want,
    const struct pc_tensor **out, struct paco_error *err)
{
    char found[160], expected[160];
    const struct pc_tensor *t = pc_checkpoint_find(source, want->name);
    if (!t)
        return pc_error_set(err, PACO_ENOENT, "tensor '%s' is missing", want->name);
    bool fits = t->n_dims == want->n_dims && t->shape[0] <= want->shape[0] &&
                (t->n_dims == 1 ? t->shape[0] == want->shape[0] : t->shape[1] == want->shape[1]);
    if (!fits)
        return pc_error_set(err, PACO_EMISMATCH, "tensor '%s': shape %s, the model to be trained has %s",
            t->name, pc_tensor_shape(t, found, sizeof found),
            pc_tensor_shape(want, expected, sizeof expected));
    if (!pc_tensor_has_f32(t))
        return pc_error_set(err, PACO_EUNSUPPORTED, "tensor '%s' is of type %s, which holds no weights",
            t->name, pc_dtype_name(t->dtype));
    *out = t;
    return 0;
}

int pc_params_read(struct pc_params *p, const struct pc_checkpoint *source, struct pc_pool *pool,
    const struct pc_progress *progress, struct paco_error *err)
{
    struct reading r = {p, pc_alloc_zero(p->n, sizeof *r.from)};
    uint64_t *sizes = pc_alloc_zero(p->n, sizeof *sizes);
    int rc = r.from && sizes ? 0 : pc_error_mem(err, p->n * sizeof *sizes, "a table of tensors");
    for (size_t i = 0; i < p->n && rc == 0; i++) {
        rc = find_source(source, &p->ck->tensors[i], &r.from[i], err);
        sizes[i] = p->ck->tensors[i].size;
    }
    const struct pc_sweep_options sweep = {.task = read_param,
        .ctx = &r,
        .n = p->n,
        .sizes = sizes,
        .pool = pool,
        .progress = progress,
        .phase = "loading"};
    if (rc == 0)
        rc = pc_sweep_run(&sweep, err);
    if (rc < 0 && source->path)
        pc_error_path(err, source->path);
    pc_free(r.from);
    pc_free(sizes);
    return rc;
}

void pc_params_zero(struct pc_params *p)
{
    for (size_t i = 0; i < p->n; i++)
        zero_rest(p, i, 0);
}

/* The rows of param that t lacks, in F32. */
static int make_rows(const struct pc_param *param, const struct pc_tensor *t, enum pc_new_rows how,
    uint64_t key, float *row, struct paco_error *err)
{
    uint64_t n = param->n_out - t->shape[0];
    if (how == PC_ROWS_RANDOM) {
        pc_keyed_normal(key, 0.02f, row, n * param->n_in);
        return 0;
    }
    int rc = pc_column_mean(t, t->shape[0], row, err);
    for (uint64_t k = 1; k < n; k++)
        memcpy(row + k * param->n_in, row, (size_t)param->n_in * sizeof *row);
    return rc;
}

int pc_params_fill_new_rows(struct pc_params *p, const struct pc_checkpoint *source, enum pc_new_rows how,
    uint64_t seed, struct paco_error *err)
{
    static const char *const names[] = {"model.embed_tokens.weight", "lm_head.weight"};
    int rc = 0;
    for (uint64_t i = 0; i < sizeof names / sizeof *names && rc == 0; i++) {
        const struct pc_param *param = pc_params_find(p, names[i]);
        const struct pc_tensor *t = param ? pc_checkpoint_find(source, names[i]) : NULL;
        if (!t || t->shape[0] >= param->n_out)
            continue;
        uint64_t n = (param->n_out - t->shape[0]) * param->n_in, at = t->shape[0] * param->n_in;
        float *rows = pc_alloc((size_t)n, sizeof *rows);
        rc = rows ? make_rows(param, t, how, pc_keyed_key(seed, i), rows, err)
                  : pc_error_mem(err, n * sizeof *rows, "new rows");
        if (rc == 0 && param->dtype == PC_F32)
            memcpy((float *)pc_params_weights(p, param) + at, rows, (size_t)n * sizeof *rows);
        for (uint64_t k = 0; k < n && rc == 0 && param->dtype == PC_BF16; k++)
            ((uint16_t *)pc_params_weights(p, param))[at + k] = pc_f32_to_bf16(rows[k]);
        pc_free(rows);
    }
    return rc;
}

/* ---- in use ---- */

const struct pc_param *pc_params_find(const struct pc_params *p, const char *name)
{
    const struct pc_tensor *t = pc_checkpoint_find(p->ck, name);
    return t ? &p->v[t->index] : NULL;
}

int32_t pc_params_n_layers(const struct pc_params *p)
{
    int32_t most = -1;
    for (size_t i = 0; i < p->n; i++)
        most = p->v[i].layer > most ? p->v[i].layer : most;
    return most + 1;
}

int32_t pc_params_part_of(const struct pc_params *p, const struct pc_param *param)
{
    if (param->layer >= 0)
        return param->layer;
    for (const struct pc_param *before = param; before-- > p->v;)
        if (before->layer >= 0)
            return pc_params_n_layers(p);
    return -1;
}

void pc_params_part(const struct pc_params *p, int32_t part, uint64_t *first, uint64_t *end)
{
    size_t i = 0;
    while (i < p->n && pc_params_part_of(p, &p->v[i]) < part)
        i++;
    *first = i < p->n ? p->v[i].offset : p->n_flat;
    while (i < p->n && pc_params_part_of(p, &p->v[i]) == part)
        i++;
    *end = i < p->n ? p->v[i].offset : p->n_flat;
}

/* vector = where the parameter called name lies, if it is one. */
static void attach(const struct pc_params *p, const char *name, const float **vector)
{
    const struct pc_param *param = pc_params_find(p, name);
    if (param)
        *vector = pc_params_weights(p, param);
}

void pc_params_attach(const struct pc_params *p, struct pc_llama *model)
{
    char name[128];
    for (int32_t i = 0; i < model->config.n_layers; i++) {
        struct pc_llama_layer *layer = &model->layers[i];
        snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", i);
        attach(p, name, &layer->attention_norm);
        snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", i);
        attach(p, name, &layer->mlp_norm);
        for (int k = 0; k < PC_LLAMA_N_MATRICES; k++) {
            snprintf(name, sizeof name, "model.layers.%d.%s.bias", i,
                pc_llama_shape_of(&model->config, (enum pc_llama_matrix)k).name);
            attach(p, name, &layer->matrix[k].bias);
        }
    }
    attach(p, "model.norm.weight", &model->final_norm);
}
