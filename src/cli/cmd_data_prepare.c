// SPDX-License-Identifier: Apache-2.0
/* paco data split-sharegpt, paco data resample-flan: what two of the data sets need before they are
 * reformatted. */
#include "base/memory.h"
#include "cli/data_parts.h"
#include "cli/output.h"
#include "cli/vocab_files.h"
#include "data/resample.h"
#include "data/split_chats.h"
#include "prompt/vocabulary.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- split-sharegpt ---- */

struct split_values {
    struct pc_strings in_files;
    const char *out_file, *model;
    int64_t begin, end, max_length, threads;
    bool force, json;
};

#define ROW_OF(member) .offset = offsetof(struct split_values, member)

static const struct pc_option g_split_options[] = {
    {.name = "in-files",
        .type = PC_OPT_LIST,
        ROW_OF(in_files),
        .arg = "FILE",
        .help = "raw conversations; more files may follow it"},
    {.name = "out-file",
        .type = PC_OPT_STRING,
        ROW_OF(out_file),
        .arg = "FILE",
        .help = "where the pieces go (sharegpt_split.json)"},
    {.name = "begin",
        .type = PC_OPT_INT,
        ROW_OF(begin),
        .arg = "N",
        .min = 0,
        .max = 9007199254740991.0,
        .help = "the first conversation, from 0"},
    {.name = "end",
        .type = PC_OPT_INT,
        ROW_OF(end),
        .arg = "N",
        .min = 0,
        .max = 9007199254740991.0,
        .help = "the one after the last (0: all)"},
    {.name = "model",
        .aliases = "model-name-or-path",
        .short_name = 'm',
        .type = PC_OPT_STRING,
        ROW_OF(model),
        .arg = "MODEL",
        .help = "whose tokens are counted",
        .required = true},
    {.name = "max-length",
        .type = PC_OPT_INT,
        ROW_OF(max_length),
        .arg = "N",
        .min = 1,
        .max = 1 << 30,
        .help = "tokens of a piece at most (2048)"},
    {.name = "force", .type = PC_OPT_FLAG, ROW_OF(force), .help = "replace the file that is there"},
    PC_THREADS_ROW(struct split_values, threads),
    PC_JSON_ROW(struct split_values, json),
    {0},
};
#undef ROW_OF

/* All files: those of --in-files, then those behind them. *owned*. */
static const char **all_files(const struct split_values *v, const struct pc_args *args, size_t *n)
{
    const char **files = pc_alloc(v->in_files.n + args->positional.n, sizeof *files);
    *n = 0;
    for (size_t i = 0; files && i < v->in_files.n; i++)
        files[(*n)++] = v->in_files.v[i];
    for (size_t i = 0; files && i < args->positional.n; i++)
        files[(*n)++] = args->positional.v[i];
    return files;
}

static int split(const struct pc_command *self, const struct split_values *v, const char *const *files,
    size_t n, struct paco_error *err)
{
    struct pc_tokenizer *tok = NULL;
    struct pc_pool *pool = NULL;
    uint64_t total = 0, made = 0;
    char *vocabulary = pc_vocabulary_find(v->model, err);
    int rc = vocabulary ? pc_vocabulary_open(vocabulary, &tok, err) : err->code;
    if (rc == 0 && !(pool = pc_pool_new((int)v->threads, err)))
        rc = err->code;
    if (rc == 0) {
        const struct pc_split_options o = {.files = files,
            .n_files = n,
            .out = v->out_file,
            .begin = (uint64_t)v->begin,
            .end = (uint64_t)v->end,
            .max_length = (uint32_t)v->max_length,
            .tokenizer = tok,
            .force = v->force,
            .pool = pool,
            .progress = pc_progress_bar(self)};
        rc = pc_data_split(&o, &total, &made, err);
        pc_progress_bar_end();
    }
    if (rc == 0 && v->json)
        rc = pc_print_json(json_pack("{s:o, s:I, s:I}", "out", json_string_nocheck(v->out_file), "total",
                               (json_int_t)total, "new", (json_int_t)made),
            err);
    else if (rc == 0)
        printf("total: %" PRIu64 ", new: %" PRIu64 "\n", total, made);
    pc_pool_free(pool);
    pc_tokenizer_free(tok);
    pc_free(vocabulary);
    return rc;
}

