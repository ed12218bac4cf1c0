// SPDX-License-Identifier: Apache-2.0
/* The changes of a fine-tune in the form that takes least memory, each exactly what it is.
 *
 * A matrix' change D = W' - W is read twice, a stretch of rows at a time: once to count what each form would
 * take, then to keep it in the smallest. In BF16 and F16 most elements of a diff between models of such a
 * type are exact; for the others the remainder is kept among the single elements. */
#include "algebra/read_f32.h"
#include "base/memory.h"
#include "engine/variant_parts.h"
#include "kernels/quantise.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char EMBEDDING[] = "model.embed_tokens.weight", HEAD[] = "lm_head.weight";

enum { STRETCH = 1 << 18 }; /* floats read at once, or a row */

struct maker {
    struct pc_variant *v;
    const struct pc_variant_parts *parts;
    const struct pc_convert *convert;
    float *a, *b, *c; /* STRETCH, or the longest row, each */
    void *narrow;     /* a row in another type */
    float *panel;     /* of a factor */
    /* Of the matrices of one input, while they are made. */
    bool int8;          /* their base is multiplied with activations in INT8 */
    unsigned char *low; /* (n_low) rows of their narrow sides, as Q8_0 */
    size_t n_low;
};

/* Matrices that share an input. */
static const struct {
    int first, n;
} g_groups[] = {{PC_LLAMA_Q, 3}, {PC_LLAMA_O, 1}, {PC_LLAMA_GATE, 2}, {PC_LLAMA_DOWN, 1}};
enum { N_GROUPS = sizeof g_groups / sizeof *g_groups };

static bool is_int8(const struct pc_weight *w, int n)
{
    unsigned needs = 0;
    for (int i = 0; i < n; i++)
        needs |= pc_input_needs(&w[i]);
    return pc_input_has_int8(needs);
}

/* Whether all that an adapter does to a tensor is to add a pair's product. */
static bool is_pair(const struct pc_lowrank_term *term)
{
    return term->a && !term->source && !term->transposed;
}

/* ---- reading ---- */

/* Tensors of one name, of which tuned may have more rows or fewer. */
struct both {
    const struct pc_tensor *base, *tuned;
    uint64_t n_rows; /* that both have */
    size_t width;
};

static uint64_t stretch_rows(const struct both *t)
{
    uint64_t n = STRETCH / t->width;
    return n ? n : 1;
}

/* m->a (n, width) = the change of rows [row, row + n). */
static int read_change(
    struct maker *m, const struct both *t, uint64_t row, uint64_t n, struct paco_error *err)
{
    int rc = pc_tensor_read_f32(t->tuned, row, n, m->a, err);
    if (rc == 0)
        rc = pc_tensor_read_f32(t->base, row, n, m->b, err);
    for (size_t i = 0; i < n * t->width && rc == 0; i++)
        m->a[i] -= m->b[i];
    return rc;
}

static int read_new(struct maker *m, const struct both *t, uint64_t row, uint64_t n, struct paco_error *err)
{
    return pc_tensor_read_f32(t->tuned, t->n_rows + row, n, m->a, err);
}

/* ---- which form ---- */

static const enum pc_dtype g_types[] = {PC_F32, PC_BF16, PC_F16};
enum { N_TYPES = sizeof g_types / sizeof *g_types };

struct tally {
    uint64_t n_rows;        /* with a change */
    uint64_t n_elements;    /* that are changed */
    uint64_t rest[N_TYPES]; /* of which a type leaves a remainder */
    bool is_out[N_TYPES];   /* values beyond the type's range */
};

/* m->c (width) = row as the type keeps it. */
static const float *rounded(struct maker *m, enum pc_dtype type, const float *row, size_t width)
{
    if (type == PC_F32)
        return row;
    m->convert->from_f32[type](m->narrow, row, width);
    m->convert->to_f32[type](m->c, m->narrow, width);
    return m->c;
}

static void tally_row(struct maker *m, struct tally *t, const float *row, size_t width)
{
    size_t n = 0;
    for (size_t i = 0; i < width; i++)
        n += row[i] != 0;
    t->n_elements += n;
    t->n_rows += n > 0;
    for (int k = 1; k < N_TYPES && n; k++) {
        const float *kept = rounded(m, g_types[k], row, width);
        for (size_t i = 0; i < width; i++) {
            t->rest[k] += kept[i] != row[i];
            t->is_out[k] |= isinf(kept[i]) && !isinf(row[i]);
        }
    }
}

