// SPDX-License-Identifier: Apache-2.0
/* MMLU (Hendrycks et al. 2021): questions of 57 subjects with four choices, of which the likeliest next
 * letter is taken.
 *
 * Upstream: eval/mmlu/run_eval.py. Subjects are asked one after the other, each behind the same header and
 * its first examples ("shots"), so that all questions of a subject share a beginning. A prompt of more than
 * 2048 tokens loses shots from the end, which is tested before the chat format is put around it; where not
 * even the question alone fits, upstream never ends, and we ask it as it is.
 *
 * Upstream stops with an error when --subjects leaves a subcategory empty, after all the work; here such a
 * subcategory has no line in metrics.json, and that is said beforehand. */
#include "base/memory.h"
#include "base/py_text.h"
#include "eval/mmlu_categories.h"
#include "eval/mmlu_data.h"
#include "eval/task_out.h"
#include "eval/tasks.h"
#include "eval/wrap.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PROMPT_TOKENS = 2048 };

static const char *const letters[PC_MMLU_CHOICES] = {"A", "B", "C", "D"};

struct item {
    size_t i_subject, row;
};

struct pc_task_data {
    enum pc_format format; /* around prompts */
    const struct pc_tokenizer *tok;
    struct pc_mmlu mmlu;
    struct item *items;
    size_t n_items;
};

static int out_of_memory(struct paco_error *err)
{
    return pc_error_mem(err, 256, "MMLU");
}

static int list_items(struct pc_task_data *d, struct paco_error *err)
{
    const struct pc_mmlu *m = &d->mmlu;
    for (size_t i = 0; i < m->n_subjects; i++)
        d->n_items += m->subjects[i].n_rows;
    d->items = pc_alloc(d->n_items, sizeof *d->items);
    if (!d->items)
        return out_of_memory(err);
    size_t n = 0;
    for (size_t i = 0; i < m->n_subjects; i++)
        for (size_t k = 0; k < m->subjects[i].n_rows; k++)
            d->items[n++] = (struct item){i, m->subjects[i].rows[k]};
    return 0;
}

static void mmlu_close(struct pc_task_data *d)
{
    if (!d)
        return;
    pc_mmlu_release(&d->mmlu);
    pc_free(d->items);
    pc_free(d);
}

static int mmlu_open(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err)
{
    const struct pc_task_flags *flags = env->flags;
    struct pc_task_data *d = pc_alloc_zero(1, sizeof *d);
    if (!d)
        return out_of_memory(err);
    d->format = pc_wrap_format(env);
    d->tok = env->tok;
    size_t n_shots = flags->ntrain < 0 ? (size_t)task->variant : (size_t)flags->ntrain;
    if (!d->tok && n_shots)
        pc_note(env->notes, "the model's tokens are not known, so no prompt of more than %d of them is cut",
            MAX_PROMPT_TOKENS);
    int rc = pc_mmlu_read(&d->mmlu, env, n_shots, err);
    if (rc == 0)
        rc = list_items(d, err);
    if (rc < 0)
        mmlu_close(d);
    else
        *out = d;
    return rc;
}

/* ---- asking ---- */

static size_t mmlu_n_items(const struct pc_task_data *d)
{
    return d->n_items;
}

static void mmlu_name_item(const struct pc_task_data *d, size_t i, char out[96], const char **group)
{
    *group = d->mmlu.subjects[d->items[i].i_subject].name;
    snprintf(out, 96, "%s/%zu", *group, d->items[i].row);
}

static int fits(
    const struct pc_tokenizer *tok, const char *text, size_t len, bool *yes, struct paco_error *err)
{
    *yes = true;
    if (len < MAX_PROMPT_TOKENS)
        return 0; // a token is at least a byte, but for one a tokenizer may put in front
    struct pc_ids ids = {0};
    int rc = pc_tokenizer_encode(tok, text, len, PC_ENCODE_PARSE, &ids, err);
    *yes = ids.n <= MAX_PROMPT_TOKENS;
    pc_ids_release(&ids);
    return rc;
}

/* Append the prompt with as many shots as fit. Neither end of it is white space, so that the strip upstream's
 * chat format does changes nothing. */
