// SPDX-License-Identifier: Apache-2.0
/* What Python's strings and regular expressions take for letters, digits, words and lower case, over UTF-8.
 * (str.strip() is pc_utf8_strip of base/utf8.h, json.dumps() is base/json.h.)
 *
 * Text that is no UTF-8 is passed through byte by byte and is no letter, digit or space: model output and
 * data are valid by then, and nothing here may fail. Appending to a struct pc_buf fails as that says: check
 * it at the end. Property tables are utf8proc's; Python's differ from it only in characters one of them is
 * too old for. All functions are thread-safe. */
#ifndef PC_BASE_PY_TEXT_H
#define PC_BASE_PY_TEXT_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Append str.lower(): the full mapping, so U+0130 gives two code points and a sigma that ends a word is the
 * final one. */
void pc_py_lower(struct pc_buf *out, const char *s, size_t len);

/** `\d` of a str pattern, str.isdecimal(): any script's digit of value 0 to 9. */
bool pc_py_is_digit(uint32_t cp);
/** `\w` of a str pattern: str.isalnum() or '_'. A combining mark is none. */
bool pc_py_is_word(uint32_t cp);
/** string.punctuation: the ASCII ones. */
bool pc_py_is_punctuation(uint32_t cp);

/** The code point at *s, which moves on; at least one byte is left (*len > 0). A byte that starts no valid
 * sequence comes alone, as U+FFFFFFFF. */
uint32_t pc_py_take(const char **s, size_t *len);

/** The next part of str.split(): up to the next white space, white space before it skipped. *s moves behind
 * it. False when nothing but white space was left. */
bool pc_py_next_field(const char **s, size_t *len, const char **field, size_t *field_len);

/** Append repr(float): "0.1", "1e-05", "1.0", "nan", "-inf". */
void pc_py_float(struct pc_buf *out, double x);

#endif
