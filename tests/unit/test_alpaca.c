// SPDX-License-Identifier: Apache-2.0
/* AlpacaFarm: prompts, upstream's file, win rates against published ones, and both judges. */
#include "unit.h"

#include "base/file.h"
#include "base/memory.h"
#include "eval/alpaca_data.h"
#include "eval/flags.h"
#include "eval/tasks.h"
#include "eval/win_rate.h"
#include "scratch.h"

#include <math.h>

struct fixture {
    struct scratch s;
    struct pc_task_flags flags;
    struct pc_task_env env;
    struct pc_notes notes;
    const struct pc_task *task;
    struct pc_task_data *data;
    json_t *records;
    struct paco_error err;
    char text[1 << 16];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    scratch_open(&f->s);
    f->flags = pc_task_flags_default();
    f->records = json_array();
    f->env = (struct pc_task_env){.flags = &f->flags,
        .data_dir = f->s.dir,
        .format = PC_FORMAT_TULU,
        .notes = &f->notes,
        .model_name = "tulu/my-7b"};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->task)
        f->task->close(f->data);
    json_decref(f->records);
    pc_notes_release(&f->notes);
    scratch_close(&f->s);
    free(f);
    return 0;
}

/* ---- win rates ---- */

static struct pc_win_rate rate_of(const double *preferences, size_t n)
{
    struct pc_win_rate r = {0};
    for (size_t i = 0; i < n; i++)
        assert_true(pc_win_rate_add(&r, preferences[i]));
    pc_win_rate_settle(&r);
    return r;
}

static void a_win_rate_counts_draws_half_and_leaves_out_what_is_missing(void **state)
{
    (void)state;
    struct pc_win_rate r = rate_of((const double[]){1, 2, 0, NAN, 2, 1.5}, 6);
    assert_true(r.win_rate == 60);
    assert_int_equal(r.n_wins, 2);
    assert_int_equal(r.n_wins_base, 1);
    assert_int_equal(r.n_draws, 2);
    assert_int_equal(r.n_total, 5);
    assert_int_equal(r.n_missing, 1);
    // values 0 1 .5 1 .5: deviations' squares sum to 0.7
    assert_true(fabs(r.standard_error - 100 * sqrt(0.7 / 4 / 5)) < 1e-12);
    r = rate_of((const double[]){1.25, 1.75}, 2);
    assert_true(r.win_rate == 50 && r.n_wins == 1 && r.n_wins_base == 1);
    r = rate_of(NULL, 0);
    assert_true(isnan(r.win_rate) && isnan(r.standard_error));
    r = rate_of((const double[]){2}, 1);
    assert_true(r.win_rate == 100 && isnan(r.standard_error));
    assert_false(pc_win_rate_add(&r, 0.5));
    assert_false(pc_win_rate_add(&r, 3));
    assert_int_equal(r.n_total, 1);
}

static void published_win_rates_are_reproduced(void **state)
{
    struct fixture *f = *state;
    char path[1024];
    const char *data = getenv("PACO_DATA");
    struct pc_win_rate r;
    snprintf(path, sizeof path, "%s/alpaca_eval/alpaca-7b/annotations_alpaca_eval_gpt4.json",
        data ? data : "../shared/data");
    if (!pc_path_exists(path))
        skip_because("no %s (PACO_DATA)", path);
    assert_int_equal(pc_win_rate_of_file(NULL, path, &r, &f->err), 0);
    // alpaca_eval_gpt4_leaderboard.csv: 26.459627329192543,1.535711469748,205,584,16,805
    assert_true(fabs(r.win_rate - 26.459627329192543) < 1e-12);
    assert_true(fabs(r.standard_error - 1.535711469748) < 1e-12);
    assert_int_equal(r.n_wins, 205);
    assert_int_equal(r.n_wins_base, 584);
    assert_int_equal(r.n_draws, 16);
    assert_int_equal(r.n_total, 805);
    assert_int_equal(r.n_missing, 0);
    json_t *metrics = json_object();
    assert_int_equal(pc_win_rate_put(&r, metrics, &f->err), 0);
    assert_int_equal(json_integer_value(json_object_get(metrics, "n_wins_base")), 584);
    json_decref(metrics);
}

