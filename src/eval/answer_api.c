// SPDX-License-Identifier: Apache-2.0
#include "eval/answer_api.h"

#include "base/memory.h"
#include "eval/answer_api_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Tries: two minutes in all, since a rate limit is counted by the minute. */
enum { MAX_SILENT = 8, MAX_TRIES = 8, MAX_PROMPT = 64 << 20 };

/* A question under way. Requests of it are told apart by their tag: its slot, and a number. That is 0, and
 * for choices the candidate + 1 where one is asked by echo. How likely a text's end is takes two echoes, one
 * after the other: of the beginning alone (HEAD), which tells how many tokens it has, since what endpoints
 * call a token's text does not always add up; and of all. */
enum { WHOLE, HEAD };

struct item {
    bool used;
    size_t i_item;
    struct pc_ask ask; /* but its prompt */
    char *prompt;      /* owned */
    size_t prompt_len;
    int64_t seed;
    bool patient; /* a blank line does not end the answer: one came before anything else */
    struct pc_candidates candidates;
    const char *choices[PC_MAX_CHOICES];
    size_t n_head;    /* tokens of the beginning, of which the last is: */
    char *head_last;  /* owned; NULL where the tokens themselves were sent */
    size_t n_waiting; /* requests under way */
    struct pc_reply reply;
};

struct api {
    struct pc_answerer a;
    struct pc_openai *openai;
    struct pc_endpoint can;
    struct pc_notes *notes;
    struct item *items;
    size_t n_items, n_open;
    int n_silent; /* items in a row to which nothing came back at all */
    size_t n_kept_probes;
    bool said_unlisted; /* the note on candidates that are not among the likeliest */
};

static struct api *api_of(struct pc_answerer *a)
{
    return (struct api *)a; // the first member
}

static void item_release(struct item *it)
{
    pc_free(it->prompt);
    pc_free(it->head_last);
    pc_reply_release(&it->reply);
    *it = (struct item){0};
}

static size_t room(const struct pc_answerer *a)
{
    const struct api *api = (const struct api *)a;
    return api->n_items - api->n_open;
}

/* ---- asking ---- */

/* The user's words without the card's tags; the beginning of the assistant's goes below them. */
static void put_message(struct pc_buf *b, const char *prompt, size_t len)
{
    static const char user[] = "<|user|>\n", assistant[] = "\n<|assistant|>\n";
    const size_t n_user = sizeof user - 1, n_assistant = sizeof assistant - 1;
    const char *end = NULL;
    if (len >= n_user && memcmp(prompt, user, n_user) == 0)
        for (const char *at = prompt; (at = memmem(at, len - (size_t)(at - prompt), assistant, n_assistant));
             at++)
            end = at;
    if (!end) {
        pc_buf_add(b, prompt, len);
        return;
    }
    const char *begin = end + n_assistant;
    pc_buf_add(b, prompt + n_user, (size_t)(end - prompt) - n_user);
    if (begin < prompt + len) {
        pc_buf_putc(b, '\n');
        pc_buf_add(b, begin, len - (size_t)(begin - prompt));
    }
}

static int copy_prompt(
    const struct api *api, const struct pc_ask *ask, struct item *it, struct paco_error *err)
{
    struct pc_buf b;
    pc_buf_init(&b, MAX_PROMPT);
    if (api->can.chat)
        put_message(&b, ask->prompt->data ? ask->prompt->data : "", ask->prompt->len);
    else
        pc_buf_add(&b, ask->prompt->data, ask->prompt->len);
    pc_buf_putc(&b, '\0');
    int rc = pc_buf_check(&b, "a prompt", err);
    it->prompt_len = rc < 0 ? 0 : b.len - 1;
    it->prompt = pc_buf_detach(&b);
    pc_buf_release(&b);
    return rc;
}

static int request(
    struct api *api, struct item *it, size_t part, struct pc_openai_request r, struct paco_error *err)
{
    r.chat = api->can.chat;
    r.no_specials = api->can.specials && it->ask.kind != PC_ASK_NATS && !it->ask.bos;
    r.tag = (uint64_t)(it - api->items) << 8 | part;
    if (!r.prompt) {
        r.prompt = it->prompt;
        r.prompt_len = it->prompt_len;
    }
    int rc = pc_openai_start(api->openai, &r, err);
    it->n_waiting += rc == 0;
    return rc;
}

