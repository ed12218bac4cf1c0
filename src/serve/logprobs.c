// SPDX-License-Identifier: Apache-2.0
#include "serve/logprobs.h"

#include "base/memory.h"

#include <assert.h>
#include <math.h>
#include <string.h>

void pc_notebook_release(struct pc_notebook *b)
{
    pc_free(b->v);
    pc_free(b->top);
    *b = (struct pc_notebook){0};
}

/* A handful of the best: each is put in its place among those before, which the fewest of a vocabulary ever
 * reach. */
size_t pc_likeliest(const float *logits, size_t n_vocab, struct pc_likely *out, size_t n)
{
    size_t held = 0;
    assert(out || n == 0);
    for (size_t i = 0; i < n_vocab && n > 0; i++) {
        double x = (double)logits[i];
        if (isnan(x) || (held == n && !(x > out[n - 1].logprob)))
            continue;
        size_t at = held < n ? held++ : n - 1;
        for (; at > 0 && x > out[at - 1].logprob; at--)
            out[at] = out[at - 1];
        out[at] = (struct pc_likely){(int32_t)i, x};
    }
    return held;
}

static int make_room(struct pc_notebook *b, struct paco_error *err)
{
    size_t n_top = (size_t)b->n_top;
    if (pc_grow(&b->v, &b->capacity, b->n, sizeof *b->v, "log-probabilities", err) < 0)
        return PACO_EMEM;
    if (b->capacity * n_top <= b->top_capacity)
        return 0;
    struct pc_likely *top = pc_realloc(b->top, b->capacity * n_top, sizeof *top);
    if (!top)
        return pc_error_mem(err, b->capacity * n_top * sizeof *top, "log-probabilities");
    b->top = top;
    b->top_capacity = b->capacity * n_top;
    return 0;
}

int pc_notebook_add(struct pc_notebook *b, const struct pc_softmax *softmax, float *room, const float *logits,
    size_t n_vocab, int32_t id, struct paco_error *err)
{
    int rc = make_room(b, err);
    if (rc < 0)
        return rc;
    struct pc_likely *top = b->top ? b->top + b->n * (size_t)b->n_top : NULL;
    assert(top || b->n_top == 0);
    double logprob = NAN;
    size_t n = 0;
    if (logits) {
        double sum, log_sum = pc_softmax_log_sum(softmax, room, logits, n_vocab, &sum);
        logprob = (double)logits[id] - log_sum;
        n = pc_likeliest(logits, n_vocab, top, (size_t)b->n_top);
        for (size_t i = 0; i < n; i++)
            top[i].logprob -= log_sum;
    }
    for (; n < (size_t)b->n_top; n++)
        top[n] = (struct pc_likely){-1, NAN};
    b->v[b->n++] = (struct pc_noted){.id = id, .logprob = logprob};
    return 0;
}
