// SPDX-License-Identifier: Apache-2.0
/* The runner with a task and an answerer made up here: order, what a stopped run leaves and how it goes on,
 * items that fail. */
#include "unit.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/host.h"
#include "base/journal.h"
#include "base/memory.h"
#include "eval/flags.h"
#include "eval/judges.h"
#include "eval/results.h"
#include "eval/run.h"
#include "scratch.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { N_ITEMS = 12, N_SAMPLES = 2, MAX_OPEN = 5 };

/* ---- a task: item i asks for the double of i; its samples are the double and the double plus one ---- */

struct pc_task_data {
    size_t n;
};

static int g_open_rc, g_judge_rc;   /* what open and judge fail with */
static atomic_bool g_slow, g_hurry; /* judge takes long; until it is asked to end */
static const char *g_tool;          /* version of what judges */
static size_t g_bad_ask = SIZE_MAX; /* an item that cannot be asked */

static int task_open(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err)
{
    assert_string_equal(task->name, "doubles");
    if (g_open_rc < 0)
        return pc_error_file(err, g_open_rc, "doubles.jsonl", 17, "line 3: no number");
    *out = pc_alloc_zero(1, sizeof **out);
    if (!*out)
        return pc_error_mem(err, sizeof **out, "data");
    (*out)->n = env->flags->limit ? (size_t)env->flags->limit : N_ITEMS;
    json_object_set_new(env->files, "doubles.jsonl", json_string("00ff"));
    if (g_tool)
        json_object_set_new(env->tools, "abacus", json_string(g_tool));
    return 0;
}

static void task_close(struct pc_task_data *data)
{
    pc_free(data);
}

static size_t task_n_items(const struct pc_task_data *data)
{
    return data->n;
}

static void task_name_item(const struct pc_task_data *data, size_t i, char out[96], const char **group)
{
    assert_true(i < data->n);
    snprintf(out, 96, "doubles/%zu", i);
    *group = i % 2 ? "odd" : NULL;
}

static int task_ask(const struct pc_task_data *data, size_t i, struct pc_ask *ask, struct paco_error *err)
{
    assert_true(i < data->n);
    assert_int_equal(ask->prompt->len, 0);
    pc_buf_printf(ask->prompt, "twice %zu is", i);
    ask->kind = PC_ASK_TEXT;
    ask->n_samples = N_SAMPLES;
    ask->max_tokens = 4;
    return i == g_bad_ask ? pc_error_set(err, PACO_ELIMIT, "too long to be asked") : 0;
}

static int task_judge(const struct pc_task_data *data, size_t i, const struct pc_answers *answers,
    json_t *record, struct paco_error *err)
{
    json_t *correct = json_array();
    assert_true(i < data->n);
    assert_int_equal(answers->n_texts, N_SAMPLES);
    for (int ms = 0; g_slow && ms < 20000; ms++) {
        if (g_hurry) {
            json_decref(correct);
            return pc_error_set(err, PACO_ECANCELLED, "asked to end");
        }
        usleep(1000);
    }
    for (size_t k = 0; k < N_SAMPLES; k++)
        json_array_append_new(correct, json_boolean(atoi(answers->texts[k]) == (int)(2 * i)));
    json_object_set_new(record, "correct", correct);
    if (i % 3 == 0)
        usleep(2000); // verdicts overtake each other
    return g_judge_rc && i == 4 ? pc_error_set(err, g_judge_rc, "no verdict") : 0;
}

static void task_stop(const struct pc_task_data *data)
{
    (void)data;
    g_hurry = true;
}

static int task_finish(const struct pc_task_data *data, const json_t *records, const char *dir,
    json_t *metrics, double *score, double *se, struct paco_error *err)
{
    double sum = 0, n = 0;
    assert_int_equal(json_array_size(records), data->n);
    for (size_t i = 0; i < data->n; i++) {
        double x = pc_record_score(json_array_get(records, i));
        if (!isnan(x)) {
            sum += x;
            n++;
        }
    }
    json_object_set_new(metrics, "doubles", n > 0 ? json_real(sum / n) : json_null());
    *score = n > 0 ? 100 * sum / n : (double)NAN;
    *se = 0.5;
    return pc_results_put(dir, "predictions.json", records, PC_JSON_PYTHON, false, err);
}

