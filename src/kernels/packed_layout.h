// SPDX-License-Identifier: Apache-2.0
/* What lies in a tile and in a quantised row: for the files that implement packed.h.
 *
 * A tile is the blocks of its 16 rows, k ascending, each block one of the structures below. Within 32 values
 * of k, a *quad* is four consecutive ones; quad j of all rows is 64 bytes, row r's four at 4 r: one register
 * of AVX-512, two of AVX2, four of NEON. Values are unsigned: the types without a minimum have a bias added
 * (8, 16, 32, 128), which a product takes off again by starting its integer sum at bias * sum q.
 *
 *     values   q[64 * (j / 2) + 4 r + i]    nibble of element 4 j + i of row r; low for even j, high for odd
 *     fifths   high[4 r + i]                bit j is bit 4 of that element (Q5)
 *     fifths   high[64 * (j / 4) + 4 r + i] bits 2 (j % 4) and the next are its bits 4 and 5 (Q6)
 *     bytes    q[64 * j + 4 r + i]          the element (Q8) */
#ifndef PC_KERNELS_PACKED_LAYOUT_H
#define PC_KERNELS_PACKED_LAYOUT_H

#include "kernels/packed.h"

struct pc_tile_q4_0 {
    uint16_t d[16]; /* F16, as in the file; so are the others */
    uint8_t q[256]; /* + 8 */
};

struct pc_tile_q4_1 {
    uint16_t d[16], m[16];
    uint8_t q[256];
};

struct pc_tile_q5_0 {
    uint16_t d[16];
    uint8_t high[64];
    uint8_t q[256]; /* + 16 */
};

struct pc_tile_q5_1 {
    uint16_t d[16], m[16];
    uint8_t high[64];
    uint8_t q[256];
};

struct pc_tile_q8_0 {
    uint16_t d[16];
    uint8_t q[512]; /* + 128 */
};

struct pc_tile_q4_k {
    uint16_t d[16], dmin[16];
    uint8_t scale[8][16], min[8][16];
    struct {
        uint8_t q[256];
    } part[8]; /* of 32 elements */
};

struct pc_tile_q5_k {
    uint16_t d[16], dmin[16];
    uint8_t scale[8][16], min[8][16];
    struct {
        uint8_t high[64];
        uint8_t q[256];
    } part[8];
};

struct pc_tile_q6_k {
    uint16_t d[16];
    int8_t scale[16][16]; /* group of 16 elements, row */
    struct {
        uint8_t high[128];
        uint8_t q[256]; /* + 32 */
    } part[8];
};

/* A block of a quantised row: one cache line, with all a product wants to know of the block's sum. */
struct pc_quant_block {
    int8_t q[PC_QUANT_BLOCK];
    float d;
    float d_sum;     /* d * sum q, rounded once */
    int32_t less_8;  /* -8 * sum q: where a sum of values with that bias starts */
    int32_t less_16; /* likewise */
    int32_t less_128;
    int32_t less_32[2]; /* -32 * the sums of q[0..15] and q[16..31] */
    int32_t zero;
};
_Static_assert(sizeof(struct pc_quant_block) == 64, "one cache line");

/* A block whose largest magnitude is less counts as zeros. */
#define PC_QUANT_LEAST 0x1p-100f

#endif
