// SPDX-License-Identifier: Apache-2.0
/* MGSM (Shi et al. 2022): 250 questions of GSM8K in eleven languages, behind worked examples of the same
 * language with their reasoning. Not on the card.
 *
 * Upstream: eval/mgsm/run_eval.py, which no published run used and which was removed in September 2023; what
 * its flags are by default (two examples, all questions) is what this task means. From Python's generator
 * come first the questions of all languages, where fewer are wanted, then the examples language by language.
 * Quirks that are kept: French questions are answered behind a German label; numbers in the output keep their
 * commas, of which the pattern knows nothing, so that "5,600" is extracted as 600; --n_shot 0 means all
 * examples.
 *
 * A language whose questions or examples are not in the data folder is left out, and that is said. */
#include "base/memory.h"
#include "base/utf8.h"
#include "eval/csv.h"
#include "eval/eval_data.h"
#include "eval/math_answer.h"
#include "eval/subset.h"
#include "eval/task_out.h"
#include "eval/tasks.h"
#include "eval/wrap.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { USUAL_SHOTS = 2, MAX_PREFIX = 16 << 20, SEED = 42, N_COLUMNS = 2 };

/* How each language labels question and answer, in upstream's order. */
static const struct {
    const char *code, *file, *question, *answer;
} languages[] = {
    {"en", "mgsm/mgsm_en.tsv", "Question: ", "Step-by-Step Answer:"},
    {"es", "mgsm/mgsm_es.tsv", "Pregunta: ", "Respuesta paso a paso:"},
    {"de", "mgsm/mgsm_de.tsv", "Frage: ", "Schritt-für-Schritt-Antwort:"},
    {"fr", "mgsm/mgsm_fr.tsv", "Question: ", "Schritt-für-Schritt-Antwort:"},
    {"ja", "mgsm/mgsm_ja.tsv", "問題：", "ステップごとの答え："},
    {"ru", "mgsm/mgsm_ru.tsv", "Задача: ", "Пошаговое решение:"},
    {"zh", "mgsm/mgsm_zh.tsv", "问题：", "逐步解答："},
    {"th", "mgsm/mgsm_th.tsv", "โจทย์: ", "คำตอบทีละขั้นตอน:"},
    {"te", "mgsm/mgsm_te.tsv", "ప్రశ్న: ", "దశలవారీగా సమాధానం:"},
    {"sw", "mgsm/mgsm_sw.tsv", "Swali: ", "Jibu la Hatua kwa Hatua:"},
    {"bn", "mgsm/mgsm_bn.tsv", "প্রশ্ন: ", "ধাপে ধাপে উত্তর:"},
};
enum { N_LANGUAGES = sizeof languages / sizeof *languages };

struct language {
    bool there;
    struct pc_csv table;
    struct pc_subset subset; /* rows of table */
    struct pc_buf prefix;    /* the worked examples */
};

struct item {
    size_t i_language, row;
};

struct pc_task_data {
    enum pc_format format; /* around prompts */
    struct language languages[N_LANGUAGES];
    struct item *items;
    size_t n_items;
    struct pc_ids newline;
};

static int out_of_memory(struct paco_error *err)
{
    return pc_error_mem(err, 256, "MGSM");
}

/* ---- the data ---- */

static int read_table(
    const struct pc_task_env *env, size_t i, struct language *language, struct paco_error *err)
{
    const char *const names[] = {languages[i].file, NULL};
    char *path;
    int rc = pc_eval_find(env->data_dir, "MGSM", names, &path, err);
    if (rc == 0)
        rc = pc_csv_read(env, path, '\t', N_COLUMNS, &language->table, err);
    if (rc == 0)
        rc = pc_csv_infer(&language->table, true, err);
    pc_free(path);
    language->there = rc == 0;
    return rc;
}

/* Fails unless some language is there. */
static int look_for_any(const struct pc_task_env *env, struct paco_error *err)
{
    const char *names[N_LANGUAGES + 1] = {NULL};
    char *path;
    for (size_t i = 0; i < N_LANGUAGES; i++)
        names[i] = languages[i].file;
    int rc = pc_eval_find(env->data_dir, "MGSM", names, &path, err);
    pc_free(path);
    return rc;
}

static int draw_questions(const struct pc_task_flags *flags, struct pc_py_random *random,
    struct language *language, struct paco_error *err)
{
    size_t wanted = pc_subset_size(flags->max_num_examples_per_lang, 0);
    return pc_subset_draw(
        random, language->table.n_rows, wanted, false, flags->limit, &language->subset, err);
}

static int read_questions(struct pc_task_data *d, const struct pc_task_env *env, struct pc_py_random *random,
    struct paco_error *err)
{
    int rc = look_for_any(env, err);
    for (size_t i = 0; i < N_LANGUAGES && rc == 0; i++) {
        struct paco_error missing = {0};
        rc = read_table(env, i, &d->languages[i], &missing);
        if (rc == PACO_ENOENT) {
            pc_note(env->notes, "MGSM has no %s here: the language is left out", languages[i].file);
            rc = 0;
        } else if (rc < 0 && err) {
            *err = missing;
        } else if (rc == 0) {
            rc = draw_questions(env->flags, random, &d->languages[i], err);
        }
    }
    return rc;
}

