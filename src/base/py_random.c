// SPDX-License-Identifier: Apache-2.0
#include "base/py_random.h"

#include "base/memory.h"

#include <stdbool.h>

enum { N = 624, M = 397 };

static void init_genrand(struct pc_py_random *r, uint32_t seed)
{
    uint32_t *s = r->state;
    s[0] = seed;
    for (uint32_t i = 1; i < N; i++)
        s[i] = 1812433253u * (s[i - 1] ^ s[i - 1] >> 30) + i;
    r->used = N;
}

/* init_by_array, for keys no longer than the state. */
static void init_by_array(struct pc_py_random *r, const uint32_t *key, int n_key)
{
    init_genrand(r, 19650218u);
    uint32_t *s = r->state;
    int i = 1;
    for (int k = 0; k < N; k++) {
        int j = k % n_key;
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1664525u) + key[j] + (uint32_t)j;
        if (++i >= N) {
            s[0] = s[N - 1];
            i = 1;
        }
    }
    for (int k = 0; k < N - 1; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1566083941u) - (uint32_t)i;
        if (++i >= N) {
            s[0] = s[N - 1];
            i = 1;
        }
    }
    s[0] = 0x80000000u;
}

void pc_py_seed(struct pc_py_random *r, uint64_t seed)
{
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    init_by_array(r, key, key[1] ? 2 : 1);
}

void pc_numpy_seed(struct pc_py_random *r, uint32_t seed)
{
    init_genrand(r, seed);
}

static void twist(struct pc_py_random *r)
{
    uint32_t *s = r->state;
    for (int i = 0; i < N; i++) {
        uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % N] & 0x7fffffffu);
        s[i] = s[(i + M) % N] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    r->used = 0;
}

uint32_t pc_py_next(struct pc_py_random *r)
{
    if (r->used >= N)
        twist(r);
    uint32_t y = r->state[r->used++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

uint32_t pc_py_below(struct pc_py_random *r, uint32_t n)
{
    int bits = 0;
    for (uint32_t rest = n; rest; rest >>= 1)
        bits++;
    for (;;) {
        uint32_t x = pc_py_next(r) >> (32 - bits);
        if (x < n)
            return x;
    }
}

double pc_py_uniform(struct pc_py_random *r)
{
    uint32_t a = pc_py_next(r) >> 5, b = pc_py_next(r) >> 6;
    return (a * 67108864.0 + b) / 9007199254740992.0;
}

/* Bisection on the right in the sums so far, taken from left to right. */
size_t pc_py_choice(struct pc_py_random *r, const double *weights, size_t n)
{
    double total = 0, sum = 0;
    for (size_t i = 0; i < n; i++)
        total += weights[i];
    double u = pc_py_uniform(r) * total;
    for (size_t i = 0; i + 1 < n; i++) {
        sum += weights[i];
        if (sum > u)
            return i;
    }
    return n - 1;
}

/* Take from a pool, whose last item fills each gap. */
static void sample_pool(struct pc_py_random *r, size_t *pool, size_t n, size_t k, size_t *out)
{
    for (size_t i = 0; i < n; i++)
        pool[i] = i;
    for (size_t i = 0; i < k; i++) {
        uint32_t j = pc_py_below(r, (uint32_t)(n - i));
        out[i] = pool[j];
        pool[j] = pool[n - i - 1];
    }
}

/* Draw until unseen. */
static void sample_set(struct pc_py_random *r, bool *seen, size_t n, size_t k, size_t *out)
{
    for (size_t i = 0; i < k; i++) {
        uint32_t j;
        do
            j = pc_py_below(r, (uint32_t)n);
        while (seen[j]);
        seen[j] = true;
        out[i] = j;
    }
}

int pc_py_sample(struct pc_py_random *r, size_t n, size_t k, size_t *out, struct paco_error *err)
{
    if (k > n || n > UINT32_MAX)
        return pc_error_set(err, PACO_EINVAL, "a sample of %zu from %zu", k, n);
    // The size of a small set less the size of an empty list, as CPython weighs the two.
    size_t set_size = 21, table = 1;
    if (k > 5) {
        while (table < 3 * k)
            table *= 4;
        set_size += table;
    }
    bool pool = n <= set_size;
    size_t item = pool ? sizeof(size_t) : sizeof(bool);
    void *work = pc_alloc_zero(n, item);
    if (!work)
        return pc_error_mem(err, (uint64_t)n * item, "a random sample");
    if (pool)
        sample_pool(r, work, n, k, out);
    else
        sample_set(r, work, n, k, out);
    pc_free(work);
    return 0;
}

/* A number from 0 to max: draws masked to as many bits as max has. */
static uint32_t up_to(struct pc_py_random *r, uint32_t max)
{
    uint32_t mask = max, x;
    if (max == 0)
        return 0;
    for (int shift = 1; shift < 32; shift *= 2)
        mask |= mask >> shift;
    do
        x = pc_py_next(r) & mask;
    while (x > max);
    return x;
}

int pc_numpy_permutation(struct pc_py_random *r, size_t n, size_t *out, struct paco_error *err)
{
    if (n > UINT32_MAX)
        return pc_error_set(err, PACO_EINVAL, "a permutation of %zu", n);
    for (size_t i = 0; i < n; i++)
        out[i] = i;
    for (size_t i = n; i-- > 1;) {
        uint32_t j = up_to(r, (uint32_t)i);
        size_t held = out[i];
        out[i] = out[j];
        out[j] = held;
    }
    return 0;
}
