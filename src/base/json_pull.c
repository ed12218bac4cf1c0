// SPDX-License-Identifier: Apache-2.0
/* A state for what may come next, a bit for each open bracket, and one function for each kind of token. No
 * recursion: depth costs a bit. Numbers go by strtod and strtoll after their form was checked, so that they
 * are what jansson makes of them. */
#include "base/json_pull.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW = 64 * 1024,
    MAX_NUMBER = 4096, /* digits and all */
};

enum state {
    WANTS_VALUE,
    WANTS_VALUE_OR_END, /* behind '[' */
    WANTS_KEY_OR_END,   /* behind '{' */
    WANTS_COMMA_OR_END,
    WANTS_NOTHING,
    OVER,
};

enum { NO_BYTE = -1, FAILED = -2 };

static void init(struct pc_json_pull *p, const char *path)
{
    *p = (struct pc_json_pull){.path = path, .state = WANTS_VALUE};
    pc_buf_init(&p->string, PC_JSON_MAX_STRING);
    pc_json_keys_init(&p->keys, INT32_MAX);
}

int pc_json_pull_file(
    struct pc_json_pull *p, const struct pc_file *file, uint64_t begin, uint64_t end, struct paco_error *err)
{
    init(p, file->path);
    p->file = file;
    p->window_at = begin;
    p->end = end;
    p->own_window = pc_alloc(WINDOW, 1);
    p->window = p->own_window;
    return p->own_window ? 0 : pc_error_mem(err, WINDOW, "reading JSON");
}

void pc_json_pull_text(struct pc_json_pull *p, const char *text, size_t len, const char *path)
{
    init(p, path);
    p->window = text;
    p->window_size = len;
    p->end = len;
}

void pc_json_pull_release(struct pc_json_pull *p)
{
    pc_free(p->own_window);
    pc_buf_release(&p->string);
    pc_json_keys_release(&p->keys);
    *p = (struct pc_json_pull){.state = OVER};
}

const char *pc_json_token_name(enum pc_json_token token)
{
    switch (token) {
    case PC_JSON_OBJECT:
    case PC_JSON_OBJECT_END: return "an object";
    case PC_JSON_ARRAY:
    case PC_JSON_ARRAY_END: return "an array";
    case PC_JSON_KEY:
    case PC_JSON_STRING: return "a string";
    case PC_JSON_INTEGER: return "an integer";
    case PC_JSON_REAL: return "a real number";
    case PC_JSON_TRUE:
    case PC_JSON_FALSE: return "a boolean";
    case PC_JSON_NULL: return "null";
    case PC_JSON_END: return "nothing";
    }
    return "nothing";
}

/* ---- bytes ---- */

static uint64_t here(const struct pc_json_pull *p)
{
    return p->window_at + p->next;
}

/* The byte here, NO_BYTE behind the last, or FAILED. */
static int peek(struct pc_json_pull *p, struct paco_error *err)
{
    if (p->next < p->window_size)
        return (unsigned char)p->window[p->next];
    if (!p->file || here(p) >= p->end)
        return NO_BYTE;
    p->window_at += p->window_size;
    p->next = 0;
    p->window_size = p->end - p->window_at < WINDOW ? (size_t)(p->end - p->window_at) : WINDOW;
    if (pc_file_read(p->file, p->window_at, p->own_window, p->window_size, err) < 0) {
        p->window_size = 0;
        return FAILED;
    }
    return (unsigned char)p->window[0];
}

static int skip_space(struct pc_json_pull *p, struct paco_error *err)
{
    int c;
    while ((c = peek(p, err)) == ' ' || c == '\n' || c == '\r' || c == '\t')
        p->next++;
    return c;
}

/* An error at byte `at`: "JSON" and what was found. */
static int bad_at(struct pc_json_pull *p, uint64_t at, int code, const char *found, struct paco_error *err)
{
    p->state = OVER;
    return pc_error_file(err, code, p->path, at, "JSON%s", found);
}

