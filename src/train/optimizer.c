// SPDX-License-Identifier: Apache-2.0
#include "train/optimizer.h"

#include "base/memory.h"
#include "train/keyed.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { BLOCK = PC_PARAM_ALIGN };

static const char *const g_names[] = {
    [PC_STATES_F32] = "f32", [PC_STATES_BF16] = "bf16", [PC_STATES_8BIT] = "8bit"};

bool pc_optim_states_parse(const char *name, enum pc_optim_states *out)
{
    for (size_t i = 0; i < sizeof g_names / sizeof *g_names; i++)
        if (strcmp(name, g_names[i]) == 0)
            return *out = (enum pc_optim_states)i, true;
    return false;
}

const char *pc_optim_states_name(enum pc_optim_states states)
{
    return g_names[states];
}

struct pc_optimizer_options pc_optimizer_options_default(void)
{
    return (struct pc_optimizer_options){.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
}

/* ---- states ---- */

uint64_t pc_optimizer_size(uint64_t n_flat, enum pc_optim_states states)
{
    uint64_t scales = states == PC_STATES_8BIT ? n_flat / BLOCK * sizeof(float) : 0;
    return 2 * (n_flat * pc_optim_states_size(states) + scales);
}

enum { CLEAR = 1 << 22 }; /* bytes at a time */

struct clearing {
    char *memory;
    uint64_t size;
};

static void clear_piece(void *arg, int64_t i, int i_worker)
{
    (void)i_worker;
    const struct clearing *c = arg;
    uint64_t first = (uint64_t)i * CLEAR, left = c->size - first;
    memset(c->memory + first, 0, left < CLEAR ? (size_t)left : CLEAR);
}

void pc_clear_flat(void *memory, uint64_t size, struct pc_pool *pool)
{
    struct clearing c = {memory, size};
    pc_pool_run(pool, (int64_t)((size + CLEAR - 1) / CLEAR), clear_piece, &c);
}

static int new_moment(
    const struct pc_optimizer *o, struct pc_optim_moment *m, struct pc_pool *pool, struct paco_error *err)
{
    uint64_t n = o->n_own, size = n * pc_optim_states_size(o->options.states);
    m->data = pc_alloc_huge((size_t)size);
    if (!m->data)
        return pc_error_mem(err, size, "the optimiser's states");
    pc_clear_flat(m->data, size, pool);
    if (o->options.states != PC_STATES_8BIT)
        return 0;
    m->scale = pc_alloc_zero((size_t)(n / BLOCK), sizeof *m->scale);
    return m->scale ? 0 : pc_error_mem(err, n / BLOCK * sizeof *m->scale, "the optimiser's states");
}

int pc_optimizer_new(const struct pc_params *params, const struct pc_optimizer_options *options,
    struct pc_pool *pool, struct pc_optimizer **out, struct paco_error *err)
{
    struct pc_optimizer *o = pc_alloc_zero(1, sizeof *o);
    if (!o)
        return pc_error_mem(err, sizeof *o, "the optimiser");
    o->params = params;
    o->options = *options;
    if (options->adamw)
        o->adamw = *options->adamw;
    else
        pc_adamw_init(&o->adamw, 0);
    o->n_own = options->shard ? pc_shard_n_own(options->shard, options->shard->rank) : params->n_flat;
    o->partial = pc_alloc((size_t)pc_params_n_chunks(params), sizeof *o->partial);
    int rc = o->partial ? 0 : pc_error_mem(err, 0, "the optimiser");
    if (rc == 0 && options->states_dir)
        rc = pc_states_file_new(&o->file, options->states_dir, params, options->states, err);
    if (rc == 0 && !o->file)
        rc = new_moment(o, &o->m, pool, err);
    if (rc == 0 && !o->file)
        rc = new_moment(o, &o->v, pool, err);
    if (rc < 0)
        return pc_optimizer_free(o), rc;
    *out = o;
    return 0;
}

void pc_optimizer_free(struct pc_optimizer *o)
{
    if (!o)
        return;
    pc_states_file_free(o->file);
    pc_free(o->m.data);
    pc_free(o->m.scale);
    pc_free(o->v.data);
    pc_free(o->v.scale);
    pc_free(o->partial);
    pc_free(o);
}

/* Whether chunk i_chunk is updated here; *local is where its states begin. */
static bool owns(const struct pc_optimizer *o, uint64_t i_chunk, uint64_t *local)
{
    if (o->options.shard)
        return pc_shard_owns(o->options.shard, i_chunk, local);
    if (local)
        *local = i_chunk * PC_PARAM_CHUNK;
    return true;
}

/* ---- the norm ---- */

/* A part at work. */
struct work {
    struct pc_optimizer *o;
    const struct pc_optim_part *part;
    uint64_t first_chunk;
};

/* The elements of the part that are in chunk i_task of those it touches. */
static uint64_t chunk_of(const struct work *work, int64_t i_task, uint64_t *at, uint64_t *end)
{
    uint64_t i_chunk = work->first_chunk + (uint64_t)i_task;
    *at = i_chunk * PC_PARAM_CHUNK;
    *end = *at + PC_PARAM_CHUNK;
    *at = *at > work->part->first ? *at : work->part->first;
    *end = *end < work->part->end ? *end : work->part->end;
    return i_chunk;
}

/* Run fn for every chunk that part touches. */
static void share_part(struct pc_optimizer *o, const struct pc_optim_part *part, struct pc_pool *pool,
    void (*fn)(void *arg, int64_t i_task, int i_worker))
{
    struct work work = {o, part, part->first / PC_PARAM_CHUNK};
    uint64_t end = (part->end + PC_PARAM_CHUNK - 1) / PC_PARAM_CHUNK;
    pc_pool_run(pool, (int64_t)(end - work.first_chunk), fn, &work);
}

/* All of the flat space, whose gradients are g. */
static struct pc_optim_part whole(const struct pc_optimizer *o, float *g)
{
    return (struct pc_optim_part){.end = o->params->n_flat, .g = g, .m = o->m, .v = o->v};
}

/* Eight sums side by side, joined in a fixed order; the squares of F32 are exact in double. */
static void square_chunk(void *arg, int64_t i_task, int i_worker)
{
    (void)i_worker;
    enum { LANES = 8 };
    const struct work *work = arg;
    uint64_t at, end, i_chunk = chunk_of(work, i_task, &at, &end);
    if (!owns(work->o, i_chunk, NULL))
        return;
    const float *g = work->part->g + (at - work->part->first);
    size_t count = (size_t)(end - at); /* a multiple of LANES */
    double lane[LANES] = {0};
    for (size_t i = 0; i < count; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] += (double)g[i + l] * (double)g[i + l];
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] += lane[l + width];
    work->o->partial[i_chunk] += lane[0];
}

