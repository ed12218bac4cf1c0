// SPDX-License-Identifier: Apache-2.0
/* serve_clients PORT CLIENTS [PATH] <BODIES: clients of a server on this machine, for bench/serve.
 *
 * Each line of BODIES is a request's body, which asks for a stream. CLIENTS connections take them in their
 * order, each the next one when it has its answer; all are kept open as long as the
 * server does. For each request a line comes out, in
 * the order of BODIES:
 *
 *     {"began": S, "ended": S, "prompt_tokens": N, "completion_tokens": N, "pieces": [S, ...]}
 *
 * with seconds since the start; a piece is an event that brings text. At last {"seconds": S, "cpu_seconds":
 * S}.
 *
 * It stands on the processors it measures, so it does little: one thread, one read for whatever has come, and
 * of each event only what is above is looked for. Any failure ends it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CLIENTS = 4096, MAX_PIECES = 8192, MAX_EVENTS = 64, ROOM = 1 << 18, MAX_BODY = 1 << 24 };

struct request {
    char *body;
    size_t len, n_pieces;
    double began, ended;
    long prompt_tokens, completion_tokens;
    double *pieces; /* (MAX_PIECES) */
};

enum place { HEAD, SIZE, DATA, AFTER, TRAILER }; /* of a chunked answer */

struct client {
    int fd;
    struct request *r;
    enum place place;
    size_t left;   /* of the chunk */
    char in[ROOM]; /* as it came, from a place's beginning */
    size_t n_in;
    char event[ROOM]; /* a line of the stream */
    size_t n_event;
};

struct load {
    struct request *requests;
    size_t n_requests, n_begun, n_done;
    struct client *clients;
    int poll, port;
    const char *path;
    double start;
};

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "serve_clients: %s: %s\n", what, detail);
    exit(1);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *room(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p)
        die("memory", "there is none left");
    return p;
}

static void read_requests(struct load *l)
{
    char *line = NULL;
    size_t room_for = 0;
    for (ssize_t n; (n = getline(&line, &room_for, stdin)) > 0;) {
        l->requests = realloc(l->requests, (l->n_requests + 1) * sizeof *l->requests);
        if (!l->requests)
            die("memory", "there is none left");
        n -= line[n - 1] == '\n';
        l->requests[l->n_requests++] = (struct request){
            .body = strndup(line, (size_t)n), .len = (size_t)n, .pieces = room(MAX_PIECES, sizeof(double))};
    }
    free(line);
}

/* ---- asking ---- */

static void reach(struct load *l, struct client *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0)
        die("cannot connect", "is a server there?");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_ctl(l->poll, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = c});
}

static void ask(struct load *l, struct client *c)
{
    c->place = HEAD;
    c->n_in = c->n_event = 0;
    char *text = room(c->r->len + 1024, 1);
    int n = snprintf(text, 1024,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: "
        "%zu\r\n\r\n",
        l->path, l->port, c->r->len);
    memcpy(text + n, c->r->body, c->r->len);
    for (size_t at = 0, len = (size_t)n + c->r->len; at < len;) {
        ssize_t sent = send(c->fd, text + at, len - at, MSG_NOSIGNAL);
        if (sent <= 0)
            break; /* closed: seen again where it is read from */
        at += (size_t)sent;
    }
    free(text);
}

static void ask_next(struct load *l, struct client *c)
{
    c->r = l->n_begun < l->n_requests ? &l->requests[l->n_begun++] : NULL;
    if (!c->r)
        return;
    c->r->began = seconds() - l->start;
    ask(l, c);
}

/* Servers may close a connection after an answer; the next question then takes a new one. */
static void ask_again(struct load *l, struct client *c)
{
    if (c->r && (c->place != HEAD || c->n_in > 0))
        die("a connection was closed", "in the middle of an answer");
    close(c->fd);
    reach(l, c);
    if (c->r)
        ask(l, c);
}

/* ---- answers ---- */

static long number_behind(const char *event, const char *name)
{
    const char *at = strstr(event, name);
    return at ? strtol(at + strlen(name), NULL, 10) : 0;
}

static bool has_text(const char *event)
{
    static const char *const names[] = {"\"text\":", "\"content\":"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *at = strstr(event, names[i]);
        if (!at)
            continue;
        at += strlen(names[i]);
        at += strspn(at, " ");
        return at[0] == '"' && at[1] != '"';
    }
    return false;
}

static void take_event(struct client *c, double now)
{
    struct request *r = c->r;
    c->event[c->n_event] = '\0';
    if (strncmp(c->event, "data: {", 7) == 0) {
        if (strstr(c->event, "\"error\""))
            die("an answer failed", c->event);
        if (has_text(c->event) && r->n_pieces < MAX_PIECES)
            r->pieces[r->n_pieces++] = now;
        long n = number_behind(c->event, "\"completion_tokens\":");
        if (n > 0) {
            r->completion_tokens = n;
            r->prompt_tokens = number_behind(c->event, "\"prompt_tokens\":");
        }
    }
    c->n_event = 0;
}

