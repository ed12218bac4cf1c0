// SPDX-License-Identifier: Apache-2.0
#include "eval_prompts.h"

#define QA(id, question, answer)                                                                             \
    "{\"id\": \"" id "\", \"question\": \"" question                                                         \
    "\", \"answers\": [{\"answer_start\": 1, \"text\": \"" answer "\"}]}"
#define PARAGRAPH(context, qas) "{\"context\": \"" context "\", \"qas\": [" qas "]}"
#define FILE_OF(paragraphs) "{\"data\": [{\"title\": \"t\", \"paragraphs\": [" paragraphs "]}]}"

static const char english_dev[] =
    FILE_OF(PARAGRAPH("Alpha beta.", QA("english-1", "Who? ", "Ann")) "," PARAGRAPH(
        "Gamma.", QA("english-2", "Where?", "in the Sea") "," QA("english-3", "When?", "1999")));
static const char english_train[] =
    FILE_OF(PARAGRAPH("Demo.", QA("english-9", "What?", "That") "," QA("english-8", "How?", "So")));
static const char korean_dev[] = FILE_OF(PARAGRAPH("\\ud55c.", QA("korean-1", "Q?", "\\ud55c")));

static void write_data(struct harness *h)
{
    scratch_text(&h->s, "tydiqa/english_tydiqa_dev.json", english_dev);
    scratch_text(&h->s, "tydiqa/english_tydiqa_train.json", english_train);
}

static void prompts_of_both_settings(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_tydiqa_goldp);
    write_data(&h);
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 3);
    assert_string_equal(harness_name(&h, 0), "english-1");
    assert_string_equal(harness_prompt(&h, 0),
        "Answer the following question based on the information in the given passage.\n\nPassage: "
        "Demo.\nQuestion: What?\nAnswer: That\n\nPassage: Alpha beta.\nQuestion: Who? \nAnswer:");
    assert_int_equal(h.ask.kind, PC_ASK_TEXT);
    assert_int_equal(h.ask.max_tokens, 50);
    assert_int_equal(h.ask.n_samples, 1);
    assert_false(h.ask.bos || h.ask.until_blank_line || h.ask.new_only);
    assert_int_equal(h.ask.n_stop_ids, 0); /* without a tokenizer */
    assert_int_equal(h.ask.n_stop_texts, 1);
    assert_string_equal(h.ask.stop_texts[0], "\n");
    h.task->close(h.data);

    h.task = &pc_task_tydiqa_no_context;
    h.env.format = PC_FORMAT_TULU;
    harness_open(&h, h.s.dir);
    assert_string_equal(harness_prompt(&h, 0),
        "<|user|>\nAnswer the following question.\n\nQuestion: What?\nAnswer: That\n\nQuestion: "
        "Who?\n<|assistant|>\nAnswer:");
    harness_close(&h);
}

static void flags_override_the_setting(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_tydiqa_goldp);
    write_data(&h);
    h.env.format = PC_FORMAT_TULU;
    h.flags.use_chat_format = 0;
    h.flags.no_context = 1;
    h.flags.n_shot = 0;
    h.flags.limit = 2;
    h.flags.max_num_examples_per_lang = 1;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 1);
    assert_string_equal(harness_name(&h, 0), "english-3"); /* random.sample(range(3), 1) after seed 42: 2 */
    assert_string_equal(harness_prompt(&h, 0), "Answer the following question.\n\nQuestion: When?\nAnswer:");
    h.task->close(h.data);

    h.flags.n_shot = 2;
    h.flags.max_num_examples_per_lang = -1;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 2);
    assert_string_equal(harness_prompt(&h, 1),
        "Answer the following question.\n\nQuestion: What?\nAnswer: That\n\nQuestion: How?\nAnswer: "
        "So\n\nQuestion: Where?\nAnswer:");
    harness_close(&h);
}

/* All languages in one file, mixed. */
static void upstreams_layout(void **state)
{
    (void)state;
    static const char dev[] = FILE_OF(PARAGRAPH("k",
        QA("korean-1", "q", "a") "," QA("english-1", "q", "a")) "," PARAGRAPH("k", QA("korean-2", "q", "a")));
    static const char train[] =
        FILE_OF(PARAGRAPH("d", QA("korean-3", "q", "a") "," QA("english-4", "q", "a")));
    struct harness h;
    harness_init(&h, &pc_task_tydiqa_goldp);
    write_data(&h); /* upstream's file comes first */
    scratch_text(&h.s, "tydiqa/tydiqa-goldp-v1.1-dev.json", dev);
    scratch_text(&h.s, "tydiqa/tydiqa-goldp-v1.1-train.json", train);
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 3);
    assert_string_equal(harness_name(&h, 0), "english-1"); /* languages sorted */
    assert_string_equal(harness_name(&h, 1), "korean-1");
    assert_string_equal(harness_name(&h, 2), "korean-2");
    assert_int_equal(json_object_size(h.files), 2);
    h.task->close(h.data);

    h.flags.max_num_examples_per_lang = -1; /* nothing is drawn: the file's order */
    harness_open(&h, h.s.dir);
    assert_string_equal(harness_name(&h, 0), "korean-1");
    assert_string_equal(harness_name(&h, 1), "english-1");
    h.task->close(h.data);

    h.flags.limit = 1;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 2);
    harness_close(&h);
}

