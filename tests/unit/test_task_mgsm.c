// SPDX-License-Identifier: Apache-2.0
#include "eval_prompts.h"

static void write_data(struct harness *h)
{
    scratch_text(&h->s, "mgsm/mgsm_en.tsv", "How many, \"roughly\"? \t5,600\nWhat?\t7\n");
    scratch_text(&h->s, "mgsm/mgsm_fr.tsv", "Combien ?\t007\n");
    scratch_text(&h->s, "mgsm/mgsm_sw.tsv", "Ngapi?\t1\n");
    scratch_text(&h->s, "mgsm/exemplars.json",
        "{\"MGSM_EXEMPLARS\": {\"en\": {\"1\": {\"q\": \"Question: A?\", \"a\": \"Step-by-Step Answer: "
        "1.\"}, "
        "\"2\": {\"q\": \"Question: B?\", \"a\": \"Step-by-Step Answer: 2.\"}}, "
        "\"fr\": {\"1\": {\"q\": \"Q : \\u00e9?\", \"a\": \"R : 1.\"}, \"2\": {\"q\": \"Q : b?\", \"a\": \"R "
        ": 2.\"}}}}");
}

static void setup(struct harness *h)
{
    harness_init(h, &pc_task_mgsm);
    write_data(h);
}

static bool noted(const struct harness *h, const char *part)
{
    for (size_t i = 0; i < h->notes.n; i++)
        if (strstr(h->notes.v[i], part))
            return true;
    return false;
}

static void prompts(void **state)
{
    (void)state;
    struct harness h;
    setup(&h);
    h.env.format = PC_FORMAT_TULU;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 3);
    assert_string_equal(harness_name(&h, 1), "en/1");
    assert_string_equal(harness_name(&h, 2), "fr/0");
    assert_string_equal(harness_prompt(&h, 0), "<|user|>\nQuestion: A?\nStep-by-Step Answer: 1.\n\nQuestion: "
                                               "B?\nStep-by-Step Answer: 2.\n\nQuestion: How many, "
                                               "\"roughly\"?\n<|assistant|>\nStep-by-Step Answer:");
    assert_int_equal(h.ask.max_tokens, 512);
    assert_true(noted(&h, "mgsm/mgsm_de.tsv here: the language is left out"));
    assert_true(noted(&h, "no examples in \"sw\" here: the language is left out"));
    assert_int_equal(json_object_size(h.files), 4);
    h.task->close(h.data);
    h.flags.use_chat_format = 0;
    harness_open(&h, h.s.dir);
    assert_string_equal(harness_prompt(&h, 2), "Q : \xc3\xa9?\nR : 1.\n\nQ : b?\nR : 2.\n\nQuestion: Combien "
                                               "?\nSchritt-f\xc3\xbcr-Schritt-Antwort:");
    harness_close(&h);
}

static void numbers_of_examples(void **state)
{
    (void)state;
    struct harness h;
    setup(&h);
    h.flags.n_shot = 1; // random.seed(42): sample(range(2), 1) is [0], then [0] again
    harness_open(&h, h.s.dir);
    assert_string_equal(harness_prompt(&h, 1),
        "Question: A?\nStep-by-Step Answer: 1.\n\nQuestion: What?\nStep-by-Step Answer:");
    h.task->close(h.data);
    h.flags.n_shot = 0;
    harness_open(&h, h.s.dir);
    assert_contains(harness_prompt(&h, 1), "Question: A?\nStep-by-Step Answer: 1.\n\nQuestion: B?");
    assert_true(noted(&h, "--n_shot 0 means all examples"));
    h.task->close(h.data);
    h.flags.n_shot = 3;
    harness_refused(&h, h.s.dir, PACO_EINVAL, "has 2 examples in \"en\", but --n_shot asks for 3");
    harness_close(&h);
}

static void bad_data(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_mgsm);
    harness_refused(&h, h.s.dir, PACO_ENOENT, "no data of MGSM");
    assert_int_equal(h.notes.n, 0);
    write_data(&h);
    scratch_text(&h.s, "mgsm/mgsm_en.tsv", "a\t1\nb\n");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "line 2: 1 column where 2 are expected");
    write_data(&h);
    scratch_text(
        &h.s, "mgsm/exemplars.json", "{\"MGSM_EXEMPLARS\": {\"en\": {\"1\": {\"q\": \"x\"}, \"2\": {}}}}");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "an example of \"en\": \"a\" is missing");
    scratch_text(&h.s, "mgsm/exemplars.json", "{}");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "has no \"MGSM_EXEMPLARS\"");
    harness_close(&h);
}

static void verdicts_and_results(void **state)
{
    (void)state;
    struct harness h;
    setup(&h);
    harness_open(&h, h.s.dir);
    const json_t *r = harness_judge(&h, " It is 5,600."); // the comma stays, and parts the number
    assert_string_equal(json_string_value(json_object_get(r, "extraction")), "600");
    assert_true(json_is_false(json_object_get(r, "correct")));
    assert_string_equal(json_string_value(json_object_get(r, "answer")), "5,600");
    harness_judge(&h, " 7");
    r = harness_judge(&h, " 7");
    assert_string_equal(json_string_value(json_object_get(r, "answer")), "7"); // a column of integers
    harness_finish(&h);
    assert_string_equal(
        harness_metrics(&h), "{\n    \"en\": 0.5,\n    \"fr\": 1.0,\n    \"average\": 0.75\n}");
    assert_true(h.score == 75);
    assert_string_equal(harness_file(&h, "fr_predictions.jsonl"),
        "{\"question\": \"Combien ?\", \"answer\": \"7\", "
        "\"model_output\": \" 7\", \"prediction\": \"7\"}\n");
    harness_close(&h);
}

static void memory_runs_out(void **state)
{
    (void)state;
    struct harness h;
    setup(&h);
    harness_torture(&h, h.s.dir, " 7");
    harness_close(&h);
}

static void every_prompt(void **state)
{
    (void)state;
    eval_prompts_check_all("mgsm", harness_data("mgsm/exemplars.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts),
        cmocka_unit_test(numbers_of_examples),
        cmocka_unit_test(bad_data),
        cmocka_unit_test(verdicts_and_results),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(every_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
