// SPDX-License-Identifier: Apache-2.0
#include "weights/repair.h"

#include "base/json.h"
#include "base/json_span.h"

#include <string.h>

struct file {
    const char *name;
    struct pc_buf *text, *said;
};

struct span {
    size_t start, end;
};

bool pc_repair_knows(const char *name)
{
    return strcmp(name, "config.json") == 0 || strcmp(name, "generation_config.json") == 0 ||
           strcmp(name, "tokenizer_config.json") == 0 || strcmp(name, "special_tokens_map.json") == 0;
}

static void splice(struct file *f, struct span at, const char *value)
{
    struct pc_buf b;
    pc_buf_init(&b, f->text->max);
    pc_buf_add(&b, f->text->data, at.start);
    pc_buf_puts(&b, value);
    pc_buf_add(&b, f->text->data + at.end, f->text->len - at.end);
    if (b.failed) {
        pc_buf_release(&b);
        f->text->failed = true;
        return;
    }
    pc_buf_release(f->text);
    *f->text = b;
}

/* The value of key, parsed (owned), and where it stands. */
static json_t *find(const struct file *f, const char *key, struct span *at)
{
    json_t *v = NULL;
    *at = (struct span){0};
    if (!f->text->data || !pc_json_find(f->text->data, f->text->len, key, &at->start, &at->end))
        return NULL;
    // Wrapped, for the parser takes objects and arrays only at the root.
    struct pc_buf b;
    pc_buf_init(&b, f->text->len + 2);
    pc_buf_putc(&b, '[');
    pc_buf_add(&b, f->text->data + at->start, at->end - at->start);
    pc_buf_putc(&b, ']');
    json_t *root = NULL;
    if (!b.failed && pc_json_parse(b.data, b.len, NULL, 0, &root, NULL) == 0)
        v = json_incref(json_array_get(root, 0));
    json_decref(root);
    pc_buf_release(&b);
    return v;
}

static void say(struct file *f, const char *key, const char *was, const char *now, const char *why)
{
    pc_buf_printf(f->said, "%s: %s %s -> %s%s%s\n", f->name, key, was, now, why ? ", " : "", why ? why : "");
}

static void repair_pad_id(struct file *f, const struct pc_special_tokens *tokens)
{
    struct span at;
    json_t *v = find(f, "pad_token_id", &at);
    if (json_is_integer(v) && tokens->has_pad && tokens->pad_id >= 0 &&
        json_integer_value(v) != tokens->pad_id) {
        char was[32], now[32], why[96];
        snprintf(was, sizeof was, "%lld", (long long)json_integer_value(v));
        snprintf(now, sizeof now, "%lld", (long long)tokens->pad_id);
        snprintf(why, sizeof why, "the tokenizer's %s", tokens->pad);
        splice(f, at, now);
        say(f, "pad_token_id", was, now, why);
    }
    json_decref(v);
}

static void repair_vocab(struct file *f, uint64_t vocab)
{
    struct span at;
    json_t *v = find(f, "vocab_size", &at);
    if (json_is_integer(v) && vocab && (uint64_t)json_integer_value(v) != vocab) {
        char was[32], now[32];
        snprintf(was, sizeof was, "%lld", (long long)json_integer_value(v));
        snprintf(now, sizeof now, "%llu", (unsigned long long)vocab);
        splice(f, at, now);
        say(f, "vocab_size", was, now, "the rows of the embedding");
    }
    json_decref(v);
}

/* Replace a string value that is not what it should be; was NULL means: whatever it is. */
static void repair_string(struct file *f, const char *key, const char *was, const char *now, const char *why)
{
    struct span at;
    json_t *v = find(f, key, &at);
    const char *text = json_string_value(v);
    if (text && strcmp(text, now) != 0 && (!was || strcmp(text, was) == 0)) {
        char quoted[64];
        snprintf(quoted, sizeof quoted, "\"%s\"", now);
        say(f, key, *text ? text : "\"\"", now, why);
        splice(f, at, quoted);
    }
    json_decref(v);
}

static void repair_architecture(struct file *f)
{
    static const char old[] = "\"LLaMAForCausalLM\"";
    struct span at;
    json_t *v = find(f, "architectures", &at);
    const char *hit = v ? memmem(f->text->data + at.start, at.end - at.start, old, sizeof old - 1) : NULL;
    if (hit) {
        at.start = (size_t)(hit - f->text->data);
        at.end = at.start + sizeof old - 1;
        splice(f, at, "\"LlamaForCausalLM\"");
        say(f, "architectures", "LLaMAForCausalLM", "LlamaForCausalLM", "its name in Transformers");
    }
    json_decref(v);
}

/* The text itself, or "content" in the object that may stand for it. */
static void repair_token(struct file *f, const char *key, const char *now)
{
    struct span at, inner = {0};
    json_t *v = find(f, key, &at);
    const json_t *content = json_is_object(v) ? json_object_get(v, "content") : v;
    const char *text = json_string_value(content);
    bool found = text && !*text;
    if (found && json_is_object(v)) {
        found =
            pc_json_find(f->text->data + at.start, at.end - at.start, "content", &inner.start, &inner.end);
        at = (struct span){at.start + inner.start, at.start + inner.end};
    }
    if (found) {
        char quoted[16];
        snprintf(quoted, sizeof quoted, "\"%s\"", now);
        splice(f, at, quoted);
        say(f, key, "\"\"", now, "as in LLaMA's vocabulary");
    }
    json_decref(v);
}

void pc_repair(
    const char *name, const struct pc_repair_options *opt, struct pc_buf *text, struct pc_buf *said)
{
    struct file f = {name, text, said};
    bool config = strcmp(name, "config.json") == 0, tokenizer = strcmp(name, "tokenizer_config.json") == 0;
    if (config || strcmp(name, "generation_config.json") == 0)
        repair_pad_id(&f, opt->tokens);
    const char *dtype = pc_dtype_traits(opt->dtype)->torch_name;
    if (config && dtype) {
        repair_string(&f, "torch_dtype", NULL, dtype, "what is written");
        repair_string(&f, "dtype", NULL, dtype, "what is written");
    }
    if (config) {
        repair_architecture(&f);
        repair_vocab(&f, opt->vocab);
    }
    if (tokenizer) {
        repair_string(&f, "tokenizer_class", "LLaMATokenizer", "LlamaTokenizer", "its name in Transformers");
        repair_string(
            &f, "tokenizer_class", "LLaMATokenizerFast", "LlamaTokenizerFast", "its name in Transformers");
    }
    if ((tokenizer || strcmp(name, "special_tokens_map.json") == 0) && opt->tokens->is_llama) {
        repair_token(&f, "bos_token", "<s>");
        repair_token(&f, "eos_token", "</s>");
        repair_token(&f, "unk_token", "<unk>");
    }
}
