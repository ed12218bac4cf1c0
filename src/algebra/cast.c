// SPDX-License-Identifier: Apache-2.0
#include "algebra/cast.h"

#include "algebra/read_f32.h"
#include "algebra/trace.h"
#include "kernels/convert.h"
#include "kernels/quantise.h"

#include <math.h>
#include <string.h>

enum { LANE = 4096, WIDEST = 8 };

struct node {
    const struct pc_checkpoint *inner;
};

/* NaN stays NaN and counts as kept. */
static void compare(const float *was, const float *is, size_t n, uint64_t *n_lossy, double *max_error)
{
    float most = 0;
    uint32_t lossy = 0;
    for (size_t i = 0; i < n; i++) {
        float error = fabsf(is[i] - was[i]);
        lossy += !(is[i] == was[i]) & (was[i] == was[i]);
        most = error > most ? error : most;
    }
    *n_lossy += lossy;
    if ((double)most > *max_error)
        *max_error = (double)most;
}

void pc_cast_narrow(
    enum pc_dtype dtype, void *dst, const float *src, size_t n, uint64_t *n_lossy, double *max_error)
{
    const struct pc_convert *cv = pc_convert();
    const size_t size = pc_dtype_traits(dtype)->block_size;
    _Alignas(64) unsigned char narrow[LANE * WIDEST];
    _Alignas(64) float back[LANE];
    for (size_t i = 0; i < n; i += LANE) {
        size_t m = n - i < LANE ? n - i : LANE;
        void *to = dst ? (unsigned char *)dst + i * size : narrow;
        cv->from_f32[dtype](to, src + i, m);
        cv->to_f32[dtype](back, to, m);
        compare(src + i, back, m, n_lossy, max_error);
    }
}

static int quantise_rows(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, const float *rows,
    void *buf, struct paco_error *err)
{
    for (uint64_t i = 0; i < n_rows; i++) {
        enum pc_quantise_result result = pc_quantise_run(pc_quantise(), t->dtype,
            (char *)buf + i * t->row_size, rows + i * t->row_elems, (size_t)t->row_elems);
        if (result == PC_QUANTISE_OK)
            continue;
        return pc_error_set(err, PACO_EFORMAT, "tensor '%s': row %llu holds %s, which %s cannot", t->name,
            (unsigned long long)(row0 + i),
            result == PC_QUANTISE_NOT_FINITE ? "NaN or infinity" : "numbers too large for a scale of 16 bits",
            pc_dtype_name(t->dtype));
    }
    return 0;
}

static const struct pc_tensor *inner_of(const struct pc_tensor *t)
{
    const struct node *node = t->owner->impl;
    return &node->inner->tensors[t->index];
}

static int cast_read(const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf,
    struct pc_trace *tr, struct paco_error *err)
{
    const struct pc_tensor *inner = inner_of(t);
    if (inner->dtype == t->dtype)
        return pc_tensor_read_traced(inner, row0, n_rows, buf, tr, err);
    const float *rows;
    int rc = pc_trace_read_f32(inner, row0, n_rows, t->dtype == PC_F32 ? buf : NULL, &rows, tr, err);
    if (rc == 0 && pc_dtype_traits(t->dtype)->is_quant)
        rc = quantise_rows(t, row0, n_rows, rows, buf, err);
    else if (rc == 0 && t->dtype != PC_F32)
        pc_cast_narrow(t->dtype, buf, rows, (size_t)(n_rows * t->row_elems), &tr->n_lossy, &tr->max_error);
    return rc;
}

static const struct pc_tensor *cast_same(const struct pc_tensor *t)
{
    const struct pc_tensor *inner = inner_of(t);
    return inner->dtype == t->dtype ? inner : NULL;
}

static bool cast_where(const struct pc_tensor *t, const char **path, uint64_t *offset)
{
    const struct pc_tensor *inner = inner_of(t);
    return inner->owner->ops->where && inner->owner->ops->where(inner, path, offset);
}

static const struct pc_checkpoint_ops g_ops = {
    .read = pc_read_untraced, .same = cast_same, .where = cast_where, .close = NULL};

static int add_cast(
    struct pc_checkpoint *ck, const struct pc_tensor *t, enum pc_dtype dtype, struct paco_error *err)
{
    const struct pc_dtype_traits *to = pc_dtype_traits(dtype);
    bool quantises = pc_quantise_knows(dtype) && t->n_dims > 1 && t->row_elems % to->n_block == 0;
    if (dtype != t->dtype && ((!to->is_float && !quantises) || !pc_tensor_has_f32(t)))
        return pc_error_set(err, PACO_EUNSUPPORTED, "tensor '%s': %s cannot become %s", t->name,
            pc_dtype_name(t->dtype), to->name);
    // A vector of a block type is one row, of a plain type one row an element: the node's rows must be
    // inner's.
    if (dtype != t->dtype && t->n_dims == 1 && pc_dtype_traits(t->dtype)->n_block > 1)
        return pc_error_set(err, PACO_EUNSUPPORTED, "tensor '%s': a vector of %s cannot become %s", t->name,
            pc_dtype_name(t->dtype), to->name);
    return pc_checkpoint_add_tensor(ck, t->name, strlen(t->name), dtype, t->n_dims, t->shape, err);
}

int pc_checkpoint_cast(const struct pc_checkpoint *inner, const enum pc_dtype *dtypes,
    struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_checkpoint *ck = pc_checkpoint_new("cast", &g_ops, inner->path, err);
    if (!ck)
        return PACO_EMEM;
    struct node *node = pc_arena_alloc(&ck->arena, 1, sizeof *node);
    int rc = node ? 0 : pc_error_mem(err, sizeof *node, "a cast");
    if (rc == 0) {
        node->inner = inner;
        ck->impl = node;
        ck->read_traced = cast_read;
    }
    if (rc == 0)
        rc = pc_checkpoint_reserve(ck, inner->n_tensors, true, err);
    for (size_t i = 0; i < inner->n_tensors && rc == 0; i++)
        rc = add_cast(ck, &inner->tensors[i], dtypes[i], err);
    if (rc < 0) {
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}