static const struct pc_task g_task = {.name = "doubles",
    .summary = "twice a number",
    .setting = "plain",
    .card_score = 50,
    .metrics_style = PC_JSON_PRETTY_4,
    .open = task_open,
    .close = task_close,
    .n_items = task_n_items,
    .name_item = task_name_item,
    .ask = task_ask,
    .judge = task_judge,
    .stop = task_stop,
    .finish = task_finish};

/* ---- an answerer: the newest question first, unless it is told otherwise ---- */

struct fake {
    struct pc_answerer base;
    size_t open[MAX_OPEN], n_open, n_asked, last;
    int64_t seeds[N_ITEMS];
    size_t bad_item;  /* comes back with an error */
    int bad_code;     /* this one */
    size_t odd_item;  /* its answer is no UTF-8 */
    size_t dies_with; /* fails for good when so many were asked */
};

static size_t fake_room(const struct pc_answerer *a)
{
    return MAX_OPEN - ((const struct fake *)a)->n_open;
}

static int fake_submit(struct pc_answerer *a, const struct pc_question *q, struct paco_error *err)
{
    struct fake *f = (struct fake *)a;
    char prompt[64], key[64];
    snprintf(prompt, sizeof prompt, "twice %zu is", q->i_item);
    snprintf(key, sizeof key, "doubles/%zu", q->i_item);
    assert_string_equal(q->ask->prompt->data, prompt);
    assert_string_equal(q->key, key);
    assert_in_range(q->seed, 0, INT32_MAX);
    assert_true(f->n_open < MAX_OPEN);
    assert_true(f->n_asked == 0 || q->i_item > f->last); // in order
    f->seeds[q->i_item] = q->seed;
    f->last = q->i_item;
    f->open[f->n_open++] = q->i_item;
    f->n_asked++;
    return f->n_asked == f->dies_with ? pc_error_set(err, PACO_EIO, "the weights went away") : 0;
}

static int fake_poll(struct pc_answerer *a, struct pc_reply *reply, struct paco_error *err)
{
    struct fake *f = (struct fake *)a;
    if (f->n_open == 0)
        return 0;
    if (f->base.n_drawn == 0) { // a sample at a time
        f->base.n_drawn = 1;
        return 0;
    }
    f->base.n_drawn = 0;
    size_t i = f->open[--f->n_open];
    *reply = (struct pc_reply){.i_item = i, .n_prompt_tokens = 3, .n_output_tokens = 2};
    if (i == f->bad_item) {
        pc_error_set(&reply->error, f->bad_code, "7 tokens do not fit into 6");
        return 1;
    }
    reply->n_texts = N_SAMPLES;
    reply->texts = pc_alloc_zero(N_SAMPLES, sizeof *reply->texts);
    reply->lens = pc_alloc_zero(N_SAMPLES, sizeof *reply->lens);
    bool whole = reply->texts && reply->lens;
    for (size_t k = 0; k < N_SAMPLES && whole; k++) {
        char text[16];
        reply->lens[k] =
            (size_t)snprintf(text, sizeof text, " %zu%s", 2 * i + k, i == f->odd_item ? "\xff" : "");
        reply->texts[k] = pc_strdup(text);
        whole = reply->texts[k] != NULL;
    }
    if (whole)
        return 1;
    if (!reply->texts)
        reply->n_texts = 0;
    pc_reply_release(reply);
    return pc_error_mem(err, N_SAMPLES, "an answer");
}

static void fake_close(struct pc_answerer *a)
{
    (void)a;
}

static const struct pc_answerer_ops g_ops = {fake_room, fake_submit, fake_poll, fake_close};

static struct fake fake_new(void)
{
    return (struct fake){.base = {.ops = &g_ops, .description = "made up"},
        .bad_item = SIZE_MAX,
        .bad_code = PACO_ELIMIT,
        .odd_item = SIZE_MAX,
        .dies_with = SIZE_MAX};
}

/* ---- running it ---- */

/* Ask to stop as soon as `at` items are done, or when asked often enough. */
struct stopper {
    uint64_t at, seen, between; /* between: updates that told of a part of an item's samples */
    int n_left;                 /* 0: however often */
};

