// SPDX-License-Identifier: Apache-2.0
/* Guessing the next tokens from what was said before: prompt lookup.
 *
 * Answers quote. Where the last tokens occurred earlier, in the prompt or the answer, what followed them
 * there is likely to follow now, and computing several tokens in one step costs little more than one, whose
 * price is reading the weights. So a guess is put into the step behind the token it follows, and the sampler
 * looks at the rows in order for as long as it chooses what was guessed. The engine's logits are the same
 * bytes in any batch and the sampler draws one number for each token it chooses, so the tokens are those that
 * would have come without guessing, sampled or not; guesses change only when they come.
 *
 *     struct pc_speculator *s;
 *     pc_speculator_new(4096, 0, &s, &err);
 *     pc_speculator_begin(s, prompt, n_prompt);
 *     for (;;) {
 *         pc_speculator_add(s, id);                      // each token chosen
 *         n = pc_speculator_draft(s, room, draft);       // before a step
 *         ... a step of 1 + n rows ...
 *         pc_speculator_measured(s, 1 + n, seconds);
 *     }
 *     pc_speculator_free(s);
 *
 * Whether and how far to guess is decided by what was measured. What a step of r rows costs against one of
 * one row is timed. How often a guess is right is learnt from every token, guessed or not, for a guess can be
 * looked at without being computed: so guessing stops where it does not pay and starts again where it would,
 * at no price. Chances are kept by how many tokens agree before the guess: two often agree by chance, twenty
 * seldom do.
 *
 * Source: Saxena 2023, "Prompt Lookup Decoding"; Leviathan et al. 2023 (arXiv 2211.17192) for the expected
 * gain. */
#ifndef PC_ENGINE_SPECULATE_H
#define PC_ENGINE_SPECULATE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { PC_MAX_DRAFT = 15 };

struct pc_speculator;

/** For sequences of up to capacity tokens (later ones are not learnt from). fixed: guess so many tokens
 * whenever there is a guess, whatever it costs, at most PC_MAX_DRAFT; 0: as many as pay. *owned*:
 * pc_speculator_free. All memory is taken here. One thread at a time. */
int pc_speculator_new(size_t capacity, int fixed, struct pc_speculator **out, struct paco_error *err);
void pc_speculator_free(struct pc_speculator *s);

/** Another text: forget the tokens, keep what was learnt of costs and chances. */
void pc_speculator_begin(struct pc_speculator *s, const int32_t *ids, size_t n);

/** A token that was chosen. */
void pc_speculator_add(struct pc_speculator *s, int32_t id);

/** The tokens expected next, at most `most` and PC_MAX_DRAFT, into out. Returns how many; 0 when there is no
 * guess or it does not pay. */
size_t pc_speculator_draft(struct pc_speculator *s, size_t most, int32_t out[PC_MAX_DRAFT]);

/** A step of n_rows rows of this sequence, and no others, took so long: best in processor time of all
 * threads, which neighbours on the machine disturb least. */
void pc_speculator_measured(struct pc_speculator *s, size_t n_rows, double seconds);

#endif
