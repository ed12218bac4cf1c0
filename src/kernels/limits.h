// SPDX-License-Identifier: Apache-2.0
/* What a core can do at most, asked by doing nothing else: reading memory, and multiply-adds in registers in
 * the three arithmetics the products use. The limits that speeds are measured against.
 *
 * Each function returns what it came to, so that it can be checked that the work was done: the exclusive or
 * of the words that were read; the number of products when both factors are one. */
#ifndef PC_KERNELS_LIMITS_H
#define PC_KERNELS_LIMITS_H

#include <stddef.h>
#include <stdint.h>

enum { PC_LIMITS_LINE = 64, PC_LIMITS_MAX_ROUNDS = 1 << 20 };

struct pc_limits {
    /** Exclusive or of the 64-bit words of n_lines times 64 bytes; p aligned to 64. */
    uint64_t (*read)(const void *p, size_t n_lines);
    /** n rounds (at most 2^20, so that F32 counts exactly) of independent x * y + sum; returns the sum over
     * all lanes. F32 everywhere; BF16 pairs and bytes where the processor has such an instruction, else NULL.
     */
    double (*fma_f32)(int64_t n, float x, float y);
    double (*dot_bf16)(int64_t n, float x, float y);
    double (*dot_int8)(int64_t n, int8_t x, int8_t y); /* x >= 0 */
};

/** Fill table with the scalar versions, then with the faster ones cpu_flags (enum pc_cpu_flag) allow. */
void pc_limits_init(struct pc_limits *table, unsigned cpu_flags);

void pc_limits_init_avx2(struct pc_limits *table);
void pc_limits_init_avx512(struct pc_limits *table);
void pc_limits_init_avx512_vnni(struct pc_limits *table);
void pc_limits_init_avx512_bf16(struct pc_limits *table);
void pc_limits_init_neon(struct pc_limits *table);
void pc_limits_init_dotprod(struct pc_limits *table);
void pc_limits_init_i8mm(struct pc_limits *table);

#endif
