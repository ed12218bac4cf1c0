// SPDX-License-Identifier: Apache-2.0
#ifndef PC_KERNELS_SILU_H
#define PC_KERNELS_SILU_H

#include "kernels/vmath.h"

#include <stddef.h>

struct pc_silu {
    /** The gate of SwiGLU: out = gate * sigmoid(gate) * up, n elements; out may be gate or up.
     *
     *  sigmoid(x) = 1 / (1 + e^-x) with pc_expf. The same bits at every level; within 4 ulp of exact for
     * gates above -87, and 0 where e^-gate overflows. Thread-safe on disjoint out. Source: Shazeer 2020, "GLU
     * variants improve Transformer". */
    void (*mul)(float *out, const float *gate, const float *up, size_t n);
    /** Its gradients, and act = the result of mul once more, bit for bit. With s = sigmoid(gate):
     *  d_up = d_act (gate s), d_gate = d_act up (s (1 + gate (1 - s))). d_gate may be gate, d_up up, act
     * d_act. docs/math/silu.md. */
    void (*backward)(float *d_gate, float *d_up, float *act, const float *gate, const float *up,
        const float *d_act, size_t n);
};

/** Fill table with the scalar version, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_silu_init(struct pc_silu *table, unsigned cpu_flags);

/* The loops every version compiles with its own flags. */
static inline void pc_silu_loop(float *out, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = gate[i] / (1.0f + pc_expf(-gate[i])) * up[i];
}

static inline void pc_silu_backward_loop(
    float *d_gate, float *d_up, float *act, const float *gate, const float *up, const float *d_act, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float g = gate[i], u = up[i], d = d_act[i];
        float below = 1.0f + pc_expf(-g), s = 1.0f / below, gated = g / below;
        act[i] = gated * u;
        d_up[i] = d * gated;
        d_gate[i] = d * u * (s * fmaf(g, 1.0f - s, 1.0f));
    }
}

void pc_silu_init_avx2(struct pc_silu *table);
void pc_silu_init_avx512(struct pc_silu *table);

#endif
