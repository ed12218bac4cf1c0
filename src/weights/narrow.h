// SPDX-License-Identifier: Apache-2.0
/* Which element types an output gets: --dtype of every command that writes weights. */
#ifndef PC_WEIGHTS_NARROW_H
#define PC_WEIGHTS_NARROW_H

#include "base/progress.h"
#include "base/threads.h"
#include "format/checkpoint.h"

#include "paco/weights.h"

/** ck with its float tensors in the types that choice means, as a checkpoint: *out is *owned*, ck and keep
 * are *borrowed* until it is closed. Integers stay as they are.
 *
 *  PACO_DTYPE_KEEP takes each tensor's type from the tensor of that name in keep (F32 for block types).
 *  PACO_DTYPE_AUTO reads all of ck once: a tensor becomes F16 or BF16 if that loses nothing, else it stays.
 * Where both would do, it becomes what more of the model's bytes need, BF16 if neither is needed anywhere. */
int pc_narrow(const struct pc_checkpoint *ck, enum paco_dtype choice, const struct pc_checkpoint *keep,
    struct pc_pool *pool, const struct pc_progress *progress, struct pc_checkpoint **out,
    struct paco_error *err);

/** The widest plain float type among ck's tensors, by bytes of an element: what Transformers must load it as
 * to lose nothing. F32 when there is none. */
enum pc_dtype pc_widest_float(const struct pc_checkpoint *ck);

/** "f32", "f16", "bf16", "keep", "auto", "q8_0" and so on. Static storage. */
const char *pc_dtype_choice_name(enum paco_dtype choice);

#endif
