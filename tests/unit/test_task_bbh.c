// SPDX-License-Identifier: Apache-2.0
#include "eval_prompts.h"

static const char two_examples[] = "{\"canary\": \"c\", \"examples\": ["
                                   "{\"input\": \"not True is\", \"target\": \"False\"},"
                                   "{\"input\": \"\\u00c9t\\u00e9? \", \"target\": \"\\u00c9.\"}]}";
static const char one_shot[] =
    "canary\n-----\nDecide.\n\nQ: True and False is\nA: Let's think.\nFalse wins. So the "
    "answer is not yet. So the answer is False.";

/* A folder with two tasks. */
static void write_data(struct harness *h)
{
    scratch_text(&h->s, "bbh/bbh/b_task.json", two_examples);
    scratch_text(&h->s, "bbh/bbh/a_task.json", two_examples);
    scratch_text(&h->s, "bbh/cot-prompts/a_task.txt", one_shot);
    scratch_text(&h->s, "bbh/cot-prompts/b_task.txt", one_shot);
    h->flags.max_num_examples_per_task = -1;
}

static void prompts_of_both_settings(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_bbh_cot);
    write_data(&h);
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 4);
    assert_string_equal(harness_prompt(&h, 0), "Decide.\n\nQ: True and False is\nA: Let's think.\nFalse "
                                               "wins. So the answer is not yet. So the answer "
                                               "is False.\n\nQ: not True is\nA:");
    assert_int_equal(h.ask.kind, PC_ASK_TEXT);
    assert_int_equal(h.ask.max_tokens, 512);
    assert_int_equal(h.ask.n_samples, 1);
    assert_true(h.ask.until_blank_line);
    assert_false(h.ask.bos);
    assert_int_equal(h.ask.n_stop_ids + h.ask.n_stop_texts, 0);
    h.task->close(h.data);

    h.task = &pc_task_bbh_direct;
    h.env.format = PC_FORMAT_TULU;
    h.flags.fixes = PC_FIX_BBH_STOP;
    harness_open(&h, h.s.dir);
    assert_string_equal(harness_prompt(&h, 1),
        "<|user|>\nDecide.\n\nQ: True and False is\nA: False.\n\nQ: \xc3\x89t\xc3\xa9? \n<|assistant|>\nA:");
    assert_int_equal(h.ask.n_stop_texts, 1);
    assert_string_equal(h.ask.stop_texts[0], "\nQ:");
    assert_true(h.ask.texts_only);
    assert_string_equal(harness_name(&h, 0), "a_task/0");
    assert_string_equal(harness_name(&h, 3), "b_task/1");
    assert_int_equal(json_object_size(h.files), 4);
    harness_close(&h);
}

static void flags_override_the_setting(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_bbh_cot);
    write_data(&h);
    h.env.format = PC_FORMAT_TULU;
    h.flags.no_cot = 1;
    h.flags.use_chat_format = 0;
    h.flags.limit = 1;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 2);
    assert_string_equal(
        harness_prompt(&h, 1), "Decide.\n\nQ: True and False is\nA: False.\n\nQ: not True is\nA:");
    harness_close(&h);
}

/* Line ends of another system are Python's own on reading. */
static void carriage_returns_are_line_ends(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_bbh_direct);
    write_data(&h);
    scratch_text(
        &h.s, "bbh/cot-prompts/a_task.txt", "c\r\n-\r\nHi\r\n\r\nQ: x\ry\r\nA: So the answer is 1.\r\n");
    harness_open(&h, h.s.dir);
    assert_string_equal(harness_prompt(&h, 0), "Hi\n\nQ: x\ny\nA: 1.\n\nQ: not True is\nA:");
    harness_close(&h);
}

static void extractions(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *extraction;
        bool correct;
    } cases[] = {
        {" False", "False", true},
        {" false.", "false.", true},
        {"So the answer is False. So the answer is True.", "False", true},
        {"\n\n  So the answer is  False .", "False", true},              /* the strip comes first */
        {"Well.\n\nSo the answer is False.", "Well.", false},            /* the paragraph ends */
        {"One line\nSo the answer is False.", "False", true},            /* a line does not */
        {"So the answer is\nFalse.", "So the answer is\nFalse.", false}, /* the space is missing */
        {"So the answer is Fal\nse. So the answer is False.", "False",
            true}, /* '.' of the pattern: one line */
        {"So the answer is F", "So the answer is F", false},
        {"So the answer is .", "", false},
        {"So the answer is 1.5.", "1", false},
        {"", "", false},
        {"so the answer is False.", "so the answer is False.", false},
    };
    struct harness h;
    harness_init(&h, &pc_task_bbh_cot);
    write_data(&h);
    scratch_text(&h.s, "bbh/bbh/a_task.json",
        "{\"examples\": [{\"input\": \"i\", \"target\": \"False\"}, {\"input\": \"i\", \"target\": "
        "\"False\"}]}");
    h.flags.limit = 1;
    harness_open(&h, h.s.dir);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_array_clear(h.records);
        const json_t *r = harness_judge(&h, cases[i].answer);
        assert_string_equal(json_string_value(json_object_get(r, "extraction")), cases[i].extraction);
        assert_int_equal(json_is_true(json_object_get(r, "correct")), cases[i].correct);
    }
    harness_close(&h);
}

