// SPDX-License-Identifier: Apache-2.0
/* Replies that were paid for, kept on disk: the same question to the same endpoint has the same answer, so
 * another run, with another limit or another place for its results, need not ask again. One file for each,
 * named by the SHA-256 of endpoint and question; neither key nor address is in it. Only for questions whose
 * answer is not drawn. */
#ifndef PC_NET_REPLY_CACHE_H
#define PC_NET_REPLY_CACHE_H

#include "base/buf.h"
#include "base/digest.h"

/** The name of a question: url and the request's body. PACO_EMEM. */
int pc_reply_cache_key(
    const char *url, const char *body, size_t len, char key[PC_SHA256_HEX], struct paco_error *err);

/** The reply kept under key in dir, into out (initialised here; release it in any case). False if there is
 * none. */
bool pc_reply_cache_get(const char *dir, const char *key, struct pc_buf *out);

/** Keep a reply. What cannot be written is not kept: a cache is no result. dir and the folders above it are
 * made. */
void pc_reply_cache_put(const char *dir, const char *key, const char *reply, size_t len);

/** "$XDG_CACHE_HOME/paco/NAME", or below ~/.cache: *owned*, NULL without either. */
char *pc_reply_cache_dir(const char *name);

#endif