static void take_data(struct client *c, const char *bytes, size_t n, double now)
{
    while (n > 0) {
        const char *end = memchr(bytes, '\n', n);
        size_t len = end ? (size_t)(end - bytes) : n;
        if (c->n_event + len >= ROOM)
            die("an event is too long", "it has more than 256 KiB");
        memcpy(c->event + c->n_event, bytes, len);
        c->n_event += len;
        if (end)
            take_event(c, now);
        bytes += len + (end != NULL);
        n -= len + (end != NULL);
    }
}

static void take_head(struct client *c, char *head)
{
    if (strncmp(head, "HTTP/1.1 200", 12) != 0)
        die("a request was refused", head);
    if (!strcasestr(head, "transfer-encoding: chunked"))
        die("an answer is no stream", head);
    c->place = SIZE;
}

/* A line of c->in that ends at `end`; where the next begins. */
static size_t take_line(struct load *l, struct client *c, size_t at, size_t end, double now)
{
    c->in[end] = '\0';
    if (c->place == SIZE) {
        c->left = strtoul(c->in + at, NULL, 16);
        c->place = c->left ? DATA : TRAILER;
    } else if (c->place == AFTER) {
        c->place = SIZE;
    } else {
        c->r->ended = now;
        l->n_done++;
        ask_next(l, c);
    }
    return end + 2;
}

/* What came, as far as it is whole. */
static void take(struct load *l, struct client *c, double now)
{
    size_t at = 0;
    const struct request *r = c->r;
    while (at < c->n_in && c->r == r) {
        char *from = c->in + at, *end;
        size_t n = c->n_in - at;
        if (c->place == DATA) {
            n = n < c->left ? n : c->left;
            take_data(c, from, n, now);
            at += n;
            c->left -= n;
            c->place = c->left ? DATA : AFTER;
        } else if (c->place == HEAD) {
            end = memmem(from, n, "\r\n\r\n", 4);
            if (!end)
                break;
            *end = '\0';
            take_head(c, from);
            at = (size_t)(end - c->in) + 4;
        } else {
            end = memmem(from, n, "\r\n", 2);
            if (!end)
                break;
            at = take_line(l, c, at, (size_t)(end - c->in), now);
        }
    }
    if (c->r != r)
        return; /* nothing comes before the next answer */
    memmove(c->in, c->in + at, c->n_in - at);
    c->n_in -= at;
}

static void run(struct load *l)
{
    struct epoll_event events[MAX_EVENTS];
    while (l->n_done < l->n_requests) {
        int n = epoll_wait(l->poll, events, MAX_EVENTS, 120000);
        if (n <= 0)
            die("nothing came", "for two minutes");
        double now = seconds() - l->start;
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            ssize_t len = recv(c->fd, c->in + c->n_in, ROOM - 1 - c->n_in, 0);
            if (len <= 0) {
                ask_again(l, c);
                continue;
            }
            c->n_in += (size_t)len;
            if (!c->r)
                die("an answer that nobody asked for", c->in);
            take(l, c, now);
        }
    }
}

/* ---- what was seen ---- */

static void tell(const struct load *l)
{
    for (size_t i = 0; i < l->n_requests; i++) {
        const struct request *r = &l->requests[i];
        printf("{\"began\": %.6f, \"ended\": %.6f, \"prompt_tokens\": %ld, \"completion_tokens\": %ld, "
               "\"pieces\": [",
            r->began, r->ended, r->prompt_tokens, r->completion_tokens);
        for (size_t k = 0; k < r->n_pieces; k++)
            printf("%s%.6f", k ? ", " : "", r->pieces[k]);
        printf("]}\n");
    }
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("{\"seconds\": %.6f, \"cpu_seconds\": %.6f}\n", seconds() - l->start,
        (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
            (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6);
}

int main(int argc, char **argv)
{
    long n_clients = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
    struct load l = {.port = argc > 1 ? atoi(argv[1]) : 0, .path = argc > 3 ? argv[3] : "/v1/completions"};
    if (l.port <= 0 || n_clients <= 0 || n_clients > MAX_CLIENTS || argc > 4)
        die("usage", "serve_clients PORT CLIENTS [PATH] <BODIES");
    read_requests(&l);
    l.clients = room((size_t)n_clients, sizeof *l.clients);
    l.poll = epoll_create1(EPOLL_CLOEXEC);
    for (long i = 0; i < n_clients; i++)
        reach(&l, &l.clients[i]);
    l.start = seconds();
    for (long i = 0; i < n_clients; i++)
        ask_next(&l, &l.clients[i]);
    run(&l);
    tell(&l);
    return 0;
}
