// SPDX-License-Identifier: Apache-2.0
/* Each family's prompt, byte for byte as its training saw it.
 *
 * tulu    Open-Instruct, June 2023, finetune.py: `<|user|>\nTEXT\n<|assistant|>\nTEXT</s>\n`, every text
 * stripped. The tags are ordinary text. On LLaMA's tokenizer, whose special tokens that script adds again as
 * plain strings, a special token in the text takes the white space on both sides with it, and what lies
 * between is encoded on its own: after `</s>` there is no newline, and the next tag starts with U+2581 again.
 * alpaca  Stanford Alpaca, train.py: one preamble or the other, nothing behind `### Response:`. It knows one
 * turn; further ones follow the end-of-sequence token with the same headings. vicuna  FastChat, v1.1: one
 * line, a space between turns, `</s>` behind answers. chatml  as SmolLM2's template:
 * `<|im_start|>ROLE\nTEXT<|im_end|>\n`, with its own first system message. llama2  Meta: `[INST]
 * <<SYS>>\nSYSTEM\n<</SYS>>\n\nTEXT [/INST] ANSWER </s><s>[INST] ...`, texts stripped. llama3  Meta:
 * `<|start_header_id|>ROLE<|end_header_id|>\n\nTEXT<|eot_id|>`, texts stripped. raw     the texts as they
 * are. */
#include "prompt/format.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "prompt/special_cuts.h"

#include <string.h>

enum { MAX_PROMPT = 256 << 20 };

struct render {
    struct pc_buf *out;
    const char *bos, *eos; /* as text */
    const struct pc_message *messages;
    size_t n, i; /* i: the one at hand */
    struct paco_error *err;
};

static const struct {
    enum pc_format format;
    const char *name;
} names[] = {
    {PC_FORMAT_AUTO, "auto"},
    {PC_FORMAT_RAW, "raw"},
    {PC_FORMAT_TULU, "tulu"},
    {PC_FORMAT_ALPACA, "alpaca"},
    {PC_FORMAT_VICUNA, "vicuna"},
    {PC_FORMAT_CHATML, "chatml"},
    {PC_FORMAT_CHATML_PLAIN, "chatml-plain"},
    {PC_FORMAT_LLAMA2, "llama2"},
    {PC_FORMAT_LLAMA3, "llama3"},
};

const char *pc_format_name(enum pc_format format)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].format == format)
            return names[i].name;
    return "raw";
}

bool pc_format_parse(const char *name, enum pc_format *out)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, name) == 0) {
            *out = names[i].format;
            return true;
        }
    return false;
}

/* ---- helpers ---- */

static bool is_role(const struct render *r, size_t i, const char *role)
{
    return i < r->n && strcmp(r->messages[i].role, role) == 0;
}

static void put(struct render *r, const char *text)
{
    pc_buf_puts(r->out, text);
}

static void put_content(struct render *r, bool strip)
{
    const char *s = r->messages[r->i].content;
    size_t len = strlen(s);
    if (strip)
        pc_utf8_strip(&s, &len);
    pc_buf_add(r->out, s, len);
}

static int bad_role(struct render *r, const char *why)
{
    char shown[64];
    return pc_error_set(r->err, PACO_EINVAL, "message %zu has the role '%s'%s", r->i,
        pc_printable(r->messages[r->i].role, shown, sizeof shown), why);
}

/* The usual three. */
static int check_roles(struct render *r)
{
    for (r->i = 0; r->i < r->n; r->i++)
        if (!is_role(r, r->i, "system") && !is_role(r, r->i, "user") && !is_role(r, r->i, "assistant"))
            return bad_role(r, "; system, user and assistant are known");
    return 0;
}

static bool assistant_is_next(const struct render *r)
{
    return r->n == 0 || !is_role(r, r->n - 1, "assistant");
}

/* A system message is only known at the start; the others are instructions among the turns. */
static int check_turns(struct render *r)
{
    int rc = check_roles(r);
    for (r->i = 1; r->i < r->n && rc == 0; r->i++)
        if (is_role(r, r->i, "system"))
            rc = bad_role(r, ", which this format knows only at the start");
    return rc;
}

