// SPDX-License-Identifier: Apache-2.0
#include "train/loop.h"

#include "base/host.h"
#include "base/memory.h"
#include "train/keyed.h"

#include <assert.h>
#include <math.h>

/* ---- planning ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What batches are counted in: packs, or examples. */
static uint64_t n_units(const struct pc_train_setup *s)
{
    return s->packs ? s->packs->n : s->examples->n;
}

/* Examples of a full step, at most. */
static uint64_t step_examples(const struct pc_train_setup *s, const struct pc_train_options *o)
{
    uint64_t n, most = s->packs ? s->packs->most : 1;
    bool counts = pc_mul_u64(o->batch, o->accumulation, &n) && pc_mul_u64(n, most, &n);
    return counts ? least(n, s->examples->n) : s->examples->n;
}

static int n_ranks(const struct pc_train_setup *s)
{
    return s->ranks ? s->ranks->size : 1;
}

static int n_gradients(const struct pc_train_setup *s, const struct pc_train_options *o)
{
    uint64_t n = least(step_examples(s, o), (uint64_t)(PC_SLOTS / n_ranks(s)));
    if (o->in_backward)
        return 0;
    return o->bf16 || n <= 1 ? 1 : n < PC_SLOTS ? 2 : 3;
}

static void need(void *ctx, int32_t part, bool back)
{
    const struct pc_train_setup *s = ctx;
    pc_ranks_need(s->ranks, s->params->w, part, back);
}

static void done(void *ctx, int32_t part, bool back)
{
    const struct pc_train_setup *s = ctx;
    (void)back;
    pc_ranks_done(s->ranks, s->params->w, part);
}

static bool ready(void *ctx, int32_t part)
{
    const struct pc_train_setup *s = ctx;
    pc_ranks_ready(s->ranks, part);
    return true;
}

/* Nothing is updated by a step whose loss is not finite: that is known before its first update. */
static bool update_part(void *ctx, int32_t part)
{
    struct pc_trainer *t = ctx;
    for (uint64_t i = 0; i < t->n_in_pass && part == t->setup.model->config.n_layers; i++)
        if (!isfinite(t->loss[i]))
            return false;
    return pc_in_backward_ready(t->in_backward, part);
}

/* Rows of a step, at most. */
static uint64_t step_rows(const struct pc_train_setup *s, const struct pc_train_options *o)
{
    uint64_t room = s->packs ? s->packs->room : s->examples->longest, n;
    return pc_mul_u64(least(o->batch, n_units(s)), room, &n) ? least(n, s->examples->n_ids)
                                                             : s->examples->n_ids;
}

static struct pc_pass_options pass_options(const struct pc_train_setup *s, const struct pc_train_options *o)
{
    size_t longest = s->examples->longest;
    if (s->validation && s->validation->longest > longest)
        longest = s->validation->longest;
    struct pc_pass_options p = {.kernels = s->kernels,
        .pool = s->pool,
        .max_rows = longest,
        .max_examples = 1,
        .kv_type = o->bf16 ? PC_BF16 : PC_F32,
        .lora = s->lora,
        .dropout = (float)o->dropout,
        .recompute = o->recompute};
    if (s->ranks)
        p.hooks = (struct pc_pass_hooks){need, done, ready, (void *)s};
    if (o->in_backward && p.max_rows < step_rows(s, o))
        p.max_rows = step_rows(s, o);
    if (o->in_backward)
        p.max_examples = step_examples(s, o);
    if (!o->bf16 || o->in_backward)
        return p;
    if (p.max_rows < PC_TRAIN_ROWS)
        p.max_rows = least(PC_TRAIN_ROWS, step_examples(s, o) * longest);
    p.max_examples = least(PC_TRAIN_ROWS, step_examples(s, o));
    return p;
}

/* Elements of the optimiser's states that are in memory; on the rank that has most. */
static uint64_t own_states(const struct pc_train_setup *s)
{
    const struct pc_shard *shard = pc_ranks_shard(s->ranks);
    return shard ? pc_shard_most_own(shard) : s->params->n_flat;
}

