// SPDX-License-Identifier: Apache-2.0
/* What tokenizer.json does to text around its model: normalizer, pre_tokenizer, decoder. */
#ifndef PC_PROMPT_VOCAB_STEPS_H
#define PC_PROMPT_VOCAB_STEPS_H

#include "base/json.h"
#include "tokenizer/vocab.h"

enum { PC_VOCAB_MAX_STEPS = 16 };

/** Texts are views into the JSON they were read from. */
struct pc_vocab_steps {
    struct pc_normal_step normal[PC_VOCAB_MAX_STEPS];
    struct pc_pre_step pre[PC_VOCAB_MAX_STEPS];
    size_t n_normal, n_pre;
    enum pc_strip strip;
    struct paco_error *err; /* of the call */
};

/** Read the three members of root, the whole tokenizer.json. What the family does not use is
 * PACO_EUNSUPPORTED by its name. */
int pc_vocab_steps_read(const json_t *root, struct pc_vocab_steps *out, struct paco_error *err);

/** The "type" of a part, "" when it has none; and the refusal of one. */
const char *pc_vocab_type_of(const json_t *v);
int pc_vocab_unsupported(const char *part, const char *type, struct paco_error *err);

#endif