void pc_optimizer_squares_begin(struct pc_optimizer *o)
{
    memset(o->partial, 0, (size_t)pc_params_n_chunks(o->params) * sizeof *o->partial);
}

double pc_optimizer_squares_part(
    struct pc_optimizer *o, const struct pc_optim_part *part, struct pc_pool *pool)
{
    uint64_t i = part->first / PC_PARAM_CHUNK, end = (part->end + PC_PARAM_CHUNK - 1) / PC_PARAM_CHUNK;
    double sum = 0;
    share_part(o, part, pool, square_chunk);
    for (; i < end; i++)
        sum += o->partial[i];
    return sum;
}

void pc_optimizer_squares(struct pc_optimizer *o, const float *g, struct pc_pool *pool)
{
    const struct pc_optim_part all = whole(o, (float *)g);
    pc_optimizer_squares_begin(o);
    share_part(o, &all, pool, square_chunk);
}

double pc_optimizer_norm_of_squares(const struct pc_optimizer *o)
{
    double sum = 0;
    for (uint64_t i = 0; i < pc_params_n_chunks(o->params); i++)
        sum += o->partial[i];
    return sqrt(sum);
}

/* ---- the update ---- */

static bool decays(const struct pc_optimizer *o, const struct pc_param *p)
{
    return !p->is_bias && (!p->is_norm || o->options.decay_norms);
}

