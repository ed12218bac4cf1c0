// SPDX-License-Identifier: Apache-2.0
/* Remarks a job makes on the way (a repair, a warning): shown at once through the progress callback, and kept
 * for the end's `--json`. */
#ifndef PC_BASE_NOTES_H
#define PC_BASE_NOTES_H

#include "base/error.h"
#include "base/progress.h"

#include <stddef.h>

/** `{0}` is a valid empty list. One thread at a time. */
struct pc_notes {
    char **v; /* owned, UTF-8, no control characters */
    size_t n, capacity;
    const struct pc_progress *progress; /* told of each note at once; may be NULL */
};

/** Add a note, made printable (pc_printable), of at most 2000 bytes. Notes beyond the first 1000, or when
 * memory is out, are only shown. notes may be NULL. */
void pc_note(struct pc_notes *notes, const char *fmt, ...) PC_PRINTF(2, 3);
void pc_notes_release(struct pc_notes *notes);

#endif
