// SPDX-License-Identifier: Apache-2.0
/* Greedy answers to a few prompts, from the weights as they are at the moment. */
#ifndef PC_TRAIN_SAMPLES_H
#define PC_TRAIN_SAMPLES_H

#include "base/progress.h"
#include "engine/generate.h"
#include "format/checkpoint.h"
#include "format/config.h"
#include "tokenizer/tokenizer.h"

/** All *borrowed* for the call. */
struct pc_samples_options {
    const struct pc_checkpoint *weights;
    const struct pc_config *config;
    const struct pc_tokenizer *tok;
    const struct pc_ids *prompts;
    size_t n;
    int32_t max_tokens; /* of an answer */
    const int32_t *eos_ids;
    size_t n_eos;
    const int32_t *suppressed; /* ids never chosen: a padding row */
    size_t n_suppressed;
    int n_threads; /* 0: all */
    const struct pc_progress *progress;
};

struct pc_sample {
    char *text; /* *owned*: pc_free; special tokens left out */
    enum pc_stop stop;
    int32_t n_tokens;
};

/** Answer every prompt, many at once, into out (n), all of whose texts are NULL before. They are what
 * pc_generate gives, each alone. After an error some may be there. Errors: opening an engine over the weights
 * (no memory for it PACO_EMEM); a prompt that memory does not hold; PACO_ECANCELLED. */
int pc_samples_ask(const struct pc_samples_options *options, struct pc_sample *out, struct paco_error *err);

#endif
