// SPDX-License-Identifier: Apache-2.0
#include "net/openai_stream.h"

#include "base/file.h"
#include "net/sse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TEXT = 64 << 20, MAX_WHOLE = 16 << 20, WAIT_MS = 50 };

/* An answer under way. */
struct answer {
    const struct pc_openai_stream *o;
    struct pc_openai_streamed *out;
    struct pc_sse sse;
    struct pc_buf whole; /* of a reply that is no stream */
    bool is_whole, came, ended, cancelled;
    char shown[600];
};

void pc_openai_streamed_release(struct pc_openai_streamed *s)
{
    pc_buf_release(&s->text);
}

/* ---- what is sent ---- */

static void set_number(json_t *o, const char *key, double x)
{
    if (!isnan(x))
        json_object_set_new(o, key, pc_json_number(x));
}

static json_t *text_of(const char *s)
{
    struct pc_buf b;
    json_t *v = json_string(s);
    if (v)
        return v;
    pc_buf_init(&b, MAX_TEXT); // not UTF-8: as in every other request
    pc_json_write_string(&b, s, strlen(s), true);
    v = b.failed ? NULL : json_loadb(b.data, b.len, JSON_DECODE_ANY, NULL);
    pc_buf_release(&b);
    return v;
}

static void write_body(struct pc_buf *b, const struct pc_openai_stream *r)
{
    json_t *o = json_object(), *turns = json_array(), *stops = json_array();
    if (r->model)
        json_object_set_new(o, "model", text_of(r->model));
    for (size_t i = 0; i < r->n_turns; i++) {
        json_t *turn = json_object();
        json_object_set_new(turn, "role", json_string(r->turns[i].role));
        json_object_set_new(turn, "content", text_of(r->turns[i].content));
        json_array_append_new(turns, turn);
    }
    json_object_set_new(o, "messages", turns);
    json_object_set_new(o, "stream", json_true());
    json_object_set_new(o, "stream_options", json_pack("{s:b}", "include_usage", 1));
    if (r->max_tokens > 0)
        json_object_set_new(o, "max_tokens", json_integer(r->max_tokens));
    set_number(o, "temperature", r->temperature);
    set_number(o, "top_p", r->top_p);
    set_number(o, "min_p", r->min_p);
    if (r->top_k >= 0)
        json_object_set_new(o, "top_k", json_integer(r->top_k));
    if (r->has_seed)
        json_object_set_new(o, "seed", json_integer(r->seed));
    for (size_t i = 0; i < r->n_stops && i < PC_OPENAI_MAX_STOPS; i++)
        json_array_append_new(stops, text_of(r->stops[i]));
    if (r->n_stops)
        json_object_set(o, "stop", stops);
    json_decref(stops);
    pc_json_write(b, o, PC_JSON_COMPACT);
    json_decref(o);
}

/* ---- what comes ---- */

static int put_text(struct answer *a, const char *text, size_t len, struct paco_error *err)
{
    pc_buf_add(&a->out->text, text, len);
    if (a->out->text.failed)
        return pc_buf_check(&a->out->text, "the answer", err);
    if (a->o->on_text && a->o->on_text(a->o->ctx, text, len) != 0) {
        a->cancelled = true;
        return pc_error_set(err, PACO_ECANCELLED, "stopped");
    }
    return 0;
}

/* The endpoint's own word for what went wrong, in any of its shapes. */
static int fail_event(
    struct answer *a, const json_t *root, const char *data, size_t len, struct paco_error *err)
{
    const json_t *error = json_object_get(root, "error");
    const char *text = json_string_value(json_is_object(error) ? json_object_get(error, "message") : error);
    char excerpt[300];
    pc_http_excerpt(text ? text : data, text ? strlen(text) : len, a->o->key, excerpt, sizeof excerpt);
    return pc_error_set(err, PACO_EIO, "%s: %s: %s", a->shown,
        error ? "the answer failed" : "no piece of an answer came", excerpt);
}

static void take_usage(struct pc_openai_streamed *out, const json_t *usage)
{
    const json_t *prompt = json_object_get(usage, "prompt_tokens");
    const json_t *completion = json_object_get(usage, "completion_tokens");
    if (json_is_integer(prompt))
        out->prompt_tokens = json_integer_value(prompt);
    if (json_is_integer(completion))
        out->completion_tokens = json_integer_value(completion);
}

static int on_event(void *ctx, const char *data, size_t len, struct paco_error *err)
{
    struct answer *a = ctx;
    json_t *root = NULL;
    if (a->ended || len == 0)
        return 0;
    if (strcmp(data, "[DONE]") == 0) {
        a->ended = true;
        return 0;
    }
    int rc = pc_json_parse(data, len, NULL, 0, &root, NULL);
    const json_t *choices = json_object_get(root, "choices"), *choice = json_array_get(choices, 0);
    if (rc < 0 || json_object_get(root, "error") || !json_is_array(choices)) {
        rc = fail_event(a, root, data, len, err);
        json_decref(root);
        return rc;
    }
    const json_t *text = json_object_get(json_object_get(choice, "delta"), "content");
    const char *reason = json_string_value(json_object_get(choice, "finish_reason"));
    take_usage(a->out, json_object_get(root, "usage"));
    if (json_string_length(text) > 0)
        rc = put_text(a, json_string_value(text), json_string_length(text), err);
    if (reason)
        snprintf(a->out->finish_reason, sizeof a->out->finish_reason, "%s", reason);
    json_decref(root);
    return rc;
}

