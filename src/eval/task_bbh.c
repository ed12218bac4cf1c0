// SPDX-License-Identifier: Apache-2.0
/* BIG-Bench Hard (Suzgun et al. 2022): 27 tasks, three worked examples in front of each question.
 *
 * Upstream: eval/bbh/run_eval.py. It draws 40 examples of each task from one generator, in the order the
 * directory happens to list the tasks, so that the published subset cannot be known; ours is that of sorted
 * names. Its stop sequences never match (they are nested one level too deep): an answer runs to its end or
 * 512 tokens, and is cut at the first blank line afterwards, which is why we may end it there.
 *
 * What upstream asserts or crashes on: examples and prompts of different tasks are an error here too, for a
 * mean over fewer tasks is another number; a task with fewer examples than are wanted is asked all it has, in
 * order, and that is said. */
#include "base/file.h"
#include "base/memory.h"
#include "base/py_text.h"
#include "base/utf8.h"
#include "eval/eval_data.h"
#include "eval/subset.h"
#include "eval/task_out.h"
#include "eval/tasks.h"
#include "eval/wrap.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DIRECT, COT };
enum { USUAL_EXAMPLES = 40, MAX_NEW_TOKENS = 512, MAX_PROMPT = 16 << 20, MAX_NAME = 70, SEED = 42 };

/* One of the 27. */
struct subtask {
    char *name; /* owned */
    char *examples_path, *prompt_path;
    json_t *root;           /* owned: the file of examples */
    const json_t *examples; /* in root */
    char *prompt;           /* owned: worked examples, stripped */
    struct pc_subset subset;
};

struct item {
    size_t i_task, i_example;
    struct pc_text input, target; /* views into root */
};

struct pc_task_data {
    bool cot;
    enum pc_format format; /* around prompts */
    unsigned fixes;
    struct subtask *tasks;
    size_t n_tasks;
    struct item *items;
    size_t n_items;
};

static int out_of_memory(struct paco_error *err)
{
    return pc_error_mem(err, 256, "BIG-Bench Hard");
}

/* ---- which tasks there are ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct subtask *)a)->name, ((const struct subtask *)b)->name);
}

static void release_subtask(struct subtask *t)
{
    pc_free(t->name);
    pc_free(t->examples_path);
    pc_free(t->prompt_path);
    json_decref(t->root);
    pc_free(t->prompt);
    pc_subset_release(&t->subset);
}

static void release_subtasks(struct subtask *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        release_subtask(&v[i]);
    pc_free(v);
}

/* The files in dir that end with suffix, sorted by their names up to the first '.'; their paths go to
 * examples_path. */
static int list_tasks(
    const char *dir, const char *suffix, struct subtask **out, size_t *n_out, struct paco_error *err)
{
    char **names = NULL;
    size_t n_names = 0, n = 0;
    int rc = pc_dir_list(dir, &names, &n_names, err);
    struct subtask *v = rc < 0 ? NULL : pc_alloc_zero(n_names, sizeof *v);
    if (rc == 0 && !v)
        rc = out_of_memory(err);
    for (size_t i = 0; i < n_names && rc == 0; i++) {
        if (names[i][0] == '.' || !pc_ends_with(names[i], suffix))
            continue;
        size_t len = strcspn(names[i], ".");
        v[n].name = pc_strndup(names[i], len < MAX_NAME ? len : MAX_NAME);
        v[n].examples_path = pc_path_join(dir, names[i]);
        if (!v[n].name || !v[n].examples_path)
            rc = out_of_memory(err);
        n++;
    }
    pc_names_free(names, n_names);
    if (rc == 0 && n == 0)
        rc = pc_data_error(
            err, PACO_EFORMAT, dir, "holds no files *%s, one for each of 27 tasks is expected", suffix);
    if (rc < 0) {
        release_subtasks(v, n);
        return rc;
    }
    qsort(v, n, sizeof *v, by_name);
    *out = v;
    *n_out = n;
    return 0;
}

static int refuse_lone(const char *path, const char *other_dir, const char *other_suffix, const char *name,
    struct paco_error *err)
{
    char shown[128];
    pc_error_set(err, PACO_EMISMATCH,
        "task '%s' has no file of that name in %s (*%s): the data are incomplete, `paco data fetch bbh` "
        "gets them whole",
        pc_printable(name, shown, sizeof shown), other_dir, other_suffix);
    pc_error_path(err, path);
    return PACO_EMISMATCH;
}

