// SPDX-License-Identifier: Apache-2.0
/* Going over to what was opened anew, while requests are under way (offer.h). */
#include "serve/server_parts.h"

/* ---- asked for ---- */

/* What became of it, with the lock held. */
static void settle(struct pc_server *s, const struct paco_error *err)
{
    s->reload.state = err->code < 0 ? PC_RELOAD_FAILED : PC_RELOAD_DONE;
    s->reload.failure = *err;
    *(err->code < 0 ? &s->metrics.n_failed_reloads : &s->metrics.n_reloads) += 1;
}

static void *open_anew(void *arg)
{
    struct pc_server *s = arg;
    struct paco_error err = {0};
    struct pc_offer *opened = NULL, *before = pc_offer_take(s);
    int rc = pc_offer_open(s, before, &opened, &err);
    pc_offer_drop(before);
    pthread_mutex_lock(&s->lock);
    s->reload.opened = opened;
    if (rc < 0)
        settle(s, &err);
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* The thread of a reload that is not RUNNING has nothing left to do but return. */
static void join(struct pc_server *s)
{
    if (s->reload.has_thread)
        pthread_join(s->reload.thread, NULL);
    s->reload.has_thread = false;
}

static int begin(struct pc_server *s, struct paco_error *err)
{
    join(s);
    int rc = pthread_create(&s->reload.thread, NULL, open_anew, s);
    if (rc != 0)
        return pc_error_os(err, rc, "a thread to reload");
    s->reload.has_thread = true;
    s->reload.state = PC_RELOAD_RUNNING;
    return 0;
}

int pc_server_reload(struct pc_server *s, struct paco_error *err)
{
    pthread_mutex_lock(&s->lock);
    bool can = s->state == PC_SERVER_READY && s->reload.state != PC_RELOAD_RUNNING;
    int rc = can ? begin(s, err) : 0;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

enum pc_reload pc_server_reloaded(struct pc_server *s, struct paco_error *err)
{
    pthread_mutex_lock(&s->lock);
    enum pc_reload state = s->reload.state;
    if (state == PC_RELOAD_FAILED && err)
        *err = s->reload.failure;
    if (state != PC_RELOAD_RUNNING)
        s->reload.state = PC_RELOAD_NONE;
    pthread_mutex_unlock(&s->lock);
    return state;
}

/* ---- on the engine thread ---- */

static void sit_down(struct pc_server *s, struct pc_desk *desk)
{
    if (desk->n_offers++ > 0)
        return;
    desk->next = s->desks;
    s->desks = desk;
}

static void stand_up(struct pc_server *s, struct pc_desk *desk)
{
    if (--desk->n_offers > 0)
        return;
    struct pc_desk **at = &s->desks;
    while (*at != desk)
        at = &(*at)->next;
    *at = desk->next;
}

void pc_reload_take_over(struct pc_server *s, struct pc_offer *o)
{
    sit_down(s, o->desk);
    pc_offer_share(o);
    pthread_mutex_lock(&s->lock);
    o->older = s->offer;
    s->offer = o;
    pthread_mutex_unlock(&s->lock);
    pc_offer_drop(o->older);
}

/* Nobody takes hold of one that is not the newest. */
static void close_unheld(struct pc_server *s)
{
    struct pc_offer **at = &s->offer->older;
    while (*at) {
        struct pc_offer *o = *at;
        if (atomic_load_explicit(&o->n_holders, memory_order_acquire) > 0) {
            at = &o->older;
            continue;
        }
        *at = o->older;
        stand_up(s, o->desk);
        pc_offer_close(o);
    }
}

bool pc_reload_pending(const struct pc_server *s)
{
    return s->reload.opened || (s->offer && s->offer->older);
}

static void take_over_opened(struct pc_server *s, struct pc_offer *o)
{
    struct paco_error err = {0};
    if (pc_offer_admit(o, &err) < 0)
        pc_offer_close(o);
    else
        pc_reload_take_over(s, o);
    pthread_mutex_lock(&s->lock);
    settle(s, &err);
    pthread_mutex_unlock(&s->lock);
}

void pc_reload_go_on(struct pc_server *s)
{
    pthread_mutex_lock(&s->lock);
    struct pc_offer *o = s->reload.opened;
    s->reload.opened = NULL;
    pthread_mutex_unlock(&s->lock);
    if (o)
        take_over_opened(s, o);
    close_unheld(s);
}

void pc_reload_end(struct pc_server *s)
{
    join(s);
    if (s->reload.opened)
        pc_offer_close(s->reload.opened);
    while (s->offer) {
        struct pc_offer *o = s->offer;
        s->offer = o->older;
        stand_up(s, o->desk);
        pc_offer_close(o);
    }
}
