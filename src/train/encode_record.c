// SPDX-License-Identifier: Apache-2.0
/* What a record of a data file holds, by the names of its members. */
#include "base/memory.h"
#include "train/encode_example.h"

#include <string.h>

static const char *const names[] = {
    [PC_ENCODING_AUTO] = "auto",
    [PC_ENCODING_COMPLETION] = "completion",
    [PC_ENCODING_MESSAGES] = "messages",
    [PC_ENCODING_STANFORD] = "stanford",
};

const char *pc_encoding_name(enum pc_encoding encoding)
{
    return names[encoding];
}

bool pc_encoding_parse(const char *name, enum pc_encoding *out)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum pc_encoding)i;
            return true;
        }
    return false;
}

static bool has(const json_t *record, const char *key)
{
    return json_object_get(record, key) != NULL;
}

/* The members of a record that fits no encoding. */
static int refuse(const json_t *record, struct paco_error *err)
{
    struct pc_buf found;
    const char *key;
    json_t *v;
    pc_buf_init(&found, 120);
    json_object_foreach((json_t *)(uintptr_t)record, key, v)
        pc_buf_printf(&found, "%s'%.40s'", found.len ? ", " : "", key);
    const char *here = pc_buf_check(&found, "names", NULL) == 0 && found.len ? found.data : "others";
    pc_error_set(err, PACO_EFORMAT,
        "You need to have either 'prompt'&'completion' or 'messages' in your column names. "
        "('instruction'&'output' are taken too, in Stanford's template; here are %s.)",
        here);
    pc_buf_release(&found);
    return PACO_EFORMAT;
}

int pc_encoding_of(const json_t *record, enum pc_encoding *out, struct paco_error *err)
{
    if (has(record, "prompt") && has(record, "completion"))
        *out = PC_ENCODING_COMPLETION;
    else if (has(record, "messages"))
        *out = PC_ENCODING_MESSAGES;
    else if (has(record, "instruction") && has(record, "output"))
        *out = PC_ENCODING_STANFORD;
    else
        return refuse(record, err);
    return 0;
}

static int get_text(const json_t *record, const char *key, struct pc_span *out, struct paco_error *err)
{
    return pc_json_get_text(record, key, &out->text, &out->len, err);
}

static int get_turn(const json_t *message, struct pc_turn *out, struct paco_error *err)
{
    if (!json_is_object(message))
        return pc_error_set(err, PACO_EFORMAT, "is %s where an object of 'role' and 'content' is expected",
            pc_json_kind(message));
    int rc = get_text(message, "role", &out->role, err);
    return rc == 0 ? get_text(message, "content", &out->content, err) : rc;
}

static int encode_messages(
    const struct pc_encode_rules *rules, const json_t *record, struct pc_encoded *out, struct paco_error *err)
{
    const json_t *list = json_object_get(record, "messages");
    size_t n = json_array_size(list);
    if (!list)
        return pc_error_set(err, PACO_EFORMAT, "'messages' is missing");
    if (!json_is_array(list))
        return pc_error_set(
            err, PACO_EFORMAT, "'messages' is %s where an array is expected", pc_json_kind(list));
    if (n > out->turns_capacity) {
        struct pc_turn *turns = pc_realloc(out->turns, n, sizeof *turns);
        if (!turns)
            return pc_error_mem(err, n * sizeof *turns, "a conversation");
        out->turns = turns;
        out->turns_capacity = n;
    }
    for (size_t i = 0; i < n; i++) {
        int rc = get_turn(json_array_get(list, i), &out->turns[i], err);
        if (rc < 0) {
            pc_error_prefix(err, "message %zu", i + 1);
            return rc;
        }
    }
    return pc_encode_turns(rules, out->turns, n, out, err);
}

int pc_encode_record(
    const struct pc_encode_rules *rules, const json_t *record, struct pc_encoded *out, struct paco_error *err)
{
    struct pc_span a, b, input = {"", 0};
    int rc;
    if (rules->encoding == PC_ENCODING_MESSAGES)
        return encode_messages(rules, record, out, err);
    if (rules->encoding == PC_ENCODING_COMPLETION) {
        rc = get_text(record, "prompt", &a, err);
        if (rc == 0)
            rc = get_text(record, "completion", &b, err);
        return rc == 0 ? pc_encode_completion(rules, a, b, out, err) : rc;
    }
    rc = get_text(record, "instruction", &a, err);
    if (rc == 0)
        rc = get_text(record, "output", &b, err);
    if (rc == 0 && has(record, "input"))
        rc = get_text(record, "input", &input, err);
    return rc == 0 ? pc_encode_stanford(rules, a, input, b, out, err) : rc;
}
