// SPDX-License-Identifier: Apache-2.0
#include "memory_checkpoint.h"

#include "base/file.h"
#include "weights/verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct pc_pool *g_pool;

static void digests_and_sums_of_a_scan(void **state)
{
    (void)state;
    static const float abc[] = {1, 2.5f, -8}, odd[] = {NAN, 1, INFINITY, -INFINITY, 2, NAN};
    static const uint16_t half[] = {0x3c00, 0x4000, 0x4200};
    struct pc_checkpoint *ck = memory_checkpoint();
    memory_add(ck, "z", PC_F32, 3, 0, abc);
    memory_add(ck, "a.b", PC_F32, 2, 3, odd);
    memory_add(ck, "h", PC_F16, 3, 1, half);
    struct pc_scan scans[3];
    assert_int_equal(
        pc_scan_checkpoint(ck, PC_SCAN_SHA256 | PC_SCAN_VALUES, g_pool, NULL, "scanning", scans, NULL), 0);
    char hex[PC_SHA256_HEX];
    assert_string_equal(pc_sha256_hex(scans[2].sha256, hex),
        "984acc913db7827cb2a179d5edbe682fd45e7c2ca557fc61afee988d3c23a822");
    assert_true(scans[0].sum == -4.5);
    assert_true(scans[1].sum == 3 && scans[1].n_nan == 2 && scans[1].n_inf == 2);
    assert_true(scans[2].sum == 6 && scans[2].n_nan == 0);
    assert_int_equal(pc_content_digest(ck, scans, hex, NULL), 0);
    assert_string_equal(hex, "5e3314066441a94c65e4e333d12e9f1515fd08a6a357ea78bd7a89baf7a42eac");
    pc_checkpoint_close(ck);
}

static int g_updates;

static int stop_at_once(void *ctx, const struct pc_progress_event *e)
{
    (void)ctx;
    g_updates++;
    assert_string_equal(e->unit, "B");
    assert_string_equal(e->phase, "scanning");
    return 1;
}

static void a_scan_can_be_stopped_and_reports_errors(void **state)
{
    (void)state;
    static const float x[4];
    struct pc_checkpoint *ck = memory_checkpoint();
    memory_add(ck, "good", PC_F32, 4, 0, x);
    const struct pc_progress stop = {.update = stop_at_once};
    struct pc_scan scans[3];
    struct paco_error err = {0};
    assert_int_equal(
        pc_scan_checkpoint(ck, PC_SCAN_SHA256, g_pool, &stop, "scanning", scans, &err), PACO_ECANCELLED);
    assert_int_equal(g_updates, 1);
    memory_add(ck, "broken", PC_F32, 2, 0, NULL);
    memory_add(ck, "broken too", PC_F32, 8, 0, NULL);
    assert_int_equal(pc_scan_checkpoint(ck, PC_SCAN_VALUES, g_pool, NULL, "scanning", scans, &err), PACO_EIO);
    assert_contains(err.message, "the disk is on fire");
    pc_checkpoint_close(ck);
}

/* Compare two one-tensor models; the caller frees nothing. */
static struct pc_comparison compare_one(const char *name_a, enum pc_dtype type_a, const void *a,
    const char *name_b, enum pc_dtype type_b, const void *b, uint64_t n_rows, uint64_t n_cols,
    const struct pc_row_ranges *rows)
{
    struct pc_checkpoint *x = memory_checkpoint(), *y = memory_checkpoint();
    memory_add(x, name_a, type_a, n_rows, n_cols, a);
    memory_add(y, name_b, type_b, n_rows, n_cols, b);
    struct pc_comparisons c;
    assert_int_equal(pc_compare(x, y, rows, g_pool, NULL, &c, NULL), 0);
    assert_int_equal(c.n, strcmp(name_a, name_b) == 0 ? 1 : 2);
    struct pc_comparison first = c.v[0];
    pc_comparisons_release(&c);
    pc_checkpoint_close(x);
    pc_checkpoint_close(y);
    return first;
}

