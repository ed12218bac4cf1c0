// SPDX-License-Identifier: Apache-2.0
/* Whether a base and what is to be joined with it belong together: what recover and diff check before they
 * write. */
#ifndef PC_WEIGHTS_PAIR_H
#define PC_WEIGHTS_PAIR_H

#include "algebra/combine.h"
#include "base/notes.h"
#include "weights/source.h"
#include "weights/write.h"

/** Open both, unless they are one and the same place. role_*: "base", "diff", "tuned model", for messages.
 * What was opened is *owned* by the caller also after a failure. */
int pc_pair_open(const char *name_a, const char *role_a, const char *name_b, const char *role_b,
    struct pc_source *a, struct pc_source *b, struct paco_error *err);

/** src as an input of pc_write_checkpoint: a GGUF file counts as it is stored. */
struct pc_write_input pc_pair_input(const char *role, const struct pc_source *src);

/** Whether input and output embedding are one: the configuration says so, or without one there is no
 * lm_head.weight. */
bool pc_pair_tied(const struct pc_source *src);

/** After a PACO_EMISMATCH from combining: add to the message what the two look like ("the base looks like
 * LLaMA-13B ..."). */
void pc_pair_explain(const struct pc_checkpoint *base, const char *role_base,
    const struct pc_checkpoint *lead, const char *role_lead, struct paco_error *err);

/** base + diff, both open, after seeing that they belong together: a model's weights, read by rows. *owned*,
 * and closed before both. Errors, PACO_EMISMATCH among them, are those of the checks below. */
int pc_pair_sum(const struct pc_source *base, const struct pc_source *diff, struct pc_checkpoint **out,
    struct paco_error *err);

/** Tensors that the base has and lead lacks, rotary buffers and a tied head aside: those of every LLaMA are
 * PACO_EMISMATCH (lead is incomplete, or the base another model), others are remarked on. */
int pc_pair_check_missing(const struct pc_checkpoint *base, const struct pc_checkpoint *lead,
    const char *role_lead, bool tied, struct pc_notes *notes, struct paco_error *err);

/** What the weights themselves look like: a diff that is really a tuned model, a base that is really a diff,
 * and the two exchanged are PACO_EMISMATCH. Values that merely look unusual are remarked on. */
int pc_pair_check_diff(const struct pc_source *base, const struct pc_source *diff, struct pc_notes *notes,
    struct paco_error *err);
/** The same for a tuned model: neither may be a diff. */
int pc_pair_check_tuned(const struct pc_source *base, const struct pc_source *tuned, struct pc_notes *notes,
    struct paco_error *err);

#endif
