// SPDX-License-Identifier: Apache-2.0
/* The options of `paco finetune`: upstream's by their names and with their defaults, and paco's own. */
#ifndef PC_CLI_FINETUNE_OPTIONS_H
#define PC_CLI_FINETUNE_OPTIONS_H

#include "cli/command.h"
#include "train/examples.h"
#include "train/loop.h"
#include "train/lora.h"
#include "train/training_run.h"

struct pc_finetune_values {
    const char *model, *diff, *type, *train_file, *encoding, *out;
    const char *schedule, *dtype, *weights, *states, *checkpointing, *resume_from;
    const char *save_diff, *save_gguf;
    const char *lora_targets, *init_adapter;
    double lora_alpha, lora_dropout;
    int64_t lora_rank;
    double learning_rate, weight_decay, warmup_ratio, clip;
    const char *validation_file, *sample_prompts, *eval_tasks, *eval_data, *report_to;
    double validation_share; /* per cent */
    int64_t eval_steps, eval_limit, sample_length;
    bool report;
    int64_t show_examples, batch, accumulation, epochs, steps, max_length, seed, logging, keep, threads,
        limit, zero;
    bool use_lora, no_shuffle, packing, quirks, resume, plan, force, recompute, in_backward, states_on_disk,
        json;
};
extern const struct pc_option pc_finetune_rows[];

/** What holds before parsing. */
struct pc_finetune_values pc_finetune_values_default(void);

/** What the values mean for training, encoding and saving: options of other parts are left at zero.
 * PACO_EINVAL names what cannot be. */
int pc_finetune_settle(const struct pc_finetune_values *v, struct pc_train_options *train,
    struct pc_examples_options *examples, struct pc_training_options *run, struct pc_lora_options *lora,
    struct paco_error *err);

#endif
