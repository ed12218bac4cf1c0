// SPDX-License-Identifier: Apache-2.0
/* Vectors of CPython 3.11 and NumPy 2.4.6 (RandomState), and those of the evaluation's specification. */
#include "unit.h"

#include "base/py_random.h"

static void python_outputs_of_seed_42(void **state)
{
    (void)state;
    static const uint32_t expected[] = {2746317213, 478163327, 107420369, 3184935163, 1181241943};
    struct pc_py_random r;
    pc_py_seed(&r, 42);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(pc_py_next(&r), expected[i]);
}

static void python_seeds_of_two_words(void **state)
{
    (void)state;
    static const uint32_t expected[] = {2635837658, 3209733218, 3500038837};
    struct pc_py_random r;
    pc_py_seed(&r, (UINT64_C(1) << 40) + 7);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pc_py_next(&r), expected[i]);
}

static void python_numbers_below_a_bound(void **state)
{
    (void)state;
    static const uint32_t expected[] = {1309, 228, 51, 563, 501};
    struct pc_py_random r;
    pc_py_seed(&r, 42);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(pc_py_below(&r, 1319), expected[i]);
    assert_int_equal(pc_py_below(&r, 1), 0);
}

/* A sample of k from n from a fresh seed 42: its first items, its last ones, and its sum. */
static void check_sample(
    size_t n, size_t k, const size_t *first, size_t n_first, const size_t *last, size_t n_last, size_t sum)
{
    struct pc_py_random r;
    size_t got[200], total = 0;
    assert_true(k <= 200);
    pc_py_seed(&r, 42);
    assert_int_equal(pc_py_sample(&r, n, k, got, NULL), 0);
    for (size_t i = 0; i < n_first; i++)
        assert_int_equal(got[i], first[i]);
    for (size_t i = 0; i < n_last; i++)
        assert_int_equal(got[k - n_last + i], last[i]);
    for (size_t i = 0; i < k; i++)
        total += got[i];
    assert_int_equal(total, sum);
}

static void the_sample_of_gsm(void **state)
{
    (void)state;
    static const size_t first[] = {
        1309, 228, 51, 563, 501, 457, 285, 209, 1116, 178, 1209, 864, 65, 61, 191, 447, 476, 1034, 1232, 54};
    static const size_t last[] = {994, 438, 270, 1169, 1180};
    check_sample(1319, 200, first, 20, last, 5, 130924);
}

static void the_sample_of_a_bbh_task(void **state)
{
    (void)state;
    static const size_t first[] = {163, 28, 6, 189, 70, 62, 57, 35, 188, 26};
    check_sample(250, 40, first, 10, NULL, 0, 4636);
}

static void samples_from_a_pool_and_from_a_set_meet_at_1045(void **state)
{
    (void)state;
    static const size_t first[] = {228, 51, 563, 501, 457};
    check_sample(1045, 100, first, 5, NULL, 0, 46552);
    check_sample(1046, 100, first, 5, NULL, 0, 49712);
}

static void demonstrations_come_after_the_data_from_one_generator(void **state)
{
    (void)state;
    static const size_t expected[] = {7, 1, 3, 5};
    struct pc_py_random r;
    size_t got[200];
    pc_py_seed(&r, 42);
    assert_int_equal(pc_py_sample(&r, 1319, 200, got, NULL), 0);
    assert_int_equal(pc_py_sample(&r, 8, 4, got, NULL), 0);
    assert_memory_equal(got, expected, sizeof expected);
}

static void a_sample_beyond_the_population_is_refused(void **state)
{
    (void)state;
    struct paco_error err = {0};
    struct pc_py_random r;
    size_t got[4];
    pc_py_seed(&r, 42);
    assert_int_equal(pc_py_sample(&r, 3, 4, got, &err), PACO_EINVAL);
    assert_string_equal(err.message, "a sample of 4 from 3");
    assert_int_equal(pc_py_sample(&r, 0, 0, got, &err), 0);
    assert_int_equal(pc_numpy_permutation(&r, (size_t)UINT32_MAX + 1, got, &err), PACO_EINVAL);
}

static void numpy_permutations(void **state)
{
    (void)state;
    static const size_t ten[] = {8, 1, 5, 0, 7, 2, 9, 4, 3, 6}, zero[] = {2, 0, 1, 3, 4},
                        high[] = {4, 1, 0, 2, 3};
    struct pc_py_random r;
    size_t got[1534];
    pc_numpy_seed(&r, 42);
    assert_int_equal(pc_numpy_permutation(&r, 10, got, NULL), 0);
    assert_memory_equal(got, ten, sizeof ten);
    pc_numpy_seed(&r, 0);
    assert_int_equal(pc_numpy_permutation(&r, 5, got, NULL), 0);
    assert_memory_equal(got, zero, sizeof zero);
    pc_numpy_seed(&r, UINT32_MAX);
    assert_int_equal(pc_numpy_permutation(&r, 5, got, NULL), 0);
    assert_memory_equal(got, high, sizeof high);
}

static void a_numpy_permutation_of_the_largest_subject(void **state)
{
    (void)state;
    static const size_t first[] = {1364, 76, 316, 1089, 1356, 923, 757, 1504, 963, 1196},
                        last[] = {860, 1459, 1126};
    struct pc_py_random r;
    size_t got[1534], sum = 0;
    pc_numpy_seed(&r, 42);
    assert_int_equal(pc_numpy_permutation(&r, 1534, got, NULL), 0);
    assert_memory_equal(got, first, sizeof first);
    assert_memory_equal(got + 1531, last, sizeof last);
    for (size_t i = 0; i < 1534; i++)
        sum += i * got[i];
    assert_int_equal(sum, 903393668);
}

static void python_uniforms_and_choices(void **state)
{
    (void)state;
    static const double uniform[] = {0.6394267984578837, 0.025010755222666936, 0.27502931836911926};
    static const double weights[] = {.2, .1, .1, .05, .05, .05, .05, .05, .05, .05, .05, .05, .05, .1};
    static const size_t chosen[] = {7, 0, 1, 1, 9, 8, 12, 0, 3, 0, 1, 5, 0, 0, 7, 5, 1, 6, 11, 0};
    struct pc_py_random r;
    pc_py_seed(&r, 42);
    for (size_t i = 0; i < 3; i++) {
        double u = pc_py_uniform(&r);
        assert_memory_equal(&u, &uniform[i], sizeof u);
    }
    pc_py_seed(&r, 42);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(pc_py_choice(&r, weights, 14), chosen[i]);
    assert_int_equal(pc_py_choice(&r, weights, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(python_outputs_of_seed_42),
        cmocka_unit_test(python_seeds_of_two_words),
        cmocka_unit_test(python_numbers_below_a_bound),
        cmocka_unit_test(the_sample_of_gsm),
        cmocka_unit_test(the_sample_of_a_bbh_task),
        cmocka_unit_test(samples_from_a_pool_and_from_a_set_meet_at_1045),
        cmocka_unit_test(demonstrations_come_after_the_data_from_one_generator),
        cmocka_unit_test(a_sample_beyond_the_population_is_refused),
        cmocka_unit_test(python_uniforms_and_choices),
        cmocka_unit_test(numpy_permutations),
        cmocka_unit_test(a_numpy_permutation_of_the_largest_subject),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
