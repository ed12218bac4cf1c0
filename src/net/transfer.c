// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"
#include "base/utf8.h"
#include "net/http_parts.h"
#include "paco/paco.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- what may be shown ---- */

char *pc_http_shown_url(const char *url, char *out, size_t out_size)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    size_t authority = strcspn(host, "/?#");
    const char *from = host;
    for (size_t i = 0; i < authority; i++)
        if (host[i] == '@')
            from = host + i + 1;
    snprintf(out, out_size, "%.*s%.*s", (int)(host - url), url, (int)strcspn(from, "?#"), from);
    return out;
}

/* Replaces every secret in text by "[key]"; what is left of it is never longer. */
static void blot(char *text, const char *secret)
{
    size_t n = secret ? strlen(secret) : 0;
    if (n < 6)
        return;
    for (char *at = text; (at = strstr(at, secret));) {
        memcpy(at, "[key]", 5);
        memmove(at + 5, at + n, strlen(at + n) + 1);
    }
}

char *pc_http_excerpt(const char *body, size_t len, const char *secret, char *out, size_t out_size)
{
    char text[4096], printable[1024];
    size_t n = 0;
    bool space = false;
    for (size_t i = 0; i < len && n + 2 < sizeof text; i++) {
        if (strchr(" \t\r\n", body[i])) { // a NUL too
            space = n > 0;
            continue;
        }
        if (space)
            text[n++] = ' ';
        space = false;
        text[n++] = body[i];
    }
    text[n] = '\0';
    blot(text, secret);
    pc_printable(text, printable, sizeof printable);
    if (strlen(printable) >= out_size)
        memcpy(printable + out_size - 4 - pc_utf8_incomplete_tail((const uint8_t *)printable, out_size - 4),
            "...", 4);
    snprintf(out, out_size, "%s", printable);
    return out;
}

/* ---- the request ---- */

static bool is_web(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

/* A line break in a key or validator would begin a header of its own. */
static bool is_header_text(const char *s)
{
    for (; s && *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

static bool copy(char **to, const char *from)
{
    return !from || (*to = pc_strdup(from));
}

struct pc_transfer *pc_transfer_new(const struct pc_curl *curl, const struct pc_http_options *o,
    const struct pc_http_request *request, struct paco_error *err)
{
    char shown[600];
    pc_http_shown_url(request->url, shown, sizeof shown);
    if (!is_web(request->url)) {
        pc_error_set(
            err, PACO_EINVAL, "'%s' is no URL of the kind http://HOST/... or https://HOST/...", shown);
        return NULL;
    }
    if (!is_header_text(request->bearer) || !is_header_text(request->validator)) {
        pc_error_set(err, PACO_EINVAL, "the key has characters that no key has (a line break?)");
        return NULL;
    }
    struct pc_transfer *t = pc_alloc_zero(1, sizeof *t);
    bool ok = t && copy(&t->url, request->url) && copy(&t->bearer, request->bearer) && copy(&t->shown, shown);
    if (ok && request->body)
        ok = (t->body = pc_strndup(request->body, request->body_len)) != NULL;
    if (!ok) {
        pc_transfer_free(curl, t);
        pc_error_mem(err, request->body_len, "a request");
        return NULL;
    }
    t->body_len = request->body_len;
    t->tag = request->tag;
    t->at = t->furthest = request->offset;
    t->sink = request->sink;
    t->is_verified = request->is_verified;
    if (request->validator && strlen(request->validator) < sizeof t->version)
        snprintf(t->version, sizeof t->version, "%s", request->validator);
    t->max_tries = request->max_tries ? request->max_tries : o->max_tries;
    pc_buf_init(&t->reply, o->max_reply);
    return t;
}

void pc_transfer_free(const struct pc_curl *curl, struct pc_transfer *t)
{
    if (!t)
        return;
    if (t->easy)
        curl->easy_cleanup(t->easy);
    if (t->headers)
        curl->slist_free_all(t->headers);
    pc_buf_release(&t->reply);
    pc_free(t->url);
    pc_free(t->bearer);
    pc_free(t->body);
    pc_free(t->shown);
    pc_free(t);
}

/* ---- what comes in ---- */

/* The value of header NAME in line, without the white space around it; false if line is another header. */
static bool header(const char *line, size_t len, const char *name, char *out, size_t out_size)
{
    size_t n = strlen(name);
    if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
        return false;
    const char *value = line + n + 1, *end = line + len;
    while (value < end && strchr(" \t", *value))
        value++;
    while (end > value && strchr(" \t\r\n", end[-1]))
        end--;
    snprintf(out, out_size, "%.*s", (int)(end - value), value);
    return true;
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
    struct pc_transfer *t = ctx;
    char text[200];
    size_t len = size * n;
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) { // of the reply behind a redirection, or a proxy's
        const char *space = memchr(line, ' ', len);
        t->status = space ? atoi(space) : 0; // the line ends with a line break, where atoi stops
        t->content_type[0] = t->modified[0] = t->location[0] = t->etag[0] = t->error_name[0] = '\0';
        t->total_size = t->first = 0;
    } else if (header(line, len, "Content-Type", t->content_type, sizeof t->content_type) ||
               header(line, len, "Location", t->location, sizeof t->location) ||
               header(line, len, "ETag", t->etag, sizeof t->etag) ||
               header(line, len, "X-Error-Code", t->error_name, sizeof t->error_name) ||
               header(line, len, "Last-Modified", t->modified, sizeof t->modified)) {
        return len;
    } else if (t->status == 206 && header(line, len, "Content-Range", text, sizeof text)) {
        const char *slash = strchr(text, '/');
        t->total_size = slash ? strtoull(slash + 1, NULL, 10) : 0;
        t->first = strncasecmp(text, "bytes ", 6) == 0 ? strtoull(text + 6, NULL, 10) : 0;
    } else if (t->status != 206 && header(line, len, "Content-Length", text, sizeof text)) {
        t->total_size = strtoull(text, NULL, 10);
    }
    return len;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx)
{
    struct pc_transfer *t = ctx;
    size_t len = size * n;
    if (t->sink && t->status >= 200 && t->status < 300)
        return pc_transfer_sink(t, bytes, len) < 0 ? 0 : len;
    pc_buf_add(&t->reply, bytes, len);
    return t->reply.failed ? 0 : len;
}

/* ---- an attempt ---- */

static bool add_header(const struct pc_curl *curl, struct pc_transfer *t, const char *name, const char *value)
{
    struct pc_buf line;
    pc_buf_init(&line, 1 << 20);
    pc_buf_printf(&line, "%s%s", name, value);
    struct curl_slist *longer = line.failed ? NULL : curl->slist_append(t->headers, line.data);
    pc_buf_release(&line);
    if (longer)
        t->headers = longer;
    return longer != NULL;
}

/* An empty Expect keeps curl from asking whether a large body is welcome, and waiting a second for the
 * answer. */
static bool add_headers(const struct pc_curl *curl, struct pc_transfer *t)
{
    bool ok = add_header(curl, t, "User-Agent: paco/", paco_version());
    if (t->bearer)
        ok = ok && add_header(curl, t, "Authorization: Bearer ", t->bearer);
    if (t->body)
        ok = ok && add_header(curl, t, "Content-Type: application/json", "") &&
             add_header(curl, t, "Expect:", "");
    if (t->sink && t->at > 0) {
        char range[64];
        snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)t->at);
        ok = ok && add_header(curl, t, "Range: ", range);
        if (t->version[0])
            ok = ok && add_header(curl, t, "If-Range: ", t->version);
    }
    return ok;
}

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value && *value;
}

