// SPDX-License-Identifier: Apache-2.0
/* What came back, believed only as far as it can be checked: a proxy's HTML with status 200, JSON cut off,
 * members missing or of another type, fewer choices, log-probabilities in either of the two shapes. */
#include "net/openai.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_VALUES = 8 << 20 };

void pc_openai_reply_release(struct pc_openai_reply *reply)
{
    json_decref(reply->root);
    pc_arena_release(&reply->arena);
    *reply = (struct pc_openai_reply){0};
}

/* What v, the value of a member like "error", says: OpenAI's object, or a bare text. NULL when nothing. */
static const char *message_of(const json_t *v)
{
    if (json_is_object(v))
        v = json_object_get(v, "message");
    return json_is_string(v) && json_string_length(v) ? json_string_value(v) : NULL;
}

/* What the endpoint itself says is wrong, in the shapes that are about, FastAPI's detail too; or NULL. */
static const char *error_message(const json_t *root)
{
    static const char *const names[] = {"error", "detail", "message"};
    const char *message = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !message; i++)
        message = message_of(json_object_get(root, names[i]));
    return message;
}

static void say_error(
    const struct pc_http_reply *http, const char *shown, const char *key, struct pc_openai_reply *r)
{
    char text[400];
    json_t *root = NULL;
    int code = r->err.code;
    if (http->status && pc_json_parse(http->body, http->len, NULL, 0, &root, NULL) == 0) {
        const char *message = error_message(root);
        if (message && http->n_tries > 1)
            pc_error_set(&r->err, code, "%s: status %d (%d attempts): %s", shown, http->status, http->n_tries,
                pc_http_excerpt(message, strlen(message), key, text, sizeof text));
        else if (message)
            pc_error_set(&r->err, code, "%s: status %d: %s", shown, http->status,
                pc_http_excerpt(message, strlen(message), key, text, sizeof text));
    }
    json_decref(root);
}

struct reading {
    const struct pc_http_reply *http;
    const char *shown, *key;
    struct pc_openai_reply *r;
};

/* The reply is not what was asked for: why, and how it begins. */
static int nonsense(const struct reading *in, const char *why)
{
    char text[300], reason[300]; // which may quote the reply
    pc_http_excerpt(in->http->body, in->http->len, in->key, text, sizeof text);
    pc_http_excerpt(why, strlen(why), in->key, reason, sizeof reason);
    return pc_error_set(&in->r->err, PACO_EFORMAT, "%s: status %d, but %s: %s", in->shown, in->http->status,
        reason, text[0] ? text : "an empty reply");
}

/* The endpoint says of the reply, or of one choice, that it failed: an error with status 200. A text beside
 * it, mostly an empty one, is no answer. */
static int refused(const struct reading *in, const char *what)
{
    char text[300];
    return pc_error_set(&in->r->err, PACO_EIO, "%s: status %d, but no answer: %s", in->shown,
        in->http->status, pc_http_excerpt(what, strlen(what), in->key, text, sizeof text));
}

static bool is_error(const json_t *v)
{
    return json_is_object(v) ? json_object_size(v) > 0 : message_of(v) != NULL;
}

static int check_error(const struct reading *in, const json_t *o)
{
    const json_t *e = json_object_get(o, "error");
    const char *message = message_of(e);
    return is_error(e) ? refused(in, message ? message : "an error without a word") : 0;
}

/* An answer that was withheld is neither right nor wrong. */
static int check_choice(const struct reading *in, const json_t *o, const char *finish_reason)
{
    int rc = check_error(in, o);
    if (rc == 0 && strcmp(finish_reason, "content_filter") == 0)
        rc = refused(in, "it was withheld (finish_reason 'content_filter')");
    if (rc == 0 && strcmp(finish_reason, "error") == 0)
        rc = refused(in, "finish_reason is 'error'");
    return rc;
}

