// SPDX-License-Identifier: Apache-2.0
/* Many requests over one engine: the same answers alone and in company, what is shared computed once, and the
 * failures of one that leave the others alone. */
#include "unit.h"

#include "base/memory.h"
#include "engine/generate.h"
#include "engine/prefix.h"
#include "engine/scheduler.h"
#include "model/llama_block.h"
#include "tiny_model.h"

enum { VOCAB = 50, N_ITEMS = 32, HEADER = 75, MAX_PROMPT = 130, MAX_ANSWER = 40 };

static const struct pc_config g_config = {.architecture = "LlamaForCausalLM",
    .n_layers = 2,
    .hidden_size = 32,
    .intermediate_size = 64,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 8,
    .vocab_size = VOCAB,
    .max_positions = 256,
    .rms_norm_eps = 1e-5f,
    .rope_theta = 10000.0f,
    .bos_id = -1,
    .pad_id = -1};

/* ---- what is asked, and what came back ---- */

struct item {
    int32_t prompt[MAX_PROMPT];
    struct pc_request r;
    /* of each sample: */
    int32_t ids[4][MAX_ANSWER];
    size_t n[4];
    enum pc_stop stop[4];
    int code[4], n_done;
    char message[256];
    float last[VOCAB], chain; /* logits behind the prompt; a sum over all that were told of */
    int32_t n_logits, last_pos;
    size_t over_at; /* is_over says so at this length; 0: never */
};

static void on_done(void *ctx, int32_t i_sample, const struct pc_answer *a)
{
    struct item *item = ctx;
    assert_in_range(i_sample, 0, 3);
    item->n_done++;
    item->n[i_sample] = a->n;
    item->stop[i_sample] = a->stop;
    item->code[i_sample] = a->error ? a->error->code : 0;
    snprintf(item->message, sizeof item->message, "%.255s", a->error ? a->error->message : "");
    if (a->n)
        memcpy(item->ids[i_sample], a->ids, a->n * sizeof *a->ids);
}

static void on_logits(void *ctx, int32_t i_sample, int32_t pos, const float *logits)
{
    struct item *item = ctx;
    if (i_sample < 0) {
        assert_true(item->n_logits == 0 || pos == item->last_pos + 1);
        item->last_pos = pos;
        item->n_logits++;
        memcpy(item->last, logits, sizeof item->last);
    }
    item->chain = item->chain * 0.5f + logits[pos % VOCAB];
}

static int is_over(void *ctx, int32_t i_sample, const int32_t *ids, size_t n)
{
    (void)i_sample, (void)ids;
    const struct item *item = ctx;
    return item->over_at == n;
}

/* Questions behind one header, of different lengths, asked in different ways. */
static void make_items(struct item *items)
{
    static const int32_t eos[] = {7};
    for (int i = 0; i < N_ITEMS; i++) {
        struct item *item = &items[i];
        *item = (struct item){.over_at = i % 5 == 4 ? 9 : 0};
        size_t n = HEADER + 3 + (size_t)(i * 5 % 41);
        for (size_t k = 0; k < n; k++)
            item->prompt[k] = (int32_t)((k < HEADER       ? k * k * 3 + k
                                            : k == HEADER ? (size_t)i /* they part here */
                                                          : k * (size_t)(i + 2)) %
                                        VOCAB);
        item->r = (struct pc_request){.prompt = item->prompt,
            .n_prompt = n,
            .ctx = item,
            .on_done = on_done,
            .on_logits = on_logits,
            .n_logits = 1,
            .is_over = is_over};
        if (i % 3 == 0)
            continue; /* scored only */
        item->r.max_tokens = 5 + i;
        item->r.eos_ids = eos;
        item->r.n_eos = 1;
        if (i % 3 == 2) {
            item->r.n_samples = i % 4 + 1;
            item->r.sampler = (struct pc_sampler_options){
                .temperature = 1.5, .top_k = 20, .seed = 3, .stream = (uint64_t)i * 4};
        }
        item->r.answer_logits = i % 2 == 0;
    }
}

/* ---- ways to ask ---- */

struct way {
    struct pc_engine_options engine;
    struct pc_scheduler_options scheduler;
    size_t n_at_once; /* requests open at a time; 0: as many as there is room for */
    bool backwards, twice;
    int32_t prompt_rows; /* in a step with answers; 0: all that fit */
};

