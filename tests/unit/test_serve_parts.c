// SPDX-License-Identifier: Apache-2.0
/* The small parts of the server: who is next, how likely tokens were, how a fault is told, where it listens.
 */
#include "unit.h"

#include "base/cpu.h"
#include "base/json.h"
#include "base/memory.h"
#include "serve/fault.h"
#include "serve/front.h"
#include "serve/listen.h"
#include "serve/logprobs.h"
#include "serve/metrics.h"
#include "serve/queue.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- the queue ---- */

static void test_queue_is_fair(void **state)
{
    (void)state;
    struct pc_queue queue = {.max = 16};
    struct pc_queued many[8], one, two;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pc_queue_add(&queue, &many[i], "many"), PC_QUEUE_TAKEN);
    pc_queue_add(&queue, &one, "one");
    pc_queue_add(&queue, &two, "one");
    const struct pc_queued *const want[] = {&many[0], &one, &many[1], &two, &many[2]};
    for (size_t i = 0; i < 5; i++) {
        struct pc_queued *q = pc_queue_next(&queue);
        assert_ptr_equal(q, want[i]);
        pc_queue_turn(&queue, q);
        pc_queue_remove(&queue, q, true);
    }
    /* Who has less under way comes first, whoever had the last turn. */
    pc_queue_done(&queue, &many[0]);
    pc_queue_done(&queue, &many[1]);
    pc_queue_done(&queue, &many[2]);
    struct pc_queued late;
    pc_queue_add(&queue, &late, "one");
    assert_ptr_equal(pc_queue_next(&queue), &many[3]);
    pc_queue_done(&queue, &one);
    pc_queue_done(&queue, &two);
    pc_queue_turn(&queue, &many[3]);
    assert_ptr_equal(pc_queue_next(&queue), &late);
    pc_queue_remove(&queue, &late, false);
    for (int i = 3; i < 8; i++)
        pc_queue_remove(&queue, &many[i], false);
    assert_null(pc_queue_next(&queue));
    assert_null(queue.clients); /* nobody is remembered */
    assert_int_equal(queue.n, 0);
}

/* A request of many prompts has as much under way as prompts were begun: it does not count as nothing until
 * the last of them is. */
static void test_queue_counts_prompts(void **state)
{
    (void)state;
    struct pc_queue queue = {.max = 16};
    struct pc_queued prompts, one, two;
    pc_queue_add(&queue, &one, "one");
    pc_queue_turn(&queue, &one);
    pc_queue_remove(&queue, &one, true);
    pc_queue_add(&queue, &prompts, "many");
    pc_queue_add(&queue, &two, "one");
    assert_ptr_equal(pc_queue_next(&queue), &prompts);
    pc_queue_turn(&queue, &prompts);
    pc_queue_turn(&queue, &prompts);
    assert_ptr_equal(pc_queue_next(&queue), &two);
    pc_queue_turn(&queue, &two);
    pc_queue_turn(&queue, &two); /* both have two or more under way */
    pc_queue_prompt_done(&prompts);
    assert_ptr_equal(pc_queue_next(&queue), &prompts);
    pc_queue_prompt_done(&two);
    pc_queue_prompt_done(&two);
    pc_queue_turn(&queue, &prompts);
    assert_ptr_equal(pc_queue_next(&queue), &two);
    pc_queue_remove(&queue, &two, true);
    pc_queue_done(&queue, &two);
    assert_int_equal(one.client->n_running, 1);
    pc_queue_done(&queue, &one);
    pc_queue_remove(&queue, &prompts, true); /* with one that was not told to be done */
    pc_queue_done(&queue, &prompts);
    assert_null(queue.clients);
}

static void test_queue_is_bounded(void **state)
{
    (void)state;
    struct pc_queue queue = {.max = 4};
    struct pc_queued q[6];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pc_queue_add(&queue, &q[i], "a"), PC_QUEUE_TAKEN);
    assert_int_equal(pc_queue_add(&queue, &q[3], "a"), PC_QUEUE_TOO_MANY);
    assert_int_equal(pc_queue_add(&queue, &q[3], "b"), PC_QUEUE_TAKEN);
    assert_int_equal(pc_queue_add(&queue, &q[4], "c"), PC_QUEUE_FULL);
    pc_queue_remove(&queue, &q[1], false); /* from the middle */
    pc_alloc_fail_after(0);
    assert_int_equal(pc_queue_add(&queue, &q[4], "c"), PC_QUEUE_NO_MEMORY);
    pc_alloc_fail_after(-1);
    assert_int_equal(pc_queue_add(&queue, &q[4], "c"), PC_QUEUE_TAKEN);
    assert_ptr_equal(queue.first->next, &q[2]);
    pc_queue_remove(&queue, &q[0], false);
    pc_queue_remove(&queue, &q[2], false);
    pc_queue_remove(&queue, &q[3], false);
    pc_queue_remove(&queue, &q[4], false);
    assert_null(queue.first);
    assert_null(queue.last);
    assert_null(queue.clients);
}

