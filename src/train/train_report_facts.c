// SPDX-License-Identifier: Apache-2.0
#include "report/chart_axis.h"
#include "report/page.h"
#include "train/train_report_parts.h"

#include <math.h>
#include <string.h>

/* ---- numbers of a log ---- */

/* A sum over the steps that say it; NAN where none does. */
static double total(const struct pc_run_log *log, enum pc_run_column c)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < log->n; i++)
        if (!isnan(log->v[c][i])) {
            sum += log->v[c][i];
            n++;
        }
    return n ? sum : (double)NAN;
}

static double largest(const struct pc_run_log *log, enum pc_run_column c)
{
    double most = (double)NAN;
    for (size_t i = 0; i < log->n; i++)
        most = fmax(most, log->v[c][i]);
    return most;
}

/* The mean loss of the steps in [from, to). */
static double mean_loss(const struct pc_run_log *log, size_t from, size_t to)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = from; i < to; i++)
        if (isfinite(log->v[PC_RUN_LOSS][i])) {
            sum += log->v[PC_RUN_LOSS][i];
            n++;
        }
    return n ? sum / (double)n : (double)NAN;
}

/* ---- as text ---- */

static void put_number(struct pc_buf *b, double v, const char *unit)
{
    char text[32];
    if (isfinite(v))
        pc_buf_printf(b, "%s%s", pc_axis_number(v, text), unit);
}

/* "12 of 2000" */
static void put_share(struct pc_buf *b, double v, double of)
{
    put_number(b, v, "");
    if (isfinite(v) && isfinite(of)) {
        pc_buf_puts(b, " of ");
        put_number(b, of, "");
    }
}

static void put_member(struct pc_buf *b, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (json_is_string(v))
        pc_page_text(b, json_string_value(v));
    else
        put_number(b, pc_json_double(o, key), "");
}

/* ---- rows ---- */

static void put_model(struct pc_buf *b, const struct pc_report_run *r)
{
    put_member(b, r->log.about, "model");
}

static void put_data(struct pc_buf *b, const struct pc_report_run *r)
{
    put_member(b, r->log.about, "train_file");
}

static void put_start(struct pc_buf *b, const struct pc_report_run *r)
{
    const json_t *starts = json_object_get(r->log.about, "starts");
    put_member(b, json_array_get(starts, 0), "time");
    if (json_array_size(starts) > 1)
        pc_buf_printf(b, "<small>started %zu times</small>", json_array_size(starts));
}

static void put_steps(struct pc_buf *b, const struct pc_report_run *r)
{
    double planned = pc_json_double(r->log.about, "n_steps");
    double done = r->log.n ? r->log.v[PC_RUN_STEP][r->log.n - 1] : 0;
    put_share(b, done, planned != done ? planned : (double)NAN);
}

static void put_epochs(struct pc_buf *b, const struct pc_report_run *r)
{
    put_number(b, largest(&r->log, PC_RUN_EPOCH), "");
}

static void put_tokens(struct pc_buf *b, const struct pc_report_run *r)
{
    double n = total(&r->log, PC_RUN_TOKENS), trained = total(&r->log, PC_RUN_TRAINED);
    put_number(b, n, "");
    if (n > 0 && trained >= 0 && trained <= n)
        pc_buf_printf(b, "<small>%.0f %% trained</small>", 100 * trained / n);
}

