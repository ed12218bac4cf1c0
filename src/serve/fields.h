// SPDX-License-Identifier: Apache-2.0
/* The fields of a request, each of one type and within bounds; what is wrong with one becomes a fault that
 * names it. A field that is absent or null leaves its value alone. */
#ifndef PC_SERVE_FIELDS_H
#define PC_SERVE_FIELDS_H

#include "base/json.h"
#include "serve/fault.h"

/** An object and where it stands in the request: "", or "stream_options." */
struct pc_fields {
    const json_t *object; /* borrowed */
    const char *at;
    struct pc_fault *fault;
};

/** All return 0, or PACO_EINVAL with the fault. */
int pc_field_bool(const struct pc_fields *f, const char *key, bool *out);
int pc_field_int(const struct pc_fields *f, const char *key, int64_t min, int64_t max, int64_t *out);
int pc_field_double(const struct pc_fields *f, const char *key, double min, double max, double *out);
/** Borrowed; may hold NUL. */
int pc_field_text(const struct pc_fields *f, const char *key, const char **out, size_t *len);
/** Whether a value is a text, and this one: a NUL in it is a character like others. */
bool pc_field_is(const json_t *v, const char *text);
/** The field, borrowed, or NULL when absent or null. */
const json_t *pc_field(const struct pc_fields *f, const char *key);

/** The name of a list's item: "stop[2]". */
struct pc_item_name {
    char text[96];
};
struct pc_item_name pc_item_name(const char *list, size_t i);

/** "Invalid type for 'PARAM': expected EXPECTED, but got a string instead." */
int pc_field_wrong_type(struct pc_fault *fault, const char *param, const char *expected, const json_t *found);
/** A text as a C string, borrowed; NUL inside of it is refused. v is a string. */
int pc_field_c_string(struct pc_fault *fault, const char *param, const json_t *v, const char **out);

#endif
