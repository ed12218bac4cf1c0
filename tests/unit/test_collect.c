// SPDX-License-Identifier: Apache-2.0
/* Collectives over a transport of the test's own: ranks are threads, each with the collect's thread beside
 * it, so that what those two share can be looked at by the thread sanitizer, which knows nothing of MPI. */
#include "unit.h"

#include "base/collect.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MOST = 4, N = 700001, N_ROUNDS = 5 };

/* ---- the transport ---- */

struct parcel {
    struct pc_comm_part part;
    bool done;
    struct parcel *next;
};

struct transfer {
    int n;
    struct parcel parcel[2 * MOST];
};

struct channel {
    struct parcel *sent, *wanted; /* oldest first */
};

static struct hub {
    pthread_mutex_t lock;
    struct channel channel[MOST][MOST]; /* from, to */
    pthread_barrier_t barrier;
    bool broken, threads;
} g_hub = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct pc_comm {
    int rank, size;
};

int pc_comm_rank(const struct pc_comm *comm)
{
    return comm->rank;
}

int pc_comm_size(const struct pc_comm *comm)
{
    return comm->size;
}

bool pc_comm_has_threads(const struct pc_comm *comm)
{
    (void)comm;
    return g_hub.threads;
}

static void queue(struct parcel **at, struct parcel *p)
{
    while (*at)
        at = &(*at)->next;
    *at = p;
}

static void deliver(struct channel *c)
{
    while (c->sent && c->wanted) {
        struct parcel *from = c->sent, *to = c->wanted;
        assert_int_equal(from->part.len, to->part.len);
        memcpy(to->part.bytes, from->part.bytes, to->part.len);
        c->sent = from->next;
        c->wanted = to->next;
        from->done = to->done = true;
    }
}

static int is_cut(const struct pc_comm *comm, struct transfer *t, struct paco_error *err)
{
    free(t);
    return pc_error_set(err, PACO_EIO, "rank %d of %d: the wire is cut", comm->rank, comm->size);
}

int pc_comm_post(
    struct pc_comm *comm, const struct pc_comm_part *part, int n, void **handle, struct paco_error *err)
{
    struct transfer *t = calloc(1, sizeof *t);
    assert_non_null(t);
    assert_in_range(n, 1, 2 * MOST);
    t->n = n;
    pthread_mutex_lock(&g_hub.lock);
    bool broken = g_hub.broken;
    for (int i = 0; i < n && !broken; i++) {
        struct parcel *p = &t->parcel[i];
        p->part = part[i];
        struct channel *c = part[i].send ? &g_hub.channel[comm->rank][part[i].peer]
                                         : &g_hub.channel[part[i].peer][comm->rank];
        queue(part[i].send ? &c->sent : &c->wanted, p);
        deliver(c);
    }
    pthread_mutex_unlock(&g_hub.lock);
    *handle = t;
    return broken ? is_cut(comm, t, err) : 0;
}

int pc_comm_test(struct pc_comm *comm, void *handle, struct paco_error *err)
{
    struct transfer *t = handle;
    int n_done = 0;
    pthread_mutex_lock(&g_hub.lock);
    bool broken = g_hub.broken;
    for (int i = 0; i < t->n; i++)
        n_done += t->parcel[i].done;
    pthread_mutex_unlock(&g_hub.lock);
    if (broken)
        return is_cut(comm, t, err);
    if (n_done < t->n)
        return 0;
    free(t);
    return 1;
}

/* ---- ranks ---- */

struct rank {
    struct pc_comm comm;
    pthread_t thread;
    int64_t n_wrong;
    bool cut; /* the wire, after two rounds */
};

static float value(int rank, int round, int64_t i)
{
    uint32_t x = (uint32_t)i * 2654435761u + (uint32_t)rank * 40503u + (uint32_t)round * 97u;
    x ^= x >> 15;
    return ldexpf((float)(int32_t)x, (int)(x & 15) - 40);
}

static float in_order(int size, int round, int64_t i)
{
    float v[MOST];
    for (int r = 0; r < size; r++)
        v[r] = value(r, round, i);
    return size == 4 ? (v[0] + v[1]) + (v[2] + v[3]) : size == 3 ? (v[0] + v[1]) + v[2] : v[0] + v[1];
}

