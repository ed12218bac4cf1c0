// SPDX-License-Identifier: Apache-2.0
/* What the tick looks after. libmicrohttpd does not look at suspended connections, so whether their clients
 * are still there is seen here. A client may close its side behind a whole request and still read (RFC 9112,
 * 9.6); it looks as one that is gone, until something is sent to it: who is gone answers with a reset. So it
 * is sent something that means nothing, a stream a comment and other answers an interim one.
 *
 * Nor does libmicrohttpd always notice that the rest of a head or a body will not come, or bound how long
 * a head or a body may take as long as a byte comes now and then.
 */
#include "base/host.h"
#include "serve/front.h"

#include <poll.h>
#include <sys/socket.h>

enum { PING_SECONDS = 15 };

void pc_exchange_wake(void *client)
{
    struct pc_exchange *x = client;
    if (!x->suspended)
        return;
    x->suspended = false;
    x->front->mhd->resume(x->connection);
}

static void ping(struct pc_exchange *x, double now)
{
    static const char comment[] = ": ping\n\n";
    struct pc_turn *t = x->turn;
    if (t->out.len > t->n_taken)
        return; /* what waits does it, too */
    pc_buf_clear(&t->out);
    t->n_taken = 0;
    pc_buf_add(&t->out, comment, sizeof comment - 1);
    t->last_out = now;
    pc_exchange_wake(x);
}

/* A client closed its side: send it something, and its end tells by the next tick whether it is there. Its
 * connection rests, so nothing else is being sent. */
static void ask_whether_there(struct pc_exchange *x, double now)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (x->asked > 0 && now - x->asked < PING_SECONDS)
        return;
    x->asked = now;
    if (x->turn->call.stream)
        ping(x, now);
    else if (!x->knows_interim || send(x->link->fd, interim, sizeof interim - 1,
                                      MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)sizeof interim - 1)
        x->turn->ends = PC_TURN_GONE;
}

static void look_for_gone(struct pc_front *f, double now)
{
    size_t n = 0, i = 0;
    for (const struct pc_exchange *x = f->exchanges; x && n < (size_t)f->server->o.max_connections;
         x = x->next)
        if (x->suspended && x->link && x->turn)
            f->polls[n++] = (struct pollfd){.fd = x->link->fd, .events = POLLRDHUP};
    if (n == 0 || poll(f->polls, n, 0) <= 0)
        return;
    for (struct pc_exchange *x = f->exchanges; x && i < n; x = x->next) {
        if (!x->suspended || !x->link || !x->turn)
            continue;
        short seen = f->polls[i++].revents;
        if (seen & (POLLHUP | POLLERR))
            x->turn->ends = PC_TURN_GONE;
        else if (seen & POLLRDHUP)
            ask_whether_there(x, now);
    }
}

/* A turn that nobody has begun to compute ends here; of another the engine thread hears. */
static void end_turn(struct pc_front *f, struct pc_turn *t, const struct pc_fault *fault)
{
    struct pc_server *s = f->server;
    if (t->has_engine || t->over)
        return;
    pc_queue_remove(&s->queue, &t->queued, false);
    t->fault = *fault;
    struct pc_buf b;
    pc_buf_init(&b, SIZE_MAX / 2);
    if (t->call.stream)
        pc_buf_puts(&b, "data: ");
    pc_fault_write(&b, fault);
    if (t->call.stream)
        pc_buf_puts(&b, "\n\ndata: [DONE]\n\n");
    pc_turn_finish(t, t->call.stream ? 200 : fault->status, b.data ? b.data : "", b.len);
    s->metrics.n_requests[fault->status / 100]++;
    pc_buf_release(&b);
}

/* Clients that closed their side while libmicrohttpd waits for more of a request. It would let them keep
 * their place until they count as idle. Shutting the side that is closed already changes nothing, but wakes
 * it: what it has not read it reads, and then the end. */
static void look_for_halves(struct pc_front *f)
{
    size_t n = 0, i = 0;
    for (const struct pc_link *l = f->links; l && n < (size_t)f->server->o.max_connections; l = l->next)
        if (!l->whole)
            f->polls[n++] = (struct pollfd){.fd = l->fd, .events = POLLRDHUP};
    if (n == 0 || poll(f->polls, n, 0) <= 0)
        return;
    for (const struct pc_link *l = f->links; l && i < n; l = l->next)
        if (!l->whole && f->polls[i++].revents & (POLLRDHUP | POLLHUP | POLLERR))
            shutdown(l->fd, SHUT_RD);
}

static void look_after(struct pc_front *f, struct pc_exchange *x, double now)
{
    struct pc_turn *t = x->turn;
    struct pc_fault fault = {0};
    if (!x->has_body && now - x->began > f->server->o.idle_seconds && x->link)
        shutdown(x->link->fd, SHUT_RDWR); /* libmicrohttpd closes it then */
    if (!t || t->over)
        return;
    if (t->ends == PC_TURN_GOES_ON && now > t->deadline)
        t->ends = PC_TURN_LATE;
    if (f->server->must_end)
        t->ends = PC_TURN_CLOSED;
    if (t->ends == PC_TURN_LATE)
        pc_fault_set(&fault, 504, "timeout", NULL,
            "The request waited longer than the %.0f seconds a request may take.",
            f->server->o.request_seconds);
    else if (t->ends == PC_TURN_GONE)
        pc_fault_set(&fault, 499, NULL, NULL, "The client closed the connection.");
    else if (t->ends == PC_TURN_CLOSED)
        pc_fault_set(&fault, 503, NULL, NULL, "The server is shutting down.");
    if (fault.status) {
        end_turn(f, t, &fault);
        pthread_cond_signal(&f->server->work);
    } else if (t->call.stream && now - t->last_out > PING_SECONDS) {
        ping(x, now);
    }
}

void pc_front_tick(struct pc_front *f, double now)
{
    look_for_gone(f, now);
    look_for_halves(f);
    for (struct pc_exchange *x = f->exchanges; x; x = x->next)
        look_after(f, x, now);
    for (const struct pc_link *link = f->links; link; link = link->next)
        if (!link->busy && now - link->since > f->server->o.idle_seconds)
            shutdown(link->fd, SHUT_RDWR);
}

size_t pc_front_n_connections(const struct pc_front *f)
{
    return f->n_links;
}
