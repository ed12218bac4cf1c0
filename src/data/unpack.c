// SPDX-License-Identifier: Apache-2.0
#include "data/unpack.h"

#include "base/file.h"
#include "base/memory.h"
#include "data/py_literal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { BLOCK = 512, MAX_ENTRY = 64 << 20, MAX_PYTHON = 1 << 20, MAX_EXEMPLARS = 1000 };

/* POSIX ustar: a block of header, the bytes, filled up to whole blocks. */
struct entry {
    char name[101];
    uint64_t size, at; /* at: of its bytes in the file */
    char type;
};

static uint64_t octal(const char *field, size_t len)
{
    uint64_t v = 0;
    size_t i = 0;
    while (i < len && field[i] == ' ')
        i++;
    for (; i < len && field[i] >= '0' && field[i] <= '7'; i++)
        v = v * 8 + (uint64_t)(field[i] - '0');
    return v;
}

/* The sum of the header's bytes, its own field taken for blanks. */
static bool sum_fits(const unsigned char *header)
{
    uint64_t sum = 0;
    for (int i = 0; i < BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : header[i];
    return sum == octal((const char *)header + 148, 8);
}

static int read_header(const struct pc_file *f, uint64_t at, struct entry *e, struct paco_error *err)
{
    unsigned char header[BLOCK];
    int rc = pc_file_read(f, at, header, BLOCK, err);
    if (rc < 0)
        return rc;
    bool blank = true;
    for (int i = 0; i < BLOCK; i++)
        blank = blank && header[i] == 0;
    if (blank)
        return 0;
    if (!sum_fits(header))
        return pc_error_file(
            err, PACO_EFORMAT, f->path, at, "is no tar file, or damaged: a header's checksum does not fit");
    memcpy(e->name, header, 100);
    e->name[100] = '\0';
    e->size = octal((const char *)header + 124, 12);
    e->type = (char)header[156];
    e->at = at + BLOCK;
    if (e->size > f->size - e->at)
        return pc_error_file(err, PACO_EFORMAT, f->path, at,
            "is cut off: entry '%.60s' has %llu bytes, %llu follow", e->name, (unsigned long long)e->size,
            (unsigned long long)(f->size - e->at));
    return 1;
}

/* "test/x.csv" in "data/test/x.csv", for a plain file of a size one can have; else NULL. */
static const char *wanted(const struct entry *e)
{
    static const char *const folders[] = {"data/dev/", "data/val/", "data/test/"};
    if ((e->type != '0' && e->type != '\0') || e->size > MAX_ENTRY)
        return NULL;
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(folders[i]);
        const char *base = e->name + n;
        if (strncmp(e->name, folders[i], n) == 0 && pc_path_is_plain(base) && base[0] != '.' &&
            pc_ends_with(base, ".csv"))
            return e->name + strlen("data/");
    }
    return NULL;
}

static int make_dir(const char *path, struct paco_error *err)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return 0;
    int rc = pc_error_os(err, errno, "making the folder");
    pc_error_path(err, path);
    return rc;
}

static int extract(
    const struct pc_file *f, const struct entry *e, const char *dir, const char *name, struct paco_error *err)
{
    char *path = pc_path_join(dir, name);
    char *bytes = pc_alloc((size_t)e->size, 1);
    int rc = path && bytes ? 0 : pc_error_mem(err, e->size, name);
    if (rc == 0)
        rc = pc_file_read(f, e->at, bytes, (size_t)e->size, err);
    if (rc == 0)
        rc = pc_file_write_atomic(path, bytes, (size_t)e->size, err);
    pc_free(bytes);
    pc_free(path);
    return rc;
}

static int make_folders(const char *dir, struct paco_error *err)
{
    static const char *const names[] = {"dev", "val", "test"};
    int rc = make_dir(dir, err);
    for (size_t i = 0; i < 3 && rc == 0; i++) {
        char *path = pc_path_join(dir, names[i]);
        rc = path ? make_dir(path, err) : pc_error_mem(err, 0, "a path");
        pc_free(path);
    }
    return rc;
}

