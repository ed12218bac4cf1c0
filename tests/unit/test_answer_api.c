// SPDX-License-Identifier: Apache-2.0
/* Endpoints of several kinds, each a few lines of a server that can what its real ones can: OpenAI's
 * completions, vLLM, llama.cpp's server, and one with nothing but chat. */
#include "unit.h"

#include "eval/answer_api_parts.h"
#include "http_server.h"

#include <jansson.h>
#include <math.h>

enum kind { VLLM, OPENAI, LLAMACPP, CHAT, NO_LOGPROBS };

struct fixture {
    struct http_server s;
    enum kind kind;
    const char *one_token; /* a text that is echoed as one token, or NULL */
    const char *format;    /* that its list of models tells; NULL: it has no list */
    const char *says;      /* its answers, or NULL */
    int fail_status;       /* what real questions (longer than a probe) are answered with; 0: properly */
    atomic_int n_real;
    char last[4096]; /* the last real request's body */
    struct pc_answerer *a;
    struct pc_notes notes;
    struct paco_error err;
};

static int setup(void **state)
{
    unsetenv("http_proxy");
    *state = calloc(1, sizeof(struct fixture));
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->a)
        f->a->ops->close(f->a);
    http_server_close(&f->s);
    pc_notes_release(&f->notes);
    free(f);
    return 0;
}

static json_int_t number_of(const json_t *q, const char *name)
{
    return json_integer_value(json_object_get(q, name));
}

static bool refuse(int fd, const char *why)
{
    char body[200];
    snprintf(body, sizeof body, "{\"error\":{\"message\":\"%s\"}}", why);
    return http_reply(fd, 400, "", body);
}

/* Probabilities of what comes next: " A" 0.5, " B" 0.25, "A" 0.1; " C" and " D" are unlikely, and listed only
 * where many are. */
static json_t *top_of(json_int_t n, bool as_list)
{
    static const struct {
        const char *token;
        double p;
    } tokens[] = {
        {" A", 0.5}, {" B", 0.25}, {"A", 0.1}, {" The", 0.05}, {" x", 0.04}, {" C", 0.02}, {" D", 0.01}};
    json_t *top = as_list ? json_array() : json_object();
    for (json_int_t i = 0; i < n && i < 7; i++)
        if (as_list)
            json_array_append_new(
                top, json_pack("{s:s, s:f}", "token", tokens[i].token, "logprob", log(tokens[i].p)));
        else
            json_object_set_new(top, tokens[i].token, json_real(log(tokens[i].p)));
    return top;
}

static json_t *logprobs_of(const struct fixture *f, const json_t *q, const char *prompt, json_int_t n)
{
    if (n == 0 || f->kind == NO_LOGPROBS)
        return json_null();
    if (f->kind == LLAMACPP || f->kind == CHAT)
        return json_pack("{s:[{s:s, s:f, s:o}]}", "content", "token", " A", "logprob", log(0.5),
            "top_logprobs", top_of(n, true));
    if (!json_is_true(json_object_get(q, "echo")))
        return json_pack("{s:[s], s:[f], s:[o]}", "tokens", " A", "token_logprobs", log(0.5), "top_logprobs",
            top_of(n, false));
    if (f->one_token && strcmp(prompt, f->one_token) == 0)
        return json_pack("{s:[s], s:[n], s:[n]}", "tokens", prompt, "token_logprobs", "top_logprobs");
    const json_t *ids = json_object_get(q, "prompt");
    if (json_is_array(ids)) {
        json_t *each = json_array();
        for (size_t i = 0; i < json_array_size(ids); i++)
            json_array_append_new(each, i ? json_real(-0.1 * (double)i) : json_null());
        return json_pack("{s:[s, s, s, s], s:o}", "tokens", "a", "b", "c", "d", "token_logprobs", each);
    }
    // Two tokens: all but the last two characters, and these.
    size_t len = strlen(prompt);
    return json_pack("{s:[s%, s], s:[n, f], s:[n, n]}", "tokens", prompt, len - 2, prompt + len - 2,
        "token_logprobs", log(0.0001), "top_logprobs");
}

