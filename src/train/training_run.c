// SPDX-License-Identifier: Apache-2.0
#include "train/training_run.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/host.h"
#include "base/journal.h"
#include "base/memory.h"
#include "train/training_files.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- before ---- */

static int refuse(const struct pc_training_options *o, const char *what, struct paco_error *err)
{
    pc_error_set(err, PACO_EEXIST, "%s is there already", what);
    pc_error_path(err, o->out_dir);
    return PACO_EEXIST;
}

/* A run may remove the model that lies in its directory, and its states: none of them may be what it begins
 * with. */
static int check_inputs(const struct pc_training_options *o, struct paco_error *err)
{
    char out[PATH_MAX], in[PATH_MAX];
    size_t n = sizeof o->inputs / sizeof *o->inputs;
    if (!realpath(o->out_dir, out))
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (!o->inputs[i] || !realpath(o->inputs[i], in) || !pc_path_is_dir(in) ||
            !pc_path_is_inside(in, out))
            continue;
        pc_error_set(err, PACO_EINVAL,
            "training begins with it and would put the new model in its place: choose another --output_dir");
        pc_error_path(err, o->inputs[i]);
        return PACO_EINVAL;
    }
    return 0;
}

/* Whether names are of a run of ours: its log, or a state. */
static bool is_run(char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], PC_TRAIN_LOG_NAME) == 0 || pc_train_state_is_name(names[i]))
            return true;
    return false;
}

/* A state to go on from that was named. */
static int check_resume_from(const struct pc_training_options *o, struct paco_error *err)
{
    char *path = o->resume_from ? pc_path_join(o->resume_from, PC_TRAIN_STATE_NAME) : NULL;
    bool there = path && pc_path_exists(path);
    if (o->resume_from && !path)
        return pc_error_mem(err, strlen(o->resume_from), "a path");
    pc_free(path);
    if (!o->resume_from || there)
        return 0;
    pc_error_set(err, PACO_ENOENT,
        "holds no checkpoint of a training run: DIR/step_K or DIR/epoch_I is to be named, or --resume takes "
        "the latest in --output_dir");
    return pc_error_path(err, o->resume_from), PACO_ENOENT;
}

int pc_training_check(const struct pc_training_options *o, struct paco_error *err)
{
    char **names = NULL;
    size_t n = 0;
    int rc = check_resume_from(o, err);
    if (rc < 0 || !pc_path_exists(o->out_dir))
        return rc;
    if (!pc_path_is_dir(o->out_dir))
        return refuse(o, "a file of that name", err);
    rc = check_inputs(o, err);
    if (rc < 0 || o->force)
        return rc;
    rc = pc_dir_list(o->out_dir, &names, &n, err);
    bool ours = rc == 0 && is_run(names, n), resumes = o->resume || o->resume_from;
    if (rc == 0 && ours && !resumes)
        rc = refuse(o, "a training run", err);
    else if (rc == 0 && n && !ours)
        rc = refuse(o, names[0], err);
    pc_names_free(names, n);
    return rc;
}

/* ---- states ---- */

struct run {
    struct pc_trainer *t;
    const struct pc_training_options *o;
    struct pc_training_result *result;
    struct pc_train_log *log;
    bool keep_all;     /* what is saved now may be no better than what is there */
    double epoch_loss; /* the sum over steps of this epoch, and how many */
    uint64_t n_epoch;
};

/* Rank 0, or who is alone: the log, and what is removed, is its business. */
static bool leads(const struct pc_trainer *t)
{
    return !t->setup.ranks || t->setup.ranks->rank == 0;
}

/* What rank 0 did before the others go on; all get an error when it met one. */
static int after_leader(const struct pc_trainer *t, int rc, struct paco_error *err)
{
    return pc_ranks_agree(t->setup.ranks, rc, err);
}

/* What rank 0 knows. */
static int tell(const struct pc_trainer *t, uint64_t *what, struct paco_error *err)
{
    return t->setup.ranks ? pc_collect_tell(t->setup.ranks->collect, what, sizeof *what, err) : 0;
}

/* Damaged ones must not be taken for what is saved when the run gets there again. */
static int remove_damaged(
    const struct run *r, const struct pc_train_states *found, size_t n, struct paco_error *err)
{
    const struct pc_train_state *states = leads(r->t) ? found->v : NULL;
    int rc = 0;
    for (size_t i = 0; states && i < n && rc == 0; i++)
        rc = pc_train_state_remove(states[i].dir, err);
    return after_leader(r->t, rc, err);
}

