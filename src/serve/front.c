// SPDX-License-Identifier: Apache-2.0
/* Connections. A request is read whole, within bounds; then its route answers. While a turn is computed its
 * connection is suspended, and woken when there is something to send. */
#include "serve/front.h"

#include "base/host.h"
#include "base/memory.h"
#include "serve/listen.h"
#include "serve/request_log.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_DROPPED = 64 << 20, /* bytes of an unwanted body that are read so that its sender hears why */
    MAX_BODIES = 256 << 20, /* of all requests together */
    STREAM_BLOCK = 16 << 10,
    MAX_READ_HERE = 16 << 10, /* bytes of a body that take no time to speak of */
};

/* ---- the life of an exchange ---- */

static void link_exchange(struct pc_exchange *x)
{
    struct pc_front *f = x->front;
    pthread_mutex_lock(&f->server->lock);
    x->next = f->exchanges;
    if (f->exchanges)
        f->exchanges->prev = x;
    f->exchanges = x;
    f->n_exchanges++;
    if (x->link) {
        x->link->busy = true;
        x->link->whole = x->has_body;
    }
    pthread_mutex_unlock(&f->server->lock);
}

void pc_exchange_completed(
    void *cls, struct MHD_Connection *c, void **context, enum MHD_RequestTerminationCode code)
{
    (void)c, (void)code;
    struct pc_front *f = cls;
    struct pc_exchange *x = *context;
    if (!x)
        return;
    pthread_mutex_lock(&f->server->lock);
    *(x->prev ? &x->prev->next : &f->exchanges) = x->next;
    if (x->next)
        x->next->prev = x->prev;
    f->n_exchanges--;
    f->body_bytes -= x->body.len;
    if (x->link) {
        x->link->busy = x->link->whole = false;
        x->link->since = pc_seconds();
    }
    if (!x->answered)
        x->status = 499; /* it left before */
    if (!x->turn)
        f->server->metrics.n_requests[x->status / 100 % 6]++;
    pthread_mutex_unlock(&f->server->lock);
    if (x->turn)
        pc_server_leave(f->server, x->turn);
    else
        pc_request_log_exchange(x);
    pc_buf_release(&x->body);
    pc_buf_release(&x->reply);
    pc_offer_drop(x->offer);
    pc_free(x);
    *context = NULL;
}

static void name_client(struct pc_exchange *x)
{
    const union MHD_ConnectionInfo *info =
        x->front->mhd->connection_info(x->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info ? info->client_addr : NULL;
    snprintf(x->client, sizeof x->client, "local");
    if (a && a->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, x->client, sizeof x->client);
    else if (a && a->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)a)->sin6_addr, x->client, sizeof x->client);
}

const char *pc_exchange_header(const struct pc_exchange *x, const char *name)
{
    return x->front->mhd->lookup(x->connection, MHD_HEADER_KIND, name);
}

/* ---- who may ask what ---- */

static void check_access(struct pc_exchange *x)
{
    struct pc_server *s = x->front->server;
    if (!pc_access_origin(s, pc_exchange_header(x, "Origin"), pc_exchange_header(x, "Host")))
        pc_fault_set(&x->fault, 403, "origin_not_allowed", NULL,
            "Pages of other origins may not ask this server; --cors allows one.");
    else if (!(x->route && x->route->open) &&
             !pc_access_key(s, pc_exchange_header(x, "Authorization"), x->client, sizeof x->client))
        pc_fault_set(&x->fault, 401, "invalid_api_key", NULL,
            pc_exchange_header(x, "Authorization")
                ? "Incorrect API key provided."
                : "You did not provide an API key: it goes into an Authorization "
                  "header, \"Bearer KEY\".");
}

static void check_size(struct pc_exchange *x)
{
    const char *length = pc_exchange_header(x, "Content-Length");
    size_t max = x->front->server->o.max_body;
    if (length && strtoull(length, NULL, 10) > max)
        pc_fault_set(&x->fault, 413, "request_too_large", NULL,
            "The request's body has %s bytes; at most %zu are allowed.", length, max);
}

