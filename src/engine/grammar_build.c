// SPDX-License-Identifier: Apache-2.0
/* Grammars while they are made. Rules from which there is no way to an end (a record that must hold another
 * of its kind) are left out in the end with all that needs them: no answer can get lost in them. */
#include "engine/grammar.h"

#include "base/memory.h"
#include "engine/automaton.h"
#include "engine/grammar_parts.h"

#include <string.h>

static const uint32_t NONE = (uint32_t)PC_GRAMMAR_NO_RULE;
static const char WHAT[] = "a grammar";

struct alternative {
    uint32_t rule;
    struct pc_element *v;
    size_t n, capacity;
};

/* While it is built, alternatives are lists of their own; finished, they lie one after the other. */
struct pc_grammar_build {
    struct alternative *alternatives;
    size_t n_alternatives, alternatives_capacity;
    uint32_t *open; /* (n_rules) the alternative being written, NONE */
    size_t n_rules, rules_capacity, n_elements;
    uint32_t free;
    struct pc_interner sets;
    struct paco_error error;
};

int pc_grammar_begin(struct pc_grammar_build **out, struct paco_error *err)
{
    *out = pc_alloc_zero(1, sizeof **out);
    if (!*out)
        return pc_error_mem(err, sizeof **out, WHAT);
    (*out)->free = NONE;
    return 0;
}

void pc_grammar_drop(struct pc_grammar_build *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n_alternatives; i++)
        pc_free(b->alternatives[i].v);
    pc_free(b->alternatives);
    pc_free(b->open);
    pc_interner_release(&b->sets);
    pc_free(b);
}

static bool failed(const struct pc_grammar_build *b)
{
    return b->error.code != 0;
}

static void too_large(struct pc_grammar_build *b)
{
    pc_error_set(&b->error, PACO_ELIMIT, "the form has more than %d parts", PC_GRAMMAR_MAX_ELEMENTS);
}

uint32_t pc_grammar_rule(struct pc_grammar_build *b)
{
    if (failed(b))
        return 0;
    if (b->n_rules == PC_GRAMMAR_MAX_RULES) {
        too_large(b);
        return 0;
    }
    if (pc_grow(&b->open, &b->rules_capacity, b->n_rules, sizeof *b->open, WHAT, &b->error) < 0)
        return 0;
    b->open[b->n_rules] = NONE;
    return (uint32_t)b->n_rules++;
}

/* The alternative of rule that is being written; a new one if there is none. NULL after a failure. */
static struct alternative *writing(struct pc_grammar_build *b, uint32_t rule)
{
    if (failed(b))
        return NULL;
    if (b->open[rule] != NONE)
        return &b->alternatives[b->open[rule]];
    if (pc_grow(&b->alternatives, &b->alternatives_capacity, b->n_alternatives, sizeof *b->alternatives, WHAT,
            &b->error) < 0)
        return NULL;
    b->alternatives[b->n_alternatives] = (struct alternative){.rule = rule};
    b->open[rule] = (uint32_t)b->n_alternatives++;
    return &b->alternatives[b->open[rule]];
}

static void add(struct pc_grammar_build *b, uint32_t rule, struct pc_element element)
{
    struct alternative *a = writing(b, rule);
    if (!a)
        return;
    if (++b->n_elements > PC_GRAMMAR_MAX_ELEMENTS) {
        too_large(b);
        return;
    }
    if (pc_grow(&a->v, &a->capacity, a->n, sizeof *a->v, WHAT, &b->error) == 0)
        a->v[a->n++] = element;
}

void pc_grammar_bytes(struct pc_grammar_build *b, uint32_t rule, struct pc_byte_set set)
{
    uint32_t i;
    if (!failed(b) && pc_intern(&b->sets, &set, sizeof set, &i, &b->error) == 0)
        add(b, rule, (struct pc_element){.kind = PC_ELEMENT_BYTES, .what = i});
}

