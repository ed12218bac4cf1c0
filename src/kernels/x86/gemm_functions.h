// SPDX-License-Identifier: Apache-2.0
/* gemm.h's functions of one operand, whatever the width of vectors: made of an instruction set's own
 * turn_rows, copy_columns and multiply, each an instance for every type there is. */
#ifndef PC_KERNELS_GEMM_FUNCTIONS_H
#define PC_KERNELS_GEMM_FUNCTIONS_H

#include "kernels/gemm.h"

/* Elements of a step: one float, or a pair of BF16. */
enum operand { FLOATS = 1, PAIRS = 2 };

/* The functions of one operand as g_NAME; T is FLOATS or PAIRS. */
#define GEMM(T, NAME)                                                                                        \
    static void pack_rows_##NAME(                                                                            \
        void *panel, const void *rows, enum pc_dtype dtype, size_t stride, size_t n, size_t k)               \
    {                                                                                                        \
        if (dtype == PC_F32)                                                                                 \
            turn_rows(T, PC_F32, panel, rows, stride, n, k);                                                 \
        else                                                                                                 \
            turn_rows(T, PC_BF16, panel, rows, stride, n, k);                                                \
    }                                                                                                        \
    static void pack_columns_##NAME(                                                                         \
        void *panel, const void *rows, enum pc_dtype dtype, size_t stride, size_t n, size_t k)               \
    {                                                                                                        \
        if (dtype == PC_F32)                                                                                 \
            copy_columns(T, PC_F32, panel, rows, stride, n, k);                                              \
        else                                                                                                 \
            copy_columns(T, PC_BF16, panel, rows, stride, n, k);                                             \
    }                                                                                                        \
    static void multiply_##NAME(const struct pc_gemm_call *call)                                             \
    {                                                                                                        \
        multiply(T, call);                                                                                   \
    }                                                                                                        \
    static const struct pc_gemm_type g_##NAME = {.step = T,                                                  \
        .pack_rows = pack_rows_##NAME,                                                                       \
        .pack_columns = pack_columns_##NAME,                                                                 \
        .multiply = multiply_##NAME};

#endif
