// SPDX-License-Identifier: Apache-2.0
/* Data sets of conversations. */
#include "base/memory.h"
#include "base/utf8.h"
#include "data/reformat_parts.h"

#include <string.h>

/* Turns of one conversation. */
struct chat {
    struct pc_data_turn *v;
    size_t n, capacity;
};

static int add(struct pc_reformat *f, struct chat *c, const char *role, struct pc_data_text content)
{
    int rc = pc_grow(&c->v, &c->capacity, c->n, sizeof *c->v, "a conversation", f->err);
    if (rc == 0)
        c->v[c->n++] = (struct pc_data_turn){role, content};
    return rc;
}

static int array_of(struct pc_reformat *f, const json_t *record, const char *key, const json_t **out)
{
    *out = json_object_get(record, key);
    if (json_is_array(*out))
        return 0;
    return pc_error_set(
        f->err, PACO_EFORMAT, "'%s' is %s where an array is expected", key, pc_json_kind(*out));
}

static bool is(struct pc_data_text text, const char *what)
{
    return text.len == strlen(what) && memcmp(text.s, what, text.len) == 0;
}

/* ---- ShareGPT ---- */

/* An example's id, which may be a number, as Python prints it. */
static int id_of(struct pc_reformat *f, const json_t *record, struct pc_data_text *out)
{
    const json_t *id = json_object_get(record, "id");
    if (!json_is_integer(id))
        return pc_reformat_text(f, record, "id", out);
    pc_buf_clear(&f->prompt);
    pc_buf_printf(&f->prompt, "%" JSON_INTEGER_FORMAT, json_integer_value(id));
    *out = (struct pc_data_text){f->prompt.data, f->prompt.len};
    return pc_buf_check(&f->prompt, "an id", f->err);
}

/* *valid: whether all speakers so far are wanted. */
static int sharegpt_turn(struct pc_reformat *f, const json_t *message, struct chat *c, bool *valid)
{
    struct pc_data_text from, value;
    int rc = pc_reformat_text(f, message, "from", &from);
    if (rc < 0)
        return rc;
    bool user = is(from, "human") || is(from, "user");
    if (is(from, "system") || is(from, "bing")) {
        *valid = false;
        return 0;
    }
    if (!user && !is(from, "gpt") && !is(from, "chatgpt"))
        return pc_error_set(
            f->err, PACO_EFORMAT, "Unknown message sender: %.*s", from.len < 64 ? (int)from.len : 64, from.s);
    rc = pc_reformat_text(f, message, "value", &value);
    return rc == 0 ? add(f, c, user ? "user" : "assistant", value) : rc;
}

static int sharegpt(struct pc_reformat *f, const json_t *record)
{
    const json_t *list = NULL;
    struct pc_data_text id;
    struct chat c = {0};
    bool valid = true;
    int rc = array_of(f, record, "conversations", &list);
    for (size_t i = 0; i < json_array_size(list) && valid && rc == 0; i++)
        rc = sharegpt_turn(f, json_array_get(list, i), &c, &valid);
    f->n_invalid += !valid;
    if (rc == 0 && valid && c.n) {
        rc = id_of(f, record, &id);
        if (rc == 0)
            rc = pc_reformat_emit(f, id, c.v, c.n);
    }
    pc_free(c.v);
    return rc;
}

int pc_reformat_sharegpt(struct pc_reformat *f)
{
    f->n_invalid = 0;
    int rc = pc_reformat_each(f, "sharegpt_html_cleaned_and_split.json", sharegpt);
    if (rc == 0)
        pc_note(f->options->notes, "# of invalid examples in sharegpt data: %llu",
            (unsigned long long)f->n_invalid);
    return rc;
}

/* ---- Baize ---- */

static struct pc_data_text stripped(const char *s, const char *end)
{
    struct pc_data_text t = {s, (size_t)(end - s)};
    pc_utf8_strip(&t.s, &t.len);
    return t;
}

static const char *find(const char *s, const char *end, const char *what)
{
    const char *hit = memmem(s, (size_t)(end - s), what, strlen(what));
    return hit ? hit : end;
}

#define HUMAN "[|Human|]"
#define AI "[|AI|]"

/* What lies between two `[|Human|]`. */
static int baize_round(struct pc_reformat *f, const char *s, const char *end, struct chat *c)
{
    const char *ai = find(s, end, AI);
    if (ai == end || stripped(s, end).len == 0)
        return 0;
    const char *answer = ai + strlen(AI);
    if (find(answer, end, AI) != end)
        return pc_error_set(f->err, PACO_EFORMAT, "two " AI " after one " HUMAN);
    int rc = add(f, c, "user", stripped(s, ai));
    return rc == 0 ? add(f, c, "assistant", stripped(answer, end)) : rc;
}

static int baize(struct pc_reformat *f, const json_t *record)
{
    struct pc_data_text input;
    struct chat c = {0};
    int rc = pc_reformat_text(f, record, "input", &input);
    if (rc < 0)
        return rc;
    const char *end = input.s + input.len, *s = find(input.s, end, HUMAN);
    while (s != end && rc == 0) {
        s += strlen(HUMAN);
        const char *next = find(s, end, HUMAN);
        rc = baize_round(f, s, next, &c);
        s = next;
    }
    // One without a round is written too, as upstream does; training then refuses it.
    if (rc == 0)
        rc = pc_reformat_emit_next(f, c.v, c.n);
    pc_free(c.v);
    return rc;
}

int pc_reformat_baize(struct pc_reformat *f)
{
    static const char *const files[] = {"alpaca_chat_data.json", "medical_chat_data.json",
        "quora_chat_data.json", "stackoverflow_chat_data.json"};
    int rc = 0;
    for (int i = 0; i < 4 && rc == 0; i++)
        rc = pc_reformat_each(f, files[i], baize);
    return rc;
}

/* ---- OpenAssistant: a conversation for each answer in a tree, from the root to it ---- */

/* As deep as JSON may be, so the recursion is bounded. */
static int walk(struct pc_reformat *f, const json_t *node, struct chat *path)
{
    struct pc_data_text role, text;
    const json_t *replies = NULL;
    int rc = pc_reformat_text(f, node, "role", &role);
    if (rc == 0)
        rc = pc_reformat_text(f, node, "text", &text);
    if (rc == 0)
        rc = array_of(f, node, "replies", &replies);
    if (rc < 0)
        return rc;
    bool assistant = is(role, "assistant");
    if (!assistant && !is(role, "prompter"))
        return pc_error_set(
            f->err, PACO_EFORMAT, "Unknown role: %.*s", role.len < 64 ? (int)role.len : 64, role.s);
    rc = add(f, path, assistant ? "assistant" : "user", text);
    if (rc == 0 && assistant)
        rc = pc_reformat_emit_next(f, path->v, path->n);
    for (size_t i = 0; i < json_array_size(replies) && rc == 0; i++)
        rc = walk(f, json_array_get(replies, i), path);
    path->n -= rc == 0;
    return rc;
}

static int oasst1(struct pc_reformat *f, const json_t *record)
{
    struct chat path = {0};
    const json_t *root = json_object_get(record, "prompt");
    int rc = json_is_object(root) ? walk(f, root, &path)
                                  : pc_error_set(f->err, PACO_EFORMAT,
                                        "'prompt' is %s where an object is expected", pc_json_kind(root));
    pc_free(path.v);
    return rc;
}

int pc_reformat_oasst1(struct pc_reformat *f)
{
    return pc_reformat_each(f, "2023-04-12_oasst_ready.trees.jsonl", oasst1);
}
