// SPDX-License-Identifier: Apache-2.0
#include "net/openai.h"

#include "base/file.h"
#include "net/reply_cache.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_REQUEST = 64 << 20 };

/* A question under way whose reply is to be kept, or one whose reply was kept. */
struct asked {
    struct asked *next;
    uint64_t tag;
    char key[PC_SHA256_HEX];
    struct pc_openai_reply reply; /* of one that was kept */
};

struct pc_openai {
    struct pc_http *http;
    char *completions, *chat, *models, *model, *key, *cache_dir; /* owned */
    struct asked *open, *kept;
    size_t n_kept; /* replies handed out that were kept */
    char shown[600];
};

bool pc_openai_is_final(int status, const char *body, size_t len)
{
    static const char *const words[] = {"\"insufficient_quota\"", "\"billing_hard_limit_reached\""};
    (void)len;
    for (size_t i = 0; status == 429 && i < sizeof words / sizeof *words; i++)
        if (strstr(body, words[i]))
            return true;
    return false;
}

static size_t without(const char *url, size_t len, const char *tail)
{
    size_t n = strlen(tail);
    return len >= n && memcmp(url + len - n, tail, n) == 0 ? len - n : len;
}

static size_t without_slashes(const char *url, size_t len)
{
    while (len && url[len - 1] == '/')
        len--;
    return len;
}

char *pc_openai_base_url(const char *url)
{
    struct pc_buf b;
    size_t len = without_slashes(url, strlen(url));
    size_t cut = without(url, len, "/chat/completions");
    len = without_slashes(url, cut < len ? cut : without(url, len, "/completions"));
    const char *host = strstr(url, "://");
    pc_buf_init(&b, 1 << 16);
    pc_buf_add(&b, url, len);
    if (host && (size_t)(host + 3 - url) < len && !memchr(host + 3, '/', len - (size_t)(host + 3 - url)))
        pc_buf_puts(&b, "/v1");
    char *out = pc_buf_detach(&b);
    pc_buf_release(&b);
    return out;
}

static int fill(struct pc_openai *api, const struct pc_openai_options *o, struct paco_error *err)
{
    char *base = pc_openai_base_url(o->url);
    if (base) {
        pc_http_shown_url(base, api->shown, sizeof api->shown);
        api->completions = pc_path_join(base, "completions");
        api->chat = pc_path_join(base, "chat/completions");
        api->models = pc_path_join(base, "models");
    }
    pc_free(base);
    api->model = o->model ? pc_strdup(o->model) : NULL;
    api->key = o->key && *o->key ? pc_strdup(o->key) : NULL;
    api->cache_dir = o->cache_dir ? pc_strdup(o->cache_dir) : NULL;
    if (!api->completions || !api->chat || !api->models || (o->model && !api->model) ||
        (o->key && *o->key && !api->key) || (o->cache_dir && !api->cache_dir))
        return pc_error_mem(err, 0, "an endpoint");
    struct pc_http_options http = o->http;
    http.is_final = pc_openai_is_final;
    http.max_reply = http.max_reply ? http.max_reply : (size_t)16 << 20;
    return pc_http_open(&http, &api->http, err);
}

int pc_openai_open(const struct pc_openai_options *options, struct pc_openai **out, struct paco_error *err)
{
    struct pc_openai *api = pc_alloc_zero(1, sizeof *api);
    int rc = api ? fill(api, options, err) : pc_error_mem(err, sizeof *api, "an endpoint");
    if (rc < 0) {
        pc_openai_close(api);
        return rc;
    }
    *out = api;
    return 0;
}

static void asked_free(struct asked *list)
{
    for (struct asked *next; list; list = next) {
        next = list->next;
        pc_openai_reply_release(&list->reply);
        pc_free(list);
    }
}

void pc_openai_close(struct pc_openai *api)
{
    if (!api)
        return;
    asked_free(api->open);
    asked_free(api->kept);
    pc_free(api->cache_dir);
    pc_http_close(api->http);
    pc_free(api->completions);
    pc_free(api->chat);
    pc_free(api->models);
    pc_free(api->model);
    pc_free(api->key);
    pc_free(api);
}

const char *pc_openai_shown(const struct pc_openai *api)
{
    return api->shown;
}

static void put_message(struct pc_buf *b, const char *role, const char *text, size_t len)
{
    pc_buf_printf(b, "{\"role\":\"%s\",\"content\":", role);
    pc_json_write_string(b, text, len, false);
    pc_buf_putc(b, '}');
}

static void put_ids(struct pc_buf *b, const struct pc_openai_request *r)
{
    pc_buf_puts(b, "\"prompt\":[");
    for (size_t i = 0; i < r->n_ids; i++)
        pc_buf_printf(b, i ? ",%d" : "%d", r->ids[i]);
    pc_buf_putc(b, ']');
}

