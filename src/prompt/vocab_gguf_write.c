// SPDX-License-Identifier: Apache-2.0
#include "prompt/vocab_gguf_write.h"

#include "base/map.h"
#include "base/memory.h"
#include "prompt/vocab_sources.h"
#include "prompt/vocab_write.h"

#include <stdio.h>
#include <string.h>

/* What llama.cpp's converter gives to tokens beside the model's own. */
static const float ADDED_SCORE = -1000;

struct writing {
    const struct pc_vocab *v;
    const struct pc_vocab_gguf_options *options;
    struct pc_gguf_head *out;
    struct pc_piece *pieces; /* options->n_rows of them */
    struct paco_error *err;
};

/* ---- one piece for each row ---- */

static void take_added(struct writing *w, const struct pc_added *a, uint64_t *n_dropped)
{
    if (a->id < 0 || !a->span.len)
        return;
    if ((uint64_t)a->id >= w->options->n_rows) {
        *n_dropped += (size_t)a->id >= w->v->n_pieces;
        return;
    }
    struct pc_piece *p = &w->pieces[a->id];
    bool kept = (size_t)a->id < w->v->n_pieces && w->v->model == PC_VOCAB_SPM_BPE;
    // SentencePiece's own types say more: an unknown piece stays one.
    if (kept && p->type != PC_PIECE_NORMAL && p->type != PC_PIECE_UNUSED)
        return;
    p->span = a->span;
    p->type = a->special ? PC_PIECE_CONTROL : PC_PIECE_USER_DEFINED;
    p->score = kept ? p->score : ADDED_SCORE;
}

static int lay_out(struct writing *w, uint64_t *n_dropped)
{
    const struct pc_vocab *v = w->v;
    uint64_t n = w->options->n_rows;
    w->pieces = pc_alloc_zero(n, sizeof *w->pieces);
    if (!w->pieces)
        return pc_error_mem(w->err, n * sizeof *w->pieces, "the vocabulary");
    for (uint64_t i = 0; i < n; i++) {
        if (i < v->n_pieces)
            w->pieces[i] = v->pieces[i];
        if (!w->pieces[i].type)
            w->pieces[i].type = w->pieces[i].span.len ? PC_PIECE_NORMAL : PC_PIECE_UNUSED;
    }
    *n_dropped = v->n_pieces > n ? v->n_pieces - n : 0;
    for (size_t i = 0; i < v->n_added; i++)
        take_added(w, &v->added[i], n_dropped);
    return 0;
}

static void put_pieces(struct writing *w, bool scores)
{
    uint64_t n = w->options->n_rows;
    pc_gguf_put_array(w->out, "tokenizer.ggml.tokens", PC_GGUF_STRING, n);
    for (uint64_t i = 0; i < n; i++) {
        char pad[40];
        struct pc_span s = w->pieces[i].span;
        if (!s.len) {
            snprintf(pad, sizeof pad, "[PAD%llu]", (unsigned long long)i);
            s = (struct pc_span){pad, strlen(pad)};
        }
        pc_gguf_add_str(w->out, s.text, s.len);
    }
    if (scores) {
        pc_gguf_put_array(w->out, "tokenizer.ggml.scores", PC_GGUF_F32, n);
        for (uint64_t i = 0; i < n; i++)
            pc_gguf_add_f32(w->out, w->pieces[i].span.len ? w->pieces[i].score : ADDED_SCORE);
    }
    pc_gguf_put_array(w->out, "tokenizer.ggml.token_type", PC_GGUF_I32, n);
    for (uint64_t i = 0; i < n; i++)
        pc_gguf_add_i32(w->out, (int32_t)w->pieces[i].type);
}

/* ---- scores from merges ---- */

static int no_scores(struct writing *w)
{
    return pc_error_set(w->err, PACO_EUNSUPPORTED,
        "the merges of this tokenizer.json are in no order that scores of pieces could say, which is all a "
        "GGUF "
        "vocabulary of this kind has; the model's tokenizer.model, put beside it, would do");
}

/* The piece a merge makes. */
static int merged_id(const struct pc_map *ids, const struct pc_merge *m, uint32_t *id)
{
    char text[512];
    if (m->left.len + m->right.len > sizeof text)
        return -1;
    memcpy(text, m->left.text, m->left.len);
    memcpy(text + m->left.len, m->right.text, m->right.len);
    return pc_map_get(ids, text, m->left.len + m->right.len, id) ? 0 : -1;
}