/* Bytes. */
static uint64_t own_weights(const struct pc_train_setup *s)
{
    return s->ranks && s->ranks->zero >= 3 ? pc_shard_n_passing(&s->ranks->shard) * sizeof(float)
                                           : pc_params_size(s->params);
}

/* Bytes. */
static uint64_t own_gradients(const struct pc_train_setup *s, const struct pc_train_options *o)
{
    if (o->in_backward)
        return pc_in_backward_size(s->params);
    if (s->ranks && s->ranks->zero >= 2 && o->bf16)
        return pc_shard_n_passing(&s->ranks->shard) * sizeof(float);
    return s->params->n_flat * sizeof(float) * (uint64_t)n_gradients(s, o);
}

void pc_train_memory(
    const struct pc_train_setup *s, const struct pc_train_options *o, struct pc_train_memory *out)
{
    struct pc_pass_options p = pass_options(s, o);
    struct pc_pass_plan pass = pc_pass_plan(s->model, &p);
    *out = (struct pc_train_memory){.base = s->lora ? s->model->weights_size : s->model->own_size,
        .weights = own_weights(s),
        .gradients = own_gradients(s, o),
        .states = o->optimizer.states_dir ? pc_states_file_memory(s->params, o->optimizer.states)
                                          : pc_optimizer_size(own_states(s), o->optimizer.states),
        .activations = pass.activations,
        .scratch = pass.scratch,
        .examples = s->examples->n_ids * (s->examples->wide ? 4 : 2) + s->examples->n_ids / 8 +
                    s->examples->n * (sizeof *s->examples->examples + sizeof(uint32_t)) +
                    (s->packs ? (s->packs->n_examples + 2 * s->packs->n + 2) * sizeof(uint32_t) : 0)};
}

uint64_t pc_train_memory_total(const struct pc_train_memory *m)
{
    return m->base + m->weights + m->gradients + m->states + m->activations + m->scratch + m->examples +
           m->measuring;
}

/* ---- life ---- */

static void clear(const struct pc_trainer *t, float *g)
{
    if (t->setup.ranks)
        pc_ranks_clear(t->setup.ranks, g);
    else
        memset(g, 0, (size_t)t->setup.params->n_flat * sizeof *g);
}

static int make_buffers(struct pc_trainer *t, struct paco_error *err)
{
    const struct pc_train_setup *s = &t->setup;
    size_t n = (size_t)step_examples(s, &t->options), size = (size_t)s->params->n_flat * sizeof(float);
    t->order = pc_alloc(s->examples->n, sizeof *t->order);
    t->weight = pc_alloc(n, sizeof *t->weight);
    t->loss = pc_alloc(n, sizeof *t->loss);
    t->n_rows = pc_alloc(n, sizeof *t->n_rows);
    t->bounds = pc_alloc((size_t)n_ranks(s) + 1, sizeof *t->bounds);
    if (s->packs)
        t->pack_at = pc_alloc(s->packs->n + 1, sizeof *t->pack_at);
    if (!t->order || !t->weight || !t->loss || !t->n_rows || !t->bounds || (s->packs && !t->pack_at))
        return pc_error_mem(err, s->examples->n * sizeof *t->order, "the order of examples");
    for (int i = 0; i < n_gradients(s, &t->options); i++) {
        t->gradient[i] = pc_alloc_huge(size);
        if (!t->gradient[i])
            return pc_error_mem(err, size, "gradients");
        clear(t, t->gradient[i]);
    }
    return 0;
}

