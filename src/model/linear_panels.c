// SPDX-License-Identifier: Apache-2.0
#include "model/linear_panels.h"

#include "base/memory.h"

#include <assert.h>

enum {
    STEPS = PC_PANELS_STEPS,
    GROUP_FLOATS = PC_PANELS_GROUP_SIZE / 4,
    MOST_PANELS = 8,
    /* Weights turned into F32 together, where their type cannot be packed: rows of them, and what a row has,
     * with blocks that are cut at both ends. */
    SLAB_ROWS = PC_GEMM_LANES,
    SLAB_FLOATS = SLAB_ROWS * 2 * STEPS,
};

struct scratch {
    float *group, *slab;
};

size_t pc_panels_scratch(void)
{
    return GROUP_FLOATS + SLAB_FLOATS;
}

const struct pc_gemm_type *pc_panels_type(const struct pc_kernels *kernels, const struct pc_weight *weight)
{
    return weight->arithmetic == PC_CLASS_PANELS ? &kernels->gemm.bf16 : &kernels->gemm.f32;
}

static bool packs(enum pc_dtype dtype)
{
    return dtype == PC_F32 || dtype == PC_BF16;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Bytes of n elements of a row; n is whole blocks. */
static size_t size_of(enum pc_dtype dtype, size_t n)
{
    const struct pc_dtype_traits *traits = pc_dtype_traits(dtype);
    return n / traits->n_block * traits->block_size;
}

/* A piece of K for a group of vectors [first, first + n). */
struct piece {
    size_t first, n, k, n_k;
};

/* Vectors are rows of W. */
static void pack_rows(const struct pc_panels_product *p, struct piece at, const struct scratch *s)
{
    const struct pc_weight *w = p->weight;
    size_t panel = pc_gemm_panel_size(p->type, at.n_k) / sizeof(float),
           most = packs(w->dtype) ? PC_GEMM_PANEL : SLAB_ROWS;
    for (size_t i = 0, n; i < at.n; i += n) {
        n = least(at.n - i, most);
        float *to = s->group + i / PC_GEMM_PANEL * panel + i % PC_GEMM_PANEL;
        const unsigned char *from = w->data + (at.first + i) * w->row_size + size_of(w->dtype, at.k);
        if (packs(w->dtype)) {
            p->type->pack_rows(to, from, w->dtype, w->row_size, n, at.n_k);
            continue;
        }
        for (size_t r = 0; r < n; r++)
            p->kernels->convert.to_f32[w->dtype](s->slab + r * at.n_k, from + r * w->row_size, at.n_k);
        p->type->pack_rows(to, s->slab, PC_F32, at.n_k * sizeof(float), n, at.n_k);
    }
}

/* Vectors are columns of W. Blocks do not end where a group does: a row is converted from the beginning of a
 * block to the end of one. */
static void pack_columns(const struct pc_panels_product *p, struct piece at, const struct scratch *s)
{
    const struct pc_weight *w = p->weight;
    size_t panel = pc_gemm_panel_size(p->type, at.n_k) / sizeof(float),
           block = pc_dtype_traits(w->dtype)->n_block;
    size_t begin = at.first / block * block, end = (at.first + at.n + block - 1) / block * block,
           width = end - begin;
    const unsigned char *rows = w->data + at.k * w->row_size;
    for (size_t k = 0, n_k; k < at.n_k; k += n_k) {
        n_k = packs(w->dtype) ? at.n_k : least(at.n_k - k, SLAB_ROWS);
        const char *from = (const char *)rows + size_of(w->dtype, begin);
        size_t stride = w->row_size;
        enum pc_dtype dtype = w->dtype;
        if (!packs(dtype)) {
            assert(n_k * width <= SLAB_FLOATS);
            for (size_t r = 0; r < n_k; r++)
                p->kernels->convert.to_f32[dtype](
                    s->slab + r * width, rows + (k + r) * w->row_size + size_of(dtype, begin), width);
            from = (const char *)(s->slab + (at.first - begin));
            stride = width * sizeof(float);
            dtype = PC_F32;
        }
        float *to = s->group + k / p->type->step * PC_GEMM_PANEL;
        for (size_t i = 0; i < at.n; i += PC_GEMM_PANEL, to += panel)
            p->type->pack_columns(
                to, from + i * size_of(dtype, 1), dtype, stride, least(at.n - i, PC_GEMM_PANEL), n_k);
    }
}

/* The weights that a piece is made of, as gemm.h fetches them. Those behind the last are likely this worker's
 * next. */
static struct pc_gemm_fetch sources(const struct pc_panels_product *p, struct piece at)
{
    const struct pc_weight *w = p->weight;
    size_t row = p->columns ? at.k : at.first, column = p->columns ? at.first : at.k;
    size_t n = p->columns ? at.n_k : at.n, width = p->columns ? at.n : at.n_k,
           block = pc_dtype_traits(w->dtype)->n_block;
    return (struct pc_gemm_fetch){
        .rows = w->data + row * w->row_size + size_of(w->dtype, column / block * block),
        .size = size_of(w->dtype, (width + block - 1) / block * block),
        .stride = w->row_size,
        .n = n};
}

/* All of K for one group of columns: the totals of its pieces, added in their order. (One chain over all of a
 * vocabulary would lose two digits.) */
static void run_group(const struct pc_panels_product *p, struct piece at, size_t n_k, const struct scratch *s)
{
    size_t most = STEPS * p->type->step;
    struct pc_gemm_call call = {
        .a_row = p->a_row, .a_step = sizeof(float), .panels = s->group, .n_rows = p->n_rows};
    call.n_columns = at.n;
    for (at.k = 0; at.k == 0 || at.k < n_k; at.k += most) {
        bool last = n_k - at.k <= most;
        at.n_k = call.k = last ? n_k - at.k : most;
        (p->columns ? pack_columns : pack_rows)(p, at, s);
        call.a = (const char *)p->a + at.k / p->type->step * sizeof(float);
        call.c = p->c + at.first;
        call.c_stride = p->c_stride;
        call.add = p->add || at.k > 0;
        struct piece next = at;
        next.k = last ? 0 : at.k + most;
        next.n_k = least(n_k - next.k, most);
        next.first += last ? at.n : 0;
        call.fetch = sources(p, next);
        p->type->multiply(&call);
    }
}

void pc_panels_run(const struct pc_panels_product *p, float *scratch)
{
    const struct scratch s = {scratch, scratch + GROUP_FLOATS};
    size_t n_k = p->columns ? p->weight->n_out : p->weight->n_in, most_k = STEPS * p->type->step;
    size_t panel = pc_gemm_panel_size(p->type, least(n_k, most_k));
    size_t n_panels = panel ? least(PC_PANELS_GROUP_SIZE / panel, MOST_PANELS) : MOST_PANELS;
    struct piece at = {.first = p->first};
    for (; at.first < p->first + p->n; at.first += at.n) {
        at.n = least(p->first + p->n - at.first, n_panels * PC_GEMM_PANEL);
        run_group(p, at, n_k, &s);
    }
}
