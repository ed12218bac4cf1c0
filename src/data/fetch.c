// SPDX-License-Identifier: Apache-2.0
#include "data/fetch.h"

#include "base/file.h"
#include "base/file_digest.h"
#include "base/memory.h"
#include "base/out_file.h"
#include "data/unpack.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes: a source without a stated size may have MAX_UNKNOWN; pieces of CHUNK are read. */
enum { MAX_UNKNOWN = 1 << 30, CHUNK = 1 << 16, N_AT_ONCE = 8, N_SUBJECTS = 57 };

struct download {
    const struct pc_data_file *file;
    char *path, *part, *mark, *url; /* owned; mark: the validator of what is in part */
    int fd;
    uint64_t len; /* of part */
    struct fetch *job;
    struct pc_http_sink sink;
    bool failed;
};

struct fetch {
    const struct pc_fetch_options *o;
    struct pc_fetch_result *result;
    struct download *v;
    size_t n;
    struct pc_http *http;
    uint64_t done, total;
    struct paco_error first; /* of the first file that failed */
};

/* ---- what is there ---- */

static bool is_git_name(const struct pc_data_file *file)
{
    return file->digest && strlen(file->digest) == PC_GIT_BLOB_HEX - 1;
}

static const char *kind_of_digest(const struct pc_data_file *file)
{
    return is_git_name(file) ? "name in git" : "SHA-256";
}

/* Of the kind that is known of file. */
static int digest_of(
    const struct pc_data_file *file, const char *path, char hex[PC_SHA256_HEX], struct paco_error *err)
{
    return is_git_name(file) ? pc_git_blob(path, hex, err) : pc_file_sha256(path, hex, err);
}

static size_t count_files(const char *dir, const char *folder)
{
    char **names = NULL;
    size_t n = 0;
    char *path = pc_path_join(dir, folder);
    if (path && pc_path_is_dir(path) && pc_dir_list(path, &names, &n, NULL) == 0)
        pc_names_free(names, n);
    pc_free(path);
    return n;
}

/* 1: there; 0: not. PACO_EVERIFY: another file is. */
static int is_there(const struct download *d, struct paco_error *err)
{
    char hex[PC_SHA256_HEX];
    if (!pc_path_exists(d->path))
        return 0;
    if (d->file->kind == PC_DATA_MMLU_TAR)
        return count_files(d->path, "test") >= N_SUBJECTS && count_files(d->path, "dev") >= N_SUBJECTS;
    if (d->file->kind != PC_DATA_PLAIN || !d->file->digest)
        return 1;
    int rc = digest_of(d->file, d->path, hex, err);
    if (rc < 0)
        return rc;
    if (strcmp(hex, d->file->digest) == 0)
        return 1;
    pc_error_set(err, PACO_EVERIFY,
        "is another file than its source's (%s %.12s..., not %.12s...): force replaces it",
        kind_of_digest(d->file), hex, d->file->digest);
    pc_error_path(err, d->path);
    return PACO_EVERIFY;
}

/* ---- parts ---- */

/* What the server called the version that the part is of, or "". */
static void read_mark(const struct download *d, char out[256])
{
    struct pc_buf b;
    out[0] = '\0';
    if (pc_file_slurp(d->mark, 255, &b, NULL) == 0)
        snprintf(out, 256, "%s", b.data ? b.data : "");
    pc_buf_release(&b);
}

