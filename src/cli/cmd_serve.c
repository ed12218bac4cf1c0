// SPDX-License-Identifier: Apache-2.0
/* paco serve: an HTTP server with OpenAI's interface. */
#include "base/file.h"
#include "base/host.h"
#include "base/memory.h"
#include "cli/answering.h"
#include "cli/command.h"
#include "cli/input.h"
#include "cli/serve_models.h"
#include "engine/constraint.h"
#include "model/llama_attention.h"
#include "serve/listen.h"
#include "serve/server.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MAX_KEYS = 1024,
    MAX_KEY_FILE = 1 << 20,
    MAX_PEM = 1 << 20,
    DEFAULT_PARALLEL = 32,
    TOKENS_EACH = 2048,     /* of keys and values, for each sequence at once */
    DEFAULT_CONTEXT = 4096, /* of a model that does not say */
    TICK_MS = 100,
};

struct values {
    struct pc_model_args model;
    const char *alias, *host, *key_file, *cert, *cert_key, *cors, *format, *system, *bos;
    struct pc_strings keys, stops, diffs, adapters;
    int64_t port, context, parallel, kv_tokens, n, queue, top_k;
    double timeout, temp, top_p, min_p, repeat_penalty;
};

static const struct pc_option g_options[] = {
    PC_MODEL_ROW(struct values, model, true),
    {.name = "diff",
        .type = PC_OPT_LIST,
        .offset = offsetof(struct values, diffs),
        .arg = "NAME=DIR",
        .help = "a weight diff of MODEL, served beside it as NAME; may be given several times (DIR alone: "
                "their sum is the model)"},
    {.name = "adapter",
        .type = PC_OPT_LIST,
        .offset = offsetof(struct values, adapters),
        .arg = "NAME=DIR",
        .help = "a LoRA adapter of MODEL, likewise (DIR alone: it is folded into the model)"},
    {.name = "alias",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, alias),
        .arg = "NAME",
        .help = "what requests call the model (the last part of its path)"},
    {.name = "host",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, host),
        .arg = "ADDRESS",
        .help = "address to listen at (127.0.0.1), or unix:PATH for a socket in the file system"},
    {.name = "port",
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, port),
        .arg = "N",
        .min = 0,
        .max = 65535,
        .help = "port to listen at (8080; 0: any free one)"},
    {.name = "api-key",
        .type = PC_OPT_LIST,
        .offset = offsetof(struct values, keys),
        .arg = "KEY",
        .help = "a key that requests must bring; may be given several times"},
    {.name = "api-key-file",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, key_file),
        .arg = "FILE",
        .help = "keys, one a line"},
    {.name = "tls-cert",
        .aliases = "ssl-cert-file",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, cert),
        .arg = "FILE",
        .help = "speak HTTPS, with this certificate (PEM)"},
    {.name = "tls-key",
        .aliases = "ssl-key-file",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, cert_key),
        .arg = "FILE",
        .help = "and its key"},
    {.name = "cors",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, cors),
        .arg = "ORIGIN",
        .help = "let web pages of this origin ask (* for all); none may by default"},
    {.name = "context",
        .aliases = "ctx-size",
        .short_name = 'c',
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, context),
        .arg = "N",
        .min = 1,
        .max = 1 << 24,
        .help = "prompt and answer together (the model's own length)"},
    {.name = "parallel",
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, parallel),
        .arg = "N",
        .min = 1,
        .max = 4096,
        .help = "answers computed at once (32)"},
    {.name = "kv-tokens",
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, kv_tokens),
        .arg = "N",
        .min = 1,
        .max = 1e12,
        .help = "keys and values kept for all of them together (2048 for each, as memory allows)"},
    {.name = "tokens",
        .aliases = "max-new-tokens",
        .short_name = 'n',
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, n),
        .arg = "N",
        .min = 1,
        .max = 1 << 24,
        .help = "most tokens of a chat's answer where the request does not say (2048)"},
    {.name = "queue",
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, queue),
        .arg = "N",
        .min = 1,
        .max = 65536,
        .help = "requests that may wait; more are told to come again (256)"},
    {.name = "timeout",
        .type = PC_OPT_FLOAT,
        .offset = offsetof(struct values, timeout),
        .arg = "SECONDS",
        .min = 0.1,
        .max = 1e6,
        .help = "most that a request may take (600)"},
    {.name = "format",
        .type = PC_OPT_CHOICE,
        .offset = offsetof(struct values, format),
        .choices = "auto|raw|tulu|alpaca|vicuna|chatml|chatml-plain|llama2|llama3",
        .help = "how chats are wrapped; auto: as the model was tuned"},
    {.name = "system",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, system),
        .arg = "TEXT",
        .help = "a system message for chats that bring none"},
    PC_BOS_ROW(struct values, bos),
    {.name = "temp",
        .aliases = "temperature",
        .type = PC_OPT_FLOAT,
        .offset = offsetof(struct values, temp),
        .arg = "T",
        .min = 0,
        .max = 2,
        .help = "temperature where the request has none (generation_config.json's, else 1)"},
    {.name = "top-k",
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, top_k),
        .arg = "K",
        .min = 0,
        .max = 1 << 24,
        .help = "likewise: sample among the K best (0: all)"},
    {.name = "top-p",
        .type = PC_OPT_FLOAT,
        .offset = offsetof(struct values, top_p),
        .arg = "P",
        .min = 0,
        .max = 1,
        .help = "likewise: sample among the fewest that have probability P together"},
    {.name = "min-p",
        .type = PC_OPT_FLOAT,
        .offset = offsetof(struct values, min_p),
        .arg = "P",
        .min = 0,
        .max = 1,
        .help = "likewise: sample among those with P times the best one's probability"},
    {.name = "repeat-penalty",
        .aliases = "repetition-penalty",
        .type = PC_OPT_FLOAT,
        .offset = offsetof(struct values, repeat_penalty),
        .arg = "X",
        .min = 0,
        .max = 1e3,
        .help = "likewise: hold back what occurred (1: off)"},
    PC_RUN_ROWS(struct values, model),
    {0},
};

