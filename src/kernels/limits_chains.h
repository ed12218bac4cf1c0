// SPDX-License-Identifier: Apache-2.0
/* Twelve sums that do not wait for each other, in registers: arrays of vectors would be copied about. */
#ifndef PC_KERNELS_LIMITS_CHAINS_H
#define PC_KERNELS_LIMITS_CHAINS_H

#define PC_CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

/* The compiler must not know what v holds: sums that begin alike would be computed once. */
#if defined(__aarch64__)
#define PC_OPAQUE(v) __asm__("" : "+w"(v))
#else
#define PC_OPAQUE(v) __asm__("" : "+v"(v))
#endif

#endif
