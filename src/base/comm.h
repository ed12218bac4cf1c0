// SPDX-License-Identifier: Apache-2.0
/* Ranks: the processes that mpirun started together for one job.
 *
 *     struct pc_comm *comm;
 *     pc_comm_open(&comm, &err);                        rank 0 of 1, unless mpirun started this process
 *     for (i = pc_comm_rank(comm); i < n; i += pc_comm_size(comm)) ...
 *     pc_comm_send(comm, 0, result, size, &err);        to whom it concerns, without waiting for them
 *     pc_comm_receive(comm, &from, &message, &err);     whatever has come
 *     pc_comm_close(comm, &err);                        everyone, at the end
 *
 * A process on its own needs no library for this. Under mpirun the MPI that built it is loaded from a module
 * of our own, libpaco-mpi.so, beside the program, where it was installed, or in the directory PACO_MODULES:
 * so nobody else pays for MPI. Every rank must run the same program with the same arguments.
 *
 * A comm belongs to the thread that opened it. A rank that ends without pc_comm_close takes the job with it,
 * which is mpirun's doing. */
#ifndef PC_BASE_COMM_H
#define PC_BASE_COMM_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct pc_comm;

enum { PC_COMM_MAX_MESSAGE = 1 << 30 };

/** Whether mpirun started this process as one of several. */
bool pc_comm_is_launched(void);

/** Join the other ranks; waits for them. *owned*: pc_comm_close. Once per process, by its main thread.
 *
 *  Errors: PACO_EUNSUPPORTED where mpirun started us but there is no module for it, with what to install. */
int pc_comm_open(struct pc_comm **out, struct paco_error *err);

/** Leave: sends what is not sent yet and waits for all ranks. NULL is fine. */
int pc_comm_close(struct pc_comm *comm, struct paco_error *err);

/** End all ranks at once with this exit code; for errors that only one of them met. Returns only where there
 * is but one. */
void pc_comm_abort(struct pc_comm *comm, int code);

/** NULL is a process that works alone, whoever else was started with it. */
int pc_comm_rank(const struct pc_comm *comm);
int pc_comm_size(const struct pc_comm *comm);

/** Send len bytes, which are copied, to another rank. Messages of one rank to another arrive whole and in
 * order. */
int pc_comm_send(struct pc_comm *comm, int to, const void *bytes, size_t len, struct paco_error *err);

/** Take one message that has come, if any: 1, from whom, and its bytes appended to message; else 0 at once.
 */
int pc_comm_receive(struct pc_comm *comm, int *from, struct pc_buf *message, struct paco_error *err);

/** A piece of a transfer: bytes to or from another rank. At most PC_COMM_MAX_MESSAGE. */
struct pc_comm_part {
    int peer;
    bool send;
    void *bytes; /* only read where it is sent */
    size_t len;
};

/** Begin to move n parts at once; what two ranks post for each other must agree in order and length. For
 * base/collect.h, which knows what to wait for. *handle is *owned* by pc_comm_test; the bytes stay untouched
 * until it says 1. */
int pc_comm_post(
    struct pc_comm *comm, const struct pc_comm_part *part, int n, void **handle, struct paco_error *err);
/** 1: all parts have moved, and the handle is gone; 0: not yet. Returns at once, and moves on what it can. */
int pc_comm_test(struct pc_comm *comm, void *handle, struct paco_error *err);

/** Whether a thread other than the one that opened comm may use it, one at a time. */
bool pc_comm_has_threads(const struct pc_comm *comm);

/** Wait until every rank has come here. */
int pc_comm_barrier(struct pc_comm *comm, struct paco_error *err);

/** Rank 0's len bytes, in everyone's. All give the same len. */
int pc_comm_broadcast(struct pc_comm *comm, void *bytes, size_t len, struct paco_error *err);

#endif
