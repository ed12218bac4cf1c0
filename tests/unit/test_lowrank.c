// SPDX-License-Identifier: Apache-2.0
#include "memory_checkpoint.h"

#include "algebra/lowrank.h"
#include "base/threads.h"

#include <stdio.h>
#include <stdlib.h>

static uint32_t g_seed = 7;

static float noise(void)
{
    g_seed = g_seed * 1664525u + 1013904223u;
    return (float)(int32_t)g_seed / 2147483648.0f;
}

static float *random_floats(size_t n)
{
    float *v = malloc(n * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < n; i++)
        v[i] = noise();
    return v;
}

/* The documented order, written as plainly as it can be. */
static void expected(float *w, const float *a, const float *b, float scale, size_t n_out, size_t n_in,
    size_t r, bool transposed)
{
    for (size_t i = 0; i < n_out; i++)
        for (size_t j = 0; j < n_in; j++) {
            volatile float sum = 0;
            for (size_t k = 0; k < r; k++) {
                volatile float product = b[i * r + k] * a[k * n_in + j];
                sum = sum + product;
            }
            volatile float scaled = sum * scale;
            float *to = transposed ? &w[j * n_out + i] : &w[i * n_in + j];
            *to = *to + scaled;
        }
}

static void check_sizes(size_t n_out, size_t n_in, size_t r, bool transposed)
{
    float *w = random_floats(n_out * n_in), *a = random_floats(r * n_in), *b = random_floats(n_out * r);
    struct pc_checkpoint *base = memory_checkpoint(), *adapter = memory_checkpoint(), *node;
    memory_add(base, "w", PC_F32, transposed ? n_in : n_out, transposed ? n_out : n_in, w);
    struct pc_lowrank_term term = {.name = "w", .scale = 1.7f, .transposed = transposed};
    memory_add(adapter, "a", PC_F32, r, n_in, a);
    memory_add(adapter, "b", PC_F32, n_out, r, b);
    term.a = &adapter->tensors[0];
    term.b = &adapter->tensors[1];
    assert_int_equal(pc_checkpoint_lowrank(base, &term, 1, &node, NULL), 0);
    const struct pc_tensor *t = pc_checkpoint_find(node, "w");
    float *whole = malloc(t->size), *parts = malloc(t->size);
    assert_int_equal(pc_tensor_read(t, 0, t->n_rows, whole, NULL), 0);
    for (uint64_t row = 0, n; row < t->n_rows; row += n) {
        n = 1 + row % 3 < t->n_rows - row ? 1 + row % 3 : t->n_rows - row;
        assert_int_equal(pc_tensor_read(t, row, n, parts + row * t->row_elems, NULL), 0);
    }
    expected(w, a, b, 1.7f, n_out, n_in, r, transposed);
    assert_memory_equal(whole, w, t->size);
    assert_memory_equal(parts, w, t->size);
    pc_checkpoint_close(node);
    pc_checkpoint_close(adapter);
    pc_checkpoint_close(base);
    free(w);
    free(a);
    free(b);
    free(whole);
    free(parts);
}

static void the_sum_has_the_documented_order(void **state)
{
    (void)state;
    check_sizes(5, 7, 3, false);
    check_sizes(1, 1, 1, false);
    check_sizes(300, 1000, 16, false); // several blocks of rows
    check_sizes(3, 70000, 5, false);   // a row longer than a tile
    check_sizes(40, 3000, 64, false);  // several tiles of the rank
    check_sizes(5, 7, 3, true);
    check_sizes(64, 501, 8, true);
}

static void replaced_and_untouched_tensors_pass_through(void **state)
{
    (void)state;
    float w[6] = {1, 2, 3, 4, 5, 6}, saved[8] = {9, 8, 7, 6, 5, 4, 3, 2}, a[2] = {1, 2},
          b[4] = {1, 10, 100, 1000}, got[8];
    uint16_t half[2] = {0x3c00, 0xc000};
    struct pc_checkpoint *base = memory_checkpoint(), *adapter = memory_checkpoint(), *node;
    memory_add(base, "keep", PC_F16, 2, 0, half);
    memory_add(base, "swap", PC_F32, 3, 2, w);
    memory_add(base, "both", PC_F32, 3, 2, w);
    memory_add(adapter, "saved", PC_F32, 4, 2, saved);
    memory_add(adapter, "a", PC_F32, 1, 2, a);
    memory_add(adapter, "b", PC_F32, 4, 1, b);
    const struct pc_tensor *s = adapter->tensors;
    struct pc_lowrank_term terms[] = {{.name = "swap", .source = &s[0]},
        {.name = "both", .source = &s[0], .a = &s[1], .b = &s[2], .scale = 2}};
    assert_int_equal(pc_checkpoint_lowrank(base, terms, 2, &node, NULL), 0);
    assert_int_equal(node->n_tensors, 3);
    assert_int_equal(node->tensors[0].dtype, PC_F16);
    assert_int_equal(pc_tensor_read(&node->tensors[0], 0, 2, got, NULL), 0);
    assert_memory_equal(got, half, sizeof half);
    assert_int_equal(node->tensors[1].shape[0], 4);
    assert_int_equal(pc_tensor_read(&node->tensors[1], 0, 4, got, NULL), 0);
    assert_memory_equal(got, saved, sizeof saved);
    assert_int_equal(pc_tensor_read(&node->tensors[2], 1, 3, got, NULL), 0);
    static const float want[6] = {7 + 20, 6 + 40, 5 + 200, 4 + 400, 3 + 2000, 2 + 4000};
    assert_memory_equal(got, want, sizeof want);
    pc_checkpoint_close(node);
    pc_checkpoint_close(base);
    pc_checkpoint_close(adapter);
}

