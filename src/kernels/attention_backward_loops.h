// SPDX-License-Identifier: Apache-2.0
/* What attention's backward in BF16 does beside its products, as loops that every version compiles with its
 * own flags; `static inline`. */
#ifndef PC_KERNELS_ATTENTION_BACKWARD_LOOPS_H
#define PC_KERNELS_ATTENTION_BACKWARD_LOOPS_H

#include "kernels/attention_backward.h"
#include "kernels/attention_cache.h"
#include "kernels/gemm.h"
#include "kernels/rmsnorm.h"

static inline void pc_attention_dots_loop(const struct pc_attention_head *h)
{
    for (size_t i = 0; i < h->n; i++)
        h->dot[i * h->row_stride] =
            pc_rmsnorm_dot(h->d_out + i * h->q_stride, h->out + i * h->q_stride, h->head_dim);
}

static inline void pc_attention_weigh_loop(const struct pc_attention_scores *t)
{
    enum { KEYS = PC_GEMM_PANEL };
    for (size_t i = 0; i < t->n; i++) {
        size_t at = i / 2 * KEYS, odd = i % 2;
        float max = t->max[i * t->row_stride], inverse = t->inverse[i * t->row_stride],
              dot = t->dot[i * t->row_stride], p[KEYS], g[KEYS];
        for (size_t j = 0; j < KEYS; j++) {
            p[j] = pc_expf(t->s[i * KEYS + j] * t->scale - max) * inverse;
            g[j] = p[j] * (t->d[i * KEYS + j] - dot);
        }
        for (size_t j = 0; j < KEYS; j++) {
            bool seen = j < t->seen + i;
            uint16_t weight = seen ? pc_f32_to_bf16(pc_flushed(p[j])) : 0,
                     slope = seen ? pc_f32_to_bf16(pc_flushed(g[j])) : 0;
            t->p_pairs[(at + j) * 2 + odd] = weight;
            t->g_pairs[(at + j) * 2 + odd] = t->g[i * KEYS + j] = slope;
        }
    }
    for (size_t j = 0; j < KEYS && t->n % 2; j++)
        t->p_pairs[(t->n / 2 * KEYS + j) * 2 + 1] = t->g_pairs[(t->n / 2 * KEYS + j) * 2 + 1] = 0;
}

static inline void pc_attention_scale_loop(const struct pc_attention_head *h)
{
    for (size_t i = 0; i < h->n; i++)
        for (size_t c = 0; c < h->head_dim; c++) {
            h->d_q[i * h->q_stride + c] *= h->scale;
            h->d_k[i * h->q_stride + c] *= h->scale;
        }
}

#endif
