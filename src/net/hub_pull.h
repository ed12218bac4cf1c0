// SPDX-License-Identifier: Apache-2.0
/* A model, diff or adapter from the Hugging Face hub, into the cache where -m finds it by its name.
 *
 * Files come several at once, each into blobs/DIGEST.incomplete, and go on from there after an interruption,
 * whether of the connection or of the process: what was written is never thrown away but for its digest's
 * sake. A blob gets its name when its digest is right; the snapshot and the ref follow when all blobs are
 * there (weights/hub_store.h). A blob that another process is fetching is waited for. */
#ifndef PC_NET_HUB_PULL_H
#define PC_NET_HUB_PULL_H

#include "net/hub_choice.h"

/** All borrowed; zero means the default. */
struct pc_pull_options {
    const char *name; /* "org/name", with "@revision" or without */
    struct pc_hub_wishes wishes;
    int n_at_once;      /* 8 */
    bool dry_run;       /* only find out what there is to do */
    bool verify;        /* hash the blobs that are there, and fetch again those that are damaged */
    double first_delay; /* seconds before the second attempt; 1 */
    const struct pc_progress *progress;
    struct pc_notes *notes;
};

/** What was done, or with dry_run would be. */
struct pc_pull_result {
    char commit[PC_HUB_COMMIT];
    char *path; /* of the snapshot; *owned* (pc_free) */
    size_t n_files, n_there, n_fetched;
    uint64_t size;  /* bytes of all files */
    uint64_t bytes; /* that came, or would have to */
};

/** Pull. With HF_HUB_OFFLINE nothing is asked for: what the cache holds is the answer, or PACO_ENOENT.
 *
 *  Errors: those of pc_hub_ask and pc_hub_choose; PACO_ENOSPC before anything is written; PACO_EVERIFY for a
 * file whose bytes are not what the hub says they are (tried twice), PACO_EIO for one that does not come.
 * What came stays for the next time. */
int pc_hub_pull(const struct pc_pull_options *options, struct pc_pull_result *result, struct paco_error *err);

#endif