static int on_bytes(void *ctx, uint64_t at, const void *bytes, size_t len, struct paco_error *err)
{
    struct answer *a = ctx;
    const char *s = bytes;
    (void)at;
    size_t blank = 0;
    while (blank < len && strchr(" \t\r\n", s[blank])) // a NUL too
        blank++;
    if (!a->came && blank < len) {
        a->came = true;
        a->is_whole = s[blank] == '{' || s[blank] == '<';
    }
    if (!a->is_whole)
        return pc_sse_feed(&a->sse, s, len, err);
    pc_buf_add(&a->whole, s, len);
    return pc_buf_check(&a->whole, "the reply", err);
}

/* Another try: fine as long as nothing was said. */
static int on_begin(void *ctx, const char *validator, struct paco_error *err)
{
    struct answer *a = ctx;
    (void)validator;
    if (a->came)
        return pc_error_set(err, PACO_EIO, "%s: the answer broke off", a->shown);
    return 0;
}

/* ---- the end ---- */

/* A reply that is one, whole or with an error's status. */
static int take_whole(struct answer *a, const struct pc_http_reply *http, struct paco_error *err)
{
    struct pc_openai_reply r;
    int rc;
    pc_openai_read_reply(http, a->shown, a->o->key, &r);
    rc = r.err.code;
    if (rc < 0 && err)
        *err = r.err;
    if (rc == 0) {
        snprintf(a->out->finish_reason, sizeof a->out->finish_reason, "%s", r.choices[0].finish_reason);
        a->out->prompt_tokens = r.prompt_tokens;
        a->out->completion_tokens = r.completion_tokens;
        rc = r.choices[0].len ? put_text(a, r.choices[0].text, r.choices[0].len, err) : 0;
    }
    pc_openai_reply_release(&r);
    return rc;
}

static int take_end(struct answer *a, struct pc_http_reply *http, struct paco_error *err)
{
    a->out->status = http->status;
    if (a->is_whole) {
        http->body = a->whole.data ? a->whole.data : "";
        http->len = a->whole.len;
    }
    if (a->is_whole || http->status < 200 || http->status >= 300)
        return take_whole(a, http, err);
    if (http->err.code < 0) {
        if (err)
            *err = http->err;
        return http->err.code;
    }
    if (!a->ended && !a->out->finish_reason[0])
        return pc_error_set(err, PACO_EIO, "%s: the answer broke off", a->shown);
    return 0;
}

static int wait_for_end(struct answer *a, struct pc_http *http, struct paco_error *err)
{
    struct pc_http_reply reply;
    for (;;) {
        int rc = pc_http_wait(http, WAIT_MS, &reply, err);
        if (rc < 0)
            return rc;
        if (rc > 0)
            return take_end(a, &reply, err);
        if (a->o->on_text && a->o->on_text(a->o->ctx, "", 0) != 0) {
            a->cancelled = true;
            return 0;
        }
    }
}

static int send(struct answer *a, struct pc_http *http, struct paco_error *err)
{
    struct pc_buf body;
    const struct pc_http_sink sink = {on_bytes, a, on_begin};
    char *base = pc_openai_base_url(a->o->url), *url = base ? pc_path_join(base, "chat/completions") : NULL;
    pc_buf_init(&body, MAX_TEXT);
    write_body(&body, a->o);
    int rc = url ? pc_buf_check(&body, "a request", err) : pc_error_mem(err, 0, "a URL");
    if (base)
        pc_http_shown_url(base, a->shown, sizeof a->shown);
    if (rc == 0)
        rc = pc_http_start(http,
            &(struct pc_http_request){
                .url = url, .bearer = a->o->key, .body = body.data, .body_len = body.len, .sink = &sink},
            err);
    if (rc == 0)
        rc = wait_for_end(a, http, err);
    pc_buf_release(&body);
    pc_free(url);
    pc_free(base);
    return rc;
}

int pc_openai_stream(
    const struct pc_openai_stream *request, struct pc_openai_streamed *out, struct paco_error *err)
{
    struct answer a = {.o = request, .out = out};
    struct pc_http_options o = request->http;
    struct pc_http *http = NULL;
    *out = (struct pc_openai_streamed){.prompt_tokens = -1, .completion_tokens = -1};
    pc_buf_init(&out->text, MAX_TEXT);
    pc_buf_init(&a.whole, MAX_WHOLE);
    pc_sse_init(&a.sse, on_event, &a);
    o.is_final = pc_openai_is_final;
    int rc = pc_http_open(&o, &http, err);
    if (rc == 0)
        rc = send(&a, http, err);
    pc_http_close(http);
    if (a.cancelled) {
        snprintf(out->finish_reason, sizeof out->finish_reason, "cancelled");
        rc = 0;
    }
    pc_sse_release(&a.sse);
    pc_buf_release(&a.whole);
    return rc;
}
