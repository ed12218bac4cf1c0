// SPDX-License-Identifier: Apache-2.0
/* Requests as the server reads them: what each field means, and how what is wrong with one is told. */
#include "letters_model.h"

#include "base/json.h"
#include "base/memory.h"
#include "serve/call.h"

#include <math.h>
#include <stdio.h>

static struct pc_tokenizer *g_tok;
static struct pc_served g_models[2];
static struct pc_house g_house = {.models = g_models, .n_models = 2, .context = 20};
static const struct pc_call_limits g_limits = {.context = 20, .default_tokens = 8};

static int setup(void **state)
{
    (void)state;
    static const char *const stops[] = {"the", "x"};
    static const int32_t eos[] = {EOS};
    g_tok = letters_tokenizer();
    g_models[0] = (struct pc_served){.name = "letters",
        .n_vocab = V,
        .tok = g_tok,
        .format = PC_FORMAT_RAW,
        .bos = -1,
        .eos = eos,
        .n_eos = 1,
        .n_own_eos = 1,
        .stops = stops,
        .n_stops = 2,
        .sampling = {.temperature = 0.5, .top_k = 7, .repetition_penalty = 1.5}};
    g_models[1] = g_models[0];
    g_models[1].name = "other";
    g_models[1].system = "be";
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pc_tokenizer_free(g_tok);
    return 0;
}

