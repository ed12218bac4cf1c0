// SPDX-License-Identifier: Apache-2.0
#include "kernels/matmul.h"

#include "kernels/x86/product_avx512.h"

#define MATMUL(name, type)                                                                                   \
    static void name(float *y, size_t y_stride, const float *x, size_t x_stride, size_t n_x, const void *w,  \
        size_t w_stride, size_t n_w, size_t k)                                                               \
    {                                                                                                        \
        product(type, &(struct product){.y = y,                                                              \
                          .y_stride = y_stride,                                                              \
                          .x = (const char *)x,                                                              \
                          .x_stride = x_stride * sizeof *x,                                                  \
                          .n_x = n_x,                                                                        \
                          .w = w,                                                                            \
                          .w_stride = w_stride,                                                              \
                          .n_w = n_w,                                                                        \
                          .k = k});                                                                          \
    }

MATMUL(matmul_f32, F32)
MATMUL(matmul_f16, F16)
MATMUL(matmul_bf16, BF16)

void pc_matmul_init_avx512(struct pc_matmul *table)
{
    *table = (struct pc_matmul){.f32 = matmul_f32, .f16 = matmul_f16, .bf16 = matmul_bf16};
}
