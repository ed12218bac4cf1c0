// SPDX-License-Identifier: Apache-2.0
/* Words and conversations to ids. A text becomes ids as the tokenizer's own settings say; a conversation as
 * the model was tuned on it. */
#include "base/memory.h"
#include "serve/call_parts.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- conversations ---- */

struct talk {
    struct pc_message *messages;
    struct pc_buf *joined; /* (n) the texts of contents that came in parts */
    size_t n;
};

static void release_talk(struct talk *t)
{
    for (size_t i = 0; t->joined && i < t->n; i++)
        pc_buf_release(&t->joined[i]);
    pc_free(t->joined);
    pc_free(t->messages);
}

static int read_role(const json_t *v, const char *param, const char **out, struct pc_fault *fault)
{
    if (!json_is_string(v))
        return v ? pc_field_wrong_type(fault, param, "a string", v)
                 : pc_fault_set(fault, 400, "missing_required_parameter", param,
                       "Missing required parameter: '%s'.", param);
    static const char *const roles[] = {"system", "user", "assistant", "developer"};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (pc_field_is(v, roles[i])) {
            *out = i == 3 ? "system" : roles[i]; /* OpenAI's newer name for it */
            return 0;
        }
    return pc_fault_set(fault, 400, "invalid_value", param,
        "Invalid value for '%s': '%.40s'; 'system', 'user' and 'assistant' are supported.", param,
        json_string_value(v));
}

/* One part of a content: its text. */
static int read_part(const json_t *part, const char *at, size_t i, struct pc_buf *out, struct pc_fault *fault)
{
    char param[112];
    const struct pc_item_name name = pc_item_name(at, i);
    if (!json_is_object(part))
        return pc_field_wrong_type(fault, name.text, "an object", part);
    const json_t *type = json_object_get(part, "type"), *text = json_object_get(part, "text");
    if (!pc_field_is(type, "text")) {
        snprintf(param, sizeof param, "%s.type", name.text);
        return pc_fault_set(fault, 400, "invalid_value", param,
            "Invalid value for '%s': only parts of type 'text' are supported.", param);
    }
    snprintf(param, sizeof param, "%s.text", name.text);
    if (!json_is_string(text))
        return pc_field_wrong_type(fault, param, "a string", text ? text : json_null());
    const char *words;
    int rc = pc_field_c_string(fault, param, text, &words);
    pc_buf_puts(out, words);
    return rc;
}

static int read_content(
    const json_t *v, const char *param, struct pc_buf *joined, const char **out, struct pc_fault *fault)
{
    if (json_is_string(v))
        return pc_field_c_string(fault, param, v, out);
    if (!json_is_array(v) || json_array_size(v) == 0)
        return pc_field_wrong_type(fault, param, "a string or a list of content parts", v ? v : json_null());
    int rc = 0;
    for (size_t i = 0; i < json_array_size(v) && rc == 0; i++)
        rc = read_part(json_array_get(v, i), param, i, joined, fault);
    if (rc == 0 && joined->failed)
        return pc_fault_set(fault, 503, NULL, NULL, "out of memory");
    *out = joined->data ? joined->data : "";
    return rc;
}

/* An assistant's turn without a content: it refused, in words of their own, or called tools, which nothing
 * here can show to a model as it was taught them. */
static int read_wordless(
    struct pc_message *m, const json_t *o, const struct pc_item_name *at, struct pc_fault *fault)
{
    char param[112];
    const json_t *refusal = json_object_get(o, "refusal");
    if (json_array_size(json_object_get(o, "tool_calls")) > 0) {
        snprintf(param, sizeof param, "%s.tool_calls", at->text);
        return pc_fault_set(fault, 400, "unsupported_parameter", param,
            "Unsupported parameter: '%s': calls of tools cannot be part of a conversation here.", param);
    }
    if (json_is_string(refusal)) {
        snprintf(param, sizeof param, "%s.refusal", at->text);
        return pc_field_c_string(fault, param, refusal, &m->content);
    }
    snprintf(param, sizeof param, "%s.content", at->text);
    return pc_field_wrong_type(fault, param, "a string or a list of content parts", json_null());
}

static int read_message(struct talk *t, size_t at, const json_t *o, size_t i, struct pc_fault *fault)
{
    char param[112];
    const struct pc_item_name name = pc_item_name("messages", i);
    struct pc_message *m = &t->messages[at];
    if (!json_is_object(o))
        return pc_field_wrong_type(fault, name.text, "an object", o);
    snprintf(param, sizeof param, "%s.role", name.text);
    int rc = read_role(json_object_get(o, "role"), param, &m->role, fault);
    if (rc < 0)
        return rc;
    const json_t *content = json_object_get(o, "content");
    if (strcmp(m->role, "assistant") == 0 && (!content || json_is_null(content)))
        return read_wordless(m, o, &name, fault);
    snprintf(param, sizeof param, "%s.content", name.text);
    return read_content(content, param, &t->joined[at], &m->content, fault);
}