static void values_decide_not_bits(void **state)
{
    (void)state;
    static const float a[6] = {0, NAN, 1, 2, 3, INFINITY}, same[6] = {0, NAN, 1, 2, 3, INFINITY};
    float zeros[6] = {-0.0f, -NAN, 1, 2, 3, INFINITY}, other[6] = {0, NAN, 1, 2.5f, 4, 7};
    assert_int_equal(compare_one("w", PC_F32, a, "w", PC_F32, same, 3, 2, NULL).verdict, PC_SAME);
    struct pc_comparison c = compare_one("w", PC_F32, a, "w", PC_F32, zeros, 3, 2, NULL);
    assert_int_equal(c.verdict, PC_EQUAL);
    assert_int_equal(c.n_elements, 6);
    assert_int_equal(c.n_values, 0);
    c = compare_one("w", PC_F32, a, "w", PC_F32, other, 3, 2, NULL);
    assert_int_equal(c.verdict, PC_DIFFERENT);
    assert_int_equal(c.n_values, 3);
    assert_int_equal(c.n_nonfinite, 1);
    assert_true(c.max_abs == 1);
    assert_int_equal(c.first_row, 1);
    assert_int_equal(c.first_col, 1);
    assert_true(c.first_a == 2 && c.first_b == 2.5f);
}

static void types_are_compared_by_value(void **state)
{
    (void)state;
    static const float a[2] = {1, -2};
    static const uint16_t half[2] = {0x3c00, 0xc000}, half2[2] = {0x3c01, 0xc000};
    static const double d[2] = {1, 1e-300}, d2[2] = {1, 2e-300};
    static const int64_t i[2] = {1, (int64_t)1 << 60}, i2[2] = {1, ((int64_t)1 << 60) + 1};
    assert_int_equal(compare_one("w", PC_F32, a, "w", PC_F16, half, 2, 0, NULL).verdict, PC_EQUAL);
    assert_int_equal(compare_one("w", PC_F16, half2, "w", PC_F32, a, 2, 0, NULL).verdict, PC_DIFFERENT);
    // F32 cannot tell these apart, but they are not the same.
    assert_int_equal(compare_one("w", PC_F64, d, "w", PC_F64, d2, 2, 0, NULL).verdict, PC_DIFFERENT);
    assert_int_equal(compare_one("w", PC_I64, i, "w", PC_I64, i2, 2, 0, NULL).verdict, PC_DIFFERENT);
}

static void undefined_rows_are_kept_apart(void **state)
{
    (void)state;
    static const float a[6] = {1, 2, 3, 4, 5, 6}, pad[6] = {1, 2, 3, 4, 5, 9},
                       more[6] = {1, 2, 3, 4.25f, 5, 9};
    struct pc_row_range range = {"w", 2, 1};
    const struct pc_row_ranges rows = {&range, 1};
    struct pc_comparison c = compare_one("w", PC_F32, a, "w", PC_F32, pad, 3, 2, &rows);
    assert_int_equal(c.verdict, PC_UNDEFINED);
    assert_int_equal(c.n_undefined_values, 1);
    assert_true(c.max_abs_undefined == 3 && c.max_abs == 0);
    assert_true(pc_verdict_passes(c.verdict, false));
    assert_false(pc_verdict_passes(c.verdict, true));
    c = compare_one("w", PC_F32, a, "w", PC_F32, more, 3, 2, &rows);
    assert_int_equal(c.verdict, PC_DIFFERENT);
    assert_true(c.max_abs == 0.25);
    range.tensor = "v";
    assert_int_equal(compare_one("w", PC_F32, a, "w", PC_F32, pad, 3, 2, &rows).verdict, PC_DIFFERENT);
}

