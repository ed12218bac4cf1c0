// SPDX-License-Identifier: Apache-2.0
#include "eval_prompts.h"

#include "eval/eval_data.h"
#include "eval/number_text.h"

static void write_data(struct harness *h)
{
    scratch_text(&h->s, "gsm/test.jsonl",
        "{\"question\": \" How many? \\n\", \"answer\": \"1+1=<<1+1=2>>2\\n#### 2\"}\n"
        "{\"question\": \"What is owed?\", \"answer\": \"much\\n#### -1,234,567 #### 9\"}\n"
        "{\"question\": \"Half?\", \"answer\": \"#### 0.5\"}\n");
    scratch_text(&h->s, "gsm/exemplars.jsonl",
        "{\"question\": \"One?\", \"cot_answer\": \"So the answer is 1.\", \"short_answer\": \"1\"}\n"
        "{\"question\": \"Two?\", \"cot_answer\": \"So the answer is 2.\", \"short_answer\": \"2\"}\n");
    h->flags.n_shot = 2;
}

static void setup(struct harness *h, const struct pc_task *task)
{
    harness_init(h, task);
    write_data(h);
}

static void prompts(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_gsm_cot);
    h.env.format = PC_FORMAT_TULU;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 3);
    assert_string_equal(harness_name(&h, 2), "gsm/2");
    assert_string_equal(harness_prompt(&h, 0),
        "<|user|>\nAnswer the following questions.\n\nQuestion: One?\nAnswer: So the answer is "
        "1.\n\nQuestion: "
        "Two?\nAnswer: So the answer is 2.\n\nQuestion: How many?\n<|assistant|>\nAnswer:");
    assert_int_equal(h.ask.kind, PC_ASK_TEXT);
    assert_int_equal(h.ask.max_tokens, 512);
    assert_int_equal(h.ask.n_samples, 1);
    assert_true(h.ask.temperature == 0);
    assert_false(h.ask.bos);
    assert_false(h.ask.new_only);
    assert_int_equal(h.ask.n_stop_ids, 0); // no tokenizer
    assert_string_equal(h.ask.stop_texts[0], "\n");
    h.task->close(h.data);

    h.task = &pc_task_gsm_direct;
    h.flags.use_chat_format = 0;
    harness_open(&h, h.s.dir);
    assert_string_equal(harness_prompt(&h, 2), "Answer the following questions.\n\nQuesion: One?\nAnswer: "
                                               "1\n\nQuesion: Two?\nAnswer: 2\n\nQuestion: Half?\nAnswer:");
    h.task->close(h.data);

    h.flags.fixes = PC_FIX_GSM_QUESION;
    harness_open(&h, h.s.dir);
    assert_contains(harness_prompt(&h, 2), "\n\nQuestion: One?\nAnswer: 1\n\n");
    assert_int_equal(json_object_size(h.files), 2);
    harness_close(&h);
}

static void without_examples(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_gsm_cot);
    remove(scratch_path(&h.s, "gsm/exemplars.jsonl"));
    h.flags.n_shot = 0;
    h.flags.limit = 2;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 2);
    assert_string_equal(
        harness_prompt(&h, 0), "Answer the following question.\n\nQuestion: How many?\nAnswer:");
    harness_close(&h);
}

static void fewer_examples_are_drawn_after_the_questions(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_gsm_direct);
    h.flags.n_shot = 1;
    h.flags.max_num_examples = 2; // random.seed(42); sample(range(3), 2), sample(range(2), 1) = [2, 0], [0]
    harness_open(&h, h.s.dir);
    assert_string_equal(harness_name(&h, 0), "gsm/2");
    assert_string_equal(harness_name(&h, 1), "gsm/0");
    assert_contains(harness_prompt(&h, 0), "Quesion: One?\nAnswer: 1\n\nQuestion: Half?");
    harness_close(&h);
}

static void more_examples_than_there_are(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_gsm_cot);
    h.flags.n_shot = 9;
    harness_refused(&h, h.s.dir, PACO_EINVAL, "has 2 examples, but --n_shot asks for 9");
    assert_contains(h.err.path, "exemplars.jsonl");
    harness_close(&h);
}

