// SPDX-License-Identifier: Apache-2.0
/* What an answer must be: OpenAI's response_format, and the fields that other servers have for the same:
 * vLLM's guided_* and structured_outputs, llama.cpp's json_schema, SGLang's regex. One of them at most. Their
 * grammars are refused: what is asked for and not done would make other answers of it. */
#include "engine/json_schema.h"
#include "serve/call_parts.h"

#include <stdio.h>

enum form { ANY_OBJECT, SCHEMA, REGEX, CHOICE, REFUSED };

struct form_field {
    const char *key;
    enum form form;
};

static const struct form_field g_fields[] = {{"json_schema", SCHEMA}, {"guided_json", SCHEMA},
    {"guided_regex", REGEX}, {"regex", REGEX}, {"guided_choice", CHOICE}, {"grammar", REFUSED},
    {"guided_grammar", REFUSED}, {"ebnf", REFUSED}, {"structural_tag", REFUSED},
    {"guided_whitespace_pattern", REFUSED}, {NULL, REFUSED}},
                               g_structured[] = {{"json", SCHEMA}, {"json_object", ANY_OBJECT},
                                   {"regex", REGEX}, {"choice", CHOICE}, {"grammar", REFUSED},
                                   {"structural_tag", REFUSED}, {"whitespace_pattern", REFUSED},
                                   {NULL, REFUSED}};

static int compile_json(const json_t *v, struct pc_grammar **out, struct paco_error *err)
{
    json_t *parsed = NULL;
    if (!json_is_string(v))
        return pc_json_schema_compile(v, out, err);
    int rc = pc_json_parse(json_string_value(v), json_string_length(v), NULL, 0, &parsed, err);
    if (rc == 0)
        rc = pc_json_schema_compile(parsed, out, err);
    json_decref(parsed);
    return rc;
}

static int compile(
    struct pc_call *c, enum form form, const json_t *v, const char *param, struct pc_fault *fault)
{
    struct paco_error err = {0};
    int rc;
    if (c->sampler.grammar)
        return pc_fault_set(fault, 400, "invalid_value", param,
            "Invalid value for '%s': the request says by another field what the answer must be.", param);
    if (form == REGEX)
        rc = pc_json_regex_compile(json_string_value(v), json_string_length(v), &c->sampler.grammar, &err);
    else if (form == CHOICE)
        rc = pc_json_choice_compile(v, &c->sampler.grammar, &err);
    else
        rc = compile_json(form == SCHEMA ? v : NULL, &c->sampler.grammar, &err);
    c->sampler.spelling = c->model->spelling;
    if (rc == 0 || rc == PACO_EMEM)
        return rc < 0 ? pc_fault_of(fault, param, &err) : 0;
    return pc_fault_set(fault, 400, "invalid_schema", param, "Invalid %s for '%s': %s.",
        form == REGEX    ? "pattern"
        : form == CHOICE ? "list"
                         : "schema",
        param, err.message);
}

/* A field that says the form by itself. Empty texts say nothing: forms that were left blank. */
static int read_field(struct pc_call *c, const struct pc_fields *f, const struct form_field *field)
{
    const json_t *v = pc_field(f, field->key);
    char param[64];
    snprintf(param, sizeof param, "%s%s", f->at, field->key);
    if (!v || json_is_false(v) || (json_is_string(v) && json_string_length(v) == 0))
        return 0;
    switch (field->form) {
    case REFUSED:
        return pc_fault_set(f->fault, 400, "unsupported_parameter", param,
            "Unsupported parameter: '%s'; answers can be held to a JSON schema, a pattern or a list here.",
            param);
    case ANY_OBJECT:
        if (!json_is_boolean(v))
            return pc_field_wrong_type(f->fault, param, "a boolean", v);
        break;
    case SCHEMA:
        if (!json_is_object(v) && !json_is_string(v))
            return pc_field_wrong_type(f->fault, param, "a schema, or the text of one", v);
        break;
    case REGEX:
        if (!json_is_string(v))
            return pc_field_wrong_type(f->fault, param, "a string", v);
        break;
    case CHOICE:
        if (!json_is_array(v))
            return pc_field_wrong_type(f->fault, param, "a list of strings", v);
        break;
    }
    return compile(c, field->form, v, param, f->fault);
}

static int read_fields(struct pc_call *c, const struct pc_fields *f, const struct form_field *fields)
{
    int rc = 0;
    for (; rc == 0 && fields->key; fields++)
        rc = read_field(c, f, fields);
    return rc;
}

static int read_response_format(struct pc_call *c, const struct pc_fields *f)
{
    const json_t *format = pc_field(f, "response_format");
    if (!format)
        return 0;
    if (!json_is_object(format))
        return pc_field_wrong_type(f->fault, "response_format", "an object", format);
    const struct pc_fields in_format = {format, "response_format.", f->fault};
    const json_t *type = pc_field(&in_format, "type");
    if (!json_is_string(type))
        return pc_field_wrong_type(f->fault, "response_format.type", "a string", type);
    if (pc_field_is(type, "text"))
        return 0;
    if (pc_field_is(type, "json_object"))
        return compile(c, ANY_OBJECT, NULL, "response_format", f->fault);
    if (!pc_field_is(type, "json_schema"))
        return pc_fault_set(f->fault, 400, "invalid_value", "response_format.type",
            "Invalid value for 'response_format.type': 'text', 'json_object' and 'json_schema' are "
            "supported.");
    const json_t *named = pc_field(&in_format, "json_schema");
    if (!json_is_object(named))
        return pc_field_wrong_type(f->fault, "response_format.json_schema", "an object", named);
    const json_t *schema = json_object_get(named, "schema");
    if (!json_is_object(schema))
        return pc_field_wrong_type(f->fault, "response_format.json_schema.schema", "an object", schema);
    return compile(c, SCHEMA, schema, "response_format.json_schema.schema", f->fault);
}

int pc_call_read_form(struct pc_call *c, const struct pc_fields *f)
{
    const json_t *structured = pc_field(f, "structured_outputs");
    const struct pc_fields inner = {structured, "structured_outputs.", f->fault};
    int rc = read_response_format(c, f);
    if (rc == 0)
        rc = read_fields(c, f, g_fields);
    if (rc < 0 || !structured)
        return rc;
    return json_is_object(structured)
               ? read_fields(c, &inner, g_structured)
               : pc_field_wrong_type(f->fault, "structured_outputs", "an object", structured);
}
