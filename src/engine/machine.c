// SPDX-License-Identifier: Apache-2.0
#include "engine/machine.h"

#include "base/cpu.h"
#include "base/file.h"
#include "base/host.h"
#include "base/memory.h"
#include "base/threads.h"
#include "kernels/limits.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

enum { SLICES = 4, ROUNDS = 1 << 19 };

#define READ_SIZE ((uint64_t)512 << 20)
#define LEAST_READ ((uint64_t)64 << 20)

const char *pc_arithmetic_name(enum pc_arithmetic a)
{
    static const char *const names[] = {"F32", "BF16", "INT8"};
    return names[a];
}

/* ---- measuring ---- */

struct probe {
    const struct pc_machine_options *o;
    struct pc_limits limits;
    struct pc_pool *pool;
    unsigned char *memory;
    size_t slice_lines; /* of the memory, for each task */
    double (*products)(const struct pc_limits *limits);
    _Atomic uint64_t result; /* so that nothing is left out as unused */
};

static double products_f32(const struct pc_limits *l)
{
    return l->fma_f32(ROUNDS, 1, 1);
}

static double products_bf16(const struct pc_limits *l)
{
    return l->dot_bf16(ROUNDS, 1, 1);
}

static double products_int8(const struct pc_limits *l)
{
    return l->dot_int8(ROUNDS, 1, 1);
}

static void read_slice(void *arg, int64_t i_task, int i_worker)
{
    (void)i_worker;
    struct probe *p = arg;
    const unsigned char *at = p->memory + (size_t)i_task * p->slice_lines * PC_LIMITS_LINE;
    p->result ^= p->limits.read(at, p->slice_lines);
}

static void fill_slice(void *arg, int64_t i_task, int i_worker)
{
    (void)i_worker;
    struct probe *p = arg;
    size_t size = p->slice_lines * PC_LIMITS_LINE;
    memset(p->memory + (size_t)i_task * size, (int)(i_task & 127) + 1, size);
}

static void compute(void *arg, int64_t i_task, int i_worker)
{
    (void)i_task;
    (void)i_worker;
    struct probe *p = arg;
    p->result += (uint64_t)p->products(&p->limits);
}

/* The best rate of rounds that do `amount` each, for the time asked. */
static int best_rate(struct probe *p, int64_t n_tasks, void (*fn)(void *, int64_t, int), double amount,
    double *rate, struct paco_error *err)
{
    double begun = pc_seconds(), now = begun, limit = p->o->seconds > 0 ? p->o->seconds : 0.25;
    *rate = 0;
    for (int i = 0; i < 2 || now - begun < limit; i++) {
        const struct pc_progress_event event = {.phase = "measuring the machine", .unit = ""};
        if (pc_progress(p->o->progress, &event))
            return pc_error_set(err, PACO_ECANCELLED, "stopped");
        double start = pc_seconds();
        pc_pool_run(p->pool, n_tasks, fn, p);
        now = pc_seconds();
        double r = now > start ? amount / (now - start) : 0;
        *rate = r > *rate ? r : *rate;
    }
    return 0;
}

static int measure_reading(struct probe *p, struct pc_machine *out, struct paco_error *err)
{
    uint64_t size = p->o->read_size ? p->o->read_size : READ_SIZE, left = pc_host_memory_available() / 4;
    size = size < left ? size : left > LEAST_READ ? left : LEAST_READ;
    int64_t n_tasks = (int64_t)SLICES * out->n_threads;
    p->slice_lines = (size_t)(size / PC_LIMITS_LINE / (uint64_t)n_tasks);
    size = (uint64_t)n_tasks * p->slice_lines * PC_LIMITS_LINE;
    p->memory = pc_alloc_pages((size_t)size);
    if (!p->memory)
        return pc_error_mem(err, size, "memory to read through");
    (void)madvise(p->memory, (size_t)size, MADV_HUGEPAGE);
    pc_pool_run(p->pool, n_tasks, fill_slice, p);
    int rc = best_rate(p, n_tasks, read_slice, (double)size, &out->read_bytes_s, err);
    pc_free(p->memory);
    return rc;
}

static int measure_products(struct probe *p, enum pc_arithmetic a, struct pc_machine *out,
    double (*products)(const struct pc_limits *), struct paco_error *err)
{
    p->products = products;
    double amount = 2 * products(&p->limits) * (double)out->n_threads;
    return best_rate(p, out->n_threads, compute, amount, &out->flop_s[a], err);
}

