// SPDX-License-Identifier: Apache-2.0
/* An HTTP server with OpenAI's routes over one engine.
 *
 *     pc_server_start(&options, &s, &err);           listens; says "loading"
 *     while (pc_server_state(s) < PC_SERVER_ENDED) {
 *         wait a tenth of a second, or for a signal
 *         pc_server_tick(s);
 *         on SIGTERM: pc_server_drain(s);
 *     }
 *     rc = pc_server_close(s, &err);
 *
 * Four threads. libmicrohttpd's parses requests, makes ids of their texts and sends what there is; another
 * one reads those that are large; the engine thread opens the model, owns scheduler and engine, and turns
 * tokens into text; the caller's looks after all of them: deadlines, clients that went away, pings. Before
 * the engine thread stands a bounded queue and, for each request, behind it a bounded buffer of bytes. No
 * request ends the process or takes memory beyond these bounds.
 */
#ifndef PC_SERVE_SERVER_H
#define PC_SERVE_SERVER_H

#include "serve/served.h"

#include <stdbool.h>

struct pc_server;

/** Zero means the default where it says one. Everything is borrowed until pc_server_close. */
struct pc_server_options {
    const char *host;        /* an address, a name, or unix:PATH; NULL: 127.0.0.1 */
    int port;                /* 0: any free one, with TCP */
    const char *const *keys; /* one of which each request but /health must bring; none: no key is asked for */
    size_t n_keys;
    const char *cert, *cert_key; /* PEM texts; both or neither: TLS */
    const char *cors;            /* the Origin whose pages may ask, or "*"; NULL: none may */
    int max_connections;         /* 512 */
    int max_per_address;         /* connections; 256 */
    int max_queue;               /* requests that wait; 256 */
    size_t max_body;             /* bytes; 8 MiB */
    double idle_seconds;         /* without a byte in either direction; 60 */
    double request_seconds;      /* from arrival to the end of the answer; 600 */
    double step_seconds;         /* that a prompt may hold up others' tokens for; 0.1 */
    int32_t default_tokens;      /* of a chat's answer; 2048 */
    int32_t max_running;         /* sequences at once; the engine's max_logits */

    void *ctx;
    /** Open the models. For the first time (before is NULL) on the engine thread, whereas a reload has a
     * thread of its own and goes on beside `before`, what is served meanwhile: the house may have the engine
     * and the fine-tunes of that, where nothing changed. Fine-tunes need not be admitted. house->close is
     * called when nobody needs it any more, on any thread, also after a failure that left one. */
    int (*open)(void *ctx, const struct pc_house *before, struct pc_house *house, struct paco_error *err);
    /** A request is over: a line of JSON for a log (request_log.h), its end included; without the words of
     * anybody unless log_prompts. Any thread. May be NULL. */
    void (*on_request)(void *ctx, const char *line, size_t len);
    bool log_prompts;
};

enum pc_server_state {
    PC_SERVER_LOADING,
    PC_SERVER_READY,
    PC_SERVER_DRAINING, /* finishes what it has, takes nothing new */
    PC_SERVER_ENDED,    /* all is finished, or loading failed */
};

enum pc_reload {
    PC_RELOAD_NONE,
    PC_RELOAD_RUNNING,
    PC_RELOAD_DONE,
    PC_RELOAD_FAILED, /* what was served is served */
};

/** Listen, and begin to open the model. *owned*: pc_server_close. Errors: pc_listen's; TLS that
 * libmicrohttpd does not take PACO_EINVAL; PACO_EUNSUPPORTED without libmicrohttpd. */
int pc_server_start(const struct pc_server_options *options, struct pc_server **out, struct paco_error *err);

/** Look after everything; a tenth of a second is a good time between two. */
void pc_server_tick(struct pc_server *s);
enum pc_server_state pc_server_state(struct pc_server *s);
/** The port it listens on. */
int pc_server_port(const struct pc_server *s);
/** Open the models anew. Requests under way, waiting ones included, are finished by what they came to; those
 * that come when all is open go to the new. Nobody is refused meanwhile. Does nothing, and says
 * PC_RELOAD_NONE, before the state is READY and after; a second one while one runs is that one. Not beside
 * itself or pc_server_close. */
int pc_server_reload(struct pc_server *s, struct paco_error *err);
/** What became of it, said once: DONE and FAILED, with the error, are NONE afterwards. */
enum pc_reload pc_server_reloaded(struct pc_server *s, struct paco_error *err);

/** Other keys for requests that come from now on; keys are not needed afterwards. PACO_EMEM. */
int pc_server_set_keys(struct pc_server *s, const char *const *keys, size_t n, struct paco_error *err);

/** Another certificate, with its key, for connections that come from now on; neither is needed afterwards.
 * Does nothing without TLS, or once it drains. Errors: PACO_EINVAL when libmicrohttpd does not take them;
 * PACO_EMEM. The certificate is then what it was. Not beside pc_server_tick. */
int pc_server_set_tls(struct pc_server *s, const char *cert, const char *cert_key, struct paco_error *err);

/** Take nothing new, finish what is there, then end. */
void pc_server_drain(struct pc_server *s);
/** End at once whatever is under way, and release everything. Returns the error that ended it, if one did.
 * While the model is being opened that is waited for. */
int pc_server_close(struct pc_server *s, struct paco_error *err);

#endif
