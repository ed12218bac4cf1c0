// SPDX-License-Identifier: Apache-2.0
#include "tokens.h"

#include "prompt/format.h"
#include "prompt/vocab_sources.h"
#include "prompt/vocabulary.h"

static const struct pc_message g_one[] = {{"user", "Your message here!"}};
static const struct pc_message g_turns[] = {
    {"system", " Be kind. "}, {"user", " hello\n"}, {"assistant", " Sure, here "}, {"user", "x"}};

static void renders(enum pc_format format, const struct pc_message *messages, size_t n, const char *want)
{
    struct pc_buf out;
    struct paco_error err = {0};
    pc_buf_init(&out, 1 << 20);
    if (pc_format_render(format, messages, n, &out, &err) < 0)
        fail_msg("%s: %s", pc_format_name(format), err.message);
    assert_string_equal(out.data ? out.data : "", want);
    pc_buf_release(&out);
}

/* The strings are upstream's, read off its code and models' templates. */
static void one_message_byte_for_byte(void **state)
{
    (void)state;
    renders(PC_FORMAT_TULU, g_one, 1, "<|user|>\nYour message here!\n<|assistant|>\n");
    renders(PC_FORMAT_ALPACA, g_one, 1,
        "Below is an instruction that describes a task. Write a response that appropriately completes the "
        "request.\n\n"
        "### Instruction:\nYour message here!\n\n### Response:");
    renders(PC_FORMAT_VICUNA, g_one, 1,
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
        "helpful, detailed, and "
        "polite answers to the user's questions. USER: Your message here! ASSISTANT:");
    renders(PC_FORMAT_CHATML, g_one, 1,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nYour message here!<|im_end|>\n<|im_start|>assistant\n");
    renders(PC_FORMAT_CHATML_PLAIN, g_one, 1,
        "<|im_start|>user\nYour message here!<|im_end|>\n<|im_start|>assistant\n");
    renders(PC_FORMAT_LLAMA2, g_one, 1, "[INST] Your message here! [/INST]");
    renders(PC_FORMAT_LLAMA3, g_one, 1,
        "<|start_header_id|>user<|end_header_id|>\n\nYour message "
        "here!<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
    renders(PC_FORMAT_RAW, g_one, 1, "Your message here!");
}

static void several_turns_byte_for_byte(void **state)
{
    (void)state;
    renders(PC_FORMAT_TULU, g_turns, 4,
        "<|system|>\nBe kind.\n<|user|>\nhello\n<|assistant|>\nSure, here</s>\n<|user|>\nx\n<|assistant|>\n");
    renders(
        PC_FORMAT_TULU, g_turns, 3, "<|system|>\nBe kind.\n<|user|>\nhello\n<|assistant|>\nSure, here</s>\n");
    renders(PC_FORMAT_ALPACA, g_turns, 4,
        " Be kind. \n\n### Instruction:\n hello\n\n\n### Response: Sure, here </s>\n\n### "
        "Instruction:\nx\n\n### Response:");
    renders(PC_FORMAT_VICUNA, g_turns, 4,
        " Be kind.  USER:  hello\n ASSISTANT:  Sure, here </s>USER: x ASSISTANT:");
    renders(PC_FORMAT_CHATML, g_turns, 4,
        "<|im_start|>system\n Be kind. <|im_end|>\n<|im_start|>user\n "
        "hello\n<|im_end|>\n<|im_start|>assistant\n Sure, here <|im_end|>\n"
        "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n");
    renders(PC_FORMAT_LLAMA2, g_turns, 4,
        "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nhello [/INST] Sure, here </s><s>[INST] x [/INST]");
    renders(PC_FORMAT_LLAMA3, g_turns, 4,
        "<|start_header_id|>system<|end_header_id|>\n\nBe "
        "kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nhello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nSure, "
        "here<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nx<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n");
    const struct pc_message input[] = {{"user", "Add."}, {"input", "2 and 3"}};
    renders(PC_FORMAT_ALPACA, input, 2,
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that "
        "appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n2 and 3\n\n### "
        "Response:");
    renders(PC_FORMAT_TULU, NULL, 0, "<|assistant|>\n");
}

static void refuses(enum pc_format format, const struct pc_message *messages, size_t n, const char *message)
{
    struct pc_buf out;
    struct paco_error err = {0};
    pc_buf_init(&out, 1 << 20);
    assert_int_equal(pc_format_render(format, messages, n, &out, &err), PACO_EINVAL);
    assert_contains(err.message, message);
    pc_buf_release(&out);
}

static void unknown_roles_are_named(void **state)
{
    (void)state;
    const struct pc_message odd[] = {{"user", "a"}, {"tool\x1b", "b"}};
    const struct pc_message late[] = {{"user", "a"}, {"system", "b"}};
    const struct pc_message input[] = {{"input", "a"}};
    refuses(
        PC_FORMAT_TULU, odd, 2, "message 1 has the role 'tool\\x1b'; system, user and assistant are known");
    refuses(PC_FORMAT_CHATML, odd, 2, "message 1 has the role");
    refuses(PC_FORMAT_LLAMA3, odd, 2, "message 1 has the role");
    refuses(PC_FORMAT_ALPACA, odd, 2, "system, user, input and assistant are known");
    refuses(PC_FORMAT_LLAMA2, late, 2, "which this format knows only at the start");
    refuses(PC_FORMAT_VICUNA, late, 2, "which this format knows only at the start");
    refuses(PC_FORMAT_ALPACA, late, 2, "which this format knows only at the start");
    refuses(PC_FORMAT_ALPACA, input, 1, "which comes behind a user's instruction");
    refuses(PC_FORMAT_TULU, input, 1, "message 0 has the role 'input'");
}

static void names_go_both_ways(void **state)
{
    (void)state;
    enum pc_format format;
    for (int f = PC_FORMAT_AUTO; f <= PC_FORMAT_CHATML_PLAIN; f++) {
        assert_true(pc_format_parse(pc_format_name((enum pc_format)f), &format));
        assert_int_equal(format, f);
        assert_non_null(pc_format_stops((enum pc_format)f));
    }
    assert_false(pc_format_parse("Tulu", &format));
    assert_string_equal(pc_format_stops(PC_FORMAT_TULU)[0], "<|user|>");
    assert_null(pc_format_stops(PC_FORMAT_RAW)[0]);
}

static struct pc_tokenizer *tiny(const char *at_32000)
{
    char text[512];
    struct pc_tokenizer *tok = NULL;
    struct paco_error err = {0};
    snprintf(text, sizeof text,
        "{\"added_tokens\":[{\"id\":%d,\"content\":\"%s\"}],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,"
        "\"b\":1},\"merges\":[]}}",
        4000, at_32000);
    if (pc_vocab_json_parse(text, strlen(text), NULL, NULL, &tok, &err) < 0)
        fail_msg("%s", err.message);
    return tok;
}

static void templates_are_recognised(void **state)
{
    (void)state;
    const struct {
        const char *text;
        enum pc_format format;
        bool certain;
    } cases[] = {
        {"{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
         "Face<|im_end|>\n' }}",
            PC_FORMAT_CHATML, true},
        {"{% for m in messages %}{{'<|im_start|>' + m['role']}}{% endfor %}", PC_FORMAT_CHATML_PLAIN, true},
        {"{{ '<|im_start|>system\\nYou are Qwen<|im_end|>' }}", PC_FORMAT_CHATML_PLAIN, false},
        {"{{ '<|user|>\\n' + message['content'] + '\\n' }}{% elif %}{{ '<|assistant|>\\n' + "
         "message['content'] + eos_token }}",
            PC_FORMAT_TULU, true},
        {"{{ '<|user|>\\n' + message['content'] + eos_token }}{% elif %}{{ '<|assistant|>\\n' }}",
            PC_FORMAT_RAW, false},
        {"[INST] <<SYS>>", PC_FORMAT_LLAMA2, true},
        {"[INST] {{ content }} [/INST]", PC_FORMAT_LLAMA2, false},
        {"<|start_header_id|>", PC_FORMAT_LLAMA3, true},
        {"### Instruction:\n ### Response:\n", PC_FORMAT_ALPACA, true},
        {"USER: {{ }} ASSISTANT:", PC_FORMAT_VICUNA, true},
        {"{{ messages }}", PC_FORMAT_RAW, false},
        {pc_format_template(PC_FORMAT_TULU), PC_FORMAT_TULU, true},
        {pc_format_template(PC_FORMAT_ALPACA), PC_FORMAT_ALPACA, true},
    };
    struct pc_tokenizer *tok = tiny("x");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool certain = !cases[i].certain;
        enum pc_format got = pc_format_detect(tok, cases[i].text, &certain);
        if (got != cases[i].format || certain != cases[i].certain)
            fail_msg("%s: %s, certain %d", cases[i].text, pc_format_name(got), certain);
    }
    bool certain = true;
    assert_int_equal(pc_format_detect(tok, NULL, &certain), PC_FORMAT_RAW);
    assert_false(certain);
    assert_int_equal(pc_format_detect(tok, "", NULL), PC_FORMAT_RAW);
    assert_null(pc_format_template(PC_FORMAT_RAW));
    pc_tokenizer_free(tok);
}

static void prompts_in_another_format_stand_out(void **state)
{
    (void)state;
    assert_int_equal(pc_format_of_text("Below ...\n### Instruction:\nx\n### Response:"), PC_FORMAT_ALPACA);
    assert_int_equal(pc_format_of_text("<|user|>\nx\n<|assistant|>\n"), PC_FORMAT_TULU);
    assert_int_equal(pc_format_of_text("USER: x ASSISTANT:"), PC_FORMAT_VICUNA);
    assert_int_equal(pc_format_of_text("<|im_start|>user"), PC_FORMAT_CHATML);
    assert_int_equal(pc_format_of_text("[INST] x [/INST]"), PC_FORMAT_LLAMA2);
    assert_int_equal(pc_format_of_text("<|start_header_id|>"), PC_FORMAT_LLAMA3);
    assert_int_equal(pc_format_of_text("What is a USER: in Unix?"), PC_FORMAT_AUTO);
}

/* Two turns with their answers: 39 ids, no newline behind </s> (2), and the next tag begins with 529, not
 * 29966. */
static void the_worked_example(void **state)
{
    (void)state;
    static const int32_t want[39] = {1, 529, 29989, 1792, 29989, 29958, 13, 12199, 13, 29966, 29989, 465,
        22137, 29989, 29958, 13, 29903, 545, 29892, 1244, 2, 529, 29989, 1792, 29989, 29958, 13, 29916, 13,
        29966, 29989, 465, 22137, 29989, 29958, 13, 29891, 503, 2};
    const struct pc_message messages[] = {
        {"user", "hello"}, {"assistant", "Sure, here"}, {"user", "x"}, {"assistant", "y z"}};
    char *model = test_data("tokenizer/tokenizer.model");
    struct pc_tokenizer *tok;
    struct pc_ids ids = {0};
    struct paco_error err = {0};
    if (!model)
        skip_because("no LLaMA tokenizer.model in the test data (set PACO_DATA)");
    assert_int_equal(pc_vocabulary_open(model, &tok, &err), 0);
    assert_int_equal(pc_format_encode(PC_FORMAT_TULU, tok, messages, 4, -1, &ids, &err), 0);
    expect_ids("worked example", &ids, want, 39);
    ids.n = 0;
    assert_int_equal(pc_format_encode(PC_FORMAT_TULU, tok, messages, 4, 0, &ids, &err), 0);
    expect_ids("without BOS", &ids, want + 1, 38);
    ids.n = 0;
    // Meta's two-turn form: each turn a text of its own between <s> and </s>.
    assert_int_equal(pc_format_encode(PC_FORMAT_LLAMA2, tok, messages, 3, 1, &ids, &err), 0);
    static const int32_t llama2[] = {1, 518, 25580, 29962, 22172, 518, 29914, 25580, 29962, 18585, 29892,
        1244, 29871, 2, 1, 518, 25580, 29962, 921, 518, 29914, 25580, 29962};
    expect_ids("llama2", &ids, llama2, sizeof llama2 / sizeof *llama2);
    pc_ids_release(&ids);
    pc_tokenizer_free(tok);
    pc_free(model);
}

static void no_bos_where_there_is_none(void **state)
{
    (void)state;
    struct pc_tokenizer *tok = tiny("x");
    struct pc_ids ids = {0};
    struct paco_error err = {0};
    assert_int_equal(pc_format_encode(PC_FORMAT_RAW, tok, g_one, 1, 1, &ids, &err), PACO_EINVAL);
    assert_contains(err.message, "has no BOS");
    assert_int_equal(ids.n, 0);
    pc_ids_release(&ids);
    pc_tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_message_byte_for_byte),
        cmocka_unit_test(several_turns_byte_for_byte),
        cmocka_unit_test(unknown_roles_are_named),
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(templates_are_recognised),
        cmocka_unit_test(prompts_in_another_format_stand_out),
        cmocka_unit_test(the_worked_example),
        cmocka_unit_test(no_bos_where_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