static struct pc_engine *open_engine(const struct tiny *m, struct pc_engine_options o)
{
    struct paco_error err = {0};
    struct pc_engine *e = NULL;
    if (pc_engine_open(m->ck, &m->config, &o, &e, &err) < 0)
        fail_msg("%s", err.message);
    return e;
}

static struct pc_scheduler *new_scheduler(struct pc_engine *e, struct pc_scheduler_options o)
{
    struct paco_error err = {0};
    struct pc_scheduler *s = NULL;
    if (pc_scheduler_new(e, &o, &s, &err) < 0)
        fail_msg("%s", err.message);
    return s;
}

static void submit(struct pc_scheduler *s, struct item *item, uint64_t *handle)
{
    struct paco_error err = {0};
    if (pc_scheduler_submit(s, &item->r, handle, &err) < 0)
        fail_msg("%s", err.message);
}

static void step(struct pc_scheduler *s)
{
    struct paco_error err = {0};
    if (pc_scheduler_step(s, &err) < 0)
        fail_msg("%s", err.message);
}

static void run(struct pc_scheduler *s, struct item *items, const struct way *way)
{
    size_t most = way->n_at_once ? way->n_at_once : N_ITEMS;
    for (int i = 0; i < N_ITEMS || pc_scheduler_n_open(s);) {
        for (; i < N_ITEMS && pc_scheduler_room(s) && pc_scheduler_n_open(s) < most; i++)
            submit(s, &items[way->backwards ? N_ITEMS - 1 - i : i], NULL);
        step(s);
    }
}

static struct pc_scheduler_stats answer(
    const struct tiny *m, const struct way *way, struct item *items, struct pc_prefix_stats *kept)
{
    struct pc_engine *e = open_engine(m, way->engine);
    struct pc_scheduler *s = new_scheduler(e, way->scheduler);
    pc_scheduler_limit_prompts(s, way->prompt_rows);
    for (int k = 0; k <= way->twice; k++) {
        make_items(items);
        run(s, items, way);
    }
    struct pc_scheduler_stats stats = pc_scheduler_stats(s);
    if (kept)
        *kept = pc_prefix_stats(e);
    pc_scheduler_free(s);
    pc_engine_close(e);
    return stats;
}

static void check_same(const struct item *want, const struct item *got, const char *way)
{
    for (int i = 0; i < N_ITEMS; i++) {
        const struct item *a = &want[i], *b = &got[i];
        int n_samples = a->r.max_tokens && a->r.n_samples ? a->r.n_samples : 1;
        if (b->n_done != n_samples || b->n_logits != 1 || memcmp(a->last, b->last, sizeof a->last) != 0)
            fail_msg("%s: item %d: %d of %d samples, %d logits or others", way, i, b->n_done, n_samples,
                b->n_logits);
        for (int k = 0; k < n_samples; k++)
            if (a->n[k] != b->n[k] || a->stop[k] != b->stop[k] || b->code[k] ||
                memcmp(a->ids[k], b->ids[k], a->n[k] * sizeof(int32_t)) != 0)
                fail_msg(
                    "%s: item %d, sample %d: %zu tokens, not %zu, or others", way, i, k, b->n[k], a->n[k]);
        if (n_samples == 1 && memcmp(&a->chain, &b->chain, sizeof a->chain) != 0)
            fail_msg("%s: item %d: other logits behind its answer", way, i);
    }
}

/* ---- tests ---- */

