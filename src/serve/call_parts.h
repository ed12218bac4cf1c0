// SPDX-License-Identifier: Apache-2.0
/* What call.c and call_prompt.c share. */
#ifndef PC_SERVE_CALL_PARTS_H
#define PC_SERVE_CALL_PARTS_H

#include "serve/call.h"
#include "serve/fields.h"

/** The conversation of a chat, as the one prompt of call. */
int pc_call_read_messages(struct pc_call *call, const struct pc_fields *f);

/** response_format, and what other servers have for it, into call->sampler. */
int pc_call_read_form(struct pc_call *call, const struct pc_fields *f);

/** `key` of a completion or an embedding: a text, a list of texts, a list of ids, or a list of such lists. */
int pc_call_read_prompts(struct pc_call *call, const struct pc_fields *f, const char *key);

#endif
