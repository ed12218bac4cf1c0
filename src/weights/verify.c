// SPDX-License-Identifier: Apache-2.0
#include "weights/verify.h"

#include "algebra/read_f32.h"
#include "base/file.h"
#include "kernels/convert.h"
#include "weights/sweep.h"

#include <math.h>
#include <string.h>

enum { PIECE_FLOATS = 256 * 1024 };

static const char g_embedding[] = "model.embed_tokens.weight", g_head[] = "lm_head.weight";

bool pc_verdict_passes(enum pc_verdict v, bool strict)
{
    switch (v) {
    case PC_SAME:
    case PC_EQUAL:
    case PC_TIED: return true;
    case PC_UNDEFINED:
    case PC_BUFFER: return !strict;
    default: return false;
    }
}

const char *pc_verdict_name(enum pc_verdict v)
{
    static const char *const names[] = {
        "same", "equal", "undefined", "tied", "buffer", "different", "shape", "dtype", "extra", "missing"};
    return names[v];
}

void pc_comparisons_release(struct pc_comparisons *c)
{
    pc_free(c->v);
    *c = (struct pc_comparisons){0};
}

struct comparing {
    struct pc_comparison *v;
    const struct pc_row_ranges *rows;
};

static bool is_undefined(const struct pc_row_ranges *rows, const char *name, uint64_t row)
{
    for (size_t i = 0; rows && i < rows->n; i++)
        if (row >= rows->v[i].first && row - rows->v[i].first < rows->v[i].n &&
            strcmp(rows->v[i].tensor, name) == 0)
            return true;
    return false;
}

/* Types whose values F32 cannot all hold: of these, other bits are other values. */
static bool is_exact_in_f32(enum pc_dtype dtype)
{
    const struct pc_dtype_traits *traits = pc_dtype_traits(dtype);
    return (traits->is_float && dtype != PC_F64) || traits->is_quant || dtype == PC_I8 || dtype == PC_U8 ||
           dtype == PC_I16 || dtype == PC_U16 || dtype == PC_BOOL;
}

static void note_difference(
    struct pc_comparison *c, uint64_t row, uint64_t col, float a, float b, bool undefined)
{
    double d = fabs((double)a - (double)b);
    bool finite = isfinite(a) && isfinite(b);
    if (undefined) {
        c->n_undefined_values++;
        if (finite && d > c->max_abs_undefined)
            c->max_abs_undefined = d;
        return;
    }
    if (c->n_values++ == 0) {
        // Of its first dimension, whatever rows it is read by.
        uint64_t at = row * c->a->row_elems + col, n = c->a->n_dims ? c->a->shape[0] : 1;
        uint64_t slice = pc_tensor_n_elements(c->a) / n;
        c->first_row = at / slice;
        c->first_col = at % slice;
        c->first_a = a;
        c->first_b = b;
    }
    c->n_nonfinite += !finite;
    if (finite && d > c->max_abs)
        c->max_abs = d;
}

/* Rows of both sides, native and widened. */
struct piece {
    unsigned char *raw_a, *raw_b;
    float *a, *b;
    uint64_t step; /* rows */
};

static void piece_release(struct piece *p)
{
    pc_free(p->raw_a);
    pc_free(p->raw_b);
    pc_free(p->a);
    pc_free(p->b);
}

static int piece_init(
    struct piece *p, const struct pc_tensor *a, const struct pc_tensor *b, struct paco_error *err)
{
    uint64_t step = a->row_elems ? PIECE_FLOATS / a->row_elems : 1;
    step = step < 1 ? 1 : step > a->n_rows ? a->n_rows : step;
    size_t floats = (size_t)(step * a->row_elems);
    *p = (struct piece){.step = step};
    p->raw_a = pc_alloc((size_t)step, (size_t)a->row_size);
    p->raw_b = pc_alloc((size_t)step, (size_t)b->row_size);
    p->a = pc_alloc(floats, sizeof(float));
    p->b = pc_alloc(floats, sizeof(float));
    if (p->raw_a && p->raw_b && p->a && p->b)
        return 0;
    piece_release(p);
    return pc_error_mem(err, step * (a->row_size + b->row_size) + 2 * floats * sizeof(float), a->name);
}

