// SPDX-License-Identifier: Apache-2.0
/* Who answers in a conversation: a model of this process, or one behind an endpoint.
 *
 * A model here is asked with the ids of the whole conversation, encoded anew each time, exactly as training
 * saw it; what the sequence holds of their beginning is kept, so that only what is new is computed. An answer
 * that was taken back, another system message, or text that encodes differently in its context cost what
 * comes behind them, and nobody needs to know which. */
#ifndef PC_CLI_CHAT_ANSWER_H
#define PC_CLI_CHAT_ANSWER_H

#include "cli/answering.h"
#include "cli/chat_talk.h"
#include "engine/generate.h"

/** What the user said of sampling; NAN and -1: nothing. */
struct pc_chat_settings {
    double temperature, top_p, min_p, repetition_penalty;
    int64_t top_k, seed, tokens;
};

/** Borrowed, but for name. */
struct pc_chat_wishes {
    const struct pc_command *self;
    struct pc_model_args model;
    const char *format, *bos, *api, *key;
    const struct pc_strings *stops;
    int64_t context;
    struct pc_chat_settings settings;
};

/** What the last answer took. */
struct pc_chat_figures {
    int64_t n_prompt, n_computed, n_output; /* tokens; -1: not said */
    double prefill_seconds, decode_seconds, first_seconds;
};

/** Called with each piece of an answer, and with none now and then. Nonzero stops it. */
typedef int pc_chat_on_text(void *ctx, const char *text, size_t len);

struct pc_chat_answerer;

/** *out is *owned*: pc_chat_answerer_close. Errors: those of pc_answering_open and pc_engine_open. */
int pc_chat_answerer_open(
    const struct pc_chat_wishes *wishes, struct pc_chat_answerer **out, struct paco_error *err);
void pc_chat_answerer_close(struct pc_chat_answerer *a);

/** Why an answer ended: pc_stop_name's words, an endpoint's finish_reason, or "context" when there is no more
 * room. A view, valid until the next answer. */
const char *pc_chat_ended(const struct pc_chat_answerer *a);
const struct pc_chat_figures *pc_chat_figures(const struct pc_chat_answerer *a);
/** Tokens that a conversation may have; 0 when nobody knows. */
int32_t pc_chat_context(const struct pc_chat_answerer *a);
/** What answers, in words: name, format, context. */
void pc_chat_describe(const struct pc_chat_answerer *a, struct pc_buf *out);
/** The format of the prompts: PC_FORMAT_AUTO behind an endpoint, whose affair it is. */
enum pc_format pc_chat_format(const struct pc_chat_answerer *a);
/** Another one from here on, with its own ends of answers besides the former's; not behind an endpoint. */
int pc_chat_set_format(struct pc_chat_answerer *a, enum pc_format format, struct paco_error *err);
/** Other settings from here on. PACO_EINVAL. */
int pc_chat_set(struct pc_chat_answerer *a, const struct pc_chat_settings *settings, struct paco_error *err);
bool pc_chat_is_greedy(const struct pc_chat_answerer *a);

/** Answer a conversation that ends with a user's message; stream is another one for each try. text is
 * appended to, also when it fails or is stopped on the way. PACO_ELIMIT: the conversation leaves no room for
 * an answer. */
int pc_chat_answer(struct pc_chat_answerer *a, const struct pc_talk *talk, uint64_t stream,
    pc_chat_on_text *on_text, void *ctx, struct pc_buf *text, struct paco_error *err);

#endif
