// SPDX-License-Identifier: Apache-2.0
/* Examples as people read them: what is trained told from what is not. */
#ifndef PC_TRAIN_SHOW_H
#define PC_TRAIN_SHOW_H

#include "train/examples.h"

/** Append examples which[0..n) of set: a heading each, then its text from the ids, special tokens and all, a
 * newline as `\n` and a new line. Trained tokens are bold green and others dim with color, else between `{+`
 * and `+}`. Control characters are escaped. tok is the tokenizer the set was encoded with; an id beyond its
 * vocabulary is shown as `<32000>`. */
int pc_examples_show(const struct pc_examples *set, const struct pc_tokenizer *tok, const uint32_t *which,
    size_t n, bool color, struct pc_buf *out, struct paco_error *err);

#endif
