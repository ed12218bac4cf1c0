// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/json_span.h"
#include "base/notes.h"
#include "scratch.h"
#include "weights/repair.h"
#include "weights/special_tokens.h"

/* The value of key in text, or "(none)". */
static const char *find(const char *text, const char *key)
{
    static char out[256];
    size_t start, end;
    if (!pc_json_find(text, strlen(text), key, &start, &end))
        return "(none)";
    snprintf(out, sizeof out, "%.*s", (int)(end - start), text + start);
    return out;
}

static void values_are_found_where_they_stand(void **state)
{
    (void)state;
    static const char text[] =
        " {\"a\" : -1.5e3 ,\"b\":\"x\\\"}\",\n\t\"c\": [1, {\"a\": 2}, \"]\"] , \"d\":{\"e\":null}}";
    assert_string_equal(find(text, "a"), "-1.5e3");
    assert_string_equal(find(text, "b"), "\"x\\\"}\"");
    assert_string_equal(find(text, "c"), "[1, {\"a\": 2}, \"]\"]");
    assert_string_equal(find(text, "d"), "{\"e\":null}");
    assert_string_equal(find(text, "e"), "(none)");
    assert_string_equal(find("{\"a\":1,\"a\":2}", "a"), "1");
}

static void a_head_gives_what_is_whole_in_it(void **state)
{
    (void)state;
    assert_string_equal(find("{\"a\": {\"b\": 1}, \"c\": [1, 2", "a"), "{\"b\": 1}");
    assert_string_equal(find("{\"a\": {\"b\": 1}, \"c\": [1, 2", "c"), "(none)");
    static const char *const broken[] = {"", "[", "{", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":\"",
        "{\"a\":\"\\", "{a:1}", "{\"b\" 1}", "{\"b\":]}", "\"a\"", "{\"b\":1 \"a\":2}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_string_equal(find(broken[i], "a"), "(none)");
}

static const struct pc_special_tokens g_tokens = {
    .any_file = true, .has_pad = true, .pad = "<pad>", .pad_id = 32000, .is_llama = true};

static void repaired(const char *name, const char *was, const char *want, const char *want_said)
{
    struct pc_buf text, said;
    pc_buf_init(&text, 4096);
    pc_buf_init(&said, 4096);
    pc_buf_puts(&text, was);
    pc_repair(name, &(struct pc_repair_options){.tokens = &g_tokens, .dtype = PC_F32}, &text, &said);
    assert_string_equal(text.data, want);
    assert_string_equal(said.data ? said.data : "", want_said);
    pc_buf_release(&text);
    pc_buf_release(&said);
}

static void one_value_changes_and_no_other_byte(void **state)
{
    (void)state;
    repaired("config.json", "{ \"pad_token_id\":-1 ,\t\"torch_dtype\" : \"float16\"}\n",
        "{ \"pad_token_id\":32000 ,\t\"torch_dtype\" : \"float32\"}\n",
        "config.json: pad_token_id -1 -> 32000, the tokenizer's <pad>\n"
        "config.json: torch_dtype float16 -> float32, what is written\n");
    repaired("config.json", "{\"architectures\": [\"LLaMAForCausalLM\"]}",
        "{\"architectures\": [\"LlamaForCausalLM\"]}",
        "config.json: architectures LLaMAForCausalLM -> LlamaForCausalLM, its name in Transformers\n");
    repaired("tokenizer_config.json", "{\"eos_token\": {\"lstrip\": 0, \"content\": \"\"}}",
        "{\"eos_token\": {\"lstrip\": 0, \"content\": \"</s>\"}}",
        "tokenizer_config.json: eos_token \"\" -> </s>, as in LLaMA's vocabulary\n");
}

static void what_is_right_or_no_json_stays(void **state)
{
    (void)state;
    static const char *const good[] = {"{\"pad_token_id\": 32000, \"torch_dtype\": \"float32\"}",
        "{\"pad_token_id\": null}", "{\"x\": {\"pad_token_id\": 0}}", "[\"pad_token_id\", 0]", "pad_token_id",
        ""};
    for (size_t i = 0; i + 1 < sizeof good / sizeof *good; i++)
        repaired("config.json", good[i], good[i], "");
    repaired(
        "generation_config.json", "{\"torch_dtype\": \"float16\"}", "{\"torch_dtype\": \"float16\"}", "");
    repaired("special_tokens_map.json", "{\"bos_token\": \"<s>\", \"pad_token\": \"\"}",
        "{\"bos_token\": \"<s>\", \"pad_token\": \"\"}", "");
}

static void special_tokens_are_gathered_from_every_file(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_special_tokens t;
    struct paco_error err = {0};
    scratch_open(&s);
    assert_int_equal(pc_special_tokens_read(s.dir, &t, &err), 0);
    assert_false(t.any_file || t.has_pad || t.is_llama);

    // A vocabulary of which only the head is looked at.
    scratch_text(&s, "tokenizer.json",
        "{\"version\": \"1.0\", \"padding\": null, \"added_tokens\": [{\"id\": 0, \"content\": \"<unk>\"}, "
        "{\"id\": 1, \"content\": "
        "\"<s>\"}, {\"id\": 2, \"content\": \"</s>\"}, {\"id\": 7, \"content\": \"[PAD]\"}], \"model\": "
        "{\"vocab\": {");
    assert_int_equal(pc_special_tokens_read(s.dir, &t, &err), 0);
    assert_true(t.any_file && t.is_llama && !t.has_pad);
    assert_int_equal(t.alpaca_pad_id, 7);

    scratch_text(&s, "special_tokens_map.json", "{\"pad_token\": {\"content\": \"[PAD]\"}}");
    assert_int_equal(pc_special_tokens_read(s.dir, &t, &err), 0);
    assert_true(t.has_pad);
    assert_string_equal(t.pad, "[PAD]");
    assert_string_equal(t.pad_file, "special_tokens_map.json");
    assert_int_equal(t.pad_id, 7);

    scratch_text(&s, "tokenizer_config.json", "{\"pad_token\": ");
    assert_int_equal(pc_special_tokens_read(s.dir, &t, &err), PACO_EFORMAT);
    assert_contains(err.path, "tokenizer_config.json");
    scratch_close(&s);
}

static int hear(void *ctx, const struct pc_progress_event *event)
{
    (void)ctx, (void)event;
    return 0;
}

static void keep_text(void *ctx, const char *text)
{
    snprintf(ctx, 256, "%s", text);
}

static void notes_are_shown_at_once_and_kept(void **state)
{
    (void)state;
    char last[256] = "";
    struct pc_progress progress = {hear, keep_text, last};
    struct pc_notes notes = {.progress = &progress};
    pc_note(&notes, "%d of\n%s", 3, "\x1b[31m");
    assert_string_equal(last, "3 of\\x0a\\x1b[31m");
    for (int i = 0; i < 2000; i++)
        pc_note(&notes, "%d", i);
    assert_string_equal(last, "1999");
    assert_int_equal(notes.n, 1000);
    pc_notes_release(&notes);
    pc_note(NULL, "nobody hears");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_found_where_they_stand),
        cmocka_unit_test(a_head_gives_what_is_whole_in_it),
        cmocka_unit_test(one_value_changes_and_no_other_byte),
        cmocka_unit_test(what_is_right_or_no_json_stays),
        cmocka_unit_test(special_tokens_are_gathered_from_every_file),
        cmocka_unit_test(notes_are_shown_at_once_and_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
