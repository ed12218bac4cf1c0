// SPDX-License-Identifier: Apache-2.0
/* Ids to text, one at a time or all at once, by the same steps: what a token adds is known beforehand (struct
 * pc_token), the front is stripped once, and bytes are let through as soon as they make a character.
 *
 * Bytes that never will are replaced by U+FFFD: for byte-level vocabularies one for each maximal part of a
 * sequence, as the tokenizers library; for byte-fallback pieces one for each byte, as SentencePiece. (For a
 * run of fallback bytes that is not UTF-8 as a whole the tokenizers library replaces the good characters in
 * it too; showing them is the better stream.) */
#include "base/utf8.h"
#include "tokenizer/tokenizer_parts.h"

#include <string.h>

static size_t first_broken(const struct pc_decoder *d)
{
    return d->tok->byte_level ? pc_utf8_broken(d->held, d->n_held) : 1;
}

static void drop(struct pc_decoder *d, size_t n)
{
    d->n_held -= n;
    memmove(d->held, d->held + n, d->n_held);
}

static void replace_first(struct pc_decoder *d, struct pc_buf *out)
{
    drop(d, first_broken(d));
    pc_buf_puts(out, "\xef\xbf\xbd");
}

static void feed(struct pc_decoder *d, uint8_t byte, struct pc_buf *out)
{
    uint32_t cp;
    d->held[d->n_held++] = byte;
    while (d->n_held && pc_utf8_incomplete_tail(d->held, d->n_held) != d->n_held) {
        size_t n = pc_utf8_decode(d->held, d->n_held, &cp);
        if (n) {
            pc_buf_add(out, d->held, n);
            drop(d, n);
        } else {
            replace_first(d, out);
        }
    }
}

/* The bytes of a token without what stripping takes from the front of the text. */
static struct pc_span strip_front(struct pc_decoder *d, const struct pc_token *t)
{
    const struct pc_tokenizer *tok = d->tok;
    struct pc_span bytes = {t->bytes, t->bytes_len};
    bool mark = t->piece_len >= 3 && memcmp(t->piece, PC_SPACE_MARK, 3) == 0;
    bool strips = tok->strip == PC_STRIP_SPACE ? bytes.len && *bytes.text == ' '
                                               : tok->strip == PC_STRIP_PIECE && mark && !t->special;
    if (d->started || !strips) {
        d->started = d->started || bytes.len;
        return bytes;
    }
    bytes.text++;
    bytes.len--;
    // Where extra white space is removed, every mark before the first text goes, else just the first.
    d->started = bytes.len || tok->strip == PC_STRIP_SPACE || !tok->spm.remove_extra_whitespaces;
    return bytes;
}

void pc_decoder_init(struct pc_decoder *d, const struct pc_tokenizer *tok, bool skip_special)
{
    *d = (struct pc_decoder){.tok = tok, .skip_special = skip_special};
}

int pc_decoder_push(struct pc_decoder *d, int32_t id, struct pc_buf *out, struct paco_error *err)
{
    if (id < 0 || id >= d->tok->n_tokens)
        return pc_error_set(
            err, PACO_EINVAL, "token id %d is not in the vocabulary of %d", id, d->tok->n_tokens);
    const struct pc_token *t = &d->tok->tokens[id];
    if (d->skip_special && t->special)
        return 0;
    struct pc_span bytes = strip_front(d, t);
    if (!d->n_held && pc_utf8_valid((const uint8_t *)bytes.text, bytes.len, NULL))
        pc_buf_add(out, bytes.text, bytes.len);
    else
        for (size_t i = 0; i < bytes.len; i++)
            feed(d, (uint8_t)bytes.text[i], out);
    return pc_buf_check(out, "decoded text", err);
}

int pc_decoder_flush(struct pc_decoder *d, struct pc_buf *out, struct paco_error *err)
{
    while (d->n_held)
        replace_first(d, out);
    return pc_buf_check(out, "decoded text", err);
}

int pc_tokenizer_decode(const struct pc_tokenizer *tok, const int32_t *ids, size_t n, bool skip_special,
    struct pc_buf *out, struct paco_error *err)
{
    struct pc_decoder d;
    pc_decoder_init(&d, tok, skip_special);
    for (size_t i = 0; i < n; i++) {
        int rc = pc_decoder_push(&d, ids[i], out, err);
        if (rc < 0) {
            pc_error_prefix(err, "position %zu", i);
            return rc;
        }
    }
    return pc_decoder_flush(&d, out, err);
}
