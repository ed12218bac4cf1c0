// SPDX-License-Identifier: Apache-2.0
/* What the commands that run a model have in common: which model, and on what. A model is a folder, a file or
 * a name; or a base and the weight diff that makes it another; an adapter may be folded into either. */
#ifndef PC_CLI_MODEL_ARGS_H
#define PC_CLI_MODEL_ARGS_H

#include "base/notes.h"
#include "cli/command.h"
#include "cli/job_args.h"
#include "engine/engine.h"
#include "weights/adapter.h"
#include "weights/source.h"

struct pc_model_args {
    const char *model, *diff; /* diff: a weight diff to be added to the model, or NULL */
    const char *adapter;      /* a PEFT adapter to be folded in, or NULL; where a command has the option */
    const char *dtype, *kv_type;
    const char *type; /* the weights' element type, as in a GGUF file of that type, or NULL: their own */
    int64_t threads;
    bool load_in_8bit; /* LLM.int8() products, where a command has the option */
};

#define PC_MODEL_TYPES "f32|f16|bf16|" PC_BLOCK_TYPES

/* Rows for struct TYPE with a struct pc_model_args called MEMBER: which model, and how it is run. */
// Designators and member names take no parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define PC_MODEL_ROW(TYPE, MEMBER, REQUIRED)                                                                 \
    {                                                                                                        \
        .name = "model", .short_name = 'm', .type = PC_OPT_STRING, .offset = offsetof(TYPE, MEMBER.model),   \
        .arg = "MODEL", .help = "model folder, .gguf file, or a name in the Hugging Face cache",             \
        .required = REQUIRED                                                                                 \
    }
#define PC_MODEL_ROWS(TYPE, MEMBER, REQUIRED)                                                                \
    PC_MODEL_ROW(TYPE, MEMBER, REQUIRED),                                                                    \
    {                                                                                                        \
        .name = "diff", .type = PC_OPT_STRING, .offset = offsetof(TYPE, MEMBER.diff), .arg = "DIR",          \
        .help = "a weight diff: MODEL is its base, and their sum is run"                                     \
    }
#define PC_ADAPTER_ROW(TYPE, MEMBER)                                                                         \
    {                                                                                                        \
        .name = "adapter", .type = PC_OPT_STRING, .offset = offsetof(TYPE, MEMBER.adapter), .arg = "DIR",    \
        .help = "a LoRA adapter of MODEL, folded in while the weights are loaded"                            \
    }
#define PC_RUN_ROWS(TYPE, MEMBER)                                                                            \
    PC_THREADS_ROW(TYPE, MEMBER.threads),                                                                    \
        {.name = "type",                                                                                     \
            .type = PC_OPT_CHOICE,                                                                           \
            .offset = offsetof(TYPE, MEMBER.type),                                                           \
            .choices = PC_MODEL_TYPES,                                                                       \
            .help = "narrow or quantise the weights while they are loaded, as paco convert would"},          \
        {.name = "dtype",                                                                                    \
            .type = PC_OPT_CHOICE,                                                                           \
            .offset = offsetof(TYPE, MEMBER.dtype),                                                          \
            .choices = "f32",                                                                                \
            .help = "plain F32 arithmetic and caches, not the fast ones for the weights' type"},             \
    {                                                                                                        \
        .name = "kv-type", .type = PC_OPT_CHOICE, .offset = offsetof(TYPE, MEMBER.kv_type),                  \
        .choices = "f32|f16|bf16|q8_0",                                                                      \
        .help = "type of the keys and values kept (f16; f32 for weights in F32)"                             \
    }
// NOLINTEND(bugprone-macro-parentheses)

/** A model to be run. Everything is *owned*: pc_model_close. Start from zero. */
struct pc_model {
    struct pc_source source, diff;
    struct pc_checkpoint *sum;           /* source + diff, or NULL */
    struct pc_adapter *adapter;          /* or NULL */
    struct pc_checkpoint *adapted;       /* source or sum, with the adapter, or NULL */
    struct pc_config adapted_config;     /* with as many tokens as the adapter leaves */
    struct pc_checkpoint *typed;         /* in another element type, or NULL */
    const struct pc_checkpoint *weights; /* typed, adapted, sum, or source's */
    const struct pc_source *lead;        /* diff or source: whose configuration and tokenizer go */
    const struct pc_config *config;
    struct pc_notes notes; /* what another element type brought with it */
};

/** Open them. Nothing is added up yet: the sum is made of the rows that are read.
 *
 *  Errors: those of opening; PACO_ENOENT without a configuration; PACO_EMISMATCH when base and diff do not
 * belong together, or a model alone is really a weight diff. */
int pc_model_open(const struct pc_model_args *args, struct pc_model *out, struct paco_error *err);
void pc_model_close(struct pc_model *m);
/** Say the notes on stderr. */
void pc_model_say(const struct pc_command *self, const struct pc_model *m);

/** Remark, as self, when n_tokens of context are more than the model was trained for. */
void pc_model_remark_context(const struct pc_command *self, const struct pc_model *m, int32_t n_tokens);

/** The engine's options as far as the arguments say them. */
struct pc_engine_options pc_model_engine_options(const struct pc_model_args *args);

#endif
