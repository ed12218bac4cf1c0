// SPDX-License-Identifier: Apache-2.0
#include "eval/report.h"

#include "base/file.h"
#include "base/memory.h"
#include "eval/card.h"
#include "eval/cite.h"
#include "eval/report_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PAGE = 1 << 30, MAX_COLUMNS = 128 };

struct report {
    struct pc_buf page;
    struct pc_run *runs;
    size_t n_runs;
    const char *columns[MAX_COLUMNS]; /* names of tasks: the card's if one is on it, then the others */
    size_t n_columns;
    bool card;
};

/* ---- the table ---- */

static void add_column(struct report *r, const char *name)
{
    for (size_t i = 0; i < r->n_columns; i++)
        if (strcmp(r->columns[i], name) == 0)
            return;
    if (r->n_columns < MAX_COLUMNS)
        r->columns[r->n_columns++] = name;
}

static void choose_columns(struct report *r)
{
    for (int i = 0; i < PC_CARD_SETTINGS; i++)
        for (size_t k = 0; k < r->n_runs; k++)
            r->card |= pc_run_find(&r->runs[k], pc_card_settings[i].task) != NULL;
    for (int i = 0; i < PC_CARD_SETTINGS && r->card; i++)
        add_column(r, pc_card_settings[i].task);
    for (size_t k = 0; k < r->n_runs; k++)
        for (size_t i = 0; i < r->runs[k].n; i++)
            add_column(r, r->runs[k].tasks[i].name);
}

static void put_head(struct report *r)
{
    struct pc_buf *b = &r->page;
    const char *rows = r->card ? " rowspan=\"2\"" : "";
    size_t n_card = r->card ? PC_CARD_SETTINGS : 0;
    pc_buf_printf(b, "<thead><tr><th scope=\"col\"%s>Model</th>", rows);
    for (size_t i = 0, end; i < n_card; i = end) {
        const char *name = pc_card_settings[i].benchmark;
        for (end = i; end < n_card && strcmp(pc_card_settings[end].benchmark, name) == 0; end++)
            ;
        pc_buf_printf(b, "<th scope=\"colgroup\" colspan=\"%zu\">%s</th>", end - i, name);
    }
    for (size_t i = n_card; i < r->n_columns; i++) {
        pc_buf_printf(b, "<th scope=\"col\"%s>", rows);
        pc_page_text(b, r->columns[i]);
        pc_buf_puts(b, "</th>");
    }
    if (r->card)
        pc_buf_printf(b, "<th scope=\"col\"%s>Average</th></tr>\n<tr>", rows);
    for (size_t i = 0; i < n_card; i++)
        pc_buf_printf(b, "<th scope=\"col\">%s</th>", pc_card_settings[i].setting);
    pc_buf_puts(b, "</tr></thead>\n");
}

static void put_card_row(struct report *r)
{
    double scores[PC_CARD_SETTINGS];
    char text[16];
    pc_buf_puts(&r->page, "<tr><th scope=\"row\">The card: Open-Instruct Stanford Alpaca 7B</th>");
    for (int i = 0; i < PC_CARD_SETTINGS; i++) {
        const struct pc_card_setting *s = &pc_card_settings[i];
        scores[i] = s->score;
        pc_buf_printf(
            &r->page, "<td>%s<small>&le; %.1f</small></td>", pc_card_round(s->score, text), pc_card_error(s));
    }
    for (size_t i = PC_CARD_SETTINGS; i < r->n_columns; i++)
        pc_buf_puts(&r->page, "<td></td>");
    pc_buf_printf(&r->page, "<td>%s</td></tr>\n", pc_card_round(pc_card_average(scores), text));
}

/* What is not to be held against the card's number is marked, and explained below. */
static void put_cell(struct report *r, const struct pc_card_cell *c)
{
    char text[16];
    double low, high;
    bool any = c->n_items > 0;
    pc_buf_puts(&r->page, "<td>");
    if (any && c->is_perplexity)
        pc_buf_printf(&r->page, "%.2f", c->score);
    else if (any)
        pc_buf_puts(&r->page, pc_card_round(c->score, text));
    pc_buf_puts(&r->page, c->differs && !isnan(c->score) ? "<sup title=\"not comparable\">*</sup>" : "");
    if (any && pc_report_interval(c, &low, &high))
        pc_buf_printf(
            &r->page, "<small title=\"all questions came out alike\">%.0f&ndash;%.0f</small>", low, high);
    else if (any && !isnan(c->se))
        pc_buf_printf(&r->page, "<small>&plusmn; %.1f</small>", c->se);
    pc_buf_puts(&r->page, "</td>");
}

