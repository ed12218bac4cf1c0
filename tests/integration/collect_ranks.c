// SPDX-License-Identifier: Apache-2.0
/* Run under mpirun by ranks.py: sums and gathers of long arrays in uneven pieces, several under way at once,
 * each held against what one process computes. With "die", the last rank is killed in the middle; with
 * "late", ranks stop computing for a while, each at another time. Rank 0 prints what it saw. */
#include "base/collect.h"
#include "base/memory.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = 9000017, N_ROUNDS = 3, MOST_RANKS = 16 };

static void die(const struct paco_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

/* Numbers whose sum depends on the order of adding. */
static float value(int rank, int round, int64_t i)
{
    uint32_t x = (uint32_t)i * 2654435761u + (uint32_t)rank * 40503u + (uint32_t)round * 97u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return ldexpf((float)(int32_t)x, (int)(x & 15) - 40);
}

static float in_order(int size, int round, int64_t i)
{
    float v[MOST_RANKS] = {0};
    for (int r = 0; r < size; r++)
        v[r] = value(r, round, i);
    if (size == 4)
        return (v[0] + v[1]) + (v[2] + v[3]);
    return size == 3 ? (v[0] + v[1]) + v[2] : size == 2 ? v[0] + v[1] : v[0];
}

/* Uneven, one empty where there are enough of them. */
static void cut(int64_t *bounds, int size, int round)
{
    for (int r = 0; r <= size; r++)
        bounds[r] = 13 + (N - 13) * (int64_t)r * (r + round) / ((int64_t)size * (size + round));
    if (size > 2)
        bounds[1] = bounds[0];
    bounds[size] = N - round;
}

static void sleep_ms(int ms)
{
    nanosleep(&(const struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

static int64_t wrong_after(const float *a, const int64_t *bounds, int size, int round)
{
    int64_t n_wrong = 0;
    for (int64_t i = 0; i < N; i++) {
        bool in = i >= bounds[0] && i < bounds[size];
        float want = in ? in_order(size, round, i) : -1.0f;
        n_wrong += a[i] != want;
    }
    return n_wrong;
}

int main(int argc, char **argv)
{
    struct paco_error err = {0};
    struct pc_comm *comm;
    struct pc_collect *c;
    if (pc_comm_open(&comm, &err) < 0 || pc_collect_open(&c, comm, &err) < 0)
        die(&err);
    int rank = pc_collect_rank(c), size = pc_collect_size(c);
    bool dies = argc > 1 && strcmp(argv[1], "die") == 0, late = argc > 1 && strcmp(argv[1], "late") == 0;
    if (dies)
        signal(SIGTERM, SIG_IGN); // mpirun's, soon after; what is asked here is whether we notice ourselves
    float *array[N_ROUNDS];
    int64_t bounds[N_ROUNDS][MOST_RANKS + 1], sum[N_ROUNDS], all[N_ROUNDS];
    for (int k = 0; k < N_ROUNDS; k++) {
        array[k] = pc_alloc(N, sizeof(float));
        if (!array[k])
            return 1;
        cut(bounds[k], size, k);
        for (int64_t i = 0; i < N; i++)
            array[k][i] =
                i >= bounds[k][0] && i < bounds[k][size] ? value(rank, k, i) : -1.0f; // others' are not moved
    }
    for (int k = 0; k < N_ROUNDS; k++) {
        if (late)
            sleep_ms(50 * ((rank + k) % size));
        if (dies && rank == size - 1 && k == 1)
            raise(SIGKILL);
        if (pc_collect_add(c, array[k], bounds[k], &sum[k], &err) < 0 ||
            pc_collect_gather(c, array[k], bounds[k], sizeof(float), &all[k], &err) < 0)
            die(&err);
    }
    int64_t n_wrong = 0;
    for (int k = N_ROUNDS; k-- > 0;) {
        if (pc_collect_wait(c, all[k], &err) < 0)
            die(&err);
        n_wrong += wrong_after(array[k], bounds[k], size, k);
        pc_free(array[k]);
    }
    int64_t each[MOST_RANKS] = {0};
    each[rank] = n_wrong;
    if (pc_collect_all(c, each, sizeof *each, &err) < 0)
        die(&err);
    for (int r = 0; rank == 0 && r < size; r++)
        printf("rank %d of %d: %lld wrong\n", r, size, (long long)each[r]);
    pc_collect_close(c);
    if (pc_comm_close(comm, &err) < 0)
        die(&err);
    return 0;
}