/* Compare rows [row0, row0 + n) whose bits differ somewhere, or whose types do. */
static void compare_values(
    const struct comparing *s, struct pc_comparison *c, const struct piece *p, uint64_t row0, uint64_t n)
{
    const struct pc_tensor *a = c->a, *b = c->b;
    bool bits = a->dtype == b->dtype && pc_dtype_traits(a->dtype)->n_block == 1;
    bool exact = is_exact_in_f32(a->dtype) && is_exact_in_f32(b->dtype);
    size_t size = bits ? (size_t)(a->row_elems ? a->row_size / a->row_elems : 0) : 0;
    c->other_bits |= a->dtype == b->dtype;
    pc_convert()->to_f32[a->dtype](p->a, p->raw_a, (size_t)(n * a->row_elems));
    pc_convert()->to_f32[b->dtype](p->b, p->raw_b, (size_t)(n * b->row_elems));
    for (uint64_t r = 0; r < n; r++) {
        const float *x_row = p->a + r * a->row_elems, *y_row = p->b + r * b->row_elems;
        if (!bits && memcmp(x_row, y_row, (size_t)a->row_elems * sizeof *x_row) == 0)
            continue;
        bool undefined = is_undefined(s->rows, c->name, row0 + r);
        for (uint64_t j = 0; j < a->row_elems; j++) {
            uint64_t i = r * a->row_elems + j;
            bool same_bits = bits && memcmp(p->raw_a + i * size, p->raw_b + i * size, size) == 0;
            float x = p->a[i], y = p->b[i];
            if (same_bits)
                continue;
            if ((exact || !bits) && (x == y || (isnan(x) && isnan(y))))
                continue;
            note_difference(c, row0 + r, j, x, y, undefined);
        }
    }
}

static int compare_rows(const struct comparing *s, struct pc_comparison *c, struct pc_sweep *job,
    const struct piece *p, struct paco_error *err)
{
    const struct pc_tensor *a = c->a, *b = c->b;
    for (uint64_t row = 0; row < a->n_rows; row += p->step) {
        uint64_t n = a->n_rows - row < p->step ? a->n_rows - row : p->step;
        int rc = pc_tensor_read(a, row, n, p->raw_a, err);
        if (rc == 0)
            rc = pc_tensor_read(b, row, n, p->raw_b, err);
        if (rc < 0)
            return rc;
        c->n_elements += n * a->row_elems;
        if (a->dtype != b->dtype || memcmp(p->raw_a, p->raw_b, (size_t)(n * a->row_size)) != 0)
            compare_values(s, c, p, row, n);
        if ((rc = pc_sweep_step(job, c->name, n * a->row_size, err)) < 0)
            return rc;
    }
    return 0;
}

static int compare_tensor(void *ctx, size_t i, struct pc_sweep *job, struct paco_error *err)
{
    const struct comparing *s = ctx;
    struct pc_comparison *c = &s->v[i];
    if (!c->a || !c->b)
        return 0;
    if (!pc_tensor_same_shape(c->a, c->b)) {
        c->verdict = PC_OTHER_SHAPE;
        return 0;
    }
    if (!pc_tensor_has_f32(c->a) || !pc_tensor_has_f32(c->b))
        return pc_error_set(err, PACO_EUNSUPPORTED,
            "tensor '%s' is %s here and %s there; one of them cannot be computed with", c->name,
            pc_dtype_name(c->a->dtype), pc_dtype_name(c->b->dtype));
    struct piece p;
    int rc = piece_init(&p, c->a, c->b, err);
    if (rc < 0)
        return rc;
    rc = compare_rows(s, c, job, &p, err);
    piece_release(&p);
    if (c->n_values)
        c->verdict = PC_DIFFERENT;
    else if (c->n_undefined_values)
        c->verdict = PC_UNDEFINED;
    else
        c->verdict = c->other_bits || c->a->dtype != c->b->dtype ? PC_EQUAL : PC_SAME;
    return rc;
}

/* What b's tensors are compared with by name, except that a head on one side only is held against the other
 * side's embedding: it is the same tensor when the model ties them. */
static const struct pc_tensor *partner(const struct pc_checkpoint *other, const struct pc_tensor *t)
{
    const struct pc_tensor *p = pc_checkpoint_find(other, t->name);
    return !p && strcmp(t->name, g_head) == 0 ? pc_checkpoint_find(other, g_embedding) : p;
}

static void settle_one_sided(struct pc_comparison *c, bool here)
{
    if (pc_ends_with(c->name, ".inv_freq"))
        c->verdict = PC_BUFFER;
    else
        c->verdict = here ? PC_ONLY_HERE : PC_ONLY_THERE;
}

/* A head held against an embedding counts as tied when equal, else as missing on the other side. */
static void settle_head(struct pc_comparison *c, bool here)
{
    if (c->verdict == PC_SAME || c->verdict == PC_EQUAL || c->verdict == PC_UNDEFINED) {
        c->verdict = PC_TIED;
        return;
    }
    *c = (struct pc_comparison){.name = c->name, .a = here ? c->a : NULL, .b = here ? NULL : c->b};
    settle_one_sided(c, here);
}

static bool is_stand_in(const struct pc_comparison *c)
{
    return c->a && c->b && strcmp(c->a->name, c->b->name) != 0;
}

