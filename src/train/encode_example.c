// SPDX-License-Identifier: Apache-2.0
#include "train/encode_example.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { MAX_TEXT = 1 << 28 };
#define ASSISTANT "<|assistant|>\n"

static bool span_is(struct pc_span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.text, text, s.len) == 0;
}

/* ---- rules ---- */

static struct pc_span piece_of(const struct pc_tokenizer *tok, int32_t id)
{
    struct pc_span s = {NULL, 0};
    s.text = id >= 0 ? pc_tokenizer_piece(tok, id, &s.len) : NULL;
    return s;
}

static int encode_plain(
    const struct pc_tokenizer *tok, struct pc_span text, struct pc_ids *out, struct paco_error *err)
{
    return pc_tokenizer_encode(tok, text.text, text.len, PC_ENCODE_PARSE, out, err);
}

/* Whether the tokenizer itself cuts at its EOS, and goes on behind it as at a text's start: tried out. */
static int cuts_at_eos(struct pc_encode_rules *r, bool *cuts, struct paco_error *err)
{
    struct pc_specials eos = {0};
    struct pc_ids whole = {0}, parts = {0};
    struct pc_buf b;
    pc_specials_add(&eos, r->eos, r->eos_id, false);
    pc_buf_init(&b, 1 << 20);
    pc_buf_puts(&b, "a b \n");
    pc_buf_add(&b, r->eos.text, r->eos.len);
    pc_buf_puts(&b, "\n c");
    pc_buf_add(&b, r->eos.text, r->eos.len);
    pc_buf_puts(&b, "d ");
    int rc = pc_buf_check(&b, "a text", err);
    const struct pc_span text = {b.data, b.len};
    if (rc == 0)
        rc = encode_plain(r->tok, text, &whole, err);
    if (rc == 0)
        rc = pc_encode_cut(r->tok, &eos, text, false, &parts, NULL, err);
    *cuts = rc == 0 && whole.n == parts.n && memcmp(whole.v, parts.v, whole.n * sizeof *whole.v) == 0;
    pc_ids_release(&whole);
    pc_ids_release(&parts);
    pc_buf_release(&b);
    return rc;
}

/* Whether the tokenizer takes the text of its EOS for the token. */
static int knows_eos(const struct pc_encode_rules *r, bool *known, struct paco_error *err)
{
    struct pc_ids ids = {0};
    int rc = encode_plain(r->tok, r->eos, &ids, err);
    *known = rc == 0 && ids.n == 1 && ids.v[0] == r->eos_id;
    pc_ids_release(&ids);
    return rc;
}

static int choose_specials(struct pc_encode_rules *r, bool gets_pad, struct paco_error *err)
{
    bool yes;
    int rc = 0;
    if (pc_tokenizer_marks_spaces(r->tok) && r->encoding != PC_ENCODING_STANFORD) {
        pc_specials_of(&r->specials, r->tok, true);
        r->restarts = true;
    } else if (pc_tokenizer_marks_spaces(r->tok)) {
        // The tokenizer's own tokens, which need no stripping, and the new one, which is a plain string.
        rc = knows_eos(r, &yes, err);
        if (rc == 0 && !yes)
            pc_specials_of(&r->specials, r->tok, false);
    } else {
        rc = cuts_at_eos(r, &yes, err);
        if (rc == 0 && yes)
            pc_specials_add(&r->specials, r->eos, r->eos_id, false);
        r->restarts = rc == 0 && yes;
    }
    if (gets_pad && pc_tokenizer_marks_spaces(r->tok)) {
        const char *pad = pc_encoding_new_pad(r->encoding);
        r->pad_id = pc_tokenizer_n_tokens(r->tok);
        pc_specials_add(&r->specials, (struct pc_span){pad, strlen(pad)}, r->pad_id, true);
    }
    return rc;
}