/* Uneven pieces, one empty. */
static void cut(int64_t *bounds, int size, int round)
{
    for (int r = 0; r <= size; r++)
        bounds[r] = 5 + (N - 5) * (int64_t)r * (r + round) / ((int64_t)size * (size + round));
    if (size > 2)
        bounds[1] = bounds[0];
}

static void add_and_gather(struct rank *self, struct pc_collect *c)
{
    int rank = self->comm.rank, size = self->comm.size;
    int64_t bounds[N_ROUNDS][MOST + 1], ticket[N_ROUNDS];
    float *array[N_ROUNDS];
    for (int k = 0; k < N_ROUNDS; k++) {
        array[k] = malloc(N * sizeof(float));
        assert_non_null(array[k]);
        cut(bounds[k], size, k);
        for (int64_t i = 0; i < N; i++)
            array[k][i] = i < bounds[k][0] ? -1 : value(rank, k, i);
        if (rank == k % size)
            nanosleep(&(const struct timespec){.tv_nsec = 3000000}, NULL);
        assert_int_equal(pc_collect_add(c, array[k], bounds[k], &ticket[k], NULL), 0);
        assert_int_equal(pc_collect_gather(c, array[k], bounds[k], sizeof(float), &ticket[k], NULL), 0);
    }
    for (int k = N_ROUNDS; k-- > 0;) {
        assert_int_equal(pc_collect_wait(c, ticket[k], NULL), 0);
        for (int64_t i = 0; i < N; i++)
            self->n_wrong += array[k][i] != (i < bounds[k][0] ? -1 : in_order(size, k, i));
        free(array[k]);
    }
}

static void scatter(struct rank *self, struct pc_collect *c)
{
    int rank = self->comm.rank, size = self->comm.size;
    int64_t bounds[MOST + 1], ticket;
    float *array = malloc(N * sizeof(float));
    assert_non_null(array);
    for (int root = 0; root < size; root += size - 1) {
        cut(bounds, size, root);
        for (int64_t i = 0; i < N; i++)
            array[i] = value(rank, 9, i);
        assert_int_equal(pc_collect_scatter(c, root, array, bounds, sizeof(float), &ticket, NULL), 0);
        assert_int_equal(pc_collect_wait(c, ticket, NULL), 0);
        for (int64_t i = 0; i < N; i++) {
            bool own = i >= bounds[rank] && i < bounds[rank + 1];
            self->n_wrong += array[i] != value(own ? root : rank, 9, i);
        }
    }
    free(array);
}

static void tell_and_agree(struct rank *self, struct pc_collect *c)
{
    int rank = self->comm.rank, size = self->comm.size;
    struct paco_error err = {0};
    char word[32];
    snprintf(word, sizeof word, "said by %d", rank);
    assert_int_equal(pc_collect_tell(c, word, sizeof word, &err), 0);
    self->n_wrong += strcmp(word, "said by 0") != 0;
    assert_int_equal(pc_collect_agree(c, 0, &err), 0);
    self->n_wrong += pc_collect_agreed(c);
    // The last two met something; the first of them is heard.
    int rc = rank >= size - 2
                 ? pc_error_file(&err, rank == size - 1 ? PACO_EMEM : PACO_ENOENT, "there", 7, "no %d", rank)
                 : 0;
    rc = pc_collect_agree(c, rc, &err);
    char want[32];
    snprintf(want, sizeof want, size == 2 ? "no 0" : "rank %d: no %d", size - 2, size - 2);
    self->n_wrong += rc != PACO_ENOENT || err.code != rc || strcmp(err.message, want) != 0 ||
                     strcmp(err.path, "there") != 0 || !pc_collect_agreed(c);
    assert_int_equal(pc_collect_agree(c, 0, &err), 0);
    self->n_wrong += pc_collect_agreed(c);
}

