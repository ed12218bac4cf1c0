// SPDX-License-Identifier: Apache-2.0
#include "cli/finetune_plan.h"

#include "base/file.h"
#include "base/host.h"
#include "cli/finetune_weights.h"
#include "train/whole.h"
#include "weights/sidecar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

/* ---- memory ---- */

struct pc_train_setup pc_finetune_setup(const struct pc_finetune *f)
{
    return (struct pc_train_setup){.params = f->params,
        .model = f->llama,
        .lora = f->lora,
        .examples = &f->examples,
        .kernels = &f->kernels,
        .pool = f->pool,
        .ranks = f->ranks,
        .packs = f->packs.n ? &f->packs : NULL,
        .validation = f->validation.n ? &f->validation : NULL};
}

static double gigabytes(uint64_t bytes)
{
    return (double)bytes * 1e-9;
}

/* Benchmarks and answers: the weights as they are run, but those that are multiplied where they lie, and keys
 * and values of some prompts at once. */
static uint64_t measuring(const struct pc_finetune *f)
{
    enum { POSITIONS = 16 * 512 };
    struct pc_finetune_weights w = {.ck = NULL};
    const struct pc_config *c = &f->config;
    uint64_t n = (uint64_t)POSITIONS * 2 * (uint64_t)c->n_layers * (uint64_t)c->n_kv_heads *
                 (uint64_t)c->head_dim * (f->train.bf16 ? 2 : 4);
    if ((!f->v->eval_tasks && !f->v->sample_prompts) || f->party.rank > 0)
        return 0;
    if ((f->train.bf16 || f->is_lora) && pc_finetune_weights_open(f, &w, NULL) == 0)
        for (uint32_t i = 0; i < w.ck->n_tensors; i++)
            n += w.ck->tensors[i].size;
    pc_finetune_weights_close(&w);
    return n;
}

static void plan_memory(const struct pc_finetune *f, struct pc_train_memory *m)
{
    const struct pc_train_setup setup = pc_finetune_setup(f);
    pc_train_memory(&setup, &f->train, m);
    m->measuring = measuring(f);
}

/* What takes less than this run, the gentlest first. */
static const char *advice_of(const struct pc_finetune *f)
{
    if (f->train.optimizer.states == PC_STATES_F32)
        return "--optim_states 8bit takes less";
    if (!f->train.recompute)
        return "--gradient_checkpointing takes less";
    if (f->is_lora)
        return "a smaller --max_seq_length takes less";
    if (f->train.bf16 && !f->ranks && f->params->matrices == PC_F32)
        return "--weights bf16 takes less";
    if (!f->ranks && !f->train.in_backward)
        return "--update_in_backward takes less";
    if (f->train.in_backward && !f->v->states_on_disk)
        return "--states_on_disk takes less";
    return "--use_lora takes far less";
}

static int check_memory(const struct pc_finetune *f, struct paco_error *err)
{
    struct pc_train_memory m;
    plan_memory(f, &m);
    uint64_t need = pc_train_memory_total(&m) - m.examples,
             left = pc_host_memory_available() / (uint64_t)f->party.n_local;
    if (need <= left)
        return 0;
    return pc_error_set(err, PACO_EMEM,
        "needs %.2f GB: model %.2f, trained weights %.2f, gradients %.2f, optimiser states %.2f, activations "
        "%.2f, scratch %.2f, measuring between steps %.2f; "
        "%.2f GB "
        "are available%s (%s)",
        gigabytes(need), gigabytes(m.base), gigabytes(m.weights), gigabytes(m.gradients), gigabytes(m.states),
        gigabytes(m.activations), gigabytes(m.scratch), gigabytes(m.measuring), gigabytes(left),
        f->party.n_local > 1 ? " to each rank on this machine" : "", advice_of(f));
}

/* ---- disk ---- */

struct disk {
    uint64_t state, states, working, model, gather, total, free; /* working: the optimiser's states in use */
};

/* Bytes of what travels with the weights: as it is in a folder, made of a GGUF file's pieces otherwise. */
static uint64_t beside(const struct pc_finetune *f)
{
    enum { PIECE = 64, TEXTS = 1 << 20 };
    struct pc_sidecars s = {.n = 0};
    const struct pc_sidecar_options o = {.dir = f->model.lead->dir};
    uint64_t n = TEXTS;
    if (f->model.lead->kind == PC_SOURCE_GGUF || pc_sidecars_plan(&o, NULL, &s, NULL) < 0)
        n += (uint64_t)pc_tokenizer_n_tokens(f->tok) * PIECE;
    for (size_t i = 0; i < s.n; i++)
        n += s.v[i].size;
    pc_sidecars_release(&s);
    return n;
}

