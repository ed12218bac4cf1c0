// SPDX-License-Identifier: Apache-2.0
/* What this processor can do, and what of it may be used. */
#ifndef PC_BASE_CPU_H
#define PC_BASE_CPU_H

#include <stdbool.h>

enum pc_cpu_flag {
    PC_CPU_AVX2 = 1 << 0,   /* AVX2, FMA and F16C together: x86-64-v3 */
    PC_CPU_AVX512 = 1 << 1, /* F, BW, CD, DQ, VL together: x86-64-v4 */
    PC_CPU_AVX512_VNNI = 1 << 2,
    PC_CPU_AVX512_BF16 = 1 << 3,
    PC_CPU_NEON = 1 << 4,
    PC_CPU_DOTPROD = 1 << 5,
    PC_CPU_I8MM = 1 << 6,
    PC_CPU_SHA = 1 << 7,      /* x86's SHA extension, with SSE4.1 */
    PC_CPU_AVX_VNNI = 1 << 8, /* VPDPBUSD in 256 bits, VEX-coded; with AVX2 */
};

/** Flags of this processor as the operating system enables them, less what pc_cpu_mask took away.
 * Thread-safe. */
unsigned pc_cpu_flags(void);

/** Allow no more than level: "scalar", "avx2", "avx512", "neon" or "native". Call before anything computes.
 * False for an unknown name. The environment variable PACO_CPU does the same. */
bool pc_cpu_mask(const char *level);

/** The name of the level in use: "scalar", "avx2", "avx512", "neon". */
const char *pc_cpu_level(void);

/** Whether the calling thread computes with denormal numbers, as it must: false when someone set
 * flush-to-zero or denormals-are-zero, which fast-math libraries do when they are loaded. */
bool pc_cpu_keeps_denormals(void);

/** Processors this process may use: its affinity and its control groups' CPU quota, at least 1. */
int pc_cpu_count(void);

/** The least CPU quota of this process's control group and those above it, versions 1 and 2, in processors
 * rounded up (150 % of one counts as 2, since a pool thread may sleep); INT_MAX when there is none. The files
 * are looked for below root ("" for the real ones): a test has its own. */
int pc_cpu_quota(const char *root);

#endif
