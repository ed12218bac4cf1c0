// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "http_server.h"
#include "net/openai.h"
#include "net/reply_cache.h"
#include "scratch.h"

#include <math.h>

/* ---- what is sent ---- */

static void assert_request(struct pc_openai_request request, const char *want)
{
    struct pc_buf b;
    pc_buf_init(&b, 1 << 16);
    pc_openai_write_request(&b, "m\"1", &request);
    assert_false(b.failed);
    assert_string_equal(b.data, want);
    pc_buf_release(&b);
}

static void requests_hold_what_was_asked_and_no_more(void **state)
{
    (void)state;
    static const char *const stops[] = {"\nclass", "\n#", "c", "d", "never sent"};
    assert_request((struct pc_openai_request){.prompt = "1,\n2\xff", .prompt_len = 5, .max_tokens = 3},
        "{\"model\":\"m\\\"1\",\"prompt\":\"1,\\n2\xef\xbf\xbd\",\"max_tokens\":3,\"temperature\":0.0}");
    assert_request((struct pc_openai_request){.prompt = "p",
                       .prompt_len = 1,
                       .max_tokens = 512,
                       .n = 20,
                       .top_k = 50,
                       .temperature = 0.8,
                       .top_p = 0.95,
                       .has_seed = true,
                       .seed = 7,
                       .stops = stops,
                       .n_stops = 5,
                       .logprobs = 5,
                       .echo = true},
        "{\"model\":\"m\\\"1\",\"prompt\":\"p\",\"max_tokens\":512,\"temperature\":0.8,\"top_p\":0.95,\"top_"
        "k\":50,"
        "\"n\":20,\"seed\":7,\"stop\":[\"\\nclass\",\"\\n#\",\"c\",\"d\"],\"logprobs\":5,\"echo\":true}");
    assert_request((struct pc_openai_request){.chat = true,
                       .system = "s",
                       .prompt = "u",
                       .prompt_len = 1,
                       .max_tokens = 1,
                       .temperature = NAN,
                       .logprobs = 20,
                       .echo = true},
        "{\"model\":\"m\\\"1\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\","
        "\"content\":\"u\"}],"
        "\"max_tokens\":1,\"logprobs\":true,\"top_logprobs\":20}");
}

/* ---- what is made of what comes ---- */

static struct pc_openai_reply read_reply(int status, const char *body)
{
    struct pc_openai_reply r;
    struct pc_http_reply http = {
        .status = status, .n_tries = 1, .body = body, .len = strlen(body), .content_type = ""};
    if (status != 200)
        pc_error_set(&http.err, PACO_EIO, "http://h/v1/completions: status %d: raw", status);
    pc_openai_read_reply(&http, "http://h/v1", "sk-secret", &r);
    return r;
}

static void texts_come_in_the_order_of_their_index(void **state)
{
    (void)state;
    struct pc_openai_reply r = read_reply(200, "{\"choices\":[{\"index\":1,\"text\":\"b\",\"finish_reason\":"
                                               "\"stop\"},{\"index\":0,\"text\":\"a\\u0000c\"}],"
                                               "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":-1}}");
    assert_int_equal(r.err.code, 0);
    assert_int_equal(r.n_choices, 2);
    assert_int_equal(r.choices[0].len, 3);
    assert_memory_equal(r.choices[0].text, "a\0c", 4);
    assert_string_equal(r.choices[0].finish_reason, "");
    assert_string_equal(r.choices[1].text, "b");
    assert_string_equal(r.choices[1].finish_reason, "stop");
    assert_int_equal(r.prompt_tokens, 5);
    assert_int_equal(r.completion_tokens, -1);
    pc_openai_reply_release(&r);
    r = read_reply(
        200, "{\"choices\":[{\"index\":7,\"text\":\"x\"},{\"index\":7,\"message\":{\"content\":\"y\"}}]}");
    assert_string_equal(r.choices[0].text, "x");
    assert_string_equal(r.choices[1].text, "y");
    pc_openai_reply_release(&r);
}