static void half_precision_factors_are_widened(void **state)
{
    (void)state;
    static const uint16_t a[2] = {0x3f80, 0xc000}, b[2] = {0x3c00, 0xc000}; // bf16 1, -2; f16 1, -2
    float w[4] = {0}, got[4];
    struct pc_checkpoint *base = memory_checkpoint(), *adapter = memory_checkpoint(), *node;
    memory_add(base, "w", PC_F32, 2, 2, w);
    memory_add(adapter, "a", PC_BF16, 1, 2, a);
    memory_add(adapter, "b", PC_F16, 2, 1, b);
    struct pc_lowrank_term term = {
        .name = "w", .a = &adapter->tensors[0], .b = &adapter->tensors[1], .scale = 0.5f};
    assert_int_equal(pc_checkpoint_lowrank(base, &term, 1, &node, NULL), 0);
    assert_int_equal(pc_tensor_read(&node->tensors[0], 0, 2, got, NULL), 0);
    static const float want[4] = {0.5f, -1, -1, 2};
    assert_memory_equal(got, want, sizeof want);
    pc_checkpoint_close(node);
    pc_checkpoint_close(base);
    pc_checkpoint_close(adapter);
}

static void what_does_not_fit_is_refused_by_name(void **state)
{
    (void)state;
    static const float data[16];
    struct pc_checkpoint *base = memory_checkpoint(), *adapter = memory_checkpoint(), *node = NULL;
    memory_add(base, "w", PC_F32, 3, 2, data);
    const struct pc_tensor *a12 = memory_add(adapter, "a12", PC_F32, 1, 2, data),
                           *a13 = memory_add(adapter, "a13", PC_F32, 1, 3, data),
                           *b31 = memory_add(adapter, "b31", PC_F32, 3, 1, data),
                           *b32 = memory_add(adapter, "b32", PC_F32, 3, 2, data);
    const struct {
        struct pc_lowrank_term terms[2];
        size_t n;
        int code;
        const char *message;
    } cases[] = {
        {{{.name = "v", .a = a12, .b = b31}}, 1, PACO_ENOENT, "the base has no tensor 'v'"},
        {{{.name = "w", .a = a12, .b = b32}}, 1, PACO_EMISMATCH,
            "tensor 'w': its factors A [1,2] and B [3,2] do not share a rank"},
        {{{.name = "w", .a = a13, .b = b31}}, 1, PACO_EMISMATCH,
            "tensor 'w' [3,2] cannot take an update of 3 x 3 (A [1,3], B [3,1]): is this the adapter's "
            "base?"},
        {{{.name = "w", .a = a12, .b = b31, .transposed = true}}, 1, PACO_EMISMATCH,
            "tensor 'w' [3,2] cannot take an update of 3 x 2"},
        {{{.name = "w", .a = a12}}, 1, PACO_EINVAL, "tensor 'w': only one of its two factors is given"},
        {{{.name = "w", .a = a12, .b = b31}, {.name = "w", .a = a12, .b = b31}}, 2, PACO_EINVAL,
            "tensor 'w' is updated twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct paco_error err = {0};
        assert_int_equal(pc_checkpoint_lowrank(base, cases[i].terms, cases[i].n, &node, &err), cases[i].code);
        assert_contains(err.message, cases[i].message);
        assert_null(node);
    }
    pc_checkpoint_close(base);
    pc_checkpoint_close(adapter);
}

static void a_read_error_names_the_factor(void **state)
{
    (void)state;
    static const float data[4];
    float got[4];
    struct pc_checkpoint *base = memory_checkpoint(), *node;
    memory_add(base, "w", PC_F32, 2, 2, data);
    memory_add(base, "a", PC_F32, 1, 2, NULL);
    memory_add(base, "b", PC_F32, 2, 1, data);
    struct pc_lowrank_term term = {.name = "w", .a = &base->tensors[1], .b = &base->tensors[2], .scale = 1};
    assert_int_equal(pc_checkpoint_lowrank(base, &term, 1, &node, NULL), 0);
    struct paco_error err = {0};
    assert_int_equal(pc_tensor_read(&node->tensors[0], 0, 2, got, &err), PACO_EIO);
    assert_string_equal(err.message, "tensor 'w': tensor 'a': the disk is on fire");
    pc_checkpoint_close(node);
    pc_checkpoint_close(base);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    static const float data[16];
    struct pc_checkpoint *base = memory_checkpoint(), *node;
    memory_add(base, "w", PC_F32, 4, 4, data);
    memory_add(base, "a", PC_F32, 1, 4, data);
    memory_add(base, "b", PC_F32, 4, 1, data);
    for (int transposed = 0; transposed < 2; transposed++) {
        struct pc_lowrank_term term = {.name = "w",
            .a = &base->tensors[1],
            .b = &base->tensors[2],
            .scale = 1,
            .transposed = transposed};
        for (int n = 0, rc = PACO_EMEM; rc == PACO_EMEM; n++) {
            assert_true(n < 100);
            float got[16];
            pc_alloc_fail_after(n);
            rc = pc_checkpoint_lowrank(base, &term, 1, &node, NULL);
            if (rc == 0) {
                rc = pc_tensor_read(&node->tensors[0], 0, 4, got, NULL);
                pc_checkpoint_close(node);
            }
            pc_alloc_fail_after(-1);
            assert_true(rc == 0 || rc == PACO_EMEM);
        }
    }
    pc_checkpoint_close(base);
}

enum { N_MANY = 40, SIDE = 24 };

static struct pc_checkpoint *g_many;
static float g_read[N_MANY][SIDE * SIDE];

static void read_one_row(void *arg, int64_t i, int worker)
{
    (void)arg;
    (void)worker;
    int64_t i_tensor = i % N_MANY, row = i / N_MANY; // neighbours in time belong to different tensors
    if (pc_tensor_read(&g_many->tensors[i_tensor], (uint64_t)row, 1, &g_read[i_tensor][row * SIDE], NULL) < 0)
        g_read[i_tensor][row * SIDE] = -1;
}

static void threads_share_factors(void **state)
{
    (void)state;
    static float data[N_MANY + SIDE * SIDE];
    struct pc_lowrank_term terms[N_MANY];
    char names[N_MANY][8];
    struct pc_checkpoint *base = memory_checkpoint(), *adapter = memory_checkpoint();
    for (size_t i = 0; i < sizeof data / sizeof *data; i++)
        data[i] = noise();
    for (int i = 0; i < N_MANY; i++) {
        snprintf(names[i], sizeof names[i], "t%d", i);
        memory_add(base, names[i], PC_F32, SIDE, SIDE, data + i);
        memory_add(adapter, names[i], PC_F32, 2, SIDE, data + 2 * i);
        terms[i] = (struct pc_lowrank_term){.name = names[i], .scale = 1};
    }
    memory_add(adapter, "b", PC_F32, SIDE, 2, data);
    for (int i = 0; i < N_MANY; i++) {
        terms[i].a = &adapter->tensors[i];
        terms[i].b = &adapter->tensors[N_MANY];
    }
    assert_int_equal(pc_checkpoint_lowrank(base, terms, N_MANY, &g_many, NULL), 0);
    struct pc_pool *pool = pc_pool_new(20, NULL);
    assert_non_null(pool);
    pc_pool_run(pool, N_MANY * SIDE, read_one_row, NULL);
    pc_pool_free(pool);
    for (int i = 0; i < N_MANY; i++) {
        float want[SIDE * SIDE];
        memcpy(want, data + i, sizeof want);
        expected(want, data + 2 * i, data, 1, SIDE, SIDE, 2, false);
        assert_memory_equal(g_read[i], want, sizeof want);
    }
    pc_checkpoint_close(g_many);
    pc_checkpoint_close(base);
    pc_checkpoint_close(adapter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sum_has_the_documented_order),
        cmocka_unit_test(replaced_and_untouched_tensors_pass_through),
        cmocka_unit_test(half_precision_factors_are_widened),
        cmocka_unit_test(what_does_not_fit_is_refused_by_name),
        cmocka_unit_test(a_read_error_names_the_factor),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(threads_share_factors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