int pc_machine_measure(const struct pc_machine_options *o, struct pc_machine *out, struct paco_error *err)
{
    struct probe p = {.o = o};
    pc_limits_init(&p.limits, pc_cpu_flags());
    p.pool = pc_pool_new(o->n_threads, err);
    if (!p.pool)
        return err && err->code ? err->code : PACO_EMEM;
    *out = (struct pc_machine){.n_threads = pc_pool_size(p.pool)};
    int rc = measure_reading(&p, out, err);
    if (rc == 0)
        rc = measure_products(&p, PC_ARITHMETIC_F32, out, products_f32, err);
    if (rc == 0 && p.limits.dot_bf16)
        rc = measure_products(&p, PC_ARITHMETIC_BF16, out, products_bf16, err);
    if (rc == 0 && p.limits.dot_int8)
        rc = measure_products(&p, PC_ARITHMETIC_INT8, out, products_int8, err);
    pc_pool_free(p.pool);
    return rc;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

void pc_machine_join(struct pc_machine *into, const struct pc_machine *other)
{
    into->read_bytes_s = larger(into->read_bytes_s, other->read_bytes_s);
    for (int a = 0; a < PC_N_ARITHMETICS; a++)
        into->flop_s[a] = larger(into->flop_s[a], other->flop_s[a]);
}

/* ---- what a model asks for ---- */

static enum pc_arithmetic arithmetic_of(enum pc_dtype dtype, bool plain)
{
    if (plain)
        return PC_ARITHMETIC_F32;
    return dtype == PC_BF16                   ? PC_ARITHMETIC_BF16
           : pc_dtype_traits(dtype)->is_quant ? PC_ARITHMETIC_INT8
                                              : PC_ARITHMETIC_F32;
}

struct pc_model_work pc_model_work(
    const struct pc_checkpoint *weights, const struct pc_config *c, uint64_t kv_token, bool plain)
{
    struct pc_model_work w = {
        .kv_bytes = (double)kv_token, .attention_flop = 4.0 * c->n_heads * c->head_dim * c->n_layers};
    bool has_head = !c->tied && pc_checkpoint_find(weights, "lm_head.weight");
    for (size_t i = 0; i < weights->n_tensors; i++) {
        const struct pc_tensor *t = &weights->tensors[i];
        uint64_t n = pc_tensor_n_elements(t);
        w.n_params += pc_ends_with(t->name, ".inv_freq") ? 0 : n; /* a buffer, not a parameter */
        bool head = pc_ends_with(t->name, has_head ? "lm_head.weight" : "embed_tokens.weight");
        bool row_only = !head && (pc_ends_with(t->name, "embed_tokens.weight") ||
                                     pc_ends_with(t->name, "lm_head.weight"));
        if (t->n_dims != 2 || row_only)
            continue;
        *(head ? &w.head_bytes : &w.layer_bytes) += (double)t->size;
        (head ? w.head_flop : w.layer_flop)[arithmetic_of(t->dtype, plain)] += 2.0 * (double)n;
    }
    return w;
}

/* n rows that see `seen` positions all together, of which n_logits want logits. */
static void add_rows(
    struct pc_step_work *s, const struct pc_model_work *m, double n, double n_logits, double seen)
{
    for (int a = 0; a < PC_N_ARITHMETICS; a++)
        s->flop[a] += n * m->layer_flop[a] + n_logits * m->head_flop[a];
    s->flop[PC_ARITHMETIC_F32] += seen * m->attention_flop;
}

struct pc_step_work pc_prefill_work(const struct pc_model_work *m, int32_t n)
{
    double rows = n;
    struct pc_step_work s = {.bytes = m->layer_bytes + m->head_bytes + rows * m->kv_bytes};
    add_rows(&s, m, rows, 1, rows * (rows + 1) / 2);
    return s;
}

struct pc_step_work pc_decode_work(
    const struct pc_model_work *m, int32_t batch, int32_t depth, int32_t n_steps)
{
    double steps = n_steps, rows = steps * batch, seen = rows * ((double)depth + (steps + 1) / 2);
    struct pc_step_work s = {.bytes = steps * (m->layer_bytes + m->head_bytes) + seen * m->kv_bytes};
    add_rows(&s, m, rows, rows, seen);
    return s;
}

double pc_least_seconds(const struct pc_machine *machine, const struct pc_step_work *w, bool *by_memory)
{
    double memory = w->bytes / machine->read_bytes_s, products = 0;
    for (int a = 0; a < PC_N_ARITHMETICS; a++) {
        double peak = machine->flop_s[a] > 0 ? machine->flop_s[a] : machine->flop_s[PC_ARITHMETIC_F32];
        products += w->flop[a] / peak;
    }
    if (by_memory)
        *by_memory = memory >= products;
    return larger(memory, products);
}
