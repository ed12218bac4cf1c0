// SPDX-License-Identifier: Apache-2.0
#include "engine/generate.h"

#include "base/host.h"
#include "base/memory.h"
#include "engine/stops.h"

#include <string.h>

enum {
    PREFILL_ROWS = 512, /* between two looks at the progress callback */
    MAX_TEXT = 1 << 28,
    MAX_HELD = 1 << 20, /* withheld text: longer than any stop could make it */
};

const char *pc_stop_name(enum pc_stop stop)
{
    static const char *const names[] = {[PC_STOP_EOS] = "eos",
        [PC_STOP_TEXT] = "stop",
        [PC_STOP_LENGTH] = "length",
        [PC_STOP_CANCELLED] = "cancelled"};
    return names[stop];
}

void pc_generation_init(struct pc_generation *g)
{
    *g = (struct pc_generation){0};
    pc_buf_init(&g->text, MAX_TEXT);
}

void pc_generation_release(struct pc_generation *g)
{
    pc_ids_release(&g->ids);
    pc_buf_release(&g->text);
}

int pc_prefill(struct pc_engine *engine, struct pc_seq *seq, const int32_t *prompt, size_t n_prompt,
    const struct pc_progress *progress, size_t *i_row, struct paco_error *err)
{
    struct pc_row rows[PREFILL_ROWS];
    size_t at = (size_t)pc_seq_length(seq);
    at = at < n_prompt ? at : n_prompt - 1;
    while (at < n_prompt) {
        struct pc_progress_event event = {
            .phase = "reading the prompt", .done = at, .total = n_prompt, .unit = "tokens"};
        if (pc_progress(progress, &event))
            return 1;
        size_t n = n_prompt - at < PREFILL_ROWS ? n_prompt - at : PREFILL_ROWS;
        for (size_t i = 0; i < n; i++)
            rows[i] = (struct pc_row){.seq = seq,
                .pos = (int32_t)(at + i),
                .token = prompt[at + i],
                .want_logits = at + i + 1 == n_prompt};
        int rc = pc_engine_step(engine, rows, n, err);
        if (rc < 0)
            return rc;
        at += n;
        *i_row = n - 1;
    }
    struct pc_progress_event done = {
        .phase = "reading the prompt", .done = n_prompt, .total = n_prompt, .unit = "tokens"};
    pc_progress(progress, &done); /* a wish to stop is heard at the next token */
    return 0;
}

/* The answer's text on its way out. */
struct outlet {
    const struct pc_generate_options *o;
    struct pc_decoder decoder;
    struct pc_buf held; /* decoded, not yet released */
    struct pc_buf *text;
    bool closed; /* on_text wanted no more */
};

/* Release what can be; with all, the rest too. Returns whether the answer ends here, and why in *stop. */
static bool release(struct outlet *out, bool all, enum pc_stop *stop)
{
    bool found;
    size_t n = pc_stops_scan(out->held.data, out->held.len, out->o->stops, out->o->n_stops, &found);
    if (all && !found)
        n = out->held.len;
    if (n > 0 && !out->closed) {
        pc_buf_add(out->text, out->held.data, n);
        if (out->o->on_text)
            out->closed = out->o->on_text(out->o->ctx, out->held.data, n) != 0;
        memmove(out->held.data, out->held.data + n, out->held.len - n);
        out->held.len -= n;
        out->held.data[out->held.len] = '\0';
    }
    if (found || out->closed)
        *stop = out->closed ? PC_STOP_CANCELLED : PC_STOP_TEXT;
    return found || out->closed;
}

static bool is_eos(const struct pc_generate_options *o, int32_t id)
{
    for (size_t i = 0; i < o->n_eos; i++)
        if (o->eos_ids[i] == id)
            return true;
    return false;
}

/* Take in one chosen token. Returns 1 when it ends the answer. */
static int take(struct outlet *out, struct pc_generation *g, int32_t id, struct paco_error *err)
{
    int rc = pc_ids_add(&g->ids, id, err);
    if (rc < 0)
        return rc;
    if (is_eos(out->o, id)) {
        g->stop = PC_STOP_EOS;
        return 1;
    }
    size_t len;
    if (!out->decoder.tok || !pc_tokenizer_piece(out->decoder.tok, id, &len))
        return 0;
    rc = pc_decoder_push(&out->decoder, id, &out->held, err);
    return rc < 0 ? rc : release(out, false, &g->stop);
}

/* What the last step computed: the row behind the latest token, then one behind each guess. */
struct ahead {
    int32_t guesses[PC_MAX_DRAFT];
    size_t n, n_right;
};

/* Compute the rows behind the token just chosen and behind what may follow it. */
static int step(struct pc_engine *engine, struct pc_seq *seq, const struct pc_generate_options *o,
    struct pc_generation *g, struct ahead *a, struct paco_error *err)
{
    struct pc_row rows[1 + PC_MAX_DRAFT];
    int32_t pos = g->n_prompt + (int32_t)g->ids.n - 1;
    size_t room = (size_t)(pc_seq_capacity(seq) - pos - 1), left = (size_t)o->max_tokens - g->ids.n - 1;
    *a = (struct ahead){.n = 0};
    if (o->speculator)
        a->n = pc_speculator_draft(o->speculator, room < left ? room : left, a->guesses);
    rows[0] = (struct pc_row){.seq = seq, .pos = pos, .token = g->ids.v[g->ids.n - 1], .want_logits = true};
    for (size_t i = 0; i < a->n; i++)
        rows[1 + i] = (struct pc_row){
            .seq = seq, .pos = pos + 1 + (int32_t)i, .token = a->guesses[i], .want_logits = true};
    double start = o->speculator ? pc_cpu_seconds() : 0;
    int rc = pc_engine_step(engine, rows, 1 + a->n, err);
    if (rc == 0 && o->speculator)
        pc_speculator_measured(o->speculator, 1 + a->n, pc_cpu_seconds() - start);
    g->n_drafted += rc == 0 ? (int32_t)a->n : 0;
    return rc;
}

