// SPDX-License-Identifier: Apache-2.0
/* Files of JSON objects, record by record: each is where it says, on the line it says, and together they are
 * what the parser of whole values makes of the same text. A first byte that is a multiple of eight says how
 * much space stands in front a second time, so that windows end anywhere: not always, since that is slow. */
#include "base/json_records.h"
#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EDGE = 4 << 20, MOST = 4096 };

/* Where a record was, and how many lines began before. */
struct place {
    uint64_t at, end, line;
};

/* A record is the bytes of the file that it says it is, behind the one before. */
static void check_place(const struct pc_json_record *v, const char *text, size_t len, struct place *last)
{
    if (v->at < last->end || v->at > len || v->len > len - v->at ||
        memcmp(text + v->at, v->text, v->len) != 0)
        abort();
    for (; last->at < v->at; last->at++)
        last->line += text[last->at] == '\n';
    last->end = v->at + v->len;
    if (last->line != v->line)
        abort();
}

/* All records that are objects, in out; how reading ended. */
static int read_all(const char *text, size_t len, json_t *out, bool *is_array, bool *all_objects)
{
    struct pc_json_records r;
    struct paco_error err = {0};
    struct place last = {.line = 1};
    const char *path = fuzz_file((const uint8_t *)text, len);
    int rc = pc_json_records_open(&r, path, &err);
    *all_objects = true;
    while (rc == 0 && (rc = pc_json_records_batch(&r, &err)) == 0 && r.n > 0)
        for (size_t i = 0; i < r.n; i++) {
            struct paco_error why = {0};
            json_t *v = NULL;
            check_place(&r.v[i], text, len, &last);
            int bad = pc_json_record_parse(path, &r.v[i], &v, &why);
            if (bad < 0)
                fuzz_check_error(bad, &why);
            if (bad < 0 && strncmp(why.message, "line ", 5) != 0)
                abort();
            *all_objects &= bad == 0;
            json_array_append_new(out, bad == 0 ? v : json_null());
        }
    if (rc < 0)
        fuzz_check_error(rc, &err);
    *is_array = r.is_array;
    pc_json_records_close(&r);
    return rc;
}

/* An array's records are its elements. */
static void check_whole(const char *text, size_t len, int rc, const json_t *records, bool all_objects)
{
    json_t *whole = NULL;
    // A byte order mark is no JSON, and a NUL behind the value is its end.
    if (memchr(text, 0, len) || (len && (unsigned char)text[0] == 0xef))
        return;
    int whole_rc = pc_json_parse(text, len, "fuzz", 0, &whole, NULL);
    if (rc == 0 && all_objects && (whole_rc < 0 || !json_equal(whole, (json_t *)(uintptr_t)records)))
        abort();
    if (whole_rc == 0 && rc < 0)
        abort();
    json_decref(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char moved[EDGE + MOST];
    if (size == 0 || size > MOST)
        return 0;
    const char *text = (const char *)data + 1;
    json_t *here = json_array(), *there = json_array();
    bool is_array, all, is_array_there, all_there;
    int rc = read_all(text, --size, here, &is_array, &all);
    if (is_array)
        check_whole(text, size, rc, here, all);
    size_t lead = EDGE - data[0];
    bool has_mark = size && (unsigned char)text[0] == 0xef;
    if (data[0] % 8 == 0 && !has_mark) {
        memset(moved, ' ', lead);
        memcpy(moved + lead, text, size);
        int rc_there = read_all(moved, lead + size, there, &is_array_there, &all_there);
        if (rc_there != rc || (rc == 0 && !json_equal(here, there)))
            abort();
    }
    json_decref(here);
    json_decref(there);
    return 0;
}
