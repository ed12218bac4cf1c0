// SPDX-License-Identifier: Apache-2.0
/* What the files of the schema compiler share. What is compiled is never one schema but all that must hold at
 * once: $ref and allOf add to them, each branch of an anyOf is them and one more, and a property has the
 * schemas that any of them gives it. Nothing is merged as JSON, so that what stands beside each other is held
 * to as it is written. */
#ifndef PC_ENGINE_JSON_SCHEMA_PARTS_H
#define PC_ENGINE_JSON_SCHEMA_PARTS_H

#include "base/json.h"
#include "engine/json_form.h"
#include "engine/number_range.h"

enum {
    PC_SCHEMA_MAX_PARTS = 48,      /* that hold at once */
    PC_SCHEMA_MAX_PATH = 256,      /* of messages */
    PC_SCHEMA_MAX_COUNT = 1 << 20, /* of minItems and its like */
};

/** A schema, an object, and which of its anyOf and oneOf are decided. */
struct pc_schema_part {
    const json_t *schema;
    int parent; /* the part that it was met in, or -1 */
    bool any_done, one_done;
};

/** Schemas that must hold at once; none: anything goes. */
struct pc_schema_all {
    struct pc_schema_part v[PC_SCHEMA_MAX_PARTS];
    int n;
    bool nothing; /* one of them is false */
};

struct pc_schema_compiler {
    struct pc_json_form form;
    const json_t *root;
    struct pc_interner known; /* what was compiled: its parts */
    uint32_t *rules;          /* (known.n) and its rule */
    size_t rules_capacity;
    uint64_t work;                 /* left for automata */
    char path[PC_SCHEMA_MAX_PATH]; /* of the schema at hand, for messages */
    int depth;
    struct paco_error *err;
};

const char *pc_schema_where(const struct pc_schema_compiler *c);
int pc_schema_refuse(const struct pc_schema_compiler *c, const char *key, const char *why);
int pc_schema_wrong(
    const struct pc_schema_compiler *c, const char *key, const char *expected, const json_t *found);
/** Put the keyword and its place before what an automaton said is wrong with it. */
int pc_schema_blame(const struct pc_schema_compiler *c, const char *key, int rc);

/** Add a schema that must hold, too; its parent is a part of all, or -1. */
int pc_schema_add(struct pc_schema_compiler *c, struct pc_schema_all *all, const json_t *schema, int parent,
    const char *key);

/** The rule of what all allow; key is what leads there from the schema at hand, NULL where the place is the
 * same. */
int pc_schema_compile(
    struct pc_schema_compiler *c, const struct pc_schema_all *all, const char *key, uint32_t *rule);
/** Resolve $ref and allOf: all gets what they lead to. */
int pc_schema_flatten(struct pc_schema_compiler *c, struct pc_schema_all *all);

/** The narrowest of min_key and max_key of all parts. */
int pc_schema_range(const struct pc_schema_compiler *c, const struct pc_schema_all *all, const char *min_key,
    const char *max_key, uint32_t *min, uint32_t *max);

/** Alternatives of rule, for a type. */
int pc_schema_add_object(struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all);
int pc_schema_add_array(struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all);
int pc_schema_add_string(struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all);
int pc_schema_add_number(
    struct pc_schema_compiler *c, uint32_t rule, const struct pc_schema_all *all, bool whole);

/** The strings that all allow, for keys (out is `{0}` before); *any: all of them, and out stays as it is. */
int pc_schema_strings(
    struct pc_schema_compiler *c, struct pc_schema_all *all, struct pc_automaton *out, bool *any);
/** Whether a value that the enum or const of `from`, one of all, lists fits what stands beside it. */
int pc_schema_fits(struct pc_schema_compiler *c, const struct pc_schema_all *all, const json_t *from,
    const json_t *value, bool *fits);

#endif
