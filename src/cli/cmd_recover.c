// SPDX-License-Identifier: Apache-2.0
/* paco recover: base + diff = tuned model. */
#include "cli/command.h"
#include "cli/job_args.h"
#include "cli/vocab_files.h"

#include "paco/weights.h"

#include <string.h>

struct values {
    struct pc_job_args job;
    const char *raw, *diff, *recipe, *pad_row;
    bool check;
};

static struct values g_values;

static const struct pc_option g_options[] = {
    {.name = "raw",
        .aliases = "path_raw|base-model-path",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, raw),
        .arg = "MODEL",
        .help = "the base: the very weights the diff was made against, as converted for Hugging Face",
        .required = true},
    {.name = "diff",
        .aliases = "path_diff|delta-path",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, diff),
        .arg = "MODEL",
        .help = "the weight diff",
        .required = true},
    PC_JOB_ROWS(struct values, job, "path_tuned|target-model-path", "where the tuned model goes",
        PC_JOB_GGUF_TYPES,
        "element type: f32 as the published scripts write (default), f16, bf16, keep (the diff's own), auto "
        "(the narrowest that loses nothing; reads twice); " PC_JOB_BLOCK_TYPES_HELP,
        PC_JOB_GGUF_FORMATS, PC_JOB_GGUF_FORMAT_HELP),
    {.name = "recipe",
        .type = PC_OPT_CHOICE,
        .offset = offsetof(struct values, recipe),
        .choices = "auto|open-instruct|alpaca",
        .help = "how the diff was made: decides which rows are exact (default: what its tokenizer and card "
                "tell)"},
    {.name = "pad-row",
        .type = PC_OPT_CHOICE,
        .offset = offsetof(struct values, pad_row),
        .choices = "mean|zero|diff",
        .help = "rows that the base lacks: the mean of its rows plus the diff (default), zeros, or the diff "
                "alone"},
    {.name = "check_integrity_naively",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, check),
        .help = "print Stanford's checksum of the result (paco verify does, too)"},
    {.name = "device", .type = PC_OPT_IGNORED, .help = "--device is ignored: there is only the processor"},
    {.name = "test_inference",
        .type = PC_OPT_IGNORED,
        .help = "--test_inference is ignored: ask the model with paco generate"},
    {.name = "original_model",
        .type = PC_OPT_IGNORED,
        .help = "--original_model is ignored: compare two models with paco verify"},
    {0},
};

static enum paco_recipe recipe_of(const char *name)
{
    if (name && strcmp(name, "open-instruct") == 0)
        return PACO_RECIPE_OPEN_INSTRUCT;
    return name && strcmp(name, "alpaca") == 0 ? PACO_RECIPE_ALPACA : PACO_RECIPE_AUTO;
}

static enum paco_pad_row pad_row_of(const char *name)
{
    if (!name)
        return PACO_PAD_ROW_DEFAULT;
    return strcmp(name, "zero") == 0   ? PACO_PAD_ROW_ZERO
           : strcmp(name, "diff") == 0 ? PACO_PAD_ROW_DIFF
                                       : PACO_PAD_ROW_MEAN;
}

static int recover(const struct pc_command *self, const struct values *v, struct paco_job_result *result,
    struct paco_error *err)
{
    struct pc_vocab_output vocab = {.n_files = 0};
    struct paco_recover_options o = paco_recover_options_default();
    o.job = pc_job_options(self, &v->job);
    o.raw = v->raw;
    o.diff = v->diff;
    o.recipe = recipe_of(v->recipe);
    o.pad_row = pad_row_of(v->pad_row);
    int rc = pc_job_is_gguf(&v->job) ? pc_vocab_output_gguf(self, v->diff, NULL, 0, &vocab, err) : 0;
    o.job.vocabulary = vocab.gguf.data;
    o.job.vocabulary_size = vocab.gguf.len;
    if (rc == 0)
        rc = paco_recover(&o, result, err);
    pc_vocab_output_release(&vocab);
    return rc;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values *v = &g_values;
    struct pc_args args;
    struct paco_error err = {0};
    struct paco_job_result result = {.n_tensors = 0};
    int code = pc_command_parse_options(self, argc, argv, v, &args);
    if (code >= 0)
        return code;
    code = pc_job_settle_format(self, &v->job);
    if (code >= 0) {
        pc_args_release(&args);
        return code;
    }
    int rc = recover(self, v, &result, &err);
    if (rc == 0 && v->check && !v->job.dry_run)
        rc = pc_job_checksum(self, v->job.out, (int)v->job.threads, &err);
    pc_progress_bar_end();
    if (rc == 0)
        rc = pc_job_print(self, &v->job, &result, true, &err);
    code = rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
    paco_job_result_release(&result);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_recover = {
    .name = "recover",
    .summary = "base + diff = tuned model",
    .usage = "--raw MODEL --diff MODEL --out DIR [options]",
    .description =
        "Recovers a fine-tune that was published as a weight diff: each number of the diff is added to the\n"
        "base's in F32, bit for bit as weight_diff.py of Open-Instruct and Stanford Alpaca does. Tokenizer,\n"
        "configuration, licence and model card come from the diff.\n"
        "\n"
        "That is the model its authors recover, and not to the last bit the one they trained: a diff holds\n"
        "tuned - base rounded to F32, and the sum is rounded again. Of a model tuned in F32 some 1.5 % of\n"
        "the numbers end one step off, of one in F16 or BF16 next to none.\n"
        "\n"
        "A model is a directory (safetensors or .bin, sharded or not), a file, or a name in the Hugging\n"
        "Face cache. Memory stays below 64 MiB whatever the model. An interrupted run goes on with the same\n"
        "command; the output appears under its name when it is complete.\n"
        "\n"
        "Where the diff has one row more than the base, for the pad token, the published script takes the\n"
        "mean of the base's rows. Open-Instruct's diffs were made with random rows instead: there that row\n"
        "is undefined, and said to be. It stands for padding only.",
    .examples = "$ paco recover --raw llama-7b --diff open-instruct-stanford-alpaca-7b-diff --out tuned\n"
                "$ paco recover --raw llama-7b --diff alpaca-7b-wdiff --out alpaca-7b --dtype auto\n"
                "$ paco recover --raw llama-7b --diff alpaca-7b-wdiff --out alpaca-7b.gguf --type q8_0\n"
                "$ paco recover --path_raw llama-7b --path_diff diff --path_tuned tuned --dry-run",
    .options = g_options,
    .run = run,
};
