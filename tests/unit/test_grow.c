// SPDX-License-Identifier: Apache-2.0
#include "memory_checkpoint.h"

#include "algebra/grow.h"
#include "algebra/order.h"

static const float g_embedding[6] = {1, 2, 3, 4, 5, 9};
static const uint16_t g_head[4] = {0x3c00, 0x4000, 0x4200, 0x4400}; // f16 1 2 3 4

static struct pc_checkpoint *base(void)
{
    struct pc_checkpoint *ck = memory_checkpoint();
    memory_add(ck, "lm_head.weight", PC_F16, 2, 2, g_head);
    memory_add(ck, "model.norm.weight", PC_F16, 4, 0, g_head);
    memory_add(ck, "model.embed_tokens.weight", PC_F32, 3, 2, g_embedding);
    return ck;
}

static void new_rows_are_the_mean_or_zero(void **state)
{
    (void)state;
    static const float mean[10] = {1, 2, 3, 4, 5, 9, 3, 5, 3, 5}, zero[10] = {1, 2, 3, 4, 5, 9},
                       head[10] = {1, 2, 3, 4, 2, 3, 2, 3, 2, 3};
    struct pc_checkpoint *ck = base(), *out;
    float got[10];
    for (int how = PC_GROW_MEAN; how <= PC_GROW_ZERO; how++) {
        assert_int_equal(pc_checkpoint_grow(ck, 5, (enum pc_grow_row)how, &out, NULL), 0);
        const struct pc_tensor *e = pc_checkpoint_find(out, "model.embed_tokens.weight");
        assert_int_equal(e->shape[0], 5);
        assert_int_equal(pc_tensor_read(e, 0, 5, got, NULL), 0);
        assert_memory_equal(got, how == PC_GROW_MEAN ? mean : zero, sizeof mean);
        assert_int_equal(pc_tensor_read(e, 2, 2, got, NULL), 0);
        assert_memory_equal(got, (how == PC_GROW_MEAN ? mean : zero) + 4, 4 * sizeof *got);
        assert_int_equal(pc_tensor_read(e, 4, 1, got, NULL), 0);
        assert_memory_equal(got, (how == PC_GROW_MEAN ? mean : zero) + 8, 2 * sizeof *got);
        const struct pc_tensor *h = pc_checkpoint_find(out, "lm_head.weight");
        assert_int_equal(h->dtype, PC_F32);
        assert_int_equal(pc_tensor_read(h, 0, 5, got, NULL), 0);
        if (how == PC_GROW_MEAN)
            assert_memory_equal(got, head, sizeof head);
        assert_int_equal(out->tensors[1].dtype, PC_F16);
        assert_int_equal(pc_tensor_read(&out->tensors[1], 0, 4, got, NULL), 0);
        assert_memory_equal(got, g_head, sizeof g_head);
        pc_checkpoint_close(out);
    }
    pc_checkpoint_close(ck);
}

static void too_many_rows_are_refused(void **state)
{
    (void)state;
    struct pc_checkpoint *ck = base(), *out = NULL;
    struct paco_error err = {0};
    assert_int_equal(pc_checkpoint_grow(ck, 2, PC_GROW_MEAN, &out, &err), PACO_EMISMATCH);
    assert_string_equal(err.message, "tensor 'model.embed_tokens.weight' has 3 rows, more than the 2 wanted");
    assert_null(out);
    pc_checkpoint_close(ck);
}

static void rows_beyond_the_longest_are_refused(void **state)
{
    (void)state;
    struct pc_checkpoint *ck = memory_checkpoint(), *out = NULL;
    struct paco_error err = {0};
    memory_add(ck, "model.embed_tokens.weight", PC_F16, 3, PC_MAX_ROW + 1, NULL);
    assert_int_equal(pc_checkpoint_grow(ck, 4, PC_GROW_MEAN, &out, &err), PACO_ELIMIT);
    assert_string_equal(err.message,
        "tensor 'model.embed_tokens.weight': to rows of 131073 elements, more than 131072, none are added");
    assert_null(out);
    pc_checkpoint_close(ck);
}

static void the_order_is_the_state_dicts(void **state)
{
    (void)state;
    struct pc_checkpoint *ck = base(), *out;
    assert_int_equal(pc_checkpoint_in_order(ck, &out, NULL), 0);
    assert_int_equal(out->n_tensors, 3);
    assert_string_equal(out->tensors[0].name, "model.embed_tokens.weight");
    assert_string_equal(out->tensors[2].name, "lm_head.weight");
    float got[6];
    assert_int_equal(pc_tensor_read(&out->tensors[0], 0, 3, got, NULL), 0);
    assert_memory_equal(got, g_embedding, sizeof got);
    pc_checkpoint_close(out);
    pc_checkpoint_close(ck);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    struct pc_checkpoint *ck = base(), *out;
    for (int n = 0, rc = PACO_EMEM; rc == PACO_EMEM; n++) {
        assert_true(n < 100);
        pc_alloc_fail_after(n);
        rc = pc_checkpoint_grow(ck, 5, PC_GROW_MEAN, &out, NULL);
        if (rc == 0)
            pc_checkpoint_close(out);
        pc_alloc_fail_after(-1);
        assert_true(rc == 0 || rc == PACO_EMEM);
    }
    pc_checkpoint_close(ck);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_rows_are_the_mean_or_zero),
        cmocka_unit_test(too_many_rows_are_refused),
        cmocka_unit_test(rows_beyond_the_longest_are_refused),
        cmocka_unit_test(the_order_is_the_state_dicts),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
