// SPDX-License-Identifier: Apache-2.0
/* Tensors of other checkpoints picked one by one, in a new order and under new names. */
#ifndef PC_ALGEBRA_RENAME_H
#define PC_ALGEBRA_RENAME_H

#include "format/checkpoint.h"

struct pc_rename {
    const char *name;           /* in the result */
    const struct pc_tensor *of; /* what it is there */
};

/** The node whose tensor i is table[i].of under the name table[i].name. The tensors' checkpoints are
 * *borrowed* until *out, which is *owned*, is closed; table only for the call. path is for messages. A name
 * used twice is PACO_EFORMAT. Rows come from the source as they are; so do maps and places. */
int pc_checkpoint_rename(const struct pc_rename *table, size_t n, const char *path,
    struct pc_checkpoint **out, struct paco_error *err);

#endif
