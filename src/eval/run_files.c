// SPDX-License-Identifier: Apache-2.0
/* Finished runs, read back for reports and comparisons. */
#include "base/file.h"
#include "base/journal.h"
#include "base/memory.h"
#include "eval/report.h"
#include "eval/tasks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RESULTS = 1 << 26 };

/* dir's results.json, if it has one: 1, 0, or an error. */
static int read_task(const char *dir, struct pc_run_task *t, struct paco_error *err)
{
    char *path = pc_path_join(dir, "results.json");
    if (!path)
        return pc_error_mem(err, strlen(dir), "a path");
    int rc = pc_path_exists(path) ? pc_json_read(path, MAX_RESULTS, &t->results, err) : 1;
    if (rc == 0)
        rc = pc_json_get_str(t->results, "task", &t->name, err);
    if (rc < 0)
        pc_error_path(err, path);
    pc_free(path);
    if (rc == 0 && !(t->dir = pc_strdup(dir)))
        rc = pc_error_mem(err, strlen(dir), "a path");
    if (rc != 0) {
        json_decref(t->results);
        t->results = NULL;
        return rc < 0 ? rc : 0;
    }
    struct paco_error none;
    t->task = pc_task_find(t->name, &none);
    return 1;
}

static int place(const struct pc_task *task)
{
    int i = 0;
    while (pc_tasks[i] && pc_tasks[i] != task)
        i++;
    return i;
}

static int by_place(const void *a, const void *b)
{
    const struct pc_run_task *x = a, *y = b;
    int px = place(x->task), py = place(y->task);
    return px != py ? (px < py ? -1 : 1) : strcmp(x->name, y->name);
}

static int read_below(const char *dir, struct pc_run *run, struct paco_error *err)
{
    char **names = NULL;
    size_t n = 0;
    int rc = pc_dir_list(dir, &names, &n, err);
    for (size_t i = 0; i < n && rc >= 0; i++) {
        if (pc_ends_with(names[i], PC_JOURNAL_SUFFIX)) // under way, or what --force replaced
            continue;
        char *below = pc_path_join(dir, names[i]);
        if (!below)
            rc = pc_error_mem(err, strlen(dir), "a path");
        else if (run->n == PC_MAX_RUN_TASKS)
            rc = pc_error_set(err, PACO_ELIMIT, "holds the results of more than %d tasks", PC_MAX_RUN_TASKS);
        else if (pc_path_is_dir(below))
            rc = read_task(below, &run->tasks[run->n], err);
        run->n += rc == 1;
        pc_free(below);
        rc = rc > 0 ? 0 : rc;
    }
    pc_names_free(names, n);
    return rc;
}

int pc_run_open(const char *dir, struct pc_run *run, struct paco_error *err)
{
    run->dir = dir;
    int rc = read_task(dir, &run->tasks[0], err);
    run->n = rc == 1;
    if (rc == 0)
        rc = read_below(dir, run, err);
    if (rc >= 0 && run->n == 0) {
        rc = pc_error_set(err, PACO_ENOENT,
            "holds no results: neither a results.json nor a folder with one, as paco eval --out %s would "
            "leave",
            dir);
        pc_error_path(err, dir);
    }
    if (rc < 0) {
        pc_run_release(run);
        return rc;
    }
    qsort(run->tasks, run->n, sizeof *run->tasks, by_place);
    return 0;
}

void pc_run_release(struct pc_run *run)
{
    for (size_t i = 0; i < run->n; i++) {
        json_decref(run->tasks[i].results);
        pc_free(run->tasks[i].dir);
    }
    pc_free(run->label);
    run->label = NULL;
    run->n = 0;
}

const struct pc_run_task *pc_run_find(const struct pc_run *run, const char *name)
{
    for (size_t i = 0; i < run->n; i++)
        if (strcmp(run->tasks[i].name, name) == 0)
            return &run->tasks[i];
    return NULL;
}

/* "results/" and "results/mmlu_0shot" are told apart by all of it, "a/results" and "b/results" too. */
static const char *short_dir(const struct pc_run *runs, size_t n, size_t i)
{
    const char *base = pc_path_base(runs[i].dir);
    bool unique = *base != '\0';
    for (size_t k = 0; k < n; k++)
        unique &= k == i || strcmp(pc_path_base(runs[k].dir), base) != 0;
    return unique ? base : runs[i].dir;
}

int pc_runs_label(struct pc_run *runs, size_t n, struct paco_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const char *model = pc_run_model(&runs[i]);
        bool unique = true;
        for (size_t k = 0; k < n; k++)
            unique &= k == i || strcmp(pc_run_model(&runs[k]), model) != 0;
        const char *dir = unique ? "" : short_dir(runs, n, i);
        size_t room = strlen(model) + strlen(dir) + 4;
        runs[i].label = pc_alloc(room, 1);
        if (!runs[i].label)
            return pc_error_mem(err, room, "a run's name");
        snprintf(runs[i].label, room, unique ? "%s%s" : "%s (%s)", model, dir);
    }
    return 0;
}

const char *pc_run_model(const struct pc_run *run)
{
    const char *name =
        run->n ? json_string_value(json_object_get(run->tasks[0].results, "model_name")) : NULL;
    return name ? name : run->dir;
}
