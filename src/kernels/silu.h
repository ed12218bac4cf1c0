// SPDX-License-Identifier: Apache-2.0
#ifndef PC_KERNELS_SILU_H
#define PC_KERNELS_SILU_H

#include "kernels/vmath.h"

#include <stddef.h>
#include <string.h>

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

enum { PC_SILU_RUN = 16 };

/* A run by way of copies: outputs may be inputs, and compilers make no vectors of what may overlap. */
static inline void pc_silu_backward_run(
    float *d_gate, float *d_up, float *act, const float *gate, const float *up, const float *d_act)
{
    float gated[PC_SILU_RUN], slope[PC_SILU_RUN], u[PC_SILU_RUN], d[PC_SILU_RUN];
    memcpy(u, up, sizeof u);
    memcpy(d, d_act, sizeof d);
    for (size_t i = 0; i < PC_SILU_RUN; i++) {
        float g = gate[i], below = 1.0f + pc_expf(-g), s = 1.0f / below;
        gated[i] = g / below;
        slope[i] = d[i] * u[i] * (s * fmaf(g, 1.0f - s, 1.0f));
    }
    for (size_t i = 0; i < PC_SILU_RUN; i++) {
        u[i] = gated[i] * u[i];
        d[i] = d[i] * gated[i];
    }
    memcpy(act, u, sizeof u);
    memcpy(d_up, d, sizeof d);
    memcpy(d_gate, slope, sizeof slope);
}

static inline void pc_silu_backward_loop(
    float *d_gate, float *d_up, float *act, const float *gate, const float *up, const float *d_act, size_t n)
{
    size_t i = 0;
    for (; i + PC_SILU_RUN <= n; i += PC_SILU_RUN)
        pc_silu_backward_run(d_gate + i, d_up + i, act + i, gate + i, up + i, d_act + i);
    if (i == n)
        return;
    float last[3][PC_SILU_RUN] = {0};
    memcpy(last[0], gate + i, (n - i) * sizeof(float));
    memcpy(last[1], up + i, (n - i) * sizeof(float));
    memcpy(last[2], d_act + i, (n - i) * sizeof(float));
    pc_silu_backward_run(last[0], last[1], last[2], last[0], last[1], last[2]);
    memcpy(d_gate + i, last[0], (n - i) * sizeof(float));
    memcpy(d_up + i, last[1], (n - i) * sizeof(float));
    memcpy(act + i, last[2], (n - i) * sizeof(float));
}

void pc_silu_init_avx2(struct pc_silu *table);
void pc_silu_init_avx512(struct pc_silu *table);

#endif
