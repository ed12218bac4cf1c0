// SPDX-License-Identifier: Apache-2.0
/* What the tick looks after. libmicrohttpd does not look at suspended connections, so whether their clients
 * are still there is seen here: one that closed its side is gone, since there is no way to tell whether it
 * still listens. Nor does it always notice that the rest of a head or a body will not come, or bound how long
 * a head or a body may take as long as a byte comes now and then.
 */
#include "base/host.h"
#include "serve/front.h"

#include <poll.h>
#include <sys/ioctl.h>

enum { PING_SECONDS = 15 };

void pc_exchange_wake(void *client)
{
    struct pc_exchange *x = client;
    if (!x->suspended)
        return;
    x->suspended = false;
    x->front->mhd->resume(x->connection);
}

static void look_for_gone(struct pc_front *f)
{
    size_t n = 0, i = 0;
    for (const struct pc_exchange *x = f->exchanges; x && n < (size_t)f->server->o.max_connections;
         x = x->next)
        if (x->suspended && x->link)
            f->polls[n++] = (struct pollfd){.fd = x->link->fd, .events = POLLRDHUP};
    if (n == 0 || poll(f->polls, n, 0) <= 0)
        return;
    for (struct pc_exchange *x = f->exchanges; x && i < n; x = x->next)
        if (x->suspended && x->link && f->polls[i++].revents & (POLLRDHUP | POLLHUP | POLLERR))
            x->turn->ends = PC_TURN_GONE;
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

/* Clients that closed their side before their request was whole: all that came has been read, and it is not
 * enough. They would keep their place until they count as idle. */
static void look_for_halves(struct pc_front *f)
{
    size_t n = 0, i = 0;
    for (const struct pc_link *l = f->links; l && n < (size_t)f->server->o.max_connections; l = l->next)
        if (!l->whole)
            f->polls[n++] = (struct pollfd){.fd = l->fd, .events = POLLRDHUP};
    if (n == 0 || poll(f->polls, n, 0) <= 0)
        return;
    for (const struct pc_link *l = f->links; l && i < n; l = l->next)
        if (!l->whole && f->polls[i++].revents & (POLLRDHUP | POLLHUP | POLLERR)) {
            int n_unread = 0;
            if (ioctl(l->fd, FIONREAD, &n_unread) == 0 && n_unread == 0)
                shutdown(l->fd, SHUT_RDWR); /* libmicrohttpd closes it then */
        }
}

static void look_after(struct pc_front *f, struct pc_exchange *x, double now)
{
    static const char ping[] = ": ping\n\n";
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
    } else if (t->call.stream && now - t->last_out > PING_SECONDS && t->out.len == t->n_taken) {
        pc_buf_clear(&t->out);
        t->n_taken = 0;
        pc_buf_add(&t->out, ping, sizeof ping - 1);
        t->last_out = now;
        pc_exchange_wake(x);
    }
}

void pc_front_tick(struct pc_front *f, double now)
{
    look_for_gone(f);
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
