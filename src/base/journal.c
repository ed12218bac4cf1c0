// SPDX-License-Identifier: Apache-2.0
/* A line is 16 hexadecimal digits (the start of the payload's SHA-256), a space, JSON without line breaks, a
 * newline.
 *
 * Why the journal lies inside the directory and goes with it through the rename: at every moment there is one
 * name under which the next attempt finds both the files and the proof that they are finished. */
#include "base/journal.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/memory.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char SUFFIX[] = PC_JOURNAL_SUFFIX, NAME[] = PC_JOURNAL_NAME;
static const char COMPLETE[] = "complete", ASIDE[] = ".paco-old";
enum { SUM_DIGITS = 16, MAX_JOURNAL = 1 << 28, MAX_DEPTH = 64, MAX_TRIES = 100 };

struct pc_journal {
    char *target, *work, *parent, *path; /* path: of the journal's file; parent: of both directories */
    char *made_from;                     /* topmost directory made above target, or NULL */
    int fd;
    uint64_t end; /* of the last good line */
    unsigned flags;
    bool in_place, complete;
    bool unread;   /* there are lines that could not be read now */
    json_t *lines; /* array: identity, then records */
    pthread_mutex_t lock;
};

/* ---- paths ---- */

static char *strip_slashes(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return pc_strndup(path, n);
}

static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return pc_strdup(".");
    return pc_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static char *append(const char *path, const char *suffix)
{
    size_t n = strlen(path), m = strlen(suffix);
    char *s = pc_alloc(n + m + 1, 1);
    if (s) {
        memcpy(s, path, n);
        memcpy(s + n, suffix, m + 1);
    }
    return s;
}

static int os_error(const char *path, const char *doing, struct paco_error *err)
{
    int rc = pc_error_os(err, errno, "%s", doing);
    pc_error_path(err, path);
    return rc;
}

static int sync_dir(const char *path, struct paco_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) < 0 ? os_error(path, "cannot sync the directory", err) : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

/* Breadth kept small: one descriptor a level. */
static int remove_below(int dir_fd, const char *name, int depth, struct paco_error *err)
{
    if (depth == MAX_DEPTH)
        return pc_error_set(err, PACO_ELIMIT, "directories are nested more than %d deep", MAX_DEPTH);
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : os_error(name, "cannot open the directory", err);
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return os_error(name, "cannot list the directory", err);
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, e->d_name, 0) == 0 || errno == ENOENT)
            continue;
        rc = errno == EISDIR || errno == EPERM ? remove_below(fd, e->d_name, depth + 1, err)
                                               : os_error(e->d_name, "cannot remove", err);
    }
    closedir(d);
    if (rc == 0 && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        rc = os_error(name, "cannot remove the directory", err);
    return rc;
}

int pc_dir_remove(const char *path, struct paco_error *err)
{
    return remove_below(AT_FDCWD, path, 0, err);
}

uint64_t pc_journal_occupied(const char *target)
{
    uint64_t total = 0;
    char *stripped = strip_slashes(target), *work = stripped ? append(stripped, SUFFIX) : NULL, **names;
    size_t n;
    if (work && pc_path_is_dir(work) && pc_dir_list(work, &names, &n, NULL) == 0) {
        for (size_t i = 0; i < n; i++) {
            struct stat st;
            char *path = pc_path_join(work, names[i]);
            if (path && lstat(path, &st) == 0 && S_ISREG(st.st_mode))
                total += (uint64_t)st.st_blocks * 512;
            pc_free(path);
        }
        pc_names_free(names, n);
    }
    pc_free(work);
    pc_free(stripped);
    return total;
}

/* ---- may the target be written? ---- */

/* True if there is nothing in path but, at most, `but`. */
static bool holds_nothing_but(const char *path, const char *but)
{
    DIR *d = opendir(path);
    if (!d)
        return false;
    bool empty = true;
    for (struct dirent *e; empty && (e = readdir(d));)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, but) == 0;
    closedir(d);
    return empty;
}

/* True if dir is path or one of the directories above it. */
static bool holds(const char *dir, const char *path)
{
    char a[PATH_MAX], b[PATH_MAX];
    if (!path || !realpath(dir, a) || !realpath(path, b))
        return false;
    return strcmp(a, "/") == 0 || pc_path_is_inside(b, a);
}

