// SPDX-License-Identifier: Apache-2.0
/* Where every byte of an output checkpoint goes, known before the first is written.
 *
 * Tensors are packed into files in the given order: before adding one, if the file's tensor bytes and this
 * tensor's exceed max_shard, the file is closed (Transformers' rule, docs/formats/shards.md). Each container
 * then places its own tensors. Data may afterwards be written in any order, by any thread, at (file, offset);
 * `seal` writes the rest of a file (headers, pickle, central directory) once its data is there and, where the
 * container wants it, each tensor's CRC-32 is filled in. The bytes of a sealed file depend on the tensors
 * alone. */
#ifndef PC_FORMAT_LAYOUT_H
#define PC_FORMAT_LAYOUT_H

#include "base/buf.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/memory.h"
#include "format/checkpoint.h"

#include <stdbool.h>
#include <stdint.h>

enum pc_container {
    PC_SAFETENSORS,
    PC_TORCH_BIN,
    PC_GGUF, /* pc_layout_new_gguf */
    PC_META, /* pc_layout_new_meta */
};

struct pc_gguf_head;

struct pc_out_tensor {
    const char *name;    /* view into the layout's arena */
    const char *in_file; /* what its file calls it: name, or a part of it */
    enum pc_dtype dtype;
    int n_dims;
    uint64_t shape[PC_MAX_DIMS];
    uint64_t size;   /* bytes */
    uint32_t i_file; /* in layout->files */
    uint64_t offset; /* of its first byte in that file */
    uint32_t crc32;  /* of its bytes; to be set before seal when layout->wants_crc */
};

struct pc_out_file {
    char *name;          /* "model-00001-of-00003.safetensors": view into the arena */
    uint64_t size;       /* bytes of the finished file */
    uint32_t first, n;   /* its tensors: layout->tensors[first .. first + n) */
    uint64_t data_start; /* container's own: where tensor data begins */
    void *impl;          /* container's own, in the arena */
};

struct pc_layout {
    enum pc_container container;
    bool wants_crc;
    struct pc_out_tensor *tensors;
    uint32_t n_tensors;
    struct pc_out_file *files;
    uint32_t n_files;
    uint64_t total_size; /* tensor bytes */
    struct pc_arena arena;
};

/** Plan the files for n tensors (name, dtype, n_dims, shape of each are read). max_shard in bytes, 0 for
 * upstream's 10 * 10^9. *owned*: pc_layout_free. */
int pc_layout_new(enum pc_container container, const struct pc_out_tensor *tensors, uint32_t n,
    uint64_t max_shard, struct pc_layout **out, struct paco_error *err);
/** Meta's consolidated.NN.pth: the tensors are called "consolidated.NN/NAME", which says where they go and
 * what they are called there; those of a file stand together, files ascending from 00. */
int pc_layout_new_meta(
    const struct pc_out_tensor *tensors, uint32_t n, struct pc_layout **out, struct paco_error *err);
void pc_layout_free(struct pc_layout *layout);

/** Write all of file i_file that is not tensor data through fd (opened for writing, path for messages). */
int pc_layout_seal(
    const struct pc_layout *layout, uint32_t i_file, int fd, const char *path, struct paco_error *err);

/** The index file: its name ("model.safetensors.index.json") or NULL when there is one file only. */
const char *pc_layout_index_name(const struct pc_layout *layout);
/** Append the index's JSON text: {"metadata": {"total_size": N}, "weight_map": {...}}, keys sorted, indent 2,
 * newline. */
void pc_layout_index(const struct pc_layout *layout, struct pc_buf *out);

/* Each container gives two functions. `place` sets offset of the file's tensors, and the file's size,
 * data_start and impl; `seal` is as above. */
int pc_safetensors_place(struct pc_layout *layout, struct pc_out_file *file, struct paco_error *err);
int pc_safetensors_seal(const struct pc_layout *layout, const struct pc_out_file *file, int fd,
    const char *path, struct paco_error *err);
int pc_torch_place(struct pc_layout *layout, struct pc_out_file *file, struct paco_error *err);
int pc_torch_seal(const struct pc_layout *layout, const struct pc_out_file *file, int fd, const char *path,
    struct paco_error *err);

/* GGUF's place needs the metadata too, and there is one file only. */
int pc_gguf_place(struct pc_layout *layout, const struct pc_gguf_head *head, struct paco_error *err);
int pc_gguf_seal(const struct pc_layout *layout, const struct pc_out_file *file, int fd, const char *path,
    struct paco_error *err);

#endif
