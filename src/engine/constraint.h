// SPDX-License-Identifier: Apache-2.0
/* Answers that must have a form: which tokens a grammar allows next.
 *
 *     pc_spelling_new(tok, n_vocab, &spelling, &err);          once for a vocabulary
 *     pc_constraint_new(spelling, grammar, eos_ids, n_eos, &c, &err);          for each answer
 *     pc_constraint_limit(c, scores, n);          what may not come gets -infinity
 *     pc_constraint_accept(c, id);
 *
 * All tokens are tried in the order of their bytes, so that what two of them begin with is tried once and
 * what does not fit is left out with all that begins like it. In the middle of a string nearly every token
 * fits: those that are whole plain characters are told from how many of these may come (`.{1,200}` and
 * maxLength, too), and are not tried.
 *
 * A token that is part of a character is allowed where its bytes are. Special tokens spell nothing and never
 * are, but those that end an answer, where it may end. */
#ifndef PC_ENGINE_CONSTRAINT_H
#define PC_ENGINE_CONSTRAINT_H

#include "engine/grammar.h"
#include "tokenizer/tokenizer.h"

struct pc_spelling;
struct pc_constraint;

/** The tokens of a vocabulary in the order of their bytes. tok is *borrowed*. Immutable; *owned*:
 * pc_spelling_free, after every constraint. */
int pc_spelling_new(const struct pc_tokenizer *tok, struct pc_spelling **out, struct paco_error *err);
void pc_spelling_free(struct pc_spelling *spelling);

/** end_ids, which are copied, end an answer. *owned*: pc_constraint_free. */
int pc_constraint_new(const struct pc_spelling *spelling, struct pc_grammar *grammar, const int32_t *end_ids,
    size_t n_end_ids, struct pc_constraint **out, struct paco_error *err);
void pc_constraint_free(struct pc_constraint *c);
/** Another answer begins. */
void pc_constraint_reset(struct pc_constraint *c);

/** Whether token id may come next. */
bool pc_constraint_allows(struct pc_constraint *c, int32_t id);

/** Give every token that may not come next a score (n) of -infinity. Allocates nothing. */
void pc_constraint_limit(struct pc_constraint *c, float *score, size_t n);

/** id was chosen. One that was not allowed changes nothing. */
void pc_constraint_accept(struct pc_constraint *c, int32_t id);

#endif
