// SPDX-License-Identifier: Apache-2.0
/* A conversation: what was said, in order, a system message first if there is one. */
#ifndef PC_CLI_CHAT_TALK_H
#define PC_CLI_CHAT_TALK_H

#include "prompt/format.h"

#include <stdbool.h>
#include <stddef.h>

/** `{0}` is empty. Roles are static, contents *owned*. */
struct pc_talk {
    struct pc_message *v;
    size_t n, capacity;
};

void pc_talk_release(struct pc_talk *t);
/** role must be static: "system", "user" or "assistant". */
int pc_talk_add(struct pc_talk *t, const char *role, const char *text, size_t len, struct paco_error *err);
/** Take back the last message. */
void pc_talk_pop(struct pc_talk *t);
/** The system message, or NULL; set it, or with NULL remove it. */
const char *pc_talk_system(const struct pc_talk *t);
int pc_talk_set_system(struct pc_talk *t, const char *text, struct paco_error *err);
/** Whether the last message is of role. */
bool pc_talk_ends_with(const struct pc_talk *t, const char *role);
/** Messages of users and assistants. */
size_t pc_talk_n_said(const struct pc_talk *t);
/** Take back the last answer and what it answers. False when there is none. */
bool pc_talk_undo(struct pc_talk *t);
/** Everything but the system message. */
void pc_talk_clear(struct pc_talk *t);

/** One line of JSON, {"messages": [{"role", "content"}, ...]}, as generate -f and finetune read it.
 * PACO_EEXIST when path is there and force is false. */
int pc_talk_save(const struct pc_talk *t, const char *path, bool force, struct paco_error *err);
/** Replace t by what path holds; t stays as it is when that fails. */
int pc_talk_load(struct pc_talk *t, const char *path, struct paco_error *err);

#endif
