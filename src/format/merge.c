// SPDX-License-Identifier: Apache-2.0
#include "format/merge.h"

#include <string.h>

struct merge {
    struct pc_checkpoint **parts;
    size_t n_parts;
    const struct pc_tensor **sources; /* by index in the merged table */
};

static const struct pc_tensor *source(const struct pc_tensor *t)
{
    const struct merge *m = t->owner->impl;
    return m->sources[t->index];
}

static int merge_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    // Not pc_tensor_read: it has checked the range already and will name the tensor once.
    const struct pc_tensor *from = source(t);
    return from->owner->ops->read(from, row0, n_rows, buf, err);
}

static bool merge_where(const struct pc_tensor *t, const char **path, uint64_t *offset)
{
    const struct pc_tensor *from = source(t);
    return from->owner->ops->where && from->owner->ops->where(from, path, offset);
}

static void merge_close(struct pc_checkpoint *ck)
{
    struct merge *m = ck->impl;
    for (size_t i = 0; m && i < m->n_parts; i++)
        pc_checkpoint_close(m->parts[i]);
}

static const struct pc_checkpoint_ops g_ops = {
    .read = merge_read, .same = source, .where = merge_where, .close = merge_close};

static int add(struct pc_checkpoint *ck, const struct pc_tensor *t, struct paco_error *err)
{
    struct merge *m = ck->impl;
    int rc = pc_checkpoint_add_tensor(ck, t->name, strlen(t->name), t->dtype, t->n_dims, t->shape, err);
    if (rc < 0)
        return pc_error_path(err, t->owner->path), rc;
    m->sources[ck->n_tensors - 1] = t;
    return 0;
}

int pc_checkpoint_merge(const char *kind, const char *path, struct pc_checkpoint **parts, size_t n,
    bool (*take)(void *ctx, size_t i_part, const struct pc_tensor *t), void *ctx, struct pc_checkpoint **out,
    struct paco_error *err)
{
    size_t n_all = 0;
    for (size_t i = 0; i < n; i++)
        n_all += parts[i]->n_tensors;
    struct pc_checkpoint *ck = pc_checkpoint_new(kind, &g_ops, path, err);
    struct merge *m = ck ? pc_arena_alloc(&ck->arena, 1, sizeof *m) : NULL;
    struct pc_checkpoint **own = m ? pc_arena_alloc(&ck->arena, n, sizeof(struct pc_checkpoint *)) : NULL;
    const struct pc_tensor **sources =
        own ? pc_arena_alloc(&ck->arena, n_all, sizeof(struct pc_tensor *)) : NULL;
    if (!sources) {
        for (size_t i = 0; i < n; i++)
            pc_checkpoint_close(parts[i]);
        pc_checkpoint_close(ck);
        return pc_error_mem(err, n_all * sizeof(struct pc_tensor *), "a table of shards");
    }
    memcpy(own, parts, n * sizeof *parts);
    *m = (struct merge){own, n, sources};
    ck->impl = m;
    int rc = pc_checkpoint_reserve(ck, n_all, true, err);
    for (size_t i = 0; i < n && !ck->note; i++)
        ck->note = parts[i]->note;
    for (size_t i = 0; rc == 0 && i < n; i++)
        for (size_t j = 0; rc == 0 && j < parts[i]->n_tensors; j++)
            if (!take || take(ctx, i, &parts[i]->tensors[j]))
                rc = add(ck, &parts[i]->tensors[j], err);
    if (rc < 0) {
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}
