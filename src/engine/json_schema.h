// SPDX-License-Identifier: Apache-2.0
/* JSON schemas as grammars of the JSON texts they allow (JSON Schema 2020-12, the part that a text's form can
 * hold).
 *
 * Understood: type (one or several), properties, required, additionalProperties, patternProperties,
 * propertyNames, items, prefixItems, minItems, maxItems, minLength, maxLength, pattern (engine/pattern.h),
 * format (engine/text_format.h; others say nothing), minimum, maximum, exclusiveMinimum, exclusiveMaximum,
 * multipleOf, enum, const, anyOf, oneOf (as anyOf), allOf, $ref within the schema, true and false; what
 * stands beside each other holds at once. Annotations (title, description, default, examples ...) say nothing
 * about the form. Whatever else there is (not, if, uniqueItems ...) is refused by name: what would be ignored
 * could not be trusted.
 *
 * An object has its properties in the schema's order, then those that are only required; without
 * additionalProperties it has no others, where properties are named. Arrays have all places of prefixItems.
 * White space and numbers are bounded (engine/json_form.h): a text that is allowed is never endless for want
 * of a limit, but for strings and arrays without one. */
#ifndef PC_ENGINE_JSON_SCHEMA_H
#define PC_ENGINE_JSON_SCHEMA_H

#include "base/json.h"
#include "engine/grammar.h"

/** The texts of schema; with NULL those of any object. Errors: PACO_EUNSUPPORTED for what is not understood,
 * PACO_EINVAL for what is no schema, PACO_ELIMIT for what is too large or refers to itself without an end;
 * each names the place as a JSON pointer. *owned*: pc_grammar_unref. */
int pc_json_schema_compile(const json_t *schema, struct pc_grammar **out, struct paco_error *err);

/** Texts that are no JSON: those that a pattern matches as a whole, and those of a list (an array of
 * strings). Errors as above. *owned*: pc_grammar_unref. */
int pc_json_regex_compile(const char *pattern, size_t len, struct pc_grammar **out, struct paco_error *err);
int pc_json_choice_compile(const json_t *choices, struct pc_grammar **out, struct paco_error *err);

#endif
