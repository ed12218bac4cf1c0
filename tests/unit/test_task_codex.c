// SPDX-License-Identifier: Apache-2.0
#include "eval_prompts.h"

#include "eval/eval_data.h"
#include "eval/sandbox.h"
#include "prompt/vocabulary.h"

#include <zlib.h>

#define PROBLEM(id, entry)                                                                                   \
    "{\"task_id\": \"" id "\", \"prompt\": \"\\n\\ndef " entry                                               \
    "(x):\\n    \\\"\\\"\\\" twice \\u00e9 \\\"\\\"\\\"\\n\", \"entry_point\": \"" entry                     \
    "\", \"canonical_solution\": \"\", \"test\": \"def check(f):\\n    assert f(2) == 4\\n\"}\n"
#define PROMPT(entry) "\n\ndef " entry "(x):\n    \"\"\" twice \xc3\xa9 \"\"\"\n"

static const char good[] = "    return 2 * x\n", wrong[] = "    return x", broken[] = "    return 2 *";

/* The programs here are our own: no sandbox is needed for them. */
static void start(struct harness *h, const struct pc_task *task)
{
    harness_init(h, task);
    scratch_text(&h->s, "human_eval/HumanEval.jsonl", PROBLEM("T/0", "f") "\n" PROBLEM("T/1", "g"));
    h->flags.unsafe_exec = true;
}

static void how_samples_are_asked_for(void **state)
{
    (void)state;
    struct harness h;
    start(&h, &pc_task_codex_low);
    h.env.format = PC_FORMAT_TULU; /* which changes nothing: published runs use the plain format */
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 2);
    assert_string_equal(harness_name(&h, 1), "T/1");
    assert_string_equal(harness_prompt(&h, 0), PROMPT("f"));
    assert_int_equal(h.ask.kind, PC_ASK_TEXT);
    assert_int_equal(h.ask.max_tokens, 512);
    assert_int_equal(h.ask.n_samples, 20);
    assert_true(h.ask.temperature == 0.1 && h.ask.top_p == 0.95);
    assert_int_equal(h.ask.top_k, 50);
    assert_false(h.ask.bos || h.ask.new_only || h.ask.texts_only || h.ask.until_blank_line);
    static const char *const stops[] = {"\nclass", "\ndef", "\n#", "\nif", "\nprint"};
    assert_int_equal(h.ask.n_stop_texts, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(h.ask.stop_texts[i], stops[i]);
    assert_int_equal(h.ask.n_stop_ids, 0); /* without a tokenizer */
    h.task->close(h.data);

    h.task = &pc_task_codex_high;
    h.flags.use_chat_format = 1;
    h.flags.fixes = PC_FIX_CODEX_STOP;
    harness_open(&h, h.s.dir);
    assert_string_equal(harness_prompt(&h, 1),
        "<|user|>\nComplete the following python function.\n\n\n" PROMPT(
            "g") "\n<|assistant|>\nHere is the "
                 "completed function:\n\n\n" PROMPT("g"));
    assert_true(h.ask.temperature == 0.8);
    assert_true(h.ask.texts_only);
    harness_close(&h);
}

static void temperature_0_is_greedy_and_asks_once(void **state)
{
    (void)state;
    struct harness h;
    start(&h, &pc_task_codex_high);
    h.flags.temperature = 0;
    harness_open(&h, h.s.dir);
    harness_prompt(&h, 0);
    assert_int_equal(h.ask.n_samples, 1);
    assert_true(h.ask.temperature == 0 && h.ask.top_p == 0);
    assert_int_equal(h.ask.top_k, 0);
    assert_contains(h.notes.v[0], "pass@10 cannot be estimated from 1 samples: the score is pass@1");
    assert_contains(h.notes.v[1], "programs are run by "); /* isolated or not, and which Python */
    assert_contains(h.notes.v[1], ", Python 3.");
    harness_judge(&h, good);
    harness_judge(&h, wrong);
    harness_finish(&h);
    assert_string_equal(harness_metrics(&h), "{\"pass@1\": 0.5}");
    assert_true(h.score == 50);
    assert_string_equal(harness_file(&h, "codex_eval_predictions.jsonl"),
        "{\"task_id\": \"T/0\", \"prompt\": \"\\n\\ndef f(x):\\n    \\\"\\\"\\\" twice \\u00e9 "
        "\\\"\\\"\\\"\\n\", \"completion\": \"    return 2 * x\\n\"}\n{\"task_id\": \"T/1\", \"prompt\": "
        "\"\\n\\ndef g(x):\\n    \\\"\\\"\\\" twice \\u00e9 \\\"\\\"\\\"\\n\", \"completion\": \"    return "
        "x\"}\n");
    assert_string_equal(harness_file(&h, "codex_eval_predictions.jsonl_results.jsonl"),
        "{\"task_id\": \"T/0\", \"prompt\": \"\\n\\ndef f(x):\\n    \\\"\\\"\\\" twice \\u00e9 "
        "\\\"\\\"\\\"\\n\", \"completion\": \"    return 2 * x\\n\", \"result\": \"passed\", \"passed\": "
        "true}\n{\"task_id\": \"T/1\", \"prompt\": \"\\n\\ndef g(x):\\n    \\\"\\\"\\\" twice \\u00e9 "
        "\\\"\\\"\\\"\\n\", \"completion\": \"    return x\", \"result\": \"failed: \", \"passed\": "
        "false}\n");
    harness_close(&h);
}

