// SPDX-License-Identifier: Apache-2.0
/* A model behind an OpenAI-compatible endpoint, as an answerer.
 *
 * Opening it asks the endpoint a few questions of one token, to know what it can: completions, or only chat;
 * log-probabilities, and of how many tokens; echo; top_k and seed. What a task needs and the endpoint cannot
 * is said by pc_answer_api_can, before anything is asked.
 *
 * Texts are asked for by /completions, the prompt as it is; through /chat/completions, where there is nothing
 * else, the prompt is one user's message, as upstream's own OpenAI branch has it, and the card's tags are
 * taken off it: the endpoint has a template of its own. BOS is the endpoint's affair. All stop texts are cut
 * off here, too: endpoints take four, and some of them none. A question that is ids (PC_ASK_NATS of who has
 * the model's tokenizer) is sent as ids.
 *
 * Choices are asked for by one token's log-probabilities. The candidates are looked for among the likeliest,
 * with a space before them or without, as the echo of a bare letter tells, or else as is likelier in all. One
 * that is not among them is asked for by echo of prompt and candidate; where there is no echo, it counts as
 * probability 0, which changes no prediction, and an item of whose candidates none is among the likeliest
 * fails. */
#ifndef PC_EVAL_ANSWER_API_H
#define PC_EVAL_ANSWER_API_H

#include "base/progress.h"
#include "eval/answerer.h"
#include "net/http.h"

/** Borrowed for the call, but notes. */
struct pc_answer_api_options {
    const char *url, *model; /* net/openai.h's; model may be NULL */
    const char *key;         /* or NULL */
    bool chat;               /* by chat although there are completions */
    const char *cache_dir;   /* net/reply_cache.h's; or NULL */
    struct pc_http_options http;
    const struct pc_progress *progress; /* may be NULL */
    struct pc_notes *notes;
};

/** *out is *owned*: (*out)->ops->close. Errors: the endpoint's (no such host, key refused, no such model
 * ...). */
int pc_answer_api_open(
    const struct pc_answer_api_options *options, struct pc_answerer **out, struct paco_error *err);

/** What the endpoint says its model was tuned on, where prompts are to be wrapped for it; or AUTO. */
enum pc_format pc_answer_api_format(const struct pc_answerer *a);

/** Replies so far that were not asked for, since cache_dir had them. */
size_t pc_answer_api_n_kept(const struct pc_answerer *a);

/** 0, or PACO_EUNSUPPORTED and why this endpoint cannot answer questions like ask. */
int pc_answer_api_can(const struct pc_answerer *a, const struct pc_ask *ask, struct paco_error *err);

#endif
