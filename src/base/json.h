// SPDX-License-Identifier: Apache-2.0
/* JSON from strangers: jansson behind bounds on size and depth, with errors that name file and byte; and a
 * writer whose numbers are the shortest that read back the same.
 *
 * Values are jansson's `json_t`: *owned* ones are released with json_decref, members are borrowed as usual
 * there. */
#ifndef PC_BASE_JSON_H
#define PC_BASE_JSON_H

#include "base/buf.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PC_JSON_MAX_DEPTH = 64 };

/** Let jansson's values come from base/memory.h, where tests can make allocations fail: for a program's or a
 * test's main, before there is any value. In a process of somebody else's jansson stays as it is. */
void pc_json_use_memory(void);

/** Parse len bytes into *out (owned). Duplicate keys, depth above PC_JSON_MAX_DEPTH, invalid UTF-8 and
 * trailing text are PACO_EFORMAT with err->offset = base_offset + position and err->path = path (may be
 * NULL). Integers too large for 64 bits (tokenizer_config.json has them) become reals. */
int pc_json_parse(const char *text, size_t len, const char *path, uint64_t base_offset, json_t **out,
    struct paco_error *err);

/** The same for one line of a file of lines, whose number the caller tells: messages give the column alone.
 */
int pc_json_parse_line(const char *text, size_t len, const char *path, uint64_t base_offset, json_t **out,
    struct paco_error *err);

/** At least as many as the values text would parse into, each about 100 bytes of memory: for readers that
 * bound what a hostile file may cost before they parse it. */
uint64_t pc_json_count_values(const char *text, size_t len);

/** Read and parse a file of at most max_size bytes; the root must be an object. */
int pc_json_read(const char *path, size_t max_size, json_t **out, struct paco_error *err);

/** Typed members of an object. `get` wants the key present, `opt` leaves *out alone when it is absent or
 * null. A value of another type or outside [min, max] is PACO_EFORMAT naming key, what was found and what is
 * expected. Strings are borrowed from obj. Reals with an integral value count as integers. */
int pc_json_get_i64(
    const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *out, struct paco_error *err);
int pc_json_opt_i64(
    const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *out, struct paco_error *err);
int pc_json_get_f64(const json_t *obj, const char *key, double *out, struct paco_error *err);
int pc_json_opt_f64(const json_t *obj, const char *key, double *out, struct paco_error *err);
int pc_json_get_str(const json_t *obj, const char *key, const char **out, struct paco_error *err);
/** The same with its length, for texts that may hold NUL, and telling a missing member from one of another
 * type. */
int pc_json_get_text(
    const json_t *obj, const char *key, const char **out, size_t *len, struct paco_error *err);
int pc_json_opt_str(const json_t *obj, const char *key, const char **out, struct paco_error *err);
int pc_json_opt_bool(const json_t *obj, const char *key, bool *out, struct paco_error *err);

/** A member that is a number, or NAN. */
double pc_json_double(const json_t *obj, const char *key);

/** A number, or null when it is none that JSON has. NULL when memory is out. */
json_t *pc_json_number(double x);

/** "an object", "a string", "null", ... for messages. */
const char *pc_json_kind(const json_t *v);

enum pc_json_style {
    PC_JSON_COMPACT,       /* {"a":1,"b":[2]} in insertion order: JSON lines */
    PC_JSON_SORTED_PRETTY, /* keys sorted, indent 2, as Python's json.dumps(indent=2, sort_keys=True) */
    PC_JSON_PRETTY,        /* indent 2, insertion order, as json.dumps(indent=2) */
    PC_JSON_PRETTY_4,      /* the same with indent 4 */
    PC_JSON_PYTHON,        /* {"a": 1, "b": [2]} in insertion order, as json.dumps() */
};

/** Append v to b. What is no UTF-8 (a path, made a value by json_string_nocheck) becomes U+FFFD. Non-ASCII
 * text stays UTF-8 in the compact style and is escaped as \uXXXX in the others, as Python does. */
void pc_json_write(struct pc_buf *b, const json_t *v, enum pc_json_style style);

/** The same for a value inside of what is already written: its lines, but the first, are indented depth
 * levels more. */
void pc_json_write_at(struct pc_buf *b, const json_t *v, enum pc_json_style style, int depth);

/** Append the shortest decimal that reads back as x, in Python's repr form ("1e-05", "0.1", "1.0"). NaN and
 * infinities become null: JSON has no word for them. */
void pc_json_write_double(struct pc_buf *b, double x);

/** Append len bytes as a quoted JSON string. Invalid UTF-8 becomes U+FFFD. */
void pc_json_write_string(struct pc_buf *b, const char *s, size_t len, bool ascii);

#endif
