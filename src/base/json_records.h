// SPDX-License-Identifier: Apache-2.0
/* Data sets of JSON objects, of any size: a line each (JSON lines), or one array of them, told apart by the
 * first byte. Records come in batches, as text, so that many threads can parse them at once.
 *
 *     struct pc_json_records r;
 *     rc = pc_json_records_open(&r, path, &err);
 *     while (rc == 0 && (rc = pc_json_records_batch(&r, &err)) == 0 && r.n > 0)
 *         for (i = 0; i < r.n && rc == 0; i++)
 *             rc = pc_json_record_parse(path, &r.v[i], &object, &err);
 *     pc_json_records_close(&r);
 *
 * A blank line is no record, and neither is white space between an array's. Memory: a window of a few MiB, or
 * the longest record. */
#ifndef PC_BASE_JSON_RECORDS_H
#define PC_BASE_JSON_RECORDS_H

#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"

#include <time.h>

enum {
    PC_JSON_RECORD_MAX = 64 << 20,       /* bytes of one */
    PC_JSON_RECORD_MAX_VALUES = 1 << 20, /* in one */
};

struct pc_json_record {
    const char *text; /* not terminated; in a window that the next batch overwrites */
    size_t len;
    uint64_t at;   /* of its first byte in the file */
    uint64_t line; /* where it begins, from 1 */
};

/** Release with pc_json_records_close whatever happened; `{.file = {.fd = -1}}` may be closed too. */
struct pc_json_records {
    struct pc_json_record *v; /* the batch at hand */
    size_t n;
    bool is_array;
    struct pc_file file;
    uint8_t digest[PC_SHA256_SIZE]; /* SHA-256 of the whole file; valid after the last batch, the empty one */

    /* Its own. */
    struct timespec modified;
    struct pc_sha256 *sha;
    char *window;
    size_t capacity, used, next; /* bytes of the window; filled; consumed */
    uint64_t done;               /* bytes of the file before the window */
    size_t v_capacity;
    uint64_t line; /* of the byte at next */
    int state;
};

/** Open a regular file. Errors as pc_file_open's; PACO_EFORMAT for one that begins with neither '{' nor '['
 * (a byte order mark and white space aside), or holds nothing. */
int pc_json_records_open(struct pc_json_records *r, const char *path, struct paco_error *err);
void pc_json_records_close(struct pc_json_records *r);

/** The next batch into v and n; n is 0 when the file has no more. PACO_EFORMAT where an array is not well
 * formed around its records or the file ends inside it, and for a file that changed while it was read;
 * PACO_ELIMIT for a record above PC_JSON_RECORD_MAX. Messages begin with "line N: ". */
int pc_json_records_batch(struct pc_json_records *r, struct paco_error *err);

/** Bytes of the file up to the end of the batch. */
static inline uint64_t pc_json_records_done(const struct pc_json_records *r)
{
    return r->done + r->next;
}

/** A record's text as an object, *owned*; path names its file in errors. Errors as pc_json_parse's, and
 * PACO_EFORMAT for anything but an object, PACO_ELIMIT for more than PC_JSON_RECORD_MAX_VALUES values;
 * messages begin with "line N: ". Any number of threads at once. */
int pc_json_record_parse(
    const char *path, const struct pc_json_record *record, json_t **out, struct paco_error *err);

/** Put "line N: " in front of the message and name the file: what every error about a record goes through.
 * Returns err's code. */
int pc_json_record_error(const char *path, uint64_t line, struct paco_error *err);

#endif
