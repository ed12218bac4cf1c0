// SPDX-License-Identifier: Apache-2.0
#include "eval/csv.h"

#include "base/py_text.h"
#include "base/utf8.h"
#include "eval/eval_data.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct reader {
    const char *s, *end, *start;
    size_t line;
    char delimiter;
    char *to; /* where the next byte of a cell goes */
    struct pc_csv *t;
    struct paco_error *err;
};

static int complain(struct reader *r, size_t line, const char *at, const char *text)
{
    return pc_error_file(
        r->err, PACO_EFORMAT, r->t->path, (uint64_t)(at - r->start), "line %zu: %s", line, text);
}

static bool at_end_of_line(const struct reader *r)
{
    return r->s == r->end || *r->s == '\n' || *r->s == '\r';
}

/* CR, LF or CRLF, if one is there. */
static void take_end_of_line(struct reader *r)
{
    if (r->s == r->end)
        return;
    r->s += *r->s == '\r' && r->end - r->s > 1 && r->s[1] == '\n' ? 2 : 1;
    r->line++;
}

/* What is between quotes, the opening one taken; stands behind the closing one. */
static int take_quoted(struct reader *r, const char *open, size_t open_line)
{
    for (; r->s < r->end; r->s++) {
        if (*r->s == '"') {
            if (r->end - r->s < 2 || r->s[1] != '"') {
                r->s++;
                return 0;
            }
            r->s++;
        } else if (*r->s == '\n' || (*r->s == '\r' && (r->end - r->s < 2 || r->s[1] != '\n'))) {
            r->line++;
        }
        *r->to++ = *r->s;
    }
    return complain(r, open_line, open, "the file ends inside a quoted cell (truncated?)");
}

static int take_cell(struct reader *r, struct pc_csv_cell *cell)
{
    cell->text = r->to;
    if (r->s < r->end && *r->s == '"') {
        const char *open = r->s++;
        int rc = take_quoted(r, open, r->line);
        if (rc < 0)
            return rc;
    }
    while (!at_end_of_line(r) && *r->s != r->delimiter)
        *r->to++ = *r->s++;
    *r->to++ = '\0';
    return 0;
}

static int wrong_width(struct reader *r, size_t line, const char *at, size_t n)
{
    return pc_error_file(r->err, PACO_EFORMAT, r->t->path, (uint64_t)(at - r->start),
        "line %zu: %zu%s column%s where %zu are expected%s", line, n, n > r->t->n_columns ? " or more" : "",
        n == 1 ? "" : "s", r->t->n_columns, r->s == r->end ? " (truncated?)" : "");
}

static int take_row(struct reader *r)
{
    struct pc_csv *t = r->t;
    struct pc_csv_cell row[PC_CSV_MAX_COLUMNS] = {{0}};
    const char *at = r->s;
    size_t line = r->line, n = 0;
    for (;;) {
        if (n == t->n_columns)
            return wrong_width(r, line, at, n + 1);
        int rc = take_cell(r, &row[n++]);
        if (rc < 0)
            return rc;
        if (at_end_of_line(r))
            break;
        r->s++;
    }
    if (n < t->n_columns)
        return wrong_width(r, line, at, n);
    take_end_of_line(r);
    for (size_t i = 0; i < n; i++) {
        int rc =
            pc_grow(&t->cells, &t->cell_capacity, t->n_rows * n + i, sizeof *t->cells, "a table", r->err);
        if (rc < 0)
            return rc;
        t->cells[t->n_rows * n + i] = row[i];
    }
    int rc = pc_grow(&t->line, &t->line_capacity, t->n_rows, sizeof *t->line, "a table", r->err);
    if (rc < 0)
        return rc;
    t->line[t->n_rows++] = line;
    return 0;
}

/* Nothing but blanks up to the end of the line. */
static bool take_blank_line(struct reader *r)
{
    const char *s = r->s;
    while (s < r->end && (*s == ' ' || *s == '\t') && *s != r->delimiter)
        s++;
    if (s < r->end && *s != '\n' && *s != '\r')
        return false;
    r->s = s;
    take_end_of_line(r);
    return true;
}

static size_t line_at(const char *text, size_t at)
{
    size_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += text[i] == '\n' || (text[i] == '\r' && text[i + 1] != '\n');
    return line;
}

static int check_text(struct reader *r, size_t len)
{
    size_t bad;
    if (!pc_utf8_valid((const uint8_t *)r->start, len, &bad))
        return complain(r, line_at(r->start, bad), r->start + bad, "is not valid UTF-8");
    const char *nul = memchr(r->start, '\0', len);
    if (nul)
        return complain(r, line_at(r->start, (size_t)(nul - r->start)), nul, "a NUL byte in a table");
    return 0;
}

static int parse(struct reader *r, size_t len)
{
    int rc = check_text(r, len);
    while (rc == 0 && r->s < r->end) {
        if (take_blank_line(r))
            continue;
        rc = r->t->n_rows >= PC_EVAL_MAX_ITEMS ? complain(r, r->line, r->s, "too many rows") : take_row(r);
    }
    if (rc == 0 && r->t->n_rows == 0)
        rc = pc_data_error(r->err, PACO_EFORMAT, r->t->path, "is empty where a table is expected");
    return rc;
}

