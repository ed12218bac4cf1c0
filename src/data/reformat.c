// SPDX-License-Identifier: Apache-2.0
#include "data/reformat.h"

#include "base/file.h"
#include "base/memory.h"
#include "data/reformat_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TEXT = 1 << 28 };

static const struct {
    const char *name;
    int (*convert)(struct pc_reformat *f);
} converters[] = {
    {"baize", pc_reformat_baize},
    {"code_alpaca", pc_reformat_code_alpaca},
    {"cot", pc_reformat_cot},
    {"dolly", pc_reformat_dolly},
    {"flan_v2", pc_reformat_flan_v2},
    {"gpt4_alpaca", pc_reformat_gpt4_alpaca},
    {"oasst1", pc_reformat_oasst1},
    {"self_instruct", pc_reformat_self_instruct},
    {"sharegpt", pc_reformat_sharegpt},
    {"stanford_alpaca", pc_reformat_stanford_alpaca},
    {"super_ni", pc_reformat_super_ni},
    {"unnatural_instructions", pc_reformat_unnatural_instructions},
};

enum { N_CONVERTERS = sizeof converters / sizeof *converters };

static int find(const char *name, size_t len)
{
    for (int i = 0; i < N_CONVERTERS; i++)
        if (strlen(converters[i].name) == len && memcmp(converters[i].name, name, len) == 0)
            return i;
    return -1;
}

/* ---- writing ---- */

static void put_json(struct pc_buf *b, struct pc_data_text text)
{
    pc_json_write_string(b, text.s ? text.s : "", text.len, true);
}

int pc_reformat_emit(
    struct pc_reformat *f, struct pc_data_text id, const struct pc_data_turn *turns, size_t n)
{
    struct pc_buf *b = &f->out.buf;
    pc_buf_clear(&f->id);
    pc_buf_printf(&f->id, "%s_", f->name);
    pc_buf_add(&f->id, id.s, id.len);
    pc_buf_printf(b, "{\"dataset\": \"%s\", \"id\": ", f->name);
    put_json(b, (struct pc_data_text){f->id.data, f->id.len});
    pc_buf_puts(b, ", \"messages\": [");
    for (size_t i = 0; i < n; i++) {
        pc_buf_printf(b, "%s{\"role\": \"%s\", \"content\": ", i ? ", " : "", turns[i].role);
        put_json(b, turns[i].content);
        pc_buf_putc(b, '}');
    }
    pc_buf_puts(b, "]}\n");
    f->n++;
    int rc = pc_buf_check(&f->id, "an example's name", f->err);
    return rc == 0 ? pc_out_file_flush(&f->out, false, f->err) : rc;
}

int pc_reformat_emit_next(struct pc_reformat *f, const struct pc_data_turn *turns, size_t n)
{
    char id[24];
    int len = snprintf(id, sizeof id, "%" PRIu64, f->n);
    return pc_reformat_emit(f, (struct pc_data_text){id, (size_t)len}, turns, n);
}

int pc_reformat_emit_pair(struct pc_reformat *f, struct pc_data_text prompt, struct pc_data_text answer)
{
    const struct pc_data_turn turns[] = {{"user", prompt}, {"assistant", answer}};
    return pc_reformat_emit_next(f, turns, 2);
}

/* ---- reading ---- */

int pc_reformat_text(struct pc_reformat *f, const json_t *record, const char *key, struct pc_data_text *out)
{
    return pc_json_get_text(record, key, &out->s, &out->len, f->err);
}

int pc_reformat_optional(
    struct pc_reformat *f, const json_t *record, const char *key, struct pc_data_text *out)
{
    *out = (struct pc_data_text){NULL, 0};
    return json_is_null(json_object_get(record, key)) ? 0 : pc_reformat_text(f, record, key, out);
}

int pc_reformat_report(struct pc_reformat *f, const char *item, uint64_t done, uint64_t total)
{
    const struct pc_progress_event event = {
        .phase = "reformatting", .item = item, .done = done, .total = total, .unit = "B"};
    return pc_progress(f->options->progress, &event)
               ? pc_error_set(f->err, PACO_ECANCELLED, "interrupted; files that are whole stay")
               : 0;
}

static int each_of_batch(struct pc_reformat *f, const struct pc_json_records *r,
    int (*each)(struct pc_reformat *f, const json_t *record))
{
    int rc = 0;
    for (size_t i = 0; i < r->n && rc == 0; i++) {
        json_t *record;
        rc = pc_json_record_parse(r->file.path, &r->v[i], &record, f->err);
        if (rc < 0)
            return rc;
        rc = each(f, record);
        json_decref(record);
        if (rc < 0)
            pc_json_record_error(r->file.path, r->v[i].line, f->err);
    }
    return rc;
}

