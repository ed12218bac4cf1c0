// SPDX-License-Identifier: Apache-2.0
/* AlpacaFarm's instructions with the baseline's answers, and files of other answers to them, in both layouts
 * that are about: AlpacaFarm's rows have `instruction` and `input`; AlpacaEval's have the two joined by a
 * blank line. Answers are looked up by the joined form, so files of either kind fit together. */
#ifndef PC_EVAL_ALPACA_DATA_H
#define PC_EVAL_ALPACA_DATA_H

#include "base/map.h"
#include "eval/eval_data.h"

/** A row: an instruction and somebody's answer. Texts are views into the list. */
struct pc_alpaca_row {
    struct pc_text instruction, input, output; /* input.len may be 0 */
    const char *generator, *dataset;           /* NULL when not said */
    const json_t *json;
    char *key; /* owned: the joined form */
};

/** `{0}` is valid and empty. */
struct pc_alpaca_list {
    struct pc_alpaca_row *v;
    size_t n;
    bool has_inputs; /* rows have `input`, if only empty */
    json_t *root;
    struct pc_map by_key;
    char *path;
};

/** The instructions and text-davinci-003's answers below env->data_dir. */
int pc_alpaca_read_baseline(
    const struct pc_task_env *env, struct pc_alpaca_list *out, struct paco_error *err);

/** A file of rows: a list of objects with instruction and, under output_name, an answer. Of two rows with the
 * same instruction the first counts. Errors name the row. */
int pc_alpaca_read(const struct pc_task_env *env, const char *path, const char *output_name,
    struct pc_alpaca_list *out, struct paco_error *err);
void pc_alpaca_release(struct pc_alpaca_list *list);

/** The row of list that answers the same instruction as row, or NULL. */
const struct pc_alpaca_row *pc_alpaca_find(
    const struct pc_alpaca_list *list, const struct pc_alpaca_row *row);

/** Upstream's name of the file of a model's answers, "<base>-greedy-long-output.json", into out. Returns out.
 */
char *pc_alpaca_outputs_name(const char *model_name, char out[256]);

/** Code points in UTF-8 text, which is how AlpacaEval measures lengths. */
size_t pc_alpaca_length(struct pc_text text);

#endif
