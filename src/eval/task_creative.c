// SPDX-License-Identifier: Apache-2.0
/* Instructions without a right answer, to be answered at length and read by people: Koala's, Self-Instruct's
 * and Vicuna's test sets. Upstream later answers such sets with its script predict.py, whose file this is:
 * the data's own lines, with `output`. There is no score.
 *
 * The question is asked in the format the model was tuned on, as upstream asks AlpacaFarm's: with BOS,
 * greedily, of at most 2048 tokens; an input stands behind the instruction and an empty line. */
#include "base/memory.h"
#include "base/utf8.h"
#include "eval/eval_data.h"
#include "eval/task_out.h"
#include "eval/tasks.h"
#include "eval/wrap.h"
#include "prompt/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KOALA, SELF_INSTRUCT, VICUNA };
enum { MAX_NEW_TOKENS = 2048, MAX_PROMPT = 16 << 20 };

struct question {
    char name[80];
    const char *group; /* a view into lines, or NULL */
    struct pc_text instruction, input;
};

struct pc_task_data {
    enum pc_format format;
    struct pc_jsonl lines;
    struct question *questions;
    size_t n;
};

static int out_of_memory(struct paco_error *err)
{
    return pc_error_mem(err, 256, "creative tasks");
}

/* ---- the data ---- */

static const char *const g_files[][2] = {
    [KOALA] = {"creative_tasks/koala_test.jsonl", NULL},
    [SELF_INSTRUCT] = {"creative_tasks/self_instruct_test.jsonl", NULL},
    [VICUNA] = {"creative_tasks/vicuna_test.jsonl", NULL},
};

static int read_id(const struct pc_jsonl *lines, size_t i, struct question *q, struct paco_error *err)
{
    struct pc_text id;
    int rc = pc_jsonl_text(lines, i, "id", &id, err);
    if (rc == 0)
        snprintf(q->name, sizeof q->name, "%s", id.v);
    return rc;
}

static int read_self_instruct(
    const struct pc_jsonl *lines, size_t i, struct question *q, struct paco_error *err)
{
    const json_t *instances = json_object_get(lines->v[i], "instances");
    int rc = read_id(lines, i, q, err);
    if (rc == 0)
        rc = pc_jsonl_text(lines, i, "instruction", &q->instruction, err);
    if (rc < 0)
        return rc;
    if (json_array_size(instances) == 0)
        return pc_error_file(err, PACO_EFORMAT, lines->path, 0,
            "line %zu: has no \"instances\", a list of objects with \"input\"", lines->line[i]);
    rc = pc_member_text(json_array_get(instances, 0), "input", &q->input, err);
    if (rc < 0) {
        pc_error_prefix(err, "line %zu: instances[0]", lines->line[i]);
        pc_error_path(err, lines->path);
    }
    return rc;
}

static int read_vicuna(const struct pc_jsonl *lines, size_t i, struct question *q, struct paco_error *err)
{
    int64_t id;
    int rc = pc_json_get_i64(lines->v[i], "question_id", 0, INT32_MAX, &id, err);
    if (rc == 0)
        rc = pc_json_opt_str(lines->v[i], "category", &q->group, err);
    if (rc < 0) {
        pc_error_prefix(err, "line %zu", lines->line[i]);
        pc_error_path(err, lines->path);
        return rc;
    }
    snprintf(q->name, sizeof q->name, "vicuna_%d", (int)id);
    return pc_jsonl_text(lines, i, "text", &q->instruction, err);
}

static int read_question(struct pc_task_data *d, int variant, size_t i, struct paco_error *err)
{
    struct question *q = &d->questions[i];
    if (variant == SELF_INSTRUCT)
        return read_self_instruct(&d->lines, i, q, err);
    if (variant == VICUNA)
        return read_vicuna(&d->lines, i, q, err);
    int rc = read_id(&d->lines, i, q, err);
    return rc < 0 ? rc : pc_jsonl_text(&d->lines, i, "prompt", &q->instruction, err);
}

static int read_questions(
    struct pc_task_data *d, const struct pc_task *task, const struct pc_task_env *env, struct paco_error *err)
{
    char *path;
    int rc = pc_eval_find(env->data_dir, task->name, g_files[task->variant], &path, err);
    if (rc < 0)
        return rc;
    rc = pc_jsonl_read(env, path, &d->lines, err);
    pc_free(path);
    if (rc < 0)
        return rc;
    d->n = d->lines.n;
    if (env->flags->limit > 0 && (uint64_t)env->flags->limit < d->n)
        d->n = (size_t)env->flags->limit;
    d->questions = pc_alloc_zero(d->n, sizeof *d->questions);
    rc = d->questions ? 0 : out_of_memory(err);
    for (size_t i = 0; i < d->n && rc == 0; i++)
        rc = read_question(d, task->variant, i, err);
    return rc;
}

/* ---- the door ---- */

static void creative_close(struct pc_task_data *d)
{
    if (!d)
        return;
    pc_jsonl_release(&d->lines);
    pc_free(d->questions);
    pc_free(d);
}

