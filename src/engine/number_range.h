// SPDX-License-Identifier: Apache-2.0
/* Numbers between bounds as automata over their digits.
 *
 * They are written without an exponent: up to 16 digits before the point, and as many behind it as make 15 in
 * all, so that each is a double of its own and what is less than a bound in writing is less in a parser, too.
 * Where there is nothing below zero there is no "-0". */
#ifndef PC_ENGINE_NUMBER_RANGE_H
#define PC_ENGINE_NUMBER_RANGE_H

#include "engine/automaton.h"

#include <jansson.h>

enum { PC_DECIMAL_DIGITS = 400 };

/** A number of JSON's: digits, n_whole of them before the point; neither leading zeros before it nor trailing
 * ones behind. */
struct pc_decimal {
    bool negative;
    uint16_t n_whole, n;
    uint8_t digits[PC_DECIMAL_DIGITS];
};

/** v is a number; a real is what its shortest decimal says. PACO_EMEM. */
int pc_decimal_of(struct pc_decimal *d, const json_t *v, struct paco_error *err);
/** Negative, 0 or positive, as a is less than, equal to or more than b. */
int pc_decimal_compare(const struct pc_decimal *a, const struct pc_decimal *b);

/** Which numbers: bounds that are not there are NULL. */
struct pc_number_range {
    const struct pc_decimal *least, *most, *step;
    bool above_least, below_most; /* and not equal to it */
    bool whole;                   /* integers */
};

/** out is `{0}` before; *owned*: pc_automaton_release. A step that takes too many states is PACO_ELIMIT. */
int pc_number_automaton(
    const struct pc_number_range *range, uint64_t *work, struct pc_automaton *out, struct paco_error *err);

#endif
