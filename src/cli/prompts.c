// SPDX-License-Identifier: Apache-2.0
#include "cli/prompts.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PROMPTS = 1000000, MAX_MESSAGES = 10000 };

void pc_prompts_release(struct pc_prompts *p)
{
    for (size_t i = 0; i < p->n; i++)
        pc_ids_release(&p->v[i]);
    pc_free(p->v);
    *p = (struct pc_prompts){0};
}

/* A new empty prompt at the end. */
static int append(struct pc_prompts *p, struct pc_ids **out, struct paco_error *err)
{
    if (p->n == MAX_PROMPTS)
        return pc_error_set(err, PACO_ELIMIT, "more than %d prompts", MAX_PROMPTS);
    if (pc_grow(&p->v, &p->capacity, p->n, sizeof *p->v, "prompts", err) < 0)
        return PACO_EMEM;
    p->v[p->n] = (struct pc_ids){0};
    *out = &p->v[p->n++];
    return 0;
}

bool pc_format_alike(enum pc_format a, enum pc_format b)
{
    bool a_chatml = a == PC_FORMAT_CHATML || a == PC_FORMAT_CHATML_PLAIN;
    bool b_chatml = b == PC_FORMAT_CHATML || b == PC_FORMAT_CHATML_PLAIN;
    return a == b || (a_chatml && b_chatml);
}

static void remark(struct pc_prompter *how, const char *text)
{
    enum pc_format looks = pc_format_of_text(text);
    if (how->remarked || looks == PC_FORMAT_AUTO)
        return;
    const char *name = pc_format_name(looks);
    how->remarked = true;
    if (how->tuned != PC_FORMAT_AUTO && !pc_format_alike(looks, how->tuned))
        pc_command_note(how->self,
            "the prompt is in %s format, but this model was tuned on %s: expect worse answers", name,
            pc_format_name(how->tuned));
    else if (how->format != PC_FORMAT_RAW)
        pc_command_note(how->self,
            "the prompt is in %s format already and is wrapped in %s; --format raw takes it as it is", name,
            pc_format_name(how->format));
    else
        how->remarked = false;
}

static int encode(struct pc_prompts *p, struct pc_prompter *how, const struct pc_message *messages, size_t n,
    struct paco_error *err)
{
    for (size_t i = 0; i < n; i++)
        remark(how, messages[i].content);
    struct pc_ids *ids = NULL;
    int rc = append(p, &ids, err);
    if (rc < 0)
        return rc;
    return pc_format_encode(how->format, how->tok, messages, n, how->bos, ids, err);
}

int pc_prompts_add_text(
    struct pc_prompts *p, struct pc_prompter *how, const char *text, size_t len, struct paco_error *err)
{
    const char *nul = memchr(text, 0, len);
    if (nul)
        return pc_error_set(err, PACO_EFORMAT, "the prompt has a NUL byte at %zu", (size_t)(nul - text));
    char *copy = pc_strndup(text, len);
    if (!copy)
        return pc_error_mem(err, len, "a prompt");
    const struct pc_message messages[] = {{"system", how->system}, {"user", copy}};
    int rc = encode(p, how, messages + (how->system ? 0 : 1), how->system ? 2 : 1, err);
    pc_free(copy);
    return rc;
}

/* The conversation in an array of {role, content}. *out is owned, the texts borrowed from list. */
static int read_messages(const json_t *list, const struct pc_prompter *how, struct pc_message **out,
    size_t *n, struct paco_error *err)
{
    size_t size = json_array_size(list);
    if (!json_is_array(list) || size == 0)
        return pc_error_set(err, PACO_EFORMAT, "'messages' is %s; a list of messages is expected",
            json_is_array(list) ? "empty" : pc_json_kind(list));
    if (size > MAX_MESSAGES)
        return pc_error_set(err, PACO_ELIMIT, "%zu messages; at most %d are supported", size, MAX_MESSAGES);
    struct pc_message *m = pc_alloc_zero(size + 1, sizeof *m);
    if (!m)
        return pc_error_mem(err, size * sizeof *m, "messages");
    int rc = 0;
    for (size_t i = 0; i < size && rc == 0; i++) {
        const json_t *o = json_array_get(list, i);
        rc = json_is_object(o) ? pc_json_get_str(o, "role", &m[i + 1].role, err)
                               : pc_error_set(err, PACO_EFORMAT, "is %s", pc_json_kind(o));
        if (rc == 0)
            rc = pc_json_get_str(o, "content", &m[i + 1].content, err);
        if (rc < 0)
            pc_error_prefix(err, "message %zu", i);
    }
    bool add = rc == 0 && how->system && strcmp(m[1].role, "system") != 0;
    m[0] = (struct pc_message){"system", how->system};
    if (!add)
        memmove(m, m + 1, size * sizeof *m);
    *n = size + add;
    *out = m;
    return rc;
}

static int add_messages(
    struct pc_prompts *p, struct pc_prompter *how, const json_t *list, struct paco_error *err)
{
    struct pc_message *messages = NULL;
    size_t n = 0;
    int rc = read_messages(list, how, &messages, &n, err);
    if (rc == 0)
        rc = encode(p, how, messages, n, err);
    pc_free(messages);
    return rc;
}

