// SPDX-License-Identifier: Apache-2.0
/* What shapes.c and shapes_notes.c share. */
#ifndef PC_SERVE_SHAPES_PARTS_H
#define PC_SERVE_SHAPES_PARTS_H

#include "serve/shapes.h"

/** A text as a JSON string; s may be NULL for none. */
void pc_shape_text(struct pc_buf *b, const char *s, size_t len);

/** Notes of a text: of the echoed prompt, or of the answer behind it. */
struct pc_note_run {
    const struct pc_notebook *book;
    size_t first, end;
    const char *text; /* that the notes' ends count in */
    size_t at, n;     /* bytes of it and characters in all before the first note */
};

/** Of a chat: notes [first, end). */
void pc_shape_chat_notes(struct pc_buf *b, const struct pc_tokenizer *tok, const struct pc_notebook *book,
    size_t first, size_t end);
/** Of a completion: several runs as one. */
void pc_shape_text_notes(
    struct pc_buf *b, const struct pc_tokenizer *tok, const struct pc_note_run *runs, size_t n_runs);

#endif
