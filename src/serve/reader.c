// SPDX-License-Identifier: Apache-2.0
/* Large requests are read on a thread of their own: to parse and tokenize megabytes takes seconds, in which
 * libmicrohttpd's thread would send nobody a token. One at a time, in the order they came; their connections
 * rest meanwhile. */
#include "base/host.h"
#include "serve/front.h"

static void read_one(struct pc_exchange *x)
{
    double most = x->front->server->o.request_seconds;
    if (pc_seconds() - x->began > most)
        pc_fault_set(&x->fault, 504, "timeout", NULL,
            "The request waited longer than the %.0f seconds a request may take.", most);
    else
        x->route->answer(x);
}

static void *read_all(void *arg)
{
    struct pc_reader *r = arg;
    pthread_mutex_lock(r->lock);
    while (r->first || !r->must_end) {
        struct pc_exchange *x = r->first;
        if (!x) {
            pthread_cond_wait(&r->work, r->lock);
            continue;
        }
        r->first = x->next_to_read;
        pthread_mutex_unlock(r->lock);
        read_one(x);
        pthread_mutex_lock(r->lock);
        x->is_read = true;
        pc_exchange_wake(x);
    }
    pthread_mutex_unlock(r->lock);
    return NULL;
}

int pc_reader_start(struct pc_reader *r, pthread_mutex_t *lock, struct paco_error *err)
{
    *r = (struct pc_reader){.lock = lock};
    pthread_cond_init(&r->work, NULL);
    int rc = pthread_create(&r->thread, NULL, read_all, r);
    if (rc != 0) {
        pthread_cond_destroy(&r->work);
        return pc_error_os(err, rc, "a thread for large requests");
    }
    r->runs = true;
    return 0;
}

bool pc_reader_put(struct pc_reader *r, struct pc_exchange *x)
{
    if (r->must_end)
        return false;
    x->next_to_read = NULL;
    *(r->first ? &r->last->next_to_read : &r->first) = x;
    r->last = x;
    pthread_cond_signal(&r->work);
    return true;
}

void pc_reader_stop(struct pc_reader *r)
{
    if (!r->runs)
        return;
    pthread_mutex_lock(r->lock);
    r->must_end = true;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(r->lock);
    pthread_join(r->thread, NULL);
    pthread_cond_destroy(&r->work);
    r->runs = false;
}
