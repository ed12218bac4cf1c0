// SPDX-License-Identifier: Apache-2.0
/* From what a user gives, words, conversations or ids, to the token ids a model is asked with. */
#ifndef PC_CLI_PROMPTS_H
#define PC_CLI_PROMPTS_H

#include "cli/command.h"
#include "prompt/format.h"

/** How words become ids. Everything is borrowed. */
struct pc_prompter {
    const struct pc_command *self; /* for remarks */
    const struct pc_tokenizer *tok;
    enum pc_format format; /* what words are wrapped in; not AUTO */
    enum pc_format tuned;  /* what the model was tuned on; AUTO when nobody knows */
    const char *system;    /* a system message for conversations that have none, or NULL */
    int bos;               /* -1 as the tokenizer says, 0 never, 1 always */
    bool remarked;         /* one remark about formats is enough */
};

/** Whether both are the same family: chatml with and without a system message count as one. */
bool pc_format_alike(enum pc_format a, enum pc_format b);

/** `{0}` is empty. */
struct pc_prompts {
    struct pc_ids *v;
    size_t n, capacity;
};
void pc_prompts_release(struct pc_prompts *p);

/** Append the user's text (len bytes, no NUL among them) as a conversation of one message. Remarks when it
 * looks like a prompt of another format than the model's, or like one that is already wrapped. */
int pc_prompts_add_text(
    struct pc_prompts *p, struct pc_prompter *how, const char *text, size_t len, struct paco_error *err);

/** Append one prompt for each line of JSON: an object with `prompt`, or `messages` (a list of {role,
 * content}), or `instruction` and maybe `input`. Empty lines are skipped. Errors name path and line. */
int pc_prompts_add_jsonl(struct pc_prompts *p, struct pc_prompter *how, const char *path, const char *text,
    size_t len, struct paco_error *err);

/** Append ids as they are: "1 2 3", "1,2,3" or "[1, 2, 3]". */
int pc_prompts_add_ids(struct pc_prompts *p, const char *text, struct paco_error *err);

#endif
