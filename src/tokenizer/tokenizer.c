// SPDX-License-Identifier: Apache-2.0
/* From a description to a tokenizer: copy, check, and work out the tables that encoding wants. */
#include "tokenizer/tokenizer.h"

#include "base/utf8.h"
#include "tokenizer/tokenizer_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- pieces ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* The byte that "<0x0A>" stands for, or -1. */
static int fallback_byte(const char *s, size_t len)
{
    if (len != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>' || hex(s[3]) < 0 || hex(s[4]) < 0)
        return -1;
    return hex(s[3]) * 16 + hex(s[4]);
}

const char *pc_show_span(struct pc_span s, char out[64])
{
    char text[48];
    size_t n = s.len < sizeof text - 1 ? s.len : sizeof text - 1;
    memcpy(text, s.text, n);
    text[n] = '\0';
    return pc_printable(text, out, 64);
}

static size_t marks_to_spaces(const char *text, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        bool mark = len - i >= 3 && memcmp(text + i, PC_SPACE_MARK, 3) == 0;
        out[n++] = mark ? ' ' : text[i];
        i += mark ? 3 : 1;
    }
    return n;
}

/* What decoding a token gives, when it is spelt as text. */
static bool set_bytes(struct pc_tokenizer *tok, struct pc_token *t, const char *text, size_t len)
{
    size_t n = 0;
    char *bytes = pc_arena_alloc(&tok->arena, len + 1, 1);
    if (!bytes)
        return false;
    int byte = tok->byte_fallback && !t->added ? fallback_byte(text, len) : -1;
    if (byte >= 0) {
        bytes[n++] = (char)byte;
    } else if (!tok->byte_level) {
        n = marks_to_spaces(text, len, bytes);
    } else if (!pc_alphabet_decode(text, len, bytes, &n)) {
        memcpy(bytes, text, len);
        n = len;
    }
    t->bytes = bytes;
    t->bytes_len = (uint32_t)n;
    return true;
}

static int add_piece(struct pc_tokenizer *tok, const struct pc_piece *p, int32_t id, struct paco_error *err)
{
    char shown[64];
    struct pc_token *t = &tok->tokens[id];
    if (p->span.len == 0)
        return pc_is_spm(tok) ? pc_error_set(err, PACO_EFORMAT, "piece %d is empty", id) : 0;
    if (p->span.len > (pc_is_spm(tok) ? (size_t)PC_MAX_MATCHED : 1u << 20))
        return pc_error_set(err, PACO_ELIMIT, "piece %d has %zu bytes", id, p->span.len);
    if (p->type < PC_PIECE_NORMAL || p->type > PC_PIECE_BYTE)
        return pc_error_set(err, PACO_EFORMAT, "piece %d '%s' has type %d; 1 to 6 exist", id,
            pc_show_span(p->span, shown), p->type);
    if (!isfinite(p->score))
        return pc_error_set(
            err, PACO_EFORMAT, "piece %d '%s' has no finite score", id, pc_show_span(p->span, shown));
    if (p->type == PC_PIECE_BYTE && fallback_byte(p->span.text, p->span.len) < 0)
        return pc_error_set(err, PACO_EFORMAT, "piece %d '%s' is a byte piece, but not of the form <0x0A>",
            id, pc_show_span(p->span, shown));
    t->piece = pc_arena_strndup(&tok->arena, p->span.text, p->span.len);
    if (!t->piece)
        return pc_error_mem(err, p->span.len, "a piece");
    t->piece_len = (uint32_t)p->span.len;
    t->type = (uint8_t)p->type;
    t->special = p->type == PC_PIECE_CONTROL;
    bool normal = pc_is_normal(p->type) || !pc_is_spm(tok);
    int added = pc_map_add(normal ? &tok->pieces : &tok->reserved, t->piece, t->piece_len, (uint32_t)id);
    if (added < 0)
        return pc_error_mem(err, t->piece_len, "the table of pieces");
    if (!added && pc_is_spm(tok))
        return pc_error_set(
            err, PACO_EFORMAT, "piece %d '%s' was there before", id, pc_show_span(p->span, shown));
    return 0;
}

