// SPDX-License-Identifier: Apache-2.0
#ifndef PC_KERNELS_SOFTMAX_H
#define PC_KERNELS_SOFTMAX_H

#include "kernels/vmath.h"

#include <stddef.h>

struct pc_softmax {
    /** out[i] = e^(x[i] - shift) by pc_expf, n elements; out may be x. The same bits at every level. */
    void (*exp_shifted)(float *out, const float *x, float shift, size_t n);
};

/** Fill table with the scalar version, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_softmax_init(struct pc_softmax *table, unsigned cpu_flags);

/** Softmax without its division: p[i] = e^(x[i] - max), where NaN counts as -infinity. Returns the sum of p
 * in double, elements ascending, so that p[i] / sum is the probability and (x[i] - *max) - log(sum) its
 * logarithm. If nothing is above -infinity all p are 0 and so is the sum; if some are +infinity, those are 1
 * and all others 0. p may be x. */
double pc_softmax_forward(const struct pc_softmax *table, float *p, const float *x, size_t n, float *max);

/** The same, returning the logarithm of all e^x[i]; the sum of p goes to *sum. */
double pc_softmax_log_sum(const struct pc_softmax *table, float *p, const float *x, size_t n, double *sum);

/* The loop every version compiles with its own flags. */
static inline void pc_exp_shifted_loop(float *out, const float *x, float shift, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = pc_expf(x[i] - shift);
}

void pc_softmax_init_avx2(struct pc_softmax *table);
void pc_softmax_init_avx512(struct pc_softmax *table);

#endif
