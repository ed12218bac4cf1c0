// SPDX-License-Identifier: Apache-2.0
/* JSON token by token, against the parser of whole values: the same texts are taken, and the tokens make the
 * same value. The first byte says how much space stands in front, so that windows end anywhere. */
#include "base/json_pull.h"
#include "fuzz_file.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Once an integer is beyond 64 bits, the other parser makes all of them reals. */
static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b) ||
               json_number_value(a) == json_number_value(b);
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a)) {
        bool good = json_array_size(a) == json_array_size(b);
        for (size_t i = 0; good && i < json_array_size(a); i++)
            good = same(json_array_get(a, i), json_array_get(b, i));
        return good;
    }
    if (json_is_object(a)) {
        bool good = json_object_size(a) == json_object_size(b);
        const char *key;
        json_t *v;
        json_object_foreach((json_t *)(uintptr_t)a, key, v) good =
            good && json_object_get(b, key) && same(v, json_object_get(b, key));
        return good;
    }
    return json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b);
}

static void read_both(const char *text, size_t len, struct pc_json_pull *p)
{
    struct paco_error err = {0}, whole_err = {0};
    json_t *whole = NULL, *v = NULL;
    int whole_rc = pc_json_parse(text, len, "fuzz", 0, &whole, &whole_err);
    int rc = pc_json_next(p, &err);
    if (rc > 0) {
        rc = pc_json_pull_value(p, UINT64_MAX, &v, &err);
        if (rc == 0)
            rc = pc_json_next(p, &err);
    }
    if (rc < 0)
        fuzz_check_error(rc, &err);
    if (rc < 0 && (!err.has_offset || err.offset > len))
        abort();
    bool long_number = rc == PACO_ELIMIT && strstr(err.message, "digits");
    if (!long_number && ((rc < 0) != (whole_rc < 0) || (rc == 0 && !same(v, whole))))
        abort();
    json_decref(v);
    json_decref(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[1 << 17];
    enum { EDGE = 65536 };
    // The other parser takes a NUL behind the value for the end.
    if (size == 0 || size > 4096 || memchr(data + 1, 0, size - 1))
        return 0;
    struct pc_json_pull p;
    pc_json_pull_text(&p, (const char *)data + 1, size - 1, "fuzz");
    read_both((const char *)data + 1, size - 1, &p);
    pc_json_pull_release(&p);
    size_t lead = EDGE - data[0];
    memset(text, ' ', lead);
    memcpy(text + lead, data + 1, size - 1);
    struct pc_file f;
    struct paco_error err = {0};
    if (pc_file_open(&f, fuzz_file((const uint8_t *)text, lead + size - 1), &err) < 0 ||
        pc_json_pull_file(&p, &f, 0, f.size, &err) < 0)
        abort();
    read_both(text, lead + size - 1, &p);
    pc_json_pull_release(&p);
    pc_file_close(&f);
    return 0;
}
