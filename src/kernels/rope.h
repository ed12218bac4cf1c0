// SPDX-License-Identifier: Apache-2.0
/* Rotary position embedding. Frequencies once per model, cosines and sines once per row of a step, the
 * rotation for every head of every layer:
 *
 *     pc_rope_frequencies(inv_freq, 10000, D);
 *     pc_rope_angles(cos_sin, inv_freq, pos, D);
 *     pc_rope_forward(q, cos_sin, n_heads, D);
 *
 * Frequencies and angles are float32 because the reference's are: double would be more exact and less equal.
 * All of it is single operations on floats, so every processor gives the same bits. docs/math/rope.md. */
#ifndef PC_KERNELS_ROPE_H
#define PC_KERNELS_ROPE_H

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

/** cos_sin (D): the D/2 cosines, then the D/2 sines, of pos * inv_freq. pos in tokens, 0 to 2^24. */
void pc_rope_angles(float *cos_sin, const float *inv_freq, int32_t pos, size_t head_dim);

/** Rotate x (H, D) in place, pairing element i with i + D/2: (a, b) -> (a cos - b sin, b cos + a sin), each
 *  product rounded. Thread-safe on disjoint x.
 *  Source: Su et al. 2021, eq. 34, in the half-split layout of Transformers' `rotate_half`. */
void pc_rope_forward(float *x, const float *cos_sin, size_t n_heads, size_t head_dim);

#endif
