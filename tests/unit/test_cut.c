// SPDX-License-Identifier: Apache-2.0
#include "memory_checkpoint.h"

#include "algebra/cut.h"
#include "algebra/join.h"
#include "algebra/trace.h"

enum { ROWS = 6, COLUMNS = 8 };

/* Element (r, c) is 100 r + c. */
static const float *whole_bytes(float *to, uint64_t rows, uint64_t columns)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < columns; c++)
            to[r * columns + c] = (float)(100 * r + c);
    return to;
}

static void pieces_of_rows_and_of_columns(void **state)
{
    (void)state;
    float a[ROWS * COLUMNS], got[ROWS * COLUMNS];
    struct pc_checkpoint *ck = memory_checkpoint(), *pieces;
    struct paco_error err = {0};
    const struct pc_tensor *t = memory_add(ck, "a", PC_F32, ROWS, COLUMNS, whole_bytes(a, ROWS, COLUMNS));
    const struct pc_cut table[] = {
        {"r0", t, 0, 0, 3}, {"r2", t, 0, 2, 3}, {"c0", t, 1, 0, 4}, {"c3", t, 1, 3, 4}, {"all", t, 1, 0, 1}};
    static const uint64_t first[][2] = {{0, 0}, {4, 0}, {0, 0}, {0, 6}, {0, 0}},
                          shape[][2] = {{2, 8}, {2, 8}, {6, 2}, {6, 2}, {6, 8}};
    assert_int_equal(pc_checkpoint_cut(table, 5, "here", &pieces, &err), 0);
    for (size_t i = 0; i < 5; i++) {
        const struct pc_tensor *p = &pieces->tensors[i];
        assert_string_equal(p->name, table[i].name);
        assert_int_equal(p->shape[0], shape[i][0]);
        assert_int_equal(p->shape[1], shape[i][1]);
        for (uint64_t row0 = 0; row0 <= shape[i][0]; row0++)
            for (uint64_t n = 0; row0 + n <= shape[i][0]; n++) {
                memset(got, 0xff, sizeof got);
                assert_int_equal(pc_tensor_read(p, row0, n, got, &err), 0);
                for (uint64_t k = 0; k < n * shape[i][1]; k++)
                    assert_true(got[k] == (float)(100 * (first[i][0] + row0 + k / shape[i][1]) + first[i][1] +
                                                  k % shape[i][1]));
            }
    }
    pc_checkpoint_close(pieces);
    pc_checkpoint_close(ck);
}

/* A job's digest of an input is made of what its reads show: each row once and in order, or not at all. */
static void traced_reads_show_each_row_once(void **state)
{
    (void)state;
    float a[ROWS * COLUMNS], got[ROWS * COLUMNS], plain[ROWS * COLUMNS];
    struct pc_checkpoint *ck = memory_checkpoint(), *pieces;
    struct paco_error err = {0};
    const struct pc_tensor *t = memory_add(ck, "a", PC_F32, ROWS, COLUMNS, whole_bytes(a, ROWS, COLUMNS));
    const struct pc_cut table[] = {
        {"all", t, 0, 0, 1}, {"c0", t, 1, 0, 2}, {"c1", t, 1, 1, 2}, {"r0", t, 0, 0, 2}};
    static const size_t n_views[] = {1, 1, 0, 0};
    assert_int_equal(pc_checkpoint_cut(table, 4, "here", &pieces, &err), 0);
    for (size_t i = 0; i < 4; i++) {
        struct pc_trace tr = {0};
        const struct pc_tensor *p = &pieces->tensors[i];
        assert_int_equal(pc_tensor_read_traced(p, 1, 2, got, &tr, &err), 0);
        assert_int_equal(pc_tensor_read(p, 1, 2, plain, &err), 0);
        assert_memory_equal(got, plain, 2 * p->row_size);
        assert_int_equal(tr.n_views, n_views[i]);
        if (n_views[i]) {
            assert_ptr_equal(tr.views[0].t, t);
            assert_int_equal(tr.views[0].row0, 1);
            assert_int_equal(tr.views[0].n_rows, 2);
            assert_memory_equal(tr.views[0].bytes, a + COLUMNS, 2 * t->row_size);
        }
        pc_trace_release(&tr);
    }
    pc_checkpoint_close(pieces);
    pc_checkpoint_close(ck);
}

