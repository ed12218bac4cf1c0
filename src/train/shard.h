// SPDX-License-Identifier: Apache-2.0
/* Who does what when several ranks train one model: pure arithmetic, no messages.
 *
 * The flat space of parameters (train/params.h) is cut into groups, one for each part of the model that is
 * computed at once (the embedding, each layer, the end), and a group into chunks of PC_PARAM_CHUNK elements.
 * In every group each rank owns a run of chunks, as many as the others or one more. So when backward is done
 * with a layer, its gradients go to all owners evenly, and what is done chunk by chunk (norms, updates) does
 * not notice who does it. A chunk that straddles two parts belongs to the one that comes first in the space:
 * its gradient is complete last.
 *
 * With --zero 1 a rank keeps the optimiser's states of what it owns; with 2 the sums of gradients too, with 3
 * the weights too. What it keeps lies together, group after group: pc_shard_local says where.
 *
 * Examples of a step are dealt in runs. In F32 a step's examples fill PC_SLOTS slots whose sums join in a
 * fixed tree (docs/design/distributed.md), and a rank takes a whole number of slots that form a branch of the
 * tree: hence 1, 2 or 4 ranks. */
#ifndef PC_TRAIN_SHARD_H
#define PC_TRAIN_SHARD_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PC_SLOTS = 4 };

struct pc_shard {
    int rank, size;
    uint64_t n_flat, n_chunks;
    size_t n_groups;
    uint64_t *group; /* (n_groups + 1) the first chunk of each, and the end */
    uint64_t *local; /* (n_groups + 1) of own elements before each group */
};

/** Cut n_flat elements, whose part i begins at begin[i] (ascending, begin[0] = 0), for rank of size. Release
 * with pc_shard_release. PACO_EMEM. */
int pc_shard_init(struct pc_shard *s, uint64_t n_flat, const uint64_t *begin, size_t n_groups, int rank,
    int size, struct paco_error *err);
void pc_shard_release(struct pc_shard *s);

/** Elements [*first, *end) of group i_group are rank's. */
void pc_shard_range(const struct pc_shard *s, size_t i_group, int rank, uint64_t *first, uint64_t *end);

/** All ranks' ranges of a group, (size + 1), for base/collect.h. */
void pc_shard_bounds(const struct pc_shard *s, size_t i_group, int64_t *bounds);

/** The group of a chunk. */
size_t pc_shard_group_of(const struct pc_shard *s, uint64_t i_chunk);

/** Whether this rank owns a chunk; if so, *local (unless NULL) is where its first element is among the own.
 */
bool pc_shard_owns(const struct pc_shard *s, uint64_t i_chunk, uint64_t *local);

/** Elements rank owns, in all groups; and those of the rank that has most. */
uint64_t pc_shard_n_own(const struct pc_shard *s, int rank);
uint64_t pc_shard_most_own(const struct pc_shard *s);

/** Slots [*first, *end) are rank's. PACO_EINVAL, saying what to do, when size does not divide PC_SLOTS. */
int pc_shard_slots(int rank, int size, int *first, int *end, struct paco_error *err);

/** Places [*first, *end) of a step of n examples are slot i's of n_slots: as even as can be, the longer ones
 *  first. */
void pc_shard_slot(uint64_t n, int n_slots, int i, uint64_t *first, uint64_t *end);

/** Deal n examples of so many rows each to size ranks, in runs of about equal rows: bounds (size + 1). */
void pc_shard_deal(const uint32_t *n_rows, uint64_t n, int size, uint64_t *bounds);

/** Elements that are in memory at once, on the rank that has most, of an array of which a rank keeps what it
 * owns and the rest passes by group by group: one in use, two on their way. */
uint64_t pc_shard_n_passing(const struct pc_shard *s);

#endif