static void log_probabilities_come_in_two_shapes(void **state)
{
    (void)state;
    struct pc_openai_reply r = read_reply(200,
        "{\"choices\":[{\"text\":\" A\",\"logprobs\":{\"tokens\":[\"q\",\" "
        "A\"],\"token_logprobs\":[null,-0.5],"
        "\"top_logprobs\":[null,{\" A\":-0.5,\" B\":-2,\"C\":\"?\"}],\"text_offset\":[0,1]}}]}");
    assert_int_equal(r.err.code, 0);
    const struct pc_openai_choice *c = r.choices;
    assert_int_equal(c->n_tokens, 2);
    assert_true(isnan(c->tokens[0].logprob));
    assert_int_equal(c->tokens[0].n_top, 0);
    assert_true(c->tokens[1].logprob == -0.5);
    assert_int_equal(c->tokens[1].n_top, 2);
    assert_string_equal(c->tokens[1].top[1].text, " B");
    assert_true(c->tokens[1].top[1].logprob == -2);
    pc_openai_reply_release(&r);
    r = read_reply(200, "{\"choices\":[{\"message\":{\"content\":\"A\"},\"logprobs\":{\"content\":[{"
                        "\"token\":\"A\",\"logprob\":-0.1,"
                        "\"top_logprobs\":[{\"token\":\"A\",\"logprob\":-0.1},{\"token\":\"B\",\"logprob\":-"
                        "3.5},{\"token\":1}]}]}}]}");
    c = r.choices;
    assert_int_equal(c->n_tokens, 1);
    assert_string_equal(c->tokens[0].text, "A");
    assert_int_equal(c->tokens[0].n_top, 2);
    assert_true(c->tokens[0].top[1].logprob == -3.5);
    pc_openai_reply_release(&r);
}

static void assert_nonsense(const char *body, const char *want)
{
    struct pc_openai_reply r = read_reply(200, body);
    assert_int_equal(r.err.code, PACO_EFORMAT);
    assert_int_equal(r.n_choices, 0);
    assert_contains(r.err.message, "http://h/v1: status 200, but ");
    assert_contains(r.err.message, want);
    assert_null(strstr(r.err.message, "sk-secret"));
    pc_openai_reply_release(&r);
}

static void nonsense_is_called_nonsense(void **state)
{
    (void)state;
    assert_nonsense("", "no JSON");
    assert_nonsense("", ": an empty reply");
    assert_nonsense("\n <!DOCTYPE html><title>Sign in</title>", "a web page, no JSON");
    assert_nonsense("<html>sk-secret", "<html>[key]");
    assert_nonsense("{\"choices\":[{\"te", "no JSON (");
    assert_nonsense("{\"choices\":[{\"sk-secret", "[key]"); // the parser's message quotes it, too
    assert_nonsense("{\"choices\":[{\"finish_reason\":\"sk-secret\"}]}", "finish_reason '[key]'");
    assert_nonsense("[]", "there is no list 'choices'");
    assert_nonsense("{\"id\":1}", "there is no list 'choices' in it: {\"id\":1}");
    assert_nonsense("{\"choices\":[]}", "there are no choices in it");
    assert_nonsense("{\"choices\":[7]}", "a choice without text");
    assert_nonsense("{\"choices\":[{\"message\":{\"content\":null},\"finish_reason\":\"length\"}]}",
        "a choice without text (finish_reason 'length')");
    assert_nonsense(
        "{\"choices\":[{\"text\":\"a\",\"logprobs\":{\"tokens\":[\"a\"],\"token_logprobs\":[]}}]}",
        "its log-probabilities do not fit its tokens");
    assert_nonsense("{\"error\":\"boom\"}", "an error: {\"error\":\"boom\"}");
}

static void assert_no_answer(const char *body, const char *want)
{
    struct pc_openai_reply r = read_reply(200, body);
    assert_int_equal(r.err.code, PACO_EIO);
    assert_int_equal(r.n_choices, 0);
    assert_string_equal(r.err.message, want);
    pc_openai_reply_release(&r);
}

