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
            item->prompt[k] =
                (int32_t)((k < HEADER ? k * k * 3 + k : k * (size_t)(i + 2) + (size_t)i) % VOCAB);
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_company_changes_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