static int plan(struct pc_trainer *t, struct paco_error *err)
{
    const struct pc_train_options *o = &t->options;
    uint64_t n = n_units(&t->setup);
    int rc = pc_course_plan(n, o->batch, o->accumulation, o->n_epochs, o->max_updates, &t->course, err);
    if (rc < 0)
        return rc;
    uint64_t ticks = t->course.n_updates, per_update = 1, ranks = (uint64_t)n_ranks(&t->setup);
    if (o->quirks && o->batch % ranks)
        return pc_error_set(err, PACO_EINVAL,
            "upstream gives each process a micro-batch of its own: batches of %llu cannot be shared by %llu "
            "ranks evenly",
            (unsigned long long)o->batch, (unsigned long long)ranks);
    if (o->quirks) {
        per_update = ranks;
        ticks = pc_schedule_upstream_ticks(
            n, o->batch / ranks, o->accumulation, o->n_epochs, o->max_updates, ranks);
    }
    return pc_schedule_make(
        o->schedule, o->learning_rate, o->warmup_ratio, ticks, per_update, &t->schedule, err);
}

int pc_trainer_new(const struct pc_train_setup *setup, const struct pc_train_options *options,
    struct pc_trainer **out, struct paco_error *err)
{
    struct pc_trainer *t = pc_alloc_zero(1, sizeof *t);
    if (!t)
        return pc_error_mem(err, sizeof *t, "a trainer");
    t->setup = *setup;
    t->options = *options;
    t->options.optimizer.decay_norms = options->quirks;
    t->options.optimizer.seed = options->seed;
    t->options.optimizer.adamw = &setup->kernels->adamw;
    t->options.optimizer.shard = pc_ranks_shard(setup->ranks);
    t->order_epoch = UINT64_MAX;
    struct pc_pass_options p = pass_options(&t->setup, options);
    int first, end, rc = plan(t, err);
    if (rc == 0 && !options->bf16)
        rc = pc_shard_slots(0, n_ranks(setup), &first, &end, err);
    if (rc == 0)
        rc = make_buffers(t, err);
    if (rc == 0)
        rc = pc_optimizer_new(setup->params, &t->options.optimizer, setup->pool, &t->optimizer, err);
    if (rc == 0 && options->in_backward) {
        p.hooks = (struct pc_pass_hooks){.ready = update_part, .ctx = t};
        rc = pc_in_backward_new(&t->in_backward, setup->params, t->optimizer, setup->pool, err);
    }
    if (rc == 0)
        rc = pc_pass_new(setup->model, setup->params, &p, &t->pass, err);
    if (rc < 0)
        return pc_trainer_free(t), rc;
    *out = t;
    return 0;
}

void pc_trainer_free(struct pc_trainer *t)
{
    if (!t)
        return;
    pc_pass_free(t->pass);
    pc_in_backward_free(t->in_backward);
    pc_optimizer_free(t->optimizer);
    for (size_t i = 0; i < sizeof t->gradient / sizeof *t->gradient; i++)
        pc_free(t->gradient[i]);
    pc_free(t->order);
    pc_free(t->pack_at);
    pc_free(t->weight);
    pc_free(t->loss);
    pc_free(t->n_rows);
    pc_free(t->bounds);
    pc_free(t);
}

/* ---- a step's examples ---- */

/* A step under way: the examples of units [first_unit, first_unit + n_units) of the epoch's order. */
struct step {
    struct pc_trainer *t;
    const struct pc_progress *progress;
    const uint32_t *example;
    uint64_t n;
    uint64_t first_unit, n_units;
    uint64_t key;             /* of dropout */
    int first_slot, end_slot; /* in F32: this rank's */
};

static const struct pc_example *example_at(const struct step *s, uint64_t i)
{
    return pc_example_at(s->t->setup.examples, s->example[i]);
}

/* Where unit i of the step begins among its examples; of n_units, their end. */
static uint64_t unit_at(const struct step *s, uint64_t i)
{
    const uint32_t *at = s->t->pack_at;
    return at ? at[s->first_unit + i] - at[s->first_unit] : i;
}

