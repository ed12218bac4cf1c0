// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/file.h"
#include "base/journal.h"
#include "base/memory.h"
#include "scratch.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    struct scratch s;
    char target[512], work[600];
    json_t *identity;
    struct pc_notes notes;
    struct paco_error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    scratch_open(&f->s);
    snprintf(f->target, sizeof f->target, "%s/new/out", f->s.dir);
    snprintf(f->work, sizeof f->work, "%s.paco-partial", f->target);
    f->identity = json_pack("{s:s,s:{s:s}}", "job", "test", "options", "dtype", "f32");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    json_decref(f->identity);
    pc_notes_release(&f->notes);
    scratch_close(&f->s);
    free(f);
    return 0;
}

static struct pc_journal *begin(struct fixture *f, unsigned flags)
{
    struct pc_journal *j = NULL;
    f->err = (struct paco_error){0};
    if (pc_journal_open(f->target, f->identity, flags, &f->notes, &j, &f->err) < 0)
        return NULL;
    return j;
}

static void put(struct fixture *f, const char *dir, const char *name, const char *text)
{
    char path[1024];
    (void)f;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(pc_file_write_atomic(path, text, strlen(text), NULL), 0);
}

static bool is_there(const char *dir, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return pc_path_exists(path);
}

static void record(struct pc_journal *j, int n)
{
    json_t *v = json_pack("{s:i}", "n", n);
    assert_int_equal(pc_journal_add(j, &v, 1, NULL), 0);
    json_decref(v);
}

static void a_directory_appears_when_it_is_complete(void **state)
{
    struct fixture *f = *state;
    struct pc_journal *j = begin(f, false);
    assert_non_null(j);
    assert_string_equal(pc_journal_dir(j), f->work);
    put(f, f->work, "a", "1");
    assert_false(pc_path_exists(f->target));
    assert_int_equal(pc_journal_commit(j, &f->err), 0);
    pc_journal_close(j, false);
    assert_true(is_there(f->target, "a"));
    assert_false(is_there(f->target, ".paco-journal"));
    assert_false(pc_path_exists(f->work));
}

static void records_come_back_until_a_torn_line(void **state)
{
    struct fixture *f = *state;
    struct pc_journal *j = begin(f, false);
    for (int i = 0; i < 3; i++)
        record(j, i);
    pc_journal_close(j, false);

    // A crash in the middle of the third record, and rubbish behind it.
    char path[700];
    snprintf(path, sizeof path, "%s/.paco-journal", f->work);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - 4), 0);
    FILE *file = fopen(path, "a");
    fputs("x\n0123456789abcdef {\"n\":7}\n", file);
    fclose(file);

    j = begin(f, false);
    assert_int_equal(pc_journal_n_records(j), 2);
    assert_int_equal(json_integer_value(json_object_get(pc_journal_record(j, 1), "n")), 1);
    record(j, 9);
    pc_journal_close(j, false);
    j = begin(f, false);
    assert_int_equal(pc_journal_n_records(j), 3);
    assert_int_equal(json_integer_value(json_object_get(pc_journal_record(j, 2), "n")), 9);
    pc_journal_close(j, true);
    assert_false(pc_path_exists(f->work));
}

static void another_identity_starts_again_and_says_why(void **state)
{
    struct fixture *f = *state;
    struct pc_journal *j = begin(f, false);
    record(j, 1);
    put(f, f->work, "left-over", "1");
    pc_journal_close(j, false);
    json_object_set_new(json_object_get(f->identity, "options"), "dtype", json_string("f16"));
    j = begin(f, false);
    assert_int_equal(pc_journal_n_records(j), 0);
    assert_false(is_there(f->work, "left-over"));
    assert_int_equal(f->notes.n, 1);
    assert_contains(f->notes.v[0], "(options.dtype is \"f16\", was \"f32\"): starting again");
    pc_journal_close(j, true);
}