/* States that are on the disk at once: those that are kept, and the one being written. */
static void plan_disk(const struct pc_finetune *f, const struct pc_course *course, struct disk *d)
{
    const struct pc_training_options *o = &f->run;
    uint64_t n = 1;
    if (o->save_every)
        n = course->n_updates / o->save_every;
    if (o->save_epochs)
        n = course->n_epochs;
    if (o->keep && n > o->keep + 1)
        n = o->keep + 1;
    d->state = pc_train_state_size(f->params, f->train.optimizer.states, f->run.saving.beside);
    d->states = (n ? n : 1) * d->state;
    d->model = f->params->n_elements * (f->train.bf16 && !f->is_lora ? 2 : 4) + pc_write_spare(f->params->n) +
               f->run.saving.beside;
    d->gather = pc_whole_file_size(f->ranks, f->params, f->train.optimizer.states);
    d->working = f->v->states_on_disk ? pc_states_file_size(f->params, f->train.optimizer.states) : 0;
    d->total = d->states + d->working + d->gather + d->model +
               (f->v->save_diff ? f->params->n_elements * 4 : 0) + (f->v->save_gguf ? d->model : 0);
}

void pc_finetune_place(const char *out_dir, char path[4096])
{
    struct statvfs fs;
    snprintf(path, 4096, "%s", out_dir ? out_dir : ".");
    for (char *slash; statvfs(path, &fs) < 0;) {
        slash = strrchr(path, '/');
        if (!slash || slash == path)
            snprintf(path, 4096, "%s", slash ? "/" : ".");
        else
            *slash = '\0';
    }
}

/* Bytes that may still be written where dir is or will be; UINT64_MAX when nothing says. */
static uint64_t disk_left(const char *dir)
{
    char path[4096];
    struct statvfs fs;
    pc_finetune_place(dir, path);
    return statvfs(path, &fs) == 0 && fs.f_blocks ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
}

static int plan_course(const struct pc_finetune *f, struct pc_course *course, struct paco_error *err)
{
    const struct pc_train_options *o = &f->train;
    return pc_course_plan(f->packs.n ? f->packs.n : f->examples.n, o->batch, o->accumulation, o->n_epochs,
        o->max_updates, course, err);
}

static int check_disk(struct pc_finetune *f, struct paco_error *err)
{
    struct disk d;
    struct pc_course course;
    int rc = plan_course(f, &course, err);
    if (rc < 0 || !f->v->out || f->party.rank > 0)
        return rc;
    plan_disk(f, &course, &d);
    f->run.model_size = d.total - d.states - d.working - d.gather;
    if (f->run.resume || f->run.resume_from) // much of it is there already
        return 0;
    d.free = disk_left(f->v->out);
    if (d.total <= d.free)
        return 0;
    pc_error_set(err, PACO_ENOSPC,
        "checkpoints and the model need %.2f GB of disk (%.2f GB each checkpoint, %.2f GB optimiser states "
        "in "
        "use), and %.2f GB are free "
        "there",
        gigabytes(d.total), gigabytes(d.state), gigabytes(d.working), gigabytes(d.free));
    return pc_error_path(err, f->v->out), PACO_ENOSPC;
}

int pc_finetune_check(struct pc_finetune *f, struct paco_error *err)
{
    f->run.saving.beside = beside(f);
    int rc = check_memory(f, err);
    return rc < 0 ? rc : check_disk(f, err);
}

/* ---- the plan ---- */