/* What every loss of examples [first, end) weighs, if they are one mean. */
static void weigh(struct step *s, uint64_t first, uint64_t end, double share)
{
    uint64_t n_trained = 0;
    for (uint64_t i = first; i < end; i++)
        n_trained += example_at(s, i)->n_trained;
    for (uint64_t i = first; i < end; i++)
        s->t->weight[i] = n_trained ? (float)(share / (double)n_trained) : 0;
}

static void weigh_all(struct step *s)
{
    const struct pc_train_options *o = &s->t->options;
    if (!o->quirks) {
        weigh(s, 0, s->n, 1);
        return;
    }
    // A micro-batch is what one of upstream's processes has.
    uint64_t ranks = (uint64_t)n_ranks(&s->t->setup), batch = o->batch / ranks;
    for (uint64_t i = 0, end; i < s->n_units; i = end) {
        end = i + least(batch, s->n_units - i);
        weigh(s, unit_at(s, i), unit_at(s, end), 1 / (double)(o->accumulation * ranks));
    }
}

/* Lay out a pass of examples [i, end). */
static void fill_pass(struct step *s, uint64_t i, uint64_t end)
{
    struct pc_trainer *t = s->t;
    pc_pass_begin(t->pass);
    for (; i < end; i++) {
        uint64_t n = example_at(s, i)->n_ids, key = pc_keyed_bits(s->key, s->example[i]);
        struct pc_pass_rows to = pc_pass_add(t->pass, (size_t)n);
        pc_examples_get(t->setup.examples, s->example[i], to.id, to.label);
        for (uint64_t k = 0; k < n; k++)
            to.weight[k] = t->weight[i], to.key[k] = key;
    }
}

static int ask(const struct step *s, struct paco_error *err)
{
    const struct pc_trainer *t = s->t;
    const struct pc_progress_event event = {
        .phase = "training", .done = t->step, .total = t->course.n_updates, .unit = "steps"};
    if (pc_progress(s->progress, &event) != 0 && n_ranks(&t->setup) == 1)
        return pc_error_set(err, PACO_ECANCELLED, "stopped after step %llu", (unsigned long long)t->step);
    return 0;
}

/* Where the pass that begins with example i ends. */
static uint64_t end_of_pass(const struct step *s, uint64_t i, uint64_t end)
{
    uint64_t rows = example_at(s, i++)->n_ids;
    while (s->t->options.bf16 && i < end && rows + s->t->n_rows[i] <= PC_TRAIN_ROWS)
        rows += example_at(s, i++)->n_ids;
    return i;
}

/* In BF16: where the last pass of examples [first, end) begins; how many there are in *n. */
static uint64_t last_pass(const struct step *s, uint64_t first, uint64_t end, int64_t *n)
{
    uint64_t begin = first, next;
    *n = 0;
    for (uint64_t i = first; i < end; i = next, ++*n)
        begin = i, next = end_of_pass(s, i, end);
    return begin;
}

/* Ranks: the last pass of the step, or with --zero 2 each, hands its gradients to their owners as it goes.
 * Where others have more passes, this one lends its hand to theirs. */
static int run_shared(struct step *s, uint64_t first, uint64_t end, float *g, struct paco_error *err)
{
    struct pc_ranks *ranks = s->t->setup.ranks;
    int64_t n, most;
    uint64_t last = last_pass(s, first, end, &n);
    bool each = ranks->zero >= 2;
    int rc = pc_ranks_most(ranks, n, &most, err);
    for (uint64_t i = first; i < end && rc == 0 && (rc = ask(s, err)) == 0;) {
        uint64_t next = end_of_pass(s, i, end);
        fill_pass(s, i, next);
        if (each || i == last)
            pc_ranks_begin(ranks, g);
        pc_pass_run(s->t->pass, g, s->t->loss + i);
        if (each || i == last)
            rc = pc_ranks_add(ranks, g, err);
        i = next;
    }
    if (!each)
        return rc == 0 && n == 0 ? pc_ranks_add(ranks, g, err) : rc;
    for (; n < most && rc == 0; n++) {
        pc_ranks_begin(ranks, g);
        pc_ranks_idle(ranks, s->t->setup.params->w);
        rc = pc_ranks_add(ranks, g, err);
    }
    return rc;
}

