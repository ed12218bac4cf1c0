// SPDX-License-Identifier: Apache-2.0
/* Forms of answers: what stands before the first NUL is a schema if it is a JSON object, else a regular
 * expression; what stands behind it is a document, followed byte by byte. A schema is compiled or refused
 * with words; from wherever a document leads there is a way on or it may end; what is taken back was never
 * there. And a text that is made by always going on comes to no dead end. */
#include "base/json.h"
#include "engine/json_schema.h"
#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_STEPS = 64 };

/* Bytes that go on, the first at or behind `from`; -1: none. */
static int find_next(struct pc_follower *f, unsigned from)
{
    for (unsigned i = 0; i < 256; i++)
        if (pc_follower_step(f, (uint8_t)(from + i))) {
            pc_follower_back(f, 0);
            return (uint8_t)(from + i);
        }
    return -1;
}

/* As many plain characters as are said to be free may come. */
static void try_plain(struct pc_follower *f)
{
    static const char *const characters[] = {"z", " ", "\xc3\xa9", "\xe2\x82\xac", "7"};
    uint32_t run = pc_follower_free_run(f);
    for (uint32_t k = 0; k < run && k < 12; k++)
        for (const char *c = characters[k % 5]; *c; c++)
            if (!pc_follower_step(f, (uint8_t)*c))
                abort();
    pc_follower_back(f, 0);
}

static void follow(struct pc_follower *f, const uint8_t *document, size_t len)
{
    size_t i = 0;
    for (; i < len && pc_follower_step(f, document[i]); i++) {
        pc_follower_back(f, 0);
        if (!pc_follower_step(f, document[i]))
            abort();
        pc_follower_settle(f);
        try_plain(f);
    }
    // What depth or ways stop is no dead end of the form, so only texts of a length that meets neither are
    // held to it.
    for (size_t k = 0; k < MOST_STEPS && i + k < 2 * MOST_STEPS; k++) {
        int next = find_next(f, len ? document[k % len] : 'a');
        if (next < 0 && !pc_follower_may_end(f))
            abort();
        if (next < 0)
            break;
        pc_follower_step(f, (uint8_t)next);
        pc_follower_settle(f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - data) : size, n_document = nul ? size - n - 1 : 0;
    struct pc_grammar *g = NULL;
    struct pc_follower *f;
    struct paco_error err = {0};
    json_t *schema = NULL;
    bool is_schema = n && data[0] == '{' && pc_json_parse((const char *)data, n, NULL, 0, &schema, NULL) == 0;
    int rc = is_schema ? pc_json_schema_compile(schema, &g, &err)
                       : pc_json_regex_compile((const char *)data, n, &g, &err);
    json_decref(schema);
    if (rc < 0) {
        fuzz_check_error(rc, &err);
        if (g || rc == PACO_EMEM)
            abort();
        return 0;
    }
    if (pc_follower_new(g, &f, &err) < 0)
        abort();
    pc_grammar_unref(g);
    follow(f, nul ? nul + 1 : NULL, n_document);
    pc_follower_free(f);
    return 0;
}