/* Where records are worth hours, another identity must say that it means it. */
static void another_identity_is_refused_where_records_are_kept(void **state)
{
    struct fixture *f = *state;
    struct pc_journal *j = begin(f, false), *other = NULL;
    record(j, 1);
    record(j, 2);
    pc_journal_close(j, false);
    json_object_set_new(json_object_get(f->identity, "options"), "dtype", json_string("f16"));
    struct paco_error err = {0};
    assert_int_equal(
        pc_journal_open(f->target, f->identity, PC_JOURNAL_KEEP, &f->notes, &other, &err), PACO_EEXIST);
    assert_string_equal(err.message, "holds 2 records of an unfinished attempt at something else "
                                     "(options.dtype is \"f16\", was \"f32\"): another "
                                     "output, or --force to start again without them");
    assert_string_equal(err.path, f->work);
    json_object_set_new(json_object_get(f->identity, "options"), "dtype", json_string("f32"));
    assert_int_equal(pc_journal_open(f->target, f->identity, PC_JOURNAL_KEEP, &f->notes, &j, &err), 0);
    assert_int_equal(pc_journal_n_records(j), 2); // they are still there
    pc_journal_close(j, true);
}

static void discarding_removes_what_was_made(void **state)
{
    struct fixture *f = *state;
    char parent[600];
    snprintf(parent, sizeof parent, "%s/new", f->s.dir);
    struct pc_journal *j = begin(f, false);
    assert_true(pc_path_exists(parent));
    pc_journal_close(j, true);
    assert_false(pc_path_exists(parent));

    // But not a directory that was there, nor one that has got other contents.
    j = begin(f, false);
    put(f, parent, "mine", "1");
    pc_journal_close(j, true);
    assert_true(is_there(parent, "mine"));
    assert_false(pc_path_exists(f->work));
}

static void what_exists_is_replaced_only_by_force(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkdir(scratch_path(&f->s, "new"), 0777), 0);
    assert_int_equal(mkdir(f->target, 0777), 0);
    assert_int_equal(pc_journal_check(f->target, false, &f->err), 0); // empty
    put(f, f->target, "old", "1");
    assert_null(begin(f, false));
    assert_int_equal(f->err.code, PACO_EEXIST);
    assert_contains(f->err.message, "option force");
    assert_string_equal(f->err.path, f->target);

    struct pc_journal *j = begin(f, true);
    assert_non_null(j);
    put(f, f->work, "new", "1");
    assert_true(is_there(f->target, "old"));
    assert_int_equal(pc_journal_commit(j, &f->err), 0);
    pc_journal_close(j, false);
    assert_true(is_there(f->target, "new"));
    assert_false(is_there(f->target, "old"));
    assert_false(pc_path_exists(f->work));
}

static void some_targets_are_never_replaced(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"", "/", ".", "..", "x/.", "x/.."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(pc_journal_check(bad[i], true, &f->err), PACO_EINVAL);
    assert_int_equal(pc_journal_check(scratch_text(&f->s, "file", "x"), true, &f->err), PACO_EEXIST);
    assert_contains(f->err.message, "not a directory");
    assert_int_equal(symlink("nowhere", scratch_path(&f->s, "link")), 0);
    assert_int_equal(pc_journal_check(scratch_path(&f->s, "link"), true, &f->err), PACO_EEXIST);
    assert_contains(f->err.message, "symbolic link");
    char here[512];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(f->s.dir), 0);
    assert_int_equal(pc_journal_check(f->s.dir, true, &f->err), PACO_EINVAL);
    assert_contains(f->err.message, "working directory");
    assert_int_equal(chdir(here), 0);
}