/* Add the gradients of examples [first, end) to g. */
static int run_examples(struct step *s, uint64_t first, uint64_t end, float *g, struct paco_error *err)
{
    int rc = 0;
    for (uint64_t i = first; i < end && (rc = ask(s, err)) == 0;) {
        uint64_t next = end_of_pass(s, i, end);
        fill_pass(s, i, next);
        pc_pass_run(s->t->pass, g, s->t->loss + i);
        i = next;
    }
    return rc;
}

/* The tree over slots: s0 and s1 end in the first buffer, s2 and s3 in the second. A slot without examples is
 * left out, as are those behind it then. With several ranks each has a branch of the tree. */
static int run_slots(struct step *s, struct paco_error *err)
{
    static const int into[PC_SLOTS] = {0, 1, 1, 2};
    const int first_slot = s->first_slot, n_slots = s->end_slot - s->first_slot;
    struct pc_trainer *t = s->t;
    uint64_t n_flat = t->setup.params->n_flat;
    int rc = 0;
    for (int k = 0; k < n_slots && (uint64_t)(first_slot + k) < s->n && rc == 0; k++) {
        uint64_t first, end;
        pc_shard_slot(s->n, PC_SLOTS, first_slot + k, &first, &end);
        rc = run_examples(s, first, end, t->gradient[into[k]], err);
        if (rc == 0 && k % 2 == 1)
            pc_gradients_join(t->gradient[into[k] - 1], t->gradient[into[k]], n_flat, t->setup.pool);
    }
    if (rc == 0 && n_slots == PC_SLOTS && s->n > 2)
        pc_gradients_join(t->gradient[0], t->gradient[1], n_flat, t->setup.pool);
    return rc;
}

static void clear_gradients(struct pc_trainer *t)
{
    for (size_t i = 0; i < sizeof t->gradient / sizeof *t->gradient; i++)
        if (t->gradient[i])
            clear(t, t->gradient[i]);
}

/* ---- a step ---- */

static void report_examples(const struct step *s, struct pc_train_report *r)
{
    for (uint64_t i = 0; i < s->n; i++) {
        const struct pc_example *e = example_at(s, i);
        r->n_tokens += e->n_ids;
        r->n_trained += e->n_trained;
        r->n_truncated += (e->flags & PC_EXAMPLE_TRUNCATED) != 0;
    }
    r->n_examples = s->n;
}

/* The sum of what every loss is worth, examples in order. */
static double step_loss(const struct step *s, const struct pc_train_report *r)
{
    const struct pc_trainer *t = s->t;
    double sum = 0;
    for (uint64_t i = 0; i < s->n; i++)
        sum += t->options.quirks ? (double)t->weight[i] * t->loss[i] : t->loss[i];
    return t->options.quirks ? sum : r->n_trained ? sum / (double)r->n_trained : 0;
}

bool pc_trainer_is_torn(const struct pc_trainer *t)
{
    return t->in_backward && t->in_backward->torn;
}

static int check_finite(const struct pc_train_report *r, struct paco_error *err)
{
    if (isfinite(r->loss) && isfinite(r->norm))
        return 0;
    return pc_error_set(err, PACO_EVERIFY,
        "step %llu: the loss is %g and the gradient's norm %g: the weights are left as they were before it",
        (unsigned long long)r->step, r->loss, r->norm);
}

/* ---- sharing a step ---- */

static uint32_t rows_of_unit(const struct step *s, uint64_t i_unit)
{
    uint32_t rows = 0;
    for (uint64_t i = unit_at(s, i_unit); i < unit_at(s, i_unit + 1); i++)
        rows += example_at(s, i)->n_ids;
    return rows;
}

