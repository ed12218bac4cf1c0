// SPDX-License-Identifier: Apache-2.0
/* Reading paco-manifest.json (docs/formats/manifest.md). */
#ifndef PC_WEIGHTS_MANIFEST_READ_H
#define PC_WEIGHTS_MANIFEST_READ_H

#include "base/digest.h"
#include "base/map.h"
#include "base/memory.h"
#include "format/checkpoint.h"

#define PC_MANIFEST_NAME "paco-manifest.json"

struct pc_manifest_tensor {
    const char *name, *file;
    enum pc_dtype dtype;
    int n_dims;
    uint64_t shape[PC_MAX_DIMS];
    const char *sha256; /* 64 lower-case digits */
};

struct pc_manifest_file {
    const char *name; /* a plain file name */
    uint64_t bytes;
    const char *sha256;
};

/** A model that the output was made of: its part in the job, and its content digest. */
struct pc_manifest_input {
    const char *role, *content_sha256;
};

/** Rows [first, first + n) of a tensor. */
struct pc_row_range {
    const char *tensor;
    uint64_t first, n;
};
struct pc_row_ranges {
    struct pc_row_range *v;
    size_t n;
};

struct pc_manifest {
    struct pc_arena arena; /* holds all strings */
    const char *path, *job, *content_sha256;
    const char *metadata_sha256;      /* of a GGUF file's metadata, or NULL */
    struct pc_manifest_input *inputs; /* those that have a role and a digest */
    size_t n_inputs;
    struct pc_manifest_tensor *tensors;
    size_t n_tensors;
    struct pc_map by_name; /* tensor name to index */
    struct pc_manifest_file *files;
    size_t n_files;
    struct pc_row_ranges undefined; /* "undefined_rows" */
};

/** Read and check path. Release in any case. A `format` other than 1 is PACO_EUNSUPPORTED; missing or
 * malformed members are PACO_EFORMAT naming them, with the byte where they stand. Some 300 bytes a tensor. */
int pc_manifest_read(const char *path, struct pc_manifest *out, struct paco_error *err);
/** The content digest of the input in that role; a view, or NULL when the manifest does not say. */
const char *pc_manifest_input_digest(const struct pc_manifest *m, const char *role);
void pc_manifest_release(struct pc_manifest *m);

#endif