static struct pc_card card_of(const struct pc_run *run)
{
    struct pc_card card = {0};
    for (size_t i = 0; i < run->n; i++)
        pc_report_add(&card, &run->tasks[i]);
    return card;
}

static void put_run_row(struct report *r, const struct pc_run *run)
{
    struct pc_card card = card_of(run);
    double scores[PC_CARD_SETTINGS];
    char text[16];
    pc_buf_puts(&r->page, "<tr><th scope=\"row\">");
    pc_page_text(&r->page, run->label);
    pc_buf_puts(&r->page, "</th>");
    for (size_t i = 0; i < r->n_columns; i++) {
        bool on_card = r->card && i < PC_CARD_SETTINGS;
        const struct pc_run_task *t = on_card ? NULL : pc_run_find(run, r->columns[i]);
        struct pc_card_cell own = t ? pc_report_cell(t) : (struct pc_card_cell){0};
        put_cell(r, on_card ? &card.v[i] : &own);
        if (on_card)
            scores[i] = card.v[i].measured ? card.v[i].score : (double)NAN;
    }
    if (r->card)
        pc_buf_printf(&r->page, "<td>%s</td>", pc_card_round(pc_card_average(scores), text));
    pc_buf_puts(&r->page, "</tr>\n");
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* A line for each reason, with the settings it is the reason of. */
static void put_differences(struct report *r, const struct pc_run *run)
{
    struct pc_card card = card_of(run);
    for (int i = 0; i < PC_CARD_SETTINGS; i++) {
        const char *why = card.v[i].differs;
        bool said = !why;
        for (int k = 0; k < i; k++)
            said |= same(card.v[k].differs, why);
        if (said)
            continue;
        pc_buf_puts(&r->page, "<li>");
        pc_page_text(&r->page, run->label);
        pc_buf_puts(&r->page, ", ");
        pc_page_text(&r->page, why);
        for (int k = i; k < PC_CARD_SETTINGS; k++)
            if (same(card.v[k].differs, why))
                pc_buf_printf(&r->page, "%s %s %s", k == i ? ":" : ",", pc_card_settings[k].benchmark,
                    pc_card_settings[k].setting);
        pc_buf_puts(&r->page, "</li>\n");
    }
}

static void put_table(struct report *r)
{
    pc_buf_puts(&r->page, "<h2>Scores</h2>\n<p class=\"soft\">Out of 100, each with its standard error, or "
                          "Wilson's 95&nbsp;% interval "
                          "where all questions came out alike; a star: not comparable with the card's. A "
                          "perplexity is out of nothing, and better when lower.</p>\n"
                          "<div class=\"wide\"><table class=\"scores\" aria-label=\"Scores\">");
    put_head(r);
    pc_buf_puts(&r->page, "<tbody>\n");
    if (r->card)
        put_card_row(r);
    for (size_t k = 0; k < r->n_runs; k++)
        put_run_row(r, &r->runs[k]);
    pc_buf_puts(&r->page, "</tbody></table></div>\n");
    if (!r->card)
        return;
    pc_buf_puts(&r->page, "<p class=\"soft\">The average is the mean over the six benchmarks of the mean "
                          "over each one's settings. The card "
                          "states no standard errors: what stands below its numbers is what they are at "
                          "most.</p>\n<ul class=\"soft\">\n");
    for (size_t k = 0; k < r->n_runs; k++)
        put_differences(r, &r->runs[k]);
    pc_buf_puts(&r->page, "</ul>\n");
}

/* ---- tasks ---- */

static int put_tasks(struct report *r, const struct pc_progress *progress, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < r->n_columns && rc == 0; i++) {
        bool headed = false;
        for (size_t k = 0; k < r->n_runs && rc == 0; k++) {
            const struct pc_run_task *t = pc_run_find(&r->runs[k], r->columns[i]);
            if (!t)
                continue;
            struct pc_progress_event event = {
                .phase = "reporting", .item = t->name, .done = i, .total = r->n_columns, .unit = "tasks"};
            if (pc_progress(progress, &event))
                return pc_error_set(err, PACO_ECANCELLED, "stopped; nothing was written");
            if (!headed) {
                pc_buf_puts(&r->page, "<h2>");
                pc_page_text(&r->page, r->columns[i]);
                pc_buf_puts(&r->page, "</h2>\n");
                if (t->task)
                    pc_buf_printf(&r->page, "<p>%s.</p>\n", t->task->summary);
                headed = true;
            }
            char id[48];
            snprintf(id, sizeof id, "t%zu-%zu", i, k);
            rc = pc_report_task(&r->page, &r->runs[k], t, id, err);
        }
    }
    return rc;
}