/* Everything one run holds. What the model's part is belongs to the engine thread while there is one. */
struct job {
    const struct pc_command *self;
    const struct values *v;
    struct pc_answering a;
    struct pc_engine *engine;
    struct pc_spelling *spelling;
    struct pc_tunes tunes;
    struct pc_served *served;
    char name[256];
    const char *keys[MAX_KEYS];
    size_t n_keys;
    struct pc_buf key_text, cert, cert_key;
};

/* ---- the model, on the engine thread ---- */

static void close_model(void *ctx)
{
    struct job *j = ctx;
    pc_tunes_shut(&j->tunes);
    pc_engine_close(j->engine);
    pc_spelling_free(j->spelling);
    pc_answering_close(&j->a);
}

/* Keys and values for parallel answers of some length, or for one as long as the context; but a quarter of
 * the memory for them, and half as much for beginnings to be kept. */
static void plan(
    const struct values *v, const struct pc_config *c, int32_t context, struct pc_engine_options *o)
{
    uint64_t block = pc_kv_block_size(c, o->has_kv_type || o->f32 ? o->kv_type : PC_F16);
    uint64_t most = block ? pc_host_memory_available() / 4 / block * PC_KV_BLOCK : 0;
    int64_t wanted = (int64_t)o->max_logits * TOKENS_EACH;
    wanted = wanted > context ? wanted : context;
    o->plan_tokens = v->kv_tokens ? v->kv_tokens : wanted < (int64_t)most ? wanted : (int64_t)most;
    o->plan_tokens = o->plan_tokens > 0 ? o->plan_tokens : 1;
    o->prefix_size = (uint64_t)o->plan_tokens / 2 / PC_KV_BLOCK * block;
}

/* The base and what is beside it, as the server sees them. */
static int list_models(struct job *j, struct pc_house *house, struct paco_error *err)
{
    const struct values *v = j->v;
    struct pc_served *list = pc_alloc(1 + j->tunes.n, sizeof *list);
    if (!list)
        return pc_error_mem(err, (1 + j->tunes.n) * sizeof *list, "models");
    const char *name = v->alias ? v->alias : pc_served_base_name(&v->model, j->name, sizeof j->name);
    list[0] = pc_served_of(name, &j->a, j->spelling, v->temp);
    for (size_t i = 0; i < j->tunes.n; i++) {
        const struct pc_tune *t = &j->tunes.v[i];
        list[1 + i] = pc_served_of(t->name, &t->a, t->spelling, v->temp);
        list[1 + i].variant = t->variant;
        list[1 + i].parent = name;
        list[1 + i].size = pc_variant_size(t->variant);
    }
    j->served = list;
    house->engine = j->engine;
    house->models = list;
    house->n_models = 1 + j->tunes.n;
    return 0;
}

