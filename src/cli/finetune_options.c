// SPDX-License-Identifier: Apache-2.0
#include "cli/finetune_options.h"

#include "cli/model_args.h"
#include "train/encode_example.h"

#include <stdlib.h>
#include <string.h>

#define AT(MEMBER) offsetof(struct pc_finetune_values, MEMBER)
#define COUNT_MAX 9007199254740992.0

// One row per line would be shorter, and harder to read.
const struct pc_option pc_finetune_rows[] = {
    {.name = "model",
        .aliases = "model_name_or_path",
        .short_name = 'm',
        .type = PC_OPT_STRING,
        .offset = AT(model),
        .arg = "MODEL",
        .help = "what is trained: a model folder, .gguf file, or a name in the Hugging Face cache"},
    {.name = "diff",
        .type = PC_OPT_STRING,
        .offset = AT(diff),
        .arg = "DIR",
        .help = "a weight diff: MODEL is its base, and their sum is trained"},
    {.name = "type",
        .type = PC_OPT_CHOICE,
        .offset = AT(type),
        .choices = PC_MODEL_TYPES,
        .help = "of a base that is not trained: narrow or quantise it while it is loaded (QLoRA)"},
    {.name = "train_file",
        .type = PC_OPT_STRING,
        .offset = AT(train_file),
        .arg = "FILE",
        .help = "examples, as JSON lines or one JSON array: prompt and completion, messages, or Alpaca's"},
    {.name = "output_dir",
        .aliases = "out",
        .short_name = 'o',
        .type = PC_OPT_STRING,
        .offset = AT(out),
        .arg = "DIR",
        .help = "where the log, the checkpoints and the trained model go"},
    {.name = "encoding",
        .type = PC_OPT_CHOICE,
        .offset = AT(encoding),
        .choices = "auto|completion|messages|stanford",
        .help = "how examples become text (auto: prompt and completion, else messages in the card's format)"},
    {.name = "max_seq_length",
        .type = PC_OPT_INT,
        .offset = AT(max_length),
        .arg = "N",
        .min = 1,
        .max = PC_EXAMPLES_MAX_LENGTH,
        .help = "tokens of an example; the rest is cut off (512)"},
    {.name = "packing",
        .type = PC_OPT_FLAG,
        .offset = AT(packing),
        .help = "short examples share a place in a batch, together up to --max_seq_length tokens; none sees "
                "another"},
    {.name = "limit",
        .type = PC_OPT_INT,
        .offset = AT(limit),
        .arg = "N",
        .min = 0,
        .max = PC_EXAMPLES_MAX,
        .help = "read the first N examples only (0: all)"},
    {.name = "per_device_train_batch_size",
        .type = PC_OPT_INT,
        .offset = AT(batch),
        .arg = "N",
        .min = 1,
        .max = COUNT_MAX,
        .help = "examples of a micro-batch, or with --packing packs of them (8)"},
    {.name = "gradient_accumulation_steps",
        .type = PC_OPT_INT,
        .offset = AT(accumulation),
        .arg = "N",
        .min = 1,
        .max = COUNT_MAX,
        .help = "micro-batches of a step (1)"},
    {.name = "num_train_epochs",
        .type = PC_OPT_INT,
        .offset = AT(epochs),
        .arg = "N",
        .min = 1,
        .max = COUNT_MAX,
        .help = "how often every example is seen (3)"},
    {.name = "max_train_steps",
        .type = PC_OPT_INT,
        .offset = AT(steps),
        .arg = "N",
        .min = 0,
        .max = COUNT_MAX,
        .help = "steps, whatever the epochs (0: as many as the epochs have)"},
    {.name = "learning_rate",
        .type = PC_OPT_FLOAT,
        .offset = AT(learning_rate),
        .arg = "X",
        .min = 0,
        .max = 1000,
        .help = "AdamW's, at its highest (5e-5)"},
    {.name = "lr_scheduler_type",
        .type = PC_OPT_CHOICE,
        .offset = AT(schedule),
        .choices = PC_SCHEDULE_NAMES,
        .help = "how the learning rate falls (linear)"},
    {.name = "warmup_ratio",
        .type = PC_OPT_FLOAT,
        .offset = AT(warmup_ratio),
        .arg = "X",
        .min = 0,
        .max = 1,
        .help = "the part of all steps in which it rises (0)"},
    {.name = "weight_decay",
        .type = PC_OPT_FLOAT,
        .offset = AT(weight_decay),
        .arg = "X",
        .min = 0,
        .max = 1000,
        .help = "AdamW's, of all weights but norms and biases (0)"},
    {.name = "clip_grad_norm",
        .type = PC_OPT_FLOAT,
        .offset = AT(clip),
        .arg = "X",
        .min = 0,
        .max = 1e30,
        .help = "shorten gradients to this norm (0: never)"},
    {.name = "dtype",
        .type = PC_OPT_CHOICE,
        .offset = AT(dtype),
        .choices = "bf16|f32",
        .help = "products of BF16 numbers, and a BF16 model (default), or everything in F32"},
    {.name = "weights",
        .type = PC_OPT_CHOICE,
        .offset = AT(weights),
        .choices = "f32|bf16",
        .help =
            "what the weights are kept in while they are trained (f32): 4 bytes, or 2 that are rounded at "
            "random"},
    {.name = "optim_states",
        .type = PC_OPT_CHOICE,
        .offset = AT(states),
        .choices = PC_OPTIM_STATES_NAMES,
        .help =
            "what AdamW's two means are kept in (f32; 8bit with --states_on_disk): 8, 4 or 2 bytes a weight"},
    {.name = "states_on_disk",
        .type = PC_OPT_FLAG,
        .offset = AT(states_on_disk),
        .help = "keep them in a file, a layer's at a time in memory; with --update_in_backward"},
    {.name = "use_lora",
        .type = PC_OPT_FLAG,
        .offset = AT(use_lora),
        .help = "train a low-rank adapter beside the model's matrices, and save that, as PEFT does"},
    {.name = "lora_rank",
        .type = PC_OPT_INT,
        .offset = AT(lora_rank),
        .arg = "N",
        .min = 1,
        .max = 65536,
        .help = "its rank (64)"},
    {.name = "lora_alpha",
        .type = PC_OPT_FLOAT,
        .offset = AT(lora_alpha),
        .arg = "X",
        .min = 0,
        .max = 1e9,
        .help = "its scale, times the rank (16)"},
    {.name = "lora_dropout",
        .type = PC_OPT_FLOAT,
        .offset = AT(lora_dropout),
        .arg = "X",
        .min = 0,
        .max = 0.999,
        .help = "the share of its inputs that are dropped in training (0.1)"},
    {.name = "lora_targets",
        .type = PC_OPT_STRING,
        .offset = AT(lora_targets),
        .arg = "A,B|all",
        .help = "the matrices it goes beside (q_proj,v_proj)"},
    {.name = "init_adapter",
        .type = PC_OPT_STRING,
        .offset = AT(init_adapter),
        .arg = "DIR",
        .help = "go on with this adapter, its rank, scale and targets; implies --use_lora"},
    {.name = "zero",
        .type = PC_OPT_INT,
        .offset = AT(zero),
        .arg = "N",
        .min = 0,
        .max = 3,
        .help =
            "under mpirun, what ranks keep a share of: 1 (default) optimiser states, 2 and gradients, 3 and "
            "weights; 0 nothing"},
    {.name = "gradient_checkpointing",
        .type = PC_OPT_FLAG,
        .offset = AT(recompute),
        .help = "keep less of the way forward and compute it again: a third slower, the same numbers"},
    {.name = "update_in_backward",
        .type = PC_OPT_FLAG,
        .offset = AT(in_backward),
        .help =
            "update each layer as soon as its gradient is known: gradients of one layer at a time, for large "
            "models; a step is one pass, without clipping or accumulation"},
    {.name = "seed",
        .type = PC_OPT_INT,
        .offset = AT(seed),
        .arg = "N",
        .min = 0,
        .max = COUNT_MAX,
        .help = "of the order of examples, and whatever else is drawn (42)"},
    {.name = "no_shuffle",
        .type = PC_OPT_FLAG,
        .offset = AT(no_shuffle),
        .help = "examples in the file's order, in every epoch"},
    {.name = "upstream-quirks",
        .type = PC_OPT_FLAG,
        .offset = AT(quirks),
        .help = "Open-Instruct's faults: a step's loss is the mean of its micro-batches', norms decay, the "
                "schedule "
                "ticks for each process"},
    {.name = "checkpointing_steps",
        .type = PC_OPT_STRING,
        .offset = AT(checkpointing),
        .arg = "N|epoch",
        .help = "a checkpoint every N steps, DIR/step_K, or after each epoch, DIR/epoch_I"},
    {.name = "keep",
        .type = PC_OPT_INT,
        .offset = AT(keep),
        .arg = "N",
        .min = 0,
        .max = COUNT_MAX,
        .help = "checkpoints that stay, the latest (2; 0: all)"},
    {.name = "resume",
        .type = PC_OPT_FLAG,
        .offset = AT(resume),
        .help = "go on from the latest checkpoint in the output directory"},
    {.name = "resume_from_checkpoint",
        .type = PC_OPT_STRING,
        .offset = AT(resume_from),
        .arg = "DIR",
        .help = "go on from this checkpoint"},
    {.name = "logging_steps",
        .type = PC_OPT_INT,
        .offset = AT(logging),
        .arg = "N",
        .min = 0,
        .max = COUNT_MAX,
        .help = "say step, learning rate and loss every N steps (0: never; train_log.jsonl has all)"},
    {.name = "validation_file",
        .type = PC_OPT_STRING,
        .offset = AT(validation_file),
        .arg = "FILE",
        .help = "examples that are not trained: their loss is measured as training goes"},
    {.name = "validation_split_percentage",
        .type = PC_OPT_FLOAT,
        .offset = AT(validation_share),
        .arg = "X",
        .min = 0,
        .max = 99,
        .help = "hold out X % of the training file for that instead (0)"},
    {.name = "sample_prompts",
        .type = PC_OPT_STRING,
        .offset = AT(sample_prompts),
        .arg = "FILE",
        .help = "prompts as JSON lines, answered greedily as training goes, in the training format"},
    {.name = "sample_length",
        .type = PC_OPT_INT,
        .offset = AT(sample_length),
        .arg = "N",
        .min = 1,
        .max = PC_EXAMPLES_MAX_LENGTH,
        .help = "tokens of such an answer at most (256)"},
    {.name = "eval_tasks",
        .type = PC_OPT_STRING,
        .offset = AT(eval_tasks),
        .arg = "TASK,...",
        .help = "benchmarks of paco eval asked as training goes; results in DIR/eval/step_K"},
    {.name = "eval_data",
        .type = PC_OPT_STRING,
        .offset = AT(eval_data),
        .arg = "DIR",
        .help = "the benchmarks' data"},
    {.name = "eval_limit",
        .type = PC_OPT_INT,
        .offset = AT(eval_limit),
        .arg = "N",
        .min = 0,
        .max = COUNT_MAX,
        .help = "questions of a benchmark, as paco eval --limit (0: all)"},
    {.name = "eval_steps",
        .type = PC_OPT_INT,
        .offset = AT(eval_steps),
        .arg = "N",
        .min = 0,
        .max = COUNT_MAX,
        .help = "measure every N steps (0: only before the first step and after the last, which always is)"},
    {.name = "report_to",
        .type = PC_OPT_CHOICE,
        .offset = AT(report_to),
        .choices = "all|tensorboard|none",
        .help = "event files for TensorBoard, DIR/tensorboard (all); log and page are always written"},
    {.name = "report",
        .type = PC_OPT_FLAG,
        .offset = AT(report),
        .help = "train nothing: make one page of runs, paco finetune --report DIR..."},
    {.name = "show-examples",
        .type = PC_OPT_INT,
        .offset = AT(show_examples),
        .arg = "N",
        .min = 0,
        .max = 1000,
        .help = "first print N examples as training sees them, trained tokens told from masked (try 20)"},
    {.name = "plan",
        .type = PC_OPT_FLAG,
        .offset = AT(plan),
        .help = "say what the run will take, after a short measurement, and end"},
    {.name = "save_diff",
        .type = PC_OPT_STRING,
        .offset = AT(save_diff),
        .arg = "DIR",
        .help = "also write the difference to the base, as paco diff does"},
    {.name = "save_gguf",
        .type = PC_OPT_STRING,
        .offset = AT(save_gguf),
        .arg = "FILE",
        .help = "also write the model as a GGUF file"},
    {.name = "force",
        .type = PC_OPT_FLAG,
        .offset = AT(force),
        .help = "begin anew where an earlier run's files are, and remove those"},
    PC_THREADS_ROW(struct pc_finetune_values, threads),
    PC_JSON_ROW(struct pc_finetune_values, json),
    {.name = "use_flash_attn", .type = PC_OPT_IGNORED, .help = "attention is computed in tiles anyway"},
    {.name = "use_slow_tokenizer",
        .type = PC_OPT_IGNORED,
        .help = "tokens are the slow tokenizer's anyway, as upstream's scripts ask"},
    {.name = "preprocessing_num_workers",
        .type = PC_OPT_IGNORED,
        .help = "examples are read on all threads (-t)"},
    {.name = "tokenizer_name", .type = PC_OPT_IGNORED, .help = "the tokenizer is the model's own"},
    {.name = "config_name", .type = PC_OPT_IGNORED, .help = "the configuration is the model's own"},
    {.name = "save_merged_lora_model",
        .type = PC_OPT_IGNORED,
        .help = "upstream does nothing with it either: paco merge folds the adapter into its base"},
    {.name = "overwrite_cache", .type = PC_OPT_IGNORED, .help = "nothing is cached"},
    {.name = "low_cpu_mem_usage", .type = PC_OPT_IGNORED, .help = "there is one copy of the weights anyway"},
    {.name = "with_tracking", .type = PC_OPT_IGNORED, .help = "that is always done: DIR/train_log.jsonl"},
    {0},
};