/* As curl's own program looks for authorities. */
static void set_authorities(const struct pc_curl *curl, CURL *easy)
{
    const char *bundle = is_set("CURL_CA_BUNDLE") ? "CURL_CA_BUNDLE" : "SSL_CERT_FILE";
    if (is_set(bundle))
        curl->easy_setopt(easy, CURLOPT_CAINFO, getenv(bundle));
    if (is_set("SSL_CERT_DIR"))
        curl->easy_setopt(easy, CURLOPT_CAPATH, getenv("SSL_CERT_DIR"));
}

static void set_limits(const struct pc_curl *curl, const struct pc_http_options *o, CURL *easy)
{
    const long web = CURLPROTO_HTTP | CURLPROTO_HTTPS;
    curl->easy_setopt(easy, CURLOPT_PROTOCOLS, web);
    curl->easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS, web);
    curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl->easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl->easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(o->connect_timeout * 1000));
    if (o->timeout > 0)
        curl->easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(o->timeout * 1000));
    if (o->stall_timeout > 0) {
        curl->easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl->easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)(o->stall_timeout + 0.999));
    }
}

static void set_request(const struct pc_curl *curl, struct pc_transfer *t)
{
    CURL *easy = t->easy;
    curl->easy_setopt(easy, CURLOPT_PRIVATE, (char *)t);
    curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, t->curl_error);
    curl->easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
    curl->easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl->easy_setopt(easy, CURLOPT_HEADERDATA, (void *)t);
    curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl->easy_setopt(easy, CURLOPT_WRITEDATA, (void *)t);
    if (t->body) {
        curl->easy_setopt(easy, CURLOPT_POST, 1L);
        curl->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body_len);
        curl->easy_setopt(easy, CURLOPT_POSTFIELDS, t->body);
    } else {
        curl->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
        curl->easy_setopt(easy, CURLOPT_MAXREDIRS, 10L);
    }
    if (!t->sink) // positions in a download are those of the bytes as they are
        curl->easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
}

