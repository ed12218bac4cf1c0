// SPDX-License-Identifier: Apache-2.0
#include "train/run_log.h"

#include "base/file.h"

#include <math.h>
#include <string.h>

enum {
    WINDOW = 1 << 20,
    MAX_STEPS = 1 << 24,
    MAX_SERIES = 64,
    MAX_SAMPLES = 1 << 16,
    MAX_TEXT = 1 << 28,
    MAX_ABOUT = 1 << 24,
};

/* No step is larger: beyond, numbers of a curve are no longer whole. */
#define MAX_STEP INT64_C(9007199254740992)

/* ---- lines of JSON ---- */

struct lines {
    struct pc_run_log *log;
    const char *path;
    uint64_t number; /* of the line at hand, from 1 */
    int (*take)(struct pc_run_log *log, const json_t *line, struct paco_error *err);
};

static int take_line(struct lines *l, const char *text, size_t len, uint64_t at, struct paco_error *err)
{
    json_t *v = NULL;
    l->number++;
    int rc = pc_json_parse_line(text, len, l->path, at, &v, err);
    if (rc == 0 && !json_is_object(v))
        rc = pc_error_set(err, PACO_EFORMAT, "is %s, an object was expected", pc_json_kind(v));
    if (rc == 0)
        rc = l->take(l->log, v, err);
    json_decref(v);
    if (rc < 0) {
        pc_error_prefix(err, "line %llu", (unsigned long long)l->number);
        pc_error_at(err, l->path, at);
    }
    return rc;
}

/* All whole lines in window[0, n); *used: where the rest begins. */
static int take_window(
    struct lines *l, const char *window, size_t n, uint64_t at, size_t *used, struct paco_error *err)
{
    int rc = 0;
    const char *end;
    *used = 0;
    while (rc == 0 && (end = memchr(window + *used, '\n', n - *used))) {
        rc = take_line(l, window + *used, (size_t)(end - window) - *used, at + *used, err);
        *used = (size_t)(end - window) + 1;
    }
    return rc;
}

static int read_lines(struct lines *l, const struct pc_file *f, struct paco_error *err)
{
    char *window = pc_alloc(WINDOW, 1);
    uint64_t at = 0;
    int rc = window ? 0 : pc_error_mem(err, WINDOW, "a log");
    while (rc == 0 && at < f->size) {
        size_t n = f->size - at < WINDOW ? (size_t)(f->size - at) : WINDOW, used = 0;
        rc = pc_file_read(f, at, window, n, err);
        if (rc == 0)
            rc = take_window(l, window, n, at, &used, err);
        if (rc == 0 && used == 0 && n == WINDOW)
            rc = pc_error_file(err, PACO_ELIMIT, f->path, at, "line %llu is longer than %d bytes",
                (unsigned long long)l->number + 1, WINDOW);
        if (used == 0)
            break;
        at += used;
    }
    pc_free(window);
    return rc;
}

static int read_file(struct pc_run_log *log, const char *dir, const char *name, bool wanted,
    int (*take)(struct pc_run_log *log, const json_t *line, struct paco_error *err), struct paco_error *err)
{
    struct pc_file f = {.fd = -1};
    char *path = pc_path_join(dir, name);
    int rc = path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0 && (wanted || pc_path_exists(path))) {
        struct lines l = {.log = log, .path = path, .take = take};
        rc = pc_file_open(&f, path, err);
        if (rc == 0)
            rc = read_lines(&l, &f, err);
    }
    pc_file_close(&f);
    pc_free(path);
    return rc;
}

static int step_of(const json_t *line, int64_t *out, struct paco_error *err)
{
    return pc_json_get_i64(line, "step", 0, MAX_STEP, out, err);
}

/* ---- steps ---- */

static int take_step(struct pc_run_log *log, const json_t *line, struct paco_error *err)
{
    static const char *const names[PC_RUN_COLUMNS] = {"step", "loss", "learning_rate", "grad_norm",
        "tokens_per_s", "peak_rss_bytes", "seconds", "tokens", "trained_tokens", "examples",
        "truncated_examples", "epoch"};
    int64_t step = 0;
    int rc = step_of(line, &step, err);
    while (rc == 0 && log->n && log->v[PC_RUN_STEP][log->n - 1] >= (double)step)
        log->n--;
    if (rc == 0 && log->n == MAX_STEPS)
        rc = pc_error_set(err, PACO_ELIMIT, "more than %d steps", MAX_STEPS);
    for (int c = 0; c < PC_RUN_COLUMNS && rc == 0; c++) {
        rc = pc_grow(&log->v[c], &log->capacity[c], log->n, sizeof *log->v[c], "steps", err);
        if (rc == 0)
            log->v[c][log->n] = pc_json_double(line, names[c]);
    }
    log->n += rc == 0;
    return rc;
}

/* ---- scores ---- */

static int keep(struct pc_run_log *log, const char *s, const char **out, struct paco_error *err)
{
    size_t len = strlen(s);
    *out = pc_arena_strndup(&log->text, s, len);
    if (*out)
        return 0;
    if (log->text.used + len >= MAX_TEXT - 16)
        return pc_error_set(err, PACO_ELIMIT, "more text than %d MiB", MAX_TEXT >> 20);
    return pc_error_mem(err, len, "a log's text");
}

