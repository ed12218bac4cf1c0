// SPDX-License-Identifier: Apache-2.0
/* A model in other element types without a file in between: what --type means where a model is run. */
#ifndef PC_WEIGHTS_RETYPE_H
#define PC_WEIGHTS_RETYPE_H

#include "base/notes.h"
#include "format/checkpoint.h"
#include "format/config.h"

#include "paco/weights.h"

/** ck, which has Hugging Face's names, with each tensor in the type it would have in a GGUF file of that
 * choice (weights/gguf_types.h): rows are narrowed or quantised as they are read, to the same bytes as in
 * that file. ck is *borrowed* until *out, which is *owned*, is closed. Errors: PACO_EMEM, and those of
 * pc_checkpoint_cast. */
int pc_retype(const struct pc_checkpoint *ck, const struct pc_config *config, enum paco_dtype choice,
    struct pc_notes *notes, struct pc_checkpoint **out, struct paco_error *err);

#endif
