// SPDX-License-Identifier: Apache-2.0
/* Checkpoints that live in memory, for tests of what is built on the checkpoint door. */
#ifndef PC_TESTS_MEMORY_CHECKPOINT_H
#define PC_TESTS_MEMORY_CHECKPOINT_H

#include "unit.h"

#include "format/checkpoint.h"

enum { MEMORY_MAX = 256 };

static int memory_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    const unsigned char **data = t->owner->impl;
    if (!data[t->index])
        return pc_error_set(err, PACO_EIO, "the disk is on fire");
    memcpy(buf, data[t->index] + row0 * t->row_size, (size_t)(n_rows * t->row_size));
    return 0;
}

static const struct pc_checkpoint_ops memory_ops = {.read = memory_read};

/* An empty checkpoint of at most MEMORY_MAX tensors. */
static struct pc_checkpoint *memory_checkpoint(void)
{
    struct pc_checkpoint *ck = pc_checkpoint_new("memory", &memory_ops, NULL, NULL);
    assert_non_null(ck);
    ck->impl = pc_arena_alloc(&ck->arena, MEMORY_MAX, sizeof(void *));
    return ck;
}

/* Add a tensor of n_rows x n_cols (n_cols 0: a vector); data is borrowed, NULL makes reading fail. */
static const struct pc_tensor *memory_add(struct pc_checkpoint *ck, const char *name, enum pc_dtype dtype,
    uint64_t n_rows, uint64_t n_cols, const void *data)
{
    assert_true(ck->n_tensors < MEMORY_MAX);
    uint64_t shape[2] = {n_rows, n_cols};
    assert_int_equal(pc_checkpoint_add_tensor(ck, name, strlen(name), dtype, n_cols ? 2 : 1, shape, NULL), 0);
    ((const void **)ck->impl)[ck->n_tensors - 1] = data;
    return &ck->tensors[ck->n_tensors - 1];
}

#endif
