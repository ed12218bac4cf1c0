// SPDX-License-Identifier: Apache-2.0
/* Known faults of published configuration and tokenizer files, put right by changing the values concerned and
 * no other byte. */
#ifndef PC_WEIGHTS_REPAIR_H
#define PC_WEIGHTS_REPAIR_H

#include "base/buf.h"
#include "base/dtype.h"
#include "weights/special_tokens.h"

#include <stdbool.h>

struct pc_repair_options {
    const struct pc_special_tokens *tokens; /* of the folder the files are from */
    enum pc_dtype dtype;                    /* widest float written, for torch_dtype */
    uint64_t vocab;                         /* rows of the embedding written, for vocab_size; 0: not known */
};

/** True if files called name can have faults that are known here. */
bool pc_repair_knows(const char *name);

/** Repair text, the contents of a file called name, in place:
 *   - config.json, generation_config.json: a pad_token_id that is not the id of the tokenizer's pad token;
 *   - config.json: a vocab_size that is not the number of the embedding's rows;
 *   - config.json: torch_dtype (dtype) other than what is written; the architecture's old name
 * LLaMAForCausalLM;
 *   - tokenizer_config.json: the old class names LLaMATokenizer, LLaMATokenizerFast;
 *   - tokenizer_config.json, special_tokens_map.json: empty bos, eos and unk tokens, if the vocabulary is
 * LLaMA's. Text that is no JSON object is left alone. Each repair appends a line "NAME: what" to said. */
void pc_repair(
    const char *name, const struct pc_repair_options *opt, struct pc_buf *text, struct pc_buf *said);

#endif