static void put_prompt(struct pc_buf *b, const struct pc_openai_request *r)
{
    if (!r->chat && r->ids) {
        put_ids(b, r);
        return;
    }
    if (!r->chat) {
        pc_buf_puts(b, "\"prompt\":");
        pc_json_write_string(b, r->prompt, r->prompt_len, false);
        return;
    }
    pc_buf_puts(b, "\"messages\":[");
    if (r->system) {
        put_message(b, "system", r->system, strlen(r->system));
        pc_buf_putc(b, ',');
    }
    put_message(b, "user", r->prompt, r->prompt_len);
    pc_buf_putc(b, ']');
}

static void put_number(struct pc_buf *b, const char *name, double x)
{
    pc_buf_printf(b, ",\"%s\":", name);
    pc_json_write_double(b, x);
}

static void put_logprobs(struct pc_buf *b, const struct pc_openai_request *r)
{
    if (r->logprobs > 0 && r->chat)
        pc_buf_printf(b, ",\"logprobs\":true,\"top_logprobs\":%d", r->logprobs);
    else if (r->logprobs > 0)
        pc_buf_printf(b, ",\"logprobs\":%d", r->logprobs);
}

void pc_openai_write_request(struct pc_buf *b, const char *model, const struct pc_openai_request *r)
{
    pc_buf_putc(b, '{');
    if (model) {
        pc_buf_puts(b, "\"model\":");
        pc_json_write_string(b, model, strlen(model), false);
        pc_buf_putc(b, ',');
    }
    put_prompt(b, r);
    pc_buf_printf(b, ",\"max_tokens\":%d", r->max_tokens);
    if (!isnan(r->temperature))
        put_number(b, "temperature", r->temperature);
    if (r->top_p > 0)
        put_number(b, "top_p", r->top_p);
    if (r->top_k > 0)
        pc_buf_printf(b, ",\"top_k\":%d", r->top_k);
    if (r->n > 1)
        pc_buf_printf(b, ",\"n\":%d", r->n);
    if (r->has_seed)
        pc_buf_printf(b, ",\"seed\":%lld", (long long)r->seed);
    for (size_t i = 0; i < r->n_stops && i < PC_OPENAI_MAX_STOPS; i++) {
        pc_buf_puts(b, i ? "," : ",\"stop\":[");
        pc_json_write_string(b, r->stops[i], strlen(r->stops[i]), false);
    }
    if (r->n_stops)
        pc_buf_putc(b, ']');
    if (r->logit_bias)
        pc_buf_printf(b, ",\"logit_bias\":%s", r->logit_bias);
    put_logprobs(b, r);
    if (r->echo && !r->chat)
        pc_buf_puts(b, ",\"echo\":true");
    if (r->no_specials && !r->chat)
        pc_buf_puts(b, ",\"add_special_tokens\":false");
    pc_buf_putc(b, '}');
}

/* The reply that is kept under a->key, into a->reply: 1. Without one, or when what is kept is no reply (any
 * more, or by the rules of this version): 0, and it will be asked for anew. */
static int take_kept(struct pc_openai *api, struct asked *a, struct paco_error *err)
{
    struct pc_buf kept;
    int rc = 0;
    if (pc_reply_cache_get(api->cache_dir, a->key, &kept)) {
        const struct pc_http_reply http = {.tag = a->tag,
            .status = 200,
            .n_tries = 1,
            .body = kept.data,
            .len = kept.len,
            .content_type = ""};
        pc_openai_read_reply(&http, api->shown, api->key, &a->reply);
        rc = a->reply.err.code == 0;
        if (a->reply.err.code == PACO_EMEM)
            rc = pc_error_mem(err, kept.len, "a kept reply");
        if (rc != 1)
            pc_openai_reply_release(&a->reply);
    }
    pc_buf_release(&kept);
    return rc;
}

/* Look for a reply to this question among those that were kept: 1 when there is one. Else it is to be kept.
 * A question is all that is sent, and where to. */
static int look_up(struct pc_openai *api, const struct pc_openai_request *request, const struct pc_buf *body,
    struct paco_error *err)
{
    if (!api->cache_dir || request->temperature != 0)
        return 0;
    struct asked *a = pc_alloc_zero(1, sizeof *a);
    if (!a)
        return pc_error_mem(err, sizeof *a, "a request");
    a->tag = request->tag;
    int rc =
        pc_reply_cache_key(request->chat ? api->chat : api->completions, body->data, body->len, a->key, err);
    if (rc == 0)
        rc = take_kept(api, a, err);
    if (rc < 0) {
        asked_free(a);
        return rc;
    }
    struct asked **list = rc ? &api->kept : &api->open;
    a->next = *list;
    *list = a;
    return rc;
}