/* Where the change goes: dense rows of a type with the remainder among single elements, or, with n_rows 0,
 * all of it there. */
struct form {
    enum pc_dtype type;
    uint64_t n_rows, n_elements;
};

static struct form choose(const struct tally *t, const struct both *tensor)
{
    const uint64_t element = sizeof(uint32_t) + sizeof(float),
                   starts = (tensor->n_rows + 1) * sizeof(uint64_t);
    struct form best = {.n_elements = t->n_elements};
    uint64_t least = t->n_elements * element + starts;
    for (int k = 0; k < N_TYPES; k++) {
        uint64_t row = tensor->width * pc_dtype_traits(g_types[k])->block_size +
                       (t->n_rows < tensor->n_rows ? sizeof(uint32_t) : 0);
        uint64_t size = t->n_rows * row + (t->rest[k] ? t->rest[k] * element + starts : 0);
        if (t->is_out[k] || size >= least)
            continue;
        least = size;
        best = (struct form){g_types[k], t->n_rows, t->rest[k]};
    }
    return best;
}

/* ---- keeping ---- */

/* A change on its way into its form. */
struct keeper {
    struct form form;
    uint32_t *rows; /* NULL: all */
    unsigned char *dense;
    uint64_t *starts;
    uint32_t *columns;
    float *values;
    uint64_t i_row, i_element;
};

static int make_room(struct maker *m, struct keeper *k, const struct both *t, struct paco_error *err)
{
    const struct form *f = &k->form;
    const char *what = t->tuned->name;
    if (f->n_rows) {
        k->dense =
            pc_variant_take(m->v, f->n_rows * t->width, pc_dtype_traits(f->type)->block_size, what, err);
        if (k->dense && f->n_rows < t->n_rows)
            k->rows = pc_variant_take(m->v, f->n_rows, sizeof *k->rows, what, err);
        if (!k->dense || (f->n_rows < t->n_rows && !k->rows))
            return PACO_EMEM;
    }
    if (f->n_elements == 0)
        return 0;
    k->starts = pc_variant_take(m->v, t->n_rows + 1, sizeof *k->starts, what, err);
    if (k->starts) {
        k->starts[0] = 0;
        k->columns = pc_variant_take(m->v, f->n_elements, sizeof *k->columns, what, err);
    }
    if (k->columns)
        k->values = pc_variant_take(m->v, f->n_elements, sizeof *k->values, what, err);
    return k->values ? 0 : PACO_EMEM;
}

static void keep_element(struct keeper *k, size_t column, float value)
{
    k->columns[k->i_element] = (uint32_t)column;
    k->values[k->i_element++] = value;
}

static void keep_row(struct maker *m, struct keeper *k, uint64_t i_row, const float *row, size_t width)
{
    const struct form *f = &k->form;
    bool changed = false;
    for (size_t i = 0; i < width && !changed; i++)
        changed = row[i] != 0;
    if (f->n_rows && (changed || !k->rows)) {
        size_t size = width * pc_dtype_traits(f->type)->block_size;
        if (k->rows)
            k->rows[k->i_row] = (uint32_t)i_row;
        m->convert->from_f32[f->type](k->dense + (k->rows ? k->i_row : i_row) * size, row, width);
        k->i_row++;
    }
    const float *kept = f->n_rows && f->n_elements ? rounded(m, f->type, row, width) : NULL;
    for (size_t i = 0; i < width && k->starts; i++)
        if (kept ? kept[i] != row[i] : row[i] != 0)
            keep_element(k, i, kept ? row[i] - kept[i] : row[i]);
    if (k->starts)
        k->starts[i_row + 1] = k->i_element;
}

/* Go over rows [0, n): each of them to tally, or else to keep. */
static int walk(struct maker *m, const struct both *t, uint64_t n_rows,
    int (*read)(struct maker *, const struct both *, uint64_t, uint64_t, struct paco_error *),
    struct tally *tally, struct keeper *keeper, struct paco_error *err)
{
    for (uint64_t row = 0, n; row < n_rows; row += n) {
        n = n_rows - row < stretch_rows(t) ? n_rows - row : stretch_rows(t);
        int rc = read(m, t, row, n, err);
        if (rc < 0)
            return rc;
        for (uint64_t i = 0; i < n; i++)
            if (keeper)
                keep_row(m, keeper, row + i, m->a + i * t->width, t->width);
            else
                tally_row(m, tally, m->a + i * t->width, t->width);
    }
    return 0;
}

