// SPDX-License-Identifier: Apache-2.0
/* paco finetune: from a base and examples to a tuned model. */
#include "base/memory.h"
#include "cli/finetune_alike.h"
#include "cli/finetune_model.h"
#include "cli/finetune_plan.h"
#include "cli/finetune_save.h"
#include "cli/finetune_watch.h"
#include "train/whole.h"

#include <stdio.h>
#include <string.h>

static struct pc_finetune_values g_values;

/* ---- afterwards ---- */

/* Where ranks share the weights, rank 0 borrows the others' shares meanwhile. */
static int finish(struct pc_finetune *f, struct pc_write_result *written, struct paco_error *err)
{
    struct pc_whole whole;
    struct pc_checkpoint *narrow = NULL;
    float *own = f->params->w;
    int rc = pc_whole_gather_weights(&whole, f->trainer, f->v->out, err);
    f->params->w = whole.w;
    if (rc == 0 && f->party.rank == 0)
        rc = pc_finetune_narrow(f, &narrow, err);
    rc = pc_training_finish(f->trainer, &f->run, narrow, rc, written, err);
    pc_checkpoint_close(narrow);
    f->params->w = own;
    pc_whole_release(&whole);
    if (rc < 0)
        pc_error_prefix(err, "saving the model");
    return rc;
}

static int print_result(const struct pc_finetune *f, const struct pc_training_result *r,
    const struct pc_write_result *written, struct paco_error *err)
{
    if (!f->v->json) {
        char bytes[32];
        printf("%s: %llu steps, loss %.4f, %.0f tokens/s; %s of %s in %s\n", f->v->out,
            (unsigned long long)f->trainer->step, r->loss,
            r->seconds > 0 ? (double)r->n_tokens / r->seconds : 0, f->is_lora ? "adapter" : "model",
            pc_human_bytes(written->bytes_written, bytes), f->train.bf16 && !f->is_lora ? "BF16" : "F32");
        return 0;
    }
    struct pc_buf text;
    pc_buf_init(&text, 1 << 16);
    json_t *o = json_pack("{s:o,s:I,s:I,s:I,s:o,s:o,s:I,s:I}", "out", json_string_nocheck(f->v->out), "steps",
        (json_int_t)f->trainer->step, "first_step", (json_int_t)r->first_step, "tokens",
        (json_int_t)r->n_tokens, "loss", pc_json_number(r->loss), "seconds", pc_json_number(r->seconds),
        "bytes_written", (json_int_t)written->bytes_written, "peak_rss_bytes", (json_int_t)pc_peak_rss());
    if (o)
        pc_json_write(&text, o, PC_JSON_COMPACT);
    int rc = o ? pc_buf_check(&text, "the result", err) : pc_error_mem(err, 4096, "the result");
    if (rc == 0)
        printf("%s\n", text.data);
    json_decref(o);
    pc_buf_release(&text);
    return rc;
}

/* ---- all of it ---- */

/* When what is in memory cannot be saved: what is left to go on from, where that can be seen, or was heard of
 * last. */
static void add_way_on(const struct pc_finetune *f, struct paco_error *err)
{
    struct pc_train_states found = {.n = 0};
    char why[sizeof err->message];
    snprintf(why, sizeof why, "%s", err->message);
    (void)pc_train_states_find(f->v->out, &found, NULL);
    const char *latest = found.n ? found.v[0].dir : f->party.latest;
    if (*latest)
        pc_error_set(err, err->code, "%s. " PC_FINETUNE_WAY_ON "%s%s", why, latest,
            f->ranks ? PC_FINETUNE_WAY_ON_END : "");
    else
        pc_error_set(err, err->code, "%s. " PC_FINETUNE_NO_WAY_ON, why);
    pc_train_states_release(&found);
}

static int also_save(struct pc_finetune *f, struct paco_error *err)
{
    return pc_finetune_agree(&f->party, f->party.rank == 0 ? pc_finetune_also_save(f, err) : 0, err);
}

static int train(struct pc_finetune *f, struct pc_finetune_watch *w, struct paco_error *err)
{
    struct pc_training_result result;
    struct pc_write_result written = {0};
    pc_progress_bar(f->self); // hears of signals again: the one of the preparations has ended
    f->run.saving.progress = &w->bar.progress;
    f->run.peak_memory = pc_peak_rss;
    f->run.latest = f->party.latest;
    f->run.on_begin = pc_finetune_watch_begin;
    f->run.on_step = pc_finetune_watch_step;
    f->run.ctx = w;
    int rc = pc_training_run(f->trainer, &f->run, &result, err);
    pc_progress_bar_end();
    pc_finetune_watch_end(w, rc == 0);
    if (rc < 0 && *result.saved)
        pc_command_warn(f->self, "step %llu is kept in %s: the same command with --resume goes on from there",
            (unsigned long long)f->trainer->step, result.saved);
    if (rc < 0 && (f->ranks || pc_trainer_is_torn(f->trainer)) && !*result.saved)
        add_way_on(f, err);
    if (rc == 0)
        rc = finish(f, &written, err);
    if (rc == 0)
        rc = also_save(f, err);
    pc_progress_bar_end();
    return rc < 0 || f->party.rank > 0 ? rc : print_result(f, &result, &written, err);
}

