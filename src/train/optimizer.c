// SPDX-License-Identifier: Apache-2.0
#include "train/optimizer.h"

#include "base/memory.h"
#include "kernels/float_bits.h"
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

size_t pc_optim_states_size(enum pc_optim_states states)
{
    return states == PC_STATES_F32 ? 4 : states == PC_STATES_BF16 ? 2 : 1;
}

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
    o->n_own = options->shard ? pc_shard_n_own(options->shard, options->shard->rank) : params->n_flat;
    o->partial = pc_alloc((size_t)pc_params_n_chunks(params), sizeof *o->partial);
    int rc = o->partial ? new_moment(o, &o->m, pool, err) : pc_error_mem(err, 0, "the optimiser");
    if (rc == 0)
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

struct norm {
    const struct pc_optimizer *o;
    const float *g;
};

/* Eight sums side by side, joined in a fixed order; the squares of F32 are exact in double. */
static void square_chunk(void *arg, int64_t i_chunk, int i_worker)
{
    (void)i_worker;
    enum { LANES = 8 };
    const struct norm *n = arg;
    n->o->partial[i_chunk] = 0;
    if (!owns(n->o, (uint64_t)i_chunk, NULL))
        return;
    uint64_t first = (uint64_t)i_chunk * PC_PARAM_CHUNK, left = n->o->params->n_flat - first;
    const float *g = n->g + first;
    size_t count = left < PC_PARAM_CHUNK ? (size_t)left : PC_PARAM_CHUNK; /* a multiple of LANES */
    double lane[LANES] = {0};
    for (size_t i = 0; i < count; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lane[l] += (double)g[i + l] * (double)g[i + l];
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            lane[l] += lane[l + width];
    n->o->partial[i_chunk] = lane[0];
}

void pc_optimizer_squares(struct pc_optimizer *o, const float *g, struct pc_pool *pool)
{
    struct norm n = {o, g};
    pc_pool_run(pool, (int64_t)pc_params_n_chunks(o->params), square_chunk, &n);
}

double pc_optimizer_norm_of_squares(const struct pc_optimizer *o)
{
    double sum = 0;
    for (uint64_t i = 0; i < pc_params_n_chunks(o->params); i++)
        sum += o->partial[i];
    return sqrt(sum);
}

double pc_optimizer_norm(struct pc_optimizer *o, const float *g, struct pc_pool *pool)
{
    pc_optimizer_squares(o, g, pool);
    return pc_optimizer_norm_of_squares(o);
}

/* ---- the update ---- */

/* What all elements of a tensor share. */
struct rule {
    float scale, keep;           /* of gradients; of weights: 1 - rate * decay */
    float fresh1, keep2, fresh2; /* 1 - b1; b2; 1 - b2 */
    float step, root, eps;       /* rate / (1 - b1^t); sqrt(1 - b2^t) */
};

struct update {
    struct pc_optimizer *o;
    float *g;
    struct rule plain, decayed;
    uint64_t key; /* of the rounding of this update */
};

/* torch's single-tensor AdamW, operation by operation. */
static inline void update_f32(const struct rule *r, float *restrict w, float *restrict g, float *restrict m,
    float *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float grad = g[i] * r->scale, mean = m[i] + r->fresh1 * (grad - m[i]);
        float square = v[i] * r->keep2 + r->fresh2 * grad * grad;
        float root = sqrtf(square) / r->root + r->eps;
        w[i] = w[i] * r->keep - r->step * mean / root;
        m[i] = mean;
        v[i] = square;
        g[i] = 0;
    }
}

static void update_bf16(const struct update *u, const struct rule *r, uint64_t at, uint64_t state)
{
    uint16_t *m16 = (uint16_t *)(void *)u->o->m.data + state, *v16 = (uint16_t *)(void *)u->o->v.data + state;
    float m[BLOCK], v[BLOCK];
    for (size_t i = 0; i < BLOCK; i++) {
        m[i] = pc_f32_from_bits((uint32_t)m16[i] << 16);
        v[i] = pc_f32_from_bits((uint32_t)v16[i] << 16);
    }
    update_f32(r, u->o->params->w + at, u->g + at, m, v, BLOCK);
    for (size_t i = 0; i < BLOCK; i++) {
        uint32_t mb = pc_f32_bits(m[i]), vb = pc_f32_bits(v[i]);
        m16[i] = (uint16_t)((mb + 0x7fff + (mb >> 16 & 1)) >> 16);
        v16[i] = (uint16_t)((vb + (uint32_t)(pc_keyed_bits(u->key, at + i) >> 48)) >> 16);
    }
}

/* The 8-bit forms are the leading bits of a float in [2^-16, 1] or [2^-32, 1], counted down from that of 1:
 * code 255 (or 127) is 1, each code below is an eighth of a power of two smaller, 0 is zero. */
enum { MANTISSA = 20, ONE = 0x3f800000 >> MANTISSA, TOP_V = 255, TOP_M = 127 };

