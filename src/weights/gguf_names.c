// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_names.h"

#include "algebra/order.h"
#include "algebra/permute.h"
#include "algebra/rename.h"
#include "base/file.h"

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

bool pc_hf_gguf_name(const char *name, char *out, size_t out_size)
{
    for (size_t i = 0; i < sizeof g_global / sizeof *g_global; i++) {
        size_t n = strlen(g_global[i].hf);
        if (strncmp(name, g_global[i].hf, n) == 0 && is_parameter(name + n)) {
            snprintf(out, out_size, "%s%s", g_global[i].gguf, name + n);
            return true;
        }
    }
    static const char layers[] = "model.layers.";
    const char *digits = name + sizeof layers - 1;
    size_t n_digits = strncmp(name, layers, sizeof layers - 1) == 0 ? strspn(digits, "0123456789") : 0;
    if (n_digits == 0 || n_digits >= 8 || digits[n_digits] != '.')
        return false;
    const char *rest = digits + n_digits + 1;
    for (size_t i = 0; i < sizeof g_layer / sizeof *g_layer; i++) {
        size_t n = strlen(g_layer[i].hf);
        if (strncmp(rest, g_layer[i].hf, n) == 0 && is_parameter(rest + n)) {
            snprintf(out, out_size, "blk.%.*s.%s%s", (int)n_digits, digits, g_layer[i].gguf, rest + n);
            return true;
        }
    }
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

enum { N_HEADS = 5 };

static void count_heads(const struct pc_config *config, struct pc_head_count heads[N_HEADS])
{
    uint32_t q = (uint32_t)config->n_heads, kv = (uint32_t)config->n_kv_heads;
    heads[0] = (struct pc_head_count){".self_attn.q_proj.weight", q};
    heads[1] = (struct pc_head_count){".self_attn.q_proj.bias", q};
    heads[2] = (struct pc_head_count){".self_attn.k_proj.weight", kv};
    heads[3] = (struct pc_head_count){".self_attn.k_proj.bias", kv};
    heads[4] = (struct pc_head_count){NULL, 0};
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

/* Whether GGUF has a place for a tensor of this name: 1, 0 for what is left out, or PACO_EUNSUPPORTED. */
static int has_place(
    const struct pc_config *config, const char *name, char *gguf, size_t room, struct paco_error *err)
{
    if (pc_ends_with(name, ".inv_freq") || (config->tied && strcmp(name, "lm_head.weight") == 0))
        return 0;
    if (pc_hf_gguf_name(name, gguf, room))
        return 1;
    return pc_error_set(
        err, PACO_EUNSUPPORTED, "tensor '%s' is none of a LLaMA's: a GGUF file has no place for it", name);
}

int pc_gguf_from_hf(const struct pc_checkpoint *ck, const struct pc_config *config,
    const struct pc_tensor *factors, struct pc_checkpoint **permuted, struct pc_checkpoint **out,
    struct paco_error *err)
{
    enum { ROOM = 64 }; // "blk.9999999.attn_output.weight"
    struct pc_head_count heads[N_HEADS];
    *permuted = *out = NULL;
    count_heads(config, heads);
    struct pc_rename *table = pc_alloc(ck->n_tensors + 1, sizeof *table);
    char *names = pc_alloc(ck->n_tensors + 1, ROOM);
    size_t n = 0;
    int rc = table && names ? pc_checkpoint_permute(ck, heads, PC_HALVES_TO_PAIRS, permuted, err)
                            : pc_error_mem(err, ck->n_tensors * ROOM, "a table of tensors");
    for (size_t i = 0; rc == 0 && i < ck->n_tensors; i++) {
        const struct pc_tensor *t = &(*permuted)->tensors[i];
        int place = has_place(config, t->name, names + n * ROOM, ROOM, err);
        if (place > 0)
            table[n] = (struct pc_rename){names + n * ROOM, t}, n++;
        rc = place < 0 ? place : 0;
    }
    if (rc == 0 && factors)
        table[n++] = (struct pc_rename){"rope_freqs.weight", factors};
    if (rc == 0)
        rc = pc_checkpoint_rename(table, n, ck->path, out, err);
    if (rc < 0) {
        pc_checkpoint_close(*permuted);
        *permuted = NULL;
    }
    pc_free(table);
    pc_free(names);
    return rc;
}

int pc_gguf_as_hf(const struct pc_checkpoint *gguf, const struct pc_config *config,
    struct pc_checkpoint **renamed, struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_head_count heads[N_HEADS];
    count_heads(config, heads);
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