static bool is_preflight(const struct pc_exchange *x, const char *method)
{
    return strcmp(method, "OPTIONS") == 0 && x->front->server->o.cors && pc_exchange_header(x, "Origin");
}

static struct pc_exchange *begin(
    struct pc_front *f, struct MHD_Connection *c, const char *url, const char *method, const char *version)
{
    struct pc_exchange *x = pc_alloc_zero(1, sizeof *x);
    if (!x)
        return NULL;
    x->front = f;
    x->connection = c;
    x->began = pc_seconds();
    x->knows_interim = !f->server->o.cert && strcmp(version, "HTTP/1.1") == 0;
    x->status = 200;
    x->type = "application/json";
    pc_buf_init(&x->body, f->server->o.max_body);
    pc_buf_init(&x->reply, SIZE_MAX / 2);
    const union MHD_ConnectionInfo *info = f->mhd->connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    x->link = info ? info->socket_context : NULL;
    snprintf(x->path, sizeof x->path, "%s", url);
    snprintf(x->method, sizeof x->method, "%s", method);
    name_client(x);
    struct pc_fault none = {0};
    x->route = pc_route_find(method, x->path, &x->tail, &none);
    if (is_preflight(x, method) &&
        pc_access_origin(f->server, pc_exchange_header(x, "Origin"), pc_exchange_header(x, "Host"))) {
        x->status = 204;
        x->has_body = true;
    } else {
        check_access(x);
        check_size(x);
        if (!x->route && !x->fault.status)
            x->fault = none;
    }
    link_exchange(x);
    return x;
}

/* ---- bodies ---- */

static bool take_body(struct pc_exchange *x, const char *bytes, size_t len)
{
    struct pc_front *f = x->front;
    if (x->fault.status || !x->route) {
        x->n_dropped += len;
        return x->n_dropped <= MAX_DROPPED;
    }
    pthread_mutex_lock(&f->server->lock);
    bool room = f->body_bytes + len <= MAX_BODIES;
    size_t before = x->body.len;
    if (room)
        pc_buf_add(&x->body, bytes, len);
    bool failed = x->body.failed, large = x->body.too_large;
    if (failed) {
        f->body_bytes -= before;
        pc_buf_release(&x->body);
        pc_buf_init(&x->body, 0);
    } else {
        f->body_bytes += x->body.len - before;
    }
    pthread_mutex_unlock(&f->server->lock);
    if (large)
        pc_fault_set(&x->fault, 413, "request_too_large", NULL,
            "The request's body is larger than the %zu bytes that are allowed.", f->server->o.max_body);
    else if (!room || failed) {
        pc_fault_set(&x->fault, 503, NULL, NULL, "Too many large requests at once.");
        x->fault.retry_after = 1;
    }
    return true;
}

/* ---- answers ---- */

static void add_headers(struct pc_exchange *x, struct MHD_Response *r, const char *type)
{
    const struct pc_mhd *mhd = x->front->mhd;
    const struct pc_server *s = x->front->server;
    char number[24];
    static const char *const usual[][2] = {
        {"X-Content-Type-Options", "nosniff"}, {"Cache-Control", "no-store"}, {NULL, NULL}};
    const char *const(*own)[2] = x->headers && !x->fault.status ? x->headers : usual;
    if (own == usual)
        mhd->add_header(r, "Content-Type", type);
    for (; (*own)[0]; own++)
        mhd->add_header(r, (*own)[0], (*own)[1]);
    if (x->packed && !x->fault.status)
        mhd->add_header(r, "Content-Encoding", "gzip");
    const char *origin = pc_exchange_header(x, "Origin");
    if (s->o.cors && origin && pc_access_origin(s, origin, NULL)) {
        mhd->add_header(r, "Access-Control-Allow-Origin", s->o.cors);
        mhd->add_header(r, "Access-Control-Allow-Headers", "Authorization, Content-Type");
        mhd->add_header(r, "Access-Control-Allow-Methods", "GET, POST");
        mhd->add_header(r, "Vary", "Origin");
    }
    if (x->fault.allow)
        mhd->add_header(r, "Allow", x->fault.allow);
    if (x->fault.status == 401)
        mhd->add_header(r, "WWW-Authenticate", "Bearer");
    if (x->fault.retry_after > 0) {
        snprintf(number, sizeof number, "%d", x->fault.retry_after);
        mhd->add_header(r, "Retry-After", number);
    }
    if (pc_server_state(x->front->server) >= PC_SERVER_DRAINING)
        mhd->add_header(r, "Connection", "close");
}

