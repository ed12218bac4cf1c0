// SPDX-License-Identifier: Apache-2.0
/* A training run in its directory: what is there already, steps, the log, checkpoints, and the model at the
 * end.
 *
 *     OUT/train_log.jsonl          a line for each step
 *     OUT/step_200, OUT/epoch_0    states of the run (train/state.h)
 *     OUT/config.json, ...         the model, when the run is done
 *
 * Of ranks, rank 0 alone looks into the directory, and tells the others.
 *
 * Whatever ends the run, going on from the latest state gives the files it would have given without the
 * interruption (but for the seconds in the log). */
#ifndef PC_TRAIN_TRAINING_RUN_H
#define PC_TRAIN_TRAINING_RUN_H

#include "train/log.h"
#include "train/state.h"

enum { PC_TRAINING_LATEST = 512 };

struct pc_training_options {
    const char *out_dir;
    const char *inputs[3];   /* folders that training begins with, or NULL: the base, a diff, an adapter */
    uint64_t save_every;     /* steps between states; 0: only when the run is interrupted */
    bool save_epochs;        /* one at the end of each epoch, called epoch_I */
    uint64_t keep;           /* states kept, the latest; 0: all */
    bool resume;             /* go on from the latest state; from the beginning where there is none */
    const char *resume_from; /* go on from this one; implies resume */
    bool force;              /* forget what an earlier run left in out_dir */
    struct pc_train_saving saving; /* its progress is that of the steps */
    uint64_t model_size;           /* bytes of what is written at the end: held from the beginning */
    uint64_t (*peak_memory)(void); /* bytes, for the log */
    /** The state that is there to go on from, of all ranks the same, is written here as it changes; or NULL.
     */
    char *latest; /* (PC_TRAINING_LATEST) */
    /** Before the first step, and after each: may be NULL. step: where the run goes on, 0 where it begins;
     * out_dir is there and locked. What they return below 0 on any rank ends the run of all, as what a step
     * does. */
    int (*on_begin)(void *ctx, uint64_t step, struct paco_error *err);
    int (*on_step)(void *ctx, const struct pc_train_report *report, struct paco_error *err);
    void *ctx;
};

struct pc_training_result {
    uint64_t first_step;         /* where it went on, 0: at the beginning */
    struct pc_train_report last; /* the last step's, of this process */
    uint64_t n_tokens;           /* of this process */
    double seconds, loss;        /* training; the mean loss of the last epoch's steps, by the log too */
    char saved[512];             /* the state that an interruption left, or empty */
};

/** Look at out_dir and refuse what would be overwritten, before anything else is done: PACO_EEXIST names what
 * is there. With force, and only then, an earlier run's files are removed by pc_training_run. Only a run is
 * gone on with. PACO_EINVAL when out_dir is, or holds, one of the inputs. */
int pc_training_check(const struct pc_training_options *options, struct paco_error *err);

/** Whether out_dir holds the finished model of this very run. */
bool pc_training_is_done(const struct pc_training_options *options, uint64_t n_updates);

/** Train to the end. PACO_ECANCELLED after progress said so, PACO_EVERIFY after a step whose loss or gradient
 *  is not finite: both save the state before that step first, and message and result->saved tell where. */
int pc_training_run(struct pc_trainer *t, const struct pc_training_options *options,
    struct pc_training_result *result, struct paco_error *err);

/** Write ck as the run's model into out_dir, whole: into out_dir/final first, then every file gets its place,
 *  config.json (of an adapter adapter_config.json) last. rc and *err: what was met while ck was made. When
 *  either failed, the state is saved. Of ranks all call this, rank 0's ck is written, and errors are
 *  everyone's. */
int pc_training_finish(struct pc_trainer *t, const struct pc_training_options *options,
    const struct pc_checkpoint *ck, int rc, struct pc_write_result *written, struct paco_error *err);

#endif
