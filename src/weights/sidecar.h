// SPDX-License-Identifier: Apache-2.0
/* The files of a model directory that are no weights: which of them travel with an output, copied byte for
 * byte or repaired, and what they say of the licence. */
#ifndef PC_WEIGHTS_SIDECAR_H
#define PC_WEIGHTS_SIDECAR_H

#include "base/digest.h"
#include "base/dtype.h"
#include "base/notes.h"

#include <stdbool.h>

struct pc_sidecar {
    char *name;   /* owned */
    char *source; /* owned: the file to copy; NULL when text holds the contents */
    char *text;   /* owned */
    uint64_t size;
};

struct pc_sidecars {
    struct pc_sidecar *v; /* sorted by name */
    size_t n, capacity;
    struct pc_notes repairs; /* "config.json: pad_token_id 0 -> 32000, the tokenizer's <pad>" */
    char licence[128]; /* README's front matter, or the first line of LICENSE; empty when neither says */
};

struct pc_sidecar_options {
    const char *dir;           /* configuration, licence, card, or NULL; the tokenizer too, unless: */
    const char *tokenizer_dir; /* the tokenizer is this folder's, or NULL */
    bool only_papers;          /* licence, notice and card alone: no configuration, no tokenizer */
    bool repair;               /* put known faults right (repair.h) */
    enum pc_dtype dtype;       /* the widest float type written */
    uint64_t vocab;            /* rows of the embedding written; 0: not known */
};

/** Plan what travels: configuration, tokenizer, licence, notice and model card files, told by name. Links
 * that lead out of their folder, unless it is a snapshot in the Hugging Face cache and they lead into that,
 * and files above 256 MiB stay behind with a note. Release in any case. */
int pc_sidecars_plan(const struct pc_sidecar_options *options, struct pc_notes *notes,
    struct pc_sidecars *out, struct paco_error *err);
/** Add, or replace, one made elsewhere. */
int pc_sidecars_add(
    struct pc_sidecars *s, const char *name, const char *bytes, size_t len, struct paco_error *err);
void pc_sidecars_release(struct pc_sidecars *s);

/** Write it into dir, synced, and give its SHA-256. */
int pc_sidecar_write(
    const struct pc_sidecar *f, const char *dir, uint8_t sha256[PC_SHA256_SIZE], struct paco_error *err);

#endif