static int make_change(struct maker *m, const struct both *t, struct pc_delta *d, struct paco_error *err)
{
    struct tally tally = {0};
    int rc = walk(m, t, t->n_rows, read_change, &tally, NULL, err);
    if (rc < 0 || tally.n_elements == 0)
        return rc;
    struct keeper k = {.form = choose(&tally, t)};
    rc = make_room(m, &k, t, err);
    if (rc == 0)
        rc = walk(m, t, t->n_rows, read_change, NULL, &k, err);
    if (rc < 0)
        return rc;
    /* Both ways of a file that is being changed meanwhile end here, not in memory. */
    if (k.i_element != k.form.n_elements || (k.rows && k.i_row != k.form.n_rows))
        return pc_error_set(err, PACO_EIO, "tensor '%s' changed while it was read", t->tuned->name);
    d->dense = (struct pc_delta_dense){k.form.type, (size_t)k.form.n_rows, k.rows, k.dense};
    d->sparse = (struct pc_delta_sparse){k.starts, k.columns, k.values};
    m->v->n_dense += k.form.n_rows;
    m->v->n_sparse += k.form.n_elements;
    return 0;
}

/* Rows that only the fine-tune has, whole, in the narrowest type that keeps them. */
static int make_new_rows(
    struct maker *m, const struct both *t, struct pc_delta_dense *out, struct paco_error *err)
{
    uint64_t n = t->tuned->shape[0] - t->n_rows;
    struct tally tally = {0};
    int rc = walk(m, t, n, read_new, &tally, NULL, err);
    if (rc < 0 || n == 0)
        return rc;
    struct keeper k = {.form = {.type = PC_F32, .n_rows = n}};
    for (int i = 1; i < N_TYPES; i++)
        if (tally.rest[i] == 0 && k.form.type == PC_F32)
            k.form.type = g_types[i];
    size_t size = t->width * pc_dtype_traits(k.form.type)->block_size;
    k.dense = pc_variant_take(m->v, n, size, t->tuned->name, err);
    if (!k.dense)
        return PACO_EMEM;
    rc = walk(m, t, n, read_new, NULL, &k, err);
    *out = (struct pc_delta_dense){k.form.type, (size_t)n, NULL, k.dense};
    m->v->n_dense += n;
    return rc;
}

/* ---- pairs of factors ---- */

/* The types a pair is kept in: as it is; beside products in INT8 in INT8, too, which is at least as near to
 * it as those are to theirs; beside others that are not in plain F32, in F16. */
struct pair_types {
    enum pc_dtype a, b;
    bool narrow;
};

static struct pair_types types_of(const struct maker *m, const struct pc_lowrank_term *term)
{
    enum pc_weight_class base = m->v->engine->model->layers[0].matrix[PC_LLAMA_Q].arithmetic;
    bool plain = base == PC_CLASS_F32 || base == PC_CLASS_WIDENED;
    bool narrow = !plain && term->a->shape[0] <= PC_DELTA_MAX_NARROW;
    enum pc_dtype a = term->a->dtype == PC_F16 || term->a->dtype == PC_BF16 ? term->a->dtype : PC_F32;
    return (struct pair_types){narrow ? PC_F16 : a, narrow ? PC_F16 : PC_F32, narrow};
}

static size_t low_row_size(size_t n_in)
{
    const struct pc_dtype_traits *t = pc_dtype_traits(PC_Q8_0);
    return n_in / t->n_block * t->block_size;
}

static size_t n_panels(const struct pc_lowrank_term *term)
{
    return (size_t)(term->b->shape[0] + PC_GEMM_PANEL - 1) / PC_GEMM_PANEL;
}

static uint64_t size_of_pair(const struct maker *m, const struct pc_lowrank_term *term)
{
    struct pair_types types = types_of(m, term);
    uint64_t rank = term->a->shape[0];
    return pc_variant_piece(rank * term->a->shape[1], pc_dtype_traits(types.a)->block_size) +
           pc_variant_piece(n_panels(term) * PC_GEMM_PANEL * rank, pc_dtype_traits(types.b)->block_size);
}

