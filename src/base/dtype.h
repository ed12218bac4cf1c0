// SPDX-License-Identifier: Apache-2.0
/* Element types: enough to bound sizes without knowing how to compute with them.
 *
 * Block types (Q8_0 ...) store n_block consecutive elements of a row in block_size bytes; plain types have
 * n_block = 1. A row of a block type must be a whole number of blocks. Layouts: docs/formats/blocks.md. */
#ifndef PC_BASE_DTYPE_H
#define PC_BASE_DTYPE_H

#include <stdbool.h>
#include <stdint.h>

enum pc_dtype {
    PC_F32,
    PC_F16,
    PC_BF16,
    PC_F64,
    PC_F8_E4M3,
    PC_F8_E5M2,
    PC_I64,
    PC_I32,
    PC_I16,
    PC_I8,
    PC_U64,
    PC_U32,
    PC_U16,
    PC_U8,
    PC_BOOL,
    PC_Q4_0,
    PC_Q4_1,
    PC_Q5_0,
    PC_Q5_1,
    PC_Q8_0,
    PC_Q4_K,
    PC_Q5_K,
    PC_Q6_K,
    PC_N_DTYPES
};

struct pc_dtype_traits {
    const char *name;       /* as paco prints it and takes it on the command line: "f32", "q4_0" */
    const char *torch_name; /* as config.json's torch_dtype spells it, or NULL */
    uint32_t n_block;       /* elements in a block */
    uint32_t block_size;    /* bytes of a block */
    bool is_float;          /* plain floating point */
    bool is_quant;          /* block-quantised */
};

/** Traits of a dtype; static storage. dtype must be below PC_N_DTYPES. */
const struct pc_dtype_traits *pc_dtype_traits(enum pc_dtype dtype);

static inline const char *pc_dtype_name(enum pc_dtype dtype)
{
    return pc_dtype_traits(dtype)->name;
}

/** Look a dtype up by paco's name. Returns false if there is none. */
bool pc_dtype_parse(const char *name, enum pc_dtype *out);

/** Bytes of n_elements consecutive elements. False if they are no whole number of blocks or the size
 * overflows. */
bool pc_dtype_size(enum pc_dtype dtype, uint64_t n_elements, uint64_t *size);

#endif
