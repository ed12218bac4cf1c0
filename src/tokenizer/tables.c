// SPDX-License-Identifier: Apache-2.0
/* What each kind of model looks up while it encodes, worked out once: pairs and their ranks, tries, whole
 * words. */
#include "base/utf8.h"
#include "tokenizer/tokenizer_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set_byte_ids(struct pc_tokenizer *tok)
{
    char text[8];
    uint32_t id;
    for (unsigned b = 0; b < 256; b++) {
        size_t len = tok->byte_level ? pc_utf8_encode(pc_alphabet_char(b), (uint8_t *)text)
                                     : (size_t)snprintf(text, sizeof text, "<0x%02X>", b);
        const struct pc_map *map = pc_is_spm(tok) ? &tok->reserved : &tok->pieces;
        tok->byte_ids[b] = pc_map_get(map, text, len, &id) ? (int32_t)id : -1;
    }
    for (unsigned c = 0; c < 128; c++) {
        text[0] = (char)c;
        tok->ascii_ids[c] = pc_map_get(&tok->pieces, text, 1, &id) ? (int32_t)id : -1;
    }
}

/* True if a U+2581 stands behind another character: the places before marks are then no walls to merges. */
static bool holds_inner_mark(const char *s, size_t len)
{
    for (size_t i = 3; i + 3 <= len; i++)
        if (memcmp(s + i, PC_SPACE_MARK, 3) == 0 && memcmp(s + i - 3, PC_SPACE_MARK, 3) != 0)
            return true;
    // A mark one or two bytes in stands behind a character shorter than it.
    return (len >= 4 && memcmp(s + 1, PC_SPACE_MARK, 3) == 0) ||
           (len >= 5 && memcmp(s + 2, PC_SPACE_MARK, 3) == 0);
}

static int add_merges(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    char left_shown[64], right_shown[64];
    if (!pc_pairs_reserve(&tok->pairs, v->n_merges))
        return pc_error_mem(err, v->n_merges * sizeof(struct pc_pair), "merges");
    struct pc_buf whole;
    pc_buf_init(&whole, 4 << 20);
    int rc = 0;
    tok->can_cut = !tok->byte_level && !tok->ignore_merges;
    for (size_t i = 0; i < v->n_merges && rc == 0; i++) {
        const struct pc_merge *m = &v->merges[i];
        uint32_t left, right, id;
        pc_buf_clear(&whole);
        pc_buf_add(&whole, m->left.text, m->left.len);
        pc_buf_add(&whole, m->right.text, m->right.len);
        rc = pc_buf_check(&whole, "a merge", err);
        if (rc < 0)
            break;
        if (!pc_map_get(&tok->pieces, m->left.text, m->left.len, &left) ||
            !pc_map_get(&tok->pieces, m->right.text, m->right.len, &right) ||
            !pc_map_get(&tok->pieces, whole.data, whole.len, &id))
            rc = pc_error_set(err, PACO_EFORMAT,
                "merge %zu, '%s' and '%s', is not of pieces of the vocabulary", i,
                pc_show_span(m->left, left_shown), pc_show_span(m->right, right_shown));
        else if (!pc_pairs_set(&tok->pairs, (int32_t)left, (int32_t)right, (uint32_t)i, (int32_t)id))
            rc = pc_error_mem(err, sizeof(struct pc_pair), "merges");
        tok->can_cut = tok->can_cut && !holds_inner_mark(whole.data, whole.len);
    }
    pc_buf_release(&whole);
    return rc;
}

struct scored {
    float score;
    int32_t id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

/* Scores become ranks: equal scores the same, the best 0. */
static int rank_scores(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    struct scored *s = pc_alloc(v->n_pieces, sizeof *s);
    tok->ranks = pc_alloc((size_t)tok->n_tokens, sizeof *tok->ranks);
    if (!s || !tok->ranks) {
        pc_free(s);
        return pc_error_mem(err, v->n_pieces * sizeof *s, "ranks");
    }
    for (int32_t i = 0; i < tok->n_tokens; i++)
        tok->ranks[i] = PC_NO_RANK;
    size_t n = 0;
    for (size_t i = 0; i < v->n_pieces; i++)
        if (pc_is_normal(v->pieces[i].type))
            s[n++] = (struct scored){v->pieces[i].score, (int32_t)i};
    qsort(s, n, sizeof *s, by_score);
    uint32_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        rank += i && s[i].score != s[i - 1].score;
        tok->ranks[s[i].id] = rank;
    }
    pc_free(s);
    return 0;
}

