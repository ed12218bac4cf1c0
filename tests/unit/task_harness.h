// SPDX-License-Identifier: Apache-2.0
/* A benchmark's task driven through its door as eval/run.h drives it, without a model: the test gives the
 * answers.
 *
 *     struct harness h;
 *     harness_init(&h, &pc_task_bbh_cot);
 *     h.flags.limit = 2;
 *     harness_open(&h, dir);                        fails the test unless it opens; harness_refused() if not
 *     harness_prompt(&h, 0);                        the prompt; all of it is in h.ask
 *     harness_judge(&h, "So the answer is (A).");   the next item
 *     harness_finish(&h);                           h.metrics, h.score, h.se;
 * harness_file("predictions.jsonl") harness_close(&h); */
#ifndef PC_TESTS_TASK_HARNESS_H
#define PC_TESTS_TASK_HARNESS_H

#include "unit.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "eval/flags.h"
#include "eval/tasks.h"
#include "scratch.h"

#include <math.h>

enum { HARNESS_MAX_PROMPT = 16 << 20 };

struct harness {
    const struct pc_task *task;
    struct pc_task_flags flags;
    struct pc_task_env env;
    struct pc_task_data *data;
    struct pc_notes notes;
    struct pc_ask ask;
    struct pc_buf prompt, file;
    json_t *records, *metrics, *files, *tools;
    double score, se;
    struct paco_error err;
    struct scratch s;
};

static inline void harness_init(struct harness *h, const struct pc_task *task)
{
    *h = (struct harness){.task = task};
    h->flags = pc_task_flags_default();
    h->records = json_array();
    h->metrics = json_object();
    h->files = json_object();
    h->tools = json_object();
    pc_buf_init(&h->prompt, HARNESS_MAX_PROMPT);
    scratch_open(&h->s);
}

static inline int harness_try(struct harness *h, const char *dir)
{
    h->env.flags = &h->flags;
    h->env.data_dir = dir;
    h->env.notes = &h->notes;
    h->env.files = h->files;
    h->env.tools = h->tools;
    h->err = (struct paco_error){0};
    h->data = NULL;
    return h->task->open(h->task, &h->env, &h->data, &h->err);
}

static inline void harness_open(struct harness *h, const char *dir)
{
    if (harness_try(h, dir) < 0)
        fail_msg("%s: %s (%s)", h->task->name, h->err.message, h->err.path);
}

/** Opening must fail with this code and a message that has part. */
static inline void harness_refused(struct harness *h, const char *dir, int code, const char *part)
{
    int rc = harness_try(h, dir);
    if (rc == 0)
        fail_msg("%s opened what it should refuse with '%s'", h->task->name, part);
    assert_int_equal(rc, code);
    assert_int_equal(h->err.code, code);
    assert_contains(h->err.message, part);
}

static inline size_t harness_n(const struct harness *h)
{
    return h->task->n_items(h->data);
}

/** The prompt of item i; until the next call. */
static inline const char *harness_prompt(struct harness *h, size_t i)
{
    pc_buf_clear(&h->prompt);
    h->ask = (struct pc_ask){.prompt = &h->prompt};
    if (h->task->ask(h->data, i, &h->ask, &h->err) < 0)
        fail_msg("item %zu: %s", i, h->err.message);
    assert_false(h->prompt.failed);
    return h->prompt.data;
}

/** The item's name; until the next call. */
static inline const char *harness_name(const struct harness *h, size_t i)
{
    static char name[96];
    const char *group;
    h->task->name_item(h->data, i, name, &group);
    return name;
}

/** The item called name. */
static inline size_t harness_find(const struct harness *h, const char *name)
{
    for (size_t i = 0; i < harness_n(h); i++)
        if (strcmp(harness_name(h, i), name) == 0)
            return i;
    fail_msg("there is no item '%s'", name);
    return 0;
}

/** Judge n answers to the next item; its record, which h owns. */
static inline json_t *harness_judge_all(struct harness *h, const char *const *texts, size_t n)
{
    size_t lens[64], i = json_array_size(h->records);
    json_t *record = json_object(), *output = n == 1 ? json_string(texts[0]) : json_array();
    assert_true(n <= 64);
    for (size_t k = 0; k < n; k++) {
        lens[k] = strlen(texts[k]);
        if (n > 1)
            json_array_append_new(output, json_string(texts[k]));
    }
    struct pc_answers answers = {.texts = texts, .lens = lens, .n_texts = n};
    json_object_set_new(record, "output", output);
    if (h->task->judge(h->data, i, &answers, record, &h->err) < 0)
        fail_msg("item %zu: %s", i, h->err.message);
    json_array_append_new(h->records, record);
    return record;
}

static inline json_t *harness_judge(struct harness *h, const char *text)
{
    return harness_judge_all(h, &text, 1);
}

/** The next item failed. */
static inline void harness_fail_item(struct harness *h)
{
    json_array_append_new(h->records, json_pack("{s:s}", "error", "it failed"));
}

