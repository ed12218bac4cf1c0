// SPDX-License-Identifier: Apache-2.0
/* Collectives: what all ranks of a job do together with one long array that each of them has.
 *
 *     struct pc_collect *c;
 *     pc_collect_open(&c, comm, &err);
 *     pc_collect_add(c, gradient, bounds, &t, &err);       begins; meanwhile compute something else
 *     pc_collect_wait(c, t, &err);                         my piece is now the sum of all ranks'
 *     ...
 *     pc_collect_gather(c, weights, bounds, sizeof(float), &t, &err);
 *     pc_collect_wait(c, t, &err);                         everyone's pieces are now mine too
 *     pc_collect_close(c);
 *
 * bounds (R + 1) cuts the array, or a stretch of it, into one piece for each of the R ranks: that of rank r
 * is [bounds[r], bounds[r + 1]), in elements from the array's beginning; pieces may be empty and of any
 * length. All ranks must begin the same collectives with the same bounds in the same order.
 *
 * Sums are the same bytes every time: a piece is sent to its owner by everyone, and the owner adds them in a
 * fixed tree over the ranks, (p0 + p1) + (p2 + p3) for four. No message passes 64 MiB, and what is received
 * to be added lies in two buffers of some megabytes, whatever the array.
 *
 * With several ranks a thread of the collect's own moves and adds, one collective after another; while it is
 * open nobody else may use the comm. Functions are for the thread that opened it. Alone, everything is done
 * at once, which is nothing.
 *
 * When a rank on the same machine dies, those who wait for it say which; the comm is of no use afterwards.
 * mpirun ends the others soon after, with SIGTERM first. */
#ifndef PC_BASE_COLLECT_H
#define PC_BASE_COLLECT_H

#include "base/comm.h"

#include <stdint.h>

struct pc_collect;

/** comm stays borrowed until close. Waits for all ranks. Errors: PACO_EMEM; PACO_EIO when ranks do not come.
 */
int pc_collect_open(struct pc_collect **out, struct pc_comm *comm, struct paco_error *err);

/** Waits for what has begun, unless something failed: after an error that only this rank met, pc_comm_abort.
 * NULL is fine. */
void pc_collect_close(struct pc_collect *c);

int pc_collect_rank(const struct pc_collect *c);
int pc_collect_size(const struct pc_collect *c);

/** Begin to make the own piece of array the sum of all ranks' (a reduce-scatter). array (bounds[R])
 *  stays borrowed until *ticket was waited for; what it has outside the own piece is only read. */
int pc_collect_add(
    struct pc_collect *c, float *array, const int64_t *bounds, int64_t *ticket, struct paco_error *err);

/** Begin to fill the others' pieces of array with what they have there. size: bytes of an element. Borrowed
 *  until *ticket was waited for. */
int pc_collect_gather(struct pc_collect *c, void *array, const int64_t *bounds, size_t size, int64_t *ticket,
    struct paco_error *err);
/** The same for rank root's array alone; the others only send. */
int pc_collect_gather_to(struct pc_collect *c, int root, void *array, const int64_t *bounds, size_t size,
    int64_t *ticket, struct paco_error *err);

/** Begin to hand out: rank root's array is cut, and every rank's piece of its own array becomes that of the
 *  root's. Borrowed until *ticket was waited for. */
int pc_collect_scatter(struct pc_collect *c, int root, void *array, const int64_t *bounds, size_t size,
    int64_t *ticket, struct paco_error *err);

/** Wait for a collective and all that began before it. Errors: PACO_EIO naming the rank that is gone, or what
 *  MPI says; all later calls give the same. */
int pc_collect_wait(struct pc_collect *c, int64_t ticket, struct paco_error *err);

/** The rank that is gone, when that is why a wait failed; else -1. After the wait. */
int pc_collect_lost(const struct pc_collect *c);

/** One collective at once: every rank's len bytes, in rank order, into all (R * len), of which the caller has
 *  filled its own. For small things: sums, flags. */
int pc_collect_all(struct pc_collect *c, void *all, size_t len, struct paco_error *err);

/** At once, rank 0's len bytes in everyone's: what it alone can know, and all must act on alike. */
int pc_collect_tell(struct pc_collect *c, void *bytes, size_t len, struct paco_error *err);

/** Whether all ranks go on, rc and *err being this one's state so far: the error of the first that has one
 *  becomes everyone's, code, message and path, with "rank 3: " before it unless that is rank 0. */
int pc_collect_agree(struct pc_collect *c, int rc, struct paco_error *err);
/** Whether the last pc_collect_agree found an error, and moving data has not failed: then all ranks know, and
 *  one may speak for them. */
bool pc_collect_agreed(struct pc_collect *c);

/** piece[0][i] = the sum of piece[r][i] over r in the fixed tree, for n elements; the other pieces are
 *  overwritten. */
void pc_collect_tree(float *const *piece, int n_pieces, int64_t n);

#endif
