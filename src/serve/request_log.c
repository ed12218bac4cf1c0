// SPDX-License-Identifier: Apache-2.0
#include "serve/request_log.h"

#include "base/host.h"
#include "base/json.h"

#include <string.h>
#include <time.h>

enum { MAX_LINE = 1 << 26 };

static void put_text(struct pc_buf *b, const char *name, const char *text, size_t len)
{
    pc_buf_printf(b, "\"%s\":", name);
    pc_json_write_string(b, text, len, true);
}

/* All that every line has, but for its end. */
static void begin(struct pc_buf *b, const char *client, const char *method, const char *path)
{
    struct timespec now;
    struct tm parts;
    char when[32];
    pc_buf_init(b, MAX_LINE);
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &parts));
    pc_buf_printf(b, "{\"time\":\"%s.%03ldZ\",", when, now.tv_nsec / 1000000);
    put_text(b, "client", client, strlen(client));
    pc_buf_putc(b, ',');
    put_text(b, "method", method, strlen(method));
    pc_buf_putc(b, ',');
    put_text(b, "path", path, strlen(path));
}

static void end(const struct pc_server *s, struct pc_buf *b, double began)
{
    pc_buf_printf(b, ",\"ms\":%.1f}\n", (pc_seconds() - began) * 1e3);
    if (!b->failed)
        s->o.on_request(s->o.ctx, b->data, b->len);
    pc_buf_release(b);
}

static void put_status(struct pc_buf *b, int status, const struct pc_fault *fault)
{
    pc_buf_printf(b, ",\"status\":%d", fault->status ? fault->status : status);
    if (fault->status && fault->code)
        pc_buf_printf(b, ",\"error\":\"%s\"", fault->code);
}

static void put_prompts(struct pc_buf *b, const struct pc_call *c)
{
    for (size_t i = 0; i < c->n_prompts; i++) {
        struct pc_buf text;
        struct paco_error err;
        pc_buf_init(&text, MAX_LINE);
        pc_tokenizer_decode(c->model->tok, c->prompts[i].ids.v, c->prompts[i].ids.n, false, &text, &err);
        pc_buf_puts(b, i ? "," : ",\"prompts\":[");
        pc_json_write_string(b, text.data ? text.data : "", text.len, true);
        pc_buf_release(&text);
    }
    pc_buf_puts(b, "],\"answers\":[");
}

static void put_words(struct pc_buf *b, const struct pc_turn *t)
{
    put_prompts(b, &t->call);
    for (size_t i = 0; i < t->call.n_prompts; i++)
        for (int32_t k = 0; k < t->call.n; k++) {
            const struct pc_buf *text = &t->parts[i].samples[k].text;
            if (i || k)
                pc_buf_putc(b, ',');
            pc_json_write_string(b, text->data ? text->data : "", text->len, true);
        }
    pc_buf_putc(b, ']');
}

void pc_request_log_turn(const struct pc_turn *t)
{
    const struct pc_server *s = t->server;
    const struct pc_turn_tokens n = pc_turn_tokens(t);
    struct pc_buf b;
    if (!s->o.on_request)
        return;
    begin(&b, t->client_name, "POST", t->path);
    pc_buf_putc(&b, ',');
    put_text(&b, "model", t->call.model->name, strlen(t->call.model->name));
    put_status(&b, 200, &t->fault);
    pc_buf_printf(&b, ",\"stream\":%s,\"prompt_tokens\":%zu,\"cached_tokens\":%zu,\"completion_tokens\":%zu",
        t->call.stream ? "true" : "false", n.prompt, n.cached, n.answer);
    if (t->first_token > 0)
        pc_buf_printf(&b, ",\"first_token_ms\":%.1f", (t->first_token - t->arrived) * 1e3);
    if (s->o.log_prompts)
        put_words(&b, t);
    end(s, &b, t->arrived);
}

void pc_request_log_exchange(const struct pc_exchange *x)
{
    const struct pc_server *s = x->front->server;
    struct pc_buf b;
    if (!s->o.on_request)
        return;
    begin(&b, x->client, x->method, x->path);
    put_status(&b, x->status, &x->fault);
    end(s, &b, x->began);
}