static int read(struct pc_call *c, enum pc_call_kind kind, const char *text, struct pc_fault *fault)
{
    json_t *root = NULL;
    struct paco_error err = {0};
    if (pc_json_parse(text, strlen(text), NULL, 0, &root, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    int rc = pc_call_read(c, kind, root, &g_house, &g_limits, fault);
    json_decref(root);
    return rc;
}

static struct pc_call taken(enum pc_call_kind kind, const char *text)
{
    struct pc_call c;
    struct pc_fault fault = {0};
    if (read(&c, kind, text, &fault) < 0 || fault.status)
        fail_msg("%s: %d %s", text, fault.status, fault.message);
    return c;
}

static void refused(enum pc_call_kind kind, const char *text, int status, const char *code, const char *param,
    const char *message)
{
    struct pc_call c;
    struct pc_fault fault = {0};
    if (read(&c, kind, text, &fault) >= 0)
        fail_msg("%s was taken", text);
    pc_call_release(&c);
    if (fault.status != status || strcmp(fault.code, code) != 0 || strcmp(fault.param, param) != 0)
        fail_msg("%s: %d %s '%s', not %d %s '%s'", text, fault.status, fault.code, fault.param, status, code,
            param);
    assert_contains(fault.message, message);
}

static void test_chat(void **state)
{
    (void)state;
    struct pc_call c = taken(PC_CALL_CHAT,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"ab\"}],\"max_tokens\":3,\"max_completion_tokens\":4,"
        "\"stop\":[\"q\",\"r\"],\"seed\":-1,\"stream\":true,\"stream_options\":{\"include_usage\":true},"
        "\"logprobs\":true,\"n\":2}");
    assert_ptr_equal(c.model, &g_models[0]);
    assert_int_equal(c.n_prompts, 1);
    assert_int_equal(c.prompts[0].ids.n, 2);
    assert_int_equal(c.max_tokens, 4); /* the newer name */
    assert_int_equal(pc_call_tokens(&c, &g_limits, 0), 4);
    assert_int_equal(c.n, 2);
    assert_true(c.stream && c.include_usage && c.n_logprobs == 0);
    assert_true(c.sampler.seed == UINT64_MAX);
    assert_int_equal(c.n_stops, 4); /* its own, then the format's */
    assert_string_equal(c.stops[1], "r");
    assert_string_equal(c.stops[2], "the");
    pc_call_release(&c);
    c = taken(PC_CALL_CHAT, "{\"model\":\"other\",\"messages\":[{\"role\":\"user\",\"content\":"
                            "[{\"type\":\"text\",\"text\":\"c\"},{\"type\":\"text\",\"text\":\"d\"}]}]}");
    assert_ptr_equal(c.model, &g_models[1]);
    assert_true(c.prompts[0].ids.n >= 4); /* with the model's system message */
    assert_int_equal(c.max_tokens, -1);
    assert_int_equal(pc_call_tokens(&c, &g_limits, 0), 8); /* the server's default */
    assert_int_equal(c.n_logprobs, -1);
    pc_call_release(&c);
    /* An assistant that refused, as OpenAI's clients hand its turn back. */
    struct pc_call said = taken(PC_CALL_CHAT, "{\"messages\":[{\"role\":\"assistant\",\"content\":\"cd\"}]}");
    c = taken(PC_CALL_CHAT,
        "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"refusal\":\"cd\",\"tool_calls\":[]}]}");
    assert_int_equal(c.prompts[0].ids.n, said.prompts[0].ids.n);
    assert_memory_equal(
        c.prompts[0].ids.v, said.prompts[0].ids.v, c.prompts[0].ids.n * sizeof *c.prompts[0].ids.v);
    pc_call_release(&said);
    pc_call_release(&c);
}

static void test_sampling(void **state)
{
    (void)state;
    struct pc_call c = taken(PC_CALL_TEXT, "{\"prompt\":\"a\"}");
    assert_true(c.sampler.temperature == 0.5 && c.sampler.top_k == 7 && c.sampler.repetition_penalty == 1.5);
    assert_false(c.ignore_eos);
    assert_int_equal(c.max_tokens, 16);
    assert_int_equal(c.n_stops, 0); /* a format's stops are not a completion's */
    pc_call_release(&c);
    c = taken(PC_CALL_TEXT,
        "{\"prompt\":\"a\",\"temperature\":0,\"top_p\":0.5,\"top_k\":-1,\"min_p\":0.25,\"presence_penalty\":-"
        "2,"
        "\"frequency_penalty\":1.5,\"repetition_penalty\":1,\"logit_bias\":{\"3\":-100,\"5\":2},\"seed\":7,"
        "\"logprobs\":5,\"echo\":true,\"stop\":\"z\",\"user\":\"u\",\"unknown\":[[]],\"n\":null,\"ignore_"
        "eos\":true}");
    const struct pc_sampler_options *s = &c.sampler;
    assert_true(s->temperature == 0 && s->top_p == 0.5 && s->top_k == 0 && s->min_p == 0.25 && s->seed == 7);
    assert_true(s->presence_penalty == -2 && s->frequency_penalty == 1.5 && s->repetition_penalty == 1);
    assert_int_equal(s->n_bias, 2);
    assert_true(s->bias[0].id == 3 && s->bias[0].bias == -100);
    assert_true(c.echo && c.n_logprobs == 5 && c.n_stops == 1 && c.n == 1 && c.ignore_eos);
    pc_call_release(&c);
}

static void test_prompts(void **state)
{
    (void)state;
    struct pc_call c = taken(PC_CALL_TEXT, "{\"prompt\":[\"ab\",\"c\"]}");
    assert_int_equal(c.n_prompts, 2);
    assert_int_equal(c.prompts[1].ids.v[0], 2);
    assert_string_equal(c.prompts[0].text, "ab");
    pc_call_release(&c);
    c = taken(PC_CALL_TEXT, "{\"prompt\":[4,5,6]}");
    assert_int_equal(c.n_prompts, 1);
    assert_int_equal(c.prompts[0].ids.n, 3);
    assert_null(c.prompts[0].text);
    pc_call_release(&c);
    c = taken(PC_CALL_TEXT, "{\"prompt\":[[4],[5,6]],\"max_tokens\":0}");
    assert_int_equal(c.n_prompts, 2);
    assert_int_equal(c.prompts[1].ids.v[1], 6);
    pc_call_release(&c);
    c = taken(PC_CALL_EMBEDDING, "{\"input\":[\"ab\"],\"encoding_format\":\"base64\"}");
    assert_true(c.base64 && c.n_prompts == 1 && c.max_tokens == 0);
    pc_call_release(&c);
}

#define TALK "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]"

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        enum pc_call_kind kind;
        const char *text, *code, *param, *message;
    } bad[] = {
        {PC_CALL_TEXT, "[]", "invalid_type", "", "it is an array"},
        {PC_CALL_TEXT, "{}", "missing_required_parameter", "prompt", "'prompt'"},
        {PC_CALL_CHAT, "{}", "missing_required_parameter", "messages", "'messages'"},
        {PC_CALL_EMBEDDING, "{}", "missing_required_parameter", "input", "'input'"},
        {PC_CALL_CHAT, "{\"messages\":{}}", "invalid_type", "messages", "got an object"},
        {PC_CALL_CHAT, "{\"messages\":[{\"role\":\"user\"}]}", "invalid_type", "messages[0].content", "null"},
        {PC_CALL_CHAT, "{\"messages\":[{\"role\":\"assistant\",\"content\":null}]}", "invalid_type",
            "messages[0].content", "null"},
        {PC_CALL_CHAT, "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{}]}]}",
            "unsupported_parameter", "messages[0].tool_calls", "calls of tools"},
        {PC_CALL_CHAT, "{\"messages\":[{\"role\":\"assistant\",\"refusal\":\"a\\u0000\"}]}", "invalid_value",
            "messages[0].refusal", "NUL"},
        {PC_CALL_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[]}]}", "invalid_type",
            "messages[0].content", "content parts"},
        {PC_CALL_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}",
            "invalid_type", "messages[0].content[0].text", "a string"},
        {PC_CALL_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}", "invalid_value",
            "messages[0].content", "NUL"},
        {PC_CALL_CHAT, "{\"messages\":[{\"role\":\"king\",\"content\":\"a\"}]}", "invalid_value",
            "messages[0].role", "'king'"},
        {PC_CALL_CHAT, "{" TALK ",\"max_tokens\":0}", "invalid_value", "max_tokens", "from 1"},
        {PC_CALL_CHAT, "{" TALK ",\"temperature\":2.5}", "invalid_value", "temperature",
            "2.5; a number from 0 to 2"},
        {PC_CALL_CHAT, "{" TALK ",\"temperature\":true}", "invalid_type", "temperature", "got a boolean"},
        {PC_CALL_CHAT, "{" TALK ",\"stream\":0}", "invalid_type", "stream", "a boolean, but got an integer"},
        {PC_CALL_CHAT, "{" TALK ",\"n\":1e3}", "invalid_value", "n", "1000; an integer from 1 to 128"},
        {PC_CALL_CHAT, "{" TALK ",\"seed\":1e300}", "invalid_value", "seed", "1e+300"},
        {PC_CALL_CHAT, "{" TALK ",\"seed\":0.5}", "invalid_type", "seed", "an integer"},
        {PC_CALL_CHAT, "{" TALK ",\"stop\":[\"a\\u0000\"]}", "invalid_value", "stop[0]", "NUL"},
        {PC_CALL_CHAT, "{" TALK ",\"stop\":[\"b\",[]]}", "invalid_type", "stop[1]", "got an array"},
        {PC_CALL_CHAT, "{" TALK ",\"stop\":3}", "invalid_type", "stop",
            "a list of strings, but got an integer"},
        {PC_CALL_CHAT, "{" TALK ",\"logit_bias\":{\"-1\":0}}", "invalid_value", "logit_bias", "'-1'"},
        {PC_CALL_CHAT, "{" TALK ",\"logit_bias\":{\"32\":0}}", "invalid_value", "logit_bias", "below 32"},
        {PC_CALL_CHAT, "{" TALK ",\"logit_bias\":{\"1\":\"a\"}}", "invalid_type", "logit_bias",
            "got a string"},
        {PC_CALL_CHAT, "{" TALK ",\"logprobs\":3}", "invalid_type", "logprobs", "a boolean"},
        {PC_CALL_CHAT, "{" TALK ",\"logprobs\":true,\"top_logprobs\":21}", "invalid_value", "top_logprobs",
            "0 to 20"},
        {PC_CALL_CHAT, "{" TALK ",\"response_format\":{\"type\":\"json_object\"},\"ignore_eos\":true}",
            "unsupported_value", "ignore_eos", "response_format"},
        {PC_CALL_CHAT, "{" TALK ",\"ignore_eos\":1}", "invalid_type", "ignore_eos", "integer"},
        {PC_CALL_CHAT, "{" TALK ",\"response_format\":\"json\"}", "invalid_type", "response_format",
            "an object"},
        {PC_CALL_CHAT, "{" TALK ",\"response_format\":{\"type\":\"yaml\"}}", "invalid_value",
            "response_format.type", "'json_schema'"},
        {PC_CALL_CHAT, "{" TALK ",\"max_tokens\":20}", "context_length_exceeded", "messages",
            "length is 20 tokens. However, you requested 21 tokens (1 in the messages, 20 in the "
            "completion)"},
        {PC_CALL_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"aaaaaaaaaaaaaaaaaaaa\"}]}",
            "context_length_exceeded", "messages", "your messages resulted in 20 tokens"},
        {PC_CALL_TEXT, "{\"prompt\":\"a\",\"echo\":1}", "invalid_type", "echo", "a boolean"},
        {PC_CALL_TEXT, "{\"prompt\":[\"a\",1]}", "invalid_type", "prompt[1]", "got an integer"},
        {PC_CALL_TEXT, "{\"prompt\":[1,32]}", "invalid_value", "prompt[1]", "token 32; the"},
        {PC_CALL_TEXT, "{\"prompt\":[[1],[2,\"a\"]]}", "invalid_type", "prompt[1][1]", "a token id"},
        {PC_CALL_TEXT, "{\"prompt\":[\"a\",\"aaaaaaaaaaaaaaaaaaaaa\"]}", "context_length_exceeded",
            "prompt[1]", "your prompt[1] resulted in 21 tokens"},
        {PC_CALL_TEXT, "{\"prompt\":[[]]}", "invalid_value", "prompt", "no tokens"},
        {PC_CALL_TEXT, "{\"prompt\":\"a\",\"best_of\":2}", "unsupported_value", "best_of", "as large as 'n'"},
        {PC_CALL_EMBEDDING, "{\"input\":\"a\",\"encoding_format\":\"hex\"}", "invalid_value",
            "encoding_format", "'base64'"},
        {PC_CALL_EMBEDDING, "{\"input\":\"a\",\"dimensions\":3}", "unsupported_parameter", "dimensions",
            "cannot be changed"},
        {PC_CALL_EMBEDDING, "{\"input\":\"aaaaaaaaaaaaaaaaaaaaa\"}", "context_length_exceeded", "input",
            "your input resulted in 21 tokens"},
        {PC_CALL_TEXT, "{\"prompt\":\"a\",\"model\":[]}", "invalid_type", "model", "a string"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i].kind, bad[i].text, 400, bad[i].code, bad[i].param, bad[i].message);
    refused(PC_CALL_TEXT, "{\"prompt\":\"a\",\"model\":\"nobody\"}", 404, "model_not_found", "model",
        "The model 'nobody' does not exist");
}

