// SPDX-License-Identifier: Apache-2.0
/* Bodies that are meant to hurt: each is refused with the field it is about, or taken for what it says, and
 * not in minutes. What is no JSON at all is refused by the parser, with the byte. */
#include "letters_model.h"

#include "base/json.h"
#include "engine/grammar.h"
#include "serve/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct pc_served g_model;
static struct pc_house g_house = {.models = &g_model, .n_models = 1, .context = 64};
static const struct pc_call_limits g_limits = {.context = 64, .default_tokens = 8};

static int setup(void **state)
{
    (void)state;
    static const int32_t eos[] = {EOS};
    g_model = (struct pc_served){.name = "letters",
        .n_vocab = V,
        .tok = letters_tokenizer(),
        .format = PC_FORMAT_RAW,
        .bos = -1,
        .eos = eos,
        .n_eos = 1,
        .n_own_eos = 1};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pc_tokenizer_free((struct pc_tokenizer *)(uintptr_t)g_model.tok);
    return 0;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); // of this thread: others may keep the machine busy
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

enum {
    TAKEN = 0,
    NO_JSON = 1,
    ENDLESS = 20, // seconds of a processor; the worst takes .3, those whose work was not counted took minutes
};
static int g_n_wrong;

/* What becomes of a body: 0 or NO_JSON or the fault's status, with param and message. */
static int send(enum pc_call_kind kind, const char *body, size_t len, struct pc_fault *fault)
{
    json_t *root = NULL;
    struct pc_call c = {0};
    struct paco_error err = {0};
    *fault = (struct pc_fault){0};
    double begin = now();
    int rc = pc_json_parse(body, len, NULL, 0, &root, &err);
    if (rc < 0)
        snprintf(fault->message, sizeof fault->message, "%.700s", err.message);
    else
        pc_call_read(&c, kind, root, &g_house, &g_limits, fault);
    pc_call_release(&c);
    json_decref(root);
    if (!getenv("PACO_SANITIZED") && !getenv("PACO_EMULATED") && now() - begin > ENDLESS)
        fail_msg("%.100s took %.1f s", body, now() - begin);
    return rc < 0 ? NO_JSON : fault->status;
}

static void assert_sent(
    enum pc_call_kind kind, const char *body, size_t len, int status, const char *param, const char *message)
{
    struct pc_fault fault;
    int got = send(kind, body, len, &fault);
    if (got != status || strcmp(fault.param, param) != 0 || !strstr(fault.message, message)) {
        g_n_wrong++;
        print_error("%.200s: %d '%s' %s, not %d '%s' %s\n", body, got, fault.param, fault.message, status,
            param, message);
    }
}

#define TALK "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]"
#define FORM(schema)                                                                                         \
    "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":" schema "}}"
#define SCHEMA "response_format.json_schema.schema"

