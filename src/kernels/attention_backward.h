// SPDX-License-Identifier: Apache-2.0
/* Attention's backward for one query head of one sequence, its rows at positions 0 to n - 1, in tiles: no
 * n x n matrix is ever in memory (Dao et al. 2022, "FlashAttention", algorithm 4, with forward's largest
 * score and sum kept for each row).
 *
 * With s_ij = scale q_i . k_j, p_ij = e^(s_ij - max_i) * inverse_i for j <= i, and dO the gradient of the
 * output o:
 *
 *     D_i   = dO_i . o_i                    sum over d in 16 lanes, joined by halves as in kernels/matmul.h
 *     s_ij  = scale * sum over d ascending of fmaf(q[d], k[d])
 *     g_ij  = p_ij * (sum over d ascending of fmaf(dO_i[d], v_j[d]) - D_i)
 *     dv_j  = sum over i ascending of fmaf(p_ij, dO_i)
 *     dk_j  = scale * sum over i ascending of fmaf(g_ij, q_i)
 *     dq_i  = scale * sum over j ascending of fmaf(g_ij, k_j)
 *
 * every sum from zero, each other operation rounded by itself, e by pc_expf. Keys come in tiles of 32. In the
 * tile where a query ends, p and g are 0 for the keys behind it and take part in the sums; tiles behind take
 * none. So an output is one chain, however many rows are worked on together, and every level gives the same
 * bits. docs/math/attention_backward.md. */
#ifndef PC_KERNELS_ATTENTION_BACKWARD_H
#define PC_KERNELS_ATTENTION_BACKWARD_H

#include <stddef.h>
#include <stdint.h>

/** The operands. Rows of D = head_dim floats: q_stride floats apart, those of k and v kv_stride. */
struct pc_attention_head {
    size_t n, head_dim; /* rows; head_dim even */
    size_t q_stride, kv_stride;
    float scale;
    const float *q, *k, *v;     /* as forward used them: rotated, and rounded to the cache type */
    const float *out, *d_out;   /* the output, and its gradient */
    const float *max, *inverse; /* of row i at [i * row_stride] */
    float *dot;                 /* D likewise: written */
    size_t row_stride;
    float *d_q, *d_k, *d_v; /* written; d_k and d_v are this query head's alone, q_stride floats apart */
};

/** Scores on their way to weights, for pc_attention_backward_bf16: n queries by a tile of keys. */
struct pc_attention_scores {
    const float *s, *d;               /* (n, 48): q . k, and dO . v */
    const float *max, *inverse, *dot; /* of query i at [i * row_stride] */
    size_t n, row_stride;
    size_t seen; /* keys of the tile that query 0 sees, at least 1; query i sees i more */
    float scale;
    uint16_t *p_pairs, *g_pairs; /* (ceil(n / 2), 48, 2): p and g of two queries side by side */
    uint16_t *g;                 /* (n, 48) */
};

struct pc_attention_backward {
    /** scratch is pc_attention_backward_scratch floats, best on a multiple of 64 bytes. Thread-safe on
     * disjoint outputs. */
    void (*head)(const struct pc_attention_head *head, float *scratch);
    /** What is no product of the same in BF16: dot of each row; p and g, rounded to BF16, with zeros for keys
     * a query does not see and for the query behind an odd n; and dq and dk times scale. */
    void (*dots)(const struct pc_attention_head *head);
    void (*weigh)(const struct pc_attention_scores *scores);
    void (*scale)(const struct pc_attention_head *head);
};

/** Fill table with the scalar version, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_attention_backward_init(struct pc_attention_backward *table, unsigned cpu_flags);

/** Floats of scratch for head: tiles of 32 keys and values, transposed, and their gradients. */
static inline size_t pc_attention_backward_scratch(size_t head_dim)
{
    enum { KEYS = 32 };
    return 4 * KEYS * head_dim;
}

struct pc_kernels;

/** The same in BF16: operands of all five products, q, k, v, dO, p and g, are rounded to it, and the sums are
 *  those of gemm.h's bf16. Keys come in tiles of 48, and queries from a tile's first key on in blocks of 96;
 *  a block's part of a sum is one chain, and added to it once. The same bits at every level as far as gemm.h
 *  promises them. scratch is pc_attention_backward_bf16_scratch floats on a multiple of 64 bytes.
 *  Thread-safe on disjoint outputs. */
void pc_attention_backward_bf16(
    const struct pc_kernels *kernels, const struct pc_attention_head *head, float *scratch);

/** Floats of scratch for that, with at most n rows. */
size_t pc_attention_backward_bf16_scratch(size_t head_dim, size_t n);

void pc_attention_backward_init_avx2(struct pc_attention_backward *table);
void pc_attention_backward_init_avx512(struct pc_attention_backward *table);

#endif
