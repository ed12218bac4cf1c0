// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/buf.h"
#include "base/cpu.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/map.h"
#include "base/options.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>

static void json_reports_position_of_errors(void **state)
{
    (void)state;
    struct paco_error err;
    json_t *v;
    const char *text = "{\"a\": 1, \"a\": 2}";
    assert_int_equal(pc_json_parse(text, strlen(text), "x.json", 100, &v, &err), PACO_EFORMAT);
    assert_contains(err.message, "duplicate object key");
    assert_string_equal(err.path, "x.json");
    assert_true(err.has_offset && err.offset > 100 && err.offset <= 100 + strlen(text));
    char deep[200];
    memset(deep, '[', sizeof deep);
    assert_int_equal(pc_json_parse(deep, sizeof deep, "x.json", 0, &v, &err), PACO_ELIMIT);
    assert_int_equal(err.offset, PC_JSON_MAX_DEPTH);
    assert_int_equal(pc_json_parse("\"\xff\"", 3, "x.json", 0, &v, &err), PACO_EFORMAT);
    assert_int_equal(err.offset, 1);
}

static void json_takes_huge_integers_as_reals(void **state)
{
    (void)state;
    struct paco_error err;
    json_t *v;
    const char *text = "{\"model_max_length\": 1000000000000000019884624838656, \"n\": 7}";
    assert_int_equal(pc_json_parse(text, strlen(text), NULL, 0, &v, &err), 0);
    int64_t n = 0;
    assert_int_equal(pc_json_get_i64(v, "n", 0, 10, &n, &err), 0);
    assert_int_equal(n, 7);
    assert_int_equal(pc_json_get_i64(v, "n", 0, 5, &n, &err), PACO_EFORMAT);
    assert_string_equal(err.message, "\"n\" is 7, outside 0 to 5");
    json_decref(v);
}

static void json_writes_as_python_does(void **state)
{
    (void)state;
    struct pc_buf b;
    pc_buf_init(&b, 4096);
    json_t *v = json_pack("{s:f, s:[i,b], s:s, s:{}}", "eps", 1e-5, "list", 1, 1, "text",
        "\xc3\xa9\n\xf0\x9f\x98\x80", "empty");
    pc_json_write(&b, v, PC_JSON_PYTHON);
    assert_string_equal(b.data,
        "{\"eps\": 1e-05, \"list\": [1, true], \"text\": \"\\u00e9\\n\\ud83d\\ude00\", \"empty\": {}}");
    pc_buf_clear(&b);
    pc_json_write(&b, v, PC_JSON_SORTED_PRETTY);
    assert_contains(
        b.data, "{\n  \"empty\": {},\n  \"eps\": 1e-05,\n  \"list\": [\n    1,\n    true\n  ],\n");
    json_decref(v);
    static const struct {
        double x;
        const char *s;
    } doubles[] = {{0.1, "0.1"}, {1, "1.0"}, {100000, "100000.0"}, {1e16, "1e+16"}, {0.0001, "0.0001"},
        {-2.5e-7, "-2.5e-07"}, {1e22, "1e+22"}, {5e-324, "5e-324"}, {123456.789, "123456.789"},
        {0.30000000000000004, "0.30000000000000004"}};
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
        pc_buf_clear(&b);
        pc_json_write_double(&b, doubles[i].x);
        assert_string_equal(b.data, doubles[i].s);
    }
    pc_buf_release(&b);
}

static void utf8_refuses_what_the_standard_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xe2\x82"};
    uint32_t cp;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(pc_utf8_decode((const uint8_t *)bad[i], strlen(bad[i]), &cp), 0);
        assert_int_equal(cp, 0xfffd);
    }
    for (uint32_t c = 1; c < 0x110000; c += c < 0x3000 ? 1 : 97) {
        uint8_t s[4];
        size_t n = pc_utf8_encode(c, s);
        if (n) {
            assert_int_equal(pc_utf8_decode(s, n, &cp), n);
            assert_int_equal(cp, c);
        }
    }
    assert_int_equal(pc_utf8_incomplete_tail((const uint8_t *)"a\xe2\x82", 3), 2);
    assert_int_equal(pc_utf8_incomplete_tail((const uint8_t *)"a\xe2\x82\xac", 4), 0);
    assert_int_equal(pc_utf8_incomplete_tail((const uint8_t *)"\xe0\x80", 2), 0);
}

static void buf_stops_at_its_bound(void **state)
{
    (void)state;
    struct pc_buf b;
    struct paco_error err;
    pc_buf_init(&b, 10);
    pc_buf_puts(&b, "12345");
    pc_buf_printf(&b, "%d", 67890);
    assert_string_equal(b.data, "1234567890");
    assert_int_equal(pc_buf_check(&b, "a test", &err), 0);
    pc_buf_putc(&b, 'x');
    assert_int_equal(pc_buf_check(&b, "a test", &err), PACO_ELIMIT);
    pc_buf_release(&b);
}