/* An empty text would be judged, and be wrong. */
static void what_was_withheld_or_failed_is_no_answer(void **state)
{
    (void)state;
    static const char withheld[] =
        "http://h/v1: status 200, but no answer: it was withheld (finish_reason 'content_filter')";
    assert_no_answer("{\"choices\":[{\"text\":\"\",\"finish_reason\":\"content_filter\"}]}", withheld);
    assert_no_answer(
        "{\"choices\":[{\"message\":{\"content\":null},\"finish_reason\":\"content_filter\"}]}", withheld);
    assert_no_answer("{\"choices\":[{\"text\":\"4\",\"finish_reason\":\"stop\"},"
                     "{\"text\":\"half of\",\"finish_reason\":\"content_filter\"}]}",
        withheld);
    assert_no_answer("{\"choices\":[{\"text\":\"\",\"finish_reason\":\"error\"}]}",
        "http://h/v1: status 200, but no answer: finish_reason is 'error'");
    assert_no_answer("{\"choices\":[{\"text\":\"\",\"error\":{\"code\":502,\"message\":\"GPU fell "
                     "off\"}}]}",
        "http://h/v1: status 200, but no answer: GPU fell off");
    assert_no_answer("{\"choices\":[{\"text\":\"\"}],\"error\":{\"message\":\"at sk-secret\"}}",
        "http://h/v1: status 200, but no answer: at [key]");
    assert_no_answer("{\"choices\":[{\"text\":\"\"}],\"error\":{\"code\":1}}",
        "http://h/v1: status 200, but no answer: an error without a word");
    // These say that there is none.
    struct pc_openai_reply r = read_reply(
        200, "{\"choices\":[{\"text\":\"\",\"error\":null,\"finish_reason\":\"stop\"}],\"error\":{}}");
    assert_int_equal(r.err.code, 0);
    assert_int_equal(r.choices[0].len, 0);
    pc_openai_reply_release(&r);
}

static void a_crowd_of_choices_is_refused(void **state)
{
    (void)state;
    struct pc_buf b;
    pc_buf_init(&b, 1 << 20);
    pc_buf_puts(&b, "{\"choices\":[0");
    for (int i = 0; i < PC_OPENAI_MAX_CHOICES; i++)
        pc_buf_puts(&b, ",0");
    pc_buf_puts(&b, "]}");
    assert_nonsense(b.data, "more choices in it than anybody asks for");
    pc_buf_release(&b);
}

static void assert_says(int status, const char *body, const char *want)
{
    struct pc_openai_reply r = read_reply(status, body);
    assert_int_equal(r.err.code, PACO_EIO);
    assert_string_equal(r.err.message, want);
    pc_openai_reply_release(&r);
}

static void the_endpoints_own_words_are_repeated(void **state)
{
    (void)state;
    assert_says(400, "{\"error\":{\"message\":\"no\\nsuch sk-secret\",\"type\":\"x\"}}",
        "http://h/v1: status 400: no such [key]");
    assert_says(500, "{\"error\":\"boom\"}", "http://h/v1: status 500: boom");
    assert_says(422, "{\"detail\":\"bad\"}", "http://h/v1: status 422: bad");
    assert_says(404, "{\"object\":\"error\",\"message\":\"gone\"}", "http://h/v1: status 404: gone");
    assert_says(502, "<html>", "http://h/v1/completions: status 502: raw");
    assert_says(502, "{\"detail\":[1]}", "http://h/v1/completions: status 502: raw");
}

/* ---- both together ---- */

struct script {
    const char *replies[4];
    char paths[4][64];
};

static bool recite(void *ctx, const struct http_asked *asked, int fd)
{
    struct script *s = ctx;
    int i = asked->i < 3 ? asked->i : 3;
    snprintf(s->paths[i], sizeof s->paths[i], "%.*s", (int)strcspn(asked->head, "\r"), asked->head);
    return http_reply(fd, strstr(s->replies[i], "quota") ? 429 : 200, "", s->replies[i]);
}

