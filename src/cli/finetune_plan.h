// SPDX-License-Identifier: Apache-2.0
/* What a run of `paco finetune` will take, said and checked before its first step. */
#ifndef PC_CLI_FINETUNE_PLAN_H
#define PC_CLI_FINETUNE_PLAN_H

#include "cli/finetune_model.h"

/** What training needs of f, which is bound. */
struct pc_train_setup pc_finetune_setup(const struct pc_finetune *f);

/** Where on the disk a file of the run can be made before its directory is there: in it, or the nearest one
 * above that is. */
void pc_finetune_place(const char *out_dir, char path[4096]);

/** Refuse what memory or disk will not do: PACO_EMEM, PACO_ENOSPC, with the sums. f is bound. */
int pc_finetune_check(struct pc_finetune *f, struct paco_error *err);

/** Measure a step or two of the trainer, which is of no more use then, and print the plan on stdout, as JSON
 *  with --json. */
int pc_finetune_print_plan(struct pc_finetune *f, struct paco_error *err);

#endif
