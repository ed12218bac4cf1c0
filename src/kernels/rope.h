// SPDX-License-Identifier: Apache-2.0
/* Rotary position embedding. Frequencies once per model, cosines and sines once per row of a step, the
 * rotation for every head of every layer:
 *
 *     pc_rope_frequencies(inv_freq, 10000, D);
 *     pc_rope_angles(cos_sin, inv_freq, pos, D);
 *     table->forward(q, cos_sin, n_heads, D);
 *
 * Frequencies and angles are float32 because the reference's are: double would be more exact and less equal.
 * All of it is single operations on floats, so every processor gives the same bits. docs/math/rope.md. */
#ifndef PC_KERNELS_ROPE_H
#define PC_KERNELS_ROPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** inv_freq[i] = 1 / theta^(2i / D) for i < D/2; head_dim even, theta > 0. */
void pc_rope_frequencies(float *inv_freq, float theta, size_t head_dim);

/** Position interpolation: every frequency divided by factor. Source: Chen et al. 2023. */
void pc_rope_scale_linear(float *inv_freq, size_t head_dim, float factor);

/** Llama 3.1's scaling: long waves (beyond original / low) divided by factor, short ones (below original /
 * high) kept, a linear blend between. Source: Transformers' _compute_llama3_parameters. */
void pc_rope_scale_llama3(
    float *inv_freq, size_t head_dim, float factor, float low, float high, float original_positions);

/** YaRN's scaling, in place of pc_rope_frequencies and what scales those: waves that turn more than beta_fast
 * times in original_positions are kept, those that turn less than beta_slow times divided by factor, between
 * them a blend that is linear in the element's number; truncate: its ends are whole numbers.
 * Source: Peng et al. 2023; Transformers' _compute_yarn_parameters. */
struct pc_rope_yarn {
    float theta, factor, beta_fast, beta_slow, original_positions;
    bool truncate;
};
void pc_rope_frequencies_yarn(float *inv_freq, const struct pc_rope_yarn *yarn, size_t head_dim);

/** cos_sin (D): the D/2 cosines, then the D/2 sines, of pos * inv_freq, each times scale (1 but for YaRN's).
 * pos in tokens, 0 to 2^24. */
void pc_rope_angles(float *cos_sin, const float *inv_freq, float scale, int32_t pos, size_t head_dim);

struct pc_rope {
    /** Rotate x (H, D) in place, pairing element i with i + D/2: (a, b) -> (a cos - b sin, b cos + a sin),
     *  each product rounded. The same bits at every level. Thread-safe on disjoint x.
     *  Source: Su et al. 2021, eq. 34, in the half-split layout of Transformers' `rotate_half`. */
    void (*forward)(float *x, const float *cos_sin, size_t n_heads, size_t head_dim);
    /** The gradient of what forward rotated, from that of its result, in place: the rotation back,
     *  (a, b) -> (a cos + b sin, b cos - a sin). */
    void (*backward)(float *dx, const float *cos_sin, size_t n_heads, size_t head_dim);
};

/** Fill table with the scalar version, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_rope_init(struct pc_rope *table, unsigned cpu_flags);

/* The loops every version compiles with its own flags. */
static inline void pc_rope_loop(float *x, const float *cos_sin, size_t n_heads, size_t head_dim)
{
    size_t half = head_dim / 2;
    const float *restrict c = cos_sin, *restrict s = cos_sin + half;
    for (size_t h = 0; h < n_heads; h++) {
        float *restrict first = x + h * head_dim, *restrict second = first + half;
        for (size_t i = 0; i < half; i++) {
            float a = first[i], b = second[i];
            first[i] = a * c[i] - b * s[i];
            second[i] = b * c[i] + a * s[i];
        }
    }
}

static inline void pc_rope_backward_loop(float *dx, const float *cos_sin, size_t n_heads, size_t head_dim)
{
    size_t half = head_dim / 2;
    const float *restrict c = cos_sin, *restrict s = cos_sin + half;
    for (size_t h = 0; h < n_heads; h++) {
        float *restrict first = dx + h * head_dim, *restrict second = first + half;
        for (size_t i = 0; i < half; i++) {
            float a = first[i], b = second[i];
            first[i] = a * c[i] + b * s[i];
            second[i] = b * c[i] - a * s[i];
        }
    }
}

void pc_rope_init_avx2(struct pc_rope *table);
void pc_rope_init_avx512(struct pc_rope *table);

#endif