static json_t *plan_json(const struct pc_finetune *f, const struct pc_train_memory *m, const struct disk *d,
    double tokens_per_s, double seconds)
{
    const struct pc_course *c = &f->trainer->course;
    const struct pc_examples *e = &f->examples;
    json_t *memory = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "model", (json_int_t)m->base,
        "weights", (json_int_t)m->weights, "gradients", (json_int_t)m->gradients, "optimizer_states",
        (json_int_t)m->states, "activations", (json_int_t)m->activations, "scratch", (json_int_t)m->scratch,
        "examples", (json_int_t)m->examples, "measuring", (json_int_t)m->measuring, "total",
        (json_int_t)pc_train_memory_total(m), "available", (json_int_t)pc_host_memory_available());
    json_t *disk = json_pack("{s:I,s:I,s:I,s:I,s:I}", "checkpoint", (json_int_t)d->state, "states_in_use",
        (json_int_t)d->working, "gathering", (json_int_t)d->gather, "model", (json_int_t)d->model, "total",
        (json_int_t)d->total);
    return json_pack("{s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f}", "memory", memory, "disk", disk,
        "parameters", (json_int_t)f->params->n_elements, "examples", (json_int_t)e->n, "packs",
        (json_int_t)f->packs.n, "tokens_per_epoch", (json_int_t)e->n_ids, "trained_tokens_per_epoch",
        (json_int_t)e->n_trained, "steps", (json_int_t)c->n_updates, "steps_per_epoch",
        (json_int_t)c->updates_per_epoch, "epochs", (json_int_t)c->n_epochs, "tokens_per_s", tokens_per_s,
        "seconds", seconds);
}

static void line(const char *name, uint64_t bytes)
{
    char text[32];
    printf("  %-18s %10s\n", name, pc_human_bytes(bytes, text));
}

static void print_text(const struct pc_finetune *f, const struct pc_train_memory *m, const struct disk *d,
    double tokens_per_s, double seconds)
{
    const struct pc_course *c = &f->trainer->course;
    const struct pc_examples *e = &f->examples;
    printf("memory\n");
    line("model", m->base);
    line("trained weights", m->weights);
    line("gradients", m->gradients);
    line("optimiser states", m->states);
    line("activations", m->activations);
    line("scratch", m->scratch);
    line("examples", m->examples);
    if (m->measuring)
        line("measuring", m->measuring);
    line("together", pc_train_memory_total(m));
    printf("disk\n");
    line("a checkpoint", d->state);
    if (d->gather)
        line("gathering one", d->gather);
    if (d->working)
        line("states in use", d->working);
    line("the model", d->model);
    line("together", d->total);
    printf("work\n  %" PRIu64 " steps, %" PRIu64 " an epoch of %zu examples and %" PRIu64
           " tokens, %.1f %% of them trained\n",
        c->n_updates, c->updates_per_epoch, e->n, e->n_ids, 100 * (double)e->n_trained / (double)e->n_ids);
    if (f->packs.n)
        printf("  %zu packs of examples, %.1f %% of %u tokens full\n", f->packs.n,
            100 * (double)e->n_ids / ((double)f->packs.n * f->packs.room), f->packs.room);
    printf("  %.0f tokens/s: about %.0f s\n", tokens_per_s, seconds);
}

int pc_finetune_print_plan(struct pc_finetune *f, struct paco_error *err)
{
    enum { LONG_ENOUGH = 5, STEPS = 3 };
    struct pc_train_report r;
    struct pc_train_memory m;
    struct pc_buf text;
    struct disk d = {0};
    uint64_t n_tokens = 0;
    double took = 0, tokens;
    int rc = 0;
    for (int i = 0;
         i < STEPS && took < LONG_ENOUGH && f->trainer->step < f->trainer->course.n_updates && rc == 0; i++) {
        rc = pc_trainer_step(f->trainer, pc_progress_bar(f->self), &r, err);
        n_tokens += r.n_tokens;
        took += r.seconds;
    }
    pc_progress_bar_end();
    if (rc < 0)
        return rc;
    const struct pc_course *c = &f->trainer->course;
    tokens = (double)f->examples.n_ids * (double)c->n_updates / (double)c->updates_per_epoch;
    plan_memory(f, &m);
    plan_disk(f, c, &d);
    double rate = took > 0 ? (double)n_tokens / took : 0, seconds = rate > 0 ? tokens / rate : 0;
    if (!f->v->json) {
        print_text(f, &m, &d, rate, seconds);
        return 0;
    }
    pc_buf_init(&text, 1 << 16);
    json_t *plan = plan_json(f, &m, &d, rate, seconds);
    if (plan)
        pc_json_write(&text, plan, PC_JSON_COMPACT);
    rc = plan ? pc_buf_check(&text, "the plan", err) : pc_error_mem(err, 4096, "the plan");
    if (rc == 0)
        printf("%s\n", text.data);
    json_decref(plan);
    pc_buf_release(&text);
    return rc;
}