static json_t *choice_of(const struct fixture *f, const json_t *q, int i)
{
    const json_t *asked = json_object_get(q, "prompt");
    const char *prompt = json_is_array(asked) ? "" : json_string_value(asked);
    bool chat = f->kind == CHAT;
    json_int_t n = chat ? number_of(q, "top_logprobs") : number_of(q, "logprobs");
    char text[300];
    snprintf(text, sizeof text, "%s answer %lld.%d\nQ: x\nclass Y",
        json_is_true(json_object_get(q, "echo")) ? prompt : "", (long long)number_of(q, "seed"), i);
    if (f->says)
        snprintf(text, sizeof text, "%s", f->says);
    if (number_of(q, "max_tokens") == 0)
        text[strlen(prompt)] = '\0';
    json_t *c = json_pack(
        "{s:i, s:o, s:s}", "index", i, "logprobs", logprobs_of(f, q, prompt, n), "finish_reason", "stop");
    if (chat)
        json_object_set_new(c, "message", json_pack("{s:s}", "content", text));
    else
        json_object_set_new(c, "text", json_string(text));
    return c;
}

static bool answer(void *ctx, const struct http_asked *asked, int fd)
{
    struct fixture *f = ctx;
    if (strncmp(asked->head, "GET ", 4) == 0) {
        char list[200];
        snprintf(list, sizeof list,
            "{\"data\":[{\"id\":\"other\",\"format\":\"tulu\"},{\"id\":\"m\",\"format\":\"%s\"}]}",
            f->format ? f->format : "");
        return http_reply(fd, f->format ? 200 : 404, "", list);
    }
    json_t *q = json_loads(asked->body, 0, NULL);
    bool chat = strstr(asked->head, "/chat/") != NULL;
    bool real = !strstr(asked->body, "1, 2, 3, 4,") && !strstr(asked->body, "\"A, A\"");
    json_int_t n = number_of(q, "n") ? number_of(q, "n") : 1;
    const char *why = NULL;
    if (real)
        atomic_fetch_add(&f->n_real, 1);
    if (real)
        snprintf(f->last, sizeof f->last, "%.4000s", asked->body);
    if (chat != (f->kind == CHAT))
        why = "this is not a chat model";
    else if (f->kind == OPENAI && (number_of(q, "logprobs") > 5 || json_object_get(q, "echo")))
        why = "too many log-probabilities";
    else if (f->kind == OPENAI && json_object_get(q, "top_k"))
        why = "unrecognized argument top_k";
    else if (f->kind == LLAMACPP && (n > 1 || json_object_get(q, "echo")))
        why = "only no echo is supported";
    else if (real && f->fail_status == 400)
        why = "the prompt is too long";
    bool open;
    if (why || (real && f->fail_status)) {
        open = why ? refuse(fd, why) : http_reply(fd, f->fail_status, "", "no");
    } else {
        json_t *choices = json_array();
        for (json_int_t i = 0; i < n; i++)
            json_array_append_new(choices, choice_of(f, q, (int)i));
        json_t *r = json_pack(
            "{s:o, s:{s:i, s:i}}", "choices", choices, "usage", "prompt_tokens", 7, "completion_tokens", 3);
        char *text = json_dumps(r, 0);
        open = http_reply(fd, 200, "", text);
        free(text);
        json_decref(r);
    }
    json_decref(q);
    return open;
}

static int begin(struct fixture *f, enum kind kind)
{
    f->kind = kind;
    http_server_open(&f->s, answer, f);
    const struct pc_answer_api_options o = {.url = f->s.url,
        .model = "m",
        .notes = &f->notes,
        .http = {.first_delay = 0.01, .max_tries = 2, .max_in_flight = 4}};
    return pc_answer_api_open(&o, &f->a, &f->err);
}

static int submit(struct fixture *f, size_t i, const char *prompt, struct pc_ask ask)
{
    struct pc_buf b;
    pc_buf_init(&b, 1 << 16);
    pc_buf_puts(&b, prompt);
    ask.prompt = &b;
    int rc = f->a->ops->submit(f->a,
        &(struct pc_question){.i_item = i, .key = "k", .seed = (int64_t)i * 100 + 1, .ask = &ask}, &f->err);
    pc_buf_release(&b);
    return rc;
}

