// SPDX-License-Identifier: Apache-2.0
/* Super-NaturalInstructions: of each task up to 80 instances, 60 as instructions, 20 behind two examples. */
#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "data/reformat_parts.h"

#include <string.h>

enum {
    N_ZERO_SHOT = 60,
    N_FEW_SHOT = 20,
    N_SHOTS = 2,
    MAX_FILE = 1 << 29,
    MAX_VALUES = 16 << 20,
    MAX_LIST = 1 << 20
};

struct task {
    struct pc_reformat *f;
    struct pc_data_text instruction;
    const json_t *instances, *examples;
};

/* ---- one instance ---- */

/* The first of the outputs. */
static int first_output(struct pc_reformat *f, const json_t *instance, struct pc_data_text *out)
{
    const json_t *first = json_array_get(json_object_get(instance, "output"), 0);
    if (!json_is_string(first))
        return pc_error_set(f->err, PACO_EFORMAT, "'output' is not a list that begins with a string");
    *out = (struct pc_data_text){json_string_value(first), json_string_length(first)};
    return 0;
}

static void put_stripped(struct pc_buf *b, struct pc_data_text text)
{
    pc_utf8_strip(&text.s, &text.len);
    pc_buf_add(b, text.s, text.len);
}

static int put_examples(struct task *t)
{
    struct pc_reformat *f = t->f;
    size_t n = json_array_size(t->examples), picked[N_SHOTS] = {0, 1};
    if (n > N_SHOTS) {
        int rc = pc_py_sample(&f->random, n, N_SHOTS, picked, f->err);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < n && i < N_SHOTS; i++) {
        struct pc_data_text x, y;
        const json_t *example = json_array_get(t->examples, picked[i]);
        int rc = pc_reformat_text(f, example, "input", &x);
        if (rc == 0)
            rc = pc_reformat_text(f, example, "output", &y);
        if (rc < 0)
            return rc;
        pc_buf_puts(&f->prompt, "Input:\n");
        put_stripped(&f->prompt, x);
        pc_buf_puts(&f->prompt, "\nOutput:\n");
        put_stripped(&f->prompt, y);
        pc_buf_puts(&f->prompt, "\n\n");
    }
    return 0;
}

static int few_shot(struct task *t, struct pc_data_text id, struct pc_data_text x, struct pc_data_text y)
{
    struct pc_reformat *f = t->f;
    pc_buf_clear(&f->prompt);
    put_stripped(&f->prompt, t->instruction);
    pc_buf_puts(&f->prompt, "\n\n");
    int rc = put_examples(t);
    pc_buf_puts(&f->prompt, "Input:\n");
    put_stripped(&f->prompt, x);
    pc_buf_puts(&f->prompt, "\nOutput:\n");
    if (rc == 0)
        rc = pc_buf_check(&f->prompt, "a prompt", f->err);
    if (rc < 0)
        return rc;
    pc_utf8_strip(&y.s, &y.len);
    const struct pc_data_turn turns[] = {{"user", {f->prompt.data, f->prompt.len}}, {"assistant", y}};
    return pc_reformat_emit(f, id, turns, 2);
}

static int convert_instance(struct task *t, size_t which, bool few)
{
    struct pc_data_text id, x, y;
    const json_t *instance = json_array_get(t->instances, which);
    int rc = pc_reformat_text(t->f, instance, "id", &id);
    if (rc == 0)
        rc = pc_reformat_text(t->f, instance, "input", &x);
    if (rc == 0)
        rc = first_output(t->f, instance, &y);
    if (rc == 0)
        rc = few ? few_shot(t, id, x, y) : pc_reformat_instruction(t->f, &id, t->instruction, x, y);
    if (rc < 0)
        pc_error_prefix(t->f->err, "instance %zu", which + 1);
    return rc;
}

/* ---- one task ---- */

