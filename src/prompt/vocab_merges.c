// SPDX-License-Identifier: Apache-2.0
/* SentencePiece merges any two neighbours whose concatenation is a piece, best score first. As a list that
 * is: for each piece all its cuts into two pieces, sorted by the piece's score, falling; then by the lengths
 * of the left and the right part in characters, falling; cuts of one piece start in the order of their parts'
 * ids. Ties between pieces of equal score are settled as Transformers' converter settles them
 * (convert_slow_tokenizer.py, generate_merges). */
#include "prompt/vocab_write.h"

#include "base/map.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PIECE = 512 }; /* bytes; the longest in use is LLaMA 3's of 128 spaces, spelt in 256 */

struct cut {
    struct pc_merge merge;
    uint32_t left_id, right_id, left_chars, right_chars;
    float score;
    size_t order;
};

struct cuts {
    struct cut *v;
    size_t n, capacity;
};

static uint32_t n_chars(struct pc_span s)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.text[i] & 0xc0) != 0x80;
    return n;
}

static int add_cut(struct cuts *cuts, const struct cut *cut, struct paco_error *err)
{
    if (pc_grow(&cuts->v, &cuts->capacity, cuts->n, sizeof *cuts->v, "a list of merges", err) < 0)
        return PACO_EMEM;
    cuts->v[cuts->n++] = *cut;
    return 0;
}

static int by_ids(const void *a, const void *b)
{
    const struct cut *x = a, *y = b;
    if (x->left_id != y->left_id)
        return x->left_id < y->left_id ? -1 : 1;
    return (x->right_id > y->right_id) - (x->right_id < y->right_id);
}

static int by_rank(const void *a, const void *b)
{
    const struct cut *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->left_chars != y->left_chars)
        return x->left_chars > y->left_chars ? -1 : 1;
    if (x->right_chars != y->right_chars)
        return x->right_chars > y->right_chars ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

/* Append the cuts of one piece. */
static int cut_piece(
    const struct pc_piece *piece, const struct pc_map *ids, struct cuts *cuts, struct paco_error *err)
{
    struct pc_span s = piece->span;
    size_t first = cuts->n;
    for (size_t at = 1; at < s.len; at++) {
        struct cut c = {.merge = {{s.text, at}, {s.text + at, s.len - at}}, .score = piece->score};
        if (((unsigned char)s.text[at] & 0xc0) == 0x80 ||
            !pc_map_get(ids, c.merge.left.text, c.merge.left.len, &c.left_id) ||
            !pc_map_get(ids, c.merge.right.text, c.merge.right.len, &c.right_id))
            continue;
        c.left_chars = n_chars(c.merge.left);
        c.right_chars = n_chars(c.merge.right);
        int rc = add_cut(cuts, &c, err);
        if (rc < 0)
            return rc;
    }
    if (cuts->n > first)
        qsort(cuts->v + first, cuts->n - first, sizeof *cuts->v, by_ids);
    for (size_t i = first; i < cuts->n; i++)
        cuts->v[i].order = i;
    return 0;
}

static bool takes_part(const struct pc_piece *p)
{
    return p->type == PC_PIECE_NORMAL || p->type == PC_PIECE_USER_DEFINED;
}

int pc_vocab_merges(const struct pc_vocab *v, struct pc_merge **out, size_t *n, struct paco_error *err)
{
    struct pc_map ids = {0};
    struct cuts cuts = {0};
    int rc = pc_map_reserve(&ids, v->n_pieces) ? 0 : pc_error_mem(err, v->n_pieces * 16, "a list of merges");
    for (size_t i = 0; i < v->n_pieces && rc == 0; i++)
        if (takes_part(&v->pieces[i]) &&
            pc_map_add(&ids, v->pieces[i].span.text, v->pieces[i].span.len, (uint32_t)i) < 0)
            rc = pc_error_mem(err, v->n_pieces * 16, "a list of merges");
    for (size_t i = 0; i < v->n_pieces && rc == 0; i++) {
        if (v->pieces[i].type != PC_PIECE_NORMAL)
            continue;
        if (v->pieces[i].span.len > MAX_PIECE)
            rc = pc_error_set(err, PACO_ELIMIT, "piece %zu is %zu bytes long; at most %d are supported", i,
                v->pieces[i].span.len, MAX_PIECE);
        else
            rc = cut_piece(&v->pieces[i], &ids, &cuts, err);
    }
    struct pc_merge *merges = rc == 0 ? pc_alloc(cuts.n, sizeof *merges) : NULL;
    if (rc == 0 && !merges)
        rc = pc_error_mem(err, cuts.n * sizeof *merges, "a list of merges");
    if (rc == 0) {
        if (cuts.n && v->model == PC_VOCAB_SPM_BPE)
            qsort(cuts.v, cuts.n, sizeof *cuts.v, by_rank);
        for (size_t i = 0; i < cuts.n; i++)
            merges[i] = cuts.v[i].merge;
        *out = merges;
        *n = cuts.n;
    }
    pc_map_release(&ids);
    pc_free(cuts.v);
    return rc;
}
