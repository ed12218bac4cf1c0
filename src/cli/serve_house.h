// SPDX-License-Identifier: Apache-2.0
/* What paco serve serves, opened: a base and the fine-tunes beside it (serve/served.h), at first and anew. */
#ifndef PC_CLI_SERVE_HOUSE_H
#define PC_CLI_SERVE_HOUSE_H

#include "cli/serve_models.h"
#include "cli/serve_options.h"

/** What houses are opened by. Borrowed while any is there. */
struct pc_house_plan {
    const struct pc_command *self;
    const struct pc_serve_args *args;
    const struct pc_tunes *tunes;
};

/** The server's `open`. Of what is open already in before, base and fine-tunes
 * are shared whose files are the same (stamp.h); all else is opened anew, and a base that is takes its
 * fine-tunes with it. Both are in memory together until nobody needs the old: what does not fit is PACO_EMEM,
 * in numbers, before it is loaded. */
int pc_house_open(const struct pc_house_plan *plan, const struct pc_house *before, struct pc_house *house,
    struct paco_error *err);

#endif
