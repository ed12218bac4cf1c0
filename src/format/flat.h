// SPDX-License-Identifier: Apache-2.0
/* Checkpoints whose tensors each lie contiguous in one file: safetensors and GGUF share these operations. */
#ifndef PC_FORMAT_FLAT_H
#define PC_FORMAT_FLAT_H

#include "base/file.h"
#include "format/checkpoint.h"

#include <pthread.h>

/** First member of such a reader's impl, which lives in the checkpoint's arena. Reads use pread; the file is
 * mapped only when a tensor is first asked to be. */
struct pc_flat {
    struct pc_file file;
    uint64_t *offsets; /* of each tensor's first byte in the file, by index; in the arena */
    pthread_mutex_t lock;
    void *map; /* the whole file, or NULL */
    bool map_failed;
};

/** The members of such a reader's struct pc_checkpoint_ops; close releases file and map. */
int pc_flat_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err);
const void *pc_flat_map(const struct pc_tensor *t);
bool pc_flat_where(const struct pc_tensor *t, const char **path, uint64_t *offset);
void pc_flat_close(struct pc_checkpoint *ck);

/** Open path as a checkpoint with these ops and impl_size bytes of zeroed impl, a struct pc_flat first.
 * *owned*. */
int pc_flat_open(const char *kind, const struct pc_checkpoint_ops *ops, const char *path, size_t impl_size,
    struct pc_checkpoint **out, struct paco_error *err);

#endif
