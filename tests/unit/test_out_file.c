// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"
#include "base/out_file.h"
#include "scratch.h"
#include "unit.h"

static size_t n_files(const char *dir)
{
    char **names;
    size_t n = 0;
    assert_int_equal(pc_dir_list(dir, &names, &n, NULL), 0);
    pc_names_free(names, n);
    return n;
}

static void test_whole_or_absent(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_out_file f;
    struct paco_error err = {0};
    struct pc_buf b;
    scratch_open(&s);
    assert_int_equal(pc_out_file_open(&f, scratch_path(&s, "a/b/file"), false, &err), 0);
    for (int i = 0; i < 300000; i++) {
        pc_buf_puts(&f.buf, "line of text\n");
        assert_int_equal(pc_out_file_flush(&f, false, &err), 0);
    }
    assert_true(f.size > 1 << 20);
    assert_false(pc_path_exists(scratch_path(&s, "a/b/file")));
    assert_int_equal(n_files(scratch_path(&s, "a/b")), 1);
    pc_out_file_close(&f);
    assert_int_equal(n_files(scratch_path(&s, "a/b")), 0);

    assert_int_equal(pc_out_file_open(&f, scratch_path(&s, "a/b/file"), false, &err), 0);
    pc_buf_puts(&f.buf, "all of it");
    assert_int_equal(pc_out_file_commit(&f, &err), 0);
    assert_int_equal(f.size, 9);
    pc_out_file_close(&f);
    assert_int_equal(n_files(scratch_path(&s, "a/b")), 1);
    assert_int_equal(pc_file_slurp(scratch_path(&s, "a/b/file"), 100, &b, &err), 0);
    assert_string_equal(b.data, "all of it");
    pc_buf_release(&b);
    scratch_close(&s);
}

static void test_existing(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_out_file f;
    struct paco_error err = {0};
    scratch_open(&s);
    scratch_text(&s, "file", "old");
    assert_int_equal(pc_out_file_open(&f, scratch_path(&s, "file"), false, &err), PACO_EEXIST);
    assert_string_equal(err.message, "exists already (--force replaces it)");
    pc_out_file_close(&f);
    assert_int_equal(pc_out_file_open(&f, scratch_path(&s, "file"), true, &err), 0);
    assert_int_equal(pc_out_file_commit(&f, &err), 0);
    pc_out_file_close(&f);
    // One that appears meanwhile is not lost either.
    assert_int_equal(pc_out_file_open(&f, scratch_path(&s, "other"), false, &err), 0);
    scratch_text(&s, "other", "made by somebody else");
    assert_int_equal(pc_out_file_commit(&f, &err), PACO_EEXIST);
    pc_out_file_close(&f);
    assert_int_equal(n_files(s.dir), 2);
    scratch_close(&s);
}

static void test_no_folder(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_out_file f;
    struct paco_error err = {0};
    scratch_open(&s);
    scratch_text(&s, "file", "no folder");
    assert_true(pc_out_file_open(&f, scratch_path(&s, "file/below"), false, &err) < 0);
    assert_contains(err.message, "cannot make the folder");
    pc_out_file_close(&f);
    assert_int_equal(pc_dir_make(scratch_path(&s, "x/y//z/"), &err), 0);
    assert_true(pc_path_is_dir(scratch_path(&s, "x/y/z")));
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_or_absent),
        cmocka_unit_test(test_existing),
        cmocka_unit_test(test_no_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