static int put_prompt(
    const struct pc_task_data *d, const struct item *item, struct pc_buf *out, struct paco_error *err)
{
    const struct pc_mmlu_subject *s = &d->mmlu.subjects[item->i_subject];
    size_t from = out->len;
    bool yes = false;
    for (size_t k = d->mmlu.n_shots;; k--) {
        out->len = from;
        pc_buf_add(out, s->prefix.data, s->shot_end[k]);
        pc_mmlu_put_question(out, &s->test, item->row);
        if (k == 0 || !d->tok || out->failed)
            return 0;
        int rc = fits(d->tok, out->data + from, out->len - from, &yes, err);
        if (rc < 0 || yes)
            return rc;
    }
}

static int mmlu_ask(const struct pc_task_data *d, size_t i, struct pc_ask *ask, struct paco_error *err)
{
    ask->kind = PC_ASK_CHOICE;
    ask->n_choices = PC_MMLU_CHOICES;
    memcpy(ask->choices, letters, sizeof letters);
    int rc = put_prompt(d, &d->items[i], ask->prompt, err);
    return rc < 0 ? rc
                  : pc_wrap(d->format, ask->prompt, d->format == PC_FORMAT_RAW ? "" : "The answer is:", err);
}

/* ---- judging ---- */

static int mmlu_judge(const struct pc_task_data *d, size_t i, const struct pc_answers *answers,
    json_t *record, struct paco_error *err)
{
    const struct pc_csv *t = &d->mmlu.subjects[d->items[i].i_subject].test;
    size_t row = d->items[i].row, best = 0;
    if (answers->n_probs != PC_MMLU_CHOICES)
        return pc_error_set(
            err, PACO_EFORMAT, "%zu probabilities where %d are expected", answers->n_probs, PC_MMLU_CHOICES);
    // Upstream's probabilities are float32; of equal ones the first is taken.
    for (size_t k = 1; k < PC_MMLU_CHOICES; k++)
        if ((float)answers->probs[k] > (float)answers->probs[best])
            best = k;
    const char *answer = pc_csv_cell(t, row, PC_MMLU_ANSWER)->text;
    json_t *choices = json_array();
    bool bad = !choices;
    for (size_t k = 0; k < PC_MMLU_CHOICES && !bad; k++)
        bad = json_array_append_new(choices, json_string_nocheck(pc_csv_cell(t, row, 1 + k)->text)) < 0;
    bad |= json_object_set_new(record, "question", json_string_nocheck(pc_csv_cell(t, row, 0)->text)) < 0;
    bad |= json_object_set_new(record, "choices", choices) < 0;
    bad |= json_object_set_new(record, "answer", json_string(answer)) < 0;
    bad |= json_object_set_new(record, "extraction", json_string(letters[best])) < 0;
    bad |= json_object_set_new(record, "correct", json_boolean(*answer == *letters[best])) < 0;
    return bad ? out_of_memory(err) : 0;
}

/* ---- results ---- */

struct tally {
    size_t n, n_correct;
};

static void count(struct tally *t, bool correct)
{
    t->n++;
    t->n_correct += correct;
}

/* The data row, the verdict and the four probabilities, as DataFrame.to_csv has them; what is missing is
 * empty, and so is all that an item has not which failed. */
static void put_row(struct pc_buf *out, const struct pc_csv *t, size_t row, const json_t *record)
{
    for (size_t i = 0; i < PC_MMLU_COLUMNS; i++) {
        const struct pc_csv_cell *c = pc_csv_cell(t, row, i);
        pc_csv_put(out, c->missing ? "" : c->text);
        pc_buf_putc(out, ',');
    }
    bool good = pc_record_is_good(record);
    if (good)
        pc_buf_puts(out, json_is_true(json_object_get(record, "correct")) ? "True" : "False");
    const json_t *probs = json_object_get(record, "probs");
    for (size_t k = 0; k < PC_MMLU_CHOICES; k++) {
        pc_buf_putc(out, ',');
        if (good)
            pc_py_float(out, (double)(float)json_number_value(json_array_get(probs, k)));
    }
    pc_buf_putc(out, '\n');
}