/* Choose and take tokens for as long as they are what was guessed: their rows are computed. Returns 1 when
 * the answer ends, 0 when the next row is wanted. */
static int choose(struct pc_engine *engine, struct pc_seq *seq, struct pc_sampler *sampler, size_t i_row,
    struct ahead *a, struct outlet *out, struct pc_generation *g, struct paco_error *err)
{
    for (;;) {
        int32_t id;
        pc_alloc_forbid(true);
        int rc = pc_sampler_next(sampler, pc_engine_logits(engine, i_row + a->n_right), &id, err);
        pc_alloc_forbid(false);
        if (rc < 0)
            return rc;
        pc_sampler_accept(sampler, id);
        if (out->o->speculator)
            pc_speculator_add(out->o->speculator, id);
        bool guessed = a->n_right < a->n && a->guesses[a->n_right] == id;
        g->n_accepted += guessed;
        rc = take(out, g, id, err);
        if (rc != 0)
            return rc;
        g->stop = PC_STOP_LENGTH;
        if (g->ids.n >= (size_t)out->o->max_tokens ||
            g->n_prompt + (int32_t)g->ids.n - 1 >= pc_seq_capacity(seq))
            return 1;
        if (!guessed)
            return 0;
        a->n_right++;
    }
}

static int decode(struct pc_engine *engine, struct pc_seq *seq, struct pc_sampler *sampler, size_t i_row,
    struct outlet *out, struct pc_generation *g, struct paco_error *err)
{
    struct ahead a = {.n = 0};
    for (;;) {
        int rc = choose(engine, seq, sampler, i_row, &a, out, g, err);
        if (rc != 0)
            return rc < 0 ? rc : 0;
        struct pc_progress_event event = {.phase = "writing", .done = g->ids.n, .unit = "tokens"};
        if (pc_progress(out->o->progress, &event)) {
            g->stop = PC_STOP_CANCELLED;
            return 0;
        }
        rc = step(engine, seq, out->o, g, &a, err);
        if (rc < 0)
            return rc;
        i_row = 0;
    }
}

/* The sequence ends before the last token chosen, whatever was guessed behind it. */
static void settle(struct pc_seq *seq, struct pc_generation *g)
{
    int32_t n = g->n_prompt + (g->ids.n ? (int32_t)g->ids.n - 1 : 0);
    if (pc_seq_length(seq) > n)
        pc_seq_truncate(seq, n);
    g->n_decoded = g->ids.n ? (int32_t)g->ids.n - 1 : 0;
}

/* Everything between the tokens and the text, with its buffers. */
static int answer(struct pc_engine *engine, const struct pc_tokenizer *tok, struct pc_seq *seq,
    struct pc_sampler *sampler, size_t i_row, const struct pc_generate_options *o, struct pc_generation *g,
    struct paco_error *err)
{
    struct outlet out = {.o = o, .text = &g->text};
    pc_buf_init(&out.held, MAX_HELD);
    pc_decoder_init(&out.decoder, tok, true);
    int rc = decode(engine, seq, sampler, i_row, &out, g, err);
    settle(seq, g);
    if (rc == 0 && g->stop != PC_STOP_TEXT && !out.closed) {
        if (tok && g->stop != PC_STOP_CANCELLED) // half a letter has its other half to come
            rc = pc_decoder_flush(&out.decoder, &out.held, err);
        if (rc == 0)
            release(&out, true, &g->stop);
    }
    if (rc == 0)
        rc = pc_buf_check(&out.held, "an answer's text", err);
    if (rc == 0)
        rc = pc_buf_check(&g->text, "an answer's text", err);
    pc_buf_release(&out.held);
    return rc;
}

int pc_generate(struct pc_engine *engine, const struct pc_tokenizer *tok, struct pc_seq *seq,
    const int32_t *prompt, size_t n_prompt, struct pc_sampler *sampler,
    const struct pc_generate_options *options, struct pc_generation *out, struct paco_error *err)
{
    if (n_prompt == 0)
        return pc_error_set(err, PACO_EINVAL, "the prompt has no tokens");
    if (n_prompt > (size_t)pc_seq_capacity(seq))
        return pc_error_set(err, PACO_ELIMIT, "the prompt has %zu tokens, the context holds %d", n_prompt,
            pc_seq_capacity(seq));
    for (size_t i = 0; i < n_prompt; i++)
        pc_sampler_accept_prompt(sampler, prompt[i]);
    out->n_prompt = (int32_t)n_prompt;
    int32_t cached = pc_seq_length(seq) < out->n_prompt ? pc_seq_length(seq) : out->n_prompt - 1;
    out->n_computed = out->n_prompt - cached;

    size_t i_row = 0;
    double start = pc_seconds();
    int rc = pc_prefill(engine, seq, prompt, n_prompt, options->progress, &i_row, err);
    out->prefill_seconds = pc_seconds() - start;
    out->stop = rc > 0 ? PC_STOP_CANCELLED : PC_STOP_LENGTH;
    if (rc != 0 || options->max_tokens <= 0)
        return rc < 0 ? rc : 0;
    if (options->speculator)
        pc_speculator_begin(options->speculator, prompt, n_prompt);
    start = pc_seconds();
    rc = answer(engine, tok, seq, sampler, i_row, options, out, err);
    out->decode_seconds = pc_seconds() - start;
    return rc;
}
