// SPDX-License-Identifier: Apache-2.0
/* A training run on disk: folders that hold all it needs to go on, whole or not at all.
 * docs/formats/training.md.
 *
 *     pc_train_state_save(trainer, &where, dir, &err);       dir: OUT/step_200
 *     pc_train_state_find(out_dir, &found, &err);            newest first
 *     pc_train_state_load(trainer, found.v[0], ..., &err);
 *
 * A folder is written by the writer of models (weights/write.h): the weights in F32 under their own names and
 * the optimiser's states beside them, one SHA-256 for each, so that it is also a model that can be run; and
 * paco-training.json, which says which step it is and of which run. Order of examples, rounding and dropout
 * follow from the seed and the step. What a state belongs to is its identity, an object whose members are
 * compared by name. */
#ifndef PC_TRAIN_STATE_H
#define PC_TRAIN_STATE_H

#include "base/json.h"
#include "train/loop.h"
#include "weights/write.h"

#define PC_TRAIN_STATE_NAME "paco-training.json"
enum { PC_TRAIN_STATE_FORMAT = 1 };

/** How states are written. All *borrowed*. */
struct pc_train_saving {
    const json_t *identity;
    const char *files_from, *tokenizer_from, *file_name; /* as pc_write_options */
    const struct pc_write_file *files;
    size_t n_files;
    uint64_t beside; /* bytes of the files beside the weights, about */
    const struct pc_progress *progress;
    struct pc_notes *notes;
};

/** Write dir. One that is there already, with the same step and identity, is left as it is. */
int pc_train_state_save(const struct pc_trainer *t, const struct pc_train_saving *saving, const char *dir,
    struct paco_error *err);

/** Bytes a state takes on disk, at most. beside: pc_train_saving's. */
uint64_t pc_train_state_size(const struct pc_params *params, enum pc_optim_states states, uint64_t beside);

/** Bytes of disk that saving one takes while it goes on: that, and what ranks put together first. */
uint64_t pc_train_saving_size(const struct pc_trainer *t, uint64_t beside);

/** The states in out_dir. */
struct pc_train_states {
    struct pc_train_state {
        char *dir;     /* owned */
        uint64_t step; /* 0: of a damaged one, which only loading it explains */
    } * v;             /* latest first */
    size_t n, capacity;
};
/** Whether it is what a state's folder is called: "step_17", "epoch_3". */
bool pc_train_state_is_name(const char *name);
int pc_train_states_find(const char *out_dir, struct pc_train_states *out, struct paco_error *err);
void pc_train_states_release(struct pc_train_states *s);

/** Let t go on from dir. identity is what this run would write there. Of ranks all call this, and rank 0
 *  alone looks at dir (the others' may be NULL): it deals out what it reads, and its errors are everyone's.
 *
 *  PACO_EMISMATCH names the members that differ, and how; PACO_EUNSUPPORTED is another format; PACO_EVERIFY
 *  and PACO_EFORMAT a damaged folder: t is then no good but for another load. */
int pc_train_state_load(
    struct pc_trainer *t, const char *dir, const json_t *identity, struct paco_error *err);

/** Which step dir is: its paco-training.json alone, held against identity (NULL: not compared). */
int pc_train_state_peek(const char *dir, const json_t *identity, uint64_t *step, struct paco_error *err);

/** Append the members of identities that differ, "NAME (was A, is B)", with a_says and b_says for " (was "
 * and
 * ", is "; of digests the name alone. */
void pc_train_differences(
    const json_t *a, const json_t *b, const char *a_says, const char *b_says, struct pc_buf *out);

/** Remove dir so that no half of it is ever taken for a state. */
int pc_train_state_remove(const char *dir, struct paco_error *err);

#endif