/* What one request after the other gives through nothing but the engine and the sampler. */
static void answer_plainly(const struct tiny *m, struct item *items)
{
    make_items(items);
    for (int i = 0; i < N_ITEMS; i++) {
        struct item *item = &items[i];
        const struct pc_request *r = &item->r;
        struct paco_error err = {0};
        int n_samples = r->n_samples && r->max_tokens ? r->n_samples : 1;
        for (int k = 0; k < n_samples; k++) {
            struct pc_engine *e = open_engine(m, (struct pc_engine_options){.n_threads = 1});
            struct pc_seq *seq = NULL;
            struct pc_sampler *sampler = NULL;
            struct pc_generation g;
            struct pc_sampler_options o = r->sampler;
            o.stream += (uint64_t)k;
            pc_generation_init(&g);
            assert_int_equal(pc_seq_new(e, (int32_t)r->n_prompt + r->max_tokens + 1, &seq, &err), 0);
            assert_int_equal(pc_sampler_new(VOCAB, &o, &sampler, &err), 0);
            const struct pc_generate_options go = {
                .max_tokens = r->max_tokens, .eos_ids = r->eos_ids, .n_eos = r->n_eos};
            size_t i_row;
            assert_int_equal(pc_prefill(e, seq, r->prompt, r->n_prompt, NULL, &i_row, &err), 0);
            memcpy(item->last, pc_engine_logits(e, i_row), sizeof item->last);
            assert_int_equal(pc_generate(e, NULL, seq, r->prompt, r->n_prompt, sampler, &go, &g, &err), 0);
            item->n[k] = g.ids.n - (g.ids.n && g.stop == PC_STOP_EOS);
            item->stop[k] = g.stop;
            if (item->over_at && item->over_at <= item->n[k]) {
                item->n[k] = item->over_at;
                item->stop[k] = PC_STOP_TEXT;
            }
            if (item->n[k])
                memcpy(item->ids[k], g.ids.v, item->n[k] * sizeof(int32_t));
            pc_generation_release(&g);
            pc_sampler_free(sampler);
            pc_seq_free(seq);
            pc_engine_close(e);
        }
    }
}

static void check_model(enum pc_dtype dtype)
{
    struct tiny m = {.config = g_config, .dtype = dtype, .mapped = true, .random = 11};
    tiny_make(&m);
    static struct item plain[N_ITEMS], want[N_ITEMS], got[N_ITEMS];
    const uint64_t mb = 1 << 20;
    const struct {
        const char *name;
        struct way way;
    } ways[] = {
        {"alone", {.engine = {.n_threads = 1}, .n_at_once = 1}},
        {"in 7", {.engine = {.n_threads = 2}, .n_at_once = 7}},
        {"in 32", {.engine = {.n_threads = 3, .max_logits = 32}}},
        {"cold", {.engine = {.n_threads = 2, .prefix_size = mb}, .n_at_once = 7}},
        {"warm", {.engine = {.n_threads = 2, .prefix_size = mb}, .twice = true}},
        {"a small cache", {.engine = {.n_threads = 2, .prefix_size = 60000}, .twice = true}},
        {"backwards", {.engine = {.n_threads = 1, .prefix_size = mb}, .backwards = true}},
        {"small steps", {.engine = {.n_threads = 1, .max_rows = 5}, .scheduler = {.max_running = 4}}},
        {"prompts in small pieces", {.engine = {.n_threads = 2}, .prompt_rows = 3}},
        {"little room", {.engine = {.n_threads = 1}, .scheduler = {.kv_tokens = 300}}},
        {"no room", {.engine = {.n_threads = 1}, .scheduler = {.kv_tokens = 1}}},
        {"two logits", {.engine = {.n_threads = 1, .max_logits = 2}}},
    };
    answer_plainly(&m, plain);
    answer(&m, &ways[0].way, want, NULL);
    for (int i = 0; i < N_ITEMS; i++)
        plain[i].n_logits = 1, plain[i].chain = want[i].chain;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        answer(&m, &ways[i].way, got, NULL);
        check_same(plain, got, ways[i].name);
    }
    tiny_release(&m);
}

static void test_company_changes_nothing(void **state)
{
    (void)state;
    check_model(PC_F32);
    check_model(PC_Q8_0);
}

/* The tokens that differ: what any way of computing beginnings once has to compute at least. */
static uint64_t n_different(const struct item *items, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        size_t most = 0;
        for (size_t j = 0; j < i; j++) {
            size_t same = 0, end = items[i].r.n_prompt - 1;
            end = end < items[j].r.n_prompt ? end : items[j].r.n_prompt;
            while (same < end && items[i].prompt[same] == items[j].prompt[same])
                same++;
            most = same > most ? same : most;
        }
        sum += items[i].r.n_prompt - most;
    }
    return sum;
}

