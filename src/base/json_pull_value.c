// SPDX-License-Identifier: Apache-2.0
/* From tokens to values: for the small parts of a large text. */
#include "base/json_pull.h"

#include <inttypes.h>

struct builder {
    json_t *open[PC_JSON_MAX_DEPTH]; /* borrowed from the outermost */
    int n_open;
    json_t *root;
    struct pc_buf key;
    uint64_t n_values;
};

static json_t *value_of(const struct pc_json_pull *p)
{
    switch (p->token) {
    case PC_JSON_OBJECT: return json_object();
    case PC_JSON_ARRAY: return json_array();
    case PC_JSON_STRING: return json_stringn_nocheck(p->text, p->len);
    case PC_JSON_INTEGER: return json_integer(p->integer);
    case PC_JSON_REAL: return json_real(p->real);
    case PC_JSON_TRUE: return json_true();
    case PC_JSON_FALSE: return json_false();
    default: return json_null();
    }
}

/* Put what the token at hand begins into the innermost bracket that is open, or make it the root. */
static int put_value(struct builder *b, const struct pc_json_pull *p, struct paco_error *err)
{
    json_t *v = value_of(p), *in = b->n_open ? b->open[b->n_open - 1] : NULL;
    int rc = -1;
    if (!v || b->key.failed)
        json_decref(v);
    else if (!in)
        rc = 0, b->root = v;
    else if (json_is_array(in))
        rc = json_array_append_new(in, v);
    else
        rc = json_object_set_new_nocheck(in, b->key.data, v);
    if (rc < 0)
        return pc_error_mem(err, p->len, "JSON");
    if (p->token == PC_JSON_OBJECT || p->token == PC_JSON_ARRAY)
        b->open[b->n_open++] = v;
    return 0;
}

static int take_token(
    struct builder *b, const struct pc_json_pull *p, uint64_t max_values, struct paco_error *err)
{
    if (p->token == PC_JSON_OBJECT_END || p->token == PC_JSON_ARRAY_END) {
        b->n_open--;
        return 0;
    }
    if (p->token == PC_JSON_KEY) {
        pc_buf_clear(&b->key);
        pc_buf_add(&b->key, p->text, p->len);
        return 0;
    }
    if (++b->n_values > max_values)
        return pc_error_file(err, PACO_ELIMIT, p->path, p->at,
            "JSON: more than %" PRIu64 " values where a few are expected", max_values);
    return put_value(b, p, err);
}

int pc_json_pull_value(struct pc_json_pull *p, uint64_t max_values, json_t **out, struct paco_error *err)
{
    struct builder b = {.n_open = 0};
    pc_buf_init(&b.key, PC_JSON_MAX_STRING);
    *out = NULL;
    int rc = take_token(&b, p, max_values, err);
    while (rc >= 0 && b.n_open > 0) {
        rc = pc_json_next(p, err);
        if (rc >= 0)
            rc = take_token(&b, p, max_values, err);
    }
    pc_buf_release(&b.key);
    if (rc < 0) {
        json_decref(b.root);
        return rc;
    }
    *out = b.root;
    return 0;
}