/* The last tensor that begins at or before element at. */
static size_t tensor_at(const struct pc_params *p, uint64_t at)
{
    size_t low = 0, high = p->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (p->v[middle].offset <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Elements [at, end) of a tensor, both multiples of PC_PARAM_ALIGN, whose states begin at `state` of the
 * part's. */
static void update_tensor(
    const struct work *work, const struct pc_param *param, uint64_t at, uint64_t end, uint64_t state)
{
    const struct pc_optimizer *o = work->o;
    const struct pc_optim_moment *m = &work->part->m, *v = &work->part->v;
    size_t size = pc_optim_states_size(o->options.states);
    void *w = pc_params_weights(o->params, param);
    uint64_t skip = at - param->offset;
    const struct pc_adamw_run run = {.n = (size_t)(end - at),
        .w = param->dtype == PC_F32 ? (float *)w + skip : NULL,
        .w16 = param->dtype == PC_F32 ? NULL : (uint16_t *)w + skip,
        .g = work->part->g + (at - work->part->first),
        .key = o->key,
        .first = at,
        .states = o->options.states,
        .m = m->data + state * size,
        .v = v->data + state * size,
        .m_scale = m->scale ? m->scale + state / BLOCK : NULL,
        .v_scale = v->scale ? v->scale + state / BLOCK : NULL};
    o->adamw.update(decays(o, param) ? &o->decayed : &o->plain, &run);
}

static void update_chunk(void *arg, int64_t i_task, int i_worker)
{
    (void)i_worker;
    const struct work *work = arg;
    const struct pc_params *p = work->o->params;
    uint64_t at, end, state, i_chunk = chunk_of(work, i_task, &at, &end);
    if (!owns(work->o, i_chunk, &state))
        return;
    state += work->o->options.shard ? 0 : at - i_chunk * PC_PARAM_CHUNK - work->part->first;
    for (size_t i = tensor_at(p, at); at < end; i++) {
        uint64_t next = i + 1 < p->n ? p->v[i + 1].offset : p->n_flat;
        next = next < end ? next : end;
        update_tensor(work, &p->v[i], at, next, state);
        state += next - at;
        at = next;
    }
}

/* x^n by squaring: the same on every machine. */
static double power(double x, uint64_t n)
{
    double result = 1;
    while (n) {
        if (n & 1)
            result *= x;
        x *= x;
        n >>= 1;
    }
    return result;
}

void pc_optimizer_begin(struct pc_optimizer *o, double rate, double scale)
{
    const struct pc_optimizer_options *opt = &o->options;
    uint64_t t = ++o->n_updates;
    o->key = pc_keyed_key(opt->seed, t);
    o->plain = (struct pc_adamw_rule){.scale = (float)scale,
        .keep = 1,
        .fresh1 = (float)(1 - opt->beta1),
        .keep2 = (float)opt->beta2,
        .fresh2 = (float)(1 - opt->beta2),
        .step = (float)(rate / (1 - power(opt->beta1, t))),
        .root = (float)sqrt(1 - power(opt->beta2, t)),
        .eps = (float)opt->eps};
    o->decayed = o->plain;
    o->decayed.keep = (float)(1 - rate * opt->weight_decay);
}

struct pc_optim_moment pc_optimizer_moment_at(
    const struct pc_optimizer *o, const struct pc_optim_moment *moment, uint64_t first)
{
    return (struct pc_optim_moment){moment->data + first * pc_optim_states_size(o->options.states),
        moment->scale ? moment->scale + first / BLOCK : NULL};
}

void pc_optimizer_update_part(struct pc_optimizer *o, const struct pc_optim_part *part, struct pc_pool *pool)
{
    share_part(o, part, pool, update_chunk);
}

void pc_optimizer_update(struct pc_optimizer *o, float *g, double rate, double scale, struct pc_pool *pool)
{
    assert(!o->file);
    const struct pc_optim_part all = whole(o, g);
    pc_optimizer_begin(o, rate, scale);
    pc_optimizer_update_part(o, &all, pool);
}

/* ---- slots ---- */

struct join {
    float *into, *from;
    uint64_t n;
};

static void join_chunk(void *arg, int64_t i_chunk, int i_worker)
{
    (void)i_worker;
    const struct join *j = arg;
    uint64_t first = (uint64_t)i_chunk * PC_PARAM_CHUNK, left = j->n - first;
    size_t n = left < PC_PARAM_CHUNK ? (size_t)left : PC_PARAM_CHUNK;
    float *into = j->into + first, *from = j->from + first;
    for (size_t i = 0; i < n; i++) {
        into[i] += from[i];
        from[i] = 0;
    }
}

void pc_gradients_join(float *into, float *from, uint64_t n, struct pc_pool *pool)
{
    struct join j = {into, from, n};
    pc_pool_run(pool, (int64_t)((n + PC_PARAM_CHUNK - 1) / PC_PARAM_CHUNK), join_chunk, &j);
}