static int find_series(
    struct pc_run_log *log, const char *name, struct pc_run_series **out, struct paco_error *err)
{
    for (size_t i = 0; i < log->n_evals; i++)
        if (strcmp(log->evals[i].name, name) == 0) {
            *out = &log->evals[i];
            return 0;
        }
    if (log->n_evals == MAX_SERIES)
        return pc_error_set(err, PACO_ELIMIT, "more than %d names of scores", MAX_SERIES);
    int rc =
        pc_grow(&log->evals, &log->evals_capacity, log->n_evals, sizeof *log->evals, "names of scores", err);
    if (rc < 0)
        return rc;
    *out = &log->evals[log->n_evals];
    **out = (struct pc_run_series){.n = 0};
    rc = keep(log, name, &(*out)->name, err);
    log->n_evals += rc == 0;
    return rc;
}

static int take_score(struct pc_run_log *log, const json_t *line, struct paco_error *err)
{
    int64_t step = 0;
    const char *name = NULL;
    struct pc_run_series *s = NULL;
    int rc = step_of(line, &step, err);
    if (rc == 0)
        rc = pc_json_get_str(line, "name", &name, err);
    if (rc == 0)
        rc = find_series(log, name, &s, err);
    if (rc < 0 || !s)
        return rc;
    while (s->n && s->step[s->n - 1] >= (double)step)
        s->n--;
    if (s->n == MAX_STEPS)
        return pc_error_set(err, PACO_ELIMIT, "more than %d scores", MAX_STEPS);
    const double values[] = {
        (double)step, pc_json_double(line, "value"), pc_json_double(line, "standard_error")};
    double **const columns[] = {&s->step, &s->value, &s->error};
    for (int c = 0; c < 3 && rc == 0; c++) {
        rc = pc_grow(columns[c], &s->capacity[c], s->n, sizeof(double), "scores", err);
        if (rc == 0)
            (*columns[c])[s->n] = values[c];
    }
    s->n += rc == 0;
    return rc;
}

/* ---- answers ---- */

static void drop_samples(struct pc_run_log *log, int64_t prompt, int64_t step)
{
    size_t n = 0;
    for (size_t i = 0; i < log->n_samples; i++)
        if (log->samples[i].prompt != prompt || log->samples[i].step < step)
            log->samples[n++] = log->samples[i];
    log->n_samples = n;
}

static int take_sample(struct pc_run_log *log, const json_t *line, struct paco_error *err)
{
    struct pc_run_sample s = {.stop = ""};
    const char *question = "", *answer = "", *stop = "";
    int rc = step_of(line, &s.step, err);
    if (rc == 0)
        rc = pc_json_get_i64(line, "prompt_index", 0, MAX_SAMPLES, &s.prompt, err);
    if (rc == 0)
        rc = pc_json_get_str(line, "prompt", &question, err);
    if (rc == 0)
        rc = pc_json_get_str(line, "answer", &answer, err);
    if (rc == 0)
        rc = pc_json_opt_str(line, "stop", &stop, err);
    if (rc < 0)
        return rc;
    // In order, as they nearly always are, nothing is to be looked for.
    if (log->n_samples && log->samples[log->n_samples - 1].step >= s.step)
        drop_samples(log, s.prompt, s.step);
    if (log->n_samples == MAX_SAMPLES)
        return pc_error_set(err, PACO_ELIMIT, "more than %d answers", MAX_SAMPLES);
    rc = pc_grow(&log->samples, &log->samples_capacity, log->n_samples, sizeof *log->samples, "answers", err);
    if (rc == 0)
        rc = keep(log, question, &s.question, err);
    if (rc == 0)
        rc = keep(log, answer, &s.answer, err);
    if (rc == 0)
        rc = keep(log, stop, &s.stop, err);
    if (rc == 0)
        log->samples[log->n_samples++] = s;
    return rc;
}

/* ---- all of it ---- */

static int read_about(struct pc_run_log *log, const char *dir, struct paco_error *err)
{
    char *path = pc_path_join(dir, PC_RUN_ABOUT_NAME);
    int rc = path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0 && pc_path_exists(path))
        rc = pc_json_read(path, MAX_ABOUT, &log->about, err);
    pc_free(path);
    return rc;
}

int pc_run_log_read(const char *dir, struct pc_run_log *out, struct paco_error *err)
{
    *out = (struct pc_run_log){.text.limit = MAX_TEXT};
    int rc = read_file(out, dir, PC_TRAIN_LOG_NAME, true, take_step, err);
    if (rc == 0)
        rc = read_file(out, dir, PC_RUN_EVALS_NAME, false, take_score, err);
    if (rc == 0)
        rc = read_file(out, dir, PC_RUN_SAMPLES_NAME, false, take_sample, err);
    return rc == 0 ? read_about(out, dir, err) : rc;
}

void pc_run_log_release(struct pc_run_log *log)
{
    for (int c = 0; c < PC_RUN_COLUMNS; c++)
        pc_free(log->v[c]);
    for (size_t i = 0; i < log->n_evals; i++) {
        pc_free(log->evals[i].step);
        pc_free(log->evals[i].value);
        pc_free(log->evals[i].error);
    }
    pc_free(log->evals);
    pc_free(log->samples);
    json_decref(log->about);
    pc_arena_release(&log->text);
    *log = (struct pc_run_log){.n = 0};
}
