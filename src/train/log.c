// SPDX-License-Identifier: Apache-2.0
#include "train/log.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LINE = 4096 };

struct pc_train_log {
    int fd;
    char *path;
    uint64_t size;
};

/* What is in a log. */
struct lines {
    uint64_t first, end; /* steps (first, end] are summed, and those behind end not looked at */
    uint64_t size, n;    /* bytes and number of the lines up to end */
    double sum;          /* of losses */
    uint64_t n_summed;
};

/* Take one line in; false for what is no line of ours, or of a step behind the end. */
static bool take(struct lines *l, const char *text, size_t len)
{
    json_t *root = NULL;
    int64_t step = 0;
    bool good = pc_json_parse_line(text, len, NULL, 0, &root, NULL) == 0 &&
                pc_json_get_i64(root, "step", 1, INT64_MAX, &step, NULL) == 0 && (uint64_t)step <= l->end;
    if (good && (uint64_t)step > l->first) {
        l->sum += pc_json_double(root, "loss");
        l->n_summed++;
    }
    if (good)
        l->n++;
    json_decref(root);
    return good;
}

/* Lines from the first on, as long as they are whole and their steps at most l->end. */
static int read_lines(const char *path, struct lines *l, struct paco_error *err)
{
    struct pc_file f = {.fd = -1};
    char buffer[MAX_LINE];
    int rc = pc_file_open(&f, path, err);
    while (rc == 0 && l->size < f.size) {
        size_t len = f.size - l->size < MAX_LINE ? (size_t)(f.size - l->size) : MAX_LINE;
        rc = pc_file_read(&f, l->size, buffer, len, err);
        const char *end = rc == 0 ? memchr(buffer, '\n', len) : NULL;
        if (!end || !take(l, buffer, (size_t)(end - buffer)))
            break;
        l->size += (uint64_t)(end + 1 - buffer);
    }
    pc_file_close(&f);
    return rc;
}

int pc_train_log_losses(
    const char *dir, uint64_t first, uint64_t end, double *sum, uint64_t *n, struct paco_error *err)
{
    struct lines l = {.first = first, .end = end};
    char *path = pc_path_join(dir, PC_TRAIN_LOG_NAME);
    int rc = path ? 0 : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0 && pc_path_exists(path))
        rc = read_lines(path, &l, err);
    pc_free(path);
    *sum = l.sum;
    *n = l.n_summed;
    return rc;
}

static int fail(const struct pc_train_log *log, const char *what, struct paco_error *err)
{
    int rc = pc_error_os(err, errno, "%s", what);
    pc_error_path(err, log->path);
    return rc;
}

static int open_file(struct pc_train_log *log, struct paco_error *err)
{
    log->fd = open(log->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    struct stat st;
    if (log->fd < 0 || fstat(log->fd, &st) < 0)
        return fail(log, "the log cannot be opened", err);
    if (!S_ISREG(st.st_mode))
        return pc_error_file(err, PACO_EEXIST, log->path, 0, "is no regular file");
    if (flock(log->fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return fail(log, "the log cannot be locked", err);
    pc_error_set(err, PACO_EEXIST, "another process is training into this directory");
    return pc_error_path(err, log->path), PACO_EEXIST;
}

int pc_train_log_open(
    const char *dir, uint64_t step, struct pc_train_log **out, uint64_t *missing, struct paco_error *err)
{
    struct lines lines = {.first = step, .end = step};
    struct pc_train_log *log = pc_alloc_zero(1, sizeof *log);
    if (!log)
        return pc_error_mem(err, sizeof *log, "the log");
    log->fd = -1;
    log->path = pc_path_join(dir, PC_TRAIN_LOG_NAME);
    int rc = log->path ? open_file(log, err) : pc_error_mem(err, strlen(dir), "a path");
    if (rc == 0)
        rc = read_lines(log->path, &lines, err);
    log->size = lines.size;
    if (rc == 0 && ftruncate(log->fd, (off_t)log->size) < 0)
        rc = fail(log, "the log cannot be cut", err);
    if (rc < 0)
        return pc_train_log_close(log), rc;
    *missing = step - lines.n;
    *out = log;
    return 0;
}

int pc_train_log_add(
    struct pc_train_log *log, const struct pc_train_report *r, uint64_t peak_memory, struct paco_error *err)
{
    struct pc_buf line;
    pc_buf_init(&line, MAX_LINE);
    const struct {
        const char *name;
        double value;
    } reals[] = {{"loss", r->loss}, {"learning_rate", r->rate}, {"grad_norm", r->norm}, {"epoch", r->epoch},
        {"seconds", r->seconds}, {"tokens_per_s", r->seconds > 0 ? (double)r->n_tokens / r->seconds : 0}};
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {{"tokens", r->n_tokens}, {"trained_tokens", r->n_trained}, {"examples", r->n_examples},
        {"truncated_examples", r->n_truncated}, {"peak_rss_bytes", peak_memory}};
    pc_buf_printf(&line, "{\"step\":%llu", (unsigned long long)r->step);
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        pc_buf_printf(&line, ",\"%s\":", reals[i].name);
        pc_json_write_double(&line, reals[i].value);
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        pc_buf_printf(&line, ",\"%s\":%llu", counts[i].name, (unsigned long long)counts[i].value);
    pc_buf_puts(&line, "}\n");
    int rc = pc_buf_check(&line, "a line of the log", err);
    if (rc == 0)
        rc = pc_fd_write(log->fd, log->path, log->size, line.data, line.len, err);
    if (rc == 0)
        log->size += line.len;
    pc_buf_release(&line);
    return rc;
}

int pc_train_log_sync(struct pc_train_log *log, struct paco_error *err)
{
    return fsync(log->fd) == 0 ? 0 : fail(log, "the log cannot be synced", err);
}

void pc_train_log_close(struct pc_train_log *log)
{
    if (!log)
        return;
    if (log->fd >= 0)
        close(log->fd);
    pc_free(log->path);
    pc_free(log);
}
