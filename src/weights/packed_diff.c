// SPDX-License-Identifier: Apache-2.0
#include "weights/packed_diff.h"

#include "algebra/read_f32.h"
#include "base/file.h"
#include "base/memory.h"
#include "kernels/convert.h"
#include "kernels/quantise.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char SIGNS[] = ".signs", SCALE[] = ".scale", INT4[] = ".q4_0";

enum { BLOCK = 32, BLOCK_SIZE = 18, MAX_COLUMNS = PC_MAX_ROW };

enum role { AS_IT_IS, TO_SIGNS, TO_SCALE, TO_INT4, FROM_SIGNS, FROM_INT4 };

struct part {
    enum role role;
    const struct pc_tensor *of, *scale; /* scale: of FROM_SIGNS */
};

bool pc_packing_takes(const struct pc_tensor *t)
{
    return t->n_dims == 2 && strncmp(t->name, "model.layers.", 13) == 0 &&
           pc_ends_with(t->name, "_proj.weight") && pc_tensor_has_slices(t);
}

/* ---- one row ---- */

static void pack_signs(unsigned char *bits, const float *row, size_t n)
{
    memset(bits, 0, n / 8);
    for (size_t i = 0; i < n; i++)
        bits[i / 8] |= (unsigned char)((row[i] >= 0) << i % 8);
}

/* What leaves the least squares: the mean magnitude. */
static int fit_scale(
    const struct pc_tensor *t, const float *row, size_t n, float *scale, struct paco_error *err)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += fabs((double)row[i]);
    *scale = (float)(sum / (double)n);
    return isfinite(*scale)
               ? 0
               : pc_error_set(err, PACO_EFORMAT, "tensor '%s' holds numbers that are not finite", t->name);
}

static int pack_int4(
    const struct pc_tensor *t, unsigned char *blocks, const float *row, size_t n, struct paco_error *err)
{
    return pc_quantise_run(pc_quantise(), PC_Q4_0, blocks, row, n) == PC_QUANTISE_OK
               ? 0
               : pc_error_set(
                     err, PACO_EFORMAT, "tensor '%s' holds numbers that no block can scale", t->name);
}

static int pack_row(const struct part *p, void *out, const float *row, struct paco_error *err)
{
    size_t n = (size_t)p->of->row_elems;
    if (p->role == TO_SCALE)
        return fit_scale(p->of, row, n, out, err);
    if (p->role == TO_INT4)
        return pack_int4(p->of, out, row, n, err);
    pack_signs(out, row, n);
    return 0;
}

static void unpack_row(const struct part *p, float *out, const unsigned char *row, float scale)
{
    size_t n = (size_t)p->of->row_elems;
    if (p->role == FROM_INT4)
        pc_convert()->to_f32[PC_Q4_0](out, row, n / BLOCK_SIZE * BLOCK);
    else
        for (size_t i = 0; i < 8 * n; i++)
            out[i] = row[i / 8] >> i % 8 & 1 ? scale : -scale;
}

/* ---- the nodes ---- */

static int read_packed(const struct pc_tensor *t, const struct part *p, uint64_t row0, uint64_t n_rows,
    unsigned char *out, struct paco_error *err)
{
    float *row = pc_alloc((size_t)p->of->row_elems, sizeof *row);
    int rc = row ? 0 : pc_error_mem(err, p->of->row_elems * sizeof *row, "a row");
    for (uint64_t i = 0; i < n_rows && rc == 0; i++) {
        rc = pc_tensor_read_f32(p->of, row0 + i, 1, row, err);
        if (rc == 0)
            rc = pack_row(p, out + i * t->row_size, row, err);
    }
    pc_free(row);
    return rc;
}

static int read_unpacked(const struct pc_tensor *t, const struct part *p, uint64_t row0, uint64_t n_rows,
    unsigned char *out, struct paco_error *err)
{
    unsigned char *row = pc_alloc((size_t)p->of->row_size, 1);
    int rc = row ? 0 : pc_error_mem(err, p->of->row_size, "a row");
    for (uint64_t i = 0; i < n_rows && rc == 0; i++) {
        float scale = 0;
        rc = pc_tensor_read(p->of, row0 + i, 1, row, err);
        if (rc == 0 && p->scale)
            rc = pc_tensor_read_f32(p->scale, row0 + i, 1, &scale, err);
        if (rc == 0)
            unpack_row(p, (float *)(void *)(out + i * t->row_size), row, scale);
    }
    pc_free(row);
    return rc;
}

static int read_part(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    const struct part *p = &((const struct part *)t->owner->impl)[t->index];
    return p->role == AS_IT_IS    ? pc_tensor_read(p->of, row0, n_rows, buf, err)
           : p->role < FROM_SIGNS ? read_packed(t, p, row0, n_rows, buf, err)
                                  : read_unpacked(t, p, row0, n_rows, buf, err);
}

static void close_parts(struct pc_checkpoint *ck)
{
    pc_free(ck->impl);
}

static const struct pc_checkpoint_ops g_ops = {.read = read_part, .close = close_parts};

/* A node with room for n parts. */
static struct pc_checkpoint *new_node(
    const char *kind, const struct pc_checkpoint *of, size_t n, struct paco_error *err)
{
    struct pc_checkpoint *ck = pc_checkpoint_new(kind, &g_ops, of->path, err);
    if (!ck)
        return NULL;
    ck->impl = pc_alloc_zero(n + 1, sizeof(struct part));
    if (ck->impl)
        return ck;
    pc_error_mem(err, n * sizeof(struct part), "a diff");
    pc_checkpoint_close(ck);
    return NULL;
}