/* What has to fit into a pass for an example to begin there: itself, or, so that packs are not cut without
 * need, the pack that begins with it. */
static void measure_rows(struct step *s)
{
    for (uint64_t k = 0; k < s->n_units; k++) {
        uint32_t all = rows_of_unit(s, k), *rows = s->t->n_rows;
        for (uint64_t i = unit_at(s, k); i < unit_at(s, k + 1); i++)
            rows[i] = example_at(s, i)->n_ids;
        if (all <= PC_TRAIN_ROWS)
            rows[unit_at(s, k)] = all;
    }
}

/* Which examples are whose, by units; in F32 whole slots. */
static void deal(struct step *s)
{
    struct pc_trainer *t = s->t;
    int size = n_ranks(&t->setup), rank = t->setup.ranks ? t->setup.ranks->rank : 0;
    for (uint64_t i = 0; i < s->n_units; i++)
        t->n_rows[i] = rows_of_unit(s, i);
    pc_shard_deal(t->n_rows, s->n_units, size, t->bounds);
    for (int k = 0; k <= size; k++)
        t->bounds[k] = unit_at(s, t->bounds[k]);
    measure_rows(s);
    for (int k = 0; k < size && !t->options.bf16; k++) {
        uint64_t end;
        pc_shard_slots(k, size, &s->first_slot, &s->end_slot, NULL);
        pc_shard_slot(s->n, PC_SLOTS, s->first_slot, &t->bounds[k], &end);
    }
    if (!t->options.bf16)
        pc_shard_slots(rank, size, &s->first_slot, &s->end_slot, NULL);
}

/* In F32 with --zero 3 a pass is an example, and some ranks have more. */
static void idle_examples(const struct step *s)
{
    const struct pc_trainer *t = s->t;
    struct pc_ranks *ranks = t->setup.ranks;
    uint64_t most = 0, own = t->bounds[ranks->rank + 1] - t->bounds[ranks->rank];
    for (int k = 0; k < ranks->size; k++)
        most = t->bounds[k + 1] - t->bounds[k] > most ? t->bounds[k + 1] - t->bounds[k] : most;
    for (; own < most && ranks->zero >= 3; own++)
        pc_ranks_idle(ranks, t->setup.params->w);
}

/* All of the step in one pass, in which every part of the model is updated. Once begun it is not stopped: it
 * would be torn. */
static int run_in_backward(struct step *s, struct pc_train_report *r, struct paco_error *err)
{
    struct pc_trainer *t = s->t;
    int rc = ask(s, err);
    if (rc < 0)
        return rc;
    fill_pass(s, 0, s->n);
    t->n_in_pass = s->n;
    pc_in_backward_begin(t->in_backward, r->rate);
    (void)pc_pass_run_parts(t->pass, &t->in_backward->parts, t->loss);
    rc = pc_in_backward_end(t->in_backward, &r->norm, err);
    r->loss = step_loss(s, r);
    if (rc < 0)
        return pc_error_prefix(err, "step %llu, of loss %g", (unsigned long long)r->step, r->loss), rc;
    rc = check_finite(r, err);
    t->step += rc == 0;
    return rc;
}

/* Gradients and losses of the step's examples, everyone's. */
static int compute(struct step *s, struct paco_error *err)
{
    struct pc_trainer *t = s->t;
    struct pc_ranks *ranks = t->setup.ranks;
    int rank = ranks ? ranks->rank : 0;
    deal(s);
    if (!t->options.bf16) {
        int rc = run_slots(s, err);
        if (rc == 0 && ranks)
            idle_examples(s);
        if (rc == 0 && ranks)
            rc = pc_ranks_add(ranks, t->gradient[0], err);
        return rc < 0 || !ranks ? rc : pc_ranks_share(ranks, t->loss, t->bounds, err);
    }
    if (!ranks)
        return run_examples(s, 0, s->n, t->gradient[0], err);
    int rc = run_shared(s, t->bounds[rank], t->bounds[rank + 1], t->gradient[0], err);
    return rc < 0 ? rc : pc_ranks_share(ranks, t->loss, t->bounds, err);
}

