// SPDX-License-Identifier: Apache-2.0
/* Tokens to text to bytes. Text is let out as soon as nothing in it can become part of a stop, as generate
 * does; a note on a token goes out with the last byte of it. */
#include "serve/turn.h"

#include "base/host.h"
#include "base/map.h"
#include "base/memory.h"
#include "engine/stops.h"
#include "paco/paco.h"
#include "serve/server_parts.h"
#include "serve/shapes.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    MAX_TEXT = 1 << 26,    /* of a sample */
    MAX_OUT = 1 << 29,     /* of a whole answer */
    STREAM_ROOM = 1 << 18, /* bytes a stream's client may be behind before its answer pauses */
};

/* ---- making one ---- */

static void name_turn(struct pc_turn *t)
{
    static const char *const prefixes[] = {"chatcmpl-", "cmpl-", "embd-"};
    unsigned char random[12] = {0};
    if (getrandom(random, sizeof random, 0) < 0)
        memcpy(random, &t->arrived, sizeof t->arrived);
    strcpy(t->id, prefixes[t->call.kind]);
    for (size_t i = 0, at = strlen(t->id); i < sizeof random; i++, at += 2) {
        static const char digits[] = "0123456789abcdef";
        t->id[at] = digits[random[i] >> 4];
        t->id[at + 1] = digits[random[i] & 15];
        t->id[at + 2] = '\0';
    }
}

static int make_part(struct pc_turn *t, size_t i, struct paco_error *err)
{
    struct pc_part *p = &t->parts[i];
    size_t n = (size_t)t->call.n;
    *p = (struct pc_part){.turn = t, .index = i, .n_left = t->call.n};
    p->samples = pc_alloc_zero(n, sizeof *p->samples);
    if (!p->samples)
        return pc_error_mem(err, n * sizeof *p->samples, "answers");
    for (size_t k = 0; k < n; k++) {
        struct pc_sample *s = &p->samples[k];
        pc_buf_init(&s->text, MAX_TEXT);
        pc_decoder_init(&s->decoder, t->call.model->tok, true);
        s->decoder.started = t->call.kind == PC_CALL_TEXT; /* it goes on from the prompt */
        s->notes.n_top = t->call.n_logprobs > 0 ? t->call.n_logprobs : 0;
    }
    p->echoed.n_top = t->call.n_logprobs > 0 ? t->call.n_logprobs : 0;
    return 0;
}

struct pc_turn_tokens pc_turn_tokens(const struct pc_turn *t)
{
    struct pc_turn_tokens n = {0, 0, 0};
    for (size_t i = 0; i < t->call.n_prompts; i++) {
        n.prompt += t->call.prompts[i].ids.n;
        n.cached += t->parts[i].n_cached;
        for (int32_t k = 0; k < t->call.n; k++)
            n.answer += t->parts[i].samples[k].n_tokens;
    }
    return n;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = pc_hash_u64((unsigned char)*text + hash, hash);
    return hash;
}

/* OpenAI's word for what answers may depend on beside their request: a client that gave a seed compares them.
 * The program, its arithmetic, and the files of the base and of the fine-tune, in the form it has in memory.
 */
static uint64_t fingerprint(const struct pc_offer *o, const struct pc_served *m)
{
    uint64_t hash = mix_text(mix_text(0, paco_version()), o->desk->arithmetic);
    const uint64_t facts[] = {o->house.models[0].stamp, m->stamp, m->size};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        hash = pc_hash_u64(facts[i] + hash, hash);
    return hash >> 24;
}

int pc_turn_new(struct pc_server *server, struct pc_offer *offer, struct pc_call *call, struct pc_turn **out,
    struct paco_error *err)
{
    struct pc_turn *t = pc_alloc_zero(1, sizeof *t);
    if (!t)
        return pc_error_mem(err, sizeof *t, "a request");
    t->server = server;
    t->offer = pc_offer_share(offer);
    t->call = *call;
    *call = (struct pc_call){0};
    t->arrived = t->last_out = pc_seconds();
    t->deadline = t->arrived + server->o.request_seconds;
    t->created = (int64_t)time(NULL);
    t->fingerprint = fingerprint(offer, t->call.model);
    t->n_left = t->call.n_prompts;
    t->has_client = true;
    t->status = 200;
    pc_buf_init(&t->out, MAX_OUT);
    name_turn(t);
    t->parts = pc_alloc_zero(t->call.n_prompts, sizeof *t->parts);
    int rc = t->parts ? 0 : pc_error_mem(err, t->call.n_prompts * sizeof *t->parts, "prompts");
    for (size_t i = 0; i < t->call.n_prompts && rc == 0; i++)
        rc = make_part(t, i, err);
    if (rc < 0) {
        pc_turn_free(t);
        return rc;
    }
    *out = t;
    return 0;
}