/* Whether a note has part. */
static bool noted(const struct harness *h, const char *part)
{
    for (size_t i = 0; i < h->notes.n; i++)
        if (strstr(h->notes.v[i], part))
            return true;
    return false;
}

static void languages_without_demonstrations_are_left_out(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_tydiqa_goldp);
    write_data(&h);
    scratch_text(&h.s, "tydiqa/korean_tydiqa_dev.json", korean_dev);
    h.flags.n_shot = 2;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 3);
    assert_true(
        noted(&h, "the training data have not the 2 demonstrations that are wanted of: korean (left out)"));
    assert_true(
        noted(&h, "there are no questions in 7 of 9 languages, which have no part in the average: arabic, "
                  "bengali, finnish, indonesian, russian, swahili, telugu"));
    assert_int_equal(h.notes.n, 3);
    assert_true(noted(&h, "contexts are not cut to 512 tokens"));
    h.task->close(h.data);

    h.flags.n_shot = 0;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 4);
    assert_string_equal(harness_prompt(&h, 3),
        "\xec\xa3\xbc\xec\x96\xb4\xec\xa7\x84 \xeb\xac\xb8\xeb\x8b\xa8\xec\x9d\x98 "
        "\xec\xa0\x95\xeb\xb3\xb4\xec\x97\x90 \xea\xb8\xb0\xeb\xb0\x98\xed\x95\x98\xec\x97\xac "
        "\xeb\x8b\xa4\xec\x9d\x8c \xec\xa7\x88\xeb\xac\xb8\xec\x97\x90 "
        "\xeb\x8b\xb5\xed\x95\x98\xec\x8b\xad\xec\x8b\x9c\xec\x98\xa4.\n\n\xeb\xac\xb8\xeb\x8b\xa8: "
        "\xed\x95\x9c.\n\xec\xa7\x88\xeb\xac\xb8: Q?\n\xeb\x8b\xb5\xeb\xb3\x80:");
    h.task->close(h.data);

    h.flags.n_shot = 3;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 0);
    harness_close(&h);
}

static void unknown_languages_are_left_out(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_tydiqa_goldp);
    write_data(&h);
    scratch_text(&h.s, "tydiqa/english_tydiqa_dev.json",
        FILE_OF(
            PARAGRAPH("c", QA("thai-1", "q", "a") "," QA("english-1", "q", "a") "," QA("thai-2", "q", "a"))));
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 1);
    assert_true(noted(&h, "2 questions in languages there is no prompt for ('thai') are left out"));
    harness_close(&h);
}

static void long_contexts_are_cut_by_tokens(void **state)
{
    (void)state;
    struct harness h;
    struct pc_tokenizer *tok = NULL;
    char *model = pc_path_join("tests/fixtures/tokenizer", "bpe_plain.model");
    harness_init(&h, &pc_task_tydiqa_goldp);
    if (pc_vocabulary_open(model, &tok, &h.err) < 0)
        fail_msg("%s: %s", model, h.err.message);
    pc_free(model);
    scratch_text(&h.s, "tydiqa/english_tydiqa_dev.json",
        FILE_OF(PARAGRAPH("alpha beta delta alpha", QA("english-1", "q", "a"))));
    scratch_text(&h.s, "tydiqa/english_tydiqa_train.json",
        FILE_OF(PARAGRAPH("alpha beta delta alpha", QA("english-1", "q", "a"))));
    h.env.tok = tok;
    struct pc_ids ids = {0};
    static const char context[] = "alpha beta delta alpha";
    assert_int_equal(
        pc_tokenizer_encode(tok, context, strlen(context), PC_ENCODE_SPECIAL | PC_ENCODE_PARSE, &ids, NULL),
        0);
    assert_int_equal(ids.v[0], pc_tokenizer_bos(tok));
    h.flags.max_context_length = (int64_t)ids.n;
    harness_open(&h, h.s.dir);
    assert_contains(harness_prompt(&h, 0), "\nPassage: alpha beta delta alpha\n");
    assert_int_equal(h.ask.n_stop_ids, 0); /* this vocabulary has no newline */
    assert_true(h.ask.texts_only);
    h.task->close(h.data);

    h.flags.max_context_length--;
    harness_open(&h, h.s.dir);
    harness_prompt(&h, 0);
    assert_contains(h.prompt.data, "Passage: <s> alpha beta delta alph\nQuestion: q\nAnswer: a\n\n"
                                   "Passage: <s> alpha beta delta alph\nQuestion: q\n");
    h.task->close(h.data);

    h.flags.fixes = PC_FIX_TYDIQA_BOS;
    harness_open(&h, h.s.dir);
    harness_prompt(&h, 0);
    assert_contains(h.prompt.data, "Passage: alpha beta delta alph\nQuestion: q\nAnswer: a\n\n"
                                   "Passage: alpha beta delta alph\nQuestion: q\n");
    h.task->close(h.data);

    h.flags.max_context_length = -1;
    harness_open(&h, h.s.dir);
    assert_contains(harness_prompt(&h, 0), "\nPassage: alpha beta delta alpha\n");
    pc_ids_release(&ids);
    harness_close(&h);
    pc_tokenizer_free(tok);
}

