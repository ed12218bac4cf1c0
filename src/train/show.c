// SPDX-License-Identifier: Apache-2.0
#include "train/show.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <string.h>

struct show {
    const struct pc_tokenizer *tok;
    struct pc_buf *out;
    bool color;
    struct pc_buf piece; /* text of the token at hand */
    struct paco_error *err;
};

static const char *open_mark(const struct show *s, bool trained)
{
    if (s->color)
        return trained ? "\x1b[1;32m" : "\x1b[2m";
    return trained ? "{+" : "";
}

static const char *close_mark(const struct show *s, bool trained)
{
    if (s->color)
        return "\x1b[0m";
    return trained ? "+}" : "";
}

static void put_newline(struct show *s, bool trained)
{
    pc_buf_puts(s->out, "\\n");
    pc_buf_puts(s->out, s->color ? close_mark(s, trained) : "");
    pc_buf_putc(s->out, '\n');
    pc_buf_puts(s->out, s->color ? open_mark(s, trained) : "");
}

/* A terminal is not to be given what would rule it, and a colour ends with its line. */
static void put_visible(struct show *s, bool trained)
{
    for (size_t i = 0, n; i < s->piece.len; i += n ? n : 1) {
        const uint8_t *at = (const uint8_t *)s->piece.data + i;
        uint32_t cp;
        n = pc_utf8_decode(at, s->piece.len - i, &cp);
        if (n && cp == '\n')
            put_newline(s, trained);
        else if (n && cp == '\t')
            pc_buf_puts(s->out, "\\t");
        else if (n && pc_is_harmless(cp))
            pc_buf_add(s->out, at, n);
        else
            pc_buf_printf(s->out, n > 1 ? "\\u%04x" : "\\x%02x", n ? cp : *at);
    }
    pc_buf_clear(&s->piece);
}

static int push(struct show *s, struct pc_decoder *d, int32_t id)
{
    if (id < pc_tokenizer_n_tokens(s->tok))
        return pc_decoder_push(d, id, &s->piece, s->err);
    int rc = pc_decoder_flush(d, &s->piece, s->err);
    pc_buf_printf(&s->piece, "<%d>", (int)id);
    return rc;
}

static int show_text(struct show *s, const struct pc_examples *set, size_t i, const int32_t *ids)
{
    struct pc_decoder d;
    const uint32_t n = pc_example_at(set, i)->n_ids;
    bool trained = pc_examples_is_trained(set, i, 0);
    int rc = 0;
    pc_decoder_init(&d, s->tok, false);
    pc_buf_puts(s->out, open_mark(s, trained));
    for (uint32_t t = 0; t < n && rc == 0; t++) {
        if (pc_examples_is_trained(set, i, t) != trained) {
            rc = pc_decoder_flush(&d, &s->piece, s->err);
            put_visible(s, trained);
            pc_buf_puts(s->out, close_mark(s, trained));
            trained = !trained;
            pc_buf_puts(s->out, open_mark(s, trained));
        }
        if (rc == 0)
            rc = push(s, &d, ids[t]);
        put_visible(s, trained);
    }
    if (rc == 0)
        rc = pc_decoder_flush(&d, &s->piece, s->err);
    put_visible(s, trained);
    pc_buf_puts(s->out, close_mark(s, trained));
    pc_buf_putc(s->out, '\n');
    return rc;
}

static void show_heading(struct show *s, const struct pc_example *e)
{
    pc_buf_printf(s->out, "--- line %u: %u tokens, %u trained%s%s\n", e->line, e->n_ids, e->n_trained,
        e->flags & PC_EXAMPLE_TRUNCATED ? ", truncated" : "",
        e->flags & PC_EXAMPLE_NO_EOS ? ", the end is missing" : "");
}

int pc_examples_show(const struct pc_examples *set, const struct pc_tokenizer *tok, const uint32_t *which,
    size_t n, bool color, struct pc_buf *out, struct paco_error *err)
{
    struct show s = {.tok = tok, .out = out, .color = color, .err = err};
    int32_t *ids = pc_alloc(set->longest, sizeof *ids);
    if (!ids)
        return pc_error_mem(err, set->longest * sizeof *ids, "an example");
    pc_buf_init(&s.piece, out->max);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        show_heading(&s, pc_example_at(set, which[i]));
        pc_examples_get(set, which[i], ids, NULL);
        rc = show_text(&s, set, which[i], ids);
    }
    if (rc == 0)
        rc = pc_buf_check(out, "the examples shown", err);
    pc_buf_release(&s.piece);
    pc_free(ids);
    return rc;
}
