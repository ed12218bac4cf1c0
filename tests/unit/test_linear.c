// SPDX-License-Identifier: Apache-2.0
/* Products in every arithmetic: close to the exact ones, and one row of many by many workers is that row
 * alone. */
#include "unit.h"

#include "base/cpu.h"
#include "model/linear.h"
#include "tiny_model.h"

enum { N_IN = 96, MOST_ROWS = 200 };

struct rig {
    struct tiny m;
    struct pc_kernels kernels;
    struct pc_weight w[2];
    unsigned char *own[2];
    float bias[70];
};

static void setup(struct rig *r, enum pc_dtype dtype, int64_t n_out, bool mapped, enum pc_products products)
{
    *r = (struct rig){.m = {.dtype = dtype, .mapped = mapped, .random = 11}};
    struct paco_error err = {0};
    r->m.ck = pc_checkpoint_new("memory", &tiny_ops, "linear", &err);
    r->m.ck->impl = &r->m;
    tiny_add(&r->m, "a", dtype, n_out, N_IN, 0, 1);
    tiny_add(&r->m, "b", dtype, n_out, N_IN, 0, 1);
    pc_kernels_init(&r->kernels, pc_cpu_flags());
    struct pc_weight *weights[2] = {&r->w[0], &r->w[1]};
    for (int i = 0; i < 2; i++) {
        r->w[i] = pc_weight_of(&r->m.ck->tensors[i], &r->kernels, products);
        uint64_t size = pc_weight_own_size(&r->w[i], &r->kernels, mapped);
        if (size)
            r->w[i].own = r->own[i] = pc_alloc_pages((size_t)size);
        else
            r->w[i].data = pc_tensor_map(&r->m.ck->tensors[i]);
    }
    struct pc_pool *pool = pc_pool_new(3, &err);
    assert_int_equal(pc_weights_fill(weights, 2, &r->kernels, pool, &err), 0);
    pc_pool_free(pool);
    for (int i = 0; i < 70; i++)
        r->bias[i] = tiny_random(&r->m);
    r->w[1].bias = r->bias;
}

static void teardown(struct rig *r)
{
    pc_free(r->own[0]);
    pc_free(r->own[1]);
    tiny_release(&r->m);
}

enum kind { PLAIN, ADD, GATED };
#define FAST PC_PRODUCTS_FAST
#define WIDE PC_PRODUCTS_F32
#define TRAIN PC_PRODUCTS_TRAIN_BF16
#define NARROW PC_PRODUCTS_LLM_INT8

/* y of n_rows rows: (n_rows, n_out) twice, for PLAIN of both weights. */
static void run(const struct rig *r, int n_threads, enum kind kind, const float *x, size_t n_rows, float *y)
{
    struct paco_error err = {0};
    struct pc_compute compute = {.kernels = &r->kernels, .pool = pc_pool_new(n_threads, &err)};
    compute.n_scratch = (pc_linear_scratch(&r->w[0]) + 15) / 16 * 16;
    compute.scratch = pc_alloc_pages(((size_t)n_threads * compute.n_scratch + 1) * sizeof(float));
    unsigned needs = pc_input_needs(&r->w[0]) | pc_input_needs(&r->w[1]);
    unsigned char *forms = pc_alloc_pages(n_rows * pc_input_form_size(needs, N_IN) + 1);
    const struct pc_input in = {.x = x, .forms = forms, .needs = needs, .n_rows = n_rows, .n_in = N_IN};
    pc_input_prepare(&in, &r->kernels, 0, n_rows);
    size_t n = n_rows * r->w[0].n_out;
    const struct pc_linear jobs[] = {{&r->w[0], y}, {&r->w[1], y + n}};
    float *scratch = malloc(n * sizeof *scratch);
    const struct pc_linear one = {&r->w[1], scratch};
    if (kind == PLAIN)
        pc_linear_forward(&compute, jobs, 2, &in);
    else if (kind == ADD)
        pc_linear_forward_add(&compute, &one, y, &in);
    else
        pc_linear_forward_gated(&compute, jobs, y, &in);
    free(scratch);
    pc_free(forms);
    pc_free(compute.scratch);
    pc_pool_free(compute.pool);
}

static void check_exact(const struct rig *r, const float *x, const float *y, double tolerance)
{
    for (int i = 0; i < 2; i++) {
        double *w = tiny_values(&r->m, i ? "b" : "a", 0, "");
        for (size_t j = 0; j < r->w[i].n_out; j++) {
            double sum = r->w[i].bias ? (double)r->w[i].bias[j] : 0;
            for (size_t k = 0; k < N_IN; k++)
                sum += w[j * N_IN + k] * (double)x[k];
            if (!(fabs(sum - (double)y[(size_t)i * r->w[i].n_out + j]) <= tolerance))
                fail_msg("%s, output %zu: %g, not %g", pc_dtype_name(r->m.dtype), j,
                    (double)y[(size_t)i * r->w[i].n_out + j], sum);
        }
        free(w);
    }
}

