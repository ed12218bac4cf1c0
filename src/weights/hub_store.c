// SPDX-License-Identifier: Apache-2.0
#include "weights/hub_store.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/journal.h"
#include "base/memory.h"
#include "base/out_file.h"
#include "weights/hub_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { MAX_PATH = 1 << 16 };

static char *join(const char *a, const char *b, const char *c, const char *suffix)
{
    struct pc_buf p;
    pc_buf_init(&p, MAX_PATH);
    pc_buf_printf(&p, "%s/%s%s%s%s", a, b, c ? "/" : "", c ? c : "", suffix);
    return pc_buf_detach(&p);
}

static int os_error(const char *path, const char *doing, struct paco_error *err)
{
    int rc = pc_error_os(err, errno, "%s", doing);
    pc_error_path(err, path);
    return rc;
}

int pc_hub_store_open(struct pc_hub_store *s, const char *name, struct paco_error *err)
{
    s->hub = pc_hub_cache_dir();
    if (!s->hub)
        return pc_error_set(err, PACO_ENOENT, "no place for the Hugging Face cache: set HF_HOME or HOME");
    s->model = pc_hub_cache_model_dir(s->hub, name, &s->revision);
    s->locks = s->model ? join(s->hub, ".locks", pc_path_base(s->model), "") : NULL;
    return s->locks ? 0 : pc_error_mem(err, strlen(s->hub), "a path");
}

void pc_hub_store_release(struct pc_hub_store *s)
{
    pc_free(s->hub);
    pc_free(s->model);
    pc_free(s->locks);
    *s = (struct pc_hub_store){0};
}

int pc_hub_store_make(const struct pc_hub_store *s, struct paco_error *err)
{
    static const char *const folders[] = {"blobs", "refs", "snapshots"};
    int rc = pc_dir_make(s->locks, err);
    for (size_t i = 0; i < 3 && rc == 0; i++) {
        char *path = pc_path_join(s->model, folders[i]);
        rc = path ? pc_dir_make(path, err) : pc_error_mem(err, strlen(s->model), "a path");
        pc_free(path);
    }
    return rc;
}

char *pc_hub_store_blob(const struct pc_hub_store *s, const char *digest, const char *suffix)
{
    return join(s->model, "blobs", digest, suffix);
}

char *pc_hub_store_snapshot(const struct pc_hub_store *s, const char *commit)
{
    return join(s->model, "snapshots", commit, "");
}

/* Who unlinks a lock's file leaves those who have it open with a lock that nobody else sees. */
static bool is_still(int fd, const char *path)
{
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
           mine.st_dev == there.st_dev;
}

int pc_hub_store_lock(const struct pc_hub_store *s, const char *digest, int *fd, struct paco_error *err)
{
    char *path = join(s->locks, digest, NULL, ".lock");
    int rc = path ? 1 : pc_error_mem(err, strlen(s->locks), "a path");
    *fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666) : -1;
    if (path && *fd < 0)
        rc = os_error(path, "opening the lock", err);
    else if (path && ((flock(*fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) || !is_still(*fd, path)))
        rc = 0;
    if (rc <= 0 && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    pc_free(path);
    return rc;
}

/* ---- snapshots ---- */

/* "../../blobs/DIGEST" for a file in the snapshot's own folder, one step up more for each above it. */
static int link_file(const char *dir, const char *name, const char *digest, struct paco_error *err)
{
    struct pc_buf to;
    char *path = join(dir, name, NULL, ""), *passing = path ? join(dir, name, NULL, "~") : NULL;
    pc_buf_init(&to, MAX_PATH);
    pc_buf_puts(&to, "../../");
    for (const char *p = name; (p = strchr(p, '/')); p++)
        pc_buf_puts(&to, "../");
    pc_buf_printf(&to, "blobs/%s", digest);
    int rc = passing ? pc_buf_check(&to, "a link", err) : pc_error_mem(err, strlen(name), "a path");
    rc = rc == 0 ? pc_dir_make_above(path, err) : rc;
    if (rc == 0) {
        unlink(passing);
        if (symlink(to.data, passing) < 0 || rename(passing, path) < 0)
            rc = os_error(path, "making the link", err);
    }
    pc_buf_release(&to);
    pc_free(passing);
    pc_free(path);
    return rc;
}

static int link_all(
    const char *dir, const char *const *names, const char *const *digests, size_t n, struct paco_error *err)
{
    int rc = pc_dir_make(dir, err);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = link_file(dir, names[i], digests[i], err);
    return rc;
}

/* A new snapshot is made beside the others, where nobody looks for one, and gets its name whole. */
int pc_hub_store_link(const struct pc_hub_store *s, const char *commit, const char *const *names,
    const char *const *digests, size_t n, struct paco_error *err)
{
    char *dir = pc_hub_store_snapshot(s, commit), suffix[32];
    snprintf(suffix, sizeof suffix, "-%ld", (long)getpid());
    char *passing = join(s->model, "paco-snapshot", NULL, suffix);
    int rc = dir && passing ? 0 : pc_error_mem(err, strlen(s->model), "a path");
    if (rc == 0 && pc_path_is_dir(dir)) {
        rc = link_all(dir, names, digests, n, err);
    } else if (rc == 0) {
        rc = pc_dir_remove(passing, err);
        if (rc == 0)
            rc = link_all(passing, names, digests, n, err);
        if (rc == 0 && rename(passing, dir) < 0) // another process made it meanwhile
            rc = pc_path_is_dir(dir) ? link_all(dir, names, digests, n, err)
                                     : os_error(dir, "giving the snapshot its name", err);
        (void)pc_dir_remove(passing, NULL);
    }
    pc_free(passing);
    pc_free(dir);
    return rc;
}

int pc_hub_store_set_ref(const struct pc_hub_store *s, const char *commit, struct paco_error *err)
{
    if (strcmp(s->revision, commit) == 0)
        return 0;
    char *path = join(s->model, "refs", s->revision, "");
    int rc = path ? pc_dir_make_above(path, err) : pc_error_mem(err, strlen(s->model), "a path");
    if (rc == 0)
        rc = pc_file_write_atomic(path, commit, strlen(commit), err);
    pc_free(path);
    return rc;
}

uint64_t pc_hub_store_free_bytes(const struct pc_hub_store *s)
{
    struct statvfs fs;
    char *path = pc_strdup(s->model);
    bool found = path && statvfs(path, &fs) == 0;
    for (char *slash; path && !found && (slash = strrchr(path, '/'));) {
        *slash = '\0';
        found = statvfs(*path ? path : "/", &fs) == 0;
    }
    pc_free(path);
    return found && fs.f_blocks ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
}
