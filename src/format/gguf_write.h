// SPDX-License-Identifier: Apache-2.0
/* Writing GGUF, version 3: the metadata is gathered in memory, the file is a layout like any other
 * (format/layout.h).
 *
 *     struct pc_gguf_head head;
 *     pc_gguf_head_init(&head);
 *     pc_gguf_put_str(&head, "general.architecture", "llama", 5);
 *     pc_gguf_put_u32(&head, "llama.block_count", 32);
 *     pc_gguf_put_array(&head, "tokenizer.ggml.scores", PC_GGUF_F32, n);
 *     for (i = 0; i < n; i++)
 *         pc_gguf_add_f32(&head, scores[i]);          // exactly n of them
 *     if (pc_gguf_head_check(&head, &err) < 0) ...
 *     pc_layout_new_gguf(&head, "model.gguf", tensors, n_tensors, &layout, &err);
 *
 * Nothing is checked as it is put: keys must differ, arrays must get as many elements as they announce. */
#ifndef PC_FORMAT_GGUF_WRITE_H
#define PC_FORMAT_GGUF_WRITE_H

#include "base/buf.h"
#include "base/digest.h"
#include "format/gguf.h"
#include "format/layout.h"

enum { PC_GGUF_ALIGNMENT = 32 };

/** Metadata entries as the file will hold them. Release in any case. */
struct pc_gguf_head {
    struct pc_buf bytes;
    uint64_t n; /* entries */
};

void pc_gguf_head_init(struct pc_gguf_head *h);
void pc_gguf_head_release(struct pc_gguf_head *h);
/** 0, or what went wrong with any of the calls: PACO_EMEM, or PACO_ELIMIT beyond PC_GGUF_MAX_HEADER. */
int pc_gguf_head_check(const struct pc_gguf_head *h, struct paco_error *err);

/** SHA-256 of the entries. Errors as above. */
int pc_gguf_head_digest(const struct pc_gguf_head *h, char hex[PC_SHA256_HEX], struct paco_error *err);

void pc_gguf_put_u32(struct pc_gguf_head *h, const char *key, uint32_t v);
void pc_gguf_put_f32(struct pc_gguf_head *h, const char *key, float v);
void pc_gguf_put_bool(struct pc_gguf_head *h, const char *key, bool v);
void pc_gguf_put_str(struct pc_gguf_head *h, const char *key, const char *text, size_t len);
/** Begin an array of n elements, of PC_GGUF_STRING, PC_GGUF_F32 or PC_GGUF_I32, which follow. */
void pc_gguf_put_array(struct pc_gguf_head *h, const char *key, enum pc_gguf_type element, uint64_t n);
void pc_gguf_add_str(struct pc_gguf_head *h, const char *text, size_t len);
void pc_gguf_add_f32(struct pc_gguf_head *h, float v);
void pc_gguf_add_i32(struct pc_gguf_head *h, int32_t v);
/** The entry of another file as it stands there. */
void pc_gguf_put_entry(struct pc_gguf_head *h, const struct pc_gguf_entry *e);
/** All entries of another head. */
void pc_gguf_put_head(struct pc_gguf_head *h, const struct pc_gguf_head *more);

/** GGML's number of a type; false for one that it has not. */
bool pc_ggml_type_of(enum pc_dtype dtype, uint32_t *ggml_type);

/** Plan the one file called file_name: a layout like pc_layout_new's. Tensors' shapes are rows first, as
 * everywhere. PACO_EUNSUPPORTED names a tensor of a type or with more dimensions than GGUF has. head is
 * copied. */
int pc_layout_new_gguf(const struct pc_gguf_head *head, const char *file_name,
    const struct pc_out_tensor *tensors, uint32_t n, struct pc_layout **out, struct paco_error *err);

#endif
