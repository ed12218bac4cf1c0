// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "train/examples.h"

/* Numbers of the same definition written in Python. */
static void test_order_as_defined(void **state)
{
    (void)state;
    static const uint32_t want[3][10] = {
        {6, 7, 4, 3, 9, 5, 0, 8, 2, 1}, {9, 7, 8, 5, 4, 1, 6, 0, 3, 2}, {1, 3, 2, 6, 4, 9, 5, 8, 0, 7}};
    uint32_t order[10];
    pc_examples_order(42, 0, true, order, 10);
    assert_memory_equal(order, want[0], sizeof order);
    pc_examples_order(42, 1, true, order, 10);
    assert_memory_equal(order, want[1], sizeof order);
    pc_examples_order(UINT64_MAX, 7, true, order, 10);
    assert_memory_equal(order, want[2], sizeof order);
}

static void test_order(void **state)
{
    (void)state;
    uint32_t order[1000], again[1000];
    bool seen[1000] = {false};
    pc_examples_order(42, 0, false, order, 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(order[i], i);
    pc_examples_order(42, 0, true, order, 1000);
    for (size_t i = 0; i < 1000; i++) {
        assert_true(order[i] < 1000 && !seen[order[i]]);
        seen[order[i]] = true;
    }
    pc_examples_order(42, 1, true, again, 1000);
    assert_memory_not_equal(order, again, sizeof order);
    pc_examples_order(42, 0, true, again, 1000);
    assert_memory_equal(order, again, sizeof order);
    pc_examples_order(0, 0, true, order, 1);
    assert_int_equal(order[0], 0);
    pc_examples_order(0, 0, true, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order_as_defined), cmocka_unit_test(test_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
