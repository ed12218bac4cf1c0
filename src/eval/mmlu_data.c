// SPDX-License-Identifier: Apache-2.0
#include "eval/mmlu_data.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/py_random.h"
#include "eval/eval_data.h"
#include "eval/mmlu_categories.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PREFIX = 16 << 20, SEED = 42 };

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
        bool ours = name[0] != '.' && suffix && suffix > name && suffix - name <= PC_MMLU_MAX_NAME;
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
    return pc_data_error(
        err, PACO_ENOENT, dir, "holds no *%s (`paco data fetch mmlu` gets them)", TEST_SUFFIX);
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

static int add_subject(struct pc_mmlu *m, const char *name, struct paco_error *err)
{
    for (size_t i = 0; i < m->n_subjects; i++)
        if (strcmp(m->subjects[i].name, name) == 0)
            return 0; // named twice
    struct pc_mmlu_subject *s = &m->subjects[m->n_subjects];
    s->name = pc_strdup(name);
    if (!s->name)
        return out_of_memory(err);
    m->n_subjects++;
    s->subcategory = pc_mmlu_subcategory(name);
    pc_buf_init(&s->prefix, MAX_PREFIX);
    return 0;
}

/* Those the user names, in that order, else all. */
static int choose_subjects(
    struct pc_mmlu *m, const struct pc_task_env *env, char **names, size_t n, struct paco_error *err)
{
    const struct pc_strings *wanted = &env->flags->subjects;
    size_t n_wanted = wanted->n ? wanted->n : n;
    m->subjects = pc_alloc_zero(n_wanted, sizeof *m->subjects);
    if (!m->subjects)
        return out_of_memory(err);
    for (size_t i = 0; i < n_wanted; i++) {
        const char *name = wanted->n ? wanted->v[i] : names[i];
        int rc = check_subject(names, n, name, err);
        if (rc == 0)
            rc = add_subject(m, name, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Say what metrics.json will not have. */
static void note_gaps(const struct pc_mmlu *m, struct pc_notes *notes)
{
    bool asked[PC_MMLU_SUBCATEGORIES] = {false};
    char gaps[512] = "";
    size_t n = 0, n_gaps = 0;
    for (size_t i = 0; i < m->n_subjects; i++) {
        const struct pc_mmlu_subject *s = &m->subjects[i];
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
        const char *answer = pc_csv_cell(t, row, PC_MMLU_ANSWER)->text;
        if (!(answer[0] >= 'A' && answer[0] <= 'D' && answer[1] == '\0'))
            return pc_data_error(err, PACO_EFORMAT, t->path,
                "line %zu: the answer is '%.20s' where A, B, C or D is expected", t->line[row], answer);
    }
    return 0;
}

static int read_table(const struct pc_task_env *env, const char *dir, const char *subject, const char *suffix,
    struct pc_csv *t, struct paco_error *err)
{
    char name[PC_MMLU_MAX_NAME + 32];
    snprintf(name, sizeof name, "%s%s", subject, suffix);
    char *path = pc_path_join(dir, name);
    if (!path)
        return out_of_memory(err);
    int rc = pc_csv_read(env, path, ',', PC_MMLU_COLUMNS, t, err);
    if (rc == 0)
        rc = pc_csv_infer(t, !(env->flags->fixes & PC_FIX_MMLU_NONE), err);
    if (rc == 0)
        rc = check_answers(t, err);
    pc_free(path);
    return rc;
}

void pc_mmlu_put_question(struct pc_buf *out, const struct pc_csv *t, size_t row)
{
    pc_buf_puts(out, pc_csv_cell(t, row, 0)->text);
    for (size_t i = 0; i < PC_MMLU_CHOICES; i++) {
        pc_buf_printf(out, "\n%c. ", "ABCD"[i]);
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
static int make_prefix(struct pc_mmlu_subject *s, const struct pc_csv *dev, size_t n, struct paco_error *err)
{
    s->shot_end = pc_alloc(n + 1, sizeof *s->shot_end);
    if (!s->shot_end)
        return out_of_memory(err);
    put_header(&s->prefix, s->name);
    s->shot_end[0] = s->prefix.len;
    for (size_t i = 0; i < n; i++) {
        pc_mmlu_put_question(&s->prefix, dev, i);
        pc_buf_printf(&s->prefix, " %s\n\n", pc_csv_cell(dev, i, PC_MMLU_ANSWER)->text);
        s->shot_end[i + 1] = s->prefix.len;
    }
    return pc_buf_check(&s->prefix, "a subject's shots", err);
}

static int read_shots(const struct pc_task_env *env, const char *dir, struct pc_mmlu_subject *s, size_t n,
    struct paco_error *err)
{
    struct pc_csv dev = {0};
    int rc = n ? read_table(env, dir, s->name, "_dev.csv", &dev, err) : 0;
    if (rc == 0 && n > dev.n_rows)
        rc = pc_data_error(
            err, PACO_EINVAL, dev.path, "has %zu rows, but --ntrain asks for %zu shots", dev.n_rows, n);
    if (rc == 0)
        rc = make_prefix(s, &dev, n, err);
    pc_csv_release(&dev);
    return rc;
}

/* All rows, or as many as --n_instances says, drawn as DataFrame.sample(random_state=42) does; of these the
 * first
 * --limit. */
static int choose_rows(struct pc_mmlu_subject *s, const struct pc_task_flags *flags, struct paco_error *err)
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

static int read_subjects(struct pc_mmlu *m, const struct pc_task_env *env, const char *dev_dir,
    const char *test_dir, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < m->n_subjects && rc == 0; i++) {
        struct pc_mmlu_subject *s = &m->subjects[i];
        rc = read_table(env, test_dir, s->name, TEST_SUFFIX, &s->test, err);
        if (rc == 0)
            rc = read_shots(env, dev_dir, s, m->n_shots, err);
        if (rc == 0)
            rc = choose_rows(s, env->flags, err);
    }
    return rc;
}

void pc_mmlu_release(struct pc_mmlu *m)
{
    for (size_t i = 0; i < m->n_subjects; i++) {
        struct pc_mmlu_subject *s = &m->subjects[i];
        pc_free(s->name);
        pc_csv_release(&s->test);
        pc_buf_release(&s->prefix);
        pc_free(s->shot_end);
        pc_free(s->rows);
    }
    pc_free(m->subjects);
    *m = (struct pc_mmlu){0};
}

int pc_mmlu_read(struct pc_mmlu *m, const struct pc_task_env *env, size_t n_shots, struct paco_error *err)
{
    static const char *const test_at[] = {"mmlu/test", NULL}, *const dev_at[] = {"mmlu/dev", NULL};
    char *test_dir = NULL, *dev_dir = NULL, **names = NULL;
    size_t n_names = 0;
    *m = (struct pc_mmlu){.n_shots = n_shots};
    int rc = pc_eval_find(env->data_dir, "MMLU", test_at, &test_dir, err);
    if (rc == 0 && m->n_shots)
        rc = pc_eval_find(env->data_dir, "MMLU", dev_at, &dev_dir, err);
    if (rc == 0)
        rc = list_subjects(test_dir, &names, &n_names, err);
    if (rc == 0)
        rc = choose_subjects(m, env, names, n_names, err);
    if (rc == 0) {
        note_gaps(m, env->notes);
        rc = read_subjects(m, env, dev_dir, test_dir, err);
    }
    if (names)
        pc_names_free(names, n_names);
    pc_free(test_dir);
    pc_free(dev_dir);
    if (rc < 0)
        pc_mmlu_release(m);
    return rc;
}
