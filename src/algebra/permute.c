// SPDX-License-Identifier: Apache-2.0
/* To halves: a run of output rows within half a head is every other row of a run twice as long in the source,
 * so it is read whole and every other row is copied: twice the bytes of these two projections, but one read
 * instead of one per row. To pairs: a run of rows is two runs of half the length, interleaved. */
#include "algebra/permute.h"

#include "algebra/trace.h"

#include "base/file.h"

#include <string.h>

enum { RUN_SIZE = 1 << 20 }; /* bytes read at once, or two rows */

struct permute {
    const struct pc_tensor **sources; /* by index */
    uint32_t *head_rows;              /* rows of a head; 0: passes through */
    enum pc_permutation direction;
};

static const struct pc_tensor *from_of(const struct pc_tensor *t, uint32_t *head_rows)
{
    const struct permute *p = t->owner->impl;
    *head_rows = p->head_rows[t->index];
    return p->sources[t->index];
}

static uint64_t run_rows(const struct pc_tensor *from, uint64_t half, uint64_t n_rows)
{
    uint64_t most = RUN_SIZE / (2 * from->row_size);
    if (most > half)
        most = half;
    if (most > n_rows)
        most = n_rows;
    return most ? most : 1;
}

/* Rows [row, row + n), within half a head, through scratch for 2n rows. */
static int read_run(const struct pc_tensor *from, uint64_t head_rows, uint64_t row, uint64_t n, char *to,
    char *scratch, struct paco_error *err)
{
    uint64_t half = head_rows / 2, head = row / head_rows * head_rows, i = row - head;
    uint64_t second = i >= half, j = i - second * half;
    int rc = from->owner->ops->read(from, head + 2 * j, 2 * n, scratch, err);
    for (uint64_t k = 0; rc == 0 && k < n; k++)
        memcpy(to + k * from->row_size, scratch + (2 * k + second) * from->row_size, (size_t)from->row_size);
    return rc;
}

/* All rows of the result. */
static int to_halves(const struct pc_tensor *from, uint64_t head_rows, uint64_t row0, uint64_t n_rows,
    char *buf, struct paco_error *err)
{
    uint64_t half = head_rows / 2, most = run_rows(from, half, n_rows);
    char *scratch = pc_alloc(2 * most, from->row_size);
    if (!scratch)
        return pc_error_mem(err, 2 * most * from->row_size, "rows to be reordered");
    int rc = 0;
    for (uint64_t row = row0, end = row0 + n_rows, n; rc == 0 && row < end; row += n) {
        n = half - row % half;
        n = n < most ? n : most;
        n = n < end - row ? n : end - row;
        rc = read_run(from, head_rows, row, n, buf + (row - row0) * from->row_size, scratch, err);
    }
    pc_free(scratch);
    return rc;
}

/* Rows of half `second` of a head that go to every other of rows [row, row + n), all of one head. */
static int read_half(const struct pc_tensor *from, uint64_t head_rows, uint64_t row, uint64_t n,
    uint64_t second, char *to, char *scratch, struct paco_error *err)
{
    uint64_t head = row / head_rows * head_rows, first = row - head + (((row - head) & 1) != second);
    uint64_t end = row - head + n, m = first < end ? (end - first + 1) / 2 : 0;
    int rc =
        m ? from->owner->ops->read(from, head + second * (head_rows / 2) + first / 2, m, scratch, err) : 0;
    for (uint64_t k = 0; rc == 0 && k < m; k++)
        memcpy(to + (head + first + 2 * k - row) * from->row_size, scratch + k * from->row_size,
            (size_t)from->row_size);
    return rc;
}

static int to_pairs(const struct pc_tensor *from, uint64_t head_rows, uint64_t row0, uint64_t n_rows,
    char *buf, struct paco_error *err)
{
    uint64_t most = 2 * run_rows(from, head_rows / 2, n_rows);
    char *scratch = pc_alloc(most / 2 + 1, from->row_size);
    if (!scratch)
        return pc_error_mem(err, most * from->row_size, "rows to be reordered");
    int rc = 0;
    for (uint64_t row = row0, end = row0 + n_rows, n; rc == 0 && row < end; row += n) {
        n = head_rows - row % head_rows;
        n = n < most ? n : most;
        n = n < end - row ? n : end - row;
        for (uint64_t second = 0; rc == 0 && second < 2; second++)
            rc =
                read_half(from, head_rows, row, n, second, buf + (row - row0) * from->row_size, scratch, err);
    }
    pc_free(scratch);
    return rc;
}

