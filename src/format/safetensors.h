// SPDX-License-Identifier: Apache-2.0
/* safetensors: an eight-byte length, a JSON header, and the tensors' bytes. docs/formats/safetensors.md.
 *
 * The writer's half (pc_safetensors_place, pc_safetensors_seal) is declared in layout.h. */
#ifndef PC_FORMAT_SAFETENSORS_H
#define PC_FORMAT_SAFETENSORS_H

#include "format/checkpoint.h"

enum {
    /* The format allows 100 MB. Real headers take about 120 bytes a tensor; the largest published model has
     * 100,000 tensors in hundreds of files. */
    PC_SAFETENSORS_MAX_HEADER = 16 * 1024 * 1024,
};

/** Open path. Tensors come in the order of their bytes in the file. *owned*: pc_checkpoint_close.
 *
 *  The tensors must fill the data exactly: overlaps, holes, bytes behind the last and ranges outside the file
 * are PACO_EFORMAT, as is a range that is not shape times dtype; each message names the tensor, what was
 * found and what is expected, with the offset in the file. An unknown dtype is PACO_EUNSUPPORTED, a header
 * beyond the bounds above PACO_ELIMIT. Files that are no safetensors at all are named for what they are
 * (sniff.h). Source: huggingface/safetensors README, "Format". */
int pc_safetensors_open(const char *path, struct pc_checkpoint **out, struct paco_error *err);

/** How safetensors spells a dtype ("F32"), or NULL when it has no word for it. Static storage. */
const char *pc_safetensors_dtype(enum pc_dtype dtype);

#endif
