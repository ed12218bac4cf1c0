// SPDX-License-Identifier: Apache-2.0
/* What a user types, or pipes in, one message after the other.
 *
 * A line is a message. It goes on in the next one behind a backslash at its end; from a line that begins with
 * three double quotes to the one that ends with three, all is one message; and what is pasted is one, however
 * many lines it has. On a terminal lines are edited (libedit, if it is there; ~/.editrc counts) and kept for
 * the next time: XDG_STATE_HOME/paco/chat_history, which nobody else may read. */
#ifndef PC_CLI_CHAT_INPUT_H
#define PC_CLI_CHAT_INPUT_H

#include "base/buf.h"
#include "base/error.h"

#include <signal.h>
#include <stdbool.h>

struct pc_chat_input;

enum pc_chat_read {
    PC_CHAT_MESSAGE,
    PC_CHAT_EMPTY,       /* a line without anything */
    PC_CHAT_INTERRUPTED, /* Ctrl-C: what was typed is dropped */
    PC_CHAT_END,
};

/** *interrupted is set by the caller's handler for SIGINT, which must not restart calls; borrowed.
 * interactive: with prompts and editing. keep: with a history file. *owned*: pc_chat_input_close. PACO_EMEM.
 */
int pc_chat_input_open(bool interactive, bool keep, volatile sig_atomic_t *interrupted,
    struct pc_chat_input **out, struct paco_error *err);
void pc_chat_input_close(struct pc_chat_input *in);
/** Whether lines can be edited, or why not ("" on a pipe). A view. */
const char *pc_chat_input_remark(const struct pc_chat_input *in);

/** The next message into out, which is cleared first. Negative: reading failed, or a message above 16 MiB. */
int pc_chat_input_read(struct pc_chat_input *in, struct pc_buf *out, struct paco_error *err);

#endif