static void remember(const struct run *r, const char *dir)
{
    if (r->o->latest)
        snprintf(r->o->latest, PC_TRAINING_LATEST, "%s", dir);
}

/* Load one of the n states that rank 0 has found, the latest that is whole. */
static int load_latest(struct run *r, const struct pc_train_states *found, size_t n, struct paco_error *err)
{
    const struct pc_train_saving *s = &r->o->saving;
    const struct pc_train_state *states = leads(r->t) ? found->v : NULL;
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        struct paco_error why = {0};
        const char *dir = states ? states[i].dir : "";
        rc = pc_train_state_load(r->t, dir, s->identity, &why);
        if (rc != PACO_EVERIFY && rc != PACO_EFORMAT && rc != PACO_ENOENT) {
            if (rc < 0 && err)
                *err = why;
            remember(r, dir);
            return rc < 0 ? rc : remove_damaged(r, found, i, err);
        }
        char text[1200];
        pc_note(s->notes, "%s; it is removed if an earlier one is whole",
            pc_error_format(&why, text, sizeof text));
        if (err)
            *err = why;
    }
    return rc; /* that of the earliest: none is whole */
}

/* Rank 0 looks, and says. */
static int go_on(struct run *r, struct paco_error *err)
{
    struct pc_train_states found = {.n = 0};
    if (r->o->resume_from) {
        remember(r, r->o->resume_from);
        return pc_train_state_load(r->t, r->o->resume_from, r->o->saving.identity, err);
    }
    int rc = leads(r->t) ? pc_train_states_find(r->o->out_dir, &found, err) : 0;
    uint64_t n = found.n;
    rc = after_leader(r->t, rc, err);
    if (rc == 0)
        rc = tell(r->t, &n, err);
    if (rc == 0 && n == 0)
        pc_note(r->o->saving.notes, "there is no checkpoint yet: the run begins at its first step");
    if (rc == 0)
        rc = load_latest(r, &found, (size_t)n, err);
    if (rc == 0 && r->t->setup.ranks && r->o->latest) // all can say it, whoever is left
        rc = pc_collect_tell(r->t->setup.ranks->collect, r->o->latest, PC_TRAINING_LATEST, err);
    pc_train_states_release(&found);
    return rc;
}

/* Remove the states before the latest o->keep, unless one from beyond this step, a damaged one, is among
 * those. */
static int drop_old(const struct run *r, struct paco_error *err)
{
    struct pc_train_states found;
    if (!r->o->keep || r->keep_all || !leads(r->t))
        return 0;
    int rc = pc_train_states_find(r->o->out_dir, &found, err);
    bool latest = found.n && found.v[0].step == r->t->step;
    for (size_t i = (size_t)r->o->keep; latest && i < found.n && rc == 0; i++)
        rc = pc_train_state_remove(found.v[i].dir, err);
    pc_train_states_release(&found);
    return rc;
}

/* Hold room for the model at the end and, but while one is being written, for a state. */
static int reserve(const struct run *r, bool with_state, struct paco_error *err)
{
    const struct pc_trainer *t = r->t;
    uint64_t size = r->o->model_size;
    if (!leads(t))
        return 0;
    if (with_state)
        size += pc_train_saving_size(t, r->o->saving.beside);
    return pc_training_reserve(r->o->out_dir, size, err);
}

/* The log first: lines that a state knows of must not be missing. Once begun, a save is not interrupted. */
static int save(struct run *r, const char *kind, uint64_t number, struct paco_error *err)
{
    struct pc_train_saving saving = r->o->saving;
    struct pc_buf dir;
    saving.progress = NULL;
    saving.notes = NULL;
    pc_buf_init(&dir, 1 << 16);
    pc_buf_printf(&dir, "%s/%s_%llu", r->o->out_dir, kind, (unsigned long long)number);
    int rc = pc_buf_check(&dir, "a path", err);
    if (rc == 0 && r->log)
        rc = pc_train_log_sync(r->log, err);
    if (rc == 0)
        rc = reserve(r, false, err);
    rc = after_leader(r->t, rc, err);
    if (rc == 0)
        rc = pc_train_state_save(r->t, &saving, dir.data, err);
    if (rc == 0) {
        snprintf(r->result->saved, sizeof r->result->saved, "%s", dir.data);
        remember(r, dir.data);
        rc = drop_old(r, err);
        if (reserve(r, true, NULL) < 0)
            pc_note(r->o->saving.notes, "the disk has no room for another checkpoint");
    } else {
        pc_error_prefix(err, "saving step %llu", (unsigned long long)r->t->step);
    }
    pc_buf_release(&dir);
    return rc;
}