struct pc_finetune_values pc_finetune_values_default(void)
{
    return (struct pc_finetune_values){.learning_rate = 5e-5,
        .batch = 8,
        .accumulation = 1,
        .epochs = 3,
        .max_length = 512,
        .seed = 42,
        .sample_length = 256,
        .keep = 2,
        .zero = 1,
        .lora_rank = 64,
        .lora_alpha = 16,
        .lora_dropout = 0.1};
}

static int settle_checkpoints(
    const struct pc_finetune_values *v, struct pc_training_options *run, struct paco_error *err)
{
    const char *text = v->checkpointing;
    if (!text)
        return 0;
    run->save_epochs = strcmp(text, "epoch") == 0;
    if (run->save_epochs)
        return 0;
    if (*text && strlen(text) < 16 && text[strspn(text, "0123456789")] == '\0')
        run->save_every = strtoull(text, NULL, 10);
    return run->save_every ? 0
                           : pc_error_set(err, PACO_EINVAL,
                                 "--checkpointing_steps %s: a number of steps, or epoch, is expected", text);
}

static void settle_examples(const struct pc_finetune_values *v, struct pc_examples_options *o)
{
    *o = (struct pc_examples_options){.max_seq_length = (uint32_t)v->max_length, .limit = (size_t)v->limit};
    if (v->encoding)
        (void)pc_encoding_parse(v->encoding, &o->encoding);
}

