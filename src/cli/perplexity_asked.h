// SPDX-License-Identifier: Apache-2.0
/* What is asked of paco perplexity, and the whole of it for others who measure a model against another. */
#ifndef PC_CLI_PERPLEXITY_ASKED_H
#define PC_CLI_PERPLEXITY_ASKED_H

#include "cli/model_args.h"

struct pc_perplexity_asked {
    struct pc_model_args model, reference; /* reference.model NULL: none */
    const char *file, *bos;                /* the text; "auto", "always" or "never" */
    int64_t context, stride, chunks;       /* engine/perplexity.h; chunks 0: all */
    bool json;
};

/** Open, measure and print. Remarks go to stderr in self's name. */
int pc_perplexity_answer(
    const struct pc_command *self, const struct pc_perplexity_asked *asked, struct paco_error *err);

#endif
