// SPDX-License-Identifier: Apache-2.0
#include "memory_checkpoint.h"

#include "algebra/cast.h"
#include "algebra/column_mean.h"
#include "algebra/combine.h"
#include "algebra/order.h"
#include "algebra/trace.h"
#include "base/digest.h"

#include <math.h>

static const char EMBED[] = "model.embed_tokens.weight", HEAD[] = "lm_head.weight";

static float *random_floats(size_t n, uint32_t seed, float scale)
{
    float *v = test_malloc(n * sizeof *v);
    for (size_t i = 0; i < n; i++)
        v[i] = ((float)((seed = seed * 1664525u + 1013904223u) >> 8) / 16777216.0f - 0.5f) * scale;
    return v;
}

static void read_all(const struct pc_checkpoint *ck, const char *name, void *out)
{
    const struct pc_tensor *t = pc_checkpoint_find(ck, name);
    assert_non_null(t);
    assert_int_equal(pc_tensor_read(t, 0, t->n_rows, out, NULL), 0);
}

/* F16 values that F16 holds: 1.5 and -2. */
static const uint16_t g_half[] = {0x3e00, 0xc000, 0x3e00, 0xc000};

static void a_sum_is_one_rounding_per_element(void **state)
{
    (void)state;
    static const float diff[] = {1e-8f, 0.25f, 3e38f, -0.0f};
    float out[4];
    struct pc_checkpoint *base = memory_checkpoint(), *lead = memory_checkpoint(), *sum;
    memory_add(base, "x", PC_F16, 2, 2, g_half);
    memory_add(lead, "x", PC_F32, 2, 2, diff);
    struct pc_combine_options o = {0};
    assert_int_equal(pc_checkpoint_add(base, lead, &o, &sum, NULL, NULL), 0);
    assert_int_equal(sum->tensors[0].dtype, PC_F32);
    read_all(sum, "x", out);
    assert_true(out[0] == 1.5f + 1e-8f && out[1] == -1.75f && out[2] == 3e38f + 1.5f && out[3] == -2.0f);
    pc_checkpoint_close(sum);
    assert_int_equal(pc_checkpoint_subtract(base, lead, &o, &sum, NULL, NULL), 0);
    read_all(sum, "x", out);
    assert_true(out[0] == 1e-8f - 1.5f && out[1] == 2.25f && out[3] == 2.0f);
    pc_checkpoint_close(sum);
    pc_checkpoint_close(lead);
    pc_checkpoint_close(base);
}

/* The cascade written out a second time, a column at a time. */
static float cascade(const float *x, size_t stride, uint64_t n)
{
    float a[4] = {0};
    unsigned bits = 1;
    while ((UINT64_C(1) << bits) < n)
        bits++;
    uint64_t step = UINT64_C(1) << (bits / 4 < 4 ? 4 : bits / 4);
    for (uint64_t i = 1; i <= n; i++) {
        a[0] += x[(i - 1) * stride];
        for (uint64_t level = 0, full = step; level < 3 && i % full == 0; level++, full *= step) {
            a[level + 1] += a[level];
            a[level] = 0;
        }
    }
    return (((a[0] + a[1]) + a[2]) + a[3]) / (float)n;
}

