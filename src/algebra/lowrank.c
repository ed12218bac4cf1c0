// SPDX-License-Identifier: Apache-2.0
/* Rows of the product are built up tile by tile: a block of output rows (BLOCK_FLOATS at most) stays in the
 * cache while tiles of A's rows (TILE_FLOATS) pass by, k ascending, so the order of the sum is the documented
 * one whatever the sizes. A is read anew for every block; with 64 rows to a block that is a few per cent of
 * the time. */
#include "algebra/lowrank.h"

#include "algebra/read_f32.h"
#include "kernels/convert.h"

#include <string.h>

enum { BLOCK_FLOATS = 256 * 1024, TILE_FLOATS = 64 * 1024 };
static const uint64_t MAX_TRANSPOSED = (uint64_t)1 << 30;

struct entry {
    const struct pc_tensor *source; /* the base's tensor or its replacement */
    const struct pc_tensor *a, *b;  /* NULL when only passed through */
    float scale;
    float *a_rows, *b_columns; /* (r, in) and (r, out) of a transposed term; owned */
};

struct lowrank {
    struct entry *entries; /* by tensor index */
    size_t n;
};

static uint64_t rank_of(const struct entry *e)
{
    return e->a->shape[0];
}

static uint64_t clamp_rows(uint64_t floats, uint64_t row_elems, uint64_t n_rows)
{
    uint64_t n = row_elems ? floats / row_elems : n_rows;
    return n < 1 ? 1 : n > n_rows ? n_rows : n;
}

struct scratch {
    float *acc, *tile, *b;
    uint64_t block_rows, tile_rows;
};

static void scratch_release(struct scratch *s)
{
    pc_free(s->acc);
    pc_free(s->tile);
    pc_free(s->b);
}

static int scratch_init(
    struct scratch *s, const struct entry *e, uint64_t n_cols, uint64_t n_rows, struct paco_error *err)
{
    bool tiled = !e->a_rows;
    *s = (struct scratch){.block_rows = tiled ? clamp_rows(BLOCK_FLOATS, n_cols, n_rows) : 1};
    s->tile_rows = clamp_rows(TILE_FLOATS, n_cols, rank_of(e));
    s->acc = pc_alloc((size_t)(s->block_rows * n_cols), sizeof(float));
    s->tile = tiled ? pc_alloc((size_t)(s->tile_rows * n_cols), sizeof(float)) : NULL;
    s->b = tiled ? pc_alloc((size_t)(s->block_rows * rank_of(e)), sizeof(float)) : NULL;
    if (!s->acc || (tiled && (!s->tile || !s->b))) {
        scratch_release(s);
        return pc_error_mem(
            err, (s->block_rows + s->tile_rows) * n_cols * sizeof(float), "a low-rank product");
    }
    return 0;
}

/* s->acc = rows [row0, row0 + n) of B A. */
static int product_rows(const struct entry *e, struct scratch *s, uint64_t row0, uint64_t n, size_t n_cols,
    struct paco_error *err)
{
    const struct pc_convert *k = pc_convert();
    uint64_t r = rank_of(e);
    int rc = pc_tensor_read_f32(e->b, row0, n, s->b, err);
    memset(s->acc, 0, (size_t)n * n_cols * sizeof *s->acc);
    for (uint64_t k0 = 0; k0 < r && rc == 0; k0 += s->tile_rows) {
        uint64_t n_tile = r - k0 < s->tile_rows ? r - k0 : s->tile_rows;
        rc = pc_tensor_read_f32(e->a, k0, n_tile, s->tile, err);
        for (uint64_t i = 0; i < n && rc == 0; i++) {
            float *acc = s->acc + i * n_cols;
            for (uint64_t j = 0; j < n_tile; j++)
                k->add_scaled(acc, acc, s->tile + j * n_cols, s->b[i * r + k0 + j], n_cols);
        }
    }
    return rc;
}

