// SPDX-License-Identifier: Apache-2.0
#include "task_harness.h"

static void write_data(struct harness *h)
{
    scratch_text(&h->s, "creative_tasks/koala_test.jsonl", "{\"id\": \"koala_0\", \"prompt\": \" Why? \"}\n");
    scratch_text(&h->s, "creative_tasks/self_instruct_test.jsonl",
        "{\"id\": \"u_0\", \"instruction\": \"Rewrite. \", \"instances\": [{\"input\": \" It is.\\n\", "
        "\"output\": \"x\"}]}\n{\"id\": \"u_1\", \"instruction\": \"Sing.\", \"instances\": [{\"input\": "
        "\"\"}]}\n");
    scratch_text(&h->s, "creative_tasks/vicuna_test.jsonl",
        "{\"question_id\": 1, \"text\": \"How?\", \"category\": \"generic\"}\n{\"question_id\": 2, \"text\": "
        "\"When?\"}\n");
}

static void prompts_of_the_three_sets(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_self_instruct);
    write_data(&h);
    h.env.format = PC_FORMAT_TULU;
    h.env.format = PC_FORMAT_TULU;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 2);
    assert_string_equal(harness_name(&h, 1), "u_1");
    assert_string_equal(harness_prompt(&h, 0), "<|user|>\nRewrite.\n\nIt is.\n<|assistant|>\n");
    assert_string_equal(harness_prompt(&h, 1), "<|user|>\nSing.\n<|assistant|>\n");
    assert_int_equal(h.ask.kind, PC_ASK_TEXT);
    assert_int_equal(h.ask.max_tokens, 2048);
    assert_int_equal(h.ask.n_samples, 1);
    assert_true(h.ask.bos && h.ask.new_only);
    assert_true(h.ask.temperature == 0);
    assert_int_equal(h.ask.n_stop_texts, 0);
    h.task->close(h.data);

    h.task = &pc_task_koala;
    h.flags.use_chat_format = 0;
    harness_open(&h, h.s.dir);
    assert_string_equal(harness_prompt(&h, 0), " Why? ");
    h.task->close(h.data);

    h.task = &pc_task_vicuna;
    h.flags.use_chat_format = -1;
    h.env.format = PC_FORMAT_AUTO;
    h.env.format = PC_FORMAT_CHATML_PLAIN;
    h.flags.limit = 1;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 1);
    assert_string_equal(harness_name(&h, 0), "vicuna_1");
    assert_string_equal(harness_prompt(&h, 0), "<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n");
    assert_true(h.ask.texts_only);
    assert_contains(h.ask.stop_texts[0], "<|im_end|>");
    h.task->close(h.data);

    h.flags.use_chat_format = 1;
    harness_open(&h, h.s.dir);
    assert_string_equal(harness_prompt(&h, 0), "<|user|>\nHow?\n<|assistant|>\n");
    harness_close(&h);
}

static void answers_are_written_and_not_scored(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_vicuna);
    write_data(&h);
    harness_open(&h, h.s.dir);
    const json_t *r = harness_judge(&h, "S\xc3\xa9!");
    assert_null(json_object_get(r, "correct"));
    assert_null(json_object_get(r, "score"));
    harness_fail_item(&h);
    harness_finish(&h);
    assert_true(isnan(h.score) && isnan(h.se));
    assert_string_equal(harness_metrics(&h), "{\"mean_length\": 3.0}");
    assert_string_equal(harness_file(&h, "predictions.jsonl"),
        "{\"question_id\": 1, \"text\": \"How?\", \"category\": \"generic\", \"output\": \"S\\u00e9!\"}\n");
    harness_close(&h);
}

static void refused(const struct pc_task *task, const char *file, const char *text, const char *part)
{
    struct harness h;
    harness_init(&h, task);
    write_data(&h);
    scratch_text(&h.s, file, text);
    harness_refused(&h, h.s.dir, PACO_EFORMAT, part);
    assert_contains(h.err.path, file);
    harness_close(&h);
}

static void bad_data(void **state)
{
    (void)state;
    static const char koala[] = "creative_tasks/koala_test.jsonl",
                      vicuna[] = "creative_tasks/vicuna_test.jsonl",
                      self[] = "creative_tasks/self_instruct_test.jsonl";
    refused(&pc_task_koala, koala, "{\"id\": \"k\", \"prompt\": \"p\"}\n{\"id\": 3}\n", "line 2: ");
    refused(&pc_task_koala, koala, "{\"id\": \"k\"}\n", "prompt");
    refused(&pc_task_vicuna, vicuna, "\n{\"text\": \"t\"}\n", "line 2: ");
    refused(&pc_task_vicuna, vicuna, "{\"question_id\": -1, \"text\": \"t\"}\n", "question_id");
    refused(&pc_task_self_instruct, self, "{\"id\": \"u\", \"instruction\": \"i\", \"instances\": []}\n",
        "line 1: has no \"instances\"");
    refused(&pc_task_self_instruct, self, "{\"id\": \"u\", \"instruction\": \"i\", \"instances\": [{}]}\n",
        "line 1: instances[0]: ");
    struct harness h;
    harness_init(&h, &pc_task_koala);
    harness_refused(&h, h.s.dir, PACO_ENOENT, "koala");
    harness_close(&h);
}

static void without_memory(void **state)
{
    (void)state;
    struct harness h;
    harness_init(&h, &pc_task_self_instruct);
    write_data(&h);
    harness_torture(&h, h.s.dir, "S\xc3\xa9!");
    harness_close(&h);
}

static void the_sets_themselves(void **state)
{
    (void)state;
    static const struct pc_task *const tasks[] = {&pc_task_koala, &pc_task_self_instruct, &pc_task_vicuna};
    static const size_t n[] = {180, 252, 80};
    const char *dir = harness_data("creative_tasks");
    for (size_t k = 0; k < 3; k++) {
        struct harness h;
        harness_init(&h, tasks[k]);
        h.env.format = PC_FORMAT_TULU;
        harness_open(&h, dir);
        assert_int_equal(harness_n(&h), n[k]);
        for (size_t i = 0; i < n[k]; i++)
            assert_true(strlen(harness_prompt(&h, i)) > strlen("<|user|>\n\n<|assistant|>\n"));
        harness_close(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_of_the_three_sets),
        cmocka_unit_test(answers_are_written_and_not_scored),
        cmocka_unit_test(bad_data),
        cmocka_unit_test(the_sets_themselves),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
