// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "train/params.h"
#include "train/shard.h"

enum { CHUNK = PC_PARAM_CHUNK };

/* Five parts: one shorter than a chunk, two that begin inside one, an end that is no whole chunk. */
static const uint64_t g_begin[] = {0, 10 * CHUNK + 256, 10 * CHUNK + 512, 17 * CHUNK, 40 * CHUNK + 256};
enum { N_GROUPS = 5 };
static const uint64_t g_flat = 43 * CHUNK + 768;

static struct pc_shard shard_of(int rank, int size)
{
    struct pc_shard s;
    assert_int_equal(pc_shard_init(&s, g_flat, g_begin, N_GROUPS, rank, size, NULL), 0);
    return s;
}

static void test_every_chunk_has_one_owner(void **state)
{
    (void)state;
    for (int size = 1; size <= 7; size++) {
        int n_owners[44] = {0};
        uint64_t sum = 0, least = UINT64_MAX, most = 0;
        for (int rank = 0; rank < size; rank++) {
            struct pc_shard s = shard_of(rank, size);
            assert_int_equal(s.n_chunks, 44);
            uint64_t next = 0, local, n = pc_shard_n_own(&s, rank);
            for (uint64_t c = 0; c < s.n_chunks; c++) {
                if (!pc_shard_owns(&s, c, &local))
                    continue;
                n_owners[c]++;
                assert_int_equal(local, next); // what is owned lies together
                next += c == 43 ? 768 : CHUNK;
            }
            assert_int_equal(next, n);
            sum += n;
            least = n < least ? n : least;
            most = n > most ? n : most;
            pc_shard_release(&s);
        }
        for (int c = 0; c < 44; c++)
            assert_int_equal(n_owners[c], 1);
        assert_int_equal(sum, g_flat);
        assert_in_range(most - least, 0, 2 * CHUNK - 768); // one more chunk, and the short one
    }
}

static void test_a_straddling_chunk_goes_with_the_earlier_part(void **state)
{
    (void)state;
    struct pc_shard s = shard_of(0, 2);
    assert_int_equal(s.group[1], 11); // part 1 begins inside chunk 10
    assert_int_equal(s.group[2], 11); // and has no chunk of its own
    assert_int_equal(s.group[3], 17);
    assert_int_equal(s.group[4], 41);
    assert_int_equal(pc_shard_group_of(&s, 10), 0);
    assert_int_equal(pc_shard_group_of(&s, 11), 2);
    assert_int_equal(pc_shard_group_of(&s, 43), 4);
    pc_shard_release(&s);
}

static void test_bounds_cover_a_group(void **state)
{
    (void)state;
    struct pc_shard s = shard_of(1, 4);
    int64_t bounds[5];
    pc_shard_bounds(&s, 3, bounds);
    assert_int_equal(bounds[0], 17 * CHUNK);
    assert_int_equal(bounds[4], 41 * CHUNK);
    for (int r = 0; r < 4; r++)
        assert_int_equal(bounds[r + 1] - bounds[r], 6 * CHUNK);
    pc_shard_bounds(&s, 4, bounds); // three chunks for four ranks, the last one short
    assert_int_equal(bounds[0], 41 * CHUNK);
    assert_int_equal(bounds[4], g_flat);
    pc_shard_bounds(&s, 1, bounds);
    for (int r = 0; r <= 4; r++)
        assert_int_equal(bounds[r], 11 * CHUNK);
    pc_shard_release(&s);
}

static void test_slots(void **state)
{
    (void)state;
    int first, end;
    for (int size = 1; size <= PC_SLOTS; size *= 2)
        for (int rank = 0; rank < size; rank++) {
            assert_int_equal(pc_shard_slots(rank, size, &first, &end, NULL), 0);
            assert_int_equal(first, rank * PC_SLOTS / size);
            assert_int_equal(end, (rank + 1) * PC_SLOTS / size);
        }
    struct paco_error err = {0};
    assert_int_equal(pc_shard_slots(0, 3, &first, &end, &err), PACO_EINVAL);
    assert_contains(err.message, "3 ranks");
    assert_contains(err.message, "1, 2 or 4");
    assert_int_equal(pc_shard_slots(0, 8, &first, &end, &err), PACO_EINVAL);
}

static void test_examples_fill_slots_evenly(void **state)
{
    (void)state;
    static const uint64_t want[][PC_SLOTS + 1] = {
        {0, 0, 0, 0, 0}, {0, 1, 1, 1, 1}, {0, 1, 2, 3, 3}, {0, 2, 3, 4, 5}, {0, 8, 16, 24, 32}};
    static const uint64_t n[] = {0, 1, 3, 5, 32};
    for (int k = 0; k < 5; k++)
        for (int i = 0; i < PC_SLOTS; i++) {
            uint64_t first, end;
            pc_shard_slot(n[k], PC_SLOTS, i, &first, &end);
            assert_int_equal(first, want[k][i]);
            assert_int_equal(end, want[k][i + 1]);
        }
}

static void check_deal(const uint32_t *rows, uint64_t n, int size, const uint64_t *want)
{
    uint64_t bounds[8];
    pc_shard_deal(rows, n, size, bounds);
    for (int r = 0; r <= size; r++)
        assert_int_equal(bounds[r], want[r]);
}

static void test_examples_are_dealt_by_rows(void **state)
{
    (void)state;
    static const uint32_t even[] = {10, 10, 10, 10}, skew[] = {100, 10, 10, 10, 70}, one[] = {5};
    check_deal(even, 4, 2, (const uint64_t[]){0, 2, 4});
    check_deal(even, 4, 4, (const uint64_t[]){0, 1, 2, 3, 4});
    check_deal(skew, 5, 2, (const uint64_t[]){0, 1, 5});
    check_deal(one, 1, 3, (const uint64_t[]){0, 0, 1, 1});
    check_deal(NULL, 0, 2, (const uint64_t[]){0, 0, 0});
}

static void test_what_passes_by(void **state)
{
    (void)state;
    static const uint64_t begin[] = {
        0, 100 * CHUNK, 200 * CHUNK, 300 * CHUNK, 400 * CHUNK, 500 * CHUNK, 600 * CHUNK, 700 * CHUNK};
    struct pc_shard s;
    uint64_t n = UINT64_C(800) * CHUNK;
    assert_int_equal(pc_shard_init(&s, n, begin, 8, 0, 4, NULL), 0);
    assert_int_equal(pc_shard_most_own(&s), n / 4);
    assert_int_equal(pc_shard_n_passing(&s), n / 4 + 300 * CHUNK); // a quarter and three groups
    pc_shard_release(&s);
    assert_int_equal(pc_shard_init(&s, n, begin, 2, 0, 4, NULL), 0);
    assert_int_equal(pc_shard_n_passing(&s), n); // never more than there is
    pc_shard_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_chunk_has_one_owner),
        cmocka_unit_test(test_a_straddling_chunk_goes_with_the_earlier_part),
        cmocka_unit_test(test_bounds_cover_a_group),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_examples_fill_slots_evenly),
        cmocka_unit_test(test_examples_are_dealt_by_rows),
        cmocka_unit_test(test_what_passes_by),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
