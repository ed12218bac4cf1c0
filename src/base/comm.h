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

int pc_comm_rank(const struct pc_comm *comm);
int pc_comm_size(const struct pc_comm *comm);

/** Send len bytes, which are copied, to another rank. Messages of one rank to another arrive whole and in
 * order. */
int pc_comm_send(struct pc_comm *comm, int to, const void *bytes, size_t len, struct paco_error *err);

/** Take one message that has come, if any: 1, from whom, and its bytes appended to message; else 0 at once.
 */
int pc_comm_receive(struct pc_comm *comm, int *from, struct pc_buf *message, struct paco_error *err);

/** Wait until every rank has come here. */
int pc_comm_barrier(struct pc_comm *comm, struct paco_error *err);

/** Rank 0's len bytes, in everyone's. All give the same len. */
int pc_comm_broadcast(struct pc_comm *comm, void *bytes, size_t len, struct paco_error *err);

#endif