static int norm_of(struct pc_trainer *t, double *norm, struct paco_error *err)
{
    struct pc_ranks *ranks = t->setup.ranks;
    pc_optimizer_squares(t->optimizer, t->gradient[0], t->setup.pool);
    int rc = ranks ? pc_ranks_squares(ranks, t->optimizer->partial, err) : 0;
    *norm = pc_optimizer_norm_of_squares(t->optimizer);
    return rc;
}

/* Whether anyone wants to stop, before anything of the step is done. */
static int agree(const struct step *s, struct paco_error *err)
{
    const struct pc_trainer *t = s->t;
    const struct pc_progress_event event = {
        .phase = "training", .done = t->step, .total = t->course.n_updates, .unit = "steps"};
    int64_t stop;
    if (!t->setup.ranks)
        return 0;
    int rc = pc_ranks_most(t->setup.ranks, pc_progress(s->progress, &event) != 0, &stop, err);
    if (rc == 0 && stop)
        rc = pc_error_set(err, PACO_ECANCELLED, "stopped after step %llu", (unsigned long long)t->step);
    return rc;
}

static int update(struct pc_trainer *t, const struct pc_train_report *r, struct paco_error *err)
{
    double clip = t->options.clip, scale = clip > 0 ? clip / (r->norm + 1e-6) : 1; /* torch's */
    pc_optimizer_update(t->optimizer, t->gradient[0], r->rate, scale < 1 ? scale : 1, t->setup.pool);
    t->step++;
    return t->setup.ranks ? pc_ranks_spread(t->setup.ranks, t->setup.params->w, err) : 0;
}

/* Gradients of all examples, their norm, the update. */
static int run_step(struct step *s, struct pc_train_report *r, struct paco_error *err)
{
    struct pc_trainer *t = s->t;
    int rc = agree(s, err);
    if (rc == 0)
        rc = compute(s, err);
    if (rc == 0)
        rc = norm_of(t, &r->norm, err);
    if (rc == 0) {
        r->loss = step_loss(s, r);
        rc = check_finite(r, err);
    }
    if (rc == 0)
        rc = update(t, r, err);
    else
        clear_gradients(t);
    return rc;
}

static void order_epoch(struct pc_trainer *t, uint64_t epoch)
{
    const struct pc_train_options *o = &t->options;
    if (t->setup.packs)
        pc_packs_order(t->setup.packs, o->seed, epoch, o->shuffle, t->order, t->pack_at);
    else
        pc_examples_order(o->seed, epoch, o->shuffle, t->order, t->setup.examples->n);
    t->order_epoch = epoch;
}

int pc_trainer_step(struct pc_trainer *t, const struct pc_progress *progress, struct pc_train_report *report,
    struct paco_error *err)
{
    assert(t->step < t->course.n_updates);
    const struct pc_train_options *o = &t->options;
    uint64_t epoch, first;
    struct step s = {.t = t, .progress = progress, .key = pc_keyed_key(~o->seed, t->step)};
    struct pc_train_report r = {.step = t->step + 1, .rate = pc_schedule_rate(&t->schedule, t->step)};
    double start = pc_seconds();
    pc_course_update(&t->course, t->step, &epoch, &first, &s.n_units);
    if (epoch != t->order_epoch)
        order_epoch(t, epoch);
    s.first_unit = first;
    s.n = unit_at(&s, s.n_units);
    s.example = t->order + (t->pack_at ? t->pack_at[first] : first);
    r.epoch = (double)epoch + (double)(first + s.n_units) / (double)t->course.n_examples;
    report_examples(&s, &r);
    weigh_all(&s);
    int rc = o->in_backward ? run_in_backward(&s, &r, err) : run_step(&s, &r, err);
    r.seconds = pc_seconds() - start;
    *report = r;
    return rc;
}
