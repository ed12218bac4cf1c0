// SPDX-License-Identifier: Apache-2.0
/* What a training run leaves for people, read back and made a page. */
#include "unit.h"

#include "base/file.h"
#include "scratch_group.h"
#include "train/run_log.h"
#include "train/train_report.h"

#include <math.h>
#include <stdlib.h>

/* The folder called name, with this as its log. */
static const char *run_with(const char *name, const char *log)
{
    static char dir[1100];
    char file[256];
    snprintf(file, sizeof file, "%s/" PC_TRAIN_LOG_NAME, name);
    scratch_text(&g_s, file, log);
    snprintf(dir, sizeof dir, "%s/%s", g_s.dir, name);
    return dir;
}

static void put_file(const char *run, const char *name, const char *text)
{
    char file[256];
    snprintf(file, sizeof file, "%s/%s", run, name);
    scratch_text(&g_s, file, text);
}

/* ---- reading ---- */

static void test_steps(void **state)
{
    (void)state;
    struct pc_run_log log;
    const char *dir = run_with("steps",
        "{\"step\":1,\"loss\":2.5,\"learning_rate\":1e-05,\"grad_norm\":3,\"tokens\":10,\"tokens_per_s\":5.5,"
        "\"peak_rss_bytes\":7}\n"
        "{\"step\":2,\"loss\":null,\"more\":[1]}\n");
    assert_int_equal(pc_run_log_read(dir, &log, NULL), 0);
    assert_int_equal(log.n, 2);
    assert_true(log.v[PC_RUN_STEP][0] == 1 && log.v[PC_RUN_STEP][1] == 2);
    assert_true(log.v[PC_RUN_LOSS][0] == 2.5 && isnan(log.v[PC_RUN_LOSS][1]));
    assert_true(log.v[PC_RUN_RATE][0] == 1e-5 && log.v[PC_RUN_NORM][0] == 3);
    assert_true(log.v[PC_RUN_SPEED][0] == 5.5 && log.v[PC_RUN_MEMORY][0] == 7);
    assert_true(isnan(log.v[PC_RUN_SECONDS][0]) && log.v[PC_RUN_TOKENS][0] == 10);
    assert_null(log.about);
    assert_int_equal(log.n_evals + log.n_samples, 0);
    pc_run_log_release(&log);
}

/* A run that went back, and one that was killed in the middle of a line. */
static void test_what_was_done_anew_counts(void **state)
{
    (void)state;
    struct pc_run_log log;
    const char *dir = run_with("anew", "{\"step\":1,\"loss\":9}\n{\"step\":2,\"loss\":8}\n{\"step\":3,"
                                       "\"loss\":7}\n{\"step\":2,\"loss\":6}\n{\"st");
    put_file("anew", PC_RUN_EVALS_NAME,
        "{\"step\":0,\"name\":\"a\",\"value\":1}\n{\"step\":2,\"name\":\"b\",\"value\":5,\"standard_error\":"
        "0.5}\n"
        "{\"step\":2,\"name\":\"a\",\"value\":2}\n{\"step\":2,\"name\":\"a\",\"value\":3}\n");
    put_file("anew", PC_RUN_SAMPLES_NAME,
        "{\"step\":0,\"prompt_index\":0,\"prompt\":\"p\",\"answer\":\"x\"}\n"
        "{\"step\":0,\"prompt_index\":1,\"prompt\":\"q\",\"answer\":\"y\"}\n"
        "{\"step\":4,\"prompt_index\":0,\"prompt\":\"p\",\"answer\":\"old\",\"stop\":\"eos\"}\n"
        "{\"step\":3,\"prompt_index\":0,\"prompt\":\"p\",\"answer\":\"new\",\"stop\":\"length\"}\n");
    assert_int_equal(pc_run_log_read(dir, &log, NULL), 0);
    assert_int_equal(log.n, 2);
    assert_true(log.v[PC_RUN_LOSS][0] == 9 && log.v[PC_RUN_LOSS][1] == 6);
    assert_int_equal(log.n_evals, 2);
    assert_string_equal(log.evals[0].name, "a");
    assert_int_equal(log.evals[0].n, 2);
    assert_true(log.evals[0].value[1] == 3 && isnan(log.evals[0].error[1]));
    assert_true(log.evals[1].value[0] == 5 && log.evals[1].error[0] == 0.5);
    assert_int_equal(log.n_samples, 3);
    assert_string_equal(log.samples[1].question, "q");
    assert_string_equal(log.samples[2].answer, "new");
    assert_string_equal(log.samples[2].stop, "length");
    pc_run_log_release(&log);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
        uint64_t offset;
        const char *message;
    } cases[] = {
        {"{\"step\":1}\n[1]\n", PACO_EFORMAT, 11, "line 2: is an array, an object was expected"},
        {"{\"step\":1}\n{\"loss\":1}\n", PACO_EFORMAT, 11, "line 2: "},
        {"{\"step\":-1}\n", PACO_EFORMAT, 0, "line 1: "},
        {"{\"step\":1e300}\n", PACO_EFORMAT, 0, "line 1: "},
        {"\n", PACO_EFORMAT, 0, "line 1: "},
        {"{\"step\":1}\n{\"step\":2,}\n", PACO_EFORMAT, 22, "line 2: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct paco_error err = {0};
        struct pc_run_log log;
        const char *dir = run_with("bad", cases[i].text);
        assert_int_equal(pc_run_log_read(dir, &log, &err), cases[i].code);
        assert_contains(err.message, cases[i].message);
        assert_contains(err.path, "bad/train_log.jsonl");
        assert_int_equal(err.offset, cases[i].offset);
        pc_run_log_release(&log);
    }
    struct pc_run_log log;
    struct paco_error err = {0};
    assert_int_equal(pc_run_log_read(g_s.dir, &log, &err), PACO_ENOENT);
    pc_run_log_release(&log);
}

