// SPDX-License-Identifier: Apache-2.0
/* The writer's own: what write.c, write_plan.c and write_manifest.c share. */
#ifndef PC_WEIGHTS_WRITE_PARTS_H
#define PC_WEIGHTS_WRITE_PARTS_H

#include "weights/scan.h"
#include "weights/sidecar.h"
#include "weights/stream.h"
#include "weights/write.h"

struct pc_writer {
    const struct pc_checkpoint *ck;
    const struct pc_write_options *opt;
    struct pc_layout *layout;
    struct pc_sidecars sidecars;
    struct pc_journal *journal;
    json_t *identity;
    struct pc_pool *own_pool;
    struct pc_stream stream;
    struct pc_scan *scans; /* only the digests are used: for the content digest */
    char **paths;          /* of the weight files */
    json_t *files;         /* manifest "files" */
    uint64_t small_bytes;  /* of all files that are no weights */
};

/* ---- write_plan.c ---- */

/** Everything that can be known and refused before a byte is written: target, layout, files beside the
 * weights, space. */
int pc_writer_plan(struct pc_writer *w, struct paco_error *err);
/** What the target is and whether it may be replaced: enum pc_journal_flag. */
unsigned pc_writer_journal_flags(const struct pc_write_options *o);
/** Bytes of the weight files. */
uint64_t pc_writer_weight_bytes(const struct pc_writer *w);
/** About how long it will take, in seconds: from reading and hashing a piece of the largest tensor, and a
 * guess at the disk. */
double pc_writer_estimate(const struct pc_writer *w);
/** What the job is, of what and how: the journal's first line. *owned*; NULL with err set. */
json_t *pc_writer_identity(const struct pc_writer *w, struct paco_error *err);
/** PACO_EMISMATCH if the inputs' files are no longer what w->identity says. */
int pc_writer_check_unchanged(const struct pc_writer *w, struct paco_error *err);

/* ---- write_manifest.c ---- */

/** The "options" of identity and manifest. *owned*; NULL when memory is out. */
json_t *pc_writer_options(const struct pc_write_options *o);
/** Add a written file to w->files. */
int pc_writer_add_file(struct pc_writer *w, const struct pc_sidecar *f, const uint8_t sha256[PC_SHA256_SIZE],
    struct paco_error *err);
/** Write the manifest and sync it; sets r->input_sha256. */
int pc_writer_write_manifest(struct pc_writer *w, struct pc_write_result *r, struct paco_error *err);
/** What an attempt that was interrupted behind that has written: sets r->input_sha256. */
int pc_writer_read_manifest(struct pc_writer *w, struct pc_write_result *r, struct paco_error *err);

/* jansson refuses NULL and says so in its result, so that what could not be made may be put all the same: one
 * flag tells at the end. All take v. */
void pc_json_put(json_t *list, json_t *v, bool *good);
void pc_json_set(json_t *object, const char *key, json_t *v, bool *good);
json_t *pc_json_finished(json_t *v, bool good); /* v, or NULL (and v released) */

#endif