/* <subject>.csv, from the subject's part of the records. */
static int write_subject(const struct pc_mmlu_subject *s, const json_t *records, size_t first,
    const char *dir, struct paco_error *err)
{
    struct pc_buf b;
    char name[PC_MMLU_MAX_NAME + 8];
    pc_lines_init(&b);
    pc_buf_puts(&b, "0,1,2,3,4,5,correct,choiceA_probs,choiceB_probs,choiceC_probs,choiceD_probs\n");
    for (size_t k = 0; k < s->n_rows; k++)
        put_row(&b, &s->test, s->rows[k], json_array_get(records, first + k));
    snprintf(name, sizeof name, "%s.csv", s->name);
    return pc_lines_write(&b, pc_buf_check(&b, "a subject's answers", err), dir, name, err);
}

/* {name: share correct} of what was asked at all. */
static json_t *shares(const struct tally *t, const char *const *names, int n)
{
    json_t *out = json_object();
    bool bad = !out;
    for (int i = 0; i < n && !bad; i++)
        if (t[i].n)
            bad = json_object_set_new(out, names[i], json_real((double)t[i].n_correct / (double)t[i].n)) < 0;
    if (!bad)
        return out;
    json_decref(out);
    return NULL;
}

static int put_metrics(
    const struct tally *all, const struct tally *subcategories, json_t *metrics, struct paco_error *err)
{
    struct tally categories[PC_MMLU_CATEGORIES] = {{0, 0}};
    for (int i = 0; i < PC_MMLU_SUBCATEGORIES; i++) {
        struct tally *t = &categories[pc_mmlu_category(i)];
        t->n += subcategories[i].n;
        t->n_correct += subcategories[i].n_correct;
    }
    json_t *average = all->n ? json_real((double)all->n_correct / (double)all->n) : json_null();
    if (json_object_set_new(metrics, "average_acc", average) < 0 ||
        json_object_set_new(
            metrics, "subcat_acc", shares(subcategories, pc_mmlu_subcategories, PC_MMLU_SUBCATEGORIES)) < 0 ||
        json_object_set_new(metrics, "cat_acc", shares(categories, pc_mmlu_categories, PC_MMLU_CATEGORIES)) <
            0)
        return out_of_memory(err);
    return 0;
}

static int mmlu_finish(const struct pc_task_data *d, const json_t *records, const char *dir, json_t *metrics,
    double *score, double *se, struct paco_error *err)
{
    struct tally all = {0, 0}, subcategories[PC_MMLU_SUBCATEGORIES] = {{0, 0}};
    int rc = 0;
    for (size_t i = 0, first = 0; i < d->mmlu.n_subjects && rc == 0; first += d->mmlu.subjects[i++].n_rows) {
        const struct pc_mmlu_subject *s = &d->mmlu.subjects[i];
        for (size_t k = 0; k < s->n_rows; k++) {
            const json_t *record = json_array_get(records, first + k);
            bool correct = json_is_true(json_object_get(record, "correct"));
            if (!pc_record_is_good(record))
                continue;
            count(&all, correct);
            if (s->subcategory >= 0)
                count(&subcategories[s->subcategory], correct);
        }
        rc = write_subject(s, records, first, dir, err);
    }
    if (rc == 0)
        rc = put_metrics(&all, subcategories, metrics, err);
    *score = all.n ? 100 * ((double)all.n_correct / (double)all.n) : (double)NAN;
    *se = 100 * pc_share_error(all.n_correct, all.n);
    return rc;
}

#define MMLU_TASK(n_shots, card)                                                                             \
    {                                                                                                        \
        .name = "mmlu_" #n_shots "shot",                                                                     \
        .summary =                                                                                           \
            "MMLU, 57 subjects, " #n_shots " examples before each question: which letter is likeliest",      \
        .benchmark = "MMLU", .setting = #n_shots "-shot", .card_score = (card), .variant = (n_shots),        \
        .metrics_style = PC_JSON_PYTHON, .open = mmlu_open, .close = mmlu_close, .n_items = mmlu_n_items,    \
        .name_item = mmlu_name_item, .ask = mmlu_ask, .judge = mmlu_judge, .finish = mmlu_finish,            \
    }

const struct pc_task pc_task_mmlu_0shot = MMLU_TASK(0, 41.5);
const struct pc_task pc_task_mmlu_5shot = MMLU_TASK(5, 40.3);