static int on_update(void *ctx, const struct pc_progress_event *event)
{
    struct stopper *s = ctx;
    assert_string_equal(event->phase, "doubles (task 2 of 3)");
    assert_string_equal(event->unit, "samples");
    assert_true(event->done >= s->seen && event->done <= event->total);
    s->seen = event->done;
    s->between += event->done % N_SAMPLES != 0;
    return event->done / N_SAMPLES >= s->at || (s->n_left > 0 && --s->n_left == 0);
}

struct run {
    struct scratch *s;
    struct pc_task_flags flags;
    bool force;
    int patience; /* the stopper's n_left */
    struct fake fake;
    struct pc_eval_result result;
    double score;
    uint64_t n_between; /* as struct stopper has it */
    json_t *results;    /* owned */
    struct paco_error err;
};

static struct run run_new(struct scratch *s)
{
    return (struct run){.s = s, .flags = pc_task_flags_default(), .fake = fake_new()};
}

static int run_once(struct run *r, uint64_t stop_at)
{
    char out[300];
    struct pc_eval *e = NULL;
    struct stopper stopper = {.at = stop_at, .n_left = r->patience};
    const struct pc_progress progress = {on_update, NULL, &stopper};
    json_t *model = json_pack("{s:s}", "content_sha256", "abcd");
    snprintf(out, sizeof out, "%s/out", r->s->dir);
    const struct pc_eval_options o = {.task = &g_task,
        .flags = &r->flags,
        .data_dir = "nowhere",
        .out = out,
        .bos = -1,
        .model_name = "nobody",
        .force = r->force,
        .n_judges = 3,
        .place = 2,
        .n_tasks = 3};
    r->err = (struct paco_error){0};
    int rc = pc_eval_open(&o, &e, &r->err);
    if (rc == 0)
        rc = pc_eval_look(e, model, &r->err);
    if (rc == 0 && !pc_eval_is_done(e))
        rc = pc_eval_ask(e, &r->fake.base, &progress, &r->err);
    if (rc == 0) {
        r->result = *pc_eval_result(e);
        json_decref(r->results);
        r->results = json_deep_copy(r->result.results);
    }
    r->n_between = stopper.between;
    pc_eval_close(e);
    json_decref(model);
    return rc;
}

static void run_end(struct run *r)
{
    json_decref(r->results);
}

/* The file's bytes; owned by the caller. */
static char *contents(struct scratch *s, const char *name)
{
    char at[64];
    struct pc_buf b;
    snprintf(at, sizeof at, "out/doubles/%s", name);
    assert_int_equal(pc_file_slurp(scratch_path(s, at), 1 << 20, &b, NULL), 0);
    return pc_buf_detach(&b);
}

static bool has(struct scratch *s, const char *name)
{
    return pc_path_exists(scratch_path(s, name));
}

static const char *const g_files[] = {"items.jsonl", "results.json", "metrics.json", "predictions.json"};
enum { N_FILES = 4 };

struct outcome {
    char *v[N_FILES];
};

static struct outcome outcome_of(struct scratch *s)
{
    struct outcome o;
    for (int i = 0; i < N_FILES; i++)
        o.v[i] = contents(s, g_files[i]);
    assert_false(has(s, "out/doubles.paco-partial"));
    assert_false(has(s, "out/doubles/" PC_JOURNAL_NAME));
    return o;
}

static void outcome_free(struct outcome *o)
{
    for (int i = 0; i < N_FILES; i++)
        pc_free(o->v[i]);
}

static void assert_same_outcome(const struct outcome *a, const struct outcome *b)
{
    for (int i = 0; i < N_FILES; i++)
        assert_string_equal(a->v[i], b->v[i]);
}

static int set_up(void **state)
{
    static struct scratch s;
    scratch_open(&s);
    g_open_rc = g_judge_rc = 0;
    g_slow = g_hurry = false;
    g_bad_ask = SIZE_MAX;
    g_tool = NULL;
    *state = &s;
    return 0;
}

static int tear_down(void **state)
{
    scratch_close(*state);
    return 0;
}

