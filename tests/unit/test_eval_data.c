// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/memory.h"
#include "eval/eval_data.h"
#include "scratch.h"

#include <zlib.h>

struct fixture {
    struct scratch s;
    struct paco_error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    scratch_open(&f->s);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    scratch_close(&f->s);
    free(f);
    return 0;
}

/* What pc_eval_find makes of name, below the scratch folder, or NULL. */
static const char *found(struct fixture *f, const char *name)
{
    static char kept[1024];
    const char *names[] = {"nowhere/x.json", name, NULL};
    char *path;
    f->err = (struct paco_error){0};
    if (pc_eval_find(f->s.dir, "GSM8K", names, &path, &f->err) < 0)
        return NULL;
    snprintf(kept, sizeof kept, "%s", path + strlen(f->s.dir));
    pc_free(path);
    return kept;
}

static void files_are_found_in_each_layout(void **state)
{
    struct fixture *f = *state;
    scratch_text(&f->s, "own.jsonl", "{}");
    assert_string_equal(found(f, "gsm/own.jsonl"), "/own.jsonl");
    scratch_text(&f->s, "data/eval/gsm/test.jsonl", "{}");
    assert_string_equal(found(f, "gsm/test.jsonl"), "/data/eval/gsm/test.jsonl");
    scratch_text(&f->s, "gsm/test.jsonl", "{}");
    assert_string_equal(found(f, "gsm/test.jsonl"), "/gsm/test.jsonl");
    assert_string_equal(found(f, "gsm"), "/gsm");
}

static void what_is_missing_is_said_once_with_where_and_what_to_do(void **state)
{
    struct fixture *f = *state;
    assert_null(found(f, "gsm/test.jsonl"));
    assert_int_equal(f->err.code, PACO_ENOENT);
    assert_contains(f->err.message, "no data of GSM8K");
    assert_contains(f->err.message, "nowhere/x.json or gsm/test.jsonl");
    assert_contains(f->err.message, "`paco data fetch nowhere` gets it");
    assert_string_equal(f->err.path, f->s.dir);
    char *path;
    assert_int_equal(
        pc_eval_find("/nonexistent", "GSM8K", (const char *const[]){"a", NULL}, &path, &f->err), PACO_ENOENT);
    assert_contains(f->err.message, "no such folder for the data of GSM8K");
}

static void lines_are_read_with_their_numbers_and_the_file_is_listed(void **state)
{
    struct fixture *f = *state;
    struct pc_task_env env = {.data_dir = f->s.dir, .files = json_object()};
    struct pc_jsonl lines;
    struct pc_text text;
    const char *path = scratch_text(&f->s, "gsm/test.jsonl", "{\"q\": \"a\\u0000b\"}\r\n\n  \n{\"q\": 3}");
    assert_int_equal(pc_jsonl_read(&env, path, &lines, &f->err), 0);
    assert_int_equal(lines.n, 2);
    assert_int_equal(lines.line[1], 4);
    assert_int_equal(pc_jsonl_text(&lines, 0, "q", &text, &f->err), 0);
    assert_int_equal(text.len, 3);
    assert_memory_equal(text.v, "a\0b", 4);
    assert_int_equal(pc_jsonl_text(&lines, 1, "q", &text, &f->err), PACO_EFORMAT);
    assert_string_equal(f->err.message, "line 4: \"q\" is an integer where a string is expected");
    assert_string_equal(f->err.path, path);
    pc_jsonl_release(&lines);
    assert_int_equal(json_object_size(env.files), 1);
    assert_string_equal(json_string_value(json_object_get(env.files, "gsm/test.jsonl")),
        "3f937193b51f4b689dc5f55fda5ede84c588c80ffbe0a2d7f1129acd32d9fdc7");
    json_decref(env.files);
}

