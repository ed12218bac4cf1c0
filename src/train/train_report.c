// SPDX-License-Identifier: Apache-2.0
#include "train/train_report.h"

#include "base/file.h"
#include "report/chart.h"
#include "report/page.h"
#include "train/train_report_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PAGE = 1 << 30, MAX_NAMES = 64 };

struct report {
    struct pc_buf page;
    struct pc_report_run runs[PC_MAX_TRAIN_RUNS];
    size_t n_runs;
    double *gigabytes[PC_MAX_TRAIN_RUNS]; /* memory, in the chart's unit */
    int n_charts;
};

/* ---- curves ---- */

struct curves {
    struct pc_line lines[PC_CHART_MAX_LINES];
    char names[PC_CHART_MAX_LINES][128];
    size_t n;
};

/* what: what it is, where a run's curves are several, or NULL. */
static void add_line(struct report *r, struct curves *c, size_t i_run, const char *what, const double *x,
    const double *y, size_t n, bool dashed)
{
    const char *run = r->runs[i_run].name;
    if (n == 0 || c->n == PC_CHART_MAX_LINES)
        return;
    char *name = c->names[c->n];
    if (r->n_runs > 1)
        snprintf(name, sizeof c->names[0], "%.60s%s%s", run, what ? ", " : "", what ? what : "");
    else
        snprintf(name, sizeof c->names[0], "%s", what ? what : run);
    c->lines[c->n++] = (struct pc_line){.name = name,
        .x = x,
        .y = y,
        .n = n,
        .colour = r->n_runs > 1 ? (int)i_run
                  : dashed      ? 1
                                : 0,
        .dashed = dashed};
}

static void put_chart(struct report *r, const struct curves *c, struct pc_line_chart chart)
{
    char id[16];
    snprintf(id, sizeof id, "c%d", r->n_charts++);
    chart.id = id;
    chart.x_name = "step";
    chart.lines = c->lines;
    chart.n_lines = c->n;
    pc_chart_lines(&r->page, &chart);
}

static void put_column(struct report *r, enum pc_run_column column, struct pc_line_chart chart)
{
    struct curves c = {.n = 0};
    for (size_t i = 0; i < r->n_runs; i++) {
        const struct pc_run_log *log = &r->runs[i].log;
        const double *y = column == PC_RUN_MEMORY ? r->gigabytes[i] : log->v[column];
        add_line(r, &c, i, NULL, log->v[PC_RUN_STEP], y, log->n, false);
    }
    chart.half = true;
    put_chart(r, &c, chart);
}

static bool is_loss(const char *name)
{
    return strcmp(name, PC_RUN_VALIDATION) == 0;
}

static void put_losses(struct report *r)
{
    struct curves c = {.n = 0};
    for (size_t i = 0; i < r->n_runs; i++) {
        const struct pc_run_log *log = &r->runs[i].log;
        add_line(r, &c, i, "training", log->v[PC_RUN_STEP], log->v[PC_RUN_LOSS], log->n, false);
        for (size_t k = 0; k < log->n_evals; k++)
            if (is_loss(log->evals[k].name))
                add_line(
                    r, &c, i, "validation", log->evals[k].step, log->evals[k].value, log->evals[k].n, true);
    }
    put_chart(r, &c, (struct pc_line_chart){.title = "Loss", .y_name = "nats per token", .smooth = true});
}

static void put_score(struct report *r, const char *name)
{
    struct curves c = {.n = 0};
    for (size_t i = 0; i < r->n_runs; i++)
        for (size_t k = 0; k < r->runs[i].log.n_evals; k++) {
            const struct pc_run_series *s = &r->runs[i].log.evals[k];
            if (strcmp(s->name, name) == 0)
                add_line(r, &c, i, NULL, s->step, s->value, s->n, false);
        }
    put_chart(r, &c, (struct pc_line_chart){.title = name, .y_name = "out of 100", .half = true});
}

/* Each name once. */
static void put_scores(struct report *r)
{
    const char *seen[MAX_NAMES];
    size_t n = 0;
    for (size_t i = 0; i < r->n_runs; i++)
        for (size_t k = 0; k < r->runs[i].log.n_evals; k++) {
            const char *name = r->runs[i].log.evals[k].name;
            bool is_new = !is_loss(name) && n < MAX_NAMES;
            for (size_t s = 0; s < n; s++)
                is_new &= strcmp(seen[s], name) != 0;
            if (!is_new)
                continue;
            seen[n++] = name;
            put_score(r, name);
        }
}

