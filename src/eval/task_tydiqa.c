// SPDX-License-Identifier: Apache-2.0
/* TyDi QA, gold passage (Clark et al. 2020): questions in nine languages, answered with or without the
 * passage that holds the answer, after one demonstration.
 *
 * Upstream: eval/tydiqa/run_eval.py. It draws 100 questions of each language, then the demonstrations, in the
 * order of a Python set, which differs from run to run, so that the published subset cannot be known; ours is
 * that of sorted languages. Passages beyond 512 tokens become the decoding of their first 512 ids, special
 * tokens shown: with LLaMA's tokenizer such a text begins with a literal "<s> ", which is a token again when
 * the prompt is encoded. How many spaces stand there depends on the library's release; the tokenizer's own
 * decoding is that of Transformers 5.
 *
 * What upstream crashes on: a language without (enough) demonstrations, and one without a template, is left
 * out and that is said. */
#include "base/memory.h"
#include "base/utf8.h"
#include "eval/subset.h"
#include "eval/task_out.h"
#include "eval/tasks.h"
#include "eval/tydiqa_data.h"
#include "eval/wrap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GOLDP, NO_CONTEXT };
enum {
    USUAL_EXAMPLES = 100,
    USUAL_SHOTS = 1,
    USUAL_CONTEXT = 512,
    MAX_NEW_TOKENS = 50,
    MAX_TEXT = 64 << 20,
    SEED = 42,
};

struct pc_task_data {
    bool no_context;
    enum pc_format format; /* around prompts */
    struct pc_tydiqa_questions test;
    size_t *items; /* indices of test.v */
    size_t n_items;
    char *preamble[PC_TYDIQA_LANGUAGES]; /* owned: instruction and demonstrations; NULL: the language is left
                                            out */
    struct pc_ids newline;               /* the id an answer ends at */
};

static int out_of_memory(struct paco_error *err)
{
    return pc_error_mem(err, 256, "TyDi QA");
}

/* ---- contexts ---- */

static int cut_context(const struct pc_task_env *env, struct pc_tydiqa_question *q, struct paco_error *err)
{
    size_t max = pc_subset_size(env->flags->max_context_length, USUAL_CONTEXT);
    if (!env->tok || max == 0)
        return 0;
    struct pc_ids ids = {0};
    struct pc_buf text;
    pc_buf_init(&text, MAX_TEXT);
    int rc = pc_tokenizer_encode(
        env->tok, q->context.v, q->context.len, PC_ENCODE_SPECIAL | PC_ENCODE_PARSE, &ids, err);
    if (rc == 0 && ids.n > max) {
        bool bare = env->flags->fixes & PC_FIX_TYDIQA_BOS;
        rc = pc_tokenizer_decode(env->tok, ids.v, max, bare, &text, err);
        size_t len = text.len;
        q->cut = rc == 0 ? pc_buf_detach(&text) : NULL;
        if (rc == 0 && !q->cut)
            rc = out_of_memory(err);
        if (rc == 0)
            q->context = (struct pc_text){q->cut, len};
    }
    if (rc < 0)
        pc_error_prefix(err, "%s", q->id.v);
    pc_buf_release(&text);
    pc_ids_release(&ids);
    return rc;
}

/* ---- what is asked ---- */

static int draw_items(struct pc_task_data *d, const struct pc_task_env *env, size_t i_language,
    struct pc_py_random *r, struct paco_error *err)
{
    size_t max = pc_subset_size(env->flags->max_num_examples_per_lang, USUAL_EXAMPLES);
    size_t *own, n;
    struct pc_subset subset = {0};
    int rc = pc_tydiqa_list(&d->test, i_language, &own, &n, err);
    if (rc < 0)
        return rc;
    rc = pc_subset_draw(r, n, max, false, env->flags->limit, &subset, err);
    for (size_t i = 0; i < subset.n; i++)
        d->items[d->n_items++] = own[subset.v[i]];
    pc_subset_release(&subset);
    pc_free(own);
    return rc;
}

static void add_text(struct pc_buf *b, struct pc_text t)
{
    pc_buf_add(b, t.v, t.len);
}

/* Passage, if there is one, and question: "LABEL text\n" each. */
static void add_asking(struct pc_buf *b, const struct pc_tydiqa_question *q, bool no_context)
{
    const struct pc_tydiqa_language *l = &pc_tydiqa_languages[q->i_language];
    if (!no_context) {
        pc_buf_printf(b, "%s ", l->passage);
        add_text(b, q->context);
        pc_buf_putc(b, '\n');
    }
    pc_buf_printf(b, "%s ", l->question);
    add_text(b, q->text);
    pc_buf_putc(b, '\n');
}

