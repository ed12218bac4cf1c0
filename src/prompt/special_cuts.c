// SPDX-License-Identifier: Apache-2.0
#include "prompt/special_cuts.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <assert.h>
#include <string.h>

void pc_specials_add(struct pc_specials *s, struct pc_span text, int32_t id, bool strips)
{
    if (id < 0 || !text.text || !text.len)
        return;
    assert(s->n < PC_SPECIALS_MAX);
    s->v[s->n++] = (struct pc_special){text, id, strips};
    s->first[(uint8_t)*text.text] = true;
}

void pc_specials_of(struct pc_specials *s, const struct pc_tokenizer *tok, bool strip)
{
    const int32_t ids[] = {
        pc_tokenizer_bos(tok), pc_tokenizer_eos(tok), pc_tokenizer_unk(tok), pc_tokenizer_pad(tok)};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        struct pc_span piece = {NULL, 0};
        piece.text = ids[i] >= 0 ? pc_tokenizer_piece(tok, ids[i], &piece.len) : NULL;
        pc_specials_add(s, piece, ids[i], strip);
    }
}

/* The longest one at text[i], or NULL. */
static const struct pc_special *special_at(const struct pc_specials *s, struct pc_span text, size_t i)
{
    const struct pc_special *found = NULL;
    if (!s->first[(uint8_t)text.text[i]])
        return NULL;
    for (size_t k = 0; k < s->n; k++) {
        const struct pc_span what = s->v[k].text;
        if ((!found || what.len > found->text.len) && text.len - i >= what.len &&
            memcmp(text.text + i, what.text, what.len) == 0)
            found = &s->v[k];
    }
    return found;
}

static int add_cut(struct pc_cuts *cuts, size_t at, size_t n_ids, struct paco_error *err)
{
    if (!cuts)
        return 0;
    if (pc_grow(&cuts->v, &cuts->capacity, cuts->n, sizeof *cuts->v, "the cuts of a text", err) < 0)
        return PACO_EMEM;
    cuts->v[cuts->n++] = (struct pc_cut){at, n_ids};
    return 0;
}

int pc_encode_cut(const struct pc_tokenizer *tok, const struct pc_specials *specials, struct pc_span text,
    bool after, struct pc_ids *out, struct pc_cuts *cuts, struct paco_error *err)
{
    size_t start = 0, before = out->n;
    int rc = 0;
    if (cuts)
        cuts->n = 0;
    for (size_t i = 0; i <= text.len && rc == 0; i++) {
        const struct pc_special *s = i < text.len ? special_at(specials, text, i) : NULL;
        if (!s && i < text.len)
            continue;
        struct pc_span part = {text.text + start, i - start};
        if (after)
            pc_utf8_lstrip(&part.text, &part.len);
        if (s && s->strips)
            pc_utf8_rstrip(&part.text, &part.len);
        rc = pc_tokenizer_encode(tok, part.text, part.len, PC_ENCODE_PARSE, out, err);
        if (rc < 0 || !s)
            continue;
        rc = pc_ids_add(out, s->id, err);
        i += s->text.len - 1;
        start = i + 1;
        after = s->strips;
        if (rc == 0)
            rc = add_cut(cuts, start, out->n - before, err);
    }
    return rc;
}
