// SPDX-License-Identifier: Apache-2.0
/* What a training run keeps of what was measured, and what it drops when it goes on; examples held out. */
#include "unit.h"

#include "base/file.h"
#include "base/journal.h"
#include "base/memory.h"
#include "scratch_group.h"
#include "train/run_log.h"
#include "train/watch.h"

#include <math.h>

static struct pc_watch *open_at(uint64_t step, bool events)
{
    struct pc_watch *w = NULL;
    struct paco_error err = {0};
    json_t *about = json_pack("{s:s}", "model", "tiny");
    const struct pc_watch_options o = {.dir = g_s.dir, .step = step, .about = about, .events = events};
    if (pc_watch_open(&o, &w, &err) < 0)
        fail_msg("%s", err.message);
    json_decref(about);
    return w;
}

static void assert_file(const char *name, const char *text)
{
    struct pc_buf b;
    assert_int_equal(pc_file_slurp(scratch_path(&g_s, name), 1 << 20, &b, NULL), 0);
    assert_string_equal(b.data ? b.data : "", text);
    pc_buf_release(&b);
}

static void test_lines(void **state)
{
    (void)state;
    struct pc_watch *w = open_at(0, false);
    const struct pc_watch_score s = {
        .name = "validation_loss", .value = 1.5, .standard_error = (double)NAN, .n = 7, .seconds = 0.25};
    const struct pc_watch_answer a = {
        .prompt = 1, .question = "q \"<", .answer = "a\xff\n", .stop = "eos", .n_tokens = 3};
    assert_int_equal(pc_watch_score(w, 4, &s, NULL), 0);
    assert_int_equal(pc_watch_answer(w, 4, &a, NULL), 0);
    pc_watch_close(w);
    assert_file(PC_RUN_EVALS_NAME, "{\"step\":4,\"name\":\"validation_loss\",\"value\":1.5,\"standard_"
                                   "error\":null,\"n\":7,\"seconds\":0.25}\n");
    assert_file(PC_RUN_SAMPLES_NAME, "{\"step\":4,\"prompt_index\":1,\"prompt\":\"q "
                                     "\\\"<\",\"answer\":\"a\xef\xbf\xbd\\n\",\"stop\":\"eos\","
                                     "\"n_output\":3}\n");
    assert_false(pc_path_exists(scratch_path(&g_s, "tensorboard")));
    assert_true(pc_path_exists(scratch_path(&g_s, PC_RUN_ABOUT_NAME)));
}

/* Of three measurements and a torn line the first two stay for a run that goes on from the second. */
static void test_going_on(void **state)
{
    (void)state;
    static const char kept[] =
        "{\"step\":0,\"name\":\"a\",\"value\":1}\n{\"step\":4,\"name\":\"a\",\"value\":2}\n"
        "{\"step\":4,\"name\":\"b\",\"value\":2}\n";
    char text[512];
    snprintf(text, sizeof text, "%s{\"step\":8,\"name\":\"a\",\"value\":3}\n{\"step\":8,\"na", kept);
    pc_watch_close(open_at(0, false));
    scratch_text(&g_s, PC_RUN_EVALS_NAME, text);
    scratch_text(
        &g_s, PC_RUN_SAMPLES_NAME, "{\"step\":4,\"prompt_index\":2,\"prompt\":\"\",\"answer\":\"\"}\n");
    struct pc_watch *w = open_at(4, false);
    assert_true(pc_watch_has_score(w, "a"));
    assert_true(pc_watch_has_score(w, "b"));
    assert_false(pc_watch_has_score(w, "c"));
    assert_true(pc_watch_has_answer(w, 2));
    assert_false(pc_watch_has_answer(w, 0));
    pc_watch_step(w, &(struct pc_train_report){.step = 5}, 0);
    assert_false(pc_watch_has_score(w, "a")); // of step 5 there is nothing
    assert_false(pc_watch_has_answer(w, 2));
    pc_watch_close(w);
    assert_file(PC_RUN_EVALS_NAME, kept);
    json_t *about = NULL;
    assert_int_equal(pc_json_read(scratch_path(&g_s, PC_RUN_ABOUT_NAME), 1 << 20, &about, NULL), 0);
    const json_t *starts = json_object_get(about, "starts");
    assert_int_equal(json_array_size(starts), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(starts, 1), "step")), 4);
    assert_true(json_is_false(json_object_get(about, "finished")));
    json_decref(about);
}

