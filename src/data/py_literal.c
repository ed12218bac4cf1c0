// SPDX-License-Identifier: Apache-2.0
#include "data/py_literal.h"

#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 32, MAX_TEXT = 16 << 20 };

struct reader {
    const char *text, *path;
    size_t len, at;
    struct paco_error *err;
};

static int fail(struct reader *r, const char *why)
{
    return pc_error_file(r->err, PACO_EFORMAT, r->path, r->at, "%s, where a plain value is expected", why);
}

static char peek(const struct reader *r)
{
    return r->at < r->len ? r->text[r->at] : '\0';
}

/* White space, line breaks (inside of brackets they mean nothing), comments, joined lines. */
static void skip(struct reader *r)
{
    for (; r->at < r->len; r->at++) {
        char c = r->text[r->at];
        if (c == '#') {
            const char *end = memchr(r->text + r->at, '\n', r->len - r->at);
            r->at = end ? (size_t)(end - r->text) : r->len - 1;
        } else if (!strchr(" \t\r\n\f\\", c) || c == '\0') {
            return;
        }
    }
}

/* ---- texts ---- */

static int hex(struct reader *r, int n_digits, uint32_t *cp)
{
    *cp = 0;
    for (int i = 0; i < n_digits; i++, r->at++) {
        char digit[2] = {peek(r), '\0'};
        char *end;
        uint32_t v = (uint32_t)strtoul(digit, &end, 16);
        if (end == digit || digit[0] == '+' || digit[0] == '-')
            return fail(r, "half an escape");
        *cp = *cp * 16 + v;
    }
    return 0;
}

static uint32_t octal(struct reader *r)
{
    uint32_t cp = 0;
    for (int i = 0; i < 3 && peek(r) >= '0' && peek(r) <= '7'; i++)
        cp = cp * 8 + (uint32_t)(r->text[r->at++] - '0');
    return cp;
}

/* What follows a backslash. */
static int escape(struct reader *r, struct pc_buf *out)
{
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    char c = peek(r);
    const char *simple = c ? strchr(from, c) : NULL;
    uint32_t cp = 0;
    uint8_t bytes[4];
    if (simple) {
        pc_buf_putc(out, to[simple - from]);
        r->at++;
        return 0;
    }
    if (c == '\n') {
        r->at++;
        return 0;
    }
    if (c >= '0' && c <= '7') {
        cp = octal(r);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        r->at++;
        int rc = hex(r, c == 'x' ? 2 : c == 'u' ? 4 : 8, &cp);
        if (rc < 0)
            return rc;
    } else { // Python leaves it, backslash and all; \N{...} is not known here
        if (c == 'N')
            return fail(r, "a character by its name");
        pc_buf_putc(out, '\\');
        return 0;
    }
    size_t n = pc_utf8_encode(cp, bytes);
    if (n == 0)
        return fail(r, "half a character");
    pc_buf_add(out, bytes, n);
    return 0;
}

/* One quoted text, whose prefix was read. */
static int quoted(struct reader *r, bool raw, struct pc_buf *out)
{
    char quote = peek(r);
    const char triple[3] = {quote, quote, quote};
    size_t n_quotes = r->len - r->at >= 3 && memcmp(r->text + r->at, triple, 3) == 0 ? 3 : 1;
    r->at += n_quotes;
    for (;;) {
        char c = peek(r);
        if (r->at >= r->len || (n_quotes == 1 && c == '\n'))
            return fail(r, "a text without its end");
        if (c == quote && r->len - r->at >= n_quotes && memcmp(r->text + r->at, triple, n_quotes) == 0)
            break;
        r->at++;
        int rc = 0;
        if (c == '\\' && !raw)
            rc = escape(r, out);
        else
            pc_buf_putc(out, c);
        if (c == '\\' && raw && r->at < r->len) // it keeps a quote from ending the text, and stays
            pc_buf_putc(out, r->text[r->at++]);
        if (rc < 0)
            return rc;
    }
    r->at += n_quotes;
    return 0;
}

/* The length of a text's prefix and whether it is raw; -1 if no text begins here. */
static int prefix(const struct reader *r, bool *raw)
{
    *raw = false;
    if (strchr("'\"", peek(r)) && peek(r))
        return 0;
    char next = r->at + 1 < r->len ? r->text[r->at + 1] : '\0';
    if (peek(r) && strchr("rRuU", peek(r)) && next && strchr("'\"", next)) {
        *raw = strchr("rR", peek(r)) != NULL;
        return 1;
    }
    return -1;
}

/* Texts that follow each other are one. */
static int read_text(struct reader *r, json_t **out)
{
    struct pc_buf b;
    bool raw;
    int n, rc = 0;
    pc_buf_init(&b, MAX_TEXT);
    while (rc == 0 && (n = prefix(r, &raw)) >= 0) {
        r->at += (size_t)n;
        rc = quoted(r, raw, &b);
        skip(r);
    }
    if (rc == 0)
        rc = pc_buf_check(&b, "a text", r->err);
    if (rc == 0 && !(*out = json_stringn(b.data ? b.data : "", b.len)))
        rc = fail(r, "text that is no UTF-8");
    pc_buf_release(&b);
    return rc;
}

