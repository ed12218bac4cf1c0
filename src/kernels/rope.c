// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope.h"

#include "base/cpu.h"
#include "kernels/vmath.h"

void pc_rope_frequencies(float *inv_freq, float theta, size_t head_dim)
{
    for (size_t i = 0; i < head_dim / 2; i++) {
        float exponent = (float)(2 * i) / (float)head_dim;
        inv_freq[i] = 1.0f / (float)pc_pow((double)theta, (double)exponent);
    }
}

void pc_rope_scale_linear(float *inv_freq, size_t head_dim, float factor)
{
    for (size_t i = 0; i < head_dim / 2; i++)
        inv_freq[i] /= factor;
}

void pc_rope_scale_llama3(
    float *inv_freq, size_t head_dim, float factor, float low, float high, float original_positions)
{
    const float two_pi = 0x1.921fb6p+2f;
    float longest = original_positions / low, shortest = original_positions / high;
    for (size_t i = 0; i < head_dim / 2; i++) {
        float f = inv_freq[i], wave = two_pi / f;
        if (wave > longest) {
            inv_freq[i] = f / factor;
        } else if (!(wave < shortest)) {
            float smooth = (original_positions / wave - low) / (high - low);
            float kept = smooth * f, divided = (1 - smooth) * f / factor;
            inv_freq[i] = divided + kept;
        }
    }
}

void pc_rope_angles(float *cos_sin, const float *inv_freq, int32_t pos, size_t head_dim)
{
    size_t half = head_dim / 2;
    for (size_t i = 0; i < half; i++) {
        float angle = (float)pos * inv_freq[i];
        pc_sincosf(angle, &cos_sin[half + i], &cos_sin[i]);
    }
}

static void forward(float *x, const float *cos_sin, size_t n_heads, size_t head_dim)
{
    pc_rope_loop(x, cos_sin, n_heads, head_dim);
}

void pc_rope_init(struct pc_rope *table, unsigned cpu_flags)
{
    table->forward = forward;
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_rope_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_rope_init_avx512(table);
#endif
    (void)cpu_flags;
}
