// SPDX-License-Identifier: Apache-2.0
#include "eval_prompts.h"

#include "eval/mmlu_categories.h"

/* Two subjects, one of them with what pandas reads in its own way. */
static void write_data(struct harness *h)
{
    scratch_text(&h->s, "mmlu/test/virology_test.csv",
        "What is it?,a,b,c,d,B\r\n\"Two\r\nlines, \"\"quoted\"\"\",None,2,3,4,D\r\n");
    scratch_text(&h->s, "mmlu/dev/virology_dev.csv", "First?,w,x,y,z,A\nSecond?,1,2,3,4,C\n");
    scratch_text(
        &h->s, "mmlu/test/abstract_algebra_test.csv", "  One,1,2,3,4,A\nTwo,1,2,3,4,B\nThree,1,2,3,4,C\n");
    scratch_text(&h->s, "mmlu/dev/abstract_algebra_dev.csv", "Zero,0.10,2,3,4,D\n");
    scratch_text(&h->s, "mmlu/test/._virology_test.csv", "not one");
}

static void setup(struct harness *h, const struct pc_task *task)
{
    harness_init(h, task);
    write_data(h);
}

static const char *note(const struct harness *h, const char *part)
{
    for (size_t i = 0; i < h->notes.n; i++)
        if (strstr(h->notes.v[i], part))
            return h->notes.v[i];
    fail_msg("no note says '%s'", part);
    return NULL;
}

/* Judge the next item by probabilities; its record, which h owns. */
static json_t *judge(struct harness *h, double a, double b, double c, double d)
{
    const double probs[] = {a, b, c, d};
    struct pc_answers answers = {.probs = probs, .n_probs = 4};
    json_t *record = json_pack("{s:[f,f,f,f]}", "probs", a, b, c, d);
    if (h->task->judge(h->data, json_array_size(h->records), &answers, record, &h->err) < 0)
        fail_msg("%s", h->err.message);
    json_array_append_new(h->records, record);
    return record;
}

static void prompts(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_mmlu_0shot);
    h.env.format = PC_FORMAT_TULU;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 5);
    assert_string_equal(harness_name(&h, 0), "abstract_algebra/0");
    assert_string_equal(harness_name(&h, 4), "virology/1");
    assert_string_equal(harness_prompt(&h, 0), "<|user|>\nThe following are multiple choice questions (with "
                                               "answers) about  abstract algebra.\n\n  One\nA. 1\nB. "
                                               "2\nC. 3\nD. 4\nAnswer:\n<|assistant|>\nThe answer is:");
    assert_int_equal(h.ask.kind, PC_ASK_CHOICE);
    assert_int_equal(h.ask.n_choices, 4);
    assert_string_equal(h.ask.choices[3], "D");
    assert_false(h.ask.bos);
    assert_int_equal(json_object_size(h.files), 2); // without shots, the examples are not even read
    h.task->close(h.data);

    h.task = &pc_task_mmlu_5shot;
    h.flags.ntrain = 1;
    h.flags.use_chat_format = 0;
    harness_open(&h, h.s.dir);
    assert_string_equal(harness_prompt(&h, 0), "The following are multiple choice questions (with answers) "
                                               "about  abstract algebra.\n\nZero\nA. 0.1\nB. 2\nC. 3\nD. "
                                               "4\nAnswer: D\n\n  One\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:");
    assert_string_equal(harness_prompt(&h, 4),
        "The following are multiple choice questions (with answers) about  virology.\n\nFirst?\nA. w\nB. "
        "x\nC. y\nD. "
        "z\nAnswer: A\n\nTwo\r\nlines, \"quoted\"\nA. nan\nB. 2\nC. 3\nD. 4\nAnswer:");
    assert_non_null(json_object_get(h.files, "mmlu/dev/virology_dev.csv"));
    harness_close(&h);
}

static void none_stays_none_when_fixed(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_mmlu_0shot);
    h.flags.fixes = PC_FIX_MMLU_NONE;
    harness_open(&h, h.s.dir);
    assert_contains(harness_prompt(&h, 4), "\nA. None\nB. 2");
    harness_close(&h);
}

