// SPDX-License-Identifier: Apache-2.0
#include "base/numpy_sum.h"

#include <string.h>

double pc_numpy_sum(const double *x, size_t n)
{
    double r[8], sum = 0;
    if (n < 8) {
        for (size_t i = 0; i < n; i++)
            sum += x[i];
        return sum;
    }
    if (n > 128) {
        size_t half = n / 2;
        half -= half % 8;
        return pc_numpy_sum(x, half) + pc_numpy_sum(x + half, n - half);
    }
    size_t i = 8;
    memcpy(r, x, sizeof r);
    for (; i < n - n % 8; i += 8)
        for (int k = 0; k < 8; k++)
            r[k] += x[i + (size_t)k];
    sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    for (; i < n; i++)
        sum += x[i];
    return sum;
}
