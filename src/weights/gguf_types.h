// SPDX-License-Identifier: Apache-2.0
/* Which element type each tensor of a GGUF file gets: --type. */
#ifndef PC_WEIGHTS_GGUF_TYPES_H
#define PC_WEIGHTS_GGUF_TYPES_H

#include "base/notes.h"
#include "format/checkpoint.h"
#include "format/config.h"

#include "paco/weights.h"

/** The block type that choice names, or PC_N_DTYPES when it is none. */
enum pc_dtype pc_block_choice(enum paco_dtype choice);

/** types[i] for tensor i of ck, which has GGUF's names, and the number llama.cpp calls the mix by
 * (general.file_type). Source: llama.cpp's llama_tensor_get_type, for the architecture llama.
 *
 *  Vectors and norms are F32. Matrices become what choice says, but for a block type: the head, or the
 * embedding when there is no head, is Q6_K (Q8_0 stays); Q4_K and Q5_K are the "M" mixes, with Q6_K for the
 * value and down projections of the first and last eighth of the layers and of every third in between; 80
 * layers with grouped heads have Q5_K where Q4_K's value projections would be. Rows that are no multiple of
 * 256 take Q5_0 for Q4_K, Q5_1 for Q5_K and Q8_0 for Q6_K; rows that are no whole number of those blocks F16.
 * PACO_DTYPE_KEEP leaves block types, F32, F16 and BF16 as they are; F64 becomes F32, F8 F16.
 *
 * Notes say once per kind what fell back, and what was quantised before. */
void pc_gguf_types_choose(const struct pc_checkpoint *ck, const struct pc_config *config,
    enum paco_dtype choice, enum pc_dtype *types, uint32_t *file_type, struct pc_notes *notes);

#endif
