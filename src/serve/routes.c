// SPDX-License-Identifier: Apache-2.0
/* What each path answers. */
#include "base/memory.h"
#include "paco/paco.h"
#include "serve/chat_page.h"
#include "serve/fields.h"
#include "serve/front.h"

#include <string.h>
#include <strings.h>

extern const char pc_openapi_json[];

/* A token of a request takes three bytes or more; each value of its tree a hundred. */
enum { MAX_VALUES = 1 << 20 };

static struct pc_server *server_of(const struct pc_exchange *x)
{
    return x->front->server;
}

static int need_model(struct pc_exchange *x)
{
    enum pc_server_state state = pc_server_state(server_of(x));
    if (state == PC_SERVER_LOADING) {
        pc_fault_set(&x->fault, 503, "loading", NULL, "Loading model");
        x->fault.retry_after = 1;
        return PACO_EINVAL;
    }
    if (state != PC_SERVER_READY)
        return pc_fault_set(&x->fault, 503, NULL, NULL, "The server is shutting down.");
    x->offer = pc_offer_take(server_of(x));
    return 0;
}

static int read_body(struct pc_exchange *x, json_t **root)
{
    struct paco_error err = {0};
    if (x->body.len == 0)
        return pc_fault_set(
            &x->fault, 400, "invalid_json", NULL, "The request has no body; JSON is expected.");
    if (pc_json_count_values(x->body.data, x->body.len) > MAX_VALUES)
        return pc_fault_set(
            &x->fault, 400, "invalid_json", NULL, "The body holds more than %d JSON values.", MAX_VALUES);
    if (pc_json_parse(x->body.data, x->body.len, NULL, 0, root, &err) < 0)
        return err.code == PACO_EMEM ? pc_fault_of(&x->fault, NULL, &err)
                                     : pc_fault_set(&x->fault, 400, "invalid_json", NULL,
                                           "The body is not valid JSON: %s (at byte %llu).", err.message,
                                           (unsigned long long)err.offset);
    if (!json_is_object(*root))
        return pc_fault_set(&x->fault, 400, "invalid_json", NULL,
            "The body must be a JSON object, but it is %s.", pc_json_kind(*root));
    return 0;
}

/* ---- answers that are computed ---- */

static void make_turn(struct pc_exchange *x, enum pc_call_kind kind)
{
    struct pc_server *s = server_of(x);
    struct pc_call call = {0};
    struct paco_error err = {0};
    json_t *root = NULL;
    if (need_model(x) < 0)
        return;
    if (read_body(x, &root) == 0 &&
        pc_call_read(&call, kind, root, &x->offer->house, &x->offer->limits, &x->fault) == 0 &&
        pc_turn_new(s, x->offer, &call, &x->made, &err) < 0)
        pc_fault_of(&x->fault, NULL, &err);
    json_decref(root);
    pc_call_release(&call);
}

static void answer_chat(struct pc_exchange *x)
{
    make_turn(x, PC_CALL_CHAT);
}

static void answer_completion(struct pc_exchange *x)
{
    make_turn(x, PC_CALL_TEXT);
}

static void answer_embeddings(struct pc_exchange *x)
{
    make_turn(x, PC_CALL_EMBEDDING);
}

/* ---- tokens ---- */

static void put_string(struct pc_buf *b, const char *text)
{
    pc_json_write_string(b, text, strlen(text), false);
}

static void put_ids(struct pc_buf *b, const struct pc_ids *ids)
{
    pc_buf_putc(b, '[');
    for (size_t i = 0; i < ids->n; i++)
        pc_buf_printf(b, i ? ",%d" : "%d", ids->v[i]);
    pc_buf_putc(b, ']');
}

static int tokenize(struct pc_exchange *x, const json_t *root, struct pc_call *call)
{
    const struct pc_fields f = {root, "", &x->fault};
    bool special = false;
    const char *text = NULL;
    size_t len = 0;
    struct pc_ids ids = {0};
    struct paco_error err = {0};
    const char *key = pc_field(&f, "content") ? "content" : "prompt";
    int rc = pc_call_model(root, &x->offer->house, &call->model, &x->fault);
    if (rc == 0)
        rc = pc_field_bool(&f, "add_special", &special);
    if (rc == 0)
        rc = pc_field_text(&f, key, &text, &len);
    if (rc == 0 && !text)
        rc = pc_fault_set(&x->fault, 400, "missing_required_parameter", "content",
            "Missing required parameter: 'content'.");
    if (rc == 0 && pc_tokenizer_encode(call->model->tok, text, len,
                       PC_ENCODE_PARSE | (special ? PC_ENCODE_SPECIAL : 0), &ids, &err) < 0)
        rc = pc_fault_of(&x->fault, key, &err);
    if (rc == 0) {
        pc_buf_puts(&x->reply, "{\"tokens\":");
        put_ids(&x->reply, &ids);
        pc_buf_printf(&x->reply, ",\"count\":%zu,\"max_model_len\":%d}", ids.n, x->offer->limits.context);
    }
    pc_ids_release(&ids);
    return rc;
}

