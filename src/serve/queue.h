// SPDX-License-Identifier: Apache-2.0
/* Requests that wait to be computed, and who is next: the client that has the least under way, of several the
 * one whose last turn is the longest ago. So somebody with a thousand requests and somebody with one both go
 * on. Not thread-safe: the server's lock is held. */
#ifndef PC_SERVE_QUEUE_H
#define PC_SERVE_QUEUE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/** Somebody who asks: a key, or an address without one. Lives as long as something of it waits or runs. */
struct pc_client {
    struct pc_client *next;
    char name[80];
    size_t n_requests, n_waiting; /* all of them; those in the queue */
    size_t n_running;             /* prompts under way, of requests in the queue too */
    uint64_t last_turn;
};

/** A place in the queue; part of what waits. */
struct pc_queued {
    struct pc_queued *prev, *next;
    struct pc_client *client;
    size_t n_running; /* prompts of it under way */
};

/** `{.max = N}` is empty. */
struct pc_queue {
    struct pc_queued *first, *last;
    struct pc_client *clients;
    size_t n, max;
    uint64_t n_turns;
};

enum pc_queue_verdict { PC_QUEUE_TAKEN, PC_QUEUE_FULL, PC_QUEUE_TOO_MANY, PC_QUEUE_NO_MEMORY };

/** Put q behind all others, in the name of a client. FULL: there is no room for anybody; TOO_MANY: none for
 * this client, who has three quarters of it. */
enum pc_queue_verdict pc_queue_add(struct pc_queue *queue, struct pc_queued *q, const char *client);

/** Who is next, still waiting; NULL when nobody is. */
struct pc_queued *pc_queue_next(const struct pc_queue *queue);

/** Take it off; runs: it goes on to be computed, until pc_queue_done. */
void pc_queue_remove(struct pc_queue *queue, struct pc_queued *q, bool runs);

/** A turn was given to q's client, for a prompt of q, which waits or runs: others come before its next. */
void pc_queue_turn(struct pc_queue *queue, struct pc_queued *q);
/** And that prompt is done. */
void pc_queue_prompt_done(struct pc_queued *q);

/** What was removed to run is done, with every prompt of it. */
void pc_queue_done(struct pc_queue *queue, struct pc_queued *q);

#endif
