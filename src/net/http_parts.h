// SPDX-License-Identifier: Apache-2.0
/* One request on its way: shared by http.c, which says when, and transfer.c, which says what. */
#ifndef PC_NET_HTTP_PARTS_H
#define PC_NET_HTTP_PARTS_H

#include "base/buf.h"
#include "net/curl_api.h"
#include "net/http.h"

struct pc_transfer {
    struct pc_transfer *next;
    /* The request. */
    char *url, *bearer, *body; /* owned */
    char *shown;               /* owned: the URL for messages */
    size_t body_len;
    uint64_t tag;
    const struct pc_http_sink *sink;
    bool is_verified;
    int max_tries;
    /* This attempt. */
    CURL *easy; /* NULL between attempts */
    struct curl_slist *headers;
    double not_before; /* monotonic seconds */
    uint64_t first;    /* byte of the whole that a partial reply begins with */
    bool began;        /* the sink knows of this attempt's reply */
    bool is_other;     /* it is of another version than the bytes that are there */
    struct pc_buf reply;
    char curl_error[CURL_ERROR_SIZE], content_type[80], modified[200], error_name[48];
    char etag[200], location[512];
    uint64_t total_size;
    /* So far. */
    uint64_t at;       /* of the next byte for the sink */
    uint64_t furthest; /* that at ever was when an attempt ended */
    char version[200]; /* the validator of the bytes before it; "" when nobody knows */
    int n_tries, status;
    int n_in_vain;         /* tries since one that brought at further than all before, that one included */
    struct paco_error err; /* the last attempt's; of a sink that failed: its own */
    bool done;
};

/** A copy of what request says; NULL with err set. */
struct pc_transfer *pc_transfer_new(const struct pc_curl *curl, const struct pc_http_options *o,
    const struct pc_http_request *request, struct paco_error *err);
void pc_transfer_free(const struct pc_curl *curl, struct pc_transfer *t);
/** Make t->easy ready for an attempt. */
int pc_transfer_prepare(const struct pc_curl *curl, const struct pc_http_options *o, struct pc_transfer *t,
    struct paco_error *err);
/** The attempt ended: fill status and err, and let go of t->easy (removed from its multi already). True if
 * another attempt may help; *retry_after is what the server asks for in seconds, or 0. */
bool pc_transfer_finish(const struct pc_curl *curl, const struct pc_http_options *o, struct pc_transfer *t,
    CURLcode code, double *retry_after);

/* ---- what goes into a sink: transfer_sink.c ---- */

/** Before an attempt: go back to byte 0 where going on could mix two versions. */
void pc_transfer_resume(struct pc_transfer *t);
/** Bytes of a 2xx reply. Negative ends the attempt, with t->err or is_other set. */
int pc_transfer_sink(struct pc_transfer *t, const char *bytes, size_t len);
/** A 2xx reply came to its end. True when another attempt may help; t->err is set where it was not the whole.
 */
bool pc_transfer_sunk(struct pc_transfer *t);
/** What tells the reply's version from others: an ETag that is not weak, a date, or "". A view. */
const char *pc_transfer_validator(const struct pc_transfer *t);
/** Let the next attempt begin with byte 0. */
void pc_transfer_restart(struct pc_transfer *t);

#endif
