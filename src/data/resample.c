// SPDX-License-Identifier: Apache-2.0
#include "data/resample.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/out_file.h"
#include "base/py_random.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK = 1 << 20 };

static const struct {
    const char *name;
    double share;
} parts[] = {
    {"flan_zsopt", 0.1},
    {"flan_fsopt", 0.1},
    {"flan_zsnoopt", 0.1},
    {"flan_fsnoopt", 0.1},
    {"t0_zsopt", 0.08},
    {"t0_fsopt", 0.08},
    {"t0_zsnoopt", 0.08},
    {"t0_fsnoopt", 0.08},
    {"niv2_zsopt", 0.1},
    {"niv2_fsopt", 0.1},
    {"cot_zsopt", 0.025},
    {"cot_fsopt", 0.025},
    {"dialog_zsopt", 0.015},
    {"dialog_fsopt", 0.015},
};

struct resample {
    const struct pc_resample_options *o;
    struct pc_py_random random;
    struct pc_out_file out;
    char *bytes; /* CHUNK of them */
    uint64_t n;
    struct paco_error *err;
};

/* A file's lines, seen once. Python ends a line at "\r" and "\r\n" as well, and makes each "\n". */
struct lines {
    bool *picked; /* of which to copy; NULL: only count */
    uint64_t n;   /* ended so far */
    bool open;    /* bytes since the last end */
    bool after_return;
};

static void take_byte(struct resample *r, struct lines *l, char c)
{
    bool joined = l->after_return && c == '\n';
    l->after_return = c == '\r';
    if (joined)
        return;
    bool ends = c == '\n' || c == '\r';
    if (l->picked && l->picked[l->n])
        pc_buf_putc(&r->out.buf, ends ? '\n' : c);
    l->n += ends;
    l->open = !ends;
}

static int each_byte(struct resample *r, const struct pc_file *file, struct lines *l, const char *part)
{
    int rc = 0;
    for (uint64_t at = 0; at < file->size && rc == 0;) {
        size_t n = file->size - at < CHUNK ? (size_t)(file->size - at) : CHUNK;
        rc = pc_file_read(file, at, r->bytes, n, r->err);
        for (size_t i = 0; i < n && rc == 0; i++)
            take_byte(r, l, r->bytes[i]);
        at += n;
        if (rc == 0 && l->picked)
            rc = pc_out_file_flush(&r->out, false, r->err);
        const struct pc_progress_event event = {.phase = l->picked ? "sampling" : "counting lines",
            .item = part,
            .done = at,
            .total = file->size,
            .unit = "B"};
        if (rc == 0 && pc_progress(r->o->progress, &event))
            rc = pc_error_set(r->err, PACO_ECANCELLED, "interrupted");
    }
    return rc;
}

static int pick(struct resample *r, bool *picked, uint64_t n_lines, size_t n)
{
    size_t *which = pc_alloc(n, sizeof *which);
    if (!which)
        return pc_error_mem(r->err, n * sizeof *which, "a sample");
    int rc = pc_py_sample(&r->random, n_lines, n, which, r->err);
    for (size_t i = 0; i < n && rc == 0; i++)
        picked[which[i]] = true;
    pc_free(which);
    return rc;
}

static int sample_file(struct resample *r, const struct pc_file *file, const char *part, size_t n)
{
    struct lines count = {.n = 0};
    int rc = each_byte(r, file, &count, part);
    uint64_t n_lines = count.n + count.open;
    if (rc == 0 && n > n_lines) {
        rc = pc_error_set(
            r->err, PACO_EFORMAT, "has %" PRIu64 " lines, of which %zu are to be drawn", n_lines, n);
        pc_error_path(r->err, file->path);
    }
    // One more: what follows the last end, if nothing does.
    struct lines copy = {.picked = rc == 0 ? pc_alloc_zero(n_lines + 1, sizeof(bool)) : NULL};
    if (rc == 0 && !copy.picked)
        rc = pc_error_mem(r->err, n_lines, "a sample");
    if (rc == 0)
        rc = pick(r, copy.picked, n_lines, n);
    if (rc == 0)
        rc = each_byte(r, file, &copy, part);
    pc_free(copy.picked);
    r->n += n;
    return rc;
}

static int sample_part(struct resample *r, size_t i)
{
    char name[32];
    struct pc_file file = {.fd = -1};
    snprintf(name, sizeof name, "%s.jsonl", parts[i].name);
    char *path = pc_path_join(r->o->dir, name);
    int rc = path ? pc_file_open(&file, path, r->err) : pc_error_mem(r->err, sizeof name, "a path");
    if (rc == 0)
        rc = sample_file(r, &file, parts[i].name, (size_t)(parts[i].share * (double)r->o->n_samples));
    pc_file_close(&file);
    pc_free(path);
    return rc;
}

int pc_data_resample(const struct pc_resample_options *options, uint64_t *n, struct paco_error *err)
{
    struct resample r = {.o = options, .out = {.fd = -1}, .bytes = pc_alloc(CHUNK, 1), .err = err};
    int rc = r.bytes ? pc_out_file_open(&r.out, options->out, options->force, err)
                     : pc_error_mem(err, CHUNK, "reading");
    pc_py_seed(&r.random, options->seed);
    for (size_t i = 0; i < sizeof parts / sizeof *parts && rc == 0; i++)
        rc = sample_part(&r, i);
    if (rc == 0)
        rc = pc_out_file_commit(&r.out, err);
    pc_out_file_close(&r.out);
    pc_free(r.bytes);
    *n = r.n;
    return rc;
}
