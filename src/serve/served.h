// SPDX-License-Identifier: Apache-2.0
/* The models a server answers with, by the names requests choose them by: one base in memory, and what is
 * added to it row by row. */
#ifndef PC_SERVE_SERVED_H
#define PC_SERVE_SERVED_H

#include "engine/engine.h"
#include "engine/sampler.h"
#include "prompt/format.h"
#include "tokenizer/tokenizer.h"

/** Everything is borrowed. */
struct pc_served {
    const char *name;
    struct pc_variant *variant; /* NULL: the base itself */
    const char *parent;         /* the name of the base, of what is a variant; else NULL */
    uint64_t stamp;             /* of the files it was read from: other files, another stamp */
    uint64_t size;              /* bytes that it takes beside the base; of the base 0 */
    int32_t n_vocab;            /* logits of a row */
    const struct pc_tokenizer *tok;
    const struct pc_spelling *spelling; /* of tok's tokens, for answers that must have a form */
    enum pc_format format;              /* of chats; not AUTO */
    const char *system;                 /* for chats that bring none, or NULL */
    int bos;                            /* -1 as the tokenizer says, 0 never, 1 always */
    const int32_t *eos; /* of chats; the first n_own_eos, which are the model's own, of completions too */
    size_t n_eos, n_own_eos;
    const char *const *stops; /* texts that end a chat's answer */
    size_t n_stops;
    struct pc_sampler_options sampling; /* what a request does not say */
};

/** What a server is given to work with. */
struct pc_house {
    struct pc_engine *engine;
    const struct pc_served *models; /* the first is meant where a request names none */
    size_t n_models;
    int32_t context;    /* positions of a prompt and its answer together */
    uint64_t kv_tokens; /* positions there is room for */
    void *ctx;
    void (*close)(void *ctx); /* called once nobody needs it any more */
};

/** The model called name (len bytes), or NULL. */
const struct pc_served *pc_served_find(const struct pc_house *house, const char *name, size_t len);

#endif
