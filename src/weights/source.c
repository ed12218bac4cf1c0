// SPDX-License-Identifier: Apache-2.0
#include "weights/source.h"

#include "base/file.h"
#include "base/options.h"
#include "format/gguf.h"
#include "format/hf_dir.h"
#include "weights/gguf_names.h"
#include "weights/hub_cache.h"
#include "weights/meta_layout.h"
#include "weights/packed_diff.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What pc_source does not show: the checkpoints under src->ck, in the order of their making. */
struct pc_source_parts {
    struct pc_checkpoint *gguf, *renamed, *packed;
    struct pc_meta *meta;
    char *vocabulary;
};

/* The folder of path as an owned string. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return pc_strdup(".");
    return slash == path ? pc_strdup("/") : pc_strndup(path, (size_t)(slash - path));
}

/* The name beside path that is most like it, owned, or NULL. */
static char *similar_sibling(const char *path)
{
    const char *base = pc_path_base(path);
    char *folder = folder_of(path), **names = NULL, *best = NULL;
    size_t n = 0;
    int best_distance = (int)strlen(base) / 4 + 1;
    if (folder && *base && pc_path_is_dir(folder) && pc_dir_list(folder, &names, &n, NULL) == 0)
        for (size_t i = 0; i < n; i++) {
            int distance = names[i][0] == '.' ? best_distance + 1 : pc_edit_distance(base, names[i]);
            if (distance <= best_distance) {
                pc_free(best);
                best = base == path ? pc_strdup(names[i]) : pc_path_join(folder, names[i]);
                best_distance = distance - 1;
            }
        }
    pc_names_free(names, n);
    pc_free(folder);
    return best;
}

/* cache holds what the search in the cache said, if there was one. */
static void not_found(const char *name, const struct paco_error *cache, struct paco_error *err)
{
    char *similar = similar_sibling(name);
    pc_error_set(err, PACO_ENOENT, "no model '%s': there is no such directory or file%s%.500s%s%s%s%s", name,
        cache->code ? "; " : "", cache->message,
        cache->code && strchr(name, '/') ? "; paco pull would get it from the hub" : "",
        similar ? " (did you mean '" : "", similar ? similar : "", similar ? "'?)" : "");
    pc_free(similar);
}

char *pc_source_find(const char *name, struct paco_error *err)
{
    struct paco_error cache = {0};
    char *path;
    if (pc_path_exists(name)) {
        path = pc_strdup(name);
        if (!path)
            pc_error_mem(err, strlen(name), "a path");
        return path;
    }
    path = pc_hub_is_name(name) ? pc_hub_cache_find(name, &cache) : NULL;
    if (!path)
        not_found(name, &cache, err);
    return path;
}

/* Takes gguf. A file that is no model paco runs can still be looked at, under its own names. */
static int open_gguf(
    struct pc_source *src, struct pc_checkpoint *gguf, bool want_config, struct paco_error *err)
{
    src->kind = PC_SOURCE_GGUF;
    src->vocabulary = src->path;
    src->gguf = src->stored = gguf;
    int rc = pc_config_from_gguf(gguf, &src->config, err);
    src->has_config = rc == 0;
    if (rc == PACO_EUNSUPPORTED && !want_config) {
        *err = (struct paco_error){0};
        src->ck = gguf;
        return 0;
    }
    src->parts = pc_alloc_zero(1, sizeof *src->parts);
    if (!src->parts) {
        pc_checkpoint_close(gguf);
        return pc_error_mem(err, sizeof *src->parts, "a model");
    }
    src->parts->gguf = gguf;
    return rc < 0 ? rc : pc_gguf_as_hf(gguf, &src->config, &src->parts->renamed, &src->ck, err);
}

static int open_meta(struct pc_source *src, struct paco_error *err)
{
    src->kind = PC_SOURCE_META;
    src->parts = pc_alloc_zero(1, sizeof *src->parts);
    if (!src->parts)
        return pc_error_mem(err, sizeof *src->parts, "a model");
    src->parts->vocabulary = pc_meta_vocabulary(src->dir);
    if (src->parts->vocabulary)
        src->vocabulary = src->parts->vocabulary;
    int rc = pc_meta_open(src->dir, &src->config, &src->parts->meta, &src->ck, err);
    src->has_config = rc == 0;
    src->stored = rc == 0 ? pc_meta_stored(src->parts->meta) : NULL;
    return rc;
}