static int await(struct fixture *f, struct pc_reply *r)
{
    int rc;
    *r = (struct pc_reply){0};
    while ((rc = f->a->ops->poll(f->a, r, &f->err)) == 0)
        ;
    return rc;
}

static const struct pc_ask g_choice = {
    .kind = PC_ASK_CHOICE, .choices = {"A", "B", "C", "D"}, .n_choices = 4};

static struct pc_reply choose(struct fixture *f)
{
    struct pc_reply r;
    assert_int_equal(submit(f, 5, "Which?\nAnswer:", g_choice), 0);
    assert_int_equal(await(f, &r), 1);
    assert_int_equal(r.i_item, 5);
    return r;
}

static void assert_probs(const struct pc_reply *r, const double want[4])
{
    assert_int_equal(r->error.code, 0);
    assert_int_equal(r->n_probs, 4);
    for (int i = 0; i < 4; i++)
        if (fabs(r->probs[i] - want[i]) > 1e-7) // float32's
            fail_msg("probability %d is %.17g, not %.17g", i, r->probs[i], want[i]);
}

static void choices_are_read_from_the_likeliest_tokens(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(begin(f, VLLM), 0);
    assert_int_equal(f->notes.n, 0);
    struct pc_reply r = choose(f);
    assert_probs(&r, (const double[4]){50 / 78., 25 / 78., 2 / 78., 1 / 78.});
    assert_int_equal(r.n_prompt_tokens, 7);
    assert_int_equal(f->n_real, 1);
    assert_contains(f->last, "\"logprobs\":7"); // what it names, though it was asked for 20
    pc_reply_release(&r);
    assert_contains(f->a->description, "completions of http://127.0.0.1:");
}

static void what_is_not_among_them_is_asked_for_by_echo(void **state)
{
    struct fixture *f = *state;
    struct pc_ask ask = g_choice;
    assert_int_equal(begin(f, VLLM), 0);
    ask.choices[3] = "E";
    struct pc_reply r;
    assert_int_equal(submit(f, 5, "Which?\nAnswer:", ask), 0);
    assert_int_equal(await(f, &r), 1);
    assert_probs(&r, (const double[4]){0.5 / 0.7701, 0.25 / 0.7701, 0.02 / 0.7701, 0.0001 / 0.7701});
    assert_int_equal(f->n_real, 2);
    assert_contains(f->last, "Answer: E\",\"max_tokens\":0");
    assert_int_equal(r.n_output_tokens, 0); // nothing was answered: it was made to say something
    pc_reply_release(&r);
}

/* As tokenizers of both kinds have it, with BOS and without; with the spaces lost, and cut otherwise. */
static void an_echo_tells_how_a_bare_letter_is_spelled(void **state)
{
    (void)state;
    static const struct {
        const char *tokens[4];
        size_t n;
        enum pc_bare bare;
    } cases[] = {{{"A", ",", " A"}, 3, PC_BARE_PLAIN}, {{"<s>", " A", ",", " A"}, 4, PC_BARE_SPACED},
        {{"\xe2\x96\x81"
          "A",
             ",",
             "\xe2\x96\x81"
             "A"},
            3, PC_BARE_SPACED},
        {{"<s>", "A", ",", "A"}, 4, PC_BARE_UNKNOWN}, {{"A,", " A"}, 2, PC_BARE_UNKNOWN},
        {{"x", "A,", " A"}, 3, PC_BARE_UNKNOWN}, {{"A", " ", "A"}, 3, PC_BARE_PLAIN},
        {{" ", "A", " ", "A"}, 4, PC_BARE_SPACED}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pc_openai_token t[4] = {{0}};
        for (size_t k = 0; k < cases[i].n; k++)
            t[k].text = cases[i].tokens[k];
        const struct pc_openai_choice echo = {.tokens = t, .n_tokens = cases[i].n};
        assert_int_equal(pc_echo_bare(&echo, cases[i].n), cases[i].bare);
    }
}