/* Set the pieces' scores, later merges lower; false if the merges of some piece do not follow one another. */
static bool score_merges(struct writing *w, const struct pc_map *ids, bool *seen)
{
    const struct pc_vocab *v = w->v;
    uint32_t last = UINT32_MAX, id;
    float score = 0;
    for (size_t i = 0; i < v->n_merges; i++) {
        if (merged_id(ids, &v->merges[i], &id) < 0)
            return false;
        if (id == last)
            continue;
        if (seen[id])
            return false;
        seen[id] = true;
        last = id;
        w->pieces[id].score = -(score += 1);
    }
    // What nothing merges into is a single character: its score is never asked for.
    for (size_t i = 0; i < v->n_pieces && i < w->options->n_rows; i++)
        if (!seen[i] && w->pieces[i].type == PC_PIECE_NORMAL)
            w->pieces[i].score = -(score + 1);
    return true;
}

static bool is_byte(struct pc_span s)
{
    static const char digits[] = "0123456789ABCDEF";
    return s.len == 6 && memcmp(s.text, "<0x", 3) == 0 && s.text[5] == '>' && strchr(digits, s.text[3]) &&
           strchr(digits, s.text[4]);
}

static int score_pieces(struct writing *w)
{
    const struct pc_vocab *v = w->v;
    struct pc_map ids = {0};
    if (v->n_pieces > w->options->n_rows)
        return pc_error_set(w->err, PACO_EMISMATCH, "the tokenizer has %zu pieces, the embedding %llu rows",
            v->n_pieces, (unsigned long long)w->options->n_rows);
    bool *seen = pc_alloc_zero(v->n_pieces + 1, sizeof *seen);
    int rc = seen ? 0 : pc_error_mem(w->err, v->n_pieces, "scores of pieces");
    for (size_t i = 0; i < v->n_pieces && rc == 0; i++) {
        if (is_byte(v->pieces[i].span) && w->pieces[i].type == PC_PIECE_NORMAL)
            w->pieces[i].type = PC_PIECE_BYTE;
        if (v->pieces[i].span.len &&
            pc_map_add(&ids, v->pieces[i].span.text, v->pieces[i].span.len, (uint32_t)i) < 0)
            rc = pc_error_mem(w->err, v->n_pieces * 16, "scores of pieces");
    }
    if (rc == 0 && !score_merges(w, &ids, seen))
        rc = no_scores(w);
    // SentencePiece tries every cut of a piece; a list that lacks some would say otherwise.
    struct pc_vocab scored = {.pieces = w->pieces, .n_pieces = v->n_pieces};
    struct pc_merge *merges = NULL;
    size_t n = 0;
    if (rc == 0)
        rc = pc_vocab_merges(&scored, &merges, &n, w->err);
    if (rc == 0 && n != v->n_merges)
        rc = no_scores(w);
    pc_free(merges);
    pc_free(seen);
    pc_map_release(&ids);
    return rc;
}

/* ---- the two models ---- */

static void put_text(struct writing *w, const char *key, const char *text)
{
    pc_gguf_put_str(w->out, key, text, strlen(text));
}

static int put_llama(struct writing *w, bool prefix, bool trims)
{
    put_text(w, "tokenizer.ggml.model", "llama");
    put_text(w, "tokenizer.ggml.pre", "default");
    put_pieces(w, true);
    pc_gguf_put_bool(w->out, "tokenizer.ggml.add_space_prefix", prefix);
    if (trims)
        pc_gguf_put_bool(w->out, "tokenizer.ggml.remove_extra_whitespaces", true);
    return 0;
}