static enum MHD_Result send_buffer(
    struct pc_exchange *x, int status, const char *type, const struct pc_buf *b)
{
    const struct pc_mhd *mhd = x->front->mhd;
    struct MHD_Response *r =
        mhd->response_of_buffer(b->len, b->data ? b->data : (char *)(uintptr_t) "", MHD_RESPMEM_MUST_COPY);
    if (!r)
        return MHD_NO;
    x->status = status;
    x->answered = true;
    add_headers(x, r, type);
    enum MHD_Result result = mhd->queue_response(x->connection, (unsigned)status, r);
    mhd->destroy_response(r);
    return result;
}

static enum MHD_Result send_fault(struct pc_exchange *x)
{
    pc_buf_release(&x->reply);
    pc_buf_init(&x->reply, SIZE_MAX / 2);
    bool loading = x->fault.code && strcmp(x->fault.code, "loading") == 0;
    if (loading)
        pc_fault_write_loading(&x->reply);
    else
        pc_fault_write(&x->reply, &x->fault);
    return send_buffer(x, x->fault.status, "application/json", &x->reply);
}

/* libmicrohttpd reads from a connection that rests in its first call, as soon as that goes on: a side that
 * was closed meanwhile would end it, answered or not. From the second call on it waits for nothing but the
 * answer. */
static bool may_rest(struct pc_exchange *x)
{
    bool may = x->called_again;
    x->called_again = true;
    return may;
}

static void rest(struct pc_exchange *x)
{
    x->suspended = true;
    x->front->mhd->suspend(x->connection);
}

static ssize_t read_stream(void *cls, uint64_t pos, char *buf, size_t max)
{
    (void)pos;
    struct pc_exchange *x = cls;
    struct pc_turn *t = x->turn;
    struct pc_server *s = x->front->server;
    pthread_mutex_lock(&s->lock);
    size_t n = t->out.len - t->n_taken;
    n = n < max ? n : max;
    if (n > 0)
        memcpy(buf, t->out.data + t->n_taken, n);
    t->n_taken += n;
    ssize_t result = (ssize_t)n;
    if (n == 0 && t->lost) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (n == 0 && t->over) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (n == 0) {
        rest(x);
    }
    if (t->paused)
        pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    return result;
}

static enum MHD_Result begin_stream(struct pc_exchange *x)
{
    const struct pc_mhd *mhd = x->front->mhd;
    struct MHD_Response *r = mhd->response_of_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, x, NULL);
    if (!r)
        return MHD_NO;
    add_headers(x, r, "text/event-stream; charset=utf-8");
    mhd->add_header(r, "X-Accel-Buffering", "no");
    enum MHD_Result result = mhd->queue_response(x->connection, 200, r);
    mhd->destroy_response(r);
    return result;
}

/* A turn's whole answer, or nothing yet: the connection then rests until there is one. */
static enum MHD_Result send_turn(struct pc_exchange *x)
{
    struct pc_server *s = x->front->server;
    struct pc_turn *t = x->turn;
    if (t->call.stream)
        return begin_stream(x);
    if (!may_rest(x))
        return MHD_YES;
    pthread_mutex_lock(&s->lock);
    bool over = t->over;
    if (!over)
        rest(x);
    pthread_mutex_unlock(&s->lock);
    if (over && t->lost) {
        pc_fault_set(&x->fault, 503, NULL, NULL, "out of memory");
        return send_fault(x);
    }
    return over ? send_buffer(x, t->status, "application/json", &t->out) : MHD_YES;
}

