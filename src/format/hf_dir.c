// SPDX-License-Identifier: Apache-2.0
#include "format/hf_dir.h"

#include "base/file.h"
#include "base/json.h"
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
        pc_error_set(err, PACO_ENOENT, "%s; '%s' is in Meta's format: convert it to Hugging Face's first",
            wanted, meta);
    else if (other)
        pc_error_set(err, PACO_ENOENT, "%s; did you mean the file '%s' in it?", wanted, other);
    else
        pc_error_set(err, PACO_ENOENT, "%s (%zu other files)", wanted, n);
    pc_error_path(err, dir);
    pc_names_free(names, n);
    return PACO_ENOENT;
}

struct index {
    const char *dir;
    char *path;
    json_t *root;
    json_t *map;        /* borrowed from root: tensor name to file name */
    const char **files; /* distinct file names, sorted; views into root */
    size_t n_files;
    struct pc_map by_file;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_file(struct index *x, const char *tensor, const json_t *v, struct paco_error *err)
{
    const char *name = json_string_value(v);
    if (!name)
        return pc_error_set(err, PACO_EFORMAT,
            "\"weight_map\": tensor '%s' is in %s where a file name is expected", tensor, pc_json_kind(v));
    if (strlen(name) != json_string_length(v) || !pc_path_is_plain(name))
        return pc_error_set(err, PACO_EFORMAT,
            "\"weight_map\": tensor '%s' is in '%s', which is no plain file name", tensor, name);
    int added = pc_map_add(&x->by_file, name, strlen(name), (uint32_t)x->n_files);
    if (added < 0)
        return pc_error_mem(err, strlen(name), "the names of shards");
    if (added == 0)
        return 0;
    if (x->n_files == PC_HF_MAX_SHARDS)
        return pc_error_set(err, PACO_ELIMIT, "\"weight_map\" names more than %d files", PC_HF_MAX_SHARDS);
    x->files[x->n_files++] = name;
    return 0;
}

static int read_index(struct index *x, struct paco_error *err)
{
    struct pc_buf b;
    int rc = pc_file_slurp(x->path, PC_HF_MAX_INDEX, &b, err);
    if (rc == 0 && pc_json_count_values(b.data ? b.data : "", b.len) > 2 * PC_MAX_TENSORS)
        rc = pc_error_set(err, PACO_ELIMIT, "lists more than %d tensors", PC_MAX_TENSORS);
    if (rc == 0)
        rc = pc_json_parse(b.data ? b.data : "", b.len, x->path, 0, &x->root, err);
    pc_buf_release(&b);
    if (rc < 0)
        return rc;
    x->map = json_object_get(x->root, "weight_map");
    if (!json_is_object(x->map))
        return pc_error_set(
            err, PACO_EFORMAT, "\"weight_map\" is %s where an object is expected", pc_json_kind(x->map));
    x->files = pc_alloc(PC_HF_MAX_SHARDS, sizeof *x->files);
    if (!x->files)
        return pc_error_mem(err, PC_HF_MAX_SHARDS * sizeof *x->files, "the names of shards");
    const char *tensor;
    json_t *file;
    json_object_foreach(x->map, tensor, file) if ((rc = check_file(x, tensor, file, err)) < 0) return rc;
    if (x->n_files == 0)
        return pc_error_set(err, PACO_EFORMAT, "\"weight_map\" is empty");
    qsort(x->files, x->n_files, sizeof *x->files, by_name);
    return 0;
}

static int check_present(const struct index *x, struct paco_error *err)
{
    size_t n_missing = 0;
    const char *first = NULL;
    for (size_t i = 0; i < x->n_files; i++) {
        char *path = pc_path_join(x->dir, x->files[i]);
        if (!path)
            return pc_error_mem(err, strlen(x->dir), "a path");
        if (!pc_path_exists(path) && n_missing++ == 0)
            first = x->files[i];
        pc_free(path);
    }
    if (n_missing)
        return pc_error_set(err, PACO_ENOENT,
            "%zu of the %zu shards it names are missing, the first of them '%s'", n_missing, x->n_files,
            first);
    return 0;
}

static bool take_mapped(void *ctx, size_t i_part, const struct pc_tensor *t)
{
    const struct index *x = ctx;
    const char *file = json_string_value(json_object_get(x->map, t->name));
    return !file || strcmp(file, x->files[i_part]) == 0;
}

static int check_mapped(const struct index *x, const struct pc_checkpoint *ck, struct paco_error *err)
{
    const char *tensor;
    json_t *file;
    json_object_foreach(x->map, tensor, file) if (!pc_checkpoint_find(ck, tensor)) return pc_error_set(err,
        PACO_EFORMAT, "\"weight_map\": tensor '%s' is not in the shard '%s'", tensor,
        json_string_value(file));
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
        char *path = pc_path_join(x->dir, x->files[n]);
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
    pc_free(x.files);
    json_decref(x.root);
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

bool pc_hf_total_size(const char *dir, uint64_t *total_size)
{
    char *path;
    int64_t size = -1;
    json_t *root = NULL;
    int i = find_weights(dir, &path);
    if (i >= 0 && path && g_weights[i].is_index && pc_json_read(path, PC_HF_MAX_INDEX, &root, NULL) == 0)
        pc_json_opt_i64(json_object_get(root, "metadata"), "total_size", 0, INT64_MAX, &size, NULL);
    json_decref(root);
    pc_free(path);
    *total_size = (uint64_t)size;
    return size >= 0;
}
