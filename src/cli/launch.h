// SPDX-License-Identifier: Apache-2.0
/* A process among those that mpirun started: what eval and finetune do alike there. */
#ifndef PC_CLI_LAUNCH_H
#define PC_CLI_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>

/** Ranks on this machine, as Open MPI says; 1 where it says nothing. */
int pc_launch_n_local(void);

/** Worker threads: as many as asked for; else 0, a pool's own choice, unless this rank shares its machine
 * with others and is bound to no part of it: then its even part. */
int pc_launch_threads(int64_t asked);

/** For all ranks but 0: nothing is printed from here on, and signals that ask to stop are left to rank 0.
 *  Returns what standard error was (*owned*, closed by exec), or -1. */
int pc_launch_silence(void);

/** mpirun ends a job, because a rank is gone or it was told to, by SIGTERM, and by SIGKILL a second later. In
 *  between, where pc_launch_words_end has not been called, words (*borrowed* until then) are written to fd,
 *  whatever this process is doing; then before, what latest (*borrowed*, may change) holds and after, or
 *  where that is empty if_none. With stops, SIGTERM also asks to stop as always. */
struct pc_launch_words {
    const char *words, *before, *latest, *after, *if_none;
    int fd;
    bool stops;
};
void pc_launch_words_begin(const struct pc_launch_words *words);
void pc_launch_words_end(void);

#endif