/* The power of two that brings the largest of n elements to F16's upper end, and then them there, as F32. */
static int to_upper_end(float *x, size_t n)
{
    float most = 0;
    int exponent;
    for (size_t i = 0; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    if (most == 0 || !isfinite(most))
        return 0;
    frexpf(most, &exponent);
    for (size_t i = 0; i < n; i++)
        x[i] = ldexpf(x[i], 15 - exponent);
    return 15 - exponent;
}

/* The two factors as F32, brought to where F16 keeps most of them; by how many powers of two in *shift. */
static int read_pair(
    const struct pc_lowrank_term *term, bool narrow, float *a, float *b, int *shift, struct paco_error *err)
{
    int rc = pc_tensor_read_f32(term->a, 0, term->a->n_rows, a, err);
    if (rc == 0)
        rc = pc_tensor_read_f32(term->b, 0, term->b->n_rows, b, err);
    *shift = 0;
    if (rc == 0 && narrow)
        *shift = to_upper_end(a, (size_t)pc_tensor_n_elements(term->a)) +
                 to_upper_end(b, (size_t)pc_tensor_n_elements(term->b));
    return rc;
}

static void keep_pair(
    struct maker *m, const struct pair_types *types, const float *a, const float *b, struct pc_delta *d)
{
    const struct pc_gemm_type *gemm = &m->v->engine->kernels.gemm.f32;
    size_t rank = d->rank, size = PC_GEMM_PANEL * rank;
    unsigned char *low = (unsigned char *)d->a, *high = (unsigned char *)d->b;
    m->convert->from_f32[types->a](low, a, rank * d->n_in);
    for (size_t first = 0; first < d->n_out; first += PC_GEMM_PANEL) {
        size_t n = d->n_out - first < PC_GEMM_PANEL ? d->n_out - first : PC_GEMM_PANEL;
        memset(m->panel, 0, size * sizeof *m->panel);
        gemm->pack_rows(m->panel, b + first * rank, PC_F32, rank * sizeof(float), n, rank);
        m->convert->from_f32[types->b](
            high + first * rank * pc_dtype_traits(types->b)->block_size, m->panel, size);
    }
}

static int not_finite(const struct pc_tensor *t, struct paco_error *err)
{
    return pc_error_set(err, PACO_EFORMAT, "tensor '%s' holds numbers that are not finite", t->name);
}

/* The wide side in tiles; the narrow one behind those before it. */
static int keep_pair_int8(struct maker *m, const struct pc_lowrank_term *term, const float *a, const float *b,
    struct pc_delta *d, struct paco_error *err)
{
    size_t size = low_row_size(d->n_in);
    for (size_t i = 0; i < d->n_out * d->rank; i++)
        if (!isfinite(b[i]))
            return not_finite(term->b, err);
    unsigned char *rows = pc_alloc(m->n_low + d->rank, size);
    if (!rows)
        return pc_error_mem(err, (m->n_low + d->rank) * size, "pairs of factors");
    if (m->low)
        memcpy(rows, m->low, m->n_low * size);
    pc_free(m->low);
    m->low = rows;
    if (pc_quantise_run(pc_quantise(), PC_Q8_0, rows + m->n_low * size, a, d->rank * d->n_in) !=
        PC_QUANTISE_OK)
        return not_finite(term->a, err);
    m->n_low += d->rank;
    unsigned char *tiles =
        pc_variant_take(m->v, pc_beside_factor_size(d->n_out, d->rank), 1, term->b->name, err);
    if (!tiles)
        return PACO_EMEM;
    pc_beside_pack_factor(tiles, b, d->n_out, d->rank);
    d->b = tiles;
    return 0;
}

/* The narrow sides of n matrices, of which the first that has one keeps all. */
static int keep_low(struct maker *m, struct pc_delta *d, int n, struct paco_error *err)
{
    const struct pc_packed *packed = &m->v->engine->kernels.packed;
    int rc = 0;
    for (int i = 0; i < n && m->n_low; i++, d++) {
        if (!d->rank)
            continue;
        unsigned char *tiles = pc_variant_take(
            m->v, pc_packed_size(packed, PC_Q8_0, m->n_low, d->n_in), 1, "pairs of factors", err);
        if (tiles)
            packed->type[PC_Q8_0].pack(tiles, m->low, low_row_size(d->n_in), m->n_low, d->n_in);
        d->a = tiles;
        d->n_low = m->n_low;
        rc = tiles ? 0 : PACO_EMEM;
        break;
    }
    pc_free(m->low);
    m->low = NULL;
    m->n_low = 0;
    return rc;
}

/* Both sides as they are, or narrower. */
static int keep_pair_wide(struct maker *m, const struct pc_lowrank_term *term, const struct pair_types *types,
    const float *a, const float *b, struct pc_delta *d, struct paco_error *err)
{
    d->a = pc_variant_take(
        m->v, (uint64_t)d->rank * d->n_in, pc_dtype_traits(types->a)->block_size, term->a->name, err);
    if (d->a)
        d->b = pc_variant_take(m->v, (uint64_t)n_panels(term) * PC_GEMM_PANEL * d->rank,
            pc_dtype_traits(types->b)->block_size, term->b->name, err);
    if (!d->b)
        return PACO_EMEM;
    m->panel = pc_alloc_pages(PC_GEMM_PANEL * d->rank * sizeof *m->panel);
    if (!m->panel)
        return pc_error_mem(err, PC_GEMM_PANEL * d->rank * sizeof *m->panel, "a pair of factors");
    d->a_type = types->a;
    d->b_type = types->b;
    keep_pair(m, types, a, b, d);
    pc_free(m->panel);
    return 0;
}

static int make_factors(
    struct maker *m, const struct pc_lowrank_term *term, struct pc_delta *d, struct paco_error *err)
{
    const struct pair_types types = types_of(m, term);
    const struct pc_tensor *ta = term->a, *tb = term->b;
    size_t rank = (size_t)ta->shape[0];
    if (ta->shape[1] != d->n_in || tb->shape[0] != d->n_out)
        return pc_error_set(err, PACO_EMISMATCH, "tensors '%s' and '%s' do not make a matrix of [%zu,%zu]",
            ta->name, tb->name, d->n_out, d->n_in);
    float *a = pc_alloc(rank * d->n_in, sizeof *a), *b = pc_alloc(d->n_out * rank, sizeof *b);
    int shift = 0, rc = a && b ? read_pair(term, m->int8 || types.narrow, a, b, &shift, err)
                               : pc_error_mem(err, rank * d->n_in * sizeof *a, "a pair of factors");
    d->rank = rank;
    d->scale = ldexpf(term->scale, -shift);
    if (rc == 0)
        rc = m->int8 ? keep_pair_int8(m, term, a, b, d, err) : keep_pair_wide(m, term, &types, a, b, d, err);
    pc_free(a);
    pc_free(b);
    m->v->n_factors++;
    m->v->largest_rank = rank > m->v->largest_rank ? rank : m->v->largest_rank;
    return rc;
}

/* The pair that is all an adapter does to a tensor of the base, or NULL. */
static const struct pc_lowrank_term *pair_of(const struct maker *m, const char *name)
{
    const struct pc_tensor *t = m->parts->terms ? pc_checkpoint_find(m->parts->base, name) : NULL;
    const struct pc_lowrank_term *term = t ? &m->parts->terms[t->index] : NULL;
    return term && is_pair(term) ? term : NULL;
}

static uint64_t size_of_group(const struct maker *m, int32_t i_layer, int i_group)
{
    const struct pc_llama *model = m->v->engine->model;
    int first = g_groups[i_group].first, n = g_groups[i_group].n;
    bool int8 = is_int8(&model->layers[i_layer].matrix[first], n);
    uint64_t size = 0, rank = 0, n_in = 0;
    for (int k = first; k < first + n; k++) {
        char name[128];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", i_layer,
            pc_llama_shape_of(&model->config, (enum pc_llama_matrix)k).name);
        const struct pc_lowrank_term *term = pair_of(m, name);
        if (!term)
            continue;
        rank += term->a->shape[0];
        n_in = term->a->shape[1];
        size += int8 ? pc_variant_piece(
                           pc_beside_factor_size((size_t)term->b->shape[0], (size_t)term->a->shape[0]), 1)
                     : size_of_pair(m, term);
    }
    const struct pc_packed *packed = &m->v->engine->kernels.packed;
    return size + (int8 ? pc_variant_piece(pc_packed_size(packed, PC_Q8_0, rank, n_in), 1) : 0);
}

