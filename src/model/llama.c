// SPDX-License-Identifier: Apache-2.0
#include "model/llama.h"

#include "kernels/rope.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* A tensor that was found and checked, and where its data goes: a matrix, or a vector that becomes F32. */
struct pc_llama_slot {
    const struct pc_tensor *tensor;
    struct pc_weight *matrix;
    const float **vector;
};

static int add_slot(struct pc_llama *m, const struct pc_tensor *t, struct pc_weight *matrix,
    const float **vector, struct paco_error *err)
{
    if (m->n_slots == m->max_slots) {
        size_t n = m->max_slots ? 2 * m->max_slots : 64;
        struct pc_llama_slot *grown = pc_realloc(m->slots, n, sizeof *grown);
        if (!grown)
            return pc_error_mem(err, n * sizeof *grown, "the table of weights");
        m->slots = grown;
        m->max_slots = n;
    }
    m->slots[m->n_slots++] = (struct pc_llama_slot){t, matrix, vector};
    return 0;
}

/* The tensor called name with exactly this shape (n_in 0: a vector) and a type that can be widened. */
static int find(const struct pc_checkpoint *ck, const char *name, int64_t n_out, int64_t n_in,
    const struct pc_tensor **out, struct paco_error *err)
{
    const struct pc_tensor *t = pc_checkpoint_find(ck, name);
    if (!t)
        return pc_error_set(err, PACO_ENOENT, "tensor '%s' is missing", name);
    uint64_t want[2] = {(uint64_t)n_out, (uint64_t)n_in};
    int n_dims = n_in ? 2 : 1;
    if (t->n_dims != n_dims || memcmp(t->shape, want, (size_t)n_dims * sizeof *want) != 0) {
        char found[160], expected[160];
        return pc_error_set(err, PACO_EMISMATCH, "tensor '%s': shape %s, config.json says %s", name,
            pc_tensor_shape(t, found, sizeof found),
            pc_shape_format(n_dims, want, expected, sizeof expected));
    }
    const struct pc_dtype_traits *traits = pc_dtype_traits(t->dtype);
    if (!traits->is_float && !traits->is_quant)
        return pc_error_set(
            err, PACO_EUNSUPPORTED, "tensor '%s' is of type %s, which holds no weights", name, traits->name);
    *out = t;
    return 0;
}

static int bind_vector(struct pc_llama *m, const struct pc_checkpoint *ck, const char *name, int64_t n,
    const float **vector, struct paco_error *err)
{
    const struct pc_tensor *t;
    int rc = find(ck, name, n, 0, &t, err);
    if (rc < 0)
        return rc;
    m->weights_size += (uint64_t)n * sizeof(float);
    return add_slot(m, t, NULL, vector, err);
}

static int bind_matrix(struct pc_llama *m, const struct pc_checkpoint *ck, const char *name, int64_t n_out,
    int64_t n_in, struct pc_weight *w, struct paco_error *err)
{
    const struct pc_tensor *t;
    int rc = find(ck, name, n_out, n_in, &t, err);
    if (rc < 0)
        return rc;
    *w = (struct pc_weight){.dtype = t->dtype,
        .n_out = (size_t)n_out,
        .n_in = (size_t)n_in,
        .row_size = (size_t)(t->size / t->shape[0])};
    m->weights_size += t->size;
    size_t n_scratch = pc_linear_scratch(w);
    if (n_scratch > m->n_scratch)
        m->n_scratch = n_scratch;
    return add_slot(m, t, w, NULL, err);
}

/* The bias beside a matrix is there exactly when the configuration says so: one that is there against it
 * would be left out of the sums without a word. */
static int bind_bias(struct pc_llama *m, const struct pc_checkpoint *ck, const char *name, const char *flag,
    bool wanted, struct pc_weight *w, struct paco_error *err)
{
    if (wanted)
        return bind_vector(m, ck, name, (int64_t)w->n_out, &w->bias, err);
    if (pc_checkpoint_find(ck, name))
        return pc_error_set(
            err, PACO_EMISMATCH, "tensor '%s' is there, but config.json says %s is false", name, flag);
    return 0;
}

