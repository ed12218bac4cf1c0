// SPDX-License-Identifier: Apache-2.0
/* Pages of keys and values: taken, shared, copied when written, kept for those who begin alike. */
#include "unit.h"

#include "engine/kv_pool.h"
#include "engine/prefix.h"
#include "model/llama_block.h"
#include "tiny_model.h"

enum { VOCAB = 50, N = 150 };

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

/* ---- the pool ---- */

static void test_pool(void **state)
{
    (void)state;
    struct paco_error err = {0};
    struct pc_kv_pool p;
    pc_kv_pool_init(&p, 100);
    assert_int_equal(p.page_size, 128);
    assert_int_equal(pc_kv_reserve(&p, 3, &err), 0);
    assert_int_equal(pc_kv_reserve(&p, 2, &err), 0);
    assert_int_equal(p.n_pages, 5);
    struct pc_kv_page *page[5];
    for (int i = 0; i < 5; i++) {
        page[i] = pc_kv_take(&p);
        assert_int_equal((uintptr_t)page[i]->data % 64, 0);
        memset(page[i]->data, i, 128);
    }
    for (int i = 0; i < 5; i++)
        assert_int_equal(*(unsigned char *)page[i]->data, i);
    assert_ptr_equal(pc_kv_share(page[2]), page[2]);
    pc_kv_drop(&p, page[2]);
    assert_int_equal(p.n_used, 5);
    pc_kv_drop(&p, page[2]);
    assert_int_equal(p.n_used, 4);
    assert_ptr_equal(pc_kv_take(&p), page[2]);
    /* An unused slab goes once the other is enough; room that is there is not taken twice. */
    for (int i = 0; i < 5; i++)
        pc_kv_drop(&p, page[i]);
    pc_kv_unreserve(&p, 3);
    assert_int_equal(p.n_reserved, 2);
    assert_int_equal(p.n_pages, 3 - (p.n_pages == 2));
    assert_int_equal(pc_kv_reserve_size(&p, p.n_pages - 2), 0);
    assert_int_equal(pc_kv_reserve_size(&p, UINT64_MAX / 2), UINT64_MAX);
    assert_int_equal(pc_kv_reserve(&p, UINT64_MAX / 256, &err), PACO_EMEM);
    assert_contains(err.message, "keys and values");
    pc_kv_unreserve(&p, 2);
    assert_int_equal(p.n_pages, 0);
    pc_kv_pool_release(&p);
}

/* ---- sequences ---- */

struct rig {
    struct tiny m;
    struct pc_engine *e;
    float *want; /* (N, VOCAB): of ids computed in one go, nothing shared */
    int32_t ids[N];
};

static struct pc_seq *new_seq(struct pc_engine *e, int32_t n)
{
    struct paco_error err = {0};
    struct pc_seq *s = NULL;
    if (pc_seq_new(e, n, &s, &err) < 0)
        fail_msg("%s", err.message);
    return s;
}

/* Compute positions [from, to) of ids. */
static void extend(struct pc_engine *e, struct pc_seq *s, const int32_t *ids, int32_t from, int32_t to)
{
    struct pc_row rows[N];
    struct paco_error err = {0};
    for (int32_t i = from; i < to; i++)
        rows[i - from] = (struct pc_row){.seq = s, .pos = i, .token = ids[i], .want_logits = true};
    if (pc_engine_step(e, rows, (size_t)(to - from), &err) < 0)
        fail_msg("%s", err.message);
}

static void check(const struct rig *r, const struct pc_engine *e, int32_t from, int32_t to)
{
    for (int32_t i = from; i < to; i++)
        assert_memory_equal(
            pc_engine_logits(e, (size_t)(i - from)), r->want + (size_t)i * VOCAB, VOCAB * sizeof(float));
}

static struct pc_engine *open_engine(struct rig *r, uint64_t n_kept_blocks)
{
    struct paco_error err = {0};
    struct pc_engine *e = NULL;
    const struct pc_engine_options o = {.n_threads = 2,
        .max_rows = 40,
        .max_logits = N,
        .prefix_size = n_kept_blocks * ((pc_kv_block_size(&g_config, PC_F32) + 63) / 64 * 64)};
    if (pc_engine_open(r->m.ck, &r->m.config, &o, &e, &err) < 0)
        fail_msg("%s", err.message);
    return e;
}

