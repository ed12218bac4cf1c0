// SPDX-License-Identifier: Apache-2.0
/* The two calls of an OpenAI-compatible endpoint that evaluation and judges need: completions (a text goes
 * on) and chat/completions (one user's message is answered). What endpoints differ in, and what they send
 * that is no such reply at all, is met here: the caller gets texts and numbers, or one error that names
 * endpoint, status and how the reply begins.
 *
 *     pc_openai_open(&(struct pc_openai_options){.url = "http://localhost:8000/v1", .model = "m"}, &api,
 * &err); pc_openai_start(api, &(struct pc_openai_request){.prompt = "1, 2,", .prompt_len = 5, .max_tokens =
 * 8}, &err); while ((rc = pc_openai_wait(api, 200, &reply, &err)) == 0)
 *         ... look whether to stop
 *     ... reply.err.code, or reply.choices[0].text
 *     pc_openai_reply_release(&reply);
 *
 * Many requests may be open; replies come in any order and are told apart by tag. Retries, proxies and
 * secrecy of the key are http.h's. One thread at a time. Source: OpenAI's API reference, completions and chat
 * completions. */
#ifndef PC_NET_OPENAI_H
#define PC_NET_OPENAI_H

#include "base/buf.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/progress.h"
#include "net/http.h"

struct pc_openai_options {
    /** "http://host:8000/v1". Without a path, /v1 is meant; the path of either call, and slashes, may follow.
     */
    const char *url;
    const char *model;           /* sent as it is; NULL: left out, for servers of one model */
    const char *key;             /* or NULL */
    const char *cache_dir;       /* net/reply_cache.h's, for questions at temperature 0; or NULL */
    struct pc_http_options http; /* max_reply: 16 MiB by default; is_final is set here */
};

enum { PC_OPENAI_MAX_STOPS = 4, PC_OPENAI_MAX_CHOICES = 128 };

/** What is 0, NULL or off is not sent, but for max_tokens, and temperature unless it is NAN. */
struct pc_openai_request {
    bool chat;          /* prompt is one message of a user */
    const char *system; /* chat: the message before it, or NULL */
    const char *prompt; /* bytes that are no UTF-8 become U+FFFD */
    size_t prompt_len;
    const int32_t *ids; /* completions: the prompt as tokens, in place of text; or NULL */
    size_t n_ids;
    int32_t max_tokens, n, top_k;
    double temperature, top_p;
    bool has_seed;
    int64_t seed;
    const char *const *stops; /* at most PC_OPENAI_MAX_STOPS, which is what OpenAI takes */
    size_t n_stops;
    const char *logit_bias; /* JSON object of biases by token id */
    int32_t logprobs;       /* alternatives wanted beside each token */
    bool echo;              /* completions: prompt and its log-probabilities come back, too */
    bool no_specials;       /* completions: nothing is put before the prompt (vLLM's add_special_tokens) */
    int max_tries;          /* 0: the options' */
    uint64_t tag;
};

/** Views into the reply. */
struct pc_openai_token {
    const char *text;
    double logprob; /* natural; NAN where null, as the first token's of a prompt */
    const struct pc_openai_top {
        const char *text;
        double logprob;
    } * top; /* the likeliest in this place, in the endpoint's order */
    size_t n_top;
};

struct pc_openai_choice {
    const char *text; /* NUL-terminated; a NUL may also be inside */
    size_t len;
    const char *finish_reason;            /* "" when missing */
    const struct pc_openai_token *tokens; /* n_tokens is 0 without log-probabilities */
    size_t n_tokens;
};

struct pc_openai_reply {
    uint64_t tag;
    int status; /* HTTP's; 0 when none came */
    /** code 0, or why there are no choices. An endpoint that withheld one (finish_reason content_filter), or
     * says of one or of all that it failed, gave none: PACO_EIO. */
    struct paco_error err;
    struct pc_openai_choice *choices; /* at least 1; by index */
    size_t n_choices;
    int64_t prompt_tokens, completion_tokens; /* -1 when not said */
    json_t *root;                             /* owned */
    struct pc_arena arena;                    /* owned */
};

struct pc_openai;

int pc_openai_open(const struct pc_openai_options *options, struct pc_openai **out, struct paco_error *err);
void pc_openai_close(struct pc_openai *api);
/** The endpoint, as it may be shown. */
const char *pc_openai_shown(const struct pc_openai *api);
int pc_openai_start(struct pc_openai *api, const struct pc_openai_request *request, struct paco_error *err);
/** 1 and *reply (release it), 0 when none is ready yet, negative for local faults. */
int pc_openai_wait(
    struct pc_openai *api, int timeout_ms, struct pc_openai_reply *reply, struct paco_error *err);
/** Send one request while no other is open, and wait for it. progress may be NULL. Negative for local faults
 * and PACO_ECANCELLED; else see reply->err. */
int pc_openai_ask(struct pc_openai *api, const struct pc_openai_request *request,
    const struct pc_progress *progress, struct pc_openai_reply *reply, struct paco_error *err);
void pc_openai_reply_release(struct pc_openai_reply *reply);
/** What the endpoint's list of models says of the options' model, or of the only one there is: an object,
 * *owned*, or NULL where it has no such list, or that model is not in it. While no request is open. Negative
 * for local faults and PACO_ECANCELLED. */
int pc_openai_describe(
    struct pc_openai *api, const struct pc_progress *progress, json_t **out, struct paco_error *err);
/** Replies handed out so far that were not asked for, since cache_dir had them. */
size_t pc_openai_n_kept(const struct pc_openai *api);

/** "http://h", "http://h/v1/" and "http://h/v1/chat/completions" all mean "http://h/v1". Owned; NULL when
 * memory is out. */
char *pc_openai_base_url(const char *url);
/** struct pc_http_options' is_final: quota that is used up comes with the status of haste, and no waiting
 * helps.
 */
bool pc_openai_is_final(int status, const char *body, size_t len);

/** The body of request, appended to b: for tests, and for caches that know a question by its text. */
void pc_openai_write_request(struct pc_buf *b, const char *model, const struct pc_openai_request *request);
/** Fill reply (tag aside) from what came; shown names the endpoint, key is blotted out of excerpts. */
void pc_openai_read_reply(
    const struct pc_http_reply *http, const char *shown, const char *key, struct pc_openai_reply *reply);

#endif
