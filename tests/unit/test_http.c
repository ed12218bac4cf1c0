// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/memory.h"
#include "http_server.h"
#include "net/http.h"

#include <time.h>

struct fixture {
    struct http_server s;
    struct pc_http *http;
    struct pc_http_options options;
    struct paco_error err;
    const char *body;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int setup(void **state)
{
    static const char *const proxies[] = {
        "http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"};
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++)
        unsetenv(proxies[i]);
    struct fixture *f = calloc(1, sizeof *f);
    f->options = (struct pc_http_options){.first_delay = 0.02, .max_tries = 3};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pc_http_close(f->http);
    if (f->s.fd > 0)
        http_server_close(&f->s);
    free(f);
    return 0;
}

static void begin(struct fixture *f, http_answer *answer)
{
    http_server_open(&f->s, answer, f);
    assert_int_equal(pc_http_open(&f->options, &f->http, &f->err), 0);
}

static void start(struct fixture *f, struct pc_http_request request)
{
    char url[256];
    if (!request.url || request.url[0] == '/') {
        snprintf(url, sizeof url, "%s%s", f->s.url, request.url ? request.url : "/x");
        request.url = url;
    }
    assert_int_equal(pc_http_start(f->http, &request, &f->err), 0);
}

static struct pc_http_reply await(struct fixture *f)
{
    struct pc_http_reply reply;
    assert_int_equal(pc_http_wait(f->http, 20000, &reply, &f->err), 1);
    return reply;
}

static struct pc_http_reply ask(struct fixture *f, struct pc_http_request request)
{
    start(f, request);
    return await(f);
}

static bool echo(void *ctx, const struct http_asked *asked, int fd)
{
    char text[9000];
    (void)ctx;
    snprintf(text, sizeof text, "%.7000s|%.1000s", asked->head, asked->body);
    return http_reply(fd, 200, "Content-Type: text/plain\r\nETag: \"e1\"\r\n", text);
}

static void a_request_arrives_and_its_reply_comes_back(void **state)
{
    struct fixture *f = *state;
    begin(f, echo);
    struct pc_http_reply r = ask(
        f, (struct pc_http_request){.body = "{\"a\":1}", .body_len = 7, .bearer = "secret-key", .tag = 42});
    assert_int_equal(r.err.code, 0);
    assert_int_equal(r.status, 200);
    assert_int_equal(r.tag, 42);
    assert_int_equal(r.n_tries, 1);
    assert_contains(r.body, "POST /x HTTP/1.1");
    assert_contains(r.body, "Authorization: Bearer secret-key\r\n");
    assert_contains(r.body, "Content-Type: application/json\r\n");
    assert_contains(r.body, "User-Agent: paco/");
    assert_contains(r.body, "|{\"a\":1}");
    assert_string_equal(r.content_type, "text/plain");
    assert_string_equal(r.validator, "\"e1\"");
    r = ask(f, (struct pc_http_request){.tag = 1});
    assert_contains(r.body, "GET /x HTTP/1.1");
    assert_null(strstr(r.body, "Authorization"));
    assert_int_equal(f->s.n_connections, 1);                       // kept open
    assert_int_equal(pc_http_wait(f->http, 1000, &r, &f->err), 0); // none is open
}

static bool busy_then_well(void *ctx, const struct http_asked *asked, int fd)
{
    (void)ctx;
    static const int statuses[] = {500, 503};
    return asked->i < 2 ? http_reply(fd, statuses[asked->i], "", "busy") : http_reply(fd, 200, "", "well");
}

static void a_passing_failure_is_tried_again_later_and_later(void **state)
{
    struct fixture *f = *state;
    f->options.first_delay = 0.1;
    begin(f, busy_then_well);
    double started = now();
    struct pc_http_reply r = ask(f, (struct pc_http_request){.body = "x", .body_len = 1});
    assert_string_equal(r.body, "well");
    assert_int_equal(r.n_tries, 3);
    double took = now() - started;
    assert_true(took >= 0.3 && took < 5);
}

static bool always_busy(void *ctx, const struct http_asked *asked, int fd)
{
    (void)ctx, (void)asked;
    return http_reply(fd, 503, "", "  come\n back\tlater ");
}

