// SPDX-License-Identifier: Apache-2.0
/* Evaluation while training goes on. Every time the weights are taken as they would be saved at that moment
 * (pc_narrow over the very memory that is trained), an engine is opened over them and closed again:
 * benchmarks are asked by the code of `paco eval`, into OUT/eval/step_K, so that their results are those of
 * `paco eval` on the saved model, down to the digest of its weights. What was measured already when a run
 * goes on is not measured again, and a benchmark that was interrupted goes on where it was. */
#include "cli/finetune_watch.h"

#include "base/cpu.h"
#include "base/file.h"
#include "base/host.h"
#include "base/journal.h"
#include "base/memory.h"
#include "cli/eval_party.h"
#include "cli/finetune_weights.h"
#include "eval/tasks.h"
#include "paco/paco.h"
#include "train/run_log.h"
#include "train/samples.h"
#include "train/validate.h"
#include "weights/narrow.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PROMPTS_FILE = 1 << 26, MAX_PROMPTS = 1024 };

/* ---- before anything is computed ---- */

/* What prompts are wrapped in: as examples are. */
static enum pc_format format_of(const struct pc_finetune *f)
{
    switch (f->examples.encoding) {
    case PC_ENCODING_MESSAGES: return PC_FORMAT_TULU;
    case PC_ENCODING_STANFORD: return PC_FORMAT_ALPACA;
    default: return PC_FORMAT_RAW;
    }
}

/* The model as it will be when it is saved, but for the weights. The embedding's row of a new pad token must
 * not be chosen, and its tokenizer will tell by that token what it was tuned on. */
static int open_answering(struct pc_finetune_watch *w, struct paco_error *err)
{
    const struct pc_finetune *f = w->f;
    const struct pc_wishes wishes = pc_wishes_plain(NULL, "auto");
    w->a.model.lead = f->model.lead;
    w->a.model.config = &f->config;
    int rc = pc_answering_settle(f->self, &wishes, &w->a, err);
    if (rc == 0 && f->new_pad) {
        w->a.prompter.tuned = strcmp(f->new_pad, "<pad>") == 0 ? PC_FORMAT_TULU : PC_FORMAT_ALPACA;
        w->a.suppressed[0] = f->config.vocab_size - 1;
        w->a.sampling.n_suppressed = 1;
    }
    return rc;
}

static int read_prompts(struct pc_finetune_watch *w, struct paco_error *err)
{
    const struct pc_finetune *f = w->f;
    struct pc_prompter how = {
        .self = f->self, .tok = f->tok, .format = format_of(f), .bos = -1, .remarked = true};
    struct pc_buf text;
    int rc = pc_file_slurp(f->v->sample_prompts, MAX_PROMPTS_FILE, &text, err);
    if (rc == 0)
        rc = pc_prompts_add_jsonl(
            &w->prompts, &how, f->v->sample_prompts, text.data ? text.data : "", text.len, err);
    pc_buf_release(&text);
    if (rc == 0 && (w->prompts.n == 0 || w->prompts.n > MAX_PROMPTS)) {
        rc = pc_error_set(
            err, PACO_EINVAL, "has %zu prompts; 1 to %d are expected", w->prompts.n, MAX_PROMPTS);
        pc_error_path(err, f->v->sample_prompts);
    }
    return rc;
}

/* "a,b" and its like. */
static int add_tasks(struct pc_finetune_watch *w, const char *list, struct paco_error *err)
{
    for (const char *s = list; *s;) {
        size_t n = strcspn(s, ",");
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), s);
        const struct pc_task *task = pc_task_find(name, err);
        if (!task)
            return pc_error_prefix(err, "--eval_tasks"), PACO_EINVAL;
        if (w->n_tasks == PC_FINETUNE_MAX_TASKS)
            return pc_error_set(err, PACO_EINVAL, "--eval_tasks: more than %d tasks", PC_FINETUNE_MAX_TASKS);
        w->tasks[w->n_tasks++] = task;
        s += n + (s[n] == ',');
    }
    if (w->f->v->eval_data && pc_path_is_dir(w->f->v->eval_data))
        return 0;
    pc_error_set(err, PACO_ENOENT,
        "--eval_data DIR is %s: where are the benchmarks' data? (paco data fetch eval gets them)",
        w->f->v->eval_data ? "no folder" : "missing");
    pc_error_path(err, w->f->v->eval_data);
    return PACO_ENOENT;
}

