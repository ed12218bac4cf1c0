// SPDX-License-Identifier: Apache-2.0
/* JSON token by token, for files whose tree would not fit in memory: headers, indexes and manifests of models
 * with tens of thousands of tensors.
 *
 *     struct pc_json_pull p;
 *     rc = pc_json_pull_file(&p, &file, 0, file.size, &err);
 *     while (rc >= 0 && (rc = pc_json_next(&p, &err)) > PC_JSON_END)
 *         if (rc == PC_JSON_KEY) ... p.text, p.len, p.at
 *     pc_json_pull_release(&p);
 *
 * It takes what pc_json_parse takes and refuses what that refuses: text that is no UTF-8, duplicate keys, NUL
 * in a key, more than PC_JSON_MAX_DEPTH levels, anything behind the value. Errors carry path and byte.
 * Memory: a window of the file, the longest string, and the keys of the objects that are open. */
#ifndef PC_BASE_JSON_PULL_H
#define PC_BASE_JSON_PULL_H

#include "base/file.h"
#include "base/json_keys.h"

enum pc_json_token {
    PC_JSON_END, /* the value is whole and nothing follows it */
    PC_JSON_OBJECT,
    PC_JSON_OBJECT_END,
    PC_JSON_ARRAY,
    PC_JSON_ARRAY_END,
    PC_JSON_KEY,
    PC_JSON_STRING,
    PC_JSON_INTEGER, /* fits an int64_t */
    PC_JSON_REAL,    /* any other number */
    PC_JSON_TRUE,
    PC_JSON_FALSE,
    PC_JSON_NULL,
};

enum { PC_JSON_MAX_STRING = 16 * 1024 * 1024 };

/** Release with pc_json_pull_release whatever happened; `{0}` may be released too. */
struct pc_json_pull {
    /* The token at hand. */
    enum pc_json_token token;
    uint64_t at;      /* of its first byte in the file */
    const char *text; /* a string's or key's UTF-8, a NUL behind it; a number as written. Until the next. */
    size_t len;
    int64_t integer; /* of an integer */
    double real;     /* of either kind of number */
    int depth;       /* brackets open behind it */

    /* Its own. */
    const struct pc_file *file; /* NULL: all of the text is in the window */
    const char *path;
    uint64_t end;             /* of the text, in the file */
    const char *window;       /* bytes from window_at on */
    char *own_window;         /* owned: the window, when it is a file's */
    size_t window_size, next; /* bytes in the window; the one to be read next */
    uint64_t window_at;
    int state;
    bool is_array[PC_JSON_MAX_DEPTH];
    struct pc_buf string;
    struct pc_json_keys keys;
};

/** Read bytes [begin, end) of file, which stays open meanwhile; its path is named in errors. */
int pc_json_pull_file(
    struct pc_json_pull *p, const struct pc_file *file, uint64_t begin, uint64_t end, struct paco_error *err);
/** Read len bytes of text, borrowed; path (may be NULL) is named in errors. */
void pc_json_pull_text(struct pc_json_pull *p, const char *text, size_t len, const char *path);
void pc_json_pull_release(struct pc_json_pull *p);

/** The next token, also in p->token; or a negative code: PACO_EFORMAT for what is no JSON, PACO_ELIMIT for
 * depth and strings beyond the bounds, PACO_EMEM, or as reading the file fails. After PC_JSON_END, or an
 * error, there is no further one. */
int pc_json_next(struct pc_json_pull *p, struct paco_error *err);

/** Go on to the last token of the value that the token at hand begins (not a key). 0, or as above. */
int pc_json_skip(struct pc_json_pull *p, struct paco_error *err);

/** The value that the token at hand begins (not a key), of at most max_values values in all; beyond that it
 * is PACO_ELIMIT. *owned*. For the small parts of a large text, which may then be looked at like any other.
 */
int pc_json_pull_value(struct pc_json_pull *p, uint64_t max_values, json_t **out, struct paco_error *err);

/** "an object", "a string", "null" ... for messages. */
const char *pc_json_token_name(enum pc_json_token token);

#endif
