// SPDX-License-Identifier: Apache-2.0
/* For json_schema.py: each line of input is {"schema" or "regex", "seed", "samples", "documents"}; a line of
 * output {"error"}, or
 * {"samples": texts drawn at random from what the form allows, "cut": how many were given up, "verdicts": for
 * each document whether it is allowed}. Samples are made byte by byte as tokens would be, so that all of what
 * the grammar allows is met. */
#include "base/json.h"
#include "base/memory.h"
#include "base/splitmix.h"
#include "engine/json_schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 4000, MOST_WORDY = 60 };

static uint64_t g_seed, g_drawn;

static uint64_t draw(uint64_t n)
{
    return pc_splitmix_at(g_seed, g_drawn++) % n;
}

/* One byte more. What ends things is preferred the more, the longer the text is. */
static int choose(struct pc_follower *f, size_t len)
{
    uint8_t fitting[256];
    size_t n = 0;
    for (int b = 0; b < 256; b++)
        if (pc_follower_step(f, (uint8_t)b)) {
            pc_follower_back(f, 0);
            fitting[n++] = (uint8_t)b;
        }
    if (n == 0)
        return -1;
    const char *ends = n > 60 ? "\"" : "}]"; // in a string, or not
    if (len > MOST_WORDY)
        for (const char *e = ends; *e; e++)
            if (memchr(fitting, *e, n) && draw(4) > 0)
                return (uint8_t)*e;
    return fitting[draw(n)];
}

static json_t *sample(struct pc_follower *f)
{
    char text[MOST_BYTES];
    size_t n = 0;
    pc_follower_reset(f);
    while (n < sizeof text) {
        if (pc_follower_may_end(f) && draw(3) == 0)
            break;
        int b = choose(f, n);
        if (b < 0)
            return pc_follower_may_end(f) ? json_stringn(text, n) : json_stringn_nocheck("dead end", 8);
        text[n++] = (char)b;
        pc_follower_step(f, (uint8_t)b);
        pc_follower_settle(f);
    }
    return pc_follower_may_end(f) ? json_stringn(text, n) : NULL;
}

static json_t *judge(struct pc_follower *f, const json_t *document)
{
    const char *text = json_string_value(document);
    size_t len = json_string_length(document);
    pc_follower_reset(f);
    for (size_t i = 0; i < len; i++) {
        if (!pc_follower_step(f, (uint8_t)text[i]))
            return json_false();
        pc_follower_settle(f);
    }
    return json_boolean(pc_follower_may_end(f));
}

static json_t *answer(const json_t *root)
{
    struct paco_error err = {0};
    struct pc_grammar *g = NULL;
    struct pc_follower *f = NULL;
    const json_t *regex = json_object_get(root, "regex"), *documents = json_object_get(root, "documents"), *v;
    json_t *out = json_object(), *samples = json_array(), *verdicts = json_array();
    size_t i;
    int cut = 0;
    int rc = regex ? pc_json_regex_compile(json_string_value(regex), json_string_length(regex), &g, &err)
                   : pc_json_schema_compile(json_object_get(root, "schema"), &g, &err);
    if (rc == 0)
        rc = pc_follower_new(g, &f, &err);
    g_seed = (uint64_t)json_integer_value(json_object_get(root, "seed"));
    g_drawn = 0;
    for (i = 0; rc == 0 && (json_int_t)i < json_integer_value(json_object_get(root, "samples")); i++) {
        json_t *one = sample(f);
        cut += one == NULL;
        if (one)
            json_array_append_new(samples, one);
    }
    json_array_foreach(documents, i, v) if (rc == 0) json_array_append_new(verdicts, judge(f, v));
    if (rc < 0)
        json_object_set_new(out, "error", json_string(err.message));
    json_object_set_new(out, "samples", samples);
    json_object_set_new(out, "verdicts", verdicts);
    json_object_set_new(out, "cut", json_integer(cut));
    pc_follower_free(f);
    pc_grammar_unref(g);
    return out;
}

int main(void)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t len;
    while ((len = getline(&line, &capacity, stdin)) > 0) {
        json_t *root = NULL;
        struct paco_error err = {0};
        if (pc_json_parse(line, (size_t)len, NULL, 0, &root, &err) < 0) {
            fprintf(stderr, "json_forms: %s\n", err.message);
            return 1;
        }
        json_t *out = answer(root);
        char *text = json_dumps(out, JSON_COMPACT);
        puts(text);
        fflush(stdout);
        free(text);
        json_decref(out);
        json_decref(root);
    }
    free(line);
    return 0;
}
