// SPDX-License-Identifier: Apache-2.0
/* The random choices upstream's subsets and demonstrations hang on, number for number: CPython's `random` and
 * NumPy's legacy RandomState, which share one generator (MT19937) and little else.
 *
 *     struct pc_py_random r;
 *     pc_py_seed(&r, 42);                            random.seed(42)
 *     pc_py_sample(&r, n, k, picked, &err);          random.sample(range(n), k)
 *
 *     pc_numpy_seed(&r, 42);                         r = numpy.random.RandomState(42)
 *     pc_numpy_permutation(&r, n, order, &err);      r.permutation(n)
 *
 * Source: CPython 3.10 `Lib/random.py` and `_randommodule.c`, NumPy 1.24 `mtrand.pyx` and
 * `legacy-distributions`; Matsumoto and Nishimura 1998. Neither project has changed these streams since
 * (CPython 3.12's sample differs only in what it accepts). One thread at a time. */
#ifndef PC_BASE_PY_RANDOM_H
#define PC_BASE_PY_RANDOM_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct pc_py_random {
    uint32_t state[624];
    int used; /* words of state handed out */
};

/** random.seed(seed) of an integer that is not negative. */
void pc_py_seed(struct pc_py_random *r, uint64_t seed);

/** The next 32 bits. */
uint32_t pc_py_next(struct pc_py_random *r);

/** A number below n, 1 <= n: draws of as many bits as n has, until one is small enough. */
uint32_t pc_py_below(struct pc_py_random *r, uint32_t n);

/** random.random(): a multiple of 2^-53 in [0, 1). */
double pc_py_uniform(struct pc_py_random *r);

/** The index that random.choices(range(n), weights)[0] picks; n >= 1, weights that are not negative. */
size_t pc_py_choice(struct pc_py_random *r, const double *weights, size_t n);

/** random.sample(range(n), k) into out (k indices, in the order drawn). k > n, or n above 2^32 - 1, is
 * PACO_EINVAL. */
int pc_py_sample(struct pc_py_random *r, size_t n, size_t k, size_t *out, struct paco_error *err);

/** numpy.random.RandomState(seed). */
void pc_numpy_seed(struct pc_py_random *r, uint32_t seed);

/** RandomState.permutation(n) into out; its first k are RandomState.choice(n, k, replace=False) and what
 * DataFrame.sample(k) picks. n above 2^32 - 1 is PACO_EINVAL. */
int pc_numpy_permutation(struct pc_py_random *r, size_t n, size_t *out, struct paco_error *err);

#endif
