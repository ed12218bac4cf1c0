// SPDX-License-Identifier: Apache-2.0
/* Products with signs: the same bytes at every level, and in any company of rows and outputs. */
#include "checkasm.h"

#include "kernels/signs.h"

#include <string.h>

enum { MOST = 9 };

static void check_shape(
    const struct pc_signs *plain, const struct pc_signs *fast, size_t n_x, size_t n_w, size_t k)
{
    size_t n = n_x * n_w, stride = n_w;
    float *x = check_floats(n_x * k), *scale = check_floats(n_w);
    unsigned char *bits = check_buffer(n_w * k / 8, 1);
    float *want = check_buffer(n * sizeof *want, 0), *got = check_buffer(n * sizeof *got, 4);
    for (size_t i = 0; i < n_w * k / 8; i++)
        bits[i] = (unsigned char)check_random();
    for (size_t i = 0; i < n; i++)
        want[i] = got[i] = (float)i;
    struct pc_signs_call c = {
        .y = want, .y_stride = stride, .x = x, .n_x = n_x, .bits = bits, .scale = scale, .n_w = n_w, .k = k};
    plain->add(&c);
    c.y = got;
    fast->add(&c);
    check_same(want, got, n * sizeof *want, "%zu rows by %zu, k=%zu", n_x, n_w, k);
    for (size_t i = 0; i < n_x; i++) {
        for (size_t j = 0; j < n_w; j++)
            got[j] = (float)(i * n_w + j);
        c.x = x + i * k;
        c.n_x = 1;
        fast->add(&c);
        check_same(want + i * n_w, got, n_w * sizeof *want, "row %zu alone, k=%zu", i, k);
    }
    check_release();
}

void check_signs(void)
{
    struct pc_signs plain, fast;
    pc_signs_init(&plain, 0);
    for (const struct check_level *l = check_levels(); l->name; l++) {
        pc_signs_init(&fast, l->flags);
        check_case("signs", l);
        for (size_t n_x = 1; n_x <= MOST; n_x += 2)
            for (size_t n_w = 1; n_w <= MOST; n_w++)
                for (size_t k = 0; k <= 72; k += 8)
                    check_shape(&plain, &fast, n_x, n_w, k);
    }
}
