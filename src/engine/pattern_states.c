// SPDX-License-Identifier: Apache-2.0
/* From a pattern's tree to an automaton: Thompson's places, then the sets of places one can be in, explored
 * from the beginning (Rabin and Scott). Places that stand before ^ or $ are passed only where a text begins
 * or ends. A set in which the pattern was found is one state for all: whatever follows is allowed. */
#include "base/memory.h"
#include "engine/pattern_parts.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_PLACES = 1 << 14,
    WORK_AT_LEAST = 512, /* of the shortest pattern, as it is counted */
};
static const uint32_t AT_BEGIN = UINT32_MAX; /* the last number of the key of the first set */
static const char WHAT[] = "a pattern's places";

enum place_kind { CHARS, FORK, BEGIN, END, FOUND };

struct place {
    enum place_kind kind;
    uint32_t set;        /* of CHARS */
    uint32_t next, fork; /* both are ways on from FORK */
};

struct states {
    const struct pc_pattern_tree *t;
    struct place *places;
    size_t n_places, places_capacity;
    uint32_t *bounds; /* where characters begin that some set tells from those before */
    size_t n_bounds;
    struct pc_interner sets;
    uint32_t *set, *stack; /* (n_places + 1) */
    uint32_t *seen;        /* (n_places) the round in which a place was met */
    size_t n_set;
    uint64_t n_visited; /* places that were looked at and not counted yet */
    uint32_t round;
    struct pc_automaton *out;
    uint64_t *work;
    struct paco_error *err;
};

static int add_place(struct states *s, struct place place, uint32_t *out)
{
    if (s->n_places == MAX_PLACES)
        return pc_error_set(s->err, PACO_ELIMIT, "it takes more than %d places", MAX_PLACES);
    int rc = pc_grow(&s->places, &s->places_capacity, s->n_places, sizeof *s->places, WHAT, s->err);
    if (rc < 0)
        return rc;
    *out = (uint32_t)s->n_places;
    s->places[s->n_places++] = place;
    return 0;
}

static int lay(struct states *s, uint32_t node, uint32_t next, uint32_t *out);

static int lay_repeat(struct states *s, const struct pc_pattern_node *n, uint32_t next, uint32_t *out)
{
    uint32_t body, at = next;
    int rc = 0;
    if (n->max == UINT32_MAX) {
        rc = add_place(s, (struct place){FORK, 0, next, next}, &at);
        if (rc == 0)
            rc = lay(s, n->a, at, &body);
        if (rc == 0)
            s->places[at].fork = body;
    }
    for (uint32_t i = n->min; n->max != UINT32_MAX && rc == 0 && i < n->max; i++) {
        rc = lay(s, n->a, at, &body);
        if (rc == 0)
            rc = add_place(s, (struct place){FORK, 0, next, body}, &at);
    }
    for (uint32_t i = 0; rc == 0 && i < n->min; i++)
        rc = lay(s, n->a, at, &at);
    *out = at;
    return rc;
}

/* The place where node begins, `next` being where it ends. Sequences and alternatives lean to the left: what
 * is deep in the tree is so because of parentheses. */
static int lay(struct states *s, uint32_t node, uint32_t next, uint32_t *out)
{
    const struct pc_pattern_node *n = &s->t->nodes[node];
    uint32_t other = 0, first = 0, at = next;
    bool forked = false;
    int rc = 0;
    for (; rc == 0 && n->kind == PC_PATTERN_BOTH; n = &s->t->nodes[n->a]) {
        rc = pc_automaton_count(s->work, 1, s->err);
        if (rc == 0)
            rc = lay(s, n->b, at, &at);
    }
    for (; rc == 0 && n->kind == PC_PATTERN_EITHER; n = &s->t->nodes[n->a], forked = true) {
        rc = lay(s, n->b, at, &other);
        if (rc == 0 && forked)
            rc = add_place(s, (struct place){FORK, 0, other, first}, &other);
        first = other;
    }
    if (rc == 0)
        rc = pc_automaton_count(s->work, 1, s->err);
    if (rc < 0)
        return rc;
    switch (n->kind) {
    case PC_PATTERN_EMPTY: break;
    case PC_PATTERN_CHARS: rc = add_place(s, (struct place){CHARS, n->a, at, 0}, &at); break;
    case PC_PATTERN_BEGIN: rc = add_place(s, (struct place){BEGIN, 0, at, 0}, &at); break;
    case PC_PATTERN_END: rc = add_place(s, (struct place){END, 0, at, 0}, &at); break;
    case PC_PATTERN_REPEAT: rc = lay_repeat(s, n, at, &at); break;
    case PC_PATTERN_BOTH:
    case PC_PATTERN_EITHER: rc = lay(s, (uint32_t)(n - s->t->nodes), at, &at); break;
    }
    if (rc == 0 && forked)
        rc = add_place(s, (struct place){FORK, 0, at, first}, &at);
    *out = at;
    return rc;
}

/* ---- sets of places ---- */

