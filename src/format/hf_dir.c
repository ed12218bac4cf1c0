// SPDX-License-Identifier: Apache-2.0
#include "format/hf_dir.h"

#include "base/file.h"
#include "base/json_pull.h"
#include "format/gguf.h"
#include "format/merge.h"
#include "format/safetensors.h"
#include "format/sniff.h"
#include "format/torch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In Transformers' order of preference. */
static const struct {
    const char *name;
    bool is_index;
} g_weights[] = {
    {"model.safetensors", false},
    {"model.safetensors.index.json", true},
    {"pytorch_model.bin", false},
    {"pytorch_model.bin.index.json", true},
};
enum { N_WEIGHTS = sizeof g_weights / sizeof *g_weights };

typedef int reader(const char *path, struct pc_checkpoint **out, struct paco_error *err);

/* A name that promises a kind gets that kind's reader and its words for what is wrong; else the content
 * decides. */
static reader *reader_of(const char *path, enum pc_file_kind kind)
{
    if (pc_ends_with(path, ".safetensors"))
        return pc_safetensors_open;
    if (pc_ends_with(path, ".gguf"))
        return pc_gguf_open;
    if (pc_ends_with(path, ".bin") || pc_ends_with(path, ".pt") || pc_ends_with(path, ".pth"))
        return pc_torch_open;
    switch (kind) {
    case PC_FILE_SAFETENSORS: return pc_safetensors_open;
    case PC_FILE_GGUF: return pc_gguf_open;
    case PC_FILE_ZIP:
    case PC_FILE_PICKLE: return pc_torch_open;
    default: return NULL;
    }
}

int pc_file_open_checkpoint(const char *path, struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_file f;
    enum pc_file_kind kind = PC_FILE_UNKNOWN;
    *out = NULL;
    int rc = pc_file_open(&f, path, err);
    if (rc < 0)
        return rc;
    rc = pc_sniff(&f, &kind, err);
    reader *open_file = reader_of(path, kind);
    if (rc == 0 && !open_file) {
        pc_sniff_refuse(&f, kind, "a safetensors, PyTorch or GGUF file", err);
        rc = PACO_EFORMAT;
    }
    pc_file_close(&f);
    return rc < 0 ? rc : open_file(path, out, err);
}

static int find_weights(const char *dir, char **path)
{
    for (int i = 0; i < N_WEIGHTS; i++) {
        *path = pc_path_join(dir, g_weights[i].name);
        if (!*path || pc_path_exists(*path))
            return i;
        pc_free(*path);
    }
    *path = NULL;
    return -1;
}

const char *pc_hf_weights_name(const char *dir)
{
    char *path;
    int i = find_weights(dir, &path);
    pc_free(path);
    return i < 0 ? NULL : g_weights[i].name;
}

/* What is in a directory without weights, for the message. */
static int no_weights(const char *dir, struct paco_error *err)
{
    char **names = NULL;
    size_t n = 0;
    int rc = pc_dir_list(dir, &names, &n, err);
    if (rc < 0)
        return rc;
    const char *gguf = NULL, *shard = NULL, *meta = NULL, *adapter = NULL, *other = NULL;
    for (size_t i = 0; i < n; i++) {
        const char **slot = pc_ends_with(names[i], ".gguf")                ? &gguf
                            : strncmp(names[i], "adapter_model.", 14) == 0 ? &adapter
                            : strncmp(names[i], "consolidated.", 13) == 0  ? &meta
                            : strstr(names[i], "-00001-of-")               ? &shard
                            : pc_ends_with(names[i], ".safetensors") || pc_ends_with(names[i], ".bin")
                                ? &other
                                : NULL;
        if (slot && !*slot)
            *slot = names[i];
    }
    const char *wanted = "no model.safetensors, pytorch_model.bin or index of shards in this directory";
    if (shard)
        pc_error_set(
            err, PACO_ENOENT, "%s; '%s' looks like a shard whose index file is missing", wanted, shard);
    else if (gguf)
        pc_error_set(err, PACO_ENOENT, "%s; did you mean '%s' in it?", wanted, gguf);
    else if (adapter)
        pc_error_set(err, PACO_ENOENT, "%s; '%s' makes it a LoRA adapter, which needs its base model", wanted,
            adapter);
    else if (meta)
        pc_error_set(err, PACO_ENOENT, "%s; '%s' is in Meta's format, whose params.json is missing here",
            wanted, meta);
    else if (other)
        pc_error_set(err, PACO_ENOENT, "%s; did you mean the file '%s' in it?", wanted, other);
    else
        pc_error_set(err, PACO_ENOENT, "%s (%zu other files)", wanted, n);
    pc_error_path(err, dir);
    pc_names_free(names, n);
    return PACO_ENOENT;
}

/* A tensor of the weight map. */
struct mapped {
    const char *name; /* view into the index's arena */
    uint32_t i_file;
};

