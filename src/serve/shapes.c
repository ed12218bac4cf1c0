// SPDX-License-Identifier: Apache-2.0
#include "serve/shapes_parts.h"

#include "base/json.h"
#include "serve/server_parts.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

const char *pc_shape_prompt(const struct pc_part *p, size_t *len)
{
    const struct pc_call_prompt *prompt = &p->turn->call.prompts[p->index];
    *len = prompt->len;
    return prompt->text ? prompt->text : "";
}

void pc_shape_text(struct pc_buf *b, const char *s, size_t len)
{
    pc_json_write_string(b, s ? s : "", len, false);
}

/* Two texts as one string: the second is written behind the first, then the quotes between them go. */
static void put_both(struct pc_buf *b, const char *first, size_t n_first, const char *second, size_t n_second)
{
    pc_shape_text(b, first, n_first);
    size_t end = b->len;
    pc_shape_text(b, second, n_second);
    if (b->failed)
        return;
    memmove(b->data + end - 1, b->data + end + 1, b->len - end - 1);
    b->len -= 2;
}

size_t pc_shape_count(const char *s, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)s[i] & 0xc0) != 0x80;
    return n;
}

/* ---- what surrounds them ---- */

static bool is_chat(const struct pc_turn *t)
{
    return t->call.kind == PC_CALL_CHAT;
}

static void put_head(struct pc_buf *b, const struct pc_turn *t)
{
    const char *object = !is_chat(t)      ? "text_completion"
                         : t->call.stream ? "chat.completion.chunk"
                                          : "chat.completion";
    pc_buf_printf(b, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", t->id, object,
        (long long)t->created);
    pc_shape_text(b, t->call.model->name, strlen(t->call.model->name));
    pc_buf_printf(
        b, ",\"system_fingerprint\":\"fp_%010llx\",\"choices\":[", (unsigned long long)t->fingerprint);
}

static size_t index_of(const struct pc_part *p, int32_t i_sample)
{
    return p->index * (size_t)p->turn->call.n + (size_t)i_sample;
}

static void put_usage(struct pc_buf *b, const struct pc_turn *t)
{
    const struct pc_turn_tokens n = pc_turn_tokens(t);
    pc_buf_printf(b,
        "{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu,"
        "\"prompt_tokens_details\":{\"cached_tokens\":%zu}}",
        n.prompt, n.answer, n.prompt + n.answer, n.cached);
}

static const char *reason(const struct pc_sample *s)
{
    return s->stopped || s->stop != PC_STOP_LENGTH ? "stop" : "length";
}

/* ---- whole answers ---- */

static void put_choice(struct pc_buf *b, const struct pc_turn *t, const struct pc_part *p, int32_t i)
{
    const struct pc_sample *s = &p->samples[i];
    const struct pc_tokenizer *tok = t->call.model->tok;
    size_t n_prompt = 0, n_notes = 0;
    const char *prompt = t->call.echo ? pc_shape_prompt(p, &n_prompt) : "";
    while (n_notes < s->notes.n && s->notes.v[n_notes].end <= s->n_out)
        n_notes++;
    pc_buf_printf(b, "{\"index\":%zu,", index_of(p, i));
    pc_buf_puts(b, is_chat(t) ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
    put_both(b, prompt, n_prompt, s->text.data, s->n_out);
    pc_buf_puts(b, is_chat(t) ? ",\"refusal\":null},\"logprobs\":" : ",\"logprobs\":");
    const struct pc_note_run runs[] = {{&p->echoed, 0, p->echoed.n, prompt, 0, 0},
        {&s->notes, 0, n_notes, s->text.data, 0, pc_shape_count(prompt, n_prompt)}};
    if (t->call.n_logprobs < 0)
        pc_buf_puts(b, "null");
    else if (is_chat(t))
        pc_shape_chat_notes(b, tok, &s->notes, 0, n_notes);
    else
        pc_shape_text_notes(b, tok, runs, 2);
    pc_buf_printf(b, ",\"finish_reason\":\"%s\"}", reason(s));
}

void pc_shape_whole(struct pc_buf *b, const struct pc_turn *t)
{
    put_head(b, t);
    for (size_t i = 0; i < t->call.n_prompts; i++)
        for (int32_t k = 0; k < t->call.n; k++) {
            if (i || k)
                pc_buf_putc(b, ',');
            put_choice(b, t, &t->parts[i], k);
        }
    pc_buf_puts(b, "],\"usage\":");
    put_usage(b, t);
    pc_buf_putc(b, '}');
}

/* ---- embeddings ---- */

static double length_of(const float *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    return sum > 0 ? sqrt(sum) : 1;
}

static void put_base64(struct pc_buf *b, const unsigned char *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16;
        three |= i + 1 < n ? (uint32_t)bytes[i + 1] << 8 : 0;
        three |= i + 2 < n ? bytes[i + 2] : 0;
        char four[] = {digits[three >> 18], digits[three >> 12 & 63],
            i + 1 < n ? digits[three >> 6 & 63] : '=', i + 2 < n ? digits[three & 63] : '='};
        pc_buf_add(b, four, sizeof four);
    }
}