/* s->acc = row `row` of (B A) transposed. */
static void transposed_row(const struct entry *e, struct scratch *s, uint64_t row, size_t n_cols)
{
    const struct pc_convert *k = pc_convert();
    uint64_t n_in = e->a->shape[1];
    memset(s->acc, 0, n_cols * sizeof *s->acc);
    for (uint64_t j = 0; j < rank_of(e); j++)
        k->add_scaled(s->acc, s->acc, e->b_columns + j * n_cols, e->a_rows[j * n_in + row], n_cols);
}

static int read_updated(const struct pc_tensor *t, const struct entry *e, uint64_t row0, uint64_t n_rows,
    float *buf, struct paco_error *err)
{
    size_t n_cols = (size_t)t->row_elems;
    struct scratch s;
    int rc = scratch_init(&s, e, n_cols, n_rows, err);
    if (rc < 0)
        return rc;
    rc = pc_tensor_read_f32(e->source, row0, n_rows, buf, err);
    for (uint64_t done = 0; done < n_rows && rc == 0; done += s.block_rows) {
        uint64_t n = n_rows - done < s.block_rows ? n_rows - done : s.block_rows;
        if (e->a_rows)
            transposed_row(e, &s, row0 + done, n_cols);
        else
            rc = product_rows(e, &s, row0 + done, n, n_cols, err);
        if (rc == 0)
            pc_convert()->add_scaled(
                buf + done * n_cols, buf + done * n_cols, s.acc, e->scale, (size_t)n * n_cols);
    }
    scratch_release(&s);
    return rc;
}

static const struct entry *entry_of(const struct pc_tensor *t)
{
    const struct lowrank *node = t->owner->impl;
    return &node->entries[t->index];
}

static int lowrank_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    const struct entry *e = entry_of(t);
    return e->a ? read_updated(t, e, row0, n_rows, buf, err)
                : pc_tensor_read(e->source, row0, n_rows, buf, err);
}

static const void *lowrank_map(const struct pc_tensor *t)
{
    const struct entry *e = entry_of(t);
    return e->a ? NULL : pc_tensor_map(e->source);
}

static bool lowrank_where(const struct pc_tensor *t, const char **path, uint64_t *offset)
{
    const struct pc_tensor *source = entry_of(t)->source;
    const struct pc_checkpoint_ops *ops = source->owner->ops;
    return ops->where && ops->where(source, path, offset);
}

static void lowrank_close(struct pc_checkpoint *ck)
{
    struct lowrank *node = ck->impl;
    for (size_t i = 0; node && i < node->n; i++) {
        pc_free(node->entries[i].a_rows);
        pc_free(node->entries[i].b_columns);
    }
    if (node)
        pc_free(node->entries);
    pc_free(node);
}

static const struct pc_checkpoint_ops lowrank_ops = {lowrank_read, lowrank_map, lowrank_where, lowrank_close};

static int check_factors(
    const struct pc_lowrank_term *term, const struct pc_tensor *w, struct paco_error *err)
{
    const struct pc_tensor *a = term->a, *b = term->b;
    char w_shape[160], a_shape[160], b_shape[160];
    pc_tensor_shape(w, w_shape, sizeof w_shape);
    pc_tensor_shape(a, a_shape, sizeof a_shape);
    pc_tensor_shape(b, b_shape, sizeof b_shape);
    if (a->n_dims != 2 || b->n_dims != 2 || a->shape[0] != b->shape[1])
        return pc_error_set(err, PACO_EMISMATCH, "tensor '%s': its factors A %s and B %s do not share a rank",
            term->name, a_shape, b_shape);
    bool fits = w->n_dims == 2 && w->shape[term->transposed] == b->shape[0] &&
                w->shape[!term->transposed] == a->shape[1];
    if (!fits)
        return pc_error_set(err, PACO_EMISMATCH,
            "tensor '%s' %s cannot take an update of %llu x %llu (A %s, B %s): is this the adapter's base?",
            term->name, w_shape, (unsigned long long)b->shape[0], (unsigned long long)a->shape[1], a_shape,
            b_shape);
    if (!pc_tensor_has_f32(w) || !pc_tensor_has_f32(a) || !pc_tensor_has_f32(b))
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "tensor '%s' or its update has a type that cannot be computed with (%s, A %s, B %s)", term->name,
            pc_dtype_name(w->dtype), pc_dtype_name(a->dtype), pc_dtype_name(b->dtype));
    return 0;
}

