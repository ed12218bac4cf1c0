// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/json_pull.h"
#include "base/memory.h"
#include "scratch.h"

/* All tokens, one character each, with texts and numbers behind them: "{k:a i:5}" for {"a":5}. */
static int tokens(struct pc_json_pull *p, char *out, size_t out_size, struct paco_error *err)
{
    struct pc_buf b;
    pc_buf_init(&b, out_size - 1);
    int rc;
    while ((rc = pc_json_next(p, err)) > PC_JSON_END) {
        assert_int_equal(rc, (int)p->token);
        pc_buf_putc(&b, " {}[]ksirtfn"[rc]);
        if (rc == PC_JSON_KEY || rc == PC_JSON_STRING)
            pc_buf_printf(&b, ":%s ", p->text);
        if (rc == PC_JSON_INTEGER)
            pc_buf_printf(&b, ":%lld ", (long long)p->integer);
        if (rc == PC_JSON_REAL)
            pc_buf_printf(&b, ":%g ", p->real);
    }
    snprintf(out, out_size, "%s", b.data ? b.data : "");
    pc_buf_release(&b);
    return rc;
}

static void reads_every_kind_of_token(void **state)
{
    (void)state;
    static const struct {
        const char *text, *tokens;
    } all[] = {
        {"{}", "{}"},
        {" [ ] ", "[]"},
        {"[[],{}]", "[[]{}]"},
        {"{\"a\":5,\"b\":[true,false,null]}", "{k:a i:5 k:b [tfn]}"},
        {"\"x\"", "s:x "},
        {"-0", "i:0 "},
        {"[0,-1,1.5,-2e3,1E+2,0.25e-1]", "[i:0 i:-1 r:1.5 r:-2000 r:100 r:0.025 ]"},
        {"9223372036854775807", "i:9223372036854775807 "},
        {"-9223372036854775808", "i:-9223372036854775808 "},
        {"9223372036854775808", "r:9.22337e+18 "},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "s:\"\\/\b\f\n\r\t "},
        {"\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"", "s:A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 "},
        {"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "s:\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 "},
        {"{\"a\":{\"a\":1},\"b\":{\"a\":2}}", "{k:a {k:a i:1 }k:b {k:a i:2 }}"},
        {"{\"\":\"\"}", "{k: s: }"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct pc_json_pull p;
        struct paco_error err = {0};
        char got[256];
        pc_json_pull_text(&p, all[i].text, strlen(all[i].text), NULL);
        assert_int_equal(tokens(&p, got, sizeof got, &err), PC_JSON_END);
        assert_string_equal(got, all[i].tokens);
        assert_int_equal(pc_json_next(&p, &err), PC_JSON_END);
        pc_json_pull_release(&p);
    }
}

static void says_where_each_token_begins(void **state)
{
    (void)state;
    const char text[] = " { \"a\" : [ 12 , \"x\" ] } ";
    static const uint64_t at[] = {1, 3, 9, 11, 16, 20, 22};
    struct pc_json_pull p;
    struct paco_error err = {0};
    pc_json_pull_text(&p, text, strlen(text), NULL);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        assert_true(pc_json_next(&p, &err) > PC_JSON_END);
        assert_int_equal(p.at, at[i]);
    }
    assert_int_equal(pc_json_next(&p, &err), PC_JSON_END);
    pc_json_pull_release(&p);
}

static void refuses_with_path_and_byte(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t at;
        const char *message;
    } all[] = {
        {"", 0, "JSON: ends where a value is expected"},
        {"  ", 2, "JSON: ends where a value is expected"},
        {"{", 1, "JSON: ends where a key is expected"},
        {"{\"a\"", 4, "JSON: ends where ':' is expected"},
        {"{\"a\":", 5, "JSON: ends where a value is expected"},
        {"{\"a\":1", 6, "JSON: ends where ',' or '}' is expected"},
        {"{\"a\":1,}", 7, "JSON: '}' where a key is expected"},
        {"{\"a\" 1}", 5, "JSON: '1' where ':' is expected"},
        {"{1:2}", 1, "JSON: '1' where a key is expected"},
        {"[1", 2, "JSON: ends where ',' or ']' is expected"},
        {"[1,]", 3, "JSON: ']' where a value is expected"},
        {"[1}", 2, "JSON: '}' where ',' or ']' is expected"},
        {"[,1]", 1, "JSON: ',' where a value is expected"},
        {"{} {}", 3, "JSON: '{' where the end is expected"},
        {"1 2", 2, "JSON: '2' where the end is expected"},
        {"01", 1, "JSON: '1' where the end is expected"},
        {"-", 1, "JSON: ends where a digit is expected"},
        {"-a", 1, "JSON: 'a' where a digit is expected"},
        {"1.", 2, "JSON: ends where a digit is expected"},
        {"1.e5", 2, "JSON: 'e' where a digit is expected"},
        {"1e", 2, "JSON: ends where a digit is expected"},
        {"+1", 0, "JSON: '+' where a value is expected"},
        {"[1e999]", 1, "JSON: a number beyond what a double holds"},
        {"tru", 3, "JSON: ends where a value is expected"},
        {"trux", 3, "JSON: 'x' where a value is expected"},
        {"nan", 1, "JSON: 'a' where a value is expected"},
        {"'a'", 0, "JSON: ''' where a value is expected"},
        {"\"a", 2, "JSON: ends where the rest of a string is expected"},
        {"\"a\nb\"", 2, "JSON: byte 0x0a where the rest of a string is expected"},
        {"\"\\x\"", 2, "JSON: 'x' where an escape is expected"},
        {"\"\\", 2, "JSON: ends where an escape is expected"},
        {"\"\\u12g4\"", 5, "JSON: 'g' where a hexadecimal digit of \\u is expected"},
        {"\"ab\\udc00\"", 3, "JSON: a low surrogate without a high one"},
        {"\"\\ud800\"", 1, "JSON: a high surrogate without a low one"},
        {"\"\\ud800\\n\"", 1, "JSON: a high surrogate without a low one"},
        {"\"\\ud800\\u0041\"", 1, "JSON: a high surrogate without a low one"},
        {"\"ab\xff\"", 3, "JSON is not valid UTF-8"},
        {"\"\xc3\"", 1, "JSON is not valid UTF-8"},
        {"\"\xed\xa0\x80\"", 1, "JSON is not valid UTF-8"},
        {"\"\xc0\x80\"", 1, "JSON is not valid UTF-8"},
        {"\"\xe2\x82", 1, "JSON is not valid UTF-8"},
        {"[\xff]", 1, "JSON: byte 0xff where a value is expected"},
        {"\xef\xbb\xbf{}", 0, "JSON: byte 0xef where a value is expected"},
        {"{\"a\":1, \"a\":2}", 8, "JSON: duplicate object key"},
        {"{\"a\":1, \"\\u0061\":2}", 8, "JSON: duplicate object key"},
        {"{\"a\\u0000b\":1}", 1, "JSON: NUL in a key"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct pc_json_pull p;
        struct paco_error err = {0};
        char got[256];
        pc_json_pull_text(&p, all[i].text, strlen(all[i].text), "some.json");
        assert_int_equal(tokens(&p, got, sizeof got, &err), PACO_EFORMAT);
        assert_string_equal(err.message, all[i].message);
        assert_string_equal(err.path, "some.json");
        assert_true(err.has_offset);
        assert_int_equal(err.offset, all[i].at);
        pc_json_pull_release(&p);
    }
}

static void bounds_depth_strings_and_numbers(void **state)
{
    (void)state;
    char text[8192];
    struct pc_json_pull p;
    struct paco_error err = {0};
    char got[8192];
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    pc_json_pull_text(&p, text, 128, NULL);
    assert_int_equal(tokens(&p, got, sizeof got, &err), PC_JSON_END);
    pc_json_pull_release(&p);
    text[64] = '[';
    pc_json_pull_text(&p, text, 128, NULL);
    assert_int_equal(tokens(&p, got, sizeof got, &err), PACO_ELIMIT);
    assert_string_equal(err.message, "JSON nested deeper than 64 levels");
    assert_int_equal(err.offset, 64);
    pc_json_pull_release(&p);
    memset(text, '1', sizeof text);
    pc_json_pull_text(&p, text, sizeof text, NULL);
    err = (struct paco_error){0};
    assert_int_equal(tokens(&p, got, sizeof got, &err), PACO_ELIMIT);
    assert_int_equal(err.offset, 0);
    pc_json_pull_release(&p);
    size_t n = PC_JSON_MAX_STRING + 3;
    char *large = malloc(n);
    memset(large, 'x', n);
    large[0] = large[n - 1] = '"';
    err = (struct paco_error){0};
    pc_json_pull_text(&p, large, n, "large.json");
    assert_int_equal(pc_json_next(&p, &err), PACO_ELIMIT);
    assert_contains(err.message, "a JSON string needs more than its limit");
    pc_json_pull_release(&p);
    free(large);
}

static void finds_a_key_that_comes_twice_among_many(void **state)
{
    (void)state;
    struct pc_buf b;
    pc_buf_init(&b, 1 << 20);
    pc_buf_puts(&b, "{");
    for (int i = 0; i < 5000; i++)
        pc_buf_printf(&b, "\"key %d\":{\"a\":1,\"b\":{\"key 7\":2}},", i);
    size_t good = b.len;
    for (int twice = 0; twice < 5000; twice += 613) {
        b.len = good;
        pc_buf_printf(&b, "\"key %d\":0}", twice);
        struct pc_json_pull p;
        struct paco_error err = {0};
        pc_json_pull_text(&p, b.data, b.len, NULL);
        int rc;
        while ((rc = pc_json_next(&p, &err)) > PC_JSON_END)
            ;
        assert_int_equal(rc, PACO_EFORMAT);
        assert_int_equal(err.offset, good);
        pc_json_pull_release(&p);
    }
    b.len = good;
    pc_buf_puts(&b, "\"other\":0}");
    struct pc_json_pull p;
    struct paco_error err = {0};
    pc_json_pull_text(&p, b.data, b.len, NULL);
    assert_int_equal(pc_json_next(&p, &err), PC_JSON_OBJECT);
    assert_int_equal(pc_json_skip(&p, &err), 0);
    assert_int_equal(p.token, PC_JSON_OBJECT_END);
    assert_int_equal(pc_json_next(&p, &err), PC_JSON_END);
    pc_json_pull_release(&p);
    pc_buf_release(&b);
}

static void skips_one_value(void **state)
{
    (void)state;
    const char text[] = "{\"a\":[[1],{\"b\":[]}],\"c\":7,\"d\":8}";
    struct pc_json_pull p;
    struct paco_error err = {0};
    pc_json_pull_text(&p, text, strlen(text), NULL);
    for (int i = 0; i < 3; i++)
        assert_true(pc_json_next(&p, &err) > 0);
    assert_int_equal(p.token, PC_JSON_ARRAY);
    assert_int_equal(pc_json_skip(&p, &err), 0);
    assert_int_equal(pc_json_next(&p, &err), PC_JSON_KEY);
    assert_string_equal(p.text, "c");
    assert_int_equal(pc_json_next(&p, &err), PC_JSON_INTEGER);
    assert_int_equal(pc_json_skip(&p, &err), 0);
    assert_int_equal(pc_json_next(&p, &err), PC_JSON_KEY);
    assert_string_equal(p.text, "d");
    pc_json_pull_release(&p);
}

/* Every token, in turn, lies across the edge of the window. */
static void reads_a_file_through_its_window(void **state)
{
    (void)state;
    static const char value[] =
        "{\"key\":[-12.5e3,true,\"\\ud83d\\ude00 \xf0\x9f\x98\x80\\n\",null,{}],\"other\":\"\xc3\xa9\"}";
    static const char expected[] = "{k:key [r:-12500 ts:\xf0\x9f\x98\x80 \xf0\x9f\x98\x80\n n{}]k:other "
                                   "s:\xc3\xa9 }";
    struct scratch s;
    scratch_open(&s);
    enum { EDGE = 65536 };
    static char text[EDGE + 256];
    for (size_t lead = EDGE - sizeof value; lead <= EDGE; lead++) {
        size_t len = lead + strlen(value);
        memset(text, ' ', lead);
        memcpy(text + lead, value, strlen(value));
        struct pc_file f;
        struct paco_error err = {0};
        assert_int_equal(pc_file_open(&f, scratch_write(&s, "x.json", text, len), &err), 0);
        struct pc_json_pull p;
        char got[256];
        assert_int_equal(pc_json_pull_file(&p, &f, 0, len, &err), 0);
        assert_int_equal(tokens(&p, got, sizeof got, &err), PC_JSON_END);
        assert_string_equal(got, expected);
        pc_json_pull_release(&p);
        // Cut short by one: said of the last byte, however the windows lie.
        assert_int_equal(pc_json_pull_file(&p, &f, 3, len - 1, &err), 0);
        assert_int_equal(tokens(&p, got, sizeof got, &err), PACO_EFORMAT);
        assert_int_equal(err.offset, len - 1);
        pc_json_pull_release(&p);
        // The file ends before what was promised.
        err = (struct paco_error){0};
        assert_int_equal(pc_json_pull_file(&p, &f, 0, len + 10, &err), 0);
        assert_true(tokens(&p, got, sizeof got, &err) < 0);
        pc_json_pull_release(&p);
        pc_file_close(&f);
    }
    scratch_close(&s);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    struct pc_buf b;
    pc_buf_init(&b, 1 << 16);
    pc_buf_puts(&b, "{");
    for (int i = 0; i < 100; i++)
        pc_buf_printf(&b, "\"k%d\":[1,\"text\"],", i);
    pc_buf_puts(&b, "\"z\":\"\"}");
    int rc = -1;
    for (int64_t n = 0; rc < 0; n++) {
        struct pc_json_pull p;
        struct paco_error err = {0};
        pc_json_pull_text(&p, b.data, b.len, NULL);
        pc_alloc_fail_after(n);
        while ((rc = pc_json_next(&p, &err)) > PC_JSON_END)
            ;
        pc_alloc_fail_after(-1);
        assert_true(rc == PC_JSON_END || (rc == PACO_EMEM && err.code == PACO_EMEM));
        pc_json_pull_release(&p);
        assert_true(n < 100);
    }
    pc_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind_of_token),
        cmocka_unit_test(says_where_each_token_begins),
        cmocka_unit_test(refuses_with_path_and_byte),
        cmocka_unit_test(bounds_depth_strings_and_numbers),
        cmocka_unit_test(finds_a_key_that_comes_twice_among_many),
        cmocka_unit_test(skips_one_value),
        cmocka_unit_test(reads_a_file_through_its_window),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
