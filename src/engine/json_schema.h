// SPDX-License-Identifier: Apache-2.0
/* JSON schemas as grammars of the JSON texts they allow (JSON Schema 2020-12, the part that a text's form can
 * hold).
 *
 * Understood: type (one or several), properties, required, additionalProperties, items, prefixItems,
 * minItems, maxItems, enum, const, anyOf, oneOf (as anyOf), allOf of one, $ref within the schema, minLength,
 * maxLength, true and false. Annotations (title, description, default, format ...) say nothing about the
 * form. Whatever else there is (pattern, minimum, not ...) is refused by name: what would be ignored could
 * not be trusted.
 *
 * An object has its properties in the schema's order; without additionalProperties it has no others, where
 * properties are named. White space and numbers are bounded (engine/json_form.h): a text that is allowed is
 * never endless for want of a limit, but for strings and arrays without one. */
#ifndef PC_ENGINE_JSON_SCHEMA_H
#define PC_ENGINE_JSON_SCHEMA_H

#include "base/json.h"
#include "engine/grammar.h"

/** The texts of schema; with NULL those of any object. Errors: PACO_EUNSUPPORTED for what is not understood,
 * PACO_EINVAL for what is no schema, PACO_ELIMIT for what is too large or refers to itself without an end;
 * each names the place as a JSON pointer. *owned*: pc_grammar_unref. */
int pc_json_schema_compile(const json_t *schema, struct pc_grammar **out, struct paco_error *err);

#endif
