// SPDX-License-Identifier: Apache-2.0
/* One pass over all tensors of a checkpoint: digests, sums, and what is not finite. */
#ifndef PC_WEIGHTS_SCAN_H
#define PC_WEIGHTS_SCAN_H

#include "base/digest.h"
#include "base/progress.h"
#include "base/threads.h"
#include "format/checkpoint.h"

enum pc_scan_flag {
    PC_SCAN_SHA256 = 1,
    PC_SCAN_VALUES = 2, /* sum, n_nan, n_inf */
};

struct pc_scan {
    uint8_t sha256[PC_SHA256_SIZE]; /* of the tensor's bytes: row-major, little-endian */
    double sum; /* of its elements widened to F32, NaN and infinities left out; order fixed */
    uint64_t n_nan, n_inf;
    bool has_values; /* false for types that cannot be widened */
};

/** Scan every tensor of ck into out (n_tensors of them, by index). Tensors are handed to pool's workers,
 * largest first, and read in pieces of 1 MiB or one row; results do not depend on the workers. progress (may
 * be NULL) counts bytes under phase. Of several failures the one of the earliest tensor is returned. */
int pc_scan_checkpoint(const struct pc_checkpoint *ck, unsigned flags, struct pc_pool *pool,
    const struct pc_progress *progress, const char *phase, struct pc_scan *out, struct paco_error *err);

/** The content digest of docs/formats/manifest.md, from the tensors' names, types and shapes and their
 * SHA-256 in scans. */
int pc_content_digest(const struct pc_checkpoint *ck, const struct pc_scan *scans, char hex[PC_SHA256_HEX],
    struct paco_error *err);

#endif
