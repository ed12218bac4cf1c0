// SPDX-License-Identifier: Apache-2.0
/* AlpacaFarm: long answers to 805 instructions, to be compared with text-davinci-003's (reference, section
 * 7). Upstream's script makes the answers and has GPT-4 say which is better; here the answers are made, in
 * upstream's file. Preferences come from elsewhere: recorded ones (win_rate.h), or judges
 * (task_alpaca_judge.c). */
#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "eval/alpaca_data.h"
#include "eval/results.h"
#include "eval/tasks.h"
#include "eval/wrap.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TOKENS = 2048 };

struct pc_task_data {
    struct pc_alpaca_list set;
    size_t n;
    enum pc_format format;
    char generator[200], file[256]; /* "<name>-greedy-long", and its file */
};

static void close_data(struct pc_task_data *d)
{
    if (!d)
        return;
    pc_alpaca_release(&d->set);
    pc_free(d);
}

static int open_data(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err)
{
    struct pc_task_data *d = pc_alloc_zero(1, sizeof *d);
    (void)task;
    if (!d)
        return pc_error_mem(err, sizeof *d, "AlpacaFarm");
    int rc = pc_alpaca_read_baseline(env, &d->set, err);
    if (rc < 0) {
        close_data(d);
        return rc;
    }
    d->n = d->set.n;
    if (env->flags->limit > 0 && (uint64_t)env->flags->limit < d->n)
        d->n = (size_t)env->flags->limit;
    d->format = pc_wrap_format(env);
    snprintf(d->generator, sizeof d->generator, "%.180s-greedy-long",
        env->model_name ? pc_path_base(env->model_name) : "model");
    pc_alpaca_outputs_name(env->model_name, d->file);
    if (!d->set.has_inputs)
        pc_note(env->notes,
            "AlpacaFarm: %s has instruction and input already joined, as AlpacaEval has them: prompts of "
            "the 805 with an input may differ from upstream's in white space",
            d->set.path);
    *out = d;
    return 0;
}

static size_t count(const struct pc_task_data *d)
{
    return d->n;
}

static void name_item(const struct pc_task_data *d, size_t i, char out[96], const char **group)
{
    snprintf(out, 96, "%zu", i);
    *group = d->set.v[i].dataset;
}

/* Upstream strips both parts, but only where there is an input. */
static void put_instruction(struct pc_buf *b, const struct pc_alpaca_row *row)
{
    struct pc_text instruction = row->instruction, input = row->input;
    if (!input.len) {
        pc_buf_add(b, instruction.v, instruction.len);
        return;
    }
    pc_utf8_strip(&instruction.v, &instruction.len);
    pc_utf8_strip(&input.v, &input.len);
    pc_buf_add(b, instruction.v, instruction.len);
    pc_buf_puts(b, "\n\n");
    pc_buf_add(b, input.v, input.len);
}

static int ask(const struct pc_task_data *d, size_t i, struct pc_ask *a, struct paco_error *err)
{
    bool own = d->format != PC_FORMAT_TULU && d->format != PC_FORMAT_RAW;
    const char *const *stops = own ? pc_format_stops(d->format) : NULL;
    put_instruction(a->prompt, &d->set.v[i]);
    a->texts_only = own;
    for (; stops && *stops && a->n_stop_texts < PC_MAX_STOPS; stops++)
        a->stop_texts[a->n_stop_texts++] = *stops;
    a->kind = PC_ASK_TEXT;
    a->bos = true;
    a->new_only = true;
    a->max_tokens = MAX_TOKENS;
    a->n_samples = 1;
    return pc_wrap(d->format, a->prompt, "", err);
}

static int judge(const struct pc_task_data *d, size_t i, const struct pc_answers *answers, json_t *record,
    struct paco_error *err)
{
    const struct pc_alpaca_row *row = &d->set.v[i];
    struct pc_text output = {answers->texts[0], answers->lens[0]};
    json_t *o = json_pack("{s:s%, s:s%, s:s, s:s%}", "instruction", row->instruction.v, row->instruction.len,
        "input", row->input.v, row->input.len, "generator", d->generator, "output", output.v, output.len);
    int rc = o ? json_object_update(record, o) : -1;
    json_decref(o);
    return rc < 0 ? pc_error_mem(err, output.len, "a record") : 0;
}

/* Upstream's file: what it is asked to judge later, or what another tool is. */
static int write_outputs(
    const struct pc_task_data *d, const json_t *records, const char *dir, struct paco_error *err)
{
    static const char *const names[] = {"instruction", "input", "generator", "output"};
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; i < json_array_size(records) && ok; i++) {
        const json_t *record = json_array_get(records, i);
        if (json_object_get(record, "error"))
            continue;
        json_t *o = json_object();
        ok = json_array_append_new(list, o) == 0;
        for (size_t k = 0; k < 4 && ok; k++)
            ok = json_object_set(o, names[k], json_object_get(record, names[k])) == 0;
    }
    int rc = ok ? pc_results_put(dir, d->file, list, PC_JSON_PRETTY_4, false, err)
                : pc_error_mem(err, 0, "the answers");
    json_decref(list);
    return rc;
}

static double mean_length(const json_t *records)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(records); i++) {
        const json_t *output = json_object_get(json_array_get(records, i), "output");
        if (!json_is_string(output))
            continue;
        sum +=
            (double)pc_alpaca_length((struct pc_text){json_string_value(output), json_string_length(output)});
        n++;
    }
    return n ? sum / (double)n : 0;
}

static int finish(const struct pc_task_data *d, const json_t *records, const char *dir, json_t *metrics,
    double *score, double *se, struct paco_error *err)
{
    int rc = write_outputs(d, records, dir, err);
    if (rc == 0 && json_object_set_new(metrics, "mean_length", json_real(mean_length(records))) < 0)
        rc = pc_error_mem(err, 0, "metrics");
    *score = *se = (double)NAN;
    return rc;
}

const struct pc_task pc_task_alpaca_farm = {
    .name = "alpaca_farm",
    .summary = "805 instructions answered at length, for a judge to compare with text-davinci-003's answers",
    .benchmark = "AlpacaFarm",
    .setting = "vs. text-davinci-003",
    .card_score = 21.1,
    .metrics_style = PC_JSON_PRETTY_4,
    .open = open_data,
    .close = close_data,
    .n_items = count,
    .name_item = name_item,
    .ask = ask,
    .judge = judge,
    .finish = finish,
};
