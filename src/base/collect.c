// SPDX-License-Identifier: Apache-2.0
/* A collective is a number of rounds. In each, everyone posts at once what it sends to and receives from all
 * others, and while round i moves, round i - 1 is added: two buffers. Whom to begin with is shifted by the
 * own rank, so that not everyone sends to rank 0 first.
 *
 * These are MPI's point-to-point calls rather than its collectives: MPI_Reduce_scatter adds in an order of
 * its own, MPI_Ialltoallv has 32-bit displacements, and neither says how much memory it takes for what it
 * receives. Each rank sends and receives (R - 1) / R of the array, the least that is possible.
 *
 * The thread exists because MPI moves data only while it is called. It sleeps between calls, since an MPI
 * that waits spins, and on a machine with a core for each rank what it would spin on is the core that
 * computes. */
#include "base/collect.h"

#include "base/memory.h"
#include "base/peers.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { N_JOBS = 64, ADD_BLOCK = 4096 };
enum {
    LEAST_BUFFERS = 4 << 20,
    MOST_BUFFERS = 64 << 20,
    GOOD_STRETCH = 65536,
    LEAST_STRETCH = 16384,
    MOST_BYTES = 64 << 20
};
enum { PAUSE_US = 50, PATIENCE_US = 1000, CHECK_EVERY = 200 };

enum kind { ADD, GATHER, SCATTER };

struct job {
    enum kind kind;
    char *array;
    int64_t *bounds; /* (R + 1), the job's own */
    size_t size;     /* of an element */
    int root;        /* who gathers, -1: everyone; whose pieces are scattered */
};

struct pc_collect {
    struct pc_comm *comm;
    int rank, size;
    struct pc_peers *peers;
    int64_t stretch;           /* elements of a piece dealt in a round */
    float *buffer[2];          /* (R - 1, stretch) each */
    float **piece;             /* (R) */
    struct pc_comm_part *part; /* (2R) */
    int64_t *bounds;           /* (N_JOBS, R + 1) */

    struct job job[N_JOBS];
    int64_t n_begun, n_done; /* under lock */
    bool stop;
    _Atomic bool awaited; /* the caller does nothing but wait */
    bool agreed;          /* pc_collect_agreed, as long as rc is 0 */
    int rc;               /* under lock, and err: the first failure */
    struct paco_error err;
    pthread_t thread;
    bool threaded;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
};

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* Wait for what was posted. While the caller computes, the processor is left to it; while it waits too, it is
 * only shared for the first millisecond, in which most transfers arrive. */
static int arrive(struct pc_collect *c, void *handle, struct paco_error *err)
{
    double since = now_us();
    for (int n = 1;; n++) {
        int rc = pc_comm_test(c->comm, handle, err);
        if (rc != 0)
            return rc < 0 ? rc : 0;
        if (n % CHECK_EVERY == 0 && c->peers && (rc = pc_peers_check(c->peers, err)) < 0)
            return rc;
        if (atomic_load(&c->awaited) && now_us() - since < PATIENCE_US)
            sched_yield();
        else
            nanosleep(&(const struct timespec){.tv_nsec = PAUSE_US * 1000}, NULL);
    }
}

/* Elements [*first, *first + *n) are round i of rank's piece. */
static void stretch_of(const struct job *j, int rank, int64_t stretch, int64_t i, int64_t *first, int64_t *n)
{
    int64_t end = j->bounds[rank + 1];
    *first = j->bounds[rank] + i * stretch;
    *n = *first < end ? (end - *first < stretch ? end - *first : stretch) : 0;
}

static int64_t n_rounds(const struct pc_collect *c, const struct job *j, int64_t stretch)
{
    int64_t most = 0;
    for (int r = 0; r < c->size; r++)
        if (j->bounds[r + 1] - j->bounds[r] > most)
            most = j->bounds[r + 1] - j->bounds[r];
    return (most + stretch - 1) / stretch;
}

/* Where rank's version of the own piece is received. */
static float *buffer_of(const struct pc_collect *c, int64_t i_round, int rank)
{
    return c->buffer[i_round & 1] + (rank < c->rank ? rank : rank - 1) * c->stretch;
}

static int post(struct pc_collect *c, int n, void **handle, struct paco_error *err)
{
    *handle = NULL;
    return n ? pc_comm_post(c->comm, c->part, n, handle, err) : 0;
}

