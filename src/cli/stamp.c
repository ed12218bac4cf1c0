// SPDX-License-Identifier: Apache-2.0
#include "cli/stamp.h"

#include "base/file.h"
#include "base/map.h"
#include "base/memory.h"
#include "weights/source.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static void mix(uint64_t *stamp, const char *name, const struct stat *st)
{
    const uint64_t facts[] = {pc_hash_bytes(name, strlen(name)), st->st_dev, st->st_ino,
        (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec,
        (uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        *stamp = pc_hash_u64(facts[i] + *stamp, *stamp);
}

static int stamp_folder(const char *dir, uint64_t *stamp, struct paco_error *err)
{
    char **names = NULL;
    size_t n = 0;
    int rc = pc_dir_list(dir, &names, &n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        char *path = pc_path_join(dir, names[i]);
        struct stat st;
        if (!path)
            rc = pc_error_mem(err, strlen(dir), "a path");
        else if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) /* one that just went is none */
            mix(stamp, names[i], &st);
        pc_free(path);
    }
    pc_names_free(names, n);
    return rc;
}

/* A .gguf file is all there is to it; beside another lie configuration and tokenizer. */
static int stamp_path(char *path, uint64_t *stamp, struct paco_error *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return pc_error_os(err, errno, "%s", path);
    if (S_ISDIR(st.st_mode))
        return stamp_folder(path, stamp, err);
    mix(stamp, path, &st);
    char *slash = strrchr(path, '/');
    if (pc_ends_with(path, ".gguf"))
        return 0;
    if (!slash)
        return stamp_folder(".", stamp, err);
    *slash = '\0';
    return stamp_folder(*path ? path : "/", stamp, err);
}

int pc_stamp(const char *name, uint64_t *stamp, struct paco_error *err)
{
    char *path = name ? pc_source_find(name, err) : NULL;
    if (!path)
        return name ? PACO_ENOENT : 0;
    int rc = stamp_path(path, stamp, err);
    pc_free(path);
    return rc;
}