/* With a cache that holds everything and without any, one at a time and all at once. */
static void test_beginnings_are_computed_once(void **state)
{
    (void)state;
    struct tiny m = {.config = g_config, .dtype = PC_F32, .mapped = true, .random = 11};
    tiny_make(&m);
    static struct item items[N_ITEMS];
    for (int way = 0; way < 4; way++) {
        struct pc_engine *e = open_engine(&m,
            (struct pc_engine_options){
                .n_threads = 1, .max_logits = N_ITEMS, .max_rows = 40, .prefix_size = way & 1 ? 1 << 20 : 0});
        struct pc_scheduler *s = new_scheduler(e, (struct pc_scheduler_options){.kv_tokens = 1 << 13});
        make_items(items);
        uint64_t n_prompt = 0;
        for (int i = 0; i < N_ITEMS; i++) {
            items[i].r.max_tokens = 0;
            n_prompt += items[i].r.n_prompt;
        }
        run(s, items, &(struct way){.n_at_once = way & 2 ? 1 : 0});
        struct pc_scheduler_stats stats = pc_scheduler_stats(s);
        assert_int_equal(stats.n_prompt, n_prompt);
        assert_int_equal(stats.n_done, N_ITEMS);
        assert_int_equal(stats.n_failed + stats.n_decoded, 0);
        if (way == 2) /* donors of single ones are few: blocks of 32 may be computed again */
            assert_in_range(stats.n_computed, n_different(items, N_ITEMS), n_prompt / 2);
        else
            assert_int_equal(stats.n_computed, n_different(items, N_ITEMS));
        pc_scheduler_free(s);
        pc_engine_close(e);
    }
    tiny_release(&m);
}

struct rig {
    struct tiny m;
    struct pc_engine *e;
    struct pc_scheduler *s;
};

static void setup(struct rig *r, struct pc_engine_options eo, struct pc_scheduler_options so)
{
    *r = (struct rig){.m = {.config = g_config, .dtype = PC_F32, .mapped = true, .random = 11}};
    tiny_make(&r->m);
    r->e = open_engine(&r->m, eo);
    r->s = new_scheduler(r->e, so);
}

static void teardown(struct rig *r)
{
    pc_scheduler_free(r->s);
    pc_engine_close(r->e);
    tiny_release(&r->m);
}

/* The samples of one request start from one prompt. */
static void test_samples_share_the_prompt(void **state)
{
    (void)state;
    struct rig r;
    static struct item items[N_ITEMS];
    setup(&r, (struct pc_engine_options){.n_threads = 1}, (struct pc_scheduler_options){.max_running = 2});
    make_items(items);
    items[0].r.max_tokens = 4;
    items[0].r.n_samples = 4;
    items[0].r.sampler.temperature = 1;
    submit(r.s, &items[0], NULL);
    while (pc_scheduler_n_open(r.s))
        step(r.s);
    struct pc_scheduler_stats stats = pc_scheduler_stats(r.s);
    assert_int_equal(items[0].n_done, 4);
    assert_int_equal(stats.n_prompt, items[0].r.n_prompt);
    assert_int_equal(stats.n_computed, items[0].r.n_prompt);
    assert_int_equal(stats.n_decoded, 4 * 3);
    teardown(&r);
}

/* A request of many samples leaves lanes to those that come after it: as soon as one of its samples is done,
 * or else, behind all of them. */
static void test_samples_share_the_lanes(void **state)
{
    (void)state;
    static struct item items[N_ITEMS];
    for (int shares = 0; shares < 2; shares++) {
        struct rig r;
        setup(&r, (struct pc_engine_options){.n_threads = 1},
            (struct pc_scheduler_options){.max_running = 2, .shares_lanes = shares});
        make_items(items);
        items[0].r.max_tokens = items[1].r.max_tokens = 6;
        items[0].r.n_samples = 4;
        items[0].r.sampler.temperature = 1;
        items[1].r.n_eos = 0;
        submit(r.s, &items[0], NULL);
        while (pc_scheduler_stats(r.s).n_decoded == 0)
            step(r.s);
        submit(r.s, &items[1], NULL);
        while (items[1].n_done == 0)
            step(r.s);
        if (shares)
            assert_in_range(items[0].n_done, 2, 3);
        else
            assert_int_equal(items[0].n_done, 4);
        while (pc_scheduler_n_open(r.s))
            step(r.s);
        assert_int_equal(items[0].n_done, 4);
        teardown(&r);
    }
}

