// SPDX-License-Identifier: Apache-2.0
/* One file on its way from the hub: its lock, what came of it, and its running digest. */
#ifndef PC_NET_HUB_BLOB_H
#define PC_NET_HUB_BLOB_H

#include "net/hub.h"
#include "weights/hub_store.h"

enum pc_blob_state {
    PC_BLOB_WANTED,
    PC_BLOB_COMING,
    PC_BLOB_THERE,
};

struct pc_blob {
    const struct pc_hub_file *file; /* borrowed */
    enum pc_blob_state state;
    char *path, *part; /* owned: where it goes, and as long as it is not whole */
    int fd, lock;      /* -1: closed */
    uint64_t len;      /* bytes of part */
    uint64_t came;     /* over the network, in all */
    struct pc_sha256 *hash;
    struct pc_http_sink sink;
    uint64_t asked_from; /* len when the request under way was made */
    bool damaged;        /* what is at path is */
    bool again;          /* what came was damaged once */
    bool waited;         /* for another process */
};

/** Find out whether file's blob is there: its size, and with verify its digest, too. b is *owned*:
 * pc_blob_close. */
int pc_blob_init(struct pc_blob *b, const struct pc_hub_store *store, const struct pc_hub_file *file,
    bool verify, struct paco_error *err);
/** Lock it, and open what came of it earlier. 1: ready for a request from byte b->len on; 0: another process
 * has it. It may be there by now, or whole without being there: look at state. */
int pc_blob_begin(struct pc_blob *b, const struct pc_hub_store *store, struct paco_error *err);
/** All bytes came: hold them against the digest and give it its name. PACO_EVERIFY: they are others, and part
 * is empty again. */
int pc_blob_settle(struct pc_blob *b, struct paco_error *err);
/** Let go of its file and its lock. part stays, unless it is empty. */
void pc_blob_end(struct pc_blob *b);
void pc_blob_close(struct pc_blob *b);

#endif
