// SPDX-License-Identifier: Apache-2.0
/* Block by block, row by row; the tile is zero before, so that values are or-ed in and a missing row stays
 * zero, scale and all. Layouts: docs/formats/blocks.md, packed_layout.h. */
#include "kernels/packed_tiles.h"

#include "kernels/blocks.h"
#include "kernels/packed_layout.h"

#include <string.h>

static uint16_t u16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/* 4-bit value v of element e of row r. */
static void put_4(uint8_t *q, int r, int e, int v)
{
    q[e / 8 * 64 + 4 * r + e % 4] |= (uint8_t)(v << (e / 4 % 2 * 4));
}

static void put_fifth(uint8_t *high, int r, int e, int bit)
{
    high[4 * r + e % 4] |= (uint8_t)(bit << (e / 4));
}

/* The 16 bytes of nibbles that the types of 32 elements share. */
static void put_nibbles(uint8_t *q, int r, const uint8_t *src)
{
    for (int e = 0; e < 16; e++) {
        put_4(q, r, e, src[e] & 15);
        put_4(q, r, e + 16, src[e] >> 4);
    }
}

static void put_fifths(uint8_t *high, int r, const uint8_t *src)
{
    for (int e = 0; e < 32; e++)
        put_fifth(high, r, e, src[e / 8] >> (e % 8) & 1);
}

static void put_q4_0(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q4_0 *b = block;
    b->d[r] = u16_at(src);
    put_nibbles(b->q, r, src + 2);
}

static void put_q4_1(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q4_1 *b = block;
    b->d[r] = u16_at(src);
    b->m[r] = u16_at(src + 2);
    put_nibbles(b->q, r, src + 4);
}

static void put_q5_0(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q5_0 *b = block;
    b->d[r] = u16_at(src);
    put_fifths(b->high, r, src + 2);
    put_nibbles(b->q, r, src + 6);
}

static void put_q5_1(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q5_1 *b = block;
    b->d[r] = u16_at(src);
    b->m[r] = u16_at(src + 2);
    put_fifths(b->high, r, src + 4);
    put_nibbles(b->q, r, src + 8);
}

static void put_q8_0(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q8_0 *b = block;
    b->d[r] = u16_at(src);
    for (int e = 0; e < 32; e++)
        b->q[e / 4 * 64 + 4 * r + e % 4] = src[2 + e] ^ 128;
}

static void put_q4_k(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q4_k *b = block;
    b->d[r] = u16_at(src);
    b->dmin[r] = u16_at(src + 2);
    for (int s = 0; s < 8; s++) {
        b->scale[s][r] = (uint8_t)pc_k_scale(src + 4, s);
        b->min[s][r] = (uint8_t)pc_k_min(src + 4, s);
        for (int e = 0; e < 32; e++)
            put_4(b->part[s].q, r, e, src[16 + s / 2 * 32 + e] >> (s % 2 * 4) & 15);
    }
}

static void put_q5_k(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q5_k *b = block;
    b->d[r] = u16_at(src);
    b->dmin[r] = u16_at(src + 2);
    for (int s = 0; s < 8; s++) {
        b->scale[s][r] = (uint8_t)pc_k_scale(src + 4, s);
        b->min[s][r] = (uint8_t)pc_k_min(src + 4, s);
        for (int e = 0; e < 32; e++) {
            put_4(b->part[s].q, r, e, src[48 + s / 2 * 32 + e] >> (s % 2 * 4) & 15);
            put_fifth(b->part[s].high, r, e, src[16 + e] >> s & 1);
        }
    }
}

static void put_q6_k(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q6_k *b = block;
    b->d[r] = u16_at(src + 208);
    for (int g = 0; g < 16; g++)
        b->scale[g][r] = (int8_t)src[192 + g];
    for (int s = 0; s < 8; s++)
        for (int e = 0; e < 32; e++) {
            int low = src[s / 4 * 64 + s % 2 * 32 + e] >> (s % 4 / 2 * 4) & 15,
                high = src[128 + s / 4 * 32 + e] >> (s % 4 * 2) & 3;
            put_4(b->part[s].q, r, e, low);
            b->part[s].high[e / 16 * 64 + 4 * r + e % 4] |= (uint8_t)(high << (e / 4 % 4 * 2));
        }
}

/* A template: put and the sizes are constants of each caller. */
static inline void pack(void (*put)(void *block, int r, const uint8_t *src), size_t tile_block, size_t block,
    uint8_t *dst, const uint8_t *src, size_t src_row_size, size_t n_rows, size_t n_blocks)
{
    for (size_t first = 0; first < n_rows; first += PC_TILE_ROWS, src += PC_TILE_ROWS * src_row_size) {
        size_t n = n_rows - first < PC_TILE_ROWS ? n_rows - first : PC_TILE_ROWS;
        for (size_t i = 0; i < n_blocks; i++, dst += tile_block) {
            memset(dst, 0, tile_block);
            for (size_t r = 0; r < n; r++)
                put(dst, (int)r, src + r * src_row_size + i * block);
        }
    }
}

#define PACK(type, n_block, block)                                                                           \
    void pc_pack_##type(void *dst, const void *src, size_t src_row_size, size_t n_rows, size_t k)            \
    {                                                                                                        \
        pack(put_##type, sizeof(struct pc_tile_##type), block, dst, src, src_row_size, n_rows,               \
            k / (n_block));                                                                                  \
    }

PACK(q4_0, 32, 18)
PACK(q4_1, 32, 20)
PACK(q5_0, 32, 22)
PACK(q5_1, 32, 24)
PACK(q8_0, 32, 34)
PACK(q4_k, 256, 144)
PACK(q5_k, 256, 176)
PACK(q6_k, 256, 210)
