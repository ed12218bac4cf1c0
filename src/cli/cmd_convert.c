// SPDX-License-Identifier: Apache-2.0
/* paco convert: the same model in other files. */
#include "cli/command.h"
#include "cli/job_args.h"
#include "cli/vocab_files.h"

#include "paco/weights.h"

#include <string.h>

struct values {
    struct pc_job_args job;
    const char *source;
    int64_t shards;
};

static struct values g_values;

static const struct pc_option g_options[] = {
    {.name = "model",
        .short_name = 'm',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, source),
        .arg = "MODEL",
        .help = "what to convert; may also stand without -m"},
    {.name = "out",
        .short_name = 'o',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, job.out),
        .arg = "PATH",
        .help = "where it goes: a directory, or a GGUF file",
        .required = true},
    {.name = "to",
        .type = PC_OPT_CHOICE,
        .offset = offsetof(struct values, job.format),
        .choices = "hf|hf-bin|gguf|meta",
        .help = "a Hugging Face folder with safetensors (hf, the default) or pytorch_model.bin (hf-bin), one "
                "GGUF "
                "file (gguf, the default when --out ends in .gguf), or a folder of Meta's (meta: "
                "consolidated.NN.pth and params.json)"},
    {.name = "shards",
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, shards),
        .arg = "N",
        .min = 1,
        .max = 8,
        .help = "for --to meta: how many files, one for each machine that will run it (default: 1)"},
    {.name = "type",
        .aliases = "dtype",
        .type = PC_OPT_CHOICE,
        .offset = offsetof(struct values, job.dtype),
        .choices = PC_JOB_GGUF_TYPES,
        .arg = "TYPE",
        .help = "element type: keep (the source's own, block types as f32 but in a GGUF file: nothing is "
                "lost; the "
                "default), f32, f16, bf16, auto (the narrowest that loses nothing; reads "
                "twice); " PC_JOB_BLOCK_TYPES_HELP},
    {.name = "max-shard",
        .type = PC_OPT_SIZE,
        .offset = offsetof(struct values, job.max_shard),
        .arg = "SIZE",
        .help = "tensor bytes per file at most, as 10GB or 4GiB (default: 10GB)"},
    {.name = "dry-run",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, job.dry_run),
        .help = "check everything and say what would be written, without writing"},
    {.name = "force",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, job.force),
        .help = "replace the output if it exists, once the new one is complete"},
    {.name = "no-repair",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, job.no_repair),
        .help = "copy configuration and tokenizer files as they are, faults and all"},
    PC_THREADS_ROW(struct values, job.threads),
    PC_JSON_ROW(struct values, job.json),
    {0},
};

static int convert(
    const struct pc_command *self, struct values *v, struct paco_job_result *result, struct paco_error *err)
{
    struct pc_vocab_output vocab = {.n_files = 0};
    struct paco_convert_options o = paco_convert_options_default();
    v->job.dtype = v->job.dtype ? v->job.dtype : "keep";
    bool gguf = pc_job_is_gguf(&v->job);
    o.job = pc_job_options(self, &v->job);
    o.source = v->source;
    o.n_shards = (int)v->shards;
    if (o.job.container == PACO_CONTAINER_META)
        return paco_convert(&o, result, err);
    int rc = gguf ? pc_vocab_output_gguf(self, v->source, NULL, 0, &vocab, err)
                  : pc_vocab_output_make(v->source, &vocab, err);
    o.job.vocabulary = vocab.gguf.data;
    o.job.vocabulary_size = vocab.gguf.len;
    o.files = vocab.files;
    o.n_files = vocab.n_files;
    if (rc == 0)
        rc = paco_convert(&o, result, err);
    pc_vocab_output_release(&vocab);
    return rc;
}

static int check(const struct pc_command *self, struct values *v, size_t n_positional)
{
    if (n_positional > 1 || !v->source)
        return pc_command_misuse(self, "give one model to convert");
    if (v->shards && (!v->job.format || strcmp(v->job.format, "meta") != 0))
        return pc_command_misuse(self, "--shards is for --to meta; other files are cut by --max-shard");
    return pc_job_settle_format(self, &v->job);
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values *v = &g_values;
    struct pc_args args;
    struct paco_error err = {0};
    struct paco_job_result result = {.n_tensors = 0};
    int code = pc_command_parse(self, argc, argv, v, &args);
    if (code >= 0)
        return code;
    if (args.positional.n == 1)
        v->source = args.positional.v[0];
    code = check(self, v, args.positional.n);
    if (code < 0) {
        int rc = convert(self, v, &result, &err);
        pc_progress_bar_end();
        if (rc == 0)
            rc = pc_job_print(self, &v->job, &result, false, &err);
        code = rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
        paco_job_result_release(&result);
    }
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_convert = {
    .name = "convert",
    .summary = "the same model in other files: Hugging Face, GGUF, Meta's; quantises",
    .usage = "MODEL --out PATH [--to hf|hf-bin|gguf|meta] [--type TYPE] [options]",
    .description =
        "Writes a Hugging Face folder or a GGUF file from another one, from a lone .safetensors or .bin "
        "file,\n"
        "or from Meta's folder (consolidated.00.pth ..., params.json, tokenizer.model). On the way to "
        "Hugging\n"
        "Face a GGUF's block types are expanded, exactly, to F32; its configuration, tokenizer and chat\n"
        "template become the files Transformers reads, and so do Meta's. On the way to GGUF matrices may be\n"
        "quantised (--type q4_0 and so on); llama.cpp reads the result. Meta's files are cut for as many\n"
        "machines as --shards says, if heads and widths can be dealt to them equally; they hold no more "
        "than\n"
        "params.json has words for, and tokenizer.model if the source has one. Like every job it streams,\n"
        "goes on after an interruption, and its output appears when it is complete.\n"
        "\n"
        "Types are mixed as llama.cpp mixes them: norms stay F32; the head, or the embedding where it is\n"
        "tied, is q6_k but for q8_0; q4_k and q5_k (its Q4_K_M and Q5_K_M) have some value and down\n"
        "projections in q6_k; where rows are no multiple of 256, q5_0, q5_1 and q8_0 stand for q4_k, q5_k\n"
        "and q6_k.",
    .examples = "$ paco convert model.gguf --out model --to hf --type f32\n"
                "$ paco convert LLaMA/7B --out llama-7b\n"
                "$ paco convert llama-13b --out LLaMA/13B --to meta --shards 2\n"
                "$ paco convert old-model --out new-model --to hf --type auto\n"
                "$ paco convert alpaca-7b --out alpaca-7b.q4_k.gguf --type q4_k",
    .options = g_options,
    .run = run,
};