/* Memory for all pairs of an adapter, in one piece; but for the head's. */
static int take_pairs(struct maker *m, struct paco_error *err)
{
    uint64_t size = 0;
    for (int32_t i = 0; m->parts->terms && i < m->v->engine->model->config.n_layers; i++)
        for (int k = 0; k < N_GROUPS; k++)
            size += size_of_group(m, i, k);
    return pc_variant_take_run(m->v, size, "pairs of factors", err);
}

/* ---- a model's tensors ---- */

/* The base's tensor and the fine-tune's; out->base NULL where the fine-tune leaves it as it is, or where the
 * base has none and needs none. */
static int find(const struct maker *m, const char *base_name, const char *tuned_name, struct both *out,
    struct paco_error *err)
{
    const struct pc_tensor *b = pc_checkpoint_find(m->parts->base, base_name);
    const struct pc_tensor *t = pc_checkpoint_find(m->parts->tuned, tuned_name);
    *out = (struct both){0};
    if (!b || !t)
        return pc_error_set(err, PACO_ENOENT, "tensor '%s' is missing in the %s", b ? tuned_name : base_name,
            b ? "fine-tune" : "base");
    if (m->parts->terms && !m->parts->terms[b->index].name)
        return 0;
    *out = (struct both){b, t, b->n_rows < t->n_rows ? b->n_rows : t->n_rows, (size_t)b->row_elems};
    return 0;
}

