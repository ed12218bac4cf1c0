// SPDX-License-Identifier: Apache-2.0
/* Finite automata over code points: which texts a string or a number of an answer may be. Deterministic, so
 * that following one costs the same at every character, and without dead ends: from each state there is a way
 * to the end.
 *
 *     pc_pattern_compile / pc_number_automaton / pc_automaton_of_words          make them,
 *     pc_automaton_combine                     what two allow, or what one allows and the other does not,
 *     pc_json_form_automaton                   as rules of a grammar.
 *
 * What hostile schemas can make of them is bounded: by states, by edges, and by the work of all that is made
 * for one schema, which callers count down in *work, as do those who walk through the schema itself. What
 * goes beyond is PACO_ELIMIT. */
#ifndef PC_ENGINE_AUTOMATON_H
#define PC_ENGINE_AUTOMATON_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PC_AUTOMATON_MAX_STATES = 1 << 13,
    PC_AUTOMATON_MAX_EDGES = 1 << 16,
    PC_AUTOMATON_WORK = 1 << 25, /* for one schema: a good tenth of a second */
    PC_LAST_CODE_POINT = 0x10ffff,
};

/** Code points [first, last] lead to state `to`. */
struct pc_auto_edge {
    uint32_t first, last, to;
};

/** Its edges are [edge, edge + n_edges) of the automaton's, ascending and disjoint. */
struct pc_auto_state {
    uint32_t edge, n_edges;
    bool accepts;
};

/** State 0 is where texts begin; without states nothing is allowed. */
struct pc_automaton {
    struct pc_auto_state *states;
    struct pc_auto_edge *edges;
    size_t n_states, n_edges, states_capacity, edges_capacity;
};

/** `{0}` may be released, too. */
void pc_automaton_release(struct pc_automaton *a);

/** Append a state, then its edges in order; edges may lead to states still to come. */
int pc_automaton_add_state(struct pc_automaton *a, bool accepts, struct paco_error *err);
int pc_automaton_add_edge(
    struct pc_automaton *a, uint32_t first, uint32_t last, uint32_t to, struct paco_error *err);
/** Drop the states from which there is no way to the end. For whoever made an automaton by hand. */
int pc_automaton_trim(struct pc_automaton *a, struct paco_error *err);

/** Any text of min to max characters; max UINT32_MAX: without a limit. */
int pc_automaton_of_length(uint32_t min, uint32_t max, struct pc_automaton *out, struct paco_error *err);

/** The n words, which are reordered; valid UTF-8. */
struct pc_word {
    const char *text;
    size_t len;
};
int pc_automaton_of_words(
    struct pc_word *words, size_t n, uint64_t *work, struct pc_automaton *out, struct paco_error *err);

/** *a becomes what it and b allow; or what it allows and b does not. */
int pc_automaton_both(
    struct pc_automaton *a, const struct pc_automaton *b, uint64_t *work, struct paco_error *err);
int pc_automaton_without(
    struct pc_automaton *a, const struct pc_automaton *b, uint64_t *work, struct paco_error *err);

bool pc_automaton_accepts(const struct pc_automaton *a, const char *text, size_t len);

/** Count n steps of work; PACO_ELIMIT when there is none left. */
int pc_automaton_count(uint64_t *work, uint64_t n, struct paco_error *err);

/** Keys of any bytes and their numbers, in the order in which they were met: the states of an automaton that
 * is being explored. `{0}` is empty; *owned*: pc_interner_release. */
struct pc_interner {
    char *bytes;
    size_t *starts;  /* (n + 1) into bytes */
    uint32_t *slots; /* number + 1; 0: free */
    size_t n, len, bytes_capacity, starts_capacity, n_slots;
};

void pc_interner_release(struct pc_interner *t);
/** The number of a key; *number == n before the call where it is new. */
int pc_intern(struct pc_interner *t, const void *key, size_t len, uint32_t *number, struct paco_error *err);

#endif