static void missing_and_bad_data(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_gsm_cot);
    harness_refused(&h, h.s.dir, PACO_ENOENT, "no data of GSM8K");
    write_data(&h);
    remove(scratch_path(&h.s, "gsm/exemplars.jsonl"));
    harness_refused(&h, h.s.dir, PACO_ENOENT, "no data of the worked examples of GSM8K");
    assert_contains(h.err.message, "gsm/exemplars.jsonl (`paco data fetch gsm` gets it)");
    scratch_text(&h.s, "gsm/exemplars.jsonl", "");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "is empty where JSON lines are expected");
    write_data(&h);
    scratch_text(&h.s, "gsm/exemplars.jsonl", "{\"question\": \"a\", \"short_answer\": \"1\"}\n{}\n");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "line 1: \"cot_answer\" is missing");
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"question\": \"a\", \"answer\": \"#### 1\"}\n{\"question\": \"a\"", "line 2: JSON: "},
        {"{\"question\": \"a\", \"answer\": \"#### 1\"}\n\n{\"question\": \"a\", \"answer\": 3}\n",
            "line 3: \"answer\" is an integer where a string is expected"},
        {"{\"answer\": \"#### 1\"}\n", "line 1: \"question\" is missing"},
        {"{\"question\": \"a\", \"answer\": \"12\"}\n", "line 1: \"answer\" has no \"####\""},
        {"{\"question\": \"a\", \"answer\": \"#### twelve\"}\n",
            "line 1: what stands behind \"####\" in \"answer\" is no "
            "number"},
        {"", "is empty where JSON lines are expected"},
    };
    write_data(&h);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scratch_text(&h.s, "gsm/test.jsonl", cases[i].text);
        harness_refused(&h, h.s.dir, PACO_EFORMAT, cases[i].message);
        assert_contains(h.err.path, "gsm/test.jsonl");
    }
    harness_close(&h);
}

#define TEXT(s) ((struct pc_text){(s), sizeof(s) - 1})

static void commas(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } cases[] = {{"1,234,567", "1234567"}, {"1,2,3", "12,3"}, {"12,34,5", "12345"},
        {"a,1, 2,b,3", "a,1, 2,b,3"}, {",1,", ",1,"}, {"\xd9\xa1,\xd9\xa2", "\xd9\xa1\xd9\xa2"},
        {"1,,2", "1,,2"}, {"", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pc_buf b;
        pc_buf_init(&b, 100);
        pc_buf_puts(&b, "");
        pc_drop_commas(&b, (struct pc_text){cases[i].from, strlen(cases[i].from)});
        assert_string_equal(b.data ? b.data : "", cases[i].to);
        pc_buf_release(&b);
    }
}

static void last_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *plain, *with_signs; // what the pattern finds, and what --fix gsm-sign makes of it
    } cases[] = {
        {"It is 18.", "18", "18"},
        {"18 and -5", "5", "-5"},
        {"-5.5", "-5.5", "-5.5"},
        {"3.", "3", "3"},
        {".5", ".5", ".5"},
        {"+.25 x", "+.25", "+.25"},
        {"1.5.2", ".2", ".2"},
        {"v1.2.3", ".3", ".3"},
        {"7 - -3", "3", "-3"},
        {"20-12", "12", "12"},
        {"20-1.5", "-1.5", "-1.5"},
        {"x-4", "4", "4"},
        {"(-4)", "4", "-4"},
        {"\xd9\xa1\xd9\xa8.", "\xd9\xa1\xd9\xa8", "\xd9\xa1\xd9\xa8"},
        {"\xe0\xa7\xa7\xe0\xa7\xa8.\xe0\xa7\xa9", "\xe0\xa7\xa7\xe0\xa7\xa8.\xe0\xa7\xa9",
            "\xe0\xa7\xa7\xe0\xa7\xa8.\xe0\xa7\xa9"},
        {"\xc2\xb2", NULL, NULL}, // a superscript is no decimal digit
        {"none - . +", NULL, NULL},
        {"", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int signs = 0; signs < 2; signs++) {
            const char *want = signs ? cases[i].with_signs : cases[i].plain;
            struct pc_text got =
                pc_last_number((struct pc_text){cases[i].text, strlen(cases[i].text)}, signs);
            if (!want && !got.v)
                continue;
            assert_non_null(got.v);
            assert_non_null(want);
            assert_int_equal(got.len, strlen(want));
            assert_memory_equal(got.v, want, got.len);
        }
}

static void values_of_numbers(void **state)
{
    (void)state;
    double x;
    assert_true(pc_number_value(TEXT(" -10 "), &x) && x == -10);
    assert_true(pc_number_value(TEXT("\xe0\xa7\xa7\xe0\xa7\xa8.\xe0\xa7\xa9"), &x) && x == 12.3);
    assert_true(pc_number_value(TEXT("+.5"), &x) && x == 0.5);
    assert_false(pc_number_value(TEXT(""), &x));
    assert_false(pc_number_value(TEXT("-"), &x));
    assert_false(pc_number_value(TEXT("1e5"), &x));
    assert_false(pc_number_value(TEXT("1 2"), &x));
    assert_false(pc_number_value(TEXT("1.2.3"), &x));
    assert_false(pc_number_value(TEXT("inf"), &x));
}

