// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "net/sse.h"

struct events {
    struct pc_buf all; /* each event's data with a bar behind it */
    int fail_at, n;
};

static int take(void *ctx, const char *data, size_t len, struct paco_error *err)
{
    struct events *e = ctx;
    assert_int_equal(strlen(data), len);
    pc_buf_add(&e->all, data, len);
    pc_buf_puts(&e->all, "|");
    return ++e->n == e->fail_at ? pc_error_set(err, PACO_EFORMAT, "no more") : 0;
}

/* What comes of text when it comes in pieces of n bytes. */
static void assert_events(const char *text, size_t n, const char *want)
{
    struct events e = {.fail_at = 0};
    struct pc_sse s;
    struct paco_error err = {0};
    pc_buf_init(&e.all, 1 << 16);
    pc_sse_init(&s, take, &e);
    for (size_t at = 0, len = strlen(text); at < len; at += n)
        assert_int_equal(pc_sse_feed(&s, text + at, len - at < n ? len - at : n, &err), 0);
    assert_string_equal(e.all.data ? e.all.data : "", want);
    pc_sse_release(&s);
    pc_buf_release(&e.all);
}

static void events_are_the_same_however_they_are_cut(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"data: a\n\ndata: b\n\n", "a|b|"},
        {"data: a\r\n\r\ndata: b\r\n\r\n", "a|b|"},
        {"data: a\r\rdata: b\r\r", "a|b|"},
        {"data: one\ndata: two\n\n", "one\ntwo|"},
        {"data:no space\n\ndata:  two\n\n", "no space| two|"},
        {": ping\n\nevent: x\nid: 7\nretry: 9\ndata: y\n\n", "y|"},
        {"database: no\n\ndata\n\n", "|"},
        {"\n\n\ndata: cut off", ""},
        {"data: whole\n\ndata: not\n", "whole|"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t n = 1; n <= strlen(cases[i].text); n++)
            assert_events(cases[i].text, n, cases[i].want);
}

static void what_the_reader_says_ends_it(void **state)
{
    struct events e = {.fail_at = 2};
    struct pc_sse s;
    struct paco_error err = {0};
    static const char text[] = "data: a\n\ndata: b\n\ndata: c\n\n";
    (void)state;
    pc_buf_init(&e.all, 1 << 16);
    pc_sse_init(&s, take, &e);
    assert_int_equal(pc_sse_feed(&s, text, sizeof text - 1, &err), PACO_EFORMAT);
    assert_string_equal(err.message, "no more");
    assert_string_equal(e.all.data, "a|b|");
    pc_sse_release(&s);
    pc_buf_release(&e.all);
}

static void an_event_has_its_bound(void **state)
{
    static char piece[1 << 16];
    struct events e = {.fail_at = 0};
    struct pc_sse s;
    struct paco_error err = {0};
    int rc = 0;
    (void)state;
    memset(piece, 'x', sizeof piece);
    pc_buf_init(&e.all, 1 << 16);
    pc_sse_init(&s, take, &e);
    for (int i = 0; i < 300 && rc == 0; i++)
        rc = pc_sse_feed(&s, piece, sizeof piece, &err);
    assert_int_equal(rc, PACO_ELIMIT);
    assert_contains(err.message, "an event");
    pc_sse_release(&s);
    pc_buf_release(&e.all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_the_same_however_they_are_cut),
        cmocka_unit_test(what_the_reader_says_ends_it),
        cmocka_unit_test(an_event_has_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