static void test_a_line_without_end_is_refused(void **state)
{
    (void)state;
    enum { N = (1 << 20) + 1 };
    struct pc_run_log log;
    struct paco_error err = {0};
    char *text = malloc(N + 1);
    assert_non_null(text);
    memset(text, ' ', N);
    text[N] = '\0';
    assert_int_equal(pc_run_log_read(run_with("long", text), &log, &err), PACO_ELIMIT);
    assert_contains(err.message, "line 1 is longer than 1048576 bytes");
    pc_run_log_release(&log);
    free(text);
}

/* Lines that lie across the reader's windows. */
static void test_a_long_log(void **state)
{
    (void)state;
    enum { N = 40000 };
    struct pc_run_log log;
    char *text = malloc(64 * N);
    assert_non_null(text);
    size_t len = 0;
    for (int i = 1; i <= N; i++)
        len += (size_t)sprintf(text + len, "{\"step\":%d,\"loss\":%d.5,\"tokens\":%d}\n", i, i, i * 1000);
    assert_true(len > 1 << 20);
    assert_int_equal(pc_run_log_read(run_with("many", text), &log, NULL), 0);
    assert_int_equal(log.n, N);
    for (int i = 0; i < N; i++)
        assert_true(log.v[PC_RUN_STEP][i] == i + 1 && log.v[PC_RUN_LOSS][i] == i + 1.5);
    pc_run_log_release(&log);
    free(text);
}

/* ---- the page ---- */

static const char *report_of(const char *const *dirs, size_t n, struct pc_buf *page)
{
    char path[1100];
    snprintf(path, sizeof path, "%s/report.html", g_s.dir);
    assert_int_equal(pc_train_report(dirs, n, path, NULL), 0);
    assert_int_equal(pc_file_slurp(path, 1 << 24, page, NULL), 0);
    return page->data;
}

static void test_a_page(void **state)
{
    (void)state;
    struct pc_buf page;
    const char *dir = run_with("one", "{\"step\":1,\"loss\":2.5,\"tokens\":100,\"trained_tokens\":40,"
                                      "\"seconds\":2,\"peak_rss_bytes\":1500000000,"
                                      "\"examples\":8,\"truncated_examples\":1}\n"
                                      "{\"step\":2,\"loss\":1.5,\"tokens\":100,\"trained_tokens\":40,"
                                      "\"seconds\":2,\"peak_rss_bytes\":1600000000,"
                                      "\"examples\":8,\"truncated_examples\":2}\n");
    put_file("one", PC_RUN_EVALS_NAME,
        "{\"step\":0,\"name\":\"validation_loss\",\"value\":3}\n{\"step\":2,\"name\":\"validation_loss\","
        "\"value\":1.25}\n"
        "{\"step\":2,\"name\":\"mmlu_<0>\",\"value\":25,\"standard_error\":2}\n");
    put_file("one", PC_RUN_SAMPLES_NAME,
        "{\"step\":0,\"prompt_index\":0,\"prompt\":\"Why </pre>?\",\"answer\":\"the "
        "the\",\"stop\":\"length\"}\n"
        "{\"step\":1,\"prompt_index\":0,\"prompt\":\"Why </pre>?\",\"answer\":\"in between\"}\n"
        "{\"step\":2,\"prompt_index\":0,\"prompt\":\"Why "
        "</pre>?\",\"answer\":\"Because.\",\"stop\":\"eos\"}\n");
    put_file("one", PC_RUN_ABOUT_NAME,
        "{\"model\":\"tiny & <b>\",\"n_steps\":9,\"examples\":{\"read\":20,\"truncated\":3,\"dropped\":4}}");
    const char *s = report_of(&dir, 1, &page);
    assert_contains(s, "<h1>Training of one</h1>");
    assert_contains(s, "<td>tiny &amp; &lt;b&gt;</td>");
    assert_contains(s, "<td>2 of 9</td>");
    assert_contains(s, "<td>2.5 &rarr; 1.5</td>");
    assert_contains(s, "<td>200<small>40 % trained</small></td>");
    assert_contains(s, "<td>50 tokens/s</td>");
    assert_contains(s, "<td>1.6 GB</td>");
    assert_contains(s, "<td>3 of 20</td>");
    assert_contains(s, "Validation loss, first and last</th><td>3 &rarr; 1.25</td>");
    assert_contains(s, "<td>25<small>&plusmn; 2</small></td>");
    assert_contains(s, "validation, step 2: 1.25</title>");
    assert_contains(s, "<figcaption>mmlu_&lt;0&gt;</figcaption>");
    assert_contains(s, "<pre>Why &lt;/pre&gt;?</pre>");
    assert_contains(s, "step 0 (length)</p><pre>the the</pre>");
    assert_contains(s, "step 2 (eos)</p><pre>Because.</pre>");
    assert_contains(s, "1 answers between</summary>");
    assert_contains(s, "in between");
    assert_null(strstr(s, "Examples with an empty answer")); // nothing is known of that
    pc_buf_release(&page);
}

