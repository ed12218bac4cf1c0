// SPDX-License-Identifier: Apache-2.0
/* A tensor is read in many small pieces, often by several threads, and each piece needs all of A (or of B,
 * when the tensor is stored transposed). So factors are widened once and kept while pieces of their tensor
 * are asked for: in a few slots, counted, let go with the tensor's last row. A thread that finds all slots
 * taken by others loads its own copy.
 *
 * Rows of the product are built up tile by tile: those of a piece stay in the cache while tiles of A's rows
 * pass by, k ascending, so that the order of the sum is the documented one whatever the sizes. */
#include "algebra/lowrank.h"

#include "algebra/read_f32.h"
#include "algebra/trace.h"
#include "kernels/convert.h"

#include <pthread.h>
#include <string.h>

enum { N_SLOTS = 16, TILE_FLOATS = 64 * 1024 };
static const uint64_t MAX_FACTORS = (uint64_t)1 << 30;

struct entry {
    const struct pc_tensor *source; /* the base's tensor or its replacement */
    const struct pc_tensor *a, *b;  /* NULL when only passed through */
    float scale;
    bool transposed;
};

/* The factors of one tensor, turned so that its rows are left times right: `left` has a row of r for each of
 * its rows, `right` is (r, row_elems). */
struct factors {
    const struct entry *of; /* NULL: free */
    unsigned n_users;
    float *left, *right;
};

struct lowrank {
    struct entry *entries; /* by tensor index */
    pthread_mutex_t lock;
    struct factors slots[N_SLOTS];
};

static uint64_t rank_of(const struct entry *e)
{
    return e->a->shape[0];
}

static void factors_clear(struct factors *f)
{
    pc_free(f->left);
    pc_free(f->right);
    *f = (struct factors){0};
}

/* t (n_rows, n_cols) widened, as it is or turned into (n_cols, n_rows). *out is owned. */
static int load(const struct pc_tensor *t, bool turn, float **out, struct paco_error *err)
{
    uint64_t n_rows = t->shape[0], n_cols = t->shape[1];
    float *v = pc_alloc((size_t)(n_rows * n_cols), sizeof *v),
          *row = turn ? pc_alloc((size_t)n_cols, sizeof *row) : NULL;
    int rc = 0;
    if (!v || (turn && !row))
        rc = pc_error_mem(err, n_rows * n_cols * sizeof *v, "an adapter's factors");
    if (rc == 0 && !turn)
        rc = pc_tensor_read_f32(t, 0, t->n_rows, v, err);
    for (uint64_t i = 0; turn && i < n_rows && rc == 0; i++) {
        rc = pc_tensor_read_f32(t, i, 1, row, err);
        for (uint64_t j = 0; j < n_cols && rc == 0; j++)
            v[j * n_rows + i] = row[j];
    }
    pc_free(row);
    *out = v;
    return rc;
}

static int factors_load(struct factors *f, const struct entry *e, struct paco_error *err)
{
    *f = (struct factors){.of = e, .n_users = 1};
    int rc = load(e->transposed ? e->a : e->b, e->transposed, &f->left, err);
    if (rc == 0)
        rc = load(e->transposed ? e->b : e->a, e->transposed, &f->right, err);
    if (rc < 0)
        factors_clear(f);
    return rc;
}

/* The slot that holds e's factors, else one that nobody uses, else NULL. */
static struct factors *find_slot(struct lowrank *node, const struct entry *e)
{
    struct factors *unused = NULL;
    for (int i = 0; i < N_SLOTS; i++) {
        struct factors *f = &node->slots[i];
        if (f->of == e)
            return f;
        if (f->n_users == 0 && (!unused || !f->of))
            unused = f;
    }
    return unused;
}

/* *out = the factors of e: a slot's, or own when all slots are in use. */
static int acquire(struct lowrank *node, const struct entry *e, struct factors *own, struct factors **out,
    struct paco_error *err)
{
    int rc = 0;
    pthread_mutex_lock(&node->lock);
    struct factors *f = find_slot(node, e);
    if (f && f->of == e) {
        f->n_users++;
    } else if (f) {
        factors_clear(f);
        rc = factors_load(f, e, err);
    }
    pthread_mutex_unlock(&node->lock);
    *out = f ? f : own;
    return f ? rc : factors_load(own, e, err);
}

static void release(struct lowrank *node, struct factors *f, const struct factors *own, bool last_row)
{
    pthread_mutex_lock(&node->lock);
    if (--f->n_users == 0 && (last_row || f == own))
        factors_clear(f);
    pthread_mutex_unlock(&node->lock);
}