int pc_finetune_watch_open(struct pc_finetune_watch *w, struct pc_finetune *f, struct paco_error *err)
{
    w->f = f;
    pc_finetune_bar_init(&w->bar, f->self);
    if (f->party.rank > 0) // rank 0 measures
        return 0;
    int rc = f->v->eval_tasks ? add_tasks(w, f->v->eval_tasks, err) : 0;
    if (rc == 0 && f->v->sample_prompts)
        rc = read_prompts(w, err);
    if (rc == 0 && (w->n_tasks || w->prompts.n))
        rc = open_answering(w, err);
    return rc;
}

void pc_finetune_watch_close(struct pc_finetune_watch *w)
{
    pc_watch_close(w->watch);
    pc_prompts_release(&w->prompts);
    w->a.model = (struct pc_model){.sum = NULL}; // the weights are f's
    pc_answering_close(&w->a);
}

/* ---- what the run is ---- */

static json_t *counts_of(const struct pc_examples *e)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "read", (json_int_t)e->n_read, "trained",
        (json_int_t)e->n, "dropped", (json_int_t)e->n_dropped, "truncated", (json_int_t)e->n_truncated,
        "no_eos", (json_int_t)e->n_no_eos, "masked", (json_int_t)e->n_masked, "empty", (json_int_t)e->n_empty,
        "tokens", (json_int_t)e->n_ids, "trained_tokens", (json_int_t)e->n_trained);
}

/* For the page, and for whoever finds the folder. *owned*; NULL when memory is out. */
static json_t *about(const struct pc_finetune_watch *w)
{
    const struct pc_finetune *f = w->f;
    char model[256], hex[PC_SHA256_HEX];
    pc_source_name(f->model.lead, model, sizeof model);
    json_t *held = f->validation.n ? json_pack("{s:I,s:I,s:I}", "examples", (json_int_t)f->validation.n,
                                         "tokens", (json_int_t)f->validation.n_ids, "trained_tokens",
                                         (json_int_t)f->validation.n_trained)
                                   : json_null();
    json_t *machine = json_pack("{s:s,s:i,s:I}", "cpu", pc_cpu_level(), "threads", pc_pool_size(f->pool),
        "memory_bytes", (json_int_t)(w->bar.limit > INT64_MAX ? 0 : w->bar.limit));
    return json_pack("{s:s,s:o,s:o,s:s,s:o,s:o,s:I,s:I,s:o,s:O}", "paco_version", paco_version(), "model",
        json_string_nocheck(model), "train_file", json_string_nocheck(f->v->train_file), "train_file_sha256",
        pc_sha256_hex(f->examples.file_digest, hex), "examples", counts_of(&f->examples), "validation", held,
        "n_steps", (json_int_t)f->trainer->course.n_updates, "parameters", (json_int_t)f->params->n_elements,
        "machine", machine, "identity", f->identity);
}

/* ---- measuring ---- */

static int validate(struct pc_finetune_watch *w, uint64_t step, struct paco_error *err)
{
    struct pc_validation v;
    int rc = pc_trainer_validate(w->f->trainer, &w->bar.progress, &v, err);
    if (rc < 0)
        return rc;
    const struct pc_watch_score score = {.name = PC_RUN_VALIDATION,
        .value = v.loss,
        .standard_error = (double)NAN,
        .n = v.n_trained,
        .seconds = v.seconds};
    pc_finetune_bar_note(&w->bar, "step %llu: validation loss %.4f", (unsigned long long)step, v.loss);
    return pc_watch_score(w->watch, step, &score, err);
}

static int keep_answers(
    struct pc_finetune_watch *w, uint64_t step, const struct pc_sample *samples, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < w->prompts.n && rc == 0; i++) {
        const struct pc_ids *ids = &w->prompts.v[i];
        struct pc_buf question;
        pc_buf_init(&question, MAX_PROMPTS_FILE);
        rc = pc_tokenizer_decode(w->f->tok, ids->v, ids->n, false, &question, err);
        const struct pc_watch_answer a = {.prompt = i,
            .question = question.data ? question.data : "",
            .answer = samples[i].text,
            .stop = pc_stop_name(samples[i].stop),
            .n_tokens = samples[i].n_tokens};
        if (rc == 0 && !pc_watch_has_answer(w->watch, i))
            rc = pc_watch_answer(w->watch, step, &a, err);
        pc_buf_release(&question);
    }
    return rc;
}

