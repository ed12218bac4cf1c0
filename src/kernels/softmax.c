// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax.h"

#include "base/cpu.h"

static void exp_shifted(float *out, const float *x, float shift, size_t n)
{
    pc_exp_shifted_loop(out, x, shift, n);
}

void pc_softmax_init(struct pc_softmax *table, unsigned cpu_flags)
{
    table->exp_shifted = exp_shifted;
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_softmax_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_softmax_init_avx512(table);
#endif
    (void)cpu_flags;
}

/* The largest element, NaN left aside; -infinity if there is none. */
static float largest(const float *x, size_t n)
{
    float lane[8], max = -INFINITY;
    for (int l = 0; l < 8; l++)
        lane[l] = -INFINITY;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++)
            lane[l] = x[i + (size_t)l] > lane[l] ? x[i + (size_t)l] : lane[l];
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (int l = 0; l < 8; l++)
        max = lane[l] > max ? lane[l] : max;
    return max;
}

double pc_softmax_forward(const struct pc_softmax *table, float *p, const float *x, size_t n, float *max)
{
    *max = largest(x, n);
    if (isinf(*max)) {
        double count = 0;
        for (size_t i = 0; i < n; i++) {
            p[i] = *max > 0 && x[i] == *max ? 1.0f : 0.0f;
            count += (double)p[i];
        }
        return count;
    }
    table->exp_shifted(p, x, *max, n);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        p[i] = p[i] >= 0 ? p[i] : 0.0f;
        sum += (double)p[i];
    }
    return sum;
}

double pc_softmax_log_sum(const struct pc_softmax *table, float *p, const float *x, size_t n, double *sum)
{
    float max;
    *sum = pc_softmax_forward(table, p, x, n, &max);
    return (double)max + pc_log(*sum);
}
