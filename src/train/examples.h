// SPDX-License-Identifier: Apache-2.0
/* A file of instruction data as what training takes: for each example its token ids, and which of them are
 * answers to be learned. Ids, masks, truncation and the examples that are left out are those of
 * Open-Instruct's finetune.py of June 2023, or of Stanford Alpaca's train.py (encode_example.h says which is
 * which).
 *
 *     struct pc_examples set;
 *     rc = pc_examples_read(path, &options, &set, &err);
 *     rc = pc_examples_order(seed, i_epoch, true, order, set.n);
 *     for each: pc_examples_get(&set, order[i], ids + at, labels + at), at += pc_example_at(&set,
 * order[i]).n_ids pc_examples_release(&set);
 *
 * In memory an example costs two bytes an id (four where the vocabulary has more than 65,536), an eighth for
 * the mask, and 24: a million Alpaca-like ones take 300 MB. The file is read once, from front to back,
 * whatever its size, and shared out over the pool; the result does not depend on the number of threads. */
#ifndef PC_TRAIN_EXAMPLES_H
#define PC_TRAIN_EXAMPLES_H

#include "base/digest.h"
#include "base/error.h"
#include "base/notes.h"
#include "base/progress.h"
#include "base/threads.h"
#include "tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PC_LABEL_NONE = -100,             /* nothing is to be learned at this position */
    PC_EXAMPLES_MAX = 1 << 30,        /* in a file */
    PC_EXAMPLES_MAX_LENGTH = 1 << 20, /* max_seq_length */
};

enum pc_encoding {
    PC_ENCODING_AUTO,       /* as the first example's members say */
    PC_ENCODING_COMPLETION, /* "prompt" and "completion" */
    PC_ENCODING_MESSAGES,   /* "messages": [{"role", "content"}] in the card's format */
    PC_ENCODING_STANFORD,   /* "instruction", "input", "output" in Stanford Alpaca's template */
};

enum pc_example_flag {
    PC_EXAMPLE_TRUNCATED = 1, /* cut at max_seq_length */
    PC_EXAMPLE_NO_EOS = 2,    /* its last trained token is not the end-of-sequence token */
    PC_EXAMPLE_MASKED = 4,    /* nothing in it is trained; only Stanford's way keeps such */
    PC_EXAMPLE_EMPTY = 8,     /* an answer or a whole text of white space */
};

/** One example. Position t predicts id t + 1, so of n_ids positions at most n_ids - 1 have something to
 * learn.
 */
struct pc_example {
    uint64_t at;        /* of its first id among all ids of the set */
    uint32_t n_ids;     /* 1 to max_seq_length */
    uint32_t n_trained; /* positions with something to learn */
    uint32_t line;      /* in the file, from 1; in a JSON array the line where it begins */
    uint32_t flags;     /* enum pc_example_flag */
};

/** `{0}` is an empty set. Not changed after reading: any thread may look. */
struct pc_examples {
    size_t n;                  /* examples */
    uint64_t n_ids, n_trained; /* in all of them */
    uint32_t longest;          /* most ids of one */
    enum pc_encoding encoding; /* that was taken */

    /* Of the file's. */
    size_t n_read;                                   /* examples, those left out included */
    size_t n_dropped;                                /* left out, because nothing was left to learn */
    size_t n_truncated, n_no_eos, n_masked, n_empty; /* by flag; those left out count */
    uint8_t file_digest[PC_SHA256_SIZE];             /* SHA-256 of the file's bytes */
    uint8_t digest[PC_SHA256_SIZE]; /* of all ids and masks: equal exactly when training sees the same */

    /* Its own. */
    struct pc_example *examples;
    void *ids;     /* uint16_t or int32_t */
    uint8_t *mask; /* bit i: id i is trained */
    bool wide;
    bool is_part; /* ids and mask are those of the set it was taken from */
};

struct pc_examples_options {
    const struct pc_tokenizer *tokenizer; /* borrowed for the call */
    enum pc_encoding encoding;
    uint32_t max_seq_length; /* 1 to PC_EXAMPLES_MAX_LENGTH; ids beyond are cut off, BOS counts */
    size_t limit;            /* read no more than so many examples; 0: all */
    /** The model is about to get a pad token, because its tokenizer has none: pc_encoding_new_pad becomes id
     * pc_tokenizer_n_tokens() wherever it stands in a text. Only for tokenizers of LLaMA's kind
     * (pc_tokenizer_marks_spaces). */
    bool gets_pad;
    struct pc_pool *pool; /* NULL: the caller's thread alone */
    const struct pc_progress *progress;
    struct pc_notes *notes;
};

/** The pad token that upstream's script for an encoding adds: Open-Instruct's "<pad>", Stanford's "[PAD]".
 * Static. */
const char *pc_encoding_new_pad(enum pc_encoding encoding);

/** Read and encode path: JSON lines, or a JSON array of objects. Release out whatever happened.
 *
 * Errors name the file and the line ("FILE: line 17: ..."): PACO_EFORMAT for what is no JSON or UTF-8, no
 * object, lacks a member, has one of another type, an unknown role (`Invalid role: X`), no messages
 * (`messages field is empty.`), members that fit no encoding (`You need to have either 'prompt'&'completion'
 * or 'messages' in your column names.`), and a file without an example to learn from; PACO_ELIMIT for an
 * example of more than 64 MiB; PACO_ECANCELLED. */
int pc_examples_read(const char *path, const struct pc_examples_options *options, struct pc_examples *out,
    struct paco_error *err);
void pc_examples_release(struct pc_examples *set);

/** Take n examples, chosen by seed, out of set and into part, in the file's order each: held out, never
 * trained. part refers to set's ids, so it is to be released first; counts of the file stay with set. At
 * least one example must be left: PACO_EINVAL. */
int pc_examples_hold_out(
    struct pc_examples *set, size_t n, uint64_t seed, struct pc_examples *part, struct paco_error *err);

static inline const struct pc_example *pc_example_at(const struct pc_examples *set, size_t i)
{
    return &set->examples[i];
}

/** Copy example i's n_ids ids, and what each position is to predict: labels[t] is ids[t + 1] where that is
 * trained, else PC_LABEL_NONE; the last is always PC_LABEL_NONE. labels may be NULL. */
void pc_examples_get(const struct pc_examples *set, size_t i, int32_t *ids, int32_t *labels);

/** Whether id t of example i is trained (upstream's labels[t] != -100, before they are shifted). */
bool pc_examples_is_trained(const struct pc_examples *set, size_t i, uint32_t t);

/** The order in which epoch i_epoch (from 0) of seed sees n examples, into order; without shuffle the file's.
 * This project's own, since upstream's is its framework's: Fisher and Yates from the back, numbers below k by
 * Lemire's multiplication with rejection from the upper halves of SplitMix64, started at seed +
 * 0x9e3779b97f4a7c15 (i_epoch + 1). The same on every machine. n is at most PC_EXAMPLES_MAX. */
void pc_examples_order(uint64_t seed, uint64_t i_epoch, bool shuffle, uint32_t *order, size_t n);

#endif
