// SPDX-License-Identifier: Apache-2.0
/* What the files of a server share. */
#ifndef PC_SERVE_SERVER_PARTS_H
#define PC_SERVE_SERVER_PARTS_H

#include "serve/metrics.h"
#include "serve/mhd_api.h"
#include "serve/offer.h"
#include "serve/server.h"
#include "serve/turn.h"

#include <pthread.h>

struct pc_front; /* the HTTP side: front.c */

struct pc_server {
    struct pc_server_options o; /* with the defaults filled in */
    int port;
    int64_t started; /* seconds since 1970 */

    pthread_mutex_t lock;
    pthread_cond_t work; /* something for the engine thread */

    /* Under the lock. */
    enum pc_server_state state;
    struct paco_error failure; /* why the engine thread ended */
    struct pc_queue queue;
    struct pc_turn *running; /* those with something submitted and not over */
    size_t n_running;
    struct pc_metrics metrics;
    bool must_end;
    uint8_t (*key_digests)[32]; /* (n_keys) */
    size_t n_keys;
    struct pc_offer *offer; /* the newest; set before the state is READY, changed by the engine thread */
    struct {
        enum pc_reload state;
        struct pc_offer *opened; /* waits for the engine thread */
        struct paco_error failure;
        pthread_t thread;
        bool has_thread; /* to be joined */
    } reload;

    /* The engine thread's. */
    pthread_t worker;
    bool has_worker;
    struct pc_desk *desks;
    struct pc_softmax softmax;
    struct pc_buf chunk; /* of a stream, being written */

    struct pc_front *front;
};

/** Queue a turn in the name of client, with the lock held. 0, or negative with the fault; the turn then stays
 * the caller's. */
int pc_server_submit(struct pc_server *s, struct pc_turn *t, const char *client, struct pc_fault *fault);

/** The client let go of a turn. It may be gone afterwards. */
void pc_server_leave(struct pc_server *s, struct pc_turn *t);

/** The engine thread: start and join it (worker.c). */
int pc_worker_start(struct pc_server *s, struct paco_error *err);
void pc_worker_join(struct pc_server *s);

/** Of reloads (reload.c), on the engine thread, between two steps: make an offer, admitted, the newest. */
void pc_reload_take_over(struct pc_server *s, struct pc_offer *offer);
/** Take over what a reload opened, and close what nobody holds any more. */
void pc_reload_go_on(struct pc_server *s);
/** Whether there is anything of that to do now or soon; with the lock held. */
bool pc_reload_pending(const struct pc_server *s);
/** Wait for a reload that is under way, and close everything that was opened: when no thread is left. */
void pc_reload_end(struct pc_server *s);

/** Bytes for t's client, from the engine thread. */
void pc_turn_emit(struct pc_turn *t, const char *bytes, size_t len);
/** Nothing more comes. What is in `bytes` is the last of it. */
void pc_turn_finish(struct pc_turn *t, int status, const char *bytes, size_t len);

/** Listen, answer, stop (front.c). */
int pc_front_open(struct pc_server *s, struct pc_front **out, struct paco_error *err);
/** No new connections. */
void pc_front_quiesce(struct pc_front *front);
void pc_front_close(struct pc_front *front);
/** Clients that went away or dawdle; pings. With the lock held. */
void pc_front_tick(struct pc_front *front, double now);
size_t pc_front_n_connections(const struct pc_front *front);

#endif