static int open_model(void *ctx, struct pc_house *house, struct paco_error *err)
{
    struct job *j = ctx;
    const struct values *v = j->v;
    const struct pc_wishes wishes = {.model = &v->model,
        .format = v->format,
        .system = v->system,
        .bos = v->bos,
        .stops = &v->stops,
        .temperature = v->temp,
        .top_p = v->top_p,
        .min_p = v->min_p,
        .repetition_penalty = v->repeat_penalty,
        .top_k = v->top_k,
        .seed = 0};
    *house = (struct pc_house){.ctx = j, .close = close_model};
    int rc = pc_answering_open(j->self, &wishes, &j->a, err);
    if (rc < 0)
        return rc;
    const struct pc_config *c = j->a.model.config;
    struct pc_engine_options o = pc_model_engine_options(&v->model);
    int32_t own = c->max_positions > 0 ? c->max_positions : DEFAULT_CONTEXT;
    int32_t context = v->context ? (int32_t)v->context : own;
    o.max_logits = v->parallel ? (int32_t)v->parallel : DEFAULT_PARALLEL;
    plan(v, c, context, &o);
    if (context > o.plan_tokens)
        context = (int32_t)o.plan_tokens;
    if (v->context > context)
        return pc_error_set(err, PACO_ELIMIT,
            "a context of %lld tokens, but there is room for the keys and values of %d",
            (long long)v->context, context);
    pc_model_remark_context(j->self, &j->a.model, context);
    rc = pc_engine_open(j->a.model.weights, c, &o, &j->engine, err);
    if (rc == 0)
        rc = pc_spelling_new(j->a.tok, &j->spelling, err);
    if (rc == 0)
        rc = pc_tunes_open(&j->tunes, j->self, &wishes, &j->a, j->engine, err);
    if (rc == 0)
        rc = list_models(j, house, err);
    house->context = context;
    house->kv_tokens = (uint64_t)o.plan_tokens;
    return rc;
}

/* ---- keys and certificates ---- */

static int add_key(struct job *j, const char *key, struct paco_error *err)
{
    if (!*key)
        return pc_error_set(err, PACO_EINVAL, "an API key is empty");
    if (j->n_keys == MAX_KEYS)
        return pc_error_set(err, PACO_ELIMIT, "more than %d API keys", MAX_KEYS);
    j->keys[j->n_keys++] = key;
    return 0;
}

static int read_keys(struct job *j, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < j->v->keys.n && rc == 0; i++)
        rc = add_key(j, j->v->keys.v[i], err);
    if (rc < 0 || !j->v->key_file)
        return rc;
    rc = pc_read_input(j->v->key_file, &j->key_text, err);
    char *rest = NULL;
    for (char *line = rc == 0 && j->key_text.data ? strtok_r(j->key_text.data, "\r\n", &rest) : NULL;
         line && rc == 0; line = strtok_r(NULL, "\r\n", &rest))
        rc = add_key(j, line, err);
    if (rc == 0 && j->n_keys == 0)
        rc = pc_error_set(err, PACO_EINVAL, "%s holds no keys", j->v->key_file);
    return rc;
}

static int read_tls(struct job *j, struct paco_error *err)
{
    const struct values *v = j->v;
    if (!v->cert != !v->cert_key)
        return pc_error_set(err, PACO_EINVAL, "--tls-cert and --tls-key belong together");
    int rc = v->cert ? pc_read_input(v->cert, &j->cert, err) : 0;
    return rc == 0 && v->cert ? pc_read_input(v->cert_key, &j->cert_key, err) : rc;
}

/* ---- running ---- */

static void say_ready(const struct job *j, struct pc_server *s, const struct pc_server_options *o)
{
    const char *path = pc_listen_path(o->host);
    if (path)
        pc_command_note(j->self, "%s is served at unix:%s", j->served->name, path);
    else
        pc_command_note(j->self, "%s is served at %s://%s%s%s:%d", j->served->name,
            o->cert ? "https" : "http", strchr(o->host, ':') ? "[" : "", o->host,
            strchr(o->host, ':') ? "]" : "", pc_server_port(s));
}

/* Until it ends by itself or a signal asks for that. A second signal kills. */
static void look_after(struct job *j, struct pc_server *s, const struct pc_server_options *o)
{
    const struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};
    enum pc_server_state state, before = PC_SERVER_LOADING;
    pc_progress_bar(j->self); /* signals are noted from here on */
    while ((state = pc_server_state(s)) != PC_SERVER_ENDED) {
        if (state == PC_SERVER_READY && before == PC_SERVER_LOADING)
            say_ready(j, s, o);
        before = state;
        nanosleep(&tick, NULL);
        pc_server_tick(s);
        if (pc_progress_stopped() && state == PC_SERVER_LOADING) {
            pc_server_drain(s);
            _Exit(PC_EXIT_OK); /* the model is not waited for: nobody was promised anything yet */
        }
        if (pc_progress_stopped() && state == PC_SERVER_READY) {
            pc_command_note(j->self, "finishing what is under way (a second signal ends it at once)");
            pc_server_drain(s);
        }
    }
}