static void assert_endpoint(const char *tail, const char *want)
{
    struct script script = {
        .replies = {"{\"choices\":[{\"text\":\"t\"}]}", "{\"error\":{\"message\":\"quota used up\",\"code\":"
                                                        "\"insufficient_quota\"}}"}};
    struct http_server s;
    struct pc_openai *api = NULL;
    struct pc_openai_reply r;
    struct paco_error err = {0};
    char url[128], line[160];
    unsetenv("http_proxy");
    http_server_open(&s, recite, &script);
    snprintf(url, sizeof url, "%s%s", s.url, tail);
    assert_int_equal(
        pc_openai_open(&(struct pc_openai_options){.url = url, .model = "m", .key = ""}, &api, &err), 0);
    struct pc_openai_request request = {.prompt = "p", .prompt_len = 1, .max_tokens = 1};
    assert_int_equal(pc_openai_ask(api, &request, NULL, &r, &err), 0);
    assert_int_equal(r.err.code, 0);
    assert_string_equal(r.choices[0].text, "t");
    pc_openai_reply_release(&r);
    request.chat = true;
    assert_int_equal(pc_openai_ask(api, &request, NULL, &r, &err), 0);
    assert_contains(r.err.message, "status 429: quota used up");
    assert_int_equal(s.n_requests, 2); // final: no further attempt
    pc_openai_reply_release(&r);
    snprintf(line, sizeof line, "POST %s/completions HTTP/1.1", want);
    assert_string_equal(script.paths[0], line);
    snprintf(line, sizeof line, "POST %s/chat/completions HTTP/1.1", want);
    assert_string_equal(script.paths[1], line);
    pc_openai_close(api);
    http_server_close(&s);
}

static void urls_may_be_given_in_several_ways(void **state)
{
    (void)state;
    assert_endpoint("", "/v1");
    assert_endpoint("/", "/v1");
    assert_endpoint("/v1/", "/v1");
    assert_endpoint("/a/v2", "/a/v2");
    assert_endpoint("/v1/completions", "/v1");
    assert_endpoint("/v1/chat/completions/", "/v1");
}

static int stop_at_once(void *ctx, const struct pc_progress_event *event)
{
    assert_string_equal(event->phase, "asking");
    ++*(int *)ctx;
    return 1;
}

static bool silent(void *ctx, const struct http_asked *asked, int fd)
{
    (void)ctx, (void)asked, (void)fd;
    usleep(500 * 1000);
    return false;
}

static void waiting_can_be_stopped(void **state)
{
    (void)state;
    struct http_server s;
    struct pc_openai *api = NULL;
    struct pc_openai_reply r;
    struct paco_error err = {0};
    int n = 0;
    http_server_open(&s, silent, NULL);
    assert_int_equal(pc_openai_open(&(struct pc_openai_options){.url = s.url}, &api, &err), 0);
    assert_int_equal(pc_openai_ask(api, &(struct pc_openai_request){.prompt = "", .max_tokens = 1},
                         &(struct pc_progress){.update = stop_at_once, .ctx = &n}, &r, &err),
        PACO_ECANCELLED);
    assert_int_equal(n, 1);
    pc_openai_close(api);
    http_server_close(&s);
}

/* ---- what was paid for ---- */

static bool count_and_answer(void *ctx, const struct http_asked *asked, int fd)
{
    char text[100];
    (void)ctx;
    snprintf(text, sizeof text, "{\"choices\":[{\"text\":\"answer %d\"}]}", asked->i);
    return http_reply(fd, 200, "", strstr(asked->body, "nonsense") ? "<html>" : text);
}

static void assert_answer(struct pc_openai *api, const char *prompt, double temperature, const char *want)
{
    struct pc_openai_reply r;
    struct paco_error err = {0};
    const struct pc_openai_request request = {
        .prompt = prompt, .prompt_len = strlen(prompt), .max_tokens = 1, .temperature = temperature};
    assert_int_equal(pc_openai_ask(api, &request, NULL, &r, &err), 0);
    if (want)
        assert_string_equal(r.choices[0].text, want);
    else
        assert_int_equal(r.err.code, PACO_EFORMAT);
    pc_openai_reply_release(&r);
}

