// SPDX-License-Identifier: Apache-2.0
/* The model that is being trained, as a checkpoint to be run at this moment. */
#ifndef PC_CLI_FINETUNE_WEIGHTS_H
#define PC_CLI_FINETUNE_WEIGHTS_H

#include "cli/finetune_model.h"

/** Everything is *owned*: pc_finetune_weights_close. Start from zero. */
struct pc_finetune_weights {
    struct pc_checkpoint *ck;  /* to be run; over f's memory */
    struct pc_checkpoint *sum; /* the base with the adapter as it is, or NULL */
};

/** The weights as they would be saved; of an adapter, its base with it folded in, as paco merge does. */
int pc_finetune_weights_open(
    const struct pc_finetune *f, struct pc_finetune_weights *out, struct paco_error *err);
void pc_finetune_weights_close(struct pc_finetune_weights *w);

#endif