static void add_demonstration(struct pc_buf *b, const struct pc_tydiqa_question *q, bool no_context)
{
    const json_t *first = json_object_get(json_array_get(q->answers, 0), "text");
    add_asking(b, q, no_context);
    pc_buf_printf(b, "%s ", pc_tydiqa_languages[q->i_language].answer);
    pc_buf_add(b, json_string_value(first), json_string_length(first));
    pc_buf_puts(b, "\n\n");
}

static size_t shots_of(const struct pc_task_env *env)
{
    return env->flags->n_shot < 0 ? USUAL_SHOTS : (size_t)env->flags->n_shot;
}

/* The beginning of a language's prompts. Without enough demonstrations there is none. */
static int make_preamble(struct pc_task_data *d, const struct pc_task_env *env,
    struct pc_tydiqa_questions *train, size_t n_shots, size_t i_language, struct pc_py_random *r,
    struct paco_error *err)
{
    const struct pc_tydiqa_language *l = &pc_tydiqa_languages[i_language];
    size_t *own, n, *drawn = pc_alloc(n_shots, sizeof *drawn);
    int rc = drawn ? pc_tydiqa_list(train, i_language, &own, &n, err) : out_of_memory(err);
    if (rc < 0) {
        pc_free(drawn);
        return rc;
    }
    struct pc_buf b;
    pc_buf_init(&b, MAX_TEXT);
    pc_buf_printf(&b, "%s\n\n", d->no_context ? l->without : l->with_context);
    if (n >= n_shots)
        rc = pc_py_sample(r, n, n_shots, drawn, err);
    for (size_t i = 0; n >= n_shots && i < n_shots && rc == 0; i++) {
        struct pc_tydiqa_question *q = &train->v[own[drawn[i]]];
        rc = cut_context(env, q, err);
        if (rc == 0)
            add_demonstration(&b, q, d->no_context);
    }
    if (rc == 0)
        rc = pc_buf_check(&b, "demonstrations", err);
    if (rc == 0 && n >= n_shots) {
        d->preamble[i_language] = pc_buf_detach(&b);
        rc = d->preamble[i_language] ? 0 : out_of_memory(err);
    }
    pc_buf_release(&b);
    pc_free(own);
    pc_free(drawn);
    return rc;
}

/* One remark for the languages without questions, and one for those with too few demonstrations. */
static void remark_on_languages(
    const struct pc_task_data *d, const struct pc_task_env *env, const bool is_asked[PC_TYDIQA_LANGUAGES])
{
    struct pc_buf silent, unshown;
    size_t n_silent = 0, n_unshown = 0;
    pc_buf_init(&silent, 1024);
    pc_buf_init(&unshown, 1024);
    for (size_t i = 0; i < PC_TYDIQA_LANGUAGES; i++) {
        if (!is_asked[i])
            pc_buf_printf(&silent, "%s%s", n_silent++ ? ", " : "", pc_tydiqa_languages[i].name);
        else if (!d->preamble[i])
            pc_buf_printf(&unshown, "%s%s", n_unshown++ ? ", " : "", pc_tydiqa_languages[i].name);
    }
    if (n_silent)
        pc_note(env->notes,
            "there are no questions in %zu of %d languages, which have no part in the average: %s", n_silent,
            PC_TYDIQA_LANGUAGES, silent.data ? silent.data : "");
    if (n_unshown)
        pc_note(env->notes,
            "the training data have not the %zu demonstrations that are wanted of: %s (left out)",
            shots_of(env), unshown.data ? unshown.data : "");
    pc_buf_release(&silent);
    pc_buf_release(&unshown);
}

static int make_preambles(
    struct pc_task_data *d, const struct pc_task_env *env, struct pc_py_random *r, struct paco_error *err)
{
    size_t n_shots = shots_of(env);
    bool is_asked[PC_TYDIQA_LANGUAGES] = {false};
    struct pc_tydiqa_questions train = {0};
    int rc = n_shots ? pc_tydiqa_read(env, "train", &train, err) : 0;
    for (size_t i = 0; i < d->test.n; i++)
        is_asked[d->test.v[i].i_language] = true;
    for (size_t i = 0; i < PC_TYDIQA_LANGUAGES && rc == 0; i++)
        if (is_asked[i])
            rc = make_preamble(d, env, &train, n_shots, i, r, err);
    if (rc == 0)
        remark_on_languages(d, env, is_asked);
    pc_tydiqa_release(&train);
    return rc;
}