/* ---- tests ---- */

static void test_whole(void **state)
{
    struct scratch *s = *state;
    struct run r = run_new(s);
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    assert_true(r.n_between > 0);
    assert_int_equal(r.fake.n_asked, N_ITEMS);
    assert_float_equal(r.result.score, 50.0, 0);
    assert_float_equal(r.result.se, 0.5, 0);
    assert_int_equal(r.result.n_items, N_ITEMS);
    assert_int_equal(r.result.n_failed, 0);
    assert_false(r.result.was_done);
    char *items = contents(s, "items.jsonl"), *metrics = contents(s, "metrics.json");
    assert_string_equal(metrics, "{\n    \"doubles\": 0.5\n}");
    // The first line whole, and the others in order.
    static const char first[] =
        "{\"key\":\"doubles/0\",\"group\":null,\"prompt\":\"twice 0 is\",\"prompt_sha256\":"
        "\"6f20f152f297b150a51825a964649464714d658fe02e54a80b49828953d94e26\"";
    assert_memory_equal(items, first, sizeof first - 1);
    assert_contains(items, ",\"n_prompt_tokens\":3,\"n_output_tokens\":2,\"output\":[\" 0\",\" "
                           "1\"],\"correct\":[true,false]}\n{\"key\":\"doubles/1\",\"group\":\"odd\"");
    const char *at = items;
    for (int i = 0; i < N_ITEMS; i++) {
        char key[32];
        snprintf(key, sizeof key, "\"doubles/%d\"", i);
        at = strstr(at, key);
        assert_non_null(at);
    }
    assert_string_equal(json_string_value(json_object_get(r.results, "computed_by")), "made up");
    assert_string_equal(json_string_value(json_object_get(r.results, "model_name")), "nobody");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r.results, "flags"), "seed")), 42);
    assert_non_null(json_object_get(json_object_get(r.results, "data"), "doubles.jsonl"));
    assert_int_equal(strlen(json_string_value(json_object_get(r.results, "prompts_sha256"))), 64);
    for (int i = 1; i < N_ITEMS; i++)
        assert_int_not_equal(r.fake.seeds[i], r.fake.seeds[i - 1]);
    pc_free(items);
    pc_free(metrics);
    run_end(&r);
}

static void test_done_already(void **state)
{
    struct run r = run_new(*state);
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    assert_true(r.result.was_done);
    assert_int_equal(r.fake.n_asked, N_ITEMS); // nobody was asked again
    assert_float_equal(r.result.score, 50.0, 0);
    // Something else does not replace it without being told to.
    r.flags.limit = 5;
    assert_int_equal(run_once(&r, SIZE_MAX), PACO_EEXIST);
    assert_contains(r.err.message, "flags was {\"seed\": 42, \"fix\": []}, is {\"limit\": 5");
    assert_contains(r.err.message, "--force");
    r.force = true;
    r.fake = fake_new();
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    assert_int_equal(r.result.n_items, 5);
    run_end(&r);
}

/* Stopped after every number of items, once and twice: what comes out is the same. */
static void test_stopped_anywhere(void **state)
{
    struct scratch *s = *state;
    struct run r = run_new(s);
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    struct outcome whole = outcome_of(s);
    for (uint64_t at = 0; at < N_ITEMS; at++) {
        assert_int_equal(pc_dir_remove(scratch_path(s, "out"), NULL), 0);
        r.fake = fake_new();
        assert_int_equal(run_once(&r, at), PACO_ECANCELLED);
        assert_contains(r.err.message, "of 12 items answered; the same command goes on from there");
        assert_int_equal(has(s, "out/doubles.paco-partial"), at > 0); // nothing is left of nothing
        assert_false(has(s, "out/doubles"));
        if (at < N_ITEMS - 2) {
            r.fake = fake_new();
            assert_int_equal(run_once(&r, at + 2), PACO_ECANCELLED);
        }
        r.fake = fake_new();
        assert_int_equal(run_once(&r, SIZE_MAX), 0);
        assert_true(r.result.n_resumed >= at);
        assert_int_equal(r.fake.n_asked, N_ITEMS - r.result.n_resumed);
        struct outcome again = outcome_of(s);
        assert_same_outcome(&whole, &again);
        outcome_free(&again);
    }
    outcome_free(&whole);
    run_end(&r);
}

