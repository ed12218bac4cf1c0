// SPDX-License-Identifier: Apache-2.0
/* paco merge: base + LoRA adapter = tuned model. */
#include "base/file.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/job_args.h"
#include "cli/vocab_files.h"
#include "prompt/vocabulary.h"

#include "paco/weights.h"

#include <string.h>

struct values {
    struct pc_job_args job;
    const char *base, *adapter, *pad_row;
};

static struct values g_values;

static const struct pc_option g_options[] = {
    {.name = "model",
        .aliases = "base_model_name_or_path",
        .short_name = 'm',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, base),
        .arg = "MODEL",
        .help = "the base (else the adapter's)"},
    {.name = "adapter",
        .aliases = "lora_model_name_or_path",
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, adapter),
        .arg = "DIR",
        .help = "a PEFT folder: adapter_config.json and adapter_model.safetensors or .bin",
        .required = true},
    PC_JOB_ROWS(struct values, job, "output_dir", "where the tuned model goes", PC_JOB_GGUF_TYPES,
        "element type: f32 as the published script writes (default), f16, bf16, keep (the base's own), auto "
        "(the narrowest that loses nothing; reads twice), or for GGUF a block type",
        PC_JOB_GGUF_FORMATS, PC_JOB_GGUF_FORMAT_HELP),
    {.name = "pad-row",
        .type = PC_OPT_CHOICE,
        .offset = offsetof(struct values, pad_row),
        .choices = "mean|zero",
        .help = "rows for tokens that the adapter's tokenizer has and the embedding has not"},
    {0},
};

static bool beside(const char *dir, const char *name)
{
    char *path = pc_path_join(dir, name);
    bool found = path && pc_path_exists(path);
    pc_free(path);
    return found;
}

/* Tokens of the tokenizer in the adapter's folder; 0 when it has none. */
static int count_tokens(const struct pc_command *self, const char *dir, uint64_t *n, struct paco_error *err)
{
    struct pc_tokenizer *tok = NULL;
    *n = 0;
    if (!beside(dir, "tokenizer.json") && !beside(dir, "tokenizer.model"))
        return 0;
    int rc = pc_vocabulary_open(dir, &tok, err);
    if (rc == PACO_EUNSUPPORTED) {
        pc_command_note(self, "the adapter's tokenizer is copied unread: %s", err->message);
        *err = (struct paco_error){0};
        return 0;
    }
    if (rc == 0)
        *n = (uint64_t)pc_tokenizer_n_tokens(tok);
    pc_tokenizer_free(tok);
    return rc;
}

static int merge(const struct pc_command *self, const struct values *v, struct paco_job_result *result,
    struct paco_error *err)
{
    struct pc_vocab_output vocab = {.n_files = 0};
    struct paco_merge_options o = paco_merge_options_default();
    o.job = pc_job_options(self, &v->job);
    o.base = v->base;
    o.adapter = v->adapter;
    if (v->pad_row)
        o.pad_row = strcmp(v->pad_row, "zero") == 0 ? PACO_PAD_ROW_ZERO : PACO_PAD_ROW_MEAN;
    int rc = count_tokens(self, v->adapter, &o.n_tokens, err);
    bool gguf = pc_job_is_gguf(&v->job);
    if (rc == 0 && gguf)
        rc = pc_vocab_output_gguf(self, v->base, o.n_tokens ? v->adapter : NULL, o.n_tokens, &vocab, err);
    else if (rc == 0 && v->base && o.n_tokens == 0)
        rc = pc_vocab_output_make(v->base, &vocab, err);
    o.job.vocabulary = vocab.gguf.data;
    o.job.vocabulary_size = vocab.gguf.len;
    o.files = vocab.files;
    o.n_files = vocab.n_files;
    if (rc == 0)
        rc = paco_merge(&o, result, err);
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
    if (code < 0 && pc_job_is_gguf(&v->job) && !v->base)
        code = pc_command_misuse(self, "for a GGUF file the base has to be named: -m MODEL");
    if (code >= 0) {
        pc_args_release(&args);
        return code;
    }
    int rc = merge(self, v, &result, &err);
    pc_progress_bar_end();
    if (rc == 0)
        rc = pc_job_print(self, &v->job, &result, false, &err);
    code = rc < 0 ? pc_command_fail(self, &err) : PC_EXIT_OK;
    paco_job_result_release(&result);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_merge = {
    .name = "merge",
    .summary = "base + LoRA adapter = tuned model",
    .usage = "-m MODEL --adapter DIR --out DIR [options]",
    .description =
        "Folds a PEFT LoRA adapter into its base: W + (B A) * alpha / r, in F32, the product first. Rank "
        "and\n"
        "alpha patterns, rank-stabilised scaling, embeddings, biases and modules saved whole are "
        "understood;\n"
        "DoRA and other kinds of adapters are refused by name. An adapter tensor that finds no place in the\n"
        "base is an error.\n"
        "\n"
        "Configuration, licence and model card come from the base, the tokenizer from the adapter's folder\n"
        "if it has one, else its chat_template.jinja alone. When that tokenizer knows more tokens than the\n"
        "embedding has rows, the published script adds random rows; here --pad-row says what they shall be.",
    .examples = "$ paco merge -m llama-7b --adapter my-lora --out tuned\n"
                "$ paco merge --lora_model_name_or_path my-lora --output_dir tuned --dtype keep",
    .options = g_options,
    .run = run,
};
