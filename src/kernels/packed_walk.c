// SPDX-License-Identifier: Apache-2.0
#include "kernels/packed_walk.h"

/* For a first level cache of 32 KiB or more and a second of 512 KiB or more: eight rows' piece of k is 64
 * KiB, a tile's 36 KiB of 4-bit weights, a row block's 512 KiB. */
enum {
    ROW_BLOCK = 64, /* activation rows in the second level cache */
    TILE_BLOCK = 8, /* tiles that meet a row block before it goes */
    K_PIECE = 128,  /* blocks of 32: a piece of k */
    AHEAD = 8192,   /* bytes: how early memory is asked for a tile that is read once */
};

/* A tile that is read once is asked for as it goes. Otherwise its first reading asks for the same piece of
 * the next tile: the processor's own prefetching stops at every turn back. */
void pc_packed_walk(void (*pass)(const struct pc_pass *pass), size_t tile_size, size_t n_rows, float *y,
    size_t y_stride, const void *xq, size_t n_x, const void *tiles, size_t n_out, size_t k)
{
    const size_t n_blocks = k / PC_QUANT_BLOCK, step = n_x > n_rows || !n_blocks ? K_PIECE : n_blocks,
                 x_stride = pc_quant_row_size(k) / sizeof(struct pc_quant_block),
                 n_columns = TILE_BLOCK * PC_TILE_ROWS;
    struct pc_pass p = {.x_stride = x_stride, .y_stride = y_stride};
    for (size_t first = 0; first < n_out; first += n_columns)
        for (p.from = 0; p.from == 0 || p.from < n_blocks; p.from += step)
            for (size_t i = 0; i < n_x; i += ROW_BLOCK)
                for (size_t j = first; j < n_out && j < first + n_columns; j += PC_TILE_ROWS) {
                    p.to = n_blocks - p.from < step ? n_blocks : p.from + step;
                    p.tile = (const char *)tiles + j / PC_TILE_ROWS * tile_size;
                    p.x = (const struct pc_quant_block *)xq + i * x_stride;
                    p.n_x = n_x - i < ROW_BLOCK ? n_x - i : ROW_BLOCK;
                    p.y = y + i * y_stride + j;
                    p.n_out = n_out - j < PC_TILE_ROWS ? n_out - j : PC_TILE_ROWS;
                    p.ahead = n_x <= n_rows ? AHEAD : i == 0 ? tile_size : 0;
                    pass(&p);
                }
}
