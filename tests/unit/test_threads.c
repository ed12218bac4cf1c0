// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/cpu.h"
#include "base/threads.h"
#include "scratch.h"

#include <limits.h>
#include <stdatomic.h>
#include <time.h>

enum { UNITS = 1000, MOST_WORKERS = 12 };

struct tally {
    _Atomic int seen[UNITS];
    _Atomic int64_t sum;
    _Atomic int highest_worker, n_calls;
};

static void count_task(void *arg, int64_t i, int worker)
{
    struct tally *t = arg;
    atomic_fetch_add(&t->seen[i], 1);
    atomic_fetch_add(&t->sum, i);
    int highest = atomic_load(&t->highest_worker);
    while (worker > highest && !atomic_compare_exchange_weak(&t->highest_worker, &highest, worker))
        ;
}

static void count_range(void *arg, int64_t first, int64_t end, int worker)
{
    struct tally *t = arg;
    atomic_fetch_add(&t->n_calls, 1);
    for (; first < end; first++)
        count_task(arg, first, worker);
}

static void check_each_once(const struct tally *t, int n)
{
    for (int i = 0; i < UNITS; i++)
        assert_int_equal(t->seen[i], i < n);
}

static void every_task_runs_once(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 3, 7, MOST_WORKERS}, counts[] = {0, 1, 2, 3, 100, UNITS};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct pc_pool *p = pc_pool_new(sizes[i], NULL);
        assert_non_null(p);
        assert_int_equal(pc_pool_size(p), sizes[i]);
        for (size_t k = 0; k < 5 * sizeof counts / sizeof *counts; k++) {
            int n = counts[k % (sizeof counts / sizeof *counts)];
            struct tally tasks = {0}, units = {0};
            pc_pool_run(p, n, count_task, &tasks);
            check_each_once(&tasks, n);
            pc_pool_share(p, n, 0, count_range, &units);
            check_each_once(&units, n);
            assert_true(tasks.highest_worker < sizes[i] && units.highest_worker < sizes[i]);
        }
        pc_pool_free(p);
    }
}

/* A hand-out is a share of what is left: many units take few calls. */
static void units_come_in_ranges(void **state)
{
    (void)state;
    struct pc_pool *p = pc_pool_new(2, NULL);
    struct tally t = {0};
    pc_pool_share(p, UNITS, 0, count_range, &t);
    assert_true(t.n_calls > 4 && t.n_calls < 40);
    struct tally alone = {0};
    pc_pool_share(p, UNITS, 1, count_range, &alone);
    assert_int_equal(alone.n_calls, 1);
    check_each_once(&alone, UNITS);
    pc_pool_free(p);
}

static void no_more_workers_than_asked_for(void **state)
{
    (void)state;
    struct pc_pool *p = pc_pool_new(MOST_WORKERS, NULL);
    for (int round = 0; round < 200; round++) {
        struct tally t = {0};
        pc_pool_share(p, UNITS, 3, count_range, &t);
        check_each_once(&t, UNITS);
        assert_true(t.highest_worker < 3);
    }
    pc_pool_free(p);
}

/* Many more workers than processors, and rounds shorter than a wake-up: late workers find nothing left, and
 * no round's units or argument leak into the next. */
static void short_rounds(void **state)
{
    (void)state;
    struct pc_pool *p = pc_pool_new(MOST_WORKERS, NULL);
    assert_non_null(p);
    for (int round = 0; round < 3000; round++) {
        _Atomic int64_t n = 2 + round % 3;
        struct tally t = {0};
        if (round % 2)
            pc_pool_run(p, n, count_task, &t);
        else
            pc_pool_share(p, n, 0, count_range, &t);
        assert_int_equal(t.sum, n * (n - 1) / 2);
    }
    pc_pool_free(p);
}

static void nap(int milliseconds)
{
    nanosleep(&(struct timespec){0, milliseconds * 1000000L}, NULL);
}

static void nap_now_and_then(void *arg, int64_t i, int worker)
{
    if (i % 5 == 0)
        nap(1);
    count_task(arg, i, worker);
}

