// SPDX-License-Identifier: Apache-2.0
/* Tokenizers on their way into a job's output: those inside a GGUF file, or beside Meta's weights, as the
 * files Transformers reads, and any as GGUF's metadata. Where weights and prompt meet. */
#ifndef PC_CLI_VOCAB_FILES_H
#define PC_CLI_VOCAB_FILES_H

#include "cli/command.h"
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
    struct pc_buf gguf;
};

/** Make tokenizer.json, tokenizer_config.json and special_tokens_map.json of the GGUF file or Meta's folder
 * that name leads to; SentencePiece's tokenizer.model is one of the files too, as Transformers' own converter
 * has it. A model that is neither, or does not open, leaves out empty and returns 0: the job itself says what
 * is wrong. */
int pc_vocab_output_make(const char *name, struct pc_vocab_output *out, struct paco_error *err);
/** Make the metadata a GGUF output needs (paco_job_options' vocabulary) of the tokenizer of model, for as
 * many tokens as its embedding has rows, or n_rows when those are more. tokenizer (NULL: model's) names the
 * folder the tokenizer comes from. Of a GGUF model it stays empty: that brings its own. A model that does not
 * open returns 0, as above. */
int pc_vocab_output_gguf(const struct pc_command *self, const char *model, const char *tokenizer,
    uint64_t n_rows, struct pc_vocab_output *out, struct paco_error *err);
void pc_vocab_output_release(struct pc_vocab_output *out);

/** Where the vocabulary of a model is, for pc_vocabulary_open: of a lone weights file in its folder, of
 * Meta's weights beside or above them. *owned*; NULL with err set when there is no such model. */
char *pc_vocabulary_find(const char *model, struct paco_error *err);

#endif