int pc_reformat_each(
    struct pc_reformat *f, const char *file, int (*each)(struct pc_reformat *f, const json_t *record))
{
    struct pc_json_records r = {.file = {.fd = -1}};
    char *path = pc_path_join(f->dir, file);
    int rc = path ? pc_json_records_open(&r, path, f->err) : pc_error_mem(f->err, strlen(file), "a path");
    while (rc == 0 && (rc = pc_json_records_batch(&r, f->err)) == 0 && r.n > 0) {
        rc = each_of_batch(f, &r, each);
        if (rc == 0)
            rc = pc_reformat_report(f, f->name, pc_json_records_done(&r), r.file.size);
    }
    pc_json_records_close(&r);
    pc_free(path);
    return rc;
}

/* ---- which ---- */

struct plan {
    int sets[PC_REFORMAT_MAX_SETS];
    size_t n;
};

static int add_named(struct plan *p, const char *name, size_t len, struct paco_error *err)
{
    int i = find(name, len);
    if (i < 0)
        return pc_error_set(
            err, PACO_EINVAL, "'%.*s' in the order is no data set that can be reformatted", (int)len, name);
    for (size_t k = 0; k < p->n; k++)
        if (p->sets[k] == i)
            return pc_error_set(err, PACO_EINVAL, "'%s' is in the order twice", converters[i].name);
    p->sets[p->n++] = i;
    return 0;
}

static int plan_in_order(struct plan *p, const char *order, struct paco_error *err)
{
    int rc = 0;
    while (rc == 0 && *order) {
        size_t n = strcspn(order, ",");
        if (n)
            rc = add_named(p, order, n, err);
        order += n + (order[n] == ',');
    }
    return rc;
}

/* Every folder, sorted by name. */
static int plan_all(struct plan *p, const struct pc_reformat_options *o, struct paco_error *err)
{
    char **names;
    size_t n;
    int rc = pc_dir_list(o->raw_data_dir, &names, &n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        char *path = pc_path_join(o->raw_data_dir, names[i]);
        if (!path)
            rc = pc_error_mem(err, strlen(names[i]), "a path");
        else if (pc_path_is_dir(path) && find(names[i], strlen(names[i])) < 0)
            pc_note(o->notes,
                "Warning: %s in the raw data folder is not a supported dataset. We will skip it.", names[i]);
        else if (pc_path_is_dir(path))
            rc = add_named(p, names[i], strlen(names[i]), err);
        pc_free(path);
    }
    pc_names_free(names, n);
    if (rc == 0 && p->n == 0) {
        rc = pc_error_set(err, PACO_ENOENT, "holds no folder of a data set that can be reformatted");
        pc_error_path(err, o->raw_data_dir);
    }
    return rc;
}

/* ---- the call ---- */

static char *output_path(const struct pc_reformat_options *o, const char *name)
{
    size_t room = strlen(o->output_dir) + 2 * strlen(name) + 16;
    char *path = pc_alloc(room, 1);
    if (path)
        snprintf(path, room, "%s/%s/%s_data.jsonl", o->output_dir, name, name);
    return path;
}

static int convert(struct pc_reformat *f, int i)
{
    char *path = output_path(f->options, f->name), *dir = pc_path_join(f->options->raw_data_dir, f->name);
    int rc = path && dir ? pc_out_file_open(&f->out, path, f->options->force, f->err)
                         : pc_error_mem(f->err, 0, "a path");
    f->dir = dir;
    f->n = 0;
    if (rc == 0)
        rc = converters[i].convert(f);
    if (rc == 0)
        rc = pc_out_file_commit(&f->out, f->err);
    pc_free(path);
    pc_free(dir);
    return rc;
}

/* Nothing is done when the last of them could not be written. */
static int check_outputs(const struct plan *p, const struct pc_reformat_options *o, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < p->n && !o->force && rc == 0; i++) {
        char *path = output_path(o, converters[p->sets[i]].name);
        if (!path)
            return pc_error_mem(err, 0, "a path");
        if (pc_path_exists(path)) {
            rc = pc_error_set(err, PACO_EEXIST, "exists already (--force replaces it)");
            pc_error_path(err, path);
        }
        pc_free(path);
    }
    return rc;
}

int pc_data_reformat(
    const struct pc_reformat_options *o, struct pc_reformat_result *result, struct paco_error *err)
{
    struct plan plan = {.n = 0};
    struct pc_reformat f = {.options = o, .out = {.fd = -1}, .err = err};
    *result = (struct pc_reformat_result){0};
    int rc = o->order ? plan_in_order(&plan, o->order, err) : plan_all(&plan, o, err);
    if (rc == 0)
        rc = check_outputs(&plan, o, err);
    pc_py_seed(&f.random, o->seed);
    pc_buf_init(&f.prompt, MAX_TEXT);
    pc_buf_init(&f.answer, MAX_TEXT);
    pc_buf_init(&f.id, MAX_TEXT);
    for (size_t i = 0; i < plan.n && rc == 0; i++) {
        f.name = converters[plan.sets[i]].name;
        rc = convert(&f, plan.sets[i]);
        if (rc == 0) {
            result->sets[result->n].name = f.name;
            result->sets[result->n].n_examples = f.n;
            result->sets[result->n++].bytes = f.out.size;
        }
        pc_out_file_close(&f.out);
    }
    pc_buf_release(&f.prompt);
    pc_buf_release(&f.answer);
    pc_buf_release(&f.id);
    return rc;
}