/* Logits of every position, whatever is known of the prompt, in steps of few that may have them. */
static void test_logits_of_a_prompt(void **state)
{
    (void)state;
    struct rig r;
    static struct item items[N_ITEMS];
    setup(&r, (struct pc_engine_options){.n_threads = 1, .max_logits = 3, .prefix_size = 1 << 20},
        (struct pc_scheduler_options){0});
    static const size_t wanted[] = {HEADER + 3, 1, 40, HEADER + 3};
    for (size_t k = 0; k < 4; k++) {
        make_items(items);
        assert_int_equal(items[0].r.n_prompt, HEADER + 3);
        items[0].r.n_logits = wanted[k];
        items[0].r.max_tokens = k == 3 ? 2 : 0;
        uint64_t before = pc_scheduler_stats(r.s).n_computed;
        submit(r.s, &items[0], NULL);
        submit(r.s, &items[1], NULL); /* in company */
        while (pc_scheduler_n_open(r.s))
            step(r.s);
        assert_int_equal(items[0].n_logits, wanted[k]);
        assert_int_equal(items[0].last_pos, HEADER + 2);
        assert_true(pc_scheduler_stats(r.s).n_computed - before >= wanted[k]);
    }
    items[0].r.n_logits = HEADER + 4;
    struct paco_error err = {0};
    assert_int_equal(pc_scheduler_submit(r.s, &items[0].r, NULL, &err), PACO_EINVAL);
    teardown(&r);
}

/* A sequence of ids ends the answer and is no part of it. */
static void test_stops(void **state)
{
    (void)state;
    struct rig r;
    static struct item items[N_ITEMS];
    setup(&r, (struct pc_engine_options){.n_threads = 1}, (struct pc_scheduler_options){0});
    make_items(items);
    items[0].r.max_tokens = 20;
    submit(r.s, &items[0], NULL);
    while (pc_scheduler_n_open(r.s))
        step(r.s);
    assert_int_equal(items[0].n[0], 20);
    int32_t answer[20];
    memcpy(answer, items[0].ids[0], sizeof answer);
    for (size_t len = 1; len <= 3; len++) {
        const struct pc_ids never = {.v = (int32_t[]){VOCAB}, .n = 1}, none = {.n = 0},
                            stop = {.v = answer + 7 - len, .n = len};
        const struct pc_ids *const stops[] = {&never, &none, &stop};
        size_t want = 7 - len;
        for (size_t at = 0; at + len <= 7; at++)
            if (memcmp(answer + at, stop.v, len * sizeof *answer) == 0) {
                want = at;
                break;
            }
        make_items(items);
        items[0].r.max_tokens = 20;
        items[0].r.stops = stops;
        items[0].r.n_stops = 3;
        submit(r.s, &items[0], NULL);
        while (pc_scheduler_n_open(r.s))
            step(r.s);
        assert_int_equal(items[0].stop[0], PC_STOP_TEXT);
        assert_int_equal(items[0].n[0], want);
        assert_memory_equal(items[0].ids[0], answer, want * sizeof *answer);
    }
    teardown(&r);
}

static void expect_refused(struct rig *r, struct pc_request q, int code, const char *message)
{
    struct paco_error err = {0};
    assert_int_equal(pc_scheduler_submit(r->s, &q, NULL, &err), code);
    assert_contains(err.message, message);
}

