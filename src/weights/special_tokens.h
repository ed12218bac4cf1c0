// SPDX-License-Identifier: Apache-2.0
/* What a folder's tokenizer files say of its special tokens: enough to decide whether a recipe would add a
 * pad token, and which id that token has. No tokenizer is built: these are a few members of small files, and
 * the head of tokenizer.json. */
#ifndef PC_WEIGHTS_SPECIAL_TOKENS_H
#define PC_WEIGHTS_SPECIAL_TOKENS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct pc_special_tokens {
    bool any_file;                          /* there are tokenizer files at all */
    bool has_pad;                           /* a pad token is declared, and not as an empty string */
    char pad[64];                           /* its text, cut if longer */
    int64_t pad_id;                         /* -1: unknown */
    char pad_file[32];                      /* the file that declares it */
    int64_t upstream_pad_id, alpaca_pad_id; /* ids of added tokens "<pad>" and "[PAD]", or -1 */
    bool is_llama; /* tokenizer.model or tokenizer.json begins with <unk>, <s>, </s> */
};

/** Read dir's tokenizer_config.json, special_tokens_map.json, added_tokens.json, the head of tokenizer.json
 * and of tokenizer.model, as far as they exist. A JSON file that is malformed is PACO_EFORMAT with its path
 * and offset. */
int pc_special_tokens_read(const char *dir, struct pc_special_tokens *out, struct paco_error *err);

#endif
