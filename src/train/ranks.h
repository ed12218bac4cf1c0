// SPDX-License-Identifier: Apache-2.0
/* Several ranks that train one model: what they tell each other in a step. docs/design/distributed.md.
 *
 *     pc_ranks_new(&ranks, collect, params, zero, &err);
 *     ...                                          each computes the gradients of its examples
 *     pc_ranks_ready(ranks, i_layer);              as backward goes: gradients from this layer on are
 * complete pc_ranks_add(ranks, g, &err);                the rest of them; the own pieces of g are everyone's
 * sum now pc_optimizer_squares(..); pc_ranks_squares(ranks, optimizer->partial, &err);
 *     pc_optimizer_update(..);                     of the own pieces
 *     pc_ranks_spread(ranks, w, &err);             everyone's pieces of the weights
 *
 * With --zero 0 every rank keeps all states: it is told the whole sum, and updates everything itself.
 * Functions that return int must be called by all ranks alike; an error of one of them is to end the job
 * (pc_comm_abort). */
#ifndef PC_TRAIN_RANKS_H
#define PC_TRAIN_RANKS_H

#include "base/collect.h"
#include "train/params.h"
#include "train/shard.h"

enum { PC_AWAY, PC_COMING, PC_HERE };

struct pc_ranks {
    struct pc_collect *collect;
    struct pc_shard shard;
    int rank, size, zero;
    int32_t n_layers;
    size_t *group_of_layer; /* (n_layers) */
    size_t group_of_end;    /* what comes after the layers */

    float *g;           /* being added, or NULL */
    size_t n_waiting;   /* groups [0, n_waiting) have not begun */
    size_t n_forgotten; /* with --zero 2, groups from here on are zeros again where others own */
    int rc;             /* of what began meanwhile, and err */
    struct paco_error err;
    int64_t *ticket; /* (groups) */

    bool is_tied;         /* the embedding is used behind the layers, too */
    unsigned char *where; /* (groups) of the weights, with --zero 3: PC_AWAY ... */
    int64_t *gather;      /* (groups) tickets */
    int weights_rc;       /* of what failed meanwhile */
    int64_t *bounds;      /* (size + 1) */
    double *packed;       /* (chunks) */
};

/** params is allocated, all *borrowed*. *owned*: pc_ranks_free. PACO_EINVAL for a zero not in [0, 3]. */
int pc_ranks_new(struct pc_ranks **out, struct pc_collect *collect, const struct pc_params *params, int zero,
    struct paco_error *err);
void pc_ranks_free(struct pc_ranks *r);

/** The shard an optimiser keeps states of, or NULL: of everything. */
const struct pc_shard *pc_ranks_shard(const struct pc_ranks *r);

/** The backward whose gradients complete g begins: pc_ranks_ready may be called. */
void pc_ranks_begin(struct pc_ranks *r, float *g);
/** Gradients of layer i_layer and all behind it are complete (n_layers: of what is behind the layers); their
 *  sums begin. What fails is told by pc_ranks_add. */
void pc_ranks_ready(struct pc_ranks *r, int32_t i_layer);
/** g becomes the sum of all ranks': with zero 0 all of it, else its own pieces, and zeros elsewhere. */
int pc_ranks_add(struct pc_ranks *r, float *g, struct paco_error *err);

/** Zeros in all of g, by giving its memory back to the system. */
void pc_ranks_clear(const struct pc_ranks *r, float *g);

/** partial (chunks): the own ones, to which the others' are added. */
int pc_ranks_squares(struct pc_ranks *r, double *partial, struct paco_error *err);

/** With --zero 3: the weights of part (train/pass.h) are about to be used, and have been. What fails is told
 * by pc_ranks_spread. Else nothing. */
void pc_ranks_need(struct pc_ranks *r, float *w, int32_t part, bool back);
void pc_ranks_done(struct pc_ranks *r, float *w, int32_t part);
/** With --zero 3: give back what others own of w's elements [first, end). */
void pc_ranks_give_back(const struct pc_ranks *r, float *w, uint64_t first, uint64_t end);
/** What a pass of other ranks asks of this one, which has none: the same calls in the same order. */
void pc_ranks_idle(struct pc_ranks *r, float *w);

/** Everyone's own pieces of w, in everyone's; with --zero 3 of those that are always everywhere. */
int pc_ranks_spread(struct pc_ranks *r, float *w, struct paco_error *err);

/** values[bounds[k] .. bounds[k + 1]) are rank k's, in everyone's. */
int pc_ranks_share(struct pc_ranks *r, double *values, const uint64_t *bounds, struct paco_error *err);

/** The largest of what all ranks say. */
int pc_ranks_most(struct pc_ranks *r, int64_t mine, int64_t *most, struct paco_error *err);

/** pc_collect_agree; rc where nobody trains with us. */
int pc_ranks_agree(struct pc_ranks *r, int rc, struct paco_error *err);

#endif
