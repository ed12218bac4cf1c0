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
#include "base/file.h"
#include "base/memory.h"
#include "eval/csv.h"
#include "eval/eval_data.h"
#include "eval/mmlu_categories.h"
#include "eval/py_random.h"
#include "eval/py_text.h"
#include "eval/task_out.h"
#include "eval/tasks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_CHOICES = 4, N_COLUMNS = N_CHOICES + 2, ANSWER = N_COLUMNS - 1 };
enum { MAX_PROMPT_TOKENS = 2048, MAX_PREFIX = 16 << 20, MAX_SUBJECT = 80, SEED = 42 };

static const char *const letters[N_CHOICES] = {"A", "B", "C", "D"};

struct subject {
    char *name; /* owned */
    int subcategory;
    struct pc_csv test;
    struct pc_buf prefix; /* header and shots */
    size_t *shot_end;     /* (n_shots + 1) where the prefix of so many shots ends; owned */
    size_t *rows, n_rows; /* of test, those to ask in their order; owned */
};

struct item {
    size_t i_subject, row;
};

struct pc_task_data {
    bool chat;
    size_t n_shots;
    const struct pc_tokenizer *tok;
    struct subject *subjects;
    size_t n_subjects;
    struct item *items;
    size_t n_items;
};

static int out_of_memory(struct paco_error *err)
{
    return pc_error_mem(err, 256, "MMLU");
}

/* ---- which subjects ---- */

static const char TEST_SUFFIX[] = "_test.csv";

