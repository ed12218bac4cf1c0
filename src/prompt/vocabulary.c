// SPDX-License-Identifier: Apache-2.0
/* Which adapter a path wants. A file alone is read alone; a folder brings its side files. */
#include "prompt/vocabulary.h"

#include "base/file.h"
#include "base/memory.h"
#include "format/sniff.h"
#include "prompt/vocab_sources.h"

#include <string.h>

int pc_vocab_build(void *ctx, const struct pc_vocab *vocab, struct paco_error *err)
{
    struct pc_tokenizer **out = ctx;
    *out = pc_tokenizer_new(vocab, err);
    return *out ? 0 : err->code;
}

static int read_model(
    const char *model, const struct pc_vocab_side *side, pc_vocab_use use, void *ctx, struct paco_error *err)
{
    return pc_vocab_is_tiktoken(model) ? pc_vocab_tiktoken_read(model, use, ctx, err)
                                       : pc_vocab_spm_read(model, side, use, ctx, err);
}

/* A tokenizer.model that is of another kind (tiktoken's, for one) is no answer when there is a
 * tokenizer.json. */
static int read_scored(const char *json, const char *model, const struct pc_vocab_side *side,
    pc_vocab_use use, void *ctx, struct paco_error *err)
{
    struct paco_error why = {0};
    int rc = pc_vocab_spm_read(model, side, use, ctx, &why);
    if (rc == PACO_EFORMAT || rc == PACO_EUNSUPPORTED)
        return pc_vocab_json_read(json, side, use, ctx, err);
    if (rc < 0 && err)
        *err = why;
    return rc;
}

static int read_dir(const char *dir, bool scores, pc_vocab_use use, void *ctx, struct paco_error *err)
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
            rc = scores && pc_path_exists(json) && pc_path_exists(model)
                     ? read_scored(json, model, &side, use, ctx, err)
                 : pc_path_exists(json) ? pc_vocab_json_read(json, &side, use, ctx, err)
                                        : read_model(model, &side, use, ctx, err);
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

int pc_vocab_read(const char *path, bool scores, pc_vocab_use use, void *ctx, struct paco_error *err)
{
    enum pc_file_kind kind = PC_FILE_UNKNOWN;
    if (pc_path_is_dir(path))
        return read_dir(path, scores, use, ctx, err);
    int rc = kind_of(path, &kind, err);
    if (rc < 0)
        return rc;
    if (kind == PC_FILE_GGUF)
        return pc_vocab_gguf_read(path, use, ctx, err);
    if (kind == PC_FILE_JSON || pc_ends_with(path, ".json"))
        return pc_vocab_json_read(path, NULL, use, ctx, err);
    return read_model(path, NULL, use, ctx, err);
}

int pc_vocabulary_open(const char *path, struct pc_tokenizer **out, struct paco_error *err)
{
    *out = NULL;
    return pc_vocab_read(path, false, pc_vocab_build, out, err);
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
