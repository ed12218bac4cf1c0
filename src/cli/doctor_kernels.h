// SPDX-License-Identifier: Apache-2.0
/* Which version of each kernel this process uses. */
#ifndef PC_CLI_DOCTOR_KERNELS_H
#define PC_CLI_DOCTOR_KERNELS_H

#include <stddef.h>

enum { PC_DOCTOR_MAX_KERNELS = 64 };

struct pc_kernel_use {
    const char *operation; /* "products of q4_0 weights": static */
    const char *level;     /* "scalar", "avx2", "avx512", "avx512-vnni" ...: static */
};

/** Fill out, in the order of a step; returns how many. --cpu and PACO_CPU count. */
size_t pc_doctor_kernels(struct pc_kernel_use out[PC_DOCTOR_MAX_KERNELS]);

/** The flags in use, a name each: "avx2", "avx512", "avx512-vnni" ...; returns how many. */
size_t pc_doctor_cpu_flags(const char *out[PC_DOCTOR_MAX_KERNELS]);

#endif
