// SPDX-License-Identifier: Apache-2.0
/* The templates an instruction is put in, and the draw. Spelling and spaces are upstream's. */
#include "base/utf8.h"
#include "data/reformat_parts.h"

#include <string.h>

/* {i}: the instruction, {x}: the input. */
struct template
{
    const char *text;
    double weight;
    const char *before_output;
};

#define ALPACA                                                                                               \
    "Below is an instruction that describes a task, paired with an input that provides further context. "    \
    "Write a response that appropriately completes the request.\n\n"                                         \
    "### Instruction:\n{i}\n\n### Input:\n{x}\n\n### Response:"

static const struct template with_input[] = {
    {"{i}\n\n{x}\n\n", 0.2, ""},
    {"{i}\n{x}\n\n", 0.1, ""},
    {"{i}\n{x}\n", 0.1, ""},
    {"{i}\n\nInput: {x}\n\nOutput:", 0.05, ""},
    {"{i}\nInput: {x}\nOutput:", 0.05, ""},
    {"{i}\n{x}\n\nResponse:", 0.05, ""},
    {"{i}\n\nAdditional Context:\n{x}\n\nAnswer:", 0.05, ""},
    {"Task: {i}\nInput: {x}\nOutput:", 0.05, ""},
    {"Task: {i}\n\n{x}\n\n", 0.05, ""},
    {"Task: {i}\n\n{x}\n\nAnswer:", 0.05, ""},
    {"You need to complete the following task:\n\n{i}\n\n{x}\n\nAnswer:", 0.05, ""},
    {"{i}\n\nNow complete the following instance -\nInput: {x}\nOutput:", 0.05, ""},
    {"Instruction:{i}\n\nInput: {x}\n\n", 0.05, ""},
    {ALPACA, 0.1, ""},
};

static const struct template without_input[] = {
    {"{i}\n\n", 0.2, ""},
    {"{i}\n", 0.1, ""},
    {"{i}", 0.1, "\n"},
    {"{i} Output:", 0.05, ""},
    {"{i}\nResponse:", 0.05, ""},
    {"{i}\n\nAnswer:", 0.05, ""},
    {"Task: {i}\n\n", 0.05, ""},
    {"Instruction: {i}\n", 0.05, ""},
    {"Instruction: {i}\nOutput:", 0.05, ""},
    {"You need to complete the following task:\n\n{i}\n\n", 0.05, ""},
    {"Can you help with this?\n\n{i}\n", 0.05, ""},
    {"Plase answer the following request: {i}\nAnswer:", 0.05, ""},
    {"Tell me how would you respond to the following request.\n{i}\n", 0.05, ""},
    {"Write a response that appropriately completes the request.\n\n### Instruction:\n{i}\n\n### Response:",
        0.1, ""},
};

enum { N_TEMPLATES = sizeof with_input / sizeof *with_input };
_Static_assert(
    sizeof without_input / sizeof *without_input == N_TEMPLATES, "as many templates of either kind");

static const struct template *draw(struct pc_reformat *f, const struct template *templates)
{
    double weights[N_TEMPLATES];
    for (size_t i = 0; i < N_TEMPLATES; i++)
        weights[i] = templates[i].weight;
    return &templates[pc_py_choice(&f->random, weights, N_TEMPLATES)];
}

static struct pc_data_text stripped(struct pc_data_text text)
{
    pc_utf8_strip(&text.s, &text.len);
    return text;
}

static void fill(
    struct pc_buf *out, const char *template, struct pc_data_text instruction, struct pc_data_text input)
{
    while (*template) {
        size_t n = strcspn(template, "{");
        pc_buf_add(out, template, n);
        template += n;
        if (!*template)
            return;
        const struct pc_data_text value = template[1] == 'i' ? instruction : input;
        pc_buf_add(out, value.s, value.len);
        template += 3;
    }
}

int pc_reformat_instruction(struct pc_reformat *f, const struct pc_data_text *id,
    struct pc_data_text instruction, struct pc_data_text input, struct pc_data_text output)
{
    if (input.s)
        input = stripped(input);
    const struct template *t = draw(f, input.len ? with_input : without_input);
    pc_buf_clear(&f->prompt);
    pc_buf_clear(&f->answer);
    fill(&f->prompt, t->text, stripped(instruction), input);
    pc_buf_puts(&f->answer, t->before_output);
    output = stripped(output);
    pc_buf_add(&f->answer, output.s, output.len);
    int rc = pc_buf_check(&f->prompt, "a prompt", f->err);
    if (rc == 0)
        rc = pc_buf_check(&f->answer, "an answer", f->err);
    if (rc < 0)
        return rc;
    const struct pc_data_turn turns[] = {
        {"user", {f->prompt.data, f->prompt.len}}, {"assistant", {f->answer.data, f->answer.len}}};
    return id ? pc_reformat_emit(f, *id, turns, 2) : pc_reformat_emit_next(f, turns, 2);
}
