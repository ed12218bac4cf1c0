// SPDX-License-Identifier: Apache-2.0
/* The engine thread: it opens the model, takes turns from the queue as there is room for their sequences, and
 * steps the scheduler. A turn with many prompts stays in the queue until the last of them is taken, each one
 * being a turn of its client.
 *
 * Sending a token costs more than writing it: libmicrohttpd's thread wakes, sends, sleeps. So what a stream
 * has to say waits until the next step would make it older than HELD_SECONDS: several tokens of a small model
 * go at once, those of a large one each by itself, and the first one always at once. */
#include "base/cpu.h"
#include "base/host.h"
#include "base/memory.h"
#include "serve/request_log.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum {
    STREAM_PAUSES = 1 << 18,  /* bytes a stream's client is behind when its answer pauses */
    STREAM_GOES_ON = 1 << 16, /* and when it goes on */
    LEAST_ROWS = 32,          /* of prompts in a step, however long they take */
    MAX_CHUNK = 1 << 29,
};

static const double HELD_SECONDS = 0.008; /* less than a screen shows */

static struct pc_turn *turn_of(struct pc_queued *q)
{
    return (struct pc_turn *)q; /* the first member */
}

/* ---- what is running; with the lock held ---- */

static void add_running(struct pc_server *s, struct pc_turn *t)
{
    t->prev = NULL;
    t->next = s->running;
    if (s->running)
        s->running->prev = t;
    s->running = t;
    s->n_running++;
    t->has_engine = t->had_engine = true;
}

static void account(struct pc_server *s, const struct pc_turn *t)
{
    double now = pc_seconds();
    const struct pc_turn_tokens n = pc_turn_tokens(t);
    struct pc_metrics *m = &s->metrics;
    m->n_requests[t->fault.status ? t->fault.status / 100 : 2]++;
    m->n_cancelled += t->ends == PC_TURN_GONE;
    m->n_prompt_tokens += n.prompt;
    m->n_answer_tokens += n.answer;
    pc_seconds_add(&m->whole, now - t->arrived);
    if (t->first_token > 0)
        pc_seconds_add(&m->first_token, t->first_token - t->arrived);
}

/* The log is not written under the lock: a disk may be slow. */
static void end_turn(struct pc_server *s, struct pc_turn *t)
{
    pc_request_log_turn(t);
    pthread_mutex_lock(&s->lock);
    *(t->prev ? &t->prev->next : &s->running) = t->next;
    if (t->next)
        t->next->prev = t->prev;
    s->n_running--;
    pc_queue_done(&s->queue, &t->queued);
    account(s, t);
    t->has_engine = false;
    bool gone = !t->has_client;
    pthread_mutex_unlock(&s->lock);
    if (gone)
        pc_turn_free(t);
}

/* ---- turns that end early, or wait for their client ---- */

static void blame(struct pc_turn *t, enum pc_turn_end end)
{
    if (end == PC_TURN_LATE)
        pc_fault_set(&t->fault, 504, "timeout", NULL,
            "The request took longer than the %.0f seconds a request may take.",
            t->server->o.request_seconds);
    else if (end == PC_TURN_CLOSED)
        pc_fault_set(&t->fault, 503, NULL, NULL, "The server is shutting down.");
    else if (end == PC_TURN_GONE)
        pc_fault_set(&t->fault, 499, NULL, NULL, "The client closed the connection.");
}

/* Prompts that were not begun are not any more; of the others the scheduler's callbacks tell in the next
 * step. */
static void end_early(struct pc_server *s, struct pc_turn *t, enum pc_turn_end end)
{
    if (t->ending)
        return;
    t->ending = true;
    blame(t, end);
    if (t->n_submitted < t->call.n_prompts) {
        pthread_mutex_lock(&s->lock);
        pc_queue_remove(&s->queue, &t->queued, true);
        pthread_mutex_unlock(&s->lock);
        t->n_left -= t->call.n_prompts - t->n_submitted;
        t->n_submitted = t->call.n_prompts;
    }
    for (size_t i = 0; i < t->n_submitted; i++)
        pc_scheduler_cancel(t->offer->desk->scheduler, t->parts[i].handle);
    if (t->n_left == 0)
        pc_turn_fail(t, NULL);
}