static void two_processes_do_not_mix(void **state)
{
    struct fixture *f = *state;
    struct pc_journal *j = begin(f, false);
    pid_t child = fork();
    if (child == 0) {
        struct pc_journal *other = begin(f, false);
        _exit(!other && f->err.code == PACO_EEXIST && strstr(f->err.message, "another process") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    record(j, 1);
    pc_journal_close(j, false);
    j = begin(f, false);
    assert_int_equal(pc_journal_n_records(j), 1);
    pc_journal_close(j, true);
}

/* Killed between the rename and the removal of the journal: the next attempt only tidies up. */
static void a_crash_after_the_rename_is_recognised(void **state)
{
    struct fixture *f = *state;
    struct pc_journal *j = begin(f, false);
    record(j, 1);
    put(f, f->work, "a", "1");
    json_t *last = json_pack("{s:b}", "complete", 1);
    assert_int_equal(pc_journal_add(j, &last, 1, NULL), 0);
    json_decref(last);
    assert_int_equal(rename(f->work, f->target), 0);
    pc_journal_close(j, false);

    assert_int_equal(pc_journal_check(f->target, false, NULL), 0);
    j = begin(f, false);
    assert_non_null(j);
    assert_true(pc_journal_is_complete(j));
    assert_int_equal(pc_journal_n_records(j), 1);
    assert_string_equal(pc_journal_dir(j), f->target);
    assert_int_equal(pc_journal_commit(j, &f->err), 0);
    pc_journal_close(j, false);
    assert_true(is_there(f->target, "a"));
    assert_false(is_there(f->target, ".paco-journal"));

    // The output of another job, one step short: it stands, and is not replaced without force.
    put(f, f->target, ".paco-journal", "rubbish\n");
    assert_null(begin(f, false));
    assert_int_equal(f->err.code, PACO_EEXIST);
    assert_true(is_there(f->target, "a"));
}

/* Killed after the exchange, and then something else is made under the same name. */
static void a_crash_after_the_exchange_is_finished_by_another_job(void **state)
{
    struct fixture *f = *state;
    struct pc_journal *j = begin(f, false);
    put(f, f->work, "new", "1");
    json_t *last = json_pack("{s:b}", "complete", 1);
    assert_int_equal(pc_journal_add(j, &last, 1, NULL), 0);
    json_decref(last);
    assert_int_equal(rename(f->work, f->target), 0);
    pc_journal_close(j, false);
    assert_int_equal(mkdir(f->work, 0700), 0);
    put(f, f->work, "old", "1");

    json_object_set_new(json_object_get(f->identity, "options"), "dtype", json_string("f16"));
    assert_null(begin(f, 0));
    assert_int_equal(f->err.code, PACO_EEXIST);
    assert_contains(f->err.message, "exists");
    assert_true(is_there(f->target, "new"));
    assert_false(is_there(f->target, ".paco-journal"));
    assert_false(pc_path_exists(f->work));
    j = begin(f, PC_JOURNAL_FORCE);
    assert_non_null(j);
    put(f, f->work, "newer", "1");
    assert_int_equal(pc_journal_commit(j, &f->err), 0);
    pc_journal_close(j, false);
    assert_true(is_there(f->target, "newer"));
    assert_false(is_there(f->target, "new"));
}

/* Killed between the two steps of a replacement without exchange: another job finds the old directory. */
static void a_directory_that_stepped_aside_comes_back(void **state)
{
    struct fixture *f = *state;
    char aside[900];
    struct pc_journal *j = begin(f, false);
    put(f, f->work, "new", "1");
    json_t *last = json_pack("{s:b}", "complete", 1);
    assert_int_equal(pc_journal_add(j, &last, 1, NULL), 0);
    json_decref(last);
    pc_journal_close(j, false);
    snprintf(aside, sizeof aside, "%s/.paco-old", f->work);
    assert_int_equal(mkdir(aside, 0700), 0);
    put(f, aside, "old", "1");

    json_object_set_new(json_object_get(f->identity, "options"), "dtype", json_string("f16"));
    assert_null(begin(f, 0));
    assert_int_equal(f->err.code, PACO_EEXIST);
    assert_true(is_there(f->target, "old"));
    assert_true(is_there(f->work, "new"));
    j = begin(f, PC_JOURNAL_FORCE);
    assert_non_null(j);
    assert_false(is_there(f->work, "new"));
    assert_true(is_there(f->target, "old"));
    pc_journal_close(j, true);
}

/* ---- files ---- */

static struct pc_journal *begin_file(struct fixture *f, unsigned flags)
{
    return begin(f, flags | PC_JOURNAL_FILE);
}

static void assert_text(const char *path, const char *want)
{
    struct pc_buf b;
    assert_int_equal(pc_file_slurp(path, 1000, &b, NULL), 0);
    assert_string_equal(b.data, want);
    pc_buf_release(&b);
}

static void a_file_appears_with_what_goes_with_it(void **state)
{
    struct fixture *f = *state;
    char beside[600];
    snprintf(beside, sizeof beside, "%s.list", f->target);
    struct pc_journal *j = begin_file(f, 0);
    assert_non_null(j);
    put(f, pc_journal_dir(j), "out", "the file");
    put(f, pc_journal_dir(j), "list", "its list");
    char *path = pc_journal_path(j, "list");
    assert_contains(path, "out.paco-partial/list");
    pc_free(path);
    assert_int_equal(pc_journal_commit(j, &f->err), 0);
    path = pc_journal_path(j, "list");
    assert_string_equal(path, beside);
    pc_free(path);
    pc_journal_close(j, false);
    assert_text(f->target, "the file");
    assert_text(beside, "its list");
    assert_false(pc_path_exists(f->work));
    // It is replaced only when told.
    assert_null(begin_file(f, 0));
    assert_int_equal(f->err.code, PACO_EEXIST);
    assert_contains(f->err.message, "exists already; the option force replaces it");
    j = begin_file(f, PC_JOURNAL_FORCE);
    put(f, pc_journal_dir(j), "out", "another");
    put(f, pc_journal_dir(j), "list", "and another");
    assert_text(f->target, "the file");
    assert_int_equal(pc_journal_commit(j, &f->err), 0);
    pc_journal_close(j, false);
    assert_text(f->target, "another");
    assert_text(beside, "and another");
}

static void a_directory_is_no_file_to_replace(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(pc_journal_check(f->s.dir, PC_JOURNAL_FILE | PC_JOURNAL_FORCE, &f->err), PACO_EEXIST);
    assert_string_equal(f->err.message, "is a directory; the output is a file: give it a name");
    char link[600];
    snprintf(link, sizeof link, "%s/link", f->s.dir);
    assert_int_equal(symlink("nowhere", link), 0);
    assert_int_equal(pc_journal_check(link, PC_JOURNAL_FILE | PC_JOURNAL_FORCE, &f->err), PACO_EEXIST);
    assert_contains(f->err.message, "is a symbolic link");
}

static void a_file_that_appears_meanwhile_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct pc_journal *j = begin_file(f, 0);
    put(f, pc_journal_dir(j), "out", "ours");
    assert_int_equal(pc_file_write_atomic(f->target, "theirs", 6, NULL), 0);
    assert_int_equal(pc_journal_commit(j, &f->err), PACO_EEXIST);
    assert_contains(f->err.message, "appeared while it was being written");
    pc_journal_close(j, false);
    assert_text(f->target, "theirs");
}

static void a_crash_between_a_files_names_is_recognised(void **state)
{
    struct fixture *f = *state;
    char path[700], beside[600];
    struct pc_journal *j = begin_file(f, 0);
    put(f, pc_journal_dir(j), "out", "the file");
    put(f, pc_journal_dir(j), "list", "its list");
    // What commit does, stopped after the first rename.
    json_t *last = json_pack("{s:b}", "complete", 1);
    assert_int_equal(pc_journal_add(j, &last, 1, NULL), 0);
    json_decref(last);
    snprintf(path, sizeof path, "%s/out", f->work);
    assert_int_equal(rename(path, f->target), 0);
    pc_journal_close(j, false);
    j = begin_file(f, 0);
    assert_non_null(j);
    assert_true(pc_journal_is_complete(j));
    assert_int_equal(pc_journal_commit(j, &f->err), 0);
    pc_journal_close(j, false);
    snprintf(beside, sizeof beside, "%s.list", f->target);
    assert_text(f->target, "the file");
    assert_text(beside, "its list");
    assert_false(pc_path_exists(f->work));
}

static void trees_are_removed_without_following_links(void **state)
{
    struct fixture *f = *state;
    scratch_text(&f->s, "tree/a/b/file", "x");
    scratch_text(&f->s, "keep/file", "x");
    char keep[512], link_path[512];
    snprintf(keep, sizeof keep, "%s/keep", f->s.dir);
    snprintf(link_path, sizeof link_path, "%s/tree/a/link", f->s.dir);
    assert_int_equal(symlink(keep, link_path), 0);
    assert_int_equal(pc_dir_remove(scratch_path(&f->s, "tree"), &f->err), 0);
    assert_false(pc_path_exists(scratch_path(&f->s, "tree")));
    assert_true(is_there(keep, "file"));
    assert_int_equal(pc_dir_remove(scratch_path(&f->s, "tree"), &f->err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_directory_appears_when_it_is_complete, setup, teardown),
        cmocka_unit_test_setup_teardown(records_come_back_until_a_torn_line, setup, teardown),
        cmocka_unit_test_setup_teardown(another_identity_starts_again_and_says_why, setup, teardown),
        cmocka_unit_test_setup_teardown(another_identity_is_refused_where_records_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(discarding_removes_what_was_made, setup, teardown),
        cmocka_unit_test_setup_teardown(what_exists_is_replaced_only_by_force, setup, teardown),
        cmocka_unit_test_setup_teardown(some_targets_are_never_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(two_processes_do_not_mix, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_after_the_rename_is_recognised, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_appears_with_what_goes_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_is_no_file_to_replace, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_appears_meanwhile_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_crash_after_the_exchange_is_finished_by_another_job, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_stepped_aside_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_between_a_files_names_is_recognised, setup, teardown),
        cmocka_unit_test_setup_teardown(trees_are_removed_without_following_links, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