/* ---- worked examples ---- */

static int add_example(
    struct pc_buf *out, const json_t *example, const char *path, const char *code, struct paco_error *err)
{
    struct pc_text q = {0}, a = {0};
    int rc = pc_member_text(example, "q", &q, err);
    if (rc == 0)
        rc = pc_member_text(example, "a", &a, err);
    if (rc < 0) {
        pc_error_prefix(err, "an example of \"%s\"", code);
        pc_error_path(err, path);
        return rc;
    }
    pc_buf_puts(out, out->len ? "\n\n" : "");
    pc_buf_add(out, q.v, q.len);
    pc_buf_putc(out, '\n');
    pc_buf_add(out, a.v, a.len);
    return 0;
}

/* The examples of one language, an object whose members' names mean nothing, or as many of them as are
 * wanted, drawn. */
static int add_examples(struct language *language, const json_t *examples, const char *code, size_t n_shots,
    struct pc_py_random *random, const char *path, struct paco_error *err)
{
    size_t n = json_object_size(examples), k = 0;
    struct pc_subset chosen;
    const json_t **list = pc_alloc(n, sizeof *list);
    if (!list)
        return out_of_memory(err);
    json_t *object =
        (json_t *)(uintptr_t)examples; // jansson's iterators take a non-const object and change nothing
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it))
        list[k++] = json_object_iter_value(it);
    int rc = pc_subset_draw(random, n, n_shots, false, 0, &chosen, err);
    if (rc == 0) {
        for (size_t i = 0; i < chosen.n && rc == 0; i++)
            rc = add_example(&language->prefix, list[chosen.v[i]], path, code, err);
        pc_subset_release(&chosen);
    }
    pc_free(list);
    return rc == 0 ? pc_buf_check(&language->prefix, "worked examples", err) : rc;
}

static int add_all_examples(struct pc_task_data *d, const struct pc_task_env *env, const json_t *all,
    const char *path, struct pc_py_random *random, struct paco_error *err)
{
    size_t n_shots = env->flags->n_shot < 0 ? USUAL_SHOTS : (size_t)env->flags->n_shot;
    int rc = 0;
    if (n_shots == 0)
        pc_note(env->notes, "--n_shot 0 means all examples of MGSM, as it does upstream");
    for (size_t i = 0; i < N_LANGUAGES && rc == 0; i++) {
        struct language *language = &d->languages[i];
        const json_t *examples = json_object_get(all, languages[i].code);
        if (!language->there)
            continue;
        if (json_object_size(examples) == 0) {
            pc_note(env->notes, "MGSM has no examples in \"%s\" here: the language is left out",
                languages[i].code);
            language->there = false;
        } else if (n_shots > json_object_size(examples)) {
            rc =
                pc_data_error(err, PACO_EINVAL, path, "has %zu examples in \"%s\", but --n_shot asks for %zu",
                    json_object_size(examples), languages[i].code, n_shots);
        } else {
            rc = add_examples(language, examples, languages[i].code, n_shots, random, path, err);
        }
    }
    return rc;
}

static int read_examples(struct pc_task_data *d, const struct pc_task_env *env, struct pc_py_random *random,
    struct paco_error *err)
{
    static const char *const at[] = {"mgsm/exemplars.json", NULL};
    char *path;
    json_t *root = NULL;
    int rc = pc_eval_find(env->data_dir, "the worked examples of MGSM", at, &path, err);
    if (rc == 0)
        rc = pc_eval_json(env, path, &root, err);
    if (rc == 0) {
        const json_t *all = json_object_get(root, "MGSM_EXEMPLARS");
        rc = json_is_object(all) ? add_all_examples(d, env, all, path, random, err)
                                 : pc_data_error(err, PACO_EFORMAT, path,
                                       "has no \"MGSM_EXEMPLARS\", an object of languages");
    }
    json_decref(root);
    pc_free(path);
    return rc;
}

/* ---- the door ---- */

static int list_items(struct pc_task_data *d, struct paco_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < N_LANGUAGES; i++)
        n += d->languages[i].there ? d->languages[i].subset.n : 0;
    d->items = pc_alloc(n, sizeof *d->items);
    if (!d->items)
        return out_of_memory(err);
    for (size_t i = 0; i < N_LANGUAGES; i++)
        for (size_t k = 0; d->languages[i].there && k < d->languages[i].subset.n; k++)
            d->items[d->n_items++] = (struct item){i, d->languages[i].subset.v[k]};
    return 0;
}

static void mgsm_close(struct pc_task_data *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < N_LANGUAGES; i++) {
        pc_csv_release(&d->languages[i].table);
        pc_subset_release(&d->languages[i].subset);
        pc_buf_release(&d->languages[i].prefix);
    }
    pc_free(d->items);
    pc_ids_release(&d->newline);
    pc_free(d);
}