static void assert_refused(struct fixture *f, const char *text, int code, const char *want)
{
    struct pc_win_rate r;
    f->err = (struct paco_error){0};
    assert_int_equal(pc_win_rate_of_file(NULL, scratch_text(&f->s, "a.json", text), &r, &f->err), code);
    assert_contains(f->err.message, want);
    assert_contains(f->err.path, "a.json");
}

static void bad_annotations_are_named(void **state)
{
    struct fixture *f = *state;
    struct pc_win_rate r;
    assert_refused(f, "{}", PACO_EFORMAT, "must be a list of annotations, and is an object");
    assert_refused(f, "[]", PACO_EFORMAT, "is an empty one");
    assert_refused(
        f, "[{\"preference\":1},7]", PACO_EFORMAT, "annotation 1 (from 0): is an integer, not an object");
    assert_refused(f, "[{\"preference\":3}]", PACO_EFORMAT,
        "annotation 0 (from 0): 'preference' must be 0, a number from 1 to 2");
    assert_refused(f, "[{\"preference\":\"1\"}]", PACO_EFORMAT, "'preference' must be");
    assert_refused(f, "[{\"generator_1\":\"m\",\"generator_2\":\"text_davinci_003\",\"preference\":1}]",
        PACO_EMISMATCH, "should be the model's: these preferences mean the opposite");
    const char *path = scratch_text(&f->s, "a.json", "[{\"preference\":2},{\"preference\":null},{}]");
    assert_int_equal(pc_win_rate_of_file(NULL, path, &r, &f->err), 0);
    assert_int_equal(r.n_missing, 2);
    assert_true(r.win_rate == 100);
}

/* ---- answers ---- */

static const char g_set[] =
    "[{\"instruction\":\" One? "
    "\",\"input\":\"\",\"output\":\"1\",\"generator\":\"text_davinci_003\",\"dataset\":\"koala\"},"
    "{\"instruction\":\" Two\\n\",\"input\":\" it \",\"output\":\"22\"},"
    "{\"instruction\":\"Three\",\"input\":\"\",\"output\":\"333\"}]";

static void begin(struct fixture *f, const struct pc_task *task)
{
    if (!pc_path_exists(scratch_path(&f->s, "alpaca_farm/alpaca_farm_evaluation.json")))
        scratch_text(&f->s, "alpaca_farm/alpaca_farm_evaluation.json", g_set);
    f->task = task;
    assert_int_equal(task->open(task, &f->env, &f->data, &f->err), 0);
}

static const char *prompt_of(struct fixture *f, size_t i, struct pc_ask *ask)
{
    struct pc_buf b;
    pc_buf_init(&b, sizeof f->text - 1);
    *ask = (struct pc_ask){.prompt = &b};
    assert_int_equal(f->task->ask(f->data, i, ask, &f->err), 0);
    snprintf(f->text, sizeof f->text, "%s", b.data);
    pc_buf_release(&b);
    return f->text;
}

static void prompts_are_upstreams_white_space_and_all(void **state)
{
    struct fixture *f = *state;
    struct pc_ask ask;
    char name[96];
    const char *group;
    begin(f, &pc_task_alpaca_farm);
    assert_int_equal(f->task->n_items(f->data), 3);
    assert_string_equal(prompt_of(f, 0, &ask), "<|user|>\n One? \n<|assistant|>\n");
    assert_int_equal(ask.kind, PC_ASK_TEXT);
    assert_true(ask.bos && ask.new_only && ask.temperature == 0);
    assert_int_equal(ask.max_tokens, 2048);
    assert_int_equal(ask.n_samples, 1);
    assert_int_equal(ask.n_stop_ids + ask.n_stop_texts, 0);
    assert_string_equal(prompt_of(f, 1, &ask), "<|user|>\nTwo\n\nit\n<|assistant|>\n");
    f->task->name_item(f->data, 0, name, &group);
    assert_string_equal(name, "0");
    assert_string_equal(group, "koala");
    assert_int_equal(f->notes.n, 0);
}

