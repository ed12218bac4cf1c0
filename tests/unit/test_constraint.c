// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/memory.h"
#include "engine/constraint.h"
#include "engine/json_schema.h"
#include "engine/sampler.h"
#include "tokenizer/vocab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *parse(const char *text)
{
    json_t *v = NULL;
    struct paco_error err = {0};
    if (pc_json_parse(text, strlen(text), NULL, 0, &v, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return v;
}

static struct pc_grammar *compile(const char *schema)
{
    json_t *v = schema ? parse(schema) : NULL;
    struct pc_grammar *g = NULL;
    struct paco_error err = {0};
    if (pc_json_schema_compile(v, &g, &err) < 0)
        fail_msg("%s: %s", schema, err.message);
    json_decref(v);
    return g;
}

enum verdict { WRONG, BEGINS, WHOLE };

/* What a text is to a schema: bytes that do not fit, a beginning, or a whole. Settled now and then, as
 * answers are. */
static enum verdict judge(const char *schema, const char *text)
{
    struct pc_grammar *g = compile(schema);
    struct pc_follower *f;
    struct paco_error err = {0};
    assert_int_equal(pc_follower_new(g, &f, &err), 0);
    pc_grammar_unref(g);
    bool fits = true;
    pc_alloc_forbid(true);
    for (size_t i = 0; text[i] && fits; i++) {
        fits = pc_follower_step(f, (uint8_t)text[i]);
        if (i % 3 == 2)
            pc_follower_settle(f);
    }
    pc_alloc_forbid(false);
    enum verdict v = !fits ? WRONG : pc_follower_may_end(f) ? WHOLE : BEGINS;
    pc_follower_free(f);
    return v;
}

static void assert_judged(const char *schema, const char *text, enum verdict expected)
{
    enum verdict found = judge(schema, text);
    if (found != expected)
        fail_msg("%s judged %s: %d", schema ? schema : "any object", text, found);
}

static void knows_json(void **state)
{
    (void)state;
    static const char *const whole[] = {"{}", "{ }", "{\"a\":1}",
        "{\"a\": [true, false, null, -0.5e+10, \"\"]}", "{\n  \"a\": {\n    \"b\": []\n  }\n}",
        "{\"\\u00e9\\ud83d\\ude00\\n\":\"\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80\"}",
        "{\"a\":123456789012345.1234567890123456}"};
    static const char *const wrong[] = {"[", "{a", "{\"a\":01", "{\"a\":+", "{\"a\":.", "{\"a\" 1", "{,",
        "{\"a\":1,}", "{\"a\":\"\n", "{\"a\":\"\\x", "{\"a\":\"\xc0", "{\"a\":\"\xed\xa0", "{\"a\":\"\xf5",
        "{\"a\":\"\\udc00", "{\"a\":\"\\ud83dx", "{}}", "{\"a\":tru}", "{\"a\":12345678901234567", "{  ",
        "{\"a\":1e123"};
    static const char *const begun[] = {
        "", "{", "{\"a", "{\"a\":\"\\ud83d", "{\"a\":-", "{\"a\":1", "{\"a\":[[[["};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        assert_judged(NULL, whole[i], WHOLE);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_judged(NULL, wrong[i], WRONG);
    for (size_t i = 0; i < sizeof begun / sizeof *begun; i++)
        assert_judged(NULL, begun[i], BEGINS);
    char deep[2000] = "{\"a\":";
    memset(deep + 5, '[', 1500);
    assert_judged(NULL, deep, BEGINS); // as deep as an answer likes
}

static const char PERSON[] =
    "{\"type\":\"object\",\"title\":\"Person\",\"properties\":{\"name\":{\"type\":\"string\"},"
    "\"age\":{\"type\":\"integer\"},\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"a\",\"b\\\"\"]},"
    "\"minItems\":1,\"maxItems\":2}},\"required\":[\"name\",\"tags\"],\"additionalProperties\":false}";

static void holds_objects_to_their_schema(void **state)
{
    (void)state;
    assert_judged(PERSON, "{\"name\":\"x\",\"age\":3,\"tags\":[\"a\"]}", WHOLE);
    assert_judged(PERSON, "{\"name\": \"x\", \"tags\": [\"b\\\"\", \"a\"]}", WHOLE);
    assert_judged(PERSON, "{\"age", WRONG);                                 // the name comes first
    assert_judged(PERSON, "{\"name\":\"x\"}", WRONG);                       // tags are required
    assert_judged(PERSON, "{\"name\":\"x\",\"tags\":[]", WRONG);            // one at least
    assert_judged(PERSON, "{\"name\":\"x\",\"tags\":[\"a\",\"a\",", WRONG); // two at most
    assert_judged(PERSON, "{\"name\":\"x\",\"tags\":[\"c", WRONG);
    assert_judged(PERSON, "{\"name\":\"x\",\"tags\":[\"a\"],", WRONG);
    assert_judged(PERSON, "{\"name\":\"x\",\"age\":3.", WRONG);
    static const char optional[] =
        "{\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"boolean\"}}}";
    assert_judged(optional, "{}", WHOLE);
    assert_judged(optional, "{\"b\":true}", WHOLE);
    assert_judged(optional, "{\"a\":null,\"b\":false}", WHOLE);
    assert_judged(optional, "{\"a\":null,}", WRONG);
    assert_judged(optional, "{\"b\":true,\"a", WRONG);
    static const char more[] = "{\"properties\":{\"a\":{}},\"additionalProperties\":{\"type\":\"integer\"}}";
    assert_judged(more, "{\"a\":\"x\",\"z\":1 , \"y\":2}", WHOLE);
    assert_judged(more, "{\"z\":1}", WHOLE);
    assert_judged(more, "{\"z\":\"", WRONG);
}

static void knows_the_other_keywords(void **state)
{
    (void)state;
    assert_judged(
        "{\"type\":[\"string\",\"null\"],\"minLength\":2,\"maxLength\":3}", "\"\xc3\xa9\\u00e9\"", WHOLE);
    assert_judged("{\"type\":\"string\",\"minLength\":2}", "\"a\"", WRONG);
    assert_judged("{\"type\":\"string\",\"maxLength\":2}", "\"abc", WRONG);
    assert_judged("{\"type\":[\"string\",\"null\"]}", "null", WHOLE);
    assert_judged("{\"const\":{\"a\":[1,\"x\"]}}", "{\"a\":[1,\"x\"]}", WHOLE);
    assert_judged("{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}", "\"x\"", WHOLE);
    assert_judged("{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}", "t", WRONG);
    assert_judged(
        "{\"allOf\":[{\"$ref\":\"#/$defs/x~1y\"}],\"$defs\":{\"x/y\":{\"type\":\"null\"}}}", "null", WHOLE);
    static const char tuple[] = "{\"prefixItems\":[{\"type\":\"null\"},{\"type\":\"boolean\"}],\"items\":{"
                                "\"type\":\"integer\"},\"maxItems\":3}";
    assert_judged(tuple, "[null, true]", WHOLE);
    assert_judged(tuple, "[null, true, 7]", WHOLE);
    assert_judged(tuple, "[null]", WRONG);
    assert_judged(tuple, "[null, true, 7,", WRONG);
    static const char tree[] =
        "{\"type\":\"object\",\"properties\":{\"next\":{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}},"
        "\"required\":[\"next\"]}";
    assert_judged(tree, "{\"next\":{\"next\":{\"next\":null}}}", WHOLE);
    assert_judged(tree, "{\"next\":{\"next\":{}", WRONG);
    assert_judged("true", "[{}]", WHOLE);
    char many[8000];
    size_t n = (size_t)sprintf(many, "{\"enum\":[");
    for (int i = 0; i < 900; i++)
        n += (size_t)sprintf(many + n, "%s\"v%d\"", i ? "," : "", i);
    sprintf(many + n, "]}");
    assert_judged(many, "\"v899\"", WHOLE);
    assert_judged(many, "\"v900", WRONG);
}

/* How many plain characters may come behind the beginning of a text. */
static uint32_t free_run(const char *schema, const char *text)
{
    struct pc_grammar *g = compile(schema);
    struct pc_follower *f;
    struct paco_error err = {0};
    assert_int_equal(pc_follower_new(g, &f, &err), 0);
    pc_grammar_unref(g);
    for (size_t i = 0; text[i]; i++)
        assert_true(pc_follower_step(f, (uint8_t)text[i]));
    uint32_t run = pc_follower_free_run(f);
    pc_follower_free(f);
    return run;
}

static void knows_how_much_is_free(void **state)
{
    (void)state;
    static const char three[] = "{\"type\":\"string\",\"minLength\":1,\"maxLength\":3}";
    static const char dots[] = "{\"type\":\"string\",\"pattern\":\"^.{1,3}$\"}";
    static const char ascii[] = "{\"type\":\"string\",\"pattern\":\"^[ -~]{1,3}$\"}";
    static const char begins[] = "{\"type\":\"string\",\"pattern\":\"^ab\"}";
    assert_int_equal(free_run(NULL, "{\""), UINT32_MAX);
    assert_int_equal(free_run(NULL, "{\"\\u00"), 0); // inside an escape
    assert_int_equal(free_run(NULL, "{"), 0);
    assert_int_equal(free_run(three, "\""), 3);
    assert_int_equal(free_run(three, "\"\xc3\xa9"), 2);
    assert_int_equal(free_run(three, "\"\xc3"), 0); // inside a character
    assert_int_equal(free_run(three, "\"abc"), 0);
    assert_int_equal(free_run(dots, "\""), 3);
    assert_int_equal(free_run(dots, "\"ab"), 1);
    assert_int_equal(free_run(dots, "\"abc"), 0);
    assert_int_equal(free_run(ascii, "\""), 0); // not those beyond ASCII
    assert_int_equal(free_run(begins, "\"a"), 0);
    assert_int_equal(free_run(begins, "\"ab"), UINT32_MAX);
}

static void knows_patterns_and_formats(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *text;
        enum verdict verdict;
    } cases[] = {
        {"{\"pattern\":\"^[a-c]{2}\\\\d+$\"}", "\"ab12\"", WHOLE},
        {"{\"pattern\":\"^[a-c]{2}\\\\d+$\"}", "\"ab\"", WRONG},
        {"{\"pattern\":\"b|^$\"}", "\"abc\"", WHOLE}, // found anywhere
        {"{\"pattern\":\"b|^$\"}", "\"\"", WHOLE},
        {"{\"pattern\":\"b|^$\"}", "\"ac\"", WRONG},
        {"{\"pattern\":\"^\\\"\\\\\\\\\\\\n\\\\x01\\u00e9$\"}", "\"\\\"\\\\\\n\\u0001\xc3\xa9\"", WHOLE},
        {"{\"pattern\":\"^[\\u00e9-\\u4e2d]$\"}", "\"\xe4\xb8\xad\"", WHOLE},
        {"{\"pattern\":\"^[\\u00e9-\\u4e2d]$\"}", "\"\xe4\xb8\xae", WRONG},
        {"{\"pattern\":\"^[^\\\\ud83d\\\\ude00]$\"}", "\"\xf0\x9f\x98\x80", WRONG},
        {"{\"pattern\":\"^(?!ab)(?=.*c)[a-c]{3}$\"}", "\"acb\"", WHOLE},
        {"{\"pattern\":\"^(?!ab)(?=.*c)[a-c]{3}$\"}", "\"abc", WRONG},
        {"{\"pattern\":\"^a+$\",\"maxLength\":2,\"type\":\"string\"}", "\"aa\"", WHOLE},
        {"{\"pattern\":\"^a+$\",\"maxLength\":2,\"type\":\"string\"}", "\"aaa", WRONG},
        {"{\"type\":\"string\",\"format\":\"date\"}", "\"2024-02-29\"", WHOLE},
        {"{\"type\":\"string\",\"format\":\"date\"}", "\"2100-02-29", WRONG},
        {"{\"type\":\"string\",\"format\":\"date\"}", "\"2000-02-29\"", WHOLE},
        {"{\"type\":\"string\",\"format\":\"ipv6\"}", "\"1::2:3\"", WHOLE},
        {"{\"type\":\"string\",\"format\":\"ipv6\"}", "\"1::2::", WRONG},
        {"{\"type\":\"string\",\"format\":\"unknown\"}", "\"x\"", WHOLE},
        {"{\"minimum\":-5,\"maximum\":120,\"type\":\"integer\"}", "-5", WHOLE},
        {"{\"minimum\":-5,\"maximum\":120,\"type\":\"integer\"}", "-6", WRONG},
        {"{\"minimum\":-5,\"maximum\":120,\"type\":\"integer\"}", "121", WRONG},
        {"{\"exclusiveMinimum\":0,\"type\":\"number\"}", "0.00", BEGINS},
        {"{\"exclusiveMinimum\":0,\"type\":\"number\"}", "0.001", WHOLE},
        {"{\"exclusiveMinimum\":0,\"type\":\"number\"}", "-", WRONG},
        {"{\"multipleOf\":0.25,\"maximum\":1,\"type\":\"number\"}", "-0.75", WHOLE},
        {"{\"multipleOf\":0.25,\"maximum\":1,\"type\":\"number\"}", "0.8", WRONG},
        {"{\"multipleOf\":7,\"type\":\"integer\"}", "49", WHOLE},
        {"{\"multipleOf\":7,\"type\":\"integer\"}", "50", BEGINS},
        {"{\"type\":\"string\",\"enum\":[1,\"a\",\"bcd\"],\"maxLength\":2}", "\"b", WRONG},
        {"{\"type\":\"string\",\"enum\":[1,\"a\",\"bcd\"],\"maxLength\":2}", "1", WRONG},
        {"{\"type\":\"string\",\"enum\":[1,\"a\",\"bcd\"],\"maxLength\":2}", "\"a\"", WHOLE},
        {"{\"properties\":{\"ab\":{}},\"additionalProperties\":{\"type\":\"null\"}}",
            "{\"a\":null,\"abc\":null}", WHOLE},
        {"{\"properties\":{\"ab\":{}},\"additionalProperties\":{\"type\":\"null\"}}", "{\"a\":null,\"ab\"",
            WRONG},
        {"{\"patternProperties\":{\"^x_\":{\"type\":\"null\"}},\"additionalProperties\":false}",
            "{\"x_1\":null}", WHOLE},
        {"{\"patternProperties\":{\"^x_\":{\"type\":\"null\"}},\"additionalProperties\":false}", "{\"y",
            WRONG},
        {"{\"required\":[\"a\"]}", "{\"a\":[1]}", WHOLE},
        {"{\"allOf\":[{\"properties\":{\"a\":{\"minimum\":1}}},{\"properties\":{\"a\":{\"type\":\"integer\"}}"
         ",\"required\":[\"a\"]}]}",
            "{\"a\":0", WRONG},
        {"{\"type\":\"array\",\"items\":[{\"type\":\"null\"}],\"additionalItems\":false}", "[null]", WHOLE},
        {"{\"prefixItems\":[{},{}],\"maxItems\":1}", "[1]", WHOLE},
        {"{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}],\"type\":\"string\"}", "n", WRONG},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_judged(cases[i].schema, cases[i].text, cases[i].verdict);
}

static void refuses_what_it_cannot_hold_to(void **state)
{
    (void)state;
    static const struct {
        const char *schema;
        int code;
        const char *message;
    } cases[] = {
        {"{\"not\":{}}", PACO_EUNSUPPORTED,
            "\"not\" at / is not a keyword that an answer can be held to here"},
        {"{\"properties\":{\"a\":{\"uniqueItems\":true}}}", PACO_EUNSUPPORTED,
            "\"uniqueItems\" at /properties/a is not"},
        {"{\"pattern\":\"a(b\"}", PACO_EINVAL,
            "\"pattern\" at /: there is a group that does not end at byte 3"},
        {"{\"pattern\":\"(a)\\\\1\"}", PACO_EUNSUPPORTED,
            "\"pattern\" at /: a reference to a group (byte 4) cannot be held to"},
        {"{\"pattern\":\"(?<=a)\"}", PACO_EUNSUPPORTED, "lookbehind (byte 1)"},
        {"{\"pattern\":\"\\\\b\"}", PACO_EUNSUPPORTED, "a word boundary (byte 1)"},
        {"{\"pattern\":\"a(?!b)\"}", PACO_EUNSUPPORTED,
            "lookahead that is not where the pattern begins (byte 2)"},
        {"{\"pattern\":\"\\\\p{L}\"}", PACO_EUNSUPPORTED, "a property of Unicode (byte 1)"},
        {"{\"pattern\":\"*\"}", PACO_EINVAL, "nothing to repeat at byte 0"},
        {"{\"pattern\":\"[b-a]\"}", PACO_EINVAL, "a range of characters the wrong way round at byte 4"},
        {"{\"pattern\":\"a{2,1}\"}", PACO_EINVAL, "a count the wrong way round"},
        {"{\"pattern\":\"a{200000}\"}", PACO_ELIMIT, "is more than 100000"},
        {"{\"pattern\":1}", PACO_EINVAL, "\"pattern\" at / is an integer; a string is expected"},
        {"{\"minimum\":\"1\"}", PACO_EINVAL, "\"minimum\" at / is a string; a number is expected"},
        {"{\"exclusiveMinimum\":true}", PACO_EINVAL,
            "\"exclusiveMinimum\" at / is a boolean; a number is expected"},
        {"{\"multipleOf\":0}", PACO_EINVAL, "a number above 0 is expected"},
        {"{\"multipleOf\":1.2345}", PACO_ELIMIT,
            "\"multipleOf\" at /: its digits must be a number from 1 to 1000"},
        {"{\"patternProperties\":{\"(\":{}}}", PACO_EINVAL, "\"patternProperties\" at /: there is a group"},
        {"{\"type\":\"strin\"}", PACO_EINVAL, "\"type\" at / is \"strin\", which is no type of JSON's"},
        {"{\"type\":3}", PACO_EINVAL, "\"type\" at / is an integer; a name or an array of names is expected"},
        {"{\"enum\":[]}", PACO_EINVAL, "an array that is not empty is expected"},
        {"{\"$ref\":\"#/x\"}", PACO_EINVAL, "leads to \"#/x\", which is not there"},
        {"{\"$ref\":\"http://x/y\"}", PACO_EUNSUPPORTED, "leads out of the schema"},
        {"{\"$ref\":\"#\"}", PACO_ELIMIT, "the schema at / refers to itself without an end"},
        {"{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}", PACO_ELIMIT,
            "refers to itself without an end"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", PACO_EINVAL,
            "nothing has this form"},
        {"{\"allOf\":[{\"type\":\"string\"},{\"type\":\"array\"}]}", PACO_EINVAL, "nothing has this form"},
        {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2.5}", PACO_EINVAL, "nothing has this form"},
        {"{\"minItems\":2,\"maxItems\":1}", PACO_EINVAL, "\"minItems\" at / is more than \"maxItems\""},
        {"{\"minItems\":-1}", PACO_EINVAL, "a whole number of 0 or more is expected"},
        {"{\"maxLength\":99999999}", PACO_ELIMIT, "is more than 1048576"},
        {"{\"required\":[3]}", PACO_EINVAL, "\"required\" at / is an integer; an array of names is expected"},
        {"{\"allOf\":[]}", PACO_EINVAL, "\"allOf\" at / is an array; an array that is not empty is expected"},
        {"{\"enum\":[{}],\"properties\":{}}", PACO_EUNSUPPORTED, "cannot stand beside what they hold here"},
        {"false", PACO_EINVAL, "nothing has this form"},
        {"[]", PACO_EINVAL, "the schema at / is an array; an object is expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *v = parse(cases[i].schema);
        struct pc_grammar *g = NULL;
        struct paco_error err = {0};
        assert_int_equal(pc_json_schema_compile(v, &g, &err), cases[i].code);
        assert_contains(err.message, cases[i].message);
        json_decref(v);
    }
}

/* Schemas made to cost: each is refused, or compiled, at once and within bounds. */
static void survives_bombs(void **state)
{
    (void)state;
    enum { SIZE = 1 << 22 };
    char *text = malloc(SIZE);
    struct paco_error err = {0};
    for (int kind = 0; kind < 9; kind++) {
        size_t n = 0;
        if (kind == 0) { // doubling references, each with a word of its own
            n += (size_t)sprintf(text + n, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
            for (int i = 0; i < 40; i++)
                n += (size_t)sprintf(text + n,
                    "\"d%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"minItems\":%d,\"$ref\":\"#/$defs/"
                    "d%d\"}]},",
                    i, i + 1, i, i + 1);
            n += (size_t)sprintf(text + n, "\"d40\":{\"type\":\"array\"}}}");
        } else if (kind == 1) { // many properties
            n += (size_t)sprintf(text + n, "{\"properties\":{");
            for (int i = 0; i < 1500; i++)
                n += (size_t)sprintf(text + n, "%s\"p%d\":{}", i ? "," : "", i);
            n += (size_t)sprintf(text + n, "}}");
        } else if (kind == 2) { // states without number
            n += (size_t)sprintf(text + n, "{\"pattern\":\"(a|b)*a(a|b){30}\"}");
        } else if (kind == 3) { // counts in counts
            n += (size_t)sprintf(text + n, "{\"pattern\":\"^(((a{1000}){1000}){1000})$\"}");
        } else if (kind == 4) { // of nothing
            n += (size_t)sprintf(text + n, "{\"pattern\":\"((((){99999}){99999}){99999})\"}");
        } else if (kind == 5) { // much work, many times
            n += (size_t)sprintf(text + n, "{\"properties\":{");
            for (int i = 0; i < 900; i++)
                n += (size_t)sprintf(
                    text + n, "%s\"p%d\":{\"pattern\":\"%d[a-f]{50}x?[0-9]{50}\"}", i ? "," : "", i, i);
            n += (size_t)sprintf(text + n, "}}");
        } else if (kind == 6) { // choices beside choices
            n += (size_t)sprintf(text + n, "{\"allOf\":[");
            for (int i = 0; i < 40; i++)
                n += (size_t)sprintf(text + n,
                    "%s{\"anyOf\":[{\"title\":\"%d\",\"minLength\":%d},{\"maxLength\":%d}]}", i ? "," : "", i,
                    i, 99 - i);
            n += (size_t)sprintf(text + n, "]}");
        } else if (kind == 7) { // long values that are nearly those of another list
            n += (size_t)sprintf(text + n, "{\"allOf\":[");
            for (int i = 0; i < 4000; i++)
                n += (size_t)sprintf(text + n, "%s[\"%0300d\",%d]",
                    i % 2000 ? ","
                    : i      ? "]},{\"enum\":["
                             : "{\"enum\":[",
                    0, i / 2000);
            n += (size_t)sprintf(text + n, "]}]}");
        } else { // many long values
            n += (size_t)sprintf(text + n, "{\"enum\":[");
            for (int i = 0; i < 2000; i++)
                n += (size_t)sprintf(text + n, "%s\"%0200d\"", i ? "," : "", i);
            n += (size_t)sprintf(text + n, "]}");
        }
        json_t *v = parse(text);
        struct pc_grammar *g = NULL;
        assert_int_equal(pc_json_schema_compile(v, &g, &err), PACO_ELIMIT);
        json_decref(v);
    }
    free(text);
}

/* ---- tokens ---- */

static const char *const g_pieces[] = {"{", "}", "\"", ":", ",", "{\"", "\":", "a", "aa", "ab\"", "\"}", "1",
    "12", "\xc3", "\xa9", "\n", "true", " ", "\\", "b", "<eos>"};
enum { N_PIECES = sizeof g_pieces / sizeof *g_pieces, EOS = N_PIECES - 1 };

static struct pc_tokenizer *make_tokenizer(void)
{
    static struct pc_piece pieces[N_PIECES];
    static char spelt[N_PIECES][16];
    for (int i = 0; i < N_PIECES; i++) {
        size_t len = i == EOS
                         ? (size_t)snprintf(spelt[i], sizeof spelt[i], "%s", g_pieces[i])
                         : pc_alphabet_encode((const uint8_t *)g_pieces[i], strlen(g_pieces[i]), spelt[i]);
        pieces[i] = (struct pc_piece){{spelt[i], len}, 0, i == EOS ? PC_PIECE_CONTROL : PC_PIECE_NORMAL};
    }
    static const struct pc_added added[] = {{.span = {"<eos>", 5}, .id = EOS, .special = true}};
    static const struct pc_pre_step pre[] = {{.kind = PC_PRE_BYTE_LEVEL}};
    const struct pc_vocab v = {.model = PC_VOCAB_MERGES,
        .pieces = pieces,
        .n_pieces = N_PIECES,
        .added = added,
        .n_added = 1,
        .segments = PC_SEGMENTS_FAST,
        .pre = pre,
        .n_pre = 1,
        .bos = -1,
        .eos = EOS,
        .unk = -1,
        .pad = -1};
    struct paco_error err = {0};
    struct pc_tokenizer *tok = pc_tokenizer_new(&v, &err);
    if (!tok)
        fail_msg("%s", err.message);
    return tok;
}

/* The trie's order and its short cuts against every token by itself, along random answers. */
static void limits_as_one_by_one(void **state)
{
    (void)state;
    static const char schema[] = "{\"properties\":{\"a\":{\"type\":\"string\",\"maxLength\":3},\"b\":{"
                                 "\"pattern\":\"^.{1,2}$\"}},\"required\":[\"a\"],"
                                 "\"additionalProperties\":true}";
    struct pc_tokenizer *tok = make_tokenizer();
    struct pc_grammar *g = compile(schema);
    struct pc_spelling *spelling;
    struct pc_constraint *c;
    struct paco_error err = {0};
    const int32_t eos = EOS;
    assert_int_equal(pc_spelling_new(tok, &spelling, &err), 0);
    assert_int_equal(pc_constraint_new(spelling, g, &eos, 1, &c, &err), 0);
    uint32_t random = 1;
    int n_ends = 0, n_checked = 0;
    for (int answer = 0; answer < 300; answer++) {
        pc_constraint_reset(c);
        for (int k = 0; k < 40; k++) {
            float score[N_PIECES + 1] = {0};
            int32_t fitting[N_PIECES], n = 0;
            pc_alloc_forbid(true);
            pc_constraint_limit(c, score, N_PIECES + 1);
            pc_alloc_forbid(false);
            assert_true(isinf(score[N_PIECES])); // beyond the vocabulary
            for (int32_t i = 0; i < N_PIECES; i++) {
                assert_int_equal(pc_constraint_allows(c, i), score[i] == 0.0f);
                if (score[i] == 0.0f)
                    fitting[n++] = i;
                n_checked++;
            }
            assert_true(n > 0);
            random = random * 1664525 + 1013904223;
            int32_t id = fitting[(random >> 8) % (uint32_t)n];
            if (id == EOS) {
                n_ends++;
                break;
            }
            pc_constraint_accept(c, id);
        }
    }
    assert_true(n_ends > 50 && n_checked > 10000);
    pc_constraint_free(c);
    pc_spelling_free(spelling);
    pc_grammar_unref(g);
    pc_tokenizer_free(tok);
}

/* A model that wants something else gets the best that fits, greedily and drawn, and ends. */
static void answers_in_the_form(void **state)
{
    (void)state;
    struct pc_tokenizer *tok = make_tokenizer();
    struct pc_grammar *g = compile(
        "{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"const\":true}},\"required\":[\"a\",\"b\"]}");
    struct pc_spelling *spelling;
    struct paco_error err = {0};
    const int32_t eos = EOS;
    float logits[N_PIECES];
    assert_int_equal(pc_spelling_new(tok, &spelling, &err), 0);
    for (int drawn = 0; drawn < 2; drawn++) {
        struct pc_sampler_options o = {.temperature = drawn,
            .seed = 7,
            .grammar = g,
            .spelling = spelling,
            .end_ids = &eos,
            .n_end_ids = 1};
        struct pc_sampler *s;
        struct pc_buf text;
        pc_buf_init(&text, 1000);
        assert_false(pc_sampler_is_greedy(&o));
        assert_int_equal(pc_sampler_new(N_PIECES, &o, &s, &err), 0);
        int32_t id = -1;
        for (int i = 0; i < N_PIECES; i++)
            logits[i] = (float)((i * 7) % N_PIECES) * 0.1f;
        for (int k = 0; k < 60 && id != EOS; k++) {
            assert_int_equal(pc_sampler_next(s, logits, &id, &err), 0);
            pc_sampler_accept(s, id);
            if (id != EOS)
                pc_buf_puts(&text, g_pieces[id]);
        }
        assert_int_equal(id, EOS);
        json_t *v = parse(text.data);
        assert_int_equal(json_object_size(v), 2);
        assert_true(json_is_true(json_object_get(v, "b")));
        json_decref(v);
        pc_buf_release(&text);
        pc_sampler_free(s);
    }
    pc_spelling_free(spelling);
    pc_grammar_unref(g);
    pc_tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(knows_json),
        cmocka_unit_test(holds_objects_to_their_schema), cmocka_unit_test(knows_the_other_keywords),
        cmocka_unit_test(knows_patterns_and_formats), cmocka_unit_test(knows_how_much_is_free),
        cmocka_unit_test(refuses_what_it_cannot_hold_to), cmocka_unit_test(survives_bombs),
        cmocka_unit_test(limits_as_one_by_one), cmocka_unit_test(answers_in_the_form)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
