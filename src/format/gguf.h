// SPDX-License-Identifier: Apache-2.0
/* GGUF, versions 2 and 3, little-endian: metadata, a table of tensors, their bytes. docs/formats/gguf.md.
 *
 * pc_gguf_open gives a checkpoint like any other, under GGUF's own names and in its row order
 * (weights/source.h turns both into Hugging Face's). The other functions read the metadata of such a
 * checkpoint; they are thread-safe.
 *
 *     pc_gguf_get_i64(ck, "llama.block_count", 1, 1000, &n_layers, &err);
 *     struct pc_gguf_array pieces;
 *     pc_gguf_get_array(ck, "tokenizer.ggml.tokens", PC_GGUF_STRING, &pieces, &err);
 *     for (uint64_t i = 0; i < pieces.n; i++)
 *         s = pc_gguf_array_str(&pieces, i, &len);
 *
 * Source: ggml-org/ggml docs/gguf.md. */
#ifndef PC_FORMAT_GGUF_H
#define PC_FORMAT_GGUF_H

#include "format/checkpoint.h"

enum {
    /* Metadata and the table of tensors. Real ones have at most some 30 MB: a vocabulary of 256 K pieces and
       its merges. */
    PC_GGUF_MAX_HEADER = 128 * 1024 * 1024,
    PC_GGUF_MAX_ENTRIES = 65536, /* metadata keys */
    PC_GGUF_MAX_DIMS = 4,
    PC_GGUF_MAX_ALIGNMENT = 1 << 20,
};

/** Numbers are the file's. */
enum pc_gguf_type {
    PC_GGUF_U8,
    PC_GGUF_I8,
    PC_GGUF_U16,
    PC_GGUF_I16,
    PC_GGUF_U32,
    PC_GGUF_I32,
    PC_GGUF_F32,
    PC_GGUF_BOOL,
    PC_GGUF_STRING,
    PC_GGUF_ARRAY,
    PC_GGUF_U64,
    PC_GGUF_I64,
    PC_GGUF_F64,
    PC_GGUF_N_TYPES
};

/** A view into the checkpoint: elements as they lie in the file, unaligned. */
struct pc_gguf_array {
    enum pc_gguf_type type; /* of its elements; never PC_GGUF_ARRAY */
    uint64_t n;
    const uint8_t *data;
    const uint32_t *at; /* strings: where in data each one's length stands */
};

/** One metadata entry; a scalar or string is an array of one. Views into the checkpoint. */
struct pc_gguf_entry {
    const char *key; /* UTF-8, no NUL inside, not NUL-terminated */
    size_t key_len;
    bool is_array;
    struct pc_gguf_array value;
    uint64_t offset; /* of the value in the file */
};

/** Open path. *owned*: pc_checkpoint_close. Tensors come in the table's order, shapes reversed to rows first.
 *
 *  Version 1 and big-endian files, parts of split models and GGML types without a pc_dtype are
 * PACO_EUNSUPPORTED by name. Counts that the file is too short for, duplicate keys or names, unknown value
 * types, arrays of arrays, tensors that overlap, leave the file or are not aligned are PACO_EFORMAT, with the
 * offset in the file. */
int pc_gguf_open(const char *path, struct pc_checkpoint **out, struct paco_error *err);

/** True if ck was made by pc_gguf_open: what all functions below want. */
bool pc_is_gguf(const struct pc_checkpoint *ck);

/** GGML's number of a type the file format knows, and its name ("Q4_K"), or NULL. */
const char *pc_ggml_type_name(uint32_t ggml_type);

/** All entries, in file order. */
const struct pc_gguf_entry *pc_gguf_entries(const struct pc_checkpoint *ck, size_t *n);
/** The entry called key (NUL-terminated), or NULL. */
const struct pc_gguf_entry *pc_gguf_find(const struct pc_checkpoint *ck, const char *key);

/** Typed entries. `get` wants the key present, `opt` leaves the outputs alone when it is absent. Another
 * type, or a value outside [min, max], is PACO_EFORMAT with the key, what was found, what is expected, and
 * the value's offset. Any integer type counts as an integer, F32 and F64 as real, integers not. Strings are
 * views, not NUL-terminated. */
int pc_gguf_get_i64(const struct pc_checkpoint *ck, const char *key, int64_t min, int64_t max, int64_t *out,
    struct paco_error *err);
int pc_gguf_opt_i64(const struct pc_checkpoint *ck, const char *key, int64_t min, int64_t max, int64_t *out,
    struct paco_error *err);
int pc_gguf_get_f64(const struct pc_checkpoint *ck, const char *key, double *out, struct paco_error *err);
int pc_gguf_opt_f64(const struct pc_checkpoint *ck, const char *key, double *out, struct paco_error *err);
int pc_gguf_get_str(
    const struct pc_checkpoint *ck, const char *key, const char **out, size_t *len, struct paco_error *err);
int pc_gguf_opt_str(
    const struct pc_checkpoint *ck, const char *key, const char **out, size_t *len, struct paco_error *err);
int pc_gguf_opt_bool(const struct pc_checkpoint *ck, const char *key, bool *out, struct paco_error *err);

/** An array whose elements are of element's family: PC_GGUF_STRING, PC_GGUF_BOOL, PC_GGUF_I64 (any integer
 * type) or PC_GGUF_F64 (F32 or F64). */
int pc_gguf_get_array(const struct pc_checkpoint *ck, const char *key, enum pc_gguf_type element,
    struct pc_gguf_array *out, struct paco_error *err);
int pc_gguf_opt_array(const struct pc_checkpoint *ck, const char *key, enum pc_gguf_type element,
    struct pc_gguf_array *out, struct paco_error *err);

/** Element i, below a->n, of an array of strings (a view, not NUL-terminated), integers (U64 beyond INT64_MAX
 * is clamped) or reals. */
const char *pc_gguf_array_str(const struct pc_gguf_array *a, uint64_t i, size_t *len);
int64_t pc_gguf_array_i64(const struct pc_gguf_array *a, uint64_t i);
double pc_gguf_array_f64(const struct pc_gguf_array *a, uint64_t i);

#endif
