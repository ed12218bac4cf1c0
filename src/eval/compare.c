// SPDX-License-Identifier: Apache-2.0
#include "eval/compare.h"

#include "base/memory.h"
#include "eval/paired.h"
#include "eval/report.h"
#include "eval/results.h"
#include "eval/task_out.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N_RESAMPLES = 10000 };

/* A task's items on both sides. A text's windows are compared by their nats a token, where less is better. */
struct pairs {
    bool is_perplexity;
    double scale;        /* 100, or 1 for nats */
    double *differences; /* b - a, of the items both have */
    size_t n, n_only_a, n_only_b, n_prompts_differ, n_better_a, n_better_b;
    double sum_a, sum_b;
    bool binary;
    json_t *flipped;
};

static double score_of(const struct pairs *p, const json_t *record)
{
    if (!record || json_object_get(record, "error"))
        return (double)NAN;
    return p->is_perplexity ? pc_json_double(record, "nats") / pc_json_double(record, "n_scored")
                            : pc_record_score(record);
}

static int no_memory(struct paco_error *err)
{
    return pc_error_mem(err, 256, "a comparison");
}

static int add_flipped(struct pairs *p, const json_t *a, double x, double y, struct paco_error *err)
{
    json_t *o = json_pack("{s:O, s:f, s:f}", "key", json_object_get(a, "key"), "a", x, "b", y);
    return json_array_append_new(p->flipped, o) < 0 ? no_memory(err) : 0;
}

static int add_pair(struct pairs *p, const json_t *a, const json_t *b, struct paco_error *err)
{
    double x = score_of(p, a), y = score_of(p, b);
    p->binary &= !p->is_perplexity && (x == 0 || x == 1) && (y == 0 || y == 1);
    p->sum_a += x;
    p->sum_b += y;
    p->differences[p->n++] = y - x;
    p->n_better_a += p->is_perplexity ? x < y : x > y;
    p->n_better_b += p->is_perplexity ? y < x : y > x;
    const json_t *one = json_object_get(a, "prompt_sha256"), *other = json_object_get(b, "prompt_sha256");
    p->n_prompts_differ += one && other && !json_equal(one, other);
    return x != y ? add_flipped(p, a, x, y, err) : 0;
}

/* b's items by key. A key twice would be the last one's; no task has one. */
static int by_key(const struct pairs *p, const json_t *records, json_t **out, struct paco_error *err)
{
    json_t *map = json_object();
    int rc = map ? 0 : no_memory(err);
    for (size_t i = 0; rc == 0 && i < json_array_size(records); i++) {
        json_t *record = json_array_get(records, i);
        const char *key = json_string_value(json_object_get(record, "key"));
        if (key && !isnan(score_of(p, record)) && json_object_set(map, key, record) < 0)
            rc = no_memory(err);
    }
    *out = map;
    return rc;
}

static int pair_up(struct pairs *p, const json_t *a, const json_t *b, struct paco_error *err)
{
    json_t *of_b = NULL;
    size_t n = json_array_size(a);
    p->differences = pc_alloc(n, sizeof *p->differences);
    p->flipped = json_array();
    p->binary = true;
    int rc = p->differences && p->flipped ? by_key(p, b, &of_b, err) : no_memory(err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const json_t *record = json_array_get(a, i);
        const char *key = json_string_value(json_object_get(record, "key"));
        const json_t *other = key ? json_object_get(of_b, key) : NULL;
        if (isnan(score_of(p, record)))
            continue;
        if (other)
            rc = add_pair(p, record, other, err);
        else
            p->n_only_a++;
    }
    p->n_only_b = json_object_size(of_b) - p->n;
    json_decref(of_b);
    return rc;
}

/* A member that cannot be had is no smaller comparison but none. */
static json_t *members_of(const struct pairs *p, const char *task, double low, double high)
{
    double n = (double)p->n, scale = p->scale;
    json_t *o = json_object();
    int bad = json_object_set_new(o, "task", json_string(task));
    bad |= json_object_set_new(o, "unit", json_string(p->is_perplexity ? "nats_per_token" : "percent"));
    bad |= json_object_set_new(o, "n_items", json_integer((json_int_t)p->n));
    bad |= json_object_set_new(o, "only_in_a", json_integer((json_int_t)p->n_only_a));
    bad |= json_object_set_new(o, "only_in_b", json_integer((json_int_t)p->n_only_b));
    bad |= json_object_set_new(o, "prompts_differ", json_integer((json_int_t)p->n_prompts_differ));
    bad |= json_object_set_new(o, "mean_a", pc_json_number(scale * p->sum_a / n));
    bad |= json_object_set_new(o, "mean_b", pc_json_number(scale * p->sum_b / n));
    bad |= json_object_set_new(o, "difference", pc_json_number(scale * (p->sum_b - p->sum_a) / n));
    bad |= json_object_set_new(
        o, "ci95", json_pack("[o, o]", pc_json_number(scale * low), pc_json_number(scale * high)));
    bad |= json_object_set_new(o, "better_in_a", json_integer((json_int_t)p->n_better_a));
    bad |= json_object_set_new(o, "better_in_b", json_integer((json_int_t)p->n_better_b));
    bad |= json_object_set_new(o, "mcnemar_p",
        pc_json_number(p->binary && p->n ? pc_mcnemar(p->n_better_a, p->n_better_b) : (double)NAN));
    bad |= json_object_set(o, "flipped", p->flipped);
    if (!bad)
        return o;
    json_decref(o);
    return NULL;
}