static void test_beginning_anew(void **state)
{
    (void)state;
    char **names;
    size_t n;
    scratch_text(&g_s, PC_RUN_EVALS_NAME, "{\"step\":0,\"name\":\"a\",\"value\":1}\n");
    scratch_text(&g_s, "tensorboard/events.out.tfevents.1.host.2", "old");
    scratch_text(&g_s, "tensorboard/notes.txt", "mine");
    struct pc_watch *w = open_at(0, true);
    assert_false(pc_watch_has_score(w, "a"));
    pc_watch_step(w, &(struct pc_train_report){.step = 1, .loss = 2}, 0);
    pc_watch_close(w);
    assert_false(pc_path_exists(scratch_path(&g_s, PC_RUN_EVALS_NAME))); // nothing was measured
    assert_false(pc_path_exists(scratch_path(&g_s, PC_RUN_SAMPLES_NAME)));
    assert_int_equal(pc_dir_list(scratch_path(&g_s, "tensorboard"), &names, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_memory_equal(names[0], "events.out.tfevents.", 20);
    assert_string_not_equal(names[0], "events.out.tfevents.1.host.2");
    assert_string_equal(names[1], "notes.txt");
    pc_names_free(names, n);
}

/* Files for looking at are not worth a run. */
static void test_events_that_cannot_be_written(void **state)
{
    (void)state;
    scratch_text(&g_s, "tensorboard", "a file where the folder should be");
    struct pc_watch *w = open_at(0, true);
    pc_watch_step(w, &(struct pc_train_report){.step = 1, .loss = 2}, 0);
    pc_watch_close(w);
}

static void test_the_end(void **state)
{
    (void)state;
    struct paco_error err = {0};
    struct pc_watch *w = open_at(0, false);
    assert_int_equal(pc_watch_end(w, true, &err), PACO_ENOENT);
    assert_contains(err.path, PC_TRAIN_LOG_NAME);
    scratch_text(&g_s, PC_TRAIN_LOG_NAME, "{\"step\":1,\"loss\":2}\n");
    assert_int_equal(pc_watch_end(w, true, NULL), 0);
    assert_true(pc_path_exists(scratch_path(&g_s, PC_WATCH_REPORT)));
    pc_watch_close(w);
    json_t *about = NULL;
    assert_int_equal(pc_json_read(scratch_path(&g_s, PC_RUN_ABOUT_NAME), 1 << 20, &about, NULL), 0);
    assert_true(json_is_true(json_object_get(about, "finished")));
    json_decref(about);
}

/* Each allocation fails in turn, from opening to closing: no memory, or all of it done; and opened again. */
static void test_without_memory(void **state)
{
    (void)state;
    const struct pc_watch_score s = {.name = "a", .value = 1};
    const struct pc_watch_answer a = {.prompt = 0, .question = "q", .answer = "a", .stop = "eos"};
    int rc = PACO_EMEM;
    scratch_text(&g_s, PC_TRAIN_LOG_NAME, "{\"step\":1,\"loss\":2}\n");
    for (int64_t n = 0; rc < 0; n++) {
        struct pc_watch *w = NULL;
        struct paco_error err = {0};
        json_t *about = json_pack("{s:s}", "model", "tiny");
        const struct pc_watch_options o = {.dir = g_s.dir, .step = 1, .about = about, .events = true};
        // Starts and what they leave would add up, and one more allocation never be enough.
        unlink(scratch_path(&g_s, PC_RUN_ABOUT_NAME));
        unlink(scratch_path(&g_s, PC_RUN_EVALS_NAME));
        unlink(scratch_path(&g_s, PC_RUN_SAMPLES_NAME));
        assert_int_equal(pc_dir_remove(scratch_path(&g_s, PC_WATCH_EVENTS), NULL), 0);
        pc_alloc_fail_after(n);
        rc = pc_watch_open(&o, &w, &err);
        if (rc == 0)
            rc = pc_watch_score(w, 1, &s, &err);
        if (rc == 0)
            rc = pc_watch_answer(w, 1, &a, &err);
        if (rc == 0)
            rc = pc_watch_end(w, true, &err);
        pc_watch_close(w);
        pc_alloc_fail_after(-1);
        json_decref(about);
        if (rc < 0 && rc != PACO_EMEM && !(rc == PACO_EFORMAT && strstr(err.message, "JSON: ")))
            fail_msg("allocation %d: %d %s", (int)n, rc, err.message);
    }
    assert_true(pc_path_exists(scratch_path(&g_s, PC_WATCH_REPORT)));
}

/* ---- held out ---- */

enum { N = 20 };

static struct pc_examples make_set(void)
{
    struct pc_examples set = {.n = N, .n_read = N + 1, .n_dropped = 1};
    set.examples = pc_alloc(N, sizeof *set.examples);
    set.ids = pc_alloc(4, 1);
    set.mask = pc_alloc(4, 1);
    for (uint32_t i = 0; i < N; i++)
        set.examples[i] = (struct pc_example){.n_ids = i + 1, .n_trained = i, .line = i + 1};
    return set;
}

static void test_held_out(void **state)
{
    (void)state;
    uint32_t first[3] = {0};
    for (uint64_t seed = 0; seed < 3; seed++)
        for (int again = 0; again < 2; again++) {
            struct pc_examples set = make_set(), part = {.n = 0};
            bool seen[N + 1] = {false};
            assert_int_equal(pc_examples_hold_out(&set, 5, seed, &part, NULL), 0);
            assert_int_equal(part.n, 5);
            assert_int_equal(set.n, N - 5);
            assert_int_equal(set.n_read, N + 1); // of the file's
            assert_int_equal(part.n_read, 0);
            assert_int_equal(set.n_ids + part.n_ids, N * (N + 1) / 2);
            assert_int_equal(set.n_trained + part.n_trained, N * (N - 1) / 2);
            assert_int_equal(set.longest > part.longest ? set.longest : part.longest, N);
            const struct pc_examples *const both[] = {&set, &part};
            for (int k = 0; k < 2; k++)
                for (size_t i = 0; i < both[k]->n; i++) {
                    uint32_t line = pc_example_at(both[k], i)->line;
                    assert_true(i == 0 || line > pc_example_at(both[k], i - 1)->line);
                    assert_false(seen[line]);
                    seen[line] = true;
                }
            if (again)
                assert_int_equal(
                    pc_example_at(&part, 0)->line + 100 * pc_example_at(&part, 4)->line, first[seed]);
            first[seed] = pc_example_at(&part, 0)->line + 100 * pc_example_at(&part, 4)->line;
            pc_examples_release(&part);
            pc_examples_release(&set);
        }
    assert_true(first[0] != first[1] || first[1] != first[2]);
}

static void test_too_many_held_out(void **state)
{
    (void)state;
    static const size_t counts[] = {0, N, N + 1};
    for (size_t i = 0; i < 3; i++) {
        struct paco_error err = {0};
        struct pc_examples set = make_set(), part = {.n = 0};
        assert_int_equal(pc_examples_hold_out(&set, counts[i], 1, &part, &err), PACO_EINVAL);
        assert_contains(err.message, "cannot be held out");
        assert_int_equal(set.n, N);
        pc_examples_release(&part);
        pc_examples_release(&set);
    }
}

int main(void)
{
    pc_json_use_memory();
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, open_scratch, close_scratch)
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(test_lines),
        IN_SCRATCH(test_going_on),
        IN_SCRATCH(test_beginning_anew),
        IN_SCRATCH(test_events_that_cannot_be_written),
        IN_SCRATCH(test_the_end),
        IN_SCRATCH(test_without_memory),
        cmocka_unit_test(test_held_out),
        cmocka_unit_test(test_too_many_held_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