/* What began and what is asked afterwards fail alike, and nothing waits for ever. */
static void end_broken(struct rank *self, struct pc_collect *c)
{
    struct paco_error err = {0};
    int64_t bounds[MOST + 1], ticket;
    float *array = calloc(N, sizeof(float));
    assert_non_null(array);
    cut(bounds, self->comm.size, 1);
    pthread_barrier_wait(&g_hub.barrier);
    pthread_mutex_lock(&g_hub.lock);
    g_hub.broken = true;
    pthread_mutex_unlock(&g_hub.lock);
    int rc = pc_collect_add(c, array, bounds, &ticket, &err);
    if (rc == 0)
        rc = pc_collect_wait(c, ticket, &err);
    self->n_wrong += rc != PACO_EIO || !strstr(err.message, "the wire is cut");
    self->n_wrong += pc_collect_wait(c, ticket, NULL) != PACO_EIO;
    self->n_wrong += pc_collect_agree(c, 0, &err) != PACO_EIO || pc_collect_agreed(c);
    err = (struct paco_error){0};
    rc = pc_error_set(&err, PACO_ENOSPC, "of its own");
    self->n_wrong += pc_collect_agree(c, rc, &err) != PACO_ENOSPC || strcmp(err.message, "of its own") != 0;
    pc_collect_close(c);
    free(array);
}

static void *run(void *arg)
{
    struct rank *self = arg;
    struct pc_collect *c;
    assert_int_equal(pc_collect_open(&c, &self->comm, NULL), 0);
    add_and_gather(self, c);
    scatter(self, c);
    tell_and_agree(self, c);
    if (self->cut)
        end_broken(self, c);
    else
        pc_collect_close(c);
    return NULL;
}

static void run_ranks(int size, bool threads, bool cut_wire)
{
    struct rank rank[MOST] = {0};
    memset(g_hub.channel, 0, sizeof g_hub.channel);
    g_hub.broken = false;
    g_hub.threads = threads;
    pthread_barrier_init(&g_hub.barrier, NULL, (unsigned)size);
    for (int r = 0; r < size; r++) {
        rank[r].comm = (struct pc_comm){r, size};
        rank[r].cut = cut_wire;
        assert_int_equal(pthread_create(&rank[r].thread, NULL, run, &rank[r]), 0);
    }
    for (int r = 0; r < size; r++) {
        pthread_join(rank[r].thread, NULL);
        assert_int_equal(rank[r].n_wrong, 0);
    }
    pthread_barrier_destroy(&g_hub.barrier);
}

static void ranks_add_gather_scatter_and_agree(void **state)
{
    (void)state;
    for (int size = 2; size <= MOST; size++)
        run_ranks(size, true, false);
}

static void without_a_second_thread_too(void **state)
{
    (void)state;
    run_ranks(3, false, false);
}

static void what_cannot_be_moved_is_said_to_all(void **state)
{
    (void)state;
    run_ranks(2, true, true);
}

static void alone_there_is_nothing_to_do(void **state)
{
    (void)state;
    struct pc_comm comm = {0, 1};
    struct pc_collect *c;
    struct paco_error err = {0};
    float array[3] = {1, 2, 3};
    int64_t bounds[] = {0, 3}, ticket;
    assert_int_equal(pc_collect_open(&c, &comm, NULL), 0);
    assert_int_equal(pc_collect_add(c, array, bounds, &ticket, NULL), 0);
    assert_int_equal(pc_collect_wait(c, ticket, NULL), 0);
    assert_int_equal(pc_collect_scatter(c, 0, array, bounds, sizeof(float), &ticket, NULL), 0);
    assert_true(array[0] == 1 && array[1] == 2 && array[2] == 3);
    int rc = pc_collect_agree(c, pc_error_set(&err, PACO_EINVAL, "alone"), &err);
    assert_int_equal(rc, PACO_EINVAL);
    assert_string_equal(err.message, "alone");
    assert_true(pc_collect_agreed(c));
    pc_collect_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_add_gather_scatter_and_agree),
        cmocka_unit_test(without_a_second_thread_too),
        cmocka_unit_test(what_cannot_be_moved_is_said_to_all),
        cmocka_unit_test(alone_there_is_nothing_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
