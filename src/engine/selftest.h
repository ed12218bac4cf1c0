// SPDX-License-Identifier: Apache-2.0
/* The promise "the same bytes every time", tried out on a model.
 *
 * A prompt is computed and continued greedily in one plain way: one thread, alone, nothing kept. Then again
 * with 1, 2 and 3 threads, in pieces of several lengths, among 7 and 32 sequences of other lengths that are
 * prefilled and continued in the same steps, from a kept beginning, from a fork inside a block, and from a
 * position taken back. Every logit has to be the same bits. */
#ifndef PC_ENGINE_SELFTEST_H
#define PC_ENGINE_SELFTEST_H

#include "base/progress.h"
#include "engine/engine.h"

struct pc_selftest {
    int n_ways;      /* tried */
    uint64_t n_rows; /* of logits that were compared */
    uint64_t digest; /* of the plain way's logits: equal runs have equal ones */
    int n_different; /* ways that gave other bytes */
    char first[128]; /* the first of them: "2 threads, batch of 7, row 3", or "" */
};

/** Try a model out. options says what of the engine is under test (f32, kv_type, scalar ...); threads, rows,
 * logits and what is kept are set here. Returns 0 with *out filled whether or not the bytes agree; errors are
 * those of the engine, and PACO_ECANCELLED. A model's weights are read once for each number of threads. */
int pc_selftest_determinism(const struct pc_checkpoint *weights, const struct pc_config *config,
    const struct pc_engine_options *options, const struct pc_progress *progress, struct pc_selftest *out,
    struct paco_error *err);

#endif
