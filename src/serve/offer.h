// SPDX-License-Identifier: Apache-2.0
/* What a server serves, which a reload exchanges while requests are under way.
 *
 * A *house* (served.h) that was opened is an *offer*. A request keeps to the one it was read by until it is
 * over; the newest one takes the requests that come; an older one goes when nobody holds it. Offers that
 * share an engine share a *desk*: the engine with its scheduler. So there is one desk at most times, and two
 * while another base takes over.
 *
 *     a reload's thread          opens an offer beside the one before it
 *     engine thread              admits its fine-tunes and makes it the newest, between two steps;
 *                                closes those that nobody holds any more
 *     libmicrohttpd's threads    take the newest one for each request
 *
 * Keys and values are kept by the identity of an engine and its fine-tunes (engine/variant.h): what was
 * computed for one is never found for what replaced it. */
#ifndef PC_SERVE_OFFER_H
#define PC_SERVE_OFFER_H

#include "engine/scheduler.h"
#include "serve/call.h"
#include "serve/served.h"

#include <stdatomic.h>

struct pc_server;

/** What computes. The engine thread's; the constants may be read by all. */
struct pc_desk {
    struct pc_desk *next;
    struct pc_engine *engine;
    struct pc_scheduler *scheduler;
    size_t n_lanes;       /* constant: sequences at once */
    size_t n_wide;        /* constant: numbers of a hidden state */
    char arithmetic[256]; /* constant */
    double row_seconds;   /* that a row of a prompt takes, as measured lately; 0: not known */
    size_t n_offers;      /* that share it */
};

struct pc_offer {
    struct pc_offer *older;
    struct pc_house house;
    struct pc_call_limits limits;
    struct pc_desk *desk;
    float *room;             /* the engine thread's: (n_vocab), the largest of the house */
    atomic_size_t n_holders; /* requests, and the server while it is the newest */
};

/** Open what is to be served, beside `before` or for the first time (NULL); the weights are read. On the
 * engine thread for the first time, else on one of its own. *owned*: pc_offer_close. */
int pc_offer_open(
    struct pc_server *s, const struct pc_offer *before, struct pc_offer **out, struct paco_error *err);

/** Close an offer that nobody holds, and its desk if none is left at that. */
void pc_offer_close(struct pc_offer *offer);

/** Make its fine-tunes known to the engine: on the engine thread, between steps. */
int pc_offer_admit(struct pc_offer *offer, struct paco_error *err);

/** The newest one, held; NULL before there is one. Takes the server's lock. */
struct pc_offer *pc_offer_take(struct pc_server *s);
/** One more holder, beside one there is; and one less. NULL is fine for the latter. */
struct pc_offer *pc_offer_share(struct pc_offer *offer);
void pc_offer_drop(struct pc_offer *offer);

#endif
