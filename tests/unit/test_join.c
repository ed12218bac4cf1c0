// SPDX-License-Identifier: Apache-2.0
#include "memory_checkpoint.h"

#include "algebra/join.h"
#include "algebra/trace.h"

/* Element (r, c) of a part is first + 100 r + c. */
static const float *part_bytes(float *to, uint64_t rows, uint64_t columns, float first)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < columns; c++)
            to[r * columns + c] = first + (float)(100 * r + c);
    return to;
}

static void parts_below_each_other(void **state)
{
    (void)state;
    float a[2 * 3], b[4 * 3], got[6 * 3];
    struct pc_checkpoint *ck = memory_checkpoint(), *joined;
    struct paco_error err = {0};
    const struct pc_tensor *parts[] = {memory_add(ck, "a", PC_F32, 2, 3, part_bytes(a, 2, 3, 0)),
        memory_add(ck, "b", PC_F32, 4, 3, part_bytes(b, 4, 3, 200))};
    const struct pc_join table[] = {{"whole", 0, 2, parts}};
    assert_int_equal(pc_checkpoint_join(table, 1, "here", &joined, &err), 0);
    const struct pc_tensor *t = pc_checkpoint_find(joined, "whole");
    assert_int_equal(t->shape[0], 6);
    assert_int_equal(t->shape[1], 3);
    assert_null(pc_tensor_map(t));
    for (uint64_t row0 = 0; row0 <= 6; row0++)
        for (uint64_t n = 0; row0 + n <= 6; n++) {
            memset(got, 0xff, sizeof got);
            assert_int_equal(pc_tensor_read(t, row0, n, got, &err), 0);
            for (uint64_t i = 0; i < n * 3; i++)
                assert_true(got[i] == (float)(100 * (row0 + i / 3) + i % 3));
        }
    pc_checkpoint_close(joined);
    pc_checkpoint_close(ck);
}

static void parts_beside_each_other(void **state)
{
    (void)state;
    float a[5 * 1], b[5 * 4], c[5 * 2], got[5 * 7];
    struct pc_checkpoint *ck = memory_checkpoint(), *joined;
    struct paco_error err = {0};
    const struct pc_tensor *parts[] = {memory_add(ck, "a", PC_F32, 5, 1, part_bytes(a, 5, 1, 0)),
        memory_add(ck, "b", PC_F32, 5, 4, part_bytes(b, 5, 4, 1)),
        memory_add(ck, "c", PC_F32, 5, 2, part_bytes(c, 5, 2, 5))};
    const struct pc_join table[] = {{"whole", 1, 3, parts}};
    assert_int_equal(pc_checkpoint_join(table, 1, "here", &joined, &err), 0);
    const struct pc_tensor *t = pc_checkpoint_find(joined, "whole");
    assert_int_equal(t->shape[0], 5);
    assert_int_equal(t->shape[1], 7);
    for (uint64_t row0 = 0; row0 <= 5; row0++)
        for (uint64_t n = 0; row0 + n <= 5; n++) {
            assert_int_equal(pc_tensor_read(t, row0, n, got, &err), 0);
            for (uint64_t i = 0; i < n * 7; i++)
                assert_true(got[i] == (float)(100 * (row0 + i / 7) + i % 7));
        }
    /* Its rows are shown to a trace as its own. */
    struct pc_trace tr = {0};
    assert_int_equal(pc_tensor_read_traced(t, 1, 2, got, &tr, &err), 0);
    assert_int_equal(tr.n_views, 1);
    assert_ptr_equal(tr.views[0].t, t);
    pc_trace_release(&tr);
    pc_checkpoint_close(joined);
    pc_checkpoint_close(ck);
}

/* More rows than are put together at once. */
static void long_and_wide(void **state)
{
    (void)state;
    enum { ROWS = 700, COLUMNS = 300 };
    static float a[ROWS * COLUMNS], b[ROWS * COLUMNS], got[ROWS * 2 * COLUMNS];
    struct pc_checkpoint *ck = memory_checkpoint(), *joined;
    struct paco_error err = {0};
    const struct pc_tensor *parts[] = {
        memory_add(ck, "a", PC_F32, ROWS, COLUMNS, part_bytes(a, ROWS, COLUMNS, 0)),
        memory_add(ck, "b", PC_F32, ROWS, COLUMNS, part_bytes(b, ROWS, COLUMNS, COLUMNS))};
    const struct pc_join table[] = {{"whole", 1, 2, parts}};
    assert_int_equal(pc_checkpoint_join(table, 1, "here", &joined, &err), 0);
    assert_int_equal(pc_tensor_read(&joined->tensors[0], 0, ROWS, got, &err), 0);
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < 2 * COLUMNS; c++)
            assert_true(got[r * 2 * COLUMNS + c] == (float)(100 * r + c));
    pc_checkpoint_close(joined);
    pc_checkpoint_close(ck);
}

