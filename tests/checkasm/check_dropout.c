// SPDX-License-Identifier: Apache-2.0
/* Dropout: the same bytes at every level, as many dropped as asked, and other ones under another key. */
#include "checkasm.h"

#include "kernels/dropout.h"

#include <string.h>

static void check_length(const struct pc_dropout *plain, const struct pc_dropout *fast, size_t n)
{
    float *x = check_floats(n), *want = check_buffer(n * sizeof *want, 0),
          *got = check_buffer(n * sizeof *got, n % 16 * 4);
    uint64_t key = check_random();
    uint32_t threshold = (uint32_t)check_random();
    plain->apply(want, x, n, key, threshold, 1.25f);
    fast->apply(got, x, n, key, threshold, 1.25f);
    check_same(want, got, n * sizeof *want, "n=%zu", n);
    fast->apply(x, x, n, key, threshold, 1.25f);
    check_same(want, x, n * sizeof *want, "n=%zu in place", n);
    check_release();
}

/* Of 64 rows with neighbouring keys, by row and by column. */
static void check_rate(const struct pc_dropout *fast, double p)
{
    enum { ROWS = 64, N = 1024 };
    static float x[N], out[ROWS][N];
    int dropped = 0, both = 0;
    for (int i = 0; i < N; i++)
        x[i] = 1;
    for (int t = 0; t < ROWS; t++)
        fast->apply(out[t], x, N, pc_dropout_key(7, (uint64_t)t), (uint32_t)(p * 0x1p32), 2);
    for (int t = 0; t < ROWS; t++)
        for (int i = 0; i < N; i++) {
            dropped += out[t][i] <= 0;
            both += t > 0 && out[t][i] <= 0 && out[t - 1][i] <= 0;
        }
    double n = ROWS * N, rate = dropped / n, together = both / (n - N);
    if (!(rate > p - 0.01 && rate < p + 0.01 && together > p * p - 0.01 && together < p * p + 0.01))
        check_fail("p=%g: %g dropped, %g in neighbouring rows", p, rate, together);
}

void check_dropout(void)
{
    struct pc_dropout plain, fast;
    pc_dropout_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_dropout_init(&fast, l->flags);
        check_case("dropout", l);
        for (size_t n = 0; n < 100; n++)
            check_length(&plain, &fast, n);
        check_rate(&fast, 0.05);
        check_rate(&fast, 0.5);
    }
}
