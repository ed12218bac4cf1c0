// SPDX-License-Identifier: Apache-2.0
#include "format/checkpoint.h"

#include "base/utf8.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct pc_checkpoint *pc_checkpoint_new(
    const char *kind, const struct pc_checkpoint_ops *ops, const char *path, struct paco_error *err)
{
    struct pc_checkpoint *ck = pc_alloc_zero(1, sizeof *ck);
    if (!ck) {
        pc_error_mem(err, sizeof *ck, "a checkpoint");
        return NULL;
    }
    ck->kind = kind;
    ck->ops = ops;
    if (path && !(ck->path = pc_arena_strndup(&ck->arena, path, strlen(path)))) {
        pc_error_mem(err, strlen(path), "a path");
        pc_free(ck);
        return NULL;
    }
    return ck;
}

static bool valid_name(const char *name, size_t len)
{
    return len > 0 && len <= PC_MAX_NAME && !memchr(name, 0, len) &&
           pc_utf8_valid((const uint8_t *)name, len, NULL);
}

/* The rows of a slice that is too long for one: the same for every dtype, or two types of one shape could not
 * be read side by side; a power of two that blocks of every type divide, if they divide the last dimension.
 */
static void split_rows(struct pc_tensor *t)
{
    uint64_t step = 256;
    while (t->row_elems % step)
        step /= 2;
    t->n_rows *= t->row_elems / step;
    t->row_elems = step;
}

/* Fill the derived fields; false when the element count or size overflows or is no whole number of blocks. */
static bool derive(struct pc_tensor *t)
{
    const struct pc_dtype_traits *traits = pc_dtype_traits(t->dtype);
    t->n_rows = t->n_dims > 0 ? t->shape[0] : 1;
    t->row_elems = 1;
    for (int i = 1; i < t->n_dims; i++)
        if (!pc_mul_u64(t->row_elems, t->shape[i], &t->row_elems))
            return false;
    if (t->n_dims == 1 && traits->n_block > 1) {
        t->row_elems = t->n_rows;
        t->n_rows = 1;
    }
    uint64_t n_elements;
    if (!pc_mul_u64(t->n_rows, t->row_elems, &n_elements) || n_elements > INT64_MAX)
        return false;
    if (t->row_elems > PC_MAX_ROW)
        split_rows(t);
    if (!pc_dtype_size(t->dtype, t->row_elems, &t->row_size) || !pc_mul_u64(t->n_rows, t->row_size, &t->size))
        return false;
    if (n_elements == 0)
        t->n_rows = 0;
    return t->size <= INT64_MAX;
}

static int grow_table(struct pc_checkpoint *ck, size_t capacity, struct paco_error *err)
{
    struct pc_tensor *grown = pc_realloc(ck->tensors, capacity, sizeof *grown);
    if (!grown)
        return pc_error_mem(err, capacity * sizeof *grown, "the table of tensors");
    ck->tensors = grown;
    ck->capacity = capacity;
    return 0;
}

int pc_checkpoint_reserve(struct pc_checkpoint *ck, size_t n, bool borrow_names, struct paco_error *err)
{
    ck->borrows_names = borrow_names;
    if (n <= ck->capacity)
        return 0;
    if (!pc_map_reserve(&ck->by_name, n))
        return pc_error_mem(err, n * sizeof(void *), "the table of tensors");
    return grow_table(ck, n, err);
}

int pc_checkpoint_add_tensor(struct pc_checkpoint *ck, const char *name, size_t name_len, enum pc_dtype dtype,
    int n_dims, const uint64_t *shape, struct paco_error *err)
{
    if (!valid_name(name, name_len))
        return pc_error_set(
            err, PACO_EFORMAT, "tensor %zu has an empty, overlong or non-UTF-8 name", ck->n_tensors);
    if (ck->n_tensors == PC_MAX_TENSORS)
        return pc_error_set(err, PACO_ELIMIT, "more than %d tensors", PC_MAX_TENSORS);
    if (n_dims < 0 || n_dims > PC_MAX_DIMS)
        return pc_error_set(err, PACO_ELIMIT, "tensor '%.*s' has %d dimensions; at most %d are supported",
            (int)name_len, name, n_dims, PC_MAX_DIMS);
    if (ck->n_tensors == ck->capacity) {
        int rc = grow_table(ck, ck->capacity ? ck->capacity * 2 : 64, err);
        if (rc < 0)
            return rc;
    }
    struct pc_tensor t = {.dtype = dtype, .n_dims = n_dims, .owner = ck, .index = (uint32_t)ck->n_tensors};
    if (n_dims)
        memcpy(t.shape, shape, (size_t)n_dims * sizeof *shape);
    char text[160];
    pc_shape_format(n_dims, t.shape, text, sizeof text);
    if (!derive(&t))
        return pc_error_set(err, PACO_EFORMAT, "tensor '%.*s': shape %s in %s is no possible size",
            (int)name_len, name, text, pc_dtype_name(dtype));
    t.name = ck->borrows_names ? name : pc_arena_strndup(&ck->arena, name, name_len);
    int added = t.name ? pc_map_add(&ck->by_name, t.name, name_len, t.index) : -1;
    if (added < 0)
        return pc_error_mem(err, name_len, "a tensor's name");
    if (added == 0)
        return pc_error_set(err, PACO_EFORMAT, "tensor '%s' appears twice", t.name);
    ck->tensors[ck->n_tensors++] = t;
    return 0;
}

