// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor_model.h"

#include "base/memory.h"
#include "prompt/vocabulary.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PLAN_TOKENS = 4096, MAX_DECODED = 1 << 16 };

void pc_doctor_problem(struct pc_doctor_problems *p, const char *fmt, ...)
{
    if (p->n == PC_DOCTOR_MAX_PROBLEMS)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(p->text[p->n++], PC_DOCTOR_PROBLEM_SIZE, fmt, args);
    va_end(args);
}

static void note_error(struct pc_doctor_problems *p, const char *what, const struct paco_error *err)
{
    char text[512];
    pc_doctor_problem(p, "%s: %s", what, pc_error_format(err, text, sizeof text));
}

/* ---- tokenizer ---- */

/* Words, spaces, signs, code, accents, other scripts, and bytes no vocabulary has as one piece. */
static const char *const g_texts[] = {"Hello world", "The price is 1,234.56 (about 10%).",
    "def f(x):\n    return x * 2\n", "na\xc3\xafve caf\xc3\xa9",
    "\xe4\xbd\xa0\xe5\xa5\xbd, \xd0\xbc\xd0\xb8\xd1\x80",
    "\xf0\x9f\xa6\x99 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x94\xac"};

static bool comes_back(const struct pc_tokenizer *tok, const char *text, struct pc_doctor_problems *problems)
{
    struct pc_ids ids = {0};
    struct pc_buf back;
    struct paco_error err = {0};
    char shown[128], got[256];
    pc_buf_init(&back, MAX_DECODED);
    int rc = pc_tokenizer_encode(tok, text, strlen(text), 0, &ids, &err);
    if (rc == 0)
        rc = pc_tokenizer_decode(tok, ids.v, ids.n, true, &back, &err);
    bool same = rc == 0 && back.len == strlen(text) && memcmp(back.data, text, back.len) == 0;
    if (rc < 0)
        note_error(problems, "the tokenizer cannot read or write a text", &err);
    else if (!same) {
        pc_buf_putc(&back, '\0');
        pc_doctor_problem(problems, "the tokenizer does not give '%s' back but '%s'",
            pc_printable(text, shown, sizeof shown),
            pc_printable(back.data ? back.data : "", got, sizeof got));
    }
    pc_ids_release(&ids);
    pc_buf_release(&back);
    return same;
}

static void check_id(const char *what, int32_t own, int32_t said, struct pc_doctor_problems *problems)
{
    if (own >= 0 && said >= 0 && own != said)
        pc_doctor_problem(problems, "%s is %d for the tokenizer, %d for the configuration", what, own, said);
}

static void check_eos(const struct pc_config *c, int32_t eos, struct pc_doctor_problems *problems)
{
    bool known = c->n_eos == 0;
    for (int i = 0; i < c->n_eos; i++)
        known |= c->eos_ids[i] == eos;
    if (eos >= 0 && !known)
        pc_doctor_problem(problems,
            "EOS is %d for the tokenizer, %d for the configuration: answers may not end", eos, c->eos_ids[0]);
    if (eos < 0 && c->n_eos == 0)
        pc_doctor_problem(
            problems, "neither the tokenizer nor the configuration names an EOS: answers end by length");
}

static void look_at_tokenizer(const struct pc_model *m, struct pc_doctor_model *out,
    struct pc_tokenizer **tok, struct pc_doctor_problems *problems)
{
    struct paco_error err = {0};
    if (pc_vocabulary_open(m->lead->vocabulary, tok, &err) < 0) {
        note_error(problems, "no tokenizer", &err);
        return;
    }
    const struct pc_config *c = m->config;
    out->has_tokenizer = true;
    out->n_tokens = pc_tokenizer_n_tokens(*tok);
    out->bos = pc_tokenizer_bos(*tok);
    out->eos = pc_tokenizer_eos(*tok);
    out->pad = pc_tokenizer_pad(*tok);
    out->adds_bos = pc_tokenizer_adds_bos(*tok);
    if (out->n_tokens > c->vocab_size)
        pc_doctor_problem(problems, "the tokenizer has %d tokens, the embedding %d rows: the last have none",
            out->n_tokens, c->vocab_size);
    if (out->adds_bos && out->bos < 0)
        pc_doctor_problem(problems, "the tokenizer is to begin texts with BOS and has none");
    check_id("BOS", out->bos, c->bos_id, problems);
    check_eos(c, out->eos, problems);
    for (size_t i = 0; i < sizeof g_texts / sizeof *g_texts; i++) {
        out->n_texts++;
        out->n_round_trips += comes_back(*tok, g_texts[i], problems);
    }
}

static void look_at_template(const struct pc_model *m, const struct pc_tokenizer *tok,
    struct pc_doctor_model *out, struct pc_doctor_problems *problems)
{
    struct paco_error err = {0};
    char *text = NULL;
    if (pc_vocabulary_chat_template(m->lead->vocabulary, &text, &err) < 0) {
        note_error(problems, "the chat template cannot be read", &err);
        return;
    }
    out->has_template = text != NULL;
    out->format = pc_format_detect(tok, text, &out->format_certain);
    if (!out->format_certain)
        pc_doctor_problem(problems, "%s: prompts go in raw unless --format says otherwise",
            text ? "the chat template is none of the known ones" : "there is no chat template");
    pc_free(text);
}

/* ---- memory ---- */

static void look_at_memory(const struct pc_model *m, const struct pc_engine_options *options, int32_t context,
    struct pc_doctor_model *out, struct pc_doctor_problems *problems)
{
    struct paco_error err = {0};
    struct pc_engine *engine = NULL;
    struct pc_engine_options o = *options;
    int32_t own = m->config->max_positions;
    out->context = context ? context : own > 0 && own < PLAN_TOKENS ? own : PLAN_TOKENS;
    o.plan_tokens = out->context;
    if (pc_engine_open(m->weights, m->config, &o, &engine, &err) < 0) {
        note_error(problems, "it cannot be run", &err);
        return;
    }
    out->planned = true;
    out->plan = pc_engine_plan(engine);
    out->plan_total = pc_engine_plan_total(engine);
    pc_engine_describe(engine, out->computes, sizeof out->computes);
    pc_engine_close(engine);
}

void pc_doctor_look(const struct pc_model *model, const struct pc_engine_options *options, int32_t context,
    struct pc_doctor_model *out, struct pc_doctor_problems *problems)
{
    struct pc_tokenizer *tok = NULL;
    *out = (struct pc_doctor_model){.bos = -1, .eos = -1, .pad = -1, .format = PC_FORMAT_RAW};
    look_at_tokenizer(model, out, &tok, problems);
    if (tok)
        look_at_template(model, tok, out, problems);
    pc_tokenizer_free(tok);
    look_at_memory(model, options, context, out, problems);
}