struct index {
    const char *dir;
    char *path;
    struct pc_arena names;
    struct mapped *tensors;
    size_t n, capacity;
    struct pc_map by_name; /* in tensors */
    const char **files;    /* distinct file names, as they come; views into names */
    uint32_t n_files;
    struct pc_map by_file; /* in files */
    uint32_t *order;       /* files sorted by name */
};

/* The number of a file, added when it is new. */
static int add_file(struct index *x, const char *tensor, const struct pc_json_pull *json, uint32_t *i_file,
    struct paco_error *err)
{
    const char *name = json->text;
    if (json->token != PC_JSON_STRING)
        return pc_error_set(err, PACO_EFORMAT,
            "\"weight_map\": tensor '%s' is in %s where a file name is expected", tensor,
            pc_json_token_name(json->token));
    if (strlen(name) != json->len || !pc_path_is_plain(name))
        return pc_error_set(err, PACO_EFORMAT,
            "\"weight_map\": tensor '%s' is in '%s', which is no plain file name", tensor, name);
    if (pc_map_get(&x->by_file, name, json->len, i_file))
        return 0;
    if (x->n_files == PC_HF_MAX_SHARDS)
        return pc_error_set(err, PACO_ELIMIT, "\"weight_map\" names more than %d files", PC_HF_MAX_SHARDS);
    *i_file = x->n_files;
    name = pc_arena_strndup(&x->names, name, json->len);
    if (!name || pc_map_add(&x->by_file, name, json->len, x->n_files) < 0)
        return pc_error_mem(err, json->len, "the names of shards");
    x->files[x->n_files++] = name;
    return 0;
}

static int add_mapped(struct index *x, const char *name, size_t len, struct paco_error *err)
{
    if (x->n == PC_MAX_TENSORS)
        return pc_error_set(err, PACO_ELIMIT, "lists more than %d tensors", PC_MAX_TENSORS);
    if (pc_grow(&x->tensors, &x->capacity, x->n, sizeof *x->tensors, "an index of shards", err) < 0)
        return PACO_EMEM;
    name = pc_arena_strndup(&x->names, name, len);
    if (!name || pc_map_add(&x->by_name, name, len, (uint32_t)x->n) < 0)
        return pc_error_mem(err, len, "an index of shards");
    x->tensors[x->n++] = (struct mapped){.name = name};
    return 0;
}

static int read_weight_map(struct index *x, struct pc_json_pull *json, struct paco_error *err)
{
    int rc = pc_json_next(json, err);
    if (rc >= 0 && rc != PC_JSON_OBJECT)
        return pc_error_set(err, PACO_EFORMAT, "\"weight_map\" is %s where an object is expected",
            pc_json_token_name(json->token));
    while (rc >= 0 && (rc = pc_json_next(json, err)) == PC_JSON_KEY) {
        rc = add_mapped(x, json->text, json->len, err);
        if (rc == 0)
            rc = pc_json_next(json, err);
        if (rc >= 0)
            rc = add_file(x, x->tensors[x->n - 1].name, json, &x->tensors[x->n - 1].i_file, err);
    }
    if (rc < 0)
        return pc_error_at(err, x->path, json->at), rc;
    return 0;
}

static int read_members(struct index *x, struct pc_json_pull *json, struct paco_error *err)
{
    bool has_map = false;
    int rc = pc_json_next(json, err);
    if (rc >= 0 && rc != PC_JSON_OBJECT)
        return pc_error_set(
            err, PACO_EFORMAT, "holds %s where a JSON object is expected", pc_json_token_name(json->token));
    while (rc >= 0 && (rc = pc_json_next(json, err)) == PC_JSON_KEY) {
        if (strcmp(json->text, "weight_map") == 0) {
            has_map = true;
            rc = read_weight_map(x, json, err);
        } else if ((rc = pc_json_next(json, err)) >= 0) {
            rc = pc_json_skip(json, err);
        }
    }
    if (rc >= 0)
        rc = pc_json_next(json, err); // nothing but space may follow
    if (rc < 0)
        return rc;
    if (!has_map)
        return pc_error_set(
            err, PACO_EFORMAT, "\"weight_map\" is missing; it says which shard a tensor is in");
    return x->n_files ? 0 : pc_error_set(err, PACO_EFORMAT, "\"weight_map\" is empty");
}

static int read_json(struct index *x, struct paco_error *err)
{
    struct pc_file file = {.fd = -1};
    struct pc_json_pull json = {.file = NULL};
    int rc = pc_file_open(&file, x->path, err);
    if (rc == 0 && file.size > PC_HF_MAX_INDEX)
        rc = pc_error_set(
            err, PACO_ELIMIT, "is %" PRIu64 " bytes; at most %d are read", file.size, PC_HF_MAX_INDEX);
    if (rc == 0)
        rc = pc_json_pull_file(&json, &file, 0, file.size, err);
    if (rc == 0)
        rc = read_members(x, &json, err);
    pc_json_pull_release(&json);
    pc_file_close(&file);
    return rc;
}