/* ---- the formats ---- */

static int render_tulu(struct render *r)
{
    int rc = check_roles(r);
    for (r->i = 0; r->i < r->n && rc == 0; r->i++) {
        put(r, "<|");
        put(r, r->messages[r->i].role);
        put(r, "|>\n");
        put_content(r, true);
        put(r, is_role(r, r->i, "assistant") ? r->eos : "");
        put(r, "\n");
    }
    if (assistant_is_next(r))
        put(r, "<|assistant|>\n");
    return rc;
}

#define ALPACA_TASK "Below is an instruction that describes a task"
#define ALPACA_WRITE "Write a response that appropriately completes the request."

static int render_alpaca(struct render *r)
{
    for (r->i = 0; r->i < r->n; r->i++) {
        bool input = is_role(r, r->i, "input");
        if (input
                ? r->i == 0 || !is_role(r, r->i - 1, "user")
                : !is_role(r, r->i, "user") && !is_role(r, r->i, "assistant") && !is_role(r, r->i, "system"))
            return bad_role(r, input ? ", which comes behind a user's instruction"
                                     : "; system, user, input and assistant are known");
    }
    r->i = 0;
    if (is_role(r, 0, "system"))
        put_content(r, false);
    else if (is_role(r, 1, "input"))
        put(r, ALPACA_TASK ", paired with an input that provides further context. " ALPACA_WRITE);
    else
        put(r, ALPACA_TASK ". " ALPACA_WRITE);
    for (r->i = is_role(r, 0, "system"); r->i < r->n; r->i++) {
        if (is_role(r, r->i, "system"))
            return bad_role(r, ", which this format knows only at the start");
        if (is_role(r, r->i, "assistant")) {
            put_content(r, false);
            put(r, r->eos);
            continue;
        }
        put(r, is_role(r, r->i, "input") ? "\n\n### Input:\n" : "\n\n### Instruction:\n");
        put_content(r, false);
        if (!is_role(r, r->i + 1, "input"))
            put(r, "\n\n### Response:");
    }
    return 0;
}

static int render_vicuna(struct render *r)
{
    int rc = check_turns(r);
    r->i = 0;
    if (is_role(r, 0, "system"))
        put_content(r, false);
    else
        put(r, "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
               "helpful, "
               "detailed, and polite answers to the user's questions.");
    put(r, " ");
    for (r->i = is_role(r, 0, "system"); r->i < r->n && rc == 0; r->i++) {
        bool assistant = is_role(r, r->i, "assistant");
        put(r, assistant ? "ASSISTANT: " : "USER: ");
        put_content(r, false);
        put(r, assistant ? r->eos : " ");
    }
    if (assistant_is_next(r))
        put(r, "ASSISTANT:");
    return rc;
}

static int render_chatml(struct render *r, const char *system)
{
    int rc = check_roles(r);
    if (rc == 0 && !is_role(r, 0, "system"))
        put(r, system);
    for (r->i = 0; r->i < r->n && rc == 0; r->i++) {
        put(r, "<|im_start|>");
        put(r, r->messages[r->i].role);
        put(r, "\n");
        put_content(r, false);
        put(r, "<|im_end|>\n");
    }
    if (assistant_is_next(r))
        put(r, "<|im_start|>assistant\n");
    return rc;
}

static int render_llama2(struct render *r)
{
    int rc = check_turns(r);
    bool system = is_role(r, 0, "system");
    for (r->i = system; r->i < r->n && rc == 0; r->i++) {
        if (is_role(r, r->i, "assistant")) {
            put(r, " ");
            put_content(r, true);
            put(r, " ");
            put(r, r->eos);
            put(r, r->i + 1 < r->n ? r->bos : "");
            continue;
        }
        put(r, "[INST] ");
        if (system && r->i == 1) {
            put(r, "<<SYS>>\n");
            r->i = 0;
            put_content(r, true);
            r->i = 1;
            put(r, "\n<</SYS>>\n\n");
        }
        put_content(r, true);
        put(r, " [/INST]");
    }
    return rc;
}