static void pass_at_k(void **state)
{
    (void)state;
    struct harness h;
    static const char *const words[] = {"1 2", "3"};
    static const char *const one_of_three[] = {wrong, good, broken}, *const all[] = {good, good, good};
    start(&h, &pc_task_codex_low);
    h.flags.unbiased_sampling_size_n = 3;
    h.flags.eval_pass_at_ks = (struct pc_strings){.v = (const char **)(uintptr_t)words, .n = 2};
    harness_open(&h, h.s.dir);
    const json_t *r = harness_judge_all(&h, one_of_three, 3);
    const json_t *results = json_object_get(r, "extraction"), *correct = json_object_get(r, "correct");
    assert_string_equal(json_string_value(json_array_get(results, 0)), "failed: ");
    assert_string_equal(json_string_value(json_array_get(results, 1)), "passed");
    assert_contains(json_string_value(json_array_get(results, 2)), "failed: invalid syntax");
    for (size_t k = 0; k < 3; k++) {
        const json_t *passed = json_array_get(correct, k);
        assert_int_equal(json_is_true(passed), k == 1);
    }
    harness_judge_all(&h, all, 3);
    harness_finish(&h);
    /* numpy.mean of 1 - prod(1 - k / arange(n - c + 1, n + 1)), by NumPy 2.4.6 */
    assert_string_equal(harness_metrics(&h),
        "{\"pass@1\": 0.6666666666666666, \"pass@2\": 0.8333333333333333, \"pass@3\": 1.0}");
    assert_true(fabs(h.score - 200.0 / 3) < 1e-12);
    assert_true(fabs(h.se - 100.0 / 3) < 1e-12);
    h.task->close(h.data);

    json_array_clear(h.records);
    json_object_clear(h.metrics);
    h.flags.eval_pass_at_ks.n = 0; /* 1, and 5, 10, 20 where there are as many samples */
    harness_open(&h, h.s.dir);
    harness_fail_item(&h);
    harness_judge_all(&h, one_of_three, 3);
    harness_finish(&h);
    assert_string_equal(harness_metrics(&h), "{\"pass@1\": 0.33333333333333326}");
    harness_close(&h);
}

static void subsets(void **state)
{
    (void)state;
    struct harness h;
    start(&h, &pc_task_codex_low);
    h.flags.max_num_examples = 1;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 1);
    assert_string_equal(harness_name(&h, 0), "T/0");
    h.task->close(h.data);
    h.flags.max_num_examples = 0;
    h.flags.limit = 1;
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 1);
    harness_close(&h);
}

/* What runs an answer is part of what the verdict depends on. */
static void python_is_named(void **state)
{
    (void)state;
    struct harness h;
    start(&h, &pc_task_codex_low);
    harness_open(&h, h.s.dir);
    const char *version = json_string_value(json_object_get(h.tools, "python"));
    int major = 0, minor = 0;
    assert_int_equal(json_object_size(h.tools), 1);
    assert_int_equal(version ? sscanf(version, "%d.%d.%*d", &major, &minor) : 0, 2);
    assert_true(major == 3 && minor >= 8);
    harness_close(&h);
}

static void judging_can_be_stopped(void **state)
{
    (void)state;
    struct harness h;
    start(&h, &pc_task_codex_low);
    harness_open(&h, h.s.dir);
    const char *text = good;
    size_t len = strlen(text);
    json_t *record = json_object();
    h.task->stop(h.data);
    assert_int_equal(h.task->judge(h.data, 0,
                         &(struct pc_answers){.texts = &text, .lens = &len, .n_texts = 1}, record, &h.err),
        PACO_ECANCELLED);
    assert_int_equal(json_object_size(record), 0); // as it was, for another attempt
    json_decref(record);
    harness_close(&h);
}

static void bad_flags(void **state)
{
    (void)state;
    struct harness h;
    const char *ks = "1,21";
    start(&h, &pc_task_codex_low);
    h.flags.eval_pass_at_ks = (struct pc_strings){.v = &ks, .n = 1};
    harness_refused(&h, h.s.dir, PACO_EINVAL, "pass@21 cannot be estimated from 20 samples");
    ks = "ten";
    harness_refused(&h, h.s.dir, PACO_EINVAL, "--eval_pass_at_ks 'ten': whole numbers");
    ks = "5x";
    harness_refused(&h, h.s.dir, PACO_EINVAL, "--eval_pass_at_ks '5x'");
    ks = "0";
    harness_refused(&h, h.s.dir, PACO_EINVAL, "--eval_pass_at_ks '0'");
    h.flags.eval_pass_at_ks.n = 0;
    h.flags.temperature = -1;
    harness_refused(&h, h.s.dir, PACO_EINVAL, "--temperature below 0");
    h.flags.temperature = 1;
    h.flags.unbiased_sampling_size_n = 10001;
    harness_refused(&h, h.s.dir, PACO_EINVAL, "at most 10000 samples");
    harness_close(&h);
}