/* A diff whose matrices are packed is shown unpacked. */
static int unpack(struct pc_source *src, struct pc_checkpoint *packed, struct paco_error *err)
{
    src->parts = pc_alloc_zero(1, sizeof *src->parts);
    if (!src->parts) {
        pc_checkpoint_close(packed);
        return pc_error_mem(err, sizeof *src->parts, "a model");
    }
    src->parts->packed = packed;
    src->stored = packed;
    int rc = pc_diff_unpack(packed, &src->ck, err);
    if (rc < 0)
        pc_error_path(err, src->path);
    return rc;
}

static int read_config(struct pc_source *src, struct paco_error *err)
{
    char *path = pc_path_join(src->dir, "config.json");
    if (!path)
        return pc_error_mem(err, strlen(src->dir), "a path");
    int rc = 0;
    if (pc_path_exists(path)) {
        rc = pc_config_read(path, &src->config, err);
        src->has_config = rc == 0;
    }
    pc_free(path);
    return rc;
}

static int open_path(struct pc_source *src, bool want_config, struct paco_error *err)
{
    bool is_dir = pc_path_is_dir(src->path);
    src->kind = is_dir ? PC_SOURCE_DIR : PC_SOURCE_FILE;
    src->dir = is_dir ? pc_strdup(src->path) : folder_of(src->path);
    if (!src->dir)
        return pc_error_mem(err, strlen(src->path), "a path");
    src->vocabulary = src->dir;
    if (is_dir && pc_meta_is(src->dir))
        return open_meta(src, err);
    struct pc_checkpoint *ck;
    int rc = pc_checkpoint_open(src->path, &ck, err);
    if (rc < 0)
        return rc;
    if (pc_is_gguf(ck))
        return open_gguf(src, ck, want_config, err);
    if (pc_diff_is_packed(ck))
        rc = unpack(src, ck, err);
    else
        src->ck = ck;
    return rc == 0 && want_config ? read_config(src, err) : rc;
}

static int open_source(const char *name, bool want_config, struct pc_source *out, struct paco_error *err)
{
    struct pc_source src = {0};
    *out = src;
    struct paco_error own = {0};
    if (!err)
        err = &own;
    src.path = pc_source_find(name, err);
    int rc = src.path ? open_path(&src, want_config, err) : err->code;
    if (rc < 0)
        pc_source_close(&src);
    else
        *out = src;
    return rc;
}

int pc_source_open(const char *name, struct pc_source *out, struct paco_error *err)
{
    return open_source(name, true, out, err);
}

int pc_source_open_tensors(const char *name, struct pc_source *out, struct paco_error *err)
{
    return open_source(name, false, out, err);
}

bool pc_source_makes_files(const struct pc_source *src)
{
    return src->kind == PC_SOURCE_GGUF || src->kind == PC_SOURCE_META;
}

char *pc_source_name(const struct pc_source *src, char *out, size_t out_size)
{
    static const char cached[] = "/models--", snapshot[] = "/snapshots/";
    char real[PATH_MAX];
    if (!realpath(src->path, real))
        snprintf(real, sizeof real, "%s", src->path);
    char *model = strstr(real, cached), *end = model ? strstr(model, snapshot) : NULL;
    if (end) {
        *end = '\0';
        char *name = strstr(model + sizeof cached - 1, "--");
        snprintf(out, out_size, "%s", name ? name + 2 : model + sizeof cached - 1);
    } else {
        snprintf(out, out_size, "%s", pc_path_base(real));
    }
    return out;
}

void pc_source_close(struct pc_source *src)
{
    if (src->kind != PC_SOURCE_META)
        pc_checkpoint_close(src->ck);
    if (src->parts) {
        pc_meta_close(src->parts->meta);
        pc_free(src->parts->vocabulary);
        pc_checkpoint_close(src->parts->packed);
        pc_checkpoint_close(src->parts->renamed);
        pc_checkpoint_close(src->parts->gguf);
        pc_free(src->parts);
    }
    pc_free(src->path);
    pc_free(src->dir);
    *src = (struct pc_source){0};
}
