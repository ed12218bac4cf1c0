// SPDX-License-Identifier: Apache-2.0
/* AdamW (Loshchilov and Hutter 2019) over the flat space of parameters, as torch computes it in F32, and the
 * norm of gradients.
 *
 *     struct pc_optimizer *o;
 *     pc_optimizer_new(params, &options, pool, &o, &err);
 *     pc_optimizer_squares(o, g, pool);
 *     double norm = pc_optimizer_norm_of_squares(o);
 *     pc_optimizer_update(o, g, rate, norm > clip ? clip / norm : 1, pool);   and g is zeros again
 *     pc_optimizer_free(o);
 *
 * With t the number of the update, from 1, and scale what clipping made of it, for every element in one pass
 * over memory:
 *
 *     g = g * scale                        w = w * (1 - rate * decay)
 *     m = m + (1 - b1) (g - m)             v = v * b2 + (1 - b2) g g
 *     w = w - rate / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 *
 * m and v are kept in F32, in BF16, or in 8 bits (docs/math/adamw.md): a floating point number with three
 * bits of mantissa, relative to the largest of its block of PC_PARAM_ALIGN; m has a sign and four bits of
 * exponent, v five. v is rounded up or down at random, keyed by element and update: a running mean that moves
 * by a thousandth would never move in 8 bits otherwise. BF16 weights are rounded so too. Same bytes for any
 * number of threads, and for any chunks that are done by other ranks.
 *
 * Where the gradients of the whole model never exist at once, the update is made a part at a time:
 *
 *     pc_optimizer_squares_begin(o);
 *     pc_optimizer_begin(o, rate, 1);
 *     for each part:  squares += pc_optimizer_squares_part(o, &part, pool);
 *                     pc_optimizer_update_part(o, &part, pool);                 and part.g is zeros again
 *     double norm = pc_optimizer_norm_of_squares(o); */
#ifndef PC_TRAIN_OPTIMIZER_H
#define PC_TRAIN_OPTIMIZER_H

#include "kernels/adamw.h"
#include "train/params.h"
#include "train/shard.h"
#include "train/states_file.h"

#define PC_OPTIM_STATES_NAMES "f32|bf16|8bit"
bool pc_optim_states_parse(const char *name, enum pc_optim_states *out);
/** Its name there; static. */
const char *pc_optim_states_name(enum pc_optim_states states);

struct pc_optimizer_options {
    double beta1, beta2, eps; /* 0.9, 0.999, 1e-8 */
    double weight_decay;
    bool decay_norms; /* upstream means not to, but misses LLaMA's names: --upstream-quirks */
    enum pc_optim_states states;
    uint64_t seed;                /* of the rounding */
    const struct pc_adamw *adamw; /* *borrowed*; NULL: the scalar version */
    /** Where a file for the states is made (train/states_file.h), for updates in parts; NULL: in memory. Not
     * used after pc_optimizer_new. */
    const char *states_dir;
    /** Where several ranks share the states: this one keeps, and updates, what it owns. NULL: everything.
     * *Borrowed*. */
    const struct pc_shard *shard;
};

struct pc_optimizer_options pc_optimizer_options_default(void);

struct pc_optimizer {
    const struct pc_params *params;
    struct pc_optimizer_options options;
    struct pc_adamw adamw;
    uint64_t n_updates;          /* done so far */
    uint64_t n_own;              /* elements whose states are here: n_flat, or the shard's (pc_shard_local) */
    struct pc_optim_moment m, v; /* (n_own), or NULL where there is */
    struct pc_states_file *file; /* which has all states; or NULL */
    double *partial;             /* (chunks) the sum of squares of each */
    struct pc_adamw_rule plain, decayed; /* of the update under way */
    uint64_t key;                        /* of its rounding */
};

/** Elements [first, end) of the flat space, multiples of PC_PARAM_ALIGN; what follows begins with `first`.
 * Without shards. */
struct pc_optim_part {
    uint64_t first, end;
    float *g;
    struct pc_optim_moment m, v;
};

/** States of zeros. params is allocated and *borrowed*. *owned*: pc_optimizer_free. */
int pc_optimizer_new(const struct pc_params *params, const struct pc_optimizer_options *options,
    struct pc_pool *pool, struct pc_optimizer **out, struct paco_error *err);
void pc_optimizer_free(struct pc_optimizer *o);

/** Bytes of the states of n_flat elements. */
uint64_t pc_optimizer_size(uint64_t n_flat, enum pc_optim_states states);

/** The norm of g (n_flat), in two halves, between which ranks tell each other their partial sums: o->partial
 * of the own chunks (the others' become 0), in double over PC_PARAM_CHUNK elements at a time; and the root of
 * the sum of all, in order. Infinite or NaN as soon as an element is. */
void pc_optimizer_squares(struct pc_optimizer *o, const float *g, struct pc_pool *pool);
double pc_optimizer_norm_of_squares(const struct pc_optimizer *o);

/** One update of params' weights with gradients g (n_flat), which become zeros; of the own chunks only. */
void pc_optimizer_update(struct pc_optimizer *o, float *g, double rate, double scale, struct pc_pool *pool);

/** The same in parts, which may come in any order. squares_begin forgets the last norm; squares_part adds the
 * squares of part.g, and returns the sum over the chunks the part touches: infinite or NaN if an element is.
 * begin counts the update. */
void pc_optimizer_squares_begin(struct pc_optimizer *o);
double pc_optimizer_squares_part(
    struct pc_optimizer *o, const struct pc_optim_part *part, struct pc_pool *pool);
void pc_optimizer_begin(struct pc_optimizer *o, double rate, double scale);
void pc_optimizer_update_part(struct pc_optimizer *o, const struct pc_optim_part *part, struct pc_pool *pool);

/** m, or v, from element first on. */
struct pc_optim_moment pc_optimizer_moment_at(
    const struct pc_optimizer *o, const struct pc_optim_moment *moment, uint64_t first);

/** Make size bytes zeros. All of the pool does it: where the system has to find the pages first, that takes
 * long. */
void pc_clear_flat(void *memory, uint64_t size, struct pc_pool *pool);

/** into += from, which becomes zeros, both of n elements: how gradients of slots join. */
void pc_gradients_join(float *into, float *from, uint64_t n, struct pc_pool *pool);

#endif
