// SPDX-License-Identifier: Apache-2.0
/* The order in which a product of packed weights visits tiles, activation rows and k, whatever the
 * instruction set: a level writes `pass`, some rows by a piece of one tile, and has the rest from here.
 *
 * With more rows than fit in registers, a tile's piece of k stays in the first level cache for a block of
 * rows, and that block of rows in the second level for some tiles. Between pieces of k a sum waits in y: F32
 * there as in its register, so that no bit depends on it. */
#ifndef PC_KERNELS_PACKED_WALK_H
#define PC_KERNELS_PACKED_WALK_H

#include "kernels/packed_layout.h"

/* Blocks [from, to) of a tile by n_x rows. Sums start at 0 where from is 0, else at what y holds. */
struct pc_pass {
    const char *tile;
    size_t from, to;
    const struct pc_quant_block *x; /* the first row's first block */
    size_t x_stride, n_x;           /* blocks between rows */
    float *y;
    size_t y_stride, n_out; /* n_out: 1 to 16 */
    size_t ahead; /* the first rows to read a block should ask for what lies so many bytes behind it */
};

/* What calls the passes of a product; the other parameters are those of pc_packed_fn. n_rows is how many rows
 * a pass holds in registers. */
void pc_packed_walk(void (*pass)(const struct pc_pass *pass), size_t tile_size, size_t n_rows, float *y,
    size_t y_stride, const void *xq, size_t n_x, const void *tiles, size_t n_out, size_t k);

static inline bool pc_tile_is_k(enum pc_dtype type)
{
    return type == PC_Q4_K || type == PC_Q5_K || type == PC_Q6_K;
}

static inline size_t pc_tile_block_size(enum pc_dtype type)
{
    return type == PC_Q4_0   ? sizeof(struct pc_tile_q4_0)
           : type == PC_Q4_1 ? sizeof(struct pc_tile_q4_1)
           : type == PC_Q5_0 ? sizeof(struct pc_tile_q5_0)
           : type == PC_Q5_1 ? sizeof(struct pc_tile_q5_1)
           : type == PC_Q8_0 ? sizeof(struct pc_tile_q8_0)
           : type == PC_Q4_K ? sizeof(struct pc_tile_q4_k)
           : type == PC_Q5_K ? sizeof(struct pc_tile_q5_k)
                             : sizeof(struct pc_tile_q6_k);
}

/* multiply_NAME from `static void pass(enum pc_dtype type, const struct pc_pass *p)`, a template that is
 * inlined for each type. */
#define PC_MULTIPLY(name, type)                                                                              \
    static void pass_##name(const struct pc_pass *p)                                                         \
    {                                                                                                        \
        pass(type, p);                                                                                       \
    }                                                                                                        \
    static void multiply_##name(                                                                             \
        float *y, size_t y_stride, const void *xq, size_t n_x, const void *tiles, size_t n_out, size_t k)    \
    {                                                                                                        \
        pc_packed_walk(pass_##name, k / (pc_tile_is_k(type) ? 256 : 32) * pc_tile_block_size(type), N_ROWS,  \
            y, y_stride, xq, n_x, tiles, n_out, k);                                                          \
    }

#endif
