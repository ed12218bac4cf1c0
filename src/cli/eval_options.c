// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_options.h"

#include "base/memory.h"
#include "eval/tasks.h"

#include <string.h>

#define AT(MEMBER) offsetof(struct pc_eval_values, MEMBER)
#define COUNT_MAX 9007199254740992.0

// One row per line would be shorter, and harder to read.
const struct pc_option pc_eval_rows[] = {
    {.name = "model",
        .aliases = "model_name_or_path",
        .short_name = 'm',
        .type = PC_OPT_STRING,
        .offset = AT(model.model),
        .arg = "MODEL",
        .help = "model folder, .gguf file, or a name in the Hugging Face cache; with --api, its name there"},
    {.name = "diff",
        .type = PC_OPT_STRING,
        .offset = AT(model.diff),
        .arg = "DIR",
        .help = "a weight diff: MODEL is its base, and their sum is run"},
    PC_ADAPTER_ROW(struct pc_eval_values, model),
    {.name = "data",
        .aliases = "data_dir|data_file",
        .type = PC_OPT_STRING,
        .offset = AT(data),
        .arg = "DIR",
        .help = "the benchmarks' data, or a text"},
    {.name = "out",
        .aliases = "save_dir|save_folder",
        .short_name = 'o',
        .type = PC_OPT_STRING,
        .offset = AT(out),
        .arg = "DIR",
        .help = "results go to DIR/TASK"},
    {.name = "list", .type = PC_OPT_FLAG, .offset = AT(list), .help = "list the tasks, and end"},
    {.name = "report",
        .type = PC_OPT_FLAG,
        .offset = AT(report),
        .help = "one page (--out FILE.html) about the results in the folders that are named, and end"},
    {.name = "compare",
        .type = PC_OPT_FLAG,
        .offset = AT(compare),
        .help = "the results in two folders against each other, and end"},
    {.name = "tasks",
        .type = PC_OPT_LIST,
        .offset = AT(tasks),
        .arg = "A,B",
        .help = "tasks, as if they were named without an option"},
    {.name = "limit",
        .type = PC_OPT_INT,
        .offset = AT(flags.limit),
        .arg = "N",
        .min = 1,
        .max = COUNT_MAX,
        .help = "only the first N questions, after sampling, of each subject, BBH task or language; windows "
                "of a text"},
    {.name = "ntrain",
        .type = PC_OPT_INT,
        .offset = AT(flags.ntrain),
        .arg = "K",
        .min = 0,
        .max = 1000,
        .help = "MMLU: demonstrations"},
    {.name = "n_shot",
        .type = PC_OPT_INT,
        .offset = AT(flags.n_shot),
        .arg = "K",
        .min = 0,
        .max = 1000,
        .help = "GSM, TyDi QA: demonstrations"},
    {.name = "no_cot",
        .type = PC_OPT_FLAG,
        .offset = AT(no_cot),
        .help = "GSM, BBH: demonstrations without reasoning"},
    {.name = "no_context",
        .type = PC_OPT_FLAG,
        .offset = AT(no_context),
        .help = "TyDi QA: questions without their passages"},
    {.name = "use_chat_format",
        .type = PC_OPT_FLAG,
        .offset = AT(use_chat_format),
        .help = "wrap prompts in the card's format, whatever the model was tuned on"},
    {.name = "no_chat_format",
        .type = PC_OPT_FLAG,
        .offset = AT(no_chat_format),
        .help = "plain prompts, whatever the model was tuned on"},
    {.name = "subjects",
        .type = PC_OPT_LIST,
        .offset = AT(flags.subjects),
        .arg = "NAME...",
        .help = "MMLU: only these subjects"},
    {.name = "n_instances",
        .type = PC_OPT_INT,
        .offset = AT(flags.n_instances),
        .arg = "N",
        .min = 1,
        .max = COUNT_MAX,
        .help = "MMLU: questions drawn of each subject"},
    {.name = "max_num_examples",
        .type = PC_OPT_INT,
        .offset = AT(flags.max_num_examples),
        .arg = "N",
        .min = -1,
        .max = COUNT_MAX,
        .help = "GSM, codex: questions drawn (-1: all)"},
    {.name = "max_num_examples_per_task",
        .type = PC_OPT_INT,
        .offset = AT(flags.max_num_examples_per_task),
        .arg = "N",
        .min = -1,
        .max = COUNT_MAX,
        .help = "BBH: questions drawn of each task (-1: all)"},
    {.name = "max_num_examples_per_lang",
        .type = PC_OPT_INT,
        .offset = AT(flags.max_num_examples_per_lang),
        .arg = "N",
        .min = -1,
        .max = COUNT_MAX,
        .help = "TyDi QA: questions drawn of each language (-1: all)"},
    {.name = "max_context_length",
        .aliases = "context",
        .short_name = 'c',
        .type = PC_OPT_INT,
        .offset = AT(flags.max_context_length),
        .arg = "N",
        .min = -1,
        .max = 1 << 24,
        .help = "TyDi QA: tokens of a passage (512; -1: all); perplexity: of a window (512)"},
    {.name = "unbiased_sampling_size_n",
        .type = PC_OPT_INT,
        .offset = AT(flags.unbiased_sampling_size_n),
        .arg = "N",
        .min = 1,
        .max = 10000,
        .help = "codex: answers drawn for each problem (20)"},
    {.name = "eval_pass_at_ks",
        .type = PC_OPT_LIST,
        .offset = AT(flags.eval_pass_at_ks),
        .arg = "K...",
        .help = "codex: the k of pass@k (1 5 10 20)"},
    {.name = "temperature",
        .aliases = "temp",
        .type = PC_OPT_FLOAT,
        .offset = AT(flags.temperature),
        .arg = "T",
        .min = 0,
        .max = 1e6,
        .help = "codex: sample at T; 0 takes the best token"},
    {.name = "seed",
        .type = PC_OPT_INT,
        .offset = AT(flags.seed),
        .arg = "N",
        .min = 0,
        .max = COUNT_MAX,
        .help = "of sampled answers (42)"},
    {.name = "bos",
        .type = PC_OPT_CHOICE,
        .offset = AT(bos),
        .choices = "auto|always|never",
        .help = "begin prompts with BOS; auto: where upstream does"},
    {.name = "fix",
        .type = PC_OPT_LIST,
        .offset = AT(fixes),
        .arg = "NAME",
        .help = "undo one of upstream's quirks; may be given several times"},
    {.name = "batch",
        .aliases = "eval_batch_size|batch_size",
        .short_name = 'b',
        .type = PC_OPT_INT,
        .offset = AT(batch),
        .arg = "N",
        .min = 1,
        .max = 4096,
        .help = "most questions at once"},
    PC_RUN_ROWS(struct pc_eval_values, model),
    {.name = "api",
        .type = PC_OPT_STRING,
        .offset = AT(api),
        .arg = "URL",
        .help = "ask the model called MODEL behind this OpenAI-compatible endpoint"},
    {.name = "api-key-env",
        .type = PC_OPT_STRING,
        .offset = AT(api_key_env),
        .arg = "NAME",
        .help = "the environment variable that holds the endpoint's key"},
    {.name = "api-chat",
        .type = PC_OPT_FLAG,
        .offset = AT(api_chat),
        .help =
            "send prompts there as a user's messages, though it has completions: the endpoint's own format"},
    {.name = "annotations",
        .type = PC_OPT_STRING,
        .offset = AT(annotations),
        .arg = "FILE",
        .help = "AlpacaFarm: recorded preferences; without a model, their win rate is all that is done"},
    {.name = "judge",
        .type = PC_OPT_STRING,
        .offset = AT(judge),
        .arg = "MODEL",
        .help = "AlpacaFarm: this model on this machine compares the answers, both orders"},
    {.name = "judge-api",
        .type = PC_OPT_STRING,
        .offset = AT(judge_api),
        .arg = "URL",
        .help = "AlpacaFarm: the model called JUDGE-MODEL there compares them, as upstream asks GPT-4"},
    {.name = "judge-model",
        .type = PC_OPT_STRING,
        .offset = AT(judge_model),
        .arg = "NAME",
        .help = "its name there"},
    {.name = "judge-key-env",
        .type = PC_OPT_STRING,
        .offset = AT(judge_key_env),
        .arg = "NAME",
        .help = "the environment variable that holds its key"},
    {.name = "outputs",
        .type = PC_OPT_STRING,
        .offset = AT(outputs),
        .arg = "FILE",
        .help = "the answers to be judged, if not those of this run"},
    {.name = "unsafe-exec",
        .type = PC_OPT_FLAG,
        .offset = AT(flags.unsafe_exec),
        .help = "codex: run the model's programs even where there is no sandbox"},
    {.name = "judges",
        .type = PC_OPT_INT,
        .offset = AT(judges),
        .arg = "N",
        .min = 1,
        .max = 64,
        .help = "threads that judge answers, and so programs run at once (a processor each)"},
    {.name = "force",
        .type = PC_OPT_FLAG,
        .offset = AT(force),
        .help = "replace results of something else in --out"},
    {.name = "json",
        .type = PC_OPT_FLAG,
        .offset = AT(json),
        .help = "print each task's results as a line of JSON, and the card's"},
    {.name = "load_in_8bit",
        .type = PC_OPT_FLAG,
        .offset = AT(model.load_in_8bit),
        .help = "LLM.int8() products, as the card's numbers were measured"},
    {.name = "gptq", .type = PC_OPT_FLAG, .offset = AT(gptq), .help = "not here: --type q4_k is near it"},
    {.name = "openai_engine",
        .type = PC_OPT_STRING,
        .offset = AT(openai_engine),
        .arg = "NAME",
        .help = "not here: --api URL --model NAME asks any endpoint"},
    {.name = "tokenizer",
        .aliases = "tokenizer_name_or_path",
        .type = PC_OPT_STRING,
        .offset = AT(tokenizer),
        .arg = "MODEL",
        .help =
            "with --api: the tokenizer of the model there, so that texts are cut by its tokens (a folder, "
            "tokenizer.model, tokenizer.json or .gguf file)"},
    {0},
};

