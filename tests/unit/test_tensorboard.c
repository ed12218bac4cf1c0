// SPDX-License-Identifier: Apache-2.0
/* Event files, byte by byte; tests/parity/tensorboard_events.py has TensorBoard itself read them. */
#include "unit.h"

#include "base/crc32.h"
#include "base/file.h"
#include "base/memory.h"
#include "report/tensorboard.h"
#include "scratch_group.h"

#include <math.h>

/* RFC 3720, B.4, and the catalogue's check value. */
static void test_crc32c(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(pc_crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(pc_crc32c(pc_crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
    assert_int_equal(pc_crc32c(0, bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, 32);
    assert_int_equal(pc_crc32c(0, bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(pc_crc32c(0, bytes, 32), 0x46dd794eu);
}

static uint64_t le(const uint8_t *s, int n)
{
    uint64_t v = 0;
    for (int i = n; i-- > 0;)
        v = v << 8 | s[i];
    return v;
}

static uint32_t masked(const uint8_t *s, size_t n)
{
    uint32_t crc = pc_crc32c(0, s, n);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* The message of record i of the file, whose framing is checked on the way. */
static const uint8_t *record(const struct pc_buf *file, int i, size_t *n)
{
    const uint8_t *s = (const uint8_t *)file->data, *end = s + file->len;
    for (;; i--) {
        assert_true(s + 12 <= end);
        *n = le(s, 8);
        assert_int_equal(le(s + 8, 4), masked(s, 8));
        assert_true(*n <= (size_t)(end - s) - 16);
        assert_int_equal(le(s + 12 + *n, 4), masked(s + 12, *n));
        if (i == 0)
            return s + 12;
        s += *n + 16;
    }
}

/* As TensorFlow's own files begin. */
static void test_a_file_begins_as_tensorflows(void **state)
{
    (void)state;
    struct pc_tensorboard *tb;
    struct pc_buf b;
    size_t n;
    char dir[1024];
    snprintf(dir, sizeof dir, "%s", scratch_path(&g_s, "tb"));
    assert_int_equal(pc_tensorboard_open(dir, 7, &tb, NULL), 0);
    assert_int_equal(pc_file_slurp(pc_tensorboard_path(tb), 1 << 20, &b, NULL), 0);
    assert_memory_equal(b.data, "\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22\x09", 13);
    const uint8_t *s = record(&b, 0, &n);
    assert_int_equal(n, 24);
    assert_memory_equal(s + 9,
        "\x1a\x0d"
        "brain.Event:2",
        15);
    s = record(&b, 1, &n);
    assert_int_equal(n, 15);
    assert_memory_equal(s + 9, "\x10\x07\x3a\x02\x08\x01", 6); // step 7, session_log { status: START }
    assert_int_equal(b.len, 24 + 15 + 32);
    pc_buf_release(&b);
    pc_tensorboard_close(tb);
}

static void test_values(void **state)
{
    (void)state;
    struct pc_tensorboard *tb;
    struct pc_buf b;
    size_t n;
    const struct pc_tensorboard_value v[] = {
        {.tag = "a/b", .scalar = 0}, {.tag = "c", .scalar = 1.5}, {.tag = "t", .text = "hi"}};
    assert_int_equal(pc_tensorboard_open(scratch_path(&g_s, "values"), 0, &tb, NULL), 0);
    assert_int_equal(pc_tensorboard_add(tb, 300, v, 3, NULL), 0);
    assert_int_equal(pc_file_slurp(pc_tensorboard_path(tb), 1 << 20, &b, NULL), 0);
    const uint8_t *s = record(&b, 2, &n);
    static const char expected[] = "\x10\xac\x02" // step
                                   "\x2a\x33"     // summary
                                   "\x0a\x0a\x0a\x03"
                                   "a/b"
                                   "\x15\0\0\0\0" // zero is written, too
                                   "\x0a\x08\x0a\x01"
                                   "c"
                                   "\x15\0\0\xc0\x3f"
                                   "\x0a\x1b\x0a\x01"
                                   "t"
                                   "\x42\x0c\x08\x07\x12\x04\x12\x02\x08\x01\x42\x02"
                                   "hi"
                                   "\x4a\x08\x0a\x06\x0a\x04"
                                   "text";
    assert_int_equal(n, 9 + sizeof expected - 1);
    assert_memory_equal(s + 9, expected, sizeof expected - 1);
    pc_buf_release(&b);
    pc_tensorboard_close(tb);
}

/* Files are read by name: a second start in the same second, or after the clock was set back, comes later. */
static void test_starts_are_in_order(void **state)
{
    (void)state;
    char dir[1024], **names;
    size_t n;
    const char *first = scratch_text(&g_s, "order/events.out.tfevents.4000000000.host.1", "");
    assert_non_null(first);
    snprintf(dir, sizeof dir, "%s", scratch_path(&g_s, "order"));
    for (int i = 0; i < 3; i++) {
        struct pc_tensorboard *tb;
        assert_int_equal(pc_tensorboard_open(dir, i, &tb, NULL), 0);
        pc_tensorboard_close(tb);
    }
    assert_int_equal(pc_dir_list(dir, &names, &n, NULL), 0);
    assert_int_equal(n, 4);
    for (size_t i = 0; i < n; i++) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "events.out.tfevents.400000000%zu.", i);
        assert_memory_equal(names[i], wanted, strlen(wanted));
    }
    pc_names_free(names, n);
}

static void test_refusals(void **state)
{
    (void)state;
    struct paco_error err = {0};
    struct pc_tensorboard *tb = NULL;
    struct pc_tensorboard_value v[65] = {{.tag = "x"}};
    assert_int_equal(pc_tensorboard_open(scratch_path(&g_s, "no/such"), 0, &tb, &err), PACO_ENOENT);
    assert_null(tb);
    assert_contains(err.path, "no/such");
    assert_int_equal(pc_tensorboard_open(scratch_path(&g_s, "many"), 0, &tb, NULL), 0);
    assert_int_equal(pc_tensorboard_add(tb, 1, v, 65, &err), PACO_EINVAL);
    pc_tensorboard_close(tb);
    pc_tensorboard_close(NULL);
}

static void test_quotes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *quoted;
    } cases[] = {{"", "    "}, {"a", "    a"}, {"# a\n\nb\n", "    # a\n    \n    b\n    "},
        {"\xc3\xa4\xff|", "    \xc3\xa4\xef\xbf\xbd|"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *q = pc_tensorboard_quote(cases[i].text);
        assert_string_equal(q, cases[i].quoted);
        pc_free(q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c),
        cmocka_unit_test(test_a_file_begins_as_tensorflows),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_starts_are_in_order),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_quotes),
    };
    return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
