// SPDX-License-Identifier: Apache-2.0
/* Which models paco serve has: what --diff and --adapter say, and what becomes of it. Without NAME= they make
 * the model that is run; with it they are fine-tunes beside that model, each under its own name. */
#ifndef PC_CLI_SERVE_MODELS_H
#define PC_CLI_SERVE_MODELS_H

#include "cli/answering.h"
#include "engine/variant.h"
#include "serve/served.h"

#include <stdatomic.h>

/** One fine-tune as the options name it. */
struct pc_tune_wish {
    char *name; /* owned */
    struct pc_variant_options options;
};

struct pc_tunes {
    struct pc_tune_wish *v;
    size_t n;
};

/** One fine-tune beside its base, opened, and shared by all that have it. */
struct pc_tune {
    atomic_size_t n_holders;
    uint64_t stamp; /* of its files (stamp.h), before they were opened; the caller's */
    const char *name;
    struct pc_variant_options options;
    struct pc_answering a;
    struct pc_variant *variant;
    struct pc_spelling *spelling; /* NULL where the tokenizer is the base's */
};

/** Read `NAME=DIR` and `DIR` of both lists; the latter, at most one each, go to args->diff and args->adapter.
 * base: what the model itself is called, or NULL: as pc_served_base_name. Nothing is opened.
 * *owned*: pc_tunes_close, also after a failure. Errors: PACO_EINVAL for names that are none or twice, and
 * for fine-tunes beside a sum. */
int pc_tunes_parse(const struct pc_strings *diffs, const struct pc_strings *adapters, const char *base,
    struct pc_model_args *args, struct pc_tunes *out, struct paco_error *err);

/** Whether each of them is what it is said to be, of this base; by names, shapes and samples, before anything
 * is loaded. Errors: those of opening; PACO_EMISMATCH. */
int pc_tunes_check(const struct pc_tunes *tunes, const char *model, struct paco_error *err);

void pc_tunes_close(struct pc_tunes *tunes);

/** Open one beside base, which engine runs; on any thread. What it takes is said in self's name. wishes: what
 * the base was settled with; wish is borrowed while the tune is there. *owned*: pc_tune_release, before the
 * engine is closed. */
int pc_tune_open(const struct pc_tune_wish *wish, const struct pc_command *self,
    const struct pc_wishes *wishes, const struct pc_answering *base, struct pc_engine *engine,
    struct pc_tune **out, struct paco_error *err);
/** One more holder, and one less; thread-safe. NULL is fine for the latter. */
struct pc_tune *pc_tune_share(struct pc_tune *tune);
void pc_tune_release(struct pc_tune *tune);

/** What requests call the model that args make, unless told otherwise: the last part of its path. */
const char *pc_served_base_name(const struct pc_model_args *args, char *out, size_t size);

/** The server's view of a settled model; a and what it holds stay borrowed. user_temperature: NAN where the
 * user said none. */
struct pc_served pc_served_of(const char *name, const struct pc_answering *a,
    const struct pc_spelling *spelling, double user_temperature);

#endif