void pc_turn_free(struct pc_turn *t)
{
    if (!t)
        return;
    for (size_t i = 0; t->parts && i < t->call.n_prompts; i++) {
        struct pc_part *p = &t->parts[i];
        for (int32_t k = 0; p->samples && k < t->call.n; k++) {
            pc_buf_release(&p->samples[k].text);
            pc_notebook_release(&p->samples[k].notes);
        }
        pc_free(p->samples);
        pc_notebook_release(&p->echoed);
        pc_free(p->vector);
    }
    pc_free(t->parts);
    pc_buf_release(&t->out);
    pc_call_release(&t->call);
    pc_offer_drop(t->offer);
    pc_free(t);
}

/* ---- bytes ---- */

/* With the lock held. */
static void put_out(struct pc_turn *t, const char *bytes, size_t len)
{
    if (t->lost)
        return;
    if (t->n_taken == t->out.len) {
        pc_buf_clear(&t->out);
        t->n_taken = 0;
    } else if (t->n_taken > STREAM_ROOM && t->n_taken > t->out.len / 2) {
        memmove(t->out.data, t->out.data + t->n_taken, t->out.len - t->n_taken);
        t->out.len -= t->n_taken;
        t->n_taken = 0;
    }
    pc_buf_add(&t->out, bytes, len);
    t->lost = t->out.failed;
    t->last_out = pc_seconds();
}

void pc_turn_emit(struct pc_turn *t, const char *bytes, size_t len)
{
    struct pc_server *s = t->server;
    pthread_mutex_lock(&s->lock);
    if (t->has_client) {
        put_out(t, bytes, len);
        if (!t->woken || t->lost)
            t->wake(t->client);
        else if (t->held_since == 0)
            t->held_since = t->last_out;
        t->woken = true;
    }
    bool lost = t->lost;
    pthread_mutex_unlock(&s->lock);
    if (lost)
        pc_fault_set(&t->fault, 503, NULL, NULL, "out of memory");
}

void pc_turn_finish(struct pc_turn *t, int status, const char *bytes, size_t len)
{
    if (t->has_client)
        put_out(t, bytes, len);
    t->status = status;
    t->over = true;
    if (t->has_client)
        t->wake(t->client);
}

static void begin_chunk(struct pc_server *s)
{
    pc_buf_clear(&s->chunk);
}

static void send_chunk(struct pc_turn *t)
{
    struct pc_server *s = t->server;
    if (s->chunk.failed)
        pc_fault_set(&t->fault, 503, NULL, NULL, "out of memory");
    else if (s->chunk.len > 0)
        pc_turn_emit(t, s->chunk.data, s->chunk.len);
}

/* ---- text ---- */

static void fail(struct pc_turn *t, const struct paco_error *err)
{
    pc_fault_of(&t->fault, NULL, err);
}

/* Note that a token came where logits were. */
static void note(struct pc_turn *t, struct pc_notebook *book, const float *logits, int32_t id, size_t end)
{
    struct pc_server *s = t->server;
    struct paco_error err = {0};
    size_t n_vocab = (size_t)t->call.model->n_vocab;
    if (pc_notebook_add(book, &s->softmax, t->offer->room, logits, n_vocab, id, &err) < 0)
        fail(t, &err);
    else
        book->v[book->n - 1].end = end;
}

/* Let out what can be, with all the rest too; and in a stream send it. */
static void let_out(struct pc_part *p, int32_t i_sample, bool all)
{
    struct pc_turn *t = p->turn;
    struct pc_sample *s = &p->samples[i_sample];
    size_t left = s->text.len - s->n_out;
    const char *text = s->text.data ? s->text.data + s->n_out : "";
    size_t n = left;
    if (left > 0 && t->call.n_stops > 0 && !s->stopped) {
        n = pc_stops_scan(text, left, (const char *const *)t->call.stops, t->call.n_stops, &s->stopped);
        n = all && !s->stopped ? left : n;
    }
    s->n_out += n;
    if (s->stopped) { /* what follows was never said */
        s->text.len = s->n_out;
        s->text.data[s->n_out] = '\0';
    }
    if (!t->call.stream)
        return;
    size_t n_notes = s->n_notes_out;
    while (n_notes < s->notes.n && s->notes.v[n_notes].end <= s->n_out)
        n_notes++;
    begin_chunk(t->server);
    if (!s->began) {
        size_t len;
        const char *prompt = pc_shape_prompt(p, &len);
        pc_shape_begin(&t->server->chunk, t, p, i_sample);
        s->offset_out = t->call.echo ? pc_shape_count(prompt, len) : 0;
        s->began = true;
    }
    if (n > 0 || n_notes > s->n_notes_out)
        pc_shape_piece(&t->server->chunk, t, p, i_sample, text, n, n_notes);
    s->n_notes_out = n_notes;
    s->offset_out += pc_shape_count(text, n);
    send_chunk(t);
}

