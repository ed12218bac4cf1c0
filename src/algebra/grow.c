// SPDX-License-Identifier: Apache-2.0
#include "algebra/grow.h"

#include "algebra/column_mean.h"
#include "algebra/read_f32.h"
#include "algebra/trace.h"

#include <string.h>

struct grow {
    const struct pc_checkpoint *inner;
    float **rows; /* by tensor index: what new rows hold, or NULL for tensors that stay; owned */
};

static const struct pc_tensor *inner_of(const struct pc_tensor *t)
{
    const struct grow *g = t->owner->impl;
    return &g->inner->tensors[t->index];
}

static int read_traced(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf,
    struct pc_trace *trace, struct paco_error *err)
{
    const struct grow *g = t->owner->impl;
    const struct pc_tensor *in = inner_of(t);
    const float *row = g->rows[t->index], *w;
    if (!row)
        return pc_tensor_read_traced(in, row0, n_rows, buf, trace, err);
    uint64_t n_old = row0 >= in->n_rows ? 0 : in->n_rows - row0 < n_rows ? in->n_rows - row0 : n_rows;
    int rc = n_old ? pc_trace_read_f32(in, row0, n_old, buf, &w, trace, err) : 0;
    for (uint64_t i = n_old; i < n_rows && rc == 0; i++)
        memcpy((float *)buf + i * t->row_elems, row, (size_t)t->row_size);
    return rc;
}

static int read_rows(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    const struct grow *g = t->owner->impl;
    return g->rows[t->index] ? pc_read_untraced(t, row0, n_rows, buf, err)
                             : pc_tensor_read(inner_of(t), row0, n_rows, buf, err);
}

static const struct pc_tensor *same(const struct pc_tensor *t)
{
    const struct grow *g = t->owner->impl;
    return g->rows[t->index] ? NULL : inner_of(t);
}

static void close_node(struct pc_checkpoint *ck)
{
    struct grow *g = ck->impl;
    for (size_t i = 0; g && g->rows && i < g->inner->n_tensors; i++)
        pc_free(g->rows[i]);
    if (g)
        pc_free(g->rows);
    pc_free(g);
}

static const struct pc_checkpoint_ops grow_ops = {.read = read_rows, .same = same, .close = close_node};

static bool is_vocabulary(const char *name)
{
    return strcmp(name, "model.embed_tokens.weight") == 0 || strcmp(name, "lm_head.weight") == 0;
}

static int make_row(
    const struct pc_tensor *t, uint64_t n_rows, enum pc_grow_row how, float **out, struct paco_error *err)
{
    if (t->n_dims == 2 && !pc_tensor_has_slices(t))
        return pc_error_set(err, PACO_ELIMIT,
            "tensor '%s': to rows of %llu elements, more than %d, none are added", t->name,
            (unsigned long long)t->shape[1], PC_MAX_ROW);
    if (t->n_dims != 2 || t->n_rows > n_rows)
        return pc_error_set(err, PACO_EMISMATCH, "tensor '%s' has %llu rows, more than the %llu wanted",
            t->name, (unsigned long long)t->n_rows, (unsigned long long)n_rows);
    *out = pc_alloc_zero((size_t)t->row_elems, sizeof **out);
    if (!*out)
        return pc_error_mem(err, t->row_elems * sizeof **out, "a row");
    return how == PC_GROW_MEAN ? pc_column_mean(t, t->n_rows, *out, err) : 0;
}

static int add_tensor(
    struct pc_checkpoint *ck, size_t i, uint64_t n_rows, enum pc_grow_row how, struct paco_error *err)
{
    struct grow *g = ck->impl;
    const struct pc_tensor *t = &g->inner->tensors[i];
    uint64_t shape[PC_MAX_DIMS];
    memcpy(shape, t->shape, sizeof shape);
    bool grows = is_vocabulary(t->name);
    int rc = grows ? make_row(t, n_rows, how, &g->rows[i], err) : 0;
    if (grows)
        shape[0] = n_rows;
    return rc < 0 ? rc
                  : pc_checkpoint_add_tensor(
                        ck, t->name, strlen(t->name), grows ? PC_F32 : t->dtype, t->n_dims, shape, err);
}

int pc_checkpoint_grow(const struct pc_checkpoint *inner, uint64_t n_rows, enum pc_grow_row how,
    struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_checkpoint *ck = pc_checkpoint_new("grow", &grow_ops, inner->path, err);
    if (!ck)
        return PACO_EMEM;
    ck->read_traced = read_traced;
    struct grow *g = ck->impl = pc_alloc_zero(1, sizeof *g);
    if (g) {
        g->inner = inner;
        g->rows = pc_alloc_zero(inner->n_tensors, sizeof *g->rows);
    }
    int rc = g && g->rows ? 0 : pc_error_mem(err, inner->n_tensors * sizeof *g->rows, "a grown vocabulary");
    if (rc == 0)
        rc = pc_checkpoint_reserve(ck, inner->n_tensors, true, err);
    for (size_t i = 0; i < inner->n_tensors && rc == 0; i++)
        rc = add_tensor(ck, i, n_rows, how, err);
    if (rc < 0)
        pc_checkpoint_close(ck);
    else
        *out = ck;
    return rc;
}