/* Stopped while judges are at work: they are not waited for, and what was answered is not asked again. */
static void test_stopped_while_judging(void **state)
{
    struct scratch *s = *state;
    struct run r = run_new(s);
    r.fake.odd_item = 6;
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    struct outcome whole = outcome_of(s);
    assert_int_equal(pc_dir_remove(scratch_path(s, "out"), NULL), 0);
    size_t n_kept = 0;
    for (int i = 0; i < 2; i++) { // the second time after no more than a look
        g_slow = true;
        g_hurry = false;
        r.fake = fake_new();
        r.fake.odd_item = 6;
        r.patience = i == 0 ? 11 : 2; // an answer takes two polls
        double start = pc_seconds();
        assert_int_equal(run_once(&r, SIZE_MAX), PACO_ECANCELLED);
        assert_true(pc_seconds() - start < 10);
        assert_contains(r.err.message, "stopped with 0 of 12 items answered");
        assert_true(has(s, "out/doubles.paco-partial"));
        n_kept += i == 0 ? r.fake.n_asked - r.fake.n_open - 1 : 0; // but the odd one
    }
    assert_int_equal(n_kept, 4);
    g_slow = false;
    r.fake = fake_new();
    r.fake.odd_item = 6;
    r.patience = 0;
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    assert_true(r.result.n_resumed >= n_kept);
    assert_int_equal(r.fake.n_asked, N_ITEMS - r.result.n_resumed);
    struct outcome again = outcome_of(s);
    assert_same_outcome(&whole, &again);
    outcome_free(&again);
    outcome_free(&whole);
    run_end(&r);
}

/* A killed process leaves any beginning of its journal. */
static void test_killed_anywhere(void **state)
{
    struct scratch *s = *state;
    struct run r = run_new(s);
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    struct outcome whole = outcome_of(s);
    assert_int_equal(pc_dir_remove(scratch_path(s, "out"), NULL), 0);
    r.fake = fake_new();
    assert_int_equal(run_once(&r, N_ITEMS - 1), PACO_ECANCELLED);
    struct pc_buf journal;
    const char *path = "out/doubles.paco-partial/" PC_JOURNAL_NAME;
    assert_int_equal(pc_file_slurp(scratch_path(s, path), 1 << 20, &journal, NULL), 0);
    for (size_t len = journal.len; len > 0; len -= len > 97 ? 97 : len) {
        assert_int_equal(pc_dir_remove(scratch_path(s, "out"), NULL), 0);
        scratch_write(s, path, journal.data, len);
        if (len == journal.len) // killed while it wrote results
            scratch_text(s, "out/doubles.paco-partial/below/results.json.a1b2c3", "{");
        r.fake = fake_new();
        assert_int_equal(run_once(&r, SIZE_MAX), 0);
        assert_false(has(s, "out/doubles/below"));
        struct outcome again = outcome_of(s);
        assert_same_outcome(&whole, &again);
        outcome_free(&again);
    }
    pc_buf_release(&journal);
    outcome_free(&whole);
    run_end(&r);
}

/* All files are written and the journal says so, but the directory has not got its name. */
static void test_killed_before_the_rename(void **state)
{
    struct scratch *s = *state;
    struct run r = run_new(s);
    char from[300], to[320], line[64], hex[PC_SHA256_HEX];
    struct pc_buf journal;
    assert_int_equal(run_once(&r, N_ITEMS - 1), PACO_ECANCELLED);
    const char *path = "out/doubles.paco-partial/" PC_JOURNAL_NAME;
    assert_int_equal(pc_file_slurp(scratch_path(s, path), 1 << 20, &journal, NULL), 0);
    r.fake = fake_new();
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    struct outcome whole = outcome_of(s);
    snprintf(from, sizeof from, "%s/out/doubles", s->dir);
    snprintf(to, sizeof to, "%s.paco-partial", from);
    assert_int_equal(rename(from, to), 0);
    static const char complete[] = "{\"complete\":true}";
    uint8_t digest[PC_SHA256_SIZE];
    struct pc_sha256 *h = pc_sha256_new(NULL);
    pc_sha256_update(h, complete, sizeof complete - 1);
    pc_sha256_final(h, digest);
    pc_sha256_free(h);
    snprintf(line, sizeof line, "%.16s %s\n", pc_sha256_hex(digest, hex), complete);
    pc_buf_puts(&journal, line);
    scratch_write(s, path, journal.data, journal.len);
    r.fake = fake_new();
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    assert_int_equal(r.fake.n_asked, 0);
    assert_float_equal(r.result.score, 50.0, 0);
    struct outcome again = outcome_of(s);
    assert_same_outcome(&whole, &again);
    outcome_free(&again);
    outcome_free(&whole);
    pc_buf_release(&journal);
    run_end(&r);
}

