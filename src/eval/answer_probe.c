// SPDX-License-Identifier: Apache-2.0
/* What an endpoint can, found out by asking: no two of them agree, and none says. Each question is of one
 * token. */
#include "eval/answer_api_parts.h"

#include <math.h>
#include <string.h>

static const char g_text[] = "1, 2, 3, 4,";

struct probe {
    struct pc_openai *api;
    const struct pc_progress *progress;
    struct pc_openai_reply reply;
};

/* 1: answered; 0: the endpoint does not take such a question, and reply.err says why; else nothing can be
 * asked of it. */
static int try(struct probe *p, struct pc_openai_request request, struct paco_error *err)
{
    if (!request.prompt) {
        request.prompt = g_text;
        request.prompt_len = sizeof g_text - 1;
    }
    pc_openai_reply_release(&p->reply);
    int rc = pc_openai_ask(p->api, &request, p->progress, &p->reply, err);
    if (rc < 0)
        return rc;
    if (p->reply.err.code == 0)
        return 1;
    switch (p->reply.status) {
    case 400:
    case 404:
    case 405:
    case 422:
    case 500: // what some servers say to options they do not know
    case 501: return 0;
    default: break;
    }
    if (err)
        *err = p->reply.err;
    return p->reply.err.code;
}

/* The most alternatives it names: servers refuse more than they allow, OpenAI's completions more than 5. */
static int probe_logprobs(struct probe *p, bool chat, int32_t *logprobs, struct paco_error *err)
{
    static const int32_t counts[] = {20, 5, 0};
    int rc = 0;
    for (size_t i = 0; i < sizeof counts / sizeof *counts && rc == 0; i++)
        rc = try(p,
            (struct pc_openai_request){.chat = chat, .max_tokens = 1, .logprobs = counts[i], .max_tries = 3},
            err);
    *logprobs = 0;
    if (rc > 0 && p->reply.choices[0].n_tokens)
        *logprobs = (int32_t)p->reply.choices[0].tokens[0].n_top;
    return rc;
}

/* Echo is only believed where it gives the text back and a probabilities of its tokens, of which the first's
 * may be missing. */
static bool is_echo(const struct pc_openai_choice *c)
{
    const size_t len = sizeof g_text - 1;
    return c->len >= len && memcmp(c->text, g_text, len) == 0 && c->n_tokens > 1 &&
           !isnan(c->tokens[1].logprob);
}

static int probe_echo(struct probe *p, struct pc_endpoint *e, struct paco_error *err)
{
    int rc = 0;
    for (int32_t n = 0; n < 2 && rc == 0 && !e->echo; n++) {
        rc = try(
            p, (struct pc_openai_request){.max_tokens = n, .logprobs = 1, .echo = true, .max_tries = 2}, err);
        e->echo = rc > 0 && is_echo(&p->reply.choices[0]);
        e->echo_max_tokens = n;
        rc = rc < 0 ? rc : 0;
    }
    return rc;
}

/* How a bare word is spelled, and whether special tokens can be left away. */
static int probe_tokens(struct probe *p, struct pc_endpoint *e, struct paco_error *err)
{
    int rc = try(p,
        (struct pc_openai_request){
            .max_tokens = 1, .temperature = 0, .logprobs = e->logprobs, .no_specials = true, .max_tries = 2},
        err);
    e->specials = rc > 0;
    if (rc < 0 || !e->echo)
        return rc < 0 ? rc : 0;
    rc = try(p,
        (struct pc_openai_request){.prompt = "A, A",
            .prompt_len = 4,
            .max_tokens = e->echo_max_tokens,
            .logprobs = 1,
            .echo = true,
            .max_tries = 2},
        err);
    if (rc > 0)
        e->bare = pc_echo_bare(&p->reply.choices[0], pc_echo_n_tokens(e, &p->reply));
    return rc < 0 ? rc : 0;
}

static int probe_sampling(struct probe *p, struct pc_endpoint *e, struct paco_error *err)
{
    const struct pc_openai_request plain = {
        .chat = !e->completions, .max_tokens = 1, .temperature = 1, .max_tries = 2};
    struct pc_openai_request r[3] = {plain, plain, plain};
    bool *const can[3] = {&e->top_k, &e->seed, &e->many};
    int rc = 0;
    r[0].top_k = 50;
    r[1].has_seed = true;
    r[2].n = 2;
    for (int i = 0; i < 3 && rc >= 0; i++) {
        rc = try(p, r[i], err);
        *can[i] = rc > 0 && (i != 2 || p->reply.n_choices == 2);
    }
    return rc < 0 ? rc : 0;
}

/* paco serve says it, of each of its models. A chat is wrapped there. */
static int probe_format(struct probe *p, struct pc_endpoint *e, struct paco_error *err)
{
    json_t *model = NULL;
    int rc = pc_openai_describe(p->api, p->progress, &model, err);
    const char *name = json_string_value(json_object_get(model, "format"));
    if (!name || !pc_format_parse(name, &e->format))
        e->format = PC_FORMAT_AUTO;
    json_decref(model);
    return rc;
}

static int probe(struct probe *p, bool prefer_chat, struct pc_endpoint *e, struct paco_error *err)
{
    struct paco_error why = {0};
    int rc = prefer_chat ? 0 : probe_logprobs(p, false, &e->logprobs, err);
    e->completions = rc > 0;
    if (rc == 0) {
        why = p->reply.err;
        rc = probe_logprobs(p, true, &e->logprobs, err);
        e->chat = rc > 0;
    }
    if (rc == 0) { // neither: what it said to the first question is the better reason
        if (err)
            *err = prefer_chat ? p->reply.err : why;
        return pc_error_prefix(
            err, prefer_chat ? "no answer by chat" : "no answer by completions, nor by chat");
    }
    if (rc > 0 && e->completions && e->logprobs)
        rc = probe_echo(p, e, err);
    if (rc >= 0 && e->completions)
        rc = probe_tokens(p, e, err);
    if (rc >= 0 && e->completions)
        rc = probe_format(p, e, err);
    return rc < 0 ? rc : probe_sampling(p, e, err);
}

int pc_endpoint_probe(struct pc_openai *api, const struct pc_answer_api_options *o, struct pc_endpoint *out,
    struct paco_error *err)
{
    struct probe p = {.api = api, .progress = o->progress};
    *out = (struct pc_endpoint){0};
    int rc = probe(&p, o->chat, out, err);
    pc_openai_reply_release(&p.reply);
    if (rc < 0)
        return rc;
    if (!out->top_k)
        pc_note(o->notes, "%s: takes no top_k: sampled answers are drawn without it", pc_openai_shown(api));
    if (!out->seed)
        pc_note(o->notes, "%s: takes no seed: sampled answers differ each time", pc_openai_shown(api));
    if (out->chat)
        pc_note(o->notes, "%s: prompts are sent as a user's message%s", pc_openai_shown(api),
            o->chat ? "" : ": it has no completions, and scores may differ from those of the plain prompt");
    return 0;
}
