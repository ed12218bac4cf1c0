// SPDX-License-Identifier: Apache-2.0
/* Python literals, tar files, and downloads against a server inside the test. */
#include "unit.h"

#include "base/file.h"
#include "base/file_digest.h"
#include "data/fetch.h"
#include "data/py_literal.h"
#include "data/unpack.h"
#include "http_server.h"
#include "scratch.h"
#include "zip_build.h"

#include <fcntl.h>
#include <sys/file.h>

static int setup(void **state)
{
    struct scratch *s = calloc(1, sizeof *s);
    unsetenv("http_proxy");
    scratch_open(s);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scratch_close(*state);
    free(*state);
    return 0;
}

/* ---- Python ---- */

static void assert_value(const char *python, const char *want)
{
    struct paco_error err = {0};
    struct pc_buf b;
    json_t *v = NULL;
    int rc = pc_py_literal(python, strlen(python), "X", "x.py", &v, &err);
    if (rc < 0)
        fail_msg("%s: %s", python, err.message);
    pc_buf_init(&b, 1 << 16);
    pc_json_write(&b, v, PC_JSON_COMPACT);
    assert_string_equal(b.data, want);
    pc_buf_release(&b);
    json_decref(v);
}

static void literals_are_read(void **state)
{
    (void)state;
    assert_value("X = [1, -2, 1_000, 2.5, 1e3]", "[1,-2,1000,2.5,1000.0]");
    assert_value("import os\nY = [3]\nX=[True, False, None,]\nos.system('x')", "[true,false,null]");
    assert_value("X = ((1), (1,), (), {'a': [], \"b\": {}})", "[1,[1],[],{\"a\":[],\"b\":{}}]");
    assert_value("XY = 1\n X = 2\nX == 3\nX = 4", "4");
    assert_value("X = [ # a comment ]\n  'a' 'b'\n  r'\\n', # and\n]", "[\"ab\\\\n\"]");
    assert_value("X = '\\n\\t\\\\\\'\\x41\\u00e9\\U0001F600\\101\\q\\\nz'",
        "\"\\n\\t\\\\'A\xc3\xa9\xf0\x9f\x98\x80"
        "A\\\\qz\"");
    assert_value("X = '''a\n'b' ''' \"\"\"c\"\"\" u'd'", "\"a\\n'b' cd\"");
    assert_value("X = \"$3 # no comment\"", "\"$3 # no comment\"");
}

static void assert_refused(const char *python, const char *want, int at)
{
    struct paco_error err = {0};
    json_t *v = NULL;
    int rc = pc_py_literal(python, strlen(python), "X", "x.py", &v, &err);
    assert_true(rc < 0);
    assert_contains(err.message, want);
    assert_string_equal(err.path, "x.py");
    if (at >= 0)
        assert_int_equal(err.offset, at);
}

static void what_is_no_literal_is_refused_with_its_place(void **state)
{
    (void)state;
    char deep[100] = "X = ";
    assert_refused("Y = 1", "there is no 'X = ...' in it", -1);
    assert_refused("X = open('f')", "something else", 4);
    assert_refused("X = [1, f'{x}']", "something else", 8);
    assert_refused("X = [1", "the file's end", 6);
    assert_refused("X = [1 2]", "no comma", 7);
    assert_refused("X = 'abc", "a text without its end", 8);
    assert_refused("X = 'a\n'", "a text without its end", 6);
    assert_refused("X = '''a'", "a text without its end", 9);
    assert_refused("X = {1: 2}", "a key that is no text", 5);
    assert_refused("X = {'a' 1}", "no colon", 9);
    assert_refused("X = '\\ud800'", "half a character", -1);
    assert_refused("X = '\\x4'", "half an escape", -1);
    assert_refused("X = '\\N{DASH}'", "a character by its name", -1);
    assert_refused("X = {'a\\0': 1}", "a NUL in a key", -1);
    assert_refused("X = 1-2", "no number", 4);
    assert_refused("X = 99999999999999999999", "no number", 4);
    assert_refused("X = ", "something else", 4);
    memset(deep + 4, '[', 60);
    assert_refused(deep, "too many brackets in each other", -1);
}

