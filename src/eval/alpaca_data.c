// SPDX-License-Identifier: Apache-2.0
#include "eval/alpaca_data.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

static char *joined(const struct pc_alpaca_row *row)
{
    struct pc_buf b;
    pc_buf_init(&b, PC_EVAL_MAX_FILE);
    pc_buf_add(&b, row->instruction.v, row->instruction.len);
    if (row->input.len) {
        pc_buf_puts(&b, "\n\n");
        pc_buf_add(&b, row->input.v, row->input.len);
    }
    pc_buf_putc(&b, '\0');
    char *key = pc_buf_detach(&b);
    pc_buf_release(&b);
    return key;
}

static int read_row(
    const json_t *o, const char *output_name, struct pc_alpaca_row *row, struct paco_error *err)
{
    if (!json_is_object(o))
        return pc_error_set(err, PACO_EFORMAT, "is %s, not an object", pc_json_kind(o));
    *row = (struct pc_alpaca_row){.json = o, .input.v = ""};
    int rc = pc_member_text(o, "instruction", &row->instruction, err);
    if (rc == 0)
        rc = pc_member_text(o, output_name, &row->output, err);
    if (rc == 0 && json_object_get(o, "input"))
        rc = pc_member_text(o, "input", &row->input, err);
    if (rc < 0)
        return rc;
    row->generator = json_string_value(json_object_get(o, "generator"));
    row->dataset = json_string_value(json_object_get(o, "dataset"));
    row->key = joined(row);
    return row->key ? 0 : pc_error_mem(err, row->instruction.len, "an instruction");
}

static int read_rows(struct pc_alpaca_list *list, const char *output_name, struct paco_error *err)
{
    struct paco_error own = {0};
    size_t n = json_array_size(list->root);
    if (!json_is_array(list->root) || n == 0 || n > PC_EVAL_MAX_ITEMS)
        return pc_error_file(err, PACO_EFORMAT, list->path, 0,
            "must be a list of instructions and answers, and is %s",
            json_is_array(list->root) ? n ? "too long" : "an empty one" : pc_json_kind(list->root));
    list->v = pc_alloc_zero(n, sizeof *list->v);
    if (!list->v)
        return pc_error_mem(err, n * sizeof *list->v, "instructions");
    for (size_t i = 0; i < n; i++) {
        struct pc_alpaca_row *row = &list->v[i];
        int rc = read_row(json_array_get(list->root, i), output_name, row, &own);
        list->n = i + 1;
        if (rc == 0 && pc_map_add(&list->by_key, row->key, strlen(row->key), (uint32_t)i) < 0)
            rc = pc_error_mem(&own, 0, "instructions");
        if (rc < 0) {
            pc_error_set(err, rc, "row %zu (from 0): %s", i, own.message);
            pc_error_path(err, list->path);
            return rc;
        }
        list->has_inputs |= json_object_get(row->json, "input") != NULL;
    }
    return 0;
}

int pc_alpaca_read(const struct pc_task_env *env, const char *path, const char *output_name,
    struct pc_alpaca_list *out, struct paco_error *err)
{
    struct pc_alpaca_list list = {.path = pc_strdup(path)};
    int rc = list.path ? pc_eval_json(env, path, &list.root, err) : pc_error_mem(err, 0, "a path");
    if (rc == 0)
        rc = read_rows(&list, output_name, err);
    if (rc < 0) {
        pc_alpaca_release(&list);
        return rc;
    }
    *out = list;
    return 0;
}

int pc_alpaca_read_baseline(const struct pc_task_env *env, struct pc_alpaca_list *out, struct paco_error *err)
{
    static const char *const names[] = {"alpaca_farm/alpaca_farm_evaluation.json",
        "alpaca_eval/text_davinci_003/model_outputs.json", "alpaca_eval/alpaca_eval.json", NULL};
    char *path = NULL;
    int rc = pc_eval_find(env->data_dir, "AlpacaFarm", names, &path, err);
    if (rc == 0)
        rc = pc_alpaca_read(env, path, "output", out, err);
    pc_free(path);
    return rc;
}

void pc_alpaca_release(struct pc_alpaca_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        pc_free(list->v[i].key);
    pc_free(list->v);
    pc_map_release(&list->by_key);
    json_decref(list->root);
    pc_free(list->path);
    *list = (struct pc_alpaca_list){0};
}

const struct pc_alpaca_row *pc_alpaca_find(const struct pc_alpaca_list *list, const struct pc_alpaca_row *row)
{
    uint32_t i;
    return pc_map_get(&list->by_key, row->key, strlen(row->key), &i) ? &list->v[i] : NULL;
}

char *pc_alpaca_outputs_name(const char *model_name, char out[256])
{
    snprintf(out, 256, "%.180s-greedy-long-output.json", model_name ? pc_path_base(model_name) : "model");
    return out;
}

size_t pc_alpaca_length(struct pc_text text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += ((unsigned char)text.v[i] & 0xc0) != 0x80;
    return n;
}
