// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *allocate(size_t size)
{
    return pc_alloc(1, size);
}

void pc_json_use_memory(void)
{
    json_set_alloc_funcs(allocate, pc_free);
}

/* jansson recurses up to 2048 levels, which is more than some thread stacks; a scan outside strings is exact
 * enough, for text that is not JSON fails in the parser anyway. */
static bool too_deep(const char *text, size_t len, size_t *at)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > PC_JSON_MAX_DEPTH) {
                *at = i;
                return true;
            }
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

uint64_t pc_json_count_values(const char *text, size_t len)
{
    uint64_t n = 1;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string)
            n += c == ',' || c == '[' || c == '{';
    }
    return n;
}

static int parse(const char *text, size_t len, const char *path, uint64_t base_offset, bool line,
    json_t **out, struct paco_error *err)
{
    size_t at = 0;
    *out = NULL;
    if (too_deep(text, len, &at)) {
        pc_error_set(err, PACO_ELIMIT, "JSON nested deeper than %d levels", PC_JSON_MAX_DEPTH);
        pc_error_at(err, path, base_offset + at);
        return PACO_ELIMIT;
    }
    if (!pc_utf8_valid((const uint8_t *)text, len, &at)) {
        // The longest character has four bytes.
        pc_error_set(err, PACO_EFORMAT, "JSON is not valid UTF-8%s", len - at < 4 ? " (truncated?)" : "");
        pc_error_at(err, path, base_offset + at);
        return PACO_EFORMAT;
    }
    json_error_t je;
    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    if (!*out && json_error_code(&je) == json_error_numeric_overflow)
        *out = json_loadb(text, len,
            JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &je);
    if (*out)
        return 0;
    // jansson says nothing at all when memory runs out.
    if (!je.text[0] || json_error_code(&je) == json_error_out_of_memory) {
        pc_error_mem(err, len, "JSON");
        pc_error_path(err, path);
        return PACO_EMEM;
    }
    static const char eof[] = "end of file";
    size_t n = strlen(je.text), n_eof = sizeof eof - 1;
    bool cut = json_error_code(&je) == json_error_premature_end_of_input;
    if (line && n >= n_eof && strcmp(je.text + n - n_eof, eof) == 0)
        pc_error_set(err, PACO_EFORMAT, "JSON: %.*send of the line", (int)(n - n_eof), je.text);
    else if (cut && line)
        pc_error_set(err, PACO_EFORMAT, "JSON: ends too early, after column %d (truncated?)", je.column);
    else if (cut)
        pc_error_set(err, PACO_EFORMAT, "JSON: ends too early, in line %d after column %d (truncated?)",
            je.line, je.column);
    else if (line)
        pc_error_set(err, PACO_EFORMAT, "JSON: %s (column %d)", je.text, je.column);
    else
        pc_error_set(err, PACO_EFORMAT, "JSON: %s (line %d, column %d)", je.text, je.line, je.column);
    pc_error_at(err, path, base_offset + (je.position > 0 ? (uint64_t)je.position : 0));
    return PACO_EFORMAT;
}

int pc_json_parse(const char *text, size_t len, const char *path, uint64_t base_offset, json_t **out,
    struct paco_error *err)
{
    return parse(text, len, path, base_offset, false, out, err);
}

int pc_json_parse_line(const char *text, size_t len, const char *path, uint64_t base_offset, json_t **out,
    struct paco_error *err)
{
    return parse(text, len, path, base_offset, true, out, err);
}

int pc_json_read(const char *path, size_t max_size, json_t **out, struct paco_error *err)
{
    struct pc_buf b;
    *out = NULL;
    int rc = pc_file_slurp(path, max_size, &b, err);
    if (rc == 0)
        rc = pc_json_parse(b.data, b.len, path, 0, out, err);
    if (rc == 0 && !json_is_object(*out)) {
        rc = pc_error_set(err, PACO_EFORMAT, "holds %s where a JSON object is expected", pc_json_kind(*out));
        pc_error_path(err, path);
        json_decref(*out);
        *out = NULL;
    }
    pc_buf_release(&b);
    return rc;
}

double pc_json_double(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

json_t *pc_json_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

const char *pc_json_kind(const json_t *v)
{
    if (!v)
        return "nothing";
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a real number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: return "null";
    }
    return "an unknown value";
}

/* The member, or NULL with rc: 0 when it may be absent, an error when it must be there. */
static const json_t *member(
    const json_t *obj, const char *key, bool required, int *rc, struct paco_error *err)
{
    const json_t *v = json_object_get(obj, key);
    *rc = 0;
    if (v && !json_is_null(v))
        return v;
    if (required)
        *rc = pc_error_set(err, PACO_EFORMAT, "\"%s\" is missing", key);
    return NULL;
}

