// SPDX-License-Identifier: Apache-2.0
/* JSON: parse, and what was parsed is written and parsed again to the same value. */
#include "base/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *v = NULL, *again = NULL;
    struct paco_error err = {0};
    if (pc_json_parse((const char *)data, size, "fuzz", 0, &v, &err) < 0)
        return 0;
    struct pc_buf b;
    pc_buf_init(&b, 64 << 20);
    pc_json_write(&b, v, PC_JSON_PRETTY);
    if (b.failed || pc_json_parse(b.data, b.len, "fuzz", 0, &again, &err) < 0 || !json_equal(v, again))
        abort();
    json_decref(v);
    json_decref(again);
    pc_buf_release(&b);
    return 0;
}
