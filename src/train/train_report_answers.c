// SPDX-License-Identifier: Apache-2.0
#include "report/page.h"
#include "train/train_report_parts.h"

#include <stdio.h>

enum { MAX_PROMPTS = 64, BETWEEN = 10 };

/* The answers of one run to one prompt, in order. */
struct answers {
    const struct pc_report_run *run;
    int64_t prompt;
    size_t n;
    const struct pc_run_sample *first, *last;
};

static struct answers answers_to(const struct pc_report_run *run, int64_t prompt)
{
    struct answers a = {.run = run, .prompt = prompt};
    for (size_t i = 0; i < run->log.n_samples; i++) {
        const struct pc_run_sample *s = &run->log.samples[i];
        if (s->prompt != prompt)
            continue;
        if (a.n++ == 0)
            a.first = s;
        a.last = s;
    }
    return a;
}

/* The least number of a prompt that is above this one, of any run; -1: none. */
static int64_t next_prompt(const struct pc_report_run *runs, size_t n, int64_t above)
{
    int64_t next = -1;
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < runs[k].log.n_samples; i++) {
            int64_t its = runs[k].log.samples[i].prompt;
            if (its > above && (next < 0 || its < next))
                next = its;
        }
    return next;
}

static void put_answer(struct pc_buf *page, const char *run, const struct pc_run_sample *s)
{
    pc_buf_puts(page, "<div><p class=\"soft\">");
    if (run) {
        pc_page_text(page, run);
        pc_buf_puts(page, ", ");
    }
    pc_buf_printf(page, "step %lld", (long long)s->step);
    if (s->stop[0]) {
        pc_buf_puts(page, " (");
        pc_page_text(page, s->stop);
        pc_buf_puts(page, ")");
    }
    pc_buf_puts(page, "</p><pre>");
    pc_page_text(page, s->answer);
    pc_buf_puts(page, "</pre></div>\n");
}

/* Evenly spread over those that are neither first nor last. */
static void put_between(struct pc_buf *page, const struct answers *a, const char *name)
{
    if (a->n < 3)
        return;
    size_t n = a->n - 2, shown = n < BETWEEN ? n : BETWEEN, at = 0, put = 0;
    pc_buf_printf(page, "<details><summary>%zu answers between", n);
    if (shown < n)
        pc_buf_printf(page, ", %zu of them", shown);
    if (name) {
        pc_buf_puts(page, ", ");
        pc_page_text(page, name);
    }
    pc_buf_puts(page, "</summary>\n");
    for (const struct pc_run_sample *s = a->first + 1; s < a->last && put < shown; s++) {
        if (s->prompt != a->prompt)
            continue;
        if (at++ == (2 * put + 1) * n / (2 * shown)) {
            put_answer(page, NULL, s);
            put++;
        }
    }
    pc_buf_puts(page, "</details>\n");
}

/* The first answer of the first run that has one stands for what all began with. */
static void put_prompt(struct pc_buf *page, const struct pc_report_run *runs, size_t n, int64_t prompt)
{
    bool asked = false;
    for (size_t k = 0; k < n; k++) {
        struct answers a = answers_to(&runs[k], prompt);
        const char *name = n > 1 ? runs[k].name : NULL;
        if (a.n && !asked) {
            pc_buf_puts(page, "<div class=\"item\"><pre>");
            pc_page_text(page, a.first->question);
            pc_buf_puts(page, "</pre>\n<div class=\"pairs\">\n");
            if (a.n > 1)
                put_answer(page, name, a.first);
            asked = true;
        }
        if (a.n)
            put_answer(page, name, a.last);
    }
    pc_buf_puts(page, "</div>\n");
    for (size_t k = 0; k < n; k++) {
        struct answers a = answers_to(&runs[k], prompt);
        put_between(page, &a, n > 1 ? runs[k].name : NULL);
    }
    pc_buf_puts(page, "</div>\n");
}

void pc_train_report_answers(struct pc_buf *page, const struct pc_report_run *runs, size_t n)
{
    int64_t prompt = next_prompt(runs, n, -1);
    if (prompt < 0)
        return;
    pc_buf_puts(page,
        "<h2>Answers</h2>\n<p>Greedy answers to the same prompts as training went: the first and "
        "the last. What ended each is in brackets.</p>\n");
    for (int i = 0; i < MAX_PROMPTS && prompt >= 0; i++, prompt = next_prompt(runs, n, prompt))
        put_prompt(page, runs, n, prompt);
    if (prompt >= 0)
        pc_buf_printf(
            page, "<p class=\"soft\">More than %d prompts: samples.jsonl has all.</p>\n", MAX_PROMPTS);
}
