// SPDX-License-Identifier: Apache-2.0
/* Words to ids by merging, for both kinds of BPE.
 *
 * SentencePiece's LLaMA vocabulary has no pre-tokenizer: a whole text is one word to it. But where no piece
 * holds a U+2581 behind another character, no merge can cross the place before such a mark, so the text is
 * cut there and the words are encoded alone, which changes nothing but the time. Words that come again (most
 * do) are copied from the output. */
#include "tokenizer/tokenizer_parts.h"

#include <assert.h>
#include <string.h>

static int add_id(struct pc_encoder *e, int32_t id)
{
    return pc_ids_add(e->out, id, e->err);
}

/* ---- characters to parts ---- */

static int32_t char_id(const struct pc_tokenizer *tok, const char *s, size_t n)
{
    uint32_t id;
    if (n == 1 && (uint8_t)*s < 0x80)
        return tok->ascii_ids[(uint8_t)*s];
    return pc_map_get(&tok->pieces, s, n, &id) ? (int32_t)id : -1;
}

static bool has_all_bytes(const struct pc_tokenizer *tok, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (tok->byte_ids[(uint8_t)s[i]] < 0)
            return false;
    return true;
}

static bool may_add_unknown(const struct pc_tokenizer *tok, const struct pc_part *parts, size_t n)
{
    if (tok->drops_unknown || tok->unk < 0)
        return false;
    return !(tok->fuse_unk && n && parts[n - 1].id == tok->unk);
}

static size_t parts_of_bytes(const struct pc_tokenizer *tok, const char *s, size_t len, struct pc_part *parts)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int32_t id = tok->byte_ids[(uint8_t)s[i]];
        if (id >= 0 || may_add_unknown(tok, parts, n))
            parts[n++] = (struct pc_part){id >= 0 ? id : tok->unk, (uint32_t)i};
    }
    return n;
}

static size_t parts_of_chars(const struct pc_tokenizer *tok, const char *s, size_t len, struct pc_part *parts)
{
    size_t n = 0;
    for (size_t i = 0, k; i < len; i += k) {
        k = pc_char_len(s + i, len - i);
        int32_t id = char_id(tok, s + i, k);
        if (id < 0 && tok->byte_fallback && has_all_bytes(tok, s + i, k)) {
            for (size_t j = 0; j < k; j++)
                parts[n++] = (struct pc_part){tok->byte_ids[(uint8_t)s[i + j]], (uint32_t)(i + j)};
            continue;
        }
        if (id >= 0 || may_add_unknown(tok, parts, n))
            parts[n++] = (struct pc_part){id >= 0 ? id : tok->unk, (uint32_t)i};
    }
    return n;
}

static size_t parts_of_spm(const struct pc_tokenizer *tok, const char *s, size_t len, struct pc_part *parts)
{
    size_t n = 0;
    for (size_t i = 0, k; i < len; i += k) {
        k = pc_char_len(s + i, len - i);
        parts[n++] = (struct pc_part){char_id(tok, s + i, k), (uint32_t)i};
    }
    return n;
}

static int reserve_parts(struct pc_encoder *e, size_t n)
{
    if (n <= e->parts_capacity)
        return 0;
    size_t capacity = n > 512 ? n : 512;
    struct pc_part *parts = pc_realloc(e->parts, capacity, sizeof *parts);
    if (!parts)
        return pc_error_mem(e->err, capacity * sizeof *parts, "a word");
    e->parts = parts;
    e->parts_capacity = capacity;
    return 0;
}

/* ---- SentencePiece's output ---- */

int pc_encode_unknown(struct pc_encoder *e, const char *text, size_t len)
{
    const struct pc_tokenizer *tok = e->tok;
    int rc = 0;
    if (tok->byte_fallback) {
        for (size_t i = 0; i < len && rc == 0; i++)
            rc = add_id(e, tok->byte_ids[(uint8_t)text[i]]);
        return rc;
    }
    e->saw_unk = true;
    if (e->out->n > e->unk_from && e->out->v[e->out->n - 1] == tok->unk)
        return 0;
    return add_id(e, tok->unk);
}

/* An unused piece is taken apart the way it was last put together; what has no such way stays. Halves are
 * shorter than the whole, so the recursion ends within PC_MAX_MATCHED. */
