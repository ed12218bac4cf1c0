// SPDX-License-Identifier: Apache-2.0
/* What gguf.c and gguf_meta.c share: the header's bytes, read as far as they are needed, and the parsed
 * metadata. */
#ifndef PC_FORMAT_GGUF_PARTS_H
#define PC_FORMAT_GGUF_PARTS_H

#include "format/flat.h"
#include "format/gguf.h"

struct pc_gguf {
    struct pc_flat flat;
    uint8_t *bytes; /* the file's first bytes: all views point here */
    struct pc_gguf_entry *entries;
    size_t n_entries;
    struct pc_map by_key;
};

/** Reads the header front to back. rc is sticky. */
struct pc_gguf_reader {
    struct pc_gguf *gguf;
    struct pc_arena *arena;
    uint64_t pos, have, limit; /* bytes consumed, read, and the most that will be */
    int rc;
    struct paco_error *err;
};

/** The next n bytes as a view, or NULL and rc set, saying that the file ends inside what. */
const uint8_t *pc_gguf_take(struct pc_gguf_reader *r, uint64_t n, const char *what);
uint32_t pc_gguf_take_u32(struct pc_gguf_reader *r, const char *what);
uint64_t pc_gguf_take_u64(struct pc_gguf_reader *r, const char *what);
/** A length and as many bytes, NULL and rc set when that is not there. */
const char *pc_gguf_take_str(struct pc_gguf_reader *r, uint64_t *len, const char *what);
/** Set rc and the error, at offset of the file. */
void pc_gguf_refuse(struct pc_gguf_reader *r, int code, uint64_t offset, const char *fmt, ...)
    PC_PRINTF(4, 5);

/** Bytes of an array's elements as they lie in the file. */
uint64_t pc_gguf_array_size(const struct pc_gguf_array *a);

/** Read n entries into r->gguf. */
void pc_gguf_read_metadata(struct pc_gguf_reader *r, uint64_t n);

#endif