/* What is refused at once, what fails when its turn comes, and nobody else does. */
static void test_failures(void **state)
{
    (void)state;
    struct rig r;
    static struct item items[N_ITEMS];
    setup(&r, (struct pc_engine_options){.n_threads = 1, .memory_limit = 8 << 20},
        (struct pc_scheduler_options){.max_open = 3, .max_running = 2});
    make_items(items);
    struct pc_request q = items[1].r;
    q.n_prompt = 0;
    expect_refused(&r, q, PACO_EINVAL, "the prompt has no tokens");
    q.n_prompt = 5;
    q.n_samples = -1;
    expect_refused(&r, q, PACO_EINVAL, "a prompt of 5 tokens, -1 samples");
    q = items[1].r;
    q.sampler.top_p = 2;
    expect_refused(&r, q, PACO_EINVAL, "top-p 2");
    items[3].prompt[4] = VOCAB;
    expect_refused(&r, items[3].r, PACO_EINVAL, "token 4 of the prompt is 50, the vocabulary has 50");

    items[2].r.max_tokens = 1 << 22;
    items[2].r.n_samples = 3;
    submit(r.s, &items[1], NULL);
    submit(r.s, &items[2], NULL);
    submit(r.s, &items[4], NULL);
    assert_int_equal(pc_scheduler_room(r.s), 0);
    expect_refused(&r, items[5].r, PACO_ELIMIT, "3 requests are open already");
    while (pc_scheduler_n_open(r.s))
        step(r.s);
    assert_int_equal(items[2].n_done, 3);
    assert_int_equal(items[2].code[0], PACO_ELIMIT);
    assert_int_equal(items[2].code[2], PACO_ELIMIT);
    assert_contains(items[2].message, "keys and values of 4194391 tokens need");
    assert_int_equal(items[1].code[0] + items[4].code[0], 0);
    assert_int_equal(items[1].n_done + items[4].n_done, 2);
    assert_int_equal(pc_scheduler_stats(r.s).n_failed, 3);
    assert_int_equal(pc_scheduler_room(r.s), 3);

    struct paco_error err = {0};
    struct pc_scheduler *other;
    assert_int_equal(
        pc_scheduler_new(r.e, &(struct pc_scheduler_options){.max_running = 17}, &other, &err), PACO_EINVAL);
    assert_contains(err.message, "17 sequences (the engine gives 16 rows logits)");
    assert_int_equal(
        pc_scheduler_new(r.e, &(struct pc_scheduler_options){.kv_tokens = 1 << 24}, &other, &err), PACO_EMEM);
    assert_contains(err.message, "keys and values of 16777216 tokens need");
    teardown(&r);
}

/* Broken weights: every logit is NaN. The samples that cannot go on say so. */
static void test_no_number(void **state)
{
    (void)state;
    struct rig r;
    static struct item items[N_ITEMS];
    struct tiny m = {.config = g_config, .dtype = PC_F32, .mapped = true, .random = 11};
    tiny_make(&m);
    for (size_t i = 0; i < m.ck->n_tensors; i++)
        if (strcmp(m.ck->tensors[i].name, "model.norm.weight") == 0)
            memset(m.bytes[i], 0xff, (size_t)m.ck->tensors[i].size);
    r = (struct rig){.m = m, .e = open_engine(&m, (struct pc_engine_options){.n_threads = 1})};
    r.s = new_scheduler(r.e, (struct pc_scheduler_options){0});
    make_items(items);
    for (int i = 0; i < 3; i++)
        submit(r.s, &items[i], NULL);
    while (pc_scheduler_n_open(r.s))
        step(r.s);
    assert_int_equal(items[0].code[0], 0); /* scored: the caller sees the logits */
    assert_int_equal(items[1].code[0], PACO_EFORMAT);
    assert_int_equal(items[2].code[2], PACO_EFORMAT);
    assert_contains(items[2].message, "no token can be chosen");
    teardown(&r);
}

/* A request of three samples, and then a greedy one; no token above 5 is in their prompts. */
static void ask_both(struct rig *r, struct item *drawn, struct item *greedy)
{
    for (int k = 0; k < 2; k++) {
        struct item *item = k ? greedy : drawn;
        *item = (struct item){
            .r = {.prompt = item->prompt, .n_prompt = 20, .max_tokens = 20, .ctx = item, .on_done = on_done}};
        for (int32_t i = 0; i < 20; i++)
            item->prompt[i] = i * (k + 2) % 6;
    }
    drawn->r.n_samples = 3;
    drawn->r.sampler = (struct pc_sampler_options){.temperature = 2, .seed = 5};
    submit(r->s, drawn, NULL);
    for (int i = 0; i < 3; i++)
        step(r->s);
    submit(r->s, greedy, NULL);
    while (pc_scheduler_n_open(r->s))
        step(r->s);
}

static bool holds(const int32_t *ids, size_t n, int32_t id)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* A token that another than the first of three samples takes first, and nobody else. */
static int32_t find_own_token(const struct item *drawn, const struct item *greedy)
{
    for (size_t at = 4; at < 15; at++)
        for (int k = 1; k < 3; k++) {
            int32_t id = drawn->ids[k][at];
            if (id > 5 && !holds(drawn->ids[0], at + 1, id) && !holds(drawn->ids[k], at, id) &&
                !holds(drawn->ids[3 - k], at + 1, id) && !holds(greedy->ids[0], 20, id))
                return id;
        }
    fail_msg("no token to break");
    return -1;
}

