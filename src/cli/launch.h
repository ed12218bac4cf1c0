// SPDX-License-Identifier: Apache-2.0
/* A process among those that mpirun started: what eval and finetune do alike there. */
#ifndef PC_CLI_LAUNCH_H
#define PC_CLI_LAUNCH_H

#include <stdint.h>

/** Ranks on this machine, as Open MPI says; 1 where it says nothing. */
int pc_launch_n_local(void);

/** Worker threads: as many as asked for; else 0, a pool's own choice, unless this rank shares its machine
 * with others and is bound to no part of it: then its even part. */
int pc_launch_threads(int64_t asked);

/** For all ranks but 0: nothing is printed from here on, and signals that ask to stop are left to rank 0.
 *  Returns what standard error was (*owned*, closed by exec), or -1. */
int pc_launch_silence(void);

#endif