static inline void harness_finish(struct harness *h)
{
    if (h->task->finish(h->data, h->records, h->s.dir, h->metrics, &h->score, &h->se, &h->err) < 0)
        fail_msg("%s", h->err.message);
}

/** A file that finish wrote; until the next call. */
static inline const char *harness_file(struct harness *h, const char *name)
{
    pc_buf_release(&h->file);
    if (pc_file_slurp(scratch_path(&h->s, name), HARNESS_MAX_PROMPT, &h->file, &h->err) < 0)
        fail_msg("%s: %s", name, h->err.message);
    return h->file.data ? h->file.data : "";
}

/** What metrics.json will hold. */
static inline const char *harness_metrics(struct harness *h)
{
    pc_buf_release(&h->file);
    pc_buf_init(&h->file, HARNESS_MAX_PROMPT);
    pc_json_write(&h->file, h->metrics, h->task->metrics_style);
    return h->file.data;
}

static inline void harness_close(struct harness *h)
{
    h->task->close(h->data);
    json_decref(h->records);
    json_decref(h->metrics);
    json_decref(h->files);
    json_decref(h->tools);
    pc_buf_release(&h->prompt);
    pc_buf_release(&h->file);
    pc_notes_release(&h->notes);
    scratch_close(&h->s);
}

/* Everything from open to finish, each item answered with text, or with 0.4 for the first of four choices. */
static inline int harness_walk(struct harness *h, const char *dir, const char *text)
{
    const double probs[] = {0.4, 0.2, 0.2, 0.2};
    size_t len = strlen(text);
    json_t *records = json_array(), *metrics = json_object();
    int rc = records && metrics ? harness_try(h, dir) : PACO_EMEM;
    for (size_t i = 0; rc == 0 && i < harness_n(h); i++) {
        struct pc_buf prompt;
        pc_buf_init(&prompt, HARNESS_MAX_PROMPT);
        struct pc_ask ask = {.prompt = &prompt};
        rc = h->task->ask(h->data, i, &ask, &h->err);
        if (rc == 0)
            rc = pc_buf_check(&prompt, "a prompt", &h->err);
        pc_buf_release(&prompt);
        struct pc_answers answers = {.probs = probs, .n_probs = 4};
        if (ask.kind == PC_ASK_NATS)
            answers = (struct pc_answers){.nats = {1.5, 2, 3}};
        if (ask.kind == PC_ASK_TEXT)
            answers = (struct pc_answers){.texts = &text, .lens = &len, .n_texts = 1};
        json_t *record = rc == 0 ? json_object() : NULL;
        if (rc == 0)
            rc = record ? h->task->judge(h->data, i, &answers, record, &h->err) : PACO_EMEM;
        if (record && json_array_append_new(records, record) < 0)
            rc = PACO_EMEM;
    }
    if (rc == 0)
        rc = h->task->finish(h->data, records, h->s.dir, metrics, &h->score, &h->se, &h->err);
    h->task->close(h->data);
    h->data = NULL;
    json_decref(records);
    json_decref(metrics);
    return rc;
}

/** Fail each allocation from open to finish in turn: PACO_EMEM and nothing else may come of it. */
static inline void harness_torture(struct harness *h, const char *dir, const char *text)
{
    pc_json_use_memory();
    for (int64_t n = 0;; n++) {
        pc_alloc_fail_after(n);
        int rc = harness_walk(h, dir, text);
        pc_alloc_fail_after(-1);
        if (rc == 0)
            break;
        // jansson takes a string it has no memory for to be bad syntax.
        if (rc != PACO_EMEM && !(rc == PACO_EFORMAT && strstr(h->err.message, "JSON: ")))
            fail_msg("allocation %d: %s", (int)n, h->err.message);
    }
}

/** What upstream's prompts are known by: their length and the first digits of their SHA-256. */
static inline void assert_prompt(const char *prompt, size_t len, const char *digits)
{
    uint8_t digest[PC_SHA256_SIZE];
    char hex[PC_SHA256_HEX];
    struct pc_sha256 *hash = pc_sha256_new(NULL);
    pc_sha256_update(hash, prompt, strlen(prompt));
    pc_sha256_final(hash, digest);
    pc_sha256_free(hash);
    pc_sha256_hex(digest, hex);
    hex[strlen(digits)] = '\0';
    if (strlen(prompt) != len || strcmp(hex, digits) != 0)
        fail_msg("%zu bytes, %s instead of %zu, %s: %s", strlen(prompt), hex, len, digits, prompt);
}

/** Where the benchmarks' own data are; skips the test when `name` is not there. */
static inline const char *harness_data(const char *name)
{
    const char *dir = getenv("PACO_DATA");
    static char path[1024];
    dir = dir ? dir : "../shared/data";
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!pc_path_exists(path))
        skip_because("no %s in the test data (set PACO_DATA)", name);
    return dir;
}

#endif
