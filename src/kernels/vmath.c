// SPDX-License-Identifier: Apache-2.0
/* Series of textbook form on short intervals. Coefficients are quotients of integers, so there is nothing to
 * trust but the arithmetic; tests/unit/test_vmath.c measures the errors the header states. */
#include "kernels/vmath.h"

double pc_exp(double x)
{
    if (!(x < 710.0))
        return x != x ? x : INFINITY;
    if (x < -746.0)
        return 0.0;
    double n = rint(x * 0x1.71547652b82fep+0);
    double r = fma(n, -0x1.62e42fefa39efp-1, x);
    r = fma(n, -0x1.abc9e3b39803fp-56, r);
    double p = 1.0;
    for (int k = 14; k >= 1; k--)
        p = fma(p, r / k, 1.0); /* Horner for the sum of r^k / k! */
    return ldexp(p, (int)n);
}

double pc_log(double x)
{
    if (!(x > 0.0))
        return x != x ? x : -INFINITY;
    if (x == INFINITY)
        return x;
    int e;
    double m = frexp(x, &e);
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2;
        e--;
    }
    /* log m = 2 artanh s; s^2 <= 0.0295 */
    double s = (m - 1) / (m + 1), s2 = s * s, sum = 0;
    for (int k = 23; k >= 3; k -= 2)
        sum = fma(sum, s2, 1.0 / k);
    double small = fma(s * s2, 2 * sum, 2 * s);
    return fma(e, 0x1.62e42fefa39efp-1, fma(e, 0x1.abc9e3b39803fp-56, small));
}

double pc_pow(double base, double x)
{
    return pc_exp(x * pc_log(base));
}

void pc_sincosf(float x, float *sine, float *cosine)
{
    if (!(fabsf(x) <= 0x1p30f)) {
        *sine = *cosine = NAN;
        return;
    }
    double n = rint(x * 0x1.45f306dc9c883p-1);
    double r = fma(n, -0x1.921fb54442d18p+0, x);
    r = fma(n, -0x1.1a62633145c07p-54, r);
    double r2 = r * r, s = 1, c = 1;
    for (int k = 14; k >= 2; k -= 2) { /* sin r / r = 1 - r^2/(2*3) (1 - r^2/(4*5) ...), cos r likewise */
        s = fma(s, -r2 / (k * (k + 1)), 1.0);
        c = fma(c, -r2 / ((k - 1) * k), 1.0);
    }
    s *= r;
    int64_t quadrant = (int64_t)n & 3;
    double sin_r = quadrant & 1 ? c : s, cos_r = quadrant & 1 ? s : c;
    *sine = (float)(quadrant & 2 ? -sin_r : sin_r);
    *cosine = (float)(quadrant == 1 || quadrant == 2 ? -cos_r : cos_r);
}
