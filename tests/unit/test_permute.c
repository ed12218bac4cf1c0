// SPDX-License-Identifier: Apache-2.0
#include "memory_checkpoint.h"
#include "unit.h"

#include "algebra/permute.h"
#include "algebra/rename.h"
#include "algebra/trace.h"
#include "format/safetensors.h"
#include "st_builder.h"

#include <stdlib.h>

/* 3 heads of 8 rows, 5 columns; a bias; something else. */
static const struct st_tensor g_tensors[] = {
    {"q.weight", 24, 5, 0},
    {"q.bias", 24, 0, 1000},
    {"v.weight", 2, 5, 2000},
};
static const struct pc_head_count g_heads[] = {{"q.weight", 3}, {"q.bias", 3}, {NULL, 0}};

static struct pc_checkpoint *open_file(struct scratch *s)
{
    struct pc_checkpoint *ck;
    scratch_open(s);
    assert_int_equal(pc_safetensors_open(st_write(s, "x.safetensors", g_tensors, 3), &ck, NULL), 0);
    return ck;
}

/* The reference's own words: view(n_heads, D/2, 2, C).transpose(1, 2). */
static int source_row(int row)
{
    int h = row / 8, a = row % 8 / 4, j = row % 4;
    return h * 8 + 2 * j + a;
}

static void rows_of_heads_go_from_pairs_to_halves(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_checkpoint *file = open_file(&s), *ck;
    struct paco_error err = {0};
    assert_int_equal(pc_checkpoint_permute(file, g_heads, PC_PAIRS_TO_HALVES, &ck, &err), 0);
    const struct pc_tensor *q = pc_checkpoint_find(ck, "q.weight"), *b = pc_checkpoint_find(ck, "q.bias");
    float x[24][5], y[24];
    for (uint64_t row0 = 0; row0 < 24; row0++)
        for (uint64_t n = 1; row0 + n <= 24; n++) {
            assert_int_equal(pc_tensor_read(q, row0, n, x, &err), 0);
            assert_int_equal(pc_tensor_read(b, row0, n, y, &err), 0);
            for (uint64_t i = 0; i < n; i++) {
                int from = source_row((int)(row0 + i));
                assert_true(x[i][0] == (float)(5 * from) && x[i][4] == (float)(5 * from + 4));
                assert_true(y[i] == (float)(1000 + from));
            }
        }
    assert_null(pc_tensor_map(q));
    const float *v = pc_tensor_map(pc_checkpoint_find(ck, "v.weight"));
    assert_non_null(v);
    assert_true(v[3] == 2003);
    pc_checkpoint_close(ck);
    pc_checkpoint_close(file);
    scratch_close(&s);
}

static void the_other_direction_undoes_it(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_checkpoint *file = open_file(&s), *halves, *pairs, *alone;
    struct paco_error err = {0};
    assert_int_equal(pc_checkpoint_permute(file, g_heads, PC_PAIRS_TO_HALVES, &halves, &err), 0);
    assert_int_equal(pc_checkpoint_permute(halves, g_heads, PC_HALVES_TO_PAIRS, &pairs, &err), 0);
    assert_int_equal(pc_checkpoint_permute(file, g_heads, PC_HALVES_TO_PAIRS, &alone, &err), 0);
    const struct pc_tensor *q = pc_checkpoint_find(pairs, "q.weight"),
                           *one = pc_checkpoint_find(alone, "q.weight");
    float x[24][5], y[24][5];
    for (uint64_t row0 = 0; row0 < 24; row0++)
        for (uint64_t n = 1; row0 + n <= 24; n++) {
            assert_int_equal(pc_tensor_read(q, row0, n, x, &err), 0);
            assert_int_equal(pc_tensor_read(one, row0, n, y, &err), 0);
            for (uint64_t i = 0; i < n; i++) {
                uint64_t row = row0 + i, head = row / 8 * 8, from = head + row % 2 * 4 + row % 8 / 2;
                assert_true(x[i][0] == (float)(5 * row) && x[i][4] == (float)(5 * row + 4));
                assert_true(y[i][0] == (float)(5 * from) && y[i][4] == (float)(5 * from + 4));
            }
        }
    pc_checkpoint_close(alone);
    pc_checkpoint_close(pairs);
    pc_checkpoint_close(halves);
    pc_checkpoint_close(file);
    scratch_close(&s);
}

