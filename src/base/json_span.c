// SPDX-License-Identifier: Apache-2.0
#include "base/json_span.h"

#include <string.h>

struct scan {
    const char *text;
    size_t at, len;
};

static bool more(const struct scan *s)
{
    return s->at < s->len;
}

static void skip_space(struct scan *s)
{
    while (more(s) && strchr(" \t\r\n", s->text[s->at]) && s->text[s->at])
        s->at++;
}

static bool take(struct scan *s, char c)
{
    skip_space(s);
    if (!more(s) || s->text[s->at] != c)
        return false;
    s->at++;
    return true;
}

/* From the opening quote past the closing one. */
static bool skip_string(struct scan *s)
{
    for (s->at++; more(s); s->at++) {
        if (s->text[s->at] == '"') {
            s->at++;
            return true;
        }
        if (s->text[s->at] == '\\')
            s->at++;
    }
    return false;
}

/* Any value. Inside brackets only their depth and strings matter. */
static bool skip_value(struct scan *s)
{
    size_t depth = 0;
    bool some = false;
    for (; more(s); some = true) {
        char c = s->text[s->at];
        if (c == '"') {
            if (!skip_string(s))
                return false;
            if (depth == 0)
                return true;
            continue;
        }
        if (depth == 0 && strchr(",}] \t\r\n", c))
            return some;
        s->at++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return true;
    }
    return false;
}

bool pc_json_find(const char *text, size_t len, const char *key, size_t *start, size_t *end)
{
    struct scan s = {text, 0, len};
    size_t key_len = strlen(key);
    if (!take(&s, '{'))
        return false;
    do {
        skip_space(&s);
        size_t name = s.at + 1;
        if (!more(&s) || text[s.at] != '"' || !skip_string(&s))
            return false;
        bool found = s.at - 1 - name == key_len && memcmp(text + name, key, key_len) == 0;
        if (!take(&s, ':'))
            return false;
        skip_space(&s);
        *start = s.at;
        if (!skip_value(&s))
            return false;
        *end = s.at;
        if (found)
            return true;
    } while (take(&s, ','));
    return false;
}
