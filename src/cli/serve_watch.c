// SPDX-License-Identifier: Apache-2.0
/* A hang-up asks for a reload; but the one that comes because the terminal it was started at is gone asks to
 * end, unless nohup had that ignored. */
#include "cli/serve_watch.h"

#include "cli/command.h"
#include "cli/serve_secrets.h"
#include "cli/service.h"
#include "serve/listen.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TICK_MS = 100, SECONDS_BETWEEN_COMPLAINTS = 60 };

static volatile sig_atomic_t g_hung_up;
static bool g_at_terminal;

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

void pc_watch_prepare(void)
{
    struct sigaction action = {.sa_handler = on_hang_up, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    g_at_terminal =
        sigaction(SIGHUP, &action, &before) == 0 && before.sa_handler != SIG_IGN && has_terminal();
}

/* ---- what is said ---- */

static void say_ready(const struct pc_watch *w)
{
    const struct pc_serve_args *v = w->args;
    const char *path = pc_listen_path(v->host);
    bool is_v6 = strchr(v->host, ':') != NULL;
    if (path)
        pc_command_note(w->self, "%s is served at unix:%s", w->name, path);
    else
        pc_command_note(w->self, "%s is served at %s://%s%s%s:%d", w->name, v->cert ? "https" : "http",
            is_v6 ? "[" : "", v->host, is_v6 ? "]" : "", pc_server_port(w->server));
    pc_service_ready();
}

static void complain(const struct pc_watch *w, const char *what, const struct paco_error *err)
{
    char text[4096];
    pc_command_warn(w->self, "%s: %s", what, pc_error_format(err, text, sizeof text));
}

/* Now and then, for a full disk loses every line. */
static void say_lost(struct pc_watch *w)
{
    static time_t last;
    struct paco_error err = {0};
    time_t now = time(NULL);
    if (!w->args->log || now - last < SECONDS_BETWEEN_COMPLAINTS)
        return;
    int cause = pc_serve_log_lost(w->log);
    if (!cause)
        return;
    last = now;
    pc_error_os(&err, cause, "%s", w->args->log);
    complain(w, "lines of the log are lost", &err);
}

/* ---- reloads ---- */

static void reload_secrets(struct pc_watch *w)
{
    struct pc_secrets s;
    struct paco_error err = {0};
    if (pc_secrets_read(w->args, &s, &err) < 0)
        complain(
            w, w->args->cert ? "keys and certificate stay as they were" : "the keys stay as they were", &err);
    else if (pc_server_set_keys(w->server, s.keys, s.n_keys, &err) < 0)
        complain(w, "the keys stay as they were", &err);
    else if (pc_server_set_tls(w->server, s.cert.data, s.cert_key.data, &err) < 0)
        complain(w, "the certificate stays as it was", &err);
    pc_secrets_release(&s);
}

/* What is small at once; the models beside what is served. Returns whether that goes on. */
static bool reload(struct pc_watch *w)
{
    struct paco_error err = {0};
    g_hung_up = 0;
    pc_command_note(w->self, "reloading");
    pc_service_reloading();
    if (pc_serve_log_reopen(w->log, &err) < 0)
        complain(w, "lines go where they went", &err);
    reload_secrets(w);
    err = (struct paco_error){0};
    if (pc_server_reload(w->server, &err) == 0)
        return true;
    complain(w, "not reloaded", &err);
    pc_service_ready();
    return false;
}

/* Returns whether it goes on still. */
static bool look_at_reload(struct pc_watch *w)
{
    struct paco_error err = {0};
    enum pc_reload state = pc_server_reloaded(w->server, &err);
    if (state == PC_RELOAD_RUNNING)
        return true;
    if (state == PC_RELOAD_FAILED)
        complain(w, "not reloaded, models are served as before", &err);
    else
        pc_command_note(w->self, "reloaded");
    pc_service_ready();
    return false;
}

/* ---- all the while ---- */

static void drain(struct pc_watch *w)
{
    pc_command_note(w->self, "finishing what is under way (a second signal ends it at once)");
    pc_service_stopping();
    pc_server_drain(w->server);
}

void pc_watch(struct pc_watch *w)
{
    const struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};
    enum pc_server_state state, before = PC_SERVER_LOADING;
    bool reloads = false;
    pc_progress_bar(w->self); /* signals are noted from here on; its hang-up is not ours */
    while ((state = pc_server_state(w->server)) != PC_SERVER_ENDED) {
        if (state == PC_SERVER_READY && before == PC_SERVER_LOADING)
            say_ready(w);
        before = state;
        nanosleep(&tick, NULL);
        pc_server_tick(w->server);
        say_lost(w);
        if (g_hung_up && g_at_terminal && !has_terminal())
            pc_progress_stop(SIGHUP);
        if (pc_progress_stopped() && state == PC_SERVER_LOADING) {
            pc_server_drain(w->server);
            _Exit(PC_EXIT_OK); /* the model is not waited for: nobody was promised anything yet */
        }
        if (pc_progress_stopped() && state == PC_SERVER_READY)
            drain(w);
        else if (state == PC_SERVER_READY && reloads)
            reloads = look_at_reload(w);
        else if (state == PC_SERVER_READY && g_hung_up)
            reloads = reload(w);
    }
    if (reloads && pc_server_reloaded(w->server, NULL) == PC_RELOAD_RUNNING)
        _Exit(PC_EXIT_OK); /* all is answered, and nobody waits for what is being opened */
}