static void test_other_flags_start_afresh(void **state)
{
    struct run r = run_new(*state);
    assert_int_equal(run_once(&r, 3), PACO_ECANCELLED);
    r.flags.fixes = PC_FIX_GSM_SIGN; // no business of this task, so it goes on
    r.fake = fake_new();
    assert_int_equal(run_once(&r, 1), PACO_ECANCELLED);
    r.flags.limit = 5;
    r.fake = fake_new();
    assert_int_equal(run_once(&r, SIZE_MAX), PACO_EEXIST); // what was answered is not thrown away unasked
    assert_int_equal(r.fake.n_asked, 0);
    r.force = true;
    r.fake = fake_new();
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    assert_int_equal(r.result.n_resumed, 0);
    assert_int_equal(r.fake.n_asked, 5);
    run_end(&r);
}

/* Verdicts of two versions do not mix, neither in results nor in what is under way. */
static void test_another_tool_is_another_run(void **state)
{
    struct scratch *s = *state;
    struct run r = run_new(s);
    g_tool = "3.11.2";
    assert_int_equal(run_once(&r, 4), PACO_ECANCELLED);
    g_tool = "3.13.0";
    r.fake = fake_new();
    assert_int_equal(run_once(&r, SIZE_MAX), PACO_EEXIST);
    assert_contains(r.err.message, "tools");
    assert_contains(r.err.message, "3.11.2");
    g_tool = "3.11.2";
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    char *results = contents(s, "results.json");
    assert_contains(results, "\"abacus\": \"3.11.2\"");
    pc_free(results);
    g_tool = "3.13.0";
    assert_int_equal(run_once(&r, SIZE_MAX), PACO_EEXIST);
    assert_contains(r.err.message,
        "holds the results of programs run with abacus 3.11.2, and here it is 3.13.0: another --out");
    g_tool = NULL;
    run_end(&r);
}

/* In no mean, counted, and asked again; then everything is as if nothing had happened. */
static void test_failed_items(void **state)
{
    struct scratch *s = *state;
    struct run r = run_new(s);
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    struct outcome whole = outcome_of(s);
    assert_int_equal(pc_dir_remove(scratch_path(s, "out"), NULL), 0);
    r.fake = fake_new();
    r.fake.bad_item = 7;
    g_bad_ask = 2;
    g_judge_rc = PACO_EIO;
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    assert_int_equal(r.result.n_failed, 3);
    assert_float_equal(r.result.score, 50.0, 0);
    char *items = contents(s, "items.jsonl");
    assert_contains(items, "\"n_output_tokens\":2,\"error\":\"7 tokens do not fit into 6\"}\n");
    assert_contains(items, "\"error\":\"too long to be asked\"}\n");
    assert_contains(items, "\"error\":\"no verdict\"}\n");
    pc_free(items);
    r.fake = fake_new();
    g_bad_ask = SIZE_MAX;
    g_judge_rc = 0;
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    assert_int_equal(r.result.n_failed, 0);
    assert_int_equal(r.fake.n_asked, 3);
    assert_int_equal(r.result.n_resumed, N_ITEMS - 3);
    struct outcome again = outcome_of(s);
    assert_same_outcome(&whole, &again);
    outcome_free(&again);
    outcome_free(&whole);
    run_end(&r);
}

