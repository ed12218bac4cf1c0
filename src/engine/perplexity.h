// SPDX-License-Identifier: Apache-2.0
/* How well a model predicts a text, and how far its predictions are from another's.
 *
 *     struct pc_perplexity_options o = {.context = 512, .bos = -1};
 *     struct pc_perplexity p;
 *     pc_perplexity(engine, NULL, ids, n, &o, &p, &err);
 *     printf("%.4f\n", exp(p.nll.mean));
 *
 * A text longer than the context is read in windows, in one of two ways.
 *
 *   stride 0   Windows of `context` tokens lie end to end; what is left over at the end is not read. In each,
 *              predictions at positions context/2 to context - 2 count: of 512 tokens, the 255 from token 257
 *              on, each with 256 or more before it. A tokenizer that begins texts with BOS has it put in
 *              place of each window's first token. This is what llama.cpp's perplexity tool does.
 *   stride S   Each window begins S tokens after the one before and the last may be shorter; tokens that no
 *              earlier window held count, so that every token but the first counts once (where windows
 * overlap: with S = context the first token of each window is not predicted). This is the sliding window of
 * Transformers' guide "Perplexity of fixed-length models".
 *
 * With a reference model every counted position also gives the divergence of the two distributions,
 * KL(reference || model) = sum p_ref (log p_ref - log p). */
#ifndef PC_ENGINE_PERPLEXITY_H
#define PC_ENGINE_PERPLEXITY_H

#include "base/progress.h"
#include "engine/engine.h"

enum {
    PC_PERPLEXITY_LOGITS = 128, /* max_logits that both engines must be opened with */
    PC_PERPLEXITY_LEAST = 4     /* tokens of the smallest window */
};

struct pc_perplexity_options {
    int32_t context;     /* tokens of a window */
    int32_t stride;      /* 0: windows end to end, else 1 to context */
    int32_t bos;         /* put in place of each window's first token when stride is 0; -1: nothing is */
    int64_t max_windows; /* 0: all */
    const struct pc_progress *progress; /* may be NULL */
};

/** A mean over positions and its standard error, in nats. What a window's positions have is added up first,
 * then the windows', so that who knows the windows' sums has the same mean to the last bit. */
struct pc_mean {
    double mean, error;
};

struct pc_perplexity {
    int64_t n_windows, n_scored; /* windows read; predictions that count */
    int64_t n_computed;          /* tokens that went through the model */
    struct pc_mean nll;          /* -log p of what came next: perplexity is e^mean */
    /* With a reference: */
    struct pc_mean reference_nll, kl;
    double kl_median, kl_p99, kl_max;
    double same_top; /* share of positions where both find the same token likeliest */
};

/** How many windows n tokens make. 0 when they are too few. */
int64_t pc_perplexity_windows(const struct pc_perplexity_options *o, size_t n);

struct pc_window {
    size_t start;  /* of its first token in the text */
    int32_t n;     /* tokens */
    int32_t first; /* the first position whose prediction counts; the last is n - 2 */
};

/** Window i of those that n tokens make. */
struct pc_window pc_perplexity_window(const struct pc_perplexity_options *o, size_t n, int64_t i);

/** Read n tokens with engine and, unless NULL, with reference. Both must have been opened with
 * PC_PERPLEXITY_LOGITS logits, and are used from the calling thread only.
 *
 *  Errors: options out of range PACO_EINVAL; too few tokens PACO_ELIMIT with both numbers; vocabularies of
 * different size PACO_EMISMATCH; a probability that is no number above 0 PACO_EFORMAT with the position; a
 * wish to stop PACO_ECANCELLED. The result does not depend on threads. */
int pc_perplexity(struct pc_engine *engine, struct pc_engine *reference, const int32_t *tokens, size_t n,
    const struct pc_perplexity_options *options, struct pc_perplexity *out, struct paco_error *err);

#endif