/* Between rounds everybody falls asleep, and within them one waits for the other: nobody is forgotten. */
static void sleepers_wake(void **state)
{
    (void)state;
    struct pc_pool *p = pc_pool_new(3, NULL);
    for (int round = 0; round < 40; round++) {
        struct tally t = {0};
        pc_pool_run(p, 7, nap_now_and_then, &t);
        check_each_once(&t, 7);
        nap(round % 3);
    }
    pc_pool_free(p);
}

/* ---- quotas of control groups ---- */

struct file {
    const char *name, *text;
};

static int quota_of(const struct file *files, size_t n)
{
    struct scratch s;
    scratch_open(&s);
    for (size_t i = 0; i < n; i++)
        scratch_write(&s, files[i].name, files[i].text, strlen(files[i].text));
    int quota = pc_cpu_quota(s.dir);
    scratch_close(&s);
    return quota;
}

#define QUOTA_OF(...)                                                                                        \
    quota_of((const struct file[]){__VA_ARGS__},                                                             \
        sizeof((const struct file[]){__VA_ARGS__}) / sizeof(struct file))

static void quotas_of_version_2(void **state)
{
    (void)state;
    const struct file self = {"proc/self/cgroup", "0::/user.slice/job/step\n"};
    assert_int_equal(QUOTA_OF(self), INT_MAX);
    assert_int_equal(QUOTA_OF(self, {"sys/fs/cgroup/user.slice/job/step/cpu.max", "150000 100000\n"}), 2);
    assert_int_equal(QUOTA_OF(self, {"sys/fs/cgroup/user.slice/job/step/cpu.max", "max 100000\n"}), INT_MAX);
    assert_int_equal(QUOTA_OF(self, {"sys/fs/cgroup/user.slice/job/step/cpu.max", "max 100000\n"},
                         {"sys/fs/cgroup/user.slice/job/cpu.max", "400000 100000\n"},
                         {"sys/fs/cgroup/user.slice/cpu.max", "800000 100000\n"}),
        4);
    assert_int_equal(QUOTA_OF(self, {"sys/fs/cgroup/cpu.max", "30000 100000\n"}), 1); /* a container's own */
    assert_int_equal(QUOTA_OF(self, {"sys/fs/cgroup/other/cpu.max", "100000 100000\n"}), INT_MAX);
    assert_int_equal(
        QUOTA_OF({"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", "300000 100000\n"}), 3);
    assert_int_equal(
        QUOTA_OF({"sys/fs/cgroup/cpu.max", "x"}, {"proc/self/cgroup", "x\n0\n1:2\n::\n\n"}), INT_MAX);
}

static void quotas_of_version_1(void **state)
{
    (void)state;
    const struct file self = {
        "proc/self/cgroup", "5:memory:/a\n4:cpuset:/c\n3:cpu,cpuacct:/docker/abc\n0::/\n"};
    const struct file period = {"sys/fs/cgroup/cpu/docker/cpu.cfs_period_us", "50000\n"};
    assert_int_equal(QUOTA_OF(self, period, {"sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us", "-1\n"}), INT_MAX);
    assert_int_equal(QUOTA_OF(self, period, {"sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us", "125000\n"}), 3);
    assert_int_equal(QUOTA_OF(self, {"sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "200000\n"},
                         {"sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n"}),
        2);
    assert_int_equal(QUOTA_OF(self, {"sys/fs/cgroup/cpuset/c/cpu.cfs_quota_us", "200000\n"},
                         {"sys/fs/cgroup/cpuset/c/cpu.cfs_period_us", "100000\n"}),
        INT_MAX);
}

static void this_machine_has_processors(void **state)
{
    (void)state;
    assert_true(pc_cpu_count() >= 1);
    assert_true(pc_cpu_count() <= pc_cpu_quota(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(units_come_in_ranges),
        cmocka_unit_test(no_more_workers_than_asked_for),
        cmocka_unit_test(short_rounds),
        cmocka_unit_test(sleepers_wake),
        cmocka_unit_test(quotas_of_version_2),
        cmocka_unit_test(quotas_of_version_1),
        cmocka_unit_test(this_machine_has_processors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