/* One token's weights are broken. The request that comes upon it ends, in all its samples, those settled in
 * the same step among them; who runs behind them in that step loses nothing. */
static void test_failure_in_company(void **state)
{
    (void)state;
    struct rig r;
    static struct item drawn, greedy, want;
    setup(&r, (struct pc_engine_options){.n_threads = 1}, (struct pc_scheduler_options){0});
    ask_both(&r, &drawn, &want);
    assert_int_equal(drawn.n_done + want.n_done, 4);
    int32_t broken = find_own_token(&drawn, &want);
    teardown(&r);

    struct tiny m = {.config = g_config, .dtype = PC_F32, .mapped = true, .random = 11};
    tiny_make(&m);
    const struct pc_tensor *t = pc_checkpoint_find(m.ck, "model.embed_tokens.weight");
    memset(m.bytes[t->index] + (size_t)broken * t->row_size, 0xff, (size_t)t->row_size);
    r = (struct rig){.m = m, .e = open_engine(&m, (struct pc_engine_options){.n_threads = 1})};
    r.s = new_scheduler(r.e, (struct pc_scheduler_options){0});
    ask_both(&r, &drawn, &greedy);
    assert_int_equal(drawn.n_done, 3);
    for (int k = 0; k < 3; k++)
        assert_int_equal(drawn.code[k], PACO_EFORMAT);
    assert_int_equal(greedy.code[0], 0);
    assert_int_equal(greedy.n[0], want.n[0]);
    assert_memory_equal(greedy.ids[0], want.ids[0], want.n[0] * sizeof(int32_t));
    teardown(&r);
}

static void test_cancel(void **state)
{
    (void)state;
    struct rig r;
    static struct item items[N_ITEMS], want[N_ITEMS];
    setup(&r, (struct pc_engine_options){.n_threads = 1},
        (struct pc_scheduler_options){.max_open = 6, .max_running = 2});
    answer(&r.m, &(struct way){.engine = {.n_threads = 1}}, want, NULL);
    make_items(items);
    uint64_t handles[6];
    for (int i = 0; i < 6; i++)
        submit(r.s, &items[i], &handles[i]);
    pc_scheduler_cancel(r.s, handles[0]); /* before it began */
    step(r.s);
    assert_int_equal(items[0].n_done, 1);
    assert_int_equal(items[0].stop[0], PC_STOP_CANCELLED);
    for (int i = 0; i < 4; i++)
        step(r.s);
    assert_int_equal(items[1].n_done, 0);
    pc_scheduler_cancel(r.s, handles[1]); /* on the way */
    pc_scheduler_cancel(r.s, handles[2]); /* while its prompt or samples are under way */
    pc_scheduler_cancel(r.s, handles[0]); /* long closed */
    step(r.s);
    assert_int_equal(items[1].stop[0], PC_STOP_CANCELLED);
    assert_int_equal(items[2].n_done, 3);
    while (pc_scheduler_n_open(r.s))
        step(r.s);
    for (int i = 3; i < 6; i++)
        for (int k = 0; k < items[i].n_done; k++) {
            assert_int_equal(items[i].n[k], want[i].n[k]);
            assert_memory_equal(items[i].ids[k], want[i].ids[k], want[i].n[k] * sizeof(int32_t));
        }
    step(r.s); /* nothing to do is nothing done */
    make_items(items);
    submit(r.s, &items[1], NULL);
    step(r.s);
    teardown(&r); /* with one under way */
}