/* The texts that are still missing; seed and number tell these samples from those that came. */
static int request_texts(struct api *api, struct item *it, struct paco_error *err)
{
    const struct pc_ask *ask = &it->ask;
    bool sampled = ask->temperature > 0;
    const char *stops[PC_MAX_STOPS + 1];
    size_t n_stops = 0;
    if (ask->until_blank_line && !it->patient)
        stops[n_stops++] = "\n\n";
    for (size_t i = 0; i < ask->n_stop_texts; i++)
        stops[n_stops++] = ask->stop_texts[i];
    return request(api, it, 0,
        (struct pc_openai_request){.max_tokens = ask->max_tokens,
            .n = api->can.many ? ask->n_samples - (int32_t)it->reply.n_texts : 1,
            .temperature = ask->temperature,
            .top_p = sampled ? ask->top_p : 0,
            .top_k = sampled && api->can.top_k ? ask->top_k : 0,
            .has_seed = sampled && api->can.seed,
            .seed = (it->seed + (int64_t)it->reply.n_texts) & INT32_MAX,
            .stops = stops,
            .n_stops = n_stops},
        err);
}

static int request_choice(struct api *api, struct item *it, struct paco_error *err)
{
    return request(
        api, it, 0, (struct pc_openai_request){.max_tokens = 1, .logprobs = api->can.logprobs}, err);
}

static int request_text_echo(
    struct api *api, struct item *it, size_t part, const char *text, size_t len, struct paco_error *err)
{
    return request(api, it, part,
        (struct pc_openai_request){.prompt = text,
            .prompt_len = len,
            .max_tokens = api->can.echo_max_tokens,
            .logprobs = 1,
            .echo = true},
        err);
}

/* Who has the tokenizer knows where what counts begins. */
static int request_ids_echo(struct api *api, struct item *it, struct paco_error *err)
{
    it->n_head = it->ask.first + 1;
    return request(api, it, WHOLE,
        (struct pc_openai_request){.ids = it->ask.ids,
            .n_ids = it->ask.n_ids,
            .max_tokens = api->can.echo_max_tokens,
            .logprobs = 1,
            .echo = true},
        err);
}

static int request_echo(struct api *api, struct item *it, size_t i, struct paco_error *err)
{
    struct pc_buf b;
    pc_buf_init(&b, MAX_PROMPT);
    pc_buf_add(&b, it->prompt, it->prompt_len);
    pc_candidates_spell(&it->candidates, i, &b);
    int rc = pc_buf_check(&b, "a prompt", err);
    if (rc == 0)
        rc = request_text_echo(api, it, i + 1, b.data, b.len, err);
    pc_buf_release(&b);
    return rc;
}

static int fill_item(struct api *api, struct item *it, const struct pc_question *q, struct paco_error *err)
{
    it->i_item = q->i_item;
    it->ask = *q->ask;
    it->ask.prompt = NULL;
    it->seed = q->seed;
    it->reply.i_item = q->i_item;
    it->reply.n_prompt_tokens = it->reply.n_output_tokens = -1;
    memcpy(it->choices, q->ask->choices, sizeof it->choices);
    it->candidates = (struct pc_candidates){.texts = it->choices, .n = q->ask->n_choices};
    int rc = copy_prompt(api, q->ask, it, err);
    if (rc < 0)
        return rc;
    if (q->ask->kind == PC_ASK_CHOICE)
        return request_choice(api, it, err);
    if (q->ask->kind == PC_ASK_NATS && it->ask.ids && !api->can.chat)
        return request_ids_echo(api, it, err);
    if (q->ask->kind == PC_ASK_NATS)
        return request_text_echo(api, it, HEAD, it->prompt, it->prompt_len - it->ask.tail_len, err);
    it->reply.texts = pc_alloc_zero((size_t)q->ask->n_samples, sizeof *it->reply.texts);
    it->reply.lens = pc_alloc_zero((size_t)q->ask->n_samples, sizeof *it->reply.lens);
    if (!it->reply.texts || !it->reply.lens)
        return pc_error_mem(err, 0, "answers");
    return request_texts(api, it, err);
}

