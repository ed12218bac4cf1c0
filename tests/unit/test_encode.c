// SPDX-License-Identifier: Apache-2.0
/* Training examples, id by id: fixtures/train/encode.json holds what the fine-tuning scripts of 2023 make of
 * made-up ones with LLaMA's tokenizer (tests/parity/encode.py). The tokenizer.model itself is found by
 * PACO_DATA. */
#include "base/json.h"
#include "prompt/vocabulary.h"
#include "tokens.h"
#include "train/encode_example.h"
#include "unit.h"

static const char FIXTURE[] = "tests/fixtures/train/encode.json";

static void check_case(const struct pc_tokenizer *tok, size_t i_case, const json_t *row, struct pc_encoded *e)
{
    struct pc_encode_rules rules;
    struct paco_error err = {0};
    struct pc_examples_options o = {.tokenizer = tok};
    const json_t *ids = json_object_get(row, "ids"), *trained = json_object_get(row, "trained");
    assert_true(pc_encoding_parse(json_string_value(json_object_get(row, "encoding")), &o.encoding));
    o.max_seq_length = (uint32_t)json_integer_value(json_object_get(row, "max_length"));
    o.gets_pad = true;
    assert_int_equal(pc_encode_rules_init(&rules, &o, &err), 0);
    if (pc_encode_record(&rules, json_object_get(row, "record"), e, &err) < 0)
        fail_msg("case %zu: %s", i_case, err.message);
    pc_encode_rules_release(&rules);
    if (json_is_true(json_object_get(row, "dropped"))) {
        assert_int_equal(e->n_trained, 0);
        assert_true(e->flags & PC_EXAMPLE_MASKED);
        return;
    }
    if (e->ids.n != json_array_size(ids))
        fail_msg("case %zu: %zu ids, expected %zu", i_case, e->ids.n, json_array_size(ids));
    for (size_t i = 0; i < e->ids.n; i++)
        if (e->ids.v[i] != json_integer_value(json_array_get(ids, i)) ||
            e->trained[i] != json_integer_value(json_array_get(trained, i)))
            fail_msg("case %zu: id %zu is %d (trained: %d), expected %d (%d)", i_case, i, (int)e->ids.v[i],
                e->trained[i], (int)json_integer_value(json_array_get(ids, i)),
                (int)json_integer_value(json_array_get(trained, i)));
}

static void test_scripts_of_2023(void **state)
{
    (void)state;
    struct paco_error err = {0};
    struct pc_tokenizer *tok;
    struct pc_encoded e = {0};
    json_t *root;
    char *path = test_data("tokenizer/tokenizer.model");
    if (!path)
        skip_because("no LLaMA tokenizer.model in the test data (set PACO_DATA)");
    assert_int_equal(pc_vocabulary_open(path, &tok, &err), 0);
    assert_int_equal(pc_json_read(FIXTURE, 1 << 20, &root, &err), 0);
    const json_t *cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) > 200);
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_case(tok, i, json_array_get(cases, i), &e);
    pc_encoded_release(&e);
    json_decref(root);
    pc_tokenizer_free(tok);
    pc_free(path);
}

/* ---- flags and errors, on a small vocabulary ---- */

static struct pc_tokenizer *small_tokenizer(void)
{
    struct pc_tokenizer *tok;
    struct paco_error err = {0};
    if (pc_vocabulary_open("tests/fixtures/tokenizer/bpe_plain.model", &tok, &err) < 0)
        fail_msg("%s", err.message);
    return tok;
}

static void encode_text(enum pc_encoding encoding, uint32_t max_length, const char *record,
    struct pc_encoded *e, int want, struct paco_error *err)
{
    struct pc_encode_rules rules;
    struct pc_tokenizer *tok = small_tokenizer();
    struct pc_examples_options o = {.tokenizer = tok, .encoding = encoding, .max_seq_length = max_length};
    json_t *v;
    *err = (struct paco_error){0};
    assert_int_equal(pc_json_parse(record, strlen(record), NULL, 0, &v, err), 0);
    assert_int_equal(pc_encode_rules_init(&rules, &o, err), 0);
    assert_int_equal(pc_encode_record(&rules, v, e, err), want);
    pc_encode_rules_release(&rules);
    json_decref(v);
    pc_tokenizer_free(tok);
}

static void expect_flags(enum pc_encoding encoding, uint32_t max_length, const char *record, unsigned flags)
{
    struct pc_encoded e = {0};
    struct paco_error err;
    encode_text(encoding, max_length, record, &e, 0, &err);
    assert_int_equal(e.flags, flags);
    assert_int_equal(e.n_trained == 0, (flags & PC_EXAMPLE_MASKED) != 0);
    assert_true(e.ids.n <= max_length);
    pc_encoded_release(&e);
}