static void check_verdict(struct harness *h, const char *output, const char *extraction, bool correct)
{
    json_t *r = harness_judge(h, output);
    assert_string_equal(json_string_value(json_object_get(r, "extraction")), extraction);
    if (json_is_true(json_object_get(r, "correct")) != correct)
        fail_msg("'%s' is %s", output, correct ? "right" : "wrong");
}

static void verdicts_in_order(
    struct harness *h, const char *const *outputs, const char *const *extractions, const bool *correct)
{
    json_array_clear(h->records);
    for (size_t i = 0; i < 3; i++)
        check_verdict(h, outputs[i], extractions[i], correct[i]);
}

/* Expected of the three: 2, -1234567 and 0.5. */
static void verdicts(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_gsm_cot);
    harness_open(&h, h.s.dir);
    verdicts_in_order(&h, (const char *[]){" 1 + 1 = 2.", " 1,234,567", " .05"},
        (const char *[]){"2", "1234567", ".05"},
        (const bool[]){true, true, true}); // punctuation does not count
    verdicts_in_order(&h, (const char *[]){" two", " -1,234,567.0", " 0.50"},
        (const char *[]){" two", "-1234567.0", "0.50"},
        (const bool[]){false, false, false}); // without a number, the whole output
    verdicts_in_order(&h, (const char *[]){"", " - 1,234,567", "5"}, (const char *[]){"", "1234567", "5"},
        (const bool[]){false, true, false});
    h.task->close(h.data);

    h.flags.fixes = PC_FIX_GSM_SIGN;
    harness_open(&h, h.s.dir);
    verdicts_in_order(&h, (const char *[]){" 2.00", " -1,234,567", " .05"},
        (const char *[]){"2.00", "-1234567", ".05"}, (const bool[]){true, true, false});
    verdicts_in_order(&h, (const char *[]){" -2", " 1,234,567", " 0.50"},
        (const char *[]){"-2", "1234567", "0.50"}, (const bool[]){false, false, true});
    harness_close(&h);
}

static void results(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_gsm_cot);
    harness_open(&h, h.s.dir);
    harness_judge(&h, " \xc3\xa9 2");
    harness_fail_item(&h);
    harness_judge(&h, " 1,000");
    harness_finish(&h);
    assert_string_equal(harness_file(&h, "predictions.jsonl"),
        "{\"question\": \" How many? \\n\", \"answer\": \"2\", \"model_output\": \" \\u00e9 2\", "
        "\"prediction\": \"2\"}\n"
        "{\"question\": \"Half?\", \"answer\": \"0.5\", \"model_output\": \" 1,000\", \"prediction\": "
        "\"1000\"}\n");
    assert_string_equal(harness_metrics(&h), "{\n    \"exact_match\": 0.5\n}");
    assert_true(h.score == 50);
    assert_true(fabs(h.se - 50) < 1e-12);
    harness_close(&h);
}

static void memory_runs_out(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_gsm_cot);
    harness_torture(&h, h.s.dir, " 1,000 and 2");
    harness_close(&h);
}

static void llama_stops_at_its_newline(void **state)
{
    (void)state;
    struct harness h;
    struct pc_tokenizer *tok;
    char path[1024];
    const char *dir = harness_data("tokenizer/tokenizer.model");
    snprintf(path, sizeof path, "%s/tokenizer/tokenizer.model", dir);
    setup(&h, &pc_task_gsm_cot);
    assert_int_equal(pc_vocabulary_open(path, &tok, &h.err), 0);
    h.env.tok = tok;
    harness_open(&h, h.s.dir);
    harness_prompt(&h, 0);
    assert_int_equal(h.ask.n_stop_ids, 1);
    assert_int_equal(h.ask.stop_ids[0]->n, 1);
    assert_int_equal(h.ask.stop_ids[0]->v[0], 13);
    harness_close(&h);
    pc_tokenizer_free(tok);
}

static void the_specifications_prompts(void **state)
{
    (void)state;
    struct harness h;
    const char *dir = harness_data("gsm/test.jsonl");
    static const char tail[] = "\n<|assistant|>\nAnswer:";
    harness_init(&h, &pc_task_gsm_cot);
    h.env.format = PC_FORMAT_TULU;
    harness_open(&h, dir);
    assert_int_equal(harness_n(&h), 200);
    assert_string_equal(harness_name(&h, 0), "gsm/1309");
    assert_prompt(harness_prompt(&h, 0), 2554, "9bbe852726629222");
    h.prompt.data[sizeof "<|user|>\n" - 1 + 2294] = '\0'; // the prefix alone
    assert_prompt(h.prompt.data + sizeof "<|user|>\n" - 1, 2294, "bc98d2864d2c74ae");
    h.task->close(h.data);
    h.task = &pc_task_gsm_direct;
    harness_open(&h, dir);
    assert_prompt(harness_prompt(&h, 0), 1478, "ce9adb2bebd497ef");
    assert_string_equal(h.prompt.data + h.prompt.len - (sizeof tail - 1), tail);
    h.prompt.data[sizeof "<|user|>\n" - 1 + 1218] = '\0';
    assert_prompt(h.prompt.data + sizeof "<|user|>\n" - 1, 1218, "ccf7378f18f8258b");
    harness_close(&h);
}