static void tracing_shows_each_source_row_once_in_order(void **state)
{
    (void)state;
    for (int to_pairs = 0; to_pairs < 2; to_pairs++) {
        struct scratch s;
        struct pc_checkpoint *file = open_file(&s), *ck;
        struct paco_error err = {0};
        assert_int_equal(pc_checkpoint_permute(
                             file, g_heads, to_pairs ? PC_HALVES_TO_PAIRS : PC_PAIRS_TO_HALVES, &ck, &err),
            0);
        const struct pc_tensor *q = pc_checkpoint_find(ck, "q.weight");
        for (uint64_t piece = 1; piece <= 24; piece++) {
            struct pc_trace tr = {0};
            uint64_t next = 0;
            float x[24][5], want[24][5];
            for (uint64_t row = 0, n; row < 24; row += n) {
                n = piece < 24 - row ? piece : 24 - row;
                pc_trace_reset(&tr);
                assert_int_equal(pc_tensor_read_traced(q, row, n, x, &tr, &err), 0);
                assert_int_equal(pc_tensor_read(q, row, n, want, &err), 0);
                assert_memory_equal(x, want, n * sizeof *x);
                for (size_t i = 0; i < tr.n_views; i++) {
                    assert_ptr_equal(tr.views[i].t, pc_checkpoint_find(file, "q.weight"));
                    assert_int_equal(tr.views[i].row0, next);
                    next += tr.views[i].n_rows;
                    const float *first = tr.views[i].bytes;
                    assert_true(first[0] == (float)(5 * tr.views[i].row0));
                }
            }
            assert_int_equal(next, 24);
            pc_trace_release(&tr);
        }
        pc_checkpoint_close(ck);
        pc_checkpoint_close(file);
        scratch_close(&s);
    }
}

static void refuses_rows_that_are_no_heads(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_checkpoint *file = open_file(&s), *ck;
    struct paco_error err = {0};
    const struct pc_head_count heads[] = {{"q.weight", 5}, {NULL, 0}}, odd[] = {{"q.weight", 8}, {NULL, 0}};
    assert_int_equal(pc_checkpoint_permute(file, heads, PC_PAIRS_TO_HALVES, &ck, &err), PACO_EMISMATCH);
    assert_string_equal(err.message,
        "tensor 'q.weight' has the shape [24,5], whose rows are no even number for each of 5 heads");
    assert_contains(err.path, "x.safetensors");
    assert_int_equal(pc_checkpoint_permute(file, odd, PC_HALVES_TO_PAIRS, &ck, &err), PACO_EMISMATCH);
    pc_checkpoint_close(file);
    scratch_close(&s);
}

static void refuses_rows_beyond_the_longest(void **state)
{
    (void)state;
    struct pc_checkpoint *ck = memory_checkpoint(), *out = NULL;
    struct paco_error err = {0};
    const struct pc_head_count heads[] = {{"q.weight", 2}, {NULL, 0}};
    memory_add(ck, "q.weight", PC_F16, 8, PC_MAX_ROW + 1, NULL);
    assert_int_equal(pc_checkpoint_permute(ck, heads, PC_PAIRS_TO_HALVES, &out, &err), PACO_ELIMIT);
    assert_string_equal(err.message,
        "tensor 'q.weight' has the shape [8,131073]: rows of more than 131072 elements cannot be reordered");
    pc_checkpoint_close(ck);
}

static void renaming_picks_and_reorders(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_checkpoint *file = open_file(&s), *ck;
    struct paco_error err = {0};
    const struct pc_rename table[] = {
        {"b", pc_checkpoint_find(file, "v.weight")}, {"a", pc_checkpoint_find(file, "q.bias")}};
    assert_int_equal(pc_checkpoint_rename(table, 2, "here", &ck, &err), 0);
    assert_int_equal(ck->n_tensors, 2);
    assert_string_equal(ck->tensors[0].name, "b");
    assert_null(pc_checkpoint_find(ck, "q.weight"));
    float x[5];
    assert_int_equal(pc_tensor_read(&ck->tensors[0], 1, 1, x, &err), 0);
    assert_true(x[0] == 2005);
    assert_int_equal(pc_tensor_read(&ck->tensors[0], 2, 1, x, &err), PACO_EINVAL);
    const char *path;
    uint64_t at, want;
    assert_true(ck->ops->where(&ck->tensors[1], &path, &at));
    assert_true(file->ops->where(table[1].of, &path, &want));
    assert_int_equal(at, want);
    pc_checkpoint_close(ck);
    const struct pc_rename twice[] = {table[0], table[0]};
    assert_int_equal(pc_checkpoint_rename(twice, 2, "here", &ck, &err), PACO_EFORMAT);
    assert_string_equal(err.message, "tensor 'b' appears twice");
    pc_checkpoint_close(file);
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_heads_go_from_pairs_to_halves),
        cmocka_unit_test(the_other_direction_undoes_it),
        cmocka_unit_test(tracing_shows_each_source_row_once_in_order),
        cmocka_unit_test(refuses_rows_that_are_no_heads),
        cmocka_unit_test(refuses_rows_beyond_the_longest),
        cmocka_unit_test(renaming_picks_and_reorders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