/* Who says by which field what an answer must be; letters_model's tokens are letters. */
static void test_forms(void **state)
{
    (void)state;
    static const char *const taken_as[] = {"\"guided_regex\":\"ab?\"", "\"regex\":\"ab\"",
        "\"guided_choice\":[\"ab\",\"cd\"]", "\"guided_json\":{\"type\":\"string\"}",
        "\"guided_json\":\"{\\\"type\\\":\\\"string\\\"}\"", "\"json_schema\":{}",
        "\"structured_outputs\":{\"regex\":\"a\"}", "\"structured_outputs\":{\"json_object\":true}",
        "\"grammar\":\"\",\"guided_grammar\":null,\"response_format\":{\"type\":\"json_object\"}"};
    char text[400];
    for (size_t i = 0; i < sizeof taken_as / sizeof *taken_as; i++) {
        snprintf(text, sizeof text, "{\"prompt\":\"a\",%s}", taken_as[i]);
        struct pc_call c = taken(PC_CALL_TEXT, text);
        assert_non_null(c.sampler.grammar);
        pc_call_release(&c);
    }
    struct pc_call c = taken(
        PC_CALL_TEXT, "{\"prompt\":\"a\",\"response_format\":{\"type\":\"text\"},\"structured_outputs\":{}}");
    assert_null(c.sampler.grammar);
    pc_call_release(&c);
    static const struct {
        const char *field, *code, *param, *message;
    } bad[] = {
        {"\"grammar\":\"root ::= x\"", "unsupported_parameter", "grammar",
            "a JSON schema, a pattern or a list"},
        {"\"guided_grammar\":\"x\"", "unsupported_parameter", "guided_grammar", "guided_grammar"},
        {"\"ebnf\":\"x\"", "unsupported_parameter", "ebnf", "ebnf"},
        {"\"structured_outputs\":{\"structural_tag\":{}}", "unsupported_parameter",
            "structured_outputs.structural_tag", "Unsupported"},
        {"\"structured_outputs\":[]", "invalid_type", "structured_outputs", "an object"},
        {"\"guided_json\":[]", "invalid_type", "guided_json", "a schema, or the text of one"},
        {"\"guided_json\":\"{\"", "invalid_schema", "guided_json", "JSON: ends too early"},
        {"\"guided_json\":\"3\"", "invalid_schema", "guided_json", "an object is expected"},
        {"\"guided_regex\":3", "invalid_type", "guided_regex", "a string"},
        {"\"guided_regex\":\"a(\"", "invalid_schema", "guided_regex",
            "Invalid pattern for 'guided_regex': there is a group that does not end at byte 2"},
        {"\"guided_regex\":\"a$b\"", "invalid_schema", "guided_regex", "nothing has this form"},
        {"\"guided_choice\":[]", "invalid_schema", "guided_choice", "not empty"},
        {"\"guided_choice\":[\"a\",\"\"]", "invalid_schema", "guided_choice", "choice 1 is empty"},
        {"\"guided_choice\":[\"a\",3]", "invalid_schema", "guided_choice", "choice 1 is an integer"},
        {"\"guided_choice\":\"a\"", "invalid_type", "guided_choice", "a list of strings"},
        {"\"guided_regex\":\"a\",\"response_format\":{\"type\":\"json_object\"}", "invalid_value",
            "guided_regex", "by another field"},
        {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"not\":{}}}}",
            "invalid_schema", "response_format.json_schema.schema", "\"not\" at /"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "{\"prompt\":\"a\",%s}", bad[i].field);
        refused(PC_CALL_TEXT, text, 400, bad[i].code, bad[i].param, bad[i].message);
    }
}