static void subjects_instances_and_limits(void **state)
{
    (void)state;
    struct harness h;
    const char *subjects[] = {"virology", "abstract_algebra", "virology"};
    setup(&h, &pc_task_mmlu_0shot);
    h.flags.subjects = (struct pc_strings){subjects, 3};
    h.flags.limit = 1;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 2);
    assert_string_equal(harness_name(&h, 0), "virology/0");
    assert_string_equal(harness_name(&h, 1), "abstract_algebra/0");
    h.task->close(h.data);

    h.flags.limit = 0;
    h.flags.n_instances = 2; // RandomState(42).permutation(3) is 0 1 2, that of 2 is not drawn at all
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 4);
    assert_string_equal(harness_name(&h, 1), "virology/1");
    assert_string_equal(harness_name(&h, 2), "abstract_algebra/0");
    assert_string_equal(harness_name(&h, 3), "abstract_algebra/1");
    assert_contains(note(&h, "subcategories"), "physics, business");
    h.task->close(h.data);

    subjects[1] = "abstract_algebar";
    harness_refused(&h, h.s.dir, PACO_EINVAL,
        "--subjects: there is no 'abstract_algebar' among the 2 subjects (did you mean abstract_algebra?)");
    harness_close(&h);
}

static void bad_data_names_file_and_line(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_mmlu_5shot);
    harness_refused(&h, h.s.dir, PACO_EINVAL, "has 1 rows, but --ntrain asks for 5 shots");
    assert_contains(h.err.path, "abstract_algebra_dev.csv");
    h.flags.ntrain = 0;
    scratch_text(&h.s, "mmlu/test/virology_test.csv", "Q,a,b,c,d,B\nQ,\"a\nb\",b,c,d,E\n");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "line 2: the answer is 'E' where A, B, C or D is expected");
    assert_contains(h.err.path, "virology_test.csv");
    scratch_text(&h.s, "mmlu/test/virology_test.csv", "Q,a,b,c,d,B\nQ,a,b,c\n");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "line 2: 4 columns where 6 are expected");
    assert_int_equal(h.err.offset, 12);
    scratch_text(&h.s, "mmlu/test/virology_test.csv", "Q,a,b,c,d,B\nQ,a,b,c,d,\"B");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "line 2: the file ends inside a quoted cell (truncated?)");
    scratch_text(&h.s, "mmlu/test/virology_test.csv", "");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "is empty where a table is expected");
    h.flags.ntrain = 1;
    remove(scratch_path(&h.s, "mmlu/dev/abstract_algebra_dev.csv"));
    harness_refused(&h, h.s.dir, PACO_ENOENT, "");
    harness_close(&h);
}

static void no_data_at_all(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_mmlu_5shot);
    harness_refused(&h, h.s.dir, PACO_ENOENT, "no data of MMLU");
    assert_contains(h.err.message, "mmlu/test");
    scratch_text(&h.s, "mmlu/test/readme.txt", "");
    harness_refused(&h, h.s.dir, PACO_ENOENT, "no data of MMLU: "); // the examples' folder
    scratch_text(&h.s, "mmlu/dev/readme.txt", "");
    harness_refused(&h, h.s.dir, PACO_ENOENT, "holds no *_test.csv");
    harness_close(&h);
}

static void verdicts(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_mmlu_0shot);
    harness_open(&h, h.s.dir);
    const json_t *r = judge(&h, 0.4, 0.3, 0.2, 0.1);
    assert_string_equal(json_string_value(json_object_get(r, "extraction")), "A");
    assert_true(json_is_true(json_object_get(r, "correct")));
    assert_string_equal(json_string_value(json_object_get(r, "question")), "  One");
    assert_string_equal(json_string_value(json_array_get(json_object_get(r, "choices"), 3)), "4");
    r = judge(&h, 0.25, 0.25, 0.25, 0.25); // of equal ones the first
    assert_string_equal(json_string_value(json_object_get(r, "extraction")), "A");
    assert_true(json_is_false(json_object_get(r, "correct")));
    r = judge(&h, 0.3, 0.3 + 1e-12, 0.2, 0.2); // equal as float32
    assert_string_equal(json_string_value(json_object_get(r, "extraction")), "A");
    const double three[] = {0.5, 0.25, 0.25};
    struct pc_answers few = {.probs = three, .n_probs = 3};
    json_t *unused = json_object();
    assert_int_equal(h.task->judge(h.data, 3, &few, unused, &h.err), PACO_EFORMAT);
    assert_string_equal(h.err.message, "3 probabilities where 4 are expected");
    json_decref(unused);
    harness_close(&h);
}