static int unexpected(struct pc_json_pull *p, int c, const char *expected, struct paco_error *err)
{
    p->state = OVER;
    if (c == FAILED)
        return err ? err->code : PACO_EIO;
    if (c == NO_BYTE)
        return pc_error_file(
            err, PACO_EFORMAT, p->path, here(p), "JSON: ends where %s is expected", expected);
    if (c < 0x20 || c >= 0x7f)
        return pc_error_file(err, PACO_EFORMAT, p->path, here(p), "JSON: byte 0x%02x where %s is expected",
            (unsigned)c, expected);
    return pc_error_file(err, PACO_EFORMAT, p->path, here(p), "JSON: '%c' where %s is expected", c, expected);
}

/* ---- strings ---- */

static int read_hex4(struct pc_json_pull *p, uint32_t *out, struct paco_error *err)
{
    *out = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(p, err);
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return unexpected(p, c, "a hexadecimal digit of \\u", err);
        *out = *out << 4 | (uint32_t)digit;
        p->next++;
    }
    return 0;
}

/* Behind "\u", which began at byte `at`: one escape, or two that are a surrogate pair. */
static int read_unicode(struct pc_json_pull *p, uint64_t at, uint32_t *cp, struct paco_error *err)
{
    uint32_t low;
    int rc = read_hex4(p, cp, err);
    if (rc < 0 || *cp < 0xd800 || *cp > 0xdfff)
        return rc;
    if (*cp >= 0xdc00)
        return bad_at(p, at, PACO_EFORMAT, ": a low surrogate without a high one", err);
    for (const char *s = "\\u"; *s; s++, p->next++) {
        int c = peek(p, err);
        if (c != *s)
            return c == FAILED ? unexpected(p, c, "", err)
                               : bad_at(p, at, PACO_EFORMAT, ": a high surrogate without a low one", err);
    }
    rc = read_hex4(p, &low, err);
    if (rc < 0)
        return rc;
    if (low < 0xdc00 || low > 0xdfff)
        return bad_at(p, at, PACO_EFORMAT, ": a high surrogate without a low one", err);
    *cp = 0x10000 + ((*cp - 0xd800) << 10) + (low - 0xdc00);
    return 0;
}

static int read_escape(struct pc_json_pull *p, struct paco_error *err)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    uint64_t at = here(p);
    p->next++;
    int c = peek(p, err);
    const char *found = c > 0 ? strchr(letters, c) : NULL;
    if (found) {
        p->next++;
        pc_buf_putc(&p->string, meanings[found - letters]);
        return 0;
    }
    if (c != 'u')
        return unexpected(p, c, "an escape", err);
    p->next++;
    uint32_t cp;
    uint8_t bytes[4];
    int rc = read_unicode(p, at, &cp, err);
    if (rc == 0)
        pc_buf_add(&p->string, bytes, pc_utf8_encode(cp, bytes));
    return rc;
}

/* A sequence of more than one byte. */
static int read_wide(struct pc_json_pull *p, struct paco_error *err)
{
    uint64_t at = here(p);
    uint8_t bytes[4];
    uint32_t cp;
    for (size_t n = 0; n < sizeof bytes;) {
        int c = peek(p, err);
        if (c == FAILED)
            return unexpected(p, c, "", err);
        if (c == NO_BYTE)
            break;
        bytes[n++] = (uint8_t)c;
        p->next++;
        if (pc_utf8_decode(bytes, n, &cp)) {
            pc_buf_add(&p->string, bytes, n);
            return 0;
        }
    }
    return bad_at(p, at, PACO_EFORMAT, " is not valid UTF-8", err);
}

/* The plain characters from here on, as far as the window goes. */
static void read_plain(struct pc_json_pull *p)
{
    const unsigned char *s = (const unsigned char *)p->window;
    size_t first = p->next;
    while (p->next < p->window_size && s[p->next] >= 0x20 && s[p->next] < 0x80 && s[p->next] != '"' &&
           s[p->next] != '\\')
        p->next++;
    pc_buf_add(&p->string, p->window + first, p->next - first);
}

