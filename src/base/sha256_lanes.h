// SPDX-License-Identifier: Apache-2.0
/* Inner loops of SHA-256 (FIPS 180-4) over several messages in step. digest.c decides which messages go
 * together. */
#ifndef PC_BASE_SHA256_LANES_H
#define PC_BASE_SHA256_LANES_H

#include <stddef.h>
#include <stdint.h>

/* A hash alone waits for each round's result before it can begin the next. Two interleaved fill each other's
 * gaps in the SHA extension's unit; sixteen fill the lanes of vectors of 512 bits. On Zen 5, bytes per
 * second: one hash 1.85 GB, two in step 2.78 GB, sixteen 4.3 GB, so that sixteen pay from ten on. */

/** n blocks of 64 bytes of each message: state[l] (8 words) goes on with bytes[l]. Needs PC_CPU_SHA. */
void pc_sha256_two(uint32_t *const state[2], const uint8_t *const bytes[2], size_t n);
/** The same for sixteen. Needs PC_CPU_AVX512. */
void pc_sha256_sixteen(uint32_t *const state[16], const uint8_t *const bytes[16], size_t n);

/** Which of the two this build has, as enum pc_cpu_flag. */
unsigned pc_sha256_lanes(void);

#endif
