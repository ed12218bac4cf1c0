// SPDX-License-Identifier: Apache-2.0
/* adapter_config.json, as PEFT writes it: what of it a merge needs, and a refusal by name of what it cannot
 * do. */
#ifndef PC_WEIGHTS_ADAPTER_CONFIG_H
#define PC_WEIGHTS_ADAPTER_CONFIG_H

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_adapter_config {
    json_t *root; /* owned; the strings below are views into it */
    const char *path;
    const char *base; /* base_model_name_or_path, or NULL */
    int64_t r;
    double alpha;
    bool rslora;                                /* scale is alpha / sqrt(r) instead of alpha / r */
    bool fan_in_fan_out;                        /* weights are stored (in, out) */
    const json_t *rank_pattern, *alpha_pattern; /* objects, or NULL */
};

/** Parse the text of adapter_config.json (len bytes; path for messages, borrowed as long as out). A peft_type
 * other than LORA, and options that make the merged weights something else than W + scale * B A (DoRA, a base
 * changed by PiSSA, OLoRA, CorDA or LoftQ, repeated layers, activated LoRA, block-diagonal factors, trained
 * tokens), are PACO_EUNSUPPORTED and named. Release with pc_adapter_config_release in any case. */
int pc_adapter_config_parse(
    const char *text, size_t len, const char *path, struct pc_adapter_config *out, struct paco_error *err);
void pc_adapter_config_release(struct pc_adapter_config *c);

/** Rank and scale of the module called name ("model.layers.0.self_attn.q_proj"). As in PEFT, a key of
 * rank_pattern or alpha_pattern is a regular expression which the name, or the part of it after some dot,
 * must match in full; the first key that does wins. Malformed or runaway expressions are PACO_EFORMAT. */
int pc_adapter_config_module(
    const struct pc_adapter_config *c, const char *name, int64_t *r, float *scale, struct paco_error *err);

/** What an adapter made here says of itself. */
struct pc_adapter_made {
    const char *base; /* base_model_name_or_path */
    uint64_t rank;
    double alpha, dropout;
    bool rslora;
    const char *const *targets; /* modules with factors */
    size_t n_targets;
    const char *const *saved; /* modules held whole */
    size_t n_saved;
};

/** Append adapter_config.json as PEFT reads it. */
void pc_adapter_config_write(const struct pc_adapter_made *made, struct pc_buf *out);

#endif