static int mgsm_open(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err)
{
    struct pc_task_data *d = pc_alloc_zero(1, sizeof *d);
    struct pc_py_random random;
    (void)task;
    if (!d)
        return out_of_memory(err);
    d->format = pc_wrap_format(env);
    for (size_t i = 0; i < N_LANGUAGES; i++)
        pc_buf_init(&d->languages[i].prefix, MAX_PREFIX);
    pc_py_seed(&random, SEED);
    int rc = read_questions(d, env, &random, err);
    if (rc == 0)
        rc = read_examples(d, env, &random, err);
    if (rc == 0)
        rc = pc_newline_stop(env->tok, &d->newline, err);
    if (rc == 0)
        rc = list_items(d, err);
    if (rc < 0)
        mgsm_close(d);
    else
        *out = d;
    return rc;
}

static size_t mgsm_n_items(const struct pc_task_data *d)
{
    return d->n_items;
}

static void mgsm_name_item(const struct pc_task_data *d, size_t i, char out[96], const char **group)
{
    *group = languages[d->items[i].i_language].code;
    snprintf(out, 96, "%s/%zu", *group, d->items[i].row);
}

static struct pc_text cell_of(const struct pc_task_data *d, size_t i, size_t column)
{
    const struct item *item = &d->items[i];
    const char *text = pc_csv_cell(&d->languages[item->i_language].table, item->row, column)->text;
    return (struct pc_text){text, strlen(text)};
}

static int mgsm_ask(const struct pc_task_data *d, size_t i, struct pc_ask *ask, struct paco_error *err)
{
    size_t i_language = d->items[i].i_language;
    struct pc_text question = cell_of(d, i, 0);
    const struct pc_buf *prefix = &d->languages[i_language].prefix;
    // The label is part of what is stripped, and begins it: only the end may have white space.
    pc_utf8_rstrip(&question.v, &question.len);
    pc_buf_add(ask->prompt, prefix->data, prefix->len);
    pc_buf_printf(ask->prompt, "\n\n%s", languages[i_language].question);
    pc_buf_add(ask->prompt, question.v, question.len);
    pc_buf_puts(ask->prompt, d->format == PC_FORMAT_RAW ? "\n" : "");
    pc_math_ask(ask, &d->newline);
    return pc_wrap(d->format, ask->prompt, languages[i_language].answer, err);
}

static int mgsm_judge(const struct pc_task_data *d, size_t i, const struct pc_answers *answers,
    json_t *record, struct paco_error *err)
{
    return pc_math_judge(cell_of(d, i, 0), cell_of(d, i, 1), answers, false, 0, record, err);
}

/* One language's file and its share of correct answers, from its part of the records. */
static int finish_language(const struct pc_task_data *d, size_t i, const json_t *records, size_t first,
    const char *dir, size_t *n, size_t *n_correct, struct paco_error *err)
{
    struct pc_buf lines;
    char name[64];
    int rc = 0;
    pc_lines_init(&lines);
    for (size_t k = 0; k < d->languages[i].subset.n && rc == 0; k++) {
        const json_t *record = json_array_get(records, first + k);
        *n += pc_record_is_good(record);
        *n_correct += pc_record_is_good(record) && json_is_true(json_object_get(record, "correct"));
        rc = pc_math_line(&lines, record, err);
    }
    snprintf(name, sizeof name, "%s_predictions.jsonl", languages[i].code);
    return pc_lines_write(&lines, rc, dir, name, err);
}

static int mgsm_finish(const struct pc_task_data *d, const json_t *records, const char *dir, json_t *metrics,
    double *score, double *se, struct paco_error *err)
{
    double sum = 0, variance = 0;
    size_t n_languages = 0, first = 0;
    int rc = 0;
    for (size_t i = 0; i < N_LANGUAGES && rc == 0; i++) {
        size_t n = 0, n_correct = 0;
        if (!d->languages[i].there)
            continue;
        rc = finish_language(d, i, records, first, dir, &n, &n_correct, err);
        first += d->languages[i].subset.n;
        if (rc < 0 || n == 0)
            continue;
        double share = (double)n_correct / (double)n, e = pc_share_error(n_correct, n);
        sum += share;
        variance += e * e;
        n_languages++;
        rc = pc_object_put(metrics, languages[i].code, json_real(share), err);
    }
    double average = n_languages ? sum / (double)n_languages : (double)NAN;
    *score = 100 * average;
    *se = n_languages ? 100 * sqrt(variance) / (double)n_languages : (double)NAN;
    return rc == 0 && n_languages ? pc_object_put(metrics, "average", json_real(average), err) : rc;
}

const struct pc_task pc_task_mgsm = {
    .name = "mgsm",
    .summary = "MGSM, 250 questions in each of 11 languages behind 2 examples with their reasoning",
    .setting = "CoT",
    .card_score = NAN,
    .metrics_style = PC_JSON_PRETTY_4,
    .open = mgsm_open,
    .close = mgsm_close,
    .n_items = mgsm_n_items,
    .name_item = mgsm_name_item,
    .ask = mgsm_ask,
    .judge = mgsm_judge,
    .finish = mgsm_finish,
};
