// SPDX-License-Identifier: Apache-2.0
/* What grammar_build.c makes and grammar.c follows. */
#ifndef PC_ENGINE_GRAMMAR_PARTS_H
#define PC_ENGINE_GRAMMAR_PARTS_H

#include "engine/grammar.h"

#include <stdatomic.h>

enum {
    PC_GRAMMAR_MAX_WAYS = 1024, /* that a follower keeps */
    PC_GRAMMAR_NO_RULE = -1,
};

struct pc_grammar {
    atomic_int n_holders;
    struct pc_element *elements;
    struct pc_byte_set *sets;
    uint32_t *starts;             /* of all alternatives, rule after rule */
    uint32_t *first_of;           /* (n_rules + 1) into starts */
    uint32_t n_rules, root, free; /* free: (uint32_t)PC_GRAMMAR_NO_RULE, or pc_grammar_set_free's */
};

/** No rule comes back to itself without a byte, nor fans out beyond bounds: PACO_ELIMIT. */
int pc_grammar_check(struct pc_grammar *g, struct paco_error *err);

#endif