/* Every allocation fails in turn: 503, and nothing is lost. */
static void test_torture(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                                        "\"text\":\"ab\"}]}],\"stop\":[\"q\"],"
                                        "\"logit_bias\":{\"1\":2}}",
        "{\"prompt\":[\"ab\",\"c\"],\"stop\":\"q\"}",
        "{\"prompt\":\"a\",\"guided_json\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\","
        "\"pattern\":\"^(?!b)a\"},"
        "\"b\":{\"type\":\"number\",\"minimum\":1,\"multipleOf\":2}},\"required\":[\"a\"],"
        "\"patternProperties\":{\"^x\":{\"enum\":[1]}},"
        "\"additionalProperties\":{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"array\",\"prefixItems\":[{}]}]}}"
        "}"};
    for (size_t i = 0; i < 3; i++)
        for (int n = 0;; n++) {
            json_t *root = json_loads(texts[i], 0, NULL);
            struct pc_call c;
            struct pc_fault fault = {0};
            pc_alloc_fail_after(n);
            int rc = pc_call_read(&c, i ? PC_CALL_TEXT : PC_CALL_CHAT, root, &g_house, &g_limits, &fault);
            pc_alloc_fail_after(-1);
            pc_call_release(&c);
            json_decref(root);
            if (rc == 0)
                break;
            assert_int_equal(fault.status, 503);
            assert_true(n < 3000);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
