// SPDX-License-Identifier: Apache-2.0
#include "engine/stops.h"

#include <string.h>

/* Whether text at this place is a whole stop, or, with tail, the beginning of one cut off by the text's end.
 */
static bool stands(const char *text, size_t left, const char *stop, bool tail)
{
    size_t len = strlen(stop);
    if (tail ? left >= len : left < len || len == 0)
        return false;
    return memcmp(text, stop, tail ? left : len) == 0;
}

size_t pc_stops_scan(const char *text, size_t len, const char *const *stops, size_t n_stops, bool *found)
{
    for (int tail = 0; tail < 2; tail++)
        for (size_t at = 0; at < len; at++)
            for (size_t i = 0; i < n_stops; i++)
                if (stands(text + at, len - at, stops[i], tail != 0)) {
                    *found = tail == 0;
                    return at;
                }
    *found = false;
    return len;
}
