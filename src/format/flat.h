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

extern const struct pc_checkpoint_ops pc_flat_ops;

/** Open path as a checkpoint with pc_flat_ops and impl_size bytes of zeroed impl, a struct pc_flat first.
 * *owned*. */
int pc_flat_open(
    const char *kind, const char *path, size_t impl_size, struct pc_checkpoint **out, struct paco_error *err);

#endif