static int describe(const struct pairs *p, const char *task, json_t **out, struct paco_error *err)
{
    double low, high;
    int rc = pc_bootstrap(p->differences, p->n, N_RESAMPLES, 1, &low, &high, err);
    if (rc < 0)
        return rc;
    *out = members_of(p, task, low, high);
    return *out ? 0 : no_memory(err);
}

static int compare_task(
    const struct pc_run_task *a, const struct pc_run_task *b, json_t **out, struct paco_error *err)
{
    bool is_perplexity = a->task && a->task->is_perplexity;
    struct pairs p = {.is_perplexity = is_perplexity, .scale = is_perplexity ? 1 : 100};
    json_t *of_a = NULL, *of_b = NULL;
    int rc = pc_results_items(a->dir, &of_a, err);
    if (rc == 0)
        rc = pc_results_items(b->dir, &of_b, err);
    if (rc == 0)
        rc = pair_up(&p, of_a, of_b, err);
    if (rc == 0)
        rc = describe(&p, a->name, out, err);
    pc_free(p.differences);
    json_decref(p.flipped);
    json_decref(of_a);
    json_decref(of_b);
    return rc;
}

static json_t *side(const struct pc_run *run)
{
    return json_pack(
        "{s:o, s:o}", "dir", json_string_nocheck(run->dir), "model", json_string_nocheck(pc_run_model(run)));
}

