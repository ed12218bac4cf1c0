// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "eval/paired.h"
#include "eval/report_parts.h"
#include "eval/results.h"
#include "report/chart.h"

#include <math.h>
#include <string.h>

/* Items of a packed part: one is unpacked whole when an item of it is looked at. */
enum { PER_PART = 256, MAX_GROUPS = 512, MAX_BARS = 512, SHORT = 100 };

struct section {
    struct pc_buf *page;
    const struct pc_run_task *t;
    const char *id;
    json_t *records;
    const char *groups[MAX_GROUPS]; /* views into records, in the order they come */
    double sum[MAX_GROUPS], sum2[MAX_GROUPS];
    size_t n[MAX_GROUPS], n_groups;
};

/* ---- scores by group ---- */

static const char *text_of(const json_t *record, const char *key)
{
    const char *s = json_string_value(json_object_get(record, key));
    return s ? s : "";
}

/* The index of a record's group. Groups come in runs, so the last one is nearly always it. */
static size_t group_of(struct section *s, const json_t *record)
{
    const char *name = text_of(record, "group");
    for (size_t i = s->n_groups; i-- > 0;)
        if (strcmp(s->groups[i], name) == 0)
            return i;
    if (s->n_groups == MAX_GROUPS)
        return MAX_GROUPS - 1;
    s->groups[s->n_groups] = name;
    return s->n_groups++;
}

static void count_groups(struct section *s)
{
    for (size_t i = 0; i < json_array_size(s->records); i++) {
        const json_t *record = json_array_get(s->records, i);
        size_t g = group_of(s, record);
        double score = json_object_get(record, "error") ? (double)NAN : pc_record_score(record);
        if (isnan(score))
            continue;
        s->sum[g] += score;
        s->sum2[g] += score * score;
        s->n[g]++;
    }
}

static void chart_groups(const struct section *s)
{
    struct pc_bar *bars = s->n_groups > 1 ? pc_alloc(s->n_groups, sizeof *bars) : NULL;
    if (!bars)
        return;
    for (size_t g = 0; g < s->n_groups; g++) {
        double n = (double)s->n[g], mean = s->n[g] ? s->sum[g] / n : (double)NAN;
        double variance = s->n[g] > 1 ? (s->sum2[g] - n * mean * mean) / (n - 1) : (double)NAN;
        bars[g] = (struct pc_bar){.label = s->groups[g][0] ? s->groups[g] : "(none)",
            .value = 100 * mean,
            .error = variance > 0 ? 100 * sqrt(variance / n) : (double)NAN,
            .n = s->n[g]};
        if (s->n[g] && !(variance > 0)) {
            pc_wilson(mean, s->n[g], &bars[g].low, &bars[g].high);
            bars[g].low *= 100;
            bars[g].high *= 100;
        }
    }
    pc_chart_bars(s->page,
        "Scores by group, with standard errors, or 95 % intervals where all came out alike", bars,
        s->n_groups, 100, pc_json_double(s->t->results, "score"), "the task's score");
    pc_free(bars);
}

static bool is_perplexity(const struct pc_run_task *t)
{
    return t->task && t->task->is_perplexity;
}

/* Where there are several texts. */
static void chart_texts(const struct section *s)
{
    const json_t *metrics = json_object_get(s->t->results, "metrics");
    struct pc_bar bars[MAX_BARS];
    size_t n = 0;
    double max = 0;
    const char *name;
    json_t *v;
    json_object_foreach(json_object_get(metrics, "texts"), name, v)
    {
        struct pc_bar b = {.label = name,
            .value = pc_json_double(v, "perplexity"),
            .error = pc_json_double(v, "perplexity_standard_error"),
            .n = (size_t)pc_json_double(v, "n_windows")};
        if (n == MAX_BARS || !isfinite(b.value))
            continue;
        double end = b.value + (b.error > 0 ? b.error : 0);
        max = end > max ? end : max;
        bars[n++] = b;
    }
    if (n)
        pc_chart_bars(s->page, "Perplexity by text, with standard errors over windows", bars, n, max,
            pc_json_double(metrics, "perplexity"), "of all");
}