static void and_given_up_at_last(void **state)
{
    struct fixture *f = *state;
    begin(f, always_busy);
    struct pc_http_reply r = ask(f, (struct pc_http_request){.tag = 3});
    assert_int_equal(r.err.code, PACO_EIO);
    assert_int_equal(r.status, 503);
    assert_int_equal(f->s.n_requests, 3);
    assert_contains(r.err.message, f->s.url);
    assert_contains(r.err.message, "/x: status 503 (3 attempts): come back later");
    r = ask(f, (struct pc_http_request){.max_tries = 1});
    assert_int_equal(f->s.n_requests, 4);
}

static bool hasty(void *ctx, const struct http_asked *asked, int fd)
{
    (void)ctx;
    return asked->i == 0 ? http_reply(fd, 429, "Retry-After: 1\r\n", "slow down")
                         : http_reply(fd, 200, "", "ok");
}

static void a_server_that_asks_for_quiet_gets_it_from_all_requests(void **state)
{
    struct fixture *f = *state;
    f->options.max_in_flight = 1;
    begin(f, hasty);
    double started = now();
    start(f, (struct pc_http_request){.tag = 1});
    start(f, (struct pc_http_request){.tag = 2});
    for (int i = 0; i < 2; i++) {
        assert_int_equal(await(f).err.code, 0);
        assert_true(now() - started >= 1);
    }
    assert_int_equal(f->s.n_requests, 3);
}

static bool closed_for_the_day(void *ctx, const struct http_asked *asked, int fd)
{
    (void)ctx, (void)asked;
    return http_reply(fd, 429, "Retry-After: 86400\r\n", "that was all for today");
}

static void but_nobody_waits_a_day(void **state)
{
    struct fixture *f = *state;
    begin(f, closed_for_the_day);
    struct pc_http_reply r = ask(f, (struct pc_http_request){0});
    assert_int_equal(f->s.n_requests, 1);
    assert_contains(r.err.message, "asked to come back in 86400 s: http://");
}

static bool refuse(void *ctx, const struct http_asked *asked, int fd)
{
    (void)ctx;
    int status = strstr(asked->head, "/none") ? 404 : 401;
    return http_reply(fd, status, "", "Incorrect API key provided: sk-12345678. Bye sk-12345678");
}

static void what_will_not_change_is_not_tried_again_and_the_key_is_not_told(void **state)
{
    struct fixture *f = *state;
    begin(f, refuse);
    struct pc_http_reply r = ask(f, (struct pc_http_request){.bearer = "sk-12345678"});
    assert_int_equal(r.err.code, PACO_EINVAL);
    assert_int_equal(r.n_tries, 1);
    assert_contains(r.err.message, "status 401: Incorrect API key provided: [key]. Bye [key]");
    assert_null(strstr(r.err.message, "sk-1"));
    assert_int_equal(ask(f, (struct pc_http_request){.url = "/none"}).err.code, PACO_ENOENT);
}

static bool out_of_quota(int status, const char *body, size_t len)
{
    return status == 429 && len > 0 && strstr(body, "quota");
}

static bool quota(void *ctx, const struct http_asked *asked, int fd)
{
    (void)ctx, (void)asked;
    return http_reply(fd, 429, "", "quota exhausted");
}

static void the_caller_knows_what_is_final(void **state)
{
    struct fixture *f = *state;
    f->options.is_final = out_of_quota;
    begin(f, quota);
    assert_int_equal(ask(f, (struct pc_http_request){0}).n_tries, 1);
}

