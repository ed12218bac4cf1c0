// SPDX-License-Identifier: Apache-2.0
/* Downloads that go on. A part and the rest of it must be of one version: by the server's word (If-Range with
 * the validator that came with the part, and the validator of the reply, for servers that pass over
 * If-Range), or by a digest in the end; else a break means to begin again. Source: RFC 9110, sections 13.1.5
 * and 14. */
#include "net/http_parts.h"

#include <stdio.h>
#include <string.h>

void pc_transfer_restart(struct pc_transfer *t)
{
    t->at = 0;
    t->version[0] = '\0';
}

void pc_transfer_resume(struct pc_transfer *t)
{
    if (t->at > 0 && !t->version[0] && !t->is_verified)
        pc_transfer_restart(t);
}

/* A weak ETag says that two versions mean the same, which is no word about bytes. */
static bool is_strong(const char *etag)
{
    return etag[0] && strncmp(etag, "W/", 2) != 0;
}

const char *pc_transfer_validator(const struct pc_transfer *t)
{
    return is_strong(t->etag) ? t->etag : t->modified;
}

/* Whether the reply says that it is of another version than what is there. */
static bool is_other(const struct pc_transfer *t)
{
    const char *now = t->version[0] == '"' ? t->etag : t->modified;
    if (!t->version[0] || !now[0] || (now == t->etag && !is_strong(now)))
        return false;
    return strcmp(now, t->version) != 0;
}

static int begin(struct pc_transfer *t)
{
    t->began = true;
    if (t->status == 206 && t->first != t->at)
        return pc_error_set(&t->err, PACO_EIO, "%s: byte %llu was asked for, and byte %llu came", t->shown,
            (unsigned long long)t->at, (unsigned long long)t->first);
    t->is_other = t->status == 206 && t->at > 0 && is_other(t);
    if (t->is_other)
        return PACO_EIO;
    if (t->status == 206 && t->at > 0)
        return 0;
    t->at = 0;
    snprintf(t->version, sizeof t->version, "%s", pc_transfer_validator(t));
    return t->sink->begin ? t->sink->begin(t->sink->ctx, t->version, &t->err) : 0;
}

int pc_transfer_sink(struct pc_transfer *t, const char *bytes, size_t len)
{
    int rc = t->began ? 0 : begin(t);
    if (rc == 0)
        rc = t->sink->write(t->sink->ctx, t->at, bytes, len, &t->err);
    t->at += rc == 0 ? len : 0;
    return rc;
}

bool pc_transfer_sunk(struct pc_transfer *t)
{
    if (!t->began)
        (void)begin(t);
    if (t->is_other) {
        pc_transfer_restart(t);
        pc_error_set(&t->err, PACO_EIO, "%s: the rest that came is another version's", t->shown);
        return true;
    }
    if (t->err.code < 0 || !t->total_size || t->at == t->total_size)
        return false;
    pc_error_set(&t->err, PACO_EIO, "%s: %llu bytes came of %llu", t->shown, (unsigned long long)t->at,
        (unsigned long long)t->total_size);
    return true;
}
