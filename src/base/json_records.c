// SPDX-License-Identifier: Apache-2.0
#include "base/json_records.h"

#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

enum { WINDOW = 4 << 20, BATCH_RECORDS = 16 << 10 };

enum state {
    LINES,       /* JSON lines */
    FIRST_VALUE, /* behind '[': a value or ']' */
    NEXT_VALUE,  /* behind ',': a value */
    AFTER_VALUE, /* ',' or ']' */
    AFTER_ARRAY, /* white space alone */
};

int pc_json_record_error(const char *path, uint64_t line, struct paco_error *err)
{
    pc_error_prefix(err, "line %" PRIu64, line);
    return pc_error_path(err, path);
}

static int bad(struct pc_json_records *r, int code, struct paco_error *err, const char *what)
{
    pc_error_file(err, code, r->file.path, pc_json_records_done(r), "%s", what);
    pc_json_record_error(r->file.path, r->line, err);
    return code;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* ---- the window ---- */

static int note_time(struct pc_json_records *r, struct timespec *out, struct paco_error *err)
{
    struct stat st;
    if (fstat(r->file.fd, &st) < 0) {
        int code = pc_error_os(err, errno, "cannot stat");
        pc_error_path(err, r->file.path);
        return code;
    }
    *out = st.st_mtim;
    if ((uint64_t)st.st_size == r->file.size)
        return 0;
    int code = pc_error_set(err, PACO_EFORMAT, "changed while it was read: %" PRIu64 " bytes became %" PRIu64,
        r->file.size, (uint64_t)st.st_size);
    pc_error_path(err, r->file.path);
    return code;
}

static int check_unchanged(struct pc_json_records *r, struct paco_error *err)
{
    struct timespec now;
    int rc = note_time(r, &now, err);
    if (rc < 0 || (now.tv_sec == r->modified.tv_sec && now.tv_nsec == r->modified.tv_nsec))
        return rc;
    rc = pc_error_set(err, PACO_EFORMAT, "changed while it was read");
    pc_error_path(err, r->file.path);
    return rc;
}

/* Drop what is consumed and read on behind what is left; a window that one record fills becomes larger. */
static int fill(struct pc_json_records *r, struct paco_error *err)
{
    if (r->next) {
        memmove(r->window, r->window + r->next, r->used - r->next);
        r->done += r->next;
        r->used -= r->next;
        r->next = 0;
    }
    if (r->used == r->capacity) {
        size_t capacity = r->capacity * 2;
        if (r->capacity >= PC_JSON_RECORD_MAX)
            return bad(r, PACO_ELIMIT, err, "an example of more than 64 MiB");
        char *window = pc_realloc(r->window, capacity, 1);
        if (!window)
            return pc_error_mem(err, capacity, "a data file's window");
        r->window = window;
        r->capacity = capacity;
    }
    uint64_t left = r->file.size - r->done - r->used;
    size_t n = left < r->capacity - r->used ? (size_t)left : r->capacity - r->used;
    int rc = pc_file_read(&r->file, r->done + r->used, r->window + r->used, n, err);
    if (rc < 0)
        return rc;
    pc_sha256_update(r->sha, r->window + r->used, n);
    r->used += n;
    return 0;
}

static bool at_end(const struct pc_json_records *r)
{
    return r->done + r->used == r->file.size;
}

/* ---- opening ---- */

static void skip_space(struct pc_json_records *r)
{
    for (; r->next < r->used && is_space(r->window[r->next]); r->next++)
        r->line += r->window[r->next] == '\n';
}

/* What a file that is no JSON looks like by its first bytes. */
static const char *kind_of(const char *bytes, size_t n)
{
    static const struct {
        const char *first;
        size_t len;
        const char *what;
    } kinds[] = {{"\x1f\x8b", 2, "this is packed by gzip: unpack it first"},
        {"PK\x03\x04", 4, "this is a zip archive: unpack it first"},
        {"\x28\xb5\x2f\xfd", 4, "this is packed by zstd: unpack it first"},
        {"PAR1", 4, "this is a Parquet file: convert it to JSON lines first"},
        {"\xff\xfe", 2, "this is UTF-16 text: save it as UTF-8"},
        {"\xfe\xff", 2, "this is UTF-16 text: save it as UTF-8"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (n >= kinds[i].len && memcmp(bytes, kinds[i].first, kinds[i].len) == 0)
            return kinds[i].what;
    return "neither JSON lines, which begin with '{', nor a JSON array";
}

static int begin(struct pc_json_records *r, struct paco_error *err)
{
    int rc = fill(r, err);
    if (rc == 0 && r->used >= 3 && memcmp(r->window, "\xef\xbb\xbf", 3) == 0)
        r->next = 3;
    if (rc == 0)
        skip_space(r);
    while (rc == 0 && r->next == r->used && !at_end(r)) {
        rc = fill(r, err);
        skip_space(r);
    }
    if (rc < 0)
        return rc;
    if (r->next == r->used)
        return bad(r, PACO_EFORMAT, err, "the file holds nothing");
    char c = r->window[r->next];
    if (c != '[' && c != '{')
        return bad(r, PACO_EFORMAT, err, kind_of(r->window + r->next, r->used - r->next));
    r->is_array = c == '[';
    r->next += r->is_array;
    r->state = r->is_array ? FIRST_VALUE : LINES;
    return 0;
}

int pc_json_records_open(struct pc_json_records *r, const char *path, struct paco_error *err)
{
    *r = (struct pc_json_records){.file = {.fd = -1}, .line = 1};
    int rc = pc_file_open(&r->file, path, err);
    if (rc == 0)
        rc = note_time(r, &r->modified, err);
    if (rc == 0 && !(r->sha = pc_sha256_new(err)))
        rc = PACO_EMEM;
    r->capacity = WINDOW;
    if (rc == 0 && !(r->window = pc_alloc(r->capacity, 1)))
        rc = pc_error_mem(err, r->capacity, "a data file's window");
    return rc == 0 ? begin(r, err) : rc;
}

void pc_json_records_close(struct pc_json_records *r)
{
    pc_file_close(&r->file);
    pc_sha256_free(r->sha);
    pc_free(r->window);
    pc_free(r->v);
    *r = (struct pc_json_records){.file = {.fd = -1}};
}

/* ---- records ---- */

static int add(struct pc_json_records *r, size_t len, struct paco_error *err)
{
    if (pc_grow(&r->v, &r->v_capacity, r->n, sizeof *r->v, "a batch of examples", err) < 0)
        return PACO_EMEM;
    r->v[r->n++] = (struct pc_json_record){r->window + r->next, len, r->done + r->next, r->line};
    return 0;
}

static bool is_blank(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_space(s[i]))
            return false;
    return true;
}

/* 1: a line was consumed; 0: the window holds no whole one. */
static int take_line(struct pc_json_records *r, struct paco_error *err)
{
    const char *s = r->window + r->next;
    size_t left = r->used - r->next;
    const char *end = left ? memchr(s, '\n', left) : NULL;
    if (!end && (!at_end(r) || !left))
        return 0;
    size_t len = end ? (size_t)(end - s) : left;
    if (!is_blank(s, len) && add(r, len, err) < 0)
        return PACO_EMEM;
    r->next += len + (end != NULL);
    r->line++;
    return 1;
}

/* The bytes of the value at next, or 0 when the window does not hold all of it. *lines: of newlines in it. */
static size_t value_length(const struct pc_json_records *r, uint64_t *lines)
{
    const char *s = r->window;
    int64_t depth = 0;
    *lines = 0;
    for (size_t i = r->next; i < r->used; i++) {
        char c = s[i];
        if (c == '"') {
            for (i++; i < r->used && s[i] != '"'; i++)
                i += s[i] == '\\';
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (--depth <= 0)
                return i - r->next + (depth == 0);
        } else if (depth == 0 && (c == ',' || is_space(c))) {
            return i - r->next;
        }
        *lines += i < r->used && s[i] == '\n';
    }
    return 0;
}

static int take_value(struct pc_json_records *r, struct paco_error *err)
{
    char c = r->window[r->next];
    if (c == ',' || c == '}' || (c == ']' && r->state == NEXT_VALUE))
        return bad(r, PACO_EFORMAT, err, "a value is missing in the array");
    uint64_t lines;
    size_t len = value_length(r, &lines);
    if (!len)
        return 0;
    if (add(r, len, err) < 0)
        return PACO_EMEM;
    r->next += len;
    r->line += lines;
    r->state = AFTER_VALUE;
    return 1;
}

static int take_in_array(struct pc_json_records *r, struct paco_error *err)
{
    skip_space(r);
    if (r->next == r->used)
        return 0;
    char c = r->window[r->next];
    if (r->state == AFTER_ARRAY)
        return bad(r, PACO_EFORMAT, err, "something stands behind the array");
    if (c == ']' && r->state != NEXT_VALUE)
        r->state = AFTER_ARRAY;
    else if (r->state != AFTER_VALUE)
        return take_value(r, err);
    else if (c == ',')
        r->state = NEXT_VALUE;
    else
        return bad(r, PACO_EFORMAT, err, "a comma or the array's end is missing behind an example");
    r->next++;
    return 1;
}

static int finish(struct pc_json_records *r, struct paco_error *err)
{
    if (r->state != LINES && r->state != AFTER_ARRAY)
        return bad(r, PACO_EFORMAT, err, "the file ends inside the array (truncated?)");
    pc_sha256_final(r->sha, r->digest);
    return check_unchanged(r, err);
}

int pc_json_records_batch(struct pc_json_records *r, struct paco_error *err)
{
    r->n = 0;
    for (;;) {
        int rc = 1;
        while (rc > 0 && r->n < BATCH_RECORDS)
            rc = r->state == LINES ? take_line(r, err) : take_in_array(r, err);
        if (rc < 0)
            return rc;
        if (r->n > 0)
            return 0;
        if (at_end(r))
            return finish(r, err);
        if ((rc = fill(r, err)) < 0)
            return rc;
    }
}

int pc_json_record_parse(
    const char *path, const struct pc_json_record *record, json_t **out, struct paco_error *err)
{
    *out = NULL;
    int rc = 0;
    if (pc_json_count_values(record->text, record->len) > PC_JSON_RECORD_MAX_VALUES)
        rc = pc_error_set(
            err, PACO_ELIMIT, "an example of more than %d JSON values", PC_JSON_RECORD_MAX_VALUES);
    if (rc == 0)
        rc = pc_json_parse_line(record->text, record->len, path, record->at, out, err);
    if (rc == 0 && !json_is_object(*out)) {
        rc = pc_error_set(err, PACO_EFORMAT, "holds %s where an object is expected", pc_json_kind(*out));
        json_decref(*out);
        *out = NULL;
    }
    if (rc < 0)
        pc_json_record_error(path, record->line, err);
    return rc;
}
