// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cpu.h"
#include "engine/machine.h"
#include "tiny_model.h"

enum { LAYERS = 2, WIDTH = 32, INNER = 64, HEADS = 4, KV_HEADS = 2, HEAD = 8, VOCAB = 50 };

static const struct pc_config g_config = {.architecture = "LlamaForCausalLM",
    .n_layers = LAYERS,
    .hidden_size = WIDTH,
    .intermediate_size = INNER,
    .n_heads = HEADS,
    .n_kv_heads = KV_HEADS,
    .head_dim = HEAD,
    .vocab_size = VOCAB,
    .max_positions = 256,
    .rms_norm_eps = 1e-5f,
    .rope_theta = 10000.0f,
    .bos_id = -1,
    .pad_id = -1};

/* Elements of a layer's matrices: q and o, k and v, gate, up and down. */
#define LAYER (WIDTH * HEADS * HEAD * 2 + WIDTH * KV_HEADS * HEAD * 2 + 3 * WIDTH * INNER)

static struct pc_model_work work_of(bool tied, enum pc_dtype dtype, bool plain)
{
    struct tiny m = {.config = g_config, .dtype = dtype, .mapped = true, .random = 42};
    m.config.tied = tied;
    tiny_make(&m);
    struct pc_model_work w = pc_model_work(m.ck, &m.config, 1024, plain);
    tiny_release(&m);
    return w;
}

/* The head is read and multiplied whether or not it is the embedding; the embedding's rows are not. */
static void test_model_work(void **state)
{
    (void)state;
    const double head = VOCAB * WIDTH, layers = LAYERS * LAYER;
    const uint64_t vectors = (2 * LAYERS + 1) * WIDTH;
    for (int tied = 0; tied < 2; tied++) {
        struct pc_model_work w = work_of(tied, PC_F32, false);
        assert_true(w.layer_bytes == 4 * layers && w.head_bytes == 4 * head);
        assert_true(
            w.layer_flop[PC_ARITHMETIC_F32] == 2 * layers && w.head_flop[PC_ARITHMETIC_F32] == 2 * head);
        assert_true(w.attention_flop == 4.0 * HEADS * HEAD * LAYERS && w.kv_bytes == 1024);
        assert_int_equal(w.n_params, (uint64_t)layers + (uint64_t)head * (tied ? 1 : 2) + vectors);
    }
}

static void test_arithmetics(void **state)
{
    (void)state;
    const double layers = LAYERS * LAYER;
    struct pc_model_work w = work_of(false, PC_BF16, false);
    assert_true(w.layer_flop[PC_ARITHMETIC_BF16] == 2 * layers && w.layer_flop[PC_ARITHMETIC_F32] == 0);
    assert_true(w.layer_bytes == 2 * layers);
    w = work_of(false, PC_Q8_0, false);
    assert_true(w.layer_flop[PC_ARITHMETIC_INT8] == 2 * layers && w.layer_flop[PC_ARITHMETIC_F32] == 0);
    assert_true(w.layer_bytes == layers / 32 * 34);
    w = work_of(false, PC_Q8_0, true);
    assert_true(w.layer_flop[PC_ARITHMETIC_F32] == 2 * layers && w.layer_flop[PC_ARITHMETIC_INT8] == 0);
}

static void test_steps(void **state)
{
    (void)state;
    const struct pc_model_work m = {.layer_bytes = 1000,
        .head_bytes = 100,
        .layer_flop = {[PC_ARITHMETIC_INT8] = 2000},
        .head_flop = {[PC_ARITHMETIC_BF16] = 300},
        .attention_flop = 10,
        .kv_bytes = 7};
    struct pc_step_work s = pc_prefill_work(&m, 4);
    assert_true(s.bytes == 1000 + 100 + 4 * 7);
    assert_true(s.flop[PC_ARITHMETIC_INT8] == 4 * 2000 && s.flop[PC_ARITHMETIC_BF16] == 300);
    assert_true(s.flop[PC_ARITHMETIC_F32] == (1 + 2 + 3 + 4) * 10);
    /* 2 steps of 3 sequences that hold 5: each row sees 6, then 7 */
    s = pc_decode_work(&m, 3, 5, 2);
    assert_true(s.bytes == 2 * 1100 + 3 * (6 + 7) * 7);
    assert_true(s.flop[PC_ARITHMETIC_INT8] == 6 * 2000 && s.flop[PC_ARITHMETIC_BF16] == 6 * 300);
    assert_true(s.flop[PC_ARITHMETIC_F32] == 3 * (6 + 7) * 10);
}

static void test_least_seconds(void **state)
{
    (void)state;
    struct pc_machine m = {.read_bytes_s = 100, .flop_s = {10, 20, 40}};
    const struct pc_step_work w = {.bytes = 300, .flop = {10, 20, 40}};
    bool by_memory = true;
    assert_true(pc_least_seconds(&m, &w, &by_memory) == 3 && by_memory);
    m.read_bytes_s = 1000;
    assert_true(pc_least_seconds(&m, &w, &by_memory) == 3 && !by_memory);
    m.flop_s[PC_ARITHMETIC_BF16] = 0; /* then BF16's products are F32's: 1 + 2 + 1 */
    assert_true(pc_least_seconds(&m, &w, NULL) == 4);
    const struct pc_machine better = {.read_bytes_s = 500, .flop_s = {30, 5, 40}};
    pc_machine_join(&m, &better);
    assert_true(m.read_bytes_s == 1000 && m.flop_s[0] == 30 && m.flop_s[1] == 5 && m.flop_s[2] == 40);
}

static int stop(void *ctx, const struct pc_progress_event *event)
{
    (void)event;
    return ++*(int *)ctx > 1;
}

static void test_measure(void **state)
{
    (void)state;
    struct paco_error err = {0};
    struct pc_machine m;
    struct pc_machine_options o = {.n_threads = 2, .read_size = 1 << 20, .seconds = 1e-3};
    assert_int_equal(pc_machine_measure(&o, &m, &err), 0);
    assert_int_equal(m.n_threads, 2);
    assert_true(m.read_bytes_s > 1e6 && m.flop_s[PC_ARITHMETIC_F32] > 1e6);
    bool bf16 = pc_cpu_flags() & PC_CPU_AVX512_BF16;
    assert_true((m.flop_s[PC_ARITHMETIC_BF16] > 0) == bf16);
    int n = 0;
    const struct pc_progress progress = {stop, NULL, &n};
    o.progress = &progress;
    assert_int_equal(pc_machine_measure(&o, &m, &err), PACO_ECANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_work),
        cmocka_unit_test(test_arithmetics),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_least_seconds),
        cmocka_unit_test(test_measure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
