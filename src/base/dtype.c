// SPDX-License-Identifier: Apache-2.0
#include "base/dtype.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

static const struct pc_dtype_traits g_traits[PC_N_DTYPES] = {
    [PC_F32] = {"f32", "float32", 1, 4, true, false},
    [PC_F16] = {"f16", "float16", 1, 2, true, false},
    [PC_BF16] = {"bf16", "bfloat16", 1, 2, true, false},
    [PC_F64] = {"f64", "float64", 1, 8, true, false},
    [PC_F8_E4M3] = {"f8_e4m3", "float8_e4m3fn", 1, 1, true, false},
    [PC_F8_E5M2] = {"f8_e5m2", "float8_e5m2", 1, 1, true, false},
    [PC_I64] = {"i64", "int64", 1, 8, false, false},
    [PC_I32] = {"i32", "int32", 1, 4, false, false},
    [PC_I16] = {"i16", "int16", 1, 2, false, false},
    [PC_I8] = {"i8", "int8", 1, 1, false, false},
    [PC_U64] = {"u64", "uint64", 1, 8, false, false},
    [PC_U32] = {"u32", "uint32", 1, 4, false, false},
    [PC_U16] = {"u16", "uint16", 1, 2, false, false},
    [PC_U8] = {"u8", "uint8", 1, 1, false, false},
    [PC_BOOL] = {"bool", "bool", 1, 1, false, false},
    [PC_Q4_0] = {"q4_0", NULL, 32, 18, false, true},
    [PC_Q4_1] = {"q4_1", NULL, 32, 20, false, true},
    [PC_Q5_0] = {"q5_0", NULL, 32, 22, false, true},
    [PC_Q5_1] = {"q5_1", NULL, 32, 24, false, true},
    [PC_Q8_0] = {"q8_0", NULL, 32, 34, false, true},
    [PC_Q4_K] = {"q4_k", NULL, 256, 144, false, true},
    [PC_Q5_K] = {"q5_k", NULL, 256, 176, false, true},
    [PC_Q6_K] = {"q6_k", NULL, 256, 210, false, true},
};

const struct pc_dtype_traits *pc_dtype_traits(enum pc_dtype dtype)
{
    assert(dtype < PC_N_DTYPES);
    return &g_traits[dtype];
}

bool pc_dtype_parse(const char *name, enum pc_dtype *out)
{
    for (int i = 0; i < PC_N_DTYPES; i++)
        if (strcmp(g_traits[i].name, name) == 0) {
            *out = (enum pc_dtype)i;
            return true;
        }
    return false;
}

bool pc_dtype_size(enum pc_dtype dtype, uint64_t n_elements, uint64_t *size)
{
    const struct pc_dtype_traits *t = pc_dtype_traits(dtype);
    return n_elements % t->n_block == 0 && pc_mul_u64(n_elements / t->n_block, t->block_size, size);
}
