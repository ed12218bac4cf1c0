// SPDX-License-Identifier: Apache-2.0
#include "weights/retype.h"

#include "algebra/cast.h"
#include "algebra/rename.h"
#include "weights/gguf_names.h"
#include "weights/gguf_types.h"

#include <string.h>

enum { ROOM = 64 }; /* for GGUF's name of a tensor */

/* The types are chosen by GGUF's names; what has none, or counts for nothing, keeps its own. */
static int rename_all(const struct pc_checkpoint *ck, const struct pc_config *config, struct pc_rename *table,
    char *names, struct pc_checkpoint **out, struct paco_error *err)
{
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct pc_tensor *t = &ck->tensors[i];
        char *name = names + i * ROOM;
        bool tied = config->tied && strcmp(t->name, "lm_head.weight") == 0;
        table[i] = (struct pc_rename){!tied && pc_hf_gguf_name(t->name, name, ROOM) ? name : t->name, t};
    }
    return pc_checkpoint_rename(table, ck->n_tensors, ck->path, out, err);
}

int pc_retype(const struct pc_checkpoint *ck, const struct pc_config *config, enum paco_dtype choice,
    struct pc_notes *notes, struct pc_checkpoint **out, struct paco_error *err)
{
    struct pc_rename *table = pc_alloc(ck->n_tensors, sizeof *table);
    char *names = pc_alloc(ck->n_tensors, ROOM);
    enum pc_dtype *types = pc_alloc(ck->n_tensors, sizeof *types);
    struct pc_checkpoint *renamed = NULL;
    uint32_t file_type;
    int rc = table && names && types ? rename_all(ck, config, table, names, &renamed, err)
                                     : pc_error_mem(err, ck->n_tensors * ROOM, "the types of tensors");
    if (rc == 0) {
        pc_gguf_types_choose(renamed, config, choice, types, &file_type, notes);
        rc = pc_checkpoint_cast(ck, types, out, err);
    }
    pc_checkpoint_close(renamed);
    pc_free(types);
    pc_free(names);
    pc_free(table);
    return rc;
}