static void another_models_own_format_is_used(void **state)
{
    struct fixture *f = *state;
    struct pc_ask ask;
    f->env.format = PC_FORMAT_AUTO;
    f->env.format = PC_FORMAT_CHATML_PLAIN;
    f->flags.limit = 2;
    begin(f, &pc_task_alpaca_farm);
    assert_int_equal(f->task->n_items(f->data), 2);
    assert_string_equal(
        prompt_of(f, 1, &ask), "<|im_start|>user\nTwo\n\nit<|im_end|>\n<|im_start|>assistant\n");
    assert_true(ask.texts_only && ask.n_stop_texts > 0);
    f->task->close(f->data);
    f->flags.use_chat_format = 0;
    begin(f, &pc_task_alpaca_farm);
    assert_string_equal(prompt_of(f, 0, &ask), " One? ");
}

static json_t *judged(struct fixture *f, size_t i, const char *text, const double *probs)
{
    json_t *record = json_object();
    size_t len = text ? strlen(text) : 0;
    const struct pc_answers answers = {
        .texts = &text, .lens = &len, .n_texts = text ? 1 : 0, .probs = probs, .n_probs = 2};
    assert_int_equal(f->task->judge(f->data, i, &answers, record, &f->err), 0);
    json_array_append_new(f->records, record);
    return record;
}

static json_t *finish(struct fixture *f, double *score)
{
    double se;
    json_t *metrics = json_object();
    assert_int_equal(f->task->finish(f->data, f->records, f->s.dir, metrics, score, &se, &f->err), 0);
    return metrics;
}

static void assert_file(struct fixture *f, const char *name, const char *want)
{
    struct pc_buf b;
    assert_int_equal(pc_file_slurp(scratch_path(&f->s, name), 1 << 20, &b, &f->err), 0);
    assert_string_equal(b.data, want);
    pc_buf_release(&b);
}

static void answers_are_written_as_upstream_writes_them(void **state)
{
    struct fixture *f = *state;
    double score;
    f->flags.limit = 2;
    begin(f, &pc_task_alpaca_farm);
    judged(f, 0, "caf\xc3\xa9", NULL);
    json_array_append_new(f->records, json_pack("{s:s}", "error", "too long"));
    json_t *metrics = finish(f, &score);
    assert_true(isnan(score));
    assert_true(json_real_value(json_object_get(metrics, "mean_length")) == 4);
    json_decref(metrics);
    assert_file(f, "my-7b-greedy-long-output.json",
        "[\n    {\n        \"instruction\": \" One? \",\n        \"input\": \"\",\n        \"generator\": "
        "\"my-7b-greedy-long\",\n        \"output\": \"caf\\u00e9\"\n    }\n]");
}

static void bad_sets_are_named(void **state)
{
    struct fixture *f = *state;
    static const char file[] = "alpaca_farm/alpaca_farm_evaluation.json";
    const struct pc_task *t = &pc_task_alpaca_farm;
    assert_int_equal(t->open(t, &f->env, &f->data, &f->err), PACO_ENOENT);
    assert_contains(f->err.message, "alpaca_eval/text_davinci_003/model_outputs.json");
    scratch_text(&f->s, file, "[{\"instruction\":\"x\",\"output\":\"y\"},{\"instruction\":\"x\"}]");
    assert_int_equal(t->open(t, &f->env, &f->data, &f->err), PACO_EFORMAT);
    assert_contains(f->err.message, "row 1 (from 0): ");
    assert_contains(f->err.message, "output");
    scratch_text(&f->s, file, "[]");
    assert_int_equal(t->open(t, &f->env, &f->data, &f->err), PACO_EFORMAT);
    scratch_text(&f->s, file, "[{\"instruction\":\"x\",\"output\":\"y\"}]");
    begin(f, t);
    assert_contains(f->notes.v[0], "instruction and input already joined");
}

/* ---- judges ---- */

static const char g_outputs[] =
    "[{\"instruction\":\"Three\",\"output\":\"333\",\"generator\":\"m\"},{\"instruction\":\" Two\\n\\n\\n it "
    "\",\"output\":\"zwei\"},"
    "{\"instruction\":\" One? \",\"output\":\"eins\"},{\"instruction\":\"Four\",\"output\":\"4\"}]";

