// SPDX-License-Identifier: Apache-2.0
/* The options of `paco eval`: upstream's by their names, and paco's own. */
#ifndef PC_CLI_EVAL_OPTIONS_H
#define PC_CLI_EVAL_OPTIONS_H

#include "cli/model_args.h"
#include "eval/flags.h"

struct pc_eval_values {
    struct pc_model_args model;
    const char *data, *out, *bos, *api, *api_key_env, *openai_engine, *tokenizer;
    const char *annotations, *outputs, *judge, *judge_api, *judge_model, *judge_key_env;
    int64_t batch, judges;
    bool list, report, compare, force, json, gptq, api_chat;
    bool no_cot, no_context, use_chat_format, no_chat_format;
    struct pc_strings tasks, fixes;
    struct pc_task_flags flags;
};
extern const struct pc_option pc_eval_rows[];

/** What holds before parsing. */
struct pc_eval_values pc_eval_values_default(void);

/** argv with "--subjects A B" spelt "--subjects A --subjects B", as the parser wants it, for the options that
 * take several words in upstream's scripts; a task's name ends such a list. *owned*: pc_free. NULL when
 * memory is out. */
char **pc_eval_expand(int argc, char **argv, int *n);

/** Settle flags from the values after parsing. PACO_EINVAL. */
int pc_eval_settle(struct pc_eval_values *v, struct paco_error *err);

#endif
