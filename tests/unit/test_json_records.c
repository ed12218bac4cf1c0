// SPDX-License-Identifier: Apache-2.0
#include "base/json_records.h"
#include "scratch.h"
#include "unit.h"

#include <sys/stat.h>

/* All records of text as "LINE:LEN " joined, or the error. */
struct seen {
    int rc;
    char lines[4096];
    struct paco_error err;
    size_t n;
    char digest[PC_SHA256_HEX];
};

static void read_path(const char *path, struct seen *s)
{
    struct pc_json_records r;
    *s = (struct seen){0};
    s->rc = pc_json_records_open(&r, path, &s->err);
    size_t at = 0;
    while (s->rc == 0 && (s->rc = pc_json_records_batch(&r, &s->err)) == 0 && r.n > 0)
        for (size_t i = 0; i < r.n; i++, s->n++)
            if (at + 32 < sizeof s->lines)
                at += (size_t)snprintf(s->lines + at, sizeof s->lines - at, "%llu:%zu ",
                    (unsigned long long)r.v[i].line, r.v[i].len);
    pc_sha256_hex(r.digest, s->digest);
    pc_json_records_close(&r);
}

static void read_text(const char *text, struct seen *s)
{
    struct scratch dir;
    scratch_open(&dir);
    read_path(scratch_text(&dir, "data.json", text), s);
    scratch_close(&dir);
}

static void expect_records(const char *text, const char *want)
{
    struct seen s;
    read_text(text, &s);
    if (s.rc < 0)
        fail_msg("'%s': %s", text, s.err.message);
    assert_string_equal(s.lines, want);
}

static void expect_error(const char *text, int code, const char *message, int64_t offset)
{
    struct seen s;
    read_text(text, &s);
    assert_int_equal(s.rc, code);
    assert_string_equal(s.err.message, message);
    assert_contains(s.err.path, "data.json");
    assert_int_equal(s.err.has_offset ? (int64_t)s.err.offset : -1, offset);
}

static void test_lines(void **state)
{
    (void)state;
    expect_records("{}", "1:2 ");
    expect_records("{}\n", "1:2 ");
    expect_records("\n\n {\"a\":1} \r\n \n{}\n\n", "3:9 5:2 ");
    expect_records("\xef\xbb\xbf{}\n[1]\nnot json\n", "1:2 2:3 3:8 ");
}

static void test_array(void **state)
{
    (void)state;
    expect_records("[]", "");
    expect_records(" [ ] \n", "");
    expect_records("[{}]", "1:2 ");
    expect_records("[\n {\"a\": [1, \"]}\\\"\"]},\n\n {\n},3, \"x,\\\\\"]\n", "2:18 4:3 5:1 5:6 ");
    expect_records("\xef\xbb\xbf\n[{},{}]", "2:2 2:2 ");
}

static void test_array_errors(void **state)
{
    (void)state;
    expect_error("", PACO_EFORMAT, "line 1: the file holds nothing", 0);
    expect_error(" \n", PACO_EFORMAT, "line 2: the file holds nothing", 2);
    expect_error(
        "a,b\n1,2\n", PACO_EFORMAT, "line 1: neither JSON lines, which begin with '{', nor a JSON array", 0);
    expect_error("\x1f\x8b\x08", PACO_EFORMAT, "line 1: this is packed by gzip: unpack it first", 0);
    expect_error("\xff\xfe{", PACO_EFORMAT, "line 1: this is UTF-16 text: save it as UTF-8", 0);
    expect_error("PAR1", PACO_EFORMAT, "line 1: this is a Parquet file: convert it to JSON lines first", 0);
    expect_error(
        "[{}\n{}]", PACO_EFORMAT, "line 2: a comma or the array's end is missing behind an example", 4);
    expect_error("[{},]", PACO_EFORMAT, "line 1: a value is missing in the array", 4);
    expect_error("[,{}]", PACO_EFORMAT, "line 1: a value is missing in the array", 1);
    expect_error("[{}\n", PACO_EFORMAT, "line 2: the file ends inside the array (truncated?)", 4);
    expect_error("[{\"a\n", PACO_EFORMAT, "line 1: the file ends inside the array (truncated?)", 1);
    expect_error("[]\n[]", PACO_EFORMAT, "line 2: something stands behind the array", 3);
}

