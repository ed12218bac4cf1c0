// SPDX-License-Identifier: Apache-2.0
/* The same bytes every time, for every type of weights and of keys and values, at every level this processor
 * has; and that the self-test sees it when they are not. */
#include "unit.h"

#include "base/cpu.h"
#include "engine/selftest.h"
#include "kernels/bf16.h"
#include "tiny_model.h"

static const struct pc_config g_config = {.architecture = "LlamaForCausalLM",
    .n_layers = 2,
    .hidden_size = 64,
    .intermediate_size = 96,
    .n_heads = 4,
    .n_kv_heads = 2,
    .head_dim = 16,
    .vocab_size = 60,
    .max_positions = 256,
    .rms_norm_eps = 1e-5f,
    .rope_theta = 10000.0f,
    .bos_id = -1,
    .pad_id = -1};

static uint64_t run(const struct tiny *m, struct pc_engine_options o)
{
    struct paco_error err = {0};
    struct pc_selftest t;
    if (pc_selftest_determinism(m->ck, &m->config, &o, NULL, &t, &err) < 0)
        fail_msg("%s", err.message);
    if (t.n_different)
        fail_msg("%s, keys and values in %s: %d of %d ways differ, the first: %s", pc_dtype_name(m->dtype),
            pc_dtype_name(o.kv_type), t.n_different, t.n_ways, t.first);
    assert_int_equal(t.n_ways, 3 * 8);
    assert_true(t.n_rows > 3 * 8 * 7);
    return t.digest;
}

static void test_types(void **state)
{
    (void)state;
    static const enum pc_dtype weights[] = {PC_F32, PC_F16, PC_BF16, PC_Q8_0},
                               caches[] = {PC_F32, PC_F16, PC_BF16, PC_Q8_0};
    struct pc_bf16 bf16;
    pc_bf16_init(&bf16, pc_cpu_flags());
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        struct tiny m = {.config = g_config, .dtype = weights[i], .mapped = true, .random = 3 + i};
        m.config.tied = i % 2;
        tiny_make(&m);
        uint64_t digest[4] = {0};
        for (size_t k = 0; k < sizeof caches / sizeof *caches; k++)
            if (k == 0 || k == i || i == 0) /* each type of either once */
                digest[k] = run(&m, (struct pc_engine_options){.kv_type = caches[k], .has_kv_type = true});
        assert_true(i != 0 || (digest[0] != digest[1] && digest[1] != digest[2] && digest[2] != digest[3]));
        uint64_t plain = run(&m, (struct pc_engine_options){.f32 = true});
        uint64_t scalar = run(&m, (struct pc_engine_options){.f32 = true, .scalar = true});
        assert_true(plain == scalar);
        /* BF16 has an arithmetic of its own only where the processor multiplies BF16. */
        bool own = weights[i] == PC_Q8_0 || (weights[i] == PC_BF16 && bf16.native);
        assert_true((plain != digest[0]) == own);
        tiny_release(&m);
    }
}

static void test_levels(void **state)
{
    (void)state;
    static const char *const levels[] = {"scalar", "avx2", "avx512", "neon"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        assert_true(pc_cpu_mask(levels[i]));
        if (strcmp(pc_cpu_level(), levels[i]) != 0)
            continue; /* another processor's */
        for (enum pc_dtype dtype = PC_BF16; dtype <= PC_Q8_0; dtype += PC_Q8_0 - PC_BF16) {
            struct tiny m = {.config = g_config, .dtype = dtype, .mapped = false, .random = 9};
            tiny_make(&m);
            run(&m, (struct pc_engine_options){0});
            tiny_release(&m);
        }
    }
    pc_cpu_mask("native");
}

/* Damages a weight once the plain way is done. */
static int damage(void *ctx, const struct pc_progress_event *event)
{
    struct tiny *m = ctx;
    if (event->done == 8)
        for (size_t i = 0; i < m->n; i++)
            m->bytes[i][1] ^= 0x55;
    return 0;
}

static int stop(void *ctx, const struct pc_progress_event *event)
{
    (void)ctx;
    return event->done == 2;
}

static void test_differences_are_seen(void **state)
{
    (void)state;
    struct tiny m = {.config = g_config, .dtype = PC_F32, .mapped = true, .random = 4};
    tiny_make(&m);
    struct paco_error err = {0};
    struct pc_selftest t;
    struct pc_progress p = {.update = damage, .ctx = &m};
    assert_int_equal(pc_selftest_determinism(m.ck, &m.config, NULL, &p, &t, &err), 0);
    assert_true(t.n_different > 0);
    assert_string_equal(t.first, "2 threads, pieces of 70, row 0");
    p.update = stop;
    assert_int_equal(pc_selftest_determinism(m.ck, &m.config, NULL, &p, &t, &err), PACO_ECANCELLED);
    assert_int_equal(t.n_ways, 2);
    tiny_release(&m);
}

static void test_errors(void **state)
{
    (void)state;
    struct tiny m = {.config = g_config, .dtype = PC_F32, .mapped = true, .random = 4};
    tiny_make(&m);
    struct paco_error err = {0};
    struct pc_selftest t;
    const struct pc_engine_options o = {.kv_type = PC_Q4_0};
    assert_int_equal(pc_selftest_determinism(m.ck, &m.config, &o, NULL, &t, &err), PACO_EUNSUPPORTED);
    for (int n = 0;; n += 41) { /* test_engine.c fails each */
        pc_alloc_fail_after(n);
        int rc = pc_selftest_determinism(m.ck, &m.config, NULL, NULL, &t, &err);
        pc_alloc_fail_after(-1);
        if (rc == 0)
            break;
        assert_int_equal(rc, PACO_EMEM);
    }
    tiny_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_differences_are_seen),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
