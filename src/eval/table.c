// SPDX-License-Identifier: Apache-2.0
#include "eval/table.h"

#include "eval/paired.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LABEL = 14, COLUMN = 7, LAST = 9, WIDTH = LABEL + PC_CARD_SETTINGS * COLUMN + LAST };

/* ---- standard errors ---- */

/* Where all questions came out alike a standard error of 0 would say too much. */
static double shown_error(double se)
{
    return se > 0 ? se : (double)NAN;
}

/* The interval that stands for it, in a line of its own. */
static void put_interval(
    struct pc_buf *out, bool *any, const char *name, double score, double se, size_t n_good)
{
    double low, high;
    char a[16], b[16];
    if (se != 0 || n_good == 0 || isnan(score))
        return;
    if (!*any)
        pc_buf_puts(
            out, "all questions came out alike: Wilson's 95 % interval instead of a standard error\n");
    *any = true;
    pc_wilson(score / 100, n_good, &low, &high);
    pc_buf_printf(out, "  %-22s %5s to %s, of %zu\n", name, pc_card_round(100 * low, a),
        pc_card_round(100 * high, b), n_good);
}

/* ---- the wide form ---- */

/* As wide as the numbers below, and the mark behind them. */
static void head(struct pc_buf *out)
{
    pc_buf_printf(out, "%*s", LABEL, "");
    for (int i = 0, end; i < PC_CARD_SETTINGS; i = end) {
        const char *name = pc_card_settings[i].benchmark;
        for (end = i; end < PC_CARD_SETTINGS && strcmp(pc_card_settings[end].benchmark, name) == 0; end++)
            ;
        // A name above a single column may reach over the average's, which has none above it.
        pc_buf_printf(out, end - i > 1 ? "%*s " : " %-*s", (end - i) * COLUMN - 1, name);
    }
    pc_buf_printf(out, "\n%*s", LABEL, "");
    for (int i = 0; i < PC_CARD_SETTINGS; i++)
        pc_buf_printf(out, "%*s ", COLUMN - 1, pc_card_settings[i].setting);
    pc_buf_printf(out, "%*s\n", LAST - 1, "Average");
}

static void row(struct pc_buf *out, const char *label, const double v[PC_CARD_SETTINGS],
    const bool marked[PC_CARD_SETTINGS], double average)
{
    char text[16];
    bool any = false;
    pc_buf_printf(out, "%-*s", LABEL, label);
    for (int i = 0; i < PC_CARD_SETTINGS; i++) {
        any |= marked[i];
        pc_buf_printf(out, "%*s%s", COLUMN - 1, pc_card_round(v[i], text), marked[i] ? "*" : " ");
    }
    if (!isnan(average))
        pc_buf_printf(out, "%*s%s", LAST - 1, pc_card_round(average, text), any ? "*" : "");
    while (out->len && out->data[out->len - 1] == ' ')
        out->data[--out->len] = '\0';
    pc_buf_putc(out, '\n');
}

static void wide(struct pc_buf *out, const struct pc_card *card)
{
    double score[PC_CARD_SETTINGS], se[PC_CARD_SETTINGS], ours[PC_CARD_SETTINGS], own_se[PC_CARD_SETTINGS];
    const bool none[PC_CARD_SETTINGS] = {false};
    bool marked[PC_CARD_SETTINGS];
    for (int i = 0; i < PC_CARD_SETTINGS; i++) {
        const struct pc_card_cell *c = &card->v[i];
        score[i] = pc_card_settings[i].score;
        se[i] = pc_card_error(&pc_card_settings[i]);
        ours[i] = c->measured ? c->score : (double)NAN;
        own_se[i] = c->measured ? shown_error(c->se) : (double)NAN;
        marked[i] = c->measured && c->differs;
    }
    head(out);
    row(out, "the card", score, none, pc_card_own_average());
    row(out, "  +/- at most", se, none, (double)NAN);
    row(out, "this model", ours, marked, pc_card_average(ours));
    row(out, "  +/-", own_se, none, (double)NAN);
}

/* ---- the narrow form ---- */

static void narrow(struct pc_buf *out, const struct pc_card *card)
{
    double ours[PC_CARD_SETTINGS];
    char a[16], b[16], c[16], d[16];
    bool any = false;
    pc_buf_printf(out, "%-20s %7s %6s %9s %6s\n", "", "card", "+/- <=", "this model", "+/-");
    for (int i = 0; i < PC_CARD_SETTINGS; i++) {
        const struct pc_card_setting *s = &pc_card_settings[i];
        const struct pc_card_cell *cell = &card->v[i];
        ours[i] = cell->measured ? cell->score : (double)NAN;
        bool marked = cell->measured && cell->differs;
        any |= marked;
        pc_buf_printf(out, "%-11s%-9s %7s %6s %9s%s %6s\n", s->benchmark, s->setting,
            pc_card_round(s->score, a), pc_card_round(pc_card_error(s), b), pc_card_round(ours[i], c),
            marked ? "*" : " ", pc_card_round(cell->measured ? shown_error(cell->se) : (double)NAN, d));
    }
    pc_buf_printf(out, "%-20s %7s %6s %9s%s\n", "Average", pc_card_round(pc_card_own_average(), a), "",
        pc_card_round(pc_card_average(ours), b), any ? "*" : "");
}