/* Whether an answer to the next item is right. */
static bool is_right(struct harness *h, const char *answer)
{
    const json_t *correct = json_object_get(harness_judge(h, answer), "correct");
    return json_is_true(correct);
}

/* Of brackets only the number of spaces between them is compared, unless asked otherwise. */
static void brackets_are_punctuation(void **state)
{
    (void)state;
    struct harness h;
    for (int fixed = 0; fixed < 2; fixed++) {
        harness_init(&h, &pc_task_bbh_direct);
        write_data(&h);
        scratch_text(&h.s, "bbh/bbh/a_task.json",
            "{\"examples\": [{\"input\": \"[ [\", \"target\": \"] ]\"}, {\"input\": \"[\", \"target\": "
            "\"]\"}]}");
        h.flags.fixes = fixed ? PC_FIX_BBH_MATCH : 0;
        harness_open(&h, h.s.dir);
        assert_int_equal(is_right(&h, " ) )"), !fixed);
        assert_int_equal(is_right(&h, "."), !fixed);
        assert_int_equal(is_right(&h, "FALSE"), 1);
        assert_int_equal(is_right(&h, "\xc3\xa9"), !fixed);
        harness_close(&h);
    }
}

static void results(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_bbh_direct);
    write_data(&h);
    harness_open(&h, h.s.dir);
    harness_judge(&h, " false");
    harness_judge(&h, " nothing\n\nmore");
    harness_judge(&h, " False.");
    harness_fail_item(&h);
    harness_finish(&h);
    assert_string_equal(harness_file(&h, "predictions/a_task.jsonl"),
        "{\"input\": \"not True is\", \"target\": \"False\", \"raw_output\": \" false\", \"prediction\": "
        "\"false\"}\n{\"input\": \"\\u00c9t\\u00e9? \", \"target\": \"\\u00c9.\", \"raw_output\": \" "
        "nothing\\n\\nmore\", \"prediction\": \"nothing\"}\n");
    assert_string_equal(harness_file(&h, "predictions/b_task.jsonl"),
        "{\"input\": \"not True is\", \"target\": \"False\", \"raw_output\": \" False.\", \"prediction\": "
        "\"False.\"}\n");
    assert_string_equal(harness_metrics(&h),
        "{\n    \"a_task\": 0.5,\n    \"b_task\": 1.0,\n    \"average_exact_match\": 0.75\n}");
    assert_true(h.score == 75);
    assert_true(isnan(h.se)); /* one example says nothing of its error */
    harness_close(&h);
}

static void standard_error_of_a_macro_average(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_bbh_direct);
    write_data(&h);
    harness_open(&h, h.s.dir);
    harness_judge(&h, "False");
    harness_judge(&h, "");
    harness_judge(&h, "");
    harness_judge(&h, "");
    harness_finish(&h);
    assert_true(h.score == 25);
    assert_true(fabs(h.se - 25) < 1e-12); /* 0.5 and 0 of each task's mean: half of 0.5 */
    harness_close(&h);
}

static void nothing_answered_is_no_score(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_bbh_direct);
    write_data(&h);
    harness_open(&h, h.s.dir);
    for (int i = 0; i < 4; i++)
        harness_fail_item(&h);
    harness_finish(&h);
    assert_true(isnan(h.score) && isnan(h.se));
    assert_string_equal(harness_metrics(&h), "{}");
    harness_close(&h);
}

static void a_task_with_few_examples_is_asked_all_and_that_is_said(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_bbh_direct);
    write_data(&h);
    h.flags.max_num_examples_per_task = 0; /* 40 */
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 4);
    assert_int_equal(h.notes.n, 2);
    assert_contains(h.notes.v[0], "a_task has 2 examples where 40 are wanted");
    harness_close(&h);
}

