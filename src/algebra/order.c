// SPDX-License-Identifier: Apache-2.0
#include "algebra/order.h"

#include "algebra/rename.h"

#include <stdlib.h>
#include <string.h>

struct place {
    uint64_t rank;
    uint32_t index;
};

static const uint64_t LAYERS = 16, AFTER_LAYERS = UINT64_C(1) << 40;

/* Modules of a layer in order; what follows the name (weight, bias, a buffer) sorts by `tail`. */
static const char *const g_modules[] = {"self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj.",
    "self_attn.o_proj.", "self_attn.rotary_emb.", "mlp.gate_proj.", "mlp.down_proj.", "mlp.up_proj.",
    "input_layernorm.", "post_attention_layernorm."};
enum { N_MODULES = sizeof g_modules / sizeof *g_modules };

static bool starts_with(const char *s, const char *prefix, const char **rest)
{
    size_t n = strlen(prefix);
    if (strncmp(s, prefix, n) != 0)
        return false;
    *rest = s + n;
    return true;
}

static uint64_t tail(const char *rest)
{
    return strcmp(rest, "weight") == 0 ? 0 : strcmp(rest, "bias") == 0 ? 1 : 2;
}

static uint64_t rank_of(const char *name)
{
    const char *rest;
    if (starts_with(name, "model.embed_tokens.", &rest))
        return tail(rest);
    if (starts_with(name, "model.norm.", &rest))
        return AFTER_LAYERS + tail(rest);
    if (starts_with(name, "lm_head.", &rest))
        return AFTER_LAYERS + 4 + tail(rest);
    if (!starts_with(name, "model.layers.", &rest) || *rest < '0' || *rest > '9')
        return UINT64_MAX;
    char *end;
    unsigned long layer = strtoul(rest, &end, 10);
    if (*end != '.' || layer > PC_MAX_TENSORS)
        return UINT64_MAX;
    uint64_t base = LAYERS + layer * 4 * (N_MODULES + 1);
    for (uint64_t m = 0; m < N_MODULES; m++)
        if (starts_with(end + 1, g_modules[m], &rest))
            return base + 4 * m + tail(rest);
    return base + 4 * N_MODULES;
}

static int by_rank(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

int pc_state_dict_order(const struct pc_checkpoint *ck, uint32_t *order, struct paco_error *err)
{
    struct place *places = pc_alloc(ck->n_tensors, sizeof *places);
    if (!places)
        return pc_error_mem(err, ck->n_tensors * sizeof *places, "the order of tensors");
    for (size_t i = 0; i < ck->n_tensors; i++)
        places[i] = (struct place){rank_of(ck->tensors[i].name), (uint32_t)i};
    if (ck->n_tensors)
        qsort(places, ck->n_tensors, sizeof *places, by_rank);
    for (size_t i = 0; i < ck->n_tensors; i++)
        order[i] = places[i].index;
    pc_free(places);
    return 0;
}

int pc_checkpoint_in_order(const struct pc_checkpoint *ck, struct pc_checkpoint **out, struct paco_error *err)
{
    uint32_t *order = pc_alloc(ck->n_tensors, sizeof *order);
    struct pc_rename *table = pc_alloc(ck->n_tensors, sizeof *table);
    int rc = order && table ? pc_state_dict_order(ck, order, err)
                            : pc_error_mem(err, ck->n_tensors * sizeof *table, "the order of tensors");
    for (size_t i = 0; i < ck->n_tensors && rc == 0; i++)
        table[i] = (struct pc_rename){ck->tensors[order[i]].name, &ck->tensors[order[i]]};
    if (rc == 0)
        rc = pc_checkpoint_rename(table, ck->n_tensors, ck->path, out, err);
    pc_free(table);
    pc_free(order);
    return rc;
}
