// SPDX-License-Identifier: Apache-2.0
#include "weights/compress.h"

#include "algebra/read_f32.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/memory.h"
#include "weights/adapter_config.h"

#include <stdio.h>
#include <string.h>

static const char PREFIX[] = "base_model.model.";
static const char *const g_modules[] = {
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
enum { N_MODULES = sizeof g_modules / sizeof *g_modules, MAX_CONFIG = 1 << 20 };

/* One tensor of the result: bytes here, or a tensor of the tuned model. */
struct entry {
    float *data;
    const struct pc_tensor *tensor;
};

/* A matrix to be truncated. */
struct task {
    const struct pc_tensor *change;
    float *a, *b;
    struct pc_truncated sums;
};

struct node {
    struct entry *entries;
    size_t n_entries;
};

static int read_entry(
    const struct pc_tensor *t, uint64_t row0, uint64_t n_rows, void *buf, struct paco_error *err)
{
    const struct entry *e = &((const struct node *)t->owner->impl)->entries[t->index];
    if (!e->data)
        return pc_tensor_read(e->tensor, row0, n_rows, buf, err);
    memcpy(buf, (const char *)e->data + row0 * t->row_size, (size_t)(n_rows * t->row_size));
    return 0;
}

static void close_node(struct pc_checkpoint *ck)
{
    struct node *n = ck->impl;
    for (size_t i = 0; n && i < n->n_entries; i++)
        pc_free(n->entries[i].data);
    if (n)
        pc_free(n->entries);
    pc_free(n);
}

static const struct pc_checkpoint_ops g_ops = {.read = read_entry, .close = close_node};

/* Which of the modules that get factors a tensor is the weight of, or -1. */
static int module_of(const struct pc_tensor *t)
{
    char end[32];
    for (int i = 0; i < N_MODULES && t->n_dims == 2; i++) {
        snprintf(end, sizeof end, ".%s.weight", g_modules[i]);
        if (strncmp(t->name, "model.layers.", 13) == 0 && pc_ends_with(t->name, end))
            return i;
    }
    return -1;
}

static int add(struct pc_checkpoint *ck, const char *name, enum pc_dtype dtype, int n_dims,
    const uint64_t *shape, struct entry entry, struct paco_error *err)
{
    struct node *n = ck->impl;
    int rc = pc_checkpoint_add_tensor(ck, name, strlen(name), dtype, n_dims, shape, err);
    if (rc < 0)
        return rc;
    n->entries[n->n_entries++] = entry;
    return 0;
}

/* The pair of a matrix, still to be computed. Its memory belongs to the node from here on. */
static int add_pair(struct pc_checkpoint *ck, const struct pc_compressed *c, const struct pc_tensor *t,
    struct task *task, struct paco_error *err)
{
    const uint64_t of_a[] = {c->rank, t->shape[1]}, of_b[] = {t->shape[0], c->rank};
    char name[PC_MAX_NAME + 64];
    int stem = (int)(strlen(t->name) - strlen(".weight"));
    *task = (struct task){.change = t,
        .a = pc_alloc_zero((size_t)c->rank, (size_t)t->shape[1] * sizeof(float)),
        .b = pc_alloc_zero((size_t)c->rank, (size_t)t->shape[0] * sizeof(float))};
    int rc = task->a && task->b ? 0 : pc_error_mem(err, c->rank * t->shape[1] * sizeof(float), "factors");
    struct entry a = {.data = task->a}, b = {.data = task->b};
    snprintf(name, sizeof name, "%s%.*s.lora_A.weight", PREFIX, stem, t->name);
    if (rc == 0)
        rc = add(ck, name, PC_F32, 2, of_a, a, err);
    if (rc < 0) {
        pc_free(task->a);
        pc_free(task->b);
        return rc;
    }
    snprintf(name, sizeof name, "%s%.*s.lora_B.weight", PREFIX, stem, t->name);
    rc = add(ck, name, PC_F32, 2, of_b, b, err);
    if (rc < 0)
        pc_free(task->b);
    return rc;
}

/* Whether any element of a tensor is not zero. */
static int is_changed(const struct pc_tensor *t, bool *changed, struct paco_error *err)
{
    uint64_t step = ((uint64_t)1 << 18) / t->row_elems;
    step = step ? step : 1;
    float *rows = pc_alloc((size_t)step, (size_t)t->row_elems * sizeof *rows);
    int rc = rows ? 0 : pc_error_mem(err, step * t->row_elems * sizeof *rows, "rows of a change");
    *changed = false;
    for (uint64_t row = 0, n; row < t->n_rows && rc == 0 && !*changed; row += n) {
        n = t->n_rows - row < step ? t->n_rows - row : step;
        rc = pc_tensor_read_f32(t, row, n, rows, err);
        for (uint64_t i = 0; i < n * t->row_elems && rc == 0 && !*changed; i++)
            *changed = rows[i] != 0;
    }
    pc_free(rows);
    return rc;
}

static int add_whole(
    struct pc_checkpoint *ck, struct pc_compressed *c, const struct pc_tensor *t, struct paco_error *err)
{
    bool changed;
    const struct pc_tensor *tuned = pc_checkpoint_find(c->tuned, t->name);
    if (!tuned || !pc_dtype_traits(t->dtype)->is_float || pc_ends_with(t->name, "rotary_emb.inv_freq") ||
        (c->tied && strcmp(t->name, "lm_head.weight") == 0))
        return 0;
    int rc = is_changed(t, &changed, err);
    if (rc < 0 || !changed)
        return rc;
    char name[PC_MAX_NAME + 64];
    snprintf(name, sizeof name, "%s%s", PREFIX, t->name);
    c->n_whole++;
    return add(ck, name, tuned->dtype, tuned->n_dims, tuned->shape, (struct entry){.tensor = tuned}, err);
}

struct truncation {
    struct task *tasks;
    const struct pc_gemm *gemm;
    uint64_t rank;
    size_t first;
    struct paco_error *errs; /* of each task of a batch */
};

static void run_task(void *arg, int64_t i_task, int i_worker)
{
    (void)i_worker;
    const struct truncation *all = arg;
    struct task *t = &all->tasks[all->first + (size_t)i_task];
    struct paco_error *err = &all->errs[i_task];
    size_t n_out = (size_t)t->change->shape[0], n_in = (size_t)t->change->shape[1];
    size_t least = n_out < n_in ? n_out : n_in, rank = all->rank < least ? (size_t)all->rank : least;
    float *d = pc_alloc_huge(n_out * n_in * sizeof *d), *b = pc_alloc(n_out, rank * sizeof *b);
    int rc = d && b ? pc_tensor_read_f32(t->change, 0, t->change->n_rows, d, err)
                    : pc_error_mem(err, n_out * n_in * sizeof *d, "a matrix' change");
    if (rc == 0)
        rc =
            pc_truncate(all->gemm, d, n_out, n_in, rank, all->first + (size_t)i_task, t->a, b, &t->sums, err);
    if (rc < 0 && rc != PACO_EMEM)
        pc_error_prefix(err, "tensor '%s'", t->change->name);
    for (size_t i = 0; i < n_out && rc == 0; i++)
        memcpy(t->b + i * all->rank, b + i * rank, rank * sizeof *b);
    pc_free(d);
    pc_free(b);
}

/* As many at once as there are workers, so that the bar moves and memory is bounded. */
static int run_tasks(struct pc_compressed *c, struct task *tasks, size_t n, struct pc_pool *pool,
    const struct pc_progress *progress, struct paco_error *err)
{
    struct pc_gemm gemm;
    size_t batch = (size_t)pc_pool_size(pool);
    struct truncation all = {.tasks = tasks, .gemm = &gemm, .rank = c->rank};
    pc_gemm_init(&gemm, pc_cpu_flags());
    all.errs = pc_alloc_zero(batch, sizeof *all.errs);
    int rc = all.errs ? 0 : pc_error_mem(err, batch * sizeof *all.errs, "errors");
    for (; all.first < n && rc == 0; all.first += batch) {
        const struct pc_progress_event event = {
            .phase = "truncating", .done = all.first, .total = n, .unit = "matrices"};
        if (pc_progress(progress, &event)) {
            rc = pc_error_set(err, PACO_ECANCELLED, "stopped");
            break;
        }
        size_t now = n - all.first < batch ? n - all.first : batch;
        pc_pool_run(pool, (int64_t)now, run_task, &all);
        for (size_t i = 0; i < now && rc == 0; i++) {
            rc = all.errs[i].code;
            if (rc < 0 && err)
                *err = all.errs[i];
            c->sums.all += tasks[all.first + i].sums.all;
            c->sums.held += tasks[all.first + i].sums.held;
        }
    }
    pc_free(all.errs);
    return rc;
}

static void note_saved(
    const char *const *names, size_t n_names, const struct pc_checkpoint *ck, const char *saved[], size_t *n)
{
    char part[64];
    for (size_t k = 0; k < n_names; k++) {
        bool there = false;
        snprintf(part, sizeof part, ".%s.weight", names[k]);
        for (size_t i = 0; i < ck->n_tensors && !there; i++)
            there = pc_ends_with(ck->tensors[i].name, part);
        if (there)
            saved[(*n)++] = names[k];
    }
}

static int write_config(struct pc_compressed *c, const struct pc_checkpoint *ck, struct paco_error *err)
{
    static const char *const wholes[] = {
        "embed_tokens", "input_layernorm", "post_attention_layernorm", "norm", "lm_head"};
    const char *saved[sizeof wholes / sizeof *wholes];
    struct pc_adapter_made made = {.base = c->base_name,
        .rank = c->rank,
        .alpha = (double)c->rank, /* the factors are the change: scale 1 */
        .targets = g_modules,
        .n_targets = N_MODULES,
        .saved = saved};
    note_saved(wholes, sizeof wholes / sizeof *wholes, ck, saved, &made.n_saved);
    pc_buf_init(&c->config, MAX_CONFIG);
    pc_adapter_config_write(&made, &c->config);
    return pc_buf_check(&c->config, "adapter_config.json", err);
}

static int compress(struct pc_compressed *c, struct pc_checkpoint *ck, struct task *tasks,
    struct pc_pool *pool, const struct pc_progress *progress, struct paco_error *err)
{
    const struct pc_checkpoint *d = c->difference;
    size_t n = 0;
    int rc = 0;
    for (size_t i = 0; i < d->n_tensors && rc == 0; i++)
        rc = module_of(&d->tensors[i]) >= 0 ? add_pair(ck, c, &d->tensors[i], &tasks[n++], err)
                                            : add_whole(ck, c, &d->tensors[i], err);
    if (rc == 0)
        rc = run_tasks(c, tasks, n, pool, progress, err);
    if (rc == 0 && c->sums.all <= 0 && c->n_whole == 0)
        rc = pc_error_set(err, PACO_EMISMATCH, "the tuned model is its base: there is nothing to compress");
    return rc < 0 ? rc : write_config(c, ck, err);
}

int pc_compress_lora(struct pc_compressed *c, struct pc_pool *pool, const struct pc_progress *progress,
    struct pc_checkpoint **out, struct paco_error *err)
{
    size_t n = c->difference->n_tensors;
    struct pc_checkpoint *ck = pc_checkpoint_new("adapter", &g_ops, NULL, err);
    struct task *tasks = pc_alloc_zero(n ? n : 1, sizeof *tasks);
    struct node *node = pc_alloc_zero(1, sizeof *node);
    int rc = ck && tasks && node ? 0 : pc_error_mem(err, n * sizeof *tasks, "an adapter");
    if (ck)
        ck->impl = node;
    if (rc == 0) {
        node->entries = pc_alloc_zero(2 * n + 1, sizeof *node->entries);
        rc = node->entries ? compress(c, ck, tasks, pool, progress, err)
                           : pc_error_mem(err, 2 * n * sizeof *node->entries, "an adapter");
    }
    pc_free(tasks);
    if (rc < 0) {
        if (ck)
            pc_checkpoint_close(ck);
        else
            pc_free(node);
        return rc;
    }
    *out = ck;
    return 0;
}

void pc_compressed_release(struct pc_compressed *c)
{
    pc_buf_release(&c->config);
}
