// SPDX-License-Identifier: Apache-2.0
#include "kernels/beside.h"

#include "base/cpu.h"

#include <string.h>

static void add_factor(const struct pc_beside_call *call)
{
    pc_beside_factor_loop(call);
}

static void add_signs(const struct pc_beside_call *call)
{
    pc_beside_signs_loop(call);
}

/* Elements [at, at + n) of row `row` of a tile's block. */
static void pack_block(struct pc_beside_block *b, size_t row, const float *w, size_t n)
{
    float most = 0;
    for (size_t e = 0; e < n; e++)
        most = fmaxf(most, fabsf(w[e]));
    b->d[row] = pc_f32_to_f16(most / 127);
    float d = pc_f16_to_f32(b->d[row]);
    for (size_t e = 0; e < (n + 3) / 4 * 4; e++) {
        float q = e < n && d > 0 ? rintf(w[e] / d) : 0;
        b->q[e / 4 * 64 + 4 * row + e % 4] = (uint8_t)(128 + (int)fminf(fmaxf(q, -127), 127));
    }
}

void pc_beside_pack_factor(void *tiles, const float *w, size_t n_out, size_t k)
{
    size_t size = pc_beside_factor_tile(k);
    memset(tiles, 0, pc_beside_factor_size(n_out, k));
    for (size_t j = 0; j < n_out; j++) {
        unsigned char *block = (unsigned char *)tiles + j / PC_TILE_ROWS * size;
        for (size_t at = 0; at < k; at += PC_QUANT_BLOCK) {
            size_t n = k - at < PC_QUANT_BLOCK ? k - at : PC_QUANT_BLOCK;
            pack_block((void *)block, j % PC_TILE_ROWS, w + j * k + at, n);
            block += pc_beside_block_size(pc_beside_quads(k, at));
        }
    }
}

void pc_beside_pack_signs(void *tiles, const unsigned char *bits, size_t n_out, size_t k)
{
    memset(tiles, 0, pc_beside_signs_size(n_out, k));
    for (size_t j = 0; j < n_out; j++) {
        struct pc_beside_bits *b = (struct pc_beside_bits *)tiles + j / PC_TILE_ROWS * (k / PC_QUANT_BLOCK);
        for (size_t quad = 0; quad < k / 4; quad++) {
            uint64_t four = bits[j * (k / 8) + quad / 2] >> (quad % 2 * 4) & 15;
            b[quad / 8].quad[quad % 8] |= four << (4 * (j % PC_TILE_ROWS));
        }
    }
}

void pc_beside_init(struct pc_beside *table, unsigned cpu_flags)
{
    *table = (struct pc_beside){add_factor, add_signs};
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_beside_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512_VNNI
    if (!(cpu_flags & PC_CPU_AVX512_VNNI))
        return;
    pc_beside_init_avx512_vnni(table);
#endif
    (void)cpu_flags;
}
