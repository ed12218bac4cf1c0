// SPDX-License-Identifier: Apache-2.0
/* What an evaluation leaves in OUT/TASK:
 *
 *   items.jsonl    a line per item, in order: key, group, prompt, prompt_sha256, n_prompt_tokens; output or
 *                  probs; what the task's judge added (extraction, correct or score, upstream's own names);
 *                  for an item that failed, error instead
 *   metrics.json   as upstream writes it, and upstream's prediction files
 *   results.json   the score and what led to it: model, data, flags, version
 *   timing.json    how long it took: the only file that differs between two runs of the same
 *
 * docs/internals/eval.md says more of each. */
#ifndef PC_EVAL_RESULTS_H
#define PC_EVAL_RESULTS_H

#include "eval/task.h"

/** What results.json says besides the score; borrowed. */
struct pc_results_about {
    const json_t *identity; /* an object whose members become the file's */
    const char *model_name, *computed_by;
    const struct pc_notes *notes;
};

/** The items of records (an array in item order) into dir, everything synced. *results is *owned*: what
 * results.json holds. */
int pc_results_write(const char *dir, const struct pc_task *task, const struct pc_task_data *data,
    const struct pc_results_about *about, json_t *records, json_t **results, struct paco_error *err);

/** The results that stand in dir, if they are those of a run with this identity: 1 and *results, *owned*; 0
 * when there are none; PACO_EEXIST when they are of something else, saying what differs. */
int pc_results_read(const char *dir, const json_t *identity, json_t **results, struct paco_error *err);

/** The lines of dir/items.jsonl, an *owned* array. */
int pc_results_items(const char *dir, json_t **records, struct paco_error *err);

/** An item's part of the mean: of `score`, or of `correct`, which may be a list; NAN where it has neither. */
double pc_record_score(const json_t *record);

/** Write v to DIR/NAME in a style, and a newline unless the style is one of Python's dumps. */
int pc_results_put(const char *dir, const char *name, const json_t *v, enum pc_json_style style, bool newline,
    struct paco_error *err);

#endif
