// SPDX-License-Identifier: Apache-2.0
#include "format/flat.h"

#include <string.h>
#include <sys/mman.h>

int pc_flat_read(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    const struct pc_flat *flat = t->owner->impl;
    // Cannot overflow: the reader has checked that the whole tensor lies inside the file.
    uint64_t at = flat->offsets[t->index] + row0 * t->row_size;
    return pc_file_read(&flat->file, at, buf, (size_t)(n_rows * t->row_size), err);
}

static void *map_file(struct pc_flat *flat)
{
    pthread_mutex_lock(&flat->lock);
    if (!flat->map && !flat->map_failed) {
        void *p = mmap(NULL, (size_t)flat->file.size, PROT_READ, MAP_PRIVATE, flat->file.fd, 0);
        flat->map = p == MAP_FAILED ? NULL : p;
        flat->map_failed = !flat->map;
    }
    void *map = flat->map;
    pthread_mutex_unlock(&flat->lock);
    return map;
}

const void *pc_flat_map(const struct pc_tensor *t)
{
    struct pc_flat *flat = t->owner->impl;
    const struct pc_dtype_traits *traits = pc_dtype_traits(t->dtype);
    uint64_t at = flat->offsets[t->index];
    if (t->size == 0 || (!traits->is_quant && at % traits->block_size != 0))
        return NULL;
    const char *map = map_file(flat);
    return map ? map + at : NULL;
}

bool pc_flat_where(const struct pc_tensor *t, const char **path, uint64_t *offset)
{
    const struct pc_flat *flat = t->owner->impl;
    *path = flat->file.path;
    *offset = flat->offsets[t->index];
    return true;
}

void pc_flat_close(struct pc_checkpoint *ck)
{
    struct pc_flat *flat = ck->impl;
    if (flat->map)
        munmap(flat->map, (size_t)flat->file.size);
    pthread_mutex_destroy(&flat->lock);
    pc_file_close(&flat->file);
}

int pc_flat_open(const char *kind, const struct pc_checkpoint_ops *ops, const char *path, size_t impl_size,
    struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_file file;
    int rc = pc_file_open(&file, path, err);
    if (rc < 0)
        return rc;
    struct pc_checkpoint *ck = pc_checkpoint_new(kind, ops, path, err);
    struct pc_flat *flat = ck ? pc_arena_alloc(&ck->arena, 1, impl_size) : NULL;
    if (!flat) {
        if (ck)
            ck->ops = NULL; // there is nothing for it to close yet
        pc_checkpoint_close(ck);
        pc_file_close(&file);
        return pc_error_mem(err, impl_size, "a checkpoint");
    }
    flat->file = file;
    pthread_mutex_init(&flat->lock, NULL);
    ck->impl = flat;
    *out = ck;
    return 0;
}
