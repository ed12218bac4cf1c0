// SPDX-License-Identifier: Apache-2.0
#include "weights/truncate.h"

#include "base/memory.h"
#include "base/splitmix.h"

#include <math.h>
#include <string.h>

enum { MORE = 8, ITERATIONS = 2, MAX_SWEEPS = 60 };

struct work {
    const struct pc_gemm_type *gemm;
    const float *d;
    size_t n_out, n_in, l; /* l: columns of the range */
    float *q, *z;          /* (n_out, l), (n_in, l) */
    float *panels;         /* of either */
    double *gram, *v;      /* (l, l) */
    double *column;        /* the larger of n_out and n_in, l times */
};

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Panels of the columns of x (n, l). */
static void pack(const struct work *w, const float *x, size_t n)
{
    for (size_t j = 0; j < w->l; j += PC_GEMM_PANEL)
        w->gemm->pack_columns((char *)w->panels + j / PC_GEMM_PANEL * pc_gemm_panel_size(w->gemm, n), x + j,
            PC_F32, w->l * sizeof(float), smaller(w->l - j, PC_GEMM_PANEL), n);
}

/* q = d z, or with turned z = d^T q. */
static void multiply(const struct work *w, bool turned)
{
    size_t k = turned ? w->n_out : w->n_in;
    pack(w, turned ? w->q : w->z, k);
    w->gemm->multiply(&(struct pc_gemm_call){.c = turned ? w->z : w->q,
        .c_stride = w->l,
        .a = w->d,
        .a_row = (turned ? 1 : w->n_in) * sizeof(float),
        .a_step = (turned ? w->n_in : 1) * sizeof(float),
        .panels = w->panels,
        .n_rows = turned ? w->n_in : w->n_out,
        .n_columns = w->l,
        .k = k});
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Columns of x (n, l) orthonormal: Gram and Schmidt, twice each. One that depends on those before it becomes
 * zero. */
static void orthonormalise(const struct work *w, float *x, size_t n)
{
    for (size_t j = 0; j < w->l; j++) {
        double *column = w->column + j * n;
        for (size_t i = 0; i < n; i++)
            column[i] = (double)x[i * w->l + j];
        double before = sqrt(dot(column, column, n));
        for (int twice = 0; twice < 2; twice++)
            for (size_t k = 0; k < j; k++) {
                const double *other = w->column + k * n;
                double part = dot(column, other, n);
                for (size_t i = 0; i < n; i++)
                    column[i] -= part * other[i];
            }
        double norm = sqrt(dot(column, column, n));
        double scale = norm > 1e-10 * before ? 1 / norm : 0;
        for (size_t i = 0; i < n; i++)
            x[i * w->l + j] = (float)(column[i] *= scale);
    }
}

static void fill_random(const struct work *w, uint64_t seed)
{
    for (size_t i = 0; i < w->n_in * w->l; i++)
        w->z[i] = (float)((double)(pc_splitmix_next(&seed) >> 40) * 0x1p-23 - 1);
}

/* One rotation that makes elements (p, q) of the symmetric gram zero, in v as well. */
static void rotate(double *gram, double *v, size_t l, size_t p, size_t q)
{
    double theta = (gram[q * l + q] - gram[p * l + p]) / (2 * gram[p * l + q]);
    double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
    double c = 1 / sqrt(t * t + 1), s = t * c;
    for (size_t i = 0; i < l; i++) {
        double a = gram[i * l + p], b = gram[i * l + q];
        gram[i * l + p] = c * a - s * b;
        gram[i * l + q] = s * a + c * b;
    }
    for (size_t i = 0; i < l; i++) {
        double a = gram[p * l + i], b = gram[q * l + i], x = v[i * l + p], y = v[i * l + q];
        gram[p * l + i] = c * a - s * b;
        gram[q * l + i] = s * a + c * b;
        v[i * l + p] = c * x - s * y;
        v[i * l + q] = s * x + c * y;
    }
}

/* gram's eigenvalues on its diagonal, the vectors in v's columns. */
static void diagonalise(double *gram, double *v, size_t l)
{
    memset(v, 0, l * l * sizeof *v);
    for (size_t i = 0; i < l; i++)
        v[i * l + i] = 1;
    bool again = true;
    for (int sweep = 0; sweep < MAX_SWEEPS && again; sweep++) {
        again = false;
        for (size_t p = 0; p + 1 < l; p++)
            for (size_t q = p + 1; q < l; q++)
                if (fabs(gram[p * l + q]) > 1e-15 * sqrt(fabs(gram[p * l + p] * gram[q * l + q]))) {
                    rotate(gram, v, l, p, q);
                    again = true;
                }
    }
}

/* The column of v with the largest eigenvalue that is left; it is taken. */
static size_t take_largest(double *gram, size_t l, double *value)
{
    size_t best = 0;
    for (size_t i = 1; i < l; i++)
        if (gram[i * l + i] > gram[best * l + best])
            best = i;
    *value = gram[best * l + best];
    gram[best * l + best] = -1;
    return best;
}

/* Factor number k: of the range's basis q and of z = d^T q, mixed by a column of v. */
static void put_factor(
    const struct work *w, size_t k, size_t rank, size_t column, double value, float *a, float *b)
{
    double root = value > 0 ? sqrt(sqrt(value)) : 0;
    for (size_t i = 0; i < w->n_out; i++) {
        double sum = 0;
        for (size_t j = 0; j < w->l; j++)
            sum += (double)w->q[i * w->l + j] * w->v[j * w->l + column];
        b[i * rank + k] = (float)(sum * root);
    }
    for (size_t i = 0; i < w->n_in; i++) {
        double sum = 0;
        for (size_t j = 0; j < w->l; j++)
            sum += (double)w->z[i * w->l + j] * w->v[j * w->l + column];
        a[k * w->n_in + i] = root > 0 ? (float)(sum / root) : 0;
    }
}

/* Returns what the factors hold. */
static double truncate_matrix(struct work *w, size_t rank, uint64_t seed, float *a, float *b)
{
    fill_random(w, seed);
    multiply(w, false);
    for (int i = 0; i < ITERATIONS; i++) {
        orthonormalise(w, w->q, w->n_out);
        multiply(w, true);
        orthonormalise(w, w->z, w->n_in);
        multiply(w, false);
    }
    orthonormalise(w, w->q, w->n_out);
    multiply(w, true);
    for (size_t i = 0; i < w->l; i++)
        for (size_t j = 0; j < w->l; j++) {
            double sum = 0;
            for (size_t k = 0; k < w->n_in; k++)
                sum += (double)w->z[k * w->l + i] * (double)w->z[k * w->l + j];
            w->gram[i * w->l + j] = sum;
        }
    diagonalise(w->gram, w->v, w->l);
    double held = 0;
    for (size_t k = 0; k < rank; k++) {
        double value;
        size_t column = take_largest(w->gram, w->l, &value);
        put_factor(w, k, rank, column, value, a, b);
        held += value > 0 ? value : 0;
    }
    return held;
}

int pc_truncate(const struct pc_gemm *gemm, const float *d, size_t n_out, size_t n_in, size_t rank,
    uint64_t seed, float *a, float *b, struct pc_truncated *out, struct paco_error *err)
{
    double all = 0;
    for (size_t i = 0; i < n_out * n_in; i++)
        all += (double)d[i] * (double)d[i];
    if (!isfinite(all))
        return pc_error_set(err, PACO_EFORMAT, "the change holds numbers that are not finite");
    struct work w = {.gemm = &gemm->f32, .d = d, .n_out = n_out, .n_in = n_in};
    w.l = smaller(rank + MORE, smaller(n_out, n_in));
    size_t n_panels = (w.l + PC_GEMM_PANEL - 1) / PC_GEMM_PANEL, most = larger(n_out, n_in);
    size_t panels = n_panels * pc_gemm_panel_size(w.gemm, most);
    w.q = pc_alloc(n_out * w.l, sizeof *w.q);
    w.z = pc_alloc(n_in * w.l, sizeof *w.z);
    w.panels = pc_alloc_pages(panels);
    w.gram = pc_alloc(w.l * w.l, 2 * sizeof *w.gram);
    w.column = pc_alloc(most * w.l, sizeof *w.column);
    int rc = 0;
    if (w.q && w.z && w.panels && w.gram && w.column) {
        w.v = w.gram + w.l * w.l;
        *out = (struct pc_truncated){all, truncate_matrix(&w, rank, seed, a, b)};
    } else {
        rc = pc_error_mem(err, panels, "truncating a matrix");
    }
    pc_free(w.q);
    pc_free(w.z);
    pc_free(w.panels);
    pc_free(w.gram);
    pc_free(w.column);
    return rc;
}