/* Examples and prompts must be of the same tasks; prompts' paths go to those of the examples. */
static int pair_tasks(struct subtask *v, size_t n, const char *dir, struct subtask *prompts, size_t n_prompts,
    const char *prompts_dir, struct paco_error *err)
{
    for (size_t i = 0, j = 0; i < n || j < n_prompts; i++, j++) {
        int order = i == n ? 1 : j == n_prompts ? -1 : strcmp(v[i].name, prompts[j].name);
        if (order < 0)
            return refuse_lone(v[i].examples_path, prompts_dir, ".txt", v[i].name, err);
        if (order > 0)
            return refuse_lone(prompts[j].examples_path, dir, ".json", prompts[j].name, err);
        v[i].prompt_path = prompts[j].examples_path;
        prompts[j].examples_path = NULL;
    }
    return 0;
}

static int find_tasks(struct pc_task_data *d, const char *data_dir, struct paco_error *err)
{
    static const char *const examples_at[] = {"bbh/bbh", NULL};
    static const char *const prompts_at[] = {"bbh/cot-prompts", NULL};
    char *examples_dir = NULL, *prompts_dir = NULL;
    struct subtask *prompts = NULL;
    size_t n_prompts = 0;
    int rc = pc_eval_find(data_dir, "BIG-Bench Hard", examples_at, &examples_dir, err);
    if (rc == 0)
        rc = pc_eval_find(data_dir, "BIG-Bench Hard", prompts_at, &prompts_dir, err);
    if (rc == 0)
        rc = list_tasks(examples_dir, ".json", &d->tasks, &d->n_tasks, err);
    if (rc == 0)
        rc = list_tasks(prompts_dir, ".txt", &prompts, &n_prompts, err);
    if (rc == 0)
        rc = pair_tasks(d->tasks, d->n_tasks, examples_dir, prompts, n_prompts, prompts_dir, err);
    release_subtasks(prompts, n_prompts);
    pc_free(examples_dir);
    pc_free(prompts_dir);
    return rc;
}

/* ---- worked examples ---- */

/* Python's text files: every line ends with a lone newline. */
static void unify_newlines(struct pc_buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->len; i++) {
        if (b->data[i] == '\r' && i + 1 < b->len && b->data[i + 1] == '\n')
            continue;
        b->data[n++] = b->data[i] == '\r' ? '\n' : b->data[i];
    }
    b->len = n;
}

static bool begins_with(struct pc_text t, const char *prefix)
{
    size_t n = strlen(prefix);
    return t.len >= n && memcmp(t.v, prefix, n) == 0;
}

static const char *find_last(struct pc_text t, const char *needle)
{
    const char *last = NULL, *end = t.v + t.len;
    size_t n = strlen(needle);
    for (const char *at = t.v; (at = memmem(at, (size_t)(end - at), needle, n)); at++)
        last = at;
    return last;
}

static void add_stripped(struct pc_buf *out, const char *s, size_t len)
{
    pc_utf8_strip(&s, &len);
    pc_buf_add(out, s, len);
}

static const char ANSWER_IS[] = "So the answer is", ANSWER[] = "\nA:";

/* A worked example without its reasoning: the question, and what follows the last "So the answer is", its
 * full stop included. */
static int add_direct(struct pc_buf *out, struct pc_text field, size_t i_field, struct paco_error *err)
{
    const char *answer = find_last(field, ANSWER_IS);
    const char *question_end = memmem(field.v, field.len, ANSWER, strlen(ANSWER));
    if (!answer || !question_end)
        return pc_error_set(err, PACO_EFORMAT,
            "part %zu begins with \"Q:\", but has no %s: it cannot be shortened to its answer", i_field,
            answer ? "line that begins with \"A:\"" : "\"So the answer is\"");
    add_stripped(out, field.v, (size_t)(question_end - field.v));
    pc_buf_puts(out, "\nA: ");
    answer += strlen(ANSWER_IS);
    add_stripped(out, answer, (size_t)(field.v + field.len - answer));
    return 0;
}

/* All fields, which a blank line parts. */
static int add_direct_fields(struct pc_buf *out, struct pc_text text, struct paco_error *err)
{
    const char *end = text.v + text.len;
    for (size_t i = 1;; i++) {
        const char *next = memmem(text.v, (size_t)(end - text.v), "\n\n", 2);
        struct pc_text field = {text.v, (size_t)((next ? next : end) - text.v)};
        int rc = 0;
        if (begins_with(field, "Q:"))
            rc = add_direct(out, field, i, err);
        else
            pc_buf_add(out, field.v, field.len);
        if (rc < 0 || !next)
            return rc;
        pc_buf_puts(out, "\n\n");
        text.v = next + 2;
    }
}