static int render_llama3(struct render *r)
{
    int rc = check_roles(r);
    for (r->i = 0; r->i < r->n && rc == 0; r->i++) {
        put(r, "<|start_header_id|>");
        put(r, r->messages[r->i].role);
        put(r, "<|end_header_id|>\n\n");
        put_content(r, true);
        put(r, "<|eot_id|>");
    }
    if (assistant_is_next(r))
        put(r, "<|start_header_id|>assistant<|end_header_id|>\n\n");
    return rc;
}

static int render(enum pc_format format, struct render *r)
{
    switch (format) {
    case PC_FORMAT_TULU: return render_tulu(r);
    case PC_FORMAT_ALPACA: return render_alpaca(r);
    case PC_FORMAT_VICUNA: return render_vicuna(r);
    case PC_FORMAT_CHATML:
        return render_chatml(r,
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n");
    case PC_FORMAT_CHATML_PLAIN: return render_chatml(r, "");
    case PC_FORMAT_LLAMA2: return render_llama2(r);
    case PC_FORMAT_LLAMA3: return render_llama3(r);
    case PC_FORMAT_AUTO:
    case PC_FORMAT_RAW: break;
    }
    for (r->i = 0; r->i < r->n; r->i++)
        put_content(r, false);
    return 0;
}

int pc_format_render(enum pc_format format, const struct pc_message *messages, size_t n, struct pc_buf *out,
    struct paco_error *err)
{
    struct render r = {out, "<s>", "</s>", messages, n, 0, err};
    int rc = render(format, &r);
    return rc == 0 ? pc_buf_check(out, "prompt", err) : rc;
}

/* ---- to ids ---- */

/* A token's text as an owned string, or fallback's. */
static char *token_text(const struct pc_tokenizer *tok, int32_t id, const char *fallback)
{
    size_t len = 0;
    const char *piece = id >= 0 ? pc_tokenizer_piece(tok, id, &len) : NULL;
    return piece ? pc_strndup(piece, len) : pc_strdup(fallback);
}

static int encode(
    enum pc_format format, const struct pc_tokenizer *tok, struct render *r, int bos, struct pc_ids *out)
{
    int rc = render(format, r);
    if (rc == 0)
        rc = pc_buf_check(r->out, "prompt", r->err);
    struct pc_span text = {r->out->data ? r->out->data : "", r->out->len};
    bool tulu = format == PC_FORMAT_TULU, with_bos = bos < 0 ? pc_tokenizer_adds_bos(tok) : bos > 0;
    if (rc == 0 && with_bos && pc_tokenizer_bos(tok) < 0)
        rc = pc_error_set(r->err, PACO_EINVAL, "the tokenizer has no BOS to put in front");
    // A whole example was stripped before it was tokenised, so nothing follows the last answer.
    if (tulu && !assistant_is_next(r))
        pc_utf8_strip(&text.text, &text.len);
    if (rc == 0 && with_bos)
        rc = pc_ids_add(out, pc_tokenizer_bos(tok), r->err);
    if (rc < 0)
        return rc;
    struct pc_specials specials = {0};
    if (tulu && pc_tokenizer_marks_spaces(tok))
        pc_specials_of(&specials, tok, true);
    return pc_encode_cut(tok, &specials, text, false, out, NULL, r->err);
}

int pc_format_encode(enum pc_format format, const struct pc_tokenizer *tok, const struct pc_message *messages,
    size_t n, int bos, struct pc_ids *out, struct paco_error *err)
{
    struct pc_buf text;
    pc_buf_init(&text, MAX_PROMPT);
    const size_t before = out->n;
    char *bos_text = token_text(tok, pc_tokenizer_bos(tok), "<s>");
    char *eos_text = token_text(tok, pc_tokenizer_eos(tok), "</s>");
    struct render r = {&text, bos_text, eos_text, messages, n, 0, err};
    int rc = bos_text && eos_text ? encode(format, tok, &r, bos, out) : pc_error_mem(err, 16, "a prompt");
    if (rc < 0)
        out->n = before;
    pc_free(bos_text);
    pc_free(eos_text);
    pc_buf_release(&text);
    return rc;
}