/* More rows than are held at once, joined again. */
static void long_and_wide(void **state)
{
    (void)state;
    enum { MANY = 700, WIDE = 600, PIECES = 3 };
    static float a[MANY * WIDE], got[MANY * WIDE];
    struct pc_checkpoint *ck = memory_checkpoint(), *pieces, *joined;
    struct paco_error err = {0};
    const struct pc_tensor *t = memory_add(ck, "a", PC_F32, MANY, WIDE, whole_bytes(a, MANY, WIDE)),
                           *parts[PIECES];
    const struct pc_cut table[PIECES] = {{"0", t, 1, 0, 3}, {"1", t, 1, 1, 3}, {"2", t, 1, 2, 3}};
    assert_int_equal(pc_checkpoint_cut(table, PIECES, "here", &pieces, &err), 0);
    for (int i = 0; i < PIECES; i++)
        parts[i] = &pieces->tensors[i];
    const struct pc_join again[] = {{"a", 1, PIECES, parts}};
    assert_int_equal(pc_checkpoint_join(again, 1, "here", &joined, &err), 0);
    assert_int_equal(pc_tensor_read(&joined->tensors[0], 0, MANY, got, &err), 0);
    assert_memory_equal(got, a, sizeof a);
    pc_checkpoint_close(joined);
    pc_checkpoint_close(pieces);
    pc_checkpoint_close(ck);
}

static void what_cannot_be_cut(void **state)
{
    (void)state;
    float x[ROWS * COLUMNS] = {0};
    unsigned char blocks[2 * 34 * 3] = {0};
    struct pc_checkpoint *ck = memory_checkpoint(), *pieces;
    const struct pc_tensor *a = memory_add(ck, "a", PC_F32, ROWS, COLUMNS, x),
                           *v = memory_add(ck, "v", PC_F32, ROWS, 0, x),
                           *q = memory_add(ck, "q", PC_Q8_0, 2, 96, blocks);
    const struct {
        struct pc_cut cut;
        const char *message;
    } wrong[] = {
        {{"p", a, 0, 0, 4}, "tensor 'a' is [6,8]: its 6 rows are no 4 equal pieces (4 x 1, and 2 left over)"},
        {{"p", a, 1, 0, 3},
            "tensor 'a' is [6,8]: its 8 columns are no 3 equal pieces (3 x 2, and 2 left over)"},
        {{"p", v, 1, 0, 2}, "tensor 'v' is [6], which cannot be cut along its columns"},
        {{"p", q, 1, 0, 2}, "tensor 'q': a cut after 48 columns goes through a block of q8_0"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct paco_error err = {0};
        assert_int_equal(pc_checkpoint_cut(&wrong[i].cut, 1, "here", &pieces, &err), PACO_EMISMATCH);
        assert_string_equal(err.message, wrong[i].message);
        assert_string_equal(err.path, "here");
    }
    const struct pc_cut twice[] = {{"p", a, 0, 0, 2}, {"p", a, 0, 1, 2}};
    assert_int_equal(pc_checkpoint_cut(twice, 2, "here", &pieces, NULL), PACO_EFORMAT);
    pc_checkpoint_close(ck);
}

static void what_cannot_be_read(void **state)
{
    (void)state;
    struct pc_checkpoint *ck = memory_checkpoint(), *pieces;
    const struct pc_tensor *t = memory_add(ck, "a", PC_F32, ROWS, COLUMNS, NULL);
    const struct pc_cut table[] = {{"r", t, 0, 1, 2}, {"c", t, 1, 1, 2}};
    assert_int_equal(pc_checkpoint_cut(table, 2, "here", &pieces, NULL), 0);
    for (int i = 0; i < 2; i++) {
        float got[ROWS * COLUMNS];
        struct paco_error err = {0};
        assert_int_equal(pc_tensor_read(&pieces->tensors[i], 0, 2, got, &err), PACO_EIO);
        assert_contains(err.message, i ? "tensor 'c'" : "tensor 'r'");
        assert_contains(err.message, "the disk is on fire");
    }
    pc_checkpoint_close(pieces);
    pc_checkpoint_close(ck);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_rows_and_of_columns),
        cmocka_unit_test(traced_reads_show_each_row_once),
        cmocka_unit_test(long_and_wide),
        cmocka_unit_test(what_cannot_be_cut),
        cmocka_unit_test(what_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
