// SPDX-License-Identifier: Apache-2.0
/* Why a request is refused or failed, in the shape OpenAI's clients read. */
#ifndef PC_SERVE_FAULT_H
#define PC_SERVE_FAULT_H

#include "base/buf.h"
#include "base/error.h"

/** `{0}` is none. */
struct pc_fault {
    int status;       /* HTTP's; 0: there is none */
    const char *code; /* "model_not_found", ...; static, or NULL */
    char param[96];   /* the field it is about, "messages[0].content", or "" */
    char message[768];
    const char *allow; /* the methods that are for a path, static; NULL: not said */
    int retry_after;   /* seconds after which to try again; 0: not said */
};

/** Set it, unless one is set: the first that is found counts. param may be NULL. Returns PACO_EINVAL. */
int pc_fault_set(struct pc_fault *f, int status, const char *code, const char *param, const char *fmt, ...)
    PC_PRINTF(5, 6);

/** Of an error of ours: an argument that makes no sense or does not fit is the client's (400), no memory is
 * 503, all else 500. Returns err's code. */
int pc_fault_of(struct pc_fault *f, const char *param, const struct paco_error *err);

/** Append {"error":{"message","type","param","code"}}. The type follows from the status. */
void pc_fault_write(struct pc_buf *b, const struct pc_fault *f);

/** Append what everybody is told while the model is loading; status 503. */
void pc_fault_write_loading(struct pc_buf *b);

#endif