static int read_string(struct pc_json_pull *p, struct paco_error *err)
{
    int rc = 0, c;
    pc_buf_clear(&p->string);
    p->next++;
    while (rc == 0 && (c = peek(p, err)) != '"') {
        if (c < 0x20)
            return unexpected(p, c, "the rest of a string", err);
        if (c == '\\')
            rc = read_escape(p, err);
        else if (c >= 0x80)
            rc = read_wide(p, err);
        else
            read_plain(p);
        if (rc == 0 && p->string.failed) {
            p->state = OVER;
            rc = pc_buf_check(&p->string, "a JSON string", err);
            pc_error_at(err, p->path, p->at);
        }
    }
    if (rc < 0)
        return rc;
    p->next++;
    if (!p->string.data)
        pc_buf_add(&p->string, "", 0);
    p->text = p->string.data ? p->string.data : "";
    p->len = p->string.len;
    return 0;
}

/* ---- the other values ---- */

static int take_digits(struct pc_json_pull *p, struct paco_error *err)
{
    int c;
    size_t before = p->string.len;
    while ((c = peek(p, err)) >= '0' && c <= '9' && p->string.len < MAX_NUMBER) {
        pc_buf_putc(&p->string, (char)c);
        p->next++;
    }
    return p->string.len == before ? unexpected(p, c, "a digit", err) : 0;
}

static bool take_one_of(struct pc_json_pull *p, const char *set, struct paco_error *err)
{
    int c = peek(p, err);
    if (c <= 0 || !strchr(set, c))
        return false;
    pc_buf_putc(&p->string, (char)c);
    p->next++;
    return true;
}

/* What text holds is of a number's form. */
static int convert_number(struct pc_json_pull *p, bool is_whole, struct paco_error *err)
{
    char *end;
    errno = 0;
    p->real = strtod(p->text, &end);
    if (isinf(p->real))
        return bad_at(p, p->at, PACO_EFORMAT, ": a number beyond what a double holds", err);
    errno = 0;
    long long integer = is_whole ? strtoll(p->text, &end, 10) : 0;
    p->token = is_whole && errno == 0 ? PC_JSON_INTEGER : PC_JSON_REAL;
    p->integer = integer;
    return 0;
}

static int read_number(struct pc_json_pull *p, struct paco_error *err)
{
    pc_buf_clear(&p->string);
    take_one_of(p, "-", err);
    bool is_whole = true;
    int rc = take_one_of(p, "0", err) ? 0 : take_digits(p, err);
    if (rc == 0 && take_one_of(p, ".", err)) {
        is_whole = false;
        rc = take_digits(p, err);
    }
    if (rc == 0 && take_one_of(p, "eE", err)) {
        is_whole = false;
        take_one_of(p, "+-", err);
        rc = take_digits(p, err);
    }
    if (rc < 0)
        return rc;
    if (p->string.failed)
        return p->state = OVER, pc_error_mem(err, p->string.len, "a JSON number");
    if (p->string.len >= MAX_NUMBER)
        return bad_at(p, p->at, PACO_ELIMIT, ": a number of thousands of digits", err);
    p->text = p->string.data;
    p->len = p->string.len;
    return convert_number(p, is_whole, err);
}

static int read_word(
    struct pc_json_pull *p, const char *word, enum pc_json_token token, struct paco_error *err)
{
    for (const char *s = word; *s; s++, p->next++) {
        int c = peek(p, err);
        if (c != (unsigned char)*s)
            return unexpected(p, c, "a value", err);
    }
    p->token = token;
    return 0;
}

/* ---- structure ---- */

static int open_bracket(struct pc_json_pull *p, bool is_array, struct paco_error *err)
{
    if (p->depth == PC_JSON_MAX_DEPTH) {
        p->state = OVER;
        return pc_error_file(
            err, PACO_ELIMIT, p->path, here(p), "JSON nested deeper than %d levels", PC_JSON_MAX_DEPTH);
    }
    p->next++;
    p->is_array[p->depth++] = is_array;
    if (!is_array)
        pc_json_keys_open(&p->keys);
    p->state = is_array ? WANTS_VALUE_OR_END : WANTS_KEY_OR_END;
    p->token = is_array ? PC_JSON_ARRAY : PC_JSON_OBJECT;
    return 0;
}

