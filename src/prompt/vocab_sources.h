// SPDX-License-Identifier: Apache-2.0
/* The adapters behind vocabulary.h: each reads one kind of file and builds the tokenizer it describes. */
#ifndef PC_PROMPT_VOCAB_SOURCES_H
#define PC_PROMPT_VOCAB_SOURCES_H

#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"

enum {
    PC_VOCAB_MAX_FILE = 128 << 20,     /* tokenizer.json; the largest in use have some 30 MB */
    PC_VOCAB_MAX_MODEL = 32 << 20,     /* tokenizer.model: a few MB */
    PC_VOCAB_MAX_SIDE_FILE = 16 << 20, /* tokenizer_config.json with its added tokens */
};

/** Read the vocabulary inside a GGUF file and hand it to use, for whose call alone it is valid. use gets an
 * err that is not NULL; what it returns is returned. */
int pc_vocab_gguf_read(const char *path,
    int (*use)(void *ctx, const struct pc_vocab *vocab, struct paco_error *err), void *ctx,
    struct paco_error *err);
/** The same as a tokenizer. */
int pc_vocab_gguf_open(const char *path, struct pc_tokenizer **out, struct paco_error *err);
/** Its chat template, owned, or NULL in *out. */
int pc_vocab_gguf_chat_template(const char *path, char **out, struct paco_error *err);

#endif