static void visit(struct states *s, uint32_t place, bool at_begin, bool at_end, bool *found)
{
    size_t n = 0;
    s->stack[n++] = place;
    while (n > 0) {
        uint32_t i = s->stack[--n];
        const struct place *p = &s->places[i];
        s->n_visited++;
        if (s->seen[i] == s->round)
            continue;
        s->seen[i] = s->round;
        switch (p->kind) {
        case FORK:
            s->stack[n++] = p->fork;
            s->stack[n++] = p->next;
            break;
        case BEGIN:
            if (at_begin)
                s->stack[n++] = p->next;
            break;
        case END:
            if (at_end)
                s->stack[n++] = p->next;
            else
                s->set[s->n_set++] = i;
            break;
        case CHARS:
            if (!at_end)
                s->set[s->n_set++] = i;
            break;
        case FOUND: *found = true; break;
        }
    }
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The state of the set that was visited: 0 is where the pattern was found. */
static int end_visit(struct states *s, bool at_begin, bool found, uint32_t *number)
{
    if (found)
        s->n_set = 0;
    qsort(s->set, s->n_set, sizeof *s->set, by_number);
    if (at_begin)
        s->set[s->n_set++] = AT_BEGIN;
    uint32_t one = found ? AT_BEGIN - 1 : 0;
    return found ? pc_intern(&s->sets, &one, sizeof one, number, s->err)
                 : pc_intern(&s->sets, s->set, s->n_set * sizeof *s->set, number, s->err);
}

static bool has(const struct states *s, uint32_t set, uint32_t c)
{
    const struct pc_char_range *r = s->t->ranges + s->t->sets[set].first;
    uint32_t first = 0, end = s->t->sets[set].n;
    while (first < end) {
        uint32_t middle = (first + end) / 2;
        if (r[middle].last < c)
            first = middle + 1;
        else
            end = middle;
    }
    return first < s->t->sets[set].n && r[first].first <= c;
}

static int count_visited(struct states *s)
{
    uint64_t n = s->n_visited;
    s->n_visited = 0;
    return pc_automaton_count(s->work, n, s->err);
}

static bool may_end(struct states *s, const uint32_t *places, size_t n, bool at_begin)
{
    bool found = false;
    s->round++;
    for (size_t i = 0; i < n; i++)
        if (s->places[places[i]].kind == END) {
            s->n_set = 0;
            visit(s, places[i], at_begin, true, &found);
        }
    return found;
}

/* All edges of a set, which is copied: exploring moves what it was kept in. */
static int add_edges(struct states *s, const uint32_t *places, size_t n)
{
    int rc = 0;
    for (size_t b = 0; b < s->n_bounds && rc == 0; b++) {
        bool found = false;
        uint32_t to, last = b + 1 < s->n_bounds ? s->bounds[b + 1] - 1 : PC_LAST_CODE_POINT;
        rc = pc_automaton_count(s->work, 4 + n, s->err);
        s->round++;
        s->n_set = 0;
        for (size_t i = 0; rc == 0 && i < n; i++)
            if (s->places[places[i]].kind == CHARS && has(s, s->places[places[i]].set, s->bounds[b]))
                visit(s, s->places[places[i]].next, false, false, &found);
        if (rc == 0)
            rc = count_visited(s);
        if (rc < 0 || (s->n_set == 0 && !found))
            continue;
        rc = pc_automaton_count(s->work, s->n_set, s->err);
        if (rc == 0)
            rc = end_visit(s, false, found, &to);
        if (rc == 0)
            rc = pc_automaton_add_edge(s->out, s->bounds[b], last, to, s->err);
    }
    return rc;
}

static int explore(struct states *s, uint32_t begin)
{
    bool found = false;
    uint32_t number, *places = pc_alloc(s->n_places + 1, sizeof *places);
    if (!places)
        return pc_error_mem(s->err, s->n_places, WHAT);
    s->round++;
    s->n_set = 0;
    visit(s, begin, true, false, &found);
    int rc = end_visit(s, true, found, &number);
    for (size_t i = 0; rc == 0 && i < s->sets.n; i++) {
        size_t n = (s->sets.starts[i + 1] - s->sets.starts[i]) / sizeof *places;
        memcpy(places, s->sets.bytes + s->sets.starts[i], n * sizeof *places);
        bool at_begin = n && places[n - 1] == AT_BEGIN;
        if (n == 1 && places[0] == AT_BEGIN - 1) {
            rc = pc_automaton_add_state(s->out, true, s->err);
            if (rc == 0)
                rc = pc_automaton_add_edge(s->out, 0, PC_LAST_CODE_POINT, (uint32_t)i, s->err);
            continue;
        }
        n -= at_begin;
        rc = pc_automaton_add_state(s->out, may_end(s, places, n, at_begin), s->err);
        if (rc == 0)
            rc = count_visited(s);
        if (rc == 0)
            rc = add_edges(s, places, n);
    }
    pc_free(places);
    return rc;
}

static int find_bounds(struct states *s)
{
    const struct pc_pattern_tree *t = s->t;
    size_t n = 0;
    s->bounds = pc_alloc(2 * t->n_ranges + 1, sizeof *s->bounds);
    if (!s->bounds)
        return pc_error_mem(s->err, t->n_ranges, WHAT);
    s->bounds[n++] = 0;
    for (size_t i = 0; i < t->n_ranges; i++) {
        s->bounds[n++] = t->ranges[i].first;
        if (t->ranges[i].last < PC_LAST_CODE_POINT)
            s->bounds[n++] = t->ranges[i].last + 1;
    }
    qsort(s->bounds, n, sizeof *s->bounds, by_number);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || s->bounds[i] != s->bounds[s->n_bounds - 1])
            s->bounds[s->n_bounds++] = s->bounds[i];
    return 0;
}

