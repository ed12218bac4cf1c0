// SPDX-License-Identifier: Apache-2.0
/* Regular expressions of tokenizers: Oniguruma's dialect on PCRE2, with bounded work. */
#ifndef PC_TOKENIZER_REGEX_H
#define PC_TOKENIZER_REGEX_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_regex;
struct pc_regex_run;

/** Compile pattern (len bytes), or a text to be found literally. White space, words, letters and numbers mean
 * what they mean to Oniguruma with Unicode 16. NULL and PACO_EFORMAT with the place in the pattern, or
 * PACO_EUNSUPPORTED for what has no equal in PCRE2. *owned*: pc_regex_free. Immutable afterwards: threads may
 * share it. */
struct pc_regex *pc_regex_new(const char *pattern, size_t len, bool literal, struct paco_error *err);
void pc_regex_free(struct pc_regex *re);

/** What one thread needs to search with re, for texts of total_len bytes in all: the steps a search may take
 * are counted against a budget in proportion to it, so that no expression can hang the caller. *owned*. */
struct pc_regex_run *pc_regex_run_new(const struct pc_regex *re, size_t total_len, struct paco_error *err);
void pc_regex_run_free(struct pc_regex_run *run);

/** The first match in text[0..len), valid UTF-8, at or after from. Returns 1 with [*start, *end), 0 when
 * there is none, PACO_ELIMIT when the expression takes more than its budget. */
int pc_regex_next(struct pc_regex_run *run, const char *text, size_t len, size_t from, size_t *start,
    size_t *end, struct paco_error *err);

#endif
