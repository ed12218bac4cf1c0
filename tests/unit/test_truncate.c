// SPDX-License-Identifier: Apache-2.0
/* Truncation against matrices whose singular values are known. */
#include "unit.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "base/splitmix.h"
#include "weights/truncate.h"

#include <math.h>
#include <stdlib.h>

enum { N_OUT = 70, N_IN = 45, N_VALUES = 20 };

/* n orthonormal columns of length len, one behind the other. */
static void basis(double *out, size_t n, size_t len, uint64_t seed)
{
    for (size_t j = 0; j < n; j++) {
        double *c = out + j * len, norm = 0;
        for (size_t i = 0; i < len; i++)
            c[i] = (double)(pc_splitmix_next(&seed) >> 40) * 0x1p-23 - 1;
        for (int twice = 0; twice < 2; twice++)
            for (size_t k = 0; k < j; k++) {
                double part = 0;
                for (size_t i = 0; i < len; i++)
                    part += c[i] * out[k * len + i];
                for (size_t i = 0; i < len; i++)
                    c[i] -= part * out[k * len + i];
            }
        for (size_t i = 0; i < len; i++)
            norm += c[i] * c[i];
        for (size_t i = 0; i < len; i++)
            c[i] /= sqrt(norm);
    }
}

/* The k-th singular value. */
static double value_at(size_t k)
{
    return pow(0.7, (double)k);
}

static void make_matrix(float *d)
{
    static double u[N_VALUES * N_OUT], v[N_VALUES * N_IN];
    basis(u, N_VALUES, N_OUT, 1);
    basis(v, N_VALUES, N_IN, 2);
    for (size_t i = 0; i < N_OUT; i++)
        for (size_t j = 0; j < N_IN; j++) {
            double sum = 0;
            for (size_t k = 0; k < N_VALUES; k++)
                sum += value_at(k) * u[k * N_OUT + i] * v[k * N_IN + j];
            d[i * N_IN + j] = (float)sum;
        }
}

static double squares_from(size_t first)
{
    double sum = 0;
    for (size_t k = first; k < N_VALUES; k++)
        sum += value_at(k) * value_at(k);
    return sum;
}

static double squares_apart(const float *d, const float *a, const float *b, size_t rank)
{
    double sum = 0;
    for (size_t i = 0; i < N_OUT; i++)
        for (size_t j = 0; j < N_IN; j++) {
            double x = (double)d[i * N_IN + j];
            for (size_t k = 0; k < rank; k++)
                x -= (double)b[i * rank + k] * (double)a[k * N_IN + j];
            sum += x * x;
        }
    return sum;
}

static void test_the_best_of_its_rank(void **state)
{
    (void)state;
    static float d[N_OUT * N_IN], a[N_IN * N_IN], b[N_OUT * N_IN], a2[N_IN * N_IN], b2[N_OUT * N_IN];
    static const size_t ranks[] = {1, 3, 8, 19, 20, 41, N_IN};
    struct pc_gemm gemm, scalar;
    pc_gemm_init(&gemm, pc_cpu_flags());
    pc_gemm_init(&scalar, 0);
    make_matrix(d);
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
        struct pc_truncated t, t2;
        struct paco_error err = {0};
        size_t rank = ranks[i];
        assert_int_equal(pc_truncate(&gemm, d, N_OUT, N_IN, rank, 5, a, b, &t, &err), 0);
        double best = squares_from(rank), apart = squares_apart(d, a, b, rank);
        if (!(fabs(t.all - squares_from(0)) < 1e-5) || !(fabs(t.all - t.held - best) < 1e-5))
            fail_msg("rank %zu holds %.8g of %.8g", rank, t.held, t.all);
        if (!(apart <= 1.02 * best + 1e-10)) /* Eckart and Young: nothing is nearer than best */
            fail_msg("rank %zu is %.6g apart, the best %.6g", rank, apart, best);
        assert_int_equal(pc_truncate(&scalar, d, N_OUT, N_IN, rank, 5, a2, b2, &t2, &err), 0);
        assert_memory_equal(a, a2, rank * N_IN * sizeof *a);
        assert_memory_equal(b, b2, rank * N_OUT * sizeof *b);
    }
}

static void test_odd_matrices(void **state)
{
    (void)state;
    static float d[N_OUT * N_IN], a[3 * N_IN], b[3 * N_OUT];
    struct pc_gemm gemm;
    struct pc_truncated t;
    struct paco_error err = {0};
    pc_gemm_init(&gemm, pc_cpu_flags());
    assert_int_equal(pc_truncate(&gemm, d, N_OUT, N_IN, 3, 1, a, b, &t, &err), 0); /* zeros */
    assert_true(t.all == 0 && t.held == 0);
    assert_true(squares_apart(d, a, b, 3) == 0);
    d[17] = 3; /* one element: rank 1, and columns that depend on each other */
    assert_int_equal(pc_truncate(&gemm, d, N_OUT, N_IN, 3, 1, a, b, &t, &err), 0);
    assert_true(squares_apart(d, a, b, 3) < 1e-10);
    d[18] = NAN;
    assert_int_equal(pc_truncate(&gemm, d, N_OUT, N_IN, 3, 1, a, b, &t, &err), PACO_EFORMAT);
    assert_contains(err.message, "not finite");
    d[18] = 1;
    for (int64_t n = 0; n < 5; n++) {
        pc_alloc_fail_after(n);
        int rc = pc_truncate(&gemm, d, N_OUT, N_IN, 3, 1, a, b, &t, &err);
        pc_alloc_fail_after(-1);
        assert_int_equal(rc, PACO_EMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_best_of_its_rank),
        cmocka_unit_test(test_odd_matrices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