/* Alpaca's format knows an input; the others get it below the instruction, an empty line between. */
static int add_instruction(
    struct pc_prompts *p, struct pc_prompter *how, const json_t *o, struct paco_error *err)
{
    const char *instruction = NULL, *input = "";
    int rc = pc_json_get_str(o, "instruction", &instruction, err);
    if (rc == 0)
        rc = pc_json_opt_str(o, "input", &input, err);
    if (rc < 0)
        return rc;
    struct pc_buf text;
    pc_buf_init(&text, SIZE_MAX / 2);
    bool apart = how->format == PC_FORMAT_ALPACA;
    pc_buf_puts(&text, instruction);
    if (!apart && *input) {
        pc_buf_puts(&text, "\n\n");
        pc_buf_puts(&text, input);
    }
    rc = pc_buf_check(&text, "a prompt", err);
    const struct pc_message messages[] = {
        {"system", how->system}, {"user", text.data ? text.data : ""}, {"input", input}};
    size_t first = how->system ? 0 : 1, end = apart && *input ? 3 : 2;
    if (rc == 0)
        rc = encode(p, how, messages + first, end - first, err);
    pc_buf_release(&text);
    return rc;
}

static int add_line(struct pc_prompts *p, struct pc_prompter *how, const json_t *o, struct paco_error *err)
{
    const char *text = NULL;
    if (!json_is_object(o))
        return pc_error_set(err, PACO_EFORMAT, "is %s; an object is expected", pc_json_kind(o));
    if (json_object_get(o, "messages"))
        return add_messages(p, how, json_object_get(o, "messages"), err);
    if (json_object_get(o, "instruction"))
        return add_instruction(p, how, o, err);
    if (!json_object_get(o, "prompt"))
        return pc_error_set(err, PACO_EFORMAT, "has none of 'prompt', 'messages' and 'instruction'");
    int rc = pc_json_get_str(o, "prompt", &text, err);
    return rc == 0 ? pc_prompts_add_text(p, how, text, strlen(text), err) : rc;
}

/* What a line that begins with something else than '{' probably is. */
static int refuse_line(char first, struct paco_error *err)
{
    if (first == '[')
        return pc_error_set(err, PACO_EFORMAT,
            "begins a JSON array, where one object for each line is expected (`jq -c '.[]'` makes them of "
            "one)");
    return pc_error_set(err, PACO_EFORMAT,
        "is no JSON object, such as {\"prompt\": \"...\"} (a prompt that is plain text goes by -p - < FILE)");
}

/* One line without its end; rest says whether others follow. */
static int parse_line(struct pc_prompts *p, struct pc_prompter *how, const char *path, const char *line,
    size_t n, uint64_t offset, bool rest, struct paco_error *err)
{
    size_t blank = 0;
    json_t *o = NULL;
    while (blank < n && isspace((unsigned char)line[blank]))
        blank++;
    if (blank == n)
        return 0;
    if (line[blank] != '{') {
        int rc = refuse_line(line[blank], err);
        pc_error_at(err, path, offset + blank);
        return rc;
    }
    int rc = pc_json_parse_line(line, n, path, offset, &o, err);
    size_t len = err ? strlen(err->message) : 0;
    if (rc < 0 && rest && pc_ends_with(err ? err->message : "", "end of the line"))
        snprintf(err->message + len, sizeof err->message - len, " (each object must stand on one line)");
    if (rc == 0)
        rc = add_line(p, how, o, err);
    json_decref(o);
    return rc;
}

int pc_prompts_add_jsonl(struct pc_prompts *p, struct pc_prompter *how, const char *path, const char *text,
    size_t len, struct paco_error *err)
{
    static const char mark[] = "\xef\xbb\xbf"; // a byte order mark, which some editors put in front
    const char *end = text + len, *line = text + (len >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0);
    for (size_t number = 1; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((stop ? stop : end) - line);
        int rc = parse_line(p, how, path, line, n, (uint64_t)(line - text), stop && stop + 1 < end, err);
        if (rc < 0) {
            pc_error_path(err, path);
            pc_error_prefix(err, "line %zu", number);
            return rc;
        }
        line += n + 1;
    }
    return 0;
}

int pc_prompts_add_ids(struct pc_prompts *p, const char *text, struct paco_error *err)
{
    struct pc_ids *ids = NULL;
    int rc = append(p, &ids, err);
    if (rc < 0)
        return rc;
    for (const char *at = text; *at;) {
        if (strchr(" ,\t\r\n[]", *at)) {
            at++;
            continue;
        }
        char *end;
        long id = strtol(at, &end, 10);
        if (end == at || id < 0 || id > INT32_MAX)
            return pc_error_set(err, PACO_EINVAL, "--ids: '%.20s' is no token id", at);
        rc = pc_ids_add(ids, (int32_t)id, err);
        if (rc < 0)
            return rc;
        at = end;
    }
    return 0;
}
