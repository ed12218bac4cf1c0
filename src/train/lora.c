// SPDX-License-Identifier: Apache-2.0
#include "train/lora.h"

#include "weights/adapter_config.h"

#include "train/keyed.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "base_model.model."

/* What PEFT calls them by, in the order of the state dict. */
static const struct {
    enum pc_llama_matrix matrix;
    const char *name;
} g_targets[PC_LLAMA_N_MATRICES] = {{PC_LLAMA_Q, "q_proj"}, {PC_LLAMA_K, "k_proj"}, {PC_LLAMA_V, "v_proj"},
    {PC_LLAMA_O, "o_proj"}, {PC_LLAMA_GATE, "gate_proj"}, {PC_LLAMA_DOWN, "down_proj"},
    {PC_LLAMA_UP, "up_proj"}};

static unsigned target_called(const char *name, size_t len)
{
    for (size_t i = 0; i < PC_LLAMA_N_MATRICES; i++)
        if (strlen(g_targets[i].name) == len && memcmp(name, g_targets[i].name, len) == 0)
            return 1u << g_targets[i].matrix;
    return 0;
}

int pc_lora_targets_parse(const char *text, unsigned *out, struct paco_error *err)
{
    unsigned all = 0;
    if (strcmp(text, "all") == 0)
        return *out = PC_LORA_ALL, 0;
    for (const char *at = text; *at;) {
        size_t len = strcspn(at, ",");
        unsigned bit = target_called(at, len);
        if (!bit)
            return pc_error_set(err, PACO_EINVAL,
                "'%.*s' is no matrix that an adapter goes beside; there are q_proj, k_proj, v_proj, o_proj, "
                "gate_proj, up_proj, down_proj, and all",
                (int)(len < 60 ? len : 60), at);
        all |= bit;
        at += len + (at[len] == ',');
    }
    *out = all;
    return all ? 0 : pc_error_set(err, PACO_EINVAL, "no matrix is named that an adapter goes beside");
}

float pc_lora_scale(const struct pc_lora_options *o)
{
    double rank = (double)o->rank;
    return (float)(o->alpha / (o->scale_by_root ? sqrt(rank) : rank));
}

/* ---- parameters ---- */

int pc_params_add_lora(
    struct pc_params *p, const struct pc_config *c, const struct pc_lora_options *o, struct paco_error *err)
{
    char name[160];
    int rc = 0;
    for (int32_t i = 0; i < c->n_layers; i++)
        for (size_t k = 0; k < PC_LLAMA_N_MATRICES && rc == 0; k++) {
            if (!(o->targets & 1u << g_targets[k].matrix))
                continue;
            const struct pc_llama_shape row = pc_llama_shape_of(c, g_targets[k].matrix);
            snprintf(name, sizeof name, PREFIX "model.layers.%d.%s.lora_A.weight", i, row.name);
            rc = pc_params_add(p, name, o->rank, row.n_in, err);
            snprintf(name, sizeof name, PREFIX "model.layers.%d.%s.lora_B.weight", i, row.name);
            if (rc == 0)
                rc = pc_params_add(p, name, row.n_out, o->rank, err);
        }
    return rc;
}

void pc_params_init_lora(struct pc_params *p, uint64_t seed)
{
    pc_params_zero(p);
    for (size_t i = 0; i < p->n; i++) {
        const struct pc_param *param = &p->v[i];
        if (!strstr(param->name, ".lora_A."))
            continue;
        float bound = 1 / sqrtf((float)param->n_in), *w = p->w + param->offset;
        uint64_t key = pc_keyed_key(seed, i);
        for (uint64_t k = 0; k < param->n; k++)
            w[k] = bound * (2 * pc_keyed_uniform(key, k) - 1);
    }
}

/* ---- adapters that exist ---- */

/* The target a factor's name belongs to; 0 for any other tensor. */
static unsigned target_of(const char *name)
{
    static const char *const ends[] = {".lora_A.weight", ".lora_B.weight"};
    size_t len = strlen(name);
    for (size_t i = 0; i < 2; i++) {
        size_t end = strlen(ends[i]);
        if (len <= end || strcmp(name + len - end, ends[i]) != 0)
            continue;
        const char *stop = name + len - end, *start = stop;
        while (start > name && start[-1] != '.')
            start--;
        return target_called(start, (size_t)(stop - start));
    }
    return 0;
}

int pc_lora_options_of(
    const struct pc_checkpoint *ck, const json_t *config, struct pc_lora_options *o, struct paco_error *err)
{
    int64_t rank;
    o->targets = 0;
    int rc = pc_json_get_i64(config, "r", 1, 1 << 20, &rank, err);
    if (rc == 0)
        rc = pc_json_get_f64(config, "lora_alpha", &o->alpha, err);
    if (rc == 0)
        rc = pc_json_opt_bool(config, "use_rslora", &o->scale_by_root, err);
    if (rc < 0)
        return rc;
    o->rank = (uint64_t)rank;
    if (json_object_size(json_object_get(config, "rank_pattern")) ||
        json_object_size(json_object_get(config, "alpha_pattern")))
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "an adapter with ranks or scales of single modules cannot be trained further");
    for (size_t i = 0; i < ck->n_tensors; i++) {
        unsigned target = target_of(ck->tensors[i].name);
        if (!target)
            return pc_error_set(err, PACO_EUNSUPPORTED,
                "tensor '%s' is no factor of a layer's matrix: such an adapter cannot be trained further",
                ck->tensors[i].name);
        o->targets |= target;
    }
    return 0;
}

void pc_lora_config_write(const struct pc_lora_options *o, const char *base, struct pc_buf *out)
{
    const char *targets[PC_LLAMA_N_MATRICES];
    struct pc_adapter_made made = {.base = base,
        .rank = o->rank,
        .alpha = o->alpha,
        .dropout = o->dropout,
        .rslora = o->scale_by_root,
        .targets = targets};
    for (size_t i = 0; i < PC_LLAMA_N_MATRICES; i++)
        if (o->targets & 1u << g_targets[i].matrix)
            targets[made.n_targets++] = g_targets[i].name;
    pc_adapter_config_write(&made, out);
}
