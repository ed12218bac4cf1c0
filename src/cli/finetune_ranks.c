// SPDX-License-Identifier: Apache-2.0
#include "cli/finetune_ranks.h"

#include "cli/launch.h"

#include <signal.h>
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
    p->n_local = pc_launch_n_local();
    if (p->rank > 0)
        p->errors = pc_launch_silence();
    struct sigaction action = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    return pc_collect_open(&p->collect, p->comm, err);
}

int pc_finetune_agree(struct pc_finetune_party *p, int rc, struct paco_error *err)
{
    return p->collect ? pc_collect_agree(p->collect, rc, err) : rc;
}

bool pc_finetune_is_alike(const struct pc_finetune_party *p, int rc)
{
    return !p->collect || rc == PACO_ECANCELLED || rc == PACO_EVERIFY || pc_collect_agreed(p->collect);
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
