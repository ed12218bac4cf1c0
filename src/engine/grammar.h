// SPDX-License-Identifier: Apache-2.0
/* Context-free grammars over bytes, followed byte by byte: what an answer that must have a form may go on
 * with.
 *
 *     pc_grammar_begin(&b);                            rules are made of elements, calls of other rules among
 *     r = pc_grammar_rule(&b);                         them; alternatives of one rule stand one after another
 *     pc_grammar_text(&b, r, "{", 1); pc_grammar_call(&b, r, other); pc_grammar_end(&b, r);
 *     pc_grammar_finish(&b, root, &grammar, &err);
 *     pc_follower_new(grammar, &f, &err);
 *     pc_follower_step(f, byte) ...  pc_follower_may_end(f)
 *
 * A follower keeps every way the bytes so far can have come about, each a stack of places to return to: a
 * pushdown automaton whose choices are taken all at once. Stacks share what they have in common, as a tree of
 * nodes that point to their parents. What is tried (the bytes of a token that may not be chosen) is taken
 * back by going to an earlier depth.
 *
 * Everything is bounded: rules, elements, stacks, nodes. A byte that would lead beyond a bound does not fit.
 */
#ifndef PC_ENGINE_GRAMMAR_H
#define PC_ENGINE_GRAMMAR_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PC_GRAMMAR_MAX_ELEMENTS = 1 << 17,
    PC_GRAMMAR_MAX_RULES = 1 << 15,
    PC_FOLLOWER_DEPTH = 256, /* bytes that can be tried, and taken back */
};

/** 256 bits: a set of bytes. */
struct pc_byte_set {
    uint64_t bits[4];
};

enum pc_element_kind { PC_ELEMENT_BYTES, PC_ELEMENT_CALL, PC_ELEMENT_REPEAT, PC_ELEMENT_END };

struct pc_element {
    enum pc_element_kind kind;
    uint32_t what;     /* the set of BYTES, the rule of CALL and REPEAT */
    uint32_t min, max; /* of REPEAT; max UINT32_MAX: any number. Of CALL: min is pc_grammar_call_behind's n */
};

struct pc_grammar_build;
struct pc_grammar;

/** *owned*: pc_grammar_finish or pc_grammar_drop. */
int pc_grammar_begin(struct pc_grammar_build **out, struct paco_error *err);
void pc_grammar_drop(struct pc_grammar_build *b);

/** A new rule, without alternatives. Failures (memory, bounds) stay in b until pc_grammar_finish; rule
 * numbers mean nothing then. */
uint32_t pc_grammar_rule(struct pc_grammar_build *b);

/** Append to the alternative of rule that is being written; alternatives of several rules may be written at
 * the same time. A repeated rule must not match nothing. */
void pc_grammar_bytes(struct pc_grammar_build *b, uint32_t rule, struct pc_byte_set set);
void pc_grammar_text(struct pc_grammar_build *b, uint32_t rule, const char *text, size_t len);
void pc_grammar_call(struct pc_grammar_build *b, uint32_t rule, uint32_t called);
/** The same, behind the call of a character's rule: n plain characters (pc_follower_free_run) may come from
 * that character on. */
void pc_grammar_call_behind(struct pc_grammar_build *b, uint32_t rule, uint32_t called, uint32_t n);
void pc_grammar_repeat(
    struct pc_grammar_build *b, uint32_t rule, uint32_t repeated, uint32_t min, uint32_t max);
/** Say that any character but quotes, escapes and controls is what rule matches, by its first alternative if
 * it is ASCII: pc_follower_free_run. */
void pc_grammar_set_free(struct pc_grammar_build *b, uint32_t rule);
/** The alternative is complete; what follows begins the next one. */
void pc_grammar_end(struct pc_grammar_build *b, uint32_t rule);

/** Check and close: b is gone in any case. What cannot end is left out. A grammar is immutable, for any
 * number of followers and threads.
 *
 *  Errors: PACO_EINVAL when nothing is left; a bound, or a rule that comes back to itself without a byte
 * PACO_ELIMIT; PACO_EMEM. *owned*: pc_grammar_unref. */
int pc_grammar_finish(
    struct pc_grammar_build *b, uint32_t root, struct pc_grammar **out, struct paco_error *err);
struct pc_grammar *pc_grammar_ref(struct pc_grammar *g);
void pc_grammar_unref(struct pc_grammar *g);

struct pc_follower;

/** At the beginning, depth 0. Holds a reference of g. *owned*: pc_follower_free. */
int pc_follower_new(struct pc_grammar *g, struct pc_follower **out, struct paco_error *err);
void pc_follower_free(struct pc_follower *f);
/** Back to the beginning. */
void pc_follower_reset(struct pc_follower *f);

/** Go on with a byte, one deeper. False, and nothing has changed, when it does not fit. */
bool pc_follower_step(struct pc_follower *f, uint8_t byte);
/** How much work steps may be from now on, in elements looked at; what goes beyond it does not fit. At first,
 * and after a reset, as much as there is. */
void pc_follower_set_budget(struct pc_follower *f, uint64_t budget);
/** Take back all bytes beyond depth, counted from the last pc_follower_settle. */
void pc_follower_back(struct pc_follower *f, size_t depth);
/** What was tried is so: depth 0 is here from now on. */
void pc_follower_settle(struct pc_follower *f);

/** Whether the bytes so far are a whole. */
bool pc_follower_may_end(const struct pc_follower *f);
/** How many plain characters may follow at least, whichever they are; UINT32_MAX: any number. Plain are those
 * that stand for themselves in every string and that `.` matches: no quote, no backslash, no control
 * character below U+0020, neither U+2028 nor U+2029. */
uint32_t pc_follower_free_run(const struct pc_follower *f);

#endif
