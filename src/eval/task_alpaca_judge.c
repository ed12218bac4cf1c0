// SPDX-License-Identifier: Apache-2.0
/* A model as judge between two answers, by the letter it would say next (reference, section 7.3): no parsing,
 * nothing drawn. Models like the first answer, or the second, whatever they say; so every pair is shown in
 * both orders, and what changes with the order is a draw. The wording is ours. */
#include "base/memory.h"
#include "eval/alpaca_judge.h"
#include "eval/tasks.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Item 2i shows pair i with the baseline first, item 2i + 1 with the model first. */
static size_t count(const struct pc_task_data *d)
{
    return 2 * d->pairs.n;
}

static void name_item(const struct pc_task_data *d, size_t item, char out[96], const char **group)
{
    snprintf(out, 96, "%zu/%s", d->pairs.v[item / 2].i, item % 2 ? "model-first" : "baseline-first");
    *group = NULL;
}

static void put_question(struct pc_buf *b, const struct pc_alpaca_pair *pair, bool model_first)
{
    const struct pc_alpaca_row *base = pair->base, *model = pair->model;
    pc_buf_puts(b, "Below are an instruction and two answers to it. Decide which answer a careful reader "
                   "would prefer: the "
                   "one that does what the instruction asks, is correct, and is clear.\n");
    pc_alpaca_judge_put(b, "\n## Instruction\n", base->instruction);
    if (base->input.len)
        pc_alpaca_judge_put(b, "\n\n## Input\n", base->input);
    pc_alpaca_judge_put(b, "\n\n## Answer A\n", model_first ? model->output : base->output);
    pc_alpaca_judge_put(b, "\n\n## Answer B\n", model_first ? base->output : model->output);
    pc_buf_puts(b, "\n\nWhich answer is better? Reply with one letter, A or B.");
}

static int ask(const struct pc_task_data *d, size_t item, struct pc_ask *a, struct paco_error *err)
{
    struct pc_buf question;
    pc_buf_init(&question, PC_EVAL_MAX_FILE);
    put_question(&question, &d->pairs.v[item / 2], item % 2);
    int rc = pc_buf_check(&question, "a prompt", err);
    if (rc == 0)
        rc = pc_format_render(d->format, &(struct pc_message){"user", question.data}, 1, a->prompt, err);
    pc_buf_release(&question);
    if (rc < 0)
        return rc;
    pc_buf_puts(
        a->prompt, d->format == PC_FORMAT_RAW ? "\n\nThe better answer is:" : "The better answer is:");
    a->kind = PC_ASK_CHOICE;
    a->bos = true;
    a->choices[0] = "A";
    a->choices[1] = "B";
    a->n_choices = 2;
    return pc_buf_check(a->prompt, "a prompt", err);
}

/* The side the letter stands for: 1 the baseline, 2 the model; as likely as the other: none, 0. */
static int judge(const struct pc_task_data *d, size_t item, const struct pc_answers *answers, json_t *record,
    struct paco_error *err)
{
    const double *p = answers->probs;
    bool model_first = item % 2;
    int letter = p[0] > p[1] ? 1 : p[0] < p[1] ? 2 : 0, side = letter && model_first ? 3 - letter : letter;
    const struct pc_alpaca_pair *pair = &d->pairs.v[item / 2];
    const char *said = letter == 1 ? "A" : letter == 2 ? "B" : "";
    json_t *o = json_pack(
        "{s:I, s:s, s:i}", "instruction_index", (json_int_t)pair->i, "extraction", said, "preference", side);
    int rc = o ? json_object_update(record, o) : -1;
    json_decref(o);
    return rc < 0 ? pc_error_mem(err, 0, "a record") : 0;
}

struct tally {
    size_t n_both, n_agree, n_first, n_said;
};

static double share(size_t part, size_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

/* Both orders together. A pair of which one order failed was not judged. */
static double settle(const json_t *one, const json_t *two, struct tally *t)
{
    const json_t *a = json_object_get(one, "preference"), *b = json_object_get(two, "preference");
    if (!json_is_integer(a) || !json_is_integer(b))
        return NAN;
    json_int_t x = json_integer_value(a), y = json_integer_value(b);
    t->n_both++;
    t->n_agree += x == y;
    t->n_first += (x == 1) + (y == 2);
    t->n_said += (x != 0) + (y != 0);
    return x == y ? (double)x : 0;
}

static int finish(const struct pc_task_data *d, const json_t *records, const char *dir, json_t *metrics,
    double *score, double *se, struct paco_error *err)
{
    struct tally t = {0};
    double *preferences = pc_alloc(d->pairs.n, sizeof *preferences);
    if (!preferences)
        return pc_error_mem(err, d->pairs.n * sizeof *preferences, "preferences");
    for (size_t i = 0; i < d->pairs.n; i++)
        preferences[i] = settle(json_array_get(records, 2 * i), json_array_get(records, 2 * i + 1), &t);
    int rc = pc_alpaca_pairs_finish(&d->pairs, preferences, d->judge, dir, metrics, score, se, err);
    pc_free(preferences);
    json_t *more = json_pack("{s:f, s:f}", "both_orders_agree", share(t.n_agree, t.n_both),
        "first_answer_preferred", share(t.n_first, t.n_said));
    if (rc == 0 && (!more || json_object_update(metrics, more) < 0))
        rc = pc_error_mem(err, 0, "metrics");
    json_decref(more);
    return rc;
}

const struct pc_task pc_task_alpaca_judge = {
    .name = "alpaca_judge",
    .summary =
        "the model as judge of --outputs FILE against text-davinci-003, both orders; not the card's judge",
    .setting = "judged by the next letter",
    .card_score = NAN,
    .metrics_style = PC_JSON_PRETTY_4,
    .open = pc_alpaca_judge_open,
    .close = pc_alpaca_judge_close,
    .n_items = count,
    .name_item = name_item,
    .ask = ask,
    .judge = judge,
    .finish = finish,
};
