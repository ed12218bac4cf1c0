// SPDX-License-Identifier: Apache-2.0
#include "checkasm.h"

#include "kernels/limits.h"

enum { MAX_LINES = 40 };

static void check_read(
    const struct pc_limits *plain, const struct pc_limits *fast, const struct check_level *l)
{
    check_case("read", l);
    for (size_t n = 0; n < MAX_LINES; n++) {
        uint64_t *p = check_buffer(n * PC_LIMITS_LINE, 0);
        for (size_t i = 0; i < n * PC_LIMITS_LINE / sizeof *p; i++)
            p[i] = check_random();
        uint64_t want = plain->read(p, n), got = fast->read(p, n);
        check_same(&want, &got, sizeof want, "%zu lines", n);
        check_release();
    }
}

/* With ones every product adds one: n rounds are n times one round, and factors count. */
static void check_count(
    const char *name, const struct check_level *l, double one, double many, double scaled, int64_t n)
{
    check_case(name, l);
    if (!(one >= 8) || many != one * (double)n || scaled != 3 * many)
        check_fail(
            "one round gives %g, %lld rounds %g, with a factor of 3 %g", one, (long long)n, many, scaled);
}

void check_limits(void)
{
    struct pc_limits plain, fast;
    pc_limits_init(&plain, 0);
    const int64_t n = 1001;
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_limits_init(&fast, l->flags);
        check_read(&plain, &fast, l);
        check_count("fma_f32", l, fast.fma_f32(1, 1, 1), fast.fma_f32(n, 1, 1), fast.fma_f32(n, 3, 1), n);
        if (fast.dot_bf16)
            check_count(
                "dot_bf16", l, fast.dot_bf16(1, 1, 1), fast.dot_bf16(n, 1, 1), fast.dot_bf16(n, 1, 3), n);
        if (fast.dot_int8)
            check_count(
                "dot_int8", l, fast.dot_int8(1, 1, 1), fast.dot_int8(n, 1, 1), fast.dot_int8(n, 1, 3), n);
    }
}
