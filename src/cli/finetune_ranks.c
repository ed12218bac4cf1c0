// SPDX-License-Identifier: Apache-2.0
#include "cli/finetune_ranks.h"

#include "base/memory.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How long the one who speaks of a rank that is gone is waited for. mpirun itself gives a second between its
 * SIGTERM and SIGKILL. */
enum { OTHERS_SECONDS = 3 };

/* mpirun hands SIGUSR1 on; of its own SIGTERM it kills everyone a second later. */
static void on_stop(int number)
{
    (void)number;
    raise(SIGTERM);
}

/* From now on nothing is printed here, but what pc_finetune_fail has to say. */
static void fall_silent(struct pc_finetune_party *p)
{
    p->errors = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

int pc_finetune_join(struct pc_finetune_party *p, struct paco_error *err)
{
    *p = (struct pc_finetune_party){.size = 1, .n_local = 1, .errors = -1};
    if (!pc_comm_is_launched())
        return 0;
    int rc = pc_comm_open(&p->comm, err);
    if (rc < 0)
        return rc;
    p->rank = pc_comm_rank(p->comm);
    p->size = pc_comm_size(p->comm);
    const char *local = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    p->n_local = local && atoi(local) > 0 ? atoi(local) : 1;
    if (p->rank > 0)
        fall_silent(p);
    struct sigaction action = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    return pc_collect_open(&p->collect, p->comm, err);
}

int pc_finetune_agree(struct pc_finetune_party *p, int rc, struct paco_error *err)
{
    if (!p->collect)
        return rc;
    struct paco_error *all = pc_alloc_zero((size_t)p->size, sizeof *all);
    if (!all)
        return pc_error_mem(err, (size_t)p->size * sizeof *all, "what ranks say");
    if (rc < 0)
        all[p->rank] = *err;
    if (rc < 0 && all[p->rank].code == 0)
        all[p->rank].code = rc;
    int sent = pc_collect_all(p->collect, all, sizeof *all, err);
    rc = sent;
    for (int k = 0; k < p->size && sent == 0 && rc == 0; k++)
        if (all[k].code < 0) {
            *err = all[k];
            rc = all[k].code;
            if (k > 0)
                pc_error_prefix(err, "rank %d", k);
        }
    pc_free(all);
    return rc;
}

void pc_finetune_leave(struct pc_finetune_party *p)
{
    pc_collect_close(p->collect);
    pc_comm_close(p->comm, NULL);
    if (p->errors >= 0)
        close(p->errors);
    *p = (struct pc_finetune_party){.size = 1, .errors = -1};
}

int pc_finetune_fail(const struct pc_command *self, struct pc_finetune_party *p, const struct paco_error *err)
{
    int lost = p->collect ? pc_collect_lost(p->collect) : -1, speaker = lost == 0 ? 1 : 0;
    if (lost >= 0 && p->rank != speaker)
        nanosleep(&(const struct timespec){.tv_sec = OTHERS_SECONDS}, NULL); // mpirun ends us meanwhile
    if (p->errors >= 0)
        dup2(p->errors, STDERR_FILENO);
    struct paco_error said = *err;
    if (p->rank > 0)
        pc_error_prefix(&said, "rank %d", p->rank);
    int code = pc_command_fail(self, &said);
    if (p->size > 1)
        pc_comm_abort(p->comm, code);
    return code;
}
