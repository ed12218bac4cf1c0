// SPDX-License-Identifier: Apache-2.0
/* A tiny model, examples it can learn, and a trainer of it. */
#ifndef PC_UNIT_TRAIN_BENCH_H
#define PC_UNIT_TRAIN_BENCH_H

#include "tiny_model.h"
#include "unit.h"

#include "base/cpu.h"
#include "scratch.h"
#include "train/loop.h"

enum { N_EXAMPLES = 23, MAX_IDS = 20 };

static const struct pc_config g_config = {.n_layers = 2,
    .hidden_size = 32,
    .intermediate_size = 48,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 8,
    .vocab_size = 64,
    .max_positions = 64,
    .rms_norm_eps = 1e-5f,
    .rope_theta = 10000};

/* Examples that can be learned: each id follows from the one before, but for the first few. */
static inline void make_examples(struct pc_examples *e, struct pc_example *rows, uint16_t *ids, uint8_t *mask)
{
    *e = (struct pc_examples){.n = N_EXAMPLES, .examples = rows, .ids = ids, .mask = mask};
    memset(mask, 0, N_EXAMPLES * MAX_IDS / 8 + 1);
    for (uint32_t i = 0; i < N_EXAMPLES; i++) {
        uint32_t n = 4 + i * 7 % (MAX_IDS - 4);
        rows[i] = (struct pc_example){.at = e->n_ids, .n_ids = n, .n_trained = n - 3, .line = i + 1};
        for (uint32_t t = 0; t < n; t++) {
            ids[e->n_ids + t] = (uint16_t)(t ? (ids[e->n_ids + t - 1] * 5u + 3u) % 64 : i * 11 % 64);
            if (t >= 3)
                mask[(e->n_ids + t) / 8] |= (uint8_t)(1 << (e->n_ids + t) % 8);
        }
        e->n_ids += n;
        e->n_trained += n - 3;
        e->longest = n > e->longest ? n : e->longest;
    }
}

/* A trainer and all it stands on. */
struct bench {
    struct tiny tiny;
    struct pc_examples examples;
    struct pc_example rows[N_EXAMPLES];
    uint16_t ids[N_EXAMPLES * MAX_IDS];
    uint8_t mask[N_EXAMPLES * MAX_IDS / 8 + 1];
    struct pc_packs packs;
    struct pc_kernels kernels;
    struct pc_pool *pool;
    struct pc_params *params;
    struct pc_llama *model;
    struct pc_trainer *t;
};

static inline struct pc_train_options options(void)
{
    return (struct pc_train_options){.batch = 3,
        .accumulation = 2,
        .n_epochs = 3,
        .learning_rate = 3e-3,
        .warmup_ratio = 0.1,
        .clip = 1,
        .seed = 7,
        .shuffle = true,
        .optimizer = pc_optimizer_options_default()};
}

/* room: of a pack, in tokens; 0: examples are not packed. like: take that one's examples, in the order of its
 * first epoch, or NULL. matrices: what they are kept in. */
static inline void open_model(struct bench *b, const struct pc_train_options *o, int n_threads, uint32_t room,
    const struct bench *like, bool tied, enum pc_dtype matrices)
{
    struct paco_error err = {0};
    *b = (struct bench){.tiny = {.config = g_config, .dtype = PC_F32, .random = 5}};
    b->tiny.config.tied = tied;
    tiny_make(&b->tiny);
    make_examples(&b->examples, b->rows, b->ids, b->mask);
    for (int i = 0; like && i < N_EXAMPLES; i++)
        b->rows[i] = like->rows[like->t->order[i]];
    if (room)
        assert_int_equal(pc_packs_make(&b->examples, room, o->seed, o->shuffle, &b->packs, &err), 0);
    pc_kernels_init(&b->kernels, pc_cpu_flags());
    b->pool = pc_pool_new(n_threads, &err);
    assert_non_null(b->pool);
    assert_int_equal(pc_params_new(&b->params, &err), 0);
    b->params->matrices = matrices;
    assert_int_equal(pc_params_add_llama(b->params, &b->tiny.config, &err), 0);
    assert_int_equal(pc_params_allocate(b->params, &err), 0);
    assert_int_equal(pc_params_read(b->params, b->tiny.ck, b->pool, NULL, &err), 0);
    assert_int_equal(pc_llama_bind(b->params->ck, &b->tiny.config, &b->kernels,
                         o->bf16 ? PC_PRODUCTS_TRAIN_BF16 : PC_PRODUCTS_F32, &b->model, &err),
        0);
    assert_int_equal(pc_llama_load(b->model, &err), 0);
    pc_params_attach(b->params, b->model);
    const struct pc_train_setup setup = {.params = b->params,
        .model = b->model,
        .examples = &b->examples,
        .packs = room ? &b->packs : NULL,
        .kernels = &b->kernels,
        .pool = b->pool};
    if (pc_trainer_new(&setup, o, &b->t, &err) < 0)
        fail_msg("%s", err.message);
}

static inline void open_with(
    struct bench *b, const struct pc_train_options *o, int n_threads, uint32_t room, const struct bench *like)
{
    open_model(b, o, n_threads, room, like, true, PC_F32);
}

static inline void open_bench(struct bench *b, const struct pc_train_options *o, int n_threads)
{
    open_with(b, o, n_threads, 0, NULL);
}

static inline void close_bench(struct bench *b)
{
    pc_packs_release(&b->packs);
    pc_trainer_free(b->t);
    pc_llama_free(b->model);
    pc_params_free(b->params);
    pc_pool_free(b->pool);
    tiny_release(&b->tiny);
}

static inline void steps(struct bench *b, uint64_t n, struct pc_train_report *last)
{
    struct paco_error err = {0};
    for (uint64_t i = 0; i < n; i++)
        if (pc_trainer_step(b->t, NULL, last, &err) < 0)
            fail_msg("%s", err.message);
}

static inline void assert_same_weights(const struct bench *a, const struct bench *b)
{
    for (size_t i = 0; i < a->params->n; i++)
        assert_memory_equal(pc_params_weights(a->params, &a->params->v[i]),
            pc_params_weights(b->params, &b->params->v[i]), (size_t)a->params->ck->tensors[i].size);
}

#endif