static int post_add(
    struct pc_collect *c, const struct job *j, int64_t i, void **handle, struct paco_error *err)
{
    int n = 0;
    int64_t first, own, len;
    stretch_of(j, c->rank, c->stretch, i, &first, &own);
    for (int k = 1; k < c->size; k++) {
        int from = (c->rank + c->size - k) % c->size, to = (c->rank + k) % c->size;
        if (own)
            c->part[n++] = (struct pc_comm_part){
                .peer = from, .bytes = buffer_of(c, i, from), .len = (size_t)own * sizeof(float)};
        stretch_of(j, to, c->stretch, i, &first, &len);
        if (len)
            c->part[n++] = (struct pc_comm_part){.peer = to,
                .send = true,
                .bytes = (float *)j->array + first,
                .len = (size_t)len * sizeof(float)};
    }
    return post(c, n, handle, err);
}

/* Elements [first, first + len) of job j's array: to or from a rank. */
static void add_part(
    struct pc_collect *c, const struct job *j, int *n, int peer, bool send, int64_t first, int64_t len)
{
    if (len)
        c->part[(*n)++] = (struct pc_comm_part){.peer = peer,
            .send = send,
            .bytes = j->array + (size_t)first * j->size,
            .len = (size_t)len * j->size};
}

/* Pieces that move as they are: in a gather their owners send them, in a scatter they get them. */
static int post_moves(
    struct pc_collect *c, const struct job *j, int64_t i, void **handle, struct paco_error *err)
{
    int64_t stretch = MOST_BYTES / (int64_t)j->size, first, len, at, own;
    bool scatter = j->kind == SCATTER, is_root = j->root < 0 || j->root == c->rank;
    int n = 0;
    stretch_of(j, c->rank, stretch, i, &at, &own);
    for (int k = 1; k < c->size; k++) {
        int before = (c->rank + c->size - k) % c->size, after = (c->rank + k) % c->size;
        stretch_of(j, before, stretch, i, &first, &len);
        if (is_root)
            add_part(c, j, &n, before, scatter, first, len);
        if (j->root < 0 || j->root == after)
            add_part(c, j, &n, after, !scatter, at, own);
    }
    return post(c, n, handle, err);
}

/* All versions of a stretch of the own piece are here: add them up. */
static void take(struct pc_collect *c, const struct job *j, int64_t i)
{
    int64_t first, n;
    stretch_of(j, c->rank, c->stretch, i, &first, &n);
    if (!n || c->size == 1)
        return;
    for (int r = 0; r < c->size; r++)
        c->piece[r] = r == c->rank ? (float *)j->array + first : buffer_of(c, i, r);
    pc_collect_tree(c->piece, c->size, n);
    if (c->rank != 0)
        memcpy(c->piece[c->rank], c->piece[0], (size_t)n * sizeof **c->piece);
}

static int run(struct pc_collect *c, const struct job *j, struct paco_error *err)
{
    void *handle[2] = {NULL, NULL};
    int64_t n = n_rounds(c, j, j->kind == ADD ? c->stretch : MOST_BYTES / (int64_t)j->size);
    for (int64_t i = 0; i <= n; i++) {
        int rc = 0;
        if (i < n)
            rc = (j->kind == ADD ? post_add : post_moves)(c, j, i, &handle[i & 1], err);
        if (rc == 0 && i > 0 && handle[(i - 1) & 1])
            rc = arrive(c, handle[(i - 1) & 1], err);
        if (rc < 0)
            return rc;
        if (i > 0 && j->kind == ADD)
            take(c, j, i - 1);
    }
    return 0;
}

