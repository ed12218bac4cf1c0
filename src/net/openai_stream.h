// SPDX-License-Identifier: Apache-2.0
/* One chat's answer from an OpenAI-compatible endpoint, as it is written (stream: true). Servers that know no
 * streaming and send the whole at once do as well. Source: OpenAI's API reference, chat completions. */
#ifndef PC_NET_OPENAI_STREAM_H
#define PC_NET_OPENAI_STREAM_H

#include "net/openai.h"

struct pc_openai_turn {
    const char *role, *content;
};

/** All borrowed. What is 0, NULL or NAN, and a top_k below 0, is not sent. */
struct pc_openai_stream {
    const char *url, *model, *key; /* as in struct pc_openai_options */
    const struct pc_openai_turn *turns;
    size_t n_turns;
    int32_t max_tokens, top_k;
    double temperature, top_p, min_p;
    bool has_seed;
    int64_t seed;
    const char *const *stops;
    size_t n_stops;
    struct pc_http_options http;
    /** Called with each piece of text, and with none several times a second. Nonzero ends the answer. */
    int (*on_text)(void *ctx, const char *text, size_t len);
    void *ctx;
};

/** *owned*: pc_openai_streamed_release. */
struct pc_openai_streamed {
    struct pc_buf text;
    char finish_reason[32]; /* "cancelled" when on_text wanted no more; "" when none was said */
    int64_t prompt_tokens, completion_tokens; /* -1 when not said */
    long status;                              /* the reply's; 0 when none came */
};

/** Ask, and wait for the end. What came before an error stays in out->text. Before the first byte requests
 * are tried again as http.h says; a stream that broke is PACO_EIO. Errors name endpoint, status and what the
 * endpoint said. */
int pc_openai_stream(
    const struct pc_openai_stream *request, struct pc_openai_streamed *out, struct paco_error *err);
void pc_openai_streamed_release(struct pc_openai_streamed *s);

#endif