static int check_shape(const struct both *t, size_t n_out, size_t n_in, bool grows, struct paco_error *err)
{
    const struct pc_tensor *b = t->base, *u = t->tuned;
    char of_b[160], of_t[160];
    int n_dims = n_in ? 2 : 1;
    bool fits = b->n_dims == n_dims && u->n_dims == n_dims && b->shape[0] == n_out &&
                (grows || u->shape[0] == n_out) && (!n_in || (b->shape[1] == n_in && u->shape[1] == n_in)) &&
                (!n_in || (pc_tensor_has_slices(b) && pc_tensor_has_slices(u)));
    if (fits)
        return 0;
    return pc_error_set(err, PACO_EMISMATCH,
        "tensor '%s': shape %s in the base and %s in the fine-tune; the engine's model has [%zu,%zu]",
        b->name, pc_tensor_shape(b, of_b, sizeof of_b), pc_tensor_shape(u, of_t, sizeof of_t), n_out, n_in);
}

/* A vector of the fine-tune's own in *out, unless it is the base's; with change what is to be added to that.
 */
static int make_vector(
    struct maker *m, const char *name, size_t n, bool change, const float **out, struct paco_error *err)
{
    struct both t;
    int rc = find(m, name, name, &t, err);
    if (rc < 0 || !t.base)
        return rc;
    rc = check_shape(&t, n, 0, false, err);
    if (rc == 0)
        rc = pc_tensor_read_f32(t.tuned, 0, t.tuned->n_rows, m->a, err);
    if (rc == 0)
        rc = pc_tensor_read_f32(t.base, 0, t.base->n_rows, m->b, err);
    if (rc < 0 || memcmp(m->a, m->b, n * sizeof *m->a) == 0)
        return rc;
    float *v = pc_variant_take(m->v, n, sizeof *v, name, err);
    if (!v)
        return PACO_EMEM;
    for (size_t i = 0; i < n; i++)
        v[i] = change ? m->a[i] - m->b[i] : m->a[i];
    *out = v;
    return 0;
}

/* The pair of factors that is all an adapter does to the tensor, or NULL. */
static const struct pc_lowrank_term *factors_of(const struct maker *m, const struct both *t)
{
    const struct pc_lowrank_term *term = m->parts->terms ? &m->parts->terms[t->base->index] : NULL;
    return term && is_pair(term) ? term : NULL;
}

/* What a packed diff's tensor becomes for activations in INT8: size bytes at tiles. */
static void pack_tiles(
    const struct maker *m, const struct pc_delta *d, bool signs, void *tiles, const unsigned char *bytes)
{
    const struct pc_packed_type *q4 = &m->v->engine->kernels.packed.type[PC_Q4_0];
    const struct pc_dtype_traits *t = pc_dtype_traits(PC_Q4_0);
    if (signs)
        pc_beside_pack_signs(tiles, bytes, d->n_out, d->n_in);
    else
        q4->pack(tiles, bytes, d->n_in / t->n_block * t->block_size, d->n_out, d->n_in);
}

/* A tensor of a packed diff, as bytes, or as tiles. */
static const unsigned char *keep_packed(
    struct maker *m, const struct pc_tensor *t, const struct pc_delta *d, bool signs, struct paco_error *err)
{
    const struct pc_packed *packed = &m->v->engine->kernels.packed;
    uint64_t size = !d->int8 ? t->size
                    : signs  ? pc_beside_signs_size(d->n_out, d->n_in)
                             : pc_packed_size(packed, PC_Q4_0, d->n_out, d->n_in);
    unsigned char *kept = pc_variant_take(m->v, size, 1, t->name, err);
    unsigned char *bytes = kept && d->int8 ? pc_alloc((size_t)t->size, 1) : kept;
    int rc = bytes  ? pc_tensor_read(t, 0, t->n_rows, bytes, err)
             : kept ? pc_error_mem(err, t->size, "a packed matrix")
                    : PACO_EMEM;
    if (rc == 0 && d->int8)
        pack_tiles(m, d, signs, kept, bytes);
    if (d->int8)
        pc_free(bytes);
    return rc == 0 ? kept : NULL;
}

