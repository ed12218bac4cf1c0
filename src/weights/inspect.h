// SPDX-License-Identifier: Apache-2.0
/* What a checkpoint holds, and what about it looks wrong. */
#ifndef PC_WEIGHTS_INSPECT_H
#define PC_WEIGHTS_INSPECT_H

#include "base/notes.h"
#include "format/checkpoint.h"
#include "format/config.h"
#include "weights/scan.h"

/** How much of a checkpoint has one type. */
struct pc_dtype_share {
    uint64_t n_tensors, n_elements, size;
};

struct pc_census {
    uint64_t n_params; /* elements of all tensors but buffers (rotary inv_freq, integers) */
    uint64_t size;     /* bytes of all tensors */
    struct pc_dtype_share by_dtype[PC_N_DTYPES];
};

/** Count a checkpoint's tensors. */
void pc_inspect_census(const struct pc_checkpoint *ck, struct pc_census *out);

/** Hold the tensors against the configuration, and note what is missing, extra or of another shape: one note
 * for each kind of fault, with the first tensor's name and how many there are. Returns how many kinds.
 * PACO_EMEM only is an error. */
int pc_inspect_layout(const struct pc_checkpoint *ck, const struct pc_config *config,
    struct pc_notes *problems, struct paco_error *err);

/** Note tensors of scans (by index, with PC_SCAN_VALUES) that hold NaN or infinities. */
void pc_inspect_values(
    const struct pc_checkpoint *ck, const struct pc_scan *scans, struct pc_notes *problems);

#endif
