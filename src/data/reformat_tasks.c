// SPDX-License-Identifier: Apache-2.0
/* Data sets of one question and one answer each. */
#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "data/reformat_parts.h"

#include <string.h>
#include <strings.h>

/* ---- instruction, input, output, by whatever names ---- */

static int by_names(struct pc_reformat *f, const json_t *record, const char *input, const char *output)
{
    struct pc_data_text i, x, o;
    int rc = pc_reformat_text(f, record, "instruction", &i);
    if (rc == 0)
        rc = pc_reformat_optional(f, record, input, &x);
    if (rc == 0)
        rc = pc_reformat_text(f, record, output, &o);
    return rc == 0 ? pc_reformat_instruction(f, NULL, i, x, o) : rc;
}

static int alpaca(struct pc_reformat *f, const json_t *record)
{
    return by_names(f, record, "input", "output");
}

static int dolly(struct pc_reformat *f, const json_t *record)
{
    return by_names(f, record, "context", "response");
}

int pc_reformat_stanford_alpaca(struct pc_reformat *f)
{
    return pc_reformat_each(f, "alpaca_data.json", alpaca);
}

int pc_reformat_code_alpaca(struct pc_reformat *f)
{
    return pc_reformat_each(f, "code_alpaca_20k.json", alpaca);
}

int pc_reformat_gpt4_alpaca(struct pc_reformat *f)
{
    return pc_reformat_each(f, "alpaca_gpt4_data.json", alpaca);
}

int pc_reformat_self_instruct(struct pc_reformat *f)
{
    return pc_reformat_each(f, "all_instances_82K.jsonl", alpaca);
}

int pc_reformat_dolly(struct pc_reformat *f)
{
    return pc_reformat_each(f, "databricks-dolly-15k.jsonl", dolly);
}

/* ---- unnatural instructions: constraints are part of the instruction ---- */

static bool says_something(struct pc_data_text constraints)
{
    return constraints.len && !(constraints.len == 4 && strncasecmp(constraints.s, "none", 4) == 0) &&
           !(constraints.len == 5 && strncasecmp(constraints.s, "none.", 5) == 0);
}

static int unnatural_instance(struct pc_reformat *f, struct pc_data_text instruction, const json_t *instance)
{
    struct pc_data_text constraints = {.s = NULL}, x = constraints, o = constraints;
    struct pc_buf whole;
    int rc = pc_reformat_optional(f, instance, "constraints", &constraints);
    if (rc == 0)
        rc = pc_reformat_optional(f, instance, "input", &x);
    if (rc == 0)
        rc = pc_reformat_text(f, instance, "output", &o);
    if (rc < 0)
        return rc;
    pc_buf_init(&whole, 1 << 28);
    if (says_something(constraints)) {
        pc_buf_add(&whole, instruction.s, instruction.len);
        pc_buf_putc(&whole, '\n');
        pc_buf_add(&whole, constraints.s, constraints.len);
        instruction = (struct pc_data_text){whole.data, whole.len};
        rc = pc_buf_check(&whole, "an instruction", f->err);
    }
    if (rc == 0)
        rc = pc_reformat_instruction(f, NULL, instruction, x, o);
    pc_buf_release(&whole);
    return rc;
}

static int unnatural(struct pc_reformat *f, const json_t *record)
{
    struct pc_data_text instruction = {.s = NULL};
    const json_t *instances = json_object_get(record, "instances");
    int rc = pc_reformat_text(f, record, "instruction", &instruction);
    if (rc == 0 && !json_is_array(instances))
        rc = pc_error_set(
            f->err, PACO_EFORMAT, "'instances' is %s where an array is expected", pc_json_kind(instances));
    for (size_t i = 0; i < json_array_size(instances) && rc == 0; i++) {
        rc = unnatural_instance(f, instruction, json_array_get(instances, i));
        if (rc < 0)
            pc_error_prefix(f->err, "instance %zu", i + 1);
    }
    return rc;
}

int pc_reformat_unnatural_instructions(struct pc_reformat *f)
{
    return pc_reformat_each(f, "core_data.jsonl", unnatural);
}

/* ---- FLAN: prompts as they are, but for a newline ---- */