static void test_no_file(void **state)
{
    (void)state;
    struct seen s;
    read_path("/nonexistent/file.json", &s);
    assert_int_equal(s.rc, PACO_ENOENT);
}

/* Records across the window's edge, and one that is larger than it. */
static void test_large(void **state)
{
    (void)state;
    struct scratch dir;
    struct seen s;
    scratch_open(&dir);
    for (int array = 0; array < 2; array++) {
        const char *path = scratch_text(&dir, "data.json", "");
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fputs(array ? "[" : "", f);
        for (int i = 0; i < 1000; i++) {
            fputs(array && i ? ",\n{\"x\":\"" : "{\"x\":\"", f);
            for (int k = 0; k < (i == 500 ? 9000000 : 4099); k++)
                fputc('y', f);
            fputs(array ? "\"}" : "\"}\n", f);
        }
        fputs(array ? "]" : "", f);
        assert_int_equal(fclose(f), 0);
        read_path(path, &s);
        assert_int_equal(s.rc, 0);
        assert_int_equal(s.n, 1000);
        assert_memory_equal(s.lines, "1:4107 2:4107 3:4107 ", 21);
    }
    scratch_close(&dir);
}

static void test_digest(void **state)
{
    (void)state;
    struct seen s;
    read_text("{}\n", &s);
    assert_string_equal(s.digest, "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356");
}

static void test_changed_meanwhile(void **state)
{
    (void)state;
    struct scratch dir;
    struct pc_json_records r;
    struct paco_error err = {0};
    scratch_open(&dir);
    const char *path = scratch_text(&dir, "data.jsonl", "{}\n{}\n");
    assert_int_equal(pc_json_records_open(&r, path, &err), 0);
    assert_int_equal(pc_json_records_batch(&r, &err), 0);
    assert_int_equal(r.n, 2);
    FILE *f = fopen(path, "ab");
    assert_non_null(f);
    fputs("{}\n", f);
    fclose(f);
    assert_int_equal(pc_json_records_batch(&r, &err), PACO_EFORMAT);
    assert_string_equal(err.message, "changed while it was read: 6 bytes became 9");
    pc_json_records_close(&r);
    scratch_close(&dir);
}

static void test_parse(void **state)
{
    (void)state;
    struct scratch dir;
    struct pc_json_records r;
    struct paco_error err = {0};
    json_t *v;
    scratch_open(&dir);
    const char *path = scratch_text(&dir, "data.jsonl", "{\"a\": 1}\n[1]\n{\"a\": }\n{\"\xff\": 1}\n");
    assert_int_equal(pc_json_records_open(&r, path, &err), 0);
    assert_int_equal(pc_json_records_batch(&r, &err), 0);
    assert_int_equal(r.n, 4);
    assert_int_equal(pc_json_record_parse(path, &r.v[0], &v, &err), 0);
    assert_int_equal(json_integer_value(json_object_get(v, "a")), 1);
    json_decref(v);
    assert_int_equal(pc_json_record_parse(path, &r.v[1], &v, &err), PACO_EFORMAT);
    assert_string_equal(err.message, "line 2: holds an array where an object is expected");
    assert_int_equal(pc_json_record_parse(path, &r.v[2], &v, &err), PACO_EFORMAT);
    assert_string_equal(err.message, "line 3: JSON: unexpected token near '}' (column 7)");
    err = (struct paco_error){0};
    assert_int_equal(pc_json_record_parse(path, &r.v[3], &v, &err), PACO_EFORMAT);
    assert_string_equal(err.message, "line 4: JSON is not valid UTF-8");
    assert_int_equal(err.offset, 23);
    pc_json_records_close(&r);
    scratch_close(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_array),
        cmocka_unit_test(test_array_errors),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_changed_meanwhile),
        cmocka_unit_test(test_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