static void results(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_mmlu_0shot);
    harness_open(&h, h.s.dir);
    judge(&h, 0.7, 0.1, 0.1, 0.1);      // right
    judge(&h, 0.7, 0.1, 0.1, 0.1);      // wrong
    judge(&h, 0.125, 0.25, 0.5, 0.125); // right
    harness_fail_item(&h);
    judge(&h, 0.7, 0.1, 0.1, 0.1); // wrong
    harness_finish(&h);
    assert_string_equal(harness_metrics(&h),
        "{\"average_acc\": 0.5, \"subcat_acc\": {\"math\": 0.6666666666666666, \"health\": 0.0}, "
        "\"cat_acc\": {\"STEM\": "
        "0.6666666666666666, \"other (business, health, misc.)\": 0.0}}");
    assert_true(h.score == 50);
    assert_true(fabs(h.se - 100 * sqrt(0.25 / 3)) < 1e-12);
    assert_string_equal(harness_file(&h, "abstract_algebra.csv"),
        "0,1,2,3,4,5,correct,choiceA_probs,choiceB_probs,choiceC_probs,choiceD_probs\n"
        "  One,1,2,3,4,A,True,0.699999988079071,0.10000000149011612,0.10000000149011612,0.10000000149011612\n"
        "Two,1,2,3,4,B,False,0.699999988079071,0.10000000149011612,0.10000000149011612,0.10000000149011612\n"
        "Three,1,2,3,4,C,True,0.125,0.25,0.5,0.125\n");
    assert_string_equal(harness_file(&h, "virology.csv"),
        "0,1,2,3,4,5,correct,choiceA_probs,choiceB_probs,choiceC_probs,choiceD_probs\n"
        "What is it?,a,b,c,d,B,,,,,\n"
        "\"Two\r\nlines, "
        "\"\"quoted\"\"\",,2,3,4,D,False,0.699999988079071,0.10000000149011612,0.10000000149011612,"
        "0.10000000149011612\n");
    harness_close(&h);
}

static void nothing_but_failures_has_no_score(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_mmlu_0shot);
    h.flags.limit = 1;
    harness_open(&h, h.s.dir);
    harness_fail_item(&h);
    harness_fail_item(&h);
    harness_finish(&h);
    assert_true(isnan(h.score) && isnan(h.se));
    assert_string_equal(harness_metrics(&h), "{\"average_acc\": null, \"subcat_acc\": {}, \"cat_acc\": {}}");
    harness_close(&h);
}

static void every_subject_has_its_category(void **state)
{
    (void)state;
    assert_string_equal(pc_mmlu_subcategories[pc_mmlu_subcategory("moral_scenarios")], "philosophy");
    assert_string_equal(pc_mmlu_subcategories[pc_mmlu_subcategory("prehistory")], "history");
    assert_string_equal(
        pc_mmlu_categories[pc_mmlu_category(pc_mmlu_subcategory("econometrics"))], "social sciences");
    assert_int_equal(pc_mmlu_subcategory("alchemy"), -1);
}

static void a_subject_of_ones_own_counts_for_the_average(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_mmlu_0shot);
    scratch_text(&h.s, "mmlu/test/alchemy_test.csv", "Q,a,b,c,d,B\n");
    harness_open(&h, h.s.dir);
    note(&h, "MMLU has no subject 'alchemy'");
    judge(&h, 0.1, 0.7, 0.1, 0.1);
    harness_finish(&h);
    assert_string_equal(harness_metrics(&h), "{\"average_acc\": 1.0, \"subcat_acc\": {}, \"cat_acc\": {}}");
    harness_close(&h);
}

