// SPDX-License-Identifier: Apache-2.0
/* paco finetune under mpirun: whether all ranks were started to do the same. */
#ifndef PC_CLI_FINETUNE_ALIKE_H
#define PC_CLI_FINETUNE_ALIKE_H

#include "cli/finetune_model.h"

/** Hold what this rank would do against rank 0's: the program's version, the processor's instructions, every
 *  option that does not name a place of its own machine, and what the run is (f->identity: the data, the
 * base). PACO_EMISMATCH says what differs. All ranks come here, and then to pc_finetune_agree. */
int pc_finetune_compare(const struct pc_finetune *f, struct paco_error *err);

#endif
