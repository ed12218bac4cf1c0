// SPDX-License-Identifier: Apache-2.0
/* Formats recognised: a model's by its chat template or pad token, a prompt's by its headings, an answer's
 * end by what the next turn would start with. */
#include "prompt/format.h"

#include <string.h>

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* Zephyr and its like close the user's turn with the end-of-sequence token too; tulu does not. */
static bool user_turn_ends_in_eos(const char *t)
{
    const char *user = strstr(t, "<|user|>"), *end = user ? strstr(user, "%}") : NULL;
    const char *eos = user ? strstr(user, "eos_token") : NULL;
    return eos && (!end || eos < end);
}

static enum pc_format of_template(const char *t, bool *certain)
{
    *certain = true;
    if (has(t, "<|start_header_id|>"))
        return PC_FORMAT_LLAMA3;
    if (has(t, "<|im_start|>") && has(t, "named SmolLM, trained by Hugging Face"))
        return PC_FORMAT_CHATML;
    if (has(t, "<|im_start|>")) {
        // Other default system messages would have to be known one by one.
        *certain = !has(t, "You are ");
        return PC_FORMAT_CHATML_PLAIN;
    }
    if (has(t, "<|user|>") && has(t, "<|assistant|>") && !user_turn_ends_in_eos(t))
        return PC_FORMAT_TULU;
    if (has(t, "[INST]")) {
        // Mistral's has no system block and other spaces.
        *certain = has(t, "<<SYS>>");
        return PC_FORMAT_LLAMA2;
    }
    if (has(t, "### Instruction") && has(t, "### Response"))
        return PC_FORMAT_ALPACA;
    if (has(t, "USER:") && has(t, "ASSISTANT:"))
        return PC_FORMAT_VICUNA;
    *certain = false;
    return PC_FORMAT_RAW;
}

static bool is_piece(const struct pc_tokenizer *tok, int32_t id, const char *text)
{
    size_t len;
    const char *piece = pc_tokenizer_piece(tok, id, &len);
    return piece && len == strlen(text) && memcmp(piece, text, len) == 0;
}

enum pc_format pc_format_detect(const struct pc_tokenizer *tok, const char *chat_template, bool *certain)
{
    bool ignored;
    certain = certain ? certain : &ignored;
    if (chat_template && *chat_template)
        return of_template(chat_template, certain);
    *certain = true;
    if (is_piece(tok, 32000, "<pad>"))
        return PC_FORMAT_TULU;
    if (is_piece(tok, 32000, "[PAD]"))
        return PC_FORMAT_ALPACA;
    *certain = false;
    return PC_FORMAT_RAW;
}

enum pc_format pc_format_of_text(const char *text)
{
    if (has(text, "<|start_header_id|>"))
        return PC_FORMAT_LLAMA3;
    if (has(text, "<|im_start|>"))
        return PC_FORMAT_CHATML;
    if (has(text, "<|user|>") || has(text, "<|assistant|>"))
        return PC_FORMAT_TULU;
    if (has(text, "[INST]"))
        return PC_FORMAT_LLAMA2;
    if (has(text, "### Instruction:") || has(text, "### Response:"))
        return PC_FORMAT_ALPACA;
    if (has(text, "USER:") && has(text, "ASSISTANT:"))
        return PC_FORMAT_VICUNA;
    return PC_FORMAT_AUTO;
}

const char *pc_format_template(enum pc_format format)
{
    static const char tulu[] =
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\\n' + "
        "message['content'] "
        "+ '\\n' }}{% elif message['role'] == 'user' %}{{ '<|user|>\\n' + message['content'] + '\\n' }}"
        "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>\\n' + message['content'] + eos_token + "
        "'\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";
    static const char alpaca[] =
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'Below is an instruction that "
        "describes a task. Write a response that appropriately completes the request.\\n\\n"
        "### Instruction:\\n' + message['content'] + '\\n\\n### Response:' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% endif %}{% endfor "
        "%}";
    return format == PC_FORMAT_TULU ? tulu : format == PC_FORMAT_ALPACA ? alpaca : NULL;
}

const char *const *pc_format_stops(enum pc_format format)
{
    static const char *const tulu[] = {"<|user|>", "<|assistant|>", "<|system|>", "</s>", NULL};
    static const char *const alpaca[] = {"### Instruction:", "### Input:", "### Response:", "</s>", NULL};
    static const char *const vicuna[] = {"USER:", "</s>", NULL};
    static const char *const chatml[] = {"<|im_end|>", "<|im_start|>", NULL};
    static const char *const llama2[] = {"[INST]", "</s>", NULL};
    static const char *const llama3[] = {"<|eot_id|>", "<|start_header_id|>", NULL};
    static const char *const none[] = {NULL};
    switch (format) {
    case PC_FORMAT_TULU: return tulu;
    case PC_FORMAT_ALPACA: return alpaca;
    case PC_FORMAT_VICUNA: return vicuna;
    case PC_FORMAT_CHATML:
    case PC_FORMAT_CHATML_PLAIN: return chatml;
    case PC_FORMAT_LLAMA2: return llama2;
    case PC_FORMAT_LLAMA3: return llama3;
    case PC_FORMAT_AUTO:
    case PC_FORMAT_RAW: break;
    }
    return none;
}