void pc_grammar_text(struct pc_grammar_build *b, uint32_t rule, const char *text, size_t len)
{
    for (size_t i = 0; i < len && !failed(b); i++) {
        uint8_t byte = (uint8_t)text[i];
        struct pc_byte_set set = {{0}};
        set.bits[byte >> 6] = (uint64_t)1 << (byte & 63);
        pc_grammar_bytes(b, rule, set);
    }
}

void pc_grammar_call(struct pc_grammar_build *b, uint32_t rule, uint32_t called)
{
    add(b, rule, (struct pc_element){.kind = PC_ELEMENT_CALL, .what = called});
}

void pc_grammar_call_behind(struct pc_grammar_build *b, uint32_t rule, uint32_t called, uint32_t n)
{
    add(b, rule, (struct pc_element){.kind = PC_ELEMENT_CALL, .what = called, .min = n});
}

void pc_grammar_repeat(
    struct pc_grammar_build *b, uint32_t rule, uint32_t repeated, uint32_t min, uint32_t max)
{
    add(b, rule, (struct pc_element){.kind = PC_ELEMENT_REPEAT, .what = repeated, .min = min, .max = max});
}

void pc_grammar_set_free(struct pc_grammar_build *b, uint32_t rule)
{
    b->free = rule;
}

void pc_grammar_end(struct pc_grammar_build *b, uint32_t rule)
{
    add(b, rule, (struct pc_element){.kind = PC_ELEMENT_END});
    if (!failed(b))
        b->open[rule] = NONE;
}

/* ---- what leads to an end ---- */

/* For each alternative, how many of the rules it needs are not known to end. */
struct ends {
    uint32_t *missing; /* (n_alternatives) */
    uint32_t *starts;  /* (n_rules + 1) of each rule's list in users */
    uint32_t *users;   /* (n_elements) alternatives that need a rule */
    uint32_t *stack;   /* (n_rules) rules that end, and have not been told */
    bool *ends;        /* (n_rules) */
};

static bool needs(const struct pc_element *e)
{
    return e->kind == PC_ELEMENT_CALL || (e->kind == PC_ELEMENT_REPEAT && e->min > 0);
}

static void list_users(const struct pc_grammar_build *b, struct ends *s)
{
    for (size_t i = 0; i < b->n_alternatives; i++)
        for (size_t k = 0; k < b->alternatives[i].n; k++)
            if (needs(&b->alternatives[i].v[k]))
                s->starts[b->alternatives[i].v[k].what + 1]++;
    for (size_t r = 0; r < b->n_rules; r++)
        s->starts[r + 1] += s->starts[r];
    for (size_t i = 0; i < b->n_alternatives; i++)
        for (size_t k = 0; k < b->alternatives[i].n; k++) {
            const struct pc_element *e = &b->alternatives[i].v[k];
            if (needs(e)) {
                s->users[s->starts[e->what]++] = (uint32_t)i;
                s->missing[i]++;
            }
        }
    // Each start has moved on to where the next list began.
}

static void find_ends(const struct pc_grammar_build *b, struct ends *s)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n_alternatives; i++) {
        uint32_t r = b->alternatives[i].rule;
        if (s->missing[i] == 0 && !s->ends[r]) {
            s->ends[r] = true;
            s->stack[n++] = r;
        }
    }
    while (n > 0) {
        uint32_t r = s->stack[--n];
        for (uint32_t k = r ? s->starts[r - 1] : 0; k < s->starts[r]; k++) {
            uint32_t user = s->users[k], rule = b->alternatives[user].rule;
            if (--s->missing[user] == 0 && !s->ends[rule]) {
                s->ends[rule] = true;
                s->stack[n++] = rule;
            }
        }
    }
}

/* Leave out the alternatives that cannot end; what may be repeated not at all is not. */
static void drop_endless(struct pc_grammar_build *b, const struct ends *s)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n_alternatives; i++) {
        struct alternative *a = &b->alternatives[i];
        if (s->missing[i] > 0) {
            pc_free(a->v);
            continue;
        }
        for (size_t k = 0; k < a->n; k++)
            if (a->v[k].kind == PC_ELEMENT_REPEAT && !s->ends[a->v[k].what])
                a->v[k].max = 0;
        b->alternatives[n++] = *a;
    }
    b->n_alternatives = n;
}