static void expect_error(enum pc_encoding encoding, const char *record, const char *message)
{
    struct pc_encoded e = {0};
    struct paco_error err;
    encode_text(encoding, 64, record, &e, PACO_EFORMAT, &err);
    assert_string_equal(err.message, message);
    pc_encoded_release(&e);
}

#define TURN(role, text) "{\"role\":\"" role "\",\"content\":\"" text "\"}"

static void test_flags(void **state)
{
    (void)state;
    const char *chat = "{\"messages\":[" TURN("user", "a b") "," TURN("assistant", "c d") "]}";
    expect_flags(PC_ENCODING_MESSAGES, 512, chat, 0);
    expect_flags(PC_ENCODING_MESSAGES, 4, chat, PC_EXAMPLE_TRUNCATED | PC_EXAMPLE_MASKED);
    expect_flags(PC_ENCODING_MESSAGES, 1, chat, PC_EXAMPLE_TRUNCATED | PC_EXAMPLE_MASKED);
    expect_flags(PC_ENCODING_MESSAGES, 512, "{\"messages\":[" TURN("user", "a b") "]}",
        PC_EXAMPLE_MASKED | PC_EXAMPLE_EMPTY);
    expect_flags(PC_ENCODING_MESSAGES, 512,
        "{\"messages\":[" TURN("user", "a") "," TURN("assistant", " ") "]}", PC_EXAMPLE_EMPTY);
    expect_flags(PC_ENCODING_COMPLETION, 512, "{\"prompt\":\"a\",\"completion\":\"b\"}", 0);
    expect_flags(PC_ENCODING_COMPLETION, 4, "{\"prompt\":\"a\",\"completion\":\"b c d e f g\"}",
        PC_EXAMPLE_TRUNCATED | PC_EXAMPLE_NO_EOS);
    expect_flags(PC_ENCODING_STANFORD, 512, "{\"instruction\":\"a\",\"output\":\"\"}", PC_EXAMPLE_EMPTY);
}

static void test_bad_records(void **state)
{
    (void)state;
    expect_error(PC_ENCODING_MESSAGES, "{\"messages\":[]}", "messages field is empty.");
    expect_error(PC_ENCODING_MESSAGES, "{\"messages\":[" TURN("user", "a") "," TURN("tool", "b") "]}",
        "Invalid role: tool (system, user or assistant are expected)");
    expect_error(
        PC_ENCODING_MESSAGES, "{\"messages\":\"a\"}", "'messages' is a string where an array is expected");
    expect_error(PC_ENCODING_MESSAGES, "{\"messages\":[" TURN("user", "a") ",3]}",
        "message 2: is an integer where an object of 'role' and 'content' is expected");
    expect_error(PC_ENCODING_MESSAGES, "{\"messages\":[{\"role\":\"user\",\"content\":null}]}",
        "message 1: 'content' is null where a string is expected");
    expect_error(PC_ENCODING_COMPLETION, "{\"prompt\":\"a\"}", "'completion' is missing");
    expect_error(PC_ENCODING_STANFORD, "{\"instruction\":\"a\",\"output\":\"b\",\"input\":3}",
        "'input' is an integer where a string is expected");
}

static void test_choice(void **state)
{
    (void)state;
    static const struct {
        const char *record;
        enum pc_encoding want;
    } cases[] = {
        {"{\"prompt\":1,\"completion\":2,\"messages\":3}", PC_ENCODING_COMPLETION},
        {"{\"prompt\":1,\"messages\":3}", PC_ENCODING_MESSAGES},
        {"{\"instruction\":1,\"output\":3}", PC_ENCODING_STANFORD},
    };
    struct paco_error err = {0};
    enum pc_encoding got;
    json_t *v;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(pc_json_parse(cases[i].record, strlen(cases[i].record), NULL, 0, &v, &err), 0);
        assert_int_equal(pc_encoding_of(v, &got, &err), 0);
        assert_int_equal(got, cases[i].want);
        json_decref(v);
    }
    v = json_object();
    assert_int_equal(pc_encoding_of(v, &got, &err), PACO_EFORMAT);
    assert_contains(
        err.message, "You need to have either 'prompt'&'completion' or 'messages' in your column names.");
    json_decref(v);
}

static void test_bad_rules(void **state)
{
    (void)state;
    struct pc_tokenizer *tok = small_tokenizer();
    struct pc_encode_rules rules;
    struct paco_error err = {0};
    struct pc_examples_options o = {.tokenizer = tok, .encoding = PC_ENCODING_MESSAGES};
    assert_int_equal(pc_encode_rules_init(&rules, &o, &err), PACO_EINVAL);
    assert_string_equal(err.message, "max_seq_length is 0: 1 to 1048576 can be");
    pc_encode_rules_release(&rules);
    pc_tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scripts_of_2023),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_bad_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