/* random.sample also shuffles when it takes everything. */
static void as_many_as_there_are_are_drawn(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_bbh_direct);
    write_data(&h);
    scratch_text(&h.s, "bbh/bbh/b_task.json",
        "{\"examples\": [{\"input\": \"0\", \"target\": \"0\"}, {\"input\": \"1\", \"target\": \"1\"}]}");
    h.flags.max_num_examples_per_task = 2;
    harness_open(&h, h.s.dir);
    /* random.seed(42); sample(range(2), 2) twice: [0, 1], [0, 1] ... by CPython 3.11 */
    static const char *const names[] = {"a_task/0", "a_task/1", "b_task/1", "b_task/0"};
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(harness_name(&h, i), names[i]);
    harness_close(&h);
}

static void refused(const char *file, const char *text, int code, const char *part, const char *path)
{
    struct harness h;
    harness_init(&h, &pc_task_bbh_direct);
    write_data(&h);
    scratch_text(&h.s, file, text);
    harness_refused(&h, h.s.dir, code, part);
    assert_contains(h.err.path, path);
    harness_close(&h);
}

static void bad_data(void **state)
{
    (void)state;
    refused("bbh/bbh/c_task.json", two_examples, PACO_EMISMATCH, "task 'c_task' has no file of that name in",
        "/bbh/c_task.json");
    refused("bbh/cot-prompts/Z.txt", one_shot, PACO_EMISMATCH, "task 'Z' has no file", "/cot-prompts/Z.txt");
    refused(
        "bbh/cot-prompts/zz.txt", one_shot, PACO_EMISMATCH, "task 'zz' has no file", "/cot-prompts/zz.txt");
    refused("bbh/bbh/a_task.json", "{\"canary\": 1}", PACO_EFORMAT, "has no \"examples\"", "a_task.json");
    refused("bbh/bbh/a_task.json", "{\"examples\": []}", PACO_EFORMAT, "has no \"examples\"", "a_task.json");
    refused("bbh/bbh/a_task.json",
        "{\"examples\": [{\"input\": \"i\", \"target\": \"t\"}, {\"input\": \"i\"}]}", PACO_EFORMAT,
        "example 1 (counted from 0)", "a_task.json");
    refused("bbh/bbh/a_task.json", "{\"examples\": [{\"input\": 3, \"target\": \"t\"}]}", PACO_EFORMAT,
        "example 0", "a_task.json");
    refused("bbh/bbh/a_task.json", "{\"examples\": [3]}", PACO_EFORMAT, "example 0", "a_task.json");
    refused("bbh/cot-prompts/a_task.txt", "canary\n-----\n", PACO_EFORMAT, "has no worked examples",
        "a_task.txt");
    refused("bbh/cot-prompts/a_task.txt", "", PACO_EFORMAT, "has no worked examples", "a_task.txt");
    refused("bbh/cot-prompts/a_task.txt", "c\n-\nHi\n\nQ: x\nA: 1.", PACO_EFORMAT,
        "part 2 begins with \"Q:\", but has no \"So the answer is\"", "a_task.txt");
    refused("bbh/cot-prompts/a_task.txt", "c\n-\nQ: x. So the answer is A: 1.", PACO_EFORMAT,
        "part 1 begins with \"Q:\", but has no line that begins with \"A:\"", "a_task.txt");
    refused("bbh/cot-prompts/a_task.txt", "c\n-\nQ: \xff", PACO_EFORMAT, "is no UTF-8", "a_task.txt");
}

static void truncated_json_is_placed(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_bbh_direct);
    write_data(&h);
    scratch_write(&h.s, "bbh/bbh/b_task.json", two_examples, 60);
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "");
    assert_contains(h.err.path, "b_task.json");
    assert_int_equal(h.err.offset, 60);
    harness_close(&h);
}

static void no_data(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_bbh_direct);
    harness_refused(&h, h.s.dir, PACO_ENOENT, "BIG-Bench Hard");
    scratch_text(&h.s, "bbh/bbh/readme.md", "");
    scratch_text(&h.s, "bbh/cot-prompts/readme.md", "");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "holds no files *.json");
    harness_close(&h);
}

static void without_memory(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_bbh_direct);
    write_data(&h);
    harness_torture(&h, h.s.dir, "So the answer is False.");
    harness_close(&h);
}

/* ---- the benchmark itself ---- */

