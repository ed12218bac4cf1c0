// SPDX-License-Identifier: Apache-2.0
/* The mode in which denormal numbers are zeros, for the length of a sum that wants them so. */
#ifndef PC_KERNELS_FLUSH_MODE_H
#define PC_KERNELS_FLUSH_MODE_H

#include <immintrin.h>

enum { PC_FLUSH = 0x8040 }; /* of MXCSR: flush-to-zero, denormals-are-zero */

/** Set MXCSR. A barrier too: loads before sums and stores after them stay on their side; what is in registers
 * does not by itself. */
static inline __attribute__((always_inline)) void pc_set_mode(unsigned mode)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(mode) : "memory");
}

#endif
