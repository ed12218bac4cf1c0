// SPDX-License-Identifier: Apache-2.0
/* What the tick does about clients that closed their side: those that read on, those that are gone, and those
 * whose request is not whole. Over real sockets; libmicrohttpd is not there. */
#include "unit.h"

#include "serve/front.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WAIT_MS = 5000 };

/** A server with one connection, its client, and a request that is being answered. */
struct scene {
    struct pc_server server;
    struct pc_front front;
    struct pc_link link;
    struct pc_exchange x;
    struct pc_turn turn;
    struct pollfd room[4];
    int client;
    double now;
};

static int g_resumed;

static void resume(struct MHD_Connection *c)
{
    (void)c;
    g_resumed++;
}

static const struct pc_mhd g_mhd = {.resume = resume};

/* Both ends of a connection over TCP. */
static void connect_ends(int *client, int *server)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    *client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(*client, (struct sockaddr *)&at, len), 0);
    *server = accept(listener, NULL, NULL);
    assert_true(*server >= 0);
    close(listener);
}

static void await(int fd, short events)
{
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = events}, 1, WAIT_MS), 1);
}

static void open_scene(struct scene *s)
{
    *s = (struct scene){.now = 1000};
    s->server.o.max_connections = 4;
    s->server.o.idle_seconds = 60;
    pthread_cond_init(&s->server.work, NULL);
    s->front = (struct pc_front){
        .server = &s->server, .mhd = &g_mhd, .links = &s->link, .n_links = 1, .polls = s->room};
    connect_ends(&s->client, &s->link.fd);
    s->link.since = s->now;
    s->turn.deadline = s->now + 600;
    s->turn.last_out = s->now;
    s->turn.has_engine = true;
    pc_buf_init(&s->turn.out, 1000);
    s->x = (struct pc_exchange){
        .front = &s->front, .link = &s->link, .began = s->now, .turn = &s->turn, .knows_interim = true};
    g_resumed = 0;
}

/* The request is whole, and its connection rests. */
static void open_answer(struct scene *s)
{
    open_scene(s);
    s->link.busy = s->link.whole = s->x.has_body = s->x.suspended = true;
    s->front.exchanges = &s->x;
    s->front.n_exchanges = 1;
}

static void close_scene(struct scene *s)
{
    if (s->client >= 0)
        close(s->client);
    close(s->link.fd);
    pc_buf_release(&s->turn.out);
    pthread_cond_destroy(&s->server.work);
}

static void close_side(struct scene *s)
{
    shutdown(s->client, SHUT_WR);
    await(s->link.fd, POLLRDHUP);
}

static void tick_after(struct scene *s, double seconds)
{
    s->now += seconds;
    pc_front_tick(&s->front, s->now);
}

/* What the client is sent, up to what is there now. */
static const char *received(const struct scene *s, char *room, size_t size)
{
    ssize_t n = recv(s->client, room, size - 1, MSG_DONTWAIT);
    room[n < 0 ? 0 : n] = '\0';
    return room;
}

static void test_there(void **state)
{
    (void)state;
    struct scene s;
    char got[100];
    open_answer(&s);
    tick_after(&s, 1);
    assert_string_equal(received(&s, got, sizeof got), "");
    close_side(&s);
    tick_after(&s, 1);
    await(s.client, POLLIN);
    assert_string_equal(received(&s, got, sizeof got), "HTTP/1.1 100 Continue\r\n\r\n");
    tick_after(&s, 1);
    tick_after(&s, 1);
    assert_string_equal(received(&s, got, sizeof got), ""); /* not at every tick */
    tick_after(&s, 20);
    await(s.client, POLLIN);
    assert_string_equal(received(&s, got, sizeof got), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(s.turn.ends, PC_TURN_GOES_ON);
    close_scene(&s);
}

static void test_gone(void **state)
{
    (void)state;
    struct scene s;
    open_answer(&s);
    close(s.client);
    s.client = -1;
    await(s.link.fd, POLLRDHUP);
    tick_after(&s, 1);
    assert_int_equal(s.turn.ends, PC_TURN_GOES_ON);
    await(s.link.fd, POLLHUP); /* the answer to what it was sent */
    tick_after(&s, 1);
    assert_int_equal(s.turn.ends, PC_TURN_GONE);
    close_scene(&s);
}

static void test_cannot_be_asked(void **state)
{
    (void)state;
    struct scene s;
    char got[100];
    open_answer(&s);
    s.x.knows_interim = false;
    close_side(&s);
    tick_after(&s, 1);
    assert_int_equal(s.turn.ends, PC_TURN_GONE);
    assert_string_equal(received(&s, got, sizeof got), "");
    close_scene(&s);
}

static void test_stream(void **state)
{
    (void)state;
    struct scene s;
    char got[100];
    open_answer(&s);
    s.x.knows_interim = false;
    s.turn.call.stream = true;
    close_side(&s);
    tick_after(&s, 1);
    assert_int_equal(s.turn.out.len, strlen(": ping\n\n"));
    assert_memory_equal(s.turn.out.data, ": ping\n\n", s.turn.out.len);
    assert_false(s.x.suspended);
    assert_int_equal(g_resumed, 1);
    s.turn.n_taken = s.turn.out.len; /* it is sent, and rests again */
    s.x.suspended = true;
    tick_after(&s, 1);
    assert_int_equal(g_resumed, 1);
    assert_int_equal(s.turn.ends, PC_TURN_GOES_ON);
    assert_string_equal(received(&s, got, sizeof got), ""); /* not past libmicrohttpd */
    close_scene(&s);
}

/* Somebody who waits as libmicrohttpd does, for changes only, hears of an end that he missed; and of nothing
 * where the request is whole. */
static void test_half(void **state)
{
    (void)state;
    struct scene s;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
    char got[8];
    open_scene(&s);
    int waits = epoll_create1(0);
    assert_int_equal(epoll_ctl(waits, EPOLL_CTL_ADD, s.link.fd, &event), 0);
    assert_int_equal(send(s.client, "GET", 3, 0), 3);
    close_side(&s);
    assert_int_equal(epoll_wait(waits, &event, 1, WAIT_MS), 1);
    assert_int_equal(recv(s.link.fd, got, sizeof got, 0), 3);
    assert_int_equal(epoll_wait(waits, &event, 1, 0), 0);
    s.link.whole = true;
    tick_after(&s, 1);
    assert_int_equal(epoll_wait(waits, &event, 1, 0), 0);
    s.link.whole = false;
    tick_after(&s, 1);
    assert_int_equal(epoll_wait(waits, &event, 1, WAIT_MS), 1);
    assert_int_equal(recv(s.link.fd, got, sizeof got, 0), 0);
    assert_int_equal(send(s.link.fd, "200", 3, MSG_NOSIGNAL), 3); /* the other side is as it was */
    await(s.client, POLLIN);
    assert_string_equal(received(&s, got, sizeof got), "200");
    close(waits);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there),
        cmocka_unit_test(test_gone),
        cmocka_unit_test(test_cannot_be_asked),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
