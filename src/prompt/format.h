// SPDX-License-Identifier: Apache-2.0
/* Conversations to token ids, in the formats of the model families: tulu, alpaca, vicuna, chatml, llama2,
 * llama3, raw. */
#ifndef PC_PROMPT_FORMAT_H
#define PC_PROMPT_FORMAT_H

#include "base/buf.h"
#include "base/error.h"
#include "tokenizer/tokenizer.h"

enum pc_format {
    PC_FORMAT_AUTO,
    PC_FORMAT_RAW,
    PC_FORMAT_TULU,
    PC_FORMAT_ALPACA,
    PC_FORMAT_VICUNA,
    PC_FORMAT_CHATML, /* with SmolLM2's system message where there is none */
    PC_FORMAT_LLAMA2,
    PC_FORMAT_LLAMA3,
    PC_FORMAT_CHATML_PLAIN, /* "chatml-plain": without */
};

struct pc_message {
    const char
        *role; /* "system", "user", "assistant"; for alpaca also "input", behind the user's instruction */
    const char *content;
};

/** Static name of a format; parse one. */
const char *pc_format_name(enum pc_format format);
bool pc_format_parse(const char *name, enum pc_format *out);

/** What a model was tuned on: a known chat template, else "<pad>" at id 32000 means tulu, "[PAD]" alpaca,
 * else raw. chat_template may be NULL. *certain is false when raw is only a guess (the caller warns). */
enum pc_format pc_format_detect(const struct pc_tokenizer *tok, const char *chat_template, bool *certain);

/** Text that looks like another format's prompt ("### Instruction:" for a tulu model ...): the format it
 * looks like, or PC_FORMAT_AUTO when nothing stands out. */
enum pc_format pc_format_of_text(const char *text);

/** Append the prompt text for n messages, ending where the assistant speaks. Byte for byte as the family's
 * training saw it. Unknown roles are PACO_EINVAL. */
int pc_format_render(enum pc_format format, const struct pc_message *messages, size_t n, struct pc_buf *out,
    struct paco_error *err);

/** Append the token ids of the conversation, as training tokenised it: for tulu on LLaMA's tokenizer an EOS
 * in the text is a token, whitespace around it vanishes, and what follows starts a new piece ("▁<"); see the
 * reference cited in format.c. bos: -1 as the tokenizer says, 0 never, 1 always. */
int pc_format_encode(enum pc_format format, const struct pc_tokenizer *tok, const struct pc_message *messages,
    size_t n, int bos, struct pc_ids *out, struct paco_error *err);

/** A chat template in Transformers' Jinja that renders as this format does, and that pc_format_detect knows
 * again: for a model that was tuned in it. tulu and alpaca (without inputs) have one, others NULL. Static. */
const char *pc_format_template(enum pc_format format);

/** Texts that end an answer in this format besides EOS ("<|user|>", "</s>", "<|im_end|>"...):
 * NULL-terminated, static. */
const char *const *pc_format_stops(enum pc_format format);

#endif
