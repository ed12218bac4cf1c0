// SPDX-License-Identifier: Apache-2.0
/* A PEFT LoRA folder, and its base with it applied. docs/formats/adapter.md.
 *
 *     struct pc_adapter *adapter;
 *     struct pc_checkpoint *tuned;
 *     if (pc_adapter_open(dir, &adapter, &err) < 0 || pc_adapter_apply(adapter, base, &tuned, &err) < 0) ...
 *     ... tuned is a checkpoint like any other: write it, run it ...
 *     pc_checkpoint_close(tuned);
 *     pc_adapter_close(adapter); */
#ifndef PC_WEIGHTS_ADAPTER_H
#define PC_WEIGHTS_ADAPTER_H

#include "algebra/lowrank.h"
#include "base/buf.h"
#include "format/checkpoint.h"
#include "weights/adapter_config.h"
#include "weights/source.h"

struct pc_adapter {
    char *dir;                  /* owned */
    char *config_path;          /* owned */
    struct pc_buf config_bytes; /* adapter_config.json as it was */
    struct pc_adapter_config config;
    struct pc_source source;
    const struct pc_checkpoint *ck; /* source's: the factors and saved tensors under PEFT's names */
};

/** What applying an adapter did. */
struct pc_adapter_report {
    uint32_t n_updated;  /* tensors that got scale * B A */
    uint32_t n_replaced; /* tensors the adapter holds whole */
    uint64_t vocab;      /* rows of the embedding afterwards, 0 if the base has none */
    bool ignored_layout; /* fan_in_fan_out is set, but the layers are stored (out, in) */
};

/** Open dir with adapter_config.json and adapter_model.safetensors or adapter_model.bin. *owned*:
 * pc_adapter_close. A folder without them says what it is instead when that can be told (a whole model, an
 * empty folder). */
int pc_adapter_open(const char *dir, struct pc_adapter **out, struct paco_error *err);
void pc_adapter_close(struct pc_adapter *adapter);

/** What the adapter does to each tensor of base: terms (base->n_tensors) by index, zeros where it does
 * nothing (name NULL). Their tensors are the adapter's. report may be NULL. Errors as pc_adapter_apply. */
int pc_adapter_terms(const struct pc_adapter *adapter, const struct pc_checkpoint *base,
    struct pc_lowrank_term *terms, struct pc_adapter_report *report, struct paco_error *err);

/** base with the adapter applied, as a checkpoint (algebra/lowrank.h has the arithmetic). adapter and base
 * are *borrowed* until *out, which is *owned*, is closed. report may be NULL.
 *
 *  Every tensor of the adapter must find its place: one that matches nothing, a factor without its partner, a
 * rank other than the configuration's and a shape that does not fit are PACO_EMISMATCH naming the tensor,
 * with what the base looks like when its sizes are the cause. A saved lm_head that differs from the embedding
 * is PACO_EUNSUPPORTED on a base that ties them. */
int pc_adapter_apply(const struct pc_adapter *adapter, const struct pc_checkpoint *base,
    struct pc_checkpoint **out, struct pc_adapter_report *report, struct paco_error *err);

#endif
