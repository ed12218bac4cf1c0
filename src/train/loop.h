// SPDX-License-Identifier: Apache-2.0
/* Step after step: the gradients of a step's examples, their norm, one update.
 *
 *     struct pc_trainer *t;
 *     pc_trainer_new(&setup, &options, &t, &err);
 *     while (t->step < t->course.n_updates)
 *         if ((rc = pc_trainer_step(t, progress, &report, &err)) < 0) ...
 *     pc_trainer_free(t);
 *
 * All that a step depends on is the weights, the optimiser's states, the step's number and the options: the
 * order of examples, rounding and dropout are functions of the seed and that number. A run that goes on from
 * a saved state is the run that was never interrupted, byte for byte.
 *
 * In F32 every example is a pass of its own, and a step's gradient is a fixed tree over its examples: they
 * fill PC_TRAIN_SLOTS slots in order, as even as possible; a slot adds its examples' gradients one after the
 * other; slots join as (s0 + s1) + (s2 + s3). So a step is the same bytes however it is cut into
 * micro-batches. In BF16 examples share passes, and one buffer takes all of them. The number of threads
 * changes nothing in either. Where gradients are used up part by part a step is one pass.
 *
 * Where examples are packed (train/packs.h) batches are counted in packs. A step of some packs is the step of
 * their examples: the same weights, the same tree.
 *
 * Ranks share a step's examples: in F32 slot by slot, so that the tree is the same for 1, 2 and 4 of them,
 * else in runs of about as many rows. All of them make the same calls and are told the same. */
#ifndef PC_TRAIN_LOOP_H
#define PC_TRAIN_LOOP_H

#include "train/examples.h"
#include "train/in_backward.h"
#include "train/optimizer.h"
#include "train/packs.h"
#include "train/params.h"
#include "train/pass.h"
#include "train/ranks.h"
#include "train/schedule.h"
#include "train/shard.h"

enum {
    PC_TRAIN_ROWS = 512, /* of examples that share a pass; a longer one is a pass of its own */
};

struct pc_train_options {
    bool bf16;      /* products of BF16 operands; else plain F32 */
    bool recompute; /* pc_pass_options */
    /** Update each part of the model as soon as its gradient is complete (train/in_backward.h): a step is one
     * pass, whose rows are all of its examples'. Without clipping, accumulation, ranks or an adapter; in F32
     * of one example. */
    bool in_backward;
    double dropout; /* of an adapter\'s inputs */
    uint64_t batch; /* examples of a micro-batch, or packs */
    uint64_t accumulation;
    uint64_t n_epochs, max_updates; /* max_updates 0: n_epochs decide */
    double learning_rate, warmup_ratio;
    enum pc_schedule_type schedule;
    double clip; /* largest norm of a gradient; 0: none */
    uint64_t seed;
    bool shuffle;
    /** Upstream's faults: its schedule's ticks, a step's loss as the mean of its micro-batches' means (a
     * short last one weighs what a full one does, a short last group is divided by the full number), and
     * norms that are decayed. With ranks, what upstream does with as many processes: a micro-batch's examples
     * are one of its own for each, and the schedule ticks for each. batch is a multiple of ranks then. */
    bool quirks;
    struct pc_optimizer_options optimizer;
};

/** What is trained, on what, by whom. All *borrowed*. */
struct pc_train_setup {
    const struct pc_params *params;
    struct pc_llama *model;     /* bound, loaded, attached */
    const struct pc_lora *lora; /* bound to params->ck, whose factors are all that is trained; or NULL */
    const struct pc_examples *examples;
    const struct pc_kernels *kernels;
    struct pc_pool *pool;
    struct pc_ranks *ranks;               /* who trains with us; NULL: nobody */
    const struct pc_packs *packs;         /* of examples, that batches are counted in; NULL: examples are */
    const struct pc_examples *validation; /* passes have room for these too (train/validate.h); or NULL */
};

struct pc_trainer {
    struct pc_train_setup setup;
    struct pc_train_options options;
    struct pc_course course;
    struct pc_schedule schedule;
    struct pc_optimizer *optimizer;
    struct pc_pass *pass;
    uint64_t step; /* updates done: where a saved state goes on */

    float *gradient[3];                 /* (n_flat) each; as many as are needed */
    struct pc_in_backward *in_backward; /* instead, or NULL */
    uint64_t n_in_pass;                 /* examples whose losses it is to look at */
    uint32_t *order;                    /* of the examples of epoch order_epoch */
    uint32_t *pack_at;                  /* (packs + 1) where each begins there; NULL without packs */
    uint64_t order_epoch;
    float *weight;    /* of the losses of each example of the step, and */
    double *loss;     /* the sums of those */
    uint32_t *n_rows; /* of each example of the step, or of the pack that begins with it */
    uint64_t *bounds; /* (ranks + 1) whose examples are whose */
};

/** What a step did. */
struct pc_train_report {
    uint64_t step; /* from 1 */
    double epoch;  /* of the examples' order, that are done with; fractions count */
    double loss;   /* nats: the mean over the step's trained tokens, or with quirks over its micro-batches */
    double rate;   /* the learning rate of its update */
    double norm;   /* of the gradient, before clipping */
    uint64_t n_examples, n_tokens, n_trained, n_truncated;
    double seconds;
};

/** Bytes the run will hold beside the model and what it is bound to, by class, before any are asked for. */
struct pc_train_memory {
    uint64_t base;    /* the model's own: weights that are not trained, copies of vectors */
    uint64_t weights; /* trained */
    uint64_t gradients, states, activations, scratch, examples;
    uint64_t measuring; /* what is run of the model between steps; the caller's to fill in */
};
void pc_train_memory(
    const struct pc_train_setup *setup, const struct pc_train_options *options, struct pc_train_memory *out);
uint64_t pc_train_memory_total(const struct pc_train_memory *m);

int pc_trainer_new(const struct pc_train_setup *setup, const struct pc_train_options *options,
    struct pc_trainer **out, struct paco_error *err);
void pc_trainer_free(struct pc_trainer *t);

/** One step. PACO_ECANCELLED when progress says so (several ranks look between steps, and any of them can):
 *  nothing has changed. PACO_EVERIFY when loss or norm are
 *  not finite: the weights are those before the step, and report tells what was found; or, when
 *  pc_trainer_is_torn says so, of no step any more. */
/** Whether a step ended when some of the weights had been updated: they must not be saved. */
bool pc_trainer_is_torn(const struct pc_trainer *t);
int pc_trainer_step(struct pc_trainer *t, const struct pc_progress *progress, struct pc_train_report *report,
    struct paco_error *err);

#endif