/* The matrix as a packed diff has it, if it does: *found. */
static int make_packed(
    struct maker *m, const char *name, struct pc_delta *d, bool *found, struct paco_error *err)
{
    const struct pc_checkpoint *ck = m->parts->packed;
    char part[160];
    snprintf(part, sizeof part, "%s.signs", name);
    const struct pc_tensor *signs = ck ? pc_checkpoint_find(ck, part) : NULL;
    snprintf(part, sizeof part, "%s.scale", name);
    const struct pc_tensor *scale = signs ? pc_checkpoint_find(ck, part) : NULL;
    snprintf(part, sizeof part, "%s.q4_0", name);
    const struct pc_tensor *int4 = ck ? pc_checkpoint_find(ck, part) : NULL;
    *found = (signs && scale) || int4; /* of the right shapes: unpacking has checked them */
    if (!*found)
        return 0;
    if (int4) {
        d->dense = (struct pc_delta_dense){
            .dtype = PC_Q4_0, .n = d->n_out, .data = keep_packed(m, int4, d, false, err)};
        m->v->n_dense += d->n_out;
        return d->dense.data ? 0 : err->code;
    }
    float *scales = pc_variant_take(m->v, d->n_out, sizeof *scales, name, err);
    d->signs.scale = scales;
    int rc = scales ? pc_tensor_read_f32(scale, 0, d->n_out, scales, err) : PACO_EMEM;
    if (rc == 0)
        d->signs.bits = keep_packed(m, signs, d, true, err);
    m->v->n_signs += d->n_out;
    return rc == 0 && !d->signs.bits ? err->code : rc;
}

static int make_matrix(struct maker *m, int32_t i_layer, int k, struct paco_error *err)
{
    const struct pc_config *c = &m->v->engine->model->config;
    const struct pc_llama_shape shape = pc_llama_shape_of(c, (enum pc_llama_matrix)k);
    struct pc_delta *d = &m->v->delta.layers[i_layer].matrix[k];
    bool has_bias = k <= PC_LLAMA_O ? c->attention_bias : c->mlp_bias;
    char name[128];
    struct both t = {0};
    *d = (struct pc_delta){.n_out = (size_t)shape.n_out, .n_in = (size_t)shape.n_in, .int8 = m->int8};
    snprintf(name, sizeof name, "model.layers.%d.%s.bias", i_layer, shape.name);
    int rc = has_bias ? make_vector(m, name, d->n_out, true, &d->bias, err) : 0;
    snprintf(name, sizeof name, "model.layers.%d.%s.weight", i_layer, shape.name);
    if (rc == 0)
        rc = find(m, name, name, &t, err);
    if (rc < 0 || !t.base)
        return rc;
    rc = check_shape(&t, d->n_out, d->n_in, false, err);
    if (rc < 0)
        return rc;
    bool packed;
    rc = make_packed(m, name, d, &packed, err);
    if (rc < 0 || packed)
        return rc;
    const struct pc_lowrank_term *term = factors_of(m, &t);
    return term ? make_factors(m, term, d, err) : make_change(m, &t, d, err);
}

static int make_layer(struct maker *m, int32_t i_layer, struct paco_error *err)
{
    struct pc_delta_layer *layer = &m->v->delta.layers[i_layer];
    size_t width = (size_t)m->v->engine->model->config.hidden_size;
    char name[128];
    snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", i_layer);
    int rc = make_vector(m, name, width, false, &layer->attention_norm, err);
    snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", i_layer);
    if (rc == 0)
        rc = make_vector(m, name, width, false, &layer->mlp_norm, err);
    for (int i = 0; i < N_GROUPS && rc == 0; i++) {
        int first = g_groups[i].first, n = g_groups[i].n;
        m->int8 = is_int8(&m->v->engine->model->layers[i_layer].matrix[first], n);
        for (int k = first; k < first + n && rc == 0; k++)
            rc = make_matrix(m, i_layer, k, err);
        if (rc == 0)
            rc = keep_low(m, &layer->matrix[first], n, err);
    }
    return rc;
}

