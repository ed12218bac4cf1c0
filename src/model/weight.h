// SPDX-License-Identifier: Apache-2.0
/* A weight matrix and the arithmetic it is multiplied with.
 *
 * What is multiplied as the file has it (F32, F16, BF16 in a mapped file) stays there. Anything else gets
 * memory of its own, filled on first use by all workers, a run of rows at a time, by reads instead of a
 * mapping: so resident memory is what is kept, and bad sectors are errors. */
#ifndef PC_MODEL_WEIGHT_H
#define PC_MODEL_WEIGHT_H

#include "base/threads.h"
#include "format/checkpoint.h"
#include "kernels/kernels.h"

enum pc_weight_class {
    PC_CLASS_F32,      /* F32, F16 or BF16 by kernels/matmul.h, activations in F32 */
    PC_CLASS_BF16,     /* BF16 by kernels/bf16.h, activations rounded to BF16 */
    PC_CLASS_INT8,     /* tiles of kernels/packed.h, activations quantised to INT8 */
    PC_CLASS_LLM_INT8, /* tiles of kernels/llm_int8.h, whatever the type: it is rounded to F16 first */
    PC_CLASS_PANELS, /* any type, rounded to BF16 while it is multiplied by kernels/gemm.h; activations too */
    PC_CLASS_WIDENED, /* turned into F32 a tile at a time, exactly, then kernels/matmul.h */
    PC_N_CLASSES
};

/** "f32", "bf16", "int8", "llm.int8", "bf16 panels", "widened f32". Static. */
const char *pc_weight_class_name(enum pc_weight_class arithmetic);

struct pc_weight {
    const struct pc_tensor *source;
    enum pc_weight_class arithmetic;
    enum pc_dtype dtype;
    size_t n_out, n_in;
    size_t row_size;           /* bytes of a row in dtype */
    const unsigned char *data; /* (n_out, n_in) row-major in dtype on any address, or packed tiles */
    unsigned char *own;        /* where data is to be made; NULL when it is mapped */
    const float *bias;         /* (n_out), or NULL */
};

/** How matrices are to be multiplied. */
enum pc_products {
    PC_PRODUCTS_FAST,       /* as is fastest for the weights' type */
    PC_PRODUCTS_F32,        /* F32 arithmetic whatever the type */
    PC_PRODUCTS_TRAIN_BF16, /* BF16 operands whatever the type, F32 sums: for many rows, and for gradients */
    PC_PRODUCTS_LLM_INT8, /* as loaded with load_in_8bit: kernels/llm_int8.h (rows it is too narrow for: F32)
                           */
};

/** A matrix of tensor t (two dimensions). */
struct pc_weight pc_weight_of(
    const struct pc_tensor *t, const struct pc_kernels *kernels, enum pc_products products);

/** Whether it is multiplied in another layout than the file's. */
static inline bool pc_weight_is_packed(const struct pc_weight *w)
{
    return w->arithmetic == PC_CLASS_INT8 || w->arithmetic == PC_CLASS_LLM_INT8;
}

/** What a worker needs for each row of a packed weight while it packs a run of them, at most. */
uint64_t pc_weight_fill_row(const struct pc_weight *w);

/** Bytes of memory of its own the weight takes when it is mapped or not: its tiles or its copy. */
uint64_t pc_weight_own_size(const struct pc_weight *w, const struct pc_kernels *kernels, bool mapped);

/** Rows [first, first + n) as the file has them. Thread-safe. */
int pc_weight_read(const struct pc_weight *w, size_t first, size_t n, void *out, struct paco_error *err);

/** Read, and pack where tiles are wanted, all of n weights whose own is set; data is set then. Those that
 * stay in the file are held against its sums (pc_tensor_check). One round of the pool. Errors are those of
 * the first read that failed; nothing else runs after it. Allocates a buffer for each worker, and frees it.
 */
int pc_weights_fill(struct pc_weight *const *weights, size_t n, const struct pc_kernels *kernels,
    struct pc_pool *pool, struct paco_error *err);

/** Bytes those buffers take together, at most; largest_row by pc_weight_fill_row. */
uint64_t pc_weights_fill_size(uint64_t largest_row, int n_workers);

#endif