static int ask_prompts(
    struct pc_finetune_watch *w, const struct pc_checkpoint *weights, uint64_t step, struct paco_error *err)
{
    struct pc_sample *samples = pc_alloc_zero(w->prompts.n, sizeof *samples);
    const struct pc_samples_options o = {.weights = weights,
        .config = &w->f->config,
        .tok = w->f->tok,
        .prompts = w->prompts.v,
        .n = w->prompts.n,
        .max_tokens = (int32_t)w->f->v->sample_length,
        .eos_ids = w->a.eos,
        .n_eos = w->a.n_eos,
        .suppressed = w->a.suppressed,
        .n_suppressed = w->a.sampling.n_suppressed,
        .n_threads = (int)w->f->v->threads,
        .progress = &w->bar.progress};
    int rc = samples ? pc_samples_ask(&o, samples, err) : pc_error_mem(err, w->prompts.n, "answers");
    if (rc == 0)
        rc = keep_answers(w, step, samples, err);
    for (size_t i = 0; samples && i < w->prompts.n; i++)
        pc_free(samples[i].text);
    pc_free(samples);
    return rc;
}

static int keep_scores(
    struct pc_finetune_watch *w, uint64_t step, const struct pc_party *p, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < p->n_tasks && rc == 0; i++) {
        const struct pc_eval_result *r = pc_eval_result(p->evals[i]);
        const struct pc_watch_score score = {.name = r->task->name,
            .value = r->score,
            .standard_error = r->se,
            .n = r->n_items,
            .seconds = r->seconds};
        pc_finetune_bar_note(
            &w->bar, "step %llu: %s %.1f", (unsigned long long)step, r->task->name, r->score);
        if (!pc_watch_has_score(w->watch, r->task->name))
            rc = pc_watch_score(w->watch, step, &score, err);
    }
    return rc;
}

/* The configuration beside the saved weights says their type. */
static struct pc_config saved_config(const struct pc_finetune *f, const struct pc_checkpoint *weights)
{
    struct pc_config config = f->config;
    config.has_dtype |= pc_source_makes_files(f->model.lead);
    if (config.has_dtype)
        config.dtype = pc_widest_float(weights);
    return config;
}

static int ask_tasks(
    struct pc_finetune_watch *w, struct pc_checkpoint *weights, uint64_t step, struct paco_error *err)
{
    struct pc_eval_values v = pc_eval_values_default();
    struct pc_party p = {.self = w->f->self, .v = &v, .data = w->f->v->eval_data, .given = true, .a = w->a};
    struct pc_config config = saved_config(w->f, weights);
    struct pc_buf out;
    pc_buf_init(&out, 1 << 16);
    pc_buf_printf(&out, "%s/eval/step_%llu", w->f->v->out, (unsigned long long)step);
    v.out = out.data;
    v.model.threads = w->f->v->threads;
    v.flags.limit = w->f->v->eval_limit;
    v.force = true; // what lies there is of another run
    p.a.model.config = &config;
    p.a.model.weights = p.a.model.source.ck = weights;
    snprintf(p.name, sizeof p.name, "%s", pc_path_base(w->f->v->out));
    p.n_tasks = w->n_tasks;
    memcpy(p.tasks, w->tasks, w->n_tasks * sizeof *w->tasks);
    int rc = pc_buf_check(&out, "a path", err);
    if (rc == 0)
        rc = pc_party_run(&p, 0, err);
    if (rc == 0)
        rc = keep_scores(w, step, &p, err);
    pc_party_close(&p);
    pc_buf_release(&out);
    pc_progress_bar(w->f->self); // signals are training's again
    return rc;
}

static bool is_due(const struct pc_finetune_watch *w, uint64_t step)
{
    uint64_t every = (uint64_t)w->f->v->eval_steps;
    return step == 0 || step == w->f->trainer->course.n_updates || (every && step % every == 0);
}