void pc_checkpoint_close(struct pc_checkpoint *ck)
{
    if (!ck)
        return;
    if (ck->ops && ck->ops->close)
        ck->ops->close(ck);
    pc_map_release(&ck->by_name);
    pc_arena_release(&ck->arena);
    pc_free(ck->tensors);
    pc_free(ck);
}

const struct pc_tensor *pc_checkpoint_find(const struct pc_checkpoint *ck, const char *name)
{
    uint32_t i;
    return pc_map_get(&ck->by_name, name, strlen(name), &i) ? &ck->tensors[i] : NULL;
}

int pc_tensor_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    if (row0 > t->n_rows || n_rows > t->n_rows - row0)
        return pc_error_set(err, PACO_EINVAL, "tensor '%s': rows %llu to %llu of %llu", t->name,
            (unsigned long long)row0, (unsigned long long)(row0 + n_rows), (unsigned long long)t->n_rows);
    if (n_rows == 0 || t->row_size == 0)
        return 0;
    int rc = t->owner->ops->read(t, row0, n_rows, buf, err);
    if (rc < 0)
        pc_error_prefix(err, "tensor '%s'", t->name);
    return rc;
}

/* The tensor of a file that t is, through the nodes that hand it on; or of a node that makes it. */
static const struct pc_tensor *origin(const struct pc_tensor *t)
{
    const struct pc_tensor *from = t;
    while (from) {
        t = from;
        from = t->owner->ops->same ? t->owner->ops->same(t) : NULL;
    }
    return t;
}

const void *pc_tensor_map(const struct pc_tensor *t)
{
    if (t->owner->unmapped)
        return NULL;
    t = origin(t);
    return t->owner->ops->map ? t->owner->ops->map(t) : NULL;
}

bool pc_tensor_has_check(const struct pc_tensor *t)
{
    return origin(t)->owner->ops->check != NULL;
}

int pc_tensor_check(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, struct paco_error *err)
{
    const struct pc_tensor *from = origin(t);
    assert(row0 <= t->n_rows && n_rows <= t->n_rows - row0 && from->n_rows == t->n_rows);
    int rc = from->owner->ops->check ? from->owner->ops->check(from, row0, n_rows, err) : 0;
    if (rc < 0)
        pc_error_prefix(err, "tensor '%s'", t->name);
    return rc;
}

char *pc_shape_format(int n_dims, const uint64_t *shape, char *out, size_t out_size)
{
    size_t w = (size_t)snprintf(out, out_size, "[");
    for (int i = 0; i < n_dims && w < out_size; i++)
        w += (size_t)snprintf(out + w, out_size - w, "%s%llu", i ? "," : "", (unsigned long long)shape[i]);
    if (w < out_size)
        snprintf(out + w, out_size - w, "]");
    return out;
}

char *pc_tensor_shape(const struct pc_tensor *t, char *out, size_t out_size)
{
    return pc_shape_format(t->n_dims, t->shape, out, out_size);
}

bool pc_tensor_has_slices(const struct pc_tensor *t)
{
    return t->n_rows == 0 || t->n_rows == (t->n_dims ? t->shape[0] : 1);
}

bool pc_tensor_same_shape(const struct pc_tensor *a, const struct pc_tensor *b)
{
    return a->n_dims == b->n_dims && memcmp(a->shape, b->shape, (size_t)a->n_dims * sizeof *a->shape) == 0;
}

uint64_t pc_tensor_n_elements(const struct pc_tensor *t)
{
    return t->n_rows * t->row_elems;
}
