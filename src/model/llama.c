// SPDX-License-Identifier: Apache-2.0
#include "model/llama.h"

#include "base/host.h"
#include "kernels/rope.h"
#include "model/linear.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN = 64 }; /* of weights that are packed */

/* A tensor that was found and checked, and where its data goes: a matrix that needs memory, or a vector that
 * becomes F32. */
struct pc_llama_slot {
    const struct pc_tensor *tensor;
    struct pc_weight *matrix;
    const float **vector;
};

static int add_slot(struct pc_llama *m, const struct pc_tensor *t, struct pc_weight *matrix,
    const float **vector, struct paco_error *err)
{
    if (pc_grow(&m->slots, &m->max_slots, m->n_slots, sizeof *m->slots, "the table of weights", err) < 0)
        return PACO_EMEM;
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

/* A sum that stays at the largest number: there is not so much memory, and the plan will say so. */
static void count(uint64_t *sum, uint64_t size)
{
    if (!pc_add_u64(*sum, size, sum))
        *sum = UINT64_MAX;
}

static int bind_vector(struct pc_llama *m, const struct pc_checkpoint *ck, const char *name, int64_t n,
    const float **vector, struct paco_error *err)
{
    const struct pc_tensor *t;
    int rc = find(ck, name, n, 0, &t, err);
    if (rc < 0)
        return rc;
    count(&m->own_size, (uint64_t)n * sizeof(float));
    return add_slot(m, t, NULL, vector, err);
}

static uint64_t own_size(const struct pc_llama *m, const struct pc_weight *w, bool mapped)
{
    uint64_t size = pc_weight_own_size(w, m->kernels, mapped);
    return size > UINT64_MAX - ALIGN ? UINT64_MAX : (size + ALIGN - 1) / ALIGN * ALIGN;
}

/* Decide where the bytes are going to be: in the file, or in memory that load makes. */
static int settle(struct pc_llama *m, struct pc_weight *w, struct paco_error *err)
{
    w->data = pc_weight_is_packed(w) ? NULL : pc_tensor_map(w->source);
    uint64_t size = own_size(m, w, w->data != NULL);
    count(&m->own_size, size);
    count(&m->mapped_size, w->data ? w->source->size : 0);
    if (pc_weight_is_packed(w) && pc_weight_fill_row(w) > m->largest_row)
        m->largest_row = pc_weight_fill_row(w);
    return w->data ? 0 : add_slot(m, w->source, w, NULL, err);
}

static void note_needs(struct pc_llama *m, const struct pc_weight *w, unsigned needs)
{
    m->n_params += (uint64_t)w->n_out * w->n_in;
    size_t n_scratch = pc_linear_scratch(w), size = pc_input_form_size(needs, w->n_in);
    m->n_scratch = n_scratch > m->n_scratch ? n_scratch : m->n_scratch;
    m->form_size = size > m->form_size ? size : m->form_size;
}

static int bind_matrix(struct pc_llama *m, const struct pc_checkpoint *ck, const char *name, int64_t n_out,
    int64_t n_in, enum pc_products products, struct pc_weight *w, struct paco_error *err)
{
    const struct pc_tensor *t;
    int rc = find(ck, name, n_out, n_in, &t, err);
    if (rc < 0)
        return rc;
    *w = pc_weight_of(t, m->kernels, products);
    return settle(m, w, err);
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

struct pc_llama_shape pc_llama_shape_of(const struct pc_config *c, enum pc_llama_matrix matrix)
{
    uint64_t width = (uint64_t)c->hidden_size, inner = (uint64_t)c->intermediate_size;
    uint64_t q = (uint64_t)c->n_heads * (uint64_t)c->head_dim,
             kv = (uint64_t)c->n_kv_heads * (uint64_t)c->head_dim;
    const struct pc_llama_shape shapes[PC_LLAMA_N_MATRICES] = {
        [PC_LLAMA_Q] = {"self_attn.q_proj", q, width},
        [PC_LLAMA_K] = {"self_attn.k_proj", kv, width},
        [PC_LLAMA_V] = {"self_attn.v_proj", kv, width},
        [PC_LLAMA_O] = {"self_attn.o_proj", width, q},
        [PC_LLAMA_GATE] = {"mlp.gate_proj", inner, width},
        [PC_LLAMA_UP] = {"mlp.up_proj", inner, width},
        [PC_LLAMA_DOWN] = {"mlp.down_proj", width, inner},
    };
    return shapes[matrix];
}

static int bind_layer(struct pc_llama *m, const struct pc_checkpoint *ck, int32_t i_layer,
    enum pc_products products, struct paco_error *err)
{
    const struct pc_config *c = &m->config;
    struct pc_llama_layer *layer = &m->layers[i_layer];
    char name[128];
    int rc = 0;
    for (int i = 0; i < PC_LLAMA_N_MATRICES && rc == 0; i++) {
        bool attention = i <= PC_LLAMA_O;
        const struct pc_llama_shape row = pc_llama_shape_of(c, (enum pc_llama_matrix)i);
        struct pc_weight *w = &layer->matrix[i];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", i_layer, row.name);
        rc = bind_matrix(m, ck, name, (int64_t)row.n_out, (int64_t)row.n_in, products, w, err);
        snprintf(name, sizeof name, "model.layers.%d.%s.bias", i_layer, row.name);
        if (rc == 0)
            rc = bind_bias(m, ck, name, attention ? "attention_bias" : "mlp_bias",
                attention ? c->attention_bias : c->mlp_bias, w, err);
    }
    if (rc < 0)
        return rc;
    unsigned needs = 0; /* those that share an input share its forms */
    for (int i = 0; i < PC_LLAMA_N_MATRICES; i++)
        needs |= pc_input_needs(&layer->matrix[i]);
    for (int i = 0; i < PC_LLAMA_N_MATRICES; i++)
        note_needs(m, &layer->matrix[i], needs);
    snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", i_layer);
    rc = bind_vector(m, ck, name, c->hidden_size, &layer->attention_norm, err);
    if (rc < 0)
        return rc;
    snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", i_layer);
    return bind_vector(m, ck, name, c->hidden_size, &layer->mlp_norm, err);
}

/* Rows of the embedding are read one by one if they can be, and are in memory only where the head multiplies
 * them as they are, or where a checkpoint cannot tell where they lie. */
static int bind_ends(
    struct pc_llama *m, const struct pc_checkpoint *ck, enum pc_products products, struct paco_error *err)
{
    const struct pc_config *c = &m->config;
    const struct pc_tensor *rows;
    if (products == PC_PRODUCTS_LLM_INT8) /* Transformers leaves lm_head as it is */
        products = PC_PRODUCTS_F32;
    int rc = find(ck, "model.embed_tokens.weight", c->vocab_size, c->hidden_size, &rows, err);
    if (rc < 0)
        return rc;
    m->embedding = pc_weight_of(rows, m->kernels, PC_PRODUCTS_F32);
    m->head = pc_weight_of(rows, m->kernels, products);
    bool shared = c->tied && !pc_weight_is_packed(&m->head);
    if (shared || !pc_tensor_map(rows))
        rc = settle(m, &m->embedding, err);
    if (shared)
        m->head.data = m->embedding.data;
    if (rc == 0 && !c->tied && !pc_checkpoint_find(ck, "lm_head.weight"))
        rc = pc_error_set(err, PACO_ENOENT,
            "tensor 'lm_head.weight' is missing, and config.json says tie_word_embeddings is false");
    if (rc == 0 && !c->tied)
        rc = bind_matrix(m, ck, "lm_head.weight", c->vocab_size, c->hidden_size, products, &m->head, err);
    else if (rc == 0 && !shared)
        rc = settle(m, &m->head, err);
    note_needs(m, &m->head, pc_input_needs(&m->head));
    return rc;
}

static int bind_all(
    struct pc_llama *m, const struct pc_checkpoint *ck, enum pc_products products, struct paco_error *err)
{
    const struct pc_config *c = &m->config;
    int rc = bind_ends(m, ck, products, err);
    for (int32_t i = 0; i < c->n_layers && rc == 0; i++)
        rc = bind_layer(m, ck, i, products, err);
    if (rc == 0)
        rc = bind_vector(m, ck, "model.norm.weight", c->hidden_size, &m->final_norm, err);
    m->weights_size = m->own_size;
    count(&m->weights_size, m->mapped_size);
    return rc;
}

static int make_frequencies(struct pc_llama *m, struct paco_error *err)
{
    const struct pc_config *c = &m->config;
    size_t d = (size_t)c->head_dim;
    float *f = pc_arena_alloc(&m->arena, d / 2, sizeof *f);
    if (!f)
        return pc_error_mem(err, d / 2 * sizeof *f, "rotary frequencies");
    m->rope_scale = 1;
    if (c->rope_scaling == PC_ROPE_YARN) {
        const struct pc_rope_yarn yarn = {.theta = c->rope_theta,
            .factor = c->rope_factor,
            .beta_fast = c->rope_beta_fast,
            .beta_slow = c->rope_beta_slow,
            .original_positions = (float)c->rope_original_positions,
            .truncate = c->rope_truncate};
        pc_rope_frequencies_yarn(f, &yarn, d);
        m->rope_scale = c->rope_attention_factor;
    } else {
        pc_rope_frequencies(f, c->rope_theta, d);
    }
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

int pc_llama_bind(const struct pc_checkpoint *weights, const struct pc_config *config,
    const struct pc_kernels *kernels, enum pc_products products, struct pc_llama **out,
    struct paco_error *err)
{
    int rc = check_config(config, err);
    if (rc < 0)
        return rc;
    struct pc_llama *m = pc_alloc_zero(1, sizeof *m);
    if (!m)
        return pc_error_mem(err, sizeof *m, "a model");
    m->config = *config;
    m->kernels = kernels;
    m->layers = pc_arena_alloc(&m->arena, (size_t)config->n_layers, sizeof *m->layers);
    rc = m->layers ? bind_all(m, weights, products, err)
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

static int load_vector(struct pc_llama *m, const struct pc_llama_slot *s, struct paco_error *err)
{
    const struct pc_tensor *t = s->tensor;
    size_t n = (size_t)pc_tensor_n_elements(t);
    float *v = pc_arena_alloc(&m->arena, n, sizeof *v);
    void *raw = pc_alloc((size_t)t->size, 1);
    int rc = v && raw ? pc_tensor_read(t, 0, t->n_rows, raw, err) : pc_error_mem(err, t->size, t->name);
    if (rc == 0) {
        m->kernels->convert.to_f32[t->dtype](v, raw, n);
        *s->vector = v;
    }
    pc_free(raw);
    return rc;
}

/* Memory that is not touched before it is filled. */
static int make_room(struct pc_llama *m, struct paco_error *err)
{
    uint64_t size = 0;
    for (size_t i = 0; i < m->n_slots; i++)
        if (m->slots[i].matrix)
            count(&size, own_size(m, m->slots[i].matrix, false));
    m->memory = size <= SIZE_MAX ? pc_alloc_huge((size_t)size) : NULL;
    m->row = pc_arena_alloc(&m->arena, 1, m->embedding.row_size);
    if (!m->memory || !m->row)
        return pc_error_mem(err, size, "the weights");
    unsigned char *at = m->memory;
    for (size_t i = 0; i < m->n_slots; i++)
        if (m->slots[i].matrix) {
            m->slots[i].matrix->own = at;
            at += own_size(m, m->slots[i].matrix, false);
        }
    return 0;
}

/* Advice only: reading may begin before the first product asks for the pages. */
static void expect(const struct pc_weight *w)
{
    if (!w->data)
        return;
    uintptr_t start = (uintptr_t)w->data & ~(uintptr_t)4095;
    (void)posix_madvise(
        (void *)start, (size_t)((uintptr_t)w->data + w->source->size - start), POSIX_MADV_WILLNEED);
}

int pc_llama_load(struct pc_llama *m, struct paco_error *err)
{
    int rc = make_room(m, err);
    for (size_t i = 0; i < m->n_slots && rc == 0; i++)
        if (m->slots[i].vector)
            rc = load_vector(m, &m->slots[i], err);
    for (int32_t i = 0; i < m->config.n_layers && rc == 0; i++)
        for (int k = 0; k < PC_LLAMA_N_MATRICES; k++)
            expect(&m->layers[i].matrix[k]);
    expect(&m->embedding);
    expect(&m->head);
    return rc;
}

/* Fill n weights unless it was done. */
static int fill(struct pc_llama *m, bool *filled, struct pc_weight *const *weights, size_t n,
    struct pc_pool *pool, struct paco_error *err)
{
    if (*filled)
        return 0;
    int rc = pc_weights_fill(weights, n, m->kernels, pool, err);
    *filled = rc == 0;
    m->n_filled += *filled;
    return rc;
}

int pc_llama_fill_embedding(struct pc_llama *m, struct pc_pool *pool, struct paco_error *err)
{
    struct pc_weight *w = &m->embedding;
    return fill(m, &m->embedding_filled, &w, 1, pool, err);
}

int pc_llama_fill_layer(struct pc_llama *m, int32_t i_layer, struct pc_pool *pool, struct paco_error *err)
{
    struct pc_llama_layer *layer = &m->layers[i_layer];
    struct pc_weight *weights[PC_LLAMA_N_MATRICES];
    for (int i = 0; i < PC_LLAMA_N_MATRICES; i++)
        weights[i] = &layer->matrix[i];
    int rc = fill(m, &layer->filled, weights, PC_LLAMA_N_MATRICES, pool, err);
    if (rc < 0)
        return pc_error_prefix(err, "layer %d", i_layer), rc;
    if (m->first_filled <= 0)
        m->first_filled = pc_seconds();
    return 0;
}

int pc_llama_fill_head(struct pc_llama *m, struct pc_pool *pool, struct paco_error *err)
{
    struct pc_weight *w = &m->head;
    int rc = pc_llama_fill_embedding(m, pool, err);
    if (rc == 0)
        rc = fill(m, &m->head_filled, &w, 1, pool, err);
    if (rc == 0 && !m->head.data)
        m->head.data = m->embedding.data;
    return rc;
}

bool pc_llama_is_filled(const struct pc_llama *m)
{
    return m->n_filled == m->config.n_layers + 2;
}

int pc_llama_embed(struct pc_llama *m, int32_t token, float *x, struct paco_error *err)
{
    const struct pc_weight *w = &m->embedding;
    const unsigned char *row = w->data ? w->data + (size_t)token * w->row_size : m->row;
    int rc = w->data ? 0 : pc_weight_read(w, (size_t)token, 1, m->row, err);
    if (rc == 0)
        m->kernels->convert.to_f32[w->dtype](x, row, w->n_in);
    return rc;
}

void pc_llama_free(struct pc_llama *m)
{
    if (!m)
        return;
    pc_free(m->memory);
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