static void one_sided_tensors(void **state)
{
    (void)state;
    static const float a[4] = {1, 2, 3, 4}, b[4] = {1, 2, 3, 5};
    struct pc_checkpoint *x = memory_checkpoint(), *y = memory_checkpoint();
    memory_add(x, "model.embed_tokens.weight", PC_F32, 2, 2, a);
    memory_add(x, "lm_head.weight", PC_F32, 2, 2, a);
    memory_add(x, "l.rotary_emb.inv_freq", PC_F32, 4, 0, a);
    memory_add(x, "shape", PC_F32, 4, 0, a);
    memory_add(y, "model.embed_tokens.weight", PC_F32, 2, 2, a);
    memory_add(y, "shape", PC_F32, 2, 2, a);
    memory_add(y, "new", PC_F32, 2, 0, a);
    struct pc_comparisons c;
    assert_int_equal(pc_compare(x, y, NULL, g_pool, NULL, &c, NULL), 0);
    static const enum pc_verdict there[] = {PC_SAME, PC_TIED, PC_BUFFER, PC_OTHER_SHAPE, PC_ONLY_THERE};
    assert_int_equal(c.n, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(pc_verdict_name(c.v[i].verdict), pc_verdict_name(there[i]));
    pc_comparisons_release(&c);
    assert_int_equal(pc_compare(y, x, NULL, g_pool, NULL, &c, NULL), 0);
    static const enum pc_verdict back[] = {PC_SAME, PC_OTHER_SHAPE, PC_ONLY_HERE, PC_TIED, PC_BUFFER};
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(pc_verdict_name(c.v[i].verdict), pc_verdict_name(back[i]));
    pc_comparisons_release(&c);
    pc_checkpoint_close(x);
    // A head that is not the embedding is missing on the other side, not different from something else.
    x = memory_checkpoint();
    memory_add(x, "model.embed_tokens.weight", PC_F32, 2, 2, a);
    memory_add(x, "lm_head.weight", PC_F32, 2, 2, b);
    assert_int_equal(pc_compare(x, y, NULL, g_pool, NULL, &c, NULL), 0);
    assert_int_equal(c.v[1].verdict, PC_ONLY_HERE);
    assert_null(c.v[1].b);
    assert_int_equal(c.v[1].n_values, 0);
    pc_comparisons_release(&c);
    pc_checkpoint_close(x);
    pc_checkpoint_close(y);
}

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static int read_text(const char *text, struct pc_manifest *m, struct paco_error *err)
{
    char path[] = "/tmp/paco-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (int)strlen(text));
    close(fd);
    *err = (struct paco_error){0};
    int rc = pc_manifest_read(path, m, err);
    unlink(path);
    if (rc < 0)
        assert_string_equal(err->path, path);
    return rc;
}

static void manifests_are_checked(void **state)
{
    (void)state;
#define HEAD "{\"format\": 1, \"content_sha256\": \"" ZEROS "\""
#define TENSOR(shape, dtype)                                                                                 \
    "{\"name\": \"w\", \"file\": \"f\", \"dtype\": \"" dtype "\", \"shape\": " shape                         \
    ", \"sha256\": \"" ZEROS "\"}"
    static const struct {
        const char *text;
        int code;
        const char *message;
    } cases[] = {
        {"{}", PACO_EFORMAT, "\"format\""},
        {"{\"format\": 2}", PACO_EUNSUPPORTED, "format 2; this version reads format 1"},
        {"{\"format\": 1, \"content_sha256\": \"xyz\"}", PACO_EFORMAT, "\"content_sha256\" is no SHA-256"},
        {HEAD "}", PACO_EFORMAT, "\"tensors\" is nothing, expected an array"},
        {HEAD ", \"tensors\": [3]}", PACO_EFORMAT, "tensors[0]: "},
        {HEAD ", \"tensors\": [" TENSOR("[-1]", "f32") "]}", PACO_EFORMAT,
            "tensors[0]: \"shape\" holds something that is no size"},
        {HEAD ", \"tensors\": [" TENSOR("[1,1,1,1,1,1,1,1,1]", "f32") "]}", PACO_EFORMAT, "at most 8 sizes"},
        {HEAD ", \"tensors\": [" TENSOR("[1]", "f31") "]}", PACO_EFORMAT,
            "\"dtype\" is \"f31\", which is no type"},
        {HEAD ", \"tensors\": [" TENSOR("[1]", "f32") ", " TENSOR("[1]", "f32") "]}", PACO_EFORMAT,
            "tensors[1]: 'w' appears twice"},
        {HEAD ", \"tensors\": [], \"files\": [{\"name\": \"../x\", \"bytes\": 1, \"sha256\": \"" ZEROS
              "\"}]}",
            PACO_EFORMAT, "files[0]: \"name\" is \"../x\", which is no plain file name"},
        {HEAD ", \"tensors\": [], \"undefined_rows\": [{\"tensor\": \"w\", \"first\": -1, \"n\": 1}]}",
            PACO_EFORMAT, "undefined_rows[0]: \"first\" is -1"},
    };
    struct pc_manifest m;
    struct paco_error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(read_text(cases[i].text, &m, &err), cases[i].code);
        assert_contains(err.message, cases[i].message);
        pc_manifest_release(&m);
    }
    assert_int_equal(read_text(HEAD ", \"tensors\": [" TENSOR("[2, 3]",
                                   "bf16") "], \"more\": 1, \"undefined_rows\": [{\"tensor\": \"w\", "
                                           "\"first\": 1, \"n\": 1}]}",
                         &m, &err),
        0);
    assert_int_equal(m.n_tensors, 1);
    assert_int_equal(m.tensors[0].dtype, PC_BF16);
    assert_int_equal(m.tensors[0].shape[1], 3);
    assert_int_equal(m.undefined.n, 1);
    pc_manifest_release(&m);
}

