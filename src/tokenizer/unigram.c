// SPDX-License-Identifier: Apache-2.0
/* The best segmentation under a unigram model, left to right: at each character, the best path that ends
 * there.
 *
 * Sums are float and compared as sentencepiece compares them (a user-defined piece's bonus is a double, as is
 * the sum it goes into), because ties and near-ties decide ids. For the same reason the text is not cut at
 * spaces: a path's score depends on all that came before. Source: sentencepiece 0.2, unigram_model.cc,
 * EncodeOptimized. */
#include "tokenizer/tokenizer_parts.h"

#include <string.h>

static const float UNK_PENALTY = 10.0f;

struct best {
    int32_t id;
    float score;
    int64_t start; /* byte offset of the piece that ends here; -1: no path yet */
};

static void offer(struct best *b, double score, size_t start, int32_t id)
{
    if (b->start < 0 || score > (double)b->score)
        *b = (struct best){id, (float)score, (int64_t)start};
}

static double score_of(const struct pc_tokenizer *tok, int32_t id, size_t len)
{
    if (tok->tokens[id].type == PC_PIECE_USER_DEFINED)
        return (double)((float)len * tok->max_score) - 0.1;
    return (double)tok->scores[id];
}

/* All pieces that start at i. */
static void extend(const struct pc_tokenizer *tok, const char *text, size_t len, size_t i, struct best *best)
{
    const float here = best[i].score;
    const size_t n_char = pc_char_len(text + i, len - i);
    bool has_char = false;
    int64_t node = 0;
    for (size_t j = i; j < len && (node = pc_trie_step(&tok->trie, (uint32_t)node, (uint8_t)text[j])) >= 0;
         j++) {
        int32_t id = tok->trie.values[node];
        if (id < 0 || tok->tokens[id].type == PC_PIECE_UNUSED)
            continue;
        bool user = tok->tokens[id].type == PC_PIECE_USER_DEFINED;
        double score = score_of(tok, id, j + 1 - i);
        offer(&best[j + 1], user ? score + (double)here : (double)((float)score + here), i, id);
        has_char |= j + 1 - i == n_char;
    }
    if (!has_char)
        offer(&best[i + n_char], (double)(tok->min_score - UNK_PENALTY + here), i, tok->unk);
}

static int put_path(struct pc_encoder *e, const char *text, size_t len, const struct best *best)
{
    // Walk back to turn the links around, reusing parts: their number is not known before.
    size_t n = 0;
    for (size_t end = len; end > 0; end = (size_t)best[end].start)
        n++;
    size_t *ends = pc_alloc(n, sizeof *ends);
    if (!ends)
        return pc_error_mem(e->err, n * sizeof *ends, "a path");
    size_t i = n;
    for (size_t end = len; end > 0; end = (size_t)best[end].start)
        ends[--i] = end;
    int rc = 0;
    for (i = 0; i < n && rc == 0; i++) {
        const struct best *b = &best[ends[i]];
        rc = b->id == e->tok->unk ? pc_encode_unknown(e, text + b->start, ends[i] - (size_t)b->start)
                                  : pc_ids_add(e->out, b->id, e->err);
    }
    pc_free(ends);
    return rc;
}

int pc_encode_unigram(struct pc_encoder *e, size_t at, size_t len)
{
    const char *text = e->work.data + at;
    struct best *best = pc_alloc(len + 1, sizeof *best);
    if (!best)
        return pc_error_mem(e->err, (len + 1) * sizeof *best, "the paths of a text");
    for (size_t i = 0; i <= len; i++)
        best[i] = (struct best){-1, 0, -1};
    for (size_t i = 0; i < len; i += pc_char_len(text + i, len - i))
        extend(e->tok, text, len, i, best);
    int rc = put_path(e, text, len, best);
    pc_free(best);
    return rc;
}