static int by_place(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* Items of languages left out go; when all questions are asked, that is in the order of the file. */
static int settle_items(struct pc_task_data *d, const struct pc_task_env *env, struct paco_error *err)
{
    size_t n = 0;
    int rc = 0;
    for (size_t i = 0; i < d->n_items; i++)
        if (d->preamble[d->test.v[d->items[i]].i_language])
            d->items[n++] = d->items[i];
    d->n_items = n;
    if (pc_subset_size(env->flags->max_num_examples_per_lang, USUAL_EXAMPLES) == 0)
        qsort(d->items, n, sizeof *d->items, by_place);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = cut_context(env, &d->test.v[d->items[i]], err);
    if (!env->tok && pc_subset_size(env->flags->max_context_length, USUAL_CONTEXT) > 0)
        pc_note(env->notes, "contexts are not cut to %zu tokens: the endpoint's tokenizer is not known",
            pc_subset_size(env->flags->max_context_length, USUAL_CONTEXT));
    return rc;
}

/* ---- the door ---- */

static void tydiqa_close(struct pc_task_data *d)
{
    if (!d)
        return;
    pc_tydiqa_release(&d->test);
    for (size_t i = 0; i < PC_TYDIQA_LANGUAGES; i++)
        pc_free(d->preamble[i]);
    pc_ids_release(&d->newline);
    pc_free(d->items);
    pc_free(d);
}

static int prepare(struct pc_task_data *d, const struct pc_task_env *env, struct paco_error *err)
{
    struct pc_py_random random;
    pc_py_seed(&random, SEED);
    int rc = pc_tydiqa_read(env, "dev", &d->test, err);
    if (rc < 0)
        return rc;
    d->items = pc_alloc(d->test.n, sizeof *d->items);
    rc = d->items ? pc_newline_stop(env->tok, &d->newline, err) : out_of_memory(err);
    for (size_t i = 0; i < PC_TYDIQA_LANGUAGES && rc == 0; i++)
        rc = draw_items(d, env, i, &random, err);
    if (rc == 0)
        rc = make_preambles(d, env, &random, err);
    return rc < 0 ? rc : settle_items(d, env, err);
}

static int tydiqa_open(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err)
{
    const struct pc_task_flags *flags = env->flags;
    struct pc_task_data *d = pc_alloc_zero(1, sizeof *d);
    if (!d)
        return out_of_memory(err);
    d->no_context = flags->no_context < 0 ? task->variant == NO_CONTEXT : flags->no_context;
    d->format = pc_wrap_format(env);
    int rc = prepare(d, env, err);
    if (rc < 0)
        tydiqa_close(d);
    else
        *out = d;
    return rc;
}

static size_t tydiqa_n_items(const struct pc_task_data *d)
{
    return d->n_items;
}

static const struct pc_tydiqa_question *question_of(const struct pc_task_data *d, size_t i)
{
    return &d->test.v[d->items[i]];
}

static void tydiqa_name_item(const struct pc_task_data *d, size_t i, char out[96], const char **group)
{
    const struct pc_tydiqa_question *q = question_of(d, i);
    snprintf(out, 96, "%s", q->id.v);
    *group = pc_tydiqa_languages[q->i_language].name;
}

static int tydiqa_ask(const struct pc_task_data *d, size_t i, struct pc_ask *ask, struct paco_error *err)
{
    const struct pc_tydiqa_question *q = question_of(d, i);
    struct pc_buf *b = ask->prompt;
    pc_buf_puts(b, d->preamble[q->i_language]);
    add_asking(b, q, d->no_context);
    int rc = pc_buf_check(b, "a prompt", err);
    if (rc < 0)
        return rc;
    if (d->format != PC_FORMAT_RAW) {
        const char *all = b->data;
        pc_utf8_rstrip(&all, &b->len);
    }
    ask->kind = PC_ASK_TEXT;
    ask->max_tokens = MAX_NEW_TOKENS;
    ask->n_samples = 1;
    if (d->newline.n > 0)
        ask->stop_ids[ask->n_stop_ids++] = &d->newline;
    ask->texts_only = d->newline.n == 0;
    ask->stop_texts[ask->n_stop_texts++] = "\n";
    return pc_wrap(d->format, b, pc_tydiqa_languages[q->i_language].answer, err);
}

static int score(
    struct pc_text prediction, const json_t *answers, double *exact, double *f1, struct paco_error *err)
{
    size_t n = json_array_size(answers);
    struct pc_text *texts = pc_alloc(n, sizeof *texts);
    int rc = texts ? 0 : out_of_memory(err);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = pc_member_text(json_array_get(answers, i), "text", &texts[i], err);
    if (rc == 0)
        rc = pc_squad_score(prediction, texts, n, exact, f1, err);
    pc_free(texts);
    return rc;
}

static int tydiqa_judge(const struct pc_task_data *d, size_t i, const struct pc_answers *answers,
    json_t *record, struct paco_error *err)
{
    const struct pc_tydiqa_question *q = question_of(d, i);
    struct pc_text prediction = {answers->texts[0], answers->lens[0]};
    double exact = 0, f1 = 0;
    pc_utf8_strip(&prediction.v, &prediction.len);
    int rc = score(prediction, q->answers, &exact, &f1, err);
    if (rc == 0)
        rc = pc_object_put(record, "question", pc_text_value(q->text), err);
    if (rc == 0)
        rc = pc_object_put(record, "answers", json_deep_copy(q->answers), err);
    if (rc == 0)
        rc = pc_object_put(record, "extraction", pc_text_value(prediction), err);
    if (rc == 0)
        rc = pc_object_put(record, "exact_match", json_boolean(exact > 0), err);
    return rc < 0 ? rc : pc_object_put(record, "score", json_real(f1), err);
}

/* ---- results ---- */

static json_t *prediction_line(const struct pc_tydiqa_question *q, const json_t *record)
{
    return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o}", "id", pc_text_value(q->id), "lang",
        pc_tydiqa_languages[q->i_language].name, "context", pc_text_value(q->context), "question",
        pc_text_value(q->text), "answers", json_deep_copy(q->answers), "prediction_text",
        pc_text_value(pc_record_text(record, "extraction")));
}

