// SPDX-License-Identifier: Apache-2.0
/* Metadata: for what is no GGUF file yet the entries llama.cpp's converter would write for the architecture
 * llama; from a GGUF file all of its own, but for those that speak of types and parts. */
#include "weights/gguf_out.h"

#include "algebra/cast.h"
#include "base/file.h"
#include "weights/gguf_names.h"
#include "weights/gguf_types.h"
#include "weights/narrow.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { QUANTISATION_VERSION = 2 };

/* ---- LLaMA 3's factors: a checkpoint of one vector ---- */

static int factors_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    (void)err;
    const float *factors = t->owner->impl;
    memcpy(buf, factors + row0, (size_t)(n_rows * sizeof *factors));
    return 0;
}

static const struct pc_checkpoint_ops g_factors = {.read = factors_read};

static int make_factors(const struct pc_config *config, struct pc_checkpoint **out, struct paco_error *err)
{
    uint64_t n = (uint64_t)config->head_dim / 2;
    struct pc_checkpoint *ck = pc_checkpoint_new("factors", &g_factors, NULL, err);
    float *factors = ck ? pc_arena_alloc(&ck->arena, n, sizeof *factors) : NULL;
    if (!factors) {
        pc_checkpoint_close(ck);
        return pc_error_mem(err, n * sizeof *factors, "RoPE factors");
    }
    pc_config_llama3_factors(config, factors);
    ck->impl = factors;
    *out = ck;
    static const char name[] = "rope_freqs.weight";
    return pc_checkpoint_add_tensor(ck, name, sizeof name - 1, PC_F32, 1, &n, err);
}

/* ---- tensors ---- */

static int name_tensors(const struct pc_gguf_request *q, struct pc_gguf_out *g, struct paco_error *err)
{
    const struct pc_checkpoint *ck = q->ck;
    int rc = 0;
    if (q->o->dtype == PACO_DTYPE_AUTO || (q->o->dtype == PACO_DTYPE_KEEP && q->keep)) {
        rc = pc_narrow(ck, q->o->dtype, q->keep, q->pool, q->progress, &g->narrowed, err);
        ck = g->narrowed;
    }
    if (rc == 0 && g->config.rope_scaling == PC_ROPE_LLAMA3)
        rc = make_factors(&g->config, &g->factors, err);
    return rc < 0 ? rc
                  : pc_gguf_from_hf(ck, &g->config, g->factors ? &g->factors->tensors[0] : NULL, &g->permuted,
                        &g->named, err);
}

static int type_tensors(const struct pc_gguf_request *q, struct pc_gguf_out *g,
    const struct pc_checkpoint *named, uint32_t *file_type, struct paco_error *err)
{
    enum pc_dtype *types = pc_alloc(named->n_tensors, sizeof *types);
    if (!types)
        return pc_error_mem(err, named->n_tensors * sizeof *types, "the types of tensors");
    pc_gguf_types_choose(named, &g->config, q->o->dtype, types, file_type, q->notes);
    int rc = pc_checkpoint_cast(named, types, &g->ck, err);
    pc_free(types);
    return rc;
}

/* ---- metadata ---- */

static void put_text(struct pc_gguf_head *h, const char *key, const char *text)
{
    pc_gguf_put_str(h, key, text, strlen(text));
}

static void put_count(struct pc_gguf_head *h, const char *key, int32_t v)
{
    pc_gguf_put_u32(h, key, (uint32_t)v);
}

/* attn_factor is relative to what llama.cpp computes itself. */
static void put_yarn(struct pc_gguf_head *h, const struct pc_config *c)
{
    float usual = pc_config_yarn_attention((double)c->rope_factor);
    put_text(h, "llama.rope.scaling.type", "yarn");
    pc_gguf_put_f32(h, "llama.rope.scaling.factor", c->rope_factor);
    put_count(h, "llama.rope.scaling.original_context_length", c->rope_original_positions);
    if (c->rope_attention_factor != usual)
        pc_gguf_put_f32(h, "llama.rope.scaling.attn_factor", c->rope_attention_factor / usual);
    if (c->rope_beta_fast != 32)
        pc_gguf_put_f32(h, "llama.rope.scaling.yarn_beta_fast", c->rope_beta_fast);
    if (c->rope_beta_slow != 1)
        pc_gguf_put_f32(h, "llama.rope.scaling.yarn_beta_slow", c->rope_beta_slow);
}

static void put_config(struct pc_gguf_head *h, const struct pc_config *c, uint64_t n_rows)
{
    pc_gguf_put_u32(h, "llama.vocab_size", (uint32_t)n_rows);
    put_count(h, "llama.block_count", c->n_layers);
    put_count(h, "llama.context_length", c->max_positions);
    put_count(h, "llama.embedding_length", c->hidden_size);
    put_count(h, "llama.feed_forward_length", c->intermediate_size);
    put_count(h, "llama.attention.head_count", c->n_heads);
    put_count(h, "llama.attention.head_count_kv", c->n_kv_heads);
    pc_gguf_put_f32(h, "llama.attention.layer_norm_rms_epsilon", c->rms_norm_eps);
    if (c->head_dim * c->n_heads != c->hidden_size) {
        put_count(h, "llama.attention.key_length", c->head_dim);
        put_count(h, "llama.attention.value_length", c->head_dim);
    }
    put_count(h, "llama.rope.dimension_count", c->head_dim);
    pc_gguf_put_f32(h, "llama.rope.freq_base", c->rope_theta);
    if (c->rope_scaling == PC_ROPE_LINEAR) {
        put_text(h, "llama.rope.scaling.type", "linear");
        pc_gguf_put_f32(h, "llama.rope.scaling.factor", c->rope_factor);
    }
    if (c->rope_scaling == PC_ROPE_YARN)
        put_yarn(h, c);
}