/* A subject whose only question has n words. */
static void write_long(struct harness *h, size_t n)
{
    struct pc_buf b;
    pc_buf_init(&b, 1 << 20);
    pc_buf_puts(&b, "Long");
    for (size_t i = 0; i < n; i++)
        pc_buf_puts(&b, " 1");
    pc_buf_puts(&b, "?,a,b,c,d,A\n");
    scratch_text(&h->s, "mmlu/test/virology_test.csv", b.data);
    pc_buf_release(&b);
}

/* The prompt with n_shots examples, cut to what tok counts as 2048 tokens (NULL: not cut), in h->prompt; its
 * tokens by counter. */
static size_t long_prompt(
    struct harness *h, int64_t n_shots, const struct pc_tokenizer *tok, const struct pc_tokenizer *counter)
{
    struct pc_ids ids = {0};
    h->flags.ntrain = n_shots;
    h->env.tok = tok;
    harness_open(h, h->s.dir);
    harness_prompt(h, 0);
    h->task->close(h->data);
    h->data = NULL;
    assert_int_equal(
        pc_tokenizer_encode(counter, h->prompt.data, h->prompt.len, PC_ENCODE_PARSE, &ids, NULL), 0);
    size_t n = ids.n;
    pc_ids_release(&ids);
    return n;
}

static void long_prompts_lose_examples(void **state)
{
    (void)state;
    struct harness h;
    struct pc_tokenizer *tok;
    harness_init(&h, &pc_task_mmlu_5shot);
    assert_int_equal(pc_vocabulary_open("tests/fixtures/tokenizer/bpe_plain.model", &tok, &h.err), 0);
    scratch_text(&h.s, "mmlu/dev/virology_dev.csv", "First?,w,x,y,z,A\nSecond?,1,2,3,4,C\n");
    size_t n = 3000, with_two;
    do // a word is a token or more: come down to the first length that is not too long
        write_long(&h, --n);
    while ((with_two = long_prompt(&h, 2, NULL, tok)) > 2048);
    size_t kept = long_prompt(&h, 2, tok, tok);
    assert_int_equal(kept, with_two);
    assert_non_null(strstr(h.prompt.data, "Second?"));
    write_long(&h, n + 1);
    assert_true(long_prompt(&h, 2, tok, tok) < 2048);
    assert_null(strstr(h.prompt.data, "Second?"));
    assert_non_null(strstr(h.prompt.data, "First?"));
    write_long(&h, 3000); // more than can be helped
    assert_true(long_prompt(&h, 2, tok, tok) > 2048);
    assert_null(strstr(h.prompt.data, "First?"));
    harness_close(&h);
    pc_tokenizer_free(tok);
}

static void memory_runs_out(void **state)
{
    (void)state;
    struct harness h;
    setup(&h, &pc_task_mmlu_5shot);
    h.flags.ntrain = 1;
    harness_torture(&h, h.s.dir, "");
    harness_close(&h);
}

static void the_specifications_prompts(void **state)
{
    (void)state;
    struct harness h;
    const char *dir = harness_data("mmlu/test");
    harness_init(&h, &pc_task_mmlu_0shot);
    h.env.format = PC_FORMAT_TULU;
    harness_open(&h, dir);
    assert_prompt(harness_prompt(&h, 0), 234, "b7529cd49eedf037");
    h.task->close(h.data);
    h.task = &pc_task_mmlu_5shot;
    harness_open(&h, dir);
    assert_int_equal(harness_n(&h), 14042);
    assert_prompt(harness_prompt(&h, 0), 1032, "e612f33ccd8f6985");
    harness_close(&h);
}

static void every_prompt(void **state)
{
    (void)state;
    harness_data("tokenizer/tokenizer.model");
    eval_prompts_check_all("mmlu", harness_data("mmlu/test"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts),
        cmocka_unit_test(none_stays_none_when_fixed),
        cmocka_unit_test(subjects_instances_and_limits),
        cmocka_unit_test(bad_data_names_file_and_line),
        cmocka_unit_test(no_data_at_all),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(results),
        cmocka_unit_test(nothing_but_failures_has_no_score),
        cmocka_unit_test(every_subject_has_its_category),
        cmocka_unit_test(a_subject_of_ones_own_counts_for_the_average),
        cmocka_unit_test(long_prompts_lose_examples),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(the_specifications_prompts),
        cmocka_unit_test(every_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
