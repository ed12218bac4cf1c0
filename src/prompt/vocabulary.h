// SPDX-License-Identifier: Apache-2.0
/* From a model on disk to its tokenizer: one adapter per source fills struct pc_vocab. */
#ifndef PC_PROMPT_VOCABULARY_H
#define PC_PROMPT_VOCABULARY_H

#include "tokenizer/tokenizer.h"

/** Open the tokenizer of a Hugging Face directory (tokenizer.json if there, else tokenizer.model, with
 *  tokenizer_config.json, special_tokens_map.json and added_tokens.json), of a bare tokenizer.model
 * (SentencePiece's, or LLaMA 3's list of ranks) or tokenizer.json, or the vocabulary inside a .gguf file.
 * *owned*: pc_tokenizer_free. */
int pc_vocabulary_open(const char *path, struct pc_tokenizer **out, struct paco_error *err);

/** The chat template text of the model (tokenizer_config.json's chat_template, chat_template.jinja, or GGUF's
 *  tokenizer.chat_template), owned (pc_free), or NULL in *out when it has none. */
int pc_vocabulary_chat_template(const char *path, char **out, struct paco_error *err);

#endif
