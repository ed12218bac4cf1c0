// SPDX-License-Identifier: Apache-2.0
/* From a vocabulary to the files Transformers reads: tokenizer.json, tokenizer_config.json,
 * special_tokens_map.json.
 *
 * The class named there is PreTrainedTokenizerFast, which takes everything from tokenizer.json in every
 * version; the classes of single model families rebuild parts of it, differently from version to version. */
#ifndef PC_PROMPT_VOCAB_WRITE_H
#define PC_PROMPT_VOCAB_WRITE_H

#include "base/buf.h"
#include "base/error.h"
#include "tokenizer/vocab.h"

/** Texts are empty until written. Zero before first use; release in any case. */
struct pc_vocab_files {
    struct pc_buf tokenizer, config, special_map;
};

struct pc_vocab_write_options {
    const char *chat_template; /* or NULL */
    int64_t max_length;        /* model_max_length in tokens; 0: not said */
};

/** Write v as Transformers would read it. A SentencePiece BPE becomes a list of merges, earliest first, as
 * Transformers' own converter makes it: every way to cut a piece into two pieces, by falling score. Unigram
 * models, expressions without a word in tokenizer.json and texts that are no UTF-8 are errors
 * (PACO_EUNSUPPORTED, PACO_EFORMAT), as are two ids with one piece. The bytes depend on v and options alone.
 */
int pc_vocab_write(const struct pc_vocab *v, const struct pc_vocab_write_options *options,
    struct pc_vocab_files *out, struct paco_error *err);
void pc_vocab_files_release(struct pc_vocab_files *files);

/** The merges of a vocabulary whose file has none: *out is owned (pc_free), its spans are views into v. Of a
 * SentencePiece BPE as above; else pieces are taken to be in the order of their ranks, as tiktoken's are, and
 * the cuts of each in the order of their parts' ids. */
int pc_vocab_merges(const struct pc_vocab *v, struct pc_merge **out, size_t *n, struct paco_error *err);

#endif
