// SPDX-License-Identifier: Apache-2.0
/* paco serve: an HTTP server with OpenAI's interface. */
#include "base/memory.h"
#include "cli/command.h"
#include "cli/serve_house.h"
#include "cli/serve_secrets.h"
#include "cli/serve_watch.h"

#include <signal.h>

/* Everything one run holds. */
struct job {
    const struct pc_command *self;
    const struct pc_serve_args *v;
    struct pc_tunes tunes;
    struct pc_house_plan plan;
    struct pc_secrets secrets;
    struct pc_serve_log log;
};

static int open_house(
    void *ctx, const struct pc_house *before, struct pc_house *house, struct paco_error *err)
{
    const struct job *j = ctx;
    return pc_house_open(&j->plan, before, house, err);
}

static void on_request(void *ctx, const char *line, size_t len)
{
    struct job *j = ctx;
    pc_serve_log_write(&j->log, line, len);
}

static int answer(struct job *j, struct paco_error *err)
{
    const struct pc_serve_args *v = j->v;
    char own[256];
    const struct pc_server_options o = {.host = v->host,
        .port = (int)v->port,
        .keys = j->secrets.keys,
        .n_keys = j->secrets.n_keys,
        .cert = j->secrets.cert.data,
        .cert_key = j->secrets.cert_key.data,
        .cors = v->cors,
        .max_queue = (int)v->queue,
        .request_seconds = v->timeout,
        .default_tokens = (int32_t)v->n,
        .log_prompts = v->log_prompts,
        .ctx = j,
        .open = open_house,
        .on_request = v->log ? on_request : NULL};
    struct pc_watch w = {.self = j->self,
        .args = v,
        .log = &j->log,
        .name = v->alias ? v->alias : pc_served_base_name(&v->model, own, sizeof own)};
    int rc = pc_server_start(&o, &w.server, err);
    if (rc < 0)
        return rc;
    pc_watch(&w);
    return pc_server_close(w.server, err);
}

/* Browsers send an origin without a path, not even a slash: what is compared with anything else never is it.
 */
static int check_origin(const char *origin, struct paco_error *err)
{
    const char *host = origin ? strstr(origin, "://") : NULL;
    if (!origin || strcmp(origin, "*") == 0 || strcmp(origin, "null") == 0)
        return 0;
    if (host && host > origin && host[3] && !host[3 + strcspn(host + 3, "/?#, \t")])
        return 0;
    return pc_error_set(err, PACO_EINVAL,
        "--cors %s: an origin is SCHEME://HOST or SCHEME://HOST:PORT, with nothing behind it", origin);
}

static int serve(struct job *j, struct paco_error *err)
{
    const struct pc_serve_args *v = j->v;
    if (v->log_prompts && !v->log)
        return pc_error_set(err, PACO_EINVAL, "--log-prompts without --log: there is nowhere to write them");
    signal(SIGPIPE, SIG_IGN); /* clients go away */
    pc_watch_prepare();
    j->plan = (struct pc_house_plan){j->self, v, &j->tunes};
    int rc = pc_serve_log_open(&j->log, v->log, v->log_prompts, err);
    if (rc == 0) {
        rc = pc_secrets_read(v, &j->secrets, err);
        if (rc == 0)
            rc = pc_tunes_check(&j->tunes, v->model.model, err);
        if (rc == 0)
            rc = answer(j, err);
        pc_secrets_release(&j->secrets);
    }
    pc_serve_log_close(&j->log);
    return rc;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct pc_serve_args v = pc_serve_defaults();
    struct pc_args args;
    int code = pc_command_parse_options(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    struct job j = {.self = self, .v = &v};
    struct paco_error err = {0};
    pc_alloc_give_back();
    int rc = pc_tunes_parse(&v.diffs, &v.adapters, v.alias, &v.model, &j.tunes, &err);
    if (rc == 0)
        rc = check_origin(v.cors, &err);
    if (rc == PACO_EINVAL)
        code = pc_command_misuse(self, "%s", err.message);
    else if (rc == 0)
        rc = serve(&j, &err);
    if (code < 0)
        code = rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
    pc_tunes_close(&j.tunes);
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
        "way; a second one ends at once. SIGHUP reads models and fine-tunes anew, and nobody is refused\n"
        "meanwhile. What a prompt says is not logged.",
    .examples = "$ paco serve -m model.gguf\n"
                "$ paco serve -m DIR --host 0.0.0.0 --port 8443 --api-key-file keys --tls-cert c.pem "
                "--tls-key k.pem\n"
                "$ paco serve -m BASE --adapter support=DIR --adapter legal=DIR --diff alpaca=DIR\n"
                "$ paco serve -m BASE --diff DIFF --host unix:/run/paco.sock",
    .options = pc_serve_options,
    .run = run,
};
