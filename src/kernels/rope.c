// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope.h"

#include "base/cpu.h"
#include "kernels/vmath.h"

#include <math.h>

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

/* The number of the element whose wave turns n_turns times in the trained length: doubles, as the reference's
 * are. */
static double element_that_turns(double n_turns, const struct pc_rope_yarn *y, size_t head_dim)
{
    const double two_pi = 0x1.921fb54442d18p+2;
    return (double)head_dim * pc_log((double)y->original_positions / (n_turns * two_pi)) /
           (2 * pc_log((double)y->theta));
}

void pc_rope_frequencies_yarn(float *inv_freq, const struct pc_rope_yarn *y, size_t head_dim)
{
    double low = element_that_turns((double)y->beta_fast, y, head_dim),
           high = element_that_turns((double)y->beta_slow, y, head_dim), last = (double)head_dim - 1;
    low = y->truncate ? floor(low) : low;
    high = y->truncate ? ceil(high) : high;
    low = low > 0 ? low : 0;
    high = high < last ? high : last;
    if (low == high)
        high += 0.001;
    for (size_t i = 0; i < head_dim / 2; i++) {
        float exponent = (float)(2 * i) / (float)head_dim;
        float wave = (float)pc_pow((double)y->theta, (double)exponent);
        float ramp = ((float)i - (float)low) / (float)(high - low);
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        float kept = 1 - ramp, divided = 1.0f / (y->factor * wave) * (1 - kept);
        inv_freq[i] = divided + 1.0f / wave * kept;
    }
}

void pc_rope_angles(float *cos_sin, const float *inv_freq, float scale, int32_t pos, size_t head_dim)
{
    size_t half = head_dim / 2;
    for (size_t i = 0; i < half; i++) {
        float angle = (float)pos * inv_freq[i];
        pc_sincosf(angle, &cos_sin[half + i], &cos_sin[i]);
        cos_sin[i] *= scale;
        cos_sin[half + i] *= scale;
    }
}

static void forward(float *x, const float *cos_sin, size_t n_heads, size_t head_dim)
{
    pc_rope_loop(x, cos_sin, n_heads, head_dim);
}

static void backward(float *dx, const float *cos_sin, size_t n_heads, size_t head_dim)
{
    pc_rope_backward_loop(dx, cos_sin, n_heads, head_dim);
}

void pc_rope_init(struct pc_rope *table, unsigned cpu_flags)
{
    table->forward = forward;
    table->backward = backward;
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
