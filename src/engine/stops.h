// SPDX-License-Identifier: Apache-2.0
/* Texts that end an answer. They are looked for in the text, not in the tokens, since the same letters may
 * come in many tokenisations; and text that may yet turn out to be the start of one is withheld, since what
 * was shown cannot be taken back. */
#ifndef PC_ENGINE_STOPS_H
#define PC_ENGINE_STOPS_H

#include <stdbool.h>
#include <stddef.h>

/** Look at text (len bytes), none of which was released yet. Returns how many bytes may be: those before the
 *  first whole stop (then *found is set), else all but the longest tail that begins a stop. Empty stops are
 *  ignored. */
size_t pc_stops_scan(const char *text, size_t len, const char *const *stops, size_t n_stops, bool *found);

#endif