static void the_sample_of_sorted_names(void **state)
{
    (void)state;
    static const char *const boolean[] = {"163", "28", "6", "189", "70", "62", "57", "35", "188", "26"};
    static const char *const sorting[] = {
        "184", "104", "125", "142", "194", "61", "176", "121", "165", "182"};
    const char *dir = harness_data("bbh");
    struct harness h;
    harness_init(&h, &pc_task_bbh_cot);
    harness_open(&h, dir);
    assert_int_equal(harness_n(&h), 27 * 40);
    long sum = 0;
    for (size_t i = 0; i < 27 * 40; i++)
        sum += atol(strchr(harness_name(&h, i), '/') + 1);
    assert_int_equal(sum, 131126);
    char name[64];
    for (size_t i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "boolean_expressions/%s", boolean[i]);
        assert_string_equal(harness_name(&h, i), name);
        snprintf(name, sizeof name, "word_sorting/%s", sorting[i]);
        assert_string_equal(harness_name(&h, 26 * 40 + i), name);
    }
    assert_int_equal(json_object_size(h.files), 54);
    assert_int_equal(h.notes.n, 0);
    harness_close(&h);
}

static void upstreams_prompts(void **state)
{
    (void)state;
    static const struct {
        bool cot;
        const char *name;
        size_t len;
        const char *digits;
    } prompts[] = {
        {true, "boolean_expressions/0", 1839, "0007c399b1e3582e"},
        {false, "boolean_expressions/0", 248, "dc18f98a659e536e"},
        {true, "snarks/0", 3400, "6be9ad6e991012a7"},
        {false, "snarks/0", 1348, "8a728b3cb9288b86"},
        {true, "geometric_shapes/0", 5182, "752a3920c1274f97"},
        {false, "geometric_shapes/0", 1215, "ad1ca0fb0aaba7cd"},
    };
    const char *dir = harness_data("bbh");
    for (int cot = 0; cot < 2; cot++) {
        struct harness h;
        harness_init(&h, cot ? &pc_task_bbh_cot : &pc_task_bbh_direct);
        h.flags.max_num_examples_per_task = -1;
        h.env.format = PC_FORMAT_TULU;
        harness_open(&h, dir);
        assert_int_equal(harness_n(&h), 6511);
        for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++)
            if (prompts[i].cot == cot)
                assert_prompt(
                    harness_prompt(&h, harness_find(&h, prompts[i].name)), prompts[i].len, prompts[i].digits);
        harness_close(&h);
    }
}

/* The specification's count of what punctuation leaves of the brackets' targets. */
static void dyck_languages_compares_spaces(void **state)
{
    (void)state;
    const char *dir = harness_data("bbh");
    struct harness h;
    size_t n_empty = 0, n_one = 0, n_two = 0, i = 0;
    harness_init(&h, &pc_task_bbh_direct);
    h.flags.max_num_examples_per_task = -1;
    harness_open(&h, dir);
    for (size_t first = harness_find(&h, "dyck_languages/0"); i < first; i++)
        harness_fail_item(&h);
    for (i = 0; i < 250; i++) {
        static const char *const guesses[] = {" ).", "  ) )", ") > ]"};
        for (size_t k = 0; k < 3; k++) {
            bool correct = is_right(&h, guesses[k]);
            *(k == 0 ? &n_empty : k == 1 ? &n_one : &n_two) += correct;
            if (k < 2)
                json_array_remove(h.records, json_array_size(h.records) - 1);
        }
    }
    assert_int_equal(n_empty, 81);
    assert_int_equal(n_one, 97);
    assert_int_equal(n_two, 72);
    harness_close(&h);
}

/* Subsets and all prompts, against CPython's own. */
static void all_prompts(void **state)
{
    (void)state;
    eval_prompts_check_all("bbh", harness_data("bbh"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_of_both_settings),
        cmocka_unit_test(flags_override_the_setting),
        cmocka_unit_test(carriage_returns_are_line_ends),
        cmocka_unit_test(extractions),
        cmocka_unit_test(brackets_are_punctuation),
        cmocka_unit_test(results),
        cmocka_unit_test(standard_error_of_a_macro_average),
        cmocka_unit_test(nothing_answered_is_no_score),
        cmocka_unit_test(a_task_with_few_examples_is_asked_all_and_that_is_said),
        cmocka_unit_test(as_many_as_there_are_are_drawn),
        cmocka_unit_test(bad_data),
        cmocka_unit_test(truncated_json_is_placed),
        cmocka_unit_test(no_data),
        cmocka_unit_test(the_sample_of_sorted_names),
        cmocka_unit_test(upstreams_prompts),
        cmocka_unit_test(dyck_languages_compares_spaces),
        cmocka_unit_test(all_prompts),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
