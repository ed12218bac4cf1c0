// SPDX-License-Identifier: Apache-2.0
/* What a training run left behind for people to look at, read back: by whoever finds the folder, so every
 * byte of it is a stranger's.
 *
 *     struct pc_run_log log;
 *     rc = pc_run_log_read(dir, &log, &err);
 *     for (i = 0; i < log.n; i++) ... log.v[PC_RUN_STEP][i], log.v[PC_RUN_LOSS][i] ...
 *     pc_run_log_release(&log);
 *
 *     DIR/train_log.jsonl   a line for each step
 *     DIR/eval_log.jsonl    a line for each score: the loss on held-out examples, a benchmark's
 *     DIR/samples.jsonl     a line for each answer to one of the prompts that are asked as training goes
 *     DIR/train_run.json    what was trained, on what, how
 *
 * Only the first must be there. Where a run went back to a checkpoint, what it did anew replaces what it had
 * done: a line drops those before it whose step is not below its own (in eval_log.jsonl of the same name, in
 * samples.jsonl of the same prompt). A last line without its end was being written when the run was killed,
 * and is left out. */
#ifndef PC_TRAIN_RUN_LOG_H
#define PC_TRAIN_RUN_LOG_H

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "train/log.h"

#include <stddef.h>
#include <stdint.h>

#define PC_RUN_EVALS_NAME "eval_log.jsonl"
#define PC_RUN_SAMPLES_NAME "samples.jsonl"
#define PC_RUN_ABOUT_NAME "train_run.json"

/** The name in eval_log.jsonl of the mean loss over held-out examples; others are benchmarks'. */
#define PC_RUN_VALIDATION "validation_loss"

enum pc_run_column {
    PC_RUN_STEP,
    PC_RUN_LOSS,
    PC_RUN_RATE,
    PC_RUN_NORM,
    PC_RUN_SPEED,   /* tokens a second */
    PC_RUN_MEMORY,  /* bytes */
    PC_RUN_SECONDS, /* of the step */
    PC_RUN_TOKENS,
    PC_RUN_TRAINED, /* of those */
    PC_RUN_EXAMPLES,
    PC_RUN_TRUNCATED, /* of those */
    PC_RUN_EPOCH,
    PC_RUN_COLUMNS
};

/** A score over steps. */
struct pc_run_series {
    const char *name;             /* a view */
    double *step, *value, *error; /* (n); error: a standard error, or NAN */
    size_t n, capacity[3];
};

/** An answer. */
struct pc_run_sample {
    int64_t step, prompt;                 /* prompt: its number */
    const char *question, *answer, *stop; /* views; stop may be "" */
};

struct pc_run_log {
    double *v[PC_RUN_COLUMNS]; /* (n) each; what a line does not say is NAN */
    size_t n, capacity[PC_RUN_COLUMNS];
    struct pc_run_series *evals;
    size_t n_evals, evals_capacity;
    struct pc_run_sample *samples; /* in the file's order */
    size_t n_samples, samples_capacity;
    json_t *about; /* an object, or NULL */
    struct pc_arena text;
};

/** Read dir. PACO_ENOENT without train_log.jsonl; PACO_EFORMAT for a line that is no JSON object, or has no
 * "step", naming file and line; PACO_ELIMIT beyond 16 million steps, 64 names, 65,536 answers or 256 MiB of
 * text. Release out whatever happened. */
int pc_run_log_read(const char *dir, struct pc_run_log *out, struct paco_error *err);
void pc_run_log_release(struct pc_run_log *log);

#endif