static void on_hidden(void *ctx, int32_t pos, const float *hidden)
{
    (void)pos;
    struct pc_part *p = ctx;
    for (size_t i = 0; i < p->turn->offer->desk->n_wide; i++)
        p->vector[i] += hidden[i];
    p->n_shown++;
}

/* Where each of the prompt's tokens ends in its text, once all of them are noted. */
static void place_echo(struct pc_part *p)
{
    const struct pc_tokenizer *tok = p->turn->call.model->tok;
    struct pc_decoder decoder;
    struct pc_buf shown;
    struct paco_error err = {0};
    size_t len, n_piece;
    pc_shape_prompt(p, &len);
    pc_decoder_init(&decoder, tok, true);
    pc_buf_init(&shown, MAX_TEXT);
    for (size_t i = 0; i < p->echoed.n && !p->placed; i++) {
        int32_t id = p->echoed.v[i].id;
        if (pc_tokenizer_piece(tok, id, &n_piece) && pc_decoder_push(&decoder, id, &shown, &err) < 0)
            break;
        p->echoed.v[i].end = shown.len < len ? shown.len : len;
    }
    p->placed = true;
    pc_buf_release(&shown);
}

static int take_token(struct pc_part *p, int32_t i_sample, int32_t id)
{
    struct pc_turn *t = p->turn;
    struct pc_sample *s = &p->samples[i_sample];
    struct paco_error err = {0};
    size_t len;
    if (t->first_token == 0)
        t->first_token = pc_seconds();
    s->n_tokens++;
    place_echo(p);
    /* A row of the model that its tokenizer does not know has no text. */
    if (pc_tokenizer_piece(t->call.model->tok, id, &len) &&
        pc_decoder_push(&s->decoder, id, &s->text, &err) < 0)
        fail(t, &err);
    if (t->call.n_logprobs >= 0)
        note(t, &s->notes, s->logits, id, s->text.len);
    let_out(p, i_sample, false);
    return s->stopped || t->fault.status != 0;
}

/* ---- callbacks ---- */

static int on_token(void *ctx, int32_t i_sample, const int32_t *ids, size_t n)
{
    return take_token(ctx, i_sample, ids[n - 1]);
}

static void on_logits(void *ctx, int32_t i_sample, int32_t pos, const float *logits)
{
    struct pc_part *p = ctx;
    struct pc_turn *t = p->turn;
    const struct pc_ids *ids = &t->call.prompts[p->index].ids;
    if (i_sample >= 0)
        p->samples[i_sample].logits = logits;
    else if ((size_t)pos + 1 < ids->n)
        note(t, &p->echoed, logits, ids->v[pos + 1], 0);
}

static void end_stream(struct pc_turn *t)
{
    struct pc_buf *b = &t->server->chunk;
    if (t->fault.status)
        pc_shape_fault(b, &t->fault);
    else if (t->call.include_usage)
        pc_shape_usage(b, t);
    pc_shape_done(b);
}

/* The last word of a turn. */
static void end_turn(struct pc_turn *t)
{
    struct pc_server *s = t->server;
    int status = t->fault.status && !t->call.stream ? t->fault.status : 200;
    begin_chunk(s);
    if (t->call.stream)
        end_stream(t);
    else if (t->fault.status)
        pc_fault_write(&s->chunk, &t->fault);
    else if (t->call.kind == PC_CALL_EMBEDDING)
        pc_shape_embeddings(&s->chunk, t);
    else
        pc_shape_whole(&s->chunk, t);
    if (s->chunk.failed) {
        struct pc_fault fault = {0};
        pc_fault_set(&fault, 503, NULL, NULL, "out of memory");
        status = t->call.stream ? 200 : 503;
        begin_chunk(s);
        pc_fault_write(&s->chunk, &fault);
    }
    pthread_mutex_lock(&s->lock);
    pc_turn_finish(t, status, s->chunk.data, s->chunk.len);
    pthread_mutex_unlock(&s->lock);
    if (s->chunk.capacity > STREAM_ROOM)
        pc_buf_release(&s->chunk);
}