/* The likelier spelling is passed over where the tokenizer's own is known. */
static void the_tokenizers_spelling_counts(void **state)
{
    (void)state;
    static const char *const texts[] = {"A", "B"};
    static const struct pc_openai_top top[] = {{" A", -0.5}, {" B", -1}, {"B", -3}, {"A", -4}};
    const struct pc_openai_token token = {.text = " A", .logprob = -0.5, .top = top, .n_top = 4};
    const struct pc_openai_choice choice = {.tokens = &token, .n_tokens = 1};
    static const double want[][2] = {{-0.5, -1}, {-4, -3}, {-0.5, -1}};
    for (int bare = PC_BARE_UNKNOWN; bare <= PC_BARE_SPACED; bare++) {
        struct pc_candidates c = {.texts = texts, .n = 2};
        assert_true(pc_candidates_find(&c, &choice, (enum pc_bare)bare, "is:", 3));
        assert_true(c.logprob[0] == want[bare][0] && c.logprob[1] == want[bare][1]);
        assert_int_equal(c.spaced, bare != PC_BARE_PLAIN);
    }
}

static void or_counts_as_nothing_where_there_is_no_echo(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(begin(f, OPENAI), 0);
    for (int i = 0; i < 2; i++) {
        struct pc_reply r = choose(f);
        assert_probs(&r, (const double[4]){2 / 3., 1 / 3., 0, 0});
        pc_reply_release(&r);
    }
    assert_int_equal(f->notes.n, 2);
    assert_contains(f->notes.v[0], "takes no top_k");
    assert_contains(f->notes.v[1], "names only the 5 likeliest tokens");
}

static void no_candidate_at_all_is_an_error_of_the_item(void **state)
{
    struct fixture *f = *state;
    struct pc_reply r;
    assert_int_equal(begin(f, LLAMACPP), 0);
    const struct pc_ask ask = {.kind = PC_ASK_CHOICE, .choices = {"yes", "no"}, .n_choices = 2};
    assert_int_equal(submit(f, 1, "Well?", ask), 0);
    assert_int_equal(await(f, &r), 1);
    assert_int_equal(r.error.code, PACO_EUNSUPPORTED);
    assert_contains(r.error.message, "no candidate is among the 7 likeliest next tokens (the first is ' A')");
    pc_reply_release(&r);
    r = choose(f);
    assert_probs(&r, (const double[4]){50 / 78., 25 / 78., 2 / 78., 1 / 78.});
    pc_reply_release(&r);
}

static void an_endpoint_without_log_probabilities_says_so_beforehand(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(begin(f, NO_LOGPROBS), 0);
    assert_int_equal(pc_answer_api_can(f->a, &g_choice, &f->err), PACO_EUNSUPPORTED);
    assert_contains(
        f->err.message, "gives no log-probabilities, and this task compares those of the candidates");
    assert_int_equal(pc_answer_api_can(f->a, &(struct pc_ask){.kind = PC_ASK_TEXT}, &f->err), 0);
    assert_int_equal(submit(f, 0, "x", g_choice), PACO_EUNSUPPORTED);
    assert_int_equal(f->a->ops->room(f->a), 8);
}

/* The beginning " Once upon" is asked for alone, which tells how many tokens it has; the server divides a
 * text before its last two characters. */
static void how_likely_a_text_is_takes_two_echoes(void **state)
{
    struct fixture *f = *state;
    struct pc_reply r;
    const struct pc_ask ask = {.kind = PC_ASK_NATS, .tail_len = 2};
    assert_int_equal(begin(f, VLLM), 0);
    assert_int_equal(pc_answer_api_can(f->a, &ask, &f->err), 0);
    f->one_token = " Once upon";
    assert_int_equal(submit(f, 3, " Once upon a", ask), 0);
    assert_int_equal(await(f, &r), 1);
    assert_int_equal(r.error.code, 0);
    assert_int_equal(r.i_item, 3);
    assert_int_equal(f->n_real, 2);
    assert_contains(f->last, "\"prompt\":\" Once upon a\",\"max_tokens\":0");
    assert_int_equal(r.nats.n_tokens, 1);
    assert_int_equal(r.nats.n_bytes, 2);
    assert_true(fabs(r.nats.sum + log(0.0001)) < 1e-12);
    pc_reply_release(&r);
    // An end that begins inside a token.
    f->one_token = NULL;
    assert_int_equal(submit(f, 3, " Once upon a", ask), 0);
    assert_int_equal(await(f, &r), 1);
    assert_int_equal(r.error.code, PACO_EUNSUPPORTED);
    assert_contains(
        r.error.message, "the echo of the text's beginning is not the beginning of the echo of all of it");
    assert_int_equal(r.nats.n_tokens, 0);
    pc_reply_release(&r);
    f->fail_status = 400;
    assert_int_equal(submit(f, 3, " Once upon a", ask), 0);
    assert_int_equal(await(f, &r), 1);
    assert_int_equal(r.error.code, PACO_EINVAL);
    pc_reply_release(&r);
}