static void value_ended(struct pc_json_pull *p)
{
    p->state = p->depth ? WANTS_COMMA_OR_END : WANTS_NOTHING;
}

static int close_bracket(struct pc_json_pull *p)
{
    bool is_array = p->is_array[--p->depth];
    p->next++;
    if (!is_array)
        pc_json_keys_close(&p->keys);
    p->token = is_array ? PC_JSON_ARRAY_END : PC_JSON_OBJECT_END;
    value_ended(p);
    return 0;
}

static int read_value(struct pc_json_pull *p, int c, struct paco_error *err)
{
    int rc;
    if (c == '{' || c == '[')
        return open_bracket(p, c == '[', err);
    if (c == '"') {
        rc = read_string(p, err);
        p->token = PC_JSON_STRING;
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        rc = read_number(p, err);
    } else if (c == 't') {
        rc = read_word(p, "true", PC_JSON_TRUE, err);
    } else if (c == 'f') {
        rc = read_word(p, "false", PC_JSON_FALSE, err);
    } else if (c == 'n') {
        rc = read_word(p, "null", PC_JSON_NULL, err);
    } else {
        rc = unexpected(p, c, "a value", err);
    }
    if (rc == 0)
        value_ended(p);
    return rc;
}

static int read_key(struct pc_json_pull *p, int c, struct paco_error *err)
{
    if (c != '"')
        return unexpected(p, c, "a key", err);
    int rc = read_string(p, err);
    if (rc < 0)
        return rc;
    if (memchr(p->text, 0, p->len))
        return bad_at(p, p->at, PACO_EFORMAT, ": NUL in a key", err);
    int added = pc_json_keys_add(&p->keys, p->text, p->len);
    if (added < 0)
        return p->state = OVER, pc_error_mem(err, p->keys.names.len, "the keys of JSON");
    if (added == 0)
        return bad_at(p, p->at, PACO_EFORMAT, ": duplicate object key", err);
    if ((c = skip_space(p, err)) != ':')
        return unexpected(p, c, "':'", err);
    p->next++;
    p->token = PC_JSON_KEY;
    p->state = WANTS_VALUE;
    return 0;
}

/* Behind a member of an open bracket. */
static int read_next_member(struct pc_json_pull *p, int c, struct paco_error *err)
{
    bool is_array = p->is_array[p->depth - 1];
    if (c == (is_array ? ']' : '}'))
        return close_bracket(p);
    if (c != ',')
        return unexpected(p, c, is_array ? "',' or ']'" : "',' or '}'", err);
    p->next++;
    c = skip_space(p, err);
    p->at = here(p);
    return is_array ? read_value(p, c, err) : read_key(p, c, err);
}

int pc_json_next(struct pc_json_pull *p, struct paco_error *err)
{
    int c = p->state == OVER ? NO_BYTE : skip_space(p, err), rc = 0;
    p->at = here(p);
    p->text = NULL;
    p->len = 0;
    switch ((enum state)p->state) {
    case WANTS_VALUE: rc = read_value(p, c, err); break;
    case WANTS_VALUE_OR_END: rc = c == ']' ? close_bracket(p) : read_value(p, c, err); break;
    case WANTS_KEY_OR_END: rc = c == '}' ? close_bracket(p) : read_key(p, c, err); break;
    case WANTS_COMMA_OR_END: rc = read_next_member(p, c, err); break;
    case WANTS_NOTHING:
        if (c != NO_BYTE)
            return unexpected(p, c, "the end", err);
        p->state = OVER;
        p->token = PC_JSON_END;
        break;
    case OVER: p->token = PC_JSON_END; break;
    }
    return rc < 0 ? rc : (int)p->token;
}

int pc_json_skip(struct pc_json_pull *p, struct paco_error *err)
{
    if (p->token != PC_JSON_OBJECT && p->token != PC_JSON_ARRAY)
        return 0;
    int outside = p->depth - 1, rc = 0;
    while (rc >= 0 && p->depth > outside)
        rc = pc_json_next(p, err);
    return rc < 0 ? rc : 0;
}