/* acc = rows [row0, row0 + n) of left times right. */
static void product(const struct factors *f, uint64_t r, uint64_t row0, uint64_t n, size_t n_cols, float *acc)
{
    const struct pc_convert *convert = pc_convert();
    uint64_t tile = n_cols && TILE_FLOATS / n_cols ? TILE_FLOATS / n_cols : 1;
    memset(acc, 0, (size_t)n * n_cols * sizeof *acc);
    for (uint64_t k0 = 0; k0 < r; k0 += tile)
        for (uint64_t i = 0; i < n; i++)
            for (uint64_t k = k0; k < r && k < k0 + tile; k++)
                convert->add_scaled(acc + i * n_cols, acc + i * n_cols, f->right + k * n_cols,
                    f->left[(row0 + i) * r + k], n_cols);
}

static const struct entry *entry_of(const struct pc_tensor *t)
{
    const struct lowrank *node = t->owner->impl;
    return &node->entries[t->index];
}

static int read_updated(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, float *buf,
    struct pc_trace *trace, struct paco_error *err)
{
    const struct entry *e = entry_of(t);
    struct factors own = {0}, *f;
    const float *w;
    float *acc = pc_trace_scratch(trace, n_rows * t->row_elems * sizeof *acc, err);
    int rc = acc ? pc_trace_read_f32(e->source, row0, n_rows, buf, &w, trace, err) : PACO_EMEM;
    if (rc < 0)
        return rc;
    if ((rc = acquire(t->owner->impl, e, &own, &f, err)) < 0)
        return rc;
    product(f, rank_of(e), row0, n_rows, (size_t)t->row_elems, acc);
    release(t->owner->impl, f, &own, row0 + n_rows == t->n_rows);
    pc_convert()->add_scaled(buf, w, acc, e->scale, (size_t)(n_rows * t->row_elems));
    return 0;
}

static int lowrank_read_traced(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf,
    struct pc_trace *trace, struct paco_error *err)
{
    const struct entry *e = entry_of(t);
    return e->a ? read_updated(t, row0, n_rows, buf, trace, err)
                : pc_tensor_read_traced(e->source, row0, n_rows, buf, trace, err);
}

static int lowrank_read(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    const struct entry *e = entry_of(t);
    return e->a ? pc_read_untraced(t, row0, n_rows, buf, err)
                : pc_tensor_read(e->source, row0, n_rows, buf, err);
}

static const struct pc_tensor *lowrank_same(const struct pc_tensor *t)
{
    const struct entry *e = entry_of(t);
    return e->a ? NULL : e->source;
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
    if (!node)
        return;
    for (int i = 0; i < N_SLOTS; i++)
        factors_clear(&node->slots[i]);
    pthread_mutex_destroy(&node->lock);
    pc_free(node->entries);
    pc_free(node);
}

static const struct pc_checkpoint_ops lowrank_ops = {
    .read = lowrank_read, .same = lowrank_same, .where = lowrank_where, .close = lowrank_close};

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
    if (!pc_tensor_has_slices(w))
        return pc_error_set(err, PACO_ELIMIT,
            "tensor '%s' %s: an update of rows of more than %d is not supported", term->name, w_shape,
            PC_MAX_ROW);
    uint64_t floats;
    if (!pc_mul_u64(a->shape[0], a->shape[1] + b->shape[0], &floats) || floats > MAX_FACTORS / sizeof(float))
        return pc_error_set(err, PACO_ELIMIT, "tensor '%s': factors of rank %llu are above 1 GiB", term->name,
            (unsigned long long)a->shape[0]);
    return 0;
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
    e->transposed = term->transposed;
    return 0;
}

int pc_checkpoint_lowrank(const struct pc_checkpoint *base, const struct pc_lowrank_term *terms,
    size_t n_terms, struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_checkpoint *ck = pc_checkpoint_new("lowrank", &lowrank_ops, base->path, err);
    if (!ck)
        return PACO_EMEM;
    ck->read_traced = lowrank_read_traced;
    struct lowrank *node = ck->impl = pc_alloc_zero(1, sizeof *node);
    if (node) {
        pthread_mutex_init(&node->lock, NULL);
        node->entries = pc_alloc_zero(base->n_tensors, sizeof *node->entries);
    }
    int rc = node && node->entries
                 ? 0
                 : pc_error_mem(err, base->n_tensors * sizeof *node->entries, "a low-rank checkpoint");
    for (size_t i = 0; i < n_terms && rc == 0; i++)
        rc = bind_term(base, node, &terms[i], err);
    if (rc == 0)
        rc = pc_checkpoint_reserve(ck, base->n_tensors, true, err);
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
