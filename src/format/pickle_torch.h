// SPDX-License-Identifier: Apache-2.0
/* What the pickles of torch.save may name, and what naming or calling it means. Internal to the pickle
 * reader. */
#ifndef PC_FORMAT_PICKLE_TORCH_H
#define PC_FORMAT_PICKLE_TORCH_H

#include "format/pickle.h"

/** The row of the allow-list for module.name. Anything else sets err to PACO_EUNSUPPORTED, naming it, and
 * returns NULL. */
const struct pc_pickle_global *pc_pickle_find_global(
    const char *module, const char *name, struct paco_error *err);

/** Fill *out with the result of calling fn (a GLOBAL) with args (a TUPLE); new structures go into arena.
 * is_new says that the opcode was NEWOBJ rather than REDUCE. */
int pc_pickle_call(struct pc_arena *arena, const struct pc_value *fn, const struct pc_value *args,
    bool is_new, struct pc_value *out, struct paco_error *err);

/** Fill *out with what the persistent id names, and put its storage at the head of the list *storages. */
int pc_pickle_persistent(struct pc_arena *arena, const struct pc_value *id, struct pc_value *out,
    const struct pc_pickle_storage **storages, struct paco_error *err);

/** The error after pc_arena_alloc gave no size bytes: PACO_ELIMIT if its bound forbids them, else PACO_EMEM.
 */
int pc_pickle_no_room(const struct pc_arena *arena, uint64_t size, struct paco_error *err);

#endif