static void or_cannot_be_had(void **state)
{
    struct fixture *f = *state;
    static const enum kind kinds[] = {OPENAI, LLAMACPP, NO_LOGPROBS};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(begin(f, kinds[i]), 0);
        assert_int_equal(
            pc_answer_api_can(f->a, &(struct pc_ask){.kind = PC_ASK_NATS}, &f->err), PACO_EUNSUPPORTED);
        assert_contains(
            f->err.message, "does not tell how likely the tokens of a prompt are (completions with echo");
        if (i == 2)
            break; // the last is closed by teardown
        f->a->ops->close(f->a);
        f->a = NULL;
        http_server_close(&f->s);
    }
}

static const struct pc_ask g_text = {.kind = PC_ASK_TEXT,
    .max_tokens = 50,
    .n_samples = 3,
    .temperature = 0.8,
    .top_p = 0.95,
    .top_k = 50,
    .stop_texts = {"never", "\nclass", "\nQ:", "4", "5"},
    .n_stop_texts = 3};

static void samples_come_in_one_request_and_are_cut_at_stops(void **state)
{
    struct fixture *f = *state;
    struct pc_reply r;
    assert_int_equal(begin(f, VLLM), 0);
    assert_int_equal(submit(f, 2, "def f():\n", g_text), 0);
    assert_int_equal(await(f, &r), 1);
    assert_int_equal(r.n_texts, 3);
    assert_string_equal(r.texts[0], " answer 201.0");
    assert_string_equal(r.texts[2], " answer 201.2");
    assert_int_equal(r.lens[2], 13);
    assert_int_equal(f->n_real, 1);
    assert_contains(f->last, "\"prompt\":\"def f():\\n\"");
    assert_contains(
        f->last, "\"temperature\":0.8,\"top_p\":0.95,\"top_k\":50,\"n\":3,\"seed\":201,\"stop\":[\"never\"");
    pc_reply_release(&r);
}

static void its_list_tells_what_the_model_was_tuned_on(void **state)
{
    static const struct {
        enum kind kind;
        const char *says;
        enum pc_format format;
    } each[] = {{VLLM, NULL, PC_FORMAT_AUTO}, {VLLM, "gopher", PC_FORMAT_AUTO},
        {CHAT, "chatml", PC_FORMAT_AUTO}, /* which is wrapped there */
        {VLLM, "chatml", PC_FORMAT_CHATML}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        if (f->a) {
            f->a->ops->close(f->a);
            http_server_close(&f->s);
        }
        f->format = each[i].says;
        assert_int_equal(begin(f, each[i].kind), 0);
        assert_int_equal(pc_answer_api_format(f->a), each[i].format);
    }
}

static char *ask_line(struct fixture *f, const char *says)
{
    const struct pc_ask ask = {
        .kind = PC_ASK_TEXT, .max_tokens = 9, .n_samples = 1, .until_blank_line = true, .new_only = true};
    struct pc_reply r;
    f->says = says;
    assert_int_equal(submit(f, 2, "Q: x\nA:", ask), 0);
    assert_int_equal(await(f, &r), 1);
    assert_int_equal(r.n_texts, 1);
    assert_int_equal(r.n_output_tokens, 3);
    char *text = pc_strdup(r.texts[0]);
    pc_reply_release(&r);
    return text;
}

