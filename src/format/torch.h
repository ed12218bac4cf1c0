// SPDX-License-Identifier: Apache-2.0
/* PyTorch checkpoints (.bin, .pt, .pth): what torch.save wrote, read without Python and without running
 * anything.
 *
 * Both forms are read: the zip archive of PyTorch 1.6 and later, and the pickles followed by raw storages of
 * earlier versions. Which it is, is seen from the content. Formats and bounds: docs/formats/torch.md. */
#ifndef PC_FORMAT_TORCH_H
#define PC_FORMAT_TORCH_H

#include "format/checkpoint.h"

/** Open the state dict in path. *owned*: pc_checkpoint_close.
 *
 *  The state dict is the pickled dict itself or, when that has no tensors, the dict under its key
 * "state_dict", "model", "module", "model_state_dict" or "model_state". Tensors keep its order. Tensors that
 * are views keep their values, not their strides: rows are read in row-major order.
 *
 *  Reading in order, or in any order by many threads, sums the CRC-32 of each stored zip entry on the way;
 * the read that completes an entry fails with PACO_EFORMAT if the sum is wrong. Entries that tensors do not
 * cover, or in which they jump about, are summed before their first row. Mapped tensors are summed by
 * pc_tensor_check.
 *
 *  What was in the file but is not in the table is said in the note: "skipped 2 values that are not tensors:
 * 'epoch' (an integer), ...".
 *
 *  Errors, with path and offset: PACO_EUNSUPPORTED for code in the pickle, which is named and not run, and
 * for kinds of tensors we do not have; PACO_EFORMAT for what is malformed, truncated or no checkpoint;
 * PACO_ELIMIT for bounds. */
int pc_torch_open(const char *path, struct pc_checkpoint **out, struct paco_error *err);

#endif
