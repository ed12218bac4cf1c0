// SPDX-License-Identifier: Apache-2.0
/* Shared by answer_api.c, which asks, answer_probe.c, which finds out what may be asked, and answer_choice.c,
 * which reads probabilities of candidates. */
#ifndef PC_EVAL_ANSWER_API_PARTS_H
#define PC_EVAL_ANSWER_API_PARTS_H

#include "eval/answer_api.h"
#include "net/openai.h"

/** What an endpoint can. */
struct pc_endpoint {
    bool completions, chat; /* one of them is used; completions if it can */
    int32_t logprobs;       /* alternatives it names beside a token; 0: none */
    bool echo, top_k, seed; /* it takes these */
    bool many;              /* several answers to one request */
    bool specials;          /* it takes add_special_tokens: whether BOS comes before a prompt */
    /** How its tokenizer spells a word that nothing comes before, as far as its echo tells. */
    enum pc_bare { PC_BARE_UNKNOWN, PC_BARE_PLAIN, PC_BARE_SPACED } bare;
    enum pc_format format;   /* what its list of models says its model was tuned on; AUTO: nothing */
    int32_t echo_max_tokens; /* 0, or 1 where nothing less is taken: the answer's own token is left out */
};

/** Ask the endpoint. */
int pc_endpoint_probe(struct pc_openai *api, const struct pc_answer_api_options *o, struct pc_endpoint *out,
    struct paco_error *err);

/** Log-probabilities of candidates as they are found. */
struct pc_candidates {
    const char *const *texts; /* borrowed */
    size_t n;
    double logprob[PC_MAX_CHOICES]; /* NAN: not known */
    bool spaced;                    /* the spelling with a space before it is the one that counts */
    bool any;                       /* one at least was found */
};

/** How a word is spelled that nothing comes before, from the n_tokens tokens of the echo of "A, A". */
enum pc_bare pc_echo_bare(const struct pc_openai_choice *echo, size_t n_tokens);
/** Look for the candidates among the likeliest tokens in a reply's first place, spelled as bare says; where
 * that is not known, as is likelier in all, or by the prompt's end where none is found. False when the reply
 * has no log-probabilities. */
bool pc_candidates_find(struct pc_candidates *c, const struct pc_openai_choice *choice, enum pc_bare bare,
    const char *prompt, size_t len);
/** What is appended to the prompt to ask for candidate i by echo. */
void pc_candidates_spell(const struct pc_candidates *c, size_t i, struct pc_buf *out);
/** The log-probability of the last tail_len bytes of text (prompt and candidate) in an echo of it, or NAN
 * when the tokens do not divide there. */
double pc_echo_logprob(const struct pc_openai_choice *echo, size_t text_len, size_t tail_len);
/** How many tokens of an echo are the text's own: with echo_max_tokens one was generated behind them. */
size_t pc_echo_n_tokens(const struct pc_endpoint *e, const struct pc_openai_reply *reply);
/** What tokens [i_first, n_tokens) of an echo say: false when one has no log-probability, or there are none.
 */
bool pc_echo_nats(const struct pc_openai_choice *echo, size_t i_first, size_t n_tokens, struct pc_nats *out);
/** Probabilities that sum to 1; what is not known is 0. */
void pc_candidates_probs(const struct pc_candidates *c, double *probs);

#endif
