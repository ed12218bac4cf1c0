// SPDX-License-Identifier: Apache-2.0
/* Who the other ranks are, so that one that died can be named by those who wait for it. */
#ifndef PC_BASE_PEERS_H
#define PC_BASE_PEERS_H

#include "base/error.h"

#include <stdint.h>

/** What a rank tells the others of itself; plain bytes. */
struct pc_peer {
    int64_t pid;
    char machine[128]; /* the running system and its process numbers: equal where pid means something to us */
    char host[64];
};

void pc_peer_self(struct pc_peer *out);

struct pc_peers;

/** peer (n) is copied; i_self is the caller. *owned*: pc_peers_free. */
int pc_peers_new(
    struct pc_peers **out, const struct pc_peer *peer, int n, int i_self, struct paco_error *err);
void pc_peers_free(struct pc_peers *peers);

/** PACO_EIO, naming the rank, when one on this machine has ended; else 0. A system call: not for every turn
 * of a waiting loop. */
int pc_peers_check(struct pc_peers *peers, struct paco_error *err);

/** The rank a check found gone; -1: none. */
int pc_peers_lost(const struct pc_peers *peers);

#endif