static int wrong_type(const json_t *v, const char *key, const char *expected, struct paco_error *err)
{
    return pc_error_set(
        err, PACO_EFORMAT, "\"%s\" is %s where %s is expected", key, pc_json_kind(v), expected);
}

static int take_i64(
    const json_t *v, const char *key, int64_t min, int64_t max, int64_t *out, struct paco_error *err)
{
    int64_t x;
    if (json_is_integer(v)) {
        x = json_integer_value(v);
    } else if (json_is_real(v) && json_real_value(v) == floor(json_real_value(v)) &&
               fabs(json_real_value(v)) < 9e15) {
        x = (int64_t)json_real_value(v);
    } else {
        return wrong_type(v, key, "an integer", err);
    }
    if (x < min || x > max)
        return pc_error_set(
            err, PACO_EFORMAT, "\"%s\" is %" PRId64 ", outside %" PRId64 " to %" PRId64, key, x, min, max);
    *out = x;
    return 0;
}

int pc_json_get_i64(
    const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *out, struct paco_error *err)
{
    int rc;
    const json_t *v = member(obj, key, true, &rc, err);
    return v ? take_i64(v, key, min, max, out, err) : rc;
}

int pc_json_opt_i64(
    const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *out, struct paco_error *err)
{
    int rc;
    const json_t *v = member(obj, key, false, &rc, err);
    return v ? take_i64(v, key, min, max, out, err) : rc;
}

static int f64(const json_t *obj, const char *key, bool required, double *out, struct paco_error *err)
{
    int rc;
    const json_t *v = member(obj, key, required, &rc, err);
    if (!v)
        return rc;
    if (!json_is_number(v))
        return wrong_type(v, key, "a number", err);
    *out = json_number_value(v);
    return 0;
}

int pc_json_get_f64(const json_t *obj, const char *key, double *out, struct paco_error *err)
{
    return f64(obj, key, true, out, err);
}

int pc_json_opt_f64(const json_t *obj, const char *key, double *out, struct paco_error *err)
{
    return f64(obj, key, false, out, err);
}

static int str(const json_t *obj, const char *key, bool required, const char **out, struct paco_error *err)
{
    int rc;
    const json_t *v = member(obj, key, required, &rc, err);
    if (!v)
        return rc;
    if (!json_is_string(v))
        return wrong_type(v, key, "a string", err);
    *out = json_string_value(v);
    return 0;
}

int pc_json_get_str(const json_t *obj, const char *key, const char **out, struct paco_error *err)
{
    return str(obj, key, true, out, err);
}

int pc_json_get_text(
    const json_t *obj, const char *key, const char **out, size_t *len, struct paco_error *err)
{
    const json_t *v = json_object_get(obj, key);
    if (!v)
        return pc_error_set(err, PACO_EFORMAT, "'%s' is missing", key);
    if (!json_is_string(v))
        return pc_error_set(err, PACO_EFORMAT, "'%s' is %s where a string is expected", key, pc_json_kind(v));
    *out = json_string_value(v);
    *len = json_string_length(v);
    return 0;
}

int pc_json_opt_str(const json_t *obj, const char *key, const char **out, struct paco_error *err)
{
    return str(obj, key, false, out, err);
}

int pc_json_opt_bool(const json_t *obj, const char *key, bool *out, struct paco_error *err)
{
    int rc;
    const json_t *v = member(obj, key, false, &rc, err);
    if (!v)
        return rc;
    if (!json_is_boolean(v))
        return wrong_type(v, key, "true or false", err);
    *out = json_is_true(v);
    return 0;
}

void pc_json_write_double(struct pc_buf *b, double x)
{
    if (!isfinite(x)) {
        pc_buf_puts(b, "null");
        return;
    }
    char s[40];
    int digits = 1;
    do
        snprintf(s, sizeof s, "%.*e", digits - 1, x);
    while (strtod(s, NULL) != x && ++digits <= 17);
    // s is d.ddde[+-]XX; Python's repr uses it for exponents below -4 or from 16 up, plain decimals between.
    char *e = strchr(s, 'e');
    int exponent = atoi(e + 1);
    if (exponent >= -4 && exponent < 16) {
        int decimals = digits - 1 - exponent;
        pc_buf_printf(b, "%.*f", decimals > 1 ? decimals : 1, x);
    } else {
        pc_buf_printf(b, "%.*se%c%02d", (int)(e - s), s, exponent < 0 ? '-' : '+', abs(exponent));
    }
}