static int permute_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    const struct permute *p = t->owner->impl;
    uint32_t head_rows;
    const struct pc_tensor *from = from_of(t, &head_rows);
    if (!head_rows)
        return from->owner->ops->read(from, row0, n_rows, buf, err);
    return p->direction == PC_HALVES_TO_PAIRS ? to_pairs(from, head_rows, row0, n_rows, buf, err)
                                              : to_halves(from, head_rows, row0, n_rows, buf, err);
}

static int permute_read_traced(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf,
    struct pc_trace *trace, struct paco_error *err)
{
    uint32_t head_rows;
    const struct pc_tensor *from = from_of(t, &head_rows);
    if (!head_rows)
        return pc_tensor_read_traced(from, row0, n_rows, buf, trace, err);
    // A head's rows are read twice, once to be shown: the page cache has them, and a head need not be held.
    void *shown = pc_trace_scratch(trace, n_rows * from->row_size, err);
    int rc = shown ? pc_tensor_read_traced(from, row0, n_rows, shown, trace, err) : PACO_EMEM;
    return rc < 0 ? rc : pc_tensor_read(t, row0, n_rows, buf, err);
}

static const struct pc_tensor *permute_same(const struct pc_tensor *t)
{
    uint32_t head_rows;
    const struct pc_tensor *from = from_of(t, &head_rows);
    return head_rows ? NULL : from;
}

static bool permute_where(const struct pc_tensor *t, const char **path, uint64_t *offset)
{
    uint32_t head_rows;
    const struct pc_tensor *from = from_of(t, &head_rows);
    return from->owner->ops->where && from->owner->ops->where(from, path, offset);
}

static const struct pc_checkpoint_ops g_ops = {
    .read = permute_read, .same = permute_same, .where = permute_where, .close = NULL};

static int head_rows_of(
    const struct pc_tensor *t, const struct pc_head_count *table, uint32_t *head_rows, struct paco_error *err)
{
    for (*head_rows = 0; table->suffix; table++)
        if (pc_ends_with(t->name, table->suffix)) {
            char shape[160];
            uint64_t n = t->n_rows / table->n_heads;
            if (t->n_dims > 1 && !pc_tensor_has_slices(t))
                return pc_error_set(err, PACO_ELIMIT,
                    "tensor '%s' has the shape %s: rows of more than %d elements cannot be reordered",
                    t->name, pc_tensor_shape(t, shape, sizeof shape), PC_MAX_ROW);
            if (n == 0 || n > UINT32_MAX || n % 2 != 0 || t->n_rows % table->n_heads != 0 ||
                !pc_tensor_has_slices(t))
                return pc_error_set(err, PACO_EMISMATCH,
                    "tensor '%s' has the shape %s, whose rows are no even number for each of %u heads",
                    t->name, pc_tensor_shape(t, shape, sizeof shape), table->n_heads);
            *head_rows = (uint32_t)n;
        }
    return 0;
}

int pc_checkpoint_permute(const struct pc_checkpoint *source, const struct pc_head_count *table,
    enum pc_permutation direction, struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_checkpoint *ck = pc_checkpoint_new("permute", &g_ops, source->path, err);
    if (!ck)
        return PACO_EMEM;
    ck->read_traced = permute_read_traced;
    struct permute *p = ck->impl = pc_arena_alloc(&ck->arena, 1, sizeof *p);
    if (p) {
        p->direction = direction;
        p->sources = pc_arena_alloc(&ck->arena, source->n_tensors, sizeof *p->sources);
        p->head_rows = pc_arena_alloc(&ck->arena, source->n_tensors, sizeof *p->head_rows);
    }
    int rc =
        p && p->sources && p->head_rows ? 0 : pc_error_mem(err, source->n_tensors * 16, "a table of tensors");
    if (rc == 0)
        rc = pc_checkpoint_reserve(ck, source->n_tensors, true, err);
    for (size_t i = 0; rc == 0 && i < source->n_tensors; i++) {
        const struct pc_tensor *t = &source->tensors[i];
        p->sources[i] = t;
        rc = head_rows_of(t, table, &p->head_rows[i], err);
        if (rc == 0)
            rc = pc_checkpoint_add_tensor(ck, t->name, strlen(t->name), t->dtype, t->n_dims, t->shape, err);
    }
    if (rc < 0) {
        pc_error_path(err, source->path);
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}
