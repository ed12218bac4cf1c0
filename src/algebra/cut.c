// SPDX-License-Identifier: Apache-2.0
#include "algebra/cut.h"

#include "algebra/trace.h"

#include <string.h>

enum { RUN_SIZE = 256 << 10 }; /* bytes of whole rows held while columns are taken from them, or one row */

static const struct pc_cut *cut_of(const struct pc_tensor *t)
{
    const struct pc_cut *all = t->owner->impl;
    return &all[t->index];
}

static void take_columns(const struct pc_tensor *t, const char *rows, uint64_t n_rows, char *buf)
{
    const struct pc_cut *c = cut_of(t);
    rows += c->i * t->row_size;
    for (uint64_t r = 0; r < n_rows; r++)
        memcpy(buf + r * t->row_size, rows + r * c->of->row_size, (size_t)t->row_size);
}

static int read_columns(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, char *buf, struct paco_error *err)
{
    const struct pc_tensor *of = cut_of(t)->of;
    uint64_t most = of->row_size < RUN_SIZE ? RUN_SIZE / of->row_size : 1;
    most = most < n_rows ? most : n_rows;
    char *scratch = pc_alloc((size_t)most, (size_t)of->row_size);
    if (!scratch)
        return pc_error_mem(err, most * of->row_size, "rows to be cut");
    int rc = 0;
    for (uint64_t done = 0, n; done < n_rows && rc == 0; done += n) {
        n = n_rows - done < most ? n_rows - done : most;
        rc = of->owner->ops->read(of, row0 + done, n, scratch, err);
        if (rc == 0)
            take_columns(t, scratch, n, buf + done * t->row_size);
    }
    pc_free(scratch);
    return rc;
}

static int cut_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    const struct pc_cut *c = cut_of(t);
    // Not pc_tensor_read: that has checked the range and will put the new name in front of what goes wrong.
    if (c->n == 1 || c->axis == 0)
        return c->of->owner->ops->read(c->of, row0 + c->i * t->n_rows, n_rows, buf, err);
    return read_columns(t, row0, n_rows, buf, err);
}

static int cut_read_traced(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf,
    struct pc_trace *trace, struct paco_error *err)
{
    const struct pc_cut *c = cut_of(t);
    if (c->n == 1)
        return pc_tensor_read_traced(c->of, row0, n_rows, buf, trace, err);
    if (c->axis == 0 || c->i > 0)
        return cut_read(t, row0, n_rows, buf, err);
    char *rows = pc_trace_scratch(trace, n_rows * c->of->row_size, err);
    int rc = rows ? pc_tensor_read_traced(c->of, row0, n_rows, rows, trace, err) : PACO_EMEM;
    if (rc == 0)
        take_columns(t, rows, n_rows, buf);
    return rc;
}

static const struct pc_tensor *cut_same(const struct pc_tensor *t)
{
    const struct pc_cut *c = cut_of(t);
    return c->n == 1 ? c->of : NULL;
}

static bool cut_where(const struct pc_tensor *t, const char **path, uint64_t *offset)
{
    const struct pc_cut *c = cut_of(t);
    bool one_place = c->of->owner->ops->where && c->of->owner->ops->where(c->of, path, offset);
    return one_place && c->n == 1;
}

static const struct pc_checkpoint_ops g_ops = {
    .read = cut_read, .same = cut_same, .where = cut_where, .close = NULL};

static int piece_shape(const struct pc_cut *c, uint64_t shape[PC_MAX_DIMS], struct paco_error *err)
{
    char text[160];
    const struct pc_tensor *t = c->of;
    memcpy(shape, t->shape, sizeof t->shape);
    if (c->n == 1)
        return 0;
    if (c->axis >= t->n_dims || (c->axis == 1 && t->n_dims != 2) || !pc_tensor_has_slices(t))
        return pc_error_set(err, PACO_EMISMATCH, "tensor '%s' is %s, which cannot be cut along its %s",
            t->name, pc_tensor_shape(t, text, sizeof text), c->axis ? "columns" : "rows");
    uint64_t whole = t->shape[c->axis], left = whole % c->n;
    if (left)
        return pc_error_set(err, PACO_EMISMATCH,
            "tensor '%s' is %s: its %llu %s are no %u equal pieces (%u x %llu, and %llu left over)", t->name,
            pc_tensor_shape(t, text, sizeof text), (unsigned long long)whole, c->axis ? "columns" : "rows",
            c->n, c->n, (unsigned long long)(whole / c->n), (unsigned long long)left);
    shape[c->axis] = whole / c->n;
    uint64_t block = pc_dtype_traits(t->dtype)->n_block;
    if (c->axis == 1 && shape[1] % block)
        return pc_error_set(err, PACO_EMISMATCH,
            "tensor '%s': a cut after %llu columns goes through a block of %s", t->name,
            (unsigned long long)shape[1], pc_dtype_name(t->dtype));
    return 0;
}

static int add(struct pc_checkpoint *ck, const struct pc_cut *c, struct paco_error *err)
{
    uint64_t shape[PC_MAX_DIMS];
    int rc = piece_shape(c, shape, err);
    return rc < 0 ? rc
                  : pc_checkpoint_add_tensor(
                        ck, c->name, strlen(c->name), c->of->dtype, c->of->n_dims, shape, err);
}

int pc_checkpoint_cut(const struct pc_cut *table, size_t n, const char *path, struct pc_checkpoint **out,
    struct paco_error *err)
{
    struct pc_checkpoint *ck = pc_checkpoint_new("cut", &g_ops, path, err);
    if (!ck)
        return PACO_EMEM;
    ck->read_traced = cut_read_traced;
    struct pc_cut *cuts = ck->impl = pc_arena_alloc(&ck->arena, n, sizeof *cuts);
    int rc = cuts ? 0 : pc_error_mem(err, n * sizeof *cuts, "a table of tensors");
    if (rc == 0) {
        memcpy(cuts, table, n * sizeof *cuts);
        rc = pc_checkpoint_reserve(ck, n, false, err);
    }
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add(ck, &table[i], err);
    if (rc < 0) {
        pc_error_path(err, path);
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}
