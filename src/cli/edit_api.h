// SPDX-License-Identifier: Apache-2.0
/* libedit, loaded when a line is to be edited on a terminal (src/net/curl_api.h says why libraries are). */
#ifndef PC_CLI_EDIT_API_H
#define PC_CLI_EDIT_API_H

#include "base/error.h"

#include <histedit.h>

struct pc_edit {
    EditLine *(*init)(const char *, FILE *, FILE *, FILE *);
    void (*end)(EditLine *);
    int (*set)(EditLine *, int, ...);
    const char *(*gets)(EditLine *, int *);
    int (*source)(EditLine *, const char *);
    void (*resize)(EditLine *);
    History *(*history_init)(void);
    void (*history_end)(History *);
    int (*history)(History *, HistEvent *, int, ...);
};

/** The table, the same for all; NULL when it cannot be had: PACO_EUNSUPPORTED says which package is missing.
 * One thread at a time. */
const struct pc_edit *pc_edit_load(struct paco_error *err);

#endif