static bool breaks(void *ctx, const struct http_asked *asked, int fd)
{
    static const char half[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    (void)ctx;
    if (asked->i == 1)
        http_send(fd, half, sizeof half - 1);
    return asked->i < 2 ? false : http_reply(fd, 200, "", "whole");
}

static void broken_connections_are_tried_again(void **state)
{
    struct fixture *f = *state;
    begin(f, breaks);
    struct pc_http_reply r = ask(f, (struct pc_http_request){0});
    assert_string_equal(r.body, "whole");
    assert_int_equal(r.n_tries, 3);
}

static bool always_breaks(void *ctx, const struct http_asked *asked, int fd)
{
    static const char half[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    (void)ctx;
    if (strstr(asked->head, "/half"))
        http_send(fd, half, sizeof half - 1);
    return false;
}

static void half_a_reply_is_none(void **state)
{
    struct fixture *f = *state;
    begin(f, always_breaks);
    struct pc_http_reply r = ask(f, (struct pc_http_request){.url = "/half"});
    assert_int_equal(r.err.code, PACO_EIO);
    assert_contains(r.err.message, "(3 attempts)");
    r = ask(f, (struct pc_http_request){.url = "/nothing"});
    assert_int_equal(r.err.code, PACO_EIO);
    assert_contains(r.err.message, "/nothing: ");
    assert_int_equal(r.status, 0);
}

static bool slow(void *ctx, const struct http_asked *asked, int fd)
{
    (void)ctx;
    if (asked->i == 0)
        usleep(600 * 1000);
    return http_reply(fd, 200, "", "late");
}

static void an_attempt_that_takes_too_long_is_ended(void **state)
{
    struct fixture *f = *state;
    f->options.timeout = 0.25;
    begin(f, slow);
    struct pc_http_reply r = ask(f, (struct pc_http_request){0});
    assert_string_equal(r.body, "late");
    assert_int_equal(r.n_tries, 2);
    r = ask(f, (struct pc_http_request){.url = "/y"});
    assert_int_equal(r.err.code, 0);
}

static bool slow_body(void *ctx, const struct http_asked *asked, int fd)
{
    (void)ctx, (void)asked;
    http_send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", 40);
    usleep(600 * 1000);
    http_send(fd, "cd", 2);
    return false;
}

static void so_is_one_whose_body_does_not_come(void **state)
{
    struct fixture *f = *state;
    f->options.timeout = 0.25;
    f->options.max_tries = 1;
    begin(f, slow_body);
    struct pc_http_reply r = ask(f, (struct pc_http_request){0});
    assert_int_equal(r.err.code, PACO_EIO);
    assert_contains(r.err.message, "no whole answer in time: ");
    assert_contains(r.err.message, "0.25 s in all");
}

static bool large(void *ctx, const struct http_asked *asked, int fd)
{
    char body[5000];
    (void)ctx, (void)asked;
    memset(body, 'x', sizeof body);
    body[sizeof body - 1] = '\0';
    return http_reply(fd, 200, "", body);
}

static void replies_are_bounded(void **state)
{
    struct fixture *f = *state;
    f->options.max_reply = 4000;
    begin(f, large);
    struct pc_http_reply r = ask(f, (struct pc_http_request){0});
    assert_int_equal(r.err.code, PACO_ELIMIT);
    assert_int_equal(f->s.n_requests, 1);
    assert_contains(r.err.message, f->s.url);
}

static bool pause_a_little(void *ctx, const struct http_asked *asked, int fd)
{
    char text[32];
    (void)ctx;
    usleep(50 * 1000);
    snprintf(text, sizeof text, "%.31s", asked->body);
    return http_reply(fd, 200, "", text);
}

static void many_are_in_flight_and_no_more_than_told(void **state)
{
    struct fixture *f = *state;
    bool seen[12] = {false};
    f->options.max_in_flight = 3;
    begin(f, pause_a_little);
    for (int i = 0; i < 12; i++) {
        char body[8];
        snprintf(body, sizeof body, "%d", i);
        start(f, (struct pc_http_request){.body = body, .body_len = strlen(body), .tag = (uint64_t)i});
    }
    assert_int_equal(pc_http_n_open(f->http), 12);
    for (int i = 0; i < 12; i++) {
        struct pc_http_reply r = await(f);
        assert_int_equal(atoi(r.body), r.tag);
        assert_false(seen[r.tag]);
        seen[r.tag] = true;
    }
    assert_int_equal(f->s.most_at_once, 3);
}

static void giving_up_what_is_under_way_is_fine(void **state)
{
    struct fixture *f = *state;
    struct pc_http_reply r;
    begin(f, pause_a_little);
    for (int i = 0; i < 4; i++)
        start(f, (struct pc_http_request){.tag = 1});
    assert_int_equal(pc_http_wait(f->http, 1, &r, &f->err), 0);
    pc_http_close(f->http);
    f->http = NULL;
}

/* ---- where a request goes ---- */

static bool moved(void *ctx, const struct http_asked *asked, int fd)
{
    (void)ctx;
    return strstr(asked->head, "/there") ? http_reply(fd, 200, "", "here I am")
                                         : http_reply(fd, 302, "Location: /there?token=abc\r\n", "");
}

static void reading_follows_redirections_and_asking_does_not(void **state)
{
    struct fixture *f = *state;
    begin(f, moved);
    assert_string_equal(ask(f, (struct pc_http_request){0}).body, "here I am");
    struct pc_http_reply r = ask(f, (struct pc_http_request){.body = "x", .body_len = 1});
    assert_int_equal(r.err.code, PACO_EIO);
    assert_contains(r.err.message, "status 302: it is elsewhere now: /there");
    assert_null(strstr(r.err.message, "abc"));
}

static void bad_urls_and_keys_are_refused_at_once(void **state)
{
    struct fixture *f = *state;
    begin(f, echo);
    static const char *const bad[] = {"", "file:///etc/passwd", "localhost:8000", "ftp://host/x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(
            pc_http_start(f->http, &(struct pc_http_request){.url = bad[i]}, &f->err), PACO_EINVAL);
        assert_contains(f->err.message, "is no URL of the kind");
    }
    assert_int_equal(
        pc_http_start(f->http, &(struct pc_http_request){.url = f->s.url, .bearer = "a\r\nX: y"}, &f->err),
        PACO_EINVAL);
    assert_contains(f->err.message, "a line break?");
    assert_int_equal(ask(f, (struct pc_http_request){.url = "http://host:port/"}).err.code, PACO_EINVAL);
    assert_int_equal(pc_http_n_open(f->http), 0);
}

static void a_closed_port_is_named(void **state)
{
    struct fixture *f = *state;
    begin(f, echo);
    char url[64];
    snprintf(url, sizeof url, "%s", f->s.url);
    http_server_close(&f->s);
    f->s.fd = 0;
    struct pc_http_reply r = ask(f, (struct pc_http_request){.url = url});
    assert_int_equal(r.err.code, PACO_EIO);
    assert_int_equal(r.n_tries, 3);
    assert_contains(r.err.message, url);
    assert_contains(r.err.message, "connect");
}

static void proxies_are_what_the_environment_says(void **state)
{
    struct fixture *f = *state;
    begin(f, echo);
    setenv("http_proxy", f->s.url, 1);
    struct pc_http_reply r = ask(f, (struct pc_http_request){.url = "http://nowhere.invalid/y"});
    unsetenv("http_proxy");
    assert_contains(r.body, "GET http://nowhere.invalid/y HTTP/1.1");
}

/* ---- downloads ---- */

struct download {
    char bytes[64];
    size_t len;
    int n_rewinds;
};

static int keep(void *ctx, uint64_t at, const void *bytes, size_t len, struct paco_error *err)
{
    struct download *d = ctx;
    if (at + len > sizeof d->bytes)
        return pc_error_set(err, PACO_ENOSPC, "the disk is full");
    d->n_rewinds += at < d->len;
    memcpy(d->bytes + at, bytes, len);
    d->len = at + len;
    return 0;
}

static const char g_whole[] = "0123456789abcdefghijklmnopqrstuvwxyz";

/* Stops after ten bytes the first time. f->body: "ranges" or none. */
static bool halting(void *ctx, const struct http_asked *asked, int fd)
{
    struct fixture *f = ctx;
    const char *range = strstr(asked->head, "Range: bytes=");
    char head[256];
    size_t at = range && f->body ? strtoul(range + 13, NULL, 10) : 0, n = sizeof g_whole - 1 - at;
    if (range && f->body)
        snprintf(head, sizeof head,
            "HTTP/1.1 206 P\r\nContent-Length: %zu\r\nContent-Range: bytes %zu-%zu/%zu\r\n\r\n", n,
            at + (strcmp(f->body, "shifted") == 0), sizeof g_whole - 2, sizeof g_whole - 1);
    else
        snprintf(head, sizeof head, "HTTP/1.1 200 O\r\nContent-Length: %zu\r\nETag: \"v1\"\r\n\r\n", n);
    http_send(fd, head, strlen(head));
    http_send(fd, g_whole + at, asked->i == 0 ? 10 : n);
    return asked->i > 0 && (!range || strstr(asked->head, "If-Range: \"v1\""));
}

static void a_download_goes_on_where_it_broke(void **state)
{
    struct fixture *f = *state;
    struct download d = {0};
    f->body = "ranges";
    begin(f, halting);
    struct pc_http_reply r =
        ask(f, (struct pc_http_request){.sink = &(struct pc_http_sink){.write = keep, .ctx = &d}});
    assert_int_equal(r.err.code, 0);
    assert_int_equal(r.n_tries, 2);
    assert_int_equal(r.status, 206);
    assert_int_equal(d.len, 36);
    assert_memory_equal(d.bytes, g_whole, 36);
    assert_int_equal(d.n_rewinds, 0);
    assert_int_equal(r.total_size, 36);
    assert_int_equal(r.len, 0);
    // From the middle at once, as another process had left it.
    struct download e = {.len = 30};
    r = ask(f,
        (struct pc_http_request){
            .sink = &(struct pc_http_sink){.write = keep, .ctx = &e}, .offset = 30, .validator = "\"v1\""});
    assert_int_equal(r.err.code, 0);
    assert_memory_equal(e.bytes + 30, "uvwxyz", 6);
}

/* Sends five bytes at most. */
static bool stuttering(void *ctx, const struct http_asked *asked, int fd)
{
    const char *range = strstr(asked->head, "Range: bytes=");
    char head[256];
    size_t at = range ? strtoul(range + 13, NULL, 10) : 0, n = sizeof g_whole - 1 - at;
    (void)ctx;
    snprintf(head, sizeof head,
        "HTTP/1.1 206 P\r\nContent-Length: %zu\r\nETag: \"v1\"\r\nContent-Range: bytes %zu-%zu/%zu\r\n\r\n",
        n, at, sizeof g_whole - 2, sizeof g_whole - 1);
    http_send(fd, head, strlen(head));
    http_send(fd, g_whole + at, n < 5 ? n : 5);
    return false;
}

static void and_as_often_as_it_gets_on(void **state)
{
    struct fixture *f = *state;
    struct download d = {0};
    begin(f, stuttering); // of three tries
    struct pc_http_reply r =
        ask(f, (struct pc_http_request){.sink = &(struct pc_http_sink){.write = keep, .ctx = &d}});
    assert_int_equal(r.err.code, 0);
    assert_int_equal(r.n_tries, 8);
    assert_memory_equal(d.bytes, g_whole, 36);
}

static void or_begins_again_where_the_server_cannot(void **state)
{
    struct fixture *f = *state;
    struct download d = {0};
    begin(f, halting);
    struct pc_http_reply r =
        ask(f, (struct pc_http_request){.sink = &(struct pc_http_sink){.write = keep, .ctx = &d}});
    assert_int_equal(r.err.code, 0);
    assert_int_equal(d.n_rewinds, 1);
    assert_memory_equal(d.bytes, g_whole, 36);
}

static void another_range_than_asked_for_is_refused(void **state)
{
    struct fixture *f = *state;
    struct download d = {0};
    f->body = "shifted";
    begin(f, halting);
    struct pc_http_reply r =
        ask(f, (struct pc_http_request){.sink = &(struct pc_http_sink){.write = keep, .ctx = &d}});
    assert_int_equal(r.err.code, PACO_EIO);
    assert_contains(r.err.message, "byte 10 was asked for, and byte 11 came");
}

static void a_sink_that_fails_ends_it(void **state)
{
    struct fixture *f = *state;
    struct download d = {0};
    begin(f, large);
    struct pc_http_reply r =
        ask(f, (struct pc_http_request){.sink = &(struct pc_http_sink){.write = keep, .ctx = &d}});
    assert_int_equal(r.err.code, PACO_ENOSPC);
    assert_string_equal(r.err.message, "the disk is full");
    assert_int_equal(f->s.n_requests, 1);
}

/* ---- no memory ---- */

/* One request from opening to closing. curl's own memory runs out too, and it may call that something else.
 */
static int attempt(struct fixture *f, bool download, struct paco_error *err)
{
    struct pc_http *http = NULL;
    struct pc_http_reply r;
    struct download d = {0};
    const struct pc_http_sink sink = {.write = keep, .ctx = &d};
    const struct pc_http_request get = {.url = f->s.url, .sink = &sink};
    const struct pc_http_request post = {.url = f->s.url, .bearer = "k", .body = "x", .body_len = 1};
    int rc = pc_http_open(&f->options, &http, err);
    if (rc == 0)
        rc = pc_http_start(http, download ? &get : &post, err);
    if (rc == 0)
        rc = pc_http_wait(http, 20000, &r, err);
    if (rc > 0) {
        *err = r.err;
        rc = r.err.code;
    }
    pc_http_close(http);
    return rc;
}

static bool short_answer(void *ctx, const struct http_asked *asked, int fd)
{
    (void)ctx, (void)asked;
    return http_reply(fd, 200, "ETag: \"e\"\r\n", "short");
}

static void memory_may_run_out_at_any_moment(void **state)
{
    struct fixture *f = *state;
    f->options.max_tries = 1;
    http_server_open(&f->s, short_answer, f);
    assert_int_equal(attempt(f, false, &f->err), 0); // libcurl is loaded now
    for (int download = 0; download < 2; download++) {
        int rc = -1, n_failed = 0;
        for (int64_t n = 0; rc < 0; n++) {
            struct paco_error err = {0};
            assert_true(n < 10000);
            pc_alloc_fail_after(n);
            rc = attempt(f, download, &err);
            pc_alloc_fail_after(-1);
            assert_true(rc == 0 || (rc == err.code && err.message[0]));
            n_failed += rc < 0;
        }
        assert_true(n_failed > 10);
    }
}

/* ---- what may be shown ---- */

static void urls_are_shown_without_secrets(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(pc_http_shown_url("https://u:p@h:1/v1?key=k#f", out, sizeof out), "https://h:1/v1");
    assert_string_equal(pc_http_shown_url("http://h/a@b", out, sizeof out), "http://h/a@b");
    assert_string_equal(pc_http_shown_url("http://u:p@ss@h", out, sizeof out), "http://h");
    assert_string_equal(pc_http_shown_url("h", out, sizeof out), "h");
    assert_string_equal(pc_http_shown_url("http://0123456789", out, 10), "http://01");
}

static void excerpts_are_short_and_printable(void **state)
{
    (void)state;
    char out[20];
    assert_string_equal(pc_http_excerpt(" a \n\n b ", 8, NULL, out, sizeof out), "a b");
    assert_string_equal(pc_http_excerpt("\0\1\xff", 3, NULL, out, sizeof out), "\\x01\\xff");
    assert_string_equal(pc_http_excerpt("", 0, NULL, out, sizeof out), "");
    assert_string_equal(
        pc_http_excerpt("a secret, a secret", 18, "secret", out, sizeof out), "a [key], a [key]");
    assert_string_equal(
        pc_http_excerpt("0123456789012345\xc3\xa9xyz", 21, NULL, out, sizeof out), "0123456789012345...");
    assert_string_equal(
        pc_http_excerpt("012345678901234\xc3\xa9xyz", 20, NULL, out, sizeof out), "012345678901234...");
}

#define WITH_SERVER(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(a_request_arrives_and_its_reply_comes_back),
        WITH_SERVER(a_passing_failure_is_tried_again_later_and_later),
        WITH_SERVER(and_given_up_at_last),
        WITH_SERVER(a_server_that_asks_for_quiet_gets_it_from_all_requests),
        WITH_SERVER(but_nobody_waits_a_day),
        WITH_SERVER(what_will_not_change_is_not_tried_again_and_the_key_is_not_told),
        WITH_SERVER(the_caller_knows_what_is_final),
        WITH_SERVER(broken_connections_are_tried_again),
        WITH_SERVER(half_a_reply_is_none),
        WITH_SERVER(an_attempt_that_takes_too_long_is_ended),
        WITH_SERVER(so_is_one_whose_body_does_not_come),
        WITH_SERVER(replies_are_bounded),
        WITH_SERVER(many_are_in_flight_and_no_more_than_told),
        WITH_SERVER(giving_up_what_is_under_way_is_fine),
        WITH_SERVER(reading_follows_redirections_and_asking_does_not),
        WITH_SERVER(bad_urls_and_keys_are_refused_at_once),
        WITH_SERVER(a_closed_port_is_named),
        WITH_SERVER(proxies_are_what_the_environment_says),
        WITH_SERVER(a_download_goes_on_where_it_broke),
        WITH_SERVER(and_as_often_as_it_gets_on),
        WITH_SERVER(or_begins_again_where_the_server_cannot),
        WITH_SERVER(another_range_than_asked_for_is_refused),
        WITH_SERVER(a_sink_that_fails_ends_it),
        WITH_SERVER(memory_may_run_out_at_any_moment),
        cmocka_unit_test(urls_are_shown_without_secrets),
        cmocka_unit_test(excerpts_are_short_and_printable),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
