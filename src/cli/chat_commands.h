// SPDX-License-Identifier: Apache-2.0
/* What a user may say to the program instead of the model: a table of words behind a slash. */
#ifndef PC_CLI_CHAT_COMMANDS_H
#define PC_CLI_CHAT_COMMANDS_H

#include "cli/chat.h"

/** Do what line says, "set temp 0.8" without its slash. 0, or negative: it was said why not. */
int pc_chat_command(struct pc_chat *c, const char *line);
/** Append the table for help, a line each. */
void pc_chat_commands_help(struct pc_buf *out);

#endif