static void rows_the_base_lacks_are_the_mean_plus_the_diff(void **state)
{
    (void)state;
    enum { COLS = 7 };
    static const uint64_t sizes[] = {1, 15, 16, 17, 255, 256, 4096, 5000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        uint64_t n = sizes[s];
        float *b = random_floats((size_t)n * COLS, 1, 0.04f),
              *d = random_floats((size_t)(n + 2) * COLS, 2, 0.002f);
        float *out = test_malloc((size_t)(n + 2) * COLS * sizeof *out);
        struct pc_checkpoint *base = memory_checkpoint(), *lead = memory_checkpoint(), *sum;
        memory_add(base, EMBED, PC_F32, n, COLS, b);
        memory_add(lead, EMBED, PC_F32, n + 2, COLS, d);
        struct pc_combine_options o = {.pad_row = PC_PAD_MEAN};
        struct pc_combine_report rep;
        assert_int_equal(pc_checkpoint_add(base, lead, &o, &sum, &rep, NULL), 0);
        assert_int_equal(rep.n_grown, 1);
        assert_int_equal(rep.grown[0].first, n);
        assert_int_equal(rep.grown[0].n, 2);
        read_all(sum, EMBED, out);
        for (size_t c = 0; c < COLS; c++) {
            float mean = cascade(b + c, COLS, n);
            for (uint64_t r = n; r < n + 2; r++)
                assert_true(out[r * COLS + c] == d[r * COLS + c] + mean);
        }
        assert_true(out[(n - 1) * COLS] == d[(n - 1) * COLS] + b[(n - 1) * COLS]);
        pc_checkpoint_close(sum);
        o.pad_row = PC_PAD_ZERO;
        assert_int_equal(pc_checkpoint_add(base, lead, &o, &sum, NULL, NULL), 0);
        read_all(sum, EMBED, out);
        assert_true(out[n * COLS] == 0 && out[(n + 2) * COLS - 1] == 0);
        pc_checkpoint_close(sum);
        o.pad_row = PC_PAD_DIFF;
        assert_int_equal(pc_checkpoint_add(base, lead, &o, &sum, NULL, NULL), 0);
        read_all(sum, EMBED, out);
        assert_true(out[n * COLS] == d[n * COLS]);
        pc_checkpoint_close(sum);
        pc_checkpoint_close(lead);
        pc_checkpoint_close(base);
        test_free(b);
        test_free(d);
        test_free(out);
    }
}

static void only_embeddings_grow_and_only_when_allowed(void **state)
{
    (void)state;
    static const float zeros[12];
    struct paco_error err = {0};
    struct pc_checkpoint *base = memory_checkpoint(), *lead = memory_checkpoint(), *sum;
    memory_add(base, "model.layers.0.mlp.up_proj.weight", PC_F32, 2, 3, zeros);
    memory_add(lead, "model.layers.0.mlp.up_proj.weight", PC_F32, 3, 3, zeros);
    struct pc_combine_options o = {0};
    assert_int_equal(pc_checkpoint_add(base, lead, &o, &sum, NULL, &err), PACO_EMISMATCH);
    assert_string_equal(
        err.message, "tensor 'model.layers.0.mlp.up_proj.weight': shape [3,3], base has [2,3]");
    pc_checkpoint_close(lead);
    pc_checkpoint_close(base);

    base = memory_checkpoint();
    lead = memory_checkpoint();
    memory_add(base, HEAD, PC_F32, 2, 3, zeros);
    memory_add(lead, HEAD, PC_F32, 3, 3, zeros);
    o.no_growth = "there is a reason";
    assert_int_equal(pc_checkpoint_add(base, lead, &o, &sum, NULL, &err), PACO_EMISMATCH);
    assert_string_equal(
        err.message, "tensor 'lm_head.weight': shape [3,3], base has [2,3], and there is a reason");
    assert_int_equal(
        pc_checkpoint_add(lead, base, &(struct pc_combine_options){0}, &sum, NULL, &err), PACO_EMISMATCH);
    assert_string_equal(err.message, "tensor 'lm_head.weight': shape [2,3], base has [3,3]");
    pc_checkpoint_close(lead);
    pc_checkpoint_close(base);
}