/* ---- what must be said below ---- */

/* Behind lead, the columns that differ for this reason; without one those that are missing. Wrapped. */
static void list(struct pc_buf *out, const char *lead, const struct pc_card *card, const char *differs)
{
    bool first = true;
    size_t column = strlen(lead);
    for (int i = 0; i < PC_CARD_SETTINGS; i++) {
        const struct pc_card_cell *c = &card->v[i];
        const char *name = pc_card_settings[i].task;
        if (differs ? !c->measured || !c->differs || strcmp(c->differs, differs) != 0 : c->measured)
            continue;
        bool breaks = !first && column + strlen(name) + 3 > WIDTH;
        pc_buf_printf(out, "%s%s", first ? lead : breaks ? ",\n  " : ", ", name);
        column = (breaks ? 0 : column) + 2 + strlen(name);
        first = false;
    }
    if (!first)
        pc_buf_putc(out, '\n');
}

static void remarks(struct pc_buf *out, const struct pc_card *card, bool whole)
{
    char lead[256];
    bool drawn = false;
    for (int i = 0; i < PC_CARD_SETTINGS; i++) {
        const char *why = card->v[i].measured ? card->v[i].differs : NULL;
        bool said = false;
        for (int k = 0; k < i && why; k++)
            said |= card->v[k].measured && card->v[k].differs && strcmp(card->v[k].differs, why) == 0;
        if (why && !said) {
            snprintf(lead, sizeof lead, "* not to be compared with the card's, %s: ", why);
            list(out, lead, card, why);
        }
        drawn |= card->v[i].measured && !why && pc_card_settings[i].drawn;
    }
    if (whole)
        list(out, "missing, so there is no average: ", card, NULL);
    const struct pc_card_cell *last = &card->v[PC_CARD_SETTINGS - 1];
    if (last->judged && !last->measured)
        pc_buf_puts(out,
            "AlpacaFarm's judge gave no reply that can be read as a preference, so there is no score "
            "(items.jsonl has what\n  it said)\n");
    else if (last->n_items && !last->measured)
        pc_buf_puts(out,
            "AlpacaFarm's answers are written, and have no score before they are judged: --judge MODEL, "
            "--judge-api URL\n  or --annotations FILE\n");
    if (drawn)
        pc_buf_puts(
            out, "BBH and TydiQA: as many questions as the card's, but its own draw of them is not known\n");
}

void pc_table_card(struct pc_buf *out, const struct pc_card *card, int width)
{
    if (width >= WIDTH)
        wide(out, card);
    else
        narrow(out, card);
    bool any = false;
    for (int i = 0; i < PC_CARD_SETTINGS; i++) {
        const struct pc_card_cell *c = &card->v[i];
        if (c->measured)
            put_interval(out, &any, pc_card_settings[i].task, c->score, c->se, c->n_items - c->n_failed);
    }
    remarks(out, card, true);
}

/* ---- any tasks ---- */

static bool differs(const struct pc_card *card)
{
    for (int i = 0; i < PC_CARD_SETTINGS; i++)
        if (card->v[i].measured && card->v[i].differs)
            return true;
    return false;
}

static void number(struct pc_buf *out, int width, double x)
{
    if (isnan(x))
        pc_buf_printf(out, "%*s", width, "-");
    else
        pc_buf_printf(out, "%*.2f", width, x);
}

void pc_table_results(struct pc_buf *out, const struct pc_eval_result *const *results, size_t n)
{
    struct pc_card all = {0};
    pc_buf_printf(out, "%-22s %8s %7s %7s %8s\n", "task", "score", "+/-", "items", "card");
    for (size_t i = 0; i < n; i++) {
        const struct pc_eval_result *r = results[i];
        char card[16];
        pc_buf_printf(out, "%-22s ", r->task->name);
        number(out, 8, r->score);
        number(out, 8, shown_error(r->se));
        struct pc_card own = {0};
        pc_card_add(&own, r);
        pc_card_add(&all, r);
        pc_buf_printf(out, " %7zu %8s%s", r->n_items, pc_card_round(r->task->card_score, card),
            differs(&own) ? "*" : "");
        if (r->n_failed)
            pc_buf_printf(out, "  %zu FAILED, in no mean", r->n_failed);
        pc_buf_putc(out, '\n');
    }
    bool any = false;
    for (size_t i = 0; i < n; i++)
        if (!results[i]->task->is_perplexity)
            put_interval(out, &any, results[i]->task->name, results[i]->score, results[i]->se,
                results[i]->n_items - results[i]->n_failed);
    remarks(out, &all, false);
}