static void *work(void *arg)
{
    struct pc_collect *c = arg;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (c->n_done == c->n_begun && !c->stop)
            pthread_cond_wait(&c->work, &c->lock);
        if (c->n_done == c->n_begun)
            break;
        int rc = c->rc;
        struct paco_error err = {0};
        pthread_mutex_unlock(&c->lock);
        if (rc == 0)
            rc = run(c, &c->job[c->n_done % N_JOBS], &err);
        pthread_mutex_lock(&c->lock);
        if (c->rc == 0 && rc < 0) {
            c->rc = rc;
            c->err = err;
        }
        c->n_done++;
        pthread_cond_broadcast(&c->done);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* Where MPI forbids a second thread, the caller does the work at once. */
static int begin(struct pc_collect *c, const struct job *what, const int64_t *bounds, int64_t *ticket,
    struct paco_error *err)
{
    *ticket = 0;
    if (c->size == 1)
        return 0;
    pthread_mutex_lock(&c->lock);
    while (c->n_begun - c->n_done == N_JOBS)
        pthread_cond_wait(&c->done, &c->lock);
    int64_t slot = c->n_begun % N_JOBS;
    struct job *j = &c->job[slot];
    *j = *what;
    j->bounds = c->bounds + slot * (c->size + 1);
    memcpy(j->bounds, bounds, ((size_t)c->size + 1) * sizeof *bounds);
    *ticket = ++c->n_begun;
    if (!c->threaded) {
        if (c->rc == 0)
            c->rc = run(c, j, &c->err);
        c->n_done++;
    }
    int rc = c->rc;
    if (rc < 0 && err)
        *err = c->err;
    pthread_cond_signal(&c->work);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int pc_collect_wait(struct pc_collect *c, int64_t ticket, struct paco_error *err)
{
    pthread_mutex_lock(&c->lock);
    atomic_store(&c->awaited, true);
    while (c->n_done < ticket)
        pthread_cond_wait(&c->done, &c->lock);
    atomic_store(&c->awaited, false);
    int rc = c->rc;
    if (rc < 0 && err)
        *err = c->err;
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int pc_collect_add(
    struct pc_collect *c, float *array, const int64_t *bounds, int64_t *ticket, struct paco_error *err)
{
    const struct job j = {.array = (char *)array, .size = sizeof *array, .kind = ADD};
    return begin(c, &j, bounds, ticket, err);
}

int pc_collect_gather_to(struct pc_collect *c, int root, void *array, const int64_t *bounds, size_t size,
    int64_t *ticket, struct paco_error *err)
{
    const struct job j = {.array = array, .size = size, .kind = GATHER, .root = root};
    return begin(c, &j, bounds, ticket, err);
}

int pc_collect_scatter(struct pc_collect *c, int root, void *array, const int64_t *bounds, size_t size,
    int64_t *ticket, struct paco_error *err)
{
    const struct job j = {.array = array, .size = size, .kind = SCATTER, .root = root};
    return begin(c, &j, bounds, ticket, err);
}

int pc_collect_gather(struct pc_collect *c, void *array, const int64_t *bounds, size_t size, int64_t *ticket,
    struct paco_error *err)
{
    return pc_collect_gather_to(c, -1, array, bounds, size, ticket, err);
}

/* A gather at once of pieces of len bytes each, of the first n ranks. */
static int gather_now(struct pc_collect *c, int n, void *all, size_t len, struct paco_error *err)
{
    int64_t ticket, *bounds = pc_alloc((size_t)c->size + 1, sizeof *bounds);
    if (!bounds)
        return pc_error_mem(err, ((size_t)c->size + 1) * sizeof *bounds, "the pieces of ranks");
    for (int r = 0; r <= c->size; r++)
        bounds[r] = r < n ? r : n;
    int rc = pc_collect_gather(c, all, bounds, len, &ticket, err);
    pc_free(bounds);
    return rc < 0 ? rc : pc_collect_wait(c, ticket, err);
}

int pc_collect_all(struct pc_collect *c, void *all, size_t len, struct paco_error *err)
{
    return gather_now(c, c->size, all, len, err);
}

int pc_collect_tell(struct pc_collect *c, void *bytes, size_t len, struct paco_error *err)
{
    return len ? gather_now(c, 1, bytes, len, err) : 0;
}

int pc_collect_agree(struct pc_collect *c, int rc, struct paco_error *err)
{
    struct paco_error why = {0}, *all = pc_alloc_zero((size_t)c->size, sizeof *all);
    if (!all)
        return pc_error_mem(err, (size_t)c->size * sizeof *all, "what ranks say");
    if (rc < 0 && err)
        all[c->rank] = *err;
    all[c->rank].code = rc;
    int sent = pc_collect_all(c, all, sizeof *all, &why);
    c->agreed = false;
    for (int k = 0; k < c->size && sent == 0 && !c->agreed; k++)
        if (all[k].code < 0) {
            c->agreed = true;
            why = all[k];
            if (k > 0)
                pc_error_prefix(&why, "rank %d", k);
        }
    pc_free(all);
    if (sent < 0 && rc < 0) // the own error says more
        return rc;
    rc = sent < 0 ? sent : c->agreed ? (int)why.code : 0;
    if (rc < 0 && err)
        *err = why;
    return rc;
}

bool pc_collect_agreed(struct pc_collect *c)
{
    pthread_mutex_lock(&c->lock);
    bool good = c->rc == 0 && c->agreed;
    pthread_mutex_unlock(&c->lock);
    return good;
}

/* A block of all pieces at a time, which stays in the cache while the tree is climbed. */
void pc_collect_tree(float *const *piece, int n_pieces, int64_t n)
{
    for (int64_t at = 0; at < n; at += ADD_BLOCK) {
        int64_t len = n - at < ADD_BLOCK ? n - at : ADD_BLOCK;
        for (int step = 1; step < n_pieces; step *= 2)
            for (int r = 0; r + step < n_pieces; r += 2 * step) {
                float *restrict sum = piece[r] + at;
                const float *restrict with = piece[r + step] + at;
                for (int64_t i = 0; i < len; i++)
                    sum[i] += with[i];
            }
    }
}

int pc_collect_rank(const struct pc_collect *c)
{
    return c->rank;
}

int pc_collect_size(const struct pc_collect *c)
{
    return c->size;
}

/* Two buffers for two ranks, as large as the second-level cache; with more ranks more, so that messages stay
 * long, up to a bound. */
static int64_t stretch_for(int size)
{
    const int64_t row = 2 * (int64_t)sizeof(float) * (size - 1), least = LEAST_BUFFERS / row,
                  most = MOST_BUFFERS / row;
    int64_t stretch = least > GOOD_STRETCH ? least : GOOD_STRETCH;
    if (stretch > most)
        stretch = most;
    return stretch > LEAST_STRETCH ? stretch : LEAST_STRETCH;
}

int pc_collect_lost(const struct pc_collect *c)
{
    return c->peers ? pc_peers_lost(c->peers) : -1;
}

static int allocate(struct pc_collect *c, struct paco_error *err)
{
    size_t n = (size_t)c->size;
    c->stretch = stretch_for(c->size);
    c->piece = pc_alloc(n, sizeof(float *));
    c->part = pc_alloc(2 * n, sizeof *c->part);
    c->bounds = pc_alloc(N_JOBS * (n + 1), sizeof *c->bounds);
    bool good = c->piece && c->part && c->bounds;
    for (int i = 0; i < 2; i++) {
        c->buffer[i] = pc_alloc_pages((n - 1) * (size_t)c->stretch * sizeof(float));
        good = good && c->buffer[i];
    }
    return good ? 0
                : pc_error_mem(
                      err, 2 * (n - 1) * (size_t)c->stretch * sizeof(float), "what ranks send to be added");
}

/* Everyone learns who the others are; from here on one that dies is named. */
static int meet(struct pc_collect *c, struct paco_error *err)
{
    struct pc_peer *peer = pc_alloc_zero((size_t)c->size, sizeof *peer);
    if (!peer)
        return pc_error_mem(err, (size_t)c->size * sizeof *peer, "what is known of the ranks");
    pc_peer_self(&peer[c->rank]);
    int rc = pc_collect_all(c, peer, sizeof *peer, err);
    if (rc == 0)
        rc = pc_peers_new(&c->peers, peer, c->size, c->rank, err);
    pc_free(peer);
    return rc;
}

int pc_collect_open(struct pc_collect **out, struct pc_comm *comm, struct paco_error *err)
{
    struct pc_collect *c = pc_alloc_zero(1, sizeof *c);
    if (!c)
        return pc_error_mem(err, sizeof *c, "collectives");
    c->comm = comm;
    c->rank = pc_comm_rank(comm);
    c->size = pc_comm_size(comm);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->work, NULL);
    pthread_cond_init(&c->done, NULL);
    int rc = c->size > 1 ? allocate(c, err) : 0;
    if (rc == 0 && c->size > 1 && pc_comm_has_threads(comm)) {
        c->threaded = pthread_create(&c->thread, NULL, work, c) == 0;
        if (!c->threaded)
            rc = pc_error_set(err, PACO_EMEM, "the system gives no thread to move data between ranks");
    }
    if (rc == 0 && c->size > 1)
        rc = meet(c, err);
    if (rc < 0) {
        pc_collect_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void pc_collect_close(struct pc_collect *c)
{
    if (!c)
        return;
    if (c->threaded) {
        pthread_mutex_lock(&c->lock);
        c->stop = true;
        pthread_cond_signal(&c->work);
        pthread_mutex_unlock(&c->lock);
        pthread_join(c->thread, NULL);
    }
    pthread_cond_destroy(&c->done);
    pthread_cond_destroy(&c->work);
    pthread_mutex_destroy(&c->lock);
    pc_peers_free(c->peers);
    for (int i = 0; i < 2; i++)
        pc_free(c->buffer[i]);
    pc_free(c->bounds);
    pc_free(c->part);
    pc_free(c->piece);
    pc_free(c);
}