static void put_merges(struct writing *w)
{
    char text[2048];
    pc_gguf_put_array(w->out, "tokenizer.ggml.merges", PC_GGUF_STRING, w->v->n_merges);
    for (size_t i = 0; i < w->v->n_merges; i++) {
        const struct pc_merge *m = &w->v->merges[i];
        int n = snprintf(
            text, sizeof text, "%.*s %.*s", (int)m->left.len, m->left.text, (int)m->right.len, m->right.text);
        pc_gguf_add_str(w->out, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    }
}

static int put_gpt2(struct writing *w)
{
    size_t len;
    const char *pre = pc_vocab_gguf_pre_name(w->v, &len);
    if (!pre)
        return pc_error_set(w->err, PACO_EUNSUPPORTED,
            "the tokenizer cuts text in a way that GGUF has no name for (tokenizer.ggml.pre), so no GGUF "
            "file can hold "
            "it");
    for (size_t i = 0; i < w->v->n_merges; i++)
        if (w->v->merges[i].left.len + w->v->merges[i].right.len > 2000)
            return pc_error_set(
                w->err, PACO_ELIMIT, "merge %zu of the tokenizer is longer than 2000 bytes", i);
    put_text(w, "tokenizer.ggml.model", "gpt2");
    pc_gguf_put_str(w->out, "tokenizer.ggml.pre", pre, len);
    put_pieces(w, false);
    put_merges(w);
    if (w->v->pre[w->v->n_pre - 1].add_prefix_space)
        pc_gguf_put_bool(w->out, "tokenizer.ggml.add_space_prefix", true);
    return 0;
}

static bool is_byte_level(const struct pc_vocab *v)
{
    return v->n_pre && v->pre[v->n_pre - 1].kind == PC_PRE_BYTE_LEVEL;
}

/* Whether a tokenizer.json of merges over characters puts a space in front of a text. */
static bool has_prefix(const struct pc_vocab *v)
{
    bool prefix = false;
    for (size_t i = 0; i < v->n_normal; i++)
        prefix |= v->normal[i].kind == PC_NORMAL_PREPEND;
    for (size_t i = 0; i < v->n_pre; i++)
        prefix |= v->pre[i].kind == PC_PRE_METASPACE && v->pre[i].prefix != PC_PREFIX_NEVER;
    return prefix;
}

static int put_model(struct writing *w)
{
    const struct pc_vocab *v = w->v;
    if (v->model == PC_VOCAB_SPM_BPE)
        return put_llama(w, v->spm.add_dummy_prefix, v->spm.remove_extra_whitespaces);
    if (v->model == PC_VOCAB_MERGES && is_byte_level(v))
        return put_gpt2(w);
    if (v->model != PC_VOCAB_MERGES || !v->byte_fallback)
        return pc_error_set(w->err, PACO_EUNSUPPORTED,
            "a %s vocabulary has no place in a GGUF file of a LLaMA",
            v->model == PC_VOCAB_MERGES ? "character-level BPE" : "unigram");
    int rc = score_pieces(w);
    return rc == 0 ? put_llama(w, has_prefix(v), false) : rc;
}

static void put_id(struct writing *w, const char *key, int32_t id)
{
    if (id >= 0 && (uint64_t)id < w->options->n_rows)
        pc_gguf_put_u32(w->out, key, (uint32_t)id);
}

static void put_special(struct writing *w)
{
    const struct pc_vocab *v = w->v;
    bool bos = false, eos = false;
    for (size_t i = 0; i < v->n_prefix; i++)
        bos |= v->prefix[i] == v->bos;
    for (size_t i = 0; i < v->n_suffix; i++)
        eos |= v->suffix[i] == v->eos;
    put_id(w, "tokenizer.ggml.bos_token_id", v->bos);
    put_id(w, "tokenizer.ggml.eos_token_id", v->eos);
    for (int i = 0; i < w->options->n_eos; i++)
        if (w->options->eos_ids[i] != v->eos) {
            put_id(w, "tokenizer.ggml.eot_token_id", w->options->eos_ids[i]);
            break;
        }
    put_id(w, "tokenizer.ggml.unknown_token_id", v->unk);
    put_id(w, "tokenizer.ggml.padding_token_id", v->pad);
    pc_gguf_put_bool(w->out, "tokenizer.ggml.add_bos_token", bos && v->bos >= 0);
    pc_gguf_put_bool(w->out, "tokenizer.ggml.add_eos_token", eos && v->eos >= 0);
    if (w->options->chat_template)
        put_text(w, "tokenizer.chat_template", w->options->chat_template);
}

int pc_vocab_gguf_write(const struct pc_vocab *v, const struct pc_vocab_gguf_options *options,
    struct pc_gguf_head *out, struct pc_vocab_gguf_report *report, struct paco_error *err)
{
    struct writing w = {.v = v, .options = options, .out = out, .err = err};
    *report = (struct pc_vocab_gguf_report){.no_normalising = v->spm.charsmap_size > 0};
    int rc = lay_out(&w, &report->n_dropped);
    if (rc == 0)
        rc = put_model(&w);
    if (rc == 0) {
        put_special(&w);
        rc = pc_gguf_head_check(out, err);
    }
    pc_free(w.pieces);
    return rc;
}
