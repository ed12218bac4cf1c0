// SPDX-License-Identifier: Apache-2.0
/* Regular expressions as automata: ECMA-262's syntax with Unicode code points, as far as it is regular.
 *
 * There are characters and escapes (\n \t \xHH \uHHHH \u{H} \cX), ., classes, \d \w \s and their opposites,
 * groups (named ones, too), |, * + ? {n} {n,} {n,m} (lazy ones allow the same texts), ^ and $, and lookahead
 * where a pattern begins: ^(?!x)(?=y). References to groups, word boundaries, lookbehind, lookahead
 * elsewhere, \p and flags are refused by name. */
#ifndef PC_ENGINE_PATTERN_H
#define PC_ENGINE_PATTERN_H

#include "engine/automaton.h"

enum { PC_PATTERN_MAX_SIZE = 4096 };

/** The texts in which pattern (len bytes of UTF-8) is found, as JSON Schema means it; with whole those that
 * it matches from the first to the last character. out is `{0}` before; *owned*: pc_automaton_release, in any
 * case.
 *
 *  Errors: PACO_EINVAL for what is no pattern and PACO_EUNSUPPORTED for what is refused, with the byte;
 * PACO_ELIMIT. */
int pc_pattern_compile(const char *pattern, size_t len, bool whole, uint64_t *work, struct pc_automaton *out,
    struct paco_error *err);

#endif
