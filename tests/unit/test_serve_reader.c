// SPDX-License-Identifier: Apache-2.0
/* Large requests are read in order, on a thread that is not the caller's, while their connections rest. */
#include "unit.h"

#include "base/host.h"
#include "serve/front.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { N = 3, MAX_READS = 8 };

struct scene {
    struct pc_server server;
    struct pc_front front;
    struct pc_exchange x[N];
};

static struct scene g_scene;
static pthread_cond_t g_changed = PTHREAD_COND_INITIALIZER;
static bool g_may_go_on;
static int g_n_resumed;
static const struct pc_exchange *g_read[MAX_READS];
static int g_n_read;
static pthread_t g_reads;

static void resume(struct MHD_Connection *c)
{
    (void)c;
    g_n_resumed++;
    pthread_cond_broadcast(&g_changed);
}

static const struct pc_mhd g_mhd = {.resume = resume};

/* Takes until the test says so. */
static void answer(struct pc_exchange *x)
{
    pthread_mutex_lock(&g_scene.server.lock);
    g_read[g_n_read++] = x;
    g_reads = pthread_self();
    pthread_cond_broadcast(&g_changed);
    while (!g_may_go_on)
        pthread_cond_wait(&g_changed, &g_scene.server.lock);
    pthread_mutex_unlock(&g_scene.server.lock);
}

static const struct pc_route g_route = {"POST", "/", false, false, answer};

static int open_scene(void **state)
{
    (void)state;
    struct scene *s = &g_scene;
    *s = (struct scene){.front = {.server = &s->server, .mhd = &g_mhd}};
    s->server.o.request_seconds = 600;
    pthread_mutex_init(&s->server.lock, NULL);
    for (int i = 0; i < N; i++)
        s->x[i] = (struct pc_exchange){
            .front = &s->front, .route = &g_route, .began = pc_seconds(), .suspended = true};
    g_may_go_on = false;
    g_n_resumed = g_n_read = 0;
    return pc_reader_start(&s->front.reader, &s->server.lock, NULL);
}

static int close_scene(void **state)
{
    (void)state;
    pc_reader_stop(&g_scene.front.reader);
    pthread_mutex_destroy(&g_scene.server.lock);
    return 0;
}

static bool put(int i)
{
    return pc_reader_put(&g_scene.front.reader, &g_scene.x[i]);
}

static void await(const int *count, int n)
{
    while (*count < n)
        pthread_cond_wait(&g_changed, &g_scene.server.lock);
}

/* While the first is being read, others wait and nobody is kept from the lock. */
static void test_in_order(void **state)
{
    (void)state;
    struct scene *s = &g_scene;
    pthread_mutex_lock(&s->server.lock);
    assert_true(put(2) && put(0));
    await(&g_n_read, 1);
    assert_true(put(1));
    assert_false(pthread_equal(g_reads, pthread_self()));
    assert_int_equal(g_n_read, 1);
    assert_false(s->x[2].is_read);
    assert_true(s->x[2].suspended);
    g_may_go_on = true;
    pthread_cond_broadcast(&g_changed);
    await(&g_n_resumed, 3);
    assert_true(g_read[0] == &s->x[2] && g_read[1] == &s->x[0] && g_read[2] == &s->x[1]);
    for (int i = 0; i < N; i++)
        assert_true(s->x[i].is_read && !s->x[i].suspended && !s->x[i].fault.status);
    assert_true(put(0)); /* once more, from none */
    await(&g_n_read, N + 1);
    pthread_mutex_unlock(&s->server.lock);
}

static void test_waited_too_long(void **state)
{
    (void)state;
    struct scene *s = &g_scene;
    s->x[0].began -= 601;
    pthread_mutex_lock(&s->server.lock);
    assert_true(put(0));
    await(&g_n_resumed, 1);
    pthread_mutex_unlock(&s->server.lock);
    assert_int_equal(g_n_read, 0);
    assert_true(s->x[0].is_read);
    assert_int_equal(s->x[0].fault.status, 504);
    assert_string_equal(
        s->x[0].fault.message, "The request waited longer than the 600 seconds a request may take.");
}

/* What was put is woken, so that no connection rests when libmicrohttpd is stopped. */
static void test_stop(void **state)
{
    (void)state;
    struct scene *s = &g_scene;
    g_may_go_on = true;
    pthread_mutex_lock(&s->server.lock);
    assert_true(put(0) && put(1));
    pthread_mutex_unlock(&s->server.lock);
    pc_reader_stop(&s->front.reader);
    assert_int_equal(g_n_resumed, 2);
    assert_false(put(2));
    pc_reader_stop(&s->front.reader);
}

/* The tick asks no turn of one that is being read whether its client is gone: there is none yet. */
static void test_tick(void **state)
{
    (void)state;
    struct scene *s = &g_scene;
    struct pollfd room[1];
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    close(ends[0]);
    struct pc_link link = {.fd = ends[1], .busy = true, .whole = true};
    s->front.polls = room;
    s->server.o.max_connections = 1;
    s->server.o.idle_seconds = 60;
    s->x[0].link = &link;
    s->x[0].has_body = true;
    s->front.exchanges = &s->x[0];
    pc_front_tick(&s->front, s->x[0].began + 1000);
    assert_true(s->x[0].suspended);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_in_order, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(test_waited_too_long, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(test_stop, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(test_tick, open_scene, close_scene),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
