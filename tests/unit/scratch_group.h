// SPDX-License-Identifier: Apache-2.0
/* A directory (scratch.h) that a group of tests shares, or that each has for itself:
 *
 *     cmocka_run_group_tests(tests, open_scratch, close_scratch);
 *     cmocka_unit_test_setup_teardown(test, open_scratch, close_scratch) */
#ifndef PC_TESTS_SCRATCH_GROUP_H
#define PC_TESTS_SCRATCH_GROUP_H

#include "scratch.h"

static struct scratch g_s;

static inline int open_scratch(void **state)
{
    (void)state;
    scratch_open(&g_s);
    return 0;
}

static inline int close_scratch(void **state)
{
    (void)state;
    scratch_close(&g_s);
    return 0;
}

#endif
