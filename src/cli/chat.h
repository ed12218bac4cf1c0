// SPDX-License-Identifier: Apache-2.0
/* A conversation on a terminal or a pipe: turns, and what is shown of them. chat_commands.h has what begins
 * with a slash. */
#ifndef PC_CLI_CHAT_H
#define PC_CLI_CHAT_H

#include "cli/chat_answer.h"
#include "cli/chat_input.h"

struct pc_chat {
    const struct pc_command *self;
    struct pc_chat_wishes wishes; /* as they are by now */
    struct pc_chat_answerer *answerer;
    struct pc_chat_input *input;
    struct pc_talk talk;
    bool interactive, screen; /* screen: stdout is a terminal, which must not receive everything */
    volatile sig_atomic_t *interrupted;
    uint64_t n_asked; /* answers begun: each draws numbers of its own */
    bool quit;
    bool is_counted; /* the last answer's tokens are the conversation's */
    bool is_same;    /* and asked again, nothing but the dice would be others */
    /* The answer on the screen. */
    bool wrote, ends_in_newline;
};

/** The answer to text as the next message. What failed was said, and the message taken back. 0 or negative.
 */
int pc_chat_say(struct pc_chat *c, const char *text, size_t len);
/** Another answer to the last message; the former one stays where no other came. PACO_ENOENT when nothing was
 * asked. */
int pc_chat_retry(struct pc_chat *c);
/** What the last answer was made of is no longer what is there. */
void pc_chat_changed(struct pc_chat *c);
/** Say an error, as this command does, without ending it. Returns err's code. */
int pc_chat_complain(const struct pc_chat *c, const struct paco_error *err);
/** Read and answer until the end. Negative: on a pipe, the first failure, which was said. */
int pc_chat_run(struct pc_chat *c);

#endif