/* Behind the canary and the dashes: two lines. */
static struct pc_text without_head(const struct pc_buf *b)
{
    struct pc_text t = {b->data ? b->data : "", b->len};
    for (int i = 0; i < 2; i++) {
        const char *newline = memchr(t.v, '\n', t.len);
        size_t n = newline ? (size_t)(newline - t.v) + 1 : t.len;
        t.v += n;
        t.len -= n;
    }
    return t;
}

static int make_prompt(struct subtask *t, struct pc_buf *file, bool cot, struct paco_error *err)
{
    struct pc_buf out;
    unify_newlines(file);
    struct pc_text text = without_head(file);
    if (text.len == 0)
        return pc_error_set(err, PACO_EFORMAT,
            "has no worked examples: a line with a canary, a line of dashes and then the prompt are "
            "expected");
    pc_buf_init(&out, MAX_PROMPT);
    int rc = 0;
    if (cot)
        pc_buf_add(&out, text.v, text.len);
    else
        rc = add_direct_fields(&out, text, err);
    if (rc == 0)
        rc = pc_buf_check(&out, "worked examples", err);
    const char *s = out.data ? out.data : "";
    size_t len = out.len;
    pc_utf8_strip(&s, &len);
    t->prompt = rc == 0 ? pc_strndup(s, len) : NULL;
    pc_buf_release(&out);
    return rc == 0 && !t->prompt ? out_of_memory(err) : rc;
}

static int read_prompt(const struct pc_task_env *env, struct subtask *t, bool cot, struct paco_error *err)
{
    struct pc_buf file;
    int rc = pc_eval_slurp(env, t->prompt_path, &file, err);
    size_t bad = 0;
    if (rc == 0 && file.len > 0 &&
        (!pc_utf8_valid((const uint8_t *)file.data, file.len, &bad) || memchr(file.data, 0, file.len)))
        rc = pc_error_file(err, PACO_EFORMAT, t->prompt_path, bad, "is no UTF-8 text");
    if (rc == 0) {
        rc = make_prompt(t, &file, cot, err);
        if (rc < 0)
            pc_error_path(err, t->prompt_path);
    }
    pc_buf_release(&file);
    return rc;
}

/* ---- examples ---- */

static int read_examples(const struct pc_task_env *env, struct subtask *t, struct paco_error *err)
{
    int rc = pc_eval_json(env, t->examples_path, &t->root, err);
    if (rc < 0)
        return rc;
    t->examples = json_object_get(t->root, "examples");
    if (json_is_array(t->examples) && json_array_size(t->examples) > 0)
        return 0;
    return pc_data_error(err, PACO_EFORMAT, t->examples_path,
        "has no \"examples\", a list of objects with \"input\" and \"target\"");
}

static int draw_examples(
    const struct pc_task_env *env, struct pc_py_random *r, struct subtask *t, struct paco_error *err)
{
    size_t max = pc_subset_size(env->flags->max_num_examples_per_task, USUAL_EXAMPLES);
    size_t n = json_array_size(t->examples);
    if (n < max)
        pc_note(env->notes, "%s has %zu examples where %zu are wanted: all are asked, in their order",
            t->name, n, max);
    return pc_subset_draw(r, n, max, true, env->flags->limit, &t->subset, err);
}

static int add_item(struct pc_task_data *d, size_t i_task, size_t i_example, struct paco_error *err)
{
    const struct subtask *t = &d->tasks[i_task];
    struct item *item = &d->items[d->n_items++];
    const json_t *example = json_array_get(t->examples, i_example);
    *item = (struct item){.i_task = i_task, .i_example = i_example};
    int rc = pc_member_text(example, "input", &item->input, err);
    if (rc == 0)
        rc = pc_member_text(example, "target", &item->target, err);
    if (rc < 0) {
        pc_error_prefix(err, "example %zu (counted from 0)", i_example);
        pc_error_path(err, t->examples_path);
    }
    return rc;
}

static int add_items(struct pc_task_data *d, struct paco_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n_tasks; i++)
        n += d->tasks[i].subset.n;
    d->items = pc_alloc(n, sizeof *d->items);
    int rc = d->items ? 0 : out_of_memory(err);
    for (size_t i = 0; i < d->n_tasks && rc == 0; i++)
        for (size_t k = 0; k < d->tasks[i].subset.n && rc == 0; k++)
            rc = add_item(d, i, d->tasks[i].subset.v[k], err);
    return rc;
}

