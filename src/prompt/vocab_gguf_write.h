// SPDX-License-Identifier: Apache-2.0
/* From a vocabulary to GGUF's metadata: the tokenizer.* entries llama.cpp reads. The way back is
 * vocab_gguf.c. */
#ifndef PC_PROMPT_VOCAB_GGUF_WRITE_H
#define PC_PROMPT_VOCAB_GGUF_WRITE_H

#include "format/gguf_write.h"
#include "tokenizer/vocab.h"

struct pc_vocab_gguf_options {
    uint64_t n_rows;           /* of the embedding: as many tokens are written */
    const char *chat_template; /* or NULL */
    const int32_t *eos_ids;    /* what else ends an answer: the first that is not v->eos becomes "eot" */
    int n_eos;
};

/** What of a vocabulary a GGUF file does not hold. */
struct pc_vocab_gguf_report {
    uint64_t n_dropped;  /* tokens whose ids the embedding has no row for */
    bool no_normalising; /* SentencePiece's table of characters to replace, which LLaMA's own model has not */
};

/** Append v to out. Rows without a token become "[PAD<id>]", unused, as llama.cpp's converter has it.
 *
 *  SentencePiece BPE is GGUF's "llama", byte-level merges its "gpt2", whose way of cutting text must be one
 * that GGUF has a name for. Merges over characters with byte fallback (LLaMA's tokenizer.json) are "llama"
 * too: pieces get scores by the place of their merges, which is exact when the list has every cut of every
 * piece, one piece after the other, as Transformers' converter makes it. Anything else is PACO_EUNSUPPORTED.
 */
int pc_vocab_gguf_write(const struct pc_vocab *v, const struct pc_vocab_gguf_options *options,
    struct pc_gguf_head *out, struct pc_vocab_gguf_report *report, struct paco_error *err);

#endif