static int save_if_due(struct run *r, struct paco_error *err)
{
    uint64_t step = r->t->step, per_epoch = r->t->course.updates_per_epoch;
    if (r->o->save_epochs && step % per_epoch == 0)
        return save(r, "epoch", step / per_epoch - 1, err);
    if (r->o->save_every && step % r->o->save_every == 0)
        return save(r, "step", step, err);
    return 0;
}

/* ---- steps ---- */

static void count(struct run *r, const struct pc_train_report *report)
{
    struct pc_training_result *result = r->result;
    if ((report->step - 1) % r->t->course.updates_per_epoch == 0)
        r->epoch_loss = 0, r->n_epoch = 0;
    r->epoch_loss += report->loss;
    r->n_epoch++;
    result->last = *report;
    result->n_tokens += report->n_tokens;
    result->seconds += report->seconds;
    result->loss = r->epoch_loss / (double)r->n_epoch;
}

/* The line of a step. A disk that is full has room again when what is held for a state is given back, which
 * is about to be written: then the line is there, and the run ends all the same. */
static int log_step(struct run *r, const struct pc_train_report *report, struct paco_error *err)
{
    uint64_t memory = r->o->peak_memory ? r->o->peak_memory() : 0;
    int rc = pc_train_log_add(r->log, report, memory, err);
    if (rc < 0 && reserve(r, false, NULL) == 0)
        (void)pc_train_log_add(r->log, report, memory, NULL);
    return rc;
}

/* What the first rank does after a step; all are told how it went. */
static int after_step(struct run *r, const struct pc_train_report *report, struct paco_error *err)
{
    int rc = leads(r->t) ? log_step(r, report, err) : 0;
    if (rc == 0 && r->o->on_step)
        rc = r->o->on_step(r->o->ctx, report, err);
    return after_leader(r->t, rc, err);
}

/* Whether all ranks met this error, and are there to save what they have. */
static bool is_alike(const struct pc_trainer *t, int why)
{
    return !t->setup.ranks || why == PACO_ECANCELLED || why == PACO_EVERIFY ||
           pc_collect_agreed(t->setup.ranks->collect);
}

/* What is trained is kept: the weights that a step which did not come about has not touched, or those of the
 * last one. Where a rank is gone, so is its share of them; what a step has touched in part is not kept. */
static int stop(struct run *r, int why, struct paco_error *err)
{
    struct paco_error saving = {0};
    if (pc_trainer_is_torn(r->t) || !is_alike(r->t, why))
        return why;
    r->keep_all = why == PACO_EVERIFY;
    int rc = r->t->step ? save(r, "step", r->t->step, &saving) : 0;
    char text[600];
    if (rc < 0)
        pc_error_prefix(err, "%s; and", pc_error_format(&saving, text, sizeof text));
    return after_leader(r->t, why, err);
}

static int steps(struct run *r, struct paco_error *err)
{
    const struct pc_training_options *o = r->o;
    int rc = 0;
    while (r->t->step < r->t->course.n_updates && rc == 0) {
        struct pc_train_report report;
        *r->result->saved = '\0';
        rc = pc_trainer_step(r->t, o->saving.progress, &report, err);
        if (rc < 0)
            return stop(r, rc, err);
        count(r, &report);
        rc = after_step(r, &report, err);
        if (rc < 0)
            return stop(r, rc, err);
        rc = save_if_due(r, err);
    }
    return rc < 0 || !leads(r->t) ? rc : pc_train_log_sync(r->log, err);
}

static int begin(const struct pc_training_options *o, struct paco_error *err)
{
    int rc = pc_training_check(o, err);
    return rc < 0 ? rc : pc_training_directory(o->out_dir, err);
}

static int open_log(struct run *r, struct paco_error *err)
{
    const struct pc_training_options *o = r->o;
    uint64_t missing = 0;
    int rc = pc_train_log_open(o->out_dir, r->t->step, &r->log, &missing, err);
    if (rc == 0 && o->force && !o->resume && !o->resume_from)
        rc = pc_training_clear(o->out_dir, err);
    if (rc == 0 && missing)
        pc_note(o->saving.notes, "%s: %llu of the first %llu steps have no line", PC_TRAIN_LOG_NAME,
            (unsigned long long)missing, (unsigned long long)r->t->step);
    const uint64_t per_epoch = r->t->course.updates_per_epoch;
    if (rc == 0 && r->t->step)
        rc = pc_train_log_losses(o->out_dir, (r->t->step - 1) / per_epoch * per_epoch, r->t->step,
            &r->epoch_loss, &r->n_epoch, err);
    r->result->loss = r->n_epoch ? r->epoch_loss / (double)r->n_epoch : 0;
    // A kill between a save and this left one too many.
    return rc == 0 && o->resume && !o->resume_from ? drop_old(r, err) : rc;
}

