// SPDX-License-Identifier: Apache-2.0
/* Base + diff, and tuned - base: the two nodes that weight diffs are about. The rules of the published
 * recipes for rows the base lacks, for tied embeddings and for rotary buffers live here, and nowhere else.
 *
 *     struct pc_combine_report rep;
 *     struct pc_checkpoint *tuned;
 *     if (pc_checkpoint_add(base, diff, &opt, &tuned, &rep, &err) < 0) ...
 *
 * The result has the tensors of the *lead* (the diff, or the tuned model), all floats in F32, in the order of
 * Transformers' state dict whatever the files' (algebra/order.h). Each float element is one F32 sum of the
 * two values, both widened exactly. For every tensor of the lead the base must have one of the same name and
 * shape, but:
 *   - the input embedding and lm_head.weight may have fewer rows there, if the options allow it. The missing
 * rows are as `pad_row` says; upstream's is the mean of the base's own rows (algebra/column_mean.h);
 *   - a rotary `inv_freq` buffer that the base lacks is theta^(-2i/d) in F32, as the code of that day filled
 * it in;
 *   - an lm_head.weight that the base lacks, because it ties it, is the base's embedding, as it is in the
 * state dict of a tied model;
 *   - integers (buffers) are added with wrap-around, in their own type, which both sides must share.
 *
 * Tied models: walking a state dict, upstream meets one shared matrix under two names and subtracts, or adds,
 * the base twice. Ours does it once. A diff made upstream's way sits near minus the base, which
 * pc_checkpoint_add sees in a sample of rows: it then adds the base twice, one rounding after the other, as
 * upstream would. */
#ifndef PC_ALGEBRA_COMBINE_H
#define PC_ALGEBRA_COMBINE_H

#include "format/checkpoint.h"

#include <stdbool.h>

/** What stands in the base's place in rows that it lacks. */
enum pc_pad_row {
    PC_PAD_MEAN, /* the mean of its rows: upstream's recover */
    PC_PAD_ZERO, /* the result's row is zero, whatever the diff says */
    PC_PAD_DIFF, /* nothing: the result's row is the diff's */
};

struct pc_combine_options {
    enum pc_pad_row pad_row;
    /** Why embeddings with more rows than the base's are not allowed ("the base's tokenizer has a pad token
     * already"), or NULL: they are. */
    const char *no_growth;
    bool tied;         /* the lead's configuration says that input and output embedding are one */
    bool base_tied;    /* the base's does: a head that only the lead has is held against the embedding */
    double rope_theta; /* for inv_freq; 0 for 10000 */
};

/** Rows that the base does not have. */
struct pc_grown {
    const struct pc_tensor *t; /* of the result */
    uint64_t first, n;
};

struct pc_combine_report {
    struct pc_grown grown[2]; /* embedding, head */
    int n_grown;
    bool head_is_embedding;       /* an untied lead's head met a tied base's embedding */
    bool doubled;                 /* the diff holds the tied embedding minus twice the base */
    uint32_t n_computed_inv_freq; /* the lead has, the base lacks */
};

/** base + diff. base and diff are *borrowed* until *out, which is *owned*, is closed; report may be NULL.
 *  Reads samples of the embedding when tied. PACO_EMISMATCH, before anything else is read, when they do not
 * fit together: the message names the tensor and both shapes, the path its file. */
int pc_checkpoint_add(const struct pc_checkpoint *base, const struct pc_checkpoint *diff,
    const struct pc_combine_options *opt, struct pc_checkpoint **out, struct pc_combine_report *report,
    struct paco_error *err);

/** tuned - base, likewise; the base counts once also when tied. pad_row must be PC_PAD_MEAN. */
int pc_checkpoint_subtract(const struct pc_checkpoint *base, const struct pc_checkpoint *tuned,
    const struct pc_combine_options *opt, struct pc_checkpoint **out, struct pc_combine_report *report,
    struct paco_error *err);

#endif
