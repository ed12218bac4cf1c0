// SPDX-License-Identifier: Apache-2.0
/* Tests of whether two models differ on the same items, and how far a share may be off: what means alone do
 * not say. */
#ifndef PC_EVAL_PAIRED_H
#define PC_EVAL_PAIRED_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/** McNemar's exact test, two-sided: how likely a split at least as uneven as n_a to n_b is, where each of the
 * n_a + n_b items on which exactly one of two equal models is right falls to either by chance. 1 for none.
 * Source: McNemar 1947; the exact (binomial) form. */
double pc_mcnemar(uint64_t n_a, uint64_t n_b);

/** Wilson's 95 % interval of a share of n, in [0, 1] as the share: what stands for a standard error where all
 * n came out alike, for 0 would say too much. Source: Wilson 1927. */
void pc_wilson(double share, size_t n, double *low, double *high);

/** The 95 % interval of the mean of n differences by the percentile bootstrap, n_resamples times with
 * replacement, drawn from seed: the same numbers give the same interval. NAN for n below 2.
 * Errors: PACO_EMEM. Source: Efron 1979. */
int pc_bootstrap(const double *differences, size_t n, int n_resamples, uint64_t seed, double *low,
    double *high, struct paco_error *err);

#endif
