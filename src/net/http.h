// SPDX-License-Identifier: Apache-2.0
/* HTTP requests, many in flight, each tried again where that may help.
 *
 *     pc_http_open(&(struct pc_http_options){.max_in_flight = 16}, &http, &err);
 *     pc_http_start(http, &(struct pc_http_request){.url = url, .body = json, .body_len = n, .tag = 7},
 * &err); while ((rc = pc_http_wait(http, 200, &reply, &err)) == 0)
 *         ... look whether to stop
 *     if (rc > 0)
 *         ... reply.tag is 7: reply.err.code, or reply.status and reply.body
 *     pc_http_close(http);
 *
 * Tried again, after first_delay seconds and then twice as long each time up to max_delay: connections that
 * fail or break, attempts that take too long, and the statuses 408, 429, 500, 502, 503 and 504. An attempt
 * that brought a download further than all before counts as the first. A server's
 * Retry-After counts where it is longer, up to an hour. There is no jitter: with one client that knows all
 * its requests it would only make runs differ; instead a 429 or a Retry-After holds back every request that
 * has not begun.
 *
 * Certificates are checked; proxies are what the environment says (http_proxy, https_proxy, no_proxy ...),
 * and so are authorities of one's own (CURL_CA_BUNDLE, SSL_CERT_FILE, SSL_CERT_DIR). Only http and https are
 * spoken. A request with a body is not redirected: where it ought to go is said instead. The bearer's key
 * goes to the host it is meant for, and into no message: where a server repeats it, it is blotted out.
 *
 * One thread at a time. Cost when unused: none (curl_api.h). */
#ifndef PC_NET_HTTP_H
#define PC_NET_HTTP_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Zero means the default. */
struct pc_http_options {
    int max_in_flight;      /* 16; the others wait their turn in the order they were started */
    int max_tries;          /* 6 */
    double connect_timeout; /* seconds, 30 */
    double timeout;         /* seconds for one attempt, reply included; 600; negative: none */
    double stall_timeout;   /* seconds without a byte that end an attempt; none: endpoints think before they
                               speak */
    double first_delay;     /* seconds, 1 */
    double max_delay;       /* seconds, 60 */
    size_t max_reply;       /* bytes kept, after decompression; 64 MiB. More is PACO_ELIMIT. */
    /** Whether an error status is final in spite of its number ("quota exhausted" comes as 429). May be NULL.
     */
    bool (*is_final)(int status, const char *body, size_t len);
};

/** Where the body of a 2xx reply goes instead of into memory. at is the byte's place in the whole; bytes come
 * one after the other. begin (may be NULL) says that a whole begins with byte 0, also that of a file without
 * any: what was written before is void. validator is what a later request for the rest must name, "" when
 * there is none. Both end the request by a negative code with *err. */
struct pc_http_sink {
    int (*write)(void *ctx, uint64_t at, const void *bytes, size_t len, struct paco_error *err);
    void *ctx;
    int (*begin)(void *ctx, const char *validator, struct paco_error *err);
};

/** All is copied but the sink, which must live until the reply. */
struct pc_http_request {
    const char *url;
    const char *bearer; /* key, or NULL */
    const char *body;   /* NULL: GET; else POST, as application/json */
    size_t body_len;
    uint64_t tag;
    int max_tries;                   /* 0: the options' */
    const struct pc_http_sink *sink; /* may be NULL */
    /** With a sink: the first byte wanted, and the validator of the version that the bytes before it are of.
     * Without one nothing could tell two versions apart, and the whole is asked for; unless the bytes are
     * held against a digest in the end (is_verified). The same goes for attempts after one that broke. */
    uint64_t offset;
    const char *validator; /* or NULL */
    bool is_verified;
};

/** Views are valid until the next call with the same http. */
struct pc_http_reply {
    uint64_t tag;
    int status; /* of the last attempt; 0 when none came */
    int n_tries;
    const char *body; /* NUL-terminated; never NULL */
    size_t len;
    const char *content_type, *validator; /* "" when the server named none; the latter an ETag or a date */
    const char *error_name; /* what the server calls its error (X-Error-Code), "" where it has no name */
    uint64_t total_size; /* with a sink: of the whole, 0 where the server does not say; all of it came if code
                            is 0 */
    /** code 0 for 2xx. Else what happened, with the URL, the status and how the body begins: PACO_EIO (no
     * answer, or an error status), PACO_ENOENT (404, 410), PACO_EINVAL (400, 401, 403, 422, a bad URL),
     * PACO_ELIMIT, PACO_EMEM, or what the sink said. */
    struct paco_error err;
};

struct pc_http;

/** *out is *owned*. PACO_EUNSUPPORTED without libcurl, PACO_EMEM. */
int pc_http_open(const struct pc_http_options *options, struct pc_http **out, struct paco_error *err);
/** Gives up what is under way. NULL is fine. */
void pc_http_close(struct pc_http *http);
/** Queue a request. Only local faults are told here: PACO_EINVAL for what is no http or https URL, PACO_EMEM.
 */
int pc_http_start(struct pc_http *http, const struct pc_http_request *request, struct paco_error *err);
/** Requests started whose replies were not handed out yet. */
size_t pc_http_n_open(const struct pc_http *http);
/** Work for at most timeout_ms. 1 and *reply, or 0 when none is ready (at once if none is open), or negative.
 */
int pc_http_wait(struct pc_http *http, int timeout_ms, struct pc_http_reply *reply, struct paco_error *err);

/** url without what is nobody's business: user and password, query, fragment. Returns out. */
char *pc_http_shown_url(const char *url, char *out, size_t out_size);
/** How a body begins, on one line, printable, with secret (may be NULL) blotted out. Returns out. */
char *pc_http_excerpt(const char *body, size_t len, const char *secret, char *out, size_t out_size);

#endif
