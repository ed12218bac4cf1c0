// SPDX-License-Identifier: Apache-2.0
/* How many updates there are, and the learning rate of each. */
#ifndef PC_TRAIN_SCHEDULE_H
#define PC_TRAIN_SCHEDULE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum pc_schedule_type {
    PC_SCHEDULE_LINEAR,
    PC_SCHEDULE_COSINE,
    PC_SCHEDULE_COSINE_WITH_RESTARTS,
    PC_SCHEDULE_POLYNOMIAL,
    PC_SCHEDULE_CONSTANT,
    PC_SCHEDULE_CONSTANT_WITH_WARMUP,
    PC_N_SCHEDULES
};

/** Upstream's names of them, "linear|cosine|...", as --lr_scheduler_type takes them. */
#define PC_SCHEDULE_NAMES "linear|cosine|cosine_with_restarts|polynomial|constant|constant_with_warmup"
/** The type called name; false if there is none. */
bool pc_schedule_parse(const char *name, enum pc_schedule_type *out);

/** The course of a training run: examples are dealt into micro-batches, those into updates, epoch by epoch;
 * an epoch's last micro-batch and last update may be short. */
struct pc_course {
    uint64_t n_examples;   /* or packs of them, as in all of this */
    uint64_t batch;        /* examples of a micro-batch, on all ranks together */
    uint64_t accumulation; /* micro-batches of an update */
    uint64_t updates_per_epoch;
    uint64_t n_updates; /* in all */
    uint64_t n_epochs;  /* begun by then */
};

/** Plan a run of n_epochs epochs, or, when max_updates is not 0, of that many updates. All others at least 1.
 *  PACO_ELIMIT when that is more than 2^53 updates. */
int pc_course_plan(uint64_t n_examples, uint64_t batch, uint64_t accumulation, uint64_t n_epochs,
    uint64_t max_updates, struct pc_course *out, struct paco_error *err);

/** The examples of update k: places [*first, *first + *n) of epoch *epoch's order. */
void pc_course_update(const struct pc_course *c, uint64_t k, uint64_t *epoch, uint64_t *first, uint64_t *n);

struct pc_schedule {
    enum pc_schedule_type type;
    double rate;            /* --learning_rate */
    uint64_t total, warmup; /* ticks */
    uint64_t ticks;         /* per update: 1, or upstream's processes */
};

/** A schedule of n_ticks, of which warmup_ratio, rounded down, warm up; per_update of them pass with each
 *  update. As many ticks as updates, and one for each, is right. PACO_EINVAL for a polynomial whose rate is
 * not above 1e-7, where it ends. */
int pc_schedule_make(enum pc_schedule_type type, double rate, double warmup_ratio, uint64_t n_ticks,
    uint64_t per_update, struct pc_schedule *out, struct paco_error *err);

/** What upstream takes for n_ticks with n_ranks processes of rank_batch examples each: it plans before the
 *  examples are dealt to processes, and then ticks n_ranks times for each update. */
uint64_t pc_schedule_upstream_ticks(uint64_t n_examples, uint64_t rank_batch, uint64_t accumulation,
    uint64_t n_epochs, uint64_t max_updates, uint64_t n_ranks);

/** The learning rate of update k, from 0. Warming up, the first one's is 0, as in Transformers.
 *  Source: Transformers 4.28.1 optimization.py. */
double pc_schedule_rate(const struct pc_schedule *s, uint64_t k);

#endif
