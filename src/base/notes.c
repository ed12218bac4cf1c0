// SPDX-License-Identifier: Apache-2.0
#include "base/notes.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>

enum { MAX_NOTES = 1000, MAX_LEN = 2000 };

static void keep(struct pc_notes *notes, const char *text)
{
    if (pc_grow(&notes->v, &notes->capacity, notes->n, sizeof *notes->v, "remarks", NULL) < 0)
        return;
    notes->v[notes->n] = pc_strdup(text);
    notes->n += notes->v[notes->n] != NULL;
}

void pc_note(struct pc_notes *notes, const char *fmt, ...)
{
    if (!notes)
        return;
    char raw[MAX_LEN], text[MAX_LEN];
    va_list args;
    va_start(args, fmt);
    vsnprintf(raw, sizeof raw, fmt, args);
    va_end(args);
    pc_printable(raw, text, sizeof text);
    if (notes->n < MAX_NOTES)
        keep(notes, text);
    if (notes->progress && notes->progress->note)
        notes->progress->note(notes->progress->ctx, text);
}

void pc_notes_release(struct pc_notes *notes)
{
    for (size_t i = 0; i < notes->n; i++)
        pc_free(notes->v[i]);
    pc_free(notes->v);
    *notes = (struct pc_notes){.progress = notes->progress};
}