static void results(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_tydiqa_goldp);
    write_data(&h);
    scratch_text(&h.s, "tydiqa/korean_tydiqa_dev.json", korean_dev);
    h.flags.n_shot = 0;
    harness_open(&h, h.s.dir);
    const json_t *r = harness_judge(&h, " the ANN!\n");
    assert_string_equal(json_string_value(json_object_get(r, "extraction")), "the ANN!");
    const json_t *exact = json_object_get(r, "exact_match");
    assert_true(json_is_true(exact));
    r = harness_judge(&h, " sea ");
    assert_true(fabs(json_real_value(json_object_get(r, "score")) - 2.0 / 3) < 1e-15);
    harness_fail_item(&h);
    harness_judge(&h, " nothing");
    harness_finish(&h);
    assert_string_equal(harness_file(&h, "tydiaqa_predictions.jsonl"),
        "{\"id\": \"english-1\", \"lang\": \"english\", \"context\": \"Alpha beta.\", \"question\": \"Who? "
        "\", "
        "\"answers\": [{\"answer_start\": 1, \"text\": \"Ann\"}], \"prediction_text\": \"the ANN!\"}\n"
        "{\"id\": \"english-2\", \"lang\": \"english\", \"context\": \"Gamma.\", \"question\": \"Where?\", "
        "\"answers\": [{\"answer_start\": 1, \"text\": \"in the Sea\"}], \"prediction_text\": \"sea\"}\n"
        "{\"id\": \"korean-1\", \"lang\": \"korean\", \"context\": \"\\ud55c.\", \"question\": \"Q?\", "
        "\"answers\": [{\"answer_start\": 1, \"text\": \"\\ud55c\"}], \"prediction_text\": \"nothing\"}\n");
    assert_string_equal(harness_metrics(&h),
        "{\n    \"english\": {\n        \"exact_match\": 50.0,\n        \"f1\": 83.33333333333333\n    },\n  "
        "  "
        "\"korean\": {\n        \"exact_match\": 0.0,\n        \"f1\": 0.0\n    },\n    \"average\": {\n     "
        "   "
        "\"f1\": 41.666666666666664,\n        \"exact_match\": 25.0\n    }\n}");
    assert_true(h.score == 41.666666666666664);
    harness_close(&h);
}

static void refused(const char *text, const char *part)
{
    struct harness h;
    harness_init(&h, &pc_task_tydiqa_goldp);
    write_data(&h);
    scratch_text(&h.s, "tydiqa/english_tydiqa_dev.json", text);
    harness_refused(&h, h.s.dir, PACO_EFORMAT, part);
    assert_contains(h.err.path, "english_tydiqa_dev.json");
    harness_close(&h);
}

static void bad_data(void **state)
{
    (void)state;
    refused("{}", "has no list \"data\"");
    refused("[]", "has no list \"data\"");
    refused("{\"data\": [{}]}", "data[0]: has no list \"paragraphs\"");
    refused(
        "{\"data\": [{\"paragraphs\": []}, {\"paragraphs\": [{\"qas\": []}]}]}", "data[1]: paragraphs[0]: ");
    refused("{\"data\": [{\"paragraphs\": [{\"context\": \"c\"}]}]}", "paragraphs[0]: has no list \"qas\"");
    refused(FILE_OF(PARAGRAPH("c", "{\"question\": \"q\"}")), "data[0]: paragraphs[0]: qas[0]: ");
    refused(FILE_OF(PARAGRAPH("c", "{\"id\": \"english-1\", \"question\": \"q\"}")),
        "qas[0]: has no \"answers\", a list of objects");
    refused(FILE_OF(PARAGRAPH("c", "{\"id\": \"english-1\", \"question\": \"q\", \"answers\": []}")),
        "qas[0]: has no \"answers\", a list of objects");
    refused(
        FILE_OF(PARAGRAPH("c", "{\"id\": \"english-1\", \"question\": \"q\", \"answers\": [{}]}")), "text");
}