static void put_vector(struct pc_buf *b, const struct pc_part *p, size_t n)
{
    double length = length_of(p->vector, n);
    if (p->turn->call.base64) { /* floats, little-endian */
        pc_buf_putc(b, '"');
        for (size_t i = 0; i < n; i++)
            p->vector[i] = (float)((double)p->vector[i] / length);
        put_base64(b, (const unsigned char *)p->vector, n * sizeof *p->vector);
        pc_buf_putc(b, '"');
        return;
    }
    pc_buf_putc(b, '[');
    for (size_t i = 0; i < n; i++)
        pc_buf_printf(b, i ? ",%.9g" : "%.9g", (double)p->vector[i] / length);
    pc_buf_putc(b, ']');
}

void pc_shape_embeddings(struct pc_buf *b, const struct pc_turn *t)
{
    pc_buf_puts(b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < t->call.n_prompts; i++) {
        pc_buf_printf(b, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
        put_vector(b, &t->parts[i], t->offer->desk->n_wide);
        pc_buf_putc(b, '}');
    }
    pc_buf_puts(b, "],\"model\":");
    pc_shape_text(b, t->call.model->name, strlen(t->call.model->name));
    size_t n = 0;
    for (size_t i = 0; i < t->call.n_prompts; i++)
        n += t->call.prompts[i].ids.n;
    pc_buf_printf(b, ",\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}}", n, n);
}

/* ---- streams ---- */

static void begin_event(struct pc_buf *b, const struct pc_turn *t)
{
    pc_buf_puts(b, "data: ");
    put_head(b, t);
}

static void end_event(struct pc_buf *b, const struct pc_turn *t)
{
    pc_buf_puts(b, t->call.include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
}

void pc_shape_begin(struct pc_buf *b, const struct pc_turn *t, const struct pc_part *p, int32_t i)
{
    size_t n = 0;
    const char *prompt = pc_shape_prompt(p, &n);
    if (is_chat(t)) {
        begin_event(b, t);
        pc_buf_printf(b,
            "{\"index\":%zu,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
            "\"finish_reason\":null}",
            index_of(p, i));
        end_event(b, t);
    } else if (t->call.echo) {
        begin_event(b, t);
        pc_buf_printf(b, "{\"index\":%zu,\"text\":", index_of(p, i));
        pc_shape_text(b, prompt, n);
        pc_buf_puts(b, ",\"logprobs\":");
        const struct pc_note_run run = {&p->echoed, 0, p->echoed.n, prompt, 0, 0};
        if (t->call.n_logprobs < 0)
            pc_buf_puts(b, "null");
        else
            pc_shape_text_notes(b, t->call.model->tok, &run, 1);
        pc_buf_puts(b, ",\"finish_reason\":null}");
        end_event(b, t);
    }
}

void pc_shape_piece(struct pc_buf *b, const struct pc_turn *t, const struct pc_part *p, int32_t i,
    const char *text, size_t len, size_t n_notes)
{
    const struct pc_sample *s = &p->samples[i];
    const struct pc_tokenizer *tok = t->call.model->tok;
    begin_event(b, t);
    pc_buf_printf(b, "{\"index\":%zu,", index_of(p, i));
    pc_buf_puts(b, is_chat(t) ? "\"delta\":{\"content\":" : "\"text\":");
    pc_shape_text(b, text, len);
    pc_buf_puts(b, is_chat(t) ? "},\"logprobs\":" : ",\"logprobs\":");
    size_t at = s->n_notes_out ? s->notes.v[s->n_notes_out - 1].end : 0;
    const struct pc_note_run run = {&s->notes, s->n_notes_out, n_notes, s->text.data, at, s->offset_out};
    if (t->call.n_logprobs < 0)
        pc_buf_puts(b, "null");
    else if (is_chat(t))
        pc_shape_chat_notes(b, tok, &s->notes, s->n_notes_out, n_notes);
    else
        pc_shape_text_notes(b, tok, &run, 1);
    pc_buf_puts(b, ",\"finish_reason\":null}");
    end_event(b, t);
}

void pc_shape_end(struct pc_buf *b, const struct pc_turn *t, const struct pc_part *p, int32_t i)
{
    begin_event(b, t);
    pc_buf_printf(b, "{\"index\":%zu,%s,\"logprobs\":null,\"finish_reason\":\"%s\"}", index_of(p, i),
        is_chat(t) ? "\"delta\":{}" : "\"text\":\"\"", reason(&p->samples[i]));
    end_event(b, t);
}

void pc_shape_usage(struct pc_buf *b, const struct pc_turn *t)
{
    begin_event(b, t);
    pc_buf_puts(b, "],\"usage\":");
    put_usage(b, t);
    pc_buf_puts(b, "}\n\n");
}

void pc_shape_done(struct pc_buf *b)
{
    pc_buf_puts(b, "data: [DONE]\n\n");
}

void pc_shape_fault(struct pc_buf *b, const struct pc_fault *fault)
{
    pc_buf_puts(b, "data: ");
    pc_fault_write(b, fault);
    pc_buf_puts(b, "\n\n");
}