/* Load both factors of a transposed term, B turned so that its columns are rows. */
static int load_transposed(struct entry *e, struct paco_error *err)
{
    uint64_t r = rank_of(e), n_in = e->a->shape[1], n_out = e->b->shape[0], floats;
    if (!pc_mul_u64(r, n_in + n_out, &floats) || floats > MAX_TRANSPOSED / sizeof(float))
        return pc_error_set(err, PACO_ELIMIT, "tensor '%s': factors of rank %llu are above 1 GiB",
            e->source->name, (unsigned long long)r);
    e->a_rows = pc_alloc((size_t)(r * n_in), sizeof(float));
    e->b_columns = pc_alloc((size_t)(r * n_out), sizeof(float));
    float *row = pc_alloc((size_t)r, sizeof(float));
    int rc = 0;
    if (!e->a_rows || !e->b_columns || !row)
        rc = pc_error_mem(err, floats * sizeof(float), "an adapter's factors");
    if (rc == 0)
        rc = pc_tensor_read_f32(e->a, 0, r, e->a_rows, err);
    for (uint64_t i = 0; i < n_out && rc == 0; i++) {
        rc = pc_tensor_read_f32(e->b, i, 1, row, err);
        for (uint64_t j = 0; j < r && rc == 0; j++)
            e->b_columns[j * n_out + i] = row[j];
    }
    pc_free(row);
    return rc;
}

static int bind_term(const struct pc_checkpoint *base, struct lowrank *node,
    const struct pc_lowrank_term *term, struct paco_error *err)
{
    const struct pc_tensor *t = pc_checkpoint_find(base, term->name);
    if (!t)
        return pc_error_set(err, PACO_ENOENT, "the base has no tensor '%s'", term->name);
    struct entry *e = &node->entries[t->index];
    if (e->source)
        return pc_error_set(err, PACO_EINVAL, "tensor '%s' is updated twice", term->name);
    e->source = term->source ? term->source : t;
    if (!term->a != !term->b)
        return pc_error_set(
            err, PACO_EINVAL, "tensor '%s': only one of its two factors is given", term->name);
    if (!term->a)
        return 0;
    int rc = check_factors(term, e->source, err);
    if (rc < 0)
        return rc;
    e->a = term->a;
    e->b = term->b;
    e->scale = term->scale;
    return term->transposed ? load_transposed(e, err) : 0;
}

int pc_checkpoint_lowrank(const struct pc_checkpoint *base, const struct pc_lowrank_term *terms,
    size_t n_terms, struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_checkpoint *ck = pc_checkpoint_new("lowrank", &lowrank_ops, base->path, err);
    if (!ck)
        return PACO_EMEM;
    struct lowrank *node = ck->impl = pc_alloc_zero(1, sizeof *node);
    if (node)
        node->entries = pc_alloc_zero(base->n_tensors, sizeof *node->entries);
    int rc = node && node->entries
                 ? 0
                 : pc_error_mem(err, base->n_tensors * sizeof *node->entries, "a low-rank checkpoint");
    if (rc == 0)
        node->n = base->n_tensors;
    for (size_t i = 0; i < n_terms && rc == 0; i++)
        rc = bind_term(base, node, &terms[i], err);
    for (size_t i = 0; i < base->n_tensors && rc == 0; i++) {
        const struct pc_tensor *t = &base->tensors[i];
        struct entry *e = &node->entries[i];
        if (!e->source)
            e->source = t;
        rc = pc_checkpoint_add_tensor(ck, t->name, strlen(t->name), e->a ? PC_F32 : e->source->dtype,
            e->source->n_dims, e->source->shape, err);
    }
    if (rc < 0) {
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}
