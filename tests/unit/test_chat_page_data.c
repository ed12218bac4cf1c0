// SPDX-License-Identifier: Apache-2.0
/* The chat page as it is built in: what is packed is what is plain, and its policy allows its own texts
 * alone. */
#include "unit.h"

#include "base/memory.h"
#include "serve/chat_page.h"

#include <libdeflate.h>
#include <openssl/evp.h>
#include <string.h>

static const char *header(const char *name)
{
    for (const char *const(*h)[2] = pc_chat_page.headers; (*h)[0]; h++)
        if (strcmp((*h)[0], name) == 0)
            return (*h)[1];
    return "";
}

static void test_packed_is_plain(void **state)
{
    (void)state;
    const struct pc_chat_page *p = &pc_chat_page;
    assert_in_range(p->html_size, 10000, 1 << 20);
    assert_true(p->gzip_size < p->html_size / 2);
    unsigned char *out = pc_alloc(p->html_size, 1);
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    size_t n = 0;
    assert_non_null(out);
    assert_int_equal(
        libdeflate_gzip_decompress(d, p->gzip, p->gzip_size, out, p->html_size, &n), LIBDEFLATE_SUCCESS);
    assert_int_equal(n, p->html_size);
    assert_memory_equal(out, p->html, n);
    libdeflate_free_decompressor(d);
    pc_free(out);
}

/* "'sha256-...'" of the text between the only begin and the end after it. */
static void allowed(char out[64], const char *begin, const char *end)
{
    const unsigned char *html = pc_chat_page.html, *last = html + pc_chat_page.html_size;
    const unsigned char *from = memmem(html, pc_chat_page.html_size, begin, strlen(begin));
    assert_non_null(from);
    from += strlen(begin);
    assert_null(memmem(from, (size_t)(last - from), begin, strlen(begin)));
    const unsigned char *to = memmem(from, (size_t)(last - from), end, strlen(end));
    assert_non_null(to);
    unsigned char digest[32];
    char text[48];
    assert_int_equal(EVP_Digest(from, (size_t)(to - from), digest, NULL, EVP_sha256(), NULL), 1);
    EVP_EncodeBlock((unsigned char *)text, digest, sizeof digest);
    snprintf(out, 64, "-src 'sha256-%s';", text);
}

static void test_policy_allows_its_own_texts_alone(void **state)
{
    (void)state;
    const char *policy = header("Content-Security-Policy");
    char script[64], style[64];
    allowed(script, "<script>", "</script>");
    allowed(style, "<style>", "</style>");
    assert_non_null(strstr(policy, script));
    assert_non_null(strstr(policy, style));
    assert_ptr_equal(strstr(policy, "default-src 'none'; "), policy);
    assert_non_null(strstr(policy, "connect-src 'self';"));
    assert_non_null(strstr(policy, "frame-ancestors 'none';"));
    assert_non_null(strstr(policy, "require-trusted-types-for 'script'"));
    assert_null(strstr(policy, "unsafe"));
    assert_null(strstr(policy, "http"));
}

static void test_headers(void **state)
{
    (void)state;
    const char *etag = pc_chat_page.etag;
    assert_string_equal(header("ETag"), etag);
    assert_true(strlen(etag) == 36 && strncmp(etag, "W/\"", 3) == 0 && etag[35] == '"');
    assert_string_equal(header("Content-Type"), "text/html; charset=utf-8");
    assert_string_equal(header("X-Content-Type-Options"), "nosniff");
    assert_string_equal(header("Referrer-Policy"), "no-referrer");
    assert_string_equal(header("Vary"), "Accept-Encoding");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed_is_plain),
        cmocka_unit_test(test_policy_allows_its_own_texts_alone),
        cmocka_unit_test(test_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
