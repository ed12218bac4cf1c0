// SPDX-License-Identifier: Apache-2.0
#include "train/keyed.h"

#include "kernels/vmath.h"

/* Box and Muller 1958: each pair of uniform numbers is a radius and an angle. Only the cosine is used, so
 * that number i depends on index i alone. */
void pc_keyed_normal(uint64_t key, float deviation, float *out, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t bits = pc_keyed_bits(key, i);
        double u = ((double)(bits >> 32) + 0.5) * 0x1p-32; /* in (0, 1) */
        float angle = (float)(uint32_t)bits * 0x1p-32f * 6.2831853f, sine, cosine;
        pc_sincosf(angle, &sine, &cosine);
        out[i] = deviation * (float)sqrt(-2 * pc_log(u)) * cosine;
    }
}