static void test_several_runs(void **state)
{
    (void)state;
    struct pc_buf page;
    char a[1100], b[1100];
    const char *dirs[] = {a, b};
    snprintf(a, sizeof a, "%s/",
        run_with("x/same", "{\"step\":1,\"loss\":2,\"examples\":4,\"truncated_examples\":1}\n"));
    snprintf(b, sizeof b, "%s", run_with("y/same", "{\"step\":1,\"loss\":3}\n"));
    const char *s = report_of(dirs, 2, &page);
    assert_contains(s, "x/same and "); // told apart by their folders
    assert_contains(s, "y/same</h1>");
    assert_contains(s, "<td>1 of 4</td><td></td>");
    assert_contains(s, "line c0\"");
    assert_contains(s, "line c1\"");
    assert_null(strstr(s, "<h2>Answers</h2>"));
    pc_buf_release(&page);
    struct paco_error err = {0};
    assert_int_equal(pc_train_report(dirs, 0, "x", &err), PACO_EINVAL);
    assert_int_equal(pc_train_report(dirs, 13, "x", &err), PACO_EINVAL);
    assert_contains(err.message, "1 to 12 folders");
}

/* Each allocation fails in turn: no memory and no page, or the whole page. */
static void test_without_memory(void **state)
{
    (void)state;
    struct pc_buf whole, page;
    char log[160 * 100], path[1100];
    size_t len = 0;
    for (int i = 1; i <= 120; i++) // enough for a running mean
        len += (size_t)snprintf(log + len, sizeof log - len, "{\"step\":%d,\"loss\":%d}\n", i, 200 - i);
    const char *dir = run_with("poor", log);
    put_file(
        "poor", PC_RUN_SAMPLES_NAME, "{\"step\":1,\"prompt_index\":0,\"prompt\":\"p\",\"answer\":\"x\"}\n");
    put_file("poor", PC_RUN_ABOUT_NAME, "{\"model\":\"tiny\"}");
    report_of(&dir, 1, &whole);
    snprintf(path, sizeof path, "%s/report.html", g_s.dir);
    int rc = PACO_EMEM;
    for (int64_t n = 0; rc < 0; n++) {
        struct paco_error err = {0};
        unlink(path);
        pc_alloc_fail_after(n);
        rc = pc_train_report(&dir, 1, path, &err);
        pc_alloc_fail_after(-1);
        // jansson takes a string it has no memory for to be bad syntax.
        if (rc < 0 && rc != PACO_EMEM && !(rc == PACO_EFORMAT && strstr(err.message, "JSON: ")))
            fail_msg("allocation %d: %s", (int)n, err.message);
        assert_int_equal(pc_path_exists(path), rc == 0);
    }
    assert_int_equal(pc_file_slurp(path, 1 << 24, &page, NULL), 0);
    assert_string_equal(page.data, whole.data);
    pc_buf_release(&page);
    pc_buf_release(&whole);
}

int main(void)
{
    pc_json_use_memory();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_what_was_done_anew_counts),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_line_without_end_is_refused),
        cmocka_unit_test(test_a_long_log),
        cmocka_unit_test(test_a_page),
        cmocka_unit_test(test_several_runs),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