static void begin_judge(struct fixture *f, const struct pc_task *task, const char *outputs)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s", scratch_text(&f->s, "outputs.json", outputs));
    f->env.outputs = path;
    f->env.format = PC_FORMAT_CHATML_PLAIN;
    begin(f, task);
}

static void a_judge_sees_each_pair_in_both_orders(void **state)
{
    struct fixture *f = *state;
    struct pc_ask ask;
    char name[96];
    const char *group;
    begin_judge(f, &pc_task_alpaca_judge, g_outputs);
    assert_int_equal(f->task->n_items(f->data), 4); // equal answers are not shown
    const char *prompt = prompt_of(f, 2, &ask);
    assert_contains(prompt,
        "\n## Instruction\n Two\n\n\n## Input\n it \n\n## Answer A\n22\n\n## Answer B\nzwei\n\nWhich");
    assert_contains(prompt, "<|im_start|>assistant\nThe better answer is:");
    assert_int_equal(ask.kind, PC_ASK_CHOICE);
    assert_int_equal(ask.n_choices, 2);
    assert_contains(prompt_of(f, 3, &ask), "## Answer A\nzwei\n\n## Answer B\n22\n");
    f->task->name_item(f->data, 3, name, &group);
    assert_string_equal(name, "1/model-first");
}

static void what_changes_with_the_order_is_a_draw(void **state)
{
    struct fixture *f = *state;
    double score;
    begin_judge(f, &pc_task_alpaca_judge, g_outputs);
    judged(f, 0, NULL, (const double[]){0.3, 0.7}); // the model's
    judged(f, 1, NULL, (const double[]){0.6, 0.4}); // the model's, which is A now
    judged(f, 2, NULL, (const double[]){0.9, 0.1}); // the first
    judged(f, 3, NULL, (const double[]){0.9, 0.1}); // the first, again
    json_t *m = finish(f, &score);
    assert_true(fabs(score - 100 * 2 / 3.) < 1e-12); // a win and two draws
    assert_true(json_is_false(json_object_get(m, "comparable")));
    assert_contains(json_string_value(json_object_get(m, "not_comparable")), "another judge");
    assert_true(json_real_value(json_object_get(m, "both_orders_agree")) == 0.5);
    assert_true(json_real_value(json_object_get(m, "first_answer_preferred")) == 0.75);
    assert_true(json_real_value(json_object_get(m, "mean_length_model")) == 4);
    assert_true(json_real_value(json_object_get(m, "mean_length_baseline")) == 1.5);
    assert_int_equal(json_integer_value(json_object_get(m, "n_equal")), 1);
    json_decref(m);
    // What it wrote is annotations like any other.
    struct pc_win_rate r;
    assert_int_equal(pc_win_rate_of_file(NULL, scratch_path(&f->s, "annotations.json"), &r, &f->err), 0);
    assert_true(r.win_rate == score);
    assert_int_equal(r.n_draws, 2);
}

static void half_a_judgement_is_none(void **state)
{
    struct fixture *f = *state;
    double score;
    begin_judge(f, &pc_task_alpaca_judge, g_outputs);
    judged(f, 0, NULL, (const double[]){0.3, 0.7});
    json_array_append_new(f->records, json_pack("{s:s}", "error", "beyond the context"));
    judged(f, 2, NULL, (const double[]){0.5, 0.5});
    judged(f, 3, NULL, (const double[]){0.5, 0.5});
    json_t *m = finish(f, &score);
    assert_int_equal(json_integer_value(json_object_get(m, "n_missing")), 1);
    assert_int_equal(json_integer_value(json_object_get(m, "n_draws")), 2);
    json_decref(m);
}

static void the_baseline_against_itself_is_fifty(void **state)
{
    struct fixture *f = *state;
    double score;
    for (int i = 0; i < 2; i++) {
        begin_judge(f, i ? &pc_task_alpaca_judge_text : &pc_task_alpaca_judge, g_set);
        json_array_clear(f->records);
        if (i) {
            judged(f, 0, "Output (b) Output (b) Output (b) Output (b) Output (b)", NULL);
        } else {
            judged(f, 0, NULL, (const double[]){0.9, 0.1});
            judged(f, 1, NULL, (const double[]){0.9, 0.1});
        }
        json_t *m = finish(f, &score);
        assert_true(score == 50);
        assert_int_equal(json_integer_value(json_object_get(m, "n_total")), 3);
        json_decref(m);
        if (i == 0)
            f->task->close(f->data);
    }
}

