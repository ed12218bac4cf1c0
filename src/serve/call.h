// SPDX-License-Identifier: Apache-2.0
/* What a client asks for, read from the body of a request: every field checked, every prompt turned into ids
 * that fit the context. Fields that mean nothing here are passed over, as OpenAI's clients send new ones all
 * the time; but what would change the answer and cannot be done (tools, a response format) is refused. */
#ifndef PC_SERVE_CALL_H
#define PC_SERVE_CALL_H

#include "serve/fault.h"
#include "serve/served.h"

#include <jansson.h>

enum pc_call_kind { PC_CALL_CHAT, PC_CALL_TEXT, PC_CALL_EMBEDDING };

enum {
    PC_CALL_MAX_PROMPTS = 1024,
    PC_CALL_MAX_N = 128,
    PC_CALL_MAX_STOPS = 64,
    PC_CALL_MAX_STOP_SIZE = 1024,
    PC_CALL_MAX_LOGPROBS = 20,
    PC_CALL_MAX_BIAS = 1024,
    PC_CALL_MAX_MESSAGES = 10000,
};

struct pc_call_prompt {
    struct pc_ids ids;
    char *text; /* as it was sent, where it is echoed; else NULL */
    size_t len;
};

/** *owned*: pc_call_release. `{0}` may be released too. */
struct pc_call {
    enum pc_call_kind kind;
    const struct pc_served *model;
    struct pc_call_prompt *prompts;
    size_t n_prompts;
    int32_t n;          /* answers to each */
    int64_t max_tokens; /* of an answer, as asked; -1: as many as there is room for */
    struct pc_sampler_options sampler;
    struct pc_logit_bias *bias; /* what sampler points to */
    char **stops;               /* the client's, then the model's: stops + n_own_stops are borrowed */
    size_t n_stops, n_own_stops;
    bool stream, include_usage, echo;
    bool no_specials;   /* nothing is put before a prompt's text, whatever the model's settings say */
    bool ignore_eos;    /* the model's end tokens are tokens as others: lengths and stops end an answer */
    bool base64;        /* embeddings are wanted so encoded */
    int32_t n_logprobs; /* alternatives beside each token's own; -1: no log-probabilities */
};

/** What a house allows. */
struct pc_call_limits {
    int32_t context;        /* positions of a prompt and its answer */
    int32_t default_tokens; /* of a chat's answer, where the request does not say */
};

/** Read a body's root, an object. 0, or negative with the fault; the call is to be released in any case. */
int pc_call_read(struct pc_call *call, enum pc_call_kind kind, const json_t *root,
    const struct pc_house *house, const struct pc_call_limits *limits, struct pc_fault *fault);
void pc_call_release(struct pc_call *call);

/** Tokens that the answer to prompt i may have. */
int32_t pc_call_tokens(const struct pc_call *call, const struct pc_call_limits *limits, size_t i);

/** The model a request names: 404 model_not_found; without the field the first. */
int pc_call_model(
    const json_t *root, const struct pc_house *house, const struct pc_served **out, struct pc_fault *fault);

#endif