static void every_prompt(void **state)
{
    (void)state;
    eval_prompts_check_all("gsm", harness_data("gsm/test.jsonl"));
}

static void every_target(void **state)
{
    (void)state;
    struct harness h;
    const char *dir = harness_data("gsm/test.jsonl");
    json_t *root = eval_prompts_load();
    const json_t *rows = json_object_get(root, "rows"), *row = NULL;
    for (size_t i = 0; i < json_array_size(rows); i++)
        if (json_object_get(json_array_get(rows, i), "targets"))
            row = json_array_get(rows, i);
    assert_non_null(row);
    harness_init(&h, &pc_task_gsm_cot);
    h.flags.max_num_examples = -1;
    harness_open(&h, dir);
    assert_int_equal(harness_n(&h), json_integer_value(json_object_get(row, "n")));
    struct pc_sha256 *hash = eval_prompts_hash();
    for (size_t i = 0; i < harness_n(&h); i++) {
        const char *target = json_string_value(json_object_get(harness_judge(&h, ""), "answer"));
        pc_sha256_update(hash, target, strlen(target) + 1);
    }
    eval_prompts_compare(hash, row);
    harness_close(&h);
    json_decref(root);
}

/* Judge each model's solution as the answer to its question; how often we disagree with what was recorded. */
static size_t count_differences(struct harness *h, const struct pc_jsonl *solutions)
{
    static const char *const models[] = {
        "6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"};
    size_t n = 0;
    json_array_clear(h->records);
    assert_int_equal(harness_n(h), solutions->n);
    for (size_t i = 0; i < solutions->n; i++)
        for (size_t k = 0; k < 4; k++) {
            const json_t *given = json_object_get(solutions->v[i], models[k]);
            const char *text = json_string_value(json_object_get(given, "solution"));
            struct pc_answers answers = {.texts = &text, .lens = (size_t[]){strlen(text)}, .n_texts = 1};
            json_t *record = json_object();
            assert_int_equal(h->task->judge(h->data, i, &answers, record, &h->err), 0);
            assert_string_equal(json_string_value(json_object_get(record, "question")),
                json_string_value(json_object_get(solutions->v[i], "question")));
            n += json_is_true(json_object_get(record, "correct")) !=
                 json_is_true(json_object_get(given, "is_correct"));
            json_decref(record);
        }
    return n;
}

/* The 5276 solutions of four models that OpenAI published with their verdicts. Upstream's metric knows no
 * sign of an integer and no decimal point: seven of them are -10 or the like where 10 is right, and four 1.4
 * where it is 14.
 */
static void recorded_verdicts(void **state)
{
    (void)state;
    struct harness h;
    struct pc_jsonl solutions;
    char path[1024];
    const char *dir = harness_data("gsm/example_model_solutions.jsonl");
    snprintf(path, sizeof path, "%s/gsm/example_model_solutions.jsonl", dir);
    harness_init(&h, &pc_task_gsm_cot);
    h.flags.max_num_examples = -1;
    assert_int_equal(pc_jsonl_read(NULL, path, &solutions, &h.err), 0);
    harness_open(&h, dir);
    assert_int_equal(count_differences(&h, &solutions), 11);
    h.task->close(h.data);
    h.flags.fixes = PC_FIX_GSM_SIGN;
    harness_open(&h, dir);
    assert_int_equal(count_differences(&h, &solutions), 0);
    harness_close(&h);
    pc_jsonl_release(&solutions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts),
        cmocka_unit_test(without_examples),
        cmocka_unit_test(fewer_examples_are_drawn_after_the_questions),
        cmocka_unit_test(more_examples_than_there_are),
        cmocka_unit_test(missing_and_bad_data),
        cmocka_unit_test(commas),
        cmocka_unit_test(last_numbers),
        cmocka_unit_test(values_of_numbers),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(results),
        cmocka_unit_test(llama_stops_at_its_newline),
        cmocka_unit_test(the_specifications_prompts),
        cmocka_unit_test(every_prompt),
        cmocka_unit_test(every_target),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(recorded_verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