static int by_file_name(const void *a, const void *b, void *files)
{
    const char *const *names = files;
    return strcmp(names[*(const uint32_t *)a], names[*(const uint32_t *)b]);
}

static int read_index(struct index *x, struct paco_error *err)
{
    x->files = pc_alloc(PC_HF_MAX_SHARDS, sizeof *x->files);
    x->order = pc_alloc(PC_HF_MAX_SHARDS, sizeof *x->order);
    if (!x->files || !x->order)
        return pc_error_mem(err, PC_HF_MAX_SHARDS * sizeof *x->files, "the names of shards");
    int rc = read_json(x, err);
    for (uint32_t i = 0; i < x->n_files; i++)
        x->order[i] = i;
    qsort_r(x->order, x->n_files, sizeof *x->order, by_file_name, (void *)x->files);
    return rc;
}

static int check_present(const struct index *x, struct paco_error *err)
{
    size_t n_missing = 0;
    const char *first = NULL;
    for (uint32_t i = 0; i < x->n_files; i++) {
        const char *name = x->files[x->order[i]];
        char *path = pc_path_join(x->dir, name);
        if (!path)
            return pc_error_mem(err, strlen(x->dir), "a path");
        if (!pc_path_exists(path) && n_missing++ == 0)
            first = name;
        pc_free(path);
    }
    if (n_missing)
        return pc_error_set(err, PACO_ENOENT,
            "%zu of the %u shards it names are missing, the first of them '%s'", n_missing, x->n_files,
            first);
    return 0;
}

static bool take_mapped(void *ctx, size_t i_part, const struct pc_tensor *t)
{
    const struct index *x = ctx;
    uint32_t i;
    bool mapped = pc_map_get(&x->by_name, t->name, strlen(t->name), &i);
    return !mapped || x->tensors[i].i_file == x->order[i_part];
}

static int check_mapped(const struct index *x, const struct pc_checkpoint *ck, struct paco_error *err)
{
    for (size_t i = 0; i < x->n; i++)
        if (!pc_checkpoint_find(ck, x->tensors[i].name))
            return pc_error_set(err, PACO_EFORMAT, "\"weight_map\": tensor '%s' is not in the shard '%s'",
                x->tensors[i].name, x->files[x->tensors[i].i_file]);
    return 0;
}

static int open_shards(const struct index *x, struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_checkpoint **parts = pc_alloc_zero(x->n_files, sizeof *parts);
    if (!parts)
        return pc_error_mem(err, x->n_files * sizeof *parts, "a table of shards");
    const char *kind = NULL;
    int rc = 0;
    size_t n = 0;
    while (rc == 0 && n < x->n_files) {
        char *path = pc_path_join(x->dir, x->files[x->order[n]]);
        rc = path ? pc_file_open_checkpoint(path, &parts[n], err)
                  : pc_error_mem(err, strlen(x->dir), "a path");
        pc_free(path);
        if (rc == 0)
            kind = parts[n++]->kind;
    }
    if (rc == 0)
        rc = pc_checkpoint_merge(kind, x->dir, parts, n, take_mapped, (void *)(uintptr_t)x, out, err);
    else
        while (n-- > 0)
            pc_checkpoint_close(parts[n]);
    pc_free(parts);
    return rc;
}

/* Takes path. */
static int open_index(const char *dir, char *path, struct pc_checkpoint **out, struct paco_error *err)
{
    struct index x = {.dir = dir, .path = path};
    int rc = read_index(&x, err);
    if (rc == 0)
        rc = check_present(&x, err);
    if (rc == 0)
        rc = open_shards(&x, out, err);
    if (rc == 0 && (rc = check_mapped(&x, *out, err)) < 0) {
        pc_checkpoint_close(*out);
        *out = NULL;
    }
    if (rc < 0)
        pc_error_path(err, path);
    pc_map_release(&x.by_file);
    pc_map_release(&x.by_name);
    pc_free(x.files);
    pc_free(x.order);
    pc_free(x.tensors);
    pc_arena_release(&x.names);
    return rc;
}

int pc_hf_open(const char *dir, struct pc_checkpoint **out, struct paco_error *err)
{
    char *path;
    *out = NULL;
    int i = find_weights(dir, &path);
    if (i < 0)
        return no_weights(dir, err);
    if (!path)
        return pc_error_mem(err, strlen(dir), "a path");
    int rc =
        g_weights[i].is_index ? open_index(dir, path, out, err) : pc_file_open_checkpoint(path, out, err);
    pc_free(path);
    return rc;
}

int pc_checkpoint_open(const char *path, struct pc_checkpoint **out, struct paco_error *err)
{
    return pc_path_is_dir(path) ? pc_hf_open(path, out, err) : pc_file_open_checkpoint(path, out, err);
}