/* Weights in BF16 are whole models', which are multiplied in BF16. */
static int check_weights(const struct pc_finetune_values *v, struct paco_error *err)
{
    if (!v->weights || strcmp(v->weights, "bf16") != 0)
        return 0;
    if (v->dtype && strcmp(v->dtype, "f32") == 0)
        return pc_error_set(err, PACO_EINVAL,
            "--weights bf16 rounds every weight, and --dtype f32 is for exact ones: leave one of them out");
    if (v->use_lora || v->init_adapter)
        return pc_error_set(err, PACO_EINVAL,
            "--weights bf16 is for weights that are trained; an adapter's are few, and F32 (--type is what "
            "its "
            "base is kept in)");
    return 0;
}

/* What needs all gradients of a step before its update, or several passes, cannot be had. */
static int check_in_backward(const struct pc_finetune_values *v, struct paco_error *err)
{
    if (v->states_on_disk && !v->in_backward)
        return pc_error_set(err, PACO_EINVAL,
            "--states_on_disk has the states of one layer at a time in memory, as --update_in_backward needs "
            "them: "
            "give both");
    if (!v->in_backward)
        return 0;
    if (v->use_lora || v->init_adapter)
        return pc_error_set(err, PACO_EINVAL,
            "--update_in_backward is for every weight of a model: an adapter's gradients are small, leave it "
            "out");
    if (v->clip > 0)
        return pc_error_set(err, PACO_EINVAL,
            "--update_in_backward updates a layer before the norm of all gradients is known, which "
            "--clip_grad_norm needs: leave one of them out");
    if (v->accumulation > 1)
        return pc_error_set(err, PACO_EINVAL,
            "--update_in_backward has nowhere to add up micro-batches: --gradient_accumulation_steps 1, and "
            "--per_device_train_batch_size for the examples of a step");
    if (v->dtype && strcmp(v->dtype, "f32") == 0 && (v->batch > 1 || v->packing))
        return pc_error_set(err, PACO_EINVAL,
            "--dtype f32 adds up the gradients of a step's examples one by one, for which "
            "--update_in_backward "
            "has no room: --per_device_train_batch_size 1%s, or leave --dtype f32 out",
            v->packing ? " without --packing" : "");
    return 0;
}