static int put_vocabulary(struct pc_gguf_head *h, const struct paco_job_options *o, struct paco_error *err)
{
    const uint8_t *bytes = o->vocabulary;
    if (!bytes || o->vocabulary_size < 8)
        return pc_error_set(err, PACO_EINVAL, "a GGUF file holds its tokenizer, and none was given");
    uint64_t n = 0;
    for (int i = 0; i < 8; i++)
        n |= (uint64_t)bytes[i] << (8 * i);
    pc_buf_add(&h->bytes, bytes + 8, o->vocabulary_size - 8);
    h->n += n;
    return 0;
}

static int put_new(const struct pc_gguf_request *q, struct pc_gguf_out *g, struct paco_error *err)
{
    const struct pc_tensor *embedding = pc_checkpoint_find(g->ck, "token_embd.weight");
    char name[256];
    if (!embedding)
        return pc_error_set(err, PACO_EFORMAT, "there is no embedding among the tensors");
    pc_printable(q->name, name, sizeof name);
    put_text(&g->head, "general.architecture", "llama");
    put_text(&g->head, "general.type", "model");
    put_text(&g->head, "general.name", name);
    put_config(&g->head, &g->config, embedding->n_rows);
    return put_vocabulary(&g->head, q->o, err);
}

static bool key_is(const struct pc_gguf_entry *e, const char *key)
{
    return e->key_len == strlen(key) && memcmp(e->key, key, e->key_len) == 0;
}

static bool key_begins(const struct pc_gguf_entry *e, const char *prefix)
{
    return e->key_len >= strlen(prefix) && memcmp(e->key, prefix, strlen(prefix)) == 0;
}

static int put_copied(const struct pc_gguf_request *q, struct pc_gguf_out *g, struct paco_error *err)
{
    const struct pc_tensor *embedding = pc_checkpoint_find(g->ck, "token_embd.weight");
    size_t n;
    const struct pc_gguf_entry *entries = pc_gguf_entries(q->like->gguf, &n);
    for (size_t i = 0; i < n; i++) {
        const struct pc_gguf_entry *e = &entries[i];
        bool stale = key_is(e, "general.file_type") || key_is(e, "general.quantization_version") ||
                     key_is(e, "general.alignment") || (embedding && key_is(e, "llama.vocab_size")) ||
                     key_begins(e, "split.") || key_begins(e, "quantize.");
        if (!stale && !(q->o->vocabulary && key_begins(e, "tokenizer.")))
            pc_gguf_put_entry(&g->head, e);
    }
    if (embedding)
        pc_gguf_put_u32(&g->head, "llama.vocab_size", (uint32_t)embedding->n_rows);
    return q->o->vocabulary ? put_vocabulary(&g->head, q->o, err) : 0;
}

int pc_gguf_out_make(const struct pc_gguf_request *q, struct pc_gguf_out *g, struct paco_error *err)
{
    uint32_t file_type = 0;
    pc_gguf_head_init(&g->head);
    if (!q->like->has_config) {
        pc_error_set(err, PACO_ENOENT, "holds no config.json, which a GGUF file is made from");
        pc_error_path(err, q->like->dir);
        return PACO_ENOENT;
    }
    if (q->like->config.rope_scaling == PC_ROPE_YARN && !q->like->config.rope_truncate)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "YaRN's RoPE scaling with \"truncate\": false has no place in GGUF's metadata");
    g->config = q->like->config;
    g->config.tied = q->tied;
    int rc = q->ck ? name_tensors(q, g, err) : 0;
    if (rc == 0)
        rc = type_tensors(q, g, q->ck ? g->named : q->like->gguf, &file_type, err);
    if (rc == 0)
        rc = q->like->gguf ? put_copied(q, g, err) : put_new(q, g, err);
    if (rc < 0)
        return rc;
    int64_t was = file_type;
    if (q->like->gguf && !q->ck && q->o->dtype == PACO_DTYPE_KEEP)
        (void)pc_gguf_opt_i64(q->like->gguf, "general.file_type", 0, UINT32_MAX, &was, NULL);
    pc_gguf_put_u32(&g->head, "general.file_type", (uint32_t)was);
    pc_gguf_put_u32(&g->head, "general.quantization_version", QUANTISATION_VERSION);
    return pc_gguf_head_check(&g->head, err);
}

void pc_gguf_out_release(struct pc_gguf_out *g)
{
    pc_checkpoint_close(g->ck);
    pc_checkpoint_close(g->named);
    pc_checkpoint_close(g->permuted);
    pc_checkpoint_close(g->factors);
    pc_checkpoint_close(g->narrowed);
    pc_gguf_head_release(&g->head);
    *g = (struct pc_gguf_out){0};
}