/* Every way to put a piece together from two others, so that merging need not build and look up text. */
static int pair_halves(struct pc_tokenizer *tok, const struct pc_token *t, int32_t id, struct paco_error *err)
{
    for (size_t i = 0, k; i < t->piece_len; i += k) {
        uint32_t left, right;
        k = pc_char_len(t->piece + i, t->piece_len - i);
        if (!pc_map_get(&tok->pieces, t->piece + i, k, &left))
            tok->looks_up_text = true;
        if (i && pc_map_get(&tok->pieces, t->piece, i, &left) &&
            pc_map_get(&tok->pieces, t->piece + i, t->piece_len - i, &right) &&
            !pc_pairs_set(&tok->pairs, (int32_t)left, (int32_t)right, tok->ranks[id], id))
            return pc_error_mem(err, sizeof(struct pc_pair), "merges");
    }
    return 0;
}

static int add_spm_bpe(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    int rc = rank_scores(tok, v, err);
    tok->can_cut = true;
    if (rc == 0 && !pc_pairs_reserve(&tok->pairs, v->n_pieces))
        rc = pc_error_mem(err, v->n_pieces * sizeof(struct pc_pair), "merges");
    for (int32_t id = 0; id < (int32_t)v->n_pieces && rc == 0; id++) {
        const struct pc_token *t = &tok->tokens[id];
        if (!pc_is_normal(v->pieces[id].type))
            continue;
        rc = pair_halves(tok, t, id, err);
        tok->can_cut = tok->can_cut && !holds_inner_mark(t->piece, t->piece_len);
        tok->has_unused |= v->pieces[id].type == PC_PIECE_UNUSED;
    }
    tok->can_cut = tok->can_cut && !tok->has_unused;
    return rc;
}

static int add_unigram(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    tok->scores = pc_alloc(v->n_pieces, sizeof *tok->scores);
    if (!tok->scores)
        return pc_error_mem(err, v->n_pieces * sizeof *tok->scores, "scores");
    tok->min_score = INFINITY;
    tok->max_score = -INFINITY;
    for (size_t i = 0; i < v->n_pieces; i++) {
        const struct pc_piece *p = &v->pieces[i];
        tok->scores[i] = p->score;
        if (p->type == PC_PIECE_NORMAL) {
            tok->min_score = fminf(tok->min_score, p->score);
            tok->max_score = fmaxf(tok->max_score, p->score);
        }
        if (pc_is_normal(p->type) && !pc_trie_add(&tok->trie, p->span.text, p->span.len, (int32_t)i))
            return pc_error_mem(err, p->span.len, "the trie of pieces");
    }
    if (tok->min_score > tok->max_score)
        return pc_error_set(err, PACO_EFORMAT, "a unigram model without a normal piece");
    return 0;
}

static int add_spm(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    int rc = pc_spm_check_charsmap(v->spm.charsmap, v->spm.charsmap_size, err);
    if (rc < 0)
        return rc;
    if (tok->unk < 0)
        return pc_error_set(err, PACO_EFORMAT, "a SentencePiece model without an unknown piece");
    tok->spm = v->spm;
    tok->spm.charsmap =
        pc_arena_strndup(&tok->arena, v->spm.charsmap_size ? v->spm.charsmap : "", v->spm.charsmap_size);
    if (!tok->spm.charsmap)
        return pc_error_mem(err, v->spm.charsmap_size, "a charsmap");
    for (size_t i = 0; i < v->n_pieces; i++)
        if (v->pieces[i].type == PC_PIECE_USER_DEFINED &&
            !pc_trie_add(&tok->user_defined, v->pieces[i].span.text, v->pieces[i].span.len, (int32_t)i))
            return pc_error_mem(err, v->pieces[i].span.len, "user-defined pieces");
    for (unsigned b = 0; b < 256 && tok->byte_fallback; b++)
        if (tok->byte_ids[b] < 0)
            return pc_error_set(err, PACO_EFORMAT, "byte fallback is on, but there is no piece <0x%02X>", b);
    return tok->model == PC_VOCAB_SPM_BPE ? add_spm_bpe(tok, v, err) : add_unigram(tok, v, err);
}

/* With ignore_merges, a whole word's bytes are looked up first. */
static int add_words(struct pc_tokenizer *tok, size_t n_pieces, struct paco_error *err)
{
    if (!tok->ignore_merges || !tok->byte_level)
        return 0;
    for (size_t i = 0; i < n_pieces; i++) {
        const struct pc_token *t = &tok->tokens[i];
        if (t->piece && !t->added && pc_map_add(&tok->words, t->bytes, t->bytes_len, (uint32_t)i) < 0)
            return pc_error_mem(err, t->bytes_len, "the table of words");
    }
    return 0;
}

int pc_tokenizer_tables(struct pc_tokenizer *tok, const struct pc_vocab *v, struct paco_error *err)
{
    set_byte_ids(tok);
    int rc = pc_is_spm(tok) ? add_spm(tok, v, err) : add_merges(tok, v, err);
    return rc == 0 ? add_words(tok, v->n_pieces, err) : rc;
}