static int bind_layer(
    struct pc_llama *m, const struct pc_checkpoint *ck, int32_t i_layer, struct paco_error *err)
{
    const struct pc_config *c = &m->config;
    int64_t width = c->hidden_size, inner = c->intermediate_size;
    int64_t q = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    const struct {
        const char *name;
        int64_t n_out, n_in;
    } rows[PC_LLAMA_N_MATRICES] = {
        [PC_LLAMA_Q] = {"self_attn.q_proj", q, width},
        [PC_LLAMA_K] = {"self_attn.k_proj", kv, width},
        [PC_LLAMA_V] = {"self_attn.v_proj", kv, width},
        [PC_LLAMA_O] = {"self_attn.o_proj", width, q},
        [PC_LLAMA_GATE] = {"mlp.gate_proj", inner, width},
        [PC_LLAMA_UP] = {"mlp.up_proj", inner, width},
        [PC_LLAMA_DOWN] = {"mlp.down_proj", width, inner},
    };
    struct pc_llama_layer *layer = &m->layers[i_layer];
    char name[128];
    int rc = 0;
    for (int i = 0; i < PC_LLAMA_N_MATRICES && rc == 0; i++) {
        bool attention = i <= PC_LLAMA_O;
        struct pc_weight *w = &layer->matrix[i];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", i_layer, rows[i].name);
        rc = bind_matrix(m, ck, name, rows[i].n_out, rows[i].n_in, w, err);
        snprintf(name, sizeof name, "model.layers.%d.%s.bias", i_layer, rows[i].name);
        if (rc == 0)
            rc = bind_bias(m, ck, name, attention ? "attention_bias" : "mlp_bias",
                attention ? c->attention_bias : c->mlp_bias, w, err);
    }
    if (rc < 0)
        return rc;
    snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", i_layer);
    rc = bind_vector(m, ck, name, width, &layer->attention_norm, err);
    if (rc < 0)
        return rc;
    snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", i_layer);
    return bind_vector(m, ck, name, width, &layer->mlp_norm, err);
}

static int bind_all(struct pc_llama *m, const struct pc_checkpoint *ck, struct paco_error *err)
{
    const struct pc_config *c = &m->config;
    int rc =
        bind_matrix(m, ck, "model.embed_tokens.weight", c->vocab_size, c->hidden_size, &m->embedding, err);
    for (int32_t i = 0; i < c->n_layers && rc == 0; i++)
        rc = bind_layer(m, ck, i, err);
    if (rc == 0)
        rc = bind_vector(m, ck, "model.norm.weight", c->hidden_size, &m->final_norm, err);
    if (rc < 0 || c->tied)
        return rc;
    if (!pc_checkpoint_find(ck, "lm_head.weight"))
        return pc_error_set(err, PACO_ENOENT,
            "tensor 'lm_head.weight' is missing, and config.json says tie_word_embeddings is false");
    return bind_matrix(m, ck, "lm_head.weight", c->vocab_size, c->hidden_size, &m->head, err);
}

static int make_frequencies(struct pc_llama *m, struct paco_error *err)
{
    const struct pc_config *c = &m->config;
    size_t d = (size_t)c->head_dim;
    float *f = pc_arena_alloc(&m->arena, d / 2, sizeof *f);
    if (!f)
        return pc_error_mem(err, d / 2 * sizeof *f, "rotary frequencies");
    pc_rope_frequencies(f, c->rope_theta, d);
    if (c->rope_scaling == PC_ROPE_LINEAR)
        pc_rope_scale_linear(f, d, c->rope_factor);
    if (c->rope_scaling == PC_ROPE_LLAMA3)
        pc_rope_scale_llama3(f, d, c->rope_factor, c->rope_low_freq_factor, c->rope_high_freq_factor,
            (float)c->rope_original_positions);
    m->inv_freq = f;
    return 0;
}

