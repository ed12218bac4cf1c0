// SPDX-License-Identifier: Apache-2.0
/* Tokens and how likely they were, as chats and as completions have them. */
#include "base/json.h"
#include "base/utf8.h"
#include "serve/shapes_parts.h"

#include <math.h>
#include <string.h>

/* JSON has no word for minus infinity; a NAN is null. */
static void put_logprob(struct pc_buf *b, double x)
{
    pc_json_write_double(b, x < -9999.0 ? -9999.0 : x);
}

/* ---- log-probabilities of chats ---- */

static void put_token(struct pc_buf *b, const struct pc_tokenizer *tok, int32_t id, double logprob)
{
    size_t len = 0;
    const char *bytes = pc_tokenizer_bytes(tok, id, &len);
    pc_buf_puts(b, "{\"token\":");
    pc_shape_text(b, bytes, len);
    pc_buf_puts(b, ",\"logprob\":");
    put_logprob(b, logprob);
    pc_buf_puts(b, ",\"bytes\":[");
    for (size_t i = 0; i < len; i++)
        pc_buf_printf(b, i ? ",%d" : "%d", (unsigned char)bytes[i]);
    pc_buf_putc(b, ']');
}

void pc_shape_chat_notes(struct pc_buf *b, const struct pc_tokenizer *tok, const struct pc_notebook *book,
    size_t first, size_t end)
{
    pc_buf_puts(b, "{\"content\":[");
    for (size_t i = first; i < end; i++) {
        if (i > first)
            pc_buf_putc(b, ',');
        put_token(b, tok, book->v[i].id, book->v[i].logprob);
        pc_buf_puts(b, ",\"top_logprobs\":[");
        const struct pc_likely *top = book->top + i * (size_t)book->n_top;
        for (int32_t k = 0; k < book->n_top && top[k].id >= 0; k++) {
            if (k)
                pc_buf_putc(b, ',');
            put_token(b, tok, top[k].id, top[k].logprob);
            pc_buf_putc(b, '}');
        }
        pc_buf_puts(b, "]}");
    }
    pc_buf_puts(b, "],\"refusal\":null}");
}

/* ---- log-probabilities of completions ---- */

/* A token that is no text of its own is spelt out in bytes, as OpenAI does. */
static void put_piece(struct pc_buf *b, const struct pc_tokenizer *tok, int32_t id)
{
    size_t len = 0;
    const char *bytes = pc_tokenizer_bytes(tok, id, &len);
    if (pc_utf8_valid((const uint8_t *)bytes, len, NULL)) {
        pc_shape_text(b, bytes, len);
        return;
    }
    pc_buf_puts(b, "\"bytes:");
    for (size_t i = 0; i < len; i++)
        pc_buf_printf(b, "\\\\x%02x", (unsigned char)bytes[i]);
    pc_buf_putc(b, '"');
}

static void put_top(
    struct pc_buf *b, const struct pc_tokenizer *tok, const struct pc_notebook *book, size_t i)
{
    if (book->n_top == 0 || isnan(book->v[i].logprob)) {
        pc_buf_puts(b, "null");
        return;
    }
    pc_buf_putc(b, '{');
    const struct pc_likely *top = book->top + i * (size_t)book->n_top;
    bool listed = false;
    for (int32_t k = 0; k < book->n_top && top[k].id >= 0; k++) {
        if (k)
            pc_buf_putc(b, ',');
        put_piece(b, tok, top[k].id);
        pc_buf_putc(b, ':');
        put_logprob(b, top[k].logprob);
        listed = listed || top[k].id == book->v[i].id;
    }
    if (!listed) { /* the token itself is always there */
        pc_buf_putc(b, ',');
        put_piece(b, tok, book->v[i].id);
        pc_buf_putc(b, ':');
        put_logprob(b, book->v[i].logprob);
    }
    pc_buf_putc(b, '}');
}

enum column { TOKENS, LOGPROBS, TOPS, OFFSETS };

static void put_column(struct pc_buf *b, const struct pc_tokenizer *tok, const struct pc_note_run *runs,
    size_t n_runs, enum column column)
{
    bool first = true;
    for (size_t r = 0; r < n_runs; r++) {
        size_t at = runs[r].at, n = runs[r].n;
        for (size_t i = runs[r].first; i < runs[r].end; i++) {
            const struct pc_noted *v = &runs[r].book->v[i];
            if (!first)
                pc_buf_putc(b, ',');
            first = false;
            if (column == TOKENS)
                put_piece(b, tok, v->id);
            else if (column == LOGPROBS)
                put_logprob(b, v->logprob);
            else if (column == TOPS)
                put_top(b, tok, runs[r].book, i);
            else
                pc_buf_printf(b, "%zu", n);
            if (column == OFFSETS && v->end > at) {
                n += pc_shape_count(runs[r].text + at, v->end - at);
                at = v->end;
            }
        }
    }
}

void pc_shape_text_notes(
    struct pc_buf *b, const struct pc_tokenizer *tok, const struct pc_note_run *runs, size_t n_runs)
{
    pc_buf_puts(b, "{\"tokens\":[");
    put_column(b, tok, runs, n_runs, TOKENS);
    pc_buf_puts(b, "],\"token_logprobs\":[");
    put_column(b, tok, runs, n_runs, LOGPROBS);
    pc_buf_puts(b, "],\"top_logprobs\":[");
    put_column(b, tok, runs, n_runs, TOPS);
    pc_buf_puts(b, "],\"text_offset\":[");
    put_column(b, tok, runs, n_runs, OFFSETS);
    pc_buf_puts(b, "]}");
}
