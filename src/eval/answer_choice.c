// SPDX-License-Identifier: Apache-2.0
#include "eval/answer_api_parts.h"

#include <math.h>
#include <string.h>

/* Tokens come as text, or as vocabularies spell them: "▁A", "ĠA". Moves *text behind a space before it. */
static bool skip_space(const char **text)
{
    static const char *const spaces[] = {" ", "\xe2\x96\x81", "\xc4\xa0"};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        size_t n = strlen(spaces[i]);
        if (strncmp(*text, spaces[i], n) == 0) {
            *text += n;
            return true;
        }
    }
    return false;
}

/* The log-probability of text among the likeliest, with a space before it or without. */
static double find(const struct pc_openai_token *t, const char *text, bool spaced)
{
    for (size_t i = 0; i < t->n_top; i++) {
        const char *token = t->top[i].text;
        if (skip_space(&token) == spaced && strcmp(token, text) == 0)
            return t->top[i].logprob;
    }
    const char *token = t->text;
    return skip_space(&token) == spaced && strcmp(token, text) == 0 ? t->logprob : NAN;
}

/* Upstream's candidate is the first token of the bare letter (reference 2.3): with a space before it where
 * the tokenizer puts one before every text, without where it does not. An endpoint whose tokens have lost
 * their spaces says nothing about it: the second A must have its own, or a token of it before. */
enum pc_bare pc_echo_bare(const struct pc_openai_choice *echo, size_t n_tokens)
{
    bool spaced[2] = {false, false}; /* the first and the last of the two */
    size_t n_letters = 0;
    for (size_t i = 0; i < n_tokens; i++) {
        const char *token = echo->tokens[i].text;
        bool space = skip_space(&token) || (i > 0 && strcmp(echo->tokens[i - 1].text, " ") == 0);
        if (strcmp(token, "A") != 0)
            continue;
        if (n_letters == 2)
            return PC_BARE_UNKNOWN;
        spaced[n_letters++] = space;
    }
    if (n_letters < 2 || !spaced[1])
        return PC_BARE_UNKNOWN;
    return spaced[0] ? PC_BARE_SPACED : PC_BARE_PLAIN;
}

bool pc_candidates_find(struct pc_candidates *c, const struct pc_openai_choice *choice, enum pc_bare bare,
    const char *prompt, size_t len)
{
    double found[2][PC_MAX_CHOICES], mass[2] = {0, 0};
    if (!choice->n_tokens)
        return false;
    for (int spaced = 0; spaced < 2; spaced++)
        for (size_t i = 0; i < c->n; i++) {
            double logprob = find(&choice->tokens[0], c->texts[i], spaced);
            found[spaced][i] = logprob;
            mass[spaced] += isnan(logprob) ? 0 : exp(logprob);
        }
    c->any = mass[0] > 0 || mass[1] > 0;
    if (bare != PC_BARE_UNKNOWN)
        c->spaced = bare == PC_BARE_SPACED;
    else
        c->spaced = c->any ? mass[1] >= mass[0] : len > 0 && !strchr(" \n\t", prompt[len - 1]);
    memcpy(c->logprob, found[c->spaced], c->n * sizeof *c->logprob);
    return true;
}

void pc_candidates_spell(const struct pc_candidates *c, size_t i, struct pc_buf *out)
{
    if (c->spaced)
        pc_buf_putc(out, ' ');
    pc_buf_puts(out, c->texts[i]);
}

double pc_echo_logprob(const struct pc_openai_choice *echo, size_t text_len, size_t tail_len)
{
    // A token may have been generated behind the text: it counts neither way.
    size_t behind = echo->len > text_len ? echo->len - text_len : 0, n = 0, i = echo->n_tokens;
    double sum = 0;
    while (i > 0 && n < behind + tail_len) {
        const char *token = echo->tokens[--i].text;
        bool spaced = skip_space(&token);
        bool counts = n >= behind;
        n += strlen(token) + spaced;
        if (counts)
            sum += echo->tokens[i].logprob;
        else if (n > behind)
            return NAN;
    }
    return n == behind + tail_len ? sum : NAN;
}

size_t pc_echo_n_tokens(const struct pc_endpoint *e, const struct pc_openai_reply *reply)
{
    size_t n = reply->choices[0].n_tokens;
    bool behind = e->echo_max_tokens > 0 && reply->completion_tokens != 0;
    return n - (behind && n > 0);
}

bool pc_echo_nats(const struct pc_openai_choice *echo, size_t i_first, size_t n_tokens, struct pc_nats *out)
{
    *out = (struct pc_nats){0};
    for (size_t i = i_first; i < n_tokens; i++) {
        if (!isfinite(echo->tokens[i].logprob))
            return false;
        out->sum -= echo->tokens[i].logprob;
        out->n_tokens++;
    }
    return out->n_tokens > 0;
}

void pc_candidates_probs(const struct pc_candidates *c, double *probs)
{
    double most = -INFINITY;
    float below[PC_MAX_CHOICES];
    for (size_t i = 0; i < c->n; i++)
        most = fmax(most, c->logprob[i]); // a NAN is passed over
    /* What two logits differ by is often just between two floats. The last bits of log-probabilities are
     * noise of their sum, and must not decide such a tie. */
    for (size_t i = 0; i < c->n; i++)
        below[i] = (float)(rint((c->logprob[i] - most) * 0x1p40) * 0x1p-40);
    pc_choice_probs(below, c->n, probs);
}
