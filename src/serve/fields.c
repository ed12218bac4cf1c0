// SPDX-License-Identifier: Apache-2.0
#include "serve/fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct name {
    char text[96];
};

static struct name name_of(const struct pc_fields *f, const char *key)
{
    struct name n;
    snprintf(n.text, sizeof n.text, "%s%s", f->at, key);
    return n;
}

struct pc_item_name pc_item_name(const char *list, size_t i)
{
    struct pc_item_name n;
    snprintf(n.text, sizeof n.text, "%.70s[%zu]", list, i);
    return n;
}

const json_t *pc_field(const struct pc_fields *f, const char *key)
{
    const json_t *v = json_object_get(f->object, key);
    return json_is_null(v) ? NULL : v;
}

int pc_field_wrong_type(struct pc_fault *fault, const char *param, const char *expected, const json_t *found)
{
    return pc_fault_set(fault, 400, "invalid_type", param,
        "Invalid type for '%s': expected %s, but got %s instead.", param, expected, pc_json_kind(found));
}

int pc_field_bool(const struct pc_fields *f, const char *key, bool *out)
{
    const json_t *v = pc_field(f, key);
    if (v && !json_is_boolean(v))
        return pc_field_wrong_type(f->fault, name_of(f, key).text, "a boolean", v);
    if (v)
        *out = json_is_true(v);
    return 0;
}

int pc_field_int(const struct pc_fields *f, const char *key, int64_t min, int64_t max, int64_t *out)
{
    const json_t *v = pc_field(f, key);
    if (!v)
        return 0;
    struct name n = name_of(f, key);
    double x = json_is_number(v) ? json_number_value(v) : NAN;
    if (!json_is_number(v) || (json_is_real(v) && x != floor(x)))
        return pc_field_wrong_type(f->fault, n.text, "an integer", v);
    bool exact = json_is_integer(v) || fabs(x) <= 0x1p53;
    if (!(exact && x >= (double)min && x <= (double)max))
        return pc_fault_set(f->fault, 400, "invalid_value", n.text,
            "Invalid value for '%s': %.17g; an integer from %lld to %lld is expected.", n.text, x,
            (long long)min, (long long)max);
    *out = json_is_integer(v) ? (int64_t)json_integer_value(v) : (int64_t)x;
    return 0;
}

int pc_field_double(const struct pc_fields *f, const char *key, double min, double max, double *out)
{
    const json_t *v = pc_field(f, key);
    if (!v)
        return 0;
    struct name n = name_of(f, key);
    if (!json_is_number(v))
        return pc_field_wrong_type(f->fault, n.text, "a number", v);
    double x = json_number_value(v);
    if (!(x >= min && x <= max))
        return pc_fault_set(f->fault, 400, "invalid_value", n.text,
            "Invalid value for '%s': %.17g; a number from %g to %g is expected.", n.text, x, min, max);
    *out = x;
    return 0;
}

int pc_field_text(const struct pc_fields *f, const char *key, const char **out, size_t *len)
{
    const json_t *v = pc_field(f, key);
    if (v && !json_is_string(v))
        return pc_field_wrong_type(f->fault, name_of(f, key).text, "a string", v);
    if (v) {
        *out = json_string_value(v);
        *len = json_string_length(v);
    }
    return 0;
}

bool pc_field_is(const json_t *v, const char *text)
{
    return json_is_string(v) && json_string_length(v) == strlen(text) &&
           memcmp(json_string_value(v), text, strlen(text)) == 0;
}

int pc_field_c_string(struct pc_fault *fault, const char *param, const json_t *v, const char **out)
{
    *out = json_string_value(v);
    return strlen(*out) == json_string_length(v)
               ? 0
               : pc_fault_set(fault, 400, "invalid_value", param,
                     "Invalid value for '%s': there is a NUL character in it.", param);
}
