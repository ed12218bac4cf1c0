// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/memory.h"
#include "train/packs.h"

enum { N = 500, ROOM = 200 };

/* Lengths like those of short instructions, a few of full length. */
static void make_examples(struct pc_examples *set, struct pc_example *rows)
{
    uint64_t random = 11;
    *set = (struct pc_examples){.n = N, .examples = rows};
    for (uint32_t i = 0; i < N; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint32_t n = i % 50 == 7 ? ROOM : 1 + (uint32_t)(random >> 33) % 90;
        rows[i] = (struct pc_example){.at = set->n_ids, .n_ids = n};
        set->n_ids += n;
        set->longest = n > set->longest ? n : set->longest;
    }
}

static void assert_packed(const struct pc_packs *p, const struct pc_examples *set)
{
    bool seen[N] = {false};
    uint32_t most = 0;
    assert_int_equal(p->at[0], 0);
    assert_int_equal(p->at[p->n], N);
    for (size_t k = 0; k < p->n; k++) {
        uint32_t sum = 0, n = p->at[k + 1] - p->at[k];
        assert_true(p->at[k] < p->at[k + 1]);
        for (uint32_t i = p->at[k]; i < p->at[k + 1]; i++) {
            assert_false(seen[p->example[i]]);
            seen[p->example[i]] = true;
            sum += set->examples[p->example[i]].n_ids;
        }
        assert_in_range(sum, 1, ROOM);
        most = n > most ? n : most;
    }
    assert_int_equal(p->most, most);
}

static void every_example_is_in_one_pack(void **state)
{
    (void)state;
    struct pc_examples set;
    struct pc_example rows[N];
    struct pc_packs p, same, other;
    make_examples(&set, rows);
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        assert_int_equal(pc_packs_make(&set, ROOM, 3, shuffle, &p, NULL), 0);
        assert_int_equal(pc_packs_make(&set, ROOM, 3, shuffle, &same, NULL), 0);
        assert_int_equal(pc_packs_make(&set, ROOM, 4, shuffle, &other, NULL), 0);
        assert_packed(&p, &set);
        assert_memory_equal(p.example, same.example, N * sizeof *p.example);
        assert_int_equal(shuffle, memcmp(p.example, other.example, N * sizeof *p.example) != 0);
        // The fewest there could be, had examples no edges.
        size_t least = (size_t)((set.n_ids + ROOM - 1) / ROOM);
        assert_in_range(p.n, least, shuffle ? least + least / 50 : least + least / 2);
        pc_packs_release(&p);
        pc_packs_release(&same);
        pc_packs_release(&other);
    }
}

static void unshuffled_packs_keep_the_files_order(void **state)
{
    (void)state;
    struct pc_examples set;
    struct pc_example rows[N];
    struct pc_packs p;
    uint32_t order[N], at[N + 1];
    make_examples(&set, rows);
    assert_int_equal(pc_packs_make(&set, ROOM, 3, false, &p, NULL), 0);
    pc_packs_order(&p, 3, 5, false, order, at);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(order[i], i);
    assert_memory_equal(at, p.at, (p.n + 1) * sizeof *at);
    pc_packs_release(&p);
}

/* The least room that does, and of equals the pack that was added to last. */
static void the_fullest_pack_with_room_is_chosen(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {60, 70, 70, 30, 40, 100};
    struct pc_example rows[6];
    struct pc_examples set = {.n = 6, .examples = rows, .longest = 100};
    struct pc_packs p;
    for (uint32_t i = 0; i < 6; i++)
        rows[i] = (struct pc_example){.n_ids = lengths[i]};
    for (uint64_t seed = 0; seed < 2000; seed++) {
        assert_int_equal(pc_packs_make(&set, 100, seed, true, &p, NULL), 0);
        bool as_listed = p.example[0] == 0 && p.example[p.at[1]] == 1;
        if (as_listed && p.n == 4 && p.at[1] == 2 && p.at[2] - p.at[1] == 1) {
            // 40 fills 60; 30 went to the later 70.
            assert_int_equal(p.example[1], 4);
            assert_int_equal(p.example[p.at[2]], 2);
            assert_int_equal(p.example[p.at[2] + 1], 3);
            pc_packs_release(&p);
            return;
        }
        pc_packs_release(&p);
    }
    fail_msg("no seed brings the order that is looked for");
}

static void epochs_shuffle_whole_packs(void **state)
{
    (void)state;
    struct pc_examples set;
    struct pc_example rows[N];
    struct pc_packs p;
    uint32_t order[2][N], at[2][N + 1], want[N];
    make_examples(&set, rows);
    assert_int_equal(pc_packs_make(&set, ROOM, 3, true, &p, NULL), 0);
    for (int epoch = 0; epoch < 2; epoch++) {
        pc_packs_order(&p, 3, (uint64_t)epoch, true, order[epoch], at[epoch]);
        pc_examples_order(3, (uint64_t)epoch, true, want, p.n);
        for (size_t k = 0; k < p.n; k++) {
            uint32_t n = at[epoch][k + 1] - at[epoch][k];
            assert_int_equal(n, p.at[want[k] + 1] - p.at[want[k]]);
            assert_memory_equal(order[epoch] + at[epoch][k], p.example + p.at[want[k]], n * sizeof(uint32_t));
        }
        assert_int_equal(at[epoch][p.n], N);
    }
    assert_true(memcmp(order[0], order[1], sizeof order[0]) != 0);
    pc_packs_release(&p);
}

static void one_example_is_one_pack(void **state)
{
    (void)state;
    struct pc_example row = {.n_ids = 1};
    struct pc_examples set = {.n = 1, .examples = &row, .longest = 1};
    struct pc_packs p;
    assert_int_equal(pc_packs_make(&set, 1, 0, true, &p, NULL), 0);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.at[1], 1);
    pc_packs_release(&p);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    struct pc_examples set;
    struct pc_example rows[N];
    struct pc_packs p;
    int rc = PACO_EMEM;
    int64_t n = 0;
    make_examples(&set, rows);
    for (; rc < 0; n++) {
        struct paco_error err = {0};
        pc_alloc_fail_after(n);
        rc = pc_packs_make(&set, ROOM, 3, true, &p, &err);
        pc_alloc_fail_after(-1);
        assert_true(rc == 0 || (rc == PACO_EMEM && err.code == PACO_EMEM));
        pc_packs_release(&p);
    }
    assert_int_equal(n, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_example_is_in_one_pack),
        cmocka_unit_test(unshuffled_packs_keep_the_files_order),
        cmocka_unit_test(the_fullest_pack_with_room_is_chosen), cmocka_unit_test(epochs_shuffle_whole_packs),
        cmocka_unit_test(one_example_is_one_pack), cmocka_unit_test(memory_may_run_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