static void setup(struct rig *r, uint64_t n_kept_blocks)
{
    *r = (struct rig){.m = {.config = g_config, .dtype = PC_F32, .mapped = true, .random = 5}};
    tiny_make(&r->m);
    for (int i = 0; i < N; i++)
        r->ids[i] = (i * i * 3 + i) % VOCAB;
    r->want = malloc(sizeof(float) * N * VOCAB);
    struct pc_engine *e = open_engine(r, 0);
    struct pc_seq *s = new_seq(e, N);
    assert_int_equal(pc_prefix_attach(s, NULL, r->ids, N), 0);
    extend(e, s, r->ids, 0, N);
    for (int i = 0; i < N; i++)
        memcpy(r->want + i * VOCAB, pc_engine_logits(e, (size_t)i), VOCAB * sizeof(float));
    pc_prefix_keep(s, r->ids, N);
    assert_int_equal(pc_prefix_stats(e).max_blocks, 0);
    pc_seq_free(s);
    pc_engine_close(e);
    r->e = open_engine(r, n_kept_blocks);
}

static void teardown(struct rig *r)
{
    pc_engine_close(r->e);
    free(r->want);
    tiny_release(&r->m);
}

/* Two go on from one, in its last block: neither sees what the other writes. */
static void test_fork(void **state)
{
    (void)state;
    struct rig r;
    setup(&r, 0);
    int32_t other[N];
    memcpy(other, r.ids, sizeof other);
    for (int i = 40; i < N; i++)
        other[i] = (other[i] + 1) % VOCAB;
    struct pc_seq *a = new_seq(r.e, N), *b = NULL, *c = NULL;
    struct paco_error err = {0};
    extend(r.e, a, r.ids, 0, 50);
    assert_int_equal(pc_seq_fork(a, 40, N, &b, &err), 0);
    assert_int_equal(pc_seq_fork(a, 50, N, &c, &err), 0);
    assert_int_equal(pc_seq_length(b), 40);
    assert_ptr_equal(pc_kv_block(a, 0), pc_kv_block(b, 0));
    assert_ptr_equal(pc_kv_block(a, 1), pc_kv_block(b, 1));
    extend(r.e, b, other, 40, 60);
    assert_ptr_equal(pc_kv_block(a, 0), pc_kv_block(b, 0));
    assert_ptr_not_equal(pc_kv_block(a, 1), pc_kv_block(b, 1));
    extend(r.e, a, r.ids, 50, 70);
    check(&r, r.e, 50, 70);
    pc_seq_free(a);
    extend(r.e, c, r.ids, 50, N);
    check(&r, r.e, 50, N);
    /* b, taken back to where it forked, is the original again. */
    extend(r.e, b, r.ids, 40, N);
    check(&r, r.e, 40, N);
    assert_int_equal(pc_seq_fork(b, 40, 39, &a, &err), PACO_EINVAL);
    assert_contains(err.message, "a sequence of 39 tokens cannot begin with 40");
    pc_seq_free(b);
    pc_seq_free(c);
    teardown(&r);
}

/* Room that was reserved is room, however pages were shared and copied on the way. */
static void test_reserved_room_suffices(void **state)
{
    (void)state;
    struct rig r;
    setup(&r, 4);
    uint64_t random = 1;
    struct pc_seq *s[6] = {NULL};
    struct paco_error err = {0};
    for (int round = 0; round < 400; round++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned i = (unsigned)(random >> 33) % 6, j = (unsigned)(random >> 40) % 6,
                 what = (unsigned)(random >> 50) % 4;
        if (what == 0) {
            pc_seq_free(s[i]);
            s[i] = new_seq(r.e, 100);
            pc_prefix_attach(s[i], NULL, r.ids, 90);
        } else if (what == 1 && s[i] && i != j) {
            pc_seq_free(s[j]);
            assert_int_equal(
                pc_seq_fork(s[i], pc_seq_length(s[i]) - pc_seq_length(s[i]) / 3, 100, &s[j], &err), 0);
        } else if (what == 2 && s[i]) {
            pc_prefix_keep(s[i], r.ids, 100);
        } else if (s[i]) {
            int32_t from = pc_seq_length(s[i]) - pc_seq_length(s[i]) / 4,
                    to = from + 25 < 100 ? from + 25 : 100;
            extend(r.e, s[i], r.ids, from, to);
            check(&r, r.e, from, to);
        }
    }
    for (int i = 0; i < 6; i++)
        pc_seq_free(s[i]);
    teardown(&r);
}

