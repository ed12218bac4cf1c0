// SPDX-License-Identifier: Apache-2.0
/* Attention over a cache of keys and values that lies in tiles of PC_KV_BLOCK positions.
 *
 * Tile i of a head holds positions [32 i, 32 i + 32), and PC_KV_SEGMENT / 32 tiles are a segment. The softmax
 * runs over the tiles of a segment in ascending order (Milakov and Gimelshein 2018; Dao et al. 2022), and the
 * segments join in ascending order; both are counted from the sequence's start. So a query's result depends
 * on its own position and the keys before it, never on where a chunk of the prompt began, who else is in the
 * batch, or which threads did which segments. For the queries of a piece and one key/value head:
 *
 *     for each segment: begin(part); fold(part, q, tiles ...); first ? total = part : join(total, part)
 *     end(out, total)
 *
 * Keys and values are rounded to the cache type when they are stored, before any use: to nearest, ties to
 * even, denormals included. F32, F16, BF16, or Q8_0: 8-bit integers with an F16 scale per position and 32
 * elements of the head (the last such block may be shorter). F16 and Q8_0's scale do not overflow: what is
 * finite becomes at most 65504. A NaN or an infinity in a Q8_0 block makes its scale NaN.
 *
 * Per query and tile, with k and v widened to F32:
 *
 *     s[j]   = scale * sum over d ascending of fmaf(q[d], k[d][j])              j < n_keys
 *     m'     = max(m, max s),  c = e^(m - m'),  p[j] = e^(s[j] - m')            0 for j >= n_keys
 *     sum'   = fmaf(sum, c, joined p): p[j] + p[j + 16], + 8, + 4, + 2, + 1
 *     acc'   = acc * c, then fmaf(p[j], v[j][d]) for j ascending, j < n_keys
 *
 *     Q8_0   sum over each block's d from 0, then s = fmaf(scale of k[b][j], block's sum, s), b ascending;
 *            p[j] * scale of v[b][j], rounded, takes the place of p[j] in the last line
 *     BF16   q and p are rounded to BF16 too, sum' sums the rounded p, and the sums over d and j take pairs:
 *            the odd element's fmaf, then the even one's, zero where j >= n_keys; denormals count as zeros
 *
 * F32, F16 and Q8_0 give the same bits at every level. BF16 uses `vdpbf16ps` where there is one and is its
 * own class at each level: checkasm holds all of them to the same bound. docs/math/attention.md. */
#ifndef PC_KERNELS_ATTENTION_H
#define PC_KERNELS_ATTENTION_H

#include "base/dtype.h"

#include <stddef.h>
#include <stdint.h>

enum { PC_KV_BLOCK = 32, PC_KV_SEGMENT = 256, PC_KV_SEGMENT_TILES = PC_KV_SEGMENT / PC_KV_BLOCK };

/** Bytes of a key tile, and of a value tile, of heads of head_dim (even) elements: a multiple of 64. 0: the
 *  cache cannot have this type. */
size_t pc_kv_tile_size(enum pc_dtype type, size_t head_dim);

/** A key tile and a value tile, each on a multiple of 64 bytes. Layouts, D = head_dim, B = ceil(D / 32):
 *
 *     F32, F16  k (D, 32)                       v (32, D)
 *     BF16      k (D / 2, 32, 2)                v (16, D, 2): pairs, as vdpbf16ps takes them
 *     Q8_0      k (D, 32) int8, (B, 32) F16     v (32, D) int8, (B, 32) F16
 *
 *  Keys are stored transposed, so that a tile's scores are a vector operation per d. */
struct pc_kv_tile {
    void *k, *v;
};

/** The running softmax of n queries: acc (n, D), max (n), sum (n). */
struct pc_attention_state {
    float *acc, *max, *sum;
};

/** What works on one cache type. Thread-safe on disjoint outputs. */
struct pc_attention_type {
    /** Put the keys (n, D) and values (n, D), rows of `stride` floats, into positions [first, first + n) of a
     *  tile; first + n <= 32. Writes no byte of other positions. */
    void (*store)(struct pc_kv_tile tile, size_t first, size_t n, const float *key, const float *value,
        size_t stride, size_t head_dim);
    /** Fold n_tiles consecutive tiles of one segment into the state of n_q queries.
     *
     *  q        (n_q, D) float32.
     *  n_keys   (n_q) how many keys each query sees from the first tile's first position on, at least 1;
     *           more than the tiles hold is all of them.
     *  scratch  pc_attention_scratch(D) floats, best on a multiple of 64 bytes.
     *
     *  What lies beyond a query's keys may be read and never matters. */
    void (*fold)(const struct pc_attention_state *state, const float *q, size_t n_q, size_t head_dim,
        const struct pc_kv_tile *tiles, size_t n_tiles, const int32_t *n_keys, float scale, float *scratch);
};

struct pc_attention {
    struct pc_attention_type f32, f16, bf16, q8_0;
    /** into = the state over the keys of both, `from` being the later segment:
     *  m' = max, a = e^(m - m'), b = e^(from.m - m'); sum' = fmaf(from.sum, b, sum * a), acc' likewise. */
    void (*join)(const struct pc_attention_state *into, const struct pc_attention_state *from, size_t n_q,
        size_t head_dim);
    /** out (head_dim) = acc / sum of query i: the attention's output. */
    void (*end)(float *out, const struct pc_attention_state *state, size_t i, size_t head_dim);
};

/** Fill table with the scalar version, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_attention_init(struct pc_attention *table, unsigned cpu_flags);

/** The functions for a cache type, or NULL where pc_kv_tile_size is 0. */
const struct pc_attention_type *pc_attention_for(const struct pc_attention *table, enum pc_dtype type);

/** Floats of scratch for fold. */
static inline size_t pc_attention_scratch(size_t head_dim)
{
    enum { MOST_QUERIES = 16 };
    return (size_t)2 * MOST_QUERIES * ((head_dim + 31) / 32 * 32);
}

/** A state of n queries in memory of pc_attention_state_size floats. */
static inline size_t pc_attention_state_size(size_t n_q, size_t head_dim)
{
    return n_q * (head_dim + 2);
}
static inline struct pc_attention_state pc_attention_state_place(float *memory, size_t n_q, size_t head_dim)
{
    float *max = memory + n_q * head_dim;
    return (struct pc_attention_state){memory, max, max + n_q};
}

/** Before a segment's first tile: acc 0, max -infinity, sum 0. */
void pc_attention_begin(const struct pc_attention_state *state, size_t n_q, size_t head_dim);

void pc_attention_init_avx2(struct pc_attention *table);
void pc_attention_init_avx512(struct pc_attention *table);
void pc_attention_init_store_avx512(struct pc_attention *table);
void pc_attention_init_avx512_bf16(struct pc_attention *table);
void pc_attention_init_neon(struct pc_attention *table);

#endif