static float decode(int code, int top)
{
    return code ? pc_f32_from_bits((uint32_t)(code - top + ONE) << MANTISSA) : 0;
}

/* x in [0, 1]; noise below 2^20 decides what is rounded up. */
static int encode(float x, int top, uint32_t noise)
{
    int code = (int)((pc_f32_bits(x) + noise) >> MANTISSA) - ONE + top;
    return code > top ? top : code;
}

static float largest(const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

static void decode_block(const struct pc_optim_moment *m, uint64_t at, bool is_signed, float *out)
{
    float scale = m->scale[at / BLOCK];
    for (size_t i = 0; i < BLOCK; i++) {
        int code = m->data[at + i];
        float x = is_signed ? decode(code & 127, TOP_M) : decode(code, TOP_V);
        out[i] = is_signed && code > 127 ? -x * scale : x * scale;
    }
}

/* A denominator must not vanish under a mean that is still there: what is not zero stays the smallest code.
 */
static void encode_v(const struct update *u, uint64_t at, uint64_t state, const float *v)
{
    const struct pc_optim_moment *out = &u->o->v;
    float scale = largest(v, BLOCK);
    out->scale[state / BLOCK] = scale;
    for (size_t i = 0; i < BLOCK; i++) {
        uint32_t noise = (uint32_t)(pc_keyed_bits(u->key, at + i) >> (64 - MANTISSA));
        int code = v[i] > 0 ? encode(v[i] / scale, TOP_V, noise) : 0;
        out->data[state + i] = (unsigned char)(code < 1 && v[i] > 0 ? 1 : code);
    }
}

static void encode_m(const struct update *u, uint64_t state, const float *m)
{
    const struct pc_optim_moment *out = &u->o->m;
    float scale = largest(m, BLOCK);
    out->scale[state / BLOCK] = scale;
    for (size_t i = 0; i < BLOCK; i++) {
        int code = scale > 0 ? encode(fabsf(m[i]) / scale, TOP_M, 1u << (MANTISSA - 1)) : 0;
        out->data[state + i] = (unsigned char)((code < 0 ? 0 : code) | (m[i] < 0 ? 128 : 0));
    }
}

static void update_8bit(const struct update *u, const struct rule *r, uint64_t at, uint64_t state)
{
    float m[BLOCK], v[BLOCK];
    decode_block(&u->o->m, state, true, m);
    decode_block(&u->o->v, state, false, v);
    update_f32(r, u->o->params->w + at, u->g + at, m, v, BLOCK);
    encode_m(u, state, m);
    encode_v(u, at, state, v);
}

/* Elements [at, end) of one tensor, both multiples of BLOCK, whose states begin at state. */
static void update_range(
    const struct update *u, const struct rule *r, uint64_t at, uint64_t end, uint64_t state)
{
    struct pc_optimizer *o = u->o;
    if (o->options.states == PC_STATES_F32) {
        update_f32(r, o->params->w + at, u->g + at, (float *)(void *)o->m.data + state,
            (float *)(void *)o->v.data + state, (size_t)(end - at));
        return;
    }
    for (; at < end; at += BLOCK, state += BLOCK)
        if (o->options.states == PC_STATES_BF16)
            update_bf16(u, r, at, state);
        else
            update_8bit(u, r, at, state);
}

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

static void update_chunk(void *arg, int64_t i_chunk, int i_worker)
{
    (void)i_worker;
    const struct update *u = arg;
    const struct pc_params *p = u->o->params;
    uint64_t at = (uint64_t)i_chunk * PC_PARAM_CHUNK, end = at + PC_PARAM_CHUNK, state;
    if (!owns(u->o, (uint64_t)i_chunk, &state))
        return;
    end = end < p->n_flat ? end : p->n_flat;
    for (size_t i = tensor_at(p, at); at < end; i++) {
        uint64_t next = i + 1 < p->n ? p->v[i + 1].offset : p->n_flat;
        next = next < end ? next : end;
        update_range(u, decays(u->o, &p->v[i]) ? &u->decayed : &u->plain, at, next, state);
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

void pc_optimizer_update(struct pc_optimizer *o, float *g, double rate, double scale, struct pc_pool *pool)
{
    const struct pc_optimizer_options *opt = &o->options;
    uint64_t t = ++o->n_updates;
    struct update u = {.o = o, .g = g, .key = pc_keyed_key(opt->seed, t)};
    u.plain = (struct rule){.scale = (float)scale,
        .keep = 1,
        .fresh1 = (float)(1 - opt->beta1),
        .keep2 = (float)opt->beta2,
        .fresh2 = (float)(1 - opt->beta2),
        .step = (float)(rate / (1 - power(opt->beta1, t))),
        .root = (float)sqrt(1 - power(opt->beta2, t)),
        .eps = (float)opt->eps};
    u.decayed = u.plain;
    u.decayed.keep = (float)(1 - rate * opt->weight_decay);
    pc_pool_run(pool, (int64_t)pc_params_n_chunks(o->params), update_chunk, &u);
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
