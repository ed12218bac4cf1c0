// SPDX-License-Identifier: Apache-2.0
/* What paco serve does while its server answers: signals, reloads, and what is said of them. */
#ifndef PC_CLI_SERVE_WATCH_H
#define PC_CLI_SERVE_WATCH_H

#include "cli/serve_log.h"
#include "cli/serve_options.h"
#include "serve/server.h"

struct pc_watch {
    const struct pc_command *self;
    const struct pc_serve_args *args;
    struct pc_server *server;
    struct pc_serve_log *log;
    const char *name; /* of the model, for people */
};

/** From here on a hang-up waits for pc_watch. */
void pc_watch_prepare(void);

/** Until the server ends by itself or a signal asks for that. */
void pc_watch(struct pc_watch *w);

#endif
