// SPDX-License-Identifier: Apache-2.0
/* The checkpoint: an ordered table of named tensors that can be read by rows. The door between files and all
 * else.
 *
 * A safetensors directory, a strided pickle, a GGUF file and the sum of two other checkpoints all look like
 * this. A reader fills a struct pc_checkpoint and its ops; nobody above knows which reader it was.
 *
 *     struct pc_checkpoint *ck;
 *     if (pc_checkpoint_open("model-dir", &ck, &err) < 0) ...
 *     const struct pc_tensor *t = pc_checkpoint_find(ck, "model.norm.weight");
 *     pc_tensor_read(t, 0, t->n_rows, buf, &err);
 *     pc_checkpoint_close(ck);
 *
 * A row is a slice along the first dimension: a (R, C) matrix has R rows of C elements, a vector of n has n
 * rows of one element, a scalar one row of one element. A vector of a block type is one row; a tensor without
 * elements has no rows, whatever its shape. So that any tensor can be read in bounded pieces, a slice of more
 * than PC_MAX_ROW elements is many rows of a few elements each: experts in one tensor, [1,N]. Who reckons
 * with whole slices asks pc_tensor_has_slices first. The bytes read are in the tensor's own dtype,
 * little-endian, row-major: readers never convert. */
#ifndef PC_FORMAT_CHECKPOINT_H
#define PC_FORMAT_CHECKPOINT_H

#include "base/dtype.h"
#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PC_MAX_DIMS = 8,
    PC_MAX_TENSORS = 1000000,
    PC_MAX_NAME = 1024,  /* bytes of a tensor's name */
    PC_MAX_ROW = 131072, /* elements of a row; the largest models' matrices have 53,248 */
};

struct pc_checkpoint;
struct pc_trace;

struct pc_tensor {
    const char *name; /* UTF-8, no NUL; a view into the checkpoint */
    enum pc_dtype dtype;
    int n_dims;
    uint64_t shape[PC_MAX_DIMS];
    uint64_t n_rows, row_elems, row_size; /* derived by pc_checkpoint_add_tensor; row_size in bytes */
    uint64_t size;                        /* bytes of the whole tensor */
    struct pc_checkpoint *owner;
    uint32_t index; /* in owner->tensors */
};

struct pc_checkpoint_ops {
    /** Rows [row0, row0 + n_rows) into buf (n_rows * row_size bytes). The range is already checked.
     * Thread-safe. */
    int (*read)(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err);
    /** The whole tensor in memory, row-major, valid until close, or NULL if it is not contiguous there. May
     * be NULL. */
    const void *(*map)(const struct pc_tensor *t);
    /** Rows of a mapped tensor are about to be used: compare them with the sums the file has of them. NULL
     * where files have none. Thread-safe. */
    int (*check)(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, struct paco_error *err);
    /** For nodes, instead of the two above: the tensor below whose elements are t's, all and in its order, or
     * NULL. */
    const struct pc_tensor *(*same)(const struct pc_tensor *t);
    /** The file that holds t and where its bytes start there; false if there is no one place. May be NULL.
     * Messages and inspect use it. */
    bool (*where)(const struct pc_tensor *t, const char **path, uint64_t *offset);
    /** Release what impl holds. The struct itself, its table and arena are released by pc_checkpoint_close.
     */
    void (*close)(struct pc_checkpoint *ck);
};

struct pc_checkpoint {
    const struct pc_checkpoint_ops *ops;
    const char *kind;          /* "safetensors", "torch", "gguf", "add" ...: static */
    const char *path;          /* what was opened, for messages; a view into the arena, or NULL */
    const char *note;          /* what its reader passed over, for people; a view into the arena, or NULL */
    struct pc_tensor *tensors; /* state-dict (or file) order */
    size_t n_tensors, capacity;
    struct pc_map by_name;
    bool unmapped;         /* its tensors are read and never mapped: files may change while they are in use */
    bool borrows_names;    /* of tensors: they are views into what it is made of */
    struct pc_arena arena; /* names and the reader's load-time structures */
    void *impl;
    /** For nodes made of other checkpoints: like ops->read, telling trace which rows of which files' tensors
     * the result was made of (algebra/trace.h). NULL for files. */
    int (*read_traced)(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf,
        struct pc_trace *trace, struct paco_error *err);
};

/** For readers: an empty checkpoint. *owned*. NULL when memory is out. path may be NULL. */
struct pc_checkpoint *pc_checkpoint_new(
    const char *kind, const struct pc_checkpoint_ops *ops, const char *path, struct paco_error *err);

/** For readers: make room for n tensors in all. borrow_names: those given to pc_checkpoint_add_tensor, each
 * with a NUL behind it, outlive ck, as the names of what a node is made of do. */
int pc_checkpoint_reserve(struct pc_checkpoint *ck, size_t n, bool borrow_names, struct paco_error *err);

/** For readers: append a tensor, checking name, shape and size against the bounds above and for duplicates,
 * and deriving the row fields. name is copied. Messages name the tensor and what is wrong with it. */
int pc_checkpoint_add_tensor(struct pc_checkpoint *ck, const char *name, size_t name_len, enum pc_dtype dtype,
    int n_dims, const uint64_t *shape, struct paco_error *err);

/** Close files and free everything; NULL is fine. Tensors and maps end here. */
void pc_checkpoint_close(struct pc_checkpoint *ck);

/** The tensor called name, or NULL. Thread-safe. */
const struct pc_tensor *pc_checkpoint_find(const struct pc_checkpoint *ck, const char *name);

/** Read rows [row0, row0 + n_rows) of t into buf. A range outside the tensor is PACO_EINVAL. Errors from
 * files carry path and offset, and the tensor's name in front. Thread-safe. */
int pc_tensor_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err);

/** The whole tensor, mapped and aligned to its elements (plain types), valid until its checkpoint is closed;
 * NULL means "not contiguous there, not aligned, or unmapped": read it instead. */
const void *pc_tensor_map(const struct pc_tensor *t);

/** Whether pc_tensor_check has anything to compare. */
bool pc_tensor_has_check(const struct pc_tensor *t);

/** What pc_tensor_read does on the way, for rows that are used where they are mapped: compare them with the
 * file's own sums, as far as all rows of a sum have been given. The range is inside. PACO_EFORMAT when they
 * differ, with path, offset and the tensor's name. Thread-safe. */
int pc_tensor_check(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, struct paco_error *err);

/** "[32001,4096]" into out; returns out. 160 bytes are always enough. */
char *pc_tensor_shape(const struct pc_tensor *t, char *out, size_t out_size);
char *pc_shape_format(int n_dims, const uint64_t *shape, char *out, size_t out_size);

/** Whether t's rows are its slices along the first dimension, and no pieces of them. */
bool pc_tensor_has_slices(const struct pc_tensor *t);

bool pc_tensor_same_shape(const struct pc_tensor *a, const struct pc_tensor *b);
uint64_t pc_tensor_n_elements(const struct pc_tensor *t);

#endif
