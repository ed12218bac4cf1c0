// SPDX-License-Identifier: Apache-2.0
/* What OpenAI's clients read: completions, chats, their chunks, usage. Written straight into a buffer. */
#ifndef PC_SERVE_SHAPES_H
#define PC_SERVE_SHAPES_H

#include "serve/turn.h"

/** The answer to a call that is no stream, all samples done. */
void pc_shape_whole(struct pc_buf *b, const struct pc_turn *t);

/** The answer to a call for embeddings: the mean of the hidden states of all tokens, of length 1. */
void pc_shape_embeddings(struct pc_buf *b, const struct pc_turn *t);

/** A stream's events, each "data: {...}\n\n". The first of a sample; text (len bytes), with the notes up to
 * n_notes that are not out; the sample's end. */
void pc_shape_begin(struct pc_buf *b, const struct pc_turn *t, const struct pc_part *p, int32_t i_sample);
void pc_shape_piece(struct pc_buf *b, const struct pc_turn *t, const struct pc_part *p, int32_t i_sample,
    const char *text, size_t len, size_t n_notes);
void pc_shape_end(struct pc_buf *b, const struct pc_turn *t, const struct pc_part *p, int32_t i_sample);
/** Usage alone, as include_usage asks for it. */
void pc_shape_usage(struct pc_buf *b, const struct pc_turn *t);
/** "data: [DONE]\n\n"; a fault in its stead. */
void pc_shape_done(struct pc_buf *b);
void pc_shape_fault(struct pc_buf *b, const struct pc_fault *fault);

/** The text of a prompt as it is echoed. Borrowed. */
const char *pc_shape_prompt(const struct pc_part *p, size_t *len);
/** Characters in n bytes. */
size_t pc_shape_count(const char *s, size_t n);

#endif