static void truncated_json_is_placed(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_tydiqa_goldp);
    write_data(&h);
    scratch_write(&h.s, "tydiqa/english_tydiqa_train.json", english_train, 100);
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "");
    assert_contains(h.err.path, "english_tydiqa_train.json");
    assert_int_equal(h.err.offset, 100);
    harness_close(&h);
}

static void no_data(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_tydiqa_goldp);
    harness_refused(&h, h.s.dir, PACO_ENOENT, "TyDi QA");
    scratch_text(&h.s, "tydiqa/english_tydiqa_dev.json", english_dev);
    harness_refused(&h, h.s.dir, PACO_ENOENT, "tydiqa-goldp-v1.1-train.json");
    harness_close(&h);
}

static void without_memory(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_tydiqa_goldp);
    write_data(&h);
    harness_torture(&h, h.s.dir, " the ANN");
    harness_close(&h);
}

/* ---- the benchmark itself ---- */

/* The folder; skips the test when it has more languages than these numbers are for. */
static const char *data_of_three_languages(void)
{
    const char *dir = harness_data("tydiqa");
    if (access(dir, F_OK) == 0) {
        char *other = pc_path_join(dir, "tydiqa/telugu_tydiqa_train.json");
        char *whole = pc_path_join(dir, "tydiqa/tydiqa-goldp-v1.1-train.json");
        bool more = pc_path_exists(other) || pc_path_exists(whole);
        pc_free(other);
        pc_free(whole);
        if (more)
            skip_because(
                "the test data hold demonstrations in more languages than English, Korean and Swahili");
    }
    return dir;
}

static void upstreams_prompts(void **state)
{
    (void)state;
    const char *dir = data_of_three_languages();
    struct harness h;
    harness_init(&h, &pc_task_tydiqa_goldp);
    h.env.format = PC_FORMAT_TULU;
    harness_open(&h, dir);
    assert_string_equal(harness_name(&h, 0), "english-629267894428958949-88");
    assert_prompt(harness_prompt(&h, 0), 1433, "fb6db16218cadfd5");
    assert_string_equal(harness_name(&h, 100), "korean-8384343899893667022-0");
    assert_prompt(harness_prompt(&h, 100), 1424, "966a7b643f9e8cdb");
    assert_string_equal(harness_name(&h, 299), "swahili--3197280451214039865-0");
    assert_prompt(harness_prompt(&h, 299), 768, "26652b042078347b");
    harness_close(&h);
}

static void the_id_an_answer_ends_at(void **state)
{
    (void)state;
    const char *dir = data_of_three_languages();
    harness_data("tokenizer/tokenizer.model");
    char *model = pc_path_join(dir, "tokenizer/tokenizer.model");
    struct pc_tokenizer *tok = NULL;
    struct paco_error err = {0};
    if (pc_vocabulary_open(model, &tok, &err) < 0)
        fail_msg("%s: %s", model, err.message);
    pc_free(model);
    struct harness h;
    harness_init(&h, &pc_task_tydiqa_goldp);
    h.env.tok = tok;
    harness_open(&h, dir);
    harness_prompt(&h, 0);
    assert_int_equal(h.ask.n_stop_ids, 1);
    assert_int_equal(h.ask.stop_ids[0]->n, 1);
    assert_int_equal(h.ask.stop_ids[0]->v[0], 13);
    assert_false(h.ask.texts_only);
    harness_close(&h);
    pc_tokenizer_free(tok);
}

/* Subsets, cut contexts and all prompts, against CPython's and SentencePiece's. */
static void all_prompts(void **state)
{
    (void)state;
    const char *dir = data_of_three_languages();
    harness_data("tokenizer/tokenizer.model");
    eval_prompts_check_all("tydiqa", dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_of_both_settings),
        cmocka_unit_test(flags_override_the_setting),
        cmocka_unit_test(upstreams_layout),
        cmocka_unit_test(languages_without_demonstrations_are_left_out),
        cmocka_unit_test(unknown_languages_are_left_out),
        cmocka_unit_test(long_contexts_are_cut_by_tokens),
        cmocka_unit_test(results),
        cmocka_unit_test(bad_data),
        cmocka_unit_test(truncated_json_is_placed),
        cmocka_unit_test(no_data),
        cmocka_unit_test(upstreams_prompts),
        cmocka_unit_test(the_id_an_answer_ends_at),
        cmocka_unit_test(all_prompts),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
