// SPDX-License-Identifier: Apache-2.0
/* Products with a matrix of signs: one bit for an element, one scale for a row (Liu et al. 2024, "BitDelta").
 *
 * The contract. Every output takes one sum of K signed activations, in lanes as kernels/matmul.h's:
 *
 *     lane[l] = 0, then lane[l] +- x[k] for k = l, l + 16, ... ascending       (l < 16; + where the bit is
 * set) join    = lane[l] += lane[l + 8], then + 4, then + 2, then + 1 y      += scale * lane[0], the product
 * rounded first
 *
 * The same bits at every level, for any number of rows. */
#ifndef PC_KERNELS_SIGNS_H
#define PC_KERNELS_SIGNS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct pc_signs_call {
    float *y; /* (n_x, n_w), y_stride floats from row to row; added to */
    size_t y_stride;
    const float *x; /* (n_x, k), contiguous */
    size_t n_x;
    const unsigned char *bits; /* (n_w, k / 8): element k of a row is bit k % 8 of byte k / 8 */
    const float *scale;        /* (n_w) */
    size_t n_w, k;             /* k is a multiple of 8 */
};

struct pc_signs {
    /** Thread-safe on disjoint y. */
    void (*add)(const struct pc_signs_call *call);
};

void pc_signs_init(struct pc_signs *table, unsigned cpu_flags);

/* The end of a sum. */
static inline float pc_signs_join(float lane[16])
{
    for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

/* The loop that versions without instructions of their own compile with their flags. */
static inline void pc_signs_loop(const struct pc_signs_call *c)
{
    for (size_t j = 0; j < c->n_w; j++)
        for (size_t i = 0; i < c->n_x; i++) {
            const float *x = c->x + i * c->k;
            const unsigned char *bits = c->bits + j * (c->k / 8);
            float lane[16] = {0};
            for (size_t k = 0; k < c->k; k += 8)
                for (size_t l = 0; l < 8; l++) {
                    uint32_t u, sign = (uint32_t)(~bits[k / 8] >> l & 1) << 31;
                    float value;
                    memcpy(&u, x + k + l, sizeof u);
                    u ^= sign;
                    memcpy(&value, &u, sizeof value);
                    lane[k % 16 + l] += value;
                }
            c->y[i * c->y_stride + j] += c->scale[j] * pc_signs_join(lane);
        }
}

void pc_signs_init_avx2(struct pc_signs *table);
void pc_signs_init_avx512(struct pc_signs *table);

#endif