/* ---- log-probabilities ---- */

static void test_likeliest(void **state)
{
    (void)state;
    const float x[] = {1, 3, NAN, 3, -INFINITY, 2, 0};
    struct pc_likely top[8];
    assert_int_equal(pc_likeliest(x, 7, top, 3), 3);
    assert_true(top[0].id == 1 && top[1].id == 3 && top[2].id == 5); /* equal ones by the lower id */
    assert_int_equal(pc_likeliest(x, 7, top, 8), 6);
    assert_true(top[3].id == 0 && top[4].id == 6 && top[5].id == 4);
    assert_int_equal(pc_likeliest(x, 7, top, 0), 0);
}

static void test_notebook(void **state)
{
    (void)state;
    struct pc_softmax softmax;
    pc_softmax_init(&softmax, 0);
    struct pc_notebook b = {.n_top = 2};
    struct paco_error err = {0};
    const float x[] = {0, 1, 2};
    float room[3];
    assert_int_equal(pc_notebook_add(&b, &softmax, room, NULL, 3, 1, &err), 0);
    for (int i = 0; i < 50; i++)
        assert_int_equal(pc_notebook_add(&b, &softmax, room, x, 3, i % 3, &err), 0);
    assert_true(isnan(b.v[0].logprob) && b.top[0].id == -1 && b.n == 51);
    double sum = log(1 + exp(1) + exp(2));
    for (int i = 1; i <= 50; i++) {
        assert_true(fabs(b.v[i].logprob - ((i - 1) % 3 - sum)) < 1e-6);
        /* What they differ by is what the logits differ by, in doubles. */
        assert_true(fabs(b.v[i].logprob - b.v[1].logprob - (i - 1) % 3) < 1e-14);
        assert_true(b.top[2 * i].id == 2 && b.top[2 * i + 1].id == 1);
        assert_true(fabs(b.top[2 * i].logprob - (2 - sum)) < 1e-6);
    }
    pc_notebook_release(&b);
    for (int n = 0; n < 2; n++) {
        b = (struct pc_notebook){.n_top = 2};
        pc_alloc_fail_after(n);
        assert_int_equal(pc_notebook_add(&b, &softmax, room, x, 3, 0, &err), PACO_EMEM);
        pc_alloc_fail_after(-1);
        pc_notebook_release(&b);
    }
}

/* ---- faults ---- */

static void test_fault(void **state)
{
    (void)state;
    struct pc_fault f = {0};
    struct pc_buf b;
    pc_buf_init(&b, 4096);
    assert_int_equal(pc_fault_set(&f, 400, "invalid_value", "n", "Not \"%d\".", 3), PACO_EINVAL);
    pc_fault_set(&f, 500, NULL, NULL, "later"); /* the first counts */
    pc_fault_write(&b, &f);
    assert_string_equal(b.data,
        "{\"error\":{\"message\":\"Not \\\"3\\\".\",\"type\":\"invalid_request_error\","
        "\"param\":\"n\",\"code\":\"invalid_value\"}}");
    static const struct {
        int code, status;
        const char *type;
    } kinds[] = {{PACO_EINVAL, 400, "invalid_request_error"}, {PACO_ELIMIT, 400, "invalid_request_error"},
        {PACO_EMEM, 503, "unavailable_error"}, {PACO_EIO, 500, "server_error"}};
    for (size_t i = 0; i < 4; i++) {
        struct paco_error err = {.code = kinds[i].code, .message = "m"};
        f = (struct pc_fault){0};
        pc_fault_of(&f, NULL, &err);
        assert_int_equal(f.status, kinds[i].status);
        pc_buf_clear(&b);
        pc_fault_write(&b, &f);
        assert_contains(b.data, kinds[i].type);
        assert_contains(b.data, "\"param\":null");
    }
    pc_buf_release(&b);
}

/* ---- what a browser takes ---- */