static int run_split(const struct pc_command *self, int argc, char **argv)
{
    struct split_values v = {.out_file = "sharegpt_split.json", .max_length = 2048};
    struct paco_error err = {0};
    struct pc_args args;
    size_t n;
    int code = pc_command_parse(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    const char **files = all_files(&v, &args, &n);
    if (!n)
        code = pc_command_misuse(self, "which files? paco data split-sharegpt FILE... -m MODEL");
    else
        code = split(self, &v, files, n, &err) < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
    pc_free(files);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_data_split = {
    .name = "data split-sharegpt",
    .summary = "long ShareGPT conversations, cut into pieces that fit a model",
    .usage = "FILE... -m MODEL [options]",
    .description =
        "Writes what Open-Instruct's split_sharegpt_conversations.py writes: conversations cut where the "
        "next\n"
        "question and answer would not fit, and only those in which human and gpt take turns. The result is\n"
        "sharegpt_html_cleaned_and_split.json for paco data reformat.",
    .examples = "$ paco data split-sharegpt sg_90k_part1.json sg_90k_part2.json -m llama-7b \\\n"
                "    --out-file data/raw_train/sharegpt/sharegpt_html_cleaned_and_split.json",
    .options = g_split_options,
    .run = run_split,
};

/* ---- resample-flan ---- */

struct resample_values {
    const char *dir, *out;
    int64_t n_samples, seed;
    bool force, json;
};

#define ROW_OF(member) .offset = offsetof(struct resample_values, member)

static const struct pc_option g_resample_options[] = {
    {.name = "flan_v2_data_dir",
        .type = PC_OPT_STRING,
        ROW_OF(dir),
        .arg = "DIR",
        .help = "the fourteen parts, PART.jsonl each (data/flan_v2)"},
    {.name = "total_num_samples",
        .type = PC_OPT_INT,
        ROW_OF(n_samples),
        .arg = "N",
        .min = 1,
        .max = 4294967295.0,
        .help = "lines to draw from all (100000)"},
    {.name = "output_path",
        .type = PC_OPT_STRING,
        ROW_OF(out),
        .arg = "FILE",
        .help = "where they go (data/flan_v2/flan_v2_100k.jsonl)"},
    {.name = "seed",
        .type = PC_OPT_INT,
        ROW_OF(seed),
        .arg = "N",
        .min = 0,
        .max = 9007199254740991.0,
        .help = "of Python's random numbers (42)"},
    {.name = "force", .type = PC_OPT_FLAG, ROW_OF(force), .help = "replace the file that is there"},
    PC_JSON_ROW(struct resample_values, json),
    {0},
};
#undef ROW_OF

static int run_resample(const struct pc_command *self, int argc, char **argv)
{
    struct resample_values v = {
        .dir = "data/flan_v2", .out = "data/flan_v2/flan_v2_100k.jsonl", .n_samples = 100000, .seed = 42};
    struct paco_error err = {0};
    struct pc_args args;
    uint64_t n;
    int code = pc_command_parse_options(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    const struct pc_resample_options o = {.dir = v.dir,
        .out = v.out,
        .n_samples = (uint64_t)v.n_samples,
        .seed = (uint64_t)v.seed,
        .force = v.force,
        .progress = pc_progress_bar(self)};
    int rc = pc_data_resample(&o, &n, &err);
    pc_progress_bar_end();
    if (rc == 0 && v.json) {
        rc = pc_print_json(
            json_pack("{s:o, s:I}", "out", json_string_nocheck(v.out), "lines", (json_int_t)n), &err);
    } else if (rc == 0) {
        pc_print_text(v.out, 0);
        printf(": %" PRIu64 " lines\n", n);
    }
    pc_args_release(&args);
    return rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
}

const struct pc_command pc_cmd_data_resample = {
    .name = "data resample-flan",
    .summary = "a sample of FLAN v2 in the paper's proportions",
    .usage = "--flan_v2_data_dir DIR --output_path FILE [options]",
    .description =
        "Writes what Open-Instruct's resample_flan_v2.py writes: lines of DIR/flan_zsopt.jsonl and thirteen "
        "other\n"
        "parts, drawn in fixed proportions, each part's in the order of its file. The result, called\n"
        "flan_v2_resampled_100k.jsonl, is what paco data reformat takes.",
    .examples = "$ paco data resample-flan --flan_v2_data_dir flan_v2 \\\n"
                "    --output_path data/raw_train/flan_v2/flan_v2_resampled_100k.jsonl",
    .options = g_resample_options,
    .run = run_resample,
};
