// SPDX-License-Identifier: Apache-2.0
/* From logits to a token: greedy or drawn, filtered as Transformers filters, reproducible by seed.
 *
 * Order, as there: suppressed ids, repetition penalty, temperature, top-k, top-p, min-p, draw. What OpenAI's
 * interface has besides comes where vLLM has it: the bias by id before the repetition penalty, and behind
 * that, of what the answer holds so far, logit -= count * frequency_penalty + presence_penalty. A NaN logit
 * is never chosen; equal logits go by the lower id, in the greedy choice and in every cut.
 *
 * Draws come from SplitMix64 (Steele, Lea and Flood 2014) as a counter: draw i of (seed, stream) is
 * mix(mix(seed) + mix(stream + 2^63) + i * 0x9e3779b97f4a7c15), its upper 53 bits a double in [0, 1). No
 * state but the count, so an answer does not depend on which others were drawn before it. */
#ifndef PC_ENGINE_SAMPLER_H
#define PC_ENGINE_SAMPLER_H

#include "base/error.h"
#include "kernels/softmax.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pc_grammar;
struct pc_spelling;

struct pc_logit_bias {
    int32_t id;
    float bias; /* added to its logit */
};

/** Zero means off, and a temperature of zero greedy. */
struct pc_sampler_options {
    double temperature;
    int32_t top_k; /* the k best, and those equal to the last of them */
    double top_p;  /* the fewest best that have this much probability together */
    double min_p;  /* those with at least this share of the best one's probability */
    double
        repetition_penalty; /* ids that occurred: a positive logit is divided by it, a negative multiplied */
    double presence_penalty, frequency_penalty; /* of ids chosen; negative: a reward */
    const struct pc_logit_bias *bias;           /* copied; ids beyond the vocabulary are ignored */
    size_t n_bias;
    uint64_t seed, stream;     /* stream: which answer of several with one seed */
    const int32_t *suppressed; /* ids never chosen (a padding row); copied */
    size_t n_suppressed;
    /** What an answer must be (engine/constraint.h), and the ids that end one, copied; NULL: anything. */
    struct pc_grammar *grammar;
    const struct pc_spelling *spelling;
    const int32_t *end_ids;
    size_t n_end_ids;
};

struct pc_sampler;

/** Whether these options choose what pc_sampler_greedy does, always. */
bool pc_sampler_is_greedy(const struct pc_sampler_options *options);

/** Whether options are in range: PACO_EINVAL with what is not. */
int pc_sampler_check(const struct pc_sampler_options *options, struct paco_error *err);

/** The greedy choice among n logits, nothing suppressed or penalised; -1 where pc_sampler_next fails. */
int32_t pc_sampler_greedy(const float *logits, size_t n);

/** *owned*: pc_sampler_free. Options out of range (a negative temperature, top_p above 1, ...) are
 * PACO_EINVAL, a suppressed id beyond the vocabulary is ignored. All memory is taken here. */
int pc_sampler_new(int32_t vocab_size, const struct pc_sampler_options *options, struct pc_sampler **out,
    struct paco_error *err);
void pc_sampler_free(struct pc_sampler *s);

/** Start another answer: forget what occurred, draw from the beginning of this stream. */
void pc_sampler_reset(struct pc_sampler *s, uint64_t stream);

/** Tell of a token of the prompt, which the repetition penalty looks at, too. */
void pc_sampler_accept_prompt(struct pc_sampler *s, int32_t id);
/** Tell of a token that was chosen. */
void pc_sampler_accept(struct pc_sampler *s, int32_t id);

/** Choose from logits (vocab_size). PACO_EFORMAT when none of them is a number above -infinity: the weights
 * are broken, or everything was suppressed. Allocates nothing. */
int pc_sampler_next(struct pc_sampler *s, const float *logits, int32_t *id, struct paco_error *err);

/** The n best ids by logit (fewer if the vocabulary is smaller, NaN left out) with their natural
 * log-probabilities over the whole vocabulary. Returns how many. Nothing is suppressed or penalised here. */
struct pc_ranked {
    int32_t id;
    double log_probability;
    float logit;
};
size_t pc_sampler_rank(struct pc_sampler *s, const float *logits, struct pc_ranked *out, size_t n);

#endif