static void pause_turn(struct pc_turn *t, bool paused)
{
    t->paused = paused;
    for (size_t i = 0; i < t->n_submitted; i++)
        pc_scheduler_pause(t->offer->desk->scheduler, t->parts[i].handle, paused);
}

/* The list of those running is changed by this thread alone. */
static void look_after(struct pc_server *s)
{
    for (struct pc_turn *t = s->running, *next; t; t = next) {
        next = t->next;
        pthread_mutex_lock(&s->lock);
        bool over = t->over;
        enum pc_turn_end end = s->must_end ? PC_TURN_CLOSED : t->ends;
        size_t behind = t->out.len - t->n_taken;
        pthread_mutex_unlock(&s->lock);
        if (over) {
            end_turn(s, t);
            continue;
        }
        if (end != PC_TURN_GOES_ON || t->fault.status)
            end_early(s, t, end);
        else if (t->call.stream && (t->paused ? behind < STREAM_GOES_ON : behind > STREAM_PAUSES))
            pause_turn(t, !t->paused);
    }
}

/* ---- turns that begin ---- */

static struct pc_turn *next_turn(struct pc_server *s)
{
    pthread_mutex_lock(&s->lock);
    struct pc_queued *q = s->must_end ? NULL : pc_queue_next(&s->queue);
    struct pc_turn *t = q ? turn_of(q) : NULL;
    if (t) {
        pc_queue_turn(&s->queue, q);
        if (!t->has_engine)
            add_running(s, t);
        if (t->n_submitted + 1 == t->call.n_prompts)
            pc_queue_remove(&s->queue, q, true);
    }
    pthread_mutex_unlock(&s->lock);
    return t;
}

/* Old and new together take no more than one of them would. */
static bool has_lane(const struct pc_server *s)
{
    size_t n_open = 0, n_lanes = SIZE_MAX;
    for (const struct pc_desk *d = s->desks; d; d = d->next) {
        n_open += pc_scheduler_n_open(d->scheduler);
        n_lanes = d->n_lanes < n_lanes ? d->n_lanes : n_lanes;
    }
    return n_open < n_lanes;
}

/* Returns whether there were any. */
static bool take_turns(struct pc_server *s)
{
    struct pc_turn *t;
    bool any = false;
    while (has_lane(s) && (t = next_turn(s)) != NULL) {
        struct paco_error err = {0};
        if (pc_turn_submit_next(t, &err) < 0) {
            pc_fault_of(&t->fault, NULL, &err);
            t->n_left--;
            end_early(s, t, PC_TURN_GOES_ON);
        }
        any = true;
    }
    return any;
}

/* ---- steps ---- */

/* Wake the clients whose bytes would be too old after a step of `seconds`. */
static void let_go(struct pc_server *s, double seconds)
{
    double now = pc_seconds();
    pthread_mutex_lock(&s->lock);
    for (struct pc_turn *t = s->running; t; t = t->next)
        if (t->held_since > 0 && now + seconds - t->held_since > HELD_SECONDS) {
            t->held_since = 0;
            if (t->has_client)
                t->wake(t->client);
        }
    pthread_mutex_unlock(&s->lock);
}

/* How many rows of prompts a step may have before those being answered notice. */
static void limit_prompts(
    const struct pc_server *s, struct pc_desk *d, const struct pc_scheduler_stats *before, double seconds)
{
    struct pc_scheduler_stats now = pc_scheduler_stats(d->scheduler);
    double rows = (double)(now.n_rows - before->n_rows) - (double)(now.n_decoded - before->n_decoded);
    if (2 * rows < LEAST_ROWS)
        return;
    double row = seconds / rows;
    d->row_seconds = d->row_seconds > 0 ? 0.75 * d->row_seconds + 0.25 * row : row;
    double most = s->o.step_seconds / d->row_seconds;
    pc_scheduler_limit_prompts(d->scheduler, most < LEAST_ROWS ? LEAST_ROWS : most > 1e6 ? 0 : (int32_t)most);
}