int pc_openai_start(struct pc_openai *api, const struct pc_openai_request *request, struct paco_error *err)
{
    struct pc_buf b;
    pc_buf_init(&b, MAX_REQUEST);
    pc_openai_write_request(&b, api->model, request);
    int rc = pc_buf_check(&b, "a request", err);
    if (rc == 0)
        rc = look_up(api, request, &b, err);
    if (rc == 0)
        rc = pc_http_start(api->http,
            &(struct pc_http_request){.url = request->chat ? api->chat : api->completions,
                .bearer = api->key,
                .body = b.data,
                .body_len = b.len,
                .max_tries = request->max_tries,
                .tag = request->tag},
            err);
    pc_buf_release(&b);
    return rc < 0 ? rc : 0;
}

/* The oldest of those that were kept, as if it came now. */
static void hand_out_kept(struct pc_openai *api, struct pc_openai_reply *reply)
{
    struct asked **last = &api->kept;
    while ((*last)->next)
        last = &(*last)->next;
    struct asked *a = *last;
    *last = NULL;
    *reply = a->reply;
    a->reply = (struct pc_openai_reply){0};
    asked_free(a);
    api->n_kept++;
}

size_t pc_openai_n_kept(const struct pc_openai *api)
{
    return api->n_kept;
}

/* Keep what came, if it is a reply and was to be kept. */
static void keep(struct pc_openai *api, const struct pc_http_reply *http, const struct pc_openai_reply *reply)
{
    struct asked **at = &api->open;
    while (*at && (*at)->tag != http->tag)
        at = &(*at)->next;
    struct asked *a = *at;
    if (!a)
        return;
    *at = a->next;
    a->next = NULL;
    if (reply->err.code == 0)
        pc_reply_cache_put(api->cache_dir, a->key, http->body, http->len);
    asked_free(a);
}

int pc_openai_wait(
    struct pc_openai *api, int timeout_ms, struct pc_openai_reply *reply, struct paco_error *err)
{
    struct pc_http_reply http;
    if (api->kept) {
        hand_out_kept(api, reply);
        return 1;
    }
    int rc = pc_http_wait(api->http, timeout_ms, &http, err);
    if (rc > 0) {
        pc_openai_read_reply(&http, api->shown, api->key, reply);
        keep(api, &http, reply);
    }
    return rc;
}

int pc_openai_ask(struct pc_openai *api, const struct pc_openai_request *request,
    const struct pc_progress *progress, struct pc_openai_reply *reply, struct paco_error *err)
{
    const struct pc_progress_event waiting = {
        .phase = "asking", .item = api->shown, .unit = "replies", .total = 1};
    int rc = pc_openai_start(api, request, err);
    if (rc < 0)
        return rc;
    while ((rc = pc_openai_wait(api, 200, reply, err)) == 0)
        if (pc_progress(progress, &waiting))
            return pc_error_set(err, PACO_ECANCELLED, "stopped");
    return rc < 0 ? rc : 0;
}

/* The entry that is meant, or NULL. */
static json_t *find_model(const struct pc_openai *api, const json_t *root)
{
    const json_t *list = json_object_get(root, "data");
    if (!api->model)
        return json_array_size(list) == 1 ? json_array_get(list, 0) : NULL;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *entry = json_array_get(list, i);
        const char *id = json_string_value(json_object_get(entry, "id"));
        if (id && strcmp(id, api->model) == 0)
            return entry;
    }
    return NULL;
}

int pc_openai_describe(
    struct pc_openai *api, const struct pc_progress *progress, json_t **out, struct paco_error *err)
{
    const struct pc_progress_event waiting = {
        .phase = "asking", .item = api->shown, .unit = "replies", .total = 1};
    struct pc_http_reply reply;
    json_t *root = NULL;
    *out = NULL;
    int rc = pc_http_start(
        api->http, &(struct pc_http_request){.url = api->models, .bearer = api->key, .max_tries = 2}, err);
    if (rc < 0)
        return rc;
    while ((rc = pc_http_wait(api->http, 200, &reply, err)) == 0)
        if (pc_progress(progress, &waiting))
            return pc_error_set(err, PACO_ECANCELLED, "stopped");
    if (rc < 0)
        return rc;
    if (reply.err.code == 0 && pc_json_parse(reply.body, reply.len, NULL, 0, &root, NULL) == 0)
        *out = json_incref(find_model(api, root));
    json_decref(root);
    return 0;
}