static int serve(struct job *j, struct paco_error *err)
{
    const struct values *v = j->v;
    int rc = read_keys(j, err);
    if (rc == 0)
        rc = read_tls(j, err);
    if (rc == 0)
        rc = pc_tunes_check(&j->tunes, v->model.model, err);
    if (rc < 0)
        return rc;
    const struct pc_server_options o = {.host = v->host,
        .port = (int)v->port,
        .keys = j->keys,
        .n_keys = j->n_keys,
        .cert = j->cert.data,
        .cert_key = j->cert_key.data,
        .cors = v->cors,
        .max_queue = (int)v->queue,
        .request_seconds = v->timeout,
        .default_tokens = (int32_t)v->n,
        .ctx = j,
        .open = open_model};
    struct pc_server *s = NULL;
    rc = pc_server_start(&o, &s, err);
    if (rc < 0)
        return rc;
    look_after(j, s, &o);
    return pc_server_close(s, err);
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values v = {.host = "127.0.0.1",
        .port = 8080,
        .format = "auto",
        .bos = "auto",
        .n = 2048,
        .queue = 256,
        .timeout = 600};
    v.temp = v.top_p = v.min_p = v.repeat_penalty = (double)NAN;
    v.top_k = -1;
    struct pc_args args;
    int code = pc_command_parse_options(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    struct job *j = pc_alloc_zero(1, sizeof *j);
    struct paco_error err = {0};
    if (j) {
        *j = (struct job){.self = self, .v = &v};
        pc_buf_init(&j->key_text, MAX_KEY_FILE);
        pc_buf_init(&j->cert, MAX_PEM);
        pc_buf_init(&j->cert_key, MAX_PEM);
        signal(SIGPIPE, SIG_IGN); /* clients go away */
    }
    int rc = j ? pc_tunes_parse(&v.diffs, &v.adapters, v.alias, &v.model, &j->tunes, &err)
               : pc_error_mem(&err, sizeof *j, "a server");
    if (rc == PACO_EINVAL)
        code = pc_command_misuse(self, "%s", err.message);
    else if (rc == 0)
        rc = serve(j, &err);
    if (code < 0)
        code = rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
    if (j) {
        pc_free(j->served);
        pc_tunes_close(&j->tunes);
        pc_buf_release(&j->key_text);
        pc_buf_release(&j->cert);
        pc_buf_release(&j->cert_key);
    }
    pc_free(j);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_serve = {
    .name = "serve",
    .summary = "answer over HTTP, as OpenAI's servers do",
    .usage = "-m MODEL [--diff [NAME=]DIR] [--adapter [NAME=]DIR] [options]",
    .description =
        "Clients made for OpenAI's interface work unchanged with http://127.0.0.1:8080/v1 as their base\n"
        "URL: chat/completions, completions (with echo and log-probabilities of the prompt), models; and\n"
        "/tokenize, /detokenize, /health, /metrics (Prometheus), /props. Answers are streamed, computed\n"
        "side by side, and the same bytes alone and in company.\n"
        "\n"
        "--diff NAME=DIR and --adapter NAME=DIR serve fine-tunes of MODEL beside it: the request's model\n"
        "field chooses, MODEL is in memory once, and requests for all of them are computed together.\n"
        "\n"
        "Nobody but this machine is listened to unless --host says so, and then keys (--api-key,\n"
        "PACO_API_KEY, --api-key-file) and TLS are advisable. SIGTERM and Ctrl-C finish what is under\n"
        "way; a second one ends at once. What a prompt says is not logged.",
    .examples = "$ paco serve -m model.gguf\n"
                "$ paco serve -m DIR --host 0.0.0.0 --port 8443 --api-key-file keys --tls-cert c.pem "
                "--tls-key k.pem\n"
                "$ paco serve -m BASE --adapter support=DIR --adapter legal=DIR --diff alpaca=DIR\n"
                "$ paco serve -m BASE --diff DIFF --host unix:/run/paco.sock",
    .options = g_options,
    .run = run,
};
