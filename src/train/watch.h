// SPDX-License-Identifier: Apache-2.0
/* What a run shows of itself beside its log of steps: scores and answers as training goes, TensorBoard's
 * files, and a page at the end. train/run_log.h reads it back.
 *
 *     pc_watch_open(&options, &w, &err);
 *     if (!pc_watch_has_score(w, "mmlu_0shot"))          of the step the run begins with, or goes on from
 *         pc_watch_score(w, step, &score, &err);
 *     ... after each step: pc_watch_step(w, &report, memory, &err) ...
 *     pc_watch_end(w, finished, &err);                  report.html
 *     pc_watch_close(w);
 *
 * A run that goes on from a checkpoint keeps what was measured up to that step; what was measured behind it
 * is dropped, for it will be measured again. */
#ifndef PC_TRAIN_WATCH_H
#define PC_TRAIN_WATCH_H

#include "base/json.h"
#include "base/notes.h"
#include "train/loop.h"

#include <stdbool.h>

#define PC_WATCH_EVENTS "tensorboard" /* the folder of event files */
#define PC_WATCH_REPORT "report.html"

struct pc_watch;

/** All *borrowed* for the call. */
struct pc_watch_options {
    const char *dir;     /* the run's, which is there */
    uint64_t step;       /* the run goes on from here; 0: it begins, and what another run left is dropped */
    const json_t *about; /* what goes to train_run.json: an object */
    bool events;         /* write TensorBoard's files */
    struct pc_notes *notes; /* *borrowed* until the end */
};

int pc_watch_open(const struct pc_watch_options *options, struct pc_watch **out, struct paco_error *err);
/** NULL is fine. */
void pc_watch_close(struct pc_watch *w);

/** A step is done, and in the log; of it there are no scores or answers yet. */
void pc_watch_step(struct pc_watch *w, const struct pc_train_report *report, uint64_t memory);

struct pc_watch_score {
    const char *name;             /* PC_RUN_VALIDATION, or a benchmark's */
    double value, standard_error; /* NAN: not known */
    uint64_t n;                   /* things it is the mean of: tokens, items */
    double seconds;
};

/** Whether the step the run went on from has a score of this name, or an answer to this prompt, already. */
bool pc_watch_has_score(const struct pc_watch *w, const char *name);
bool pc_watch_has_answer(const struct pc_watch *w, size_t prompt);

int pc_watch_score(
    struct pc_watch *w, uint64_t step, const struct pc_watch_score *score, struct paco_error *err);

struct pc_watch_answer {
    size_t prompt; /* its number */
    const char *question, *answer, *stop;
    int32_t n_tokens;
};

int pc_watch_answer(
    struct pc_watch *w, uint64_t step, const struct pc_watch_answer *answer, struct paco_error *err);

/** Write report.html; finished: the run has come to its end. */
int pc_watch_end(struct pc_watch *w, bool finished, struct paco_error *err);

#endif