static int add_pieces(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    if (!pc_map_reserve(&tok->pieces, v->n_pieces))
        return pc_error_mem(err, v->n_pieces * 32, "the table of pieces");
    for (size_t i = 0; i < v->n_pieces; i++) {
        int rc = add_piece(tok, &v->pieces[i], (int32_t)i, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int add_added(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    char shown[64];
    if (!v->n_added)
        return 0;
    tok->added = pc_arena_alloc(&tok->arena, v->n_added, sizeof *tok->added);
    if (!tok->added)
        return pc_error_mem(err, v->n_added * sizeof *tok->added, "added tokens");
    for (size_t i = 0; i < v->n_added; i++) {
        struct pc_added *a = &tok->added[i];
        *a = v->added[i];
        if (a->span.len == 0 || a->span.len > PC_MAX_MATCHED)
            return pc_error_set(err, a->span.len ? PACO_ELIMIT : PACO_EFORMAT,
                "added token %d has %zu bytes; 1 to %d are allowed", a->id, a->span.len, PC_MAX_MATCHED);
        char *text = pc_arena_strndup(&tok->arena, a->span.text, a->span.len);
        if (!text)
            return pc_error_mem(err, a->span.len, "an added token");
        struct pc_token *t = &tok->tokens[a->id];
        if (t->piece && t->added && t->piece_len == a->span.len && memcmp(t->piece, text, t->piece_len) != 0)
            return pc_error_set(err, PACO_EFORMAT, "added token '%s' has id %d, which '%s' has too",
                pc_show_span(a->span, shown), a->id, t->piece);
        a->span.text = text;
        t->piece = text;
        t->piece_len = (uint32_t)a->span.len;
        t->type = t->type ? t->type : PC_PIECE_USER_DEFINED;
        t->special = t->special || a->special;
        t->added = true;
    }
    tok->n_added = v->n_added;
    return 0;
}

/* Tokens that are looked for after normalisation are looked for in their normalised form, and decode to it.
 */
static int add_trigger(struct pc_tokenizer *tok, int32_t i, struct paco_error *err)
{
    const struct pc_added *a = &tok->added[i];
    const bool after = a->normalized && tok->segments == PC_SEGMENTS_FAST;
    struct pc_buf form;
    pc_buf_init(&form, 64 * PC_MAX_MATCHED);
    int rc = 0;
    if (after)
        rc = pc_normalize(tok->normal, tok->n_normal, a->span.text, a->span.len, &form, err);
    else
        pc_buf_add(&form, a->span.text, a->span.len);
    if (rc == 0)
        rc = pc_buf_check(&form, "added token", err);
    if (rc == 0 && form.len &&
        (!pc_trie_add(after ? &tok->after : &tok->before, form.data, form.len, i) ||
            !set_bytes(tok, &tok->tokens[a->id], form.data, form.len)))
        rc = pc_error_mem(err, form.len, "added tokens");
    pc_buf_release(&form);
    return rc;
}

/* ---- steps ---- */

static int copy_span(struct pc_tokenizer *tok, struct pc_span *s, struct paco_error *err)
{
    char *copy = pc_arena_strndup(&tok->arena, s->len ? s->text : "", s->len);
    if (!copy)
        return pc_error_mem(err, s->len, "a pattern");
    s->text = copy;
    return 0;
}

static int add_normal(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    if (v->n_normal > PC_MAX_STEPS)
        return pc_error_set(
            err, PACO_ELIMIT, "a normaliser of %zu steps; at most %d are allowed", v->n_normal, PC_MAX_STEPS);
    tok->normal = pc_arena_alloc(&tok->arena, v->n_normal, sizeof *tok->normal);
    if (!tok->normal)
        return pc_error_mem(err, v->n_normal * sizeof *tok->normal, "a normaliser");
    for (size_t i = 0; i < v->n_normal; i++) {
        tok->normal[i] = v->normal[i];
        if (v->normal[i].kind == PC_NORMAL_REPLACE && v->normal[i].a.len == 0)
            return pc_error_set(err, PACO_EFORMAT, "normaliser step %zu replaces nothing", i);
        int rc = copy_span(tok, &tok->normal[i].a, err);
        if (rc == 0)
            rc = copy_span(tok, &tok->normal[i].b, err);
        if (rc < 0)
            return rc;
    }
    tok->n_normal = v->n_normal;
    return 0;
}

/* GPT-2's own expression, which "use_regex" stands for. Source: tokenizers, pre_tokenizers/byte_level.rs. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static int add_pre(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    if (v->n_pre > PC_MAX_STEPS)
        return pc_error_set(
            err, PACO_ELIMIT, "a pre-tokenizer of %zu steps; at most %d are allowed", v->n_pre, PC_MAX_STEPS);
    for (size_t i = 0; i < v->n_pre; i++) {
        const struct pc_pre_step *s = &v->pre[i];
        struct pc_pre *p = &tok->pre[i];
        p->step = *s;
        p->step.pattern = (struct pc_span){0};
        if (s->kind == PC_PRE_SPLIT)
            p->regex = pc_regex_new(s->pattern.text, s->pattern.len, s->literal, err);
        else if (s->kind == PC_PRE_BYTE_LEVEL && s->gpt2_split)
            p->regex = pc_regex_new(gpt2_pattern, sizeof gpt2_pattern - 1, false, err);
        else
            continue;
        if (!p->regex)
            return pc_error_prefix(err, "pre-tokenizer step %zu", i);
    }
    tok->n_pre = v->n_pre;
    for (size_t i = 0; i + 1 < v->n_pre; i++)
        if (v->pre[i].kind == PC_PRE_BYTE_LEVEL)
            return pc_error_set(err, PACO_EUNSUPPORTED, "a pre-tokenizer with a step behind ByteLevel");
    return 0;
}

/* ---- putting it together ---- */

static int check_id(int32_t id, const struct pc_tokenizer *tok, const char *what, struct paco_error *err)
{
    if (id >= -1 && id < tok->n_tokens)
        return 0;
    return pc_error_set(err, PACO_EFORMAT, "%s is id %d, but the vocabulary has %d", what, id, tok->n_tokens);
}

static int set_ids(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    tok->bos = v->bos;
    tok->eos = v->eos;
    tok->unk = v->unk;
    tok->pad = v->pad;
    if (check_id(v->bos, tok, "BOS", err) < 0 || check_id(v->eos, tok, "EOS", err) < 0 ||
        check_id(v->unk, tok, "UNK", err) < 0 || check_id(v->pad, tok, "PAD", err) < 0)
        return PACO_EFORMAT;
    if (v->n_prefix > PC_MAX_AROUND || v->n_suffix > PC_MAX_AROUND)
        return pc_error_set(err, PACO_ELIMIT, "more than %d tokens around a text", PC_MAX_AROUND);
    for (size_t i = 0; i < v->n_prefix; i++)
        if (v->prefix[i] < 0 ||
            check_id(tok->prefix[i] = v->prefix[i], tok, "a token in front of a text", err) < 0)
            return PACO_EFORMAT;
    for (size_t i = 0; i < v->n_suffix; i++)
        if (v->suffix[i] < 0 ||
            check_id(tok->suffix[i] = v->suffix[i], tok, "a token behind a text", err) < 0)
            return PACO_EFORMAT;
    tok->n_prefix = v->n_prefix;
    tok->n_suffix = v->n_suffix;
    return 0;
}

static int set_tokens(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    uint64_t n = v->n_pieces, most = 2 * ((uint64_t)v->n_pieces + v->n_added) + 4096;
    if (v->n_pieces > PC_MAX_TOKENS || v->n_added > PC_MAX_TOKENS || v->n_merges > 4 * PC_MAX_TOKENS)
        return pc_error_set(err, PACO_ELIMIT, "a vocabulary of more than %d tokens", PC_MAX_TOKENS);
    for (size_t i = 0; i < v->n_added; i++) {
        if (v->added[i].id < 0 || (uint64_t)v->added[i].id >= most)
            return pc_error_set(err, PACO_EFORMAT, "an added token has id %d in a vocabulary of %zu",
                v->added[i].id, v->n_pieces);
        if ((uint64_t)v->added[i].id >= n)
            n = (uint64_t)v->added[i].id + 1;
    }
    if (n == 0)
        return pc_error_set(err, PACO_EFORMAT, "an empty vocabulary");
    tok->tokens = pc_alloc_zero((size_t)n, sizeof *tok->tokens);
    if (!tok->tokens)
        return pc_error_mem(err, n * sizeof *tok->tokens, "the vocabulary");
    tok->n_tokens = (int32_t)n;
    return 0;
}

static int finish_tokens(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    for (int32_t i = 0; i < tok->n_tokens; i++)
        if (tok->tokens[i].piece && !tok->tokens[i].bytes &&
            !set_bytes(tok, &tok->tokens[i], tok->tokens[i].piece, tok->tokens[i].piece_len))
            return pc_error_mem(err, tok->tokens[i].piece_len, "the vocabulary");
    if (tok->unk >= 0 && v->unk_surface.len) {
        struct pc_span surface = v->unk_surface;
        if (copy_span(tok, &surface, err) < 0)
            return PACO_EMEM;
        tok->tokens[tok->unk].bytes = surface.text;
        tok->tokens[tok->unk].bytes_len = (uint32_t)surface.len;
    }
    return 0;
}

static int build(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    tok->model = v->model;
    tok->segments = v->segments;
    tok->strip = v->strip;
    tok->byte_fallback = v->byte_fallback;
    tok->drops_unknown = v->drops_unknown;
    tok->fuse_unk = v->fuse_unk;
    tok->ignore_merges = v->ignore_merges;
    for (size_t i = 0; i < v->n_pre; i++)
        tok->byte_level |= v->pre[i].kind == PC_PRE_BYTE_LEVEL;
    int rc = set_tokens(tok, v, err);
    if (rc == 0)
        rc = set_ids(tok, v, err);
    if (rc == 0)
        rc = add_pieces(tok, v, err);
    if (rc == 0)
        rc = add_normal(tok, v, err);
    if (rc == 0)
        rc = add_added(tok, v, err);
    for (size_t i = 0; i < tok->n_added && rc == 0; i++)
        rc = add_trigger(tok, (int32_t)i, err);
    if (rc == 0)
        rc = add_pre(tok, v, err);
    if (rc == 0)
        rc = finish_tokens(tok, v, err);
    if (rc < 0)
        return rc;
    return pc_tokenizer_tables(tok, v, err);
}

struct pc_tokenizer *pc_tokenizer_new(const struct pc_vocab *vocab, struct paco_error *err)
{
    struct pc_tokenizer *tok = pc_alloc_zero(1, sizeof *tok);
    if (!tok) {
        pc_error_mem(err, sizeof *tok, "a tokenizer");
        return NULL;
    }
    if (build(tok, vocab, err) < 0) {
        pc_tokenizer_free(tok);
        return NULL;
    }
    return tok;
}

void pc_tokenizer_free(struct pc_tokenizer *tok)
{
    if (!tok)
        return;
    for (size_t i = 0; i < PC_MAX_STEPS; i++)
        pc_regex_free(tok->pre[i].regex);
    pc_map_release(&tok->pieces);
    pc_map_release(&tok->reserved);
    pc_map_release(&tok->words);
    pc_pairs_release(&tok->pairs);
    pc_trie_release(&tok->trie);
    pc_trie_release(&tok->user_defined);
    pc_trie_release(&tok->before);
    pc_trie_release(&tok->after);
    pc_free(tok->ranks);
    pc_free(tok->scores);
    pc_free(tok->tokens);
    pc_arena_release(&tok->arena);
    pc_free(tok);
}

/* ---- questions ---- */

int32_t pc_tokenizer_n_tokens(const struct pc_tokenizer *tok)
{
    return tok->n_tokens;
}

const char *pc_tokenizer_piece(const struct pc_tokenizer *tok, int32_t id, size_t *len)
{
    if (id < 0 || id >= tok->n_tokens || !tok->tokens[id].piece)
        return NULL;
    if (len)
        *len = tok->tokens[id].piece_len;
    return tok->tokens[id].piece;
}

const char *pc_tokenizer_bytes(const struct pc_tokenizer *tok, int32_t id, size_t *len)
{
    if (!pc_tokenizer_piece(tok, id, NULL))
        return NULL;
    *len = tok->tokens[id].bytes_len;
    return tok->tokens[id].bytes;
}

int32_t pc_tokenizer_find(const struct pc_tokenizer *tok, const char *text, size_t len)
{
    uint32_t id;
    for (size_t i = 0; i < tok->n_added; i++)
        if (tok->added[i].span.len == len && memcmp(tok->added[i].span.text, text, len) == 0)
            return tok->added[i].id;
    if (pc_map_get(&tok->reserved, text, len, &id) || pc_map_get(&tok->pieces, text, len, &id))
        return (int32_t)id;
    return -1;
}

bool pc_tokenizer_is_special(const struct pc_tokenizer *tok, int32_t id)
{
    return id >= 0 && id < tok->n_tokens && tok->tokens[id].special;
}

int32_t pc_tokenizer_bos(const struct pc_tokenizer *tok)
{
    return tok->bos;
}

int32_t pc_tokenizer_eos(const struct pc_tokenizer *tok)
{
    return tok->eos;
}

int32_t pc_tokenizer_pad(const struct pc_tokenizer *tok)
{
    return tok->pad;
}

int32_t pc_tokenizer_unk(const struct pc_tokenizer *tok)
{
    return tok->unk;
}

bool pc_tokenizer_marks_spaces(const struct pc_tokenizer *tok)
{
    uint32_t id;
    return !tok->byte_level && pc_map_get(&tok->pieces, PC_SPACE_MARK, 3, &id);
}

bool pc_tokenizer_adds_bos(const struct pc_tokenizer *tok)
{
    for (size_t i = 0; i < tok->n_prefix; i++)
        if (tok->prefix[i] == tok->bos && tok->bos >= 0)
            return true;
    return false;
}