static void replies_are_kept_if_asked_for(void **state)
{
    (void)state;
    struct http_server s;
    struct scratch dir;
    struct paco_error err = {0};
    struct pc_openai *api = NULL;
    char cache[512];
    scratch_open(&dir);
    snprintf(cache, sizeof cache, "%s/a/b", dir.dir);
    http_server_open(&s, count_and_answer, NULL);
    const struct pc_openai_options o = {.url = s.url, .model = "m", .key = "sk-secret", .cache_dir = cache};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pc_openai_open(&o, &api, &err), 0);
        assert_answer(api, "p", 0, "answer 0");
        assert_answer(api, "p", 0, "answer 0");
        assert_answer(api, "q", 0, "answer 1");
        assert_answer(api, "drawn", 1, i ? "answer 4" : "answer 2"); // not kept
        assert_answer(api, "nonsense", 0, NULL);                     // nor this
        pc_openai_close(api);
    }
    assert_int_equal(s.n_requests, 6);
    // Several at once, kept and not.
    assert_int_equal(pc_openai_open(&o, &api, &err), 0);
    static const char *const prompts[] = {"p", "new", "q"};
    bool seen[3] = {false};
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(
            pc_openai_start(api,
                &(struct pc_openai_request){
                    .prompt = prompts[i], .prompt_len = strlen(prompts[i]), .max_tokens = 1, .tag = i},
                &err),
            0);
    for (int i = 0; i < 3; i++) {
        struct pc_openai_reply r;
        assert_int_equal(pc_openai_wait(api, 10000, &r, &err), 1);
        assert_string_equal(r.choices[0].text, r.tag == 0   ? "answer 0"
                                               : r.tag == 1 ? "answer 6"
                                                            : "answer 1");
        seen[r.tag] = true;
        pc_openai_reply_release(&r);
    }
    assert_true(seen[0] && seen[1] && seen[2]);
    pc_openai_close(api);
    http_server_close(&s);
    scratch_close(&dir);
}

/* The name of what is kept for a question. */
static const char *kept_path(struct scratch *dir, const char *url, const char *body)
{
    char key[PC_SHA256_HEX];
    assert_int_equal(pc_reply_cache_key(url, body, strlen(body), key, NULL), 0);
    return scratch_path(dir, key);
}

static void a_kept_reply_that_cannot_be_read_is_asked_for_anew(void **state)
{
    (void)state;
    static const char *const damage[] = {"{\"choices\":[{\"te", "<html>", "{\"id\":1}",
        "{\"choices\":[{\"text\":\"\",\"finish_reason\":\"content_filter\"}]}"};
    struct http_server s;
    struct scratch dir;
    struct paco_error err = {0};
    struct pc_openai *api = NULL;
    char url[200], want[32];
    scratch_open(&dir);
    http_server_open(&s, count_and_answer, NULL);
    const struct pc_openai_options o = {.url = s.url, .model = "m", .cache_dir = dir.dir};
    snprintf(url, sizeof url, "%s/v1/completions", s.url);
    char *path = pc_strdup(
        kept_path(&dir, url, "{\"model\":\"m\",\"prompt\":\"p\",\"max_tokens\":1,\"temperature\":0.0}"));
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        scratch_text(&dir, strrchr(path, '/') + 1, damage[i]);
        assert_int_equal(pc_openai_open(&o, &api, &err), 0);
        snprintf(want, sizeof want, "answer %zu", i);
        assert_answer(api, "p", 0, want);
        assert_int_equal(pc_openai_n_kept(api), 0);
        assert_answer(api, "p", 0, want); // the new one is kept
        assert_int_equal(pc_openai_n_kept(api), 1);
        pc_openai_close(api);
    }
    assert_int_equal(s.n_requests, 4);
    pc_free(path);
    http_server_close(&s);
    scratch_close(&dir);
}