int pc_encode_rules_init(
    struct pc_encode_rules *r, const struct pc_examples_options *options, struct paco_error *err)
{
    const struct pc_tokenizer *tok = options->tokenizer;
    *r = (struct pc_encode_rules){.tok = tok,
        .encoding = options->encoding,
        .max_length = options->max_seq_length,
        .eos_id = pc_tokenizer_eos(tok),
        .pad_id = pc_tokenizer_pad(tok)};
    assert(r->encoding != PC_ENCODING_AUTO);
    if (r->max_length < 1 || r->max_length > PC_EXAMPLES_MAX_LENGTH)
        return pc_error_set(err, PACO_EINVAL, "max_seq_length is %" PRIu32 ": 1 to %d can be", r->max_length,
            PC_EXAMPLES_MAX_LENGTH);
    r->eos = piece_of(tok, r->eos_id);
    if (!r->eos.text || !r->eos.len)
        return pc_error_set(
            err, PACO_EINVAL, "the tokenizer names no end-of-sequence token to put behind answers");
    int rc = choose_specials(r, options->gets_pad, err);
    if (rc == 0)
        rc = pc_tokenizer_encode(tok, "", 0, PC_ENCODE_SPECIAL, &r->around, err);
    r->n_prefix = r->around.n && r->around.v[0] == pc_tokenizer_bos(tok) ? 1 : 0;
    return rc;
}

void pc_encode_rules_release(struct pc_encode_rules *r)
{
    pc_ids_release(&r->around);
    *r = (struct pc_encode_rules){0};
}

void pc_encoded_release(struct pc_encoded *e)
{
    pc_ids_release(&e->ids);
    pc_ids_release(&e->counted);
    pc_buf_release(&e->text);
    pc_free(e->trained);
    pc_free(e->cuts.v);
    pc_free(e->turns);
    pc_free(e->ends);
    *e = (struct pc_encoded){0};
}

/* ---- ids, and counts of them ---- */

static size_t room(const struct pc_encode_rules *r)
{
    return r->max_length > r->around.n ? r->max_length - r->around.n : 0;
}

/* How many ids a text of n makes, truncated, with those around it. */
static size_t truncated(const struct pc_encode_rules *r, size_t n)
{
    return (n < room(r) ? n : room(r)) + r->around.n;
}

static int add_ids(
    const struct pc_encode_rules *r, size_t first, size_t end, struct pc_ids *out, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = first; i < end && rc == 0; i++)
        rc = pc_ids_add(out, r->around.v[i], err);
    return rc;
}

/* All of the text's ids into out, everything trained for now. */
static int encode_whole(
    const struct pc_encode_rules *r, struct pc_span text, struct pc_encoded *out, struct paco_error *err)
{
    out->ids.n = 0;
    out->flags = 0;
    int rc = add_ids(r, 0, r->n_prefix, &out->ids, err);
    if (rc == 0)
        rc = pc_encode_cut(r->tok, &r->specials, text, false, &out->ids, &out->cuts, err);
    if (rc < 0)
        return rc;
    size_t n_text = out->ids.n - r->n_prefix;
    if (n_text > room(r)) {
        out->ids.n = r->n_prefix + room(r);
        out->flags |= PC_EXAMPLE_TRUNCATED;
    }
    if ((rc = add_ids(r, r->n_prefix, r->around.n, &out->ids, err)) < 0)
        return rc;
    if (out->capacity < out->ids.n) {
        uint8_t *trained = pc_realloc(out->trained, out->ids.capacity, 1);
        if (!trained)
            return pc_error_mem(err, out->ids.capacity, "a mask");
        out->trained = trained;
        out->capacity = out->ids.capacity;
    }
    memset(out->trained, 1, out->ids.n);
    return 0;
}

/* The number of ids that text alone makes, truncated. Where text is the beginning of the one encode_whole saw
 * last (same), what stands before its last special token needs no second look. */
static int count_ids(const struct pc_encode_rules *r, struct pc_span text, bool same, struct pc_encoded *work,
    size_t *n, struct paco_error *err)
{
    struct pc_cut from = {0, 0};
    for (size_t i = 0; same && r->restarts && i < work->cuts.n && work->cuts.v[i].at <= text.len; i++)
        from = work->cuts.v[i];
    const struct pc_span rest = {text.text + from.at, text.len - from.at};
    const bool strips = from.at && pc_tokenizer_marks_spaces(r->tok);
    work->counted.n = 0;
    int rc = pc_encode_cut(r->tok, &r->specials, rest, strips, &work->counted, NULL, err);
    *n = truncated(r, from.n_ids + work->counted.n);
    return rc;
}

