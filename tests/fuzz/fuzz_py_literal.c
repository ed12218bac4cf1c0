// SPDX-License-Identifier: Apache-2.0
/* Python literals: what is accepted, written as JSON, is a literal again, of the same value. */
#include "base/buf.h"
#include "data/py_literal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* JSON's names for three values are not Python's. */
static bool is_plain(const json_t *v)
{
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_boolean(v) || json_is_null(v))
        return false;
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        if (!is_plain(member))
            return false;
    }
    json_array_foreach(v, i, member)
    {
        if (!is_plain(member))
            return false;
    }
    return true;
}

static json_t *parse(const struct pc_buf *b)
{
    json_t *v = NULL;
    struct paco_error err = {0};
    int rc = pc_py_literal(b->data, b->len, "X", "fuzz.py", &v, &err);
    if (rc == 0 ? !v : err.code != rc || !err.message[0])
        abort();
    return rc == 0 ? v : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pc_buf b;
    pc_buf_init(&b, 64 << 20);
    pc_buf_puts(&b, "X = ");
    pc_buf_add(&b, data, size);
    json_t *v = parse(&b);
    pc_buf_clear(&b);
    if (v && is_plain(v)) {
        pc_buf_puts(&b, "X = ");
        pc_json_write(&b, v, PC_JSON_COMPACT);
        json_t *again = parse(&b);
        if (!again || !json_equal(v, again))
            abort();
        json_decref(again);
    }
    json_decref(v);
    pc_buf_release(&b);
    return 0;
}
