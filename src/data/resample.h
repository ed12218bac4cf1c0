// SPDX-License-Identifier: Apache-2.0
/* A sample of the parts of FLAN v2 in the paper's proportions: what Open-Instruct's resample_flan_v2.py (June
 * 2023) writes, byte for byte. */
#ifndef PC_DATA_RESAMPLE_H
#define PC_DATA_RESAMPLE_H

#include "base/error.h"
#include "base/progress.h"

#include <stdbool.h>
#include <stdint.h>

/** All borrowed. */
struct pc_resample_options {
    const char *dir, *out;
    uint64_t n_samples, seed;
    bool force;
    const struct pc_progress *progress;
};

/** Draw from DIR/PART.jsonl for each of the fourteen parts, lines in the order of the file, and write out,
 * whole or not at all. *n: lines written. PACO_EFORMAT: a part has fewer lines than are drawn. */
int pc_data_resample(const struct pc_resample_options *options, uint64_t *n, struct paco_error *err);

#endif