static void mask(struct pc_encoded *e, size_t start, size_t end)
{
    if (end > e->ids.n)
        end = e->ids.n;
    if (start < end)
        memset(e->trained + start, 0, end - start);
}

static void finish(const struct pc_encode_rules *r, struct pc_encoded *e)
{
    int32_t last = -1;
    e->n_trained = 0;
    for (size_t i = 1; i < e->ids.n; i++)
        e->n_trained += e->trained[i];
    for (size_t i = 0; i < e->ids.n; i++)
        last = e->trained[i] ? e->ids.v[i] : last;
    if (!e->n_trained)
        e->flags |= PC_EXAMPLE_MASKED;
    else if (last != r->eos_id)
        e->flags |= PC_EXAMPLE_NO_EOS;
}

static bool is_blank(struct pc_span s)
{
    pc_utf8_strip(&s.text, &s.len);
    return s.len == 0;
}

static struct pc_buf *fresh(struct pc_encoded *e)
{
    if (!e->text.max)
        pc_buf_init(&e->text, MAX_TEXT);
    pc_buf_clear(&e->text);
    return &e->text;
}

static void put(struct pc_buf *b, struct pc_span s)
{
    pc_buf_add(b, s.text, s.len);
}

static void put_stripped(struct pc_buf *b, struct pc_span s)
{
    pc_utf8_strip(&s.text, &s.len);
    put(b, s);
}

/* ---- prompt and completion ---- */

static bool is_gap(char c)
{
    return c == ' ' || c == '\n' || c == '\t';
}

int pc_encode_completion(const struct pc_encode_rules *r, struct pc_span prompt, struct pc_span completion,
    struct pc_encoded *out, struct paco_error *err)
{
    struct pc_buf *b = fresh(out);
    put(b, prompt);
    if (!(prompt.len && is_gap(prompt.text[prompt.len - 1])) && !(completion.len && is_gap(*completion.text)))
        pc_buf_putc(b, ' ');
    put(b, completion);
    put(b, r->eos);
    size_t n_prompt = 0;
    int rc = pc_buf_check(b, "an example", err);
    if (rc == 0)
        rc = encode_whole(r, (struct pc_span){b->data, b->len}, out, err);
    if (rc == 0)
        rc = count_ids(r, prompt, false, out, &n_prompt, err);
    if (rc < 0)
        return rc;
    mask(out, 0, n_prompt);
    finish(r, out);
    out->flags |= is_blank(completion) ? PC_EXAMPLE_EMPTY : 0;
    return 0;
}

/* ---- messages ---- */

static bool is_assistant(const struct pc_turn *t)
{
    return span_is(t->role, "assistant");
}

static int render_turn(
    const struct pc_encode_rules *r, const struct pc_turn *t, struct pc_buf *b, struct paco_error *err)
{
    if (!is_assistant(t) && !span_is(t->role, "user") && !span_is(t->role, "system")) {
        char role[64];
        size_t n = t->role.len < sizeof role - 1 ? t->role.len : sizeof role - 1;
        memcpy(role, t->role.text, n);
        role[n] = '\0';
        return pc_error_set(
            err, PACO_EFORMAT, "Invalid role: %s (system, user or assistant are expected)", role);
    }
    pc_buf_puts(b, "<|");
    put(b, t->role);
    pc_buf_puts(b, "|>\n");
    put_stripped(b, t->content);
    if (is_assistant(t))
        put(b, r->eos);
    pc_buf_putc(b, '\n');
    return 0;
}

