// SPDX-License-Identifier: Apache-2.0
#include "engine/grammar.h"

#include "base/memory.h"
#include "engine/grammar_parts.h"

#include <string.h>

enum { MAX_TOPS = 1 << 14, MAX_NODES = 1 << 14, MAX_NEST = 1500, MAX_WORK = 1 << 16, MAX_CHECK = 1 << 22 };
static const uint32_t NONE = UINT32_MAX;

/* A place: element `at` is next, `count` times it was repeated; then parent's. */
struct node {
    uint32_t at, count, parent;
};

/* The ways of one depth: tops [first, first + n) stand before BYTES. */
struct level {
    uint32_t first, n, n_nodes; /* nodes there were when it was complete */
    bool may_end;
};

struct pc_follower {
    struct pc_grammar *g;
    struct node *nodes; /* (MAX_NODES) */
    struct node *tops;  /* (MAX_TOPS), levels one after the other */
    struct level levels[PC_FOLLOWER_DEPTH + 1];
    uint32_t *moved; /* (MAX_NODES) */
    uint32_t n_nodes, depth, work;
    uint64_t budget;
    bool lost; /* a bound was met in the step under way */
};

static bool same_stack(const struct pc_follower *f, const struct node *a, const struct node *b)
{
    while (a->at == b->at && a->count == b->count) {
        if (a->parent == b->parent)
            return true;
        if (a->parent == NONE || b->parent == NONE)
            return false;
        a = &f->nodes[a->parent];
        b = &f->nodes[b->parent];
    }
    return false;
}

static void add_top(struct pc_follower *f, struct level *level, const struct node *top)
{
    for (uint32_t i = 0; i < level->n; i++)
        if (same_stack(f, &f->tops[level->first + i], top))
            return;
    if (level->n == PC_GRAMMAR_MAX_WAYS || level->first + level->n == MAX_TOPS)
        f->lost = true;
    else
        f->tops[level->first + level->n++] = *top;
}

static uint32_t new_node(struct pc_follower *f, uint32_t at, uint32_t count, uint32_t parent)
{
    if (f->n_nodes == MAX_NODES) {
        f->lost = true;
        return NONE;
    }
    f->nodes[f->n_nodes] = (struct node){at, count, parent};
    return f->n_nodes++;
}

static void expand(struct pc_follower *f, struct level *level, struct node at, int nest);

static void enter(struct pc_follower *f, struct level *level, uint32_t rule, uint32_t parent, int nest)
{
    const struct pc_grammar *g = f->g;
    for (uint32_t i = g->first_of[rule]; i < g->first_of[rule + 1] && !f->lost; i++)
        expand(f, level, (struct node){g->starts[i], 0, parent}, nest);
}

/* Every BYTES that can come next at this place becomes a top of level. */
static void expand(struct pc_follower *f, struct level *level, struct node at, int nest)
{
    const struct pc_element *e = &f->g->elements[at.at];
    if (nest > MAX_NEST || f->work++ > MAX_WORK || f->budget == 0)
        f->lost = true;
    if (f->lost)
        return;
    f->budget--;
    uint32_t back;
    switch (e->kind) {
    case PC_ELEMENT_BYTES: add_top(f, level, &at); break;
    case PC_ELEMENT_END:
        if (at.parent == NONE)
            level->may_end = true;
        else
            expand(f, level, f->nodes[at.parent], nest + 1);
        break;
    case PC_ELEMENT_CALL:
        // Where nothing follows the call, there is no place to come back to.
        back = e[1].kind == PC_ELEMENT_END ? at.parent : new_node(f, at.at + 1, 0, at.parent);
        if (!f->lost)
            enter(f, level, e->what, back, nest + 1);
        break;
    case PC_ELEMENT_REPEAT:
        if (at.count < e->max) {
            bool counts = e->max != UINT32_MAX || at.count < e->min;
            back = new_node(f, at.at, counts ? at.count + 1 : at.count, at.parent);
            if (!f->lost)
                enter(f, level, e->what, back, nest + 1);
        }
        if (at.count >= e->min && !f->lost)
            expand(f, level, (struct node){at.at + 1, 0, at.parent}, nest + 1);
        break;
    }
}

void pc_follower_reset(struct pc_follower *f)
{
    f->levels[0] = (struct level){.first = 0};
    f->n_nodes = f->depth = f->work = 0;
    f->lost = false;
    f->budget = UINT64_MAX;
    enter(f, &f->levels[0], f->g->root, NONE, 0);
    f->levels[0].n_nodes = f->n_nodes;
}

static bool has(const struct pc_byte_set *set, uint8_t byte)
{
    return set->bits[byte >> 6] >> (byte & 63) & 1;
}

bool pc_follower_step(struct pc_follower *f, uint8_t byte)
{
    if (f->depth == PC_FOLLOWER_DEPTH)
        return false;
    const struct level *from = &f->levels[f->depth];
    struct level *to = &f->levels[f->depth + 1];
    *to = (struct level){.first = from->first + from->n};
    f->work = 0;
    f->lost = false;
    for (uint32_t i = 0; i < from->n; i++) {
        const struct node top = f->tops[from->first + i];
        const struct pc_byte_set *set = &f->g->sets[f->g->elements[top.at].what];
        if (has(set, byte))
            expand(f, to, (struct node){top.at + 1, 0, top.parent}, 0);
    }
    if (f->lost || (to->n == 0 && !to->may_end)) {
        f->n_nodes = from->n_nodes;
        return false;
    }
    to->n_nodes = f->n_nodes;
    f->depth++;
    return true;
}

