// SPDX-License-Identifier: Apache-2.0
/* The card's format on LLaMA's tokenizer, id by id: fixtures/prompt/tulu_ids.json holds what the tokenizer of
 * June 2023 made of 42 conversations (tests/parity/tulu_ids.py). The tokenizer.model itself is found by
 * PACO_DATA. */
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "prompt/format.h"
#include "prompt/vocabulary.h"
#include "scratch.h"
#include "unit.h"

enum { MAX_MESSAGES = 16, MAX_FILE = 1 << 20 };

static const char FIXTURE[] = "tests/fixtures/prompt/tulu_ids.json";

/* Copy tokenizer.model from the data into s. False when there is none. */
static bool copy_tokenizer_model(struct scratch *s)
{
    const char *data = getenv("PACO_DATA");
    char path[1024];
    snprintf(path, sizeof path, "%s/tokenizer/tokenizer.model", data ? data : "../shared/data");
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    char *bytes = malloc(MAX_FILE);
    assert_non_null(bytes);
    size_t n = fread(bytes, 1, MAX_FILE, f);
    assert_true(feof(f) && n > 0);
    fclose(f);
    scratch_write(s, "tokenizer.model", bytes, n);
    free(bytes);
    return true;
}

static void write_json_files(struct scratch *s, json_t *files)
{
    const char *name;
    json_t *text;
    json_object_foreach(files, name, text)
    {
        assert_true(json_is_string(text));
        scratch_text(s, name, json_string_value(text));
    }
}

static void check_ids(size_t i_case, const struct pc_ids *got, const json_t *want)
{
    for (size_t i = 0; i < got->n && i < json_array_size(want); i++)
        if (got->v[i] != json_integer_value(json_array_get(want, i)))
            fail_msg("conversation %zu: id %zu is %d, expected %d", i_case, i, (int)got->v[i],
                (int)json_integer_value(json_array_get(want, i)));
    if (got->n != json_array_size(want))
        fail_msg("conversation %zu: %zu ids, expected %zu", i_case, got->n, json_array_size(want));
}

static void check_case(const struct pc_tokenizer *tok, size_t i_case, const json_t *row)
{
    const json_t *list = json_object_get(row, "messages");
    struct pc_message messages[MAX_MESSAGES];
    size_t n = json_array_size(list);
    assert_in_range(n, 1, MAX_MESSAGES);
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(list, i);
        messages[i].role = json_string_value(json_array_get(pair, 0));
        messages[i].content = json_string_value(json_array_get(pair, 1));
    }
    // Up to where the assistant speaks; when it has spoken last, the whole example as it was trained.
    const json_t *want = json_object_get(row, "prompt");
    want = want ? want : json_object_get(row, "train");
    struct pc_ids ids = {0};
    struct paco_error err = {0};
    assert_int_equal(pc_format_encode(PC_FORMAT_TULU, tok, messages, n, -1, &ids, &err), 0);
    check_ids(i_case, &ids, want);
    pc_ids_release(&ids);
}

static void test_conversations(void **state)
{
    (void)state;
    struct scratch s;
    struct paco_error err = {0};
    json_t *root = NULL;
    struct pc_tokenizer *tok = NULL;
    scratch_open(&s);
    if (!copy_tokenizer_model(&s)) {
        scratch_close(&s);
        skip_because("no LLaMA tokenizer.model in the test data (set PACO_DATA)");
    }
    assert_int_equal(pc_json_read(FIXTURE, MAX_FILE, &root, &err), 0);
    write_json_files(&s, json_object_get(root, "files"));
    if (pc_vocabulary_open(s.dir, &tok, &err) < 0)
        fail_msg("%s: %s", err.path, err.message);
    const json_t *cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) >= 40);
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_case(tok, i, json_array_get(cases, i));
    pc_tokenizer_free(tok);
    json_decref(root);
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_conversations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
