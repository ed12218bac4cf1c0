// SPDX-License-Identifier: Apache-2.0
/* Weight diffs whose matrices take one bit or four for an element, and what they stand for.
 * docs/formats/packed-diff.md.
 *
 * Both ways are checkpoints: packing reads a diff and shows its packed tensors, unpacking reads those and
 * shows a diff, all in F32, that recover, --diff and inspect take as any other. */
#ifndef PC_WEIGHTS_PACKED_DIFF_H
#define PC_WEIGHTS_PACKED_DIFF_H

#include "format/checkpoint.h"

enum pc_packing {
    PC_PACKING_SIGNS, /* X.signs, a bit for each element, and X.scale, the mean of a row's magnitudes */
    PC_PACKING_INT4,  /* X.q4_0: blocks of 32 elements in 18 bytes */
};

/** Whether a tensor is the weight of a matrix in a layer: what is packed. */
bool pc_packing_takes(const struct pc_tensor *t);

/** diff with its layers' matrices packed; all else as it is. *out is *owned*, and closed before diff.
 * PACO_EUNSUPPORTED, naming the tensor, for rows that are no multiple of 8 elements (int4: 32); reading what
 * is not finite, or beyond what a block can scale, is PACO_EFORMAT. */
int pc_diff_pack(const struct pc_checkpoint *diff, enum pc_packing packing, struct pc_checkpoint **out,
    struct paco_error *err);

/** Whether there are packed tensors. */
bool pc_diff_is_packed(const struct pc_checkpoint *ck);

/** The diff that packed tensors stand for. *out is *owned*, and closed before packed. PACO_EFORMAT for signs
 * without their scale, or shapes that do not fit together. */
int pc_diff_unpack(const struct pc_checkpoint *packed, struct pc_checkpoint **out, struct paco_error *err);

#endif