static int write_predictions(
    const struct pc_task_data *d, const json_t *records, const char *dir, struct paco_error *err)
{
    struct pc_buf lines;
    int rc = 0;
    pc_lines_init(&lines);
    for (size_t i = 0; i < d->n_items && rc == 0; i++)
        if (pc_record_is_good(json_array_get(records, i)))
            rc = pc_lines_add(&lines, prediction_line(question_of(d, i), json_array_get(records, i)), err);
    return pc_lines_write(&lines, rc, dir, "tydiaqa_predictions.jsonl", err);
}

struct averages {
    double f1[PC_TYDIQA_LANGUAGES], exact[PC_TYDIQA_LANGUAGES], squares;
    size_t n;
};

/* One language, as the metric of `evaluate` sums and divides. values has room for all items. */
static int add_language(const struct pc_task_data *d, const json_t *records, size_t i_language,
    double *values, struct averages *all, json_t *metrics, struct paco_error *err)
{
    double f1 = 0, exact = 0;
    size_t n = 0;
    for (size_t i = 0; i < d->n_items; i++) {
        const json_t *record = json_array_get(records, i);
        if (question_of(d, i)->i_language != i_language || !pc_record_is_good(record))
            continue;
        values[n] = json_number_value(json_object_get(record, "score"));
        exact += json_is_true(json_object_get(record, "exact_match"));
        f1 += values[n++];
    }
    if (n == 0)
        return 0;
    double error = pc_mean_error(values, n);
    f1 = 100.0 * f1 / (double)n;
    exact = 100.0 * exact / (double)n;
    all->f1[all->n] = f1;
    all->exact[all->n++] = exact;
    all->squares += error * error;
    return pc_object_put(metrics, pc_tydiqa_languages[i_language].name,
        json_pack("{s:f, s:f}", "exact_match", exact, "f1", f1), err);
}

static int tydiqa_finish(const struct pc_task_data *d, const json_t *records, const char *dir,
    json_t *metrics, double *score_out, double *se, struct paco_error *err)
{
    struct averages all = {0};
    double *values = pc_alloc(d->n_items, sizeof *values);
    int rc = values ? write_predictions(d, records, dir, err) : out_of_memory(err);
    for (size_t i = 0; i < PC_TYDIQA_LANGUAGES && rc == 0; i++)
        rc = add_language(d, records, i, values, &all, metrics, err);
    pc_free(values);
    if (rc < 0)
        return rc;
    double f1 = pc_numpy_mean(all.f1, all.n), exact = pc_numpy_mean(all.exact, all.n);
    *score_out = f1;
    *se = all.n ? 100 * sqrt(all.squares) / (double)all.n : (double)NAN;
    if (all.n == 0)
        return 0;
    return pc_object_put(metrics, "average", json_pack("{s:f, s:f}", "f1", f1, "exact_match", exact), err);
}

#define TYDIQA_DOOR                                                                                          \
    .benchmark = "TydiQA", .metrics_style = PC_JSON_PRETTY_4, .open = tydiqa_open, .close = tydiqa_close,    \
    .n_items = tydiqa_n_items, .name_item = tydiqa_name_item, .ask = tydiqa_ask, .judge = tydiqa_judge,      \
    .finish = tydiqa_finish

const struct pc_task pc_task_tydiqa_goldp = {
    .name = "tydiqa_goldp",
    .summary = "TyDi QA: 9 languages, 100 questions each, with the passage that has the answer; F1",
    .setting = "Gold-P",
    .card_score = 31.2,
    .variant = GOLDP,
    TYDIQA_DOOR,
};

const struct pc_task pc_task_tydiqa_no_context = {
    .name = "tydiqa_no_context",
    .summary = "TyDi QA: 9 languages, 100 questions each, without a passage; F1",
    .setting = "Closed",
    .card_score = 7.2,
    .variant = NO_CONTEXT,
    TYDIQA_DOOR,
};
