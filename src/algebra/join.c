// SPDX-License-Identifier: Apache-2.0
#include "algebra/join.h"

#include "base/file.h"

#include <string.h>

enum { RUN_SIZE = 256 << 10 }; /* bytes of rows put together at once, or one row */

struct joined {
    int axis;
    uint32_t n_parts;
    const struct pc_tensor **parts;
};

static const struct joined *joined_of(const struct pc_tensor *t)
{
    const struct joined *all = t->owner->impl;
    return &all[t->index];
}

static int read_part(
    const struct pc_tensor *part, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    // Not pc_tensor_read: the range is right, and the whole's name will stand in front of what goes wrong.
    int rc = part->owner->ops->read(part, row0, n_rows, buf, err);
    if (rc < 0)
        pc_error_path(err, part->owner->path);
    return rc;
}

static int read_below(
    const struct joined *j, uint64_t row0, uint64_t n_rows, char *buf, struct paco_error *err)
{
    uint64_t first = 0; /* the part's first row in the whole */
    int rc = 0;
    for (uint32_t i = 0; i < j->n_parts && n_rows > 0 && rc == 0; i++) {
        const struct pc_tensor *part = j->parts[i];
        if (row0 < first + part->n_rows) {
            uint64_t left = first + part->n_rows - row0, n = n_rows < left ? n_rows : left;
            rc = read_part(part, row0 - first, n, buf, err);
            buf += n * part->row_size;
            row0 += n;
            n_rows -= n;
        }
        first += part->n_rows;
    }
    return rc;
}

static int read_beside(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, char *buf, struct paco_error *err)
{
    const struct joined *j = joined_of(t);
    uint64_t most = RUN_SIZE / t->row_size;
    most = most < 1 ? 1 : most < n_rows ? most : n_rows;
    char *scratch = pc_alloc((size_t)most, (size_t)t->row_size);
    if (!scratch)
        return pc_error_mem(err, most * t->row_size, "rows to be joined");
    int rc = 0;
    for (uint64_t done = 0, n; done < n_rows && rc == 0; done += n) {
        n = n_rows - done < most ? n_rows - done : most;
        char *to = buf + done * t->row_size;
        for (uint32_t i = 0; i < j->n_parts && rc == 0; i++) {
            size_t size = (size_t)j->parts[i]->row_size;
            rc = read_part(j->parts[i], row0 + done, n, scratch, err);
            for (uint64_t row = 0; row < n && rc == 0; row++)
                memcpy(to + row * t->row_size, scratch + row * size, size);
            to += size;
        }
    }
    pc_free(scratch);
    return rc;
}

static int join_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    const struct joined *j = joined_of(t);
    return j->axis == 0 || j->n_parts == 1 ? read_below(j, row0, n_rows, buf, err)
                                           : read_beside(t, row0, n_rows, buf, err);
}

static const struct pc_tensor *join_same(const struct pc_tensor *t)
{
    const struct joined *j = joined_of(t);
    return j->n_parts == 1 ? j->parts[0] : NULL;
}

/* There is no one place for a tensor of many parts. Its files are named in turn, tensor by tensor, so that
 * who watches the files of a checkpoint sees them all. */
static bool join_where(const struct pc_tensor *t, const char **path, uint64_t *offset)
{
    const struct joined *j = joined_of(t);
    const struct pc_tensor *part = j->parts[t->index % j->n_parts];
    bool one_place = part->owner->ops->where && part->owner->ops->where(part, path, offset);
    return one_place && j->n_parts == 1;
}

static const struct pc_checkpoint_ops g_ops = {
    .read = join_read, .same = join_same, .where = join_where, .close = NULL};

/* The file of a part, for messages. */
static const char *file_of(const struct pc_tensor *part)
{
    return part->owner->path ? pc_path_base(part->owner->path) : part->owner->kind;
}

static int differ(const struct pc_tensor *a, const struct pc_tensor *b, struct paco_error *err)
{
    char shape_a[160], shape_b[160];
    return pc_error_set(err, PACO_EMISMATCH, "tensor '%s' is %s %s in '%s' and %s %s in '%s'", a->name,
        pc_dtype_name(a->dtype), pc_tensor_shape(a, shape_a, sizeof shape_a), file_of(a),
        pc_dtype_name(b->dtype), pc_tensor_shape(b, shape_b, sizeof shape_b), file_of(b));
}

/* The shape of the whole, if the parts fit. */
static int join_shape(const struct pc_join *row, uint64_t shape[PC_MAX_DIMS], struct paco_error *err)
{
    const struct pc_tensor *first = row->parts[0];
    memcpy(shape, first->shape, sizeof first->shape);
    for (uint32_t i = 1; i < row->n_parts; i++) {
        const struct pc_tensor *part = row->parts[i];
        bool fits = part->dtype == first->dtype && part->n_dims == first->n_dims && row->axis < part->n_dims;
        for (int d = 0; d < part->n_dims && fits; d++)
            fits = d == row->axis || part->shape[d] == first->shape[d];
        if (!fits || (row->axis == 1 && part->n_dims != 2))
            return differ(first, part, err);
        if (!pc_add_u64(shape[row->axis], part->shape[row->axis], &shape[row->axis]))
            return pc_error_set(err, PACO_ELIMIT, "tensor '%s' is too large to be joined", first->name);
    }
    return 0;
}

static int add(
    struct pc_checkpoint *ck, const struct pc_join *row, struct joined *joined, struct paco_error *err)
{
    uint64_t shape[PC_MAX_DIMS], row_size = 0;
    const struct pc_tensor *first = row->parts[0];
    int rc = join_shape(row, shape, err);
    if (rc == 0)
        rc = pc_checkpoint_add_tensor(
            ck, row->name, strlen(row->name), first->dtype, first->n_dims, shape, err);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < row->n_parts; i++)
        row_size += row->axis == 1 || i == 0 ? row->parts[i]->row_size : 0;
    if (row_size != ck->tensors[ck->n_tensors - 1].row_size)
        return pc_error_set(err, PACO_EFORMAT, "tensor '%s': the cuts go through blocks of %s", first->name,
            pc_dtype_name(first->dtype));
    joined->axis = row->axis;
    joined->n_parts = row->n_parts;
    joined->parts = pc_arena_alloc(&ck->arena, row->n_parts, sizeof *joined->parts);
    if (!joined->parts)
        return pc_error_mem(err, row->n_parts * sizeof *joined->parts, "a table of tensors");
    memcpy(joined->parts, row->parts, row->n_parts * sizeof *joined->parts);
    return 0;
}

int pc_checkpoint_join(const struct pc_join *table, size_t n, const char *path, struct pc_checkpoint **out,
    struct paco_error *err)
{
    struct pc_checkpoint *ck = pc_checkpoint_new("join", &g_ops, path, err);
    if (!ck)
        return PACO_EMEM;
    struct joined *joined = ck->impl = pc_arena_alloc(&ck->arena, n, sizeof *joined);
    int rc = joined ? 0 : pc_error_mem(err, n * sizeof *joined, "a table of tensors");
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add(ck, &table[i], &joined[i], err);
    if (rc < 0) {
        pc_error_path(err, path);
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}