static void a_tied_diff_of_the_published_script_is_seen(void **state)
{
    (void)state;
    enum { ROWS = 40, COLS = 8, N = ROWS * COLS };
    float *b = random_floats(N, 1, 0.04f), *t = random_floats(N, 2, 0.002f), once[N], twice[N], out[N];
    for (size_t i = 0; i < N; i++) {
        t[i] += b[i];
        once[i] = t[i] - b[i];
        twice[i] = once[i] - b[i];
    }
    for (int doubled = 0; doubled < 2; doubled++) {
        struct pc_checkpoint *base = memory_checkpoint(), *lead = memory_checkpoint(), *sum;
        memory_add(base, EMBED, PC_F32, ROWS, COLS, b);
        memory_add(lead, EMBED, PC_F32, ROWS, COLS, doubled ? twice : once);
        memory_add(lead, HEAD, PC_F32, ROWS, COLS, doubled ? twice : once);
        struct pc_combine_options o = {.tied = true};
        struct pc_combine_report rep;
        assert_int_equal(pc_checkpoint_add(base, lead, &o, &sum, &rep, NULL), 0);
        assert_int_equal(rep.doubled, doubled);
        // The base has no head of its own: its embedding stands for it.
        static const char *const names[] = {EMBED, HEAD};
        for (int k = 0; k < 2; k++) {
            read_all(sum, names[k], out);
            for (size_t i = 0; i < N; i++)
                assert_true(out[i] == (doubled ? (twice[i] + b[i]) + b[i] : once[i] + b[i]));
        }
        pc_checkpoint_close(sum);
        assert_int_equal(
            pc_checkpoint_add(base, lead, &(struct pc_combine_options){0}, &sum, NULL, NULL), PACO_EMISMATCH);
        // The lead unties what the base ties: the head met the embedding in the base's state dict all the
        // same.
        o = (struct pc_combine_options){.base_tied = true};
        assert_int_equal(pc_checkpoint_add(base, lead, &o, &sum, &rep, NULL), 0);
        assert_true(rep.head_is_embedding && !rep.doubled);
        read_all(sum, HEAD, out);
        for (size_t i = 0; i < N; i++)
            assert_true(out[i] == (doubled ? twice[i] : once[i]) + b[i]);
        pc_checkpoint_close(sum);
        pc_checkpoint_close(lead);
        pc_checkpoint_close(base);
    }
    test_free(b);
    test_free(t);
}

static void inv_freq_is_computed_when_the_base_lacks_it(void **state)
{
    (void)state;
    static const char name[] = "model.layers.0.self_attn.rotary_emb.inv_freq";
    static const float zeros[64];
    float out[64];
    double sum_of_layer = 0;
    struct pc_checkpoint *base = memory_checkpoint(), *lead = memory_checkpoint(), *sum;
    memory_add(base, "model.layers.1.self_attn.rotary_emb.inv_freq", PC_F32, 64, 0, zeros);
    memory_add(lead, name, PC_F32, 64, 0, zeros);
    struct pc_combine_report rep;
    assert_int_equal(pc_checkpoint_add(base, lead, &(struct pc_combine_options){0}, &sum, &rep, NULL), 0);
    assert_int_equal(rep.n_computed_inv_freq, 1);
    read_all(sum, name, out);
    for (int i = 0; i < 64; i++)
        sum_of_layer += (double)out[i];
    assert_true(out[0] == 1 && fabs((double)out[63] - 1.1547820e-4) < 1e-10);
    assert_true(fabs(sum_of_layer - 7.45995) < 1e-5);
    pc_checkpoint_close(sum);
    pc_checkpoint_close(lead);
    pc_checkpoint_close(base);
}