static int flan(struct pc_reformat *f, const json_t *record)
{
    struct pc_data_text prompt = {.s = NULL}, answer = prompt;
    int rc = pc_reformat_text(f, record, "inputs", &prompt);
    if (rc == 0)
        rc = pc_reformat_text(f, record, "targets", &answer);
    if (rc < 0)
        return rc;
    struct pc_data_text end = prompt;
    pc_utf8_rstrip(&end.s, &end.len);
    if ((prompt.len && prompt.s[prompt.len - 1] == '\n') || (end.len && end.s[end.len - 1] == ':'))
        return pc_reformat_emit_pair(f, prompt, answer);
    pc_buf_clear(&f->prompt);
    pc_buf_add(&f->prompt, prompt.s, prompt.len);
    pc_buf_putc(&f->prompt, '\n');
    rc = pc_buf_check(&f->prompt, "a prompt", f->err);
    return rc == 0 ? pc_reformat_emit_pair(f, (struct pc_data_text){f->prompt.data, f->prompt.len}, answer)
                   : rc;
}

int pc_reformat_flan_v2(struct pc_reformat *f)
{
    return pc_reformat_each(f, "flan_v2_resampled_100k.jsonl", flan);
}

/* ---- chains of thought: at most 50,000 of each file, drawn when it has more ---- */

enum { COT_MAX = 50000 };

/* Where the records of a file are. */
struct places {
    struct pc_json_record *v; /* text unset */
    size_t n, capacity;
    char *path;
};

static int find_records(struct pc_reformat *f, struct places *p)
{
    struct pc_json_records r;
    int rc = pc_json_records_open(&r, p->path, f->err);
    while (rc == 0 && (rc = pc_json_records_batch(&r, f->err)) == 0 && r.n > 0)
        for (size_t i = 0; i < r.n && rc == 0; i++) {
            rc = pc_grow(&p->v, &p->capacity, p->n, sizeof *p->v, "the examples' places", f->err);
            if (rc == 0) {
                p->v[p->n] = r.v[i];
                p->v[p->n++].text = NULL;
            }
        }
    pc_json_records_close(&r);
    return rc;
}

static int convert_at(
    struct pc_reformat *f, const struct pc_file *file, struct pc_json_record record, struct pc_buf *b)
{
    json_t *v = NULL;
    pc_buf_clear(b);
    char *to = pc_buf_reserve(b, record.len);
    if (!to)
        return pc_error_mem(f->err, record.len, "an example");
    int rc = pc_file_read(file, record.at, to, record.len, f->err);
    record.text = to;
    if (rc == 0)
        rc = pc_json_record_parse(file->path, &record, &v, f->err);
    if (rc < 0)
        return rc;
    rc = flan(f, v);
    json_decref(v);
    if (rc < 0)
        pc_json_record_error(file->path, record.line, f->err);
    return rc;
}

static int convert_places(struct pc_reformat *f, const struct places *p, const size_t *order, size_t n)
{
    struct pc_file file;
    struct pc_buf b;
    pc_buf_init(&b, PC_JSON_RECORD_MAX * 2);
    int rc = pc_file_open(&file, p->path, f->err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = convert_at(f, &file, p->v[order ? order[i] : i], &b);
        if (rc == 0 && i % 1000 == 0)
            rc = pc_reformat_report(f, f->name, i, n);
    }
    pc_file_close(&file);
    pc_buf_release(&b);
    return rc;
}

static int cot_file(struct pc_reformat *f, struct places *p)
{
    int rc = find_records(f, p);
    if (rc < 0 || p->n <= COT_MAX)
        return rc == 0 ? convert_places(f, p, NULL, p->n) : rc;
    size_t *order = pc_alloc(COT_MAX, sizeof *order);
    if (!order)
        return pc_error_mem(f->err, COT_MAX * sizeof *order, "a sample");
    rc = pc_py_sample(&f->random, p->n, COT_MAX, order, f->err);
    if (rc == 0)
        rc = convert_places(f, p, order, COT_MAX);
    pc_free(order);
    return rc;
}

int pc_reformat_cot(struct pc_reformat *f)
{
    static const char *const files[] = {"cot_zsopt.jsonl", "cot_fsopt.jsonl"};
    int rc = 0;
    for (int i = 0; i < 2 && rc == 0; i++) {
        struct places p = {.path = pc_path_join(f->dir, files[i])};
        rc = p.path ? cot_file(f, &p) : pc_error_mem(f->err, 0, "a path");
        pc_free(p.v);
        pc_free(p.path);
    }
    return rc;
}
