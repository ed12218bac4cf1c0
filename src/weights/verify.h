// SPDX-License-Identifier: Apache-2.0
/* Is this the same model? Tensor by tensor against another model, or against the manifest written with it.
 *
 * Two values are equal when they compare equal as numbers in F32 (so +0 equals -0), or are both NaN. Tensors
 * of different types are compared by value; of one type bit patterns count too, and "identical" means all of
 * them. */
#ifndef PC_WEIGHTS_VERIFY_H
#define PC_WEIGHTS_VERIFY_H

#include "base/progress.h"
#include "base/threads.h"
#include "format/checkpoint.h"
#include "weights/manifest_read.h"
#include "weights/scan.h"

enum pc_verdict {
    PC_SAME,        /* the same bits (or digest) */
    PC_EQUAL,       /* equal values in other bits: signed zeros, NaN payloads, another type */
    PC_UNDEFINED,   /* differs only in rows the recipe leaves undefined */
    PC_TIED,        /* lm_head on one side only, equal to the other side's embedding */
    PC_BUFFER,      /* rotary inv_freq on one side only: computed, not trained */
    PC_DIFFERENT,   /* at least one value differs */
    PC_OTHER_SHAPE, /* nothing to compare */
    PC_OTHER_TYPE,  /* against a manifest: another dtype, so no digest to compare */
    PC_ONLY_HERE,   /* the other side lacks it */
    PC_ONLY_THERE,  /* this side lacks it */
};

/** Whether a verdict stands for the same model; strict also counts undefined rows and one-sided buffers as
 * differences. */
bool pc_verdict_passes(enum pc_verdict v, bool strict);
/** "same", "equal", "undefined rows", ... Static storage. */
const char *pc_verdict_name(enum pc_verdict v);

/** What was found for one tensor. */
struct pc_comparison {
    const char *name;              /* view into whichever side has it */
    const struct pc_tensor *a, *b; /* NULL where a side lacks it; b is NULL against a manifest */
    enum pc_verdict verdict;
    uint64_t n_elements, n_values; /* compared; of which others outside undefined rows */
    bool other_bits;               /* same type, not the same bytes */
    double max_abs;                /* largest |a - b| over values both finite, undefined rows left out */
    uint64_t first_row, first_col; /* of the first other value outside undefined rows */
    float first_a, first_b;
    uint64_t n_undefined_values; /* other values inside undefined rows */
    double max_abs_undefined;
    uint64_t n_nonfinite; /* other values of which one side is NaN or infinite */
};

struct pc_comparisons {
    struct pc_comparison *v; /* owned: pc_comparisons_release; in a's order, then those only b has */
    size_t n;
};
void pc_comparisons_release(struct pc_comparisons *c);

/** Compare a with b. rows (may be NULL) holds the undefined rows. Largest tensors first over pool's workers;
 * memory is a few MB per worker. Errors come from reading. */
int pc_compare(const struct pc_checkpoint *a, const struct pc_checkpoint *b, const struct pc_row_ranges *rows,
    struct pc_pool *pool, const struct pc_progress *progress, struct pc_comparisons *out,
    struct paco_error *err);

/** Compare a's names, types, shapes and digests (scans, by index) with a manifest. */
int pc_compare_manifest(const struct pc_checkpoint *a, const struct pc_scan *scans,
    const struct pc_manifest *m, struct pc_comparisons *out, struct paco_error *err);

/** The sum Stanford Alpaca's recover checks: all weights, and inv_freq of every layer whether stored or not
 * (computed from theta 10000 and head_dim when not). In double, so it agrees with theirs within some tenths,
 * not to the last digit. */
double pc_stanford_sum(const struct pc_checkpoint *ck, const struct pc_scan *scans, int head_dim);

#define PC_STANFORD_SUM 50637.1836 /* Alpaca-7B as recovered by its authors; theirs allows 0.01 */
#define PC_STANFORD_TOLERANCE 0.5  /* for a sum in another order */

#endif