void pc_turn_fail(struct pc_turn *t, const struct pc_fault *fault)
{
    if (fault && !t->fault.status)
        t->fault = *fault;
    end_turn(t);
}

static void end_sample(struct pc_part *p, int32_t i_sample, int32_t eos)
{
    struct pc_turn *t = p->turn;
    struct pc_sample *s = &p->samples[i_sample];
    struct paco_error err = {0};
    if (!s->stopped && pc_decoder_flush(&s->decoder, &s->text, &err) < 0)
        fail(t, &err);
    if (eos >= 0 && t->call.n_logprobs >= 0) /* it has no text, but was as likely as it was */
        note(t, &s->notes, s->logits, eos, s->text.len);
    let_out(p, i_sample, true);
    if (!t->call.stream)
        return;
    begin_chunk(t->server);
    pc_shape_end(&t->server->chunk, t, p, i_sample);
    send_chunk(t);
}

static void on_done(void *ctx, int32_t i_sample, const struct pc_answer *answer)
{
    struct pc_part *p = ctx;
    struct pc_turn *t = p->turn;
    struct pc_sample *s = &p->samples[i_sample];
    if (answer->error)
        fail(t, answer->error);
    s->stop = answer->stop;
    if (answer->n_chosen > s->n_tokens) // one that was stopped from outside has what was taken until then
        s->n_tokens = answer->n_chosen;
    p->n_cached = answer->n_known;
    place_echo(p);
    if (!t->fault.status && answer->stop != PC_STOP_CANCELLED)
        end_sample(p, i_sample, answer->eos);
    if (--p->n_left > 0)
        return;
    p->handle = 0;
    pthread_mutex_lock(&t->server->lock);
    pc_queue_prompt_done(&t->queued);
    pthread_mutex_unlock(&t->server->lock);
    if (--t->n_left == 0)
        end_turn(t);
}

/* ---- submitting ---- */

static int start_echo(struct pc_part *p, struct paco_error *err)
{
    struct pc_call *c = &p->turn->call;
    struct pc_call_prompt *prompt = &c->prompts[p->index];
    if (!prompt->text) {
        struct pc_buf text;
        pc_buf_init(&text, MAX_TEXT);
        int rc = pc_tokenizer_decode(c->model->tok, prompt->ids.v, prompt->ids.n, true, &text, err);
        prompt->len = text.len;
        prompt->text = rc == 0 && text.len > 0 ? pc_buf_detach(&text) : NULL;
        pc_buf_release(&text);
        if (rc < 0)
            return rc;
    }
    if (c->n_logprobs >= 0)
        note(p->turn, &p->echoed, NULL, prompt->ids.v[0], 0);
    return 0;
}

int pc_turn_submit_next(struct pc_turn *t, struct paco_error *err)
{
    const struct pc_offer *offer = t->offer;
    const struct pc_call *c = &t->call;
    struct pc_part *p = &t->parts[t->n_submitted];
    const struct pc_ids *ids = &c->prompts[p->index].ids;
    bool chat = c->kind == PC_CALL_CHAT, notes = c->n_logprobs >= 0;
    bool embeds = c->kind == PC_CALL_EMBEDDING;
    t->n_submitted++;
    if (embeds)
        p->vector = pc_alloc_zero(offer->desk->n_wide, sizeof *p->vector);
    if (embeds && !p->vector)
        return pc_error_mem(err, offer->desk->n_wide * sizeof *p->vector, "an embedding");
    int rc = c->echo ? start_echo(p, err) : 0;
    if (rc < 0)
        return rc;
    struct pc_request r = {.prompt = ids->v,
        .n_prompt = ids->n,
        .variant = c->model->variant,
        .max_tokens = pc_call_tokens(c, &offer->limits, p->index),
        .n_samples = c->n,
        .sampler = c->sampler,
        .eos_ids = c->model->eos,
        .n_eos = c->ignore_eos ? 0
                 : chat        ? c->model->n_eos
                               : c->model->n_own_eos,
        .ctx = p,
        .is_over = on_token,
        .on_logits = notes ? on_logits : NULL,
        .n_logits = notes && c->echo ? ids->n : 0,
        .answer_logits = notes,
        .on_hidden = embeds ? on_hidden : NULL,
        .n_hidden = embeds ? ids->n : 0,
        .on_done = on_done};
    if (r.max_tokens == 0)
        r.n_samples = p->n_left = 1;
    return pc_scheduler_submit(offer->desk->scheduler, &r, &p->handle, err);
}