/* ---- the door ---- */

static void bbh_close(struct pc_task_data *d)
{
    if (!d)
        return;
    release_subtasks(d->tasks, d->n_tasks);
    pc_free(d->items);
    pc_free(d);
}

static int bbh_open(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
    struct paco_error *err)
{
    const struct pc_task_flags *flags = env->flags;
    struct pc_task_data *d = pc_alloc_zero(1, sizeof *d);
    struct pc_py_random random;
    if (!d)
        return out_of_memory(err);
    d->cot = flags->no_cot < 0 ? task->variant == COT : !flags->no_cot;
    d->format = pc_wrap_format(env);
    d->fixes = flags->fixes;
    pc_py_seed(&random, SEED);
    int rc = find_tasks(d, env->data_dir, err);
    for (size_t i = 0; i < d->n_tasks && rc == 0; i++) {
        rc = read_examples(env, &d->tasks[i], err);
        if (rc == 0)
            rc = draw_examples(env, &random, &d->tasks[i], err);
        if (rc == 0)
            rc = read_prompt(env, &d->tasks[i], d->cot, err);
    }
    if (rc == 0)
        rc = add_items(d, err);
    if (rc < 0)
        bbh_close(d);
    else
        *out = d;
    return rc;
}

static size_t bbh_n_items(const struct pc_task_data *d)
{
    return d->n_items;
}

static void bbh_name_item(const struct pc_task_data *d, size_t i, char out[96], const char **group)
{
    const struct item *item = &d->items[i];
    *group = d->tasks[item->i_task].name;
    snprintf(out, 96, "%s/%zu", *group, item->i_example);
}

static int bbh_ask(const struct pc_task_data *d, size_t i, struct pc_ask *ask, struct paco_error *err)
{
    const struct item *item = &d->items[i];
    pc_buf_puts(ask->prompt, d->tasks[item->i_task].prompt);
    pc_buf_puts(ask->prompt, "\n\nQ: ");
    pc_buf_add(ask->prompt, item->input.v, item->input.len);
    ask->kind = PC_ASK_TEXT;
    ask->max_tokens = MAX_NEW_TOKENS;
    ask->n_samples = 1;
    ask->until_blank_line = true;
    if (d->fixes & PC_FIX_BBH_STOP) {
        ask->stop_texts[ask->n_stop_texts++] = "\nQ:";
        ask->texts_only = true;
    }
    return pc_wrap(d->format, ask->prompt, d->format == PC_FORMAT_RAW ? "\nA:" : "A:", err);
}

/* What stands between "So the answer is " and the full stop behind it, on one line, for the first time; else
 * all of the first paragraph. */
static struct pc_text extract(struct pc_text answer)
{
    static const char head[] = "So the answer is ";
    const size_t n_head = strlen(head);
    pc_utf8_strip(&answer.v, &answer.len);
    const char *blank = memmem(answer.v, answer.len, "\n\n", 2);
    if (blank)
        answer.len = (size_t)(blank - answer.v);
    pc_utf8_strip(&answer.v, &answer.len);
    const char *end = answer.v + answer.len;
    for (const char *at = answer.v; (at = memmem(at, (size_t)(end - at), head, n_head));) {
        at += n_head;
        const char *stop = memchr(at, '.', (size_t)(end - at));
        if (stop && !memchr(at, '\n', (size_t)(stop - at))) {
            answer = (struct pc_text){at, (size_t)(stop - at)};
            pc_utf8_strip(&answer.v, &answer.len);
            break;
        }
    }
    return answer;
}

/* --fix bbh-match: only case is ignored. */
static int equal_but_for_case(struct pc_text a, struct pc_text b, bool *equal, struct paco_error *err)
{
    struct pc_buf low_a, low_b;
    pc_buf_init(&low_a, MAX_PROMPT);
    pc_buf_init(&low_b, MAX_PROMPT);
    pc_py_lower(&low_a, a.v, a.len);
    pc_py_lower(&low_b, b.v, b.len);
    int rc = pc_buf_check(&low_a, "an answer", err);
    if (rc == 0)
        rc = pc_buf_check(&low_b, "a target", err);
    *equal =
        rc == 0 && low_a.len == low_b.len && (!low_a.len || memcmp(low_a.data, low_b.data, low_a.len) == 0);
    pc_buf_release(&low_a);
    pc_buf_release(&low_b);
    return rc;
}

