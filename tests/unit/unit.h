// SPDX-License-Identifier: Apache-2.0
/* What every unit test includes: cmocka in the order it wants. */
#ifndef PC_TESTS_UNIT_H
#define PC_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/** Fails unless text contains part, showing both. */
#define assert_contains(text, part)                                                                          \
    do {                                                                                                     \
        if (!strstr((text), (part)))                                                                         \
            fail_msg("'%s' is not in '%s'", (part), (text));                                                 \
    } while (0)

/** Skip the running test, saying why; the test runner repeats it. */
#define skip_because(...)                                                                                    \
    do {                                                                                                     \
        print_message("# SKIP " __VA_ARGS__);                                                                \
        print_message("\n");                                                                                 \
        skip();                                                                                              \
    } while (0)

#endif
