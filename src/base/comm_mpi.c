// SPDX-License-Identifier: Apache-2.0
/* The module that knows MPI: the only file that includes its header, built into libpaco-mpi.so and loaded by
 * comm.c under mpirun. Only MPI-1 calls, from one thread at a time. Sending never waits for the receiver, who
 * may be in the middle of its own work: what is under way is kept in a list until MPI is done with it. */
#include "base/comm_module.h"

#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parcel {
    struct parcel *next;
    MPI_Request request;
    char bytes[];
};

static struct parcel *g_under_way;

/* Messages have a tag that probing sees, parts of collectives one that it does not. */
enum { MESSAGE, PART };

struct transfer {
    int n;
    MPI_Request request[];
};

static int check(int code, const char *what, char *why)
{
    if (code == MPI_SUCCESS)
        return 0;
    char text[MPI_MAX_ERROR_STRING] = "";
    int len;
    MPI_Error_string(code, text, &len);
    snprintf(why, PC_COMM_WHY_SIZE, "%s: %s", what, text);
    return -1;
}

static int open_mpi(int *rank, int *size, bool *threads, char *why)
{
    int provided;
    if (check(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread", why) < 0)
        return -1;
    *threads = provided >= MPI_THREAD_SERIALIZED;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (check(MPI_Comm_rank(MPI_COMM_WORLD, rank), "MPI_Comm_rank", why) < 0)
        return -1;
    return check(MPI_Comm_size(MPI_COMM_WORLD, size), "MPI_Comm_size", why);
}

/* Forget parcels that have arrived; wait for them all if told to. */
static int settle(int wait, char *why)
{
    for (struct parcel **at = &g_under_way, *p; (p = *at);) {
        int done = 0;
        int code =
            wait ? MPI_Wait(&p->request, MPI_STATUS_IGNORE) : MPI_Test(&p->request, &done, MPI_STATUS_IGNORE);
        if (check(code, "sending", why) < 0)
            return -1;
        if (done || wait) {
            *at = p->next;
            free(p);
        } else
            at = &p->next;
    }
    return 0;
}

static int send(int to, const void *bytes, size_t len, char *why)
{
    struct parcel *p = len <= INT_MAX ? malloc(sizeof *p + len) : NULL;
    if (!p) {
        snprintf(why, PC_COMM_WHY_SIZE, "no memory for a message of %zu bytes", len);
        return -1;
    }
    memcpy(p->bytes, bytes, len);
    if (check(MPI_Isend(p->bytes, (int)len, MPI_BYTE, to, MESSAGE, MPI_COMM_WORLD, &p->request), "sending",
            why) < 0) {
        free(p);
        return -1;
    }
    p->next = g_under_way;
    g_under_way = p;
    return settle(0, why);
}

static int probe(int *from, size_t *len, char *why)
{
    int there = 0, n = 0;
    MPI_Status status;
    if (settle(0, why) < 0)
        return -1;
    if (check(MPI_Iprobe(MPI_ANY_SOURCE, MESSAGE, MPI_COMM_WORLD, &there, &status), "MPI_Iprobe", why) < 0)
        return -1;
    if (!there)
        return 0;
    if (check(MPI_Get_count(&status, MPI_BYTE, &n), "MPI_Get_count", why) < 0)
        return -1;
    *from = status.MPI_SOURCE;
    *len = (size_t)n;
    return 1;
}

static int receive(int from, void *bytes, size_t len, char *why)
{
    return check(MPI_Recv(bytes, (int)len, MPI_BYTE, from, MESSAGE, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
        "receiving", why);
}

static int flush(char *why)
{
    return settle(1, why);
}

static int barrier(char *why)
{
    return check(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier", why);
}

static int broadcast(void *bytes, size_t len, char *why)
{
    return check(MPI_Bcast(bytes, (int)len, MPI_BYTE, 0, MPI_COMM_WORLD), "MPI_Bcast", why);
}

static int post_part(const struct pc_comm_part *p, MPI_Request *request, char *why)
{
    int len = (int)p->len;
    if (p->send)
        return check(
            MPI_Isend(p->bytes, len, MPI_BYTE, p->peer, PART, MPI_COMM_WORLD, request), "sending", why);
    return check(
        MPI_Irecv(p->bytes, len, MPI_BYTE, p->peer, PART, MPI_COMM_WORLD, request), "receiving", why);
}

/* Where a part cannot be posted the job ends, so those already under way are left to it. */
static int post(const struct pc_comm_part *part, int n, void **handle, char *why)
{
    struct transfer *t = malloc(sizeof *t + (size_t)n * sizeof *t->request);
    if (!t) {
        snprintf(why, PC_COMM_WHY_SIZE, "no memory for %d transfers", n);
        return -1;
    }
    t->n = n;
    for (int i = 0; i < n; i++)
        if (post_part(&part[i], &t->request[i], why) < 0)
            return -1;
    *handle = t;
    return 0;
}

static int test(void *handle, char *why)
{
    struct transfer *t = handle;
    int done = 0;
    if (check(MPI_Testall(t->n, t->request, &done, MPI_STATUSES_IGNORE), "moving data", why) < 0)
        return -1;
    if (done)
        free(t);
    return done;
}

static int close_mpi(char *why)
{
    return check(MPI_Finalize(), "MPI_Finalize", why);
}

static void end_all(int code)
{
    MPI_Abort(MPI_COMM_WORLD, code);
}

__attribute__((visibility("default"))) const struct pc_comm_module pc_comm_module = {
    .version = PC_COMM_MODULE_VERSION,
    .open = open_mpi,
    .send = send,
    .probe = probe,
    .receive = receive,
    .flush = flush,
    .barrier = barrier,
    .broadcast = broadcast,
    .post = post,
    .test = test,
    .close = close_mpi,
    .abort = end_all,
};
