// SPDX-License-Identifier: Apache-2.0
/* SHA-256 (FIPS 180-4), through libcrypto for its SHA-NI and Arm code. */
#ifndef PC_BASE_DIGEST_H
#define PC_BASE_DIGEST_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define PC_SHA256_SIZE 32
#define PC_SHA256_HEX 65 /* 64 digits and a NUL */

/** A running hash. One thread at a time. Create with pc_sha256_new, reset to start again, free accepts NULL.
 */
struct pc_sha256;

struct pc_sha256 *pc_sha256_new(struct paco_error *err);
void pc_sha256_free(struct pc_sha256 *h);
void pc_sha256_reset(struct pc_sha256 *h);
void pc_sha256_update(struct pc_sha256 *h, const void *bytes, size_t len);
/** What pc_sha256_update does, for n different hashes at once, which is faster than one after the other, and
 * the more of them, up to sixteen, the faster (sha256_lanes.h). */
struct pc_sha256_part {
    struct pc_sha256 *h;
    const void *bytes;
    size_t len;
};
enum { PC_SHA256_MAX_PARTS = 64 };
void pc_sha256_update_many(const struct pc_sha256_part *parts, size_t n);
/** With how many parts of equal length that is fastest on this processor: 1, 2 or 16. */
int pc_sha256_width(void);
/** Write the digest of all bytes since the reset; reset before the next use. */
void pc_sha256_final(struct pc_sha256 *h, uint8_t digest[PC_SHA256_SIZE]);
/** Lower-case hexadecimal. Returns hex. */
char *pc_sha256_hex(const uint8_t digest[PC_SHA256_SIZE], char hex[PC_SHA256_HEX]);

#endif
