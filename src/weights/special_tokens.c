// SPDX-License-Identifier: Apache-2.0
#include "weights/special_tokens.h"

#include "base/file.h"
#include "base/json.h"
#include "base/json_span.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_JSON = 4 << 20, HEAD = 1 << 20, MODEL_HEAD = 128 };

static const struct {
    const char *text;
    int64_t id;
} g_llama[] = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};

/* A token as these files write it: its text, or an object with it. */
static const char *token_text(const json_t *v)
{
    return json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
}

static void declare_pad(struct pc_special_tokens *t, const char *file, const json_t *token)
{
    const char *text = token_text(token);
    if (t->has_pad || !text || !*text)
        return;
    t->has_pad = true;
    snprintf(t->pad, sizeof t->pad, "%s", text);
    snprintf(t->pad_file, sizeof t->pad_file, "%s", file);
}

/* After the pad token was declared. */
static void add_id(struct pc_special_tokens *t, const char *text, int64_t id)
{
    if (!text || id < 0)
        return;
    if (strcmp(text, "<pad>") == 0)
        t->upstream_pad_id = id;
    if (strcmp(text, "[PAD]") == 0)
        t->alpaca_pad_id = id;
    if (t->has_pad && strcmp(text, t->pad) == 0)
        t->pad_id = id;
}

static void ids_of_decoder(struct pc_special_tokens *t, const json_t *decoder)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)decoder, key, v)
    {
        char *end;
        long long id = strtoll(key, &end, 10);
        if (*key && !*end)
            add_id(t, token_text(v), id);
    }
}

static void ids_of_added(struct pc_special_tokens *t, const json_t *added)
{
    const char *text;
    json_t *v;
    json_object_foreach((json_t *)added, text, v) if (json_is_integer(v))
        add_id(t, text, json_integer_value(v));
}

static void ids_of_fast(struct pc_special_tokens *t, const json_t *tokens)
{
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)tokens, i, v)
    {
        const json_t *id = json_object_get(v, "id");
        if (json_is_integer(id))
            add_id(t, token_text(v), json_integer_value(id));
    }
}

static int read_small(const char *dir, const char *name, json_t **out, struct paco_error *err)
{
    *out = NULL;
    char *path = pc_path_join(dir, name);
    int rc = path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0 && pc_path_exists(path))
        rc = pc_json_read(path, MAX_JSON, out, err);
    pc_free(path);
    return rc;
}

/* At most max bytes of a file's beginning, or nothing if there is no such file. */
static int read_head(const char *dir, const char *name, size_t max, struct pc_buf *b, struct paco_error *err)
{
    pc_buf_init(b, max);
    struct pc_file f = {.fd = -1};
    char *path = pc_path_join(dir, name);
    int rc = path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0 && pc_path_exists(path)) {
        rc = pc_file_open(&f, path, err);
        size_t len = f.size < max ? (size_t)f.size : max;
        char *to = rc == 0 ? pc_buf_reserve(b, len) : NULL;
        if (rc == 0)
            rc = to ? pc_file_read(&f, 0, to, len, err) : pc_error_mem(err, len, name);
        if (rc == 0)
            b->len = len;
    }
    pc_file_close(&f);
    pc_free(path);
    return rc;
}

/* The member key of tokenizer.json, which stands before the vocabulary; NULL when it does not or is no JSON.
 */
static json_t *fast_member(const struct pc_buf *head, const char *key)
{
    size_t start, end;
    json_t *v = NULL;
    if (head->len && pc_json_find(head->data, head->len, key, &start, &end))
        pc_json_parse(head->data + start, end - start, NULL, 0, &v, NULL);
    return v;
}

static bool model_is_llama(const struct pc_buf *head)
{
    bool all = head->len > 0;
    for (size_t i = 0; i < sizeof g_llama / sizeof *g_llama && all; i++)
        all = memmem(head->data, head->len, g_llama[i].text, strlen(g_llama[i].text)) != NULL;
    return all;
}

static bool fast_is_llama(const json_t *added)
{
    bool all = json_array_size(added) >= sizeof g_llama / sizeof *g_llama;
    for (size_t i = 0; i < sizeof g_llama / sizeof *g_llama && all; i++) {
        const json_t *v = json_array_get(added, i);
        const char *text = token_text(v);
        all = text && strcmp(text, g_llama[i].text) == 0 &&
              json_integer_value(json_object_get(v, "id")) == g_llama[i].id;
    }
    return all;
}

struct files {
    json_t *config, *map, *added, *padding, *fast_added;
    struct pc_buf fast, model;
};

static int read_files(const char *dir, struct files *f, struct paco_error *err)
{
    int rc = read_small(dir, "tokenizer_config.json", &f->config, err);
    if (rc == 0)
        rc = read_small(dir, "special_tokens_map.json", &f->map, err);
    if (rc == 0)
        rc = read_small(dir, "added_tokens.json", &f->added, err);
    if (rc == 0)
        rc = read_head(dir, "tokenizer.json", HEAD, &f->fast, err);
    if (rc == 0)
        rc = read_head(dir, "tokenizer.model", MODEL_HEAD, &f->model, err);
    if (rc == 0) {
        f->padding = fast_member(&f->fast, "padding");
        f->fast_added = fast_member(&f->fast, "added_tokens");
    }
    return rc;
}

static void gather(const struct files *f, struct pc_special_tokens *t)
{
    t->any_file = f->config || f->map || f->added || f->fast.len || f->model.len;
    declare_pad(t, "special_tokens_map.json", json_object_get(f->map, "pad_token"));
    declare_pad(t, "tokenizer_config.json", json_object_get(f->config, "pad_token"));
    declare_pad(t, "tokenizer.json", json_object_get(f->padding, "pad_token"));
    t->is_llama = model_is_llama(&f->model) || fast_is_llama(f->fast_added);
    if (t->is_llama)
        for (size_t i = 0; i < sizeof g_llama / sizeof *g_llama; i++)
            add_id(t, g_llama[i].text, g_llama[i].id);
    ids_of_fast(t, f->fast_added);
    ids_of_decoder(t, json_object_get(f->config, "added_tokens_decoder"));
    ids_of_added(t, f->added);
}

int pc_special_tokens_read(const char *dir, struct pc_special_tokens *out, struct paco_error *err)
{
    *out = (struct pc_special_tokens){.pad_id = -1, .upstream_pad_id = -1, .alpaca_pad_id = -1};
    struct files f = {0};
    int rc = read_files(dir, &f, err);
    if (rc == 0)
        gather(&f, out);
    json_decref(f.config);
    json_decref(f.map);
    json_decref(f.added);
    json_decref(f.padding);
    json_decref(f.fast_added);
    pc_buf_release(&f.fast);
    pc_buf_release(&f.model);
    return rc;
}