/* Nobody else writes to the part, nor has given it its name or removed it meanwhile. */
static int lock_part(const struct download *d, struct stat *st, struct paco_error *err)
{
    struct stat now;
    bool busy = flock(d->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK; // not every disk can lock
    if (!busy && fstat(d->fd, st) == 0 && lstat(d->part, &now) == 0 && now.st_ino == st->st_ino)
        return 0;
    pc_error_set(err, PACO_EEXIST, "another paco is fetching this file: wait for it, and try again");
    pc_error_path(err, d->part);
    return PACO_EEXIST;
}

/* Open the part and see how far it came. Where neither a digest nor the server's word for the version could
 * tell two versions apart, it begins again. */
static int open_part(struct download *d, char mark[256], struct paco_error *err)
{
    struct stat st;
    int rc = pc_dir_make_above(d->part, err);
    if (rc < 0)
        return rc;
    read_mark(d, mark);
    d->fd = open(d->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (d->fd >= 0) {
        rc = lock_part(d, &st, err);
        if (rc < 0)
            return rc;
        d->len = (uint64_t)st.st_size;
        if ((d->file->size && d->len >= d->file->size) || (!d->file->digest && !mark[0]))
            d->len = 0;
        if (ftruncate(d->fd, (off_t)d->len) == 0)
            return 0;
    }
    rc = pc_error_os(err, errno, "opening it for writing");
    pc_error_path(err, d->part);
    return rc;
}

static void drop_part(struct download *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
    unlink(d->part);
    unlink(d->mark);
}

static int too_large(const struct download *d, uint64_t limit, struct paco_error *err)
{
    pc_error_set(err, PACO_ELIMIT, "%s: more came than the %llu bytes it should have", d->file->url,
        (unsigned long long)limit);
    return PACO_ELIMIT;
}

static int progress(struct fetch *job, const char *item)
{
    const struct pc_progress_event e = {
        .phase = "fetching", .item = item, .done = job->done, .total = job->total, .unit = "B"};
    return pc_progress(job->o->progress, &e);
}

/* The sink of a download. The part is empty before it is said to be of another version, and says of which
 * before it has a byte of it: whenever the process is killed, the two belong together. */
static int begin_part(void *ctx, const char *validator, struct paco_error *err)
{
    struct download *d = ctx;
    d->job->done -= d->job->done < d->len ? d->job->done : d->len;
    d->len = 0;
    unlink(d->mark);
    if (ftruncate(d->fd, 0) < 0)
        return pc_error_os(err, errno, "%s: cutting off what is to come again", d->part);
    if (validator[0])
        (void)pc_file_write_atomic(d->mark, validator, strlen(validator), NULL);
    return 0;
}

static int write_part(void *ctx, uint64_t at, const void *bytes, size_t len, struct paco_error *err)
{
    struct download *d = ctx;
    uint64_t limit = d->file->size ? d->file->size : MAX_UNKNOWN;
    assert(at == d->len);
    if (at > limit || len > limit - at)
        return too_large(d, limit, err);
    int rc = pc_fd_write(d->fd, d->part, at, bytes, len, err);
    if (rc < 0)
        return rc;
    d->len = at + len;
    d->job->done += len;
    d->job->result->bytes += len;
    return 0;
}

/* ---- what came ---- */

/* Sign-in pages come with status 200. */
static bool is_web_page(const char *path)
{
    struct pc_file f = {.fd = -1};
    char head[64] = "";
    if (pc_file_open(&f, path, NULL) == 0)
        (void)pc_file_read(&f, 0, head, f.size < sizeof head - 1 ? (size_t)f.size : sizeof head - 1, NULL);
    pc_file_close(&f);
    const char *text = head + strspn(head, " \t\r\n\xef\xbb\xbf");
    return strncasecmp(text, "<!doctype", 9) == 0 || strncasecmp(text, "<html", 5) == 0;
}

static int check(const struct download *d, struct paco_error *err)
{
    char hex[PC_SHA256_HEX];
    if (d->len == 0)
        return pc_error_set(err, PACO_EVERIFY, "%s: an empty file came", d->url);
    if (is_web_page(d->part))
        return pc_error_set(err, PACO_EVERIFY, "%s: a web page came instead of the file", d->url);
    if (d->file->size && d->len != d->file->size)
        return pc_error_set(err, PACO_EVERIFY, "%s: %llu bytes came, and the file has %llu", d->url,
            (unsigned long long)d->len, (unsigned long long)d->file->size);
    int rc = digest_of(d->file, d->part, hex, err);
    if (rc < 0)
        return rc;
    if (d->file->digest && strcmp(hex, d->file->digest) != 0)
        return pc_error_set(err, PACO_EVERIFY, "%s: another file came: its %s is %s, and should be %s",
            d->url, kind_of_digest(d->file), hex, d->file->digest);
    if (!d->file->digest)
        pc_note(d->job->o->notes, "%s: its digest was not known before; it is %s", d->file->path, hex);
    return 0;
}

static int install(struct download *d, struct paco_error *err)
{
    size_t n = 0;
    int rc = 0;
    switch (d->file->kind) {
    case PC_DATA_PLAIN:
        if (rename(d->part, d->path) < 0) {
            rc = pc_error_os(err, errno, "giving it its name");
            pc_error_path(err, d->path);
        }
        break;
    case PC_DATA_MMLU_TAR: rc = pc_unpack_mmlu(d->part, d->path, &n, err); break;
    case PC_DATA_GSM_EXEMPLARS: rc = pc_unpack_exemplars(d->part, d->path, &n, err); break;
    case PC_DATA_MGSM_EXEMPLARS: rc = pc_unpack_mgsm(d->part, d->path, &n, err); break;
    case PC_DATA_GZIP: rc = pc_unpack_gzip(d->part, d->path, err); break;
    case PC_DATA_ZIP: rc = pc_unpack_zip(d->part, pc_path_base(d->path), d->path, err); break;
    }
    if (rc == 0)
        drop_part(d); // of a plain file only the mark is left
    return rc;
}

static int settle(struct download *d, struct paco_error *err)
{
    if (fsync(d->fd) < 0) {
        int rc = pc_error_os(err, errno, "writing it out");
        pc_error_path(err, d->part);
        return rc;
    }
    int rc = check(d, err);
    if (rc < 0) {
        drop_part(d);
        return rc;
    }
    return install(d, err);
}

static void fail(struct fetch *job, struct download *d, const struct paco_error *err)
{
    d->failed = true;
    job->result->n_failed++;
    if (!job->first.code)
        job->first = *err;
}

static void done(struct fetch *job, struct download *d, int rc, struct paco_error *err)
{
    if (rc == 0)
        rc = settle(d, err);
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
    if (rc < 0)
        fail(job, d, err);
    else
        job->result->n_fetched++;
}

/* ---- from where ---- */

static bool is_web(const char *from)
{
    return from && (strncasecmp(from, "http://", 7) == 0 || strncasecmp(from, "https://", 8) == 0);
}

/* "https://HOST/PATH" is HOST/PATH below from. */
static char *source_of(const struct pc_fetch_options *o, const char *url)
{
    const char *rest = strstr(url, "://");
    return o->from ? pc_path_join(o->from, rest ? rest + 3 : url) : pc_strdup(url);
}

static int copy_local(struct download *d, struct paco_error *err)
{
    struct pc_file f = {.fd = -1};
    uint8_t bytes[CHUNK];
    int rc = pc_file_open(&f, d->url, err);
    rc = rc < 0 ? rc : begin_part(d, "", err);
    for (uint64_t at = 0; rc == 0 && at < f.size;) {
        size_t n = f.size - at < CHUNK ? (size_t)(f.size - at) : CHUNK;
        rc = pc_file_read(&f, at, bytes, n, err);
        rc = rc < 0 ? rc : write_part(d, at, bytes, n, err);
        at += n;
        if (rc == 0 && progress(d->job, d->file->path))
            rc = pc_error_set(err, PACO_ECANCELLED, "stopped");
    }
    pc_file_close(&f);
    return rc;
}

static int start(struct fetch *job, size_t i, struct paco_error *err)
{
    struct download *d = &job->v[i];
    char mark[256];
    int rc = open_part(d, mark, err);
    if (rc < 0)
        return rc;
    if (job->o->from && !is_web(job->o->from)) {
        rc = copy_local(d, err);
        if (rc != PACO_ECANCELLED)
            done(job, d, rc, err);
        return rc == PACO_ECANCELLED ? rc : 0;
    }
    job->done += d->len;
    d->sink = (struct pc_http_sink){write_part, d, begin_part};
    return pc_http_start(job->http,
        &(struct pc_http_request){.url = d->url,
            .tag = i,
            .sink = &d->sink,
            .offset = d->len,
            .validator = mark[0] ? mark : NULL,
            .is_verified = d->file->digest != NULL},
        err);
}

/* The answers of the network, until none is open. */
static int wait_for_all(struct fetch *job, struct paco_error *err)
{
    struct pc_http_reply reply;
    int rc = 0;
    while (rc >= 0 && pc_http_n_open(job->http) > 0) {
        rc = pc_http_wait(job->http, 100, &reply, err);
        if (rc > 0) {
            struct download *d = &job->v[reply.tag];
            struct paco_error own = reply.err;
            if (reply.status == 416) // the part is as long as the file, and not the file
                drop_part(d);
            done(job, d, own.code, &own);
        }
        if (rc >= 0 && progress(job, NULL))
            rc = pc_error_set(
                err, PACO_ECANCELLED, "stopped; what came is kept, and the same command goes on");
    }
    return rc < 0 ? rc : 0;
}

/* ---- the whole of it ---- */

static int add(struct fetch *job, const struct pc_data_file *file, struct paco_error *err)
{
    struct download *d = &job->v[job->n];
    struct paco_error own = {0};
    *d = (struct download){.file = file, .fd = -1, .job = job};
    d->path = pc_path_join(job->o->dir, file->path);
    d->url = source_of(job->o, file->url);
    size_t room = strlen(job->o->dir) + strlen(file->path) + 32;
    d->part = pc_alloc(room, 1);
    d->mark = pc_alloc(room, 1);
    job->n++;
    if (!d->path || !d->url || !d->part || !d->mark)
        return pc_error_mem(err, room, "a path");
    snprintf(d->part, room, "%s.paco-part", d->path);
    snprintf(d->mark, room, "%s.paco-part-of", d->path);
    job->result->n_files++;
    int there = job->o->force ? 0 : is_there(d, &own);
    if (there < 0)
        fail(job, d, &own);
    if (there > 0)
        job->result->n_there++;
    d->failed = there != 0; // it is not asked for
    job->total += there ? 0 : file->size;
    return 0;
}

static int add_all(struct fetch *job, const struct pc_data_set *const *sets, size_t n, struct paco_error *err)
{
    int rc = 0;
    size_t n_files = 0;
    for (size_t s = 0; s < n; s++)
        n_files += sets[s]->n_files;
    job->v = pc_alloc_zero(n_files, sizeof *job->v);
    if (!job->v)
        return pc_error_mem(err, n_files * sizeof *job->v, "the list of files");
    for (size_t s = 0; s < n && rc == 0; s++)
        for (size_t i = 0; i < sets[s]->n_files && rc == 0; i++)
            rc = add(job, &sets[s]->files[i], err);
    return rc;
}

static int open_http(struct fetch *job, struct paco_error *err)
{
    struct pc_http_options http = job->o->http;
    http.max_in_flight = http.max_in_flight ? http.max_in_flight : N_AT_ONCE;
    http.max_tries = http.max_tries ? http.max_tries : 4; // without a network, say so soon
    http.timeout = http.timeout != 0 ? http.timeout : -1; // large files take their time
    http.stall_timeout = http.stall_timeout > 0 ? http.stall_timeout : 60;
    return pc_http_open(&http, &job->http, err);
}

/* The network is looked for when the first file needs it. */
static int run(struct fetch *job, const struct pc_data_set *const *sets, size_t n, struct paco_error *err)
{
    int rc = add_all(job, sets, n, err);
    bool web = !job->o->from || is_web(job->o->from);
    for (size_t i = 0; i < job->n && rc == 0; i++) {
        if (job->v[i].failed)
            continue;
        if (web && !job->http)
            rc = open_http(job, err);
        rc = rc < 0 ? rc : start(job, i, err);
    }
    return rc == 0 && job->http ? wait_for_all(job, err) : rc;
}

int pc_data_fetch(const struct pc_data_set *const *sets, size_t n, const struct pc_fetch_options *options,
    struct pc_fetch_result *result, struct paco_error *err)
{
    struct fetch job = {.o = options, .result = result};
    *result = (struct pc_fetch_result){0};
    int rc = run(&job, sets, n, err);
    pc_http_close(job.http);
    for (size_t i = 0; i < job.n; i++) {
        struct download *d = &job.v[i];
        if (d->fd >= 0)
            close(d->fd);
        pc_free(d->path);
        pc_free(d->part);
        pc_free(d->mark);
        pc_free(d->url);
    }
    pc_free(job.v);
    if (rc == 0 && job.first.code) {
        if (err)
            *err = job.first;
        rc = job.first.code;
    }
    return rc;
}
