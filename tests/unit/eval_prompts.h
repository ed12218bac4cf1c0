// SPDX-License-Identifier: Apache-2.0
/* A benchmark's prompts, all of them, against fixtures/eval/prompts.json (tests/parity/eval_prompts.py). */
#ifndef PC_TESTS_EVAL_PROMPTS_H
#define PC_TESTS_EVAL_PROMPTS_H

#include "prompt/vocabulary.h"
#include "task_harness.h"

static inline json_t *eval_prompts_load(void)
{
    json_t *root;
    struct paco_error err;
    if (pc_json_read("tests/fixtures/eval/prompts.json", 1 << 20, &root, &err) < 0)
        fail_msg("%s", err.message);
    return root;
}

static inline void eval_prompts_flags(struct harness *h, const json_t *flags)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)flags, key, v)
    {
        if (strcmp(key, "use_chat_format") == 0)
            h->flags.use_chat_format = (int)json_integer_value(v);
        else if (strcmp(key, "ntrain") == 0)
            h->flags.ntrain = json_integer_value(v);
        else if (strcmp(key, "n_shot") == 0)
            h->flags.n_shot = json_integer_value(v);
        else if (strcmp(key, "n_instances") == 0)
            h->flags.n_instances = json_integer_value(v);
        else if (strcmp(key, "max_num_examples") == 0)
            h->flags.max_num_examples = json_integer_value(v);
        else if (strcmp(key, "max_num_examples_per_task") == 0)
            h->flags.max_num_examples_per_task = json_integer_value(v);
        else if (strcmp(key, "max_num_examples_per_lang") == 0)
            h->flags.max_num_examples_per_lang = json_integer_value(v);
        else if (strcmp(key, "fix") == 0 && strcmp(json_string_value(v), "mmlu-none") == 0)
            h->flags.fixes = PC_FIX_MMLU_NONE;
        else
            fail_msg("a flag '%s' in the fixture", key);
    }
}

static inline struct pc_sha256 *eval_prompts_hash(void)
{
    struct pc_sha256 *hash = pc_sha256_new(NULL);
    assert_non_null(hash);
    return hash;
}

static inline void eval_prompts_compare(struct pc_sha256 *hash, const json_t *row)
{
    uint8_t digest[PC_SHA256_SIZE];
    char hex[PC_SHA256_HEX];
    pc_sha256_final(hash, digest);
    pc_sha256_free(hash);
    if (strcmp(pc_sha256_hex(digest, hex), json_string_value(json_object_get(row, "sha256"))) != 0)
        fail_msg("other prompts than %s", json_dumps(row, 0));
}

/** Every prompt of one row of the fixture, from the data in dir. */
static inline void eval_prompts_check(const json_t *row, const char *dir)
{
    struct harness h;
    struct pc_tokenizer *tok = NULL;
    struct paco_error err;
    const char *name = json_string_value(json_object_get(row, "task"));
    const struct pc_task *task = pc_task_find(name, NULL);
    assert_non_null(task);
    harness_init(&h, task);
    if (json_is_true(json_object_get(row, "llama"))) {
        char path[1024];
        snprintf(path, sizeof path, "%s/tokenizer/tokenizer.model", dir);
        if (pc_vocabulary_open(path, &tok, &err) < 0)
            fail_msg("%s", err.message);
    }
    h.env.tok = tok;
    h.flags.unsafe_exec = true; // nothing is run here
    eval_prompts_flags(&h, json_object_get(row, "flags"));
    harness_open(&h, dir);
    assert_int_equal(harness_n(&h), json_integer_value(json_object_get(row, "n")));
    const json_t *names = json_object_get(row, "names");
    for (size_t i = 0; i < json_array_size(names); i++)
        assert_string_equal(harness_name(&h, i), json_string_value(json_array_get(names, i)));
    struct pc_sha256 *hash = eval_prompts_hash();
    for (size_t i = 0; i < harness_n(&h); i++) {
        harness_prompt(&h, i);
        pc_sha256_update(hash, h.prompt.data, h.prompt.len + 1);
    }
    eval_prompts_compare(hash, row);
    harness_close(&h);
    pc_tokenizer_free(tok);
}

/** Those of every task whose name begins with prefix; at least one. */
static inline void eval_prompts_check_all(const char *prefix, const char *dir)
{
    json_t *root = eval_prompts_load();
    const json_t *rows = json_object_get(root, "rows");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *task = json_string_value(json_object_get(row, "task"));
        if (strncmp(task, prefix, strlen(prefix)) != 0 || !json_object_get(row, "names"))
            continue;
        eval_prompts_check(row, dir);
        n++;
    }
    assert_true(n > 0);
    json_decref(root);
}

#endif