static void bad_data(void **state)
{
    (void)state;
    struct harness h;
    start(&h, &pc_task_codex_low);
    scratch_text(&h.s, "human_eval/HumanEval.jsonl",
        PROBLEM("T/0", "f") "\n{\"task_id\": \"T/1\", \"prompt\": \"\", \"test\": \"\"}\n");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "line 3: ");
    assert_contains(h.err.message, "entry_point");
    assert_contains(h.err.path, "/human_eval/HumanEval.jsonl");
    scratch_text(&h.s, "human_eval/HumanEval.jsonl", PROBLEM("T/0", "f") "{\"task_id\": \"T");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "line 2: ");
    scratch_text(&h.s, "human_eval/HumanEval.jsonl", "\n\n");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "is empty");
    scratch_text(&h.s, "human_eval/HumanEval.jsonl.gz", "no gzip");
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "bad gzip data");
    harness_close(&h);
    harness_init(&h, &pc_task_codex_low);
    harness_refused(&h, h.s.dir, PACO_ENOENT, "HumanEval");
    harness_close(&h);
}

static void a_gzip_file_cut_short_is_refused(void **state)
{
    (void)state;
    struct harness h;
    struct pc_buf packed;
    start(&h, &pc_task_codex_low);
    scratch_text(&h.s, "human_eval/HumanEval.jsonl.gz", "");
    gzFile f = gzopen(h.s.path, "wb");
    assert_int_equal(gzputs(f, PROBLEM("T/7", "f")), strlen(PROBLEM("T/7", "f")));
    gzclose(f);
    harness_open(&h, h.s.dir);
    assert_int_equal(harness_n(&h), 1);
    assert_string_equal(harness_name(&h, 0), "T/7");
    h.task->close(h.data);
    h.data = NULL;
    assert_int_equal(
        pc_file_slurp(scratch_path(&h.s, "human_eval/HumanEval.jsonl.gz"), 1 << 20, &packed, NULL), 0);
    scratch_write(&h.s, "human_eval/HumanEval.jsonl.gz", packed.data, packed.len / 2);
    pc_buf_release(&packed);
    harness_refused(&h, h.s.dir, PACO_EFORMAT, "truncated");
    harness_close(&h);
}

/* ---- the benchmark itself ---- */

static void upstreams_prompts(void **state)
{
    (void)state;
    struct harness h;
    const char *dir = harness_data("human_eval");
    for (int chat = 0; chat < 2; chat++) {
        harness_init(&h, &pc_task_codex_low);
        h.flags.unsafe_exec = true;
        h.flags.use_chat_format = chat;
        harness_open(&h, dir);
        assert_int_equal(harness_n(&h), 164);
        assert_string_equal(harness_name(&h, 0), "HumanEval/0");
        assert_prompt(
            harness_prompt(&h, 0), chat ? 796 : 348, chat ? "44c88366b312f233" : "00b2e074e127a6a9");
        assert_string_equal(harness_name(&h, 163), "HumanEval/163");
        harness_close(&h);
    }
}

static void upstreams_stops(void **state)
{
    (void)state;
    static const int32_t second[] = {1990, 1753, 29937, 361, 2158};
    const char *dir = harness_data("human_eval");
    harness_data("tokenizer/tokenizer.model");
    struct pc_tokenizer *tok = NULL;
    struct harness h;
    harness_init(&h, &pc_task_codex_low);
    char *model = pc_path_join(dir, "tokenizer/tokenizer.model");
    if (pc_vocabulary_open(model, &tok, &h.err) < 0)
        fail_msg("%s: %s", model, h.err.message);
    pc_free(model);
    h.env.tok = tok;
    h.flags.unsafe_exec = true;
    harness_open(&h, dir);
    harness_prompt(&h, 0);
    assert_int_equal(h.ask.n_stop_ids, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(h.ask.stop_ids[i]->n, 2);
        assert_int_equal(h.ask.stop_ids[i]->v[0], 13);
        assert_int_equal(h.ask.stop_ids[i]->v[1], second[i]);
    }
    harness_close(&h);
    pc_tokenizer_free(tok);
}

/* Subsets and all prompts, against CPython's own. */
static void all_prompts(void **state)
{
    (void)state;
    eval_prompts_check_all("codex", harness_data("human_eval"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(how_samples_are_asked_for),
        cmocka_unit_test(temperature_0_is_greedy_and_asks_once),
        cmocka_unit_test(pass_at_k),
        cmocka_unit_test(subsets),
        cmocka_unit_test(python_is_named),
        cmocka_unit_test(judging_can_be_stopped),
        cmocka_unit_test(bad_flags),
        cmocka_unit_test(bad_data),
        cmocka_unit_test(a_gzip_file_cut_short_is_refused),
        cmocka_unit_test(upstreams_prompts),
        cmocka_unit_test(upstreams_stops),
        cmocka_unit_test(all_prompts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
