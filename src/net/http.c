// SPDX-License-Identifier: Apache-2.0
/* When a request is tried, and when again. What an attempt sends and makes of the answer is transfer.c.
 *
 * A transfer waits in a list in the order it was started, until its time has come and a place is free; is
 * then curl's; and comes back to wait again or to be handed out. Lists are walked: they hold as many requests
 * as the caller has open, some hundred. */
#include "net/http.h"

#include "base/memory.h"
#include "net/http_parts.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

enum { MAX_RETRY_AFTER = 3600 };

struct pc_http {
    const struct pc_curl *curl;
    struct pc_http_options options;
    CURLM *multi;
    struct pc_transfer *first;  /* all that are open, oldest first; one behind the other by next */
    struct pc_transfer *handed; /* whose reply the caller is looking at */
    size_t n_open;
    int n_running;
    double not_before; /* monotonic seconds: a server asked for quiet until then */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void set_defaults(struct pc_http_options *o)
{
    o->max_in_flight = o->max_in_flight > 0 ? o->max_in_flight : 16;
    o->max_tries = o->max_tries > 0 ? o->max_tries : 6;
    o->connect_timeout = o->connect_timeout > 0 ? o->connect_timeout : 30;
    o->timeout = o->timeout != 0 ? o->timeout : 600;
    o->first_delay = o->first_delay > 0 ? o->first_delay : 1;
    o->max_delay = o->max_delay > 0 ? o->max_delay : 60;
    o->max_reply = o->max_reply ? o->max_reply : (size_t)64 << 20;
}

int pc_http_open(const struct pc_http_options *options, struct pc_http **out, struct paco_error *err)
{
    const struct pc_curl *curl = pc_curl_load(err);
    if (!curl)
        return PACO_EUNSUPPORTED;
    struct pc_http *http = pc_alloc_zero(1, sizeof *http);
    if (http)
        http->multi = curl->multi_init();
    if (!http || !http->multi) {
        pc_free(http);
        return pc_error_mem(err, sizeof *http, "the network");
    }
    http->curl = curl;
    if (options)
        http->options = *options;
    set_defaults(&http->options);
    *out = http;
    return 0;
}

/* TLS libraries write to sockets without a word against SIGPIPE, and this is a library: the signal is held
 * back on this thread while curl works, and taken back if it came from here. */
struct quiet {
    sigset_t old;
    bool was_pending;
};

static struct quiet hold_sigpipe(void)
{
    struct quiet q;
    sigset_t pending, pipe;
    sigemptyset(&pending);
    sigpending(&pending);
    q.was_pending = sigismember(&pending, SIGPIPE);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &q.old);
    return q;
}

static void release_sigpipe(struct quiet q)
{
    sigset_t pipe;
    const struct timespec none = {0};
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (!q.was_pending && !sigismember(&q.old, SIGPIPE))
        while (sigtimedwait(&pipe, NULL, &none) > 0)
            ;
    pthread_sigmask(SIG_SETMASK, &q.old, NULL);
}

static void drop_handed(struct pc_http *http)
{
    pc_transfer_free(http->curl, http->handed);
    http->handed = NULL;
}

void pc_http_close(struct pc_http *http)
{
    if (!http)
        return;
    struct quiet q = hold_sigpipe();
    drop_handed(http);
    for (struct pc_transfer *t = http->first, *next; t; t = next) {
        next = t->next;
        if (t->easy)
            http->curl->multi_remove_handle(http->multi, t->easy);
        pc_transfer_free(http->curl, t);
    }
    http->curl->multi_cleanup(http->multi);
    release_sigpipe(q);
    pc_free(http);
}

int pc_http_start(struct pc_http *http, const struct pc_http_request *request, struct paco_error *err)
{
    struct paco_error own = {0};
    struct pc_transfer *t = pc_transfer_new(http->curl, &http->options, request, &own);
    if (!t) {
        if (err)
            *err = own;
        return own.code;
    }
    struct pc_transfer **last = &http->first;
    while (*last)
        last = &(*last)->next;
    *last = t;
    http->n_open++;
    return 0;
}

size_t pc_http_n_open(const struct pc_http *http)
{
    return http->n_open;
}

static int multi_error(const struct pc_http *http, CURLMcode code, struct paco_error *err)
{
    return code == CURLM_OUT_OF_MEMORY
               ? pc_error_mem(err, 0, "the network")
               : pc_error_set(err, PACO_EIO, "libcurl: %s", http->curl->multi_strerror(code));
}

static int begin(struct pc_http *http, struct pc_transfer *t, struct paco_error *err)
{
    int rc = pc_transfer_prepare(http->curl, &http->options, t, err);
    if (rc < 0)
        return rc;
    CURLMcode code = http->curl->multi_add_handle(http->multi, t->easy);
    if (code != CURLM_OK)
        return multi_error(http, code, err);
    http->n_running++;
    return 0;
}