static void map_finds_what_was_added(void **state)
{
    (void)state;
    struct pc_map m = {0};
    static char keys[20000][8];
    for (uint32_t i = 0; i < 20000; i++) {
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        assert_int_equal(pc_map_add(&m, keys[i], strlen(keys[i]), i), 1);
    }
    uint32_t v;
    for (uint32_t i = 0; i < 20000; i++)
        assert_true(pc_map_get(&m, keys[i], strlen(keys[i]), &v) && v == i);
    assert_false(pc_map_get(&m, "absent", 6, &v));
    assert_int_equal(pc_map_add(&m, "k7", 2, 1), 0);
    pc_map_release(&m);
}

static void sha256_of_the_standard(void **state)
{
    (void)state;
    struct pc_sha256 *h = pc_sha256_new(NULL);
    uint8_t digest[PC_SHA256_SIZE];
    char hex[PC_SHA256_HEX];
    pc_sha256_update(h, "abc", 3);
    pc_sha256_final(h, digest);
    assert_string_equal(
        pc_sha256_hex(digest, hex), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    pc_sha256_free(h);
}

/* Any mixture of lengths, in step, gives what each hash gives alone, at every processor level. */
static void sha256_of_many_is_that_of_each(void **state)
{
    (void)state;
    enum { N = 23, ROUNDS = 92, SIZE = 9000 };
    static unsigned char bytes[SIZE];
    uint32_t seed = 1;
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)((seed = seed * 1664525u + 1013904223u) >> 24);
    static const char *const levels[] = {"scalar", "avx2", "native"};
    for (int level = 0; level < 3; level++) {
        assert_true(pc_cpu_mask(levels[level]));
        struct pc_sha256 *together[N], *alone[N];
        for (int i = 0; i < N; i++) {
            together[i] = pc_sha256_new(NULL);
            alone[i] = pc_sha256_new(NULL);
        }
        for (int round = 0; round < ROUNDS; round++) {
            struct pc_sha256_part parts[N];
            size_t n = (size_t)(round % N) + 1;
            for (size_t i = 0; i < n; i++) {
                size_t at = (seed = seed * 1664525u + 1013904223u) % 1000, len = (seed >> 8) % 8000;
                if (round < ROUNDS / 2)
                    len -= len % 64;
                parts[i] = (struct pc_sha256_part){together[i], bytes + at, len};
                pc_sha256_update(alone[i], bytes + at, len);
            }
            pc_sha256_update_many(parts, n);
        }
        for (int i = 0; i < N; i++) {
            uint8_t a[PC_SHA256_SIZE], b[PC_SHA256_SIZE];
            pc_sha256_final(together[i], a);
            pc_sha256_final(alone[i], b);
            assert_memory_equal(a, b, sizeof a);
            pc_sha256_free(together[i]);
            pc_sha256_free(alone[i]);
        }
    }
}

struct args {
    const char *out, *dtype;
    bool force, dry_run;
    int64_t threads;
    uint64_t max_shard;
    struct pc_strings diffs;
};

static const struct pc_option g_table[] = {
    {.name = "out",
        .aliases = "path_tuned|target-model-path",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct args, out),
        .arg = "DIR",
        .help = "where the tuned model goes",
        .required = true},
    {.name = "dtype",
        .type = PC_OPT_CHOICE,
        .offset = offsetof(struct args, dtype),
        .choices = "f32|f16",
        .help = "type"},
    {.name = "force", .type = PC_OPT_FLAG, .offset = offsetof(struct args, force), .help = "replace OUT"},
    {.name = "dry-run", .type = PC_OPT_FLAG, .offset = offsetof(struct args, dry_run), .help = "plan only"},
    {.name = "threads",
        .short_name = 't',
        .type = PC_OPT_INT,
        .offset = offsetof(struct args, threads),
        .arg = "N",
        .min = 0,
        .max = 512,
        .help = "threads"},
    {.name = "max-shard",
        .type = PC_OPT_SIZE,
        .offset = offsetof(struct args, max_shard),
        .help = "shard limit"},
    {.name = "diff", .type = PC_OPT_LIST, .offset = offsetof(struct args, diffs), .help = "a diff"},
    {.name = "test_inference", .type = PC_OPT_IGNORED, .help = "--test_inference: use paco generate"},
    {0},
};