/* Whether there is room in the places that are to be written: rank 0's, of which it alone knows. */
static int check_places(const struct pc_finetune *f, struct paco_error *err)
{
    if (f->party.rank > 0)
        return 0;
    int rc = f->v->plan ? 0 : pc_training_check(&f->run, err);
    return rc < 0 ? rc : pc_finetune_check_saves(f, err);
}

/* Options of an adapter that nobody trains: --use_lora was forgotten, most likely. */
static void warn_of_adapter(const struct pc_finetune *f)
{
    const struct pc_finetune_values *v = f->v, usual = pc_finetune_values_default();
    if (!f->is_lora && f->party.rank == 0 &&
        (v->lora_targets || v->lora_rank != usual.lora_rank || v->lora_alpha != usual.lora_alpha ||
            v->lora_dropout != usual.lora_dropout))
        pc_command_warn(
            f->self, "all weights are trained: --lora_... are of an adapter, which --use_lora asks for");
}

static int prepare(struct pc_finetune *f, struct pc_finetune_watch *w, struct paco_error *err)
{
    f->is_lora = f->v->use_lora || f->v->init_adapter;
    warn_of_adapter(f);
    pc_finetune_place(f->v->out, f->states_dir);
    f->train.optimizer.states_dir = f->v->states_on_disk ? f->states_dir : NULL;
    int rc = check_places(f, err);
    if (rc == 0)
        rc = pc_finetune_open(f, err);
    f->run.inputs[0] = f->model.source.path; // of a name in the cache the folder: pc_training_run looks again
    if (rc == 0 && f->v->show_examples && f->party.rank == 0)
        rc = pc_finetune_show(f, err);
    if (rc == 0)
        rc = pc_finetune_bind(f, err);
    if (rc == 0)
        rc = pc_finetune_watch_open(w, f, err);
    if (rc == 0)
        rc = pc_finetune_check(f, err);
    if (rc == 0)
        rc = pc_finetune_load(f, err);
    if (rc < 0)
        return rc;
    const struct pc_train_setup setup = pc_finetune_setup(f);
    return pc_trainer_new(&setup, &f->train, &f->trainer, err);
}

/* Everything up to the first step; then all ranks agree that they can begin, and that it is the same. */
static int set_up(struct pc_finetune *f, struct pc_finetune_watch *w, struct paco_error *err)
{
    int rc = pc_finetune_settle(f->v, &f->train, &f->encode, &f->run, &f->lora_options, err);
    if (rc == 0)
        rc = prepare(f, w, err);
    rc = pc_finetune_agree(&f->party, rc, err);
    if (rc == 0 && f->ranks)
        rc = pc_finetune_agree(&f->party, pc_finetune_compare(f, err), err);
    pc_progress_bar_end();
    if (rc == 0 && f->ranks)
        pc_command_note(f->self, "%d ranks share each step's %llu %s", f->party.size,
            (unsigned long long)(f->train.batch * f->train.accumulation), f->packs.n ? "packs" : "examples");
    return rc;
}

/* Whether rank 0 finds the model there already. */
static int is_done(const struct pc_finetune *f, bool *done, struct paco_error *err)
{
    *done =
        (f->run.resume || f->run.resume_from) && pc_training_is_done(&f->run, f->trainer->course.n_updates);
    return f->ranks ? pc_collect_tell(f->party.collect, done, sizeof *done, err) : 0;
}

/* A run that is done: what is still to be saved and, for programs, the result as it was at its end. */
static int say_again(struct pc_finetune *f, struct paco_error *err)
{
    const struct pc_write_result nothing = {0};
    const struct pc_course *c = &f->trainer->course;
    struct pc_training_result r = {.first_step = c->n_updates};
    uint64_t first = (c->n_updates - 1) / c->updates_per_epoch * c->updates_per_epoch, n;
    int rc = also_save(f, err);
    if (rc < 0 || !f->v->json || f->party.rank > 0)
        return rc;
    rc = pc_train_log_losses(f->v->out, first, c->n_updates, &r.loss, &n, err);
    r.loss = n ? r.loss / (double)n : 0;
    f->trainer->step = c->n_updates;
    return rc < 0 ? rc : print_result(f, &r, &nothing, err);
}

