// SPDX-License-Identifier: Apache-2.0
/* UTF-8, strictly: shortest forms only, no surrogates, nothing above U+10FFFF. */
#ifndef PC_BASE_UTF8_H
#define PC_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Decode the code point at s (len bytes left). Returns the bytes it takes, 1 to 4, or 0 when s does not
 * start with a whole valid sequence; *cp is then U+FFFD. */
size_t pc_utf8_decode(const uint8_t *s, size_t len, uint32_t *cp);

/** Write cp (a Unicode scalar value) to out. Returns the bytes written, 1 to 4, or 0 for a surrogate or
 * beyond. */
size_t pc_utf8_encode(uint32_t cp, uint8_t out[4]);

/** True if all of s is valid; otherwise *bad (may be NULL) is the offset of the first byte that is not. */
bool pc_utf8_valid(const uint8_t *s, size_t len, size_t *bad);

/** How many bytes at the end of s are the start of a sequence that more bytes could complete (0 to 3).
 * Streams hold these back so that half a character is never shown. */
size_t pc_utf8_incomplete_tail(const uint8_t *s, size_t len);

/** Where s (len >= 1 bytes) does not start with a valid sequence: the bytes of its maximal subpart, 1 to 3,
 * which one U+FFFD replaces in Python, Rust and browsers (Unicode 15, section 3.9). */
size_t pc_utf8_broken(const uint8_t *s, size_t len);

/** Unicode's White_Space, the \s of regular expressions; and what Python's str.isspace() and strip() take,
 * which is U+001C to U+001F more. */
bool pc_is_white_space(uint32_t cp);
bool pc_is_python_space(uint32_t cp);

/** Whether a terminal may be given cp as it is: no control character (C0, DEL, C1), none of the two
 * separators and the bidirectional overrides that rewrite a line. */
bool pc_is_harmless(uint32_t cp);

/** Python's str.lstrip(), str.rstrip(), str.strip(): move *s and *len to what is left. Broken UTF-8 is no
 * space. */
void pc_utf8_lstrip(const char **s, size_t *len);
void pc_utf8_rstrip(const char **s, size_t *len);
void pc_utf8_strip(const char **s, size_t *len);

#endif
