// SPDX-License-Identifier: Apache-2.0
/* Run under mpirun by ranks.py: every rank sends numbered messages to every other, of sizes small and large,
 * while all take what comes; then a barrier and a broadcast. Rank 0 prints what it saw. */
#include "base/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_MESSAGES = 40, MOST = 3 << 20 };

/* Message i of a rank: its number, then bytes that follow from it. */
static size_t fill(unsigned char *out, int rank, int i)
{
    size_t len = i % 10 == 9 ? MOST : (size_t)(i * 37);
    for (size_t k = 0; k < len; k++)
        out[k] = (unsigned char)((size_t)rank * 31 + (size_t)i * 7 + k);
    return len;
}

static void die(const struct paco_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

int main(int argc, char **argv)
{
    struct paco_error err = {0};
    struct pc_comm *comm;
    if (pc_comm_open(&comm, &err) < 0)
        die(&err);
    int rank = pc_comm_rank(comm), size = pc_comm_size(comm), n_good = 0, n_bad = 0;
    if (argc > 1 && strcmp(argv[1], "abort") == 0 && rank == size - 1)
        pc_comm_abort(comm, 7);
    int *next = calloc((size_t)size, sizeof *next);
    unsigned char *mine = malloc(MOST), *theirs = malloc(MOST);
    if (!next || !mine || !theirs)
        return 1;
    for (int i = 0; i < N_MESSAGES; i++)
        for (int to = 0; to < size; to++)
            if (to != rank && pc_comm_send(comm, to, mine, fill(mine, rank, i), &err) < 0)
                die(&err);
    struct pc_buf message;
    pc_buf_init(&message, 1 << 24);
    while (n_good + n_bad < N_MESSAGES * (size - 1)) {
        int from = -1;
        pc_buf_clear(&message);
        int rc = pc_comm_receive(comm, &from, &message, &err);
        if (rc < 0)
            die(&err);
        if (rc == 0)
            continue;
        size_t len = fill(theirs, from, next[from]++); // in the order they were sent
        bool good = len == message.len && (len == 0 || memcmp(theirs, message.data, len) == 0);
        n_good += good;
        n_bad += !good;
    }
    uint64_t word = rank == 0 ? 0x1234567890abcdef : 0;
    if (pc_comm_barrier(comm, &err) < 0 || pc_comm_broadcast(comm, &word, sizeof word, &err) < 0)
        die(&err);
    n_bad += word != 0x1234567890abcdef;
    char report[64];
    int len = snprintf(report, sizeof report, "rank %d of %d: %d good, %d bad\n", rank, size, n_good, n_bad);
    if (rank == 0)
        fputs(report, stdout);
    else if (pc_comm_send(comm, 0, report, (size_t)len, &err) < 0)
        die(&err);
    for (int n = 1; rank == 0 && n < size;) {
        int from;
        pc_buf_clear(&message);
        int rc = pc_comm_receive(comm, &from, &message, &err);
        if (rc < 0)
            die(&err);
        if (rc > 0)
            fwrite(message.data, 1, message.len, stdout);
        n += rc;
    }
    pc_buf_release(&message);
    free(next);
    free(mine);
    free(theirs);
    if (pc_comm_close(comm, &err) < 0)
        die(&err);
    return 0;
}
