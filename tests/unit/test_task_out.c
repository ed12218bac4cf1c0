// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/file.h"
#include "base/memory.h"
#include "eval/subset.h"
#include "eval/task_out.h"
#include "scratch.h"

#include <math.h>

/* numpy.mean and numpy.std(ddof=1) / sqrt(n) of i * 7919 + 13 modulo 1000 over 999, by NumPy 2.4.6. The
 * simple sum has other last bits from n = 27 on. */
static void means_are_numpys_to_the_last_bit(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        double mean, error;
    } cases[] = {
        {2, 0.47297297297297297, 0.4599599599599599},
        {7, 0x1.416b26d75416bp-1, 0.11505301320860074},
        {8, 0x1.35d0561a235d0p-1, 0.10218425908125559},
        {9, 0x1.282cdf91c0bbbp-1, 0.09397250579400468},
        {27, 0x1.083a8a5249674p-1, 0.05992187925721645},
        {128, 0x1.057208b674572p-1, 0.025928225630045192},
        {129, 0x1.05fb366b70debp-1, 0.02574772607265197},
        {164, 0x1.04e66e3d7d2f4p-1, 0.02285943983388842},
        {300, 0x1.005778036ab03p-1, 0.01680841647161828},
        {5077, 0x1.000dc97cd51a4p-1, 0.004057255852759756},
    };
    static double v[5077];
    for (size_t i = 0; i < 5077; i++)
        v[i] = (double)((i * 7919 + 13) % 1000) / 999;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(pc_numpy_mean(v, cases[i].n) == cases[i].mean);
        assert_true(fabs(pc_mean_error(v, cases[i].n) - cases[i].error) < 1e-15);
    }
    assert_true(isnan(pc_numpy_mean(v, 0)));
    assert_true(isnan(pc_mean_error(v, 1)));
}

static void errors_of_shares_are_those_of_zeros_and_ones(void **state)
{
    (void)state;
    static const double v[] = {1, 0, 0, 1, 1, 0, 1};
    assert_true(fabs(pc_share_error(4, 7) - pc_mean_error(v, 7)) < 1e-15);
    assert_true(pc_share_error(3, 3) == 0);
    assert_true(isnan(pc_share_error(1, 1)));
}

static void lines_are_pythons(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_buf lines, b;
    scratch_open(&s);
    pc_lines_init(&lines);
    json_t *text = pc_text_value((struct pc_text){"a\0\xc3\xa9", 4});
    assert_int_equal(pc_lines_add(&lines, json_pack("{s:o,s:i}", "x", text, "y", 1), NULL), 0);
    assert_int_equal(pc_lines_add(&lines, json_pack("[f]", 0.5), NULL), 0);
    assert_int_equal(pc_lines_write(&lines, 0, s.dir, "f.jsonl", NULL), 0);
    assert_int_equal(pc_file_slurp(scratch_path(&s, "f.jsonl"), 1000, &b, NULL), 0);
    assert_string_equal(b.data, "{\"x\": \"a\\u0000\\u00e9\", \"y\": 1}\n[0.5]\n");
    pc_buf_release(&b);
    scratch_close(&s);
}

static void lines_that_failed_are_not_written(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_buf lines;
    struct paco_error err = {0};
    scratch_open(&s);
    pc_lines_init(&lines);
    int rc = pc_lines_add(&lines, NULL, &err);
    assert_int_equal(rc, PACO_EMEM);
    assert_int_equal(pc_lines_write(&lines, rc, s.dir, "f.jsonl", &err), PACO_EMEM);
    assert_false(pc_path_exists(scratch_path(&s, "f.jsonl")));
    pc_lines_init(&lines);
    assert_int_equal(pc_lines_write(&lines, 0, s.dir, "no/such/f.jsonl", &err), PACO_ENOENT);
    scratch_close(&s);
}

static void records_are_read_with_care(void **state)
{
    (void)state;
    json_t *good = json_pack("{s:s, s:i}", "text", "x", "n", 1), *bad = json_pack("{s:s}", "error", "e");
    assert_true(pc_record_is_good(good));
    assert_false(pc_record_is_good(bad));
    assert_false(pc_record_is_good(NULL));
    assert_int_equal(pc_record_text(good, "text").len, 1);
    assert_int_equal(pc_record_text(good, "n").len, 0);
    assert_int_equal(pc_record_text(good, "absent").len, 0);
    json_decref(good);
    json_decref(bad);
}

/* What n, max, even and limit make of a fresh seed 42. */
static void expect_subset(size_t n, size_t max, bool even, int64_t limit, const size_t *want, size_t n_want)
{
    struct pc_py_random r;
    struct pc_subset s;
    pc_py_seed(&r, 42);
    assert_int_equal(pc_subset_draw(&r, n, max, even, limit, &s, NULL), 0);
    assert_int_equal(s.n, n_want);
    assert_memory_equal(s.v, want, n_want * sizeof *want);
    pc_subset_release(&s);
}

static void subsets(void **state)
{
    (void)state;
    static const size_t in_order[] = {0, 1, 2, 3, 4}, drawn[] = {0, 4, 2, 1, 3}, bbh[] = {163, 28, 6};
    expect_subset(5, 0, true, 0, in_order, 5);
    expect_subset(5, 9, true, 0, in_order, 5);
    expect_subset(5, 5, false, 3, in_order, 3);
    expect_subset(5, 5, true, 0, drawn, 5);
    expect_subset(250, 40, false, 3, bbh, 3);
    expect_subset(5, 0, false, 9, in_order, 5);
    assert_int_equal(pc_subset_size(0, 40), 40);
    assert_int_equal(pc_subset_size(-1, 40), 0);
    assert_int_equal(pc_subset_size(7, 40), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_are_numpys_to_the_last_bit),
        cmocka_unit_test(errors_of_shares_are_those_of_zeros_and_ones),
        cmocka_unit_test(lines_are_pythons),
        cmocka_unit_test(lines_that_failed_are_not_written),
        cmocka_unit_test(records_are_read_with_care),
        cmocka_unit_test(subsets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
