// SPDX-License-Identifier: Apache-2.0
/* Beginnings that were computed before: their keys and values are shared, not computed again.
 *
 *     pc_seq_new(engine, n_max, &seq, &err);
 *     int32_t n = pc_prefix_attach(seq, NULL, ids, n_ids);    positions [0, n) of seq are there now
 *     ... the rest is computed as always ...
 *     pc_prefix_keep(seq, ids, n_ids);                   for those who come after
 *
 * What is kept are whole blocks of 32 positions, in a tree: a block is found by the block before it and its
 * own 32 ids, all of which are compared, the first ones also by the variant they were computed with:
 * another's keys and values are never found. The last block attached may agree only in its first ids; the
 * sequence gets a copy of it when it goes on from there. The logits that follow are the same bytes as without
 * a cache, since a row's keys and values are, however they were computed.
 *
 * The engine's option prefix_size says how many bytes may be held; beyond it the blocks longest unused go
 * first, the ends of beginnings before what they began with. Nothing here allocates or fails. */
#ifndef PC_ENGINE_PREFIX_H
#define PC_ENGINE_PREFIX_H

#include "engine/engine.h"

/** Let seq, which is emptied first, begin with as many positions of the n ids as are known of the variant: at
 *  most n, and its capacity. Returns how many; 0 when the engine keeps nothing. */
int32_t pc_prefix_attach(struct pc_seq *seq, const struct pc_variant *variant, const int32_t *ids, size_t n);

/** How many positions pc_prefix_attach would find of n ids, capacity aside; nothing is used or counted. */
int32_t pc_prefix_find(
    const struct pc_engine *engine, const struct pc_variant *variant, const int32_t *ids, size_t n);

/** Keep the whole blocks of seq's first n positions, whose tokens ids are, for its variant. n beyond its
 * length is cut. */
void pc_prefix_keep(struct pc_seq *seq, const int32_t *ids, size_t n);

/** What the cache has done since the engine was opened. */
struct pc_prefix_stats {
    uint64_t n_asked, n_attached;  /* positions */
    uint64_t n_blocks, max_blocks; /* held, and at most */
    uint64_t n_evicted;            /* blocks */
};
struct pc_prefix_stats pc_prefix_stats(const struct pc_engine *engine);

#endif
