// SPDX-License-Identifier: Apache-2.0
/* The loops of cross entropy, which every version compiles with its own flags. */
#ifndef PC_KERNELS_CROSS_ENTROPY_LOOP_H
#define PC_KERNELS_CROSS_ENTROPY_LOOP_H

#include "kernels/cross_entropy.h"

enum { PC_CROSS_LANES = 16 };

/* The largest logit, NaN left aside. */
static inline float pc_cross_entropy_max(const float *z, size_t n)
{
    float lane[PC_CROSS_LANES], max = -INFINITY;
    for (size_t l = 0; l < PC_CROSS_LANES; l++)
        lane[l] = -INFINITY;
    size_t v = 0;
    for (; v + PC_CROSS_LANES <= n; v += PC_CROSS_LANES)
        for (size_t l = 0; l < PC_CROSS_LANES; l++)
            lane[l] = z[v + l] > lane[l] ? z[v + l] : lane[l];
    for (; v < n; v++)
        max = z[v] > max ? z[v] : max;
    for (size_t l = 0; l < PC_CROSS_LANES; l++)
        max = lane[l] > max ? lane[l] : max;
    return max;
}

/* The sum of e^(z - max); the terms go to e, unless it is NULL. */
static inline double pc_cross_entropy_sum(float *e, const float *z, size_t n, float max)
{
    double lane[PC_CROSS_LANES] = {0};
    size_t v = 0;
    for (; v + PC_CROSS_LANES <= n; v += PC_CROSS_LANES) {
        float term[PC_CROSS_LANES];
        for (size_t l = 0; l < PC_CROSS_LANES; l++)
            term[l] = pc_expf(z[v + l] - max);
        for (size_t l = 0; l < PC_CROSS_LANES; l++)
            lane[l] += (double)term[l];
        if (e)
            for (size_t l = 0; l < PC_CROSS_LANES; l++)
                e[v + l] = term[l];
    }
    for (size_t l = 0; v + l < n; l++) {
        float term = pc_expf(z[v + l] - max);
        lane[l] += (double)term;
        if (e)
            e[v + l] = term;
    }
    for (size_t width = PC_CROSS_LANES / 2; width > 0; width /= 2)
        for (size_t l = 0; l < width; l++)
            lane[l] += lane[l + width];
    return lane[0];
}

static inline double pc_cross_entropy_forward_loop(const float *z, size_t n, size_t label)
{
    float max = pc_cross_entropy_max(z, n);
    return pc_log(pc_cross_entropy_sum(NULL, z, n, max)) - ((double)z[label] - (double)max);
}

static inline double pc_cross_entropy_backward_loop(float *z, size_t n, size_t label, float weight)
{
    float max = pc_cross_entropy_max(z, n), at_label = z[label];
    double sum = pc_cross_entropy_sum(z, z, n, max);
    float inverse = (float)(1 / sum), p = z[label] * inverse;
    for (size_t v = 0; v < n; v++)
        z[v] = z[v] * inverse * weight;
    z[label] = (p - 1.0f) * weight;
    return pc_log(sum) - ((double)at_label - (double)max);
}

#endif
