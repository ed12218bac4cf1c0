// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "train/schedule.h"

#include <math.h>

/* Transformers' get_scheduler(NAME, 3 warm-up steps, 11 steps, lr 2e-5), over lr, for 14 steps. */
static const struct {
    const char *name;
    double factor[14];
} g_rows[] = {
    {"linear", {0, 0.333333333, 0.666666667, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0, 0, 0}},
    {"cosine", {0, 0.333333333, 0.666666667, 1, 0.961939766, 0.853553391, 0.691341716, 0.5, 0.308658284,
                   0.146446609, 0.0380602337, 0, 0.0380602337, 0.146446609}},
    {"cosine_with_restarts", {0, 0.333333333, 0.666666667, 1, 0.961939766, 0.853553391, 0.691341716, 0.5,
                                 0.308658284, 0.146446609, 0.0380602337, 0, 0, 0}},
    {"polynomial", {0, 0.333333333, 0.666666667, 1, 0.875625, 0.75125, 0.626875, 0.5025, 0.378125, 0.25375,
                       0.129375, 0.005, 0.005, 0.005}},
    {"constant", {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {"constant_with_warmup", {0, 0.333333333, 0.666666667, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
};

static void factors_are_transformers_own(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof g_rows / sizeof *g_rows; i++) {
        enum pc_schedule_type type;
        struct pc_schedule s;
        assert_true(pc_schedule_parse(g_rows[i].name, &type));
        assert_int_equal(pc_schedule_make(type, 2e-5, 3.5 / 11, 11, 1, &s, NULL), 0);
        assert_int_equal(s.warmup, 3);
        for (uint64_t k = 0; k < 14; k++) {
            double rate = pc_schedule_rate(&s, k) / 2e-5, want = g_rows[i].factor[k];
            if (fabs(rate - want) > 1e-9)
                fail_msg("%s, step %d: %.12g instead of %.12g", g_rows[i].name, (int)k, rate, want);
        }
    }
    enum pc_schedule_type type;
    assert_false(pc_schedule_parse("quadratic", &type));
}

/* Where a cosine is nearly nothing, its relative error must not be. */
static void the_end_of_a_cosine_is_exact(void **state)
{
    (void)state;
    struct pc_schedule s;
    assert_int_equal(pc_schedule_make(PC_SCHEDULE_COSINE, 1, 0, 100000, 1, &s, NULL), 0);
    double want = pow(sin(1.57079632679489661923 * 1e-5), 2);
    assert_true(fabs(pc_schedule_rate(&s, 99999) - want) < 1e-14 * want);
}

static void a_polynomial_needs_somewhere_to_go(void **state)
{
    (void)state;
    struct pc_schedule s;
    struct paco_error err = {0};
    assert_int_equal(pc_schedule_make(PC_SCHEDULE_POLYNOMIAL, 1e-7, 0, 10, 1, &s, &err), PACO_EINVAL);
    assert_contains(err.message, "ends at 1e-7");
}

static void upstream_ticks_once_for_each_process(void **state)
{
    (void)state;
    struct pc_schedule s;
    /* 103 examples, 4 processes of 2: 52 batches are planned as 13 updates of 4, and 2 epochs of them. */
    assert_int_equal(pc_schedule_upstream_ticks(103, 2, 4, 2, 0, 4), 26);
    assert_int_equal(pc_schedule_upstream_ticks(103, 2, 4, 2, 7, 4), 28);
    /* With one process less than a whole round of batches is planned, too: 52 of them, and 11 examples. */
    assert_int_equal(pc_schedule_upstream_ticks(103, 2, 4, 2, 0, 1), 26);
    assert_int_equal(pc_schedule_upstream_ticks(105, 2, 4, 2, 0, 3), 28);
    assert_int_equal(pc_schedule_upstream_ticks(11, 4, 1, 1, 0, 2), 3);
    assert_int_equal(pc_schedule_upstream_ticks(103, 2, 4, 2, 7, 1), 7);
    assert_int_equal(pc_schedule_make(PC_SCHEDULE_LINEAR, 1, 0, 28, 4, &s, NULL), 0);
    assert_true(fabs(pc_schedule_rate(&s, 2) - 20.0 / 28) < 1e-12);
    assert_true(pc_schedule_rate(&s, 7) == 0);
    /* Warming up: an eighth of 28 ticks are 3, which the first update's 4 leave behind. */
    assert_int_equal(pc_schedule_make(PC_SCHEDULE_LINEAR, 1, 0.125, 28, 4, &s, NULL), 0);
    assert_int_equal(s.warmup, 3);
    assert_true(pc_schedule_rate(&s, 0) == 0);
    assert_true(fabs(pc_schedule_rate(&s, 1) - 24.0 / 25) < 1e-12);
}

static void every_example_comes_once_an_epoch(void **state)
{
    (void)state;
    static const uint64_t sizes[][4] = {{10, 2, 2, 3}, {11, 3, 2, 4}, {1, 8, 1, 3}, {7, 1, 32, 2},
        {64, 8, 8, 2}, {5, UINT64_MAX, UINT64_MAX, 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct pc_course c;
        const uint64_t *s = sizes[i];
        assert_int_equal(pc_course_plan(s[0], s[1], s[2], s[3], 0, &c, NULL), 0);
        assert_int_equal(c.n_updates, c.updates_per_epoch * s[3]);
        assert_int_equal(c.n_epochs, s[3]);
        uint64_t seen = 0, epoch, first, n;
        for (uint64_t k = 0; k < c.n_updates; k++) {
            pc_course_update(&c, k, &epoch, &first, &n);
            assert_int_equal(epoch * s[0] + first, seen);
            assert_true(n >= 1);
            seen += n;
        }
        assert_int_equal(seen, s[0] * s[3]);
    }
}

static void steps_override_epochs(void **state)
{
    (void)state;
    struct pc_course c;
    struct paco_error err = {0};
    assert_int_equal(pc_course_plan(10, 2, 2, 3, 7, &c, NULL), 0);
    assert_int_equal(c.updates_per_epoch, 3);
    assert_int_equal(c.n_updates, 7);
    assert_int_equal(c.n_epochs, 3);
    assert_int_equal(pc_course_plan(10, 1, 1, UINT64_C(1) << 52, 0, &c, &err), PACO_ELIMIT);
    assert_contains(err.message, "4503599627370496 epochs of 10 steps");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(factors_are_transformers_own),
        cmocka_unit_test(the_end_of_a_cosine_is_exact), cmocka_unit_test(a_polynomial_needs_somewhere_to_go),
        cmocka_unit_test(upstream_ticks_once_for_each_process),
        cmocka_unit_test(every_example_comes_once_an_epoch), cmocka_unit_test(steps_override_epochs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