static void an_answer_ends_with_a_blank_line(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(begin(f, VLLM), 0);
    char *text = ask_line(f, " yes\n\nno");
    assert_string_equal(text, " yes");
    assert_contains(f->last, "\"stop\":[\"\\n\\n\"]");
    assert_int_equal(f->n_real, 1);
    pc_free(text);
    /* One that nothing comes before may have been the stop: it is asked for again, without. */
    text = ask_line(f, "\n");
    assert_string_equal(text, "\n");
    assert_null(strstr(f->last, "\"stop\""));
    assert_int_equal(f->n_real, 3);
    pc_free(text);
}

static void ids_are_sent_as_ids(void **state)
{
    struct fixture *f = *state;
    static const int32_t ids[] = {5, 6, 7, 8};
    const struct pc_ask ask = {.kind = PC_ASK_NATS, .ids = ids, .n_ids = 4, .first = 1, .tail_len = 9};
    struct pc_reply r;
    assert_int_equal(begin(f, VLLM), 0);
    assert_int_equal(submit(f, 2, "the same as text", ask), 0);
    assert_int_equal(await(f, &r), 1);
    assert_int_equal(r.error.code, 0);
    assert_contains(f->last, "\"prompt\":[5,6,7,8]");
    assert_int_equal(f->n_real, 1);
    assert_int_equal(r.nats.n_tokens, 2);
    assert_int_equal(r.nats.n_bytes, 9);
    assert_true(fabs(r.nats.sum - 0.5) < 1e-12); /* 0.2 and 0.3: what stands behind position 1 */
    pc_reply_release(&r);
}

static void or_one_by_one_where_only_one_is_given(void **state)
{
    struct fixture *f = *state;
    struct pc_reply r;
    assert_int_equal(begin(f, LLAMACPP), 0);
    assert_int_equal(submit(f, 2, "def f():\n", g_text), 0);
    assert_int_equal(await(f, &r), 1);
    assert_int_equal(r.n_texts, 3);
    assert_string_equal(r.texts[0], " answer 201.0");
    assert_string_equal(r.texts[1], " answer 202.0");
    assert_string_equal(r.texts[2], " answer 203.0");
    pc_reply_release(&r);
}

static void chat_gets_the_prompt_as_a_users_message_without_the_cards_tags(void **state)
{
    struct fixture *f = *state;
    struct pc_reply r;
    const struct pc_ask ask = {.kind = PC_ASK_TEXT, .max_tokens = 50, .n_samples = 1};
    assert_int_equal(begin(f, CHAT), 0);
    assert_contains(f->notes.v[0], "prompts are sent as a user's message: it has no completions");
    assert_int_equal(submit(f, 0, "<|user|>\nHow?\n<|assistant|>\nAnswer:", ask), 0);
    assert_int_equal(await(f, &r), 1);
    assert_contains(f->last, "\"messages\":[{\"role\":\"user\",\"content\":\"How?\\nAnswer:\"}],\"max_"
                             "tokens\":50,\"temperature\":0.0}");
    assert_string_equal(r.texts[0], " answer 0.0\nQ: x\nclass Y");
    pc_reply_release(&r);
    r = choose(f);
    assert_contains(f->last, "\"content\":\"Which?\\nAnswer:\"");
    assert_probs(&r, (const double[4]){50 / 78., 25 / 78., 2 / 78., 1 / 78.});
    pc_reply_release(&r);
}

static void many_questions_come_back_each_once(void **state)
{
    struct fixture *f = *state;
    bool seen[40] = {false};
    size_t next = 0, n = 0;
    assert_int_equal(begin(f, VLLM), 0);
    assert_int_equal(f->a->ops->room(f->a), 8);
    while (n < 40) {
        struct pc_reply r;
        while (next < 40 && f->a->ops->room(f->a) > 0) {
            assert_int_equal(submit(f, next, "Which?\nAnswer:", next % 2 ? g_choice : g_text), 0);
            next++;
        }
        assert_int_equal(await(f, &r), 1);
        assert_false(seen[r.i_item]);
        assert_int_equal(r.n_texts, r.i_item % 2 ? 0 : 3);
        seen[r.i_item] = true;
        n++;
        pc_reply_release(&r);
    }
    struct pc_reply none = {0};
    assert_int_equal(f->a->ops->poll(f->a, &none, &f->err), 0);
}

