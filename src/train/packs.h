// SPDX-License-Identifier: Apache-2.0
/* Short examples that share a place in a batch (--packing).
 *
 * A pack is one or more whole examples of so many tokens together at most as one example may have. It counts
 * as one example does without packing: micro-batches, steps and ranks deal in packs. Nothing else changes.
 * Examples of a pack do not see each other, each has positions from 0 and a weight for every trained
 * token of its own: a step of some packs is a step of their examples.
 *
 * Packs are made once, in an order drawn by the seed, and each epoch draws an order of packs; so every epoch
 * has the same number of steps, and who goes on from a checkpoint has the same packs. Each example in turn
 * goes to the pack that it leaves the least room in, of equals to the one that was added to last, and
 * begins a pack where none has room: best fit, which takes at most 1.7 times as many packs as there must be
 * (Johnson et al. 1974), and on Alpaca's lengths fills 97 % of them. Where examples are not shuffled only the
 * latest pack is added to, so that their order is the file's. */
#ifndef PC_TRAIN_PACKS_H
#define PC_TRAIN_PACKS_H

#include "train/examples.h"

/** `{0}` is none. Not changed once made. */
struct pc_packs {
    size_t n, n_examples;
    uint32_t *example; /* (n_examples) pack after pack, and in each as they came */
    uint32_t *at;      /* (n + 1) where each pack begins there */
    uint32_t most;     /* examples of the pack that has most */
    uint32_t room;     /* tokens a pack may have */
};

/** Pack all of set, max_rows tokens at most together, by seed. set->longest is at most max_rows, set->n at
 *  least 1. Release whatever happened. PACO_EMEM. */
int pc_packs_make(const struct pc_examples *set, uint32_t max_rows, uint64_t seed, bool shuffle,
    struct pc_packs *out, struct paco_error *err);
void pc_packs_release(struct pc_packs *packs);

/** The order in which epoch i_epoch sees them: examples into order (n_examples), pack after pack, where each
 *  begins into at (n + 1). As pc_examples_order. */
void pc_packs_order(const struct pc_packs *packs, uint64_t seed, uint64_t i_epoch, bool shuffle,
    uint32_t *order, uint32_t *at);

#endif
