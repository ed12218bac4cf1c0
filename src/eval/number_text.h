// SPDX-License-Identifier: Apache-2.0
/* Numbers in answers, as GSM and MGSM look for them. Digits are any script's. Texts are UTF-8; thread-safe.
 */
#ifndef PC_EVAL_NUMBER_TEXT_H
#define PC_EVAL_NUMBER_TEXT_H

#include "eval/text_match.h"

/** Append text without the commas between two digits, in one pass from the left in which a digit counts once:
 * "1,234,567" becomes "1234567", but "1,2,3" only "12,3". Python's re.sub(r"(\d),(\d)", r"\1\2", text). */
void pc_drop_commas(struct pc_buf *out, struct pc_text text);

/** The last match of `[-+]?\d*\.\d+|\d+`, a view; {NULL, 0} without any. A sign belongs to it only before a
 * number with decimals; with signs, before an integer too, unless the sign stands behind a digit or letter.
 */
struct pc_text pc_last_number(struct pc_text text, bool signs);

/** text, white space around it passed over, as a number: digits with an optional sign and decimals. */
bool pc_number_value(struct pc_text text, double *out);

#endif
