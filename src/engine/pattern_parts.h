// SPDX-License-Identifier: Apache-2.0
/* What pattern.c reads and pattern_states.c makes an automaton of: a pattern as a tree. */
#ifndef PC_ENGINE_PATTERN_PARTS_H
#define PC_ENGINE_PATTERN_PARTS_H

#include "engine/pattern.h"

enum pc_pattern_kind {
    PC_PATTERN_EMPTY,
    PC_PATTERN_CHARS,  /* one of set a */
    PC_PATTERN_BOTH,   /* a, then b */
    PC_PATTERN_EITHER, /* a or b */
    PC_PATTERN_REPEAT, /* a, min to max times */
    PC_PATTERN_BEGIN,
    PC_PATTERN_END,
};

struct pc_pattern_node {
    enum pc_pattern_kind kind;
    uint32_t a, b, min, max;
};

/** Characters [first, last], of a set in order and apart. */
struct pc_char_range {
    uint32_t first, last;
};

struct pc_char_set {
    uint32_t first, n; /* of the tree's ranges */
};

/** What must, or must not, be found where the pattern begins. */
struct pc_pattern_ahead {
    uint32_t node;
    bool negated;
};

/** *owned*: pc_pattern_tree_release. `{0}` may be released, too. */
struct pc_pattern_tree {
    struct pc_pattern_node *nodes;
    struct pc_char_set *sets;
    struct pc_char_range *ranges;
    struct pc_pattern_ahead *ahead;
    size_t n_nodes, nodes_capacity, n_sets, sets_capacity, n_ranges, ranges_capacity, n_ahead, ahead_capacity;
    uint32_t root;
};

void pc_pattern_tree_release(struct pc_pattern_tree *t);
int pc_pattern_parse(const char *pattern, size_t len, struct pc_pattern_tree *t, struct paco_error *err);
int pc_pattern_add(
    struct pc_pattern_tree *t, struct pc_pattern_node node, uint32_t *out, struct paco_error *err);

/** The texts in which the tree's node is found; out is `{0}` before. */
int pc_pattern_states(const struct pc_pattern_tree *t, uint32_t node, uint64_t *work,
    struct pc_automaton *out, struct paco_error *err);

#endif