static void test_gzip(void **state)
{
    (void)state;
    static const char *const yes[] = {"gzip", "deflate, gzip, br", "GZIP", "gzip;q=0.5",
        "br;q=1.0, gzip;q=0.8, *;q=0.1", " gzip ; q=1", "gzip;q=0.001"};
    static const char *const no[] = {
        "", "br", "gzip;q=0", "gzip; q=0.000", "gzip;q=0, br", "xgzip", "gzipped", "deflate;q=0"};
    assert_false(pc_accepts_gzip(NULL));
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(pc_accepts_gzip(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(pc_accepts_gzip(no[i]));
}

/* ---- keys and origins ---- */

static void test_access(void **state)
{
    (void)state;
    static const char *const keys[] = {"first", "second"};
    struct pc_server s = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct paco_error err = {0};
    char who[40] = "";
    assert_int_equal(pc_server_set_keys(&s, NULL, 0, &err), 0);
    assert_true(pc_access_key(&s, NULL, who, sizeof who)); /* none is asked for */
    assert_string_equal(who, "");
    assert_int_equal(pc_server_set_keys(&s, keys, 2, &err), 0);
    assert_true(pc_access_key(&s, "Bearer second", who, sizeof who));
    assert_string_equal(who, "key 2");
    assert_true(pc_access_key(&s, "bearer first", who, sizeof who));
    static const char *const wrong[] = {
        "Bearer firs", "Bearer firstt", "Bearer ", "first", "Basic first", ""};
    for (size_t i = 0; i < 6; i++)
        assert_false(pc_access_key(&s, wrong[i], who, sizeof who));
    assert_false(pc_access_key(&s, NULL, who, sizeof who));
    assert_int_equal(pc_server_set_keys(&s, keys + 1, 1, &err), 0);
    assert_false(pc_access_key(&s, "Bearer first", who, sizeof who));
    assert_true(pc_access_key(&s, "Bearer second", who, sizeof who));
    assert_string_equal(who, "key 1");
    pc_free(s.key_digests);
    assert_true(pc_access_origin(&s, NULL, "h:1"));
    assert_true(pc_access_origin(&s, "http://h:1", "h:1"));
    assert_false(pc_access_origin(&s, "http://h:1", "h:2"));
    assert_false(pc_access_origin(&s, "null", "h:1"));
    s.o.cors = "https://page";
    assert_true(pc_access_origin(&s, "https://page", "h"));
    assert_false(pc_access_origin(&s, "https://page.evil", "h"));
    s.o.cors = "*";
    assert_true(pc_access_origin(&s, "https://any", NULL));
}

static void test_routes(void **state)
{
    (void)state;
    struct pc_fault f = {0};
    const char *tail = NULL;
    assert_non_null(pc_route_find("GET", "/v1/models/a/b", &tail, &f));
    assert_string_equal(tail, "a/b");
    assert_non_null(pc_route_find("HEAD", "/health", &tail, &f));
    assert_null(pc_route_find("GET", "/v1/models/", &tail, &f));
    assert_int_equal(f.status, 404);
    f = (struct pc_fault){0};
    assert_null(pc_route_find("PUT", "/v1/completions", &tail, &f));
    assert_int_equal(f.status, 405);
}

/* ---- sockets ---- */

static void test_listen(void **state)
{
    (void)state;
    struct paco_error err = {0};
    int fd = -1, port = 0, other = -1;
    assert_int_equal(pc_listen("127.0.0.1", &port, &fd, &err), 0);
    assert_true(port > 0 && fd >= 0);
    assert_int_equal(pc_listen("127.0.0.1", &port, &other, &err), PACO_EEXIST);
    assert_contains(err.message, "in use by another program");
    assert_contains(err.message, "--port chooses another");
    close(fd);
    err = (struct paco_error){0};
    assert_int_equal(pc_listen("192.0.2.1", &port, &other, &err), PACO_EINVAL);
    char path[300];
    memset(path, 'x', sizeof path);
    memcpy(path, "unix:", 5);
    path[sizeof path - 1] = '\0';
    err = (struct paco_error){0};
    assert_int_equal(pc_listen(path, &port, &other, &err), PACO_EINVAL);
    assert_contains(err.message, "this one 294");
    assert_null(pc_listen_path("127.0.0.1"));
    assert_string_equal(pc_listen_path("unix:/a"), "/a");
}

/* ---- metrics ---- */

static void test_metrics(void **state)
{
    (void)state;
    struct pc_metrics m = {.n_requests = {0, 0, 5, 0, 2, 1}, .n_answer_tokens = 70};
    pc_seconds_add(&m.whole, 0.3);
    pc_seconds_add(&m.whole, 1000);
    struct pc_buf b;
    pc_buf_init(&b, 1 << 16);
    pc_metrics_write(&b, &m, &(struct pc_gauges){.n_running = 3});
    assert_contains(b.data, "paco_requests_total{status=\"4xx\"} 2\n");
    assert_contains(b.data, "# TYPE paco_completion_tokens_total counter\npaco_completion_tokens_total 70\n");
    assert_contains(b.data, "paco_requests_running 3\n");
    assert_contains(b.data, "paco_request_seconds_bucket{le=\"0.25\"} 0\n");
    assert_contains(b.data, "paco_request_seconds_bucket{le=\"0.5\"} 1\n");
    assert_contains(b.data, "paco_request_seconds_bucket{le=\"+Inf\"} 2\npaco_request_seconds_sum 1000.3");
    pc_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue_is_fair),
        cmocka_unit_test(test_queue_counts_prompts),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_likeliest),
        cmocka_unit_test(test_notebook),
        cmocka_unit_test(test_fault),
        cmocka_unit_test(test_gzip),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
