// SPDX-License-Identifier: Apache-2.0
#include "weights/hub_cache.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REF = 256 };

static bool plain_part(const char *s, size_t len)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    return len > 0 && len <= 96 && strspn(s, allowed) >= len && s[0] != '.';
}

/* "main", a commit, or a ref with slashes: "refs/pr/1". */
static bool is_revision(const char *revision)
{
    char part[MAX_REF];
    for (size_t len;; revision += len + 1) {
        len = strcspn(revision, "/");
        if (len >= sizeof part)
            return false;
        memcpy(part, revision, len);
        part[len] = '\0';
        if (!pc_path_is_plain(part))
            return false;
        if (!revision[len])
            return true;
    }
}

bool pc_hub_is_name(const char *name)
{
    size_t len = strcspn(name, "@");
    const char *slash = memchr(name, '/', len);
    if (name[len] == '@' && !is_revision(name + len + 1))
        return false;
    if (!slash)
        return plain_part(name, len);
    return plain_part(name, (size_t)(slash - name)) &&
           plain_part(slash + 1, len - (size_t)(slash - name) - 1);
}

static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

char *pc_hub_cache_dir(void)
{
    const char *dir = env("HF_HUB_CACHE");
    if (!dir)
        dir = env("HUGGINGFACE_HUB_CACHE");
    if (dir)
        return pc_strdup(dir);
    if ((dir = env("HF_HOME")))
        return pc_path_join(dir, "hub");
    if ((dir = env("XDG_CACHE_HOME")))
        return pc_path_join(dir, "huggingface/hub");
    return (dir = env("HOME")) ? pc_path_join(dir, ".cache/huggingface/hub") : NULL;
}

char *pc_hub_cache_model_dir(const char *hub, const char *name, const char **revision)
{
    char folder[256] = "models--";
    size_t w = strlen(folder), len = strcspn(name, "@");
    for (size_t i = 0; i < len && w + 3 < sizeof folder; i++) {
        if (name[i] == '/')
            folder[w++] = '-';
        folder[w++] = name[i] == '/' ? '-' : name[i];
    }
    folder[w] = '\0';
    *revision = name[len] == '@' ? name + len + 1 : "main";
    return pc_path_join(hub, folder);
}

static char *join3(const char *a, const char *b, const char *c)
{
    char *ab = pc_path_join(a, b), *abc = ab ? pc_path_join(ab, c) : NULL;
    pc_free(ab);
    return abc;
}

/* The commit a ref names, into hash; false when there is no such ref or it holds nonsense. */
static bool read_ref(const char *model, const char *revision, char hash[MAX_REF])
{
    char *path = join3(model, "refs", revision);
    struct pc_buf b = {0};
    bool found = path && pc_file_slurp(path, MAX_REF - 1, &b, NULL) == 0 && b.len > 0;
    hash[0] = '\0';
    if (found)
        snprintf(hash, MAX_REF, "%.*s", (int)strcspn(b.data, " \t\r\n"), b.data);
    pc_buf_release(&b);
    pc_free(path);
    return found && pc_path_is_plain(hash);
}

/* The only snapshot, when there is exactly one. */
static bool only_snapshot(const char *model, char hash[MAX_REF])
{
    char *path = pc_path_join(model, "snapshots"), **names = NULL;
    size_t n = 0;
    bool one = path && pc_path_is_dir(path) && pc_dir_list(path, &names, &n, NULL) == 0 && n == 1;
    if (one)
        snprintf(hash, MAX_REF, "%s", names[0]);
    pc_names_free(names, n);
    pc_free(path);
    return one;
}

static char *find_snapshot(const char *model, const char *name, const char *revision, struct paco_error *err)
{
    char hash[MAX_REF];
    bool default_revision = strcmp(revision, "main") == 0;
    if (!read_ref(model, revision, hash) && !(default_revision && only_snapshot(model, hash)))
        snprintf(hash, sizeof hash, "%s", revision);
    char *path = join3(model, "snapshots", hash);
    if (!path) {
        pc_error_mem(err, strlen(model), "a path");
        return NULL;
    }
    if (pc_path_is_plain(hash) && pc_path_is_dir(path)) // a ref with slashes is no snapshot's name
        return path;
    pc_free(path);
    pc_error_set(
        err, PACO_ENOENT, "'%s' is in the Hugging Face cache, but not its revision '%s'", name, revision);
    pc_error_path(err, model);
    return NULL;
}

char *pc_hub_cache_find(const char *name, struct paco_error *err)
{
    const char *revision;
    char *found = NULL, *hub = pc_hub_cache_dir(), *model = NULL;
    if (!hub) {
        pc_error_set(err, PACO_ENOENT, "no Hugging Face cache: neither HF_HOME nor HOME is set");
        return NULL;
    }
    model = pc_hub_cache_model_dir(hub, name, &revision);
    if (!model)
        pc_error_mem(err, strlen(hub), "a path");
    else if (!pc_path_is_dir(model))
        pc_error_set(err, PACO_ENOENT, "'%s' is not in the Hugging Face cache (%s)", name, hub);
    else
        found = find_snapshot(model, name, revision, err);
    pc_free(model);
    pc_free(hub);
    return found;
}