static int put_spm(struct pc_encoder *e, const char *text, size_t len, int32_t id)
{
    const struct pc_tokenizer *tok = e->tok;
    uint32_t found;
    if (id < 0 && pc_map_get(&tok->reserved, text, len, &found))
        id = (int32_t)found;
    if (id < 0 || id == tok->unk)
        return pc_encode_unknown(e, text, len);
    uint32_t left = tok->tokens[id].type == PC_PIECE_UNUSED && e->last_left ? e->last_left[id] : 0;
    if (!left || left >= len)
        return add_id(e, id);
    for (int half = 0; half < 2; half++) {
        const char *s = half ? text + left : text;
        size_t n = half ? len - left : left;
        int rc = put_spm(e, s, n, pc_map_get(&tok->pieces, s, n, &found) ? (int32_t)found : -1);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- one word ---- */

static int merge_word(struct pc_encoder *e, size_t at, size_t len)
{
    const struct pc_tokenizer *tok = e->tok;
    const char *text = e->work.data + at;
    const bool spm = tok->model == PC_VOCAB_SPM_BPE;
    int rc = reserve_parts(e, len);
    if (rc < 0)
        return rc;
    size_t n = spm               ? parts_of_spm(tok, text, len, e->parts)
               : tok->byte_level ? parts_of_bytes(tok, text, len, e->parts)
                                 : parts_of_chars(tok, text, len, e->parts);
    struct pc_merger merger = {
        &tok->pairs, spm && tok->looks_up_text ? &tok->pieces : NULL, tok->ranks, e->last_left};
    int64_t left = pc_merge(&merger, text, len, e->parts, n, e->err);
    if (left < 0)
        return (int)left;
    for (int64_t i = 0; i < left && rc == 0; i++) {
        size_t start = e->parts[i].start, end = i + 1 < left ? e->parts[i + 1].start : len;
        rc = spm ? put_spm(e, text + start, end - start, e->parts[i].id) : add_id(e, e->parts[i].id);
    }
    return rc;
}

static bool whole_word(struct pc_encoder *e, size_t at, size_t len, int32_t *id)
{
    const struct pc_tokenizer *tok = e->tok;
    uint32_t found;
    if (!tok->ignore_merges ||
        !pc_map_get(tok->byte_level ? &tok->words : &tok->pieces, e->work.data + at, len, &found))
        return false;
    *id = (int32_t)found;
    return true;
}

static uint64_t hash_word(const char *s, size_t len)
{
    uint64_t h = len, word;
    for (; len >= 8; s += 8, len -= 8) {
        memcpy(&word, s, 8);
        h = (h ^ word) * 0x9fb21c651e98df25u;
        h ^= h >> 29;
    }
    word = 0;
    memcpy(&word, s, len);
    h = (h ^ word) * 0x9fb21c651e98df25u;
    return h ^ h >> 32;
}

static int encode_cached(struct pc_encoder *e, size_t at, size_t len)
{
    const char *word = e->work.data + at;
    if (!e->cache || len > PC_CACHE_MAX_WORD)
        return merge_word(e, at, len);
    struct pc_cached *c = &e->cache[hash_word(word, len) % PC_CACHE_SLOTS];
    if (c->len == len && memcmp(e->work.data + c->at, word, len) == 0)
        return pc_ids_add_n(e->out, c->ids, c->n_ids, e->err);
    size_t before = e->out->n;
    e->saw_unk = false;
    int rc = merge_word(e, at, len);
    // Whether an unk fuses with its neighbours depends on them, so such words are not remembered.
    if (rc == 0 && !e->saw_unk && before <= UINT32_MAX - len)
        *c =
            (struct pc_cached){(uint32_t)at, (uint32_t)len, (uint32_t)before, (uint32_t)(e->out->n - before)};
    return rc;
}

/* Cut before each U+2581 that follows another character. */
static int encode_cut(struct pc_encoder *e, size_t at, size_t len)
{
    size_t start = at, end = at + len;
    int rc = 0;
    for (size_t i = at; i + 3 <= end && rc == 0;) {
        const char *text = e->work.data;
        const char *hit = memchr(text + i, (unsigned char)PC_SPACE_MARK[0], end - i);
        i = hit ? (size_t)(hit - text) : end;
        bool mark = i + 3 <= end && memcmp(text + i, PC_SPACE_MARK, 3) == 0;
        bool behind_mark = i >= start + 3 && memcmp(text + i - 3, PC_SPACE_MARK, 3) == 0;
        if (mark && i > start && !behind_mark) {
            rc = encode_cached(e, start, i - start);
            start = i;
        }
        i += mark ? 3 : 1;
    }
    return rc == 0 && start < end ? encode_cached(e, start, end - start) : rc;
}

int pc_encode_word(struct pc_encoder *e, size_t at, size_t len)
{
    int32_t id;
    if (len == 0)
        return 0;
    if (whole_word(e, at, len, &id))
        return add_id(e, id);
    return e->tok->can_cut ? encode_cut(e, at, len) : encode_cached(e, at, len);
}

/* ---- a SentencePiece text ---- */

int pc_encode_spm(struct pc_encoder *e, size_t at, size_t len)
{
    const struct pc_tokenizer *tok = e->tok;
    e->unk_from = e->out->n;
    if (len == 0) // nothing was normalised yet, perhaps: work may have no bytes to point at
        return 0;
    if (tok->model == PC_VOCAB_SPM_UNIGRAM)
        return pc_encode_unigram(e, at, len);
    if (e->last_left)
        memset(e->last_left, 0, (size_t)tok->n_tokens * sizeof *e->last_left);
    size_t start = at, end = at + len;
    int rc = 0;
    // User-defined pieces stand as they are and merge with nothing, so they part the text like walls.
    for (size_t i = at; tok->user_defined.n_nodes && i < end && rc == 0;) {
        int32_t id;
        size_t n = pc_trie_longest(&tok->user_defined, e->work.data + i, end - i, &id);
        if (n && i > start)
            rc = pc_encode_word(e, start, i - start);
        if (n && rc == 0)
            rc = add_id(e, id);
        i += n ? n : pc_char_len(e->work.data + i, end - i);
        start = n ? i : start;
    }
    return rc == 0 && start < end ? pc_encode_word(e, start, end - start) : rc;
}
