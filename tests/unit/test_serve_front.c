// SPDX-License-Identifier: Apache-2.0
/* What a client is sent when there is no memory for its answer: never a part of it that looks like all. */
#include "unit.h"

#include "base/memory.h"
#include "serve/front.h"

#include <string.h>

/** A request whose turn is with the engine, and what libmicrohttpd was given. */
struct scene {
    struct pc_server server;
    struct pc_front front;
    struct pc_exchange x;
    struct pc_turn turn;
};

static struct {
    unsigned status;
    char body[1000];
    MHD_ContentReaderCallback read;
    int n_resumed;
} g_given;

static void resume(struct MHD_Connection *c)
{
    (void)c;
    g_given.n_resumed++;
}

static struct MHD_Response *response_of_buffer(size_t len, void *data, enum MHD_ResponseMemoryMode mode)
{
    (void)mode;
    snprintf(g_given.body, sizeof g_given.body, "%.*s", (int)len, (const char *)data);
    return (struct MHD_Response *)&g_given;
}

static struct MHD_Response *response_of_callback(uint64_t size, size_t block, MHD_ContentReaderCallback read,
    void *cls, MHD_ContentReaderFreeCallback release)
{
    (void)size, (void)block, (void)cls, (void)release;
    g_given.read = read;
    return (struct MHD_Response *)&g_given;
}

static enum MHD_Result add_header(struct MHD_Response *r, const char *name, const char *value)
{
    (void)r, (void)name, (void)value;
    return MHD_YES;
}

static enum MHD_Result queue_response(struct MHD_Connection *c, unsigned status, struct MHD_Response *r)
{
    (void)c, (void)r;
    g_given.status = status;
    return MHD_YES;
}

static void destroy_response(struct MHD_Response *r)
{
    (void)r;
}

static const char *lookup(struct MHD_Connection *c, enum MHD_ValueKind kind, const char *name)
{
    (void)c, (void)kind, (void)name;
    return NULL;
}

static const struct pc_mhd g_mhd = {.suspend = resume,
    .resume = resume,
    .response_of_buffer = response_of_buffer,
    .response_of_callback = response_of_callback,
    .add_header = add_header,
    .queue_response = queue_response,
    .destroy_response = destroy_response,
    .lookup = lookup};

static void open_scene(struct scene *s, bool stream)
{
    memset(&g_given, 0, sizeof g_given);
    *s = (struct scene){.front = {.server = &s->server, .mhd = &g_mhd}};
    pthread_mutex_init(&s->server.lock, NULL);
    pthread_cond_init(&s->server.work, NULL);
    s->turn.server = &s->server;
    s->turn.call.stream = stream;
    s->turn.has_client = s->turn.has_engine = true;
    s->turn.wake = pc_exchange_wake;
    s->turn.client = &s->x;
    pc_buf_init(&s->turn.out, 1 << 20);
    s->x = (struct pc_exchange){.front = &s->front, .turn = &s->turn, .called_again = true};
    pc_buf_init(&s->x.reply, 1000);
}

static void close_scene(struct scene *s)
{
    pc_buf_release(&s->turn.out);
    pc_buf_release(&s->x.reply);
    pthread_cond_destroy(&s->server.work);
    pthread_mutex_destroy(&s->server.lock);
}

static void call(struct scene *s)
{
    size_t none = 0;
    void *context = &s->x;
    assert_int_equal(
        pc_exchange_handle(&s->front, NULL, "/", "POST", "HTTP/1.1", NULL, &none, &context), MHD_YES);
}

static void test_whole(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, false);
    pc_turn_finish(&s.turn, 200, "{}", 2);
    call(&s);
    assert_int_equal(g_given.status, 200);
    assert_string_equal(g_given.body, "{}");
    close_scene(&s);
}

static void test_whole_without_memory(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, false);
    pc_alloc_fail_after(0);
    pc_turn_finish(&s.turn, 200, "{}", 2);
    pc_alloc_fail_after(-1);
    call(&s);
    assert_int_equal(g_given.status, 503);
    assert_contains(g_given.body, "out of memory");
    close_scene(&s);
}

/* What was lost in the middle is not followed by the rest, and its end is no proper one. */
static void test_stream_without_memory(void **state)
{
    (void)state;
    struct scene s;
    char got[1000];
    open_scene(&s, true);
    call(&s);
    assert_int_equal(g_given.status, 200);
    pc_turn_emit(&s.turn, "data: 1\n\n", 9);
    assert_int_equal(g_given.read(&s.x, 0, got, sizeof got), 9);
    char large[200] = {0};
    s.x.suspended = true;
    pc_alloc_fail_after(0);
    pc_turn_emit(&s.turn, large, sizeof large);
    pc_alloc_fail_after(-1);
    assert_int_equal(s.turn.fault.status, 503); /* which has the engine thread end it */
    assert_false(s.x.suspended);
    pc_turn_emit(&s.turn, "data: 3\n\n", 9);
    assert_int_equal(g_given.read(&s.x, 9, got, sizeof got), MHD_CONTENT_READER_END_WITH_ERROR);
    pc_turn_finish(&s.turn, 200, "data: [DONE]\n\n", 14);
    assert_int_equal(g_given.read(&s.x, 9, got, sizeof got), MHD_CONTENT_READER_END_WITH_ERROR);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_whole_without_memory),
        cmocka_unit_test(test_stream_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
