// SPDX-License-Identifier: Apache-2.0
/* paco eval --report and --compare: what is done with results that are there. */
#ifndef PC_CLI_EVAL_FILES_H
#define PC_CLI_EVAL_FILES_H

#include "cli/eval_options.h"

/** One page about the folders dirs, at v->out, else in the first of them. Returns an exit code. */
int pc_eval_files_report(
    const struct pc_command *self, const struct pc_eval_values *v, const struct pc_strings *dirs);

/** The two folders dirs against each other, on stdout. Returns an exit code. */
int pc_eval_files_compare(
    const struct pc_command *self, const struct pc_eval_values *v, const struct pc_strings *dirs);

#endif