/* What upstream's metrics.json sums up by name ("subcat_acc": {"math": 0.3, ...}). */
static void chart_metrics(const struct section *s)
{
    static struct {
        const char *key, *title;
    } const charts[] = {{"cat_acc", "Accuracy by category"}, {"subcat_acc", "Accuracy by subcategory"}};
    const json_t *metrics = json_object_get(s->t->results, "metrics");
    for (size_t c = 0; c < sizeof charts / sizeof *charts; c++) {
        struct pc_bar bars[MAX_BARS];
        size_t n = 0;
        const char *name;
        json_t *v;
        json_object_foreach(json_object_get(metrics, charts[c].key), name, v)
        {
            if (n < MAX_BARS && json_is_number(v))
                bars[n++] =
                    (struct pc_bar){.label = name, .value = 100 * json_number_value(v), .error = (double)NAN};
        }
        if (n)
            pc_chart_bars(s->page, charts[c].title, bars, n, 100, (double)NAN, "");
    }
}

/* ---- items ---- */

static char verdict_of(const json_t *record)
{
    double score = pc_record_score(record);
    if (json_object_get(record, "error"))
        return 'f';
    return isnan(score) ? 'n' : score <= 0 ? 'w' : score >= 1 ? 'r' : 'p';
}

/* The beginning of what was extracted, on one line. */
static json_t *short_extraction(const json_t *record)
{
    const json_t *v = json_object_get(record, json_object_get(record, "error") ? "error" : "extraction");
    double perplexity = pc_json_double(record, "perplexity");
    if (!v && !isnan(perplexity))
        return json_sprintf("perplexity %.3f", perplexity);
    v = json_is_array(v) ? json_array_get(v, 0) : v;
    const char *text = json_string_value(v);
    char out[SHORT + 1];
    size_t n = 0;
    for (; text && text[n] && n < SHORT; n++)
        out[n] = text[n] == '\n' ? ' ' : text[n];
    while (text && n == SHORT && n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--; // not in the middle of a character
    return json_stringn_nocheck(out, n);
}

/* What lists and filters need of all items: small, but packed too, for it waits until somebody opens the
 * list. */
static int put_index(struct section *s, struct paco_error *err)
{
    json_t *keys = json_array(), *groups = json_array(), *names = json_array(), *extractions = json_array();
    struct pc_buf verdicts;
    pc_buf_init(&verdicts, 1 << 28);
    for (size_t i = 0; i < json_array_size(s->records); i++) {
        const json_t *record = json_array_get(s->records, i);
        json_array_append_new(keys, json_string(text_of(record, "key")));
        json_array_append_new(groups, json_integer((json_int_t)group_of(s, record)));
        json_array_append_new(extractions, short_extraction(record));
        pc_buf_putc(&verdicts, verdict_of(record));
    }
    for (size_t g = 0; g < s->n_groups; g++)
        json_array_append_new(names, json_string(s->groups[g]));
    json_t *o = json_pack("{s:s, s:i, s:o, s:o, s:o, s:o, s:s}", "id", s->id, "per", PER_PART, "key", keys,
        "group", groups, "groups", names, "extraction", extractions, "verdict",
        verdicts.data ? verdicts.data : "");
    char id[64];
    snprintf(id, sizeof id, "%s-index", s->id);
    int rc = o ? pc_page_pack(s->page, id, o, err) : pc_error_mem(err, 64, "a report");
    json_decref(o);
    pc_buf_release(&verdicts);
    return rc;
}

static int put_items(struct section *s, struct paco_error *err)
{
    int rc = 0;
    size_t n = json_array_size(s->records);
    for (size_t first = 0; first < n && rc == 0; first += PER_PART) {
        json_t *part = json_array();
        char id[64];
        snprintf(id, sizeof id, "%s-%zu", s->id, first / PER_PART);
        for (size_t i = first; i < n && i < first + PER_PART; i++)
            json_array_append(part, json_array_get(s->records, i));
        rc = json_array_size(part) ? pc_page_pack(s->page, id, part, err) : pc_error_mem(err, 64, "a report");
        json_decref(part);
    }
    return rc;
}

/* ---- the section ---- */

struct pc_card_cell pc_report_cell(const struct pc_run_task *t)
{
    double score = pc_json_double(t->results, "score");
    return (struct pc_card_cell){.measured = !isnan(score),
        .score = score,
        .se = pc_json_double(t->results, "standard_error"),
        .is_perplexity = is_perplexity(t),
        .n_items = (size_t)pc_json_double(t->results, "n_items"),
        .n_failed = (size_t)pc_json_double(t->results, "n_failed")};
}

void pc_report_add(struct pc_card *card, const struct pc_run_task *t)
{
    struct pc_card_cell c = pc_report_cell(t);
    const struct pc_eval_result result = {.task = t->task,
        .score = c.score,
        .se = c.se,
        .n_items = c.n_items,
        .n_failed = c.n_failed,
        .results = t->results};
    if (t->task)
        pc_card_add(card, &result);
}

bool pc_report_interval(const struct pc_card_cell *c, double *low, double *high)
{
    if (c->se != 0 || c->is_perplexity || isnan(c->score) || c->n_items <= c->n_failed)
        return false;
    pc_wilson(c->score / 100, c->n_items - c->n_failed, low, high);
    *low *= 100;
    *high *= 100;
    return true;
}

/* Why the score is not to be held against the card's, or NULL. */
static const char *difference(const struct pc_run_task *t)
{
    struct pc_card card = {0};
    pc_report_add(&card, t);
    for (int i = 0; i < PC_CARD_SETTINGS; i++)
        if (card.v[i].differs)
            return card.v[i].differs;
    return json_string_value(json_object_get(json_object_get(t->results, "metrics"), "not_comparable"));
}

static void put_score(const struct section *s)
{
    const json_t *r = s->t->results;
    double score = pc_json_double(r, "score"), se = pc_json_double(r, "standard_error"),
           card = pc_json_double(r, "card_score"), failed = pc_json_double(r, "n_failed");
    const char *why = difference(s->t);
    struct pc_card_cell cell = pc_report_cell(s->t);
    double low, high;
    pc_buf_puts(s->page, "<p>");
    if (!isnan(score))
        pc_buf_printf(s->page, "<b>%.2f</b>%s", score, why ? "<sup>*</sup>" : "");
    else
        pc_buf_puts(s->page, "No score");
    if (pc_report_interval(&cell, &low, &high))
        pc_buf_printf(
            s->page, " (all came out alike; Wilson's 95&nbsp;%% interval: %.1f to %.1f)", low, high);
    else if (!isnan(se))
        pc_buf_printf(s->page, " \xc2\xb1 %.2f (standard error)", se);
    pc_buf_printf(s->page, ", %.0f items", pc_json_double(r, "n_items"));
    if (failed > 0)
        pc_buf_printf(s->page, ", <span class=\"bad\">%.0f failed</span> and are no part of it", failed);
    if (is_perplexity(s->t)) {
        const json_t *metrics = json_object_get(r, "metrics");
        pc_buf_printf(s->page, ": windows of %.0f tokens; %.4f nats a token, %.4f bits a byte",
            pc_json_double(metrics, "context"), pc_json_double(metrics, "nats_per_token"),
            pc_json_double(metrics, "bits_per_byte"));
    }
    if (!isnan(card))
        pc_buf_printf(s->page, "; the card says %.1f", card);
    if (why) {
        pc_buf_puts(s->page, ".<br>* Not comparable with the card: ");
        pc_page_text(s->page, why);
    }
    pc_buf_puts(s->page, "</p>\n");
}

int pc_report_task(struct pc_buf *page, const struct pc_run *run, const struct pc_run_task *t, const char *id,
    struct paco_error *err)
{
    struct section *s = pc_alloc_zero(1, sizeof *s);
    if (!s)
        return pc_error_mem(err, sizeof *s, "a report");
    s->page = page;
    s->t = t;
    s->id = id;
    int rc = pc_results_items(t->dir, &s->records, err);
    if (rc == 0) {
        count_groups(s);
        pc_buf_puts(page, "<h3>");
        pc_page_text(page, run->label);
        pc_buf_puts(page, "</h3>\n");
        put_score(s);
        chart_metrics(s);
        if (is_perplexity(t))
            chart_texts(s);
        else
            chart_groups(s);
        pc_buf_printf(page,
            "<details class=\"browser\" data-index=\"%s-index\"><summary>Items</summary></details>\n", id);
        rc = put_index(s, err);
    }
    if (rc == 0)
        rc = put_items(s, err);
    json_decref(s->records);
    pc_free(s);
    return rc;
}
