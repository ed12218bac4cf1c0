// SPDX-License-Identifier: Apache-2.0
/* The Hugging Face hub: what a repository holds, and where its files are.
 *
 *     struct pc_hub hub;
 *     pc_hub_init(&hub, &err);
 *     pc_hub_ask(&hub, http, "org/name@revision", &repo, &err);     one request
 *     char *url = pc_hub_file_url(&hub, name, &repo, i);            of each file
 *     pc_hub_repo_release(&repo);
 *     pc_hub_release(&hub);
 *
 * What the hub says is not believed where it could do harm: names of files that would lead out of the
 * folder they go into, digests that are none, and sizes beyond all measure are errors before anything is
 * written. The token goes to the hub alone, never along with a redirection to another host, and into no
 * message. Source: huggingface_hub's HfApi.model_info(files_metadata=True) and hf_hub_url. */
#ifndef PC_NET_HUB_H
#define PC_NET_HUB_H

#include "base/digest.h"
#include "base/error.h"
#include "base/progress.h"
#include "net/http.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PC_HUB_MAX_FILES = 50000, /* of a repository; the hub's own list ends about there */
    PC_HUB_COMMIT = 41,       /* 40 digits and a NUL */
};

/** What the environment says: HF_ENDPOINT; HF_TOKEN, HUGGING_FACE_HUB_TOKEN, else the file HF_TOKEN_PATH or
 * HF_HOME/token, as `hf auth login` leaves it (unless HF_HUB_DISABLE_IMPLICIT_TOKEN); HF_HUB_OFFLINE;
 * HF_HUB_DOWNLOAD_TIMEOUT. */
struct pc_hub {
    char *endpoint;  /* owned, without a slash at its end */
    char *token;     /* owned, or NULL */
    char shown[300]; /* the endpoint for messages */
    bool offline;
    double stall_timeout; /* seconds */
};

/** PACO_EMEM; PACO_EFORMAT for a token file with more than a token. */
int pc_hub_init(struct pc_hub *hub, struct paco_error *err);
void pc_hub_release(struct pc_hub *hub);

struct pc_hub_file {
    const char *name;           /* relative, without "." or ".." parts and control characters, UTF-8 */
    uint64_t size;              /* bytes */
    char digest[PC_SHA256_HEX]; /* SHA-256 in 64 digits, or git's name for it in 40 */
};

/** Everything is *owned*: pc_hub_repo_release. Files are sorted by name. */
struct pc_hub_repo {
    char commit[PC_HUB_COMMIT];
    struct pc_hub_file *files;
    size_t n_files;
    char *names; /* what the files' names point into */
};

/** Ask for what name ("org/name", with "@revision" or without) holds now; waits. progress may be NULL.
 *  PACO_ENOENT: no such repository, or revision. PACO_EINVAL: it is closed to this token, or wants one; the
 * message says what to do. PACO_EFORMAT: an answer that is none. PACO_ECANCELLED. */
int pc_hub_ask(const struct pc_hub *hub, struct pc_http *http, const char *name,
    const struct pc_progress *progress, struct pc_hub_repo *out, struct paco_error *err);
void pc_hub_repo_release(struct pc_hub_repo *repo);

/** The answer of the hub, as pc_hub_ask reads it; from names it in messages. */
int pc_hub_parse(
    const char *body, size_t len, const char *from, struct pc_hub_repo *out, struct paco_error *err);

/** Where file i is; owned (pc_free), NULL when memory is out. */
char *pc_hub_file_url(
    const struct pc_hub *hub, const char *name, const struct pc_hub_repo *repo, size_t i_file);

/** Make of a reply that failed what a user can act on. Returns err's code. */
int pc_hub_explain(
    const struct pc_hub *hub, const char *name, const struct pc_http_reply *reply, struct paco_error *err);

#endif