static void a_question_the_endpoint_refuses_fails_alone(void **state)
{
    struct fixture *f = *state;
    struct pc_reply r;
    assert_int_equal(begin(f, VLLM), 0);
    f->fail_status = 400;
    assert_int_equal(submit(f, 3, "long", g_text), 0);
    assert_int_equal(await(f, &r), 1);
    assert_int_equal(r.error.code, PACO_EINVAL);
    assert_contains(r.error.message, "status 400: the prompt is too long");
    assert_int_equal(r.n_texts, 0);
    pc_reply_release(&r);
    f->fail_status = 500;
    assert_int_equal(submit(f, 3, "long", g_choice), 0);
    assert_int_equal(await(f, &r), 1);
    assert_contains(r.error.message, "status 500 (2 attempts)");
    pc_reply_release(&r);
    f->fail_status = 0;
    r = choose(f);
    assert_int_equal(r.error.code, 0);
    pc_reply_release(&r);
}

static void a_key_that_is_refused_ends_it_all(void **state)
{
    struct fixture *f = *state;
    struct pc_reply r;
    assert_int_equal(begin(f, VLLM), 0);
    f->fail_status = 401;
    assert_int_equal(submit(f, 3, "x", g_text), 0);
    assert_int_equal(await(f, &r), PACO_EINVAL);
    assert_contains(f->err.message, "status 401");
}

static void so_does_an_endpoint_that_went_away(void **state)
{
    struct fixture *f = *state;
    struct pc_reply r;
    int n = 0, rc;
    assert_int_equal(begin(f, VLLM), 0);
    http_server_close(&f->s);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(submit(f, i, "x", g_text), 0);
    while ((rc = await(f, &r)) > 0) {
        assert_contains(r.error.message, "(2 attempts)");
        pc_reply_release(&r);
        n++;
    }
    assert_int_equal(n, 7);
    assert_int_equal(rc, PACO_EIO);
    http_server_open(&f->s, answer, f); // for the teardown
}

static void what_is_no_endpoint_is_told_at_once(void **state)
{
    struct fixture *f = *state;
    f->fail_status = 404;
    http_server_open(&f->s, answer, f);
    f->kind = CHAT;
    const struct pc_answer_api_options o = {.url = f->s.url, .http = {.first_delay = 0.01}};
    struct pc_answer_api_options chat = o;
    chat.chat = true;
    assert_int_equal(pc_answer_api_open(&chat, &f->a, &f->err), 0);
    f->a->ops->close(f->a);
    f->a = NULL;
    f->kind = VLLM;
    assert_int_equal(pc_answer_api_open(&chat, &f->a, &f->err), PACO_EINVAL);
    assert_contains(f->err.message, "no answer by chat: http://");
}

#define WITH(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(choices_are_read_from_the_likeliest_tokens),
        WITH(what_is_not_among_them_is_asked_for_by_echo),
        WITH(an_echo_tells_how_a_bare_letter_is_spelled),
        WITH(the_tokenizers_spelling_counts),
        WITH(or_counts_as_nothing_where_there_is_no_echo),
        WITH(no_candidate_at_all_is_an_error_of_the_item),
        WITH(an_endpoint_without_log_probabilities_says_so_beforehand),
        WITH(how_likely_a_text_is_takes_two_echoes),
        WITH(or_cannot_be_had),
        WITH(samples_come_in_one_request_and_are_cut_at_stops),
        WITH(or_one_by_one_where_only_one_is_given),
        WITH(its_list_tells_what_the_model_was_tuned_on),
        WITH(an_answer_ends_with_a_blank_line),
        WITH(ids_are_sent_as_ids),
        WITH(chat_gets_the_prompt_as_a_users_message_without_the_cards_tags),
        WITH(many_questions_come_back_each_once),
        WITH(a_question_the_endpoint_refuses_fails_alone),
        WITH(a_key_that_is_refused_ends_it_all),
        WITH(so_does_an_endpoint_that_went_away),
        WITH(what_is_no_endpoint_is_told_at_once),
    };
    return cmocka_run_group_tests_name("answer_api", tests, NULL, NULL);
}
