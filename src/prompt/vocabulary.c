// SPDX-License-Identifier: Apache-2.0
/* Which adapter a path wants. */
#include "prompt/vocabulary.h"

#include "base/file.h"
#include "prompt/vocab_sources.h"

int pc_vocabulary_open(const char *path, struct pc_tokenizer **out, struct paco_error *err)
{
    *out = NULL;
    return pc_vocab_gguf_open(path, out, err);
}

int pc_vocabulary_chat_template(const char *path, char **out, struct paco_error *err)
{
    *out = NULL;
    return pc_vocab_gguf_chat_template(path, out, err);
}