/* Embedding or head. */
static int make_end(struct maker *m, const char *base_name, const char *tuned_name, struct pc_delta *d,
    struct pc_delta_dense *new_rows, struct paco_error *err)
{
    struct both t;
    int rc = find(m, base_name, tuned_name, &t, err);
    if (rc < 0 || !t.base)
        return rc;
    rc = check_shape(&t, d->n_out, d->n_in, true, err);
    if (rc < 0)
        return rc;
    if (t.tuned->shape[0] > INT32_MAX)
        return pc_error_set(err, PACO_ELIMIT, "tensor '%s' has too many rows", t.tuned->name);
    m->v->config.vocab_size = (int32_t)t.tuned->shape[0];
    const struct pc_lowrank_term *term = d == &m->v->delta.head ? factors_of(m, &t) : NULL;
    if (term) {
        m->int8 = d->int8 = is_int8(&m->v->engine->model->head, 1);
        rc = make_factors(m, term, d, err);
        return rc == 0 ? keep_low(m, d, 1, err) : rc;
    }
    rc = make_change(m, &t, d, err);
    return rc < 0 ? rc : make_new_rows(m, &t, new_rows, err);
}

static int make_ends(struct maker *m, struct paco_error *err)
{
    const struct pc_config *c = &m->v->engine->model->config;
    const struct pc_variant_parts *p = m->parts;
    struct pc_llama_delta *d = &m->v->delta;
    d->embedding = (struct pc_delta){.n_out = (size_t)c->vocab_size, .n_in = (size_t)c->hidden_size};
    d->head = d->embedding;
    m->v->config.vocab_size = c->vocab_size;
    int rc = make_end(m, EMBEDDING, EMBEDDING, &d->embedding, &d->new_embedding, err);
    int32_t vocab = m->v->config.vocab_size;
    if (rc == 0 && p->base_tied && p->tuned_tied) {
        d->head = d->embedding;
        d->new_head = d->new_embedding;
        return 0;
    }
    m->v->config.vocab_size = c->vocab_size;
    if (rc == 0)
        rc = make_end(m, p->base_tied ? EMBEDDING : HEAD, p->tuned_tied ? EMBEDDING : HEAD, &d->head,
            &d->new_head, err);
    if (rc == 0 && m->v->config.vocab_size != vocab)
        rc = pc_error_set(
            err, PACO_EMISMATCH, "the embedding has %d rows and the head %d", vocab, m->v->config.vocab_size);
    return rc;
}

static int make_all(struct maker *m, struct paco_error *err)
{
    const struct pc_config *c = &m->v->engine->model->config;
    struct pc_llama_delta *d = &m->v->delta;
    int rc = take_pairs(m, err);
    if (rc == 0)
        rc = make_ends(m, err);
    for (int32_t i = 0; i < c->n_layers && rc == 0; i++)
        rc = make_layer(m, i, err);
    if (rc == 0)
        rc = make_vector(m, "model.norm.weight", (size_t)c->hidden_size, false, &d->final_norm, err);
    m->v->low = pc_llama_delta_low(d, c->n_layers);
    return rc;
}

/* The longest run of floats that is read at once. */
static size_t longest(const struct pc_variant_parts *p)
{
    size_t n = STRETCH;
    for (size_t i = 0; i < p->base->n_tensors; i++) {
        const struct pc_tensor *t = &p->base->tensors[i];
        size_t least = (size_t)(t->n_dims == 1 ? t->n_rows : t->row_elems);
        n = least > n ? least : n;
    }
    return n;
}

int pc_variant_make(struct pc_variant *v, const struct pc_variant_parts *parts, struct paco_error *err)
{
    size_t n = longest(parts), n_layers = (size_t)v->engine->model->config.n_layers;
    float *memory = pc_alloc(n, 4 * sizeof *memory);
    struct maker m = {.v = v, .parts = parts, .convert = &v->engine->kernels.convert};
    v->delta.layers = pc_arena_alloc(&v->arena, n_layers, sizeof *v->delta.layers);
    int rc = memory && v->delta.layers ? 0 : pc_error_mem(err, n * 4 * sizeof *memory, "reading a fine-tune");
    if (rc == 0) {
        memset(v->delta.layers, 0, n_layers * sizeof *v->delta.layers);
        m.a = memory;
        m.b = memory + n;
        m.c = memory + 2 * n;
        m.narrow = memory + 3 * n;
        rc = make_all(&m, err);
    }
    pc_free(m.low);
    pc_free(memory);
    return rc;
}