static void test_what_ends_a_run(void **state)
{
    struct scratch *s = *state;
    struct run r = run_new(s);
    r.fake.dies_with = 3;
    assert_int_equal(run_once(&r, SIZE_MAX), PACO_EIO);
    assert_string_equal(r.err.message, "the weights went away");
    g_judge_rc = PACO_ENOSPC;
    r.fake = fake_new();
    assert_int_equal(run_once(&r, SIZE_MAX), PACO_ENOSPC);
    assert_contains(r.err.message, "no verdict");
    g_judge_rc = 0;
    r.fake = fake_new();
    assert_int_equal(pc_dir_remove(scratch_path(s, "out"), NULL), 0);
    r.fake.bad_item = 7; // no item is to blame when memory is out
    r.fake.bad_code = PACO_EMEM;
    assert_int_equal(run_once(&r, SIZE_MAX), PACO_EMEM);
    assert_true(has(s, "out/doubles.paco-partial"));
    r.fake = fake_new();
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    assert_int_equal(r.result.n_failed, 0);
    run_end(&r);
}

/* Each allocation fails in turn: no memory, said so, and nothing that looks finished. */
static void test_without_memory(void **state)
{
    struct scratch *s = *state;
    struct run r = run_new(s);
    r.flags.limit = 2;
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    struct outcome whole = outcome_of(s);
    bool left_something = true;
    for (int64_t n = 0; left_something; n++) {
        assert_int_equal(pc_dir_remove(scratch_path(s, "out"), NULL), 0);
        r.fake = fake_new();
        pc_alloc_fail_after(n);
        int rc = run_once(&r, SIZE_MAX);
        pc_alloc_fail_after(-1);
        // In its very last step only the journal's own file may stay behind, which the next call removes.
        left_something = rc < 0 || has(s, "out/doubles/" PC_JOURNAL_NAME);
        if (rc == 0)
            assert_int_equal(run_once(&r, SIZE_MAX), 0);
        assert_true(rc == 0 || rc == PACO_EMEM);
        assert_true(rc == 0 || !has(s, "out/doubles/results.json"));
    }
    struct outcome again = outcome_of(s);
    assert_same_outcome(&whole, &again);
    outcome_free(&again);
    outcome_free(&whole);
    run_end(&r);
}

static void test_bad_data(void **state)
{
    struct run r = run_new(*state);
    g_open_rc = PACO_EFORMAT;
    assert_int_equal(run_once(&r, SIZE_MAX), PACO_EFORMAT);
    assert_string_equal(r.err.message, "line 3: no number");
    assert_string_equal(r.err.path, "doubles.jsonl");
    assert_int_equal(r.err.offset, 17);
    assert_false(has(*state, "out"));
    run_end(&r);
}

static void test_broken_results(void **state)
{
    struct scratch *s = *state;
    struct run r = run_new(s);
    assert_int_equal(run_once(&r, SIZE_MAX), 0);
    scratch_text(s, "out/doubles/results.json", "{\"task\": ");
    assert_int_equal(run_once(&r, SIZE_MAX), PACO_EFORMAT);
    assert_contains(r.err.message, "the results that are there");
    assert_contains(r.err.path, "results.json");
    run_end(&r);
}

static void test_scores_of_records(void **state)
{
    (void)state;
    static const struct {
        const char *record;
        double score;
    } cases[] = {{"{\"correct\": true}", 1}, {"{\"correct\": false}", 0},
        {"{\"correct\": [true, false, true, true]}", 0.75}, {"{\"score\": 0.25, \"correct\": true}", 0.25},
        {"{\"score\": 1}", 1}, {"{\"correct\": []}", NAN}, {"{\"error\": \"no\"}", NAN}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *v;
        assert_int_equal(pc_json_parse(cases[i].record, strlen(cases[i].record), NULL, 0, &v, NULL), 0);
        double x = pc_record_score(v);
        assert_true(isnan(cases[i].score) ? isnan(x) : x == cases[i].score);
        json_decref(v);
    }
}

int main(void)
{
    pc_json_use_memory();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_done_already, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stopped_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stopped_while_judging, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_before_the_rename, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_flags_start_afresh, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_another_tool_is_another_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failed_items, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_ends_a_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_data, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_results, set_up, tear_down),
        cmocka_unit_test(test_scores_of_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