static void fail_all(struct pc_server *s, const struct pc_desk *d, const struct paco_error *err)
{
    for (struct pc_turn *t = s->running; t; t = t->next)
        if (!t->over && t->offer->desk == d) {
            pc_fault_of(&t->fault, NULL, err);
            end_early(s, t, PC_TURN_GOES_ON);
        }
}

/* Returns whether anything was computed. */
static bool step(struct pc_server *s, struct pc_desk *d)
{
    struct paco_error err = {0};
    struct pc_scheduler_stats before = pc_scheduler_stats(d->scheduler);
    double start = pc_seconds();
    if (pc_scheduler_step(d->scheduler, &err) < 0)
        fail_all(s, d, &err);
    struct pc_scheduler_stats now = pc_scheduler_stats(d->scheduler);
    limit_prompts(s, d, &before, pc_seconds() - start);
    pthread_mutex_lock(&s->lock);
    s->metrics.n_steps += now.n_steps - before.n_steps;
    s->metrics.n_computed_tokens += now.n_computed - before.n_computed;
    pthread_mutex_unlock(&s->lock);
    return now.n_steps > before.n_steps || now.n_done > before.n_done;
}

static bool step_all(struct pc_server *s)
{
    bool any = false;
    for (struct pc_desk *d = s->desks; d; d = d->next)
        any |= step(s, d);
    return any;
}

/* Wait until there is something to do; false when there is nothing more ever. idle: all that is running waits
 * for its clients. */
static bool wait_for_work(struct pc_server *s, bool idle)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 20 * 1000 * 1000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&s->lock);
    if (idle && (s->n_running > 0 || pc_reload_pending(s)))
        pthread_cond_timedwait(&s->work, &s->lock, &until);
    while (s->n_running == 0 && s->queue.n == 0 && s->state == PC_SERVER_READY && !s->must_end &&
           !pc_reload_pending(s))
        pthread_cond_wait(&s->work, &s->lock);
    bool more =
        s->n_running > 0 || (s->queue.n > 0 && !s->must_end) || (s->state == PC_SERVER_READY && !s->must_end);
    pthread_mutex_unlock(&s->lock);
    return more;
}

static void end_with(struct pc_server *s, const struct paco_error *err)
{
    pthread_mutex_lock(&s->lock);
    s->failure = *err;
    s->state = PC_SERVER_ENDED;
    pthread_mutex_unlock(&s->lock);
}

/* A step is taken to be as long as the last one; new prompts may make it much longer. */
static void run(struct pc_server *s)
{
    bool idle = false;
    double seconds = 0;
    while (wait_for_work(s, idle)) {
        pc_reload_go_on(s);
        look_after(s);
        let_go(s, take_turns(s) ? INFINITY : seconds);
        double start = pc_seconds();
        idle = !step_all(s);
        seconds = idle ? INFINITY : pc_seconds() - start;
    }
}

static void *work(void *arg)
{
    struct pc_server *s = arg;
    struct paco_error err = {0};
    struct pc_offer *first = NULL;
    pc_softmax_init(&s->softmax, pc_cpu_flags());
    pc_buf_init(&s->chunk, MAX_CHUNK);
    int rc = pc_offer_open(s, NULL, &first, &err);
    if (rc == 0) {
        rc = pc_offer_admit(first, &err);
        pc_reload_take_over(s, first);
    }
    if (rc == 0) {
        pthread_mutex_lock(&s->lock);
        if (s->state == PC_SERVER_LOADING)
            s->state = PC_SERVER_READY;
        pthread_mutex_unlock(&s->lock);
        run(s);
    }
    end_with(s, &err);
    pc_buf_release(&s->chunk);
    return NULL;
}

int pc_worker_start(struct pc_server *s, struct paco_error *err)
{
    int rc = pthread_create(&s->worker, NULL, work, s);
    if (rc != 0)
        return pc_error_os(err, rc, "a thread for the model");
    s->has_worker = true;
    return 0;
}

void pc_worker_join(struct pc_server *s)
{
    if (!s->has_worker)
        return;
    pthread_mutex_lock(&s->lock);
    s->must_end = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->worker, NULL);
    s->has_worker = false;
}