static void five_comparisons_are_asked_for_at_once(void **state)
{
    struct fixture *f = *state;
    struct pc_ask ask;
    double score;
    begin_judge(f, &pc_task_alpaca_judge_text, g_outputs);
    assert_int_equal(f->task->n_items(f->data), 1);
    const char *prompt = prompt_of(f, 0, &ask);
    assert_int_equal(ask.max_tokens, 250);
    assert_contains(prompt, "# Comparison 3\n## Instruction\n1+1=\n## Output (a)\n2\n## Output (b)\n3\n");
    assert_contains(prompt, "# Comparison 5\n## Instruction\n1+1=");
    const char *one = strstr(prompt, "## Instruction\n One? \n## Output (a)\n") + 36;
    bool swapped = strncmp(one, "eins\n", 5) == 0;
    assert_true(swapped || strncmp(one, "1\n", 2) == 0);
    char reply[200];
    snprintf(reply, sizeof reply,
        "1. Output (%c)\n2. Output (a)\n3. Output (a)\n4. Output (a)\n5. Output (b)", swapped ? 'a' : 'b');
    json_t *record = judged(f, 0, reply, NULL);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(record, "preferences"), 0)), 2);
    assert_int_equal(json_array_size(json_object_get(record, "preferences")), 2);
    json_decref(finish(f, &score));
    assert_true(score >= 50);
}

static void a_reply_that_names_another_number_of_outputs_counts_for_nothing(void **state)
{
    struct fixture *f = *state;
    double score;
    begin_judge(f, &pc_task_alpaca_judge_text, g_outputs);
    judged(f, 0, "Output (a) Output (b) Output (c) Output (a) Output (b)", NULL);
    json_t *m = finish(f, &score);
    assert_int_equal(json_integer_value(json_object_get(m, "n_missing")), 2);
    assert_true(score == 50); // the equal pair
    json_decref(m);
}

static void judges_need_answers_to_the_same_instructions(void **state)
{
    struct fixture *f = *state;
    const struct pc_task *t = &pc_task_alpaca_judge;
    scratch_text(&f->s, "alpaca_farm/alpaca_farm_evaluation.json", g_set);
    assert_int_equal(t->open(t, &f->env, &f->data, &f->err), PACO_EINVAL);
    assert_contains(f->err.message, "--outputs FILE");
    char path[1024];
    snprintf(path, sizeof path, "%s",
        scratch_text(&f->s, "o.json", "[{\"instruction\":\"Four\",\"output\":\"4\"}]"));
    f->env.outputs = path;
    assert_int_equal(t->open(t, &f->env, &f->data, &f->err), PACO_EMISMATCH);
    assert_contains(f->err.message, "answers none of the 3 instructions");
    snprintf(path, sizeof path, "%s",
        scratch_text(&f->s, "o.json", "[{\"instruction\":\"Three\",\"output\":\"drei\"}]"));
    begin(f, t);
    assert_contains(f->notes.v[0], "2 of 3 instructions have no answer there");
}

#define WITH(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_win_rate_counts_draws_half_and_leaves_out_what_is_missing),
        WITH(published_win_rates_are_reproduced),
        WITH(bad_annotations_are_named),
        WITH(prompts_are_upstreams_white_space_and_all),
        WITH(another_models_own_format_is_used),
        WITH(answers_are_written_as_upstream_writes_them),
        WITH(bad_sets_are_named),
        WITH(a_judge_sees_each_pair_in_both_orders),
        WITH(what_changes_with_the_order_is_a_draw),
        WITH(half_a_judgement_is_none),
        WITH(the_baseline_against_itself_is_fifty),
        WITH(five_comparisons_are_asked_for_at_once),
        WITH(a_reply_that_names_another_number_of_outputs_counts_for_nothing),
        WITH(judges_need_answers_to_the_same_instructions),
    };
    return cmocka_run_group_tests_name("alpaca", tests, NULL, NULL);
}
