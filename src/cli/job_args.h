// SPDX-License-Identifier: Apache-2.0
/* What the commands that write models have in common: their options, and how they report. */
#ifndef PC_CLI_JOB_ARGS_H
#define PC_CLI_JOB_ARGS_H

#include "cli/command.h"

#include "paco/weights.h"

struct pc_job_args {
    const char *out, *dtype, *format;
    uint64_t max_shard;
    int64_t threads;
    bool dry_run, force, no_repair, json;
};

/* What --dtype and --format may say where GGUF files are written too, and where not. */
#define PC_JOB_TYPES "f32|f16|bf16|keep|auto"
#define PC_BLOCK_TYPES "q8_0|q4_0|q4_1|q5_0|q5_1|q4_k|q5_k|q6_k"
#define PC_JOB_GGUF_TYPES PC_JOB_TYPES "|" PC_BLOCK_TYPES
#define PC_JOB_BLOCK_TYPES_HELP "in GGUF files also q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k"
#define PC_JOB_FORMATS "safetensors|bin"
#define PC_JOB_GGUF_FORMATS PC_JOB_FORMATS "|gguf|hf|hf-bin"

/* Rows for struct TYPE with a struct pc_job_args called MEMBER. OUT_ALIASES are other names of --out; TYPES
 * is PC_JOB_TYPES or PC_JOB_GGUF_TYPES, FORMATS likewise. */
// Designators and member names take no parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define PC_JOB_ROWS(TYPE, MEMBER, OUT_ALIASES, OUT_HELP, TYPES, TYPE_HELP, FORMATS, FORMAT_HELP)             \
    {.name = "out",                                                                                          \
        .aliases = OUT_ALIASES,                                                                              \
        .short_name = 'o',                                                                                   \
        .type = PC_OPT_STRING,                                                                               \
        .offset = offsetof(TYPE, MEMBER.out),                                                                \
        .arg = "DIR",                                                                                        \
        .help = OUT_HELP,                                                                                    \
        .required = true},                                                                                   \
        {.name = "dtype",                                                                                    \
            .aliases = "type",                                                                               \
            .type = PC_OPT_CHOICE,                                                                           \
            .offset = offsetof(TYPE, MEMBER.dtype),                                                          \
            .choices = TYPES,                                                                                \
            .arg = sizeof(TYPES) > sizeof PC_JOB_TYPES ? "TYPE" : NULL,                                      \
            .help = TYPE_HELP},                                                                              \
        {.name = "format",                                                                                   \
            .aliases = "to",                                                                                 \
            .type = PC_OPT_CHOICE,                                                                           \
            .offset = offsetof(TYPE, MEMBER.format),                                                         \
            .choices = FORMATS,                                                                              \
            .help = FORMAT_HELP},                                                                            \
        {.name = "max-shard",                                                                                \
            .type = PC_OPT_SIZE,                                                                             \
            .offset = offsetof(TYPE, MEMBER.max_shard),                                                      \
            .arg = "SIZE",                                                                                   \
            .help = "tensor bytes per file at most, as 10GB or 4GiB (default: 10GB)"},                       \
        {.name = "dry-run",                                                                                  \
            .type = PC_OPT_FLAG,                                                                             \
            .offset = offsetof(TYPE, MEMBER.dry_run),                                                        \
            .help = "check everything and say what would be written, without writing"},                      \
        {.name = "force",                                                                                    \
            .type = PC_OPT_FLAG,                                                                             \
            .offset = offsetof(TYPE, MEMBER.force),                                                          \
            .help = "replace the output if it exists, once the new one is complete"},                        \
        {.name = "no-repair",                                                                                \
            .type = PC_OPT_FLAG,                                                                             \
            .offset = offsetof(TYPE, MEMBER.no_repair),                                                      \
            .help = "copy configuration and tokenizer files as they are, faults and all"},                   \
        PC_THREADS_ROW(TYPE, MEMBER.threads), PC_JSON_ROW(TYPE, MEMBER.json)
// NOLINTEND(bugprone-macro-parentheses)

/** What the help says of --format where GGUF files are written too. */
#define PC_JOB_GGUF_FORMAT_HELP                                                                              \
    "files to write: a folder with safetensors (default; or hf) or bin (or hf-bin), or one GGUF file "       \
    "(gguf, the "                                                                                            \
    "default when --out ends in .gguf)"

/** Settle --format where --out names a GGUF file, and refuse a block type for anything else: PC_EXIT_MISUSE,
 * or -1. */
int pc_job_settle_format(const struct pc_command *self, struct pc_job_args *a);
/** The type an option's text stands for; NULL is f32. */
enum paco_dtype pc_job_dtype(const char *name);
bool pc_job_is_gguf(const struct pc_job_args *a);

/** A library job's on_progress whose ctx is a struct pc_progress. */
int pc_job_progress(void *ctx, const struct paco_progress_event *e);

/** The job's options from the arguments, with a progress bar. a is *borrowed* as long as the options are
 * used. */
struct paco_job_options pc_job_options(const struct pc_command *self, const struct pc_job_args *a);

/** Report on stdout: a line for people, or the JSON object of a job. undefined_rows are listed when the job
 * has such. */
int pc_job_print(const struct pc_command *self, const struct pc_job_args *a, const struct paco_job_result *r,
    bool with_rows, struct paco_error *err);

/** Print Stanford's checksum of the model in dir as a remark, as `--check_integrity_naively` wants. */
int pc_job_checksum(const struct pc_command *self, const char *dir, int n_threads, struct paco_error *err);

#endif
