// SPDX-License-Identifier: Apache-2.0
/* A model of which every answer is known beforehand: behind token t it prefers next[t], and t + 1 where next
 * is NULL. Its tokens are letters and what makes texts difficult. */
#ifndef PC_TESTS_LETTERS_MODEL_H
#define PC_TESTS_LETTERS_MODEL_H

#include "unit.h"

#include "tiny_model.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"

enum { V = 32, SPACE = 26, E_ACUTE = 27, THE = 29, NEWLINE = 30, EOS = 31 };

/* One-hot embeddings, blocks that add nothing, a head whose row next[t] looks at t. */
static inline void letters_model(struct tiny *m, const int32_t *next)
{
    *m = (struct tiny){.config = {.n_layers = 1,
                           .hidden_size = V,
                           .intermediate_size = 8,
                           .n_heads = 2,
                           .n_kv_heads = 1,
                           .head_dim = 4,
                           .vocab_size = V,
                           .max_positions = 64,
                           .rms_norm_eps = 1e-5f,
                           .rope_theta = 10000.0f},
        .dtype = PC_F32,
        .mapped = true};
    tiny_make(m);
    for (size_t i = 0; i < m->ck->n_tensors; i++) {
        const struct pc_tensor *t = &m->ck->tensors[i];
        float one = 1;
        bool embedding = strstr(t->name, "embed") != NULL, head = strstr(t->name, "lm_head") != NULL;
        if (strstr(t->name, "norm"))
            continue;
        memset(m->bytes[i], 0, (size_t)t->size);
        for (size_t k = 0; k < V && (embedding || head); k++) {
            size_t row = !head ? k : next ? (size_t)next[k] : (k + 1) % V;
            memcpy(m->bytes[i] + (row * V + k) * sizeof one, &one, sizeof one);
        }
    }
}

/* Ids 0 to 31 are a..z, then: a space, the two bytes of e acute, "the", a newline, <eos>. */
static inline struct pc_tokenizer *letters_tokenizer(void)
{
    static struct pc_piece pieces[V];
    static char text[26][2];
    static const char *const rest[] = {"\u0120", "\u00c3", "\u00a9", "the", "\u010a", "<eos>"};
    for (int i = 0; i < V; i++) {
        const char *s = i < 26 ? text[i] : rest[i - 26];
        if (i < 26)
            text[i][0] = (char)('a' + i);
        pieces[i] = (struct pc_piece){{s, strlen(s)}, 0, i == EOS ? PC_PIECE_CONTROL : PC_PIECE_NORMAL};
    }
    static const struct pc_added added[] = {{.span = {"<eos>", 5}, .id = EOS, .special = true}};
    static const struct pc_pre_step pre[] = {{.kind = PC_PRE_BYTE_LEVEL}};
    struct pc_vocab v = {.model = PC_VOCAB_MERGES,
        .pieces = pieces,
        .n_pieces = V,
        .added = added,
        .n_added = 1,
        .segments = PC_SEGMENTS_FAST,
        .pre = pre,
        .n_pre = 1,
        .bos = -1,
        .eos = EOS,
        .unk = -1,
        .pad = -1};
    struct paco_error err = {0};
    struct pc_tokenizer *tok = pc_tokenizer_new(&v, &err);
    if (!tok)
        fail_msg("%s", err.message);
    return tok;
}

#endif