static void put_time(struct pc_buf *b, const struct pc_report_run *r)
{
    double s = total(&r->log, PC_RUN_SECONDS);
    if (!(s >= 0 && s < 1e12))
        return;
    long long whole = (long long)(s + 0.5);
    if (whole < 60)
        pc_buf_printf(b, "%.1f s", s);
    else
        pc_buf_printf(b, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
}

static void put_speed(struct pc_buf *b, const struct pc_report_run *r)
{
    double seconds = total(&r->log, PC_RUN_SECONDS);
    if (seconds > 0)
        put_number(b, floor(total(&r->log, PC_RUN_TOKENS) / seconds + 0.5), " tokens/s");
}

static void put_memory(struct pc_buf *b, const struct pc_report_run *r)
{
    put_number(b, largest(&r->log, PC_RUN_MEMORY) / 1e9, " GB");
}

static void put_loss(struct pc_buf *b, const struct pc_report_run *r)
{
    size_t n = r->log.n, tenth = n / 10 + (n > 0);
    put_number(b, mean_loss(&r->log, 0, tenth), " &rarr; ");
    put_number(b, mean_loss(&r->log, n - tenth, n), "");
}

/* Of the file; where only the log is there, of the steps. */
static void put_truncated(struct pc_buf *b, const struct pc_report_run *r)
{
    const json_t *counts = json_object_get(r->log.about, "examples");
    if (counts)
        put_share(b, pc_json_double(counts, "truncated"), pc_json_double(counts, "read"));
    else
        put_share(b, total(&r->log, PC_RUN_TRUNCATED), total(&r->log, PC_RUN_EXAMPLES));
}

static void put_count(struct pc_buf *b, const struct pc_report_run *r, const char *key)
{
    put_member(b, json_object_get(r->log.about, "examples"), key);
}

static void put_dropped(struct pc_buf *b, const struct pc_report_run *r)
{
    put_count(b, r, "dropped");
}

static void put_no_eos(struct pc_buf *b, const struct pc_report_run *r)
{
    put_count(b, r, "no_eos");
}

static void put_empty(struct pc_buf *b, const struct pc_report_run *r)
{
    put_count(b, r, "empty");
}

static void put_version(struct pc_buf *b, const struct pc_report_run *r)
{
    put_member(b, r->log.about, "paco_version");
}

static const struct row {
    const char *label;
    void (*put)(struct pc_buf *b, const struct pc_report_run *r);
} g_rows[] = {
    {"Model", put_model},
    {"Examples from", put_data},
    {"Started", put_start},
    {"Steps", put_steps},
    {"Epochs", put_epochs},
    {"Loss, first and last tenth of the steps (nats per token)", put_loss},
    {"Tokens", put_tokens},
    {"Time of the steps", put_time},
    {"Speed", put_speed},
    {"Largest memory", put_memory},
    {"Examples cut off", put_truncated},
    {"Examples left out: nothing to learn", put_dropped},
    {"Examples without an end of sequence", put_no_eos},
    {"Examples with an empty answer", put_empty},
    {"paco", put_version},
};

/* A row nobody has anything to say in is left out. */
static void put_row(struct pc_buf *page, const struct row *row, const struct pc_report_run *runs, size_t n)
{
    size_t before = page->len, written = 0;
    pc_buf_printf(page, "<tr><th scope=\"row\">%s</th>", row->label);
    for (size_t i = 0; i < n && !page->failed; i++) {
        pc_buf_puts(page, "<td>");
        size_t at = page->len;
        row->put(page, &runs[i]);
        written += page->len - at;
        pc_buf_puts(page, "</td>");
    }
    pc_buf_puts(page, "</tr>\n");
    if (written == 0 && !page->failed) {
        page->len = before;
        page->data[before] = '\0';
    }
}

static const struct pc_run_series *find(const struct pc_run_log *log, const char *name)
{
    for (size_t i = 0; i < log->n_evals; i++)
        if (strcmp(log->evals[i].name, name) == 0)
            return &log->evals[i];
    return NULL;
}

static void put_score(struct pc_buf *page, const struct pc_run_series *s)
{
    pc_buf_puts(page, "<td>");
    if (s && s->n > 1)
        put_number(page, s->value[0], " &rarr; ");
    if (s && s->n)
        put_number(page, s->value[s->n - 1], "");
    if (s && s->n && isfinite(s->error[s->n - 1])) {
        pc_buf_puts(page, "<small>&plusmn; ");
        put_number(page, s->error[s->n - 1], "</small>");
    }
    pc_buf_puts(page, "</td>");
}

/* Scores that were measured on the way, first and last, in the order runs brought them. */
static void put_scores(struct pc_buf *page, const struct pc_report_run *runs, size_t n)
{
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < runs[k].log.n_evals; i++) {
            const char *name = runs[k].log.evals[i].name;
            bool seen = false;
            for (size_t before = 0; before < k; before++)
                seen |= find(&runs[before].log, name) != NULL;
            if (seen)
                continue;
            pc_buf_puts(page, "<tr><th scope=\"row\">");
            pc_page_text(page, strcmp(name, PC_RUN_VALIDATION) == 0 ? "Validation loss" : name);
            pc_buf_puts(page, ", first and last</th>");
            for (size_t r = 0; r < n; r++)
                put_score(page, find(&runs[r].log, name));
            pc_buf_puts(page, "</tr>\n");
        }
}

void pc_train_report_facts(struct pc_buf *page, const struct pc_report_run *runs, size_t n)
{
    pc_buf_puts(page, "<div class=\"wide\"><table class=\"facts\">");
    if (n > 1) {
        pc_buf_puts(page, "<thead><tr><th scope=\"col\">Run</th>");
        for (size_t i = 0; i < n; i++) {
            pc_buf_puts(page, "<th scope=\"col\">");
            pc_page_text(page, runs[i].name);
            pc_buf_puts(page, "</th>");
        }
        pc_buf_puts(page, "</tr></thead>");
    }
    pc_buf_puts(page, "<tbody>\n");
    for (size_t i = 0; i < sizeof g_rows / sizeof *g_rows; i++)
        put_row(page, &g_rows[i], runs, n);
    put_scores(page, runs, n);
    pc_buf_puts(page, "</tbody></table></div>\n");
}
