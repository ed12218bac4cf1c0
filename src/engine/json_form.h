// SPDX-License-Identifier: Apache-2.0
/* What JSON texts are made of, as rules of a grammar (RFC 8259).
 *
 * White space is what printers of JSON put: nothing, a space, or a line break and at most 20 spaces. Numbers
 * have at most 16 digits on either side of the point. Strings are UTF-8; escaped surrogates come in pairs. */
#ifndef PC_ENGINE_JSON_FORM_H
#define PC_ENGINE_JSON_FORM_H

#include "engine/automaton.h"
#include "engine/grammar.h"

/** Rules of b, which is *borrowed*. */
struct pc_json_form {
    struct pc_grammar_build *b;
    uint32_t space, character, string, number, integer;
    uint32_t any, any_object, any_array, any_member; /* any_member: "key": value */
    struct pc_interner sets;                         /* of characters that have a rule, */
    uint32_t *set_rules;                             /* and which */
    size_t set_rules_capacity;
};

/** *owned*: pc_json_form_release, which leaves b alone. */
void pc_json_form_make(struct pc_json_form *f, struct pc_grammar_build *b);
void pc_json_form_release(struct pc_json_form *f);

/** Go on with a text, in the alternative of rule that is being written. */
void pc_json_form_text(struct pc_json_form *f, uint32_t rule, const char *s);
/** Go on with a colon between spaces. */
void pc_json_form_colon(struct pc_json_form *f, uint32_t rule);
/** Go on with another rule, and end the alternative. */
void pc_json_form_end_with(struct pc_json_form *f, uint32_t rule, uint32_t called);

/** An alternative of rule: a string of min to max characters. */
void pc_json_form_string(struct pc_json_form *f, uint32_t rule, uint32_t min, uint32_t max);
/** A rule of the texts of a: as a string between quotes, or as they are. Strings of an automaton have their
 * characters as they are and the short escapes (\" \\ \b \f \n \r \t), other controls as \u00XX; behind what
 * leaves everything open there may be any escape. */
int pc_json_form_automaton(struct pc_json_form *f, const struct pc_automaton *a, bool quoted, uint32_t *rule,
    struct paco_error *err);
/** Alternatives of rule: min to max elements with commas between the two bytes of ends ("[]"). */
void pc_json_form_list(
    struct pc_json_form *f, uint32_t rule, const char *ends, uint32_t element, uint32_t min, uint32_t max);

#endif
