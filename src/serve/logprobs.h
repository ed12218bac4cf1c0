// SPDX-License-Identifier: Apache-2.0
/* How likely tokens were: of the model alone, before temperature, penalties and cuts. In doubles: whoever
 * compares or adds them up gets what he would get from the logits. */
#ifndef PC_SERVE_LOGPROBS_H
#define PC_SERVE_LOGPROBS_H

#include "base/error.h"
#include "kernels/softmax.h"

#include <stddef.h>
#include <stdint.h>

struct pc_likely {
    int32_t id;
    double logprob; /* natural */
};

/** A token, in the order of the text. */
struct pc_noted {
    int32_t id;
    double logprob; /* NAN for the first of a prompt, which nothing comes before */
    size_t end;     /* bytes of the answer's text up to its end */
};

/** Tokens and, for each, the n_top likeliest in its place. `{0}` with n_top set is empty. */
struct pc_notebook {
    int32_t n_top;
    struct pc_noted *v;
    struct pc_likely *top; /* (n, n_top), best first; equal ones by the lower id */
    size_t n, capacity, top_capacity;
};
void pc_notebook_release(struct pc_notebook *b);

/** Note that id came, where logits (n_vocab) were; room (n_vocab) is scratch. logits NULL: nothing is known
 * of it. */
int pc_notebook_add(struct pc_notebook *b, const struct pc_softmax *softmax, float *room, const float *logits,
    size_t n_vocab, int32_t id, struct paco_error *err);

/** The n best of logits, into out; how many there were. */
size_t pc_likeliest(const float *logits, size_t n_vocab, struct pc_likely *out, size_t n);

#endif
