// SPDX-License-Identifier: Apache-2.0
/* Preferences between answers, on the command line: recorded ones, and those of a judge. */
#ifndef PC_CLI_EVAL_JUDGE_H
#define PC_CLI_EVAL_JUDGE_H

#include "cli/command.h"
#include "cli/eval_options.h"
#include "eval/win_rate.h"

/** --annotations without a model: print the file's win rate. Returns an exit code. */
int pc_eval_print_annotations(const struct pc_command *self, const struct pc_eval_values *v);

/** Where the run of AlpacaFarm below v->out left the answers of the model so called: owned, NULL when memory
 * is out. */
char *pc_eval_outputs_path(const struct pc_eval_values *v, const char *model_name);

/** v, turned into what asks the judge to judge outputs; views into both. PACO_EINVAL when it is not said who
 * that is. */
int pc_eval_judge_values(
    const struct pc_eval_values *v, const char *outputs, struct pc_eval_values *out, struct paco_error *err);

#endif
