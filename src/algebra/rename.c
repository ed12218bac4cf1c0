// SPDX-License-Identifier: Apache-2.0
#include "algebra/rename.h"

#include "algebra/trace.h"

#include <string.h>

static const struct pc_tensor *source(const struct pc_tensor *t)
{
    const struct pc_tensor **sources = t->owner->impl;
    return sources[t->index];
}

static int rename_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    // Not pc_tensor_read: that has checked the range and will put the new name in front of what goes wrong.
    const struct pc_tensor *from = source(t);
    return from->owner->ops->read(from, row0, n_rows, buf, err);
}

static int rename_read_traced(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf,
    struct pc_trace *trace, struct paco_error *err)
{
    return pc_tensor_read_traced(source(t), row0, n_rows, buf, trace, err);
}

static bool rename_where(const struct pc_tensor *t, const char **path, uint64_t *offset)
{
    const struct pc_tensor *from = source(t);
    return from->owner->ops->where && from->owner->ops->where(from, path, offset);
}

static const struct pc_checkpoint_ops g_ops = {
    .read = rename_read, .same = source, .where = rename_where, .close = NULL};

int pc_checkpoint_rename(const struct pc_rename *table, size_t n, const char *path,
    struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_checkpoint *ck = pc_checkpoint_new("rename", &g_ops, path, err);
    if (!ck)
        return PACO_EMEM;
    ck->read_traced = rename_read_traced;
    const struct pc_tensor **sources = ck->impl = pc_arena_alloc(&ck->arena, n, sizeof *sources);
    int rc = sources ? 0 : pc_error_mem(err, n * sizeof *sources, "a table of tensors");
    if (rc == 0)
        rc = pc_checkpoint_reserve(ck, n, false, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const struct pc_tensor *t = table[i].of;
        sources[i] = t;
        rc = pc_checkpoint_add_tensor(
            ck, table[i].name, strlen(table[i].name), t->dtype, t->n_dims, t->shape, err);
    }
    if (rc < 0) {
        pc_error_path(err, path);
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}
