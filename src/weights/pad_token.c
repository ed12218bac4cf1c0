// SPDX-License-Identifier: Apache-2.0
#include "weights/pad_token.h"

#include "base/file.h"
#include "base/memory.h"

#include <string.h>

enum { MAX_FILE = 1 << 28 };

/* An object member whatever came before; false when memory is out. */
static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static bool add_token(json_t *root, const char *pad, int64_t id)
{
    return set(root, pad, json_integer(id));
}

static bool name_token(json_t *root, const char *pad, int64_t id)
{
    (void)id;
    return set(root, "pad_token", json_string(pad));
}

static bool configure_token(json_t *root, const char *pad, int64_t id)
{
    if (!json_object_get(root, "tokenizer_class") &&
        !set(root, "tokenizer_class", json_string("LlamaTokenizer")))
        return false;
    return name_token(root, pad, id);
}

static bool list_token(json_t *root, const char *pad, int64_t id)
{
    json_t *tokens = json_object_get(root, "added_tokens");
    if (!json_is_array(tokens)) {
        tokens = json_array();
        if (!set(root, "added_tokens", tokens))
            return false;
    }
    return json_array_append_new(
               tokens, json_pack("{s:I,s:s,s:b,s:b,s:b,s:b,s:b}", "id", (json_int_t)id, "content", pad,
                           "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1)) == 0;
}

static const struct {
    const char *name;
    bool always; /* is made where there is none */
    bool (*change)(json_t *root, const char *pad, int64_t id);
} g_files[PC_PAD_FILES] = {{"added_tokens.json", true, add_token},
    {"special_tokens_map.json", true, name_token}, {"tokenizer_config.json", true, configure_token},
    {"tokenizer.json", false, list_token}};

static int make_file(
    struct pc_pad_files *out, size_t i, const char *dir, const char *pad, int64_t id, struct paco_error *err)
{
    json_t *root = NULL;
    char *path = pc_path_join(dir, g_files[i].name);
    int rc = path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    bool exists = rc == 0 && pc_path_exists(path);
    if (exists)
        rc = pc_json_read(path, MAX_FILE, &root, err);
    pc_free(path);
    if (rc < 0 || (!exists && !g_files[i].always))
        return rc;
    struct pc_buf *text = &out->texts[i];
    root = root ? root : json_object();
    pc_buf_init(text, MAX_FILE);
    if (!g_files[i].change(root, pad, id))
        rc = pc_error_mem(err, 4096, g_files[i].name);
    if (rc == 0) {
        pc_json_write(text, root, PC_JSON_PRETTY);
        pc_buf_putc(text, '\n');
        rc = pc_buf_check(text, g_files[i].name, err);
    }
    if (rc == 0)
        out->files[out->n_files++] = (struct pc_write_file){g_files[i].name, text->data, text->len};
    json_decref(root);
    return rc;
}

int pc_pad_files_make(
    const char *dir, const char *pad, int64_t id, struct pc_pad_files *out, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < PC_PAD_FILES && rc == 0; i++)
        rc = make_file(out, i, dir, pad, id, err);
    return rc;
}

void pc_pad_files_release(struct pc_pad_files *f)
{
    for (size_t i = 0; i < PC_PAD_FILES; i++)
        pc_buf_release(&f->texts[i]);
    *f = (struct pc_pad_files){.n_files = 0};
}