static void integers_wrap_and_missing_tensors_are_named(void **state)
{
    (void)state;
    static const int64_t a[] = {1, -1, INT64_MAX}, b[] = {2, 5, 1};
    static const uint8_t c[] = {250}, d[] = {10};
    int64_t out[3];
    uint8_t small[1];
    struct paco_error err = {0};
    struct pc_checkpoint *base = memory_checkpoint(), *lead = memory_checkpoint(), *sum;
    memory_add(base, "ids", PC_I64, 3, 0, a);
    memory_add(lead, "ids", PC_I64, 3, 0, b);
    memory_add(base, "bytes", PC_U8, 1, 0, c);
    memory_add(lead, "bytes", PC_U8, 1, 0, d);
    struct pc_combine_options o = {0};
    assert_int_equal(pc_checkpoint_add(base, lead, &o, &sum, NULL, NULL), 0);
    read_all(sum, "ids", out);
    read_all(sum, "bytes", small);
    assert_true(out[0] == 3 && out[1] == 4 && out[2] == INT64_MIN && small[0] == 4);
    pc_checkpoint_close(sum);
    memory_add(lead, "x", PC_F32, 1, 0, a);
    memory_add(lead, "y", PC_F32, 1, 0, a);
    assert_int_equal(pc_checkpoint_add(base, lead, &o, &sum, NULL, &err), PACO_EMISMATCH);
    assert_string_equal(err.message, "tensor 'x' is not in the base (2 tensors are not)");
    pc_checkpoint_close(lead);
    pc_checkpoint_close(base);
}

static void tensors_come_in_state_dict_order(void **state)
{
    (void)state;
    static const char *const want[] = {"model.embed_tokens.weight", "model.layers.2.self_attn.q_proj.weight",
        "model.layers.2.self_attn.q_proj.bias", "model.layers.2.self_attn.k_proj.weight",
        "model.layers.2.self_attn.rotary_emb.inv_freq", "model.layers.2.mlp.gate_proj.weight",
        "model.layers.2.mlp.down_proj.weight", "model.layers.2.mlp.up_proj.weight",
        "model.layers.2.input_layernorm.weight", "model.layers.2.post_attention_layernorm.weight",
        "model.layers.10.self_attn.q_proj.weight", "model.norm.weight", "lm_head.weight", "zzz", "aaa"};
    enum { N = sizeof want / sizeof *want };
    static const int shuffled[N] = {13, 12, 14, 0, 10, 11, 9, 8, 7, 6, 5, 4, 3, 2, 1};
    uint32_t order[N];
    struct pc_checkpoint *ck = memory_checkpoint();
    for (int i = 0; i < N; i++)
        memory_add(ck, want[shuffled[i]], PC_F32, 1, 0, want);
    assert_int_equal(pc_state_dict_order(ck, order, NULL), 0);
    for (int i = 0; i < N; i++)
        assert_string_equal(ck->tensors[order[i]].name, want[i]);
    pc_checkpoint_close(ck);
}

/* The views of a traced read, put behind each other, are the files' tensors: their hashes show it. */
static void a_traced_read_shows_every_byte_once(void **state)
{
    (void)state;
    enum { ROWS = 3000, COLS = 40 };
    uint16_t *half = test_malloc(ROWS * COLS * sizeof *half);
    for (size_t i = 0; i < ROWS * COLS; i++)
        half[i] = (uint16_t)(i * 31 & 0x3fff);
    float *d = random_floats((ROWS + 1) * COLS, 2, 1);
    struct pc_checkpoint *base = memory_checkpoint(), *lead = memory_checkpoint(), *sum, *cast;
    memory_add(base, EMBED, PC_F16, ROWS, COLS, half);
    memory_add(lead, EMBED, PC_F32, ROWS + 1, COLS, d);
    assert_int_equal(pc_checkpoint_add(base, lead, &(struct pc_combine_options){0}, &sum, NULL, NULL), 0);
    enum pc_dtype dtype = PC_BF16;
    assert_int_equal(pc_checkpoint_cast(sum, &dtype, &cast, NULL), 0);
    const struct pc_tensor *t = &cast->tensors[0];
    struct pc_sha256 *h[2] = {pc_sha256_new(NULL), pc_sha256_new(NULL)};
    uint16_t *out = test_malloc((size_t)t->size);
    struct pc_trace tr = {0};
    for (uint64_t row = 0, n; row < t->n_rows; row += n) {
        n = pc_trace_rows(t, t->n_rows - row);
        pc_trace_reset(&tr);
        assert_int_equal(pc_tensor_read_traced(t, row, n, out + row * COLS, &tr, NULL), 0);
        for (size_t i = 0; i < tr.n_views; i++)
            pc_sha256_update(h[tr.views[i].t == &lead->tensors[0]], tr.views[i].bytes,
                (size_t)(tr.views[i].n_rows * tr.views[i].t->row_size));
    }
    const void *whole[2] = {half, d};
    const size_t sizes[2] = {ROWS * COLS * 2, (ROWS + 1) * COLS * 4};
    for (int i = 0; i < 2; i++) {
        uint8_t got[PC_SHA256_SIZE], want[PC_SHA256_SIZE];
        pc_sha256_final(h[i], got);
        pc_sha256_reset(h[i]);
        pc_sha256_update(h[i], whole[i], sizes[i]);
        pc_sha256_final(h[i], want);
        assert_memory_equal(got, want, sizeof got);
        pc_sha256_free(h[i]);
    }
    assert_true(tr.n_lossy > ROWS * COLS / 2 && tr.max_error > 0 && tr.max_error < 0.01);
    assert_int_equal(tr.n_special, 0);
    uint16_t *again = test_malloc((size_t)t->size);
    read_all(cast, EMBED, again);
    assert_memory_equal(again, out, (size_t)t->size);
    pc_trace_release(&tr);
    pc_checkpoint_close(cast);
    pc_checkpoint_close(sum);
    pc_checkpoint_close(lead);
    pc_checkpoint_close(base);
    test_free(half);
    test_free(d);
    test_free(out);
    test_free(again);
}