static int bbh_judge(const struct pc_task_data *d, size_t i, const struct pc_answers *answers, json_t *record,
    struct paco_error *err)
{
    const struct item *item = &d->items[i];
    struct pc_text prediction = extract((struct pc_text){answers->texts[0], answers->lens[0]});
    bool equal = false;
    int rc = d->fixes & PC_FIX_BBH_MATCH ? equal_but_for_case(prediction, item->target, &equal, err)
                                         : pc_exact_match(prediction, item->target, &equal, err);
    if (rc == 0)
        rc = pc_object_put(record, "input", pc_text_value(item->input), err);
    if (rc == 0)
        rc = pc_object_put(record, "target", pc_text_value(item->target), err);
    if (rc == 0)
        rc = pc_object_put(record, "extraction", pc_text_value(prediction), err);
    if (rc == 0)
        rc = pc_object_put(record, "correct", json_boolean(equal), err);
    return rc;
}

/* ---- results ---- */

static json_t *prediction_line(const struct item *item, const json_t *record)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "input", pc_text_value(item->input), "target",
        pc_text_value(item->target), "raw_output", pc_text_value(pc_record_text(record, "output")),
        "prediction", pc_text_value(pc_record_text(record, "extraction")));
}

struct tally {
    size_t n, n_correct;
};

static int finish_subtask(const struct pc_task_data *d, size_t i_first, const json_t *records,
    const char *dir, struct tally *tally, struct paco_error *err)
{
    size_t i_task = d->items[i_first].i_task;
    struct pc_buf lines;
    int rc = 0;
    pc_lines_init(&lines);
    for (size_t i = i_first; i < d->n_items && d->items[i].i_task == i_task && rc == 0; i++) {
        const json_t *record = json_array_get(records, i);
        if (!pc_record_is_good(record))
            continue;
        tally->n++;
        tally->n_correct += json_is_true(json_object_get(record, "correct"));
        rc = pc_lines_add(&lines, prediction_line(&d->items[i], record), err);
    }
    char name[MAX_NAME + 8];
    snprintf(name, sizeof name, "%s.jsonl", d->tasks[i_task].name);
    return pc_lines_write(&lines, rc, dir, name, err);
}

static int make_dir(const char *path, struct paco_error *err)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return 0;
    int rc = pc_error_os(err, errno, "cannot make the directory");
    pc_error_path(err, path);
    return rc;
}

static int bbh_finish(const struct pc_task_data *d, const json_t *records, const char *dir, json_t *metrics,
    double *score, double *se, struct paco_error *err)
{
    char *below = pc_path_join(dir, "predictions");
    double sum = 0, squares = 0;
    size_t n_tasks = 0;
    int rc = below ? make_dir(below, err) : out_of_memory(err);
    for (size_t i = 0; i < d->n_items && rc == 0;) {
        const struct subtask *t = &d->tasks[d->items[i].i_task];
        struct tally tally = {0};
        rc = finish_subtask(d, i, records, below, &tally, err);
        i += t->subset.n;
        if (rc < 0 || tally.n == 0)
            continue;
        double share = (double)tally.n_correct / (double)tally.n;
        double error = pc_share_error(tally.n_correct, tally.n);
        sum += share;
        squares += error * error;
        n_tasks++;
        rc = pc_object_put(metrics, t->name, json_real(share), err);
    }
    pc_free(below);
    if (rc < 0)
        return rc;
    *score = n_tasks ? 100 * (sum / (double)n_tasks) : (double)NAN;
    *se = n_tasks ? 100 * (sqrt(squares) / (double)n_tasks) : (double)NAN;
    return n_tasks ? pc_object_put(metrics, "average_exact_match", json_real(sum / (double)n_tasks), err) : 0;
}

#define BBH_DOOR                                                                                             \
    .benchmark = "BBH", .metrics_style = PC_JSON_PRETTY_4, .open = bbh_open, .close = bbh_close,             \
    .n_items = bbh_n_items, .name_item = bbh_name_item, .ask = bbh_ask, .judge = bbh_judge,                  \
    .finish = bbh_finish

const struct pc_task pc_task_bbh_direct = {
    .name = "bbh_direct",
    .summary = "BIG-Bench Hard: 27 tasks, 3 worked examples, 40 questions each; the answer alone",
    .setting = "Direct",
    .card_score = 32.6,
    .variant = DIRECT,
    BBH_DOOR,
};

const struct pc_task pc_task_bbh_cot = {
    .name = "bbh_cot",
    .summary = "BIG-Bench Hard: 27 tasks, 3 worked examples, 40 questions each; reasoning, then the answer",
    .setting = "CoT",
    .card_score = 31.8,
    .variant = COT,
    BBH_DOOR,
};
