// SPDX-License-Identifier: Apache-2.0
#include "serve/queue.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

static struct pc_client *find_client(struct pc_queue *queue, const char *name)
{
    struct pc_client *c = queue->clients;
    while (c && strncmp(c->name, name, sizeof c->name - 1) != 0)
        c = c->next;
    if (c)
        return c;
    c = pc_alloc_zero(1, sizeof *c);
    if (!c)
        return NULL;
    snprintf(c->name, sizeof c->name, "%s", name);
    c->next = queue->clients;
    queue->clients = c;
    return c;
}

static void drop_client(struct pc_queue *queue, struct pc_client *c)
{
    if (c->n_requests > 0)
        return;
    struct pc_client **at = &queue->clients;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    pc_free(c);
}

enum pc_queue_verdict pc_queue_add(struct pc_queue *queue, struct pc_queued *q, const char *client)
{
    if (queue->n >= queue->max)
        return PC_QUEUE_FULL;
    struct pc_client *c = find_client(queue, client);
    if (!c)
        return PC_QUEUE_NO_MEMORY;
    if (c->n_waiting >= queue->max - queue->max / 4)
        return PC_QUEUE_TOO_MANY;
    *q = (struct pc_queued){.prev = queue->last, .client = c};
    *(queue->last ? &queue->last->next : &queue->first) = q;
    queue->last = q;
    queue->n++;
    c->n_requests++;
    c->n_waiting++;
    return PC_QUEUE_TAKEN;
}

struct pc_queued *pc_queue_next(const struct pc_queue *queue)
{
    struct pc_queued *best = queue->first;
    for (struct pc_queued *q = best; q; q = q->next) {
        const struct pc_client *a = q->client, *b = best->client;
        if (a->n_running < b->n_running || (a->n_running == b->n_running && a->last_turn < b->last_turn))
            best = q;
    }
    return best;
}

void pc_queue_remove(struct pc_queue *queue, struct pc_queued *q, bool runs)
{
    *(q->prev ? &q->prev->next : &queue->first) = q->next;
    *(q->next ? &q->next->prev : &queue->last) = q->prev;
    q->prev = q->next = NULL;
    queue->n--;
    q->client->n_waiting--;
    if (!runs)
        pc_queue_done(queue, q);
}

void pc_queue_turn(struct pc_queue *queue, struct pc_queued *q)
{
    q->client->last_turn = ++queue->n_turns;
    q->client->n_running++;
    q->n_running++;
}

void pc_queue_prompt_done(struct pc_queued *q)
{
    q->client->n_running--;
    q->n_running--;
}

void pc_queue_done(struct pc_queue *queue, struct pc_queued *q)
{
    q->client->n_requests--;
    q->client->n_running -= q->n_running;
    drop_client(queue, q->client);
    q->client = NULL;
}