static void a_model_is_held_against_its_manifest(void **state)
{
    (void)state;
    static const float x[3];
    static const char text[] = HEAD
        ", \"tensors\": ["
        "{\"name\": \"good\", \"file\": \"f\", \"dtype\": \"f32\", \"shape\": [3], \"sha256\": "
        "\"15ec7bf0b50732b49f8228e07d24365338f9e3ab994b00af08e5a3bffe55fd8b\"},"
        "{\"name\": \"bad\", \"file\": \"f\", \"dtype\": \"f32\", \"shape\": [3], \"sha256\": \"" ZEROS "\"},"
        "{\"name\": \"type\", \"file\": \"f\", \"dtype\": \"i32\", \"shape\": [3], \"sha256\": \"" ZEROS
        "\"},"
        "{\"name\": \"shape\", \"file\": \"f\", \"dtype\": \"f32\", \"shape\": [3, 1], \"sha256\": \"" ZEROS
        "\"},"
        "{\"name\": \"gone\", \"file\": \"f\", \"dtype\": \"f32\", \"shape\": [3], \"sha256\": \"" ZEROS
        "\"}]}";
    struct pc_manifest m;
    struct paco_error err;
    assert_int_equal(read_text(text, &m, &err), 0);
    struct pc_checkpoint *ck = memory_checkpoint();
    static const char *const names[] = {"good", "bad", "type", "shape", "new"};
    for (size_t i = 0; i < 5; i++)
        memory_add(ck, names[i], PC_F32, 3, 0, x);
    struct pc_scan scans[5];
    assert_int_equal(pc_scan_checkpoint(ck, PC_SCAN_SHA256, g_pool, NULL, "verifying", scans, NULL), 0);
    struct pc_comparisons c;
    assert_int_equal(pc_compare_manifest(ck, scans, &m, &c, NULL), 0);
    static const enum pc_verdict want[] = {
        PC_SAME, PC_DIFFERENT, PC_OTHER_TYPE, PC_OTHER_SHAPE, PC_ONLY_HERE, PC_ONLY_THERE};
    assert_int_equal(c.n, 6);
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(pc_verdict_name(c.v[i].verdict), pc_verdict_name(want[i]));
    assert_string_equal(c.v[5].name, "gone");
    pc_comparisons_release(&c);
    pc_checkpoint_close(ck);
    pc_manifest_release(&m);
}

static void stanfords_sum_counts_inv_freq_once(void **state)
{
    (void)state;
    static const float x[4] = {1, 2, 3, 4}, inv[2] = {1, 0.5f};
    struct pc_checkpoint *ck = memory_checkpoint();
    for (int i = 0; i < 32; i++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.%d.self_attn.q_proj.weight", i);
        memory_add(ck, name, PC_F32, 2, 2, x);
    }
    struct pc_scan scans[33];
    assert_int_equal(pc_scan_checkpoint(ck, PC_SCAN_VALUES, g_pool, NULL, "summing", scans, NULL), 0);
    // One layer of LLaMA's inv_freq sums to 7.45995.
    assert_true(fabs(pc_stanford_sum(ck, scans, 128) - 32 * (10 + 7.45995)) < 0.001);
    memory_add(ck, "model.layers.0.self_attn.rotary_emb.inv_freq", PC_F32, 2, 0, inv);
    assert_int_equal(pc_scan_checkpoint(ck, PC_SCAN_VALUES, g_pool, NULL, "summing", scans, NULL), 0);
    assert_true(pc_stanford_sum(ck, scans, 128) == 321.5);
    pc_checkpoint_close(ck);
}

static int make_pool(void **state)
{
    (void)state;
    g_pool = pc_pool_new(2, NULL);
    return g_pool ? 0 : -1;
}

static int free_pool(void **state)
{
    (void)state;
    pc_pool_free(g_pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_and_sums_of_a_scan),
        cmocka_unit_test(a_scan_can_be_stopped_and_reports_errors),
        cmocka_unit_test(values_decide_not_bits),
        cmocka_unit_test(types_are_compared_by_value),
        cmocka_unit_test(undefined_rows_are_kept_apart),
        cmocka_unit_test(one_sided_tensors),
        cmocka_unit_test(manifests_are_checked),
        cmocka_unit_test(a_model_is_held_against_its_manifest),
        cmocka_unit_test(stanfords_sum_counts_inv_freq_once),
    };
    return cmocka_run_group_tests(tests, make_pool, free_pool);
}