/* What the forward pass itself relies on. Readers check more; a config made by hand passes here too. */
static int check_config(const struct pc_config *c, struct paco_error *err)
{
    if (c->n_layers < 1 || c->hidden_size < 1 || c->intermediate_size < 1 || c->vocab_size < 1 ||
        c->n_heads < 1 || c->n_kv_heads < 1 || c->n_heads % c->n_kv_heads != 0)
        return pc_error_set(err, PACO_EFORMAT,
            "config.json: %d layers of width %d and %d, %d heads on %d key/value heads, vocabulary %d: no "
            "such model",
            c->n_layers, c->hidden_size, c->intermediate_size, c->n_heads, c->n_kv_heads, c->vocab_size);
    if (c->head_dim < 2 || c->head_dim % 2 != 0)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "config.json: head_dim is %d; rotary positions need an even one", c->head_dim);
    return 0;
}

int pc_llama_bind(const struct pc_checkpoint *weights, const struct pc_config *config, struct pc_llama **out,
    struct paco_error *err)
{
    int rc = check_config(config, err);
    if (rc < 0)
        return rc;
    struct pc_llama *m = pc_alloc_zero(1, sizeof *m);
    if (!m)
        return pc_error_mem(err, sizeof *m, "a model");
    m->config = *config;
    m->layers = pc_arena_alloc(&m->arena, (size_t)config->n_layers, sizeof *m->layers);
    rc = m->layers ? bind_all(m, weights, err)
                   : pc_error_mem(err, (uint64_t)config->n_layers * sizeof *m->layers, "layers");
    if (rc == 0)
        rc = make_frequencies(m, err);
    if (rc < 0) {
        if (weights->path)
            pc_error_path(err, weights->path);
        pc_llama_free(m);
        return rc;
    }
    *out = m;
    return 0;
}

static int load_vector(struct pc_llama *m, const struct pc_llama_slot *s, const struct pc_kernels *kernels,
    struct paco_error *err)
{
    const struct pc_tensor *t = s->tensor;
    size_t n = (size_t)pc_tensor_n_elements(t);
    float *v = pc_arena_alloc(&m->arena, n, sizeof *v);
    void *raw = pc_alloc((size_t)t->size, 1);
    int rc = v && raw ? pc_tensor_read(t, 0, t->n_rows, raw, err) : pc_error_mem(err, t->size, t->name);
    if (rc == 0) {
        kernels->convert.to_f32[t->dtype](v, raw, n);
        *s->vector = v;
    }
    pc_free(raw);
    return rc;
}

static int load_matrix(struct pc_llama *m, const struct pc_llama_slot *s, struct paco_error *err)
{
    const struct pc_tensor *t = s->tensor;
    const void *mapped = pc_tensor_map(t);
    if (mapped) {
        /* Advice only: reading may begin before the first product asks for the pages. */
        uintptr_t start = (uintptr_t)mapped & ~(uintptr_t)4095;
        (void)posix_madvise(
            (void *)start, (size_t)((uintptr_t)mapped + t->size - start), POSIX_MADV_WILLNEED);
        s->matrix->data = mapped;
        return 0;
    }
    unsigned char *copy = pc_alloc_pages((size_t)t->size);
    if (!copy)
        return pc_error_mem(err, t->size, t->name);
    m->copies[m->n_copies++] = copy;
    s->matrix->data = copy;
    return pc_tensor_read(t, 0, t->n_rows, copy, err);
}

int pc_llama_load(struct pc_llama *m, const struct pc_kernels *kernels, struct paco_error *err)
{
    m->copies = pc_arena_alloc(&m->arena, m->n_slots, sizeof *m->copies);
    if (!m->copies)
        return pc_error_mem(err, m->n_slots * sizeof *m->copies, "the table of weights");
    for (size_t i = 0; i < m->n_slots; i++) {
        const struct pc_llama_slot *s = &m->slots[i];
        int rc = s->matrix ? load_matrix(m, s, err) : load_vector(m, s, kernels, err);
        if (rc < 0)
            return rc;
    }
    if (m->config.tied)
        m->head = m->embedding;
    return 0;
}

void pc_llama_free(struct pc_llama *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_copies; i++)
        pc_free(m->copies[i]);
    pc_free(m->slots);
    pc_arena_release(&m->arena);
    pc_free(m);
}

static const struct pc_llama_layer *loaded_layer(void *ctx, int32_t i_layer)
{
    const struct pc_llama *m = ctx;
    return &m->layers[i_layer];
}

struct pc_llama_weights pc_llama_weights(struct pc_llama *model)
{
    return (struct pc_llama_weights){loaded_layer, model};
}