int pc_unpack_mmlu(const char *path, const char *dir, size_t *n_files, struct paco_error *err)
{
    struct pc_file f = {.fd = -1};
    struct entry e = {0};
    int rc = pc_file_open(&f, path, err);
    *n_files = 0;
    if (rc == 0)
        rc = make_folders(dir, err);
    uint64_t at = 0;
    while (rc == 0 && f.size - at >= BLOCK && (rc = read_header(&f, at, &e, err)) > 0) {
        const char *name = wanted(&e);
        rc = name ? extract(&f, &e, dir, name, err) : 0;
        *n_files += name && rc == 0;
        uint64_t whole = (e.size + BLOCK - 1) / BLOCK * BLOCK;
        at = f.size - e.at < whole ? f.size : e.at + whole;
    }
    if (rc == 0 && *n_files == 0)
        rc = pc_error_file(err, PACO_EFORMAT, path, 0, "holds no data/test/*.csv");
    pc_file_close(&f);
    return rc;
}

static int put_lines(const json_t *list, const char *path, struct pc_buf *out, struct paco_error *err)
{
    static const char *const names[] = {"question", "cot_answer", "short_answer"};
    size_t n = json_array_size(list);
    if (n == 0 || n > MAX_EXEMPLARS)
        return pc_error_file(err, PACO_EFORMAT, path, 0, "EXAMPLARS is no list of exemplars");
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i);
        for (size_t k = 0; k < 3; k++)
            if (!json_is_string(json_object_get(o, names[k])))
                return pc_error_file(
                    err, PACO_EFORMAT, path, 0, "exemplar %zu has no text '%s'", i, names[k]);
        pc_json_write(out, o, PC_JSON_PYTHON);
        pc_buf_putc(out, '\n');
    }
    return pc_buf_check(out, "exemplars", err);
}

int pc_unpack_exemplars(const char *path, const char *out, size_t *n, struct paco_error *err)
{
    struct pc_buf text, lines;
    json_t *list = NULL;
    pc_buf_init(&lines, MAX_PYTHON);
    int rc = pc_file_slurp(path, MAX_PYTHON, &text, err);
    if (rc == 0)
        rc = pc_py_literal(text.data ? text.data : "", text.len, "EXAMPLARS", path, &list, err);
    if (rc == 0)
        rc = put_lines(list, path, &lines, err);
    if (rc == 0)
        rc = pc_file_write_atomic(out, lines.data, lines.len, err);
    *n = rc == 0 ? json_array_size(list) : 0;
    json_decref(list);
    pc_buf_release(&lines);
    pc_buf_release(&text);
    return rc;
}

/* Every exemplar of every language is a question and an answer. */
static int check_languages(const json_t *all, const char *path, struct paco_error *err)
{
    const char *language, *number;
    json_t *list, *exemplar;
    if (json_object_size(all) == 0 || json_object_size(all) > MAX_EXEMPLARS)
        return pc_error_file(err, PACO_EFORMAT, path, 0, "MGSM_EXEMPLARS is no dict of languages");
    json_object_foreach((json_t *)(uintptr_t)all, language, list)
    {
        if (json_object_size(list) == 0 || json_object_size(list) > MAX_EXEMPLARS)
            return pc_error_file(err, PACO_EFORMAT, path, 0, "'%s' has no exemplars", language);
        json_object_foreach(list, number, exemplar)
        {
            if (!json_is_string(json_object_get(exemplar, "q")) ||
                !json_is_string(json_object_get(exemplar, "a")))
                return pc_error_file(err, PACO_EFORMAT, path, 0,
                    "exemplar '%s' of '%s' has no texts 'q' and 'a'", number, language);
        }
    }
    return 0;
}

int pc_unpack_mgsm(const char *path, const char *out, size_t *n, struct paco_error *err)
{
    struct pc_buf text, b;
    json_t *all = NULL;
    pc_buf_init(&b, MAX_PYTHON);
    int rc = pc_file_slurp(path, MAX_PYTHON, &text, err);
    if (rc == 0)
        rc = pc_py_literal(text.data ? text.data : "", text.len, "MGSM_EXEMPLARS", path, &all, err);
    if (rc == 0)
        rc = check_languages(all, path, err);
    if (rc == 0) {
        pc_buf_puts(&b, "{\"MGSM_EXEMPLARS\": ");
        pc_json_write(&b, all, PC_JSON_PYTHON);
        pc_buf_puts(&b, "}\n");
        rc = pc_buf_check(&b, "exemplars", err);
    }
    if (rc == 0)
        rc = pc_file_write_atomic(out, b.data, b.len, err);
    *n = rc == 0 ? json_object_size(all) : 0;
    json_decref(all);
    pc_buf_release(&b);
    pc_buf_release(&text);
    return rc;
}
