// SPDX-License-Identifier: Apache-2.0
/* HumanEval's scorer against recorded verdicts of published outputs: one sample of each of 164 problems from
 * text-davinci-003 and gpt-3.5-turbo, as the Reflexion project kept them (human_eval/outputs of the test
 * data). What was not solved there is kept as an empty solution. The data's own solutions must all pass.
 *
 * Three of the recorded passes hold only because Reflexion ran all programs in one interpreter, where names
 * outlive the program that made them: `math` and `is_prime` stood there from earlier ones. Alone these
 * programs fail, and with those names they pass. */
#include "task_harness.h"

#include "eval/eval_data.h"
#include "eval/sandbox.h"

enum { N_MODELS = 2, CANONICAL = N_MODELS, N_SAMPLES };

static const struct {
    const char *id, *result, *names;
} lent[] = {
    {"HumanEval/133", "failed: name 'math' is not defined", "import math\n"},
    {"HumanEval/143", "failed: name 'is_prime' is not defined", NULL},
    {"HumanEval/150", "failed: name 'is_prime' is not defined", NULL},
};
static const char is_prime[] = "def is_prime(n):\n    return n > 1 and all(n % i for i in range(2, n))\n";

/* Opens the task with the sandbox, or skips the test. */
static void open_task(struct harness *h, const char *dir)
{
    harness_init(h, &pc_task_codex_low);
    h->flags.unbiased_sampling_size_n = N_SAMPLES;
    int rc = harness_try(h, dir);
    if (rc == PACO_EUNSUPPORTED || rc == PACO_ENOENT) {
        print_message("# %s\n", h->err.message);
        harness_close(h);
        skip_because("no sandbox on this machine");
    }
    if (rc < 0)
        fail_msg("%s", h->err.message);
}

static void read_outputs(const char *dir, struct pc_jsonl outputs[N_MODELS])
{
    static const char *const models[N_MODELS] = {"text-davinci-003", "gpt-3.5-turbo"};
    struct paco_error err = {0};
    for (int m = 0; m < N_MODELS; m++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/human_eval/outputs/reflexion_simple_1_%s.jsonl", dir, models[m]);
        if (pc_jsonl_read(NULL, path, &outputs[m], &err) < 0)
            fail_msg("%s: %s", path, err.message);
        assert_int_equal(outputs[m].n, 164);
    }
}

/* The text that a name lent to problem i would give, or NULL. */
static const char *lent_result(const struct harness *h, size_t i)
{
    for (size_t k = 0; k < sizeof lent / sizeof *lent; k++)
        if (strcmp(harness_name(h, i), lent[k].id) == 0)
            return lent[k].result;
    return NULL;
}

static void check_verdict(
    const struct harness *h, size_t i, int model, const json_t *record, const struct pc_jsonl *outputs)
{
    const json_t *passed = json_array_get(json_object_get(record, "correct"), (size_t)model);
    const json_t *solved = json_object_get(outputs->v[i], "is_solved");
    const char *result =
        json_string_value(json_array_get(json_object_get(record, "extraction"), (size_t)model));
    const char *expected = model == 0 ? lent_result(h, i) : NULL;
    if (expected)
        assert_string_equal(result, expected);
    else if (json_is_true(passed) != json_is_true(solved))
        fail_msg("%s, model %d: %s, but recorded as %s", harness_name(h, i), model, result,
            json_is_true(solved) ? "solved" : "not solved");
}

static void verdicts_are_those_recorded(void **state)
{
    (void)state;
    const char *dir = harness_data("human_eval/outputs");
    struct pc_jsonl outputs[N_MODELS];
    struct harness h;
    size_t n_passed[N_MODELS] = {0};
    open_task(&h, dir);
    read_outputs(dir, outputs);
    for (size_t i = 0; i < 164; i++) {
        const char *texts[N_SAMPLES];
        for (int m = 0; m < N_MODELS; m++)
            texts[m] = json_string_value(json_object_get(outputs[m].v[i], "solution"));
        texts[CANONICAL] = json_string_value(json_object_get(outputs[0].v[i], "canonical_solution"));
        const json_t *record = harness_judge_all(&h, texts, N_SAMPLES);
        const json_t *canonical = json_array_get(json_object_get(record, "correct"), CANONICAL);
        if (!json_is_true(canonical))
            fail_msg("%s: its own solution does not pass", harness_name(&h, i));
        for (int m = 0; m < N_MODELS; m++) {
            const json_t *passed = json_array_get(json_object_get(record, "correct"), (size_t)m);
            n_passed[m] += json_is_true(passed);
            check_verdict(&h, i, m, record, &outputs[m]);
        }
    }
    assert_int_equal(n_passed[0], 96 - 3);
    assert_int_equal(n_passed[1], 42);
    for (int m = 0; m < N_MODELS; m++)
        pc_jsonl_release(&outputs[m]);
    harness_close(&h);
}

/* The three, with the names that other programs had left behind. */
static void with_the_names_of_others_the_rest_agrees(void **state)
{
    (void)state;
    const char *dir = harness_data("human_eval/outputs");
    struct pc_jsonl outputs[N_MODELS];
    struct pc_sandbox *sandbox;
    struct paco_error err = {0};
    int rc = pc_sandbox_open(NULL, &sandbox, &err);
    if (rc == PACO_EUNSUPPORTED || rc == PACO_ENOENT)
        skip_because("no sandbox on this machine");
    assert_int_equal(rc, 0);
    read_outputs(dir, outputs);
    for (size_t i = 0; i < 164; i++)
        for (size_t k = 0; k < sizeof lent / sizeof *lent; k++) {
            const json_t *row = outputs[0].v[i];
            struct pc_execution done = {0};
            struct pc_buf b;
            if (strcmp(json_string_value(json_object_get(row, "task_id")), lent[k].id) != 0)
                continue;
            pc_buf_init(&b, 1 << 20);
            pc_buf_puts(&b, lent[k].names ? lent[k].names : is_prime);
            pc_buf_printf(&b, "%s%s\n%s\ncheck(%s)", json_string_value(json_object_get(row, "prompt")),
                json_string_value(json_object_get(row, "solution")),
                json_string_value(json_object_get(row, "test")),
                json_string_value(json_object_get(row, "entry_point")));
            assert_int_equal(pc_sandbox_run(sandbox, b.data, b.len, &done, &err), 0);
            assert_string_equal(done.text, "passed");
            pc_execution_release(&done);
            pc_buf_release(&b);
        }
    for (int m = 0; m < N_MODELS; m++)
        pc_jsonl_release(&outputs[m]);
    pc_sandbox_close(sandbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_are_those_recorded),
        cmocka_unit_test(with_the_names_of_others_the_rest_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