static int read_ids(const json_t *list, struct pc_ids *ids, struct pc_fault *fault)
{
    struct paco_error err = {0};
    if (!json_is_array(list))
        return pc_field_wrong_type(fault, "tokens", "a list of token ids", list ? list : json_null());
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_integer(v))
            return pc_field_wrong_type(fault, pc_item_name("tokens", i).text, "a token id", v);
        json_int_t id = json_integer_value(v);
        if (id < 0 || id > INT32_MAX)
            return pc_fault_set(fault, 400, "invalid_value", pc_item_name("tokens", i).text,
                "Invalid value for 'tokens[%zu]': %lld is no token id.", i, (long long)id);
        if (pc_ids_add(ids, (int32_t)id, &err) < 0)
            return pc_fault_of(fault, "tokens", &err);
    }
    return 0;
}

static int detokenize(struct pc_exchange *x, const json_t *root, struct pc_call *call)
{
    struct pc_ids ids = {0};
    struct pc_buf text;
    struct paco_error err = {0};
    pc_buf_init(&text, SIZE_MAX / 2);
    int rc = pc_call_model(root, &x->offer->house, &call->model, &x->fault);
    if (rc == 0)
        rc = read_ids(json_object_get(root, "tokens"), &ids, &x->fault);
    if (rc == 0 && pc_tokenizer_decode(call->model->tok, ids.v, ids.n, false, &text, &err) < 0)
        rc = pc_fault_of(&x->fault, "tokens", &err);
    if (rc == 0) {
        pc_buf_puts(&x->reply, "{\"content\":");
        pc_json_write_string(&x->reply, text.data ? text.data : "", text.len, false);
        pc_buf_putc(&x->reply, '}');
    }
    pc_buf_release(&text);
    pc_ids_release(&ids);
    return rc;
}

static void with_body(
    struct pc_exchange *x, int (*fn)(struct pc_exchange *x, const json_t *root, struct pc_call *call))
{
    struct pc_call call = {0};
    json_t *root = NULL;
    if (need_model(x) == 0 && read_body(x, &root) == 0)
        fn(x, root, &call);
    json_decref(root);
}

static void answer_tokenize(struct pc_exchange *x)
{
    with_body(x, tokenize);
}

static void answer_detokenize(struct pc_exchange *x)
{
    with_body(x, detokenize);
}

/* ---- what there is ---- */

static void answer_health(struct pc_exchange *x)
{
    if (need_model(x) == 0)
        pc_buf_puts(&x->reply, "{\"status\":\"ok\"}");
}

static void put_model(struct pc_exchange *x, const struct pc_served *m)
{
    pc_buf_puts(&x->reply, "{\"id\":");
    put_string(&x->reply, m->name);
    pc_buf_printf(&x->reply,
        ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"paco\",\"max_model_len\":%d,\"root\":",
        (long long)server_of(x)->started, x->offer->limits.context);
    put_string(&x->reply, m->parent ? m->parent : m->name);
    pc_buf_puts(&x->reply, ",\"parent\":");
    if (m->parent)
        put_string(&x->reply, m->parent);
    else
        pc_buf_puts(&x->reply, "null");
    pc_buf_printf(&x->reply, ",\"format\":\"%s\"", pc_format_name(m->format));
    if (m->parent)
        pc_buf_printf(&x->reply, ",\"bytes\":%llu", (unsigned long long)m->size);
    pc_buf_putc(&x->reply, '}');
}

static void answer_models(struct pc_exchange *x)
{
    if (need_model(x) < 0)
        return;
    const struct pc_house *house = &x->offer->house;
    pc_buf_puts(&x->reply, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < house->n_models; i++) {
        if (i)
            pc_buf_putc(&x->reply, ',');
        put_model(x, &house->models[i]);
    }
    pc_buf_puts(&x->reply, "]}");
}

static void answer_model(struct pc_exchange *x)
{
    if (need_model(x) < 0)
        return;
    const struct pc_served *m = pc_served_find(&x->offer->house, x->tail, strlen(x->tail));
    if (m)
        put_model(x, m);
    else
        pc_fault_set(
            &x->fault, 404, "model_not_found", "model", "The model '%.200s' does not exist.", x->tail);
}