static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *field, *param, *message;
        int status;
    } cases[] = {
        // no UTF-8, and halves of characters, wherever they stand
        {"\"stop\":\"\xff\"", "", "UTF-8", NO_JSON},
        {"\"user\":\"\xc0\xaf\"", "", "UTF-8", NO_JSON},
        {"\"model\":\"\xed\xa0\x80\"", "", "UTF-8", NO_JSON},
        {"\"logit_bias\":{\"\xfe\":1}", "", "UTF-8", NO_JSON},
        {FORM("{\"properties\":{\"\x80\":{}}}"), "", "UTF-8", NO_JSON},
        {"\"stop\":\"\\ud800\"", "", "JSON", NO_JSON},
        {"\"user\":\"\\udc00\\ud800\"", "", "JSON", NO_JSON},
        {FORM("{\"pattern\":\"\\ud83d\"}"), "", "JSON", NO_JSON},
        {"\"user\":\"\\ud83d\\ude00\"", "", "", TAKEN},
        // NUL
        {"\"stop\":\"a\\u0000b\"", "stop", "NUL", 400},
        {"\"model\":\"letters\\u0000\"", "model", "does not exist", 404},
        {"\"user\":\"\\u0000\"", "", "", TAKEN},
        {"\"response_format\":{\"type\":\"json_object\\u0000\"}", "response_format.type", "Invalid value",
            400},
        {"\"logit_bias\":{\"\\u0000\":1}", "", "JSON", NO_JSON},
        {FORM("{\"type\":\"string\\u0000\"}"), SCHEMA, "no type of JSON", 400},
        {FORM("{\"required\":[\"a\\u0000\"]}"), SCHEMA, "an array of names", 400},
        {FORM("{\"$ref\":\"#\\u0000\"}"), SCHEMA, "not there", 400},
        {FORM("{\"pattern\":\"\\u0000\",\"maxLength\":1}"), "", "", TAKEN},
        {FORM("{\"enum\":[\"\\u0000\"]}"), "", "", TAKEN},
        // numbers
        {"\"temperature\":NaN", "", "JSON", NO_JSON},
        {"\"temperature\":Infinity", "", "JSON", NO_JSON},
        {"\"temperature\":1e999", "", "JSON", NO_JSON},
        {"\"temperature\":-0", "", "", TAKEN},
        {"\"temperature\":-0.0", "", "", TAKEN},
        {"\"temperature\":-1e-300", "temperature", "from 0 to 2", 400},
        {"\"temperature\":99999999999999999999999999", "temperature", "from 0 to 2", 400},
        {"\"max_tokens\":99999999999999999999999999", "max_tokens", "an integer from 1", 400},
        {"\"max_tokens\":-9223372036854775808", "max_tokens", "an integer from 1", 400},
        {"\"seed\":18446744073709551616", "seed", "an integer from", 400},
        {"\"n\":1e0", "", "", TAKEN},
        {"\"n\":1e-5", "n", "an integer", 400},
        {"\"logit_bias\":{\"1\":1e308}", "logit_bias", "-100 to 100", 400},
        {"\"logit_bias\":{\"99999999999999999999\":1}", "logit_bias", "no token id", 400},
        {"\"logit_bias\":{\" 1\":1}", "logit_bias", "no token id", 400},
        {"\"logit_bias\":{\"+1\":1}", "logit_bias", "no token id", 400},
        {"\"logit_bias\":{\"\":1}", "logit_bias", "no token id", 400},
        {FORM("{\"minItems\":1e300}"), SCHEMA, "\"minItems\" at / is more than", 400},
        {FORM("{\"minimum\":1e308,\"type\":\"number\"}"), SCHEMA, "nothing has this form", 400},
        {FORM("{\"maximum\":1e308,\"minimum\":-1e-308,\"type\":\"number\"}"), "", "", TAKEN},
        {FORM("{\"multipleOf\":1e-300}"), SCHEMA, "its digits must be", 400},
        {FORM("{\"multipleOf\":-1}"), SCHEMA, "a number above 0", 400},
        // twice, nothing, names that mean something elsewhere
        {"\"stop\":\"a\",\"stop\":\"b\"", "", "duplicate", NO_JSON},
        {"\"stop\":\"\"", "stop", "0 bytes", 400},
        {"\"stop\":[]", "", "", TAKEN},
        {"\"__proto__\":{\"temperature\":9},\"constructor\":1", "", "", TAKEN},
        {FORM("{\"properties\":{\"__proto__\":{\"type\":\"null\"},\"\":{}},\"required\":[\"__proto__\",\"\"]"
              "}"),
            "", "", TAKEN},
        {FORM("{\"$ref\":\"#/$ref\"}"), SCHEMA, "a string; an object is expected", 400},
        {FORM("{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":\"#/$defs/"
              "a\"}}}"),
            SCHEMA, "refers to itself", 400},
        {FORM("{\"allOf\":[{\"$ref\":\"#\"}]}"), SCHEMA, "refers to itself", 400},
        {FORM("{\"$ref\":\"#/enum/0\",\"enum\":[3]}"), SCHEMA, "an integer; an object is expected", 400},
        {FORM("{\"anyOf\":{},\"type\":[]}"), SCHEMA, "an array that is not empty", 400},
        {FORM("{\"format\":[]}"), SCHEMA, "a string is expected", 400},
    };
    char body[1000];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int n = snprintf(body, sizeof body, "{" TALK ",%s}", cases[i].field);
        assert_sent(PC_CALL_CHAT, body, (size_t)n, cases[i].status, cases[i].param, cases[i].message);
    }
    static const char role[] = "{\"messages\":[{\"role\":\"user\\u0000\",\"content\":\"a\"}]}";
    assert_sent(PC_CALL_CHAT, role, sizeof role - 1, 400, "messages[0].role", "Invalid value");
    static const char part[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\\u0000\",\"text\":\"a\"}]}]}";
    assert_sent(
        PC_CALL_CHAT, part, sizeof part - 1, 400, "messages[0].content[0].type", "only parts of type");
    static const char encoding[] = "{\"input\":\"a\",\"encoding_format\":\"float\\u0000\"}";
    assert_sent(PC_CALL_EMBEDDING, encoding, sizeof encoding - 1, 400, "encoding_format", "Invalid value");
    assert_int_equal(g_n_wrong, 0);
}

/* A body of `before`, n times piece with a comma between, `after`. */
static void send_many(const char *before, const char *piece, const char *comma, size_t n, const char *after,
    int status, const char *param, const char *message)
{
    size_t len = strlen(before), size = len + strlen(after) + n * (strlen(piece) + 24) + 1;
    char *body = malloc(size);
    memcpy(body, before, len);
    for (size_t i = 0; i < n; i++) {
        if (i)
            len += (size_t)snprintf(body + len, size - len, "%s", comma);
        // %zu in a piece is its number
        const char *at = strstr(piece, "%zu");
        if (at)
            len += (size_t)snprintf(body + len, size - len, "%.*s%zu%s", (int)(at - piece), piece, i, at + 3);
        else
            len += (size_t)snprintf(body + len, size - len, "%s", piece);
    }
    len += (size_t)snprintf(body + len, size - len, "%s", after);
    assert_sent(PC_CALL_CHAT, body, len, status, param, message);
    free(body);
}