/* NULL when memory is out. */
static json_t *tasks_only_in(const struct pc_run *run, const struct pc_run *other)
{
    json_t *list = json_array();
    for (size_t i = 0; i < run->n; i++)
        if (!pc_run_find(other, run->tasks[i].name) &&
            json_array_append_new(list, json_string(run->tasks[i].name)) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static int compare_tasks(
    const struct pc_run *a, const struct pc_run *b, json_t *tasks, struct paco_error *err)
{
    int rc = tasks ? 0 : no_memory(err);
    for (size_t i = 0; i < a->n && rc == 0; i++) {
        const struct pc_run_task *other = pc_run_find(b, a->tasks[i].name);
        json_t *one = NULL;
        if (!other)
            continue;
        rc = compare_task(&a->tasks[i], other, &one, err);
        if (rc == 0 && json_array_append_new(tasks, one) < 0)
            rc = no_memory(err);
    }
    if (rc == 0 && json_array_size(tasks) == 0)
        rc = pc_error_set(
            err, PACO_EMISMATCH, "%s and %s have no task in common: nothing can be compared", a->dir, b->dir);
    return rc;
}

static int compare_all(const struct pc_run *a, const struct pc_run *b, json_t *o, struct paco_error *err)
{
    json_t *tasks = json_array();
    int rc = compare_tasks(a, b, tasks, err);
    if (rc == 0)
        rc = pc_object_put(o, "a", side(a), err);
    if (rc == 0)
        rc = pc_object_put(o, "b", side(b), err);
    if (rc == 0)
        rc = pc_object_put(o, "tasks", json_incref(tasks), err);
    if (rc == 0)
        rc = pc_object_put(o, "only_in_a", tasks_only_in(a, b), err);
    if (rc == 0)
        rc = pc_object_put(o, "only_in_b", tasks_only_in(b, a), err);
    json_decref(tasks);
    return rc;
}

int pc_eval_compare(const char *dir_a, const char *dir_b, json_t **out, struct paco_error *err)
{
    struct pc_run *runs = pc_alloc_zero(2, sizeof *runs);
    json_t *o = json_object();
    int rc = runs && o ? pc_run_open(dir_a, &runs[0], err) : no_memory(err);
    if (rc == 0)
        rc = pc_run_open(dir_b, &runs[1], err);
    if (rc == 0)
        rc = compare_all(&runs[0], &runs[1], o, err);
    for (int i = 0; runs && i < 2; i++)
        pc_run_release(&runs[i]);
    pc_free(runs);
    if (rc < 0)
        json_decref(o);
    else
        *out = o;
    return rc;
}

/* ---- as text ---- */

static void put_p(struct pc_buf *out, double p)
{
    if (isnan(p))
        pc_buf_printf(out, " %9s", "-");
    else
        pc_buf_printf(out, p < 0.0001 ? "  < 0.0001" : " %9.4f", p);
}

static bool is_in_nats(const json_t *task)
{
    return strcmp(json_string_value(json_object_get(task, "unit")), "nats_per_token") == 0;
}

static void put_flipped(struct pc_buf *out, const json_t *task, bool gained, size_t most)
{
    const json_t *flipped = json_object_get(task, "flipped");
    size_t n = 0;
    gained ^= is_in_nats(task);
    for (size_t i = 0; i < json_array_size(flipped); i++) {
        const json_t *item = json_array_get(flipped, i);
        if ((pc_json_double(item, "b") > pc_json_double(item, "a")) != gained)
            continue;
        if (n++ < most)
            pc_buf_printf(out, "    %s\n", json_string_value(json_object_get(item, "key")));
        else if (n == most + 1)
            pc_buf_puts(out, "    ... (--json lists all)\n");
    }
}

static void put_names(struct pc_buf *out, const json_t *comparison, const char *key, const char *which)
{
    const json_t *names = json_object_get(comparison, key);
    for (size_t i = 0; i < json_array_size(names); i++)
        pc_buf_printf(out, "%s is only in %s\n", json_string_value(json_array_get(names, i)), which);
}

static void put_sides(struct pc_buf *out, const json_t *comparison)
{
    const char *const sides[] = {"a", "b"};
    for (int i = 0; i < 2; i++) {
        const json_t *s = json_object_get(comparison, sides[i]);
        pc_buf_printf(out, "%c  %s  %s\n", 'A' + i, json_string_value(json_object_get(s, "model")),
            json_string_value(json_object_get(s, "dir")));
    }
}

static void put_task(struct pc_buf *out, const json_t *t)
{
    int digits = is_in_nats(t) ? 4 : 2;
    const json_t *ci = json_object_get(t, "ci95");
    double low = json_number_value(json_array_get(ci, 0)), high = json_number_value(json_array_get(ci, 1));
    char interval[32] = "-";
    if (json_is_number(json_array_get(ci, 0)))
        snprintf(interval, sizeof interval, "%+.*f to %+.*f", digits, low, digits, high);
    pc_buf_printf(out, "%-22s %6.0f %7.*f %7.*f %+7.*f  %-17s %7.0f %7.0f",
        json_string_value(json_object_get(t, "task")), pc_json_double(t, "n_items"), digits,
        pc_json_double(t, "mean_a"), digits, pc_json_double(t, "mean_b"), digits,
        pc_json_double(t, "difference"), interval, pc_json_double(t, "better_in_a"),
        pc_json_double(t, "better_in_b"));
    put_p(out, pc_json_double(t, "mcnemar_p"));
    pc_buf_putc(out, '\n');
    if (is_in_nats(t))
        pc_buf_printf(out, "  nats a token, less is better: perplexities %.4f and %.4f over windows alike\n",
            exp(pc_json_double(t, "mean_a")), exp(pc_json_double(t, "mean_b")));
    if (pc_json_double(t, "only_in_a") + pc_json_double(t, "only_in_b") > 0)
        pc_buf_printf(out, "  left out: %.0f items only A has, %.0f only B\n", pc_json_double(t, "only_in_a"),
            pc_json_double(t, "only_in_b"));
    if (pc_json_double(t, "prompts_differ") > 0)
        pc_buf_printf(
            out, "  %.0f items were asked with different prompts\n", pc_json_double(t, "prompts_differ"));
}

static void put_all_flipped(struct pc_buf *out, const json_t *t, size_t most)
{
    const char *name = json_string_value(json_object_get(t, "task"));
    if (json_array_size(json_object_get(t, "flipped")) == 0)
        return;
    pc_buf_printf(out, "\n%s, better in A:\n", name);
    put_flipped(out, t, false, most);
    pc_buf_printf(out, "%s, better in B:\n", name);
    put_flipped(out, t, true, most);
}

void pc_compare_text(const json_t *c, size_t n_flipped, struct pc_buf *out)
{
    const json_t *tasks = json_object_get(c, "tasks");
    put_sides(out, c);
    pc_buf_printf(out, "\n%-22s %6s %7s %7s %7s  %-17s %7s %7s %9s\n", "task", "items", "A", "B", "B - A",
        "95 % interval", "A only", "B only", "McNemar p");
    for (size_t i = 0; i < json_array_size(tasks); i++)
        put_task(out, json_array_get(tasks, i));
    for (size_t i = 0; n_flipped && i < json_array_size(tasks); i++)
        put_all_flipped(out, json_array_get(tasks, i), n_flipped);
    put_names(out, c, "only_in_a", "A");
    put_names(out, c, "only_in_b", "B");
}