static int keep_what_ends(struct pc_grammar_build *b, uint32_t root, struct paco_error *err)
{
    struct ends s = {.missing = pc_alloc_zero(b->n_alternatives, sizeof *s.missing),
        .starts = pc_alloc_zero(b->n_rules + 1, sizeof *s.starts),
        .users = pc_alloc(b->n_elements, sizeof *s.users),
        .stack = pc_alloc(b->n_rules, sizeof *s.stack),
        .ends = pc_alloc_zero(b->n_rules, sizeof *s.ends)};
    int rc = s.missing && s.starts && s.users && s.stack && s.ends
                 ? 0
                 : pc_error_mem(err, b->n_elements * sizeof *s.users, WHAT);
    if (rc == 0) {
        list_users(b, &s);
        find_ends(b, &s);
        drop_endless(b, &s);
        if (!s.ends[root])
            rc = pc_error_set(err, PACO_EINVAL, "nothing has this form: there is no text that ends");
    }
    pc_free(s.missing);
    pc_free(s.starts);
    pc_free(s.users);
    pc_free(s.stack);
    pc_free(s.ends);
    return rc;
}

/* ---- the whole ---- */

struct pc_grammar *pc_grammar_ref(struct pc_grammar *g)
{
    atomic_fetch_add(&g->n_holders, 1);
    return g;
}

void pc_grammar_unref(struct pc_grammar *g)
{
    if (!g || atomic_fetch_sub(&g->n_holders, 1) != 1)
        return;
    pc_free(g->elements);
    pc_free(g->sets);
    pc_free(g->starts);
    pc_free(g->first_of);
    pc_free(g);
}

/* Lay the alternatives out rule by rule. */
static void lay_out(const struct pc_grammar_build *b, struct pc_grammar *g)
{
    uint32_t *at = g->first_of, n = 0;
    for (size_t i = 0; i < b->n_alternatives; i++)
        at[b->alternatives[i].rule + 1]++;
    for (size_t r = 0; r < b->n_rules; r++)
        at[r + 1] += at[r];
    for (size_t i = 0; i < b->n_alternatives; i++) {
        const struct alternative *a = &b->alternatives[i];
        g->starts[at[a->rule]++] = n;
        memcpy(g->elements + n, a->v, a->n * sizeof *a->v);
        n += (uint32_t)a->n;
    }
    for (size_t r = b->n_rules; r > 0; r--) // each moved on by its number: put back
        at[r] = at[r - 1];
    at[0] = 0;
}

int pc_grammar_finish(
    struct pc_grammar_build *b, uint32_t root, struct pc_grammar **out, struct paco_error *err)
{
    if (failed(b)) {
        int rc = b->error.code;
        if (err)
            *err = b->error;
        pc_grammar_drop(b);
        return rc;
    }
    int rc = keep_what_ends(b, root, err);
    if (rc < 0) {
        pc_grammar_drop(b);
        return rc;
    }
    struct pc_grammar *g = pc_alloc_zero(1, sizeof *g);
    if (g) {
        atomic_init(&g->n_holders, 1);
        g->elements = pc_alloc(b->n_elements, sizeof *g->elements);
        g->starts = pc_alloc(b->n_alternatives, sizeof *g->starts);
        g->first_of = pc_alloc_zero(b->n_rules + 1, sizeof *g->first_of);
    }
    if (!g || !g->elements || !g->starts || !g->first_of) {
        pc_grammar_unref(g);
        pc_grammar_drop(b);
        return pc_error_mem(err, PC_GRAMMAR_MAX_ELEMENTS, WHAT);
    }
    g->n_rules = (uint32_t)b->n_rules;
    g->root = root;
    g->free = b->free;
    g->sets = (struct pc_byte_set *)(void *)b->sets.bytes;
    b->sets.bytes = NULL;
    lay_out(b, g);
    pc_grammar_drop(b);
    rc = pc_grammar_check(g, err);
    if (rc < 0)
        pc_grammar_unref(g);
    else
        *out = g;
    return rc;
}