struct pc_eval_values pc_eval_values_default(void)
{
    return (struct pc_eval_values){.bos = "auto", .flags = pc_task_flags_default()};
}

/* ---- lists of words ---- */

/* arg is "--NAME" or a beginning of it, with - and _ alike. */
static bool is_named(const char *arg, const char *name)
{
    enum { LEAST = 4 };
    if (arg[0] != '-' || arg[1] != '-' || strlen(arg + 2) < LEAST || strlen(arg + 2) > strlen(name))
        return false;
    for (size_t i = 0; arg[i + 2]; i++)
        if (arg[i + 2] != name[i] && !(arg[i + 2] == '-' && name[i] == '_'))
            return false;
    return true;
}

static bool takes_words(const char *arg)
{
    static const char *const names[] = {"subjects", "eval_pass_at_ks"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_named(arg, names[i]))
            return true;
    return false;
}

static bool ends_words(const char *arg)
{
    return arg[0] == '-' || strcmp(arg, "card") == 0 || pc_task_find(arg, NULL);
}

char **pc_eval_expand(int argc, char **argv, int *n)
{
    char **out = pc_alloc(2 * (size_t)argc + 1, sizeof *out);
    *n = 0;
    for (int i = 0; out && i < argc; i++) {
        out[(*n)++] = argv[i];
        if (!takes_words(argv[i]))
            continue;
        char *name = argv[i];
        for (bool first = true; i + 1 < argc && (first || !ends_words(argv[i + 1])); first = false) {
            if (!first)
                out[(*n)++] = name;
            out[(*n)++] = argv[++i];
        }
    }
    return out;
}

/* ---- after parsing ---- */

int pc_eval_settle(struct pc_eval_values *v, struct paco_error *err)
{
    int rc = 0;
    if (v->use_chat_format && v->no_chat_format)
        return pc_error_set(err, PACO_EINVAL, "--use_chat_format and --no_chat_format contradict each other");
    if (v->use_chat_format || v->no_chat_format)
        v->flags.use_chat_format = v->use_chat_format;
    if (v->no_cot)
        v->flags.no_cot = 1;
    if (v->no_context)
        v->flags.no_context = 1;
    for (size_t i = 0; i < v->fixes.n && rc == 0; i++)
        rc = pc_task_flags_fix(&v->flags, v->fixes.v[i], err);
    return rc;
}