static void *take(const struct reading *in, size_t n, size_t size)
{
    void *p = pc_arena_alloc(&in->r->arena, n, size);
    if (!p)
        pc_error_mem(&in->r->err, n * size, "a reply");
    return p;
}

static double number(const json_t *v)
{
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static const char *text_of(const json_t *v)
{
    return json_is_string(v) ? json_string_value(v) : "";
}

/* top_logprobs of completions: {" A": -0.1, ...}. */
static int read_top_object(const struct reading *in, const json_t *o, struct pc_openai_token *t)
{
    const char *key;
    json_t *value;
    size_t n = 0;
    struct pc_openai_top *top = take(in, json_object_size(o) + 1, sizeof *top);
    if (!top)
        return PACO_EMEM;
    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        if (json_is_number(value))
            top[n++] = (struct pc_openai_top){key, json_number_value(value)};
    }
    t->top = top;
    t->n_top = n;
    return 0;
}

/* top_logprobs of chat: [{"token": " A", "logprob": -0.1}, ...]. */
static int read_top_list(const struct reading *in, const json_t *list, struct pc_openai_token *t)
{
    size_t n = 0;
    struct pc_openai_top *top = take(in, json_array_size(list) + 1, sizeof *top);
    if (!top)
        return PACO_EMEM;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        if (json_is_string(json_object_get(o, "token")) && json_is_number(json_object_get(o, "logprob")))
            top[n++] = (struct pc_openai_top){json_string_value(json_object_get(o, "token")),
                json_number_value(json_object_get(o, "logprob"))};
    }
    t->top = top;
    t->n_top = n;
    return 0;
}

/* {"tokens": [...], "token_logprobs": [...], "top_logprobs": [{...}]}: what completions have. */
static int read_columns(const struct reading *in, const json_t *o, struct pc_openai_choice *c)
{
    const json_t *tokens = json_object_get(o, "tokens"), *logprobs = json_object_get(o, "token_logprobs");
    const json_t *top = json_object_get(o, "top_logprobs");
    size_t n = json_array_size(tokens);
    if (json_array_size(logprobs) != n || (json_is_array(top) && json_array_size(top) != n))
        return nonsense(in, "its log-probabilities do not fit its tokens");
    struct pc_openai_token *t = take(in, n + 1, sizeof *t);
    if (!t)
        return PACO_EMEM;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        t[i].text = text_of(json_array_get(tokens, i));
        t[i].logprob = number(json_array_get(logprobs, i));
        const json_t *all = json_array_get(top, i);
        if (json_is_object(all))
            rc = read_top_object(in, all, &t[i]);
    }
    c->tokens = t;
    c->n_tokens = n;
    return rc;
}

/* {"content": [{"token", "logprob", "top_logprobs": [...]}]}: what chat has, and llama.cpp for both. */
static int read_content(const struct reading *in, const json_t *list, struct pc_openai_choice *c)
{
    size_t n = json_array_size(list);
    struct pc_openai_token *t = take(in, n + 1, sizeof *t);
    if (!t)
        return PACO_EMEM;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        const json_t *o = json_array_get(list, i);
        t[i].text = text_of(json_object_get(o, "token"));
        t[i].logprob = number(json_object_get(o, "logprob"));
        rc = read_top_list(in, json_object_get(o, "top_logprobs"), &t[i]);
    }
    c->tokens = t;
    c->n_tokens = n;
    return rc;
}

static int read_choice(const struct reading *in, const json_t *o, struct pc_openai_choice *c)
{
    const json_t *text = json_object_get(o, "text"), *logprobs = json_object_get(o, "logprobs");
    if (!text)
        text = json_object_get(json_object_get(o, "message"), "content");
    c->finish_reason = text_of(json_object_get(o, "finish_reason"));
    int rc = check_choice(in, o, c->finish_reason);
    if (rc < 0)
        return rc;
    if (!json_is_string(text)) {
        char why[120];
        snprintf(why, sizeof why, "a choice without text (finish_reason '%.40s')", c->finish_reason);
        return nonsense(in, why);
    }
    c->text = json_string_value(text);
    c->len = json_string_length(text);
    if (json_is_array(json_object_get(logprobs, "content")))
        return read_content(in, json_object_get(logprobs, "content"), c);
    if (json_is_array(json_object_get(logprobs, "tokens")))
        return read_columns(in, logprobs, c);
    return 0;
}