int pc_finetune_settle(const struct pc_finetune_values *v, struct pc_train_options *train,
    struct pc_examples_options *examples, struct pc_training_options *run, struct pc_lora_options *lora,
    struct paco_error *err)
{
    if (v->batch > PC_EXAMPLES_MAX / v->accumulation)
        return pc_error_set(err, PACO_EINVAL,
            "per_device_train_batch_size times gradient_accumulation_steps are the examples of a step: at "
            "most %d",
            PC_EXAMPLES_MAX);
    *train = (struct pc_train_options){.bf16 = !v->dtype || strcmp(v->dtype, "bf16") == 0,
        .recompute = v->recompute,
        .in_backward = v->in_backward,
        .batch = (uint64_t)v->batch,
        .accumulation = (uint64_t)v->accumulation,
        .n_epochs = (uint64_t)v->epochs,
        .max_updates = (uint64_t)v->steps,
        .learning_rate = v->learning_rate,
        .warmup_ratio = v->warmup_ratio,
        .clip = v->clip,
        .seed = (uint64_t)v->seed,
        .shuffle = !v->no_shuffle,
        .quirks = v->quirks,
        .optimizer = pc_optimizer_options_default()};
    train->optimizer.weight_decay = v->weight_decay;
    if (v->schedule)
        pc_schedule_parse(v->schedule, &train->schedule);
    if (v->states)
        pc_optim_states_parse(v->states, &train->optimizer.states);
    else if (v->states_on_disk)
        train->optimizer.states = PC_STATES_8BIT;
    settle_examples(v, examples);
    if (v->use_lora || v->init_adapter)
        train->dropout = v->lora_dropout;
    *lora = (struct pc_lora_options){.rank = (uint64_t)v->lora_rank,
        .alpha = v->lora_alpha,
        .dropout = v->lora_dropout,
        .targets = PC_LORA_TARGETS};
    int rc = v->lora_targets ? pc_lora_targets_parse(v->lora_targets, &lora->targets, err) : 0;
    if (rc < 0)
        return pc_error_prefix(err, "--lora_targets"), rc;
    *run = (struct pc_training_options){.out_dir = v->out,
        .inputs = {v->model, v->diff, v->init_adapter},
        .keep = (uint64_t)v->keep,
        .resume = v->resume,
        .resume_from = v->resume_from,
        .force = v->force};
    if (!v->out && !v->plan)
        return pc_error_set(err, PACO_EINVAL, "--output_dir is missing: where the trained model goes");
    if (v->validation_file && v->validation_share > 0)
        return pc_error_set(err, PACO_EINVAL,
            "--validation_file and --validation_split_percentage both say what validates: give one of them");
    if (v->force && (v->resume || v->resume_from))
        return pc_error_set(err, PACO_EINVAL, "--force begins anew and --resume goes on: give one of them");
    if ((v->use_lora || v->init_adapter) && (v->save_diff || v->save_gguf))
        return pc_error_set(err, PACO_EINVAL,
            "--save_diff and --save_gguf are of whole models: fold the adapter into its base first (paco "
            "merge)");
    if (v->type && !v->use_lora && !v->init_adapter)
        return pc_error_set(err, PACO_EINVAL,
            "--type %s is of a base that is not trained: --use_lora trains an adapter beside it", v->type);
    rc = check_weights(v, err);
    if (rc == 0)
        rc = check_in_backward(v, err);
    return rc < 0 ? rc : settle_checkpoints(v, run, err);
}
