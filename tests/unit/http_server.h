// SPDX-License-Identifier: Apache-2.0
/* An HTTP server inside the test, as well or badly behaved as the test wants.
 *
 *     struct http_server s;
 *     http_server_open(&s, answer, ctx);
 *     ... requests to s.url
 *     http_server_close(&s);
 *
 * answer gets each request with its number, from 0, on the connection's own thread, writes to fd what it
 * likes (http_reply), and returns whether the connection stays open. */
#ifndef PC_TESTS_HTTP_SERVER_H
#define PC_TESTS_HTTP_SERVER_H

#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct http_asked {
    int i;              /* which request to this server */
    char head[8192];    /* request line and headers */
    char body[1 << 16]; /* NUL-terminated */
    size_t body_len;
};

typedef bool http_answer(void *ctx, const struct http_asked *asked, int fd);

enum { HTTP_MAX_CONNECTIONS = 1024 };

struct http_server {
    int fd;
    char url[64]; /* "http://127.0.0.1:PORT" */
    http_answer *answer;
    void *ctx;
    atomic_int n_requests, n_at_once, most_at_once;
    pthread_t thread, connections[HTTP_MAX_CONNECTIONS];
    int fds[HTTP_MAX_CONNECTIONS], n_connections;
};

struct http_connection {
    struct http_server *server;
    int fd;
};

static inline void http_send(int fd, const void *bytes, size_t len)
{
    (void)!send(fd, bytes, len, MSG_NOSIGNAL);
}

/* A whole reply; headers are lines with their line breaks, or "". */
static inline bool http_reply(int fd, int status, const char *headers, const char *body)
{
    char head[1024];
    snprintf(
        head, sizeof head, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n%s\r\n", status, strlen(body), headers);
    http_send(fd, head, strlen(head));
    http_send(fd, body, strlen(body));
    return true;
}

static inline bool http_read(int fd, struct http_asked *asked)
{
    size_t n = 0;
    char *end;
    memset(asked, 0, sizeof *asked);
    do {
        ssize_t got = recv(fd, asked->head + n, sizeof asked->head - 1 - n, 0);
        if (got <= 0)
            return false;
        n += (size_t)got;
        asked->head[n] = '\0';
    } while (!(end = strstr(asked->head, "\r\n\r\n")));
    size_t have = n - (size_t)(end + 4 - asked->head);
    memcpy(asked->body, end + 4, have);
    end[2] = '\0';
    const char *length = strcasestr(asked->head, "\r\nContent-Length:");
    asked->body_len = length ? strtoul(length + 17, NULL, 10) : 0;
    while (have < asked->body_len && have < sizeof asked->body - 1) {
        ssize_t got = recv(fd, asked->body + have, sizeof asked->body - 1 - have, 0);
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

static inline void *http_serve(void *arg)
{
    struct http_connection c = *(struct http_connection *)arg;
    struct http_asked *asked = malloc(sizeof *asked);
    bool open = true;
    free(arg);
    while (open && http_read(c.fd, asked)) {
        struct http_server *s = c.server;
        asked->i = atomic_fetch_add(&s->n_requests, 1);
        int busy = atomic_fetch_add(&s->n_at_once, 1) + 1, most = atomic_load(&s->most_at_once);
        while (busy > most && !atomic_compare_exchange_weak(&s->most_at_once, &most, busy))
            ;
        open = s->answer(s->ctx, asked, c.fd);
        atomic_fetch_sub(&s->n_at_once, 1);
    }
    shutdown(c.fd, SHUT_RDWR);
    free(asked);
    return NULL;
}

static inline void *http_accept(void *arg)
{
    struct http_server *s = arg;
    int fd;
    while (s->n_connections < HTTP_MAX_CONNECTIONS && (fd = accept(s->fd, NULL, NULL)) >= 0) {
        struct http_connection *c = malloc(sizeof *c);
        *c = (struct http_connection){s, fd};
        s->fds[s->n_connections] = fd;
        pthread_create(&s->connections[s->n_connections++], NULL, http_serve, c);
    }
    return NULL;
}

static inline void http_server_open(struct http_server *s, http_answer *answer, void *ctx)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    memset(s, 0, sizeof *s);
    s->answer = answer;
    s->ctx = ctx;
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(s->fd, 64), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &size), 0);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, http_accept, s), 0);
}

static inline void http_server_close(struct http_server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    for (int i = 0; i < s->n_connections; i++)
        shutdown(s->fds[i], SHUT_RDWR);
    for (int i = 0; i < s->n_connections; i++) {
        pthread_join(s->connections[i], NULL);
        close(s->fds[i]);
    }
}

#endif