static int parse(struct args *a, struct pc_args *rest, struct paco_error *err, int n, ...)
{
    char *argv[16];
    va_list list;
    va_start(list, n);
    for (int i = 0; i < n; i++)
        argv[i] = va_arg(list, char *);
    va_end(list);
    *a = (struct args){0};
    *err = (struct paco_error){0};
    return pc_options_parse(g_table, "cmd", n, argv, a, rest, err);
}

static void options_take_every_spelling(void **state)
{
    (void)state;
    struct args a;
    struct pc_args rest;
    struct paco_error err;
    assert_int_equal(parse(&a, &rest, &err, 9, "--path-tuned", "x", "--for", "False", "--max_shard=2GiB",
                         "-t4", "pos", "--diff", "d1"),
        0);
    assert_string_equal(a.out, "x");
    assert_false(a.force);
    assert_int_equal(a.max_shard, 2147483648u);
    assert_int_equal(a.threads, 4);
    assert_int_equal(rest.positional.n, 1);
    assert_int_equal(a.diffs.n, 1);
    pc_args_release(&rest);
}

static void options_say_what_is_wrong(void **state)
{
    (void)state;
    struct args a;
    struct pc_args rest;
    struct paco_error err;
    assert_int_equal(parse(&a, &rest, &err, 2, "--oot", "x"), PACO_EINVAL);
    assert_string_equal(err.message, "unknown option --oot (did you mean --out?)");
    assert_int_equal(parse(&a, &rest, &err, 1, "--force"), PACO_EINVAL);
    assert_string_equal(err.message, "option --out DIR is required: where the tuned model goes");
    assert_int_equal(parse(&a, &rest, &err, 1, "tuned"), PACO_EINVAL);
    assert_string_equal(err.message, "option --out DIR is required: did you mean --out tuned");
    assert_int_equal(parse(&a, &rest, &err, 1, "--d"), PACO_EINVAL);
    assert_contains(err.message, "ambiguous");
    assert_int_equal(parse(&a, &rest, &err, 2, "--dtype", "f3"), PACO_EINVAL);
    assert_string_equal(err.message, "option --dtype: 'f3' is none of f32|f16");
    assert_int_equal(parse(&a, &rest, &err, 2, "-t", "4x"), PACO_EINVAL);
    assert_string_equal(err.message, "option --threads: '4x' is not a whole number");
    assert_int_equal(parse(&a, &rest, &err, 4, "--diff", "d", "--out", "--force"), PACO_EINVAL);
    assert_string_equal(err.message, "option --out needs a value (DIR), found option --force");
    setenv("PACO_OUT", "from-env", 1);
    assert_int_equal(parse(&a, &rest, &err, 2, "--test_inference", "False"), 0);
    assert_string_equal(a.out, "from-env");
    assert_int_equal(rest.ignored.n, 1);
    assert_int_equal(rest.positional.n, 0);
    pc_args_release(&rest);
    // A command's own variable comes before the one that all commands read.
    setenv("PACO_CMD_OUT", "for-cmd", 1);
    assert_int_equal(parse(&a, &rest, &err, 0), 0);
    assert_string_equal(a.out, "for-cmd");
    pc_args_release(&rest);
    unsetenv("PACO_CMD_OUT");
    // Another command's choice under the same name is no error here, and said; one's own is.
    setenv("PACO_DTYPE", "tulu", 1);
    assert_int_equal(parse(&a, &rest, &err, 0), 0);
    assert_null(a.dtype);
    assert_string_equal(rest.remarks.data,
        "the environment variable PACO_DTYPE is 'tulu', none of f32|f16 here, and ignored (PACO_CMD_DTYPE is "
        "for this command alone)\n");
    pc_args_release(&rest);
    setenv("PACO_CMD_DTYPE", "tulu", 1);
    assert_int_equal(parse(&a, &rest, &err, 0), PACO_EINVAL);
    assert_string_equal(
        err.message, "environment variable PACO_CMD_DTYPE: option --dtype: 'tulu' is none of f32|f16");
    unsetenv("PACO_CMD_DTYPE");
    unsetenv("PACO_DTYPE");
    unsetenv("PACO_OUT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_reports_position_of_errors),
        cmocka_unit_test(json_takes_huge_integers_as_reals),
        cmocka_unit_test(json_writes_as_python_does),
        cmocka_unit_test(utf8_refuses_what_the_standard_refuses),
        cmocka_unit_test(buf_stops_at_its_bound),
        cmocka_unit_test(map_finds_what_was_added),
        cmocka_unit_test(sha256_of_the_standard),
        cmocka_unit_test(sha256_of_many_is_that_of_each),
        cmocka_unit_test(options_take_every_spelling),
        cmocka_unit_test(options_say_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