/* ---- other values ---- */

static int read_number(struct reader *r, json_t **out)
{
    char word[64], *end;
    size_t n = 0, len = 0;
    for (char c; r->at + n < r->len && (c = r->text[r->at + n]) && strchr("+-0123456789.eE_", c);)
        n++;
    if (n == 0 || n >= sizeof word)
        return fail(r, "something else");
    for (size_t i = 0; i < n; i++)
        if (r->text[r->at + i] != '_')
            word[len++] = r->text[r->at + i];
    word[len] = '\0';
    errno = 0;
    bool whole = !strpbrk(word, ".eE");
    long long i = whole ? strtoll(word, &end, 10) : 0;
    double x = whole ? 0 : strtod(word, &end);
    if (*end || end == word || errno)
        return fail(r, "no number");
    r->at += n;
    *out = whole ? json_integer(i) : json_real(x);
    return *out ? 0 : pc_error_mem(r->err, 0, "a number");
}

static bool read_word(struct reader *r, json_t **out)
{
    static const char *const words[] = {"True", "False", "None"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if (r->len - r->at >= n && memcmp(r->text + r->at, words[i], n) == 0) {
            r->at += n;
            *out = i == 0 ? json_true() : i == 1 ? json_false() : json_null();
            return true;
        }
    }
    return false;
}

static int read_value(struct reader *r, int depth, json_t **out);

static int read_member(struct reader *r, int depth, json_t *to)
{
    json_t *key = NULL, *value = NULL;
    bool raw;
    int rc = prefix(r, &raw) < 0 ? fail(r, "a key that is no text") : read_text(r, &key);
    if (rc == 0 && peek(r) != ':')
        rc = fail(r, "no colon behind a key");
    if (rc == 0) {
        r->at++;
        rc = read_value(r, depth, &value);
    }
    if (rc == 0 && memchr(json_string_value(key), '\0', json_string_length(key)))
        rc = fail(r, "a NUL in a key");
    if (rc == 0 && json_object_set(to, json_string_value(key), value) < 0)
        rc = pc_error_mem(r->err, 0, "a value");
    json_decref(value);
    json_decref(key);
    return rc;
}

static int read_element(struct reader *r, int depth, json_t *to)
{
    json_t *value = NULL;
    int rc = read_value(r, depth, &value);
    if (rc == 0 && json_array_append_new(to, value) < 0)
        rc = pc_error_mem(r->err, 0, "a value");
    return rc;
}

/* Between brackets. (x) is x, (x,) a tuple. */
static int read_many(struct reader *r, int depth, json_t **out)
{
    char open = peek(r), close = open == '[' ? ']' : open == '{' ? '}' : ')';
    json_t *v = open == '{' ? json_object() : json_array();
    bool comma = false;
    int rc = v ? 0 : pc_error_mem(r->err, 0, "a value");
    r->at++;
    for (skip(r); rc == 0 && peek(r) != close; skip(r)) {
        rc = open == '{' ? read_member(r, depth, v) : read_element(r, depth, v);
        skip(r);
        if (rc == 0 && peek(r) == ',') {
            comma = true;
            r->at++;
        } else if (rc == 0 && peek(r) != close) {
            rc = fail(r, r->at < r->len ? "no comma and no end of brackets" : "the file's end");
        }
    }
    r->at++;
    if (rc == 0 && open == '(' && json_array_size(v) == 1 && !comma) {
        *out = json_incref(json_array_get(v, 0));
        json_decref(v);
        return 0;
    }
    if (rc < 0)
        json_decref(v);
    else
        *out = v;
    return rc;
}

static int read_value(struct reader *r, int depth, json_t **out)
{
    bool raw;
    skip(r);
    if (depth == MAX_DEPTH)
        return fail(r, "too many brackets in each other");
    char c = peek(r);
    if (c == '[' || c == '{' || c == '(')
        return read_many(r, depth + 1, out);
    if (prefix(r, &raw) >= 0)
        return read_text(r, out);
    return read_word(r, out) ? 0 : read_number(r, out);
}

/* Behind `name =` at the beginning of a line; len if there is none. */
static size_t find_value(const char *text, size_t len, const char *name)
{
    size_t n = strlen(name);
    for (size_t at = 0; at + n < len;) {
        size_t end = at + n;
        if (memcmp(text + at, name, n) == 0) {
            while (end < len && strchr(" \t", text[end]))
                end++;
            if (end + 1 < len && text[end] == '=' && text[end + 1] != '=')
                return end + 1;
        }
        const char *line = memchr(text + at, '\n', len - at);
        at = line ? (size_t)(line - text) + 1 : len;
    }
    return len;
}

int pc_py_literal(
    const char *text, size_t len, const char *name, const char *path, json_t **out, struct paco_error *err)
{
    struct reader r = {.text = text, .path = path, .len = len, .at = find_value(text, len, name), .err = err};
    if (r.at >= len) {
        pc_error_set(err, PACO_ENOENT, "there is no '%s = ...' in it", name);
        pc_error_path(err, path);
        return PACO_ENOENT;
    }
    *out = NULL;
    return read_value(&r, 0, out);
}
