// SPDX-License-Identifier: Apache-2.0
#include "train/training_files.h"

#include "base/disk.h"
#include "base/file.h"
#include "base/journal.h"
#include "base/memory.h"
#include "train/state.h"
#include "weights/manifest_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESERVED ".paco-reserved"

enum { MAX_MANIFEST = 1 << 28 };

static int fail(const char *path, const char *what, struct paco_error *err)
{
    int rc = pc_error_os(err, errno, "%s", what);
    pc_error_path(err, path);
    return rc;
}

int pc_training_directory(const char *dir, struct paco_error *err)
{
    char *path = pc_strdup(dir);
    if (!path)
        return pc_error_mem(err, strlen(dir), "a path");
    int rc = 0;
    for (char *slash = path; slash && rc == 0;) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = '\0';
        if (mkdir(path, 0777) < 0 && errno != EEXIST)
            rc = fail(path, "this directory cannot be made", err);
        if (slash)
            *slash = '/';
    }
    pc_free(path);
    return rc;
}

/* A limit on the length of one file is no lack of room: what is to come are several. */
static int resize(const char *path, uint64_t size, struct paco_error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666), rc = 0;
    if (fd < 0 || ftruncate(fd, 0) < 0)
        rc = fail(path, "disk space cannot be reserved", err);
    int failed = rc == 0 ? pc_disk_reserve(fd, size) : 0;
    if (failed && failed != EFBIG) {
        (void)!ftruncate(fd, 0);
        rc = pc_error_os(err, failed, "%.2f GB for the next checkpoint and the model cannot be reserved",
            (double)size * 1e-9);
        pc_error_path(err, path);
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

int pc_training_reserve(const char *dir, uint64_t size, struct paco_error *err)
{
    char *path = pc_path_join(dir, RESERVED);
    int rc = path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0 && size)
        rc = resize(path, size, err);
    if (rc == 0 && !size && unlink(path) < 0 && errno != ENOENT)
        rc = fail(path, "reserved disk space cannot be given back", err);
    pc_free(path);
    return rc;
}

static int remove_file(const char *dir, const char *name, struct paco_error *err)
{
    char *path = pc_path_join(dir, name);
    int rc = path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0 && pc_path_is_plain(name) && unlink(path) < 0 && errno != ENOENT)
        rc = fail(path, "a file of the earlier run cannot be removed", err);
    pc_free(path);
    return rc;
}

/* The files that a manifest of ours lists, those that make it a model first, and the manifest last. */
static int remove_model(const char *dir, struct paco_error *err)
{
    struct pc_manifest m = {0};
    char *path = pc_path_join(dir, PC_MANIFEST_NAME);
    int rc = path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0 && !pc_path_exists(path)) {
        pc_free(path);
        return 0;
    }
    if (rc == 0)
        rc = pc_manifest_read(path, &m, err);
    for (size_t i = 0; i < m.n_files && rc == 0; i++)
        rc = remove_file(dir, m.files[i].name, err);
    for (size_t i = 0; i < m.n_tensors && rc == 0; i++)
        if (i == 0 || strcmp(m.tensors[i].file, m.tensors[i - 1].file) != 0)
            rc = remove_file(dir, m.tensors[i].file, err);
    if (rc == 0)
        rc = remove_file(dir, PC_MANIFEST_NAME, err);
    pc_manifest_release(&m);
    pc_free(path);
    return rc;
}

static int remove_folder(const char *dir, const char *name, struct paco_error *err)
{
    char *path = pc_path_join(dir, name);
    int rc = path ? pc_dir_remove(path, err) : pc_error_mem(err, strlen(dir), "a path");
    pc_free(path);
    return rc;
}

int pc_training_clear(const char *dir, struct paco_error *err)
{
    struct pc_train_states found;
    int rc = remove_model(dir, err);
    if (rc == 0)
        rc = remove_folder(dir, PC_TRAINING_FINAL, err);
    if (rc == 0)
        rc = remove_folder(dir, PC_TRAINING_FINAL PC_JOURNAL_SUFFIX, err);
    if (rc < 0)
        return rc;
    rc = pc_train_states_find(dir, &found, err);
    for (size_t i = 0; i < found.n && rc == 0; i++)
        rc = pc_train_state_remove(found.v[i].dir, err);
    pc_train_states_release(&found);
    return rc;
}

/* Without one of these a folder is no model. */
static bool makes_a_model(const char *name)
{
    return strcmp(name, "config.json") == 0 || strcmp(name, "adapter_config.json") == 0;
}

static int sync_directory(const char *dir, struct paco_error *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    if (fd < 0 || fsync(fd) < 0)
        rc = fail(dir, "the directory cannot be synced", err);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int move_file(const char *from_dir, const char *to_dir, const char *name, struct paco_error *err)
{
    char *from = pc_path_join(from_dir, name), *to = pc_path_join(to_dir, name);
    int rc = from && to ? 0 : pc_error_mem(err, strlen(to_dir), "a path");
    if (rc == 0 && rename(from, to) < 0)
        rc = fail(to, "a file of the model cannot get its place", err);
    pc_free(from);
    pc_free(to);
    return rc;
}

int pc_training_move(const char *dir, struct paco_error *err)
{
    char **names = NULL, *from = pc_path_join(dir, PC_TRAINING_FINAL);
    size_t n = 0;
    int rc = from ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc < 0 || !pc_path_exists(from)) {
        pc_free(from);
        return rc;
    }
    rc = pc_dir_list(from, &names, &n, err);
    for (int last = 0; last < 2 && rc == 0; last++) {
        for (size_t i = 0; i < n && rc == 0; i++)
            if (makes_a_model(names[i]) == (last == 1))
                rc = move_file(from, dir, names[i], err);
        if (rc == 0)
            rc = sync_directory(dir, err);
    }
    if (rc == 0)
        rc = pc_dir_remove(from, err);
    pc_names_free(names, n);
    pc_free(from);
    return rc;
}

/* Whether every file that the manifest at path lists is there. */
static bool all_there(const char *dir, const char *path)
{
    struct pc_manifest m = {0};
    bool good = pc_manifest_read(path, &m, NULL) == 0;
    for (size_t i = 0; i < m.n_files + m.n_tensors && good; i++) {
        char *file = pc_path_join(dir, i < m.n_files ? m.files[i].name : m.tensors[i - m.n_files].file);
        good = file && pc_path_exists(file);
        pc_free(file);
    }
    pc_manifest_release(&m);
    return good;
}

bool pc_training_finished(const char *dir, const json_t *identity, uint64_t step)
{
    json_t *root = NULL;
    char *path = pc_path_join(dir, PC_MANIFEST_NAME), *final = pc_path_join(dir, PC_TRAINING_FINAL);
    bool done = path && final && !pc_path_exists(final) && pc_path_exists(path) &&
                pc_json_read(path, MAX_MANIFEST, &root, NULL) == 0;
    const json_t *options = json_object_get(root, "options");
    done = done && json_equal(json_object_get(options, "identity"), identity) &&
           (uint64_t)json_integer_value(json_object_get(options, "step")) == step && all_there(dir, path);
    json_decref(root);
    pc_free(path);
    pc_free(final);
    return done;
}