static int check_existing_file(const char *target, unsigned flags, struct paco_error *err)
{
    struct stat st;
    if (lstat(target, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : os_error(target, "cannot look at it", err);
    int rc = 0;
    if (S_ISDIR(st.st_mode))
        rc = pc_error_set(err, PACO_EEXIST, "is a directory; the output is a file: give it a name");
    else if (S_ISLNK(st.st_mode))
        rc = pc_error_set(err, PACO_EEXIST, "is a symbolic link; name the file itself, or remove the link");
    else if (!S_ISREG(st.st_mode))
        rc = pc_error_set(err, PACO_EEXIST, "exists and is not a file");
    else if (!(flags & PC_JOURNAL_FORCE))
        rc = pc_error_set(err, PACO_EEXIST, "exists already; the option force replaces it");
    pc_error_path(err, rc < 0 ? target : NULL);
    return rc;
}

static int check_existing(const char *target, unsigned flags, struct paco_error *err)
{
    if (flags & PC_JOURNAL_FILE)
        return check_existing_file(target, flags, err);
    struct stat st, up;
    if (lstat(target, &st) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return 0;
        return os_error(target, "cannot look at it", err);
    }
    int rc = 0;
    if (S_ISLNK(st.st_mode))
        rc = pc_error_set(
            err, PACO_EEXIST, "is a symbolic link; name the directory itself, or remove the link");
    else if (!S_ISDIR(st.st_mode))
        rc = pc_error_set(err, PACO_EEXIST, "exists and is not a directory");
    else if (holds_nothing_but(target, "."))
        rc = 0;
    else if (!(flags & PC_JOURNAL_FORCE))
        rc = pc_error_set(err, PACO_EEXIST, "exists already; the option force replaces it");
    else if (holds(target, ".") || holds(target, getenv("HOME")))
        rc = pc_error_set(err, PACO_EINVAL, "holds the home or the working directory; it is not replaced");
    else {
        char *parent = parent_of(target);
        if (parent && stat(parent, &up) == 0 && up.st_dev != st.st_dev)
            rc = pc_error_set(err, PACO_EINVAL, "is a mount point, which cannot be replaced");
        pc_free(parent);
    }
    pc_error_path(err, rc < 0 ? target : NULL);
    return rc;
}

static bool has_entry(const char *dir, const char *name)
{
    char *path = pc_path_join(dir, name);
    bool there = path && pc_path_exists(path);
    pc_free(path);
    return there;
}

static bool has_journal(const char *dir)
{
    return has_entry(dir, NAME);
}

/* A file that has its name already while its journal still waits for the rest. */
static bool is_half_committed(const char *path)
{
    char *work = append(path, SUFFIX);
    bool half = work && has_journal(work) && !has_entry(work, pc_path_base(path)) && pc_path_exists(path);
    pc_free(work);
    return half;
}

int pc_journal_check(const char *target, unsigned flags, struct paco_error *err)
{
    char *path = strip_slashes(target);
    if (!path)
        return pc_error_mem(err, strlen(target), "a path");
    const char *base = pc_path_base(path);
    int rc = 0;
    if (!*path)
        rc = pc_error_set(err, PACO_EINVAL, "the output needs a name");
    else if (!pc_path_is_plain(base)) {
        rc = pc_error_set(err, PACO_EINVAL, "is no name for an output: give the directory's own name");
        pc_error_path(err, path);
    } else if (flags & PC_JOURNAL_FILE ? !is_half_committed(path) : !has_journal(path)) {
        rc = check_existing(path, flags, err);
    }
    pc_free(path);
    return rc;
}

/* ---- lines ---- */

static void sum(const char *text, size_t len, char digits[SUM_DIGITS + 1], struct pc_sha256 *h)
{
    uint8_t digest[PC_SHA256_SIZE];
    char hex[PC_SHA256_HEX];
    pc_sha256_reset(h);
    pc_sha256_update(h, text, len);
    pc_sha256_final(h, digest);
    memcpy(digits, pc_sha256_hex(digest, hex), SUM_DIGITS);
    digits[SUM_DIGITS] = '\0';
}

static int append_line(struct pc_buf *b, const json_t *v, struct pc_sha256 *h)
{
    char digits[SUM_DIGITS + 1];
    pc_buf_puts(b, "0123456789abcdef ");
    size_t at = b->len;
    pc_json_write(b, v, PC_JSON_COMPACT);
    if (b->failed)
        return -1;
    sum(b->data + at, b->len - at, digits, h);
    memcpy(b->data + at - SUM_DIGITS - 1, digits, SUM_DIGITS);
    pc_buf_putc(b, '\n');
    return 0;
}

/* The value of a whole and unharmed line, else NULL. Fails when memory is out: a line is not torn for that.
 */
static int parse_line(const char *line, size_t len, struct pc_sha256 *h, json_t **out, struct paco_error *err)
{
    char digits[SUM_DIGITS + 1];
    *out = NULL;
    if (len <= SUM_DIGITS + 1 || line[SUM_DIGITS] != ' ')
        return 0;
    sum(line + SUM_DIGITS + 1, len - SUM_DIGITS - 1, digits, h);
    if (memcmp(digits, line, SUM_DIGITS) != 0)
        return 0;
    int rc = pc_json_parse(line + SUM_DIGITS + 1, len - SUM_DIGITS - 1, NULL, 0, out, NULL);
    // With the right sum it is what was written: only memory can be wanting, whatever the parser calls it.
    return rc < 0 ? pc_error_mem(err, len, "the journal") : 0;
}

static int load_lines(struct pc_journal *j, struct paco_error *err)
{
    struct pc_buf b;
    struct pc_sha256 *h = pc_sha256_new(err);
    int rc = h ? pc_file_slurp(j->path, MAX_JOURNAL, &b, err) : PACO_EMEM;
    j->end = 0;
    if (rc == 0) {
        for (char *line = b.data, *nl; line && (nl = memchr(line, '\n', b.len - (size_t)(line - b.data)));
             line = nl + 1) {
            json_t *v;
            rc = parse_line(line, (size_t)(nl - line), h, &v, err);
            if (rc < 0 || !v)
                break;
            if (json_array_append_new(j->lines, v) < 0) {
                rc = pc_error_mem(err, 64, "the journal");
                break;
            }
            j->end = (uint64_t)(nl + 1 - b.data);
        }
    }
    if (h)
        pc_buf_release(&b);
    pc_sha256_free(h);
    if (rc == 0 && json_array_size(j->lines) > 1)
        j->complete =
            json_object_get(json_array_get(j->lines, json_array_size(j->lines) - 1), COMPLETE) != NULL;
    return rc;
}

int pc_journal_add(struct pc_journal *j, json_t *const *records, size_t n, struct paco_error *err)
{
    struct pc_buf b;
    struct pc_sha256 *h = pc_sha256_new(err);
    if (!h)
        return PACO_EMEM;
    pc_buf_init(&b, MAX_JOURNAL);
    for (size_t i = 0; i < n; i++)
        append_line(&b, records[i], h);
    pc_sha256_free(h);
    int rc = pc_buf_check(&b, "journal records", err);
    if (rc == 0) {
        pthread_mutex_lock(&j->lock);
        rc = pc_fd_write(j->fd, j->path, j->end, b.data, b.len, err);
        if (rc == 0 && fdatasync(j->fd) < 0)
            rc = os_error(j->path, "cannot sync", err);
        if (rc == 0)
            j->end += b.len;
        pthread_mutex_unlock(&j->lock);
    }
    pc_buf_release(&b);
    return rc;
}

/* ---- opening ---- */

/* mkdir -p; *made is the first that was missing. */
static int make_parents(const char *dir, char **made, struct paco_error *err)
{
    char *path = pc_strdup(dir);
    int rc = path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    for (char *p = path; rc == 0 && p;) {
        p = strchr(p + 1, '/');
        if (p)
            *p = '\0';
        if (!pc_path_is_dir(path)) {
            if (mkdir(path, 0777) < 0 && errno != EEXIST)
                rc = os_error(path, "cannot create the directory", err);
            else if (!*made)
                *made = pc_strdup(path);
        }
        if (p)
            *p = '/';
    }
    pc_free(path);
    return rc;
}

/* Open and lock dir's journal. The directory may be renamed or removed between the two by whoever held the
 * lock: then what was locked is no longer what the name says, and it is tried again. Returns 1 for that. */
static int lock_journal(struct pc_journal *j, const char *dir, bool create, struct paco_error *err)
{
    if (create && mkdir(dir, 0777) < 0 && errno != EEXIST)
        return os_error(dir, "cannot create the directory", err);
    pc_free(j->path);
    j->path = pc_path_join(dir, NAME);
    if (!j->path)
        return pc_error_mem(err, strlen(dir), "a path");
    j->fd = open(j->path, O_RDWR | (create ? O_CREAT : 0) | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (j->fd < 0)
        return errno == ENOENT ? 1 : os_error(j->path, "cannot open", err);
    if (flock(j->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
        pc_error_set(err, PACO_EEXIST, "another process is writing it; wait for it, or stop it first");
        pc_error_path(err, j->target);
        return PACO_EEXIST;
    }
    struct stat here, named;
    if (fstat(j->fd, &here) == 0 && stat(j->path, &named) == 0 && here.st_ino == named.st_ino &&
        here.st_dev == named.st_dev)
        return 0;
    close(j->fd);
    j->fd = -1;
    return 1;
}

static int lock_either(struct pc_journal *j, struct paco_error *err)
{
    int rc = 1;
    for (int i = 0; i < MAX_TRIES && rc == 1; i++) {
        j->in_place = has_journal(j->target);
        rc = lock_journal(j, j->in_place ? j->target : j->work, !j->in_place, err);
    }
    if (rc == 1) {
        rc = pc_error_set(err, PACO_EIO, "the working directory does not stay where it is");
        pc_error_path(err, j->work);
    }
    return rc;
}

/* The first member in which two identities differ, as "options.dtype: "f32", was "f16"". */
static bool find_difference(
    const json_t *now, const json_t *was, const char *where, char *out, size_t out_size)
{
    if (json_equal(now, was))
        return false;
    const char *key;
    json_t *v;
    char deeper[200];
    if (json_is_object(now) && json_is_object(was)) {
        json_object_foreach((json_t *)now, key, v)
        {
            snprintf(deeper, sizeof deeper, "%s%s%s", where, *where ? "." : "", key);
            if (find_difference(v, json_object_get(was, key), deeper, out, out_size))
                return true;
        }
    } else if (json_is_array(now) && json_is_array(was)) {
        for (size_t i = 0; i < json_array_size(now); i++) {
            const json_t *role = json_object_get(json_array_get(now, i), "role");
            snprintf(deeper, sizeof deeper, "the %s", json_is_string(role) ? json_string_value(role) : where);
            if (find_difference(json_array_get(now, i), json_array_get(was, i), deeper, out, out_size))
                return true;
        }
    }
    char *a = now ? json_dumps(now, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    char *b = was ? json_dumps(was, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    if (a && b && strlen(a) < 60 && strlen(b) < 60)
        snprintf(out, out_size, "%s is %s, was %s", where, a, b);
    else
        snprintf(out, out_size, "%s changed", *where ? where : "it");
    free(a);
    free(b);
    return true;
}

/* Everything in the working directory but the journal, whose lock is held. */
static int clear(const char *dir, struct paco_error *err)
{
    char **names;
    size_t n;
    int rc = pc_dir_list(dir, &names, &n, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n && rc == 0; i++) {
        char *path = strcmp(names[i], NAME) == 0 ? NULL : pc_path_join(dir, names[i]);
        if (path && unlink(path) < 0 && errno != ENOENT)
            rc = pc_dir_remove(path, err);
        pc_free(path);
    }
    pc_names_free(names, n);
    return rc;
}

int pc_journal_clear(struct pc_journal *j, struct paco_error *err)
{
    assert(!j->in_place && !j->complete);
    return clear(j->work, err);
}

static int begin_afresh(struct pc_journal *j, const json_t *identity, struct paco_error *err)
{
    int rc = clear(j->work, err);
    if (rc == 0 && ftruncate(j->fd, 0) < 0)
        rc = os_error(j->path, "cannot truncate", err);
    j->end = 0;
    json_array_clear(j->lines);
    json_t *first = (json_t *)identity;
    if (rc == 0)
        rc = pc_journal_add(j, &first, 1, err);
    if (rc == 0 && json_array_append(j->lines, first) < 0)
        rc = pc_error_mem(err, 64, "the journal");
    return rc == 0 ? sync_dir(j->work, err) : rc;
}

/* Without an exchange there is a moment in which the old directory has stepped aside and the new one has not
 * taken its name. Whoever makes something else finds the old one again. Returns 1 to try again. */
static int bring_back(const struct pc_journal *j, struct paco_error *err)
{
    char *aside = pc_path_join(j->work, ASIDE);
    if (!aside)
        return pc_error_mem(err, strlen(j->work), "a path");
    int rc = rename(aside, j->target) == 0 ? 1 : os_error(j->target, "cannot bring back", err);
    pc_free(aside);
    return rc;
}

/* The journal goes last: as long as it stands, the same call comes back to finish this. */
static void tidy_up(const struct pc_journal *j)
{
    char *aside = pc_path_join(j->target, ASIDE), *path = pc_path_join(j->target, NAME);
    if (pc_path_exists(j->work))
        (void)pc_dir_remove(j->work, NULL);
    if (aside && pc_path_exists(aside))
        (void)pc_dir_remove(aside, NULL);
    if (path)
        (void)unlink(path);
    (void)sync_dir(j->target, NULL);
    pc_free(path);
    pc_free(aside);
}

static int go_on_or_begin(
    struct pc_journal *j, const json_t *identity, struct pc_notes *notes, struct paco_error *err)
{
    int rc = load_lines(j, err);
    j->unread = rc < 0;
    if (rc < 0)
        return rc;
    const json_t *was = json_array_get(j->lines, 0);
    if (j->in_place && !j->complete) {
        pc_error_set(err, PACO_EEXIST, "holds an unfinished attempt: remove it, or rename it to %s", j->work);
        pc_error_path(err, j->target);
        return PACO_EEXIST;
    }
    if (was && json_equal(was, identity))
        return ftruncate(j->fd, (off_t)j->end) < 0 ? os_error(j->path, "cannot truncate", err) : 0;
    if (j->in_place) {
        // A finished output of another job, which did not come to its last step.
        tidy_up(j);
        return 1;
    }
    if (has_entry(j->work, ASIDE))
        return bring_back(j, err);
    if (!was && !holds_nothing_but(j->work, NAME)) {
        // Ours begin with an identity before there is anything else.
        struct stat st;
        if (fstat(j->fd, &st) == 0 && st.st_size == 0)
            (void)unlink(j->path);
        pc_error_set(
            err, PACO_EEXIST, "is in the way, and no unfinished attempt of paco: move it, or remove it");
        pc_error_path(err, j->work);
        return PACO_EEXIST;
    }
    char what[320];
    size_t n_records = json_array_size(j->lines) ? json_array_size(j->lines) - 1 : 0;
    if (j->flags & PC_JOURNAL_KEEP && n_records && find_difference(identity, was, "", what, sizeof what)) {
        pc_error_set(err, PACO_EEXIST,
            "holds %zu records of an unfinished attempt at something else (%s): another output, or --force "
            "to start "
            "again without them",
            n_records, what);
        pc_error_path(err, j->work);
        return PACO_EEXIST;
    }
    j->complete = false;
    if (was && find_difference(identity, was, "", what, sizeof what))
        pc_note(
            notes, "an unfinished attempt at %s was of something else (%s): starting again", j->target, what);
    return begin_afresh(j, identity, err);
}

static int set_paths(struct pc_journal *j, const char *target, struct paco_error *err)
{
    j->target = strip_slashes(target);
    j->work = j->target ? append(j->target, SUFFIX) : NULL;
    j->parent = j->target ? parent_of(j->target) : NULL;
    j->lines = json_array();
    if (!j->target || !j->work || !j->parent || !j->lines)
        return pc_error_mem(err, strlen(target), "a path");
    return 0;
}

int pc_journal_open(const char *target, const json_t *identity, unsigned flags, struct pc_notes *notes,
    struct pc_journal **out, struct paco_error *err)
{
    int rc = pc_journal_check(target, flags, err);
    if (rc < 0)
        return rc;
    struct pc_journal *j = pc_alloc_zero(1, sizeof *j);
    if (!j)
        return pc_error_mem(err, sizeof *j, "a journal");
    j->fd = -1;
    j->flags = flags;
    pthread_mutex_init(&j->lock, NULL);
    rc = set_paths(j, target, err);
    if (rc == 0)
        rc = make_parents(j->parent, &j->made_from, err);
    if (rc == 0)
        rc = lock_either(j, err);
    if (rc == 0)
        rc = go_on_or_begin(j, identity, notes, err);
    if (rc == 1) {
        pc_journal_close(j, false);
        return pc_journal_open(target, identity, flags, notes, out, err);
    }
    if (rc < 0) {
        // What an earlier attempt finished stays, whatever went wrong now.
        pc_journal_close(j, rc != PACO_EEXIST && !j->unread && json_array_size(j->lines) <= 1);
        return rc;
    }
    *out = j;
    return 0;
}

const char *pc_journal_dir(const struct pc_journal *j)
{
    return j->in_place ? j->target : j->work;
}

/* What a file of the work is called in the end, when the target is a file. Owned. */
static char *final_name(const struct pc_journal *j, const char *name)
{
    if (strcmp(name, pc_path_base(j->target)) == 0)
        return pc_strdup(j->target);
    char *stem = append(j->target, "."), *path = stem ? append(stem, name) : NULL;
    pc_free(stem);
    return path;
}

char *pc_journal_path(const struct pc_journal *j, const char *name)
{
    char *path = pc_path_join(pc_journal_dir(j), name);
    if (!(j->flags & PC_JOURNAL_FILE) || !path || pc_path_exists(path))
        return path;
    pc_free(path);
    return final_name(j, name);
}

size_t pc_journal_n_records(const struct pc_journal *j)
{
    return json_array_size(j->lines) - 1 - j->complete;
}

const json_t *pc_journal_record(const struct pc_journal *j, size_t i)
{
    return json_array_get(j->lines, i + 1);
}

bool pc_journal_replaces(const char *target, const char *path)
{
    size_t n = strlen(target), m = sizeof SUFFIX - 1;
    if (pc_path_is_inside(path, target))
        return true;
    return strncmp(path, target, n) == 0 && strncmp(path + n, SUFFIX, m) == 0 &&
           (path[n + m] == '/' || path[n + m] == '\0');
}

bool pc_journal_is_complete(const struct pc_journal *j)
{
    return j->complete;
}

/* ---- the end ---- */

static int exchange(struct pc_journal *j, struct paco_error *err)
{
    if (renameat2(AT_FDCWD, j->work, AT_FDCWD, j->target, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
        return os_error(j->target, "cannot put the new directory in place", err);
    // No exchange on this file system: the old one steps aside, into the new one, where no name is a user's.
    char *aside = pc_path_join(j->work, ASIDE);
    int rc = aside ? 0 : pc_error_mem(err, PATH_MAX, "a path");
    if (rc == 0 && rename(j->target, aside) < 0)
        rc = os_error(j->target, "cannot move the old directory aside", err);
    if (rc == 0 && rename(j->work, j->target) < 0) {
        rc = os_error(j->target, "cannot put the new directory in place", err);
        (void)rename(aside, j->target);
    }
    pc_free(aside);
    return rc;
}

static int put_in_place(struct pc_journal *j, struct paco_error *err)
{
    if (rename(j->work, j->target) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return os_error(j->target, "cannot rename the finished directory", err);
    if (j->flags & PC_JOURNAL_FORCE)
        return exchange(j, err);
    pc_error_set(
        err, PACO_EEXIST, "appeared while it was being written; the finished work is in %s", j->work);
    pc_error_path(err, j->target);
    return PACO_EEXIST;
}

static int rename_file(const struct pc_journal *j, const char *from, const char *to, struct paco_error *err)
{
    if (j->flags & PC_JOURNAL_FORCE ? rename(from, to) == 0
                                    : renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    // Not every file system knows the flag.
    bool may_replace = errno == EINVAL || errno == ENOSYS || errno == ENOTSUP;
    if (may_replace && !pc_path_exists(to) && rename(from, to) == 0)
        return 0;
    if (errno != EEXIST && !(may_replace && pc_path_exists(to)))
        return os_error(to, "cannot rename the finished file", err);
    pc_error_set(
        err, PACO_EEXIST, "appeared while it was being written; the finished work is in %s", j->work);
    pc_error_path(err, to);
    return PACO_EEXIST;
}

/* Give one file of the work its name, if it is still there. */
static int put_file(const struct pc_journal *j, const char *name, struct paco_error *err)
{
    char *from = pc_path_join(j->work, name), *to = final_name(j, name);
    int rc = from && to ? 0 : pc_error_mem(err, strlen(j->work), "a path");
    if (rc == 0 && pc_path_exists(from))
        rc = rename_file(j, from, to, err);
    pc_free(from);
    pc_free(to);
    return rc;
}

/* The file itself first; what goes with it may replace leftovers of the same name. */
static int put_files(struct pc_journal *j, struct paco_error *err)
{
    char **names;
    size_t n;
    int rc = put_file(j, pc_path_base(j->target), err);
    if (rc == 0)
        rc = pc_dir_list(j->work, &names, &n, err);
    if (rc < 0)
        return rc;
    j->flags |= PC_JOURNAL_FORCE;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = strcmp(names[i], NAME) == 0 ? 0 : put_file(j, names[i], err);
    pc_names_free(names, n);
    return rc;
}

static int commit_files(struct pc_journal *j, struct paco_error *err)
{
    int rc = put_files(j, err);
    if (rc == 0)
        rc = sync_dir(j->parent, err);
    if (rc < 0)
        return rc;
    j->complete = true;
    j->in_place = true;
    (void)pc_dir_remove(j->work, NULL);
    return 0;
}

int pc_journal_commit(struct pc_journal *j, struct paco_error *err)
{
    int rc = 0;
    if (!j->complete) {
        json_t *last = json_pack("{s:b}", COMPLETE, 1);
        rc = last ? sync_dir(j->work, err) : pc_error_mem(err, 64, "a journal record");
        if (rc == 0)
            rc = pc_journal_add(j, &last, 1, err);
        json_decref(last);
    }
    if (rc == 0 && j->flags & PC_JOURNAL_FILE)
        return commit_files(j, err);
    if (rc == 0 && !j->in_place)
        rc = put_in_place(j, err);
    if (rc < 0)
        return rc;
    // From here the output stands under its name.
    j->complete = true;
    j->in_place = true;
    if (!pc_path_exists(j->work) && !has_entry(j->target, ASIDE)) {
        // Nothing was replaced. Should the machine stop before the parent is on the disk, and the removal of
        // the journal be there before the rename, the work is lost, but nothing is wrong.
        tidy_up(j);
        return sync_dir(j->parent, err);
    }
    rc = sync_dir(j->parent, err);
    if (rc == 0)
        tidy_up(j);
    return rc;
}

static void remove_made(const struct pc_journal *j)
{
    if (!j->made_from)
        return;
    char *path = pc_strdup(j->parent);
    while (path && strlen(path) >= strlen(j->made_from) && rmdir(path) == 0) {
        char *up = parent_of(path);
        pc_free(path);
        path = up;
    }
    pc_free(path);
}

void pc_journal_close(struct pc_journal *j, bool discard)
{
    if (!j)
        return;
    if (discard && j->fd >= 0 && !j->in_place)
        (void)pc_dir_remove(j->work, NULL);
    if (discard && !j->in_place)
        remove_made(j);
    if (j->fd >= 0)
        close(j->fd);
    json_decref(j->lines);
    pthread_mutex_destroy(&j->lock);
    pc_free(j->made_from);
    pc_free(j->path);
    pc_free(j->parent);
    pc_free(j->work);
    pc_free(j->target);
    pc_free(j);
}
