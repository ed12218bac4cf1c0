// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.h"

#include "base/cpu.h"
#include "kernels/float_bits.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static float flushed(float x)
{
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

/* ---- packing ---- */

static float f32_at(const char *at, enum pc_dtype dtype)
{
    float x;
    uint16_t h;
    if (dtype == PC_F32) {
        memcpy(&x, at, sizeof x);
        return x;
    }
    memcpy(&h, at, sizeof h);
    return pc_bf16_to_f32(h);
}

/* What is BF16 already keeps its bits, a signalling NaN and denormals among them. */
static uint16_t bf16_at(const char *at, enum pc_dtype dtype)
{
    uint16_t h;
    if (dtype == PC_F32)
        return pc_f32_to_bf16(flushed(f32_at(at, dtype)));
    memcpy(&h, at, sizeof h);
    return h;
}

static size_t lanes(size_t n)
{
    return (n + PC_GEMM_LANES - 1) / PC_GEMM_LANES * PC_GEMM_LANES;
}

static void pack_f32(
    float *panel, const char *from, enum pc_dtype dtype, size_t vector, size_t element, size_t n, size_t k)
{
    assert(n <= PC_GEMM_PANEL && (dtype == PC_F32 || dtype == PC_BF16));
    for (size_t j = 0; j < k; j++, panel += PC_GEMM_PANEL)
        for (size_t i = 0; i < lanes(n); i++)
            panel[i] = i < n ? f32_at(from + i * vector + j * element, dtype) : 0;
}

static void pack_bf16(
    uint16_t *panel, const char *from, enum pc_dtype dtype, size_t vector, size_t element, size_t n, size_t k)
{
    assert(n <= PC_GEMM_PANEL && (dtype == PC_F32 || dtype == PC_BF16));
    for (size_t j = 0; j < k; j += 2, panel += 2 * PC_GEMM_PANEL)
        for (size_t i = 0; i < 2 * lanes(n); i++)
            panel[i] = i / 2 < n && j + i % 2 < k
                           ? bf16_at(from + i / 2 * vector + (j + i % 2) * element, dtype)
                           : 0;
}

static size_t size_of(enum pc_dtype dtype)
{
    return dtype == PC_F32 ? sizeof(float) : sizeof(uint16_t);
}

static void pack_rows_f32(
    void *panel, const void *rows, enum pc_dtype dtype, size_t stride, size_t n, size_t k)
{
    pack_f32(panel, rows, dtype, stride, size_of(dtype), n, k);
}

static void pack_columns_f32(
    void *panel, const void *rows, enum pc_dtype dtype, size_t stride, size_t n, size_t k)
{
    pack_f32(panel, rows, dtype, size_of(dtype), stride, n, k);
}

static void pack_rows_bf16(
    void *panel, const void *rows, enum pc_dtype dtype, size_t stride, size_t n, size_t k)
{
    pack_bf16(panel, rows, dtype, stride, size_of(dtype), n, k);
}

static void pack_columns_bf16(
    void *panel, const void *rows, enum pc_dtype dtype, size_t stride, size_t n, size_t k)
{
    pack_bf16(panel, rows, dtype, size_of(dtype), stride, n, k);
}

/* ---- products ---- */

static float chain_f32(float total, const char *a, size_t a_step, const float *b, size_t k)
{
    for (size_t j = 0; j < k; j++, a += a_step, b += PC_GEMM_PANEL) {
        float x;
        memcpy(&x, a, sizeof x);
        total = fmaf(x, *b, total);
    }
    return total;
}

static float value(uint16_t h)
{
    return flushed(pc_bf16_to_f32(h));
}

static float chain_bf16(float total, const char *a, size_t a_step, const uint16_t *b, size_t k)
{
    for (size_t j = 0; j < k; j += 2, a += a_step, b += 2 * PC_GEMM_PANEL) {
        uint16_t x[2] = {0};
        memcpy(x, a, (k - j < 2 ? 1 : 2) * sizeof *x);
        total = flushed(fmaf(value(x[1]), value(b[1]), flushed(total)));
        total = flushed(fmaf(value(x[0]), value(b[0]), total));
    }
    return total;
}

/* Where a total stands before the call. */
static float start(const struct pc_gemm_call *call, size_t i, size_t j)
{
    return call->start ? call->start[i * call->start_stride + j] : 0;
}

static void finish(const struct pc_gemm_call *call, size_t i, size_t j, float total)
{
    float *c = call->c + i * call->c_stride + j;
    *c = call->add ? *c + total : total;
}

static void multiply_f32(const struct pc_gemm_call *call)
{
    for (size_t i = 0; i < call->n_rows; i++)
        for (size_t j = 0; j < call->n_columns; j++) {
            const float *panel =
                (const float *)call->panels + j / PC_GEMM_PANEL * PC_GEMM_PANEL * call->k + j % PC_GEMM_PANEL;
            const char *a = (const char *)call->a + i * call->a_row;
            finish(call, i, j, chain_f32(start(call, i, j), a, call->a_step, panel, call->k));
        }
}

static void multiply_bf16(const struct pc_gemm_call *call)
{
    size_t panel_size = (call->k + 1) / 2 * 2 * PC_GEMM_PANEL;
    for (size_t i = 0; i < call->n_rows; i++)
        for (size_t j = 0; j < call->n_columns; j++) {
            const uint16_t *panel =
                (const uint16_t *)call->panels + j / PC_GEMM_PANEL * panel_size + j % PC_GEMM_PANEL * 2;
            const char *a = (const char *)call->a + i * call->a_row;
            finish(call, i, j, chain_bf16(start(call, i, j), a, call->a_step, panel, call->k));
        }
}

void pc_gemm_init(struct pc_gemm *table, unsigned cpu_flags)
{
    *table = (struct pc_gemm){.f32 = {.step = 1,
                                  .pack_rows = pack_rows_f32,
                                  .pack_columns = pack_columns_f32,
                                  .multiply = multiply_f32},
        .bf16 = {.step = 2,
            .pack_rows = pack_rows_bf16,
            .pack_columns = pack_columns_bf16,
            .multiply = multiply_bf16}};
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_gemm_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_gemm_init_avx512(table);
#endif
#ifdef PC_HAVE_AVX512_BF16
    if (!(cpu_flags & PC_CPU_AVX512_BF16))
        return;
    pc_gemm_init_avx512_bf16(table);
#endif
    (void)cpu_flags;
}