/* The text of all, and where each ends in it. */
static int render_turns(const struct pc_encode_rules *r, const struct pc_turn *turns, size_t n,
    struct pc_encoded *out, struct paco_error *err)
{
    struct pc_buf *b = fresh(out);
    bool empty = true;
    if (n == 0)
        return pc_error_set(err, PACO_EFORMAT, "messages field is empty.");
    if (n > out->ends_capacity) {
        size_t *ends = pc_realloc(out->ends, n, sizeof *ends);
        if (!ends)
            return pc_error_mem(err, n * sizeof *ends, "a conversation");
        out->ends = ends;
        out->ends_capacity = n;
    }
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = render_turn(r, &turns[i], b, err);
        out->ends[i] = b->len;
    }
    for (size_t i = 0; i < n && empty; i++)
        empty = !is_assistant(&turns[i]) || is_blank(turns[i].content);
    out->flags = empty ? PC_EXAMPLE_EMPTY : 0;
    return rc == 0 ? pc_buf_check(b, "a conversation", err) : rc;
}

/* What comes before an answer is not trained, its tag included. */
static int mask_turns(const struct pc_encode_rules *r, const struct pc_turn *turns, size_t n,
    struct pc_encoded *e, struct paco_error *err)
{
    for (size_t i = 0; i < n; i++) {
        size_t start = 0, end = 0, n_text = e->ends[i];
        if (is_assistant(&turns[i]))
            continue;
        if (i + 1 < n && is_assistant(&turns[i + 1]))
            n_text += sizeof ASSISTANT - 1;
        int rc = 0;
        if (i > 0)
            rc = count_ids(r, (struct pc_span){e->text.data, e->ends[i - 1]}, true, e, &start, err);
        if (rc == 0)
            rc = count_ids(r, (struct pc_span){e->text.data, n_text}, true, e, &end, err);
        if (rc < 0)
            return rc;
        mask(e, start, end);
        if (end >= r->max_length)
            break;
    }
    return 0;
}

int pc_encode_turns(const struct pc_encode_rules *r, const struct pc_turn *turns, size_t n,
    struct pc_encoded *out, struct paco_error *err)
{
    int rc = render_turns(r, turns, n, out, err);
    if (rc < 0)
        return rc;
    struct pc_span text = {out->text.data, out->text.len};
    unsigned flags = out->flags;
    pc_utf8_strip(&text.text, &text.len);
    rc = encode_whole(r, text, out, err);
    if (rc == 0)
        rc = mask_turns(r, turns, n, out, err);
    if (rc < 0)
        return rc;
    finish(r, out);
    out->flags |= flags;
    return 0;
}

/* ---- Stanford's template ---- */

#define TASK "Below is an instruction that describes a task"
#define WRITE "Write a response that appropriately completes the request.\n\n### Instruction:\n"

int pc_encode_stanford(const struct pc_encode_rules *r, struct pc_span instruction, struct pc_span input,
    struct pc_span output, struct pc_encoded *out, struct paco_error *err)
{
    struct pc_buf *b = fresh(out);
    pc_buf_puts(
        b, input.len ? TASK ", paired with an input that provides further context. " WRITE : TASK ". " WRITE);
    put(b, instruction);
    if (input.len) {
        pc_buf_puts(b, "\n\n### Input:\n");
        put(b, input);
    }
    pc_buf_puts(b, "\n\n### Response:");
    size_t n_prompt = b->len, n_masked = 0;
    put(b, output);
    put(b, r->eos);
    int rc = pc_buf_check(b, "an example", err);
    if (rc == 0)
        rc = encode_whole(r, (struct pc_span){b->data, b->len}, out, err);
    if (rc == 0)
        rc = count_ids(r, (struct pc_span){b->data, n_prompt}, false, out, &n_masked, err);
    if (rc < 0)
        return rc;
    // Its length is counted in ids that are not the pad token.
    for (size_t i = 0; i < out->counted.n && i < room(r); i++)
        n_masked -= out->counted.v[i] == r->pad_id;
    for (size_t i = 0; i < r->around.n; i++)
        n_masked -= r->around.v[i] == r->pad_id;
    mask(out, 0, n_masked);
    finish(r, out);
    out->flags |= is_blank(output) ? PC_EXAMPLE_EMPTY : 0;
    return 0;
}