/* One entry for each tensor of a, then for each that only b has. */
static int pair_up(const struct pc_checkpoint *a, const struct pc_checkpoint *b, struct pc_comparisons *c,
    struct paco_error *err)
{
    c->v = pc_alloc_zero(a->n_tensors + b->n_tensors, sizeof *c->v);
    if (!c->v)
        return pc_error_mem(err, (a->n_tensors + b->n_tensors) * sizeof *c->v, "comparisons");
    for (size_t i = 0; i < a->n_tensors; i++) {
        const struct pc_tensor *t = &a->tensors[i];
        c->v[c->n++] = (struct pc_comparison){.name = t->name, .a = t, .b = partner(b, t)};
    }
    for (size_t i = 0; i < b->n_tensors; i++) {
        const struct pc_tensor *t = &b->tensors[i];
        if (!pc_checkpoint_find(a, t->name))
            c->v[c->n++] = (struct pc_comparison){.name = t->name, .a = partner(a, t), .b = t};
    }
    return 0;
}

static void settle(struct pc_comparison *c)
{
    if (is_stand_in(c))
        settle_head(c, strcmp(c->a->name, c->name) == 0);
    else if (!c->a || !c->b)
        settle_one_sided(c, c->a != NULL);
}

int pc_compare(const struct pc_checkpoint *a, const struct pc_checkpoint *b, const struct pc_row_ranges *rows,
    struct pc_pool *pool, const struct pc_progress *progress, struct pc_comparisons *out,
    struct paco_error *err)
{
    *out = (struct pc_comparisons){0};
    int rc = pair_up(a, b, out, err);
    if (rc < 0)
        return rc;
    uint64_t *sizes = pc_alloc_zero(out->n, sizeof *sizes);
    if (!sizes)
        rc = pc_error_mem(err, out->n * sizeof *sizes, "the sizes of tensors");
    for (size_t i = 0; i < out->n && sizes; i++)
        sizes[i] = out->v[i].a && out->v[i].b ? out->v[i].a->size : 0;
    struct comparing s = {out->v, rows};
    const struct pc_sweep_options options = {compare_tensor, &s, out->n, sizes, pool, progress, "comparing"};
    if (rc == 0)
        rc = pc_sweep_run(&options, err);
    pc_free(sizes);
    for (size_t i = 0; i < out->n; i++)
        settle(&out->v[i]);
    if (rc < 0)
        pc_comparisons_release(out);
    return rc;
}

static void compare_entry(
    struct pc_comparison *c, const struct pc_scan *scan, const struct pc_manifest_tensor *m)
{
    char hex[PC_SHA256_HEX];
    c->n_elements = pc_tensor_n_elements(c->a);
    if (c->a->n_dims != m->n_dims || memcmp(c->a->shape, m->shape, (size_t)m->n_dims * sizeof *m->shape) != 0)
        c->verdict = PC_OTHER_SHAPE;
    else if (c->a->dtype != m->dtype)
        c->verdict = PC_OTHER_TYPE;
    else
        c->verdict = strcmp(pc_sha256_hex(scan->sha256, hex), m->sha256) == 0 ? PC_SAME : PC_DIFFERENT;
}

int pc_compare_manifest(const struct pc_checkpoint *a, const struct pc_scan *scans,
    const struct pc_manifest *m, struct pc_comparisons *out, struct paco_error *err)
{
    struct pc_comparisons c = {.v = pc_alloc_zero(a->n_tensors + m->n_tensors, sizeof *c.v)};
    if (!c.v)
        return pc_error_mem(err, (a->n_tensors + m->n_tensors) * sizeof *c.v, "comparisons");
    for (size_t i = 0; i < a->n_tensors; i++) {
        const struct pc_tensor *t = &a->tensors[i];
        struct pc_comparison *entry = &c.v[c.n++];
        uint32_t at;
        *entry = (struct pc_comparison){.name = t->name, .a = t, .verdict = PC_ONLY_HERE};
        if (pc_map_get(&m->by_name, t->name, strlen(t->name), &at))
            compare_entry(entry, &scans[i], &m->tensors[at]);
    }
    for (size_t i = 0; i < m->n_tensors; i++)
        if (!pc_checkpoint_find(a, m->tensors[i].name))
            c.v[c.n++] = (struct pc_comparison){.name = m->tensors[i].name, .verdict = PC_ONLY_THERE};
    *out = c;
    return 0;
}

/* Sum over one layer of 10000^(-2i/D) as float32 holds it. */
static double inv_freq_sum(int head_dim)
{
    double sum = 0;
    for (int i = 0; i < head_dim; i += 2)
        sum += (double)(float)pow(10000.0, -(double)i / head_dim);
    return sum;
}

double pc_stanford_sum(const struct pc_checkpoint *ck, const struct pc_scan *scans, int head_dim)
{
    double sum = 0;
    int n_layers = 0, n_stored = 0;
    for (size_t i = 0; i < ck->n_tensors; i++) {
        sum += scans[i].sum;
        n_layers += pc_ends_with(ck->tensors[i].name, ".self_attn.q_proj.weight");
        n_stored += pc_ends_with(ck->tensors[i].name, ".rotary_emb.inv_freq");
    }
    if (n_stored == 0)
        sum += n_layers * inv_freq_sum(head_dim);
    return sum;
}