/* ---- how, and by whom ---- */

static void put_how(struct report *r)
{
    static const char *const not_here[] = {"task", "benchmark", "setting", "score", "standard_error",
        "card_score", "n_items", "n_failed", "metrics", "model_name"};
    pc_buf_puts(&r->page, "<h2>How this was measured</h2>\n");
    for (size_t k = 0; k < r->n_runs; k++) {
        for (size_t i = 0; i < r->runs[k].n; i++) {
            const struct pc_run_task *t = &r->runs[k].tasks[i];
            json_t *rest = json_copy(t->results);
            for (size_t m = 0; rest && m < sizeof not_here / sizeof *not_here; m++)
                json_object_del(rest, not_here[m]);
            struct pc_buf text;
            pc_buf_init(&text, 1 << 24);
            pc_json_write(&text, rest, PC_JSON_PRETTY);
            pc_buf_puts(&r->page, "<details><summary>");
            pc_page_text(&r->page, t->name);
            pc_buf_puts(&r->page, ", ");
            pc_page_text(&r->page, r->runs[k].label);
            pc_buf_puts(&r->page, "</summary><pre>");
            pc_page_text(&r->page, text.data ? text.data : "");
            pc_buf_puts(&r->page, "</pre></details>\n");
            pc_buf_release(&text);
            json_decref(rest);
        }
    }
}

static void put_line(void *ctx, const char *line)
{
    struct pc_buf *page = ctx;
    pc_buf_puts(page, "<li>");
    pc_page_text(page, line);
    pc_buf_puts(page, "</li>\n");
}

/* Each work once: the settings of a benchmark have the same ones. */
struct cited {
    struct pc_buf *page;
    const char *v[64];
    size_t n;
};

static void cite_once(void *ctx, const char *line)
{
    struct cited *c = ctx;
    for (size_t i = 0; i < c->n; i++)
        if (c->v[i] == line)
            return;
    if (c->n < sizeof c->v / sizeof *c->v)
        c->v[c->n++] = line;
    put_line(c->page, line);
}

static void put_works(struct report *r)
{
    struct cited cited = {.page = &r->page};
    pc_buf_puts(&r->page, "<h2>Whose work this is</h2>\n<ul>\n");
    for (size_t i = 0; i < r->n_columns; i++)
        for (size_t k = 0; k < r->n_runs; k++)
            if (pc_run_find(&r->runs[k], r->columns[i])) {
                pc_cite(r->columns[i], cite_once, &cited);
                break;
            }
    pc_cite(NULL, cite_once, &cited);
    pc_buf_puts(&r->page, "</ul>\n");
}

/* ---- the page ---- */

static int build(struct report *r, const struct pc_progress *progress, struct paco_error *err)
{
    const char *names[PC_MAX_RUNS];
    for (size_t k = 0; k < r->n_runs; k++)
        names[k] = r->runs[k].label;
    pc_page_begin_of(&r->page, "Evaluation", names, r->n_runs);
    choose_columns(r);
    put_table(r);
    int rc = put_tasks(r, progress, err);
    if (rc < 0)
        return rc;
    put_how(r);
    put_works(r);
    pc_page_end(&r->page);
    return pc_buf_check(&r->page, "the report", err);
}

int pc_eval_report(const char *const *dirs, size_t n, const char *path, const struct pc_progress *progress,
    struct paco_error *err)
{
    if (n == 0 || n > PC_MAX_RUNS)
        return pc_error_set(
            err, PACO_EINVAL, "a report is of 1 to %d folders of results, not %zu", PC_MAX_RUNS, n);
    struct report r = {.runs = pc_alloc_zero(n, sizeof *r.runs)};
    if (!r.runs)
        return pc_error_mem(err, n * sizeof *r.runs, "a report");
    pc_buf_init(&r.page, MAX_PAGE);
    int rc = 0;
    for (; r.n_runs < n && rc == 0; r.n_runs += rc == 0)
        rc = pc_run_open(dirs[r.n_runs], &r.runs[r.n_runs], err);
    if (rc == 0)
        rc = pc_runs_label(r.runs, r.n_runs, err);
    if (rc == 0)
        rc = build(&r, progress, err);
    if (rc == 0)
        rc = pc_file_write_atomic(path, r.page.data, r.page.len, err);
    for (size_t k = 0; k < r.n_runs; k++)
        pc_run_release(&r.runs[k]);
    pc_free(r.runs);
    pc_buf_release(&r.page);
    return rc;
}