static int run_all(struct pc_finetune *f, struct pc_finetune_watch *w, struct paco_error *err)
{
    bool done;
    pc_model_say(f->self, &f->model);
    if (f->v->plan)
        return pc_finetune_print_plan(f, err);
    int rc = is_done(f, &done, err);
    if (rc < 0 || !done)
        return rc < 0 ? rc : train(f, w, err);
    pc_command_note(
        f->self, "%s holds the model of this run already: there is nothing left to do", f->v->out);
    rc = say_again(f, err);
    pc_progress_bar_end();
    return rc;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct pc_finetune_values *v = &g_values;
    struct pc_finetune f = {.self = self, .v = v};
    struct pc_finetune_watch w = {.f = &f};
    struct pc_args args;
    struct paco_error err = {0};
    *v = pc_finetune_values_default();
    int code = pc_command_parse(self, argc, argv, v, &args);
    if (code >= 0)
        return code;
    if (v->report)
        code = pc_finetune_report(self, v, &args.positional);
    else if (args.positional.n)
        code = pc_command_misuse(self, "'%s' belongs to no option", args.positional.v[0]);
    else if (!v->model || !v->train_file)
        code = pc_command_misuse(self, v->model ? "--train_file FILE is missing: examples of what?"
                                                : "-m MODEL is missing: which model?");
    if (code < 0) {
        int rc = pc_finetune_join(&f.party, &err);
        bool alike = rc == 0;
        if (rc == 0 && (rc = set_up(&f, &w, &err)) == 0) {
            rc = run_all(&f, &w, &err);
            alike = pc_finetune_is_alike(&f.party, rc);
        }
        pc_progress_bar_end();
        code = PC_EXIT_OK;
        if (rc < 0)
            code = alike ? pc_command_fail(self, &err) : pc_finetune_fail(self, &f.party, &err);
        pc_finetune_watch_close(&w);
        pc_finetune_close(&f);
        pc_finetune_leave(&f.party);
    }
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_finetune = {
    .name = "finetune",
    .summary = "train a model on instructions",
    .usage = "-m MODEL --train_file FILE --output_dir DIR [options]",
    .description =
        "Trains every weight of a model on examples of prompts and answers, as Open-Instruct's finetune.py\n"
        "does: the loss is that of the answers' tokens alone, with upstream's templates, token ids and "
        "masks.\n"
        "Options have upstream's names and defaults.\n"
        "\n"
        "A step is one update by AdamW, from per_device_train_batch_size times gradient_accumulation_steps\n"
        "examples. Its loss is the mean over all of the step's trained tokens; upstream's, the mean of each\n"
        "micro-batch's mean, is --upstream-quirks. Examples are never padded; --packing fills batches whose\n"
        "examples are short. With --dtype f32 a step's "
        "result\n"
        "does not depend on how it is cut into micro-batches; nothing depends on the number of threads.\n"
        "\n"
        "--use_lora leaves the model as it is and trains an adapter beside its matrices; the base may then "
        "be\n"
        "quantised (a GGUF file, or --type). DIR becomes a PEFT folder: paco merge folds it into its base.\n"
        "\n"
        "DIR/train_log.jsonl has a line for each step. Checkpoints hold all a run needs: after Ctrl-C, a "
        "crash\n"
        "or a power cut, the same command with --resume goes on from the latest and ends with the bytes it\n"
        "would have ended with. A loss that is not a number stops the run before it touches the weights.\n"
        "A large model is trained whole with --weights bf16, --update_in_backward and --states_on_disk: two "
        "bytes "
        "a\n"
        "weight stay in memory, gradients and states of a layer at a time.\n"
        "Under mpirun -n R the ranks share each step's examples and, as --zero says, what is kept of each "
        "weight;\n"
        "with --dtype f32, 1, 2 and 4 ranks end with the same bytes. Checkpoints serve any number of ranks. "
        "A "
        "rank\n"
        "that dies ends the job; the same command with --resume goes on. kill -USR1 of mpirun saves and "
        "stops.\n"
        "Every machine needs the base and the examples, at any path of its own; DIR is rank 0's alone.\n"
        "\n"
        "Before the first step, after the last and every --eval_steps the loss on held-out examples, "
        "answers\n"
        "to --sample_prompts and the benchmarks of --eval_tasks are measured: what paco eval and paco "
        "generate\n"
        "would find in the model saved at that moment. DIR/report.html shows curves and answers, and "
        "DIR/tensorboard\n"
        "is for TensorBoard. --report makes that page of runs that are there, of several with their curves\n"
        "over each other.\n"
        "\n"
        "At the end DIR is a Hugging Face folder with the model, in BF16, or with --dtype f32 in F32.",
    .examples =
        "$ paco finetune -m llama-7b --train_file data.jsonl --output_dir tuned --plan\n"
        "$ paco finetune -m smollm2.gguf --train_file data.jsonl --output_dir tuned \\\n"
        "      --learning_rate 2e-5 --warmup_ratio 0.03 --num_train_epochs 2 --checkpointing_steps 100\n"
        "$ paco finetune -m smollm2.gguf --train_file data.jsonl --output_dir tuned --resume ...\n"
        "$ paco finetune -m smollm2.gguf --train_file data.jsonl --output_dir tuned --eval_steps 50 \\\n"
        "      --validation_split_percentage 5 --sample_prompts prompts.jsonl \\\n"
        "      --eval_tasks mmlu_0shot --eval_limit 10 --eval_data data/eval\n"
        "$ paco finetune -m llama-7b --train_file data.jsonl --output_dir tuned --weights bf16 \\\n"
        "      --update_in_backward --states_on_disk --gradient_checkpointing --keep 1\n"
        "$ paco finetune --report tuned other -o runs.html",
    .options = pc_finetune_rows,
    .run = run,
};