/* Before the first step. A run that goes on from a state and is to leave no other can do without room for
 * one: what interrupts it takes it back there. */
static int reserve_first(const struct run *r, struct paco_error *err)
{
    int rc = reserve(r, true, err);
    if (rc != PACO_ENOSPC || !r->t->step || r->o->save_every || r->o->save_epochs)
        return rc;
    rc = reserve(r, false, err);
    if (rc == 0)
        pc_note(r->o->saving.notes,
            "the disk has no room for another checkpoint: what interrupts this run takes it back to step "
            "%llu",
            (unsigned long long)r->t->step);
    return rc;
}

int pc_training_run(struct pc_trainer *t, const struct pc_training_options *o,
    struct pc_training_result *result, struct paco_error *err)
{
    struct run r = {.t = t, .o = o, .result = result};
    *result = (struct pc_training_result){.first_step = 0};
    int rc = leads(t) ? begin(o, err) : 0;
    rc = after_leader(t, rc, err);
    if (rc == 0 && (o->resume || o->resume_from))
        rc = go_on(&r, err);
    if (rc == 0) {
        rc = leads(t) ? open_log(&r, err) : 0;
        if (rc == 0)
            rc = reserve_first(&r, err);
        rc = after_leader(t, rc, err);
    }
    result->first_step = t->step;
    if (rc == 0 && o->on_begin)
        rc = after_leader(t, o->on_begin(o->ctx, t->step, err), err);
    if (rc == 0)
        rc = steps(&r, err);
    if (rc == 0) // what is left to be written is the model
        rc = after_leader(t, reserve(&r, false, err), err);
    if (rc < 0 && r.log)
        (void)pc_training_reserve(o->out_dir, 0, NULL);
    pc_train_log_close(r.log);
    return rc;
}

/* ---- the model ---- */

/* The model could not be written: what was trained must not be lost with it. */
static void keep_trained(struct pc_trainer *t, const struct pc_training_options *o)
{
    struct pc_training_result result = {.first_step = 0};
    struct run r = {.t = t, .o = o, .result = &result};
    struct paco_error why = {0};
    char text[1200];
    if (!t->step)
        return;
    if (save(&r, "step", t->step, &why) == 0)
        pc_note(o->saving.notes, "step %llu is kept in %s: the same command with --resume writes the model",
            (unsigned long long)t->step, result.saved);
    else
        pc_note(o->saving.notes, "%s", pc_error_format(&why, text, sizeof text));
    if (leads(t))
        (void)pc_training_reserve(o->out_dir, 0, NULL);
}

static int write_model(const struct pc_trainer *t, const struct pc_training_options *o,
    const struct pc_checkpoint *ck, struct pc_write_result *written, struct paco_error *err)
{
    const struct pc_train_saving *s = &o->saving;
    char *dir = pc_path_join(o->out_dir, PC_TRAINING_FINAL);
    json_t *settings = json_pack("{s:I,s:O}", "step", (json_int_t)t->step, "identity", (json_t *)s->identity);
    struct pc_write_options w = {.job = "finetune",
        .phase = "saving the model",
        .out_dir = dir,
        .settings = settings,
        .files_from = s->files_from,
        .tokenizer_from = s->tokenizer_from,
        .file_name = s->file_name,
        .files = s->files,
        .n_files = s->n_files,
        .force = true,
        .pool = t->setup.pool,
        .notes = s->notes};
    int rc = dir && settings ? pc_training_reserve(o->out_dir, 0, err) : pc_error_mem(err, 4096, "the model");
    if (rc == 0)
        rc = pc_write_checkpoint(ck, &w, written, err);
    if (rc == 0)
        rc = pc_training_move(o->out_dir, err);
    json_decref(settings);
    pc_free(dir);
    return rc;
}

int pc_training_finish(struct pc_trainer *t, const struct pc_training_options *o,
    const struct pc_checkpoint *ck, int rc, struct pc_write_result *written, struct paco_error *err)
{
    if (rc == 0 && leads(t))
        rc = write_model(t, o, ck, written, err);
    rc = after_leader(t, rc, err);
    if (rc == 0 || !is_alike(t, rc))
        return rc;
    keep_trained(t, o);
    return after_leader(t, rc, err);
}

bool pc_training_is_done(const struct pc_training_options *o, uint64_t n_updates)
{
    return pc_training_finished(o->out_dir, o->saving.identity, n_updates);
}
