// SPDX-License-Identifier: Apache-2.0
/* A quad, four values of a row, is a word of four bytes here as in a tile, so that all is done on words, a
 * block of a row at a time; no operation looks across a byte, so the byte order does not matter. Layouts:
 * docs/formats/blocks.md, packed_layout.h. */
#include "kernels/packed_tiles.h"

#include "kernels/blocks.h"
#include "kernels/packed_layout.h"

#include <string.h>

static uint16_t u16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t quad_at(const uint8_t *p)
{
    uint32_t quad;
    memcpy(&quad, p, sizeof quad);
    return quad;
}

static inline void put_quad(uint8_t *p, int r, uint32_t quad)
{
    memcpy(p + 4 * r, &quad, sizeof quad);
}

static const uint32_t g_low = 0x0f0f0f0f;

/* Eight quads of 4-bit values, two to a byte. */
static inline void put_nibbles(uint8_t *q, int r, const uint32_t quad[8])
{
    for (int j = 0; j < 4; j++)
        put_quad(q + 64 * j, r, quad[2 * j] | quad[2 * j + 1] << 4);
}

/* What the types of 32 elements share: 16 bytes whose low halves are quads 0 to 3, whose high halves 4 to 7.
 */
static inline void put_halves(uint8_t *q, int r, const uint8_t *src)
{
    uint32_t quad[8];
    for (int j = 0; j < 4; j++) {
        quad[j] = quad_at(src + 4 * j) & g_low;
        quad[j + 4] = quad_at(src + 4 * j) >> 4 & g_low;
    }
    put_nibbles(q, r, quad);
}

/* What the K types share: 32 bytes whose low (shift 0) or high halves (shift 4) are eight quads. */
static inline void put_k_nibbles(uint8_t *q, int r, const uint8_t *src, int shift)
{
    uint32_t quad[8];
    for (int j = 0; j < 8; j++)
        quad[j] = quad_at(src + 4 * j) >> shift & g_low;
    put_nibbles(q, r, quad);
}

/* Bits 0, 4, 8 ... 28 side by side. */
static inline uint8_t every_fourth_bit(uint32_t v)
{
    v &= 0x11111111;
    v = (v | v >> 3) & 0x03030303;
    v = (v | v >> 6) & 0x000f000f;
    return (uint8_t)(v | v >> 12);
}

/* Four bytes whose bit e is the fifth bit of element e. */
static inline void put_fifths(uint8_t *high, int r, const uint8_t *src)
{
    uint32_t bits = (uint32_t)u16_at(src) | (uint32_t)u16_at(src + 2) << 16;
    for (int i = 0; i < 4; i++)
        high[4 * r + i] = every_fourth_bit(bits >> i);
}

/* Bits [shift, shift + n) of n_quads quads at src, the first quad's lowest in a byte. */
static inline uint32_t gathered(const uint8_t *src, int n_quads, int shift, int n)
{
    uint32_t mask = 0x01010101u * ((1u << n) - 1), sum = 0;
    for (int j = 0; j < n_quads; j++)
        sum |= (quad_at(src + 4 * j) >> shift & mask) << (n * j);
    return sum;
}

static inline void put_q4_0(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q4_0 *b = block;
    b->d[r] = u16_at(src);
    put_halves(b->q, r, src + 2);
}

static inline void put_q4_1(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q4_1 *b = block;
    b->d[r] = u16_at(src);
    b->m[r] = u16_at(src + 2);
    put_halves(b->q, r, src + 4);
}

static inline void put_q5_0(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q5_0 *b = block;
    b->d[r] = u16_at(src);
    put_fifths(b->high, r, src + 2);
    put_halves(b->q, r, src + 6);
}

static inline void put_q5_1(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q5_1 *b = block;
    b->d[r] = u16_at(src);
    b->m[r] = u16_at(src + 2);
    put_fifths(b->high, r, src + 4);
    put_halves(b->q, r, src + 8);
}

static inline void put_q8_0(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q8_0 *b = block;
    b->d[r] = u16_at(src);
    for (int j = 0; j < 8; j++)
        put_quad(b->q + 64 * j, r, quad_at(src + 2 + 4 * j) ^ 0x80808080);
}

static inline void put_q4_k(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q4_k *b = block;
    b->d[r] = u16_at(src);
    b->dmin[r] = u16_at(src + 2);
    for (int s = 0; s < 8; s++) {
        b->scale[s][r] = (uint8_t)pc_k_scale(src + 4, s);
        b->min[s][r] = (uint8_t)pc_k_min(src + 4, s);
        put_k_nibbles(b->part[s].q, r, src + 16 + s / 2 * 32, s % 2 * 4);
    }
}

static inline void put_q5_k(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q5_k *b = block;
    b->d[r] = u16_at(src);
    b->dmin[r] = u16_at(src + 2);
    for (int s = 0; s < 8; s++) {
        b->scale[s][r] = (uint8_t)pc_k_scale(src + 4, s);
        b->min[s][r] = (uint8_t)pc_k_min(src + 4, s);
        put_k_nibbles(b->part[s].q, r, src + 48 + s / 2 * 32, s % 2 * 4);
        put_quad(b->part[s].high, r, gathered(src + 16, 8, s, 1));
    }
}

static inline void put_q6_k(void *block, int r, const uint8_t *src)
{
    struct pc_tile_q6_k *b = block;
    b->d[r] = u16_at(src + 208);
    for (int g = 0; g < 16; g++)
        b->scale[g][r] = (int8_t)src[192 + g];
    for (int s = 0; s < 8; s++) {
        const uint8_t *high = src + 128 + s / 4 * 32;
        put_k_nibbles(b->part[s].q, r, src + s / 4 * 64 + s % 2 * 32, s % 4 / 2 * 4);
        put_quad(b->part[s].high, r, gathered(high, 4, s % 4 * 2, 2));
        put_quad(b->part[s].high + 64, r, gathered(high + 16, 4, s % 4 * 2, 2));
    }
}

/* A template: put and the sizes are constants of each caller. */
static inline void pack(void (*put)(void *block, int r, const uint8_t *src), size_t tile_block, size_t block,
    uint8_t *dst, const uint8_t *src, size_t src_row_size, size_t n_rows, size_t n_blocks)
{
    for (size_t first = 0; first < n_rows; first += PC_TILE_ROWS, src += PC_TILE_ROWS * src_row_size) {
        size_t n = n_rows - first < PC_TILE_ROWS ? n_rows - first : PC_TILE_ROWS;
        for (size_t i = 0; i < n_blocks; i++, dst += tile_block) {
            if (n < PC_TILE_ROWS)
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
