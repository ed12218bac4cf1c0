// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_names.h"

#include "algebra/order.h"
#include "algebra/permute.h"
#include "algebra/rename.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *gguf, *hf;
} g_global[] =
    {
        {"token_embd.", "model.embed_tokens."},
        {"output_norm.", "model.norm."},
        {"output.", "lm_head."},
},
  g_layer[] = {
      {"attn_q.", "self_attn.q_proj."},
      {"attn_k.", "self_attn.k_proj."},
      {"attn_v.", "self_attn.v_proj."},
      {"attn_output.", "self_attn.o_proj."},
      {"ffn_gate.", "mlp.gate_proj."},
      {"ffn_down.", "mlp.down_proj."},
      {"ffn_up.", "mlp.up_proj."},
      {"attn_norm.", "input_layernorm."},
      {"ffn_norm.", "post_attention_layernorm."},
};

enum { GROWTH = 40 }; /* a name gets longer by less than this */

static bool is_parameter(const char *tail)
{
    return strcmp(tail, "weight") == 0 || strcmp(tail, "bias") == 0;
}

bool pc_gguf_hf_name(const char *name, char *out, size_t out_size)
{
    for (size_t i = 0; i < sizeof g_global / sizeof *g_global; i++) {
        size_t n = strlen(g_global[i].gguf);
        if (strncmp(name, g_global[i].gguf, n) == 0 && is_parameter(name + n)) {
            snprintf(out, out_size, "%s%s", g_global[i].hf, name + n);
            return true;
        }
    }
    const char *digits = name + 4;
    size_t n_digits = strncmp(name, "blk.", 4) == 0 ? strspn(digits, "0123456789") : 0;
    if (n_digits > 0 && n_digits < 8 && digits[n_digits] == '.') {
        const char *rest = digits + n_digits + 1;
        for (size_t i = 0; i < sizeof g_layer / sizeof *g_layer; i++) {
            size_t n = strlen(g_layer[i].gguf);
            if (strncmp(rest, g_layer[i].gguf, n) == 0 && is_parameter(rest + n)) {
                snprintf(
                    out, out_size, "model.layers.%.*s.%s%s", (int)n_digits, digits, g_layer[i].hf, rest + n);
                return true;
            }
        }
    }
    snprintf(out, out_size, "%s", name);
    return false;
}

static void fill_names(const struct pc_checkpoint *gguf, struct pc_rename *table, size_t *n, char *names)
{
    *n = 0;
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const struct pc_tensor *t = &gguf->tensors[i];
        if (strcmp(t->name, "rope_freqs.weight") == 0)
            continue;
        size_t room = strlen(t->name) + GROWTH;
        pc_gguf_hf_name(t->name, names, room);
        table[(*n)++] = (struct pc_rename){names, t};
        names += room;
    }
}

/* table in the order of the state dict, of which a node in any order is asked. */
static int sort_names(const struct pc_checkpoint *gguf, struct pc_rename *table, struct pc_rename *sorted,
    uint32_t *order, size_t n, struct paco_error *err)
{
    struct pc_checkpoint *unsorted = NULL;
    int rc = pc_checkpoint_rename(table, n, gguf->path, &unsorted, err);
    if (rc == 0)
        rc = pc_state_dict_order(unsorted, order, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        sorted[i] = table[order[i]];
    pc_checkpoint_close(unsorted);
    return rc;
}

int pc_gguf_as_hf(const struct pc_checkpoint *gguf, const struct pc_config *config,
    struct pc_checkpoint **renamed, struct pc_checkpoint **out, struct paco_error *err)
{
    uint32_t q = (uint32_t)config->n_heads, kv = (uint32_t)config->n_kv_heads;
    const struct pc_head_count heads[] = {{".self_attn.q_proj.weight", q}, {".self_attn.q_proj.bias", q},
        {".self_attn.k_proj.weight", kv}, {".self_attn.k_proj.bias", kv}, {NULL, 0}};
    size_t n_all = gguf->n_tensors, n, names_size = 0;
    for (size_t i = 0; i < n_all; i++)
        names_size += strlen(gguf->tensors[i].name) + GROWTH;
    struct pc_rename *table = pc_alloc(n_all, 2 * sizeof *table);
    char *names = pc_alloc(names_size, 1);
    uint32_t *order = pc_alloc(n_all, sizeof *order);
    int rc = table && names && order ? 0 : pc_error_mem(err, names_size, "a table of tensors");
    *renamed = *out = NULL;
    if (rc == 0) {
        fill_names(gguf, table, &n, names);
        rc = sort_names(gguf, table, table + n_all, order, n, err);
    }
    if (rc == 0)
        rc = pc_checkpoint_rename(table + n_all, n, gguf->path, renamed, err);
    if (rc == 0 && (rc = pc_checkpoint_permute(*renamed, heads, PC_PAIRS_TO_HALVES, out, err)) < 0) {
        pc_checkpoint_close(*renamed);
        *renamed = NULL;
    }
    pc_free(table);
    pc_free(names);
    pc_free(order);
    return rc;
}
