// SPDX-License-Identifier: Apache-2.0
/* A line for each request that is over, whatever became of it:
 *
 *     {"time":"2024-05-01T12:00:00.123Z","client":"key 2","method":"POST","path":"/v1/completions",
 *      "model":"alpaca","status":200,"stream":false,"prompt_tokens":12,"cached_tokens":0,
 *      "completion_tokens":24,"first_token_ms":31.2,"ms":240.5}
 *
 * client is an address, "local" for one of this machine's sockets, or the number of a key in the order they
 * were given. What failed has "error", the code or else the kind of it, too; what computes nothing has
 * neither model nor tokens. With log_prompts there are "prompts" and "answers" as the model read and said
 * them. What came from outside is in JSON strings, in which no byte can end the line. */
#ifndef PC_SERVE_REQUEST_LOG_H
#define PC_SERVE_REQUEST_LOG_H

#include "serve/front.h"

/** Tell of a turn. It is the caller's alone: the engine thread's, or nobody computes it. */
void pc_request_log_turn(const struct pc_turn *t);

/** Tell of a request that no turn came of, when it is over. */
void pc_request_log_exchange(const struct pc_exchange *x);

#endif