/* Where each choice belongs: by index where these are a permutation, else as they came. */
static bool indexes_fit(const json_t *choices, size_t n)
{
    bool seen[PC_OPENAI_MAX_CHOICES] = {false};
    for (size_t i = 0; i < n; i++) {
        const json_t *index = json_object_get(json_array_get(choices, i), "index");
        json_int_t at = json_is_integer(index) ? json_integer_value(index) : -1;
        if (at < 0 || (size_t)at >= n || seen[at])
            return false;
        seen[at] = true;
    }
    return true;
}

static int read_choices(const struct reading *in, const json_t *choices)
{
    size_t n = json_array_size(choices);
    if (n == 0)
        return nonsense(in, "there are no choices in it");
    if (n > PC_OPENAI_MAX_CHOICES)
        return nonsense(in, "there are more choices in it than anybody asks for");
    struct pc_openai_choice *c = take(in, n, sizeof *c);
    if (!c)
        return PACO_EMEM;
    bool by_index = indexes_fit(choices, n);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        const json_t *o = json_array_get(choices, i);
        rc = read_choice(in, o, &c[by_index ? (size_t)json_integer_value(json_object_get(o, "index")) : i]);
    }
    in->r->choices = c;
    in->r->n_choices = rc < 0 ? 0 : n;
    return rc;
}

static int64_t usage(const json_t *root, const char *name)
{
    const json_t *v = json_object_get(json_object_get(root, "usage"), name);
    return json_is_integer(v) && json_integer_value(v) >= 0 ? json_integer_value(v) : -1;
}

static bool is_html(const struct pc_http_reply *http)
{
    size_t at = strspn(http->body, " \t\r\n");
    return at < http->len && http->body[at] == '<';
}

static int read_body(const struct reading *in)
{
    struct pc_openai_reply *r = in->r;
    struct paco_error why = {0};
    char reason[300];
    if (is_html(in->http))
        return nonsense(in, "it is a web page, no JSON (a proxy's, or is the URL right?)");
    if (pc_json_count_values(in->http->body, in->http->len) > MAX_VALUES)
        return nonsense(in, "it holds more values than any reply");
    if (pc_json_parse(in->http->body, in->http->len, NULL, 0, &r->root, &why) < 0) {
        if (why.code == PACO_EMEM)
            return pc_error_mem(&r->err, in->http->len, "a reply");
        snprintf(reason, sizeof reason, "no JSON (%.200s, at byte %llu)", why.message,
            (unsigned long long)why.offset);
        return nonsense(in, reason);
    }
    const json_t *choices = json_object_get(r->root, "choices");
    if (!choices && error_message(r->root))
        return nonsense(in, "an error");
    if (!json_is_array(choices))
        return nonsense(in, "there is no list 'choices' in it");
    int rc = check_error(in, r->root);
    if (rc < 0)
        return rc;
    r->prompt_tokens = usage(r->root, "prompt_tokens");
    r->completion_tokens = usage(r->root, "completion_tokens");
    return read_choices(in, choices);
}

void pc_openai_read_reply(
    const struct pc_http_reply *http, const char *shown, const char *key, struct pc_openai_reply *reply)
{
    *reply = (struct pc_openai_reply){.tag = http->tag,
        .status = http->status,
        .err = http->err,
        .prompt_tokens = -1,
        .completion_tokens = -1,
        .arena.limit = (size_t)512 << 20};
    struct reading in = {http, shown, key, reply};
    if (reply->err.code < 0)
        say_error(http, shown, key, reply);
    else
        read_body(&in);
}