static void exemplars_become_lines(void **state)
{
    struct scratch *s = *state;
    struct paco_error err = {0};
    struct pc_buf b;
    char in[1024], out[1024];
    size_t n;
    snprintf(in, sizeof in, "%s",
        scratch_text(s, "e.py",
            "# table 20\nEXAMPLARS = [\n {\"question\": \"caf\\u00e9?\", \"cot_answer\": \"so\",\n "
            "\"short_answer\": \"6\"},\n]\n"));
    snprintf(out, sizeof out, "%s", scratch_path(s, "e.jsonl"));
    assert_int_equal(pc_unpack_exemplars(in, out, &n, &err), 0);
    assert_int_equal(n, 1);
    assert_int_equal(pc_file_slurp(out, 1000, &b, &err), 0);
    assert_string_equal(
        b.data, "{\"question\": \"caf\\u00e9?\", \"cot_answer\": \"so\", \"short_answer\": \"6\"}\n");
    pc_buf_release(&b);
    scratch_text(s, "e.py", "EXAMPLARS = [{'question': 1}]");
    assert_int_equal(pc_unpack_exemplars(in, out, &n, &err), PACO_EFORMAT);
    assert_contains(err.message, "exemplar 0 has no text 'question'");
    scratch_text(s, "e.py", "EXAMPLARS = {}");
    assert_int_equal(pc_unpack_exemplars(in, out, &n, &err), PACO_EFORMAT);
}

static void exemplars_of_languages_become_an_object(void **state)
{
    struct scratch *s = *state;
    struct paco_error err = {0};
    struct pc_buf b;
    char in[1024], out[1024];
    size_t n;
    snprintf(in, sizeof in, "%s",
        scratch_text(s, "m.py",
            "\"\"\"Prompts.\"\"\"\nEXEMPLAR_NUMBER_ANSWERS = [11]\nMGSM_EXEMPLARS = {\n    \"fr\": {\n       "
            " \"1\": {\n"
            "            \"q\": \"Caf\\u00e9 \"\n                 \"noir?\",\n            \"a\": \"oui\",\n  "
            "      },\n    },\n}\n"));
    snprintf(out, sizeof out, "%s", scratch_path(s, "m.json"));
    assert_int_equal(pc_unpack_mgsm(in, out, &n, &err), 0);
    assert_int_equal(n, 1);
    assert_int_equal(pc_file_slurp(out, 1000, &b, &err), 0);
    assert_string_equal(
        b.data, "{\"MGSM_EXEMPLARS\": {\"fr\": {\"1\": {\"q\": \"Caf\\u00e9 noir?\", \"a\": \"oui\"}}}}\n");
    pc_buf_release(&b);
    scratch_text(s, "m.py", "MGSM_EXEMPLARS = {'fr': {'1': {'q': 'x'}}}");
    assert_int_equal(pc_unpack_mgsm(in, out, &n, &err), PACO_EFORMAT);
    assert_contains(err.message, "exemplar '1' of 'fr' has no texts 'q' and 'a'");
    scratch_text(s, "m.py", "MGSM_EXEMPLARS = []");
    assert_int_equal(pc_unpack_mgsm(in, out, &n, &err), PACO_EFORMAT);
    assert_contains(err.message, "no dict of languages");
}

/* ---- tar ---- */

static size_t put_entry(char *tar, size_t at, const char *name, char type, const char *text)
{
    size_t len = strlen(text);
    unsigned sum = 0;
    char *h = tar + at;
    memset(h, 0, 512);
    snprintf(h, 100, "%s", name);
    snprintf(h + 100, 8, "%07o", 0644);
    snprintf(h + 124, 12, "%011o", (unsigned)len);
    memset(h + 148, ' ', 8);
    h[156] = type;
    memcpy(h + 257, "ustar", 6);
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    memset(h + 512, 0, 512);
    memcpy(h + 512, text, len);
    return at + 512 + (len ? 512 : 0);
}