static bool lacks_answers(const struct pc_finetune_watch *w)
{
    for (size_t i = 0; i < w->prompts.n; i++)
        if (!pc_watch_has_answer(w->watch, i))
            return true;
    return false;
}

static bool lacks_scores(const struct pc_finetune_watch *w)
{
    for (size_t i = 0; i < w->n_tasks; i++)
        if (!pc_watch_has_score(w->watch, w->tasks[i]->name))
            return true;
    return false;
}

/* All that is asked for and not there yet. */
static int measure(struct pc_finetune_watch *w, uint64_t step, struct paco_error *err)
{
    struct pc_finetune_weights weights = {.ck = NULL};
    bool answers = lacks_answers(w), scores = lacks_scores(w);
    int rc = 0;
    if (w->f->validation.n && !pc_watch_has_score(w->watch, PC_RUN_VALIDATION))
        rc = validate(w, step, err);
    if (rc == 0 && (answers || scores))
        rc = pc_finetune_weights_open(w->f, &weights, err);
    if (rc == 0 && answers)
        rc = ask_prompts(w, weights.ck, step, err);
    if (rc == 0 && scores)
        rc = ask_tasks(w, weights.ck, step, err);
    pc_finetune_weights_close(&weights);
    if (rc < 0)
        pc_error_prefix(err, "measuring at step %llu", (unsigned long long)step);
    return rc;
}

/* ---- as training goes ---- */

static int forget_results(const struct pc_finetune_watch *w, struct paco_error *err)
{
    char **names = NULL, *dir = pc_path_join(w->f->v->out, "eval");
    size_t n = 0;
    int rc = dir ? 0 : pc_error_mem(err, strlen(w->f->v->out), "a path");
    if (rc == 0 && pc_path_is_dir(dir))
        rc = pc_dir_list(dir, &names, &n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        char *path = strncmp(names[i], "step_", 5) == 0 ? pc_path_join(dir, names[i]) : NULL;
        rc = path ? pc_dir_remove(path, err) : 0;
        pc_free(path);
    }
    pc_names_free(names, n);
    pc_free(dir);
    return rc;
}

int pc_finetune_watch_begin(void *ctx, uint64_t step, struct paco_error *err)
{
    struct pc_finetune_watch *w = ctx;
    if (w->f->party.rank > 0)
        return 0;
    json_t *o = about(w);
    const struct pc_watch_options options = {.dir = w->f->v->out,
        .step = step,
        .about = o,
        .events = !w->f->v->report_to || strcmp(w->f->v->report_to, "none") != 0,
        .notes = &w->f->notes};
    int rc = o ? pc_watch_open(&options, &w->watch, err) : pc_error_mem(err, 4096, PC_RUN_ABOUT_NAME);
    json_decref(o);
    if (rc == 0 && step == 0 && w->n_tasks)
        rc = forget_results(w, err);
    pc_step_lines_init(&w->lines, w->f->trainer, (uint64_t)w->f->v->logging);
    if (rc == 0)
        rc = pc_step_lines_begin(&w->lines, w->f->v->out, step, err);
    return rc == 0 && is_due(w, step) ? measure(w, step, err) : rc;
}

int pc_finetune_watch_step(void *ctx, const struct pc_train_report *r, struct paco_error *err)
{
    struct pc_finetune_watch *w = ctx;
    pc_finetune_bar_step(&w->bar, r, w->f->trainer->course.n_updates);
    if (w->f->party.rank > 0)
        return 0;
    char line[160];
    if (pc_step_lines_add(&w->lines, r, line))
        pc_finetune_bar_note(&w->bar, "%s", line);
    pc_watch_step(w->watch, r, pc_peak_rss());
    return is_due(w, r->step) ? measure(w, r->step, err) : 0;
}

void pc_finetune_watch_end(struct pc_finetune_watch *w, bool finished)
{
    struct paco_error err = {0};
    char text[600];
    if (w->watch && pc_watch_end(w->watch, finished, &err) < 0)
        pc_command_note(
            w->f->self, PC_WATCH_REPORT " is not written: %s", pc_error_format(&err, text, sizeof text));
}
