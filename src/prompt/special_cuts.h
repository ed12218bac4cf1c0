// SPDX-License-Identifier: Apache-2.0
/* Text cut at special tokens, each stretch between them encoded as a text of its own: what Transformers' slow
 * tokenizers make of a text, whatever the file at hand says about its special tokens. Fine-tuning scripts of
 * 2023 gave LLaMA's again as plain strings, which take the white space on both sides with them (reference in
 * format.c). */
#ifndef PC_PROMPT_SPECIAL_CUTS_H
#define PC_PROMPT_SPECIAL_CUTS_H

#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"

enum { PC_SPECIALS_MAX = 6 };

struct pc_special {
    struct pc_span text; /* borrowed */
    int32_t id;
    bool strips; /* takes the white space around it */
};

/** What a text is cut at; of those that start at one place the longest. `{0}` cuts nowhere. */
struct pc_specials {
    struct pc_special v[PC_SPECIALS_MAX];
    size_t n;
    bool first[256]; /* bytes that one begins with */
};

/** Add one; an empty text or a negative id is left out. */
void pc_specials_add(struct pc_specials *s, struct pc_span text, int32_t id, bool strips);
/** Add the tokenizer's BOS, EOS, UNK and pad tokens; texts are views into tok. */
void pc_specials_of(struct pc_specials *s, const struct pc_tokenizer *tok, bool strip);

/** A place behind a special token: what comes later does not change the ids so far. */
struct pc_cut {
    size_t at;    /* bytes of the text up to the end of the token */
    size_t n_ids; /* in out, of everything before it and the token itself */
};
struct pc_cuts {
    struct pc_cut *v; /* owned: pc_free */
    size_t n, capacity;
};

/** Append the ids of text to out, without BOS. after: text continues behind a special token that strips.
 * cuts, if not NULL, gets the places (n is set to 0 first). */
int pc_encode_cut(const struct pc_tokenizer *tok, const struct pc_specials *specials, struct pc_span text,
    bool after, struct pc_ids *out, struct pc_cuts *cuts, struct paco_error *err);

#endif