static int read_talk(struct talk *t, const json_t *list, const char *system, struct pc_fault *fault)
{
    size_t size = json_array_size(list);
    if (size == 0 || size > PC_CALL_MAX_MESSAGES)
        return pc_fault_set(fault, 400, "invalid_value", "messages",
            "Invalid value for 'messages': %zu messages; 1 to %d are expected.", size, PC_CALL_MAX_MESSAGES);
    t->messages = pc_alloc_zero(size + 1, sizeof *t->messages);
    t->joined = pc_alloc_zero(size + 1, sizeof *t->joined);
    if (!t->messages || !t->joined)
        return pc_fault_set(fault, 503, NULL, NULL, "out of memory");
    t->n = size + 1;
    for (size_t i = 0; i < t->n; i++)
        pc_buf_init(&t->joined[i], SIZE_MAX / 2);
    t->messages[0] = (struct pc_message){"system", system};
    int rc = 0;
    for (size_t i = 0; i < size && rc == 0; i++)
        rc = read_message(t, i + 1, json_array_get(list, i), i, fault);
    return rc;
}

static int add_prompt(struct pc_call *c, size_t n, struct pc_fault *fault)
{
    c->prompts = pc_alloc_zero(n, sizeof *c->prompts);
    if (!c->prompts)
        return pc_fault_set(fault, 503, NULL, NULL, "out of memory");
    c->n_prompts = n;
    return 0;
}

int pc_call_read_messages(struct pc_call *c, const struct pc_fields *f)
{
    const json_t *list = pc_field(f, "messages");
    const struct pc_served *m = c->model;
    if (!list)
        return pc_fault_set(f->fault, 400, "missing_required_parameter", "messages",
            "Missing required parameter: 'messages'.");
    if (!json_is_array(list))
        return pc_field_wrong_type(f->fault, "messages", "a list of messages", list);
    struct talk t = {0};
    struct paco_error err = {0};
    int rc = read_talk(&t, list, m->system, f->fault);
    if (rc == 0)
        rc = add_prompt(c, 1, f->fault);
    if (rc == 0) {
        assert(t.messages);
        size_t first = m->system && strcmp(t.messages[1].role, "system") != 0 ? 0 : 1;
        rc = pc_format_encode(
            m->format, m->tok, t.messages + first, t.n - first, m->bos, &c->prompts[0].ids, &err);
        if (rc < 0)
            pc_fault_of(f->fault, "messages", &err);
    }
    release_talk(&t);
    return rc;
}

/* ---- texts and ids ---- */

static int encode_text(
    struct pc_call *c, struct pc_call_prompt *p, const json_t *v, const char *param, struct pc_fault *fault)
{
    const struct pc_served *m = c->model;
    struct paco_error err = {0};
    int32_t bos = pc_tokenizer_bos(m->tok);
    int rc = 0;
    if (!c->no_specials && m->bos > 0 && bos >= 0 &&
        !pc_tokenizer_adds_bos(m->tok)) /* by its own settings it would not */
        rc = pc_ids_add(&p->ids, bos, &err);
    if (rc == 0)
        rc = pc_tokenizer_encode(m->tok, json_string_value(v), json_string_length(v),
            PC_ENCODE_PARSE | (m->bos != 0 && !c->no_specials ? PC_ENCODE_SPECIAL : 0), &p->ids, &err);
    if (rc == 0) {
        p->len = json_string_length(v);
        p->text = pc_strndup(json_string_value(v), p->len);
        rc = p->text ? 0 : pc_error_mem(&err, p->len, "a prompt");
    }
    return rc < 0 ? pc_fault_of(fault, param, &err) : 0;
}

static int copy_ids(
    struct pc_call_prompt *p, const json_t *list, const char *param, int32_t n_vocab, struct pc_fault *fault)
{
    struct paco_error err = {0};
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v))
            return pc_field_wrong_type(fault, pc_item_name(param, i).text, "a token id", v);
        if (id < 0 || id >= n_vocab)
            return pc_fault_set(fault, 400, "invalid_value", pc_item_name(param, i).text,
                "Invalid value for '%s[%zu]': token %lld; the model's vocabulary has %d.", param, i,
                (long long)id, n_vocab);
        if (pc_ids_add(&p->ids, (int32_t)id, &err) < 0)
            return pc_fault_of(fault, param, &err);
    }
    return 0;
}

static int read_prompt(
    struct pc_call *c, struct pc_call_prompt *p, const json_t *v, const char *param, struct pc_fault *fault)
{
    if (json_is_string(v))
        return encode_text(c, p, v, param, fault);
    if (json_is_array(v))
        return copy_ids(p, v, param, c->model->n_vocab, fault);
    return pc_field_wrong_type(
        fault, param, "a string, a list of strings, a list of token ids or a list of such lists", v);
}

int pc_call_read_prompts(struct pc_call *c, const struct pc_fields *f, const char *key)
{
    const json_t *v = pc_field(f, key);
    if (!v)
        return pc_fault_set(
            f->fault, 400, "missing_required_parameter", key, "Missing required parameter: '%s'.", key);
    bool many = json_is_array(v) && !json_is_integer(json_array_get(v, 0));
    size_t n = many ? json_array_size(v) : 1;
    if (n == 0 || n > PC_CALL_MAX_PROMPTS)
        return pc_fault_set(f->fault, 400, "invalid_value", key,
            "Invalid value for '%s': %zu prompts; 1 to %d are expected.", key, n, PC_CALL_MAX_PROMPTS);
    int rc = add_prompt(c, n, f->fault);
    if (!many && rc == 0)
        return read_prompt(c, c->prompts, v, key, f->fault);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = read_prompt(c, &c->prompts[i], json_array_get(v, i), pc_item_name(key, i).text, f->fault);
    return rc;
}