static void put_curves(struct report *r)
{
    pc_buf_puts(&r->page, "<h2>Curves</h2>\n");
    put_losses(r);
    pc_buf_puts(&r->page, "<div class=\"pairs\">\n");
    put_scores(r);
    put_column(r, PC_RUN_RATE, (struct pc_line_chart){.title = "Learning rate", .y_name = ""});
    put_column(r, PC_RUN_NORM,
        (struct pc_line_chart){
            .title = "Gradient norm, before clipping", .y_name = "", .log_scale = true, .smooth = true});
    put_column(
        r, PC_RUN_SPEED, (struct pc_line_chart){.title = "Speed", .y_name = "tokens/s", .smooth = true});
    put_column(r, PC_RUN_MEMORY, (struct pc_line_chart){.title = "Largest memory so far", .y_name = "GB"});
    pc_buf_puts(&r->page, "</div>\n");
}

/* ---- how ---- */

static void put_how(struct report *r)
{
    pc_buf_puts(&r->page, "<h2>How this was trained</h2>\n");
    for (size_t i = 0; i < r->n_runs; i++) {
        const json_t *about = r->runs[i].log.about;
        struct pc_buf text;
        pc_buf_init(&text, 1 << 26);
        if (about)
            pc_json_write(&text, about, PC_JSON_PRETTY);
        pc_buf_puts(&r->page, "<details><summary>");
        pc_page_text(&r->page, r->runs[i].name);
        pc_buf_puts(&r->page, "</summary><pre>");
        pc_page_text(&r->page, about && text.data ? text.data : "There is no " PC_RUN_ABOUT_NAME ".");
        pc_buf_puts(&r->page, "</pre></details>\n");
        r->page.failed |= text.failed;
        pc_buf_release(&text);
    }
}

/* ---- the page ---- */

static void put_title(struct report *r)
{
    const char *names[PC_MAX_TRAIN_RUNS];
    for (size_t i = 0; i < r->n_runs; i++)
        names[i] = r->runs[i].name;
    pc_page_begin_of(&r->page, "Training", names, r->n_runs);
}

static int build(struct report *r, struct paco_error *err)
{
    put_title(r);
    pc_train_report_facts(&r->page, r->runs, r->n_runs);
    put_curves(r);
    pc_train_report_answers(&r->page, r->runs, r->n_runs);
    put_how(r);
    pc_page_end(&r->page);
    return pc_buf_check(&r->page, "the report", err);
}

/* "out" of "runs/out/"; the folder as it was named where that is nothing, or "." . */
static int name_run(struct pc_report_run *run, const char *dir, struct paco_error *err)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    run->label = pc_strndup(dir, n);
    if (!run->label)
        return pc_error_mem(err, n, "a name");
    run->name = pc_path_base(run->label);
    if (!*run->name || strcmp(run->name, ".") == 0 || strcmp(run->name, "..") == 0)
        run->name = run->label;
    return 0;
}

/* Runs of the same name are told apart by their folders. */
static void tell_apart(struct report *r)
{
    bool alike[PC_MAX_TRAIN_RUNS] = {false};
    for (size_t i = 0; i < r->n_runs; i++)
        for (size_t k = 0; k < r->n_runs; k++)
            alike[i] |= i != k && strcmp(r->runs[i].name, r->runs[k].name) == 0;
    for (size_t i = 0; i < r->n_runs; i++)
        if (alike[i])
            r->runs[i].name = r->runs[i].label;
}

static int open_run(struct report *r, const char *dir, struct paco_error *err)
{
    struct pc_report_run *run = &r->runs[r->n_runs];
    double **memory = &r->gigabytes[r->n_runs++];
    int rc = name_run(run, dir, err);
    if (rc == 0)
        rc = pc_run_log_read(dir, &run->log, err);
    if (rc < 0)
        return rc;
    *memory = pc_alloc(run->log.n, sizeof **memory);
    if (!*memory)
        return pc_error_mem(err, run->log.n * sizeof **memory, "a curve");
    for (size_t i = 0; i < run->log.n; i++)
        (*memory)[i] = run->log.v[PC_RUN_MEMORY][i] / 1e9;
    return 0;
}

int pc_train_report(const char *const *dirs, size_t n, const char *path, struct paco_error *err)
{
    if (n == 0 || n > PC_MAX_TRAIN_RUNS)
        return pc_error_set(
            err, PACO_EINVAL, "a report is of 1 to %d folders of runs, not %zu", PC_MAX_TRAIN_RUNS, n);
    struct report r = {.n_runs = 0};
    pc_buf_init(&r.page, MAX_PAGE);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = open_run(&r, dirs[i], err);
    if (rc == 0) {
        tell_apart(&r);
        rc = build(&r, err);
    }
    if (rc == 0)
        rc = pc_file_write_atomic(path, r.page.data, r.page.len, err);
    for (size_t i = 0; i < r.n_runs; i++) {
        pc_run_log_release(&r.runs[i].log);
        pc_free(r.runs[i].label);
        pc_free(r.gigabytes[i]);
    }
    pc_buf_release(&r.page);
    return rc;
}