static void a_cast_counts_what_it_changes(void **state)
{
    (void)state;
    static const float x[] = {1, 0.1f, 1e-30f, 1e30f, NAN, INFINITY, -0.0f, 65504};
    uint64_t n_lossy = 0;
    double max_error = 0;
    uint16_t out[8];
    pc_cast_narrow(PC_F16, out, x, 8, &n_lossy, &max_error);
    assert_int_equal(n_lossy, 3); // 0.1, 1e-30 and 1e30
    assert_true(isinf(max_error));
    n_lossy = 0;
    max_error = 0;
    pc_cast_narrow(PC_BF16, NULL, x, 2, &n_lossy, &max_error);
    assert_int_equal(n_lossy, 1);
    assert_true(max_error > 1e-5 && max_error < 1e-3);
}

static void not_finite_results_are_counted(void **state)
{
    (void)state;
    static const float d[] = {NAN, INFINITY, 1, 2}, zeros[4];
    float out[4];
    struct pc_checkpoint *base = memory_checkpoint(), *lead = memory_checkpoint(), *sum;
    memory_add(base, "x", PC_F32, 4, 0, zeros);
    memory_add(lead, "x", PC_F32, 4, 0, d);
    assert_int_equal(pc_checkpoint_add(base, lead, &(struct pc_combine_options){0}, &sum, NULL, NULL), 0);
    struct pc_trace tr = {0};
    assert_int_equal(pc_tensor_read_traced(&sum->tensors[0], 0, 4, out, &tr, NULL), 0);
    assert_int_equal(tr.n_special, 2);
    assert_true(isnan(out[0]) && isinf(out[1]) && out[3] == 2);
    pc_trace_release(&tr);
    pc_checkpoint_close(sum);
    pc_checkpoint_close(lead);
    pc_checkpoint_close(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_is_one_rounding_per_element),
        cmocka_unit_test(rows_the_base_lacks_are_the_mean_plus_the_diff),
        cmocka_unit_test(only_embeddings_grow_and_only_when_allowed),
        cmocka_unit_test(a_tied_diff_of_the_published_script_is_seen),
        cmocka_unit_test(inv_freq_is_computed_when_the_base_lacks_it),
        cmocka_unit_test(integers_wrap_and_missing_tensors_are_named),
        cmocka_unit_test(tensors_come_in_state_dict_order),
        cmocka_unit_test(a_traced_read_shows_every_byte_once),
        cmocka_unit_test(a_cast_counts_what_it_changes),
        cmocka_unit_test(not_finite_results_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