/* ---- beginnings ---- */

static void test_attach(void **state)
{
    (void)state;
    struct rig r;
    setup(&r, 8);
    struct pc_seq *a = new_seq(r.e, N), *b = new_seq(r.e, N);
    assert_int_equal(pc_prefix_attach(a, NULL, r.ids, N), 0);
    extend(r.e, a, r.ids, 0, 120);
    pc_prefix_keep(a, r.ids, N); /* three whole blocks of 120 */
    assert_int_equal(pc_prefix_stats(r.e).n_blocks, 3);
    pc_seq_free(a);

    assert_int_equal(pc_prefix_attach(b, NULL, r.ids, N), 96);
    extend(r.e, b, r.ids, 96, N);
    check(&r, r.e, 96, N);
    /* Part of a block, then a step into it: a copy; the kept one stays as it was. */
    assert_int_equal(pc_prefix_attach(b, NULL, r.ids, 50), 50);
    int32_t ids[N];
    memcpy(ids, r.ids, sizeof ids);
    ids[50] = (ids[50] + 1) % VOCAB;
    extend(r.e, b, ids, 50, 51);
    assert_int_equal(pc_prefix_attach(b, NULL, r.ids, N), 96);
    /* The last position again: its logits were not kept. */
    extend(r.e, b, r.ids, 95, 96);
    check(&r, r.e, 95, 96);
    /* Ids that part inside the second block; ids that are another beginning; a capacity below all that. */
    ids[50] = r.ids[50];
    ids[45] = (ids[45] + 1) % VOCAB;
    assert_int_equal(pc_prefix_attach(b, NULL, ids, N), 45);
    ids[0] = (ids[0] + 1) % VOCAB;
    assert_int_equal(pc_prefix_attach(b, NULL, ids, N), 0);
    assert_int_equal(pc_seq_length(b), 0);
    struct pc_seq *c = new_seq(r.e, 70);
    assert_int_equal(pc_prefix_attach(c, NULL, r.ids, N), 70);
    assert_int_equal(pc_prefix_attach(c, NULL, r.ids, 0), 0);
    pc_seq_free(b);
    pc_seq_free(c);
    teardown(&r);
}

/* A cache of three blocks: the ends of what was longest unused go first, beginnings last. */
static void test_eviction(void **state)
{
    (void)state;
    struct rig r;
    setup(&r, 3);
    int32_t other[N];
    memcpy(other, r.ids, sizeof other);
    other[32] = (other[32] + 1) % VOCAB; /* shares the first block */
    struct pc_seq *a = new_seq(r.e, N), *b = new_seq(r.e, N);
    extend(r.e, a, r.ids, 0, 64);
    pc_prefix_keep(a, r.ids, 64);
    extend(r.e, b, other, 0, 96);
    pc_prefix_keep(b, other, 64);
    struct pc_prefix_stats stats = pc_prefix_stats(r.e);
    assert_int_equal(stats.n_blocks, 3);
    assert_int_equal(stats.n_evicted, 0);
    pc_seq_free(a);
    a = new_seq(r.e, N);
    assert_int_equal(pc_prefix_attach(a, NULL, r.ids, 64), 64); /* now other's second block is the oldest */
    extend(r.e, a, r.ids, 64, 128);
    pc_prefix_keep(a, r.ids, 128); /* its third evicts that one; a fourth would evict its own beginning */
    stats = pc_prefix_stats(r.e);
    assert_int_equal(stats.n_blocks, 3);
    assert_int_equal(stats.n_evicted, 1);
    assert_int_equal(pc_prefix_attach(a, NULL, other, 64), 32);
    assert_int_equal(pc_prefix_attach(a, NULL, r.ids, 128), 96);
    assert_int_equal(pc_prefix_stats(r.e).n_attached, 64 + 32 + 96);
    pc_seq_free(a);
    pc_seq_free(b);
    teardown(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_reserved_room_suffices),
        cmocka_unit_test(test_attach),
        cmocka_unit_test(test_eviction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