static void check(struct rig *r, double tolerance)
{
    static const size_t counts[] = {1, 2, 7, 65, MOST_ROWS};
    size_t n_out = r->w[0].n_out;
    float *x = malloc(MOST_ROWS * N_IN * sizeof *x), *y = malloc(2 * MOST_ROWS * n_out * sizeof *y),
          *alone = malloc(2 * n_out * sizeof *alone);
    for (size_t i = 0; i < MOST_ROWS * N_IN; i++)
        x[i] = tiny_random(&r->m);
    run(r, 1, PLAIN, x, 1, alone);
    check_exact(r, x, alone, tolerance);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        size_t n = counts[c], last = n - 1;
        const float *row = x + last * N_IN;
        run(r, 1, PLAIN, row, 1, alone);
        run(r, 3, PLAIN, x, n, y);
        assert_memory_equal(alone, y + last * n_out, n_out * sizeof *y);
        assert_memory_equal(alone + n_out, y + (n + last) * n_out, n_out * sizeof *y);

        float second[70];
        memcpy(second, alone + n_out, n_out * sizeof *second);
        for (size_t i = 0; i < n * n_out; i++)
            y[i] = (float)(i % 13);
        run(r, 3, ADD, x, n, y);
        for (size_t j = 0; j < n_out; j++)
            assert_true(y[last * n_out + j] == (float)((last * n_out + j) % 13) + second[j]);

        run(r, 3, GATED, x, n, y);
        float act[70];
        r->kernels.silu.mul(act, alone, second, n_out);
        assert_memory_equal(act, y + last * n_out, n_out * sizeof *y);
    }
    free(x);
    free(y);
    free(alone);
}

static void test_classes(void **state)
{
    (void)state;
    static const struct {
        enum pc_dtype dtype;
        enum pc_products products;
        double tolerance;
    } cases[] = {{PC_F32, FAST, 1e-4}, {PC_F16, FAST, 1e-4}, {PC_BF16, FAST, 0.2}, {PC_BF16, WIDE, 1e-4},
        {PC_Q8_0, FAST, 0.2}, {PC_Q8_0, WIDE, 1e-4}, {PC_F8_E4M3, FAST, 1e-4}, {PC_F32, NARROW, 0.2},
        {PC_Q8_0, NARROW, 0.2}, {PC_F32, TRAIN, 0.2}, {PC_F16, TRAIN, 0.2}, {PC_Q8_0, TRAIN, 0.2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int64_t n_out = 1; n_out <= 70; n_out += 23) /* 1, 24, 47, 70: tiles that are not whole */
            for (int mapped = 0; mapped < 2; mapped++) {
                struct rig r;
                setup(&r, cases[i].dtype, n_out, mapped, cases[i].products);
                check(&r, cases[i].tolerance);
                teardown(&r);
            }
}

static void test_choice(void **state)
{
    (void)state;
    static const struct {
        enum pc_dtype dtype;
        enum pc_products products;
        enum pc_weight_class arithmetic;
        const char *name;
    } cases[] = {{PC_F32, FAST, PC_CLASS_F32, "f32"}, {PC_F16, FAST, PC_CLASS_F32, "f32"},
        {PC_BF16, WIDE, PC_CLASS_F32, "f32"}, {PC_Q8_0, FAST, PC_CLASS_INT8, "int8"},
        {PC_Q8_0, WIDE, PC_CLASS_WIDENED, "widened f32"}, {PC_F8_E5M2, FAST, PC_CLASS_WIDENED, "widened f32"},
        {PC_BF16, NARROW, PC_CLASS_LLM_INT8, "llm.int8"}, {PC_Q8_0, TRAIN, PC_CLASS_PANELS, "bf16 panels"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;
        setup(&r, cases[i].dtype, 16, true, cases[i].products);
        assert_int_equal(r.w[0].arithmetic, cases[i].arithmetic);
        assert_string_equal(pc_weight_class_name(r.w[0].arithmetic), cases[i].name);
        bool packed = pc_weight_is_packed(&r.w[0]);
        assert_int_equal(
            packed, cases[i].arithmetic == PC_CLASS_INT8 || cases[i].arithmetic == PC_CLASS_LLM_INT8);
        assert_int_equal(pc_weight_own_size(&r.w[0], &r.kernels, true) != 0, packed);
        if (!packed)
            assert_int_equal(pc_weight_own_size(&r.w[0], &r.kernels, false), r.w[0].source->size);
        teardown(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
