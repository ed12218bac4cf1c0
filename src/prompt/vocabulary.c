// SPDX-License-Identifier: Apache-2.0
/* Which adapter a path wants. A file alone is read alone; a folder brings its side files. */
#include "prompt/vocabulary.h"

#include "base/file.h"
#include "base/memory.h"
#include "format/sniff.h"
#include "prompt/vocab_sources.h"

#include <string.h>

static int open_dir(const char *dir, struct pc_tokenizer **out, struct paco_error *err)
{
    struct pc_vocab_side side;
    char *json = pc_path_join(dir, "tokenizer.json"), *model = pc_path_join(dir, "tokenizer.model");
    int rc = json && model ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0 && !pc_path_exists(json) && !pc_path_exists(model)) {
        rc = pc_error_set(err, PACO_ENOENT, "holds no tokenizer: neither tokenizer.json nor tokenizer.model");
        pc_error_path(err, dir);
    }
    if (rc == 0) {
        rc = pc_vocab_side_read(&side, dir, err);
        if (rc == 0)
            rc = pc_path_exists(json)          ? pc_vocab_json_open(json, &side, out, err)
                 : pc_vocab_is_tiktoken(model) ? pc_vocab_tiktoken_open(model, out, err)
                                               : pc_vocab_spm_open(model, &side, out, err);
        pc_vocab_side_release(&side);
    }
    pc_free(json);
    pc_free(model);
    return rc;
}

static int kind_of(const char *path, enum pc_file_kind *kind, struct paco_error *err)
{
    struct pc_file f = {.fd = -1};
    int rc = pc_file_open(&f, path, err);
    if (rc == 0)
        rc = pc_sniff(&f, kind, err);
    pc_file_close(&f);
    return rc;
}

int pc_vocabulary_open(const char *path, struct pc_tokenizer **out, struct paco_error *err)
{
    enum pc_file_kind kind = PC_FILE_UNKNOWN;
    *out = NULL;
    if (pc_path_is_dir(path))
        return open_dir(path, out, err);
    int rc = kind_of(path, &kind, err);
    if (rc < 0)
        return rc;
    if (kind == PC_FILE_GGUF)
        return pc_vocab_gguf_open(path, out, err);
    if (kind == PC_FILE_JSON || pc_ends_with(path, ".json"))
        return pc_vocab_json_open(path, NULL, out, err);
    return pc_vocab_is_tiktoken(path) ? pc_vocab_tiktoken_open(path, out, err)
                                      : pc_vocab_spm_open(path, NULL, out, err);
}

/* ---- chat templates ---- */

/* A string, or since 4.38 a list of {"name", "template"}, of which "default" is the one. */
static const json_t *default_template(const json_t *v)
{
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *item = json_array_get(v, i);
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && strcmp(name, "default") == 0)
            return json_object_get(item, "template");
    }
    return v;
}

static int template_of_config(const char *path, char **out, struct paco_error *err)
{
    json_t *config = NULL;
    int rc = pc_json_read(path, PC_VOCAB_MAX_SIDE_FILE, &config, err);
    const json_t *v = default_template(json_object_get(config, "chat_template"));
    if (rc == 0 && json_is_string(v) && !(*out = pc_strdup(json_string_value(v))))
        rc = pc_error_mem(err, json_string_length(v), "a chat template");
    json_decref(config);
    return rc;
}

static int template_of_dir(const char *dir, char **out, struct paco_error *err)
{
    char *jinja = pc_path_join(dir, "chat_template.jinja"),
         *config = pc_path_join(dir, "tokenizer_config.json");
    struct pc_buf text;
    pc_buf_init(&text, PC_VOCAB_MAX_SIDE_FILE);
    int rc = jinja && config ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0 && pc_path_exists(jinja)) {
        rc = pc_file_slurp(jinja, PC_VOCAB_MAX_SIDE_FILE, &text, err);
        if (rc == 0 && !(*out = pc_buf_detach(&text)))
            rc = pc_error_mem(err, 1, "a chat template");
    } else if (rc == 0 && pc_path_exists(config)) {
        rc = template_of_config(config, out, err);
    }
    pc_buf_release(&text);
    pc_free(jinja);
    pc_free(config);
    return rc;
}

int pc_vocabulary_chat_template(const char *path, char **out, struct paco_error *err)
{
    enum pc_file_kind kind = PC_FILE_UNKNOWN;
    *out = NULL;
    if (pc_path_is_dir(path))
        return template_of_dir(path, out, err);
    int rc = kind_of(path, &kind, err);
    return rc == 0 && kind == PC_FILE_GGUF ? pc_vocab_gguf_chat_template(path, out, err) : rc;
}