/* All that is sent, and where to: nothing of it may differ. */
static void another_question_is_never_answered_by_a_kept_reply(void **state)
{
    (void)state;
    static const char *const stops[] = {"x"};
    const struct pc_openai_request requests[] = {
        {.prompt = "p", .prompt_len = 1, .max_tokens = 1},
        {.prompt = "p", .prompt_len = 1, .max_tokens = 2},
        {.prompt = "p", .prompt_len = 1, .max_tokens = 1, .n = 2},
        {.prompt = "p", .prompt_len = 1, .max_tokens = 1, .top_p = 0.5},
        {.prompt = "p", .prompt_len = 1, .max_tokens = 1, .stops = stops, .n_stops = 1},
        {.prompt = "p", .prompt_len = 1, .max_tokens = 1, .logprobs = 1},
        {.prompt = "p", .prompt_len = 1, .max_tokens = 1, .chat = true},
        {.prompt = "p", .prompt_len = 1, .max_tokens = 1, .chat = true, .system = "s"},
    };
    const size_t n = sizeof requests / sizeof *requests;
    struct http_server s;
    struct scratch dir;
    struct paco_error err = {0};
    struct pc_openai *api = NULL;
    char other[200];
    scratch_open(&dir);
    http_server_open(&s, count_and_answer, NULL);
    snprintf(other, sizeof other, "%s/v2", s.url);
    const struct pc_openai_options of[] = {{.url = s.url, .model = "m", .cache_dir = dir.dir},
        {.url = s.url, .model = "n", .cache_dir = dir.dir},
        {.url = other, .model = "m", .cache_dir = dir.dir}};
    for (size_t k = 0; k < 6; k++) {
        assert_int_equal(pc_openai_open(&of[k % 3], &api, &err), 0);
        for (size_t i = 0; i < n; i++) {
            struct pc_openai_reply r;
            char want[32];
            snprintf(want, sizeof want, "answer %zu", k % 3 * n + i);
            assert_int_equal(pc_openai_ask(api, &requests[i], NULL, &r, &err), 0);
            assert_string_equal(r.choices[0].text, want);
            pc_openai_reply_release(&r);
        }
        assert_int_equal(pc_openai_n_kept(api), k < 3 ? 0 : n);
        pc_openai_close(api);
    }
    assert_int_equal(s.n_requests, 3 * n);
    http_server_close(&s);
    scratch_close(&dir);
}

static void the_cache_has_a_place(void **state)
{
    (void)state;
    setenv("XDG_CACHE_HOME", "/c", 1);
    char *dir = pc_reply_cache_dir("judge");
    assert_string_equal(dir, "/c/paco/judge");
    pc_free(dir);
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("HOME", "/h", 1);
    dir = pc_reply_cache_dir("judge");
    assert_string_equal(dir, "/h/.cache/paco/judge");
    pc_free(dir);
    unsetenv("HOME");
    assert_null(pc_reply_cache_dir("judge"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_hold_what_was_asked_and_no_more),
        cmocka_unit_test(texts_come_in_the_order_of_their_index),
        cmocka_unit_test(log_probabilities_come_in_two_shapes),
        cmocka_unit_test(nonsense_is_called_nonsense),
        cmocka_unit_test(what_was_withheld_or_failed_is_no_answer),
        cmocka_unit_test(a_crowd_of_choices_is_refused),
        cmocka_unit_test(the_endpoints_own_words_are_repeated),
        cmocka_unit_test(urls_may_be_given_in_several_ways),
        cmocka_unit_test(waiting_can_be_stopped),
        cmocka_unit_test(replies_are_kept_if_asked_for),
        cmocka_unit_test(a_kept_reply_that_cannot_be_read_is_asked_for_anew),
        cmocka_unit_test(another_question_is_never_answered_by_a_kept_reply),
        cmocka_unit_test(the_cache_has_a_place),
    };
    return cmocka_run_group_tests_name("openai", tests, NULL, NULL);
}
