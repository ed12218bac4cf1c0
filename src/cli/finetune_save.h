// SPDX-License-Identifier: Apache-2.0
/* What `paco finetune` writes besides its output directory: --save_diff and --save_gguf. */
#ifndef PC_CLI_FINETUNE_SAVE_H
#define PC_CLI_FINETUNE_SAVE_H

#include "cli/finetune_model.h"

/** Whether they may be written, before the first step: PACO_EEXIST, as paco diff and paco convert say, or
 * PACO_EINVAL where they would replace what the run reads, or lie in its directory. */
int pc_finetune_check_saves(const struct pc_finetune *f, struct paco_error *err);

/** Write them, of the model that stands in the output directory. */
int pc_finetune_also_save(const struct pc_finetune *f, struct paco_error *err);

#endif
