// SPDX-License-Identifier: Apache-2.0
#include "kernels/llm_int8.h"

#include "base/cpu.h"
#include "kernels/float_bits.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { LINE = 64 };

size_t pc_llm_row_size(size_t k)
{
    size_t n_lines = 1 + (k + LINE - 1) / LINE;
    return (n_lines | 1) * LINE;
}

size_t pc_llm_tile_size(size_t k)
{
    return sizeof(struct pc_llm_tile) + (k + 3) / 4 * LINE;
}

static float half(float x)
{
    return pc_f16_to_f32(pc_f32_to_f16(x));
}

void pc_llm_int8_pack_row(void *tiles, size_t r, const float *w, size_t k)
{
    struct pc_llm_tile *tile = (void *)((char *)tiles + r / PC_LLM_TILE_ROWS * pc_llm_tile_size(k));
    size_t lane = r % PC_LLM_TILE_ROWS;
    float a = 0;
    bool broken = false;
    for (size_t i = 0; i < k; i++) {
        broken = broken || !isfinite(w[i]);
        a = fmaxf(a, fabsf(w[i]));
    }
    float scale = a > 0 && !broken ? 127 / a : 0;
    tile->a[lane] = broken ? NAN : a;
    for (size_t i = 0; i < (k + 3) / 4 * 4; i++)
        tile->q[i / 4 * LINE + 4 * lane + i % 4] =
            (uint8_t)(128 + (broken || i >= k ? 0 : (int)rintf(w[i] * scale)));
}

static void quantise(void *dst, struct pc_llm_outlier *outliers, const float *x, size_t k)
{
    struct pc_llm_row *row = dst;
    float a = 0;
    bool broken = false;
    memset(row, 0, pc_llm_row_size(k));
    for (size_t i = 0; i < k; i++) {
        float h = half(x[i]);
        if (fabsf(h) >= PC_LLM_OUTLIER)
            outliers[row->n_outliers++] = (struct pc_llm_outlier){(int32_t)i, h};
        else if (isnan(h))
            broken = true;
        else
            a = fmaxf(a, fabsf(h));
    }
    float scale = a > 0 ? 127 / a : 0;
    int32_t sum = 0;
    for (size_t i = 0; i < k; i++) {
        float h = half(x[i]);
        row->q[i] = (int8_t)(fabsf(h) < PC_LLM_OUTLIER ? (int)rintf(h * scale) : 0);
        sum += row->q[i];
    }
    row->a = broken ? NAN : a;
    row->less_128 = -128 * sum;
}

/* sum (16) of biased products; written for compilers to see sixteen lanes. */
static void add_products(int32_t sum[restrict], const int8_t *q, const uint8_t *w, size_t k)
{
    for (size_t j = 0; j < (k + 3) / 4; j++, q += 4, w += LINE)
        for (size_t r = 0; r < PC_LLM_TILE_ROWS; r++)
            sum[r] += q[0] * w[4 * r] + q[1] * w[4 * r + 1] + q[2] * w[4 * r + 2] + q[3] * w[4 * r + 3];
}

static float outlier_sum(
    const struct pc_llm_tile *tile, size_t lane, const struct pc_llm_outlier *outliers, int32_t n)
{
    float acc = 0;
    for (int32_t i = 0; i < n; i++) {
        size_t k = (size_t)outliers[i].k;
        size_t at = k / 4 * LINE + 4 * lane + k % 4;
        float w = (float)(tile->q[at] - 128);
        acc = fmaf(outliers[i].x, half(w * tile->a[lane] / 127), acc);
    }
    return acc;
}

static void multiply(float *y, size_t y_stride, const void *rows, const struct pc_llm_outlier *outliers,
    size_t n_x, const void *tiles, size_t n_out, size_t k)
{
    size_t row_size = pc_llm_row_size(k), tile_size = pc_llm_tile_size(k);
    for (size_t j = 0; j < n_out; j += PC_LLM_TILE_ROWS) {
        const struct pc_llm_tile *tile =
            (const void *)((const char *)tiles + j / PC_LLM_TILE_ROWS * tile_size);
        for (size_t i = 0; i < n_x; i++) {
            const struct pc_llm_row *row = (const void *)((const char *)rows + i * row_size);
            int32_t sum[PC_LLM_TILE_ROWS] = {0};
            add_products(sum, row->q, tile->q, k);
            for (size_t r = 0; r < PC_LLM_TILE_ROWS && j + r < n_out; r++)
                y[i * y_stride + j + r] =
                    fmaf((float)(sum[r] + row->less_128), row->a * tile->a[r] * (1.0f / 16129),
                        outlier_sum(tile, r, outliers + i * k, row->n_outliers));
        }
    }
}

void pc_llm_int8_init(struct pc_llm_int8 *table, unsigned cpu_flags)
{
    *table = (struct pc_llm_int8){quantise, multiply};
#ifdef PC_HAVE_AVX512_VNNI
    if (!(cpu_flags & PC_CPU_AVX512_VNNI))
        return;
    pc_llm_int8_init_avx512_vnni(table);
#endif
    (void)cpu_flags;
}
