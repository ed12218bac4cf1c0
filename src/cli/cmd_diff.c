// SPDX-License-Identifier: Apache-2.0
/* paco diff: tuned model - base = diff. */
#include "base/file.h"
#include "cli/command.h"
#include "cli/job_args.h"
#include "cli/perplexity_asked.h"

#include "paco/weights.h"

#include <stdlib.h>
#include <string.h>

enum { WINDOW = 512 }; /* tokens that are read together to measure */

struct values {
    struct pc_job_args job;
    const char *raw, *tuned, *compress, *text;
};

static struct values g_values;

static const struct pc_option g_options[] = {
    {.name = "raw",
        .aliases = "path_raw|base-model-path",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, raw),
        .arg = "MODEL",
        .help = "the base",
        .required = true},
    {.name = "tuned",
        .aliases = "path_tuned|target-model-path",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, tuned),
        .arg = "MODEL",
        .help = "the fine-tuned model",
        .required = true},
    PC_JOB_ROWS(struct values, job, "path_diff|delta-path", "where the diff goes", PC_JOB_TYPES,
        "element type: f32 (default); anything narrower loses what makes a diff exact", PC_JOB_FORMATS,
        "files to write (default: safetensors)"),
    {.name = "compress",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, compress),
        .arg = "HOW",
        .help = "near the diff, but small: bitdelta, int4, or lora:RANK for a PEFT adapter"},
    {.name = "text",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, text),
        .arg = "FILE",
        .help = "with --compress: say on this text how far the result is from the tuned model"},
    {.name = "device", .type = PC_OPT_IGNORED, .help = "--device is ignored: there is only the processor"},
    {0},
};

/* "lora:16" as a rank; 0 when it is not that. */
static uint32_t rank_of(const char *text)
{
    char *end;
    if (strncmp(text, "lora:", 5) != 0 || text[5] < '1' || text[5] > '9')
        return 0;
    long rank = strtol(text + 5, &end, 10);
    return *end || rank > 1024 ? 0 : (uint32_t)rank;
}

static bool read_compress(const char *text, struct paco_diff_options *o)
{
    o->packing = strcmp(text, "bitdelta") == 0 ? PACO_PACKING_BITDELTA
                 : strcmp(text, "int4") == 0   ? PACO_PACKING_INT4
                                               : PACO_PACKING_NONE;
    o->lora_rank = rank_of(text);
    return o->packing != PACO_PACKING_NONE || o->lora_rank;
}

/* What was lost, on the user's text: every token counts once. */
static int measure(
    const struct pc_command *self, const struct values *v, bool adapter, struct paco_error *err)
{
    struct pc_perplexity_asked asked = {.model = {.model = v->raw, .threads = v->job.threads},
        .reference = {.model = v->tuned},
        .file = v->text,
        .bos = "auto",
        .context = WINDOW,
        .stride = WINDOW,
        .json = v->job.json};
    *(adapter ? &asked.model.adapter : &asked.model.diff) = v->job.out;
    return pc_perplexity_answer(self, &asked, err);
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values *v = &g_values;
    struct pc_args args;
    struct paco_error err = {0};
    struct paco_job_result result;
    int code = pc_command_parse_options(self, argc, argv, v, &args);
    if (code >= 0)
        return code;
    struct paco_diff_options o = paco_diff_options_default();
    o.job = pc_job_options(self, &v->job);
    o.raw = v->raw;
    o.tuned = v->tuned;
    if (v->compress && !read_compress(v->compress, &o)) {
        pc_args_release(&args);
        return pc_command_misuse(self,
            "--compress %s: bitdelta, int4 or lora:RANK is expected, with a rank of 1 to 1024", v->compress);
    }
    if (v->text && !v->compress) {
        pc_args_release(&args);
        return pc_command_misuse(self, "--text goes with --compress: a diff loses nothing to measure");
    }
    int rc = v->text && !pc_path_exists(v->text)
                 ? pc_error_set(&err, PACO_ENOENT, "%s: no such text", v->text)
                 : 0;
    result = (struct paco_job_result){0};
    if (rc == 0)
        rc = paco_diff(&o, &result, &err);
    pc_progress_bar_end();
    if (rc == 0)
        rc = pc_job_print(self, &v->job, &result, false, &err);
    if (rc == 0 && v->text && !v->job.dry_run)
        rc = measure(self, v, o.lora_rank > 0, &err);
    else if (rc == 0 && v->compress && !v->job.dry_run)
        pc_command_note(self, "what the compression loses was not measured: --text FILE does");
    code = rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
    paco_job_result_release(&result);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_diff = {
    .name = "diff",
    .alias = "make_diff",
    .summary = "tuned model - base = diff",
    .usage = "--raw MODEL --tuned MODEL --out DIR [options]",
    .description =
        "Makes the weight diff that paco recover, or weight_diff.py, turns back into the tuned model: each\n"
        "number of the tuned model minus the base's, in F32. Where the tuned model has rows that the base\n"
        "lacks, the mean of the base's rows is subtracted, so that recovering gives them back.\n"
        "\n"
        "F32 rounds: (tuned - base) + base need not be tuned to the last bit. A model tuned in F32 comes\n"
        "back with some 1.5 % of its numbers one step off, in F16 or BF16 with next to none; the published\n"
        "scripts and PyTorch give the same bits. paco verify --against shows where.\n"
        "\n"
        "--compress writes something smaller that is near the diff; what is no matrix in a layer stays "
        "exact.\n"
        "bitdelta: a sign for each element, a scale for each row; int4: four bits, a scale for 32 elements: "
        "both\n"
        "are diffs, for --diff and paco recover. lora:RANK: an adapter, the best of that rank, for paco "
        "merge,\n"
        "paco serve --adapter and PEFT. --text FILE then says what was lost: perplexity on it,\n"
        "and the divergence from the tuned model.\n"
        "\n"
        "Files beside the weights come from the tuned model: see that its licence is among them.",
    .examples = "$ paco diff --raw llama-7b --tuned my-model --out my-diff\n"
                "$ paco make_diff --path_raw llama-7b --path_tuned my-model --path_diff my-diff\n"
                "$ paco diff --raw llama-7b --tuned my-model --out my-adapter --compress lora:16",
    .options = g_options,
    .run = run,
};
