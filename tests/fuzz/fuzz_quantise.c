// SPDX-License-Identifier: Apache-2.0
/* Any 256 floats as a block of every type: refused, or finite numbers no further off than the block is wide,
 * and the same bytes with and without the processor's vectors. */
#include "kernels/convert.h"
#include "kernels/quantise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N = 256 };

static void check(enum pc_dtype dtype, const float *x)
{
    static struct pc_quantise plain;
    uint8_t blocks[2 * N], fast[2 * N];
    float y[N];
    if (!plain.affine)
        pc_quantise_init(&plain, 0);
    enum pc_quantise_result rc = pc_quantise_run(&plain, dtype, blocks, x, N);
    if (pc_quantise_run(pc_quantise(), dtype, fast, x, N) != rc)
        abort();
    if ((rc == PC_QUANTISE_NOT_FINITE) != (pc_convert()->count_nonfinite(x, N) > 0))
        abort();
    if (rc != PC_QUANTISE_OK)
        return;
    const struct pc_dtype_traits *t = pc_dtype_traits(dtype);
    if (memcmp(blocks, fast, N / t->n_block * t->block_size) != 0)
        abort();
    pc_convert()->to_f32[dtype](y, blocks, N);
    float most = 0;
    for (int i = 0; i < N; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    for (int i = 0; i < N; i++)
        if (!isfinite(y[i]) || fabsf(y[i] - x[i]) > 2 * most)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    float x[N] = {0};
    memcpy(x, data, size < sizeof x ? size : sizeof x);
    for (int d = 0; d < PC_N_DTYPES; d++)
        if (pc_quantise_knows((enum pc_dtype)d))
            check((enum pc_dtype)d, x);
    return 0;
}
