// SPDX-License-Identifier: Apache-2.0
#include "serve/server.h"

#include "base/host.h"
#include "base/memory.h"
#include "serve/request_log.h"

#include <time.h>

enum { SENDING_STEPS = 200, SENDING_STEP_MS = 10 }; /* how long the last answers may take to be sent */

static int either(int wish, int otherwise)
{
    return wish > 0 ? wish : otherwise;
}

static void fill_in(struct pc_server_options *o)
{
    o->host = o->host ? o->host : "127.0.0.1";
    o->max_connections = either(o->max_connections, 512);
    o->max_per_address = either(o->max_per_address, 256);
    o->max_queue = either(o->max_queue, 256);
    o->max_body = o->max_body ? o->max_body : 8 << 20;
    o->idle_seconds = o->idle_seconds > 0 ? o->idle_seconds : 60;
    o->request_seconds = o->request_seconds > 0 ? o->request_seconds : 600;
    o->step_seconds = o->step_seconds > 0 ? o->step_seconds : 0.1;
    o->default_tokens = either(o->default_tokens, 2048);
}

static int start(struct pc_server *s, struct paco_error *err)
{
    int rc = pc_server_set_keys(s, s->o.keys, s->o.n_keys, err);
    if (rc == 0)
        rc = pc_front_open(s, &s->front, err);
    return rc < 0 ? rc : pc_worker_start(s, err);
}

int pc_server_start(const struct pc_server_options *options, struct pc_server **out, struct paco_error *err)
{
    struct pc_server *s = pc_alloc_zero(1, sizeof *s);
    if (!s)
        return pc_error_mem(err, sizeof *s, "a server");
    s->o = *options;
    fill_in(&s->o);
    s->port = s->o.port;
    s->started = (int64_t)time(NULL);
    s->queue.max = (size_t)s->o.max_queue;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    int rc = start(s, err);
    if (rc < 0) {
        pc_server_close(s, NULL);
        return rc;
    }
    *out = s;
    return 0;
}

enum pc_server_state pc_server_state(struct pc_server *s)
{
    pthread_mutex_lock(&s->lock);
    enum pc_server_state state = s->state;
    pthread_mutex_unlock(&s->lock);
    return state;
}

int pc_server_port(const struct pc_server *s)
{
    return s->port;
}

void pc_server_tick(struct pc_server *s)
{
    pthread_mutex_lock(&s->lock);
    pc_front_tick(s->front, pc_seconds());
    pthread_mutex_unlock(&s->lock);
    pc_gate_tick(s->front, pc_seconds());
}

int pc_server_set_tls(struct pc_server *s, const char *cert, const char *cert_key, struct paco_error *err)
{
    return s->o.cert && s->front->fd >= 0 ? pc_gate_open(s->front, cert, cert_key, err) : 0;
}

void pc_server_drain(struct pc_server *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->state < PC_SERVER_DRAINING)
        s->state = PC_SERVER_DRAINING;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pc_front_quiesce(s->front);
}

/* Let the front send what it has, for a little while. */
static void send_last(struct pc_server *s)
{
    for (int i = 0; i < SENDING_STEPS; i++) {
        pthread_mutex_lock(&s->lock);
        pc_front_tick(s->front, pc_seconds());
        bool sending = s->front->n_exchanges > 0;
        pthread_mutex_unlock(&s->lock);
        if (!sending)
            return;
        nanosleep(&(struct timespec){.tv_nsec = SENDING_STEP_MS * 1000000L}, NULL);
    }
}

int pc_server_close(struct pc_server *s, struct paco_error *err)
{
    if (!s)
        return 0;
    pc_worker_join(s);
    if (s->front) {
        pthread_mutex_lock(&s->lock);
        s->must_end = true;
        if (s->state < PC_SERVER_DRAINING)
            s->state = PC_SERVER_DRAINING;
        pthread_mutex_unlock(&s->lock);
        pc_front_quiesce(s->front);
        pc_reader_stop(&s->front->reader);
        send_last(s);
    }
    pc_front_close(s->front);
    pc_reload_end(s);
    int rc = s->failure.code;
    if (rc < 0 && err)
        *err = s->failure;
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    pc_free(s->key_digests);
    pc_free(s);
    return rc;
}

static int seconds_to_wait(const struct pc_server *s)
{
    size_t waits = s->queue.n / s->offer->desk->n_lanes;
    return waits < 1 ? 1 : waits > 30 ? 30 : (int)waits;
}

int pc_server_submit(struct pc_server *s, struct pc_turn *t, const char *client, struct pc_fault *fault)
{
    static const char draining[] = "The server is shutting down.", full[] = "Too many requests are waiting.",
                      too_many[] = "Too many of your requests are waiting.";
    if (s->state != PC_SERVER_READY)
        return pc_fault_set(fault, 503, NULL, NULL, "%s", draining);
    switch (pc_queue_add(&s->queue, &t->queued, client)) {
    case PC_QUEUE_TAKEN: pthread_cond_signal(&s->work); return 0;
    case PC_QUEUE_FULL: pc_fault_set(fault, 503, NULL, NULL, "%s", full); break;
    case PC_QUEUE_TOO_MANY: pc_fault_set(fault, 429, "rate_limit_exceeded", NULL, "%s", too_many); break;
    case PC_QUEUE_NO_MEMORY: pc_fault_set(fault, 503, NULL, NULL, "out of memory"); break;
    }
    fault->retry_after = seconds_to_wait(s);
    return PACO_ELIMIT;
}

void pc_server_leave(struct pc_server *s, struct pc_turn *t)
{
    pthread_mutex_lock(&s->lock);
    t->has_client = false;
    if (!t->over)
        t->ends = PC_TURN_GONE;
    bool waits = !t->has_engine && !t->over, gone = !t->has_engine, was_computed = t->had_engine;
    if (waits) {
        pc_queue_remove(&s->queue, &t->queued, false);
        s->metrics.n_cancelled++;
    }
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    if (!was_computed) {
        pc_fault_set(&t->fault, 499, NULL, NULL, "The client closed the connection.");
        pc_request_log_turn(t);
    }
    if (gone)
        pc_turn_free(t);
}