void pc_follower_set_budget(struct pc_follower *f, uint64_t budget)
{
    f->budget = budget;
}

void pc_follower_back(struct pc_follower *f, size_t depth)
{
    if (depth >= f->depth)
        return;
    f->depth = (uint32_t)depth;
    f->n_nodes = f->levels[depth].n_nodes;
}

/* Only nodes that stacks still lead to stay. Parents come before children, so that one pass up marks and one
 * down moves. */
void pc_follower_settle(struct pc_follower *f)
{
    struct level *level = &f->levels[f->depth];
    memset(f->moved, 0, f->n_nodes * sizeof *f->moved);
    memmove(f->tops, f->tops + level->first, level->n * sizeof *f->tops);
    for (uint32_t i = 0; i < level->n; i++)
        if (f->tops[i].parent != NONE)
            f->moved[f->tops[i].parent] = 1;
    for (uint32_t i = f->n_nodes; i-- > 0;)
        if (f->moved[i] && f->nodes[i].parent != NONE)
            f->moved[f->nodes[i].parent] = 1;
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->n_nodes; i++) {
        if (!f->moved[i])
            continue;
        struct node node = f->nodes[i];
        if (node.parent != NONE)
            node.parent = f->moved[node.parent];
        f->nodes[n] = node;
        f->moved[i] = n++;
    }
    for (uint32_t i = 0; i < level->n; i++)
        if (f->tops[i].parent != NONE)
            f->tops[i].parent = f->moved[f->tops[i].parent];
    f->levels[0] = (struct level){.n = level->n, .n_nodes = n, .may_end = level->may_end};
    f->n_nodes = n;
    f->depth = 0;
}

bool pc_follower_may_end(const struct pc_follower *f)
{
    return f->levels[f->depth].may_end;
}

/* No byte inside a character or an escape may be both. */
static bool begins_character(const struct pc_byte_set *set)
{
    return has(set, 'z') && has(set, ' ');
}

/* Of one way: it stands before a character, whose place to come back to says what may follow. */
static uint32_t free_run_of(const struct pc_follower *f, const struct node *top)
{
    const struct pc_grammar *g = f->g;
    if (top->parent == NONE || !begins_character(&g->sets[g->elements[top->at].what]))
        return 0;
    const struct node *back = &f->nodes[top->parent];
    const struct pc_element *e = &g->elements[back->at];
    if (e->kind == PC_ELEMENT_CALL)
        return e->min;
    if (e->kind != PC_ELEMENT_REPEAT || e->what != g->free || top->at != g->starts[g->first_of[g->free]])
        return 0;
    return e->max == UINT32_MAX ? UINT32_MAX : e->max - back->count + 1; // this one is counted already
}

uint32_t pc_follower_free_run(const struct pc_follower *f)
{
    const struct level *level = &f->levels[f->depth];
    uint32_t most = 0;
    for (uint32_t i = 0; i < level->n && f->g->free != NONE; i++) {
        uint32_t run = free_run_of(f, &f->tops[level->first + i]);
        most = run > most ? run : most;
    }
    return most;
}

int pc_follower_new(struct pc_grammar *g, struct pc_follower **out, struct paco_error *err)
{
    struct pc_follower *f = pc_alloc_zero(1, sizeof *f);
    if (!f)
        return pc_error_mem(err, sizeof *f, "a form's state");
    f->g = pc_grammar_ref(g);
    f->nodes = pc_alloc(MAX_NODES, sizeof *f->nodes);
    f->moved = pc_alloc(MAX_NODES, sizeof *f->moved);
    f->tops = pc_alloc(MAX_TOPS, sizeof *f->tops);
    if (!f->nodes || !f->moved || !f->tops) {
        pc_follower_free(f);
        return pc_error_mem(err, MAX_NODES * sizeof *f->nodes, "a form's state");
    }
    pc_follower_reset(f);
    *out = f;
    return 0;
}

void pc_follower_free(struct pc_follower *f)
{
    if (!f)
        return;
    pc_grammar_unref(f->g);
    pc_free(f->nodes);
    pc_free(f->moved);
    pc_free(f->tops);
    pc_free(f);
}

/* ---- bounds ---- */

/* Each rule is entered once. */
int pc_grammar_check(struct pc_grammar *g, struct paco_error *err)
{
    struct pc_follower *f;
    int rc = pc_follower_new(g, &f, err);
    if (rc < 0)
        return rc;
    bool lost = f->lost;
    f->budget = MAX_CHECK;
    for (uint32_t r = 0; r < g->n_rules && !lost; r++) {
        f->levels[0] = (struct level){.first = 0};
        f->n_nodes = f->work = 0;
        enter(f, &f->levels[0], r, NONE, 0);
        lost = f->lost;
    }
    pc_follower_free(f);
    return lost ? pc_error_set(err, PACO_ELIMIT,
                      "the form refers to itself without an end, or leaves more than %d ways open at once",
                      PC_GRAMMAR_MAX_WAYS)
                : 0;
}
