// SPDX-License-Identifier: Apache-2.0
/* Quantised weights in tiles, and their product with quantised activations: what inference multiplies with.
 *
 * A matrix (n_out, k) of a block type is packed once: 16 output rows at a time become a tile, in which the
 * sixteen rows' values lie side by side, four consecutive k of a row in a 32-bit lane (packed_layout.h). An
 * activation row is quantised to INT8 in blocks of 32. Usual order of calls:
 *
 *     pc_packed_init(&table, pc_cpu_flags());
 *     uint8_t *tiles = alloc(pc_packed_size(&table, dtype, n_out, k));        // 64-byte aligned is fastest
 *     table.type[dtype].pack(tiles, rows, row_size, n_out, k);                // or some tiles per thread
 *     for each row i: table.quantise(xq + i * pc_quant_row_size(k), x + i * k, k);
 *     table.type[dtype].multiply(y, n_out, xq, n_x, tiles, n_out, k);         // or some tiles per thread
 *
 * Arithmetic (docs/design/numerics.md, docs/math/int8.md). Activations, per row and block of 32:
 *
 *     a = max |x|, d = a / 127, q = x * (127 / a) to nearest, ties to even
 *
 * so that q is in [-127, 127]. Where a is below 2^-100, d = 0 and q = 0: no product of scales is then a
 * denormal number, on which some processors take a hundred cycles. A block that holds a NaN or an infinity
 * has d = NaN and q = 0, and turns every output of its row into NaN. An output starts at 0 and takes the
 * blocks of 32 in ascending order:
 *
 *     acc = fmaf(dw * d, sum, acc)       sum = sum of w q over the block, an exact integer below 2^24
 *     acc = fmaf(m, d * sum q, acc)      only types with a minimum
 *
 * For the K types dw = d_super * scale and m = -(dmin * min), products that F32 holds exactly; Q6_K's two
 * scales of 16 go into the integer instead: sum = scale_0 * sum_0 + scale_1 * sum_1. Every output is
 * a lane of its own, so that every version gives the same bits (but for the payload of a NaN), whatever the
 * number of rows, the tile and the thread.
 *
 * Versions. The layout is part of the table: a level that wants another one than the scalar version's sets
 * block_size, pack and multiply of a type together; packed bytes never leave the process. (The common layout
 * was chosen with Arm in mind as well: four rows of a lane quad are what SDOT by element takes, and the two
 * nibbles of a byte belong to neighbouring quads, so that one ZIP of them is an operand of SMMLA.) */
#ifndef PC_KERNELS_PACKED_H
#define PC_KERNELS_PACKED_H

#include "base/dtype.h"

#include <stddef.h>
#include <stdint.h>

enum { PC_TILE_ROWS = 16, PC_QUANT_BLOCK = 32 };

/** Pack n_rows rows of k elements, src_row_size bytes apart, into ceil(n_rows / 16) tiles at dst. The rows a
 * last tile lacks become zeros. k is a multiple of the type's n_block. src needs no alignment, dst that of
 * uint16_t. Thread-safe on disjoint dst. */
typedef void pc_pack_fn(void *dst, const void *src, size_t src_row_size, size_t n_rows, size_t k);

/** y (n_x, n_out) = x w^T, y_stride floats between rows of y. xq holds n_x quantised rows,
 * pc_quant_row_size(k) bytes apart, at a multiple of 4; tiles the ceil(n_out / 16) tiles that begin with the
 * first output. Columns of y from n_out on are not touched. k may be 0: every output is then 0. Thread-safe
 * on disjoint y. */
typedef void pc_packed_fn(
    float *y, size_t y_stride, const void *xq, size_t n_x, const void *tiles, size_t n_out, size_t k);

struct pc_packed_type {
    size_t block_size;      /* bytes that n_block elements (pc_dtype_traits) of 16 rows take; 0: not packed */
    pc_pack_fn *pack;       /* NULL: not packed */
    pc_packed_fn *multiply; /* likewise */
};

struct pc_packed {
    /** Quantise k floats, a multiple of 32, into pc_quant_row_size(k) bytes at a multiple of 4. */
    void (*quantise)(void *dst, const float *x, size_t k);
    struct pc_packed_type type[PC_N_DTYPES];
};

/** Fill table with the scalar versions, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_packed_init(struct pc_packed *table, unsigned cpu_flags);

/** Bytes of a tile, and of a matrix of n_out rows: whole tiles. 0 for a type that is not packed. For the
 * sizes of matrices that lie in a file: a few percent more than there, so that nothing overflows. */
uint64_t pc_packed_tile_size(const struct pc_packed *table, enum pc_dtype dtype, uint64_t k);
uint64_t pc_packed_size(const struct pc_packed *table, enum pc_dtype dtype, uint64_t n_out, uint64_t k);

/** Bytes of a quantised row, all of which quantise writes: an odd number of cache lines, so that the rows a
 * kernel reads together do not compete for the same lines of the first level cache. */
size_t pc_quant_row_size(size_t k);

/* Each fills what it has; see packed.c. */
void pc_packed_init_avx2(struct pc_packed *table);
void pc_packed_init_avx_vnni(struct pc_packed *table);
void pc_packed_init_avx512_vnni(struct pc_packed *table);
void pc_packed_init_neon(struct pc_packed *table);
void pc_packed_init_dotprod(struct pc_packed *table);
void pc_packed_init_i8mm(struct pc_packed *table);

#endif