static void check_bad_lines(
    struct fixture *f, const char *text, int code, uint64_t offset, const char *message)
{
    struct pc_jsonl lines;
    f->err = (struct paco_error){0};
    assert_int_equal(pc_jsonl_parse(text, strlen(text), "t.jsonl", &lines, &f->err), code);
    assert_contains(f->err.message, message);
    assert_string_equal(f->err.path, "t.jsonl");
    assert_int_equal(f->err.offset, offset);
    assert_null(lines.v);
}

static void bad_lines_name_line_and_byte(void **state)
{
    struct fixture *f = *state;
    check_bad_lines(f, "{}\n{\"a\": }\n", PACO_EFORMAT, 10, "line 2: JSON: ");
    check_bad_lines(f, "{}\n\n{\"a\": \"cut off", PACO_EFORMAT, 18, "line 3: JSON: ");
    check_bad_lines(f, "{}\n[1]\n", PACO_EFORMAT, 3, "line 2: an array where an object is expected");
    check_bad_lines(f, "{}\n{\"a\": \"\xff\"}\n", PACO_EFORMAT, 10, "line 2: JSON is not valid UTF-8");
    check_bad_lines(f, "", PACO_EFORMAT, 0, "is empty where JSON lines are expected");
    check_bad_lines(f, "\n \n", PACO_EFORMAT, 0, "is empty where JSON lines are expected");
}

static void gzip_is_inflated_all_its_members(void **state)
{
    struct fixture *f = *state;
    const char *path = scratch_path(&f->s, "x.jsonl.gz");
    for (int i = 0; i < 2; i++) {
        gzFile gz = gzopen(path, i ? "ab" : "wb");
        assert_int_equal(gzputs(gz, "{\"n\": \"one\"}\n"), 13);
        assert_int_equal(gzclose(gz), Z_OK);
    }
    struct pc_jsonl lines;
    assert_int_equal(pc_jsonl_read(NULL, path, &lines, &f->err), 0);
    assert_int_equal(lines.n, 2);
    assert_int_equal(lines.line[1], 2);
    pc_jsonl_release(&lines);
}

static void broken_gzip_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[1024];
    struct pc_buf b;
    snprintf(path, sizeof path, "%s", scratch_path(&f->s, "x.gz"));
    gzFile gz = gzopen(path, "wb");
    assert_int_equal(gzputs(gz, "{\"n\": \"one two three four five\"}\n"), 33);
    assert_int_equal(gzclose(gz), Z_OK);
    assert_int_equal(truncate(path, 25), 0);
    assert_int_equal(pc_eval_slurp(NULL, path, &b, &f->err), PACO_EFORMAT);
    assert_string_equal(f->err.message, "the gzip data end too early (truncated?)");
    assert_int_equal(f->err.offset, 25);
    pc_buf_release(&b);
    scratch_text(&f->s, "x.gz", "<html>not found</html>");
    f->err = (struct paco_error){0};
    assert_int_equal(pc_eval_slurp(NULL, path, &b, &f->err), PACO_EFORMAT);
    assert_contains(f->err.message, "bad gzip data");
    pc_buf_release(&b);
}

static void a_json_file_is_an_object_or_an_array(void **state)
{
    struct fixture *f = *state;
    json_t *v;
    assert_int_equal(pc_eval_json(NULL, scratch_text(&f->s, "a.json", "[1]"), &v, &f->err), 0);
    json_decref(v);
    assert_int_equal(pc_eval_json(NULL, scratch_text(&f->s, "a.json", "3"), &v, &f->err), PACO_EFORMAT);
    assert_contains(f->err.message, "holds an integer where an object or an array is expected");
    assert_int_equal(pc_eval_json(NULL, scratch_text(&f->s, "a.json", ""), &v, &f->err), PACO_EFORMAT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(files_are_found_in_each_layout),
        TEST(what_is_missing_is_said_once_with_where_and_what_to_do),
        TEST(lines_are_read_with_their_numbers_and_the_file_is_listed),
        TEST(bad_lines_name_line_and_byte),
        TEST(gzip_is_inflated_all_its_members),
        TEST(broken_gzip_is_refused),
        TEST(a_json_file_is_an_object_or_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
