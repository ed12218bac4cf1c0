// SPDX-License-Identifier: Apache-2.0
#include "eval/paired.h"

#include "base/memory.h"
#include "base/splitmix.h"

#include <math.h>
#include <stdlib.h>

double pc_mcnemar(uint64_t n_a, uint64_t n_b)
{
    double n = (double)n_a + (double)n_b, p = 0;
    uint64_t fewer = n_a < n_b ? n_a : n_b;
    // The lower tail, largest term last, so that nothing is lost against it.
    for (uint64_t k = 0; k <= fewer; k++)
        p += exp(lgamma(n + 1) - lgamma((double)k + 1) - lgamma(n - (double)k + 1) - n * log(2));
    return 2 * p < 1 ? 2 * p : 1;
}

void pc_wilson(double share, size_t n, double *low, double *high)
{
    const double z = 1.959963984540054, m = (double)n;
    double middle = (share + z * z / (2 * m)) / (1 + z * z / m),
           half = z / (1 + z * z / m) * sqrt(share * (1 - share) / m + z * z / (4 * m * m));
    *low = share <= 0 ? 0 : middle - half;
    *high = share >= 1 ? 1 : middle + half;
}

static int ascending(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

int pc_bootstrap(const double *differences, size_t n, int n_resamples, uint64_t seed, double *low,
    double *high, struct paco_error *err)
{
    *low = *high = (double)NAN;
    if (n < 2 || n > UINT32_MAX)
        return 0;
    double *means = pc_alloc((size_t)n_resamples, sizeof *means);
    if (!means)
        return pc_error_mem(err, (uint64_t)n_resamples * sizeof *means, "a bootstrap");
    for (int r = 0; r < n_resamples; r++) {
        double sum = 0;
        // The upper 32 bits times n: off from uniform by n in 2^32, less than what the resamples can show.
        for (size_t i = 0; i < n; i++)
            sum += differences[(pc_splitmix_next(&seed) >> 32) * n >> 32];
        means[r] = sum / (double)n;
    }
    qsort(means, (size_t)n_resamples, sizeof *means, ascending);
    *low = means[(size_t)(0.025 * n_resamples)];
    *high = means[(size_t)(0.975 * n_resamples) - 1];
    pc_free(means);
    return 0;
}