static int submit(struct pc_answerer *a, const struct pc_question *q, struct paco_error *err)
{
    struct api *api = api_of(a);
    int rc = pc_answer_api_can(a, q->ask, err);
    if (rc < 0)
        return rc;
    struct item *it = api->items;
    while (it->used) // there is room, says the caller
        it++;
    it->used = true;
    rc = fill_item(api, it, q, err);
    if (rc < 0) {
        item_release(it);
        return rc;
    }
    api->n_open++;
    return 0;
}

/* ---- hearing ---- */

static size_t cut_at_stops(const struct pc_ask *ask, const char *text, size_t len)
{
    len = ask->until_blank_line ? pc_blank_line(text, len) : len;
    for (size_t i = 0; i < ask->n_stop_texts; i++) {
        const char *at = memmem(text, len, ask->stop_texts[i], strlen(ask->stop_texts[i]));
        len = at ? (size_t)(at - text) : len;
    }
    return len;
}

/* Stopped by a blank line that nothing came before, as far as can be told from outside. */
static bool began_blank(const struct item *it, const struct pc_openai_choice *c)
{
    size_t n = 0;
    while (n < c->len && strchr(" \t\r\n", c->text[n]))
        n++;
    return it->ask.until_blank_line && !it->patient && n == c->len && strcmp(c->finish_reason, "stop") == 0;
}

static int take_texts(
    struct api *api, struct item *it, const struct pc_openai_reply *r, struct paco_error *err)
{
    size_t want = (size_t)it->ask.n_samples;
    if (began_blank(it, &r->choices[0])) {
        it->patient = true;
        it->reply.n_output_tokens = -1;
        return request_texts(api, it, err);
    }
    for (size_t i = 0; i < r->n_choices && it->reply.n_texts < want; i++) {
        const char *said = r->choices[i].text;
        /* The ids alone, as they are decoded where the engine is: a first word has no space before it. */
        size_t skip = it->ask.new_only && api->can.bare == PC_BARE_SPACED && *said == ' ';
        size_t len = cut_at_stops(&it->ask, said + skip, r->choices[i].len - skip);
        char *text = pc_strndup(said + skip, len);
        if (!text)
            return pc_error_mem(err, len, "an answer");
        it->reply.texts[it->reply.n_texts] = text;
        it->reply.lens[it->reply.n_texts++] = len;
        api->a.n_drawn++;
    }
    return it->reply.n_texts < want ? request_texts(api, it, err) : 0;
}

/* What the likeliest token is, for the message that no candidate is among them. */
static void fail_unlisted(const struct api *api, struct item *it, const struct pc_openai_choice *c)
{
    char token[40];
    pc_error_set(&it->reply.error, PACO_EUNSUPPORTED,
        "%s: no candidate is among the %d likeliest next tokens (the first is '%s'), and there is no echo to "
        "ask by",
        pc_openai_shown(api->openai), api->can.logprobs,
        pc_printable(c->tokens[0].text, token, sizeof token));
}

static int take_choice(
    struct api *api, struct item *it, const struct pc_openai_reply *r, struct paco_error *err)
{
    struct pc_candidates *c = &it->candidates;
    if (!pc_candidates_find(c, &r->choices[0], api->can.bare, it->prompt, it->prompt_len)) {
        pc_error_set(&it->reply.error, PACO_EFORMAT, "%s: a reply without log-probabilities",
            pc_openai_shown(api->openai));
        return 0;
    }
    int rc = 0;
    bool missing = false;
    for (size_t i = 0; i < c->n && rc == 0; i++)
        if (isnan(c->logprob[i])) {
            missing = true;
            rc = api->can.echo ? request_echo(api, it, i, err) : 0;
        }
    if (!missing || api->can.echo)
        return rc;
    if (!c->any)
        fail_unlisted(api, it, &r->choices[0]);
    else if (!api->said_unlisted)
        pc_note(api->notes,
            "%s names only the %d likeliest tokens: candidates that are not among them count as probability "
            "0, which "
            "changes no prediction",
            pc_openai_shown(api->openai), api->can.logprobs);
    api->said_unlisted |= c->any;
    return 0;
}

static void take_echo(struct api *api, struct item *it, size_t i, const struct pc_openai_reply *r)
{
    size_t tail = strlen(it->choices[i]) + it->candidates.spaced;
    double logprob = pc_echo_logprob(&r->choices[0], it->prompt_len + tail, tail);
    if (isnan(logprob))
        pc_error_set(&it->reply.error, PACO_EUNSUPPORTED,
            "%s: its tokens do not divide between the prompt and the candidate '%s'",
            pc_openai_shown(api->openai), it->choices[i]);
    it->candidates.logprob[i] = logprob;
}