int pc_pattern_states(const struct pc_pattern_tree *t, uint32_t node, uint64_t *work,
    struct pc_automaton *out, struct paco_error *err)
{
    struct states s = {.t = t, .out = out, .work = work, .err = err};
    uint32_t found = 0, begin = 0, skip = 0;
    int rc = add_place(&s, (struct place){.kind = FOUND}, &found);
    if (rc == 0)
        rc = lay(&s, node, found, &begin);
    // What is looked for may begin behind any characters: the fork's other way takes one and comes back.
    if (rc == 0)
        rc = add_place(&s, (struct place){FORK, 0, begin, 0}, &skip);
    if (rc == 0)
        rc = add_place(&s, (struct place){CHARS, 0, skip, 0}, &begin);
    if (rc == 0)
        s.places[skip].fork = begin;
    if (rc == 0)
        rc = find_bounds(&s);
    if (rc == 0) {
        s.set = pc_alloc(s.n_places + 2, sizeof *s.set);
        s.stack = pc_alloc(2 * s.n_places + 2, sizeof *s.stack);
        s.seen = pc_alloc_zero(s.n_places, sizeof *s.seen);
        rc = s.set && s.stack && s.seen ? explore(&s, skip) : pc_error_mem(err, s.n_places, WHAT);
    }
    if (rc == 0)
        rc = pc_automaton_trim(out, err);
    pc_free(s.places);
    pc_free(s.bounds);
    pc_free(s.set);
    pc_free(s.stack);
    pc_free(s.seen);
    pc_interner_release(&s.sets);
    return rc;
}

/* ---- the whole ---- */

int pc_pattern_compile(const char *pattern, size_t len, bool whole, uint64_t *work, struct pc_automaton *out,
    struct paco_error *err)
{
    struct pc_pattern_tree t = {0};
    uint32_t begin, end;
    // Set 0 is any character, for the search.
    int rc = pc_automaton_count(work, WORK_AT_LEAST, err);
    if (rc == 0)
        rc = pc_grow(&t.ranges, &t.ranges_capacity, 0, sizeof *t.ranges, WHAT, err);
    if (rc == 0)
        rc = pc_grow(&t.sets, &t.sets_capacity, 0, sizeof *t.sets, WHAT, err);
    if (rc == 0) {
        t.ranges[t.n_ranges++] = (struct pc_char_range){0, PC_LAST_CODE_POINT};
        t.sets[t.n_sets++] = (struct pc_char_set){0, 1};
        rc = pc_pattern_parse(pattern, len, &t, err);
    }
    if (rc == 0 && whole) {
        rc = pc_pattern_add(&t, (struct pc_pattern_node){.kind = PC_PATTERN_BEGIN}, &begin, err);
        if (rc == 0)
            rc = pc_pattern_add(&t, (struct pc_pattern_node){.kind = PC_PATTERN_END}, &end, err);
        if (rc == 0)
            rc = pc_pattern_add(
                &t, (struct pc_pattern_node){PC_PATTERN_BOTH, begin, t.root, 0, 0}, &begin, err);
        if (rc == 0)
            rc =
                pc_pattern_add(&t, (struct pc_pattern_node){PC_PATTERN_BOTH, begin, end, 0, 0}, &t.root, err);
    }
    if (rc == 0)
        rc = pc_pattern_states(&t, t.root, work, out, err);
    for (size_t i = 0; rc == 0 && i < t.n_ahead; i++) {
        struct pc_automaton ahead = {0};
        uint32_t node;
        rc = pc_pattern_add(&t, (struct pc_pattern_node){.kind = PC_PATTERN_BEGIN}, &begin, err);
        if (rc == 0)
            rc = pc_pattern_add(
                &t, (struct pc_pattern_node){PC_PATTERN_BOTH, begin, t.ahead[i].node, 0, 0}, &node, err);
        if (rc == 0)
            rc = pc_pattern_states(&t, node, work, &ahead, err);
        if (rc == 0)
            rc = (t.ahead[i].negated ? pc_automaton_without : pc_automaton_both)(out, &ahead, work, err);
        pc_automaton_release(&ahead);
    }
    pc_pattern_tree_release(&t);
    return rc;
}
