// SPDX-License-Identifier: Apache-2.0
#include "weights/meta_names.h"

#include <stdio.h>
#include <string.h>

enum { MAX_LAYER_DIGITS = 4 };

const struct pc_meta_kind pc_meta_global[PC_META_GLOBAL_KINDS] = {
    {"tok_embeddings.weight", "model.embed_tokens.weight", PC_META_EMBEDDING, PC_META_VOCAB, PC_META_WIDTH},
    {"norm.weight", "model.norm.weight", PC_META_WHOLE, PC_META_WIDTH, PC_META_NONE},
    {"output.weight", "lm_head.weight", PC_META_ROWS, PC_META_VOCAB, PC_META_WIDTH},
};
const struct pc_meta_kind pc_meta_layer[PC_META_LAYER_KINDS] = {
    {"attention.wq.weight", "self_attn.q_proj.weight", PC_META_ROWS, PC_META_QUERIES, PC_META_WIDTH},
    {"attention.wk.weight", "self_attn.k_proj.weight", PC_META_ROWS, PC_META_KEYS, PC_META_WIDTH},
    {"attention.wv.weight", "self_attn.v_proj.weight", PC_META_ROWS, PC_META_KEYS, PC_META_WIDTH},
    {"attention.wo.weight", "self_attn.o_proj.weight", PC_META_COLUMNS, PC_META_WIDTH, PC_META_QUERIES},
    {"feed_forward.w1.weight", "mlp.gate_proj.weight", PC_META_ROWS, PC_META_INNER, PC_META_WIDTH},
    {"feed_forward.w2.weight", "mlp.down_proj.weight", PC_META_COLUMNS, PC_META_WIDTH, PC_META_INNER},
    {"feed_forward.w3.weight", "mlp.up_proj.weight", PC_META_ROWS, PC_META_INNER, PC_META_WIDTH},
    {"attention_norm.weight", "input_layernorm.weight", PC_META_WHOLE, PC_META_WIDTH, PC_META_NONE},
    {"ffn_norm.weight", "post_attention_layernorm.weight", PC_META_WHOLE, PC_META_WIDTH, PC_META_NONE},
};

static const struct pc_meta_kind *find(
    const struct pc_meta_kind *kinds, size_t n, const char *name, bool of_meta)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, of_meta ? kinds[i].meta : kinds[i].hf) == 0)
            return &kinds[i];
    return NULL;
}

/* name is the one side's, with `from` before a layer's number; out gets the other's, with `to` there. */
static const struct pc_meta_kind *translate(
    const char *name, bool of_meta, const char *from, const char *to, char out[PC_META_NAME_ROOM])
{
    const struct pc_meta_kind *k = find(pc_meta_global, PC_META_GLOBAL_KINDS, name, of_meta);
    if (k) {
        snprintf(out, PC_META_NAME_ROOM, "%s", of_meta ? k->hf : k->meta);
        return k;
    }
    size_t at = strlen(from), n = strncmp(name, from, at) == 0 ? strspn(name + at, "0123456789") : 0;
    if (n == 0 || n > MAX_LAYER_DIGITS || name[at + n] != '.' || (n > 1 && name[at] == '0'))
        return NULL;
    k = find(pc_meta_layer, PC_META_LAYER_KINDS, name + at + n + 1, of_meta);
    if (k)
        snprintf(out, PC_META_NAME_ROOM, "%s%.*s.%s", to, (int)n, name + at, of_meta ? k->hf : k->meta);
    return k;
}

const struct pc_meta_kind *pc_meta_kind_of(const char *name, char out[PC_META_NAME_ROOM])
{
    return translate(name, true, "layers.", "model.layers.", out);
}

const struct pc_meta_kind *pc_meta_kind_of_hf(const char *name, char out[PC_META_NAME_ROOM])
{
    return translate(name, false, "model.layers.", "layers.", out);
}

uint64_t pc_meta_extent(const struct pc_config *c, enum pc_meta_extent e)
{
    switch (e) {
    case PC_META_WIDTH: return (uint64_t)c->hidden_size;
    case PC_META_INNER: return (uint64_t)c->intermediate_size;
    case PC_META_QUERIES: return (uint64_t)c->n_heads * (uint64_t)c->head_dim;
    case PC_META_KEYS: return (uint64_t)c->n_kv_heads * (uint64_t)c->head_dim;
    case PC_META_VOCAB: return (uint64_t)c->vocab_size;
    case PC_META_NONE: break;
    }
    return 0;
}
