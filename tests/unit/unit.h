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

#endif