static void write_escaped(struct pc_buf *b, uint32_t cp, const char *bytes, size_t n, bool ascii)
{
    static const char *const shorts[32] = {
        [8] = "\\b", [9] = "\\t", [10] = "\\n", [12] = "\\f", [13] = "\\r"};
    if (cp == '"' || cp == '\\')
        pc_buf_printf(b, "\\%c", (char)cp);
    else if (cp < 32 && shorts[cp])
        pc_buf_puts(b, shorts[cp]);
    else if (cp < 32 || (ascii && cp >= 127 && cp < 0x10000))
        pc_buf_printf(b, "\\u%04x", cp);
    else if (ascii && cp >= 0x10000)
        pc_buf_printf(
            b, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10), 0xdc00 + ((cp - 0x10000) & 0x3ff));
    else
        pc_buf_add(b, bytes, n);
}

void pc_json_write_string(struct pc_buf *b, const char *s, size_t len, bool ascii)
{
    pc_buf_putc(b, '"');
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t n = pc_utf8_decode((const uint8_t *)s + i, len - i, &cp);
        if (n)
            write_escaped(b, cp, s + i, n, ascii);
        else
            write_escaped(b, 0xfffd, "\xef\xbf\xbd", 3, ascii);
        i += n ? n : 1;
    }
    pc_buf_putc(b, '"');
}

struct writer {
    struct pc_buf *b;
    enum pc_json_style style;
    int depth;
};

static void newline(struct writer *w)
{
    int indent = w->style == PC_JSON_PRETTY_4 ? 4 : 2;
    if (w->style != PC_JSON_COMPACT && w->style != PC_JSON_PYTHON)
        pc_buf_printf(w->b, "\n%*s", indent * w->depth, "");
}

static void separator(struct writer *w, bool first)
{
    if (!first)
        pc_buf_puts(w->b, w->style == PC_JSON_PYTHON ? ", " : ",");
    newline(w);
}

static void write_value(struct writer *w, const json_t *v);

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void write_object(struct writer *w, const json_t *v)
{
    size_t n = json_object_size(v), i = 0;
    const char **keys = pc_alloc(n, sizeof *keys);
    if (!keys) {
        w->b->failed = true;
        return;
    }
    // jansson's iterators take a non-const object and change nothing.
    json_t *obj = (json_t *)(uintptr_t)v;
    for (void *it = json_object_iter(obj); it; it = json_object_iter_next(obj, it))
        keys[i++] = json_object_iter_key(it);
    if (w->style == PC_JSON_SORTED_PRETTY)
        qsort(keys, n, sizeof *keys, by_text);
    pc_buf_putc(w->b, '{');
    w->depth++;
    for (i = 0; i < n; i++) {
        separator(w, i == 0);
        pc_json_write_string(w->b, keys[i], strlen(keys[i]), w->style != PC_JSON_COMPACT);
        pc_buf_puts(w->b, w->style == PC_JSON_COMPACT ? ":" : ": ");
        write_value(w, json_object_get(v, keys[i]));
    }
    w->depth--;
    if (n)
        newline(w);
    pc_buf_putc(w->b, '}');
    pc_free(keys);
}

static void write_value(struct writer *w, const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: write_object(w, v); break;
    case JSON_ARRAY:
        pc_buf_putc(w->b, '[');
        w->depth++;
        for (size_t i = 0; i < json_array_size(v); i++) {
            separator(w, i == 0);
            write_value(w, json_array_get(v, i));
        }
        w->depth--;
        if (json_array_size(v))
            newline(w);
        pc_buf_putc(w->b, ']');
        break;
    case JSON_STRING:
        pc_json_write_string(w->b, json_string_value(v), json_string_length(v), w->style != PC_JSON_COMPACT);
        break;
    case JSON_INTEGER: pc_buf_printf(w->b, "%" JSON_INTEGER_FORMAT, json_integer_value(v)); break;
    case JSON_REAL: pc_json_write_double(w->b, json_real_value(v)); break;
    case JSON_TRUE: pc_buf_puts(w->b, "true"); break;
    case JSON_FALSE: pc_buf_puts(w->b, "false"); break;
    case JSON_NULL: pc_buf_puts(w->b, "null"); break;
    }
}

void pc_json_write_at(struct pc_buf *b, const json_t *v, enum pc_json_style style, int depth)
{
    struct writer w = {b, style, depth};
    write_value(&w, v);
}

void pc_json_write(struct pc_buf *b, const json_t *v, enum pc_json_style style)
{
    pc_json_write_at(b, v, style, 0);
}