/* A tensor called like p->of, its ending taken off and another put in its place. */
static int add(struct pc_checkpoint *ck, struct part p, const char *without, const char *with,
    enum pc_dtype dtype, int n_dims, const uint64_t *shape, struct paco_error *err)
{
    char name[PC_MAX_NAME + 16];
    snprintf(name, sizeof name, "%.*s%s", (int)(strlen(p.of->name) - strlen(without)), p.of->name, with);
    ((struct part *)ck->impl)[ck->n_tensors] = p;
    return pc_checkpoint_add_tensor(ck, name, strlen(name), dtype, n_dims, shape, err);
}

static int pack_tensor(
    struct pc_checkpoint *ck, const struct pc_tensor *t, enum pc_packing packing, struct paco_error *err)
{
    if (!pc_packing_takes(t))
        return add(ck, (struct part){AS_IT_IS, t, NULL}, "", "", t->dtype, t->n_dims, t->shape, err);
    bool signs = packing == PC_PACKING_SIGNS;
    if (t->shape[1] % (signs ? 8 : BLOCK))
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "tensor '%s' has rows of %llu elements, no multiple of %d", t->name,
            (unsigned long long)t->shape[1], signs ? 8 : BLOCK);
    const uint64_t packed[] = {t->shape[0], signs ? t->shape[1] / 8 : t->shape[1] / BLOCK * BLOCK_SIZE};
    int rc = add(ck, (struct part){signs ? TO_SIGNS : TO_INT4, t, NULL}, "", signs ? SIGNS : INT4, PC_U8, 2,
        packed, err);
    return rc < 0 || !signs ? rc
                            : add(ck, (struct part){TO_SCALE, t, NULL}, "", SCALE, PC_F32, 1, t->shape, err);
}

int pc_diff_pack(const struct pc_checkpoint *diff, enum pc_packing packing, struct pc_checkpoint **out,
    struct paco_error *err)
{
    struct pc_checkpoint *ck = new_node("packed", diff, 2 * diff->n_tensors, err);
    int rc = ck ? 0 : PACO_EMEM;
    for (size_t i = 0; i < diff->n_tensors && rc == 0; i++)
        rc = pack_tensor(ck, &diff->tensors[i], packing, err);
    if (rc < 0) {
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}

static bool is_packed(const struct pc_tensor *t, const char *ending)
{
    return t->dtype == PC_U8 && t->n_dims == 2 && pc_ends_with(t->name, ending);
}

bool pc_diff_is_packed(const struct pc_checkpoint *ck)
{
    for (size_t i = 0; i < ck->n_tensors; i++)
        if (is_packed(&ck->tensors[i], SIGNS) || is_packed(&ck->tensors[i], INT4))
            return true;
    return false;
}

static int bad_shape(const struct pc_tensor *t, struct paco_error *err)
{
    char shape[160];
    return pc_error_set(err, PACO_EFORMAT, "tensor '%s' of shape %s is no packed matrix", t->name,
        pc_tensor_shape(t, shape, sizeof shape));
}

static int unpack_signs(struct pc_checkpoint *ck, const struct pc_tensor *t, struct paco_error *err)
{
    char name[PC_MAX_NAME + 16];
    snprintf(name, sizeof name, "%.*s%s", (int)(strlen(t->name) - strlen(SIGNS)), t->name, SCALE);
    const struct pc_tensor *scale = pc_checkpoint_find(t->owner, name);
    if (!scale)
        return pc_error_set(err, PACO_EFORMAT, "tensor '%s' is there without '%s'", t->name, name);
    if (t->shape[1] > MAX_COLUMNS / 8 || !pc_tensor_has_slices(t))
        return bad_shape(t, err);
    if (!pc_dtype_traits(scale->dtype)->is_float || scale->n_dims != 1 || scale->shape[0] != t->shape[0])
        return bad_shape(scale, err);
    const uint64_t shape[] = {t->shape[0], 8 * t->shape[1]};
    return add(ck, (struct part){FROM_SIGNS, t, scale}, SIGNS, "", PC_F32, 2, shape, err);
}

static int unpack_int4(struct pc_checkpoint *ck, const struct pc_tensor *t, struct paco_error *err)
{
    if (t->shape[1] % BLOCK_SIZE || t->shape[1] / BLOCK_SIZE > MAX_COLUMNS / BLOCK ||
        !pc_tensor_has_slices(t))
        return bad_shape(t, err);
    const uint64_t shape[] = {t->shape[0], t->shape[1] / BLOCK_SIZE * BLOCK};
    return add(ck, (struct part){FROM_INT4, t, NULL}, INT4, "", PC_F32, 2, shape, err);
}

/* Whether a tensor is the scale of signs that are there. */
static bool is_scale(const struct pc_tensor *t)
{
    char name[PC_MAX_NAME + 16];
    if (!pc_ends_with(t->name, SCALE))
        return false;
    snprintf(name, sizeof name, "%.*s%s", (int)(strlen(t->name) - strlen(SCALE)), t->name, SIGNS);
    return pc_checkpoint_find(t->owner, name) != NULL;
}

int pc_diff_unpack(const struct pc_checkpoint *packed, struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_checkpoint *ck = new_node("unpacked", packed, packed->n_tensors, err);
    int rc = ck ? 0 : PACO_EMEM;
    for (size_t i = 0; i < packed->n_tensors && rc == 0; i++) {
        const struct pc_tensor *t = &packed->tensors[i];
        if (is_packed(t, SIGNS))
            rc = unpack_signs(ck, t, err);
        else if (is_packed(t, INT4))
            rc = unpack_int4(ck, t, err);
        else if (!is_scale(t))
            rc = add(ck, (struct part){AS_IT_IS, t, NULL}, "", "", t->dtype, t->n_dims, t->shape, err);
    }
    if (rc < 0) {
        pc_checkpoint_close(ck);
        return rc;
    }
    *out = ck;
    return 0;
}
