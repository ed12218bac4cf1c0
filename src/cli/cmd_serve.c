// SPDX-License-Identifier: Apache-2.0
/* paco serve: an HTTP server with OpenAI's interface. */
#include "base/memory.h"
#include "cli/command.h"
#include "cli/input.h"
#include "cli/serve_house.h"
#include "serve/listen.h"
#include "serve/server.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_KEYS = 1024,
    MAX_KEY_FILE = 1 << 20,
    MAX_PEM = 1 << 20,
    TICK_MS = 100,
};

/* Everything one run holds. */
struct job {
    const struct pc_command *self;
    const struct pc_serve_args *v;
    struct pc_tunes tunes;
    const char *keys[MAX_KEYS];
    size_t n_keys;
    struct pc_buf key_text, cert, cert_key;
};

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
    const struct pc_serve_args *v = j->v;
    if (!v->cert != !v->cert_key)
        return pc_error_set(err, PACO_EINVAL, "--tls-cert and --tls-key belong together");
    int rc = v->cert ? pc_read_input(v->cert, &j->cert, err) : 0;
    return rc == 0 && v->cert ? pc_read_input(v->cert_key, &j->cert_key, err) : rc;
}

/* ---- running ---- */

static void say_ready(const struct job *j, struct pc_server *s, const struct pc_server_options *o)
{
    char own[256];
    const struct pc_serve_args *v = j->v;
    const char *path = pc_listen_path(o->host),
               *name = v->alias ? v->alias : pc_served_base_name(&v->model, own, sizeof own);
    if (path)
        pc_command_note(j->self, "%s is served at unix:%s", name, path);
    else
        pc_command_note(j->self, "%s is served at %s://%s%s%s:%d", name, o->cert ? "https" : "http",
            strchr(o->host, ':') ? "[" : "", o->host, strchr(o->host, ':') ? "]" : "", pc_server_port(s));
}

/* A hang-up asks for a reload; but not the one that comes because the terminal it was started at is gone,
 * which asks to end, unless nohup had that ignored. */
static volatile sig_atomic_t g_hung_up;

static void on_hang_up(int number)
{
    (void)number;
    g_hung_up = 1;
}

static bool has_terminal(void)
{
    int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Whether hang-ups were ignored so far. */
static bool catch_hang_ups(void)
{
    struct sigaction action = {.sa_handler = on_hang_up, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGHUP, &action, &before) == 0 && before.sa_handler == SIG_IGN;
}

static void reload(struct job *j, struct pc_server *s)
{
    struct paco_error err = {0};
    g_hung_up = 0;
    pc_command_note(j->self, "reloading");
    if (pc_server_reload(s, &err) < 0)
        pc_command_warn(j->self, "not reloaded: %s", err.message);
}

static void say_reloaded(const struct job *j, struct pc_server *s)
{
    struct paco_error err = {0};
    enum pc_reload state = pc_server_reloaded(s, &err);
    char text[4096];
    if (state == PC_RELOAD_DONE)
        pc_command_note(j->self, "reloaded");
    else if (state == PC_RELOAD_FAILED)
        pc_command_warn(
            j->self, "not reloaded, all goes on as before: %s", pc_error_format(&err, text, sizeof text));
}

/* Until it ends by itself or a signal asks for that. A second signal kills. */
static void look_after(struct job *j, struct pc_server *s, const struct pc_server_options *o)
{
    const struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};
    enum pc_server_state state, before = PC_SERVER_LOADING;
    bool at_terminal = has_terminal();
    pc_progress_bar(j->self); /* signals are noted from here on */
    if (catch_hang_ups())
        at_terminal = false;
    while ((state = pc_server_state(s)) != PC_SERVER_ENDED) {
        if (state == PC_SERVER_READY && before == PC_SERVER_LOADING)
            say_ready(j, s, o);
        before = state;
        nanosleep(&tick, NULL);
        pc_server_tick(s);
        if (g_hung_up && at_terminal && !has_terminal())
            pc_progress_stop(SIGHUP);
        if (pc_progress_stopped() && state == PC_SERVER_LOADING) {
            pc_server_drain(s);
            _Exit(PC_EXIT_OK); /* the model is not waited for: nobody was promised anything yet */
        }
        if (pc_progress_stopped() && state == PC_SERVER_READY) {
            pc_command_note(j->self, "finishing what is under way (a second signal ends it at once)");
            pc_server_drain(s);
        } else if (state == PC_SERVER_READY) {
            say_reloaded(j, s);
            if (g_hung_up)
                reload(j, s);
        }
    }
}

static int serve(struct job *j, struct paco_error *err)
{
    const struct pc_serve_args *v = j->v;
    int rc = read_keys(j, err);
    if (rc == 0)
        rc = read_tls(j, err);
    if (rc == 0)
        rc = pc_tunes_check(&j->tunes, v->model.model, err);
    if (rc < 0)
        return rc;
    struct pc_house_plan plan = {j->self, v, &j->tunes};
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
        .ctx = &plan,
        .open = pc_house_open};
    struct pc_server *s = NULL;
    rc = pc_server_start(&o, &s, err);
    if (rc < 0)
        return rc;
    look_after(j, s, &o);
    return pc_server_close(s, err);
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct pc_serve_args v = pc_serve_defaults();
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