/* A request that rests gets no rows while others go on; then its answer is what it would have been. */
static void test_pause(void **state)
{
    (void)state;
    struct rig r;
    static struct item items[N_ITEMS], want[N_ITEMS];
    setup(&r, (struct pc_engine_options){.n_threads = 1}, (struct pc_scheduler_options){.max_running = 2});
    answer(&r.m, &(struct way){.engine = {.n_threads = 1}}, want, NULL);
    make_items(items);
    uint64_t resting, other;
    submit(r.s, &items[1], &resting);
    submit(r.s, &items[4], &other);
    step(r.s);
    step(r.s);
    pc_scheduler_pause(r.s, resting, true);
    for (int i = 0; i < 60; i++)
        step(r.s);
    assert_int_equal(items[1].n_done, 0);
    assert_int_equal(items[4].n_done, 1);
    uint64_t n_steps = pc_scheduler_stats(r.s).n_steps;
    step(r.s); /* all that is open rests */
    assert_int_equal(pc_scheduler_stats(r.s).n_steps, n_steps);
    assert_int_equal(pc_scheduler_n_open(r.s), 1);
    pc_scheduler_pause(r.s, resting, false);
    while (pc_scheduler_n_open(r.s))
        step(r.s);
    for (int i = 1; i <= 4; i += 3) {
        assert_int_equal(items[i].n[0], want[i].n[0]);
        assert_memory_equal(items[i].ids[0], want[i].ids[0], want[i].n[0] * sizeof(int32_t));
    }
    make_items(items);
    submit(r.s, &items[1], &resting);
    pc_scheduler_pause(r.s, resting, true);
    pc_scheduler_cancel(r.s, resting);
    step(r.s);
    assert_int_equal(items[1].stop[0], PC_STOP_CANCELLED);
    teardown(&r);
}

/* While an answer is written, a step has as many rows of prompts as were allowed, and no more. */
static void test_prompts_wait_for_answers(void **state)
{
    (void)state;
    struct rig r;
    static struct item items[N_ITEMS];
    setup(&r, (struct pc_engine_options){.n_threads = 1}, (struct pc_scheduler_options){.max_running = 4});
    make_items(items);
    pc_scheduler_limit_prompts(r.s, 5);
    submit(r.s, &items[1], NULL);
    step(r.s); /* alone: all of it at once */
    assert_int_equal(pc_scheduler_stats(r.s).n_rows, items[1].r.n_prompt);
    items[3].prompt[0] = 1 + items[1].prompt[0]; /* nothing in common */
    submit(r.s, &items[3], NULL);
    for (uint64_t i = 1; i <= 3; i++) {
        step(r.s);
        assert_int_equal(pc_scheduler_stats(r.s).n_rows, items[1].r.n_prompt + 6 * i);
    }
    pc_scheduler_limit_prompts(r.s, 0);
    step(r.s);
    assert_int_equal(items[3].n_done, 1);
    teardown(&r);
}

/* Every allocation fails in turn: an error, or a request's error, and never a leak or a hang. */
static void test_torture(void **state)
{
    (void)state;
    struct tiny m = {.config = g_config, .dtype = PC_F32, .mapped = true, .random = 11};
    static struct item items[N_ITEMS];
    tiny_make(&m);
    struct pc_engine *e = open_engine(&m, (struct pc_engine_options){.n_threads = 1});
    struct paco_error err = {0};
    int n_failed = 0, n_steps = 0;
    for (int64_t n = 0;; n++, n_failed = 0) {
        make_items(items);
        struct pc_scheduler *s = NULL;
        pc_alloc_fail_after(n);
        int rc = pc_scheduler_new(e, NULL, &s, &err);
        n_failed += rc < 0;
        for (int i = 0; i < 6 && s; i++)
            n_failed += pc_scheduler_submit(s, &items[i].r, NULL, &err) < 0;
        for (n_steps = 0; s && pc_scheduler_n_open(s) && n_steps < 1000; n_steps++)
            n_failed += pc_scheduler_step(s, &err) < 0;
        assert_true(n_steps < 1000);
        pc_alloc_fail_after(-1);
        for (int i = 0; i < 6; i++)
            for (int k = 0; k < items[i].n_done; k++) {
                assert_true(items[i].code[k] == 0 || items[i].code[k] == PACO_EMEM);
                n_failed += items[i].code[k] != 0;
            }
        pc_scheduler_free(s);
        if (n_failed == 0)
            break;
        assert_true(n < 1000);
    }
    pc_engine_close(e);
    tiny_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_company_changes_nothing),
        cmocka_unit_test(test_beginnings_are_computed_once),
        cmocka_unit_test(test_samples_share_the_prompt),
        cmocka_unit_test(test_samples_share_the_lanes),
        cmocka_unit_test(test_logits_of_a_prompt),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_no_number),
        cmocka_unit_test(test_failure_in_company),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_prompts_wait_for_answers),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
