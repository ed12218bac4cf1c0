// SPDX-License-Identifier: Apache-2.0
/* Elementary functions of our own: libm's are chosen at run time by processor and release, and would make the
 * same model answer differently on two machines. (Named vmath, since a math.h beside the kernels would hide
 * the system's.)
 *
 * pc_expf is inline so that each instruction set's files compile it with their own flags: the compiler turns
 * it into vectors, and since it is written in fmaf and single operations the bits are the same everywhere.
 * The double functions serve tables made once (RoPE) and sums of a few terms (sampling); they are not for
 * inner loops. */
#ifndef PC_KERNELS_VMATH_H
#define PC_KERNELS_VMATH_H

#include "kernels/float_bits.h"

#include <math.h>
#include <stdint.h>

/** e^x. At most 1.02 ulp from the true value for results that are normal numbers, half a denormal step more
 *  below; 0 below -104, infinity above 88.73, NaN for NaN.
 *
 *  x = n ln 2 + r with |r| <= ln 2 / 2; e^r by a degree 6 polynomial (minimax in relative error, 0.05 ulp);
 * 2^n in two factors, so that neither overflows alone and denormal results round once. */
static inline float pc_expf(float x)
{
    const float shift = 0x1.8p23f; /* adding it leaves the integer in the low bits */
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    float shifted = fmaf(x, 0x1.715476p+0f, shift);
    float n = shifted - shift;
    float r = fmaf(n, -0x1.62e400p-1f, x);
    r = fmaf(n, -0x1.7f7d1cp-20f, r);
    float p = 0x1.6a23d0p-10f;
    p = fmaf(p, r, 0x1.123a20p-7f);
    p = fmaf(p, r, 0x1.5558f2p-5f);
    p = fmaf(p, r, 0x1.555492p-3f);
    p = fmaf(p, r, 0x1.fffffcp-2f);
    p = fmaf(p, r * r, r) + 1.0f;
    int32_t i = (int32_t)(pc_f32_bits(shifted) - 0x4b400000u);
    int32_t half = i >> 1; /* arithmetic in every compiler we build with */
    float s1 = pc_f32_from_bits(((uint32_t)half + 127u) << 23);
    float s2 = pc_f32_from_bits(((uint32_t)(i - half) + 127u) << 23);
    return p * s1 * s2;
}

/** e^x and the natural logarithm in double, within 4 ulp. pc_log of a number <= 0 is -infinity. */
double pc_exp(double x);
double pc_log(double x);

/** base^x for base > 0, relative error below (|x log base| + 4) 2^-52. */
double pc_pow(double base, double x);

/** Sine and cosine of x, each rounded to float from a double within 2^-45; NaN beyond |x| = 2^30. */
void pc_sincosf(float x, float *sine, float *cosine);

#endif
