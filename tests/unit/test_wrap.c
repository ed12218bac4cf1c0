// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "eval/wrap.h"
#include "prompt/format.h"

static enum pc_format format_of(int asked, enum pc_format own)
{
    const struct pc_task_flags flags = {.use_chat_format = asked};
    return pc_wrap_format(&(const struct pc_task_env){.flags = &flags, .format = own});
}

static void test_which_format(void **state)
{
    (void)state;
    assert_int_equal(format_of(-1, PC_FORMAT_TULU), PC_FORMAT_TULU);
    assert_int_equal(format_of(-1, PC_FORMAT_CHATML), PC_FORMAT_CHATML); // its own
    assert_int_equal(format_of(-1, PC_FORMAT_AUTO), PC_FORMAT_RAW);
    assert_int_equal(format_of(0, PC_FORMAT_TULU), PC_FORMAT_RAW);
    assert_int_equal(format_of(0, PC_FORMAT_CHATML), PC_FORMAT_RAW);
    assert_int_equal(format_of(1, PC_FORMAT_CHATML), PC_FORMAT_TULU); // upstream knows no other
    assert_int_equal(format_of(1, PC_FORMAT_AUTO), PC_FORMAT_TULU);
}

static void check(enum pc_format format, const char *said, const char *answer, const char *expected)
{
    struct pc_buf b;
    pc_buf_init(&b, 1000);
    pc_buf_puts(&b, said);
    assert_int_equal(pc_wrap(format, &b, answer, NULL), 0);
    assert_string_equal(b.data, expected);
    assert_int_equal(b.len, strlen(expected));
    pc_buf_release(&b);
}

static void test_wrapped(void **state)
{
    (void)state;
    check(PC_FORMAT_RAW, "Q: 1+1?", "\nA:", "Q: 1+1?\nA:");
    check(PC_FORMAT_TULU, " Q: 1+1? ", "A:", "<|user|>\n Q: 1+1? \n<|assistant|>\nA:"); // nothing is stripped
    check(PC_FORMAT_CHATML_PLAIN, "Q: 1+1?",
        "A:", "<|im_start|>user\nQ: 1+1?<|im_end|>\n<|im_start|>assistant\nA:");
    check(PC_FORMAT_LLAMA3, "Q?", "The answer is:",
        "<|start_header_id|>user<|end_header_id|>\n\nQ?<|eot_id|><|start_header_id|>"
        "assistant"
        "<|end_header_id|>\n\nThe answer is:");
    check(PC_FORMAT_TULU, "", "A:", "<|user|>\n\n<|assistant|>\nA:");
}

/* A prompt that does not fit its buffer is an error, not a shorter prompt. */
static void test_too_long(void **state)
{
    (void)state;
    struct pc_buf b;
    struct paco_error err = {0};
    pc_buf_init(&b, 20);
    pc_buf_puts(&b, "0123456789012345");
    assert_int_equal(pc_wrap(PC_FORMAT_TULU, &b, "A:", &err), PACO_ELIMIT);
    assert_contains(err.message, "a prompt");
    pc_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_format), cmocka_unit_test(test_wrapped), cmocka_unit_test(test_too_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
