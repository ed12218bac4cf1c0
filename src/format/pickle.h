// SPDX-License-Identifier: Apache-2.0
/* Python pickles, as far as torch.save writes them: an allow-list of opcodes and of globals that executes
 * nothing.
 *
 * A pickle is a program for a small stack machine which may call any Python function it names. Here the
 * machine has only the opcodes that build plain data, a "global" is a row of a fixed table (pickle_torch.c),
 * and "calling" one fills in a plain struct. Whatever is not in the table is refused by name before anything
 * else happens.
 *
 *     struct pc_pickle pickle;
 *     struct pc_pickle_input in = {.file = &file, .start = offset, .end = file.size};
 *     if (pc_pickle_read(&in, &pickle, &err) < 0) ...
 *     pickle.root->kind == PC_VALUE_DICT ...
 *     pc_pickle_release(&pickle);
 *
 * Bounds: PC_PICKLE_MAX_* below; memory for values is at most 1 MiB + 64 bytes for each byte of input, and
 * 256 MiB. Values may share and even contain each other, so whoever walks them must bound the depth. */
#ifndef PC_FORMAT_PICKLE_H
#define PC_FORMAT_PICKLE_H

#include "base/dtype.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PC_PICKLE_MAX_SIZE = 64 * 1024 * 1024, /* bytes of one pickle */
    PC_PICKLE_MAX_STACK = 1 << 20,         /* values waiting to be put into a container */
    PC_PICKLE_MAX_DEPTH = 1000,            /* open MARKs */
    PC_PICKLE_MAX_MEMO = 1 << 22,          /* values remembered for later */
    PC_PICKLE_MAX_GLOBAL = 255,            /* bytes of a module's or a global's name */
};

enum pc_value_kind {
    PC_VALUE_NONE,
    PC_VALUE_BOOL,
    PC_VALUE_INT,  /* fits 64 bits */
    PC_VALUE_LONG, /* does not: text is its little-endian two's complement, or its digits in protocol 1 */
    PC_VALUE_FLOAT,
    PC_VALUE_STR,   /* not checked to be UTF-8 */
    PC_VALUE_BYTES, /* the content is not kept */
    PC_VALUE_TUPLE,
    PC_VALUE_LIST,
    PC_VALUE_DICT, /* items are key, value, key, value ... in order; keys may repeat */
    PC_VALUE_SET,
    PC_VALUE_GLOBAL, /* a row of the allow-list */
    PC_VALUE_STORAGE,
    PC_VALUE_TENSOR,
    PC_VALUE_OPAQUE, /* harmless and of no use here: a device, a layout, a complex number ... */
};

struct pc_pickle_global;

/** What a persistent id names: bytes outside the pickle. */
struct pc_pickle_storage {
    bool untyped;        /* counts bytes; each tensor brings its own dtype */
    enum pc_dtype dtype; /* PC_U8 if untyped */
    const char *key;     /* NUL-terminated, key_len bytes */
    size_t key_len;
    int64_t n_elements;
    uint64_t at;  /* offset of the opcode that named it */
    bool is_view; /* legacy files: elements [view_offset, view_offset + view_n) of the storage */
    int64_t view_offset, view_n;
    const struct pc_pickle_storage *next;
};

/** A tensor over a storage. The numbers are the file's: nothing about them is checked but that they are
 * integers. */
struct pc_pickle_tensor {
    const struct pc_pickle_storage *storage;
    enum pc_dtype dtype;
    int64_t offset;                /* in elements */
    const struct pc_value *shape;  /* a tuple of ints */
    const struct pc_value *stride; /* likewise, as long as shape; in elements */
};

struct pc_value {
    enum pc_value_kind kind;
    bool ordered; /* a DICT that is an OrderedDict */
    uint64_t at;  /* offset of the opcode that made it, with origin */
    union {
        bool b;
        int64_t i;
        double f;
        struct {
            const char *s; /* NUL-terminated; NULL for BYTES */
            size_t len;
        } text;
        struct {
            struct pc_value **items;
            size_t n, capacity;
        } seq; /* TUPLE, LIST, DICT, SET */
        const struct pc_pickle_global *global;
        const struct pc_pickle_storage *storage;
        const struct pc_pickle_tensor *tensor;
    };
};

/** Where the pickle's bytes are: [start, end) of an open file, or of bytes in memory if file is NULL. */
struct pc_pickle_input {
    const struct pc_file *file;
    const uint8_t *bytes;
    uint64_t start, end;
    uint64_t origin;  /* added to offsets in messages and in values: where in the file bytes[0] is */
    const char *path; /* for messages; may be NULL */
};

struct pc_pickle {
    struct pc_value *root;
    const struct pc_pickle_storage *storages; /* every one named, the last first */
    uint64_t end;                             /* offset just after the STOP opcode, without origin */
    struct pc_arena arena;
};

/** Read one pickle. The values are a *view* into out->arena: pc_pickle_release. Errors carry the offset of
 * the opcode: PACO_EUNSUPPORTED for a global or opcode that is not on the list, PACO_ELIMIT for what is too
 * large, PACO_EFORMAT else. */
int pc_pickle_read(const struct pc_pickle_input *in, struct pc_pickle *out, struct paco_error *err);
void pc_pickle_release(struct pc_pickle *p);

/** The value under key in a dict (the last, as in Python), or NULL. */
const struct pc_value *pc_value_get(const struct pc_value *dict, const char *key);

/** "an integer", "a list", ... for messages. */
const char *pc_value_describe(const struct pc_value *v);

bool pc_value_is_str(const struct pc_value *v, const char *text);

#endif