static void answer_props(struct pc_exchange *x)
{
    struct pc_server *s = server_of(x);
    struct pc_buf *b = &x->reply;
    if (need_model(x) < 0)
        return;
    const struct pc_offer *o = x->offer;
    const struct pc_served *m = &o->house.models[0];
    pc_buf_puts(b, "{\"version\":");
    put_string(b, paco_version());
    pc_buf_puts(b, ",\"model\":");
    put_string(b, m->name);
    pc_buf_printf(b, ",\"format\":\"%s\",\"arithmetic\":", pc_format_name(m->format));
    put_string(b, o->desk->arithmetic);
    pc_buf_printf(b,
        ",\"context\":%d,\"parallel\":%zu,\"kv_tokens\":%llu,\"vocabulary\":%d,\"default_tokens\":%d",
        o->limits.context, o->desk->n_lanes, (unsigned long long)o->house.kv_tokens, m->n_vocab,
        o->limits.default_tokens);
    pc_buf_printf(b, ",\"max_queue\":%d,\"max_body_bytes\":%zu}", s->o.max_queue, s->o.max_body);
}

static void answer_metrics(struct pc_exchange *x)
{
    struct pc_server *s = server_of(x);
    x->offer = pc_offer_take(s);
    pthread_mutex_lock(&s->lock);
    const struct pc_metrics m = s->metrics;
    const struct pc_gauges now = {
        s->n_running, s->queue.n, pc_front_n_connections(x->front), x->offer ? x->offer->house.kv_tokens : 0};
    pthread_mutex_unlock(&s->lock);
    x->type = "text/plain; version=0.0.4; charset=utf-8";
    pc_metrics_write(&x->reply, &m, &now);
    if (x->offer)
        pc_metrics_write_tunes(&x->reply, &x->offer->house);
}

/* "gzip;q=0" is a refusal. */
bool pc_accepts_gzip(const char *accepts)
{
    static const char name[] = "gzip", spaces[] = " \t";
    for (const char *at = accepts; at && *at; at += *at == ',') {
        at += strspn(at, spaces);
        const char *end = at + strcspn(at, ","), *weight = at + strcspn(at, ",; \t");
        bool is_gzip =
            (size_t)(weight - at) == sizeof name - 1 && strncasecmp(at, name, sizeof name - 1) == 0;
        weight += strspn(weight, spaces);
        weight += *weight == ';';
        weight += strspn(weight, spaces);
        bool zero =
            strncasecmp(weight, "q=0", 3) == 0 && strspn(weight + 3, ".0") == strcspn(weight + 3, ", \t");
        if (is_gzip)
            return !zero;
        at = end;
    }
    return false;
}

static void answer_page(struct pc_exchange *x)
{
    const char *known = pc_exchange_header(x, "If-None-Match"),
               *accepts = pc_exchange_header(x, "Accept-Encoding");
    x->headers = pc_chat_page.headers;
    if (known && strstr(known, pc_chat_page.etag)) {
        x->status = 304;
        return;
    }
    x->packed = pc_accepts_gzip(accepts);
    pc_buf_add(&x->reply, x->packed ? pc_chat_page.gzip : pc_chat_page.html,
        x->packed ? pc_chat_page.gzip_size : pc_chat_page.html_size);
}

static void answer_openapi(struct pc_exchange *x)
{
    pc_buf_puts(&x->reply, pc_openapi_json);
}

/* ---- the table ---- */

static const struct pc_route g_routes[] = {
    {"GET", "/", false, true, answer_page},
    {"GET", "/health", false, true, answer_health},
    {"GET", "/metrics", false, false, answer_metrics},
    {"GET", "/openapi.json", false, false, answer_openapi},
    {"GET", "/props", false, false, answer_props},
    {"GET", "/v1/models", false, false, answer_models},
    {"GET", "/v1/models/", true, false, answer_model},
    {"POST", "/v1/chat/completions", false, false, answer_chat},
    {"POST", "/v1/completions", false, false, answer_completion},
    {"POST", "/v1/embeddings", false, false, answer_embeddings},
    {"POST", "/tokenize", false, false, answer_tokenize},
    {"POST", "/detokenize", false, false, answer_detokenize},
};

const struct pc_route *pc_route_find(
    const char *method, const char *path, const char **tail, struct pc_fault *fault)
{
    const char *other = NULL, *kind = strcmp(method, "HEAD") == 0 ? "GET" : method;
    for (size_t i = 0; i < sizeof g_routes / sizeof *g_routes; i++) {
        const struct pc_route *r = &g_routes[i];
        size_t len = strlen(r->path);
        if (r->prefix ? strncmp(path, r->path, len) != 0 || !path[len] : strcmp(path, r->path) != 0)
            continue;
        *tail = path + len;
        if (strcmp(kind, r->method) == 0)
            return r;
        other = r->method;
    }
    if (other) {
        pc_fault_set(
            fault, 405, "method_not_allowed", NULL, "%.16s is not for %.100s: %s is.", method, path, other);
        fault->allow = strcmp(other, "GET") == 0 ? "GET, HEAD" : other;
    } else {
        pc_fault_set(fault, 404, "unknown_url", NULL, "Unknown request URL: %.16s %.200s.", method, path);
    }
    return NULL;
}
