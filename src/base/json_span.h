// SPDX-License-Identifier: Apache-2.0
/* Where a member's value stands in JSON text: for changing one value and no other byte, and for reading the
 * head of a file whose whole tree would not fit in memory. */
#ifndef PC_BASE_JSON_SPAN_H
#define PC_BASE_JSON_SPAN_H

#include <stdbool.h>
#include <stddef.h>

/** text[*start, *end) becomes the value of member key of the object that text begins with (white space
 * aside). False when there is none, or text ends, or stops being JSON, before the value's end: text may be a
 * file's beginning. Of two members of that name the first counts. key has no characters that JSON escapes.
 * Nothing behind the value is looked at, and of what is before only brackets, strings and commas. */
bool pc_json_find(const char *text, size_t len, const char *key, size_t *start, size_t *end);

#endif
