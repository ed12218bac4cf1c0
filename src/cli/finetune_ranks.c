// SPDX-License-Identifier: Apache-2.0
#include "cli/finetune_ranks.h"

#include "cli/launch.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How long the one who speaks of a rank that is gone is waited for. mpirun itself gives a second between its
 * SIGTERM and SIGKILL. */
enum { OTHERS_SECONDS = 3 };

#define ENDING "mpirun ends the job: a rank is gone, or it was told to stop. "
#define UNHEARD "The same command with --resume goes on from rank 0's latest checkpoint, if there is one\n"

/* mpirun hands SIGUSR1 on; of its own SIGTERM it kills everyone a second later. */
static void on_stop(int number)
{
    pc_progress_stop(number);
}

/* Rank 0 speaks; and where it is on another machine, from which no other rank can tell whether it is still
 * there, the first of those does. */
static void prepare_words(struct pc_finetune_party *p)
{
    const char *local = getenv("OMPI_COMM_WORLD_LOCAL_RANK");
    bool elsewhere = p->rank == 1 && local && strcmp(local, "0") == 0;
    if (p->size == 1 || (p->rank > 0 && !elsewhere))
        return;
    const struct pc_launch_words words = {
        .words = p->rank == 0 ? "\npaco finetune: " ENDING : "\npaco finetune: rank 1: " ENDING,
        .before = PC_FINETUNE_WAY_ON,
        .latest = p->latest,
        .after = PC_FINETUNE_WAY_ON_END "\n",
        .if_none = p->rank == 0 ? PC_FINETUNE_NO_WAY_ON "\n" : UNHEARD,
        .fd = p->rank == 0 ? STDERR_FILENO : p->errors,
        .stops = p->rank == 0};
    pc_launch_words_begin(&words);
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
    prepare_words(p);
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
    pc_launch_words_end();
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
    pc_launch_words_end();
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