static void blocks_stay_whole(void **state)
{
    (void)state;
    unsigned char a[2 * 34], b[2 * 68], got[2 * 102];
    for (size_t i = 0; i < sizeof a; i++)
        a[i] = (unsigned char)i;
    for (size_t i = 0; i < sizeof b; i++)
        b[i] = (unsigned char)(100 + i);
    struct pc_checkpoint *ck = memory_checkpoint(), *joined;
    struct paco_error err = {0};
    const struct pc_tensor *parts[] = {
        memory_add(ck, "a", PC_Q8_0, 2, 32, a), memory_add(ck, "b", PC_Q8_0, 2, 64, b)};
    const struct pc_join table[] = {{"whole", 1, 2, parts}};
    assert_int_equal(pc_checkpoint_join(table, 1, "here", &joined, &err), 0);
    assert_int_equal(pc_tensor_read(&joined->tensors[0], 0, 2, got, &err), 0);
    assert_memory_equal(got, a, 34);
    assert_memory_equal(got + 34, b, 68);
    assert_memory_equal(got + 102, a + 34, 34);
    assert_memory_equal(got + 136, b + 68, 68);
    pc_checkpoint_close(joined);
    pc_checkpoint_close(ck);
}

static void parts_that_do_not_fit(void **state)
{
    (void)state;
    float x[64] = {0};
    struct pc_checkpoint *ck = memory_checkpoint(), *joined;
    struct paco_error err = {0};
    const struct pc_tensor *a = memory_add(ck, "a", PC_F32, 2, 3, x),
                           *b = memory_add(ck, "b", PC_F32, 2, 4, x),
                           *c = memory_add(ck, "c", PC_F16, 2, 3, x),
                           *v = memory_add(ck, "v", PC_F32, 6, 0, x);
    const struct {
        const struct pc_tensor *parts[2];
        int axis;
        const char *message;
    } wrong[] = {
        {{a, b}, 0, "tensor 'a' is f32 [2,3] in 'memory' and f32 [2,4] in 'memory'"},
        {{a, c}, 0, "tensor 'a' is f32 [2,3] in 'memory' and f16 [2,3] in 'memory'"},
        {{a, v}, 0, "tensor 'a' is f32 [2,3] in 'memory' and f32 [6] in 'memory'"},
        {{v, v}, 1, "tensor 'v' is f32 [6] in 'memory' and f32 [6] in 'memory'"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const struct pc_join table[] = {{"whole", wrong[i].axis, 2, wrong[i].parts}};
        assert_int_equal(pc_checkpoint_join(table, 1, "here", &joined, &err), PACO_EMISMATCH);
        assert_string_equal(err.message, wrong[i].message);
        assert_string_equal(err.path, "here");
        err = (struct paco_error){0};
    }
    const struct pc_tensor *same[] = {a, a};
    const struct pc_join twice[] = {{"whole", 0, 1, same}, {"whole", 0, 1, same}};
    assert_int_equal(pc_checkpoint_join(twice, 2, "here", &joined, &err), PACO_EFORMAT);
    pc_checkpoint_close(ck);
}

static void a_part_that_cannot_be_read(void **state)
{
    (void)state;
    float x[6] = {0};
    struct pc_checkpoint *ck = memory_checkpoint(), *joined;
    struct paco_error err = {0};
    const struct pc_tensor *parts[] = {
        memory_add(ck, "a", PC_F32, 2, 3, x), memory_add(ck, "b", PC_F32, 2, 3, NULL)};
    for (int axis = 0; axis < 2; axis++) {
        const struct pc_join table[] = {{"whole", axis, 2, parts}};
        float got[12];
        assert_int_equal(pc_checkpoint_join(table, 1, "here", &joined, &err), 0);
        assert_int_equal(pc_tensor_read(&joined->tensors[0], 0, 2, got, &err), axis ? PACO_EIO : 0);
        assert_int_equal(
            pc_tensor_read(&joined->tensors[0], 0, joined->tensors[0].n_rows, got, &err), PACO_EIO);
        assert_contains(err.message, "tensor 'whole'");
        assert_contains(err.message, "the disk is on fire");
        pc_checkpoint_close(joined);
    }
    pc_checkpoint_close(ck);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_below_each_other),
        cmocka_unit_test(parts_beside_each_other),
        cmocka_unit_test(long_and_wide),
        cmocka_unit_test(blocks_stay_whole),
        cmocka_unit_test(parts_that_do_not_fit),
        cmocka_unit_test(a_part_that_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
