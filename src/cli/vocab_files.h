// SPDX-License-Identifier: Apache-2.0
/* The tokenizer inside a GGUF file, or beside Meta's weights, as the files Transformers reads: where weights
 * and prompt meet. */
#ifndef PC_CLI_VOCAB_FILES_H
#define PC_CLI_VOCAB_FILES_H

#include "prompt/vocab_write.h"

#include "paco/weights.h"

enum { PC_VOCAB_FILES = 4 };

/** Zero before first use; release in any case. */
struct pc_vocab_output {
    struct pc_vocab_files texts;
    struct pc_buf model; /* tokenizer.model as it is */
    char *chat_template;
    struct paco_file files[PC_VOCAB_FILES];
    size_t n_files; /* 0: path is neither GGUF nor Meta's, or has no vocabulary */
};

/** Make tokenizer.json, tokenizer_config.json and special_tokens_map.json of the GGUF file or Meta's folder
 * that name leads to; SentencePiece's tokenizer.model is one of the files too, as Transformers' own converter
 * has it. A model that is neither, or does not open, leaves out empty and returns 0: the job itself says what
 * is wrong. */
int pc_vocab_output_make(const char *name, struct pc_vocab_output *out, struct paco_error *err);
void pc_vocab_output_release(struct pc_vocab_output *out);

#endif