int pc_csv_parse(const char *text, size_t len, const char *path, char delimiter, size_t n_columns,
    struct pc_csv *out, struct paco_error *err)
{
    static const char bom[] = "\xef\xbb\xbf";
    // A cell's bytes are no more than it has in the file, and its NUL stands for what ends it there.
    *out = (struct pc_csv){.n_columns = n_columns, .path = pc_strdup(path), .bytes = pc_alloc(len + 1, 1)};
    int rc;
    if (out->path && out->bytes) {
        struct reader r = {text, text + len, text, 1, delimiter, out->bytes, out, err};
        if (len >= 3 && memcmp(text, bom, 3) == 0)
            r.s += 3;
        rc = parse(&r, len);
    } else {
        rc = pc_error_mem(err, len + 1, "a table");
    }
    if (rc < 0)
        pc_csv_release(out);
    return rc;
}

int pc_csv_read(const struct pc_task_env *env, const char *path, char delimiter, size_t n_columns,
    struct pc_csv *out, struct paco_error *err)
{
    struct pc_buf b;
    *out = (struct pc_csv){0};
    int rc = pc_eval_slurp(env, path, &b, err);
    if (rc == 0)
        rc = pc_csv_parse(b.data ? b.data : "", b.len, path, delimiter, n_columns, out, err);
    pc_buf_release(&b);
    return rc;
}

void pc_csv_release(struct pc_csv *t)
{
    pc_free(t->cells);
    pc_free(t->line);
    pc_free(t->path);
    pc_free(t->bytes);
    pc_arena_release(&t->spelled);
    *t = (struct pc_csv){0};
}

static bool is_missing(const char *s, bool none_too)
{
    static const char *const spellings[] = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN",
        "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"};
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++)
        if (strcmp(s, spellings[i]) == 0)
            return true;
    return none_too && strcmp(s, "None") == 0;
}

static bool is_blank_from(const char *s)
{
    return s[strspn(s, " \t\n\v\f\r")] == '\0';
}

/* 1, or -1 for an integer beyond 64 bits, or 0 for none. */
static int read_integer(const char *s, int64_t *out)
{
    s += strspn(s, " \t\n\v\f\r");
    const char *digits = s + (*s == '+' || *s == '-');
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || !is_blank_from(digits + n))
        return 0;
    errno = 0;
    *out = strtoll(s, NULL, 10);
    return errno == 0 ? 1 : -1;
}

static bool read_number(const char *s, double *out)
{
    s += strspn(s, " \t\n\v\f\r");
    const char *body = s + (*s == '+' || *s == '-');
    char *end;
    // strtod would take hexadecimal numbers and "nan(...)", too.
    if (strspn(body, "0123456789.eE+-") == 0 && strncasecmp(body, "inf", 3) != 0)
        return false;
    *out = strtod(s, &end);
    return end != s && is_blank_from(end) && !strpbrk(body, "xX");
}

static bool read_truth(const char *s, bool *out)
{
    *out = strcasecmp(s, "true") == 0;
    return *out || strcasecmp(s, "false") == 0;
}

/* What all cells of a column that are not missing can be read as. Where the first that is no 64-bit integer
 * is a longer one, pandas tries nothing else. */
enum column_kind { INTEGERS, NUMBERS, TRUTHS, TEXTS };

static enum column_kind kind_of(const struct pc_csv *t, size_t column)
{
    bool integers = true, numbers = true, truths = true, missing = false, any = false;
    for (size_t row = 0; row < t->n_rows; row++) {
        const struct pc_csv_cell *c = pc_csv_cell(t, row, column);
        int64_t i;
        double x;
        bool b;
        missing |= c->missing;
        if (c->missing)
            continue;
        any = true;
        int integer = integers ? read_integer(c->text, &i) : 1;
        if (integer < 0)
            return TEXTS;
        integers = integers && integer;
        numbers = numbers && read_number(c->text, &x);
        truths = truths && read_truth(c->text, &b);
    }
    if (!any)
        return TEXTS;
    return integers && !missing ? INTEGERS : numbers ? NUMBERS : truths ? TRUTHS : TEXTS;
}

static int spell(struct pc_csv *t, struct pc_csv_cell *c, enum column_kind kind, struct paco_error *err)
{
    int64_t i;
    double x;
    bool truth;
    struct pc_buf b;
    pc_buf_init(&b, 64);
    if (kind == INTEGERS && read_integer(c->text, &i) > 0)
        pc_buf_printf(&b, "%" PRId64, i);
    else if (kind == NUMBERS && read_number(c->text, &x))
        pc_py_float(&b, x);
    else if (kind == TRUTHS && read_truth(c->text, &truth))
        pc_buf_puts(&b, truth ? "True" : "False");
    char *copy = b.data ? pc_arena_strndup(&t->spelled, b.data, b.len) : NULL;
    pc_buf_release(&b);
    if (!copy)
        return pc_error_mem(err, 64, "a table");
    c->text = copy;
    return 0;
}

int pc_csv_infer(struct pc_csv *t, bool none_too, struct paco_error *err)
{
    for (size_t i = 0; i < t->n_rows * t->n_columns; i++) {
        t->cells[i].missing = is_missing(t->cells[i].text, none_too);
        if (t->cells[i].missing)
            t->cells[i].text = "nan";
    }
    for (size_t column = 0; column < t->n_columns; column++) {
        enum column_kind kind = kind_of(t, column);
        for (size_t row = 0; kind != TEXTS && row < t->n_rows; row++) {
            struct pc_csv_cell *c = &t->cells[row * t->n_columns + column];
            int rc = c->missing ? 0 : spell(t, c, kind, err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

void pc_csv_put(struct pc_buf *out, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        pc_buf_puts(out, text);
        return;
    }
    pc_buf_putc(out, '"');
    for (; *text; text++) {
        if (*text == '"')
            pc_buf_putc(out, '"');
        pc_buf_putc(out, *text);
    }
    pc_buf_putc(out, '"');
}