static bool is_due(const struct pc_http *http, const struct pc_transfer *t, double at)
{
    return !t->easy && !t->done && t->not_before <= at && (t->n_tries > 0 || http->not_before <= at);
}

static int begin_due(struct pc_http *http, struct paco_error *err)
{
    double at = now();
    int rc = 0;
    for (struct pc_transfer *t = http->first; t && rc == 0; t = t->next)
        if (http->n_running < http->options.max_in_flight && is_due(http, t, at))
            rc = begin(http, t, err);
    return rc;
}

/* Milliseconds until the next waiting request is due, at most limit_ms. */
static int until_due(const struct pc_http *http, int limit_ms)
{
    double at = now(), soonest = at + limit_ms / 1000.0;
    if (http->n_running >= http->options.max_in_flight)
        return limit_ms;
    for (const struct pc_transfer *t = http->first; t; t = t->next) {
        double due = t->n_tries ? t->not_before : fmax(t->not_before, http->not_before);
        if (!t->easy && !t->done && due < soonest)
            soonest = due;
    }
    return soonest <= at ? 0 : (int)ceil((soonest - at) * 1000);
}

/* The wait after n_tries attempts. */
static double delay(const struct pc_http_options *o, int n_tries)
{
    return fmin(ldexp(o->first_delay, n_tries - 1), o->max_delay);
}

static void end_attempt(struct pc_http *http, struct pc_transfer *t, CURLcode code)
{
    double retry_after = 0;
    http->curl->multi_remove_handle(http->multi, t->easy);
    http->n_running--;
    bool again = pc_transfer_finish(http->curl, &http->options, t, code, &retry_after);
    // A download of hours may break any number of times, if only it gets on.
    t->n_in_vain = t->at > t->furthest ? 1 : t->n_in_vain + 1;
    t->furthest = t->at > t->furthest ? t->at : t->furthest;
    double wait = fmax(delay(&http->options, t->n_in_vain), retry_after);
    bool too_long = retry_after > MAX_RETRY_AFTER;
    if (again && t->n_in_vain < t->max_tries && !too_long) {
        t->not_before = now() + wait;
        if (t->status == 429 || retry_after > 0)
            http->not_before = fmax(http->not_before, t->not_before);
        return;
    }
    if (again && too_long)
        pc_error_prefix(&t->err, "asked to come back in %.0f s", retry_after);
    t->done = true;
}

static int work(struct pc_http *http, struct paco_error *err)
{
    int n_left = 0;
    int rc = begin_due(http, err);
    if (rc < 0)
        return rc;
    CURLMcode code = http->curl->multi_perform(http->multi, &n_left);
    if (code != CURLM_OK)
        return multi_error(http, code, err);
    for (CURLMsg *m; (m = http->curl->multi_info_read(http->multi, &n_left));) {
        char *private = NULL;
        if (m->msg != CURLMSG_DONE ||
            http->curl->easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private) != CURLE_OK)
            continue;
        end_attempt(http, (struct pc_transfer *)(void *)private, m->data.result);
    }
    return 0;
}

/* Take the oldest that is done out of the list, into the caller's hands. */
static bool hand_out(struct pc_http *http, struct pc_http_reply *reply)
{
    struct pc_transfer **at = &http->first;
    while (*at && !(*at)->done)
        at = &(*at)->next;
    struct pc_transfer *t = *at;
    if (!t)
        return false;
    *at = t->next;
    http->n_open--;
    http->handed = t;
    *reply = (struct pc_http_reply){.tag = t->tag,
        .status = t->status,
        .n_tries = t->n_tries,
        .body = t->reply.data ? t->reply.data : "",
        .len = t->reply.len,
        .content_type = t->content_type,
        .validator = pc_transfer_validator(t),
        .error_name = t->error_name,
        .total_size = t->total_size,
        .err = t->err};
    return true;
}

int pc_http_wait(struct pc_http *http, int timeout_ms, struct pc_http_reply *reply, struct paco_error *err)
{
    double end = now() + timeout_ms / 1000.0;
    struct quiet q = hold_sigpipe();
    int rc;
    drop_handed(http);
    while ((rc = work(http, err)) == 0 && !hand_out(http, reply)) {
        double left = end - now();
        if (!http->n_open || left <= 0) {
            release_sigpipe(q);
            return 0;
        }
        int ms = until_due(http, (int)ceil(left * 1000));
        CURLMcode code = ms ? http->curl->multi_poll(http->multi, NULL, 0, ms, NULL) : CURLM_OK;
        if (code != CURLM_OK) {
            rc = multi_error(http, code, err);
            break;
        }
    }
    release_sigpipe(q);
    return rc < 0 ? rc : 1;
}