static void submit(struct pc_exchange *x)
{
    struct pc_turn *t = x->made;
    x->made = NULL;
    t->client = x;
    t->path = x->route->path;
    snprintf(t->client_name, sizeof t->client_name, "%s", x->client);
    t->wake = pc_exchange_wake;
    pthread_mutex_lock(&x->front->server->lock);
    if (pc_server_submit(x->front->server, t, x->client, &x->fault) == 0)
        x->turn = t;
    pthread_mutex_unlock(&x->front->server->lock);
    if (!x->turn)
        pc_turn_free(t);
}

/* Have a large request read elsewhere. Returns whether the answer is yet to come. */
static bool read_aside(struct pc_exchange *x)
{
    struct pc_front *f = x->front;
    if (x->body.len <= MAX_READ_HERE || x->is_read || strcmp(x->route->method, "POST") != 0)
        return false;
    if (!may_rest(x))
        return true;
    pthread_mutex_lock(&f->server->lock);
    bool put = pc_reader_put(&f->reader, x);
    if (put)
        rest(x);
    pthread_mutex_unlock(&f->server->lock);
    return put;
}

static enum MHD_Result answer(struct pc_exchange *x)
{
    pthread_mutex_lock(&x->front->server->lock);
    x->has_body = true;
    if (x->link)
        x->link->whole = true;
    pthread_mutex_unlock(&x->front->server->lock);
    if (!x->fault.status && x->route) {
        if (read_aside(x))
            return MHD_YES;
        if (!x->is_read)
            x->route->answer(x);
        if (x->made)
            submit(x);
    }
    if (!x->fault.status && x->reply.failed)
        pc_fault_set(&x->fault, 503, NULL, NULL, "out of memory");
    if (x->fault.status)
        return send_fault(x);
    return x->turn ? send_turn(x) : send_buffer(x, x->status, x->type, &x->reply);
}

enum MHD_Result pc_exchange_handle(void *cls, struct MHD_Connection *c, const char *url, const char *method,
    const char *version, const char *bytes, size_t *len, void **context)
{
    struct pc_exchange *x = *context;
    if (!x) {
        x = begin(cls, c, url, method, version);
        *context = x;
        /* Who asks whether to send a body hears now that it is not wanted. */
        return !x ? MHD_NO : x->fault.status && pc_exchange_header(x, "Expect") ? send_fault(x) : MHD_YES;
    }
    if (*len > 0) {
        bool goes_on = take_body(x, bytes, *len);
        *len = 0;
        return goes_on ? MHD_YES : MHD_NO;
    }
    return x->turn ? send_turn(x) : answer(x);
}

/* ---- opening and closing ---- */

int pc_front_open(struct pc_server *s, struct pc_front **out, struct paco_error *err)
{
    struct pc_front *f = pc_alloc_zero(1, sizeof *f);
    if (!f)
        return pc_error_mem(err, sizeof *f, "a server");
    *out = f;
    f->server = s;
    f->fd = -1;
    f->polls = pc_alloc((size_t)s->o.max_connections, sizeof *f->polls);
    if (!f->polls)
        return pc_error_mem(err, (size_t)s->o.max_connections * sizeof *f->polls, "connections");
    f->mhd = pc_mhd_load(err);
    if (!f->mhd)
        return PACO_EUNSUPPORTED;
    int rc = pc_listen(s->o.host, &s->port, &f->fd, err);
    if (rc == 0)
        rc = pc_reader_start(&f->reader, &s->lock, err);
    return rc < 0 ? rc : pc_gate_open(f, s->o.cert, s->o.cert_key, err);
}

void pc_front_quiesce(struct pc_front *f)
{
    if (f->fd < 0)
        return;
    pc_gate_quiesce(f);
    close(f->fd);
    if (pc_listen_path(f->server->o.host))
        unlink(pc_listen_path(f->server->o.host));
    f->fd = -1;
}

void pc_front_close(struct pc_front *f)
{
    if (!f)
        return;
    pc_front_quiesce(f);
    pc_reader_stop(&f->reader);
    pc_gate_close(f);
    pc_free(f->polls);
    pc_free(f);
}
