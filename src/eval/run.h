// SPDX-License-Identifier: Apache-2.0
/* A task asked of somebody, from its data to its results.
 *
 *     pc_eval_open(&options, &e, &err);           data and flags
 *     pc_eval_look(e, model, &err);               OUT/TASK: with this, all that can be wrong beforehand
 *     if (!pc_eval_is_done(e))
 *         pc_eval_ask(e, answerer, &progress, &err);
 *     const struct pc_eval_result *r = pc_eval_result(e);
 *     pc_eval_close(e);
 *
 * Items are asked in order and journalled as they are judged (base/journal.h), at least once a second: a run
 * that was stopped or killed goes on with the same call, and ends with the same bytes in all files but
 * timing.json. What an item is answered and how it is judged depends on nothing but the item, the model and
 * the flags, and all files are written in item order at the end.
 *
 * An item that cannot be asked or answered is recorded with `error` and counted, and has no part in any mean.
 * Such an item is asked again when the run goes on, or when a finished one is called again. */
#ifndef PC_EVAL_RUN_H
#define PC_EVAL_RUN_H

#include "base/progress.h"
#include "eval/answerer.h"

struct pc_eval;

/** All borrowed until pc_eval_close. */
struct pc_eval_options {
    const struct pc_task *task;
    const struct pc_task_flags *flags;
    const char *data_dir, *out;     /* the results go to OUT/TASK */
    const char *data_file;          /* as struct pc_task_env's; or NULL */
    const struct pc_tokenizer *tok; /* NULL behind an endpoint */
    int bos;                        /* -1 as the task says, else 0 or 1 */
    enum pc_format format;          /* as struct pc_task_env's */
    const char *model_name;         /* for people, and for the names of upstream's files */
    const char *outputs;            /* as struct pc_task_env's; or NULL */
    bool force;                     /* replace what is in OUT/TASK */
    int n_judges;                   /* threads; 0: pc_judges_new's default */
    size_t place, n_tasks;          /* the how-manieth of how many tasks, for progress; n_tasks 0: not said */
    struct pc_notes *notes;
};

struct pc_eval_result {
    const struct pc_task *task;
    double score, se; /* 0 to 100, unrounded; NAN without items */
    size_t n_items, n_failed;
    size_t n_resumed;      /* items an earlier run had answered */
    bool was_done;         /* nothing was asked */
    double seconds;        /* of this run */
    const json_t *results; /* what results.json holds */
};

/** Read the data. Errors: the task's own (missing or broken data, flags that make no sense); PACO_ELIMIT
 * without any item. */
int pc_eval_open(const struct pc_eval_options *options, struct pc_eval **out, struct paco_error *err);

/** Look at OUT/TASK, and pass on what the task remarked on its data unless nothing is left to do. model is an
 * object that holds all that decides what is answered, as hashes of weights and tokenizer; borrowed. Nothing
 * is written but the last step of an attempt that was killed before it. PACO_EEXIST when OUT/TASK is taken by
 * something else. */
int pc_eval_look(struct pc_eval *e, const json_t *model, struct paco_error *err);

/** Hand a and the first question to can, and return what it says: whether a can answer what this task asks.
 */
int pc_eval_can(struct pc_eval *e, const struct pc_answerer *a,
    int (*can)(const struct pc_answerer *a, const struct pc_ask *ask, struct paco_error *err),
    struct paco_error *err);

/** What pc_eval_look begins with: put together all that decides the results. Other ranks, which do not look
 * at OUT, come here alone. */
int pc_eval_identify(struct pc_eval *e, const json_t *model, struct paco_error *err);
/** A view; NULL before. */
const json_t *pc_eval_identity(const struct pc_eval *e);

/** What is being made is dropped; what was journalled stays. NULL is fine. */
void pc_eval_close(struct pc_eval *e);

/** The results are there already, those of the same data, model and flags, and complete. */
bool pc_eval_is_done(const struct pc_eval *e);

/** Ask all that is left and write the results, after pc_eval_look. a is borrowed, and has nothing under way
 * afterwards unless this fails. PACO_ECANCELLED when progress asked to stop: what was answered is journalled
 * then, and the message says how far it came. */
int pc_eval_ask(
    struct pc_eval *e, struct pc_answerer *a, const struct pc_progress *progress, struct paco_error *err);

/** Item i as pc_eval_ask asks it, for another rank to answer (answer_ranks.h). Valid until the next call. */
int pc_eval_question(struct pc_eval *e, size_t i, struct pc_question *out, struct paco_error *err);

/** After pc_eval_ask, or when it is done; a view. */
const struct pc_eval_result *pc_eval_result(const struct pc_eval *e);

#endif