static int convert_instances(struct task *t)
{
    size_t n = json_array_size(t->instances), picked[N_ZERO_SHOT + N_FEW_SHOT];
    bool draw = n > N_ZERO_SHOT + N_FEW_SHOT;
    int rc = 0;
    if (draw) {
        rc = pc_py_sample(&t->f->random, n, N_ZERO_SHOT + N_FEW_SHOT, picked, t->f->err);
        n = N_ZERO_SHOT + N_FEW_SHOT;
    }
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = convert_instance(t, draw ? picked[i] : i, i >= N_ZERO_SHOT);
    return rc;
}

static int convert_json(struct pc_reformat *f, const json_t *root)
{
    const json_t *definition = json_array_get(json_object_get(root, "Definition"), 0);
    struct task t = {.f = f,
        .instances = json_object_get(root, "Instances"),
        .examples = json_object_get(root, "Positive Examples")};
    if (!json_is_string(definition) || !json_is_array(t.instances) || !json_is_array(t.examples))
        return pc_error_set(f->err, PACO_EFORMAT,
            "no task of Super-NaturalInstructions: 'Definition', 'Instances' and 'Positive Examples' are "
            "expected");
    t.instruction = (struct pc_data_text){json_string_value(definition), json_string_length(definition)};
    return convert_instances(&t);
}

static int convert_file(struct pc_reformat *f, const char *path)
{
    struct pc_buf b;
    json_t *root = NULL;
    int rc = pc_file_slurp(path, MAX_FILE, &b, f->err);
    if (rc == 0 && pc_json_count_values(b.data, b.len) > MAX_VALUES)
        rc = pc_error_set(f->err, PACO_ELIMIT, "a task of more than %d JSON values", MAX_VALUES);
    if (rc == 0)
        rc = pc_json_parse(b.data, b.len, path, 0, &root, f->err);
    if (rc == 0)
        rc = convert_json(f, root);
    if (rc < 0)
        pc_error_path(f->err, path);
    json_decref(root);
    pc_buf_release(&b);
    return rc;
}

/* A line of the list, of which a path is made. */
static int convert_task(struct pc_reformat *f, struct pc_data_text name)
{
    char relative[320];
    pc_utf8_strip(&name.s, &name.len);
    if (name.len == 0 || name.len > 250 || memchr(name.s, '/', name.len) || memchr(name.s, '\0', name.len))
        return pc_error_set(f->err, PACO_EFORMAT, "is no name of a task");
    snprintf(relative, sizeof relative, "tasks/%.*s.json", (int)name.len, name.s);
    char *path = pc_path_join(f->dir, relative);
    int rc = path ? convert_file(f, path) : pc_error_mem(f->err, sizeof relative, "a path");
    pc_free(path);
    return rc;
}

static int convert_list(struct pc_reformat *f, const char *path, const struct pc_buf *list)
{
    int rc = 0;
    size_t line = 1;
    for (size_t at = 0; at < list->len && rc == 0; line++) {
        const char *s = list->data + at, *end = memchr(s, '\n', list->len - at);
        size_t n = end ? (size_t)(end - s) : list->len - at;
        at += n + 1;
        // Left out, so that no test leaks.
        if (memmem(s, n, "_mmmlu_", 7))
            continue;
        rc = convert_task(f, (struct pc_data_text){s, n});
        if (rc < 0 && !*f->err->path)
            pc_json_record_error(path, line, f->err);
        if (rc == 0)
            rc = pc_reformat_report(f, f->name, at, list->len);
    }
    return rc;
}

int pc_reformat_super_ni(struct pc_reformat *f)
{
    struct pc_buf list;
    char *path = pc_path_join(f->dir, "splits/xlingual/train_tasks.txt");
    if (!path)
        return pc_error_mem(f->err, 0, "a path");
    int rc = pc_file_slurp(path, MAX_LIST, &list, f->err);
    if (rc == 0)
        rc = convert_list(f, path, &list);
    pc_buf_release(&list);
    pc_free(path);
    return rc;
}