static int creative_open(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err)
{
    struct pc_task_data *d = pc_alloc_zero(1, sizeof *d);
    if (!d)
        return out_of_memory(err);
    d->format = pc_wrap_format(env);
    int rc = read_questions(d, task, env, err);
    if (rc < 0)
        creative_close(d);
    else
        *out = d;
    return rc;
}

static size_t creative_n_items(const struct pc_task_data *d)
{
    return d->n;
}

static void creative_name_item(const struct pc_task_data *d, size_t i, char out[96], const char **group)
{
    snprintf(out, 96, "%s", d->questions[i].name);
    *group = d->questions[i].group;
}

/* As upstream joins AlpacaFarm's: stripped, but only where there is an input. */
static void add_question(struct pc_buf *b, const struct question *q)
{
    struct pc_text instruction = q->instruction, input = q->input;
    if (input.len > 0) {
        pc_utf8_strip(&instruction.v, &instruction.len);
        pc_utf8_strip(&input.v, &input.len);
    }
    pc_buf_add(b, instruction.v, instruction.len);
    if (input.len > 0) {
        pc_buf_puts(b, "\n\n");
        pc_buf_add(b, input.v, input.len);
    }
}

static int creative_ask(const struct pc_task_data *d, size_t i, struct pc_ask *ask, struct paco_error *err)
{
    struct pc_buf user;
    pc_buf_init(&user, MAX_PROMPT);
    add_question(&user, &d->questions[i]);
    int rc = pc_buf_check(&user, "a prompt", err);
    const struct pc_message message = {"user", user.data ? user.data : ""};
    if (rc == 0)
        rc = pc_format_render(d->format, &message, 1, ask->prompt, err);
    pc_buf_release(&user);
    ask->kind = PC_ASK_TEXT;
    ask->bos = true;
    ask->new_only = true;
    ask->max_tokens = MAX_NEW_TOKENS;
    ask->n_samples = 1;
    const char *const *stops = d->format == PC_FORMAT_TULU ? NULL : pc_format_stops(d->format);
    for (; stops && *stops && ask->n_stop_texts < PC_MAX_STOPS; stops++)
        ask->stop_texts[ask->n_stop_texts++] = *stops;
    ask->texts_only = ask->n_stop_texts > 0;
    return rc;
}

static int creative_judge(const struct pc_task_data *d, size_t i, const struct pc_answers *answers,
    json_t *record, struct paco_error *err)
{
    const struct question *q = &d->questions[i];
    (void)answers; // there is nothing to judge
    int rc = pc_object_put(record, "instruction", pc_text_value(q->instruction), err);
    if (rc == 0 && q->input.len > 0)
        rc = pc_object_put(record, "input", pc_text_value(q->input), err);
    return rc;
}

/* ---- results ---- */

static json_t *output_line(const json_t *line, struct pc_text output)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)line);
    if (copy && json_object_set_new(copy, "output", pc_text_value(output)) < 0) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

static size_t count_characters(struct pc_text t)
{
    size_t n = 0;
    for (size_t i = 0; i < t.len; i++)
        n += ((unsigned char)t.v[i] & 0xc0) != 0x80;
    return n;
}

static int creative_finish(const struct pc_task_data *d, const json_t *records, const char *dir,
    json_t *metrics, double *score, double *se, struct paco_error *err)
{
    struct pc_buf lines;
    size_t n = 0, n_characters = 0;
    int rc = 0;
    pc_lines_init(&lines);
    for (size_t i = 0; i < d->n && rc == 0; i++) {
        const json_t *record = json_array_get(records, i);
        if (!pc_record_is_good(record))
            continue;
        struct pc_text output = pc_record_text(record, "output");
        n++;
        n_characters += count_characters(output);
        rc = pc_lines_add(&lines, output_line(d->lines.v[i], output), err);
    }
    rc = pc_lines_write(&lines, rc, dir, "predictions.jsonl", err);
    *score = *se = (double)NAN;
    if (rc == 0 && n > 0)
        rc = pc_object_put(metrics, "mean_length", json_real((double)n_characters / (double)n), err);
    return rc;
}

#define CREATIVE_DOOR                                                                                        \
    .card_score = (double)NAN, .metrics_style = PC_JSON_PYTHON, .open = creative_open,                       \
    .close = creative_close, .n_items = creative_n_items, .name_item = creative_name_item,                   \
    .ask = creative_ask, .judge = creative_judge, .finish = creative_finish

const struct pc_task pc_task_koala = {
    .name = "koala",
    .summary = "Koala's 180 instructions answered at length; no score",
    .setting = "answers",
    .variant = KOALA,
    CREATIVE_DOOR,
};

const struct pc_task pc_task_self_instruct = {
    .name = "self_instruct",
    .summary = "Self-Instruct's 252 instructions of users answered at length; no score",
    .setting = "answers",
    .variant = SELF_INSTRUCT,
    CREATIVE_DOOR,
};

const struct pc_task pc_task_vicuna = {
    .name = "vicuna",
    .summary = "Vicuna's 80 questions answered at length; no score",
    .setting = "answers",
    .variant = VICUNA,
    CREATIVE_DOOR,
};