static void fail_echo(const struct api *api, struct item *it)
{
    pc_error_set(&it->reply.error, PACO_EUNSUPPORTED,
        "%s: the echo of the text's beginning is not the beginning of the echo of all of it",
        pc_openai_shown(api->openai));
}

static int take_head(
    struct api *api, struct item *it, const struct pc_openai_reply *r, struct paco_error *err)
{
    it->n_head = pc_echo_n_tokens(&api->can, r);
    if (it->n_head == 0) {
        fail_echo(api, it);
        return 0;
    }
    it->head_last = pc_strdup(r->choices[0].tokens[it->n_head - 1].text);
    if (!it->head_last)
        return pc_error_mem(err, 64, "an echo");
    return request_text_echo(api, it, WHOLE, it->prompt, it->prompt_len, err);
}

static void take_whole(const struct api *api, struct item *it, const struct pc_openai_reply *r)
{
    const struct pc_openai_choice *echo = &r->choices[0];
    size_t n = pc_echo_n_tokens(&api->can, r);
    if (n <= it->n_head ||
        (it->head_last ? strcmp(echo->tokens[it->n_head - 1].text, it->head_last) != 0 : n != it->ask.n_ids))
        fail_echo(api, it);
    else if (!pc_echo_nats(echo, it->n_head, n, &it->reply.nats))
        pc_error_set(&it->reply.error, PACO_EFORMAT, "%s: an echo without log-probabilities",
            pc_openai_shown(api->openai));
    it->reply.nats.n_bytes = (int64_t)it->ask.tail_len;
}

static void count_tokens(struct item *it, const struct pc_openai_reply *r, size_t part)
{
    if (part == 0 && r->prompt_tokens >= 0)
        it->reply.n_prompt_tokens = r->prompt_tokens;
    if (it->ask.kind != PC_ASK_TEXT) /* nothing is answered, whatever the endpoint had to say */
        it->reply.n_output_tokens = 0;
    else if (r->completion_tokens >= 0)
        it->reply.n_output_tokens =
            r->completion_tokens + (it->reply.n_output_tokens > 0 ? it->reply.n_output_tokens : 0);
}

static int finish_choice(struct item *it, struct paco_error *err)
{
    it->reply.probs = pc_alloc(it->candidates.n, sizeof *it->reply.probs);
    if (!it->reply.probs)
        return pc_error_mem(err, 0, "probabilities");
    it->reply.n_probs = it->candidates.n;
    pc_candidates_probs(&it->candidates, it->reply.probs);
    return 0;
}

/* Nothing more can be asked: the key is no longer taken, the quota is used up, or nobody is there any more.
 */
static bool is_the_end(struct api *api, const struct pc_openai_reply *r)
{
    api->n_silent = r->err.code < 0 && r->status == 0 ? api->n_silent + 1 : 0;
    return r->status == 401 || r->status == 403 || r->err.code == PACO_EVERIFY || r->err.code == PACO_EMEM ||
           (r->status == 429 && r->err.code < 0) || api->n_silent >= MAX_SILENT;
}

static int hear(struct api *api, struct item *it, const struct pc_openai_reply *r, struct paco_error *err)
{
    size_t part = r->tag & 0xff;
    it->n_waiting--;
    if (is_the_end(api, r)) {
        if (err)
            *err = r->err;
        return r->err.code;
    }
    if (r->err.code < 0) {
        it->reply.error = r->err;
        return 0;
    }
    count_tokens(it, r, part);
    if (it->reply.error.code < 0)
        return 0;
    if (it->ask.kind == PC_ASK_NATS && part == HEAD)
        return take_head(api, it, r, err);
    if (it->ask.kind == PC_ASK_NATS) {
        take_whole(api, it, r);
        return 0;
    }
    if (part > 0) {
        take_echo(api, it, part - 1, r);
        return 0;
    }
    return it->ask.kind == PC_ASK_CHOICE ? take_choice(api, it, r, err) : take_texts(api, it, r, err);
}

static void drop_answers(struct pc_reply *r)
{
    struct pc_reply kept = {.i_item = r->i_item,
        .error = r->error,
        .n_prompt_tokens = r->n_prompt_tokens,
        .n_output_tokens = r->n_output_tokens};
    pc_reply_release(r);
    *r = kept;
}

