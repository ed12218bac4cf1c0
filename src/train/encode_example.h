// SPDX-License-Identifier: Apache-2.0
/* One example to token ids and the mask of those that are trained, as upstream's scripts do it:
 * Open-Instruct's finetune.py of June 2023 (COMPLETION, MESSAGES) and Stanford Alpaca's train.py (STANFORD).
 *
 * Where a mask ends is found as they find it, by encoding the text up to there alone and counting, under the
 * same truncation: which may cut inside a token of the whole text. With LLaMA's tokenizer special tokens in a
 * text take the white space around them and start a new text behind them (prompt/special_cuts.h), because
 * finetune.py adds them again; other tokenizers go by their own rules and their own EOS. */
#ifndef PC_TRAIN_ENCODE_EXAMPLE_H
#define PC_TRAIN_ENCODE_EXAMPLE_H

#include "base/json.h"
#include "prompt/special_cuts.h"
#include "train/examples.h"

/** How to encode, for one tokenizer: not changed after pc_encode_rules_init, so any thread may use it. */
struct pc_encode_rules {
    const struct pc_tokenizer *tok;
    enum pc_encoding encoding; /* not AUTO */
    uint32_t max_length;
    struct pc_specials specials;
    /* Its own. */
    struct pc_span eos; /* its text */
    int32_t eos_id, pad_id;
    bool restarts;        /* text behind a special is encoded as if nothing were before it */
    struct pc_ids around; /* n_prefix ids in front of every text, the rest behind it */
    size_t n_prefix;
};

/** From the tokenizer, which stays, encoding, max_seq_length and gets_pad of options. PACO_EINVAL: the
 * tokenizer has no EOS, max_seq_length is out of range. Release in any case. */
int pc_encode_rules_init(
    struct pc_encode_rules *rules, const struct pc_examples_options *options, struct paco_error *err);
void pc_encode_rules_release(struct pc_encode_rules *rules);

/** An encoded example, and what one thread works with. `{0}` is empty; reused from one example to the next.
 */
struct pc_encoded {
    struct pc_ids ids;
    uint8_t *trained;   /* 1 or 0 for each id */
    uint32_t n_trained; /* ids but the first, which nothing predicts, that are trained */
    unsigned flags;     /* enum pc_example_flag */
    /* Its own. */
    size_t capacity; /* of trained */
    struct pc_buf text;
    struct pc_ids counted;
    struct pc_cuts cuts;
    struct pc_turn *turns;
    size_t *ends;
    size_t turns_capacity, ends_capacity;
};
void pc_encoded_release(struct pc_encoded *e);

struct pc_turn {
    struct pc_span role, content;
};

/** Prompt and completion, with one space between where neither has white space there; everything behind the
 * prompt is trained. */
int pc_encode_completion(const struct pc_encode_rules *rules, struct pc_span prompt,
    struct pc_span completion, struct pc_encoded *out, struct paco_error *err);

/** A conversation in the card's format: contents and ends of answers are trained, tags are not, but those of
 * an answer that follows no other role. PACO_EFORMAT: `messages field is empty.`, `Invalid role: X`. */
int pc_encode_turns(const struct pc_encode_rules *rules, const struct pc_turn *turns, size_t n,
    struct pc_encoded *out, struct paco_error *err);

/** An instruction in Stanford's template; an empty input is none. */
int pc_encode_stanford(const struct pc_encode_rules *rules, struct pc_span instruction, struct pc_span input,
    struct pc_span output, struct pc_encoded *out, struct paco_error *err);

/** The members of a record that rules->encoding takes, encoded. PACO_EFORMAT: one is missing or of another
 * type. */
int pc_encode_record(const struct pc_encode_rules *rules, const json_t *record, struct pc_encoded *out,
    struct paco_error *err);

/** Which encoding the members of a file's first record ask for. PACO_EFORMAT, in upstream's words, when none.
 */
int pc_encoding_of(const json_t *record, enum pc_encoding *out, struct paco_error *err);
/** "completion", "messages", "stanford", "auto". */
const char *pc_encoding_name(enum pc_encoding encoding);
bool pc_encoding_parse(const char *name, enum pc_encoding *out);

#endif
