// SPDX-License-Identifier: Apache-2.0
/* The scalar versions of the plain types, written to be read; the block types are in convert_blocks.c. */
#include "kernels/convert.h"

#include "base/cpu.h"
#include "kernels/convert_parts.h"
#include "kernels/float_bits.h"

#include <pthread.h>
#include <string.h>

/* Both directions of a float type with element T. Elements move by memcpy: no alignment is promised. */
#define FLOAT_TYPE(NAME, T)                                                                                  \
    static void NAME##_to_f32(float *dst, const void *src, size_t n)                                         \
    {                                                                                                        \
        const unsigned char *from = src;                                                                     \
        for (size_t i = 0; i < n; i++) {                                                                     \
            T v;                                                                                             \
            memcpy(&v, from + i * sizeof v, sizeof v);                                                       \
            dst[i] = pc_##NAME##_to_f32(v);                                                                  \
        }                                                                                                    \
    }                                                                                                        \
    static void NAME##_from_f32(void *dst, const float *src, size_t n)                                       \
    {                                                                                                        \
        unsigned char *to = dst;                                                                             \
        for (size_t i = 0; i < n; i++) {                                                                     \
            T v = pc_f32_to_##NAME(src[i]);                                                                  \
            memcpy(to + i * sizeof v, &v, sizeof v);                                                         \
        }                                                                                                    \
    }

FLOAT_TYPE(f16, uint16_t)
FLOAT_TYPE(bf16, uint16_t)
FLOAT_TYPE(f8_e4m3, uint8_t)
FLOAT_TYPE(f8_e5m2, uint8_t)

static void f32_to_f32(float *dst, const void *src, size_t n)
{
    memmove(dst, src, n * sizeof *dst);
}

static void f32_from_f32(void *dst, const float *src, size_t n)
{
    memmove(dst, src, n * sizeof *src);
}

static void f64_from_f32(void *dst, const float *src, size_t n)
{
    unsigned char *to = dst;
    for (size_t i = 0; i < n; i++) {
        double v = src[i];
        memcpy(to + i * sizeof v, &v, sizeof v);
    }
}

/* By value: exact where F32 holds it, else rounded to nearest even. */
#define BY_VALUE(NAME, T)                                                                                    \
    static void NAME##_to_f32(float *dst, const void *src, size_t n)                                         \
    {                                                                                                        \
        const unsigned char *from = src;                                                                     \
        for (size_t i = 0; i < n; i++) {                                                                     \
            T v;                                                                                             \
            memcpy(&v, from + i * sizeof v, sizeof v);                                                       \
            dst[i] = (float)v;                                                                               \
        }                                                                                                    \
    }

BY_VALUE(f64, double)
BY_VALUE(i64, int64_t)
BY_VALUE(i32, int32_t)
BY_VALUE(i16, int16_t)
BY_VALUE(i8, int8_t)
BY_VALUE(u64, uint64_t)
BY_VALUE(u32, uint32_t)
BY_VALUE(u16, uint16_t)
BY_VALUE(u8, uint8_t)

static void bool_to_f32(float *dst, const void *src, size_t n)
{
    const unsigned char *from = src;
    for (size_t i = 0; i < n; i++)
        dst[i] = from[i] ? 1.0f : 0.0f;
}

static void add(float *dst, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = a[i] + b[i];
}

static void sub(float *dst, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = a[i] - b[i];
}

static void add_scaled(float *dst, const float *a, const float *b, float alpha, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = a[i] + alpha * b[i];
}

static size_t count_nonfinite(const float *x, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += (pc_f32_bits(x[i]) & 0x7f800000) == 0x7f800000;
    return count;
}

void pc_convert_init(struct pc_convert *table, unsigned cpu_flags)
{
    (void)cpu_flags; // read only where there are faster versions
    *table = (struct pc_convert){
        .to_f32 = {[PC_F32] = f32_to_f32,
            [PC_F16] = f16_to_f32,
            [PC_BF16] = bf16_to_f32,
            [PC_F64] = f64_to_f32,
            [PC_F8_E4M3] = f8_e4m3_to_f32,
            [PC_F8_E5M2] = f8_e5m2_to_f32,
            [PC_I64] = i64_to_f32,
            [PC_I32] = i32_to_f32,
            [PC_I16] = i16_to_f32,
            [PC_I8] = i8_to_f32,
            [PC_U64] = u64_to_f32,
            [PC_U32] = u32_to_f32,
            [PC_U16] = u16_to_f32,
            [PC_U8] = u8_to_f32,
            [PC_BOOL] = bool_to_f32},
        .from_f32 = {[PC_F32] = f32_from_f32,
            [PC_F16] = f16_from_f32,
            [PC_BF16] = bf16_from_f32,
            [PC_F64] = f64_from_f32,
            [PC_F8_E4M3] = f8_e4m3_from_f32,
            [PC_F8_E5M2] = f8_e5m2_from_f32},
        .add = add,
        .sub = sub,
        .add_scaled = add_scaled,
        .count_nonfinite = count_nonfinite,
    };
    pc_convert_init_blocks(table);
#ifdef PC_HAVE_AVX2
    if (!(cpu_flags & PC_CPU_AVX2))
        return;
    pc_convert_init_avx2(table);
#endif
#ifdef PC_HAVE_AVX512
    if (!(cpu_flags & PC_CPU_AVX512))
        return;
    pc_convert_init_avx512(table);
#endif
#ifdef PC_HAVE_NEON
    if (!(cpu_flags & PC_CPU_NEON))
        return;
    pc_convert_init_neon(table);
#endif
    (void)cpu_flags;
}

static struct pc_convert g_table;
static pthread_once_t g_once = PTHREAD_ONCE_INIT;

static void init_once(void)
{
    pc_convert_init(&g_table, pc_cpu_flags());
}

const struct pc_convert *pc_convert(void)
{
    pthread_once(&g_once, init_once);
    return &g_table;
}