static void many(void **state)
{
    (void)state;
    static const char schema[] =
        "{" TALK ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":";
    char before[400];
    send_many("{" TALK ",\"x\":", "[", "", 100000, "", NO_JSON, "", "nested deeper than 64");
    send_many("{" TALK ",\"x\":", "{\"a\":", "", 100000, "", NO_JSON, "", "nested deeper than 64");
    send_many("{" TALK ",\"stop\":[", "\"x%zu\"", ",", 5000, "]}", 400, "stop", "5000 texts; at most 64");
    send_many("{" TALK ",\"stop\":[", "\"x%zu\"", ",", 500000, "]}", 400, "stop", "500000 texts; at most 64");
    send_many(
        "{" TALK ",\"logit_bias\":{", "\"%zu\":1", ",", 100000, "}}", 400, "logit_bias", "100000 tokens");
    send_many("{\"messages\":[", "{\"role\":\"user\",\"content\":\"a\"}", ",", 20000, "]}", 400, "messages",
        "20000 messages");
    send_many("{" TALK ",", "\"k%zu\":0", ",", 200000, "}", TAKEN, "", "");
    snprintf(before, sizeof before, "%s{\"enum\":[", schema);
    send_many(before, "\"v%zu\"", ",", 100000, "]}}}}", 400, SCHEMA, "more than");
    send_many(before, "%zu", ",", 900, "]}}}}", TAKEN, "", "");
    snprintf(before, sizeof before, "%s{\"description\":\"", schema);
    send_many(before, "eight MB", "", 1 << 20, "\"}}}}", TAKEN, "", "");
    snprintf(before, sizeof before, "%s{\"const\":\"", schema);
    send_many(before, "eight MB", "", 1 << 20, "\"}}}}", 400, SCHEMA, "");
    snprintf(before, sizeof before, "%s{\"pattern\":\"", schema);
    send_many(
        before, "eight MB", "", 1 << 20, "\"}}}}", 400, SCHEMA, "\"pattern\" at /: it has 8388608 bytes");
    send_many(before, "(", "", 2000, "\"}}}}", 400, SCHEMA, "groups are more than 64 deep");
    send_many(before, "(a|b)*", "", 600, "a\"}}}}", TAKEN, "", "");
    send_many(before, "(x+x+)+y", "", 300, "\"}}}}", TAKEN, "", "");
    snprintf(before, sizeof before, "%s{\"pattern\":\"^(.((){0,1000}){0,14})*a.{11}[", schema);
    send_many(before, "\\\\u{%zu}", "", 400, "]$\"}}}}", 400, SCHEMA, "too much work");
    snprintf(before, sizeof before, "%s{\"pattern\":\"", schema);
    send_many(before, "[ab]{1,9}c?", "", 300, "\"}}}}", TAKEN, "", "");
    snprintf(before, sizeof before, "%s{\"pattern\":\"^a$\",\"enum\":[", schema);
    send_many(before, "\"b\"", ",", 900000, "]}}}}", 400, SCHEMA, "too much work");
    snprintf(before, sizeof before,
        "%s{\"properties\":{\"a\":{\"allOf\":[{\"$ref\":\"#/$defs/"
        "a\"}],\"anyOf\":[true,true,true,true,true,true,true]}},"
        "\"$defs\":{\"a\":{\"type\":\"string\",",
        schema);
    send_many(before, "\"x-%zu\":0", ",", 200000, "}}}}}}", 400, SCHEMA, "too much work");
    snprintf(before, sizeof before, "%s{\"properties\":{", schema);
    send_many(before, "\"p%zu\":{}", ",", 900, "}}}}}", TAKEN, "", "");
    send_many(before, "\"p%zu\":{}", ",", 100000, "}}}}}", 400, SCHEMA, "more than 1000 properties");
    send_many(before, "\"p%zu\":{\"type\":\"number\",\"minimum\":-0.5,\"maximum\":1e9}", ",", 500, "}}}}}",
        400, SCHEMA, "");
    snprintf(before, sizeof before, "%s{\"anyOf\":[", schema);
    send_many(before, "{\"const\":%zu}", ",", 100000, "]}}}}", 400, SCHEMA, "100000 branches");
    send_many(before, "{\"minLength\":%zu}", ",", 900, "]}}}}", TAKEN, "", "");
    snprintf(before, sizeof before, "%s{\"allOf\":[", schema);
    send_many(before, "{\"minLength\":%zu}", ",", 1000, "]}}}}", 400, SCHEMA, "more than 48 schemas");
    snprintf(before, sizeof before, "%s{\"required\":[", schema);
    send_many(before, "\"r%zu\"", ",", 100000, "]}}}}", 400, SCHEMA, "more than 1000 properties");
    snprintf(before, sizeof before, "%s{\"type\":[", schema);
    send_many(before, "\"string\"", ",", 100000, "]}}}}", TAKEN, "", "");
    snprintf(before, sizeof before, "%s{\"prefixItems\":[", schema);
    send_many(before, "{\"minItems\":%zu}", ",", 100000, "]}}}}", 400, SCHEMA, "");
    assert_int_equal(g_n_wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts), cmocka_unit_test(many)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