int pc_transfer_prepare(const struct pc_curl *curl, const struct pc_http_options *o, struct pc_transfer *t,
    struct paco_error *err)
{
    pc_transfer_resume(t);
    t->easy = curl->easy_init();
    if (!t->easy || !add_headers(curl, t))
        return pc_error_mem(err, 0, "a connection");
    t->curl_error[0] = t->content_type[0] = t->modified[0] = t->etag[0] = t->location[0] = t->error_name[0] =
        '\0';
    t->total_size = t->first = 0;
    t->status = 0;
    t->began = t->is_other = false;
    t->err = (struct paco_error){0};
    pc_buf_clear(&t->reply);
    set_limits(curl, o, t->easy);
    set_authorities(curl, t->easy);
    set_request(curl, t);
    if (curl->easy_setopt(t->easy, CURLOPT_URL, t->url) != CURLE_OK)
        return pc_error_mem(err, strlen(t->url), "a URL");
    t->n_tries++;
    return 0;
}

/* ---- its end ---- */

static const char *attempts(const struct pc_transfer *t, char out[40])
{
    out[0] = '\0';
    if (t->n_tries > 1)
        snprintf(out, 40, " (%d attempts)", t->n_tries);
    return out;
}

/* No reply, or half a one. Returns whether another attempt may help. */
static bool fail_curl(
    const struct pc_curl *curl, const struct pc_http_options *o, struct pc_transfer *t, CURLcode code)
{
    char n[40];
    const char *why = t->curl_error[0] ? t->curl_error : curl->easy_strerror(code);
    switch (code) {
    case CURLE_OUT_OF_MEMORY: pc_error_mem(&t->err, 0, "a transfer"); return false;
    case CURLE_URL_MALFORMAT:
        pc_error_set(&t->err, PACO_EINVAL, "%s: is no URL (%s)", t->shown, why);
        return false;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        pc_error_set(&t->err, PACO_EVERIFY,
            "%s: the server's certificate is not to be trusted: %s (an authority of your own: %s)", t->shown,
            why, is_set("CURL_CA_BUNDLE") ? "CURL_CA_BUNDLE, which is set" : "SSL_CERT_FILE");
        return false;
    case CURLE_OPERATION_TIMEDOUT:
        pc_error_set(&t->err, PACO_EIO, "%s: no %s in time: %s; limits are %g s to connect, %g s in all%s",
            t->shown, t->status ? "whole answer" : "answer", why, o->connect_timeout, o->timeout,
            attempts(t, n));
        return true;
    default: pc_error_set(&t->err, PACO_EIO, "%s: %s%s", t->shown, why, attempts(t, n)); break;
    }
    return code != CURLE_UNSUPPORTED_PROTOCOL && code != CURLE_TOO_MANY_REDIRECTS &&
           code != CURLE_SSL_CERTPROBLEM && code != CURLE_WRITE_ERROR && code != CURLE_BAD_CONTENT_ENCODING;
}

static int code_of_status(int status)
{
    switch (status) {
    case 400:
    case 401:
    case 403:
    case 422: return PACO_EINVAL;
    case 404:
    case 410: return PACO_ENOENT;
    default: return PACO_EIO;
    }
}

static bool is_passing(int status)
{
    return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

static void fail_status(struct pc_transfer *t)
{
    char body[300], where[300], n[40];
    if (t->status >= 300 && t->status < 400) {
        pc_error_set(&t->err, PACO_EIO, "%s: status %d: it is elsewhere now: %s", t->shown, t->status,
            pc_http_shown_url(t->location, where, sizeof where));
        return;
    }
    pc_http_excerpt(t->reply.data ? t->reply.data : "", t->reply.len, t->bearer, body, sizeof body);
    pc_error_set(&t->err, code_of_status(t->status), "%s: status %d%s%s%s", t->shown, t->status,
        attempts(t, n), body[0] ? ": " : ", without a word", body);
}

static void release_attempt(const struct pc_curl *curl, struct pc_transfer *t)
{
    curl->easy_cleanup(t->easy);
    t->easy = NULL;
    curl->slist_free_all(t->headers);
    t->headers = NULL;
}

bool pc_transfer_finish(const struct pc_curl *curl, const struct pc_http_options *o, struct pc_transfer *t,
    CURLcode code, double *retry_after)
{
    curl_off_t seconds = 0;
    *retry_after = 0;
    if (curl->easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK && seconds > 0)
        *retry_after = (double)seconds;
    release_attempt(curl, t);
    if (t->is_other)
        return pc_transfer_sunk(t);
    if (t->err.code < 0) // the sink's
        return false;
    if (t->reply.failed) {
        pc_buf_check(&t->reply, "the reply", &t->err);
        pc_error_prefix(&t->err, "%s", t->shown);
        return false;
    }
    if (code != CURLE_OK)
        return fail_curl(curl, o, t, code);
    if (t->status >= 200 && t->status < 300)
        return t->sink && pc_transfer_sunk(t);
    fail_status(t);
    if (t->status == 416 && t->sink && t->at > 0) { // what is there is longer than the whole
        pc_transfer_restart(t);
        return true;
    }
    return is_passing(t->status) &&
           !(o->is_final && o->is_final(t->status, t->reply.data ? t->reply.data : "", t->reply.len));
}
