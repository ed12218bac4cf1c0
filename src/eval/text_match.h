// SPDX-License-Identifier: Apache-2.0
/* The two ways upstream compares an answer with what was expected, letter for letter, quirks included.
 *
 * Source: Hugging Face `evaluate` 0.4.0, metrics/exact_match and metrics/squad (the SQuAD v1.1 script). Both
 * are thread-safe; texts are UTF-8. Errors: PACO_EMEM. */
#ifndef PC_EVAL_TEXT_MATCH_H
#define PC_EVAL_TEXT_MATCH_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/** A text that need not end with a NUL and may hold some. */
struct pc_text {
    const char *v;
    size_t len;
};

/** Append what exact_match(ignore_case, ignore_punctuation) compares: the text in lower case, without ASCII
 * punctuation. White space stays, but for NULs at the end, which NumPy's strings do not have. */
void pc_exact_match_form(struct pc_buf *out, struct pc_text text);

/** *equal: the forms of both are the same. 0.4.0's rule: two texts of punctuation alone are equal. */
int pc_exact_match(struct pc_text prediction, struct pc_text reference, bool *equal, struct paco_error *err);

/** Append SQuAD's normal form: lower case, no ASCII punctuation, no words "a", "an", "the", single spaces. */
void pc_squad_form(struct pc_buf *out, struct pc_text text);

/** The best exact match (0 or 1) and the best F1 (0 to 1) over n >= 1 accepted answers, each by itself. */
int pc_squad_score(struct pc_text prediction, const struct pc_text *answers, size_t n, double *exact,
    double *f1, struct paco_error *err);

#endif
