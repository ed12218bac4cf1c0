// SPDX-License-Identifier: Apache-2.0
/* response_format: that an answer is JSON, or JSON of a schema. */
#include "engine/json_schema.h"
#include "serve/call_parts.h"

#include <string.h>

static int compile(struct pc_call *c, const json_t *schema, const char *param, struct pc_fault *fault)
{
    struct paco_error err = {0};
    int rc = pc_json_schema_compile(schema, &c->sampler.grammar, &err);
    c->sampler.spelling = c->model->spelling;
    if (rc == 0 || rc == PACO_EMEM)
        return rc < 0 ? pc_fault_of(fault, param, &err) : 0;
    return pc_fault_set(
        fault, 400, "invalid_schema", param, "Invalid schema for '%s': %s.", param, err.message);
}

int pc_call_read_form(struct pc_call *c, const struct pc_fields *f)
{
    const json_t *format = pc_field(f, "response_format");
    if (!format)
        return 0;
    if (!json_is_object(format))
        return pc_field_wrong_type(f->fault, "response_format", "an object", format);
    const struct pc_fields in_format = {format, "response_format.", f->fault};
    const char *type = "";
    size_t len;
    int rc = pc_field_text(&in_format, "type", &type, &len);
    if (rc < 0 || strcmp(type, "text") == 0)
        return rc;
    if (strcmp(type, "json_object") == 0)
        return compile(c, NULL, "response_format", f->fault);
    if (strcmp(type, "json_schema") != 0)
        return pc_fault_set(f->fault, 400, "invalid_value", "response_format.type",
            "Invalid value for 'response_format.type': 'text', 'json_object' and 'json_schema' are "
            "supported.");
    const json_t *named = pc_field(&in_format, "json_schema");
    if (!json_is_object(named))
        return pc_field_wrong_type(f->fault, "response_format.json_schema", "an object", named);
    const json_t *schema = json_object_get(named, "schema");
    if (!json_is_object(schema))
        return pc_field_wrong_type(f->fault, "response_format.json_schema.schema", "an object", schema);
    return compile(c, schema, "response_format.json_schema.schema", f->fault);
}
