// SPDX-License-Identifier: Apache-2.0
/* What it takes to answer with a model: its weights, its tokenizer, and what its own files and the user say
 * about prompts, sampling and where answers end. */
#ifndef PC_CLI_ANSWERING_H
#define PC_CLI_ANSWERING_H

#include "cli/model_args.h"
#include "cli/prompts.h"
#include "engine/sampler.h"
#include "weights/source.h"

enum { PC_MAX_ENDS = 64 };

/* Rows for struct TYPE: how tokens are drawn, in members of struct pc_wishes' types; NAN and -1 where nothing
 * is said. MAX_T: the highest temperature. LIKE begins what --help says of each. */
// Designators and member names take no parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define PC_SAMPLING_ROWS(TYPE, TEMPERATURE, TOP_K, TOP_P, MIN_P, PENALTY, MAX_T, TEMPERATURE_HELP, LIKE)     \
    {.name = "temp",                                                                                         \
        .aliases = "temperature",                                                                            \
        .type = PC_OPT_FLOAT,                                                                                \
        .offset = offsetof(TYPE, TEMPERATURE),                                                               \
        .arg = "T",                                                                                          \
        .min = 0,                                                                                            \
        .max = MAX_T,                                                                                        \
        .help = TEMPERATURE_HELP},                                                                           \
        {.name = "top-k",                                                                                    \
            .type = PC_OPT_INT,                                                                              \
            .offset = offsetof(TYPE, TOP_K),                                                                 \
            .arg = "K",                                                                                      \
            .min = 0,                                                                                        \
            .max = 1 << 24,                                                                                  \
            .help = LIKE "sample among the K best (0: all)"},                                                \
        {.name = "top-p",                                                                                    \
            .type = PC_OPT_FLOAT,                                                                            \
            .offset = offsetof(TYPE, TOP_P),                                                                 \
            .arg = "P",                                                                                      \
            .min = 0,                                                                                        \
            .max = 1,                                                                                        \
            .help = LIKE "sample among the fewest that have probability P together"},                        \
        {.name = "min-p",                                                                                    \
            .type = PC_OPT_FLOAT,                                                                            \
            .offset = offsetof(TYPE, MIN_P),                                                                 \
            .arg = "P",                                                                                      \
            .min = 0,                                                                                        \
            .max = 1,                                                                                        \
            .help = LIKE "sample among those with P times the best one's probability"},                      \
    {                                                                                                        \
        .name = "repeat-penalty", .aliases = "repetition-penalty", .type = PC_OPT_FLOAT,                     \
        .offset = offsetof(TYPE, PENALTY), .arg = "X", .min = 0, .max = 1e3,                                 \
        .help = LIKE "hold back what occurred (1: off)"                                                      \
    }
// NOLINTEND(bugprone-macro-parentheses)

/** What the user asks for; NAN, -1 and NULL mean that nothing was said. */
struct pc_wishes {
    const struct pc_model_args *model;
    const char *format, *system, *bos;
    const struct pc_strings *stops;
    double temperature, top_p, min_p, repetition_penalty;
    int64_t top_k, seed;
    const char *otherwise; /* whose chat template goes where nothing says what a model was tuned on: where a
                              vocabulary lies, or NULL */
    bool ids_only;         /* prompts are ids: a tokenizer is welcome, not needed */
};

/** The wishes of who asks in its own way: plain prompts, greedy, no ends but the model's; bos as the user
 * said. */
struct pc_wishes pc_wishes_plain(const struct pc_model_args *model, const char *bos);
/** --bos auto|always|never: -1, 1, 0. */
int pc_bos_wish(const char *bos);

/** A model ready to be asked. Everything is *owned*: pc_answering_close. Start from zero. */
struct pc_answering {
    struct pc_model model;
    struct pc_tokenizer *tok; /* NULL when there is none */
    bool tok_is_shared;       /* set with tok before settling: tok is another's, and stays so */
    struct pc_prompter prompter;
    struct pc_sampler_options sampling;
    int32_t suppressed[2];
    int32_t eos[PC_MAX_ENDS];
    size_t n_eos, n_own_eos; /* the first n_own_eos are the model's; then those that its format's stops are */
    const char *stops[PC_MAX_ENDS];
    size_t n_stops;
};

/** Open and settle all of it. Remarks go to stderr in self's name. wishes and its strings stay borrowed.
 * Errors: those of opening; PACO_ENOENT without config.json; PACO_EMISMATCH when the model is really a weight
 * diff. */
int pc_answering_open(const struct pc_command *self, const struct pc_wishes *wishes, struct pc_answering *out,
    struct paco_error *err);
/** The same for a model that is open: out->model is set, and pc_answering_close closes it. What is to be said
 * of the model was said. */
int pc_answering_settle(const struct pc_command *self, const struct pc_wishes *wishes,
    struct pc_answering *out, struct paco_error *err);
/** Let text, *borrowed*, end answers, too; as an id where it is a special token, which has no text to be
 * found in. PACO_ELIMIT above PC_MAX_ENDS. */
int pc_answering_add_stop(struct pc_answering *a, const char *text, struct paco_error *err);
void pc_answering_close(struct pc_answering *a);

#endif
