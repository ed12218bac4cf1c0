// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_ranks.h"

#include "base/digest.h"
#include "base/host.h"
#include "base/json.h"
#include "cli/launch.h"
#include "eval/answer_ranks.h"

#include <string.h>

int pc_eval_ranks_join(struct pc_comm **out, struct paco_error *err)
{
    int rc = pc_comm_open(out, err);
    if (rc == 0 && pc_comm_rank(*out) > 0)
        (void)pc_launch_silence();
    return rc;
}

/* What every rank must have the same of. */
static int digest_of(
    struct pc_eval *const *evals, size_t n, uint8_t digest[PC_SHA256_SIZE], struct paco_error *err)
{
    struct pc_sha256 *h = pc_sha256_new(err);
    int rc = h ? 0 : PACO_EMEM;
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct pc_buf b;
        pc_buf_init(&b, 1 << 26);
        pc_json_write(&b, pc_eval_identity(evals[i]), PC_JSON_COMPACT);
        rc = pc_buf_check(&b, "an identity", err);
        if (rc == 0)
            pc_sha256_update(h, b.data, b.len);
        pc_buf_release(&b);
    }
    if (rc == 0)
        pc_sha256_final(h, digest);
    pc_sha256_free(h);
    return rc;
}

/* Rank 0 hears how each of the others is. */
static int hear_all(struct pc_comm *comm, struct paco_error *err)
{
    int rc = 0;
    struct pc_buf message;
    pc_buf_init(&message, 1 << 16);
    for (int n = 1; n < pc_comm_size(comm);) {
        int from = 0;
        struct paco_error theirs = {0};
        pc_buf_clear(&message);
        int got = pc_comm_receive(comm, &from, &message, err);
        if (got < 0) {
            rc = got;
            break;
        }
        if (got == 0) {
            pc_doze();
            continue;
        }
        n++;
        if (message.len == sizeof theirs)
            memcpy(&theirs, message.data, sizeof theirs);
        if (theirs.code < 0 && rc == 0) {
            pc_error_prefix(&theirs, "rank %d", from);
            *err = theirs;
            rc = theirs.code;
        }
    }
    pc_buf_release(&message);
    return rc;
}

int pc_eval_ranks_agree(
    struct pc_comm *comm, int rc, struct pc_eval *const *evals, size_t n, struct paco_error *err)
{
    if (pc_comm_size(comm) == 1)
        return rc;
    uint8_t own[PC_SHA256_SIZE] = {0}, first[PC_SHA256_SIZE], go;
    if (rc == 0)
        rc = digest_of(evals, n, own, err);
    memcpy(first, own, sizeof first);
    int sent = pc_comm_broadcast(comm, first, sizeof first, err);
    if (rc == 0 && sent == 0 && memcmp(first, own, sizeof own) != 0)
        rc = pc_error_set(err, PACO_EMISMATCH,
            "has another model, other data or other instructions of the processor than rank 0: all ranks "
            "must be "
            "given the same");
    rc = sent < 0 ? sent : rc;
    if (pc_comm_rank(comm) > 0) {
        struct paco_error state = rc < 0 ? *err : (struct paco_error){0};
        int told = pc_comm_send(comm, 0, &state, sizeof state, err);
        rc = told < 0 ? told : rc;
    } else {
        struct paco_error theirs = {0};
        int heard = hear_all(comm, &theirs);
        if (rc == 0 && heard < 0) {
            *err = theirs;
            rc = heard;
        }
    }
    go = rc == 0;
    sent = pc_comm_broadcast(comm, &go, 1, err);
    if (rc == 0 && sent == 0 && !go)
        rc = pc_error_set(err, PACO_ECANCELLED, "rank 0 ends the evaluation");
    return rc < 0 ? rc : sent;
}
