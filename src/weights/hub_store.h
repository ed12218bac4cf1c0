// SPDX-License-Identifier: Apache-2.0
/* The Hugging Face cache, written to as huggingface_hub does, so that either goes on with the other's work:
 *
 *     HUB/models--ORG--NAME/blobs/DIGEST               a file's bytes, once; DIGEST.incomplete while they
 * come HUB/models--ORG--NAME/snapshots/COMMIT/FILE      a relative link to its blob
 *     HUB/models--ORG--NAME/refs/REVISION              the commit that a branch or tag is
 *     HUB/.locks/models--ORG--NAME/DIGEST.lock         held (flock) while a blob is fetched
 *
 * A snapshot and a ref come last, when all blobs are there: whoever finds a model by its name finds all of
 * it, and an update that breaks off leaves the version before in its place. */
#ifndef PC_WEIGHTS_HUB_STORE_H
#define PC_WEIGHTS_HUB_STORE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Everything is *owned*: pc_hub_store_release. Start from zero. */
struct pc_hub_store {
    char *hub, *model, *locks;
    const char *revision; /* a view into the name it was opened with */
};

/** Where name belongs; touches nothing. name must be one (pc_hub_is_name) and stays borrowed. */
int pc_hub_store_open(struct pc_hub_store *s, const char *name, struct paco_error *err);
void pc_hub_store_release(struct pc_hub_store *s);
/** Make its folders. */
int pc_hub_store_make(const struct pc_hub_store *s, struct paco_error *err);

/** blobs/DIGEST and SUFFIX ("", ".incomplete"); owned, NULL when memory is out. */
char *pc_hub_store_blob(const struct pc_hub_store *s, const char *digest, const char *suffix);
/** snapshots/COMMIT; as above. */
char *pc_hub_store_snapshot(const struct pc_hub_store *s, const char *commit);

/** Take the lock of a blob. 1 and *fd, which is closed to let go; 0 when somebody else holds it. */
int pc_hub_store_lock(const struct pc_hub_store *s, const char *digest, int *fd, struct paco_error *err);

/** Let snapshots/COMMIT hold n files, each a link to its blob; those that it holds already may stay. */
int pc_hub_store_link(const struct pc_hub_store *s, const char *commit, const char *const *names,
    const char *const *digests, size_t n, struct paco_error *err);
/** refs/REVISION is commit; a revision that is the commit needs none. */
int pc_hub_store_set_ref(const struct pc_hub_store *s, const char *commit, struct paco_error *err);

/** Bytes that may still be written where it is or will be; UINT64_MAX when nothing says. */
uint64_t pc_hub_store_free_bytes(const struct pc_hub_store *s);

#endif