static int hand_out(struct api *api, struct item *it, struct pc_reply *reply, struct paco_error *err)
{
    int rc = 0;
    api->a.n_drawn -= it->reply.n_texts;
    if (it->reply.error.code < 0)
        drop_answers(&it->reply);
    else if (it->ask.kind == PC_ASK_CHOICE)
        rc = finish_choice(it, err);
    if (rc < 0)
        return rc;
    *reply = it->reply;
    it->reply = (struct pc_reply){0};
    item_release(it);
    api->n_open--;
    return 1;
}

static int poll(struct pc_answerer *a, struct pc_reply *reply, struct paco_error *err)
{
    struct api *api = api_of(a);
    struct pc_openai_reply r;
    int rc;
    while ((rc = pc_openai_wait(api->openai, 100, &r, err)) > 0) {
        struct item *it = &api->items[r.tag >> 8];
        rc = hear(api, it, &r, err);
        pc_openai_reply_release(&r);
        if (rc < 0)
            return rc;
        if (it->n_waiting == 0)
            return hand_out(api, it, reply, err);
    }
    return rc;
}

/* ---- from opening to closing ---- */

static void close_api(struct pc_answerer *a)
{
    if (!a)
        return;
    struct api *api = api_of(a);
    for (size_t i = 0; i < api->n_items; i++)
        item_release(&api->items[i]);
    pc_free(api->items);
    pc_openai_close(api->openai);
    pc_free(api);
}

static const struct pc_answerer_ops g_ops = {room, submit, poll, close_api};

static int prepare(struct api *api, const struct pc_answer_api_options *o, struct paco_error *err)
{
    struct pc_http_options http = o->http;
    http.max_tries = http.max_tries ? http.max_tries : MAX_TRIES;
    int rc = pc_openai_open(
        &(struct pc_openai_options){
            .url = o->url, .model = o->model, .key = o->key, .cache_dir = o->cache_dir, .http = http},
        &api->openai, err);
    if (rc == 0)
        rc = pc_endpoint_probe(api->openai, o, &api->can, err);
    if (rc < 0)
        return rc;
    api->n_kept_probes = pc_openai_n_kept(api->openai);
    // Twice what may be in flight: there is always a request ready when one comes back.
    size_t n = 2 * (size_t)(o->http.max_in_flight > 0 ? o->http.max_in_flight : 16);
    api->items = pc_alloc_zero(n, sizeof *api->items);
    if (!api->items)
        return pc_error_mem(err, n * sizeof *api->items, "questions");
    api->n_items = n;
    snprintf(api->a.description, sizeof api->a.description, "%s of %.200s",
        api->can.chat ? "chat" : "completions", pc_openai_shown(api->openai));
    return 0;
}

int pc_answer_api_open(
    const struct pc_answer_api_options *options, struct pc_answerer **out, struct paco_error *err)
{
    struct api *api = pc_alloc_zero(1, sizeof *api);
    if (!api)
        return pc_error_mem(err, sizeof *api, "an endpoint");
    api->a.ops = &g_ops;
    api->notes = options->notes;
    int rc = prepare(api, options, err);
    if (rc < 0) {
        close_api(&api->a);
        return rc;
    }
    *out = &api->a;
    return 0;
}

size_t pc_answer_api_n_kept(const struct pc_answerer *a)
{
    const struct api *api = (const struct api *)a;
    return pc_openai_n_kept(api->openai) - api->n_kept_probes;
}

enum pc_format pc_answer_api_format(const struct pc_answerer *a)
{
    return ((const struct api *)a)->can.format;
}

int pc_answer_api_can(const struct pc_answerer *a, const struct pc_ask *ask, struct paco_error *err)
{
    const struct api *api = (const struct api *)a;
    if (ask->kind == PC_ASK_CHOICE && api->can.logprobs == 0)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "%s gives no log-probabilities, and this task compares those of the candidates: it cannot be "
            "done there",
            pc_openai_shown(api->openai));
    if (ask->kind == PC_ASK_NATS && !api->can.echo)
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "%s does not tell how likely the tokens of a prompt are (completions with echo and logprobs), "
            "and this task adds those up: it cannot be done there",
            pc_openai_shown(api->openai));
    return 0;
}