static int by_code_point(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The subjects that dir has tests of, sorted: names of its files, cut off before the suffix. */
static int list_subjects(const char *dir, char ***out, size_t *n_out, struct paco_error *err)
{
    char **names;
    size_t n_names, n = 0;
    int rc = pc_dir_list(dir, &names, &n_names, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n_names; i++) {
        char *suffix = strstr(names[i], TEST_SUFFIX), *name = names[i];
        bool ours = name[0] != '.' && suffix && suffix > name && suffix - name <= MAX_SUBJECT;
        names[i] = NULL;
        if (ours) {
            *suffix = '\0';
            names[n++] = name;
        } else {
            pc_free(name);
        }
    }
    *out = names;
    *n_out = n;
    if (n > 0) {
        qsort(names, n, sizeof *names, by_code_point);
        return 0;
    }
    pc_names_free(names, n_names);
    *out = NULL;
    return pc_error_file(
        err, PACO_ENOENT, dir, 0, "holds no *%s (`paco data fetch eval` gets them)", TEST_SUFFIX);
}

static bool is_listed(char **names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static int check_subject(char **names, size_t n, const char *name, struct paco_error *err)
{
    int best = 1 + (int)strlen(name) / 3;
    const char *nearest = NULL;
    if (is_listed(names, n, name))
        return 0;
    for (size_t i = 0; i < n; i++) {
        int d = pc_edit_distance(names[i], name);
        if (d < best) {
            best = d;
            nearest = names[i];
        }
    }
    return pc_error_set(err, PACO_EINVAL, "--subjects: there is no '%s' among the %zu subjects%s%s%s", name,
        n, nearest ? " (did you mean " : "", nearest ? nearest : "", nearest ? "?)" : "");
}

static int add_subject(struct pc_task_data *d, const char *name, struct paco_error *err)
{
    for (size_t i = 0; i < d->n_subjects; i++)
        if (strcmp(d->subjects[i].name, name) == 0)
            return 0; // named twice
    struct subject *s = &d->subjects[d->n_subjects];
    s->name = pc_strdup(name);
    if (!s->name)
        return out_of_memory(err);
    d->n_subjects++;
    s->subcategory = pc_mmlu_subcategory(name);
    pc_buf_init(&s->prefix, MAX_PREFIX);
    return 0;
}

/* Those the user names, in that order, else all. */
static int choose_subjects(
    struct pc_task_data *d, const struct pc_task_env *env, char **names, size_t n, struct paco_error *err)
{
    const struct pc_strings *wanted = &env->flags->subjects;
    size_t n_wanted = wanted->n ? wanted->n : n;
    d->subjects = pc_alloc_zero(n_wanted, sizeof *d->subjects);
    if (!d->subjects)
        return out_of_memory(err);
    for (size_t i = 0; i < n_wanted; i++) {
        const char *name = wanted->n ? wanted->v[i] : names[i];
        int rc = check_subject(names, n, name, err);
        if (rc == 0)
            rc = add_subject(d, name, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Say what metrics.json will not have. */
static void note_gaps(const struct pc_task_data *d, struct pc_notes *notes)
{
    bool asked[PC_MMLU_SUBCATEGORIES] = {false};
    char gaps[512] = "";
    size_t n = 0, n_gaps = 0;
    for (size_t i = 0; i < d->n_subjects; i++) {
        const struct subject *s = &d->subjects[i];
        if (s->subcategory < 0)
            pc_note(
                notes, "MMLU has no subject '%s': it counts for the average, but for no category", s->name);
        else
            asked[s->subcategory] = true;
    }
    for (int i = 0; i < PC_MMLU_SUBCATEGORIES; i++)
        if (!asked[i] && n < sizeof gaps)
            n += (size_t)snprintf(
                gaps + n, sizeof gaps - n, "%s%s", n_gaps++ ? ", " : "", pc_mmlu_subcategories[i]);
    if (n_gaps)
        pc_note(notes,
            "no questions of these subcategories are asked, so they are left out (upstream stops with "
            "an error): %s",
            gaps);
}

/* ---- their questions ---- */

static int check_answers(const struct pc_csv *t, struct paco_error *err)
{
    for (size_t row = 0; row < t->n_rows; row++) {
        const char *answer = pc_csv_cell(t, row, ANSWER)->text;
        if (!(answer[0] >= 'A' && answer[0] <= 'D' && answer[1] == '\0'))
            return pc_error_file(err, PACO_EFORMAT, t->path, 0,
                "line %zu: the answer is '%.20s' where A, B, C or D is expected", t->line[row], answer);
    }
    return 0;
}

static int read_table(const struct pc_task_env *env, const char *dir, const char *subject, const char *suffix,
    struct pc_csv *t, struct paco_error *err)
{
    char name[MAX_SUBJECT + 32];
    snprintf(name, sizeof name, "%s%s", subject, suffix);
    char *path = pc_path_join(dir, name);
    if (!path)
        return out_of_memory(err);
    int rc = pc_csv_read(env, path, ',', N_COLUMNS, t, err);
    if (rc == 0)
        rc = pc_csv_infer(t, !(env->flags->fixes & PC_FIX_MMLU_NONE), err);
    if (rc == 0)
        rc = check_answers(t, err);
    pc_free(path);
    return rc;
}

static void put_question(struct pc_buf *out, const struct pc_csv *t, size_t row)
{
    pc_buf_puts(out, pc_csv_cell(t, row, 0)->text);
    for (size_t i = 0; i < N_CHOICES; i++) {
        pc_buf_printf(out, "\n%s. ", letters[i]);
        pc_buf_puts(out, pc_csv_cell(t, row, 1 + i)->text);
    }
    pc_buf_puts(out, "\nAnswer:");
}

/* The subject's words each get a space in front: two spaces after "about". */
static void put_header(struct pc_buf *out, const char *subject)
{
    pc_buf_puts(out, "The following are multiple choice questions (with answers) about  ");
    for (const char *c = subject; *c; c++)
        pc_buf_putc(out, *c == '_' ? ' ' : *c);
    pc_buf_puts(out, ".\n\n");
}

/* The header and n shots of dev, and where it ends with fewer of them. */
static int make_prefix(struct subject *s, const struct pc_csv *dev, size_t n, struct paco_error *err)
{
    s->shot_end = pc_alloc(n + 1, sizeof *s->shot_end);
    if (!s->shot_end)
        return out_of_memory(err);
    put_header(&s->prefix, s->name);
    s->shot_end[0] = s->prefix.len;
    for (size_t i = 0; i < n; i++) {
        put_question(&s->prefix, dev, i);
        pc_buf_printf(&s->prefix, " %s\n\n", pc_csv_cell(dev, i, ANSWER)->text);
        s->shot_end[i + 1] = s->prefix.len;
    }
    return pc_buf_check(&s->prefix, "a subject's shots", err);
}

static int read_shots(
    const struct pc_task_env *env, const char *dir, struct subject *s, size_t n, struct paco_error *err)
{
    struct pc_csv dev = {0};
    int rc = n ? read_table(env, dir, s->name, "_dev.csv", &dev, err) : 0;
    if (rc == 0 && n > dev.n_rows)
        rc = pc_error_file(
            err, PACO_EINVAL, dev.path, 0, "has %zu rows, but --ntrain asks for %zu shots", dev.n_rows, n);
    if (rc == 0)
        rc = make_prefix(s, &dev, n, err);
    pc_csv_release(&dev);
    return rc;
}

/* All rows, or as many as --n_instances says, drawn as DataFrame.sample(random_state=42) does; of these the
 * first
 * --limit. */
static int choose_rows(struct subject *s, const struct pc_task_flags *flags, struct paco_error *err)
{
    size_t n = s->test.n_rows, wanted = flags->n_instances > 0 ? (size_t)flags->n_instances : n;
    s->rows = pc_alloc(n, sizeof *s->rows);
    if (!s->rows)
        return out_of_memory(err);
    for (size_t i = 0; i < n; i++)
        s->rows[i] = i;
    if (wanted < n) {
        struct pc_py_random r;
        pc_numpy_seed(&r, SEED);
        int rc = pc_numpy_permutation(&r, n, s->rows, err);
        if (rc < 0)
            return rc;
    }
    s->n_rows = wanted < n ? wanted : n;
    if (flags->limit > 0 && (size_t)flags->limit < s->n_rows)
        s->n_rows = (size_t)flags->limit;
    return 0;
}

static int read_subjects(struct pc_task_data *d, const struct pc_task_env *env, const char *dev_dir,
    const char *test_dir, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < d->n_subjects && rc == 0; i++) {
        struct subject *s = &d->subjects[i];
        rc = read_table(env, test_dir, s->name, TEST_SUFFIX, &s->test, err);
        if (rc == 0)
            rc = read_shots(env, dev_dir, s, d->n_shots, err);
        if (rc == 0)
            rc = choose_rows(s, env->flags, err);
        d->n_items += s->n_rows;
    }
    return rc;
}

static int list_items(struct pc_task_data *d, struct paco_error *err)
{
    size_t n = 0;
    d->items = pc_alloc(d->n_items, sizeof *d->items);
    if (!d->items)
        return out_of_memory(err);
    for (size_t i = 0; i < d->n_subjects; i++)
        for (size_t k = 0; k < d->subjects[i].n_rows; k++)
            d->items[n++] = (struct item){i, d->subjects[i].rows[k]};
    return 0;
}

static void mmlu_close(struct pc_task_data *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n_subjects; i++) {
        struct subject *s = &d->subjects[i];
        pc_free(s->name);
        pc_csv_release(&s->test);
        pc_buf_release(&s->prefix);
        pc_free(s->shot_end);
        pc_free(s->rows);
    }
    pc_free(d->subjects);
    pc_free(d->items);
    pc_free(d);
}

static int read_data(struct pc_task_data *d, const struct pc_task_env *env, struct paco_error *err)
{
    static const char *const test_at[] = {"mmlu/test", NULL}, *const dev_at[] = {"mmlu/dev", NULL};
    char *test_dir = NULL, *dev_dir = NULL, **names = NULL;
    size_t n_names = 0;
    int rc = pc_eval_find(env->data_dir, "MMLU", test_at, &test_dir, err);
    if (rc == 0 && d->n_shots)
        rc = pc_eval_find(env->data_dir, "MMLU", dev_at, &dev_dir, err);
    if (rc == 0)
        rc = list_subjects(test_dir, &names, &n_names, err);
    if (rc == 0)
        rc = choose_subjects(d, env, names, n_names, err);
    if (rc == 0) {
        note_gaps(d, env->notes);
        rc = read_subjects(d, env, dev_dir, test_dir, err);
    }
    if (rc == 0)
        rc = list_items(d, err);
    if (names)
        pc_names_free(names, n_names);
    pc_free(test_dir);
    pc_free(dev_dir);
    return rc;
}

static int mmlu_open(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err)
{
    const struct pc_task_flags *flags = env->flags;
    struct pc_task_data *d = pc_alloc_zero(1, sizeof *d);
    if (!d)
        return out_of_memory(err);
    d->n_shots = flags->ntrain < 0 ? (size_t)task->variant : (size_t)flags->ntrain;
    d->chat = flags->use_chat_format < 0 ? env->tulu : flags->use_chat_format;
    d->tok = env->tok;
    if (!d->tok && d->n_shots)
        pc_note(env->notes, "the model's tokens are not known, so no prompt of more than %d of them is cut",
            MAX_PROMPT_TOKENS);
    int rc = read_data(d, env, err);
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
    *group = d->subjects[d->items[i].i_subject].name;
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
    const struct subject *s = &d->subjects[item->i_subject];
    size_t from = out->len;
    bool yes = false;
    for (size_t k = d->n_shots;; k--) {
        out->len = from;
        pc_buf_add(out, s->prefix.data, s->shot_end[k]);
        put_question(out, &s->test, item->row);
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
    ask->n_choices = N_CHOICES;
    memcpy(ask->choices, letters, sizeof letters);
    pc_buf_puts(ask->prompt, d->chat ? "<|user|>\n" : "");
    int rc = put_prompt(d, &d->items[i], ask->prompt, err);
    pc_buf_puts(ask->prompt, d->chat ? "\n<|assistant|>\nThe answer is:" : "");
    return rc;
}

/* ---- judging ---- */

static int mmlu_judge(const struct pc_task_data *d, size_t i, const struct pc_answers *answers,
    json_t *record, struct paco_error *err)
{
    const struct pc_csv *t = &d->subjects[d->items[i].i_subject].test;
    size_t row = d->items[i].row, best = 0;
    if (answers->n_probs != N_CHOICES)
        return pc_error_set(
            err, PACO_EFORMAT, "%zu probabilities where %d are expected", answers->n_probs, N_CHOICES);
    // Upstream's probabilities are float32; of equal ones the first is taken.
    for (size_t k = 1; k < N_CHOICES; k++)
        if ((float)answers->probs[k] > (float)answers->probs[best])
            best = k;
    const char *answer = pc_csv_cell(t, row, ANSWER)->text;
    json_t *choices = json_array();
    bool bad = !choices;
    for (size_t k = 0; k < N_CHOICES && !bad; k++)
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
    for (size_t i = 0; i < N_COLUMNS; i++) {
        const struct pc_csv_cell *c = pc_csv_cell(t, row, i);
        pc_csv_put(out, c->missing ? "" : c->text);
        pc_buf_putc(out, ',');
    }
    bool good = pc_record_is_good(record);
    if (good)
        pc_buf_puts(out, json_is_true(json_object_get(record, "correct")) ? "True" : "False");
    const json_t *probs = json_object_get(record, "probs");
    for (size_t k = 0; k < N_CHOICES; k++) {
        pc_buf_putc(out, ',');
        if (good)
            pc_py_float(out, (double)(float)json_number_value(json_array_get(probs, k)));
    }
    pc_buf_putc(out, '\n');
}

/* <subject>.csv, from the subject's part of the records. */
static int write_subject(
    const struct subject *s, const json_t *records, size_t first, const char *dir, struct paco_error *err)
{
    struct pc_buf b;
    char name[MAX_SUBJECT + 8];
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
    for (size_t i = 0, first = 0; i < d->n_subjects && rc == 0; first += d->subjects[i++].n_rows) {
        const struct subject *s = &d->subjects[i];
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
