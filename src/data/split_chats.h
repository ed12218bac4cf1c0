// SPDX-License-Identifier: Apache-2.0
/* Long ShareGPT conversations cut into pieces that fit a model: what Open-Instruct's
 * split_sharegpt_conversations.py (June 2023) writes, byte for byte, its slips included: a pair that
 * overflows at the very end is lost. */
#ifndef PC_DATA_SPLIT_CHATS_H
#define PC_DATA_SPLIT_CHATS_H

#include "base/progress.h"
#include "base/threads.h"
#include "tokenizer/tokenizer.h"

/** All borrowed. */
struct pc_split_options {
    const char *const *files; /* arrays (or JSON lines) of {"id", "conversations": [{"from", "value"}]} */
    size_t n_files;
    const char *out;
    uint64_t begin, end; /* only these of all conversations; end 0: to the last */
    uint32_t max_length; /* tokens of a piece: each message counts BOS and 6 more */
    const struct pc_tokenizer *tokenizer;
    bool force;
    struct pc_pool *pool;
    const struct pc_progress *progress;
};

/** Write out, whole or not at all. *total: conversations in the files; *made: pieces written, in which human
 * and gpt take turns. Errors name file and line. */
int pc_data_split(
    const struct pc_split_options *options, uint64_t *total, uint64_t *made, struct paco_error *err);

#endif