static void only_the_csv_files_of_mmlu_leave_the_tar(void **state)
{
    struct scratch *s = *state;
    static char tar[16 * 512];
    struct paco_error err = {0};
    char path[1024], dir[1024];
    size_t n, at = 0;
    at = put_entry(tar, at, "data/", '5', "");
    at = put_entry(tar, at, "data/test/a_test.csv", '0', "1,2\n");
    at = put_entry(tar, at, "data/dev/a_dev.csv", '\0', "3\n");
    at = put_entry(tar, at, "data/test/../../evil.csv", '0', "x");
    at = put_entry(tar, at, "data/test/._a_test.csv", '0', "x");
    at = put_entry(tar, at, "data/auxiliary_train/b.csv", '0', "x");
    at = put_entry(tar, at, "data/test/link.csv", '2', "");
    at = put_entry(tar, at, "data/README.txt", '0', "x");
    snprintf(dir, sizeof dir, "%s", scratch_path(s, "mmlu"));
    snprintf(path, sizeof path, "%s", scratch_write(s, "m.tar", tar, at + 1024));
    assert_int_equal(pc_unpack_mmlu(path, dir, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_true(pc_path_exists(scratch_path(s, "mmlu/test/a_test.csv")));
    assert_true(pc_path_exists(scratch_path(s, "mmlu/dev/a_dev.csv")));
    assert_false(pc_path_exists(scratch_path(s, "evil.csv")));
    assert_false(pc_path_exists(scratch_path(s, "mmlu/test/link.csv")));
    // Cut off, damaged, empty.
    scratch_write(s, "m.tar", tar, 512 + 512 + 100);
    assert_int_equal(pc_unpack_mmlu(path, dir, &n, &err), 0); // ends after what is whole
    scratch_write(s, "m.tar", tar, 512 + 512 + 2);
    assert_int_equal(pc_unpack_mmlu(path, dir, &n, &err), PACO_EFORMAT);
    assert_contains(err.message, "is cut off: entry 'data/test/a_test.csv' has 4 bytes, 2 follow");
    tar[0] ^= 1;
    scratch_write(s, "m.tar", tar, at);
    assert_int_equal(pc_unpack_mmlu(path, dir, &n, &err), PACO_EFORMAT);
    assert_contains(err.message, "a header's checksum does not fit");
    memset(tar, 0, sizeof tar);
    scratch_write(s, "m.tar", tar, 1024);
    assert_int_equal(pc_unpack_mmlu(path, dir, &n, &err), PACO_EFORMAT);
    assert_contains(err.message, "holds no data/test/*.csv");
}

/* ---- downloads ---- */

static void expect_content(const char *path, const char *want)
{
    struct pc_buf b;
    assert_int_equal(pc_file_slurp(path, 1 << 20, &b, NULL), 0);
    assert_string_equal(b.data, want);
    pc_buf_release(&b);
}

static void what_comes_packed_is_unpacked(void **state)
{
    struct scratch *s = *state;
    struct paco_error err = {0};
    // `printf 'line\n' | gzip -n`, twice: the members of a file follow one another.
    static const uint8_t member[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0xc9, 0xcc, 0x4b, 0xe5, 2, 0,
        0x0e, 0x45, 0xd8, 0x66, 5, 0, 0, 0};
    uint8_t two[2 * sizeof member];
    char in[1024], out[1024], hex[PC_GIT_BLOB_HEX];
    memcpy(two, member, sizeof member);
    memcpy(two + sizeof member, member, sizeof member);
    snprintf(out, sizeof out, "%s", scratch_path(s, "unpacked"));
    snprintf(in, sizeof in, "%s", scratch_write(s, "two.gz", two, sizeof two));
    assert_int_equal(pc_unpack_gzip(in, out, &err), 0);
    expect_content(out, "line\nline\n");
    scratch_write(s, "two.gz", two, sizeof two - 3);
    assert_int_equal(pc_unpack_gzip(in, out, &err), PACO_EFORMAT);
    assert_contains(err.message, "it ends too early");
    scratch_text(s, "two.gz", "not packed");
    err = (struct paco_error){0};
    assert_int_equal(pc_unpack_gzip(in, out, &err), PACO_EFORMAT);
    expect_content(out, "line\nline\n");

    // Two million zeros in some two thousand bytes are not what anybody publishes.
    uint8_t *zeros = calloc(1, 2000000), packed[4096];
    z_stream z = {.next_in = zeros, .avail_in = 2000000, .next_out = packed, .avail_out = sizeof packed};
    assert_non_null(zeros);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    scratch_write(s, "two.gz", packed, z.total_out);
    deflateEnd(&z);
    free(zeros);
    assert_in_range(z.total_out, 1000, 4700);
    assert_int_equal(pc_unpack_gzip(in, out, &err), PACO_ELIMIT);
    char most[128];
    snprintf(most, sizeof most, "more than %lu bytes when it is unpacked, which is the most expected of %lu",
        200 * z.total_out + (1 << 20), z.total_out);
    assert_contains(err.message, most);
    expect_content(out, "line\nline\n");

    snprintf(in, sizeof in, "%s", scratch_text(s, "hello.txt", "hello\n"));
    assert_int_equal(pc_git_blob(in, hex, &err), 0);
    assert_string_equal(hex, "ce013625030ba8dba906f756967f9e9ca394464a");
}

static void one_entry_leaves_a_zip(void **state)
{
    struct scratch *s = *state;
    struct paco_error err = {0};
    char in[1024], out[1024];
    for (int deflated = 0; deflated < 2; deflated++) {
        struct zb z = {0};
        zb_add(&z, "data/other.jsonl", "other", 5, false);
        struct zb_entry *e = zb_add(&z, "data/core.jsonl", "core core core core\n", 20, deflated);
        zb_finish(&z);
        snprintf(in, sizeof in, "%s", scratch_write(s, "x.zip", z.b.data, z.b.len));
        snprintf(out, sizeof out, "%s", scratch_path(s, "core.jsonl"));
        assert_int_equal(pc_unpack_zip(in, "core.jsonl", out, &err), 0);
        expect_content(out, "core core core core\n");
        assert_int_equal(pc_unpack_zip(in, "none.jsonl", out, &err), PACO_EFORMAT);
        assert_contains(err.message, "the archive holds no none.jsonl");
        if (deflated) { /* more than it says it is */
            z.b.data[e->header_at + 22] = z.b.data[e->central_at + 24] = 10;
            scratch_write(s, "x.zip", z.b.data, z.b.len);
            assert_int_equal(pc_unpack_zip(in, "core.jsonl", out, &err), PACO_ELIMIT);
            assert_contains(err.message, "becomes more than 10 bytes");
            z.b.data[e->header_at + 22] = z.b.data[e->central_at + 24] = 20;
        }
        z.b.data[e->data_at + (deflated ? 2 : 0)] ^= 1;
        scratch_write(s, "x.zip", z.b.data, z.b.len);
        err = (struct paco_error){0};
        assert_int_equal(pc_unpack_zip(in, "core.jsonl", out, &err), PACO_EFORMAT);
        assert_contains(err.message, "bad packed data");
        expect_content(out, "core core core core\n");
        pc_buf_release(&z.b);
    }
}

/* A file that is known by its name in git alone. */
static void names_in_git_are_checked(void **state)
{
    struct scratch *s = *state;
    struct paco_error err = {0};
    static const struct pc_data_file files[] = {{.path = "g/hello.txt",
        .url = "https://host.example/x/hello.txt",
        .digest = "ce013625030ba8dba906f756967f9e9ca394464a"}};
    static const struct pc_data_set set = {.name = "g",
                                        .summary = "",
                                        .licence = "",
                                        .files = files,
                                        .n_files = 1,
                                        .training = true},
                                    *const sets = &set;
    char mirror[1024], out[1024];
    struct pc_fetch_result result;
    scratch_text(s, "mirror/host.example/x/hello.txt", "hello\n");
    snprintf(mirror, sizeof mirror, "%s", scratch_path(s, "mirror"));
    snprintf(out, sizeof out, "%s", scratch_path(s, "out"));
    const struct pc_fetch_options o = {.dir = out, .from = mirror};
    assert_int_equal(pc_data_fetch(&sets, 1, &o, &result, &err), 0);
    assert_int_equal(result.n_fetched, 1);
    assert_int_equal(pc_data_fetch(&sets, 1, &o, &result, &err), 0);
    assert_int_equal(result.n_there, 1);
    scratch_text(s, "out/g/hello.txt", "other\n");
    assert_int_equal(pc_data_fetch(&sets, 1, &o, &result, &err), PACO_EVERIFY);
    assert_contains(err.message, "is another file than its source's (name in git ");
    unlink(scratch_path(s, "out/g/hello.txt"));
    scratch_text(s, "mirror/host.example/x/hello.txt", "hullo\n");
    err = (struct paco_error){0};
    assert_int_equal(pc_data_fetch(&sets, 1, &o, &result, &err), PACO_EVERIFY);
    assert_contains(err.message, "another file came: its name in git is ");
}

#define SHA_OF_HELLO "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03" /* "hello\n" */

static const struct pc_data_file g_files[] = {
    {"a/hello.txt", "https://host.example/x/hello.txt", 6, SHA_OF_HELLO, PC_DATA_PLAIN},
    {"a/other.txt", "https://host.example/x/other.txt", 0, NULL, PC_DATA_PLAIN},
};
static const struct pc_data_set g_set = {"a", "two files", "none", true, g_files, 2, false};

struct site {
    const char *hello, *other; /* NULL: 404 */
    int n_asked;
    char ranges[4][128];
};

static bool serve(void *ctx, const struct http_asked *asked, int fd)
{
    struct site *site = ctx;
    const char *body = strstr(asked->head, "GET /m/host.example/x/hello.txt ") ? site->hello : site->other;
    const char *range = strstr(asked->head, "Range: bytes=");
    size_t at = range ? strtoul(range + 13, NULL, 10) : 0;
    char head[300];
    if (site->n_asked < 4)
        snprintf(site->ranges[site->n_asked], 128, "%.*s", range ? (int)strcspn(range, "\r") : 0,
            range ? range : "");
    site->n_asked++;
    if (!body)
        return http_reply(fd, 404, "", "not here");
    snprintf(head, sizeof head,
        "HTTP/1.1 %s\r\nContent-Length: %zu\r\nETag: \"v\"\r\nContent-Range: bytes %zu-%zu/%zu\r\n\r\n",
        range ? "206 P" : "200 O", strlen(body) - at, at, strlen(body) - 1, strlen(body));
    http_send(fd, head, strlen(head));
    http_send(fd, body + at, strlen(body) - at);
    return true;
}

static int fetch(
    struct scratch *s, const char *from, bool force, struct pc_fetch_result *r, struct paco_error *err)
{
    const struct pc_data_set *set = &g_set;
    struct pc_notes notes = {0};
    const struct pc_fetch_options o = {.dir = scratch_path(s, "data"),
        .from = from,
        .force = force,
        .http = {.max_in_flight = 1, .max_tries = 1},
        .notes = &notes};
    *err = (struct paco_error){0};
    int rc = pc_data_fetch(&set, 1, &o, r, err);
    if (rc == 0 && r->n_fetched == 2)
        assert_contains(notes.v[0], "a/other.txt: its digest was not known before; it is ");
    pc_notes_release(&notes);
    return rc;
}

static void assert_file(struct scratch *s, const char *name, const char *want)
{
    struct pc_buf b;
    assert_int_equal(pc_file_slurp(scratch_path(s, name), 1000, &b, NULL), 0);
    assert_string_equal(b.data, want);
    pc_buf_release(&b);
}

static void files_are_fetched_once(void **state)
{
    struct scratch *s = *state;
    struct site site = {.hello = "hello\n", .other = "more"};
    struct http_server server;
    struct pc_fetch_result r;
    struct paco_error err;
    char from[100];
    http_server_open(&server, serve, &site);
    snprintf(from, sizeof from, "%s/m", server.url);
    assert_int_equal(fetch(s, from, false, &r, &err), 0);
    assert_int_equal(r.n_fetched, 2);
    assert_int_equal(r.bytes, 10);
    assert_file(s, "data/a/hello.txt", "hello\n");
    assert_file(s, "data/a/other.txt", "more");
    assert_false(pc_path_exists(scratch_path(s, "data/a/hello.txt.paco-part")));
    assert_int_equal(fetch(s, from, false, &r, &err), 0);
    assert_int_equal(r.n_there, 2);
    assert_int_equal(site.n_asked, 2);
    // Another file under the name: said, and the rest is done.
    scratch_text(s, "data/a/hello.txt", "mine");
    assert_int_equal(fetch(s, from, false, &r, &err), PACO_EVERIFY);
    assert_contains(err.message, "is another file than its source's (SHA-256 ");
    assert_contains(err.path, "a/hello.txt");
    assert_file(s, "data/a/hello.txt", "mine");
    assert_int_equal(fetch(s, from, true, &r, &err), 0);
    assert_file(s, "data/a/hello.txt", "hello\n");
    http_server_close(&server);
    assert_int_equal(fetch(s, from, false, &r, &err), 0); // nothing needs the network
    assert_int_equal(r.n_there, 2);
}

static void what_was_under_way_goes_on(void **state)
{
    struct scratch *s = *state;
    struct site site = {.hello = "hello\n", .other = "more"};
    struct http_server server;
    struct pc_fetch_result r;
    struct paco_error err;
    char from[100];
    http_server_open(&server, serve, &site);
    snprintf(from, sizeof from, "%s/m", server.url);
    scratch_text(s, "data/a/hello.txt.paco-part", "hel"); // the digest will tell
    scratch_text(s, "data/a/other.txt.paco-part", "old"); // nothing could: again
    assert_int_equal(fetch(s, from, false, &r, &err), 0);
    assert_string_equal(site.ranges[0], "Range: bytes=3-");
    assert_string_equal(site.ranges[1], "");
    assert_file(s, "data/a/hello.txt", "hello\n");
    assert_file(s, "data/a/other.txt", "more");
    assert_int_equal(r.bytes, 7);
    http_server_close(&server);
}

/* ---- servers that fail in the middle ---- */

/* One answer: what it says of itself, how long it claims to be, and what it sends. */
struct line {
    const char *status, *headers;
    int length; /* -1: not said */
    const char *body;
};

/* Answers one after the other, and what was asked for. */
struct faulty {
    const struct line *lines;
    int n_asked;
    char asked[8][200]; /* Range and If-Range */
};

static void copy_header(const char *head, const char *name, char *out)
{
    const char *at = strstr(head, name);
    snprintf(out, 96, "%.*s", at ? (int)strcspn(at, "\r") : 0, at ? at : "");
}

static bool serve_faulty(void *ctx, const struct http_asked *asked, int fd)
{
    struct faulty *f = ctx;
    const struct line *l = &f->lines[f->n_asked];
    char head[400], length[40] = "", range[96], if_range[96];
    copy_header(asked->head, "\nRange: ", range);
    copy_header(asked->head, "\nIf-Range: ", if_range);
    snprintf(f->asked[f->n_asked++], 200, "%s%s", range[0] ? range + 1 : "", if_range);
    if (l->length >= 0)
        snprintf(length, sizeof length, "Content-Length: %d\r\n", l->length);
    snprintf(
        head, sizeof head, "HTTP/1.1 %s\r\n%s%sConnection: close\r\n\r\n", l->status, length, l->headers);
    http_send(fd, head, strlen(head));
    http_send(fd, l->body, strlen(l->body));
    return false;
}

#define ETAG(v) "ETag: \"" v "\"\r\n"
#define PART(from, whole) "Content-Range: bytes " #from "-" #whole "/" #whole "\r\n"

/* other.txt, of which no digest is known, from a server that answers as lines say; want is NULL where it
 * fails. */
static struct paco_error fetch_other(
    struct scratch *s, const struct line *lines, int n_tries, const char *const *asked, const char *want)
{
    static const struct pc_data_set set = {"a", "one file", "none", true, g_files + 1, 1, false},
                                    *const sets = &set;
    struct faulty f = {.lines = lines};
    struct http_server server;
    struct pc_notes notes = {0};
    struct pc_fetch_result r;
    struct paco_error err = {0};
    char from[100];
    http_server_open(&server, serve_faulty, &f);
    snprintf(from, sizeof from, "%s/m", server.url);
    const struct pc_fetch_options o = {.dir = scratch_path(s, "data"),
        .from = from,
        .http = {.max_tries = n_tries, .first_delay = 0.01},
        .notes = &notes};
    int rc = pc_data_fetch(&sets, 1, &o, &r, &err);
    http_server_close(&server);
    pc_notes_release(&notes);
    for (int i = 0; i < f.n_asked; i++)
        assert_string_equal(f.asked[i], asked[i]);
    assert_null(asked[f.n_asked]);
    if (want) {
        if (rc < 0)
            fail_msg("%s", err.message);
        assert_file(s, "data/a/other.txt", want);
        assert_false(pc_path_exists(scratch_path(s, "data/a/other.txt.paco-part")));
        assert_false(pc_path_exists(scratch_path(s, "data/a/other.txt.paco-part-of")));
        unlink(scratch_path(s, "data/a/other.txt"));
    } else {
        assert_int_equal(rc, err.code);
        assert_true(rc < 0);
        assert_false(pc_path_exists(scratch_path(s, "data/a/other.txt")));
    }
    return err;
}

#define ASKED(...) ((const char *const[]){__VA_ARGS__, NULL})

static void leave_part(struct scratch *s, const char *part, const char *mark)
{
    scratch_text(s, "data/a/other.txt.paco-part", part);
    scratch_text(s, "data/a/other.txt.paco-part-of", mark);
}

static void an_empty_answer_does_not_make_a_part_whole(void **state)
{
    struct scratch *s = *state;
    leave_part(s, "half of it", "\"v1\"");
    struct paco_error err = fetch_other(s, (const struct line[]){{"200 O", ETAG("v2"), 0, ""}}, 1,
        ASKED("Range: bytes=10-\nIf-Range: \"v1\""), NULL);
    assert_int_equal(err.code, PACO_EVERIFY);
    assert_contains(err.message, "an empty file came");
    assert_false(pc_path_exists(scratch_path(s, "data/a/other.txt.paco-part")));
    leave_part(s, "half of it", "\"v1\"");
    err = fetch_other(s, (const struct line[]){{"204 N", "", -1, ""}}, 1,
        ASKED("Range: bytes=10-\nIf-Range: \"v1\""), NULL);
    assert_contains(err.message, "an empty file came");
}

static void two_versions_are_never_joined(void **state)
{
    struct scratch *s = *state;
    // Nothing tells versions apart: after a break the whole is asked for.
    fetch_other(s, (const struct line[]){{"200 O", "", 8, "old "}, {"200 O", "", 8, "new text"}}, 2,
        ASKED("", ""), "new text");
    // A weak ETag is no word about bytes.
    fetch_other(s,
        (const struct line[]){{"200 O", "ETag: W/\"v\"\r\n", 8, "old "}, {"200 O", "", 8, "new text"}}, 2,
        ASKED("", ""), "new text");
    // If-Range, by either validator.
    fetch_other(s,
        (const struct line[]){{"200 O", ETAG("v1"), 8, "old "}, {"206 P", ETAG("v1") PART(4, 8), 4, "text"}},
        2, ASKED("", "Range: bytes=4-\nIf-Range: \"v1\""), "old text");
    fetch_other(s,
        (const struct line[]){{"200 O", "Last-Modified: then\r\n", 8, "old "},
            {"200 O", "Last-Modified: now\r\n", 8, "new text"}},
        2, ASKED("", "Range: bytes=4-\nIf-Range: then"), "new text");
    // A server that passes over If-Range, and says so by its ETag.
    fetch_other(s,
        (const struct line[]){{"200 O", ETAG("v1"), 8, "old "}, {"206 P", ETAG("v2") PART(4, 8), 4, "text"},
            {"200 O", ETAG("v2"), 8, "new text"}},
        3, ASKED("", "Range: bytes=4-\nIf-Range: \"v1\"", ""), "new text");
    leave_part(s, "old ", "\"v1\"");
    struct paco_error err = fetch_other(s, (const struct line[]){{"206 P", ETAG("v2") PART(4, 8), 4, "text"}},
        1, ASKED("Range: bytes=4-\nIf-Range: \"v1\""), NULL);
    assert_contains(err.message, "the rest that came is another version's");
    // What the part is of is known from its first byte on, also through an attempt without any answer.
    leave_part(s, "old ", "\"v1\"");
    fetch_other(s,
        (const struct line[]){{"200 O", ETAG("v2"), 8, "new "}, {"503 busy", "", 0, ""},
            {"206 P", ETAG("v2") PART(4, 8), 4, "text"}},
        3,
        ASKED("Range: bytes=4-\nIf-Range: \"v1\"", "Range: bytes=4-\nIf-Range: \"v2\"",
            "Range: bytes=4-\nIf-Range: \"v2\""),
        "new text");
}

static void the_whole_is_what_the_server_says_it_is(void **state)
{
    struct scratch *s = *state;
    // A range that ends too early is no end.
    leave_part(s, "one ", "\"v\"");
    const struct line lines[] = {
        {"206 P", ETAG("v") PART(4, 9), 3, "two"}, {"206 P", ETAG("v") PART(7, 9), 2, "!!"}};
    fetch_other(s, lines, 2, ASKED("Range: bytes=4-\nIf-Range: \"v\"", "Range: bytes=7-\nIf-Range: \"v\""),
        "one two!!");
    leave_part(s, "one ", "\"v\"");
    struct paco_error err = fetch_other(s, lines, 1, ASKED("Range: bytes=4-\nIf-Range: \"v\""), NULL);
    assert_int_equal(err.code, PACO_EIO);
    assert_contains(err.message, "7 bytes came of 9");
    assert_file(s, "data/a/other.txt.paco-part", "one two"); // which goes on another day
    assert_file(s, "data/a/other.txt.paco-part-of", "\"v\"");
    // A part that is longer than the whole, or as long.
    fetch_other(s, (const struct line[]){{"416 R", "", 0, ""}, {"200 O", "", 3, "new"}}, 2,
        ASKED("Range: bytes=7-\nIf-Range: \"v\"", ""), "new");
}

/* A process that was killed said of which version its part is, and of none when it knows no more. */
static void a_part_says_what_it_is_of_while_it_comes(void **state)
{
    struct scratch *s = *state;
    fetch_other(s, (const struct line[]){{"200 O", ETAG("v1"), 8, "old "}}, 1, ASKED(""), NULL);
    assert_file(s, "data/a/other.txt.paco-part", "old ");
    assert_file(s, "data/a/other.txt.paco-part-of", "\"v1\"");
    fetch_other(s, (const struct line[]){{"200 O", "", 8, "new"}}, 1,
        ASKED("Range: bytes=4-\nIf-Range: \"v1\""), NULL);
    assert_file(s, "data/a/other.txt.paco-part", "new");
    assert_false(pc_path_exists(scratch_path(s, "data/a/other.txt.paco-part-of")));
    fetch_other(s, (const struct line[]){{"200 O", "", 3, "all"}}, 1, ASKED(""), "all");
}

static void what_is_wrong_is_not_kept(void **state)
{
    struct scratch *s = *state;
    struct site site = {.hello = "hallo\n", .other = "\n <HTML>sign in"};
    struct http_server server;
    struct pc_fetch_result r;
    struct paco_error err;
    char from[100];
    http_server_open(&server, serve, &site);
    snprintf(from, sizeof from, "%s/m", server.url);
    assert_int_equal(fetch(s, from, false, &r, &err), PACO_EVERIFY);
    assert_int_equal(r.n_failed, 2);
    assert_contains(err.message, "another file came: its SHA-256 is ");
    assert_contains(err.message, "and should be " SHA_OF_HELLO);
    assert_false(pc_path_exists(scratch_path(s, "data/a/hello.txt.paco-part")));
    site.hello = "hello\n";
    assert_int_equal(fetch(s, from, false, &r, &err), PACO_EVERIFY);
    assert_contains(err.message, "a web page came instead of the file");
    assert_int_equal(r.n_fetched, 1); // the one that could be had
    site.hello = "hello\nand more";
    assert_int_equal(fetch(s, from, true, &r, &err), PACO_ELIMIT);
    assert_contains(err.message, "more came than the 6 bytes it should have");
    assert_file(s, "data/a/hello.txt", "hello\n");
    site.other = NULL;
    assert_int_equal(fetch(s, from, false, &r, &err), PACO_ENOENT);
    assert_contains(err.message, "/m/host.example/x/other.txt: status 404: not here");
    http_server_close(&server);
    assert_int_equal(fetch(s, from, false, &r, &err), PACO_EIO);
    assert_contains(err.message, "connect");
}

static void a_folder_does_as_well(void **state)
{
    struct scratch *s = *state;
    struct pc_fetch_result r;
    struct paco_error err;
    char from[1024];
    scratch_text(s, "mirror/host.example/x/hello.txt", "hello\n");
    snprintf(from, sizeof from, "%s", scratch_path(s, "mirror"));
    assert_int_equal(fetch(s, from, false, &r, &err), PACO_ENOENT);
    assert_contains(err.path, "mirror/host.example/x/other.txt");
    assert_int_equal(r.n_fetched, 1);
    scratch_text(s, "mirror/host.example/x/other.txt", "more");
    scratch_text(s, "data/a/other.txt.paco-part", "half of a longer one"); // of the network: no part of this
    scratch_text(s, "data/a/other.txt.paco-part-of", "v");
    assert_int_equal(fetch(s, from, false, &r, &err), 0);
    assert_int_equal(r.n_there, 1);
    assert_file(s, "data/a/other.txt", "more");
}

static void two_at_once_do_not_mix(void **state)
{
    struct scratch *s = *state;
    struct pc_fetch_result r;
    struct paco_error err;
    char from[1024];
    scratch_text(s, "mirror/host.example/x/hello.txt", "hello\n");
    scratch_text(s, "mirror/host.example/x/other.txt", "more");
    snprintf(from, sizeof from, "%s", scratch_path(s, "mirror"));
    scratch_text(s, "data/a/hello.txt.paco-part", "hel");
    int fd = open(scratch_path(s, "data/a/hello.txt.paco-part"), O_RDWR);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(fetch(s, from, false, &r, &err), PACO_EEXIST);
    assert_contains(err.message, "another paco is fetching this file");
    assert_contains(err.path, "data/a/hello.txt.paco-part");
    assert_file(s, "data/a/hello.txt.paco-part", "hel");
    close(fd);
    assert_int_equal(fetch(s, from, false, &r, &err), 0);
    assert_file(s, "data/a/hello.txt", "hello\n");
}

static void the_table_makes_sense(void **state)
{
    (void)state;
    size_t n_files = 0;
    for (const struct pc_data_set *set = pc_data_sets; set->name; set++) {
        assert_ptr_equal(pc_data_set_find(set->name), set);
        for (size_t i = 0; i < set->n_files; i++) {
            const struct pc_data_file *f = &set->files[i];
            assert_true(strncmp(f->url, "https://", 8) == 0);
            assert_true(strncmp(f->path, set->name, strlen(set->name)) == 0);
            assert_true(!f->digest || strlen(f->digest) == 40 || (strlen(f->digest) == 64 && f->size > 0));
        }
        n_files += set->n_files;
    }
    assert_int_equal(n_files, 1 + 2 + 54 + 2 + 1 + 1 + 5 + 12 + 3 + 18);
    assert_null(pc_data_set_find("nothing"));
}

#define WITH(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_are_read),
        cmocka_unit_test(what_is_no_literal_is_refused_with_its_place),
        WITH(exemplars_become_lines),
        WITH(exemplars_of_languages_become_an_object),
        WITH(only_the_csv_files_of_mmlu_leave_the_tar),
        WITH(what_comes_packed_is_unpacked),
        WITH(one_entry_leaves_a_zip),
        WITH(names_in_git_are_checked),
        WITH(files_are_fetched_once),
        WITH(what_was_under_way_goes_on),
        WITH(an_empty_answer_does_not_make_a_part_whole),
        WITH(two_versions_are_never_joined),
        WITH(the_whole_is_what_the_server_says_it_is),
        WITH(a_part_says_what_it_is_of_while_it_comes),
        WITH(what_is_wrong_is_not_kept),
        WITH(a_folder_does_as_well),
        WITH(two_at_once_do_not_mix),
        cmocka_unit_test(the_table_makes_sense),
    };
    return cmocka_run_group_tests_name("data", tests, NULL, NULL);
}
