// SPDX-License-Identifier: Apache-2.0
/* The tensors' way from a checkpoint into the files of a layout: the part of the writer (write.h) that is
 * about bytes and processors.
 *
 * Workers take tensors, largest first, since a hash goes through its tensor in order; several at a time,
 * since hashes are fastest many in step (base/sha256_lanes.h). Piece by piece they read rows of each
 * (pc_trace_rows, so that pieces, what they are made of and what becomes of them stay in the second-level
 * cache), hash the results and all files' bytes they were made of, and lay the results into write buffers.
 * Other threads write those. A tensor that is written goes into the journal with the next batch: the files
 * are synced first, then the batch of records. */
#ifndef PC_WEIGHTS_STREAM_H
#define PC_WEIGHTS_STREAM_H

#include "base/digest.h"
#include "base/disk.h"
#include "base/journal.h"
#include "base/progress.h"
#include "base/threads.h"
#include "format/checkpoint.h"
#include "format/layout.h"

/** Digests of a file's checkpoint that is streamed from. */
struct pc_input_digests {
    const struct pc_checkpoint *ck;
    struct {
        bool known;
        uint8_t sha256[PC_SHA256_SIZE];
    } * tensors; /* ck->n_tensors; owned */
};

/** What is known of an output tensor that was written. */
struct pc_tensor_result {
    bool done;
    uint8_t sha256[PC_SHA256_SIZE];
    uint64_t n_special, n_lossy;
    double max_error;
};

struct pc_stream {
    const struct pc_checkpoint *ck; /* tensor i of ck is tensor i of layout */
    struct pc_layout *layout;       /* crc32 of its tensors is set */
    struct pc_journal *journal;
    struct pc_disk_file *files;       /* layout->n_files, open */
    struct pc_tensor_result *results; /* layout->n_tensors; those done are left alone */
    struct pc_input_digests *inputs;  /* filled for what streams by */
    size_t n_inputs;
    struct pc_pool *pool;
    const struct pc_progress *progress;
    const char *phase;
    bool one_in_hand;  /* a worker has one tensor in hand: for nodes that need much memory for each */
    bool journal_each; /* by itself, instead of some at a time */
};

/** Read a journal record into s. Records that make no sense for s (a damaged file would have failed its
 * checksum) are PACO_EFORMAT. */
int pc_stream_restore(struct pc_stream *s, const json_t *record, struct paco_error *err);

/** Write every tensor that is not done. On failure what is done is in the journal all the same, if the disk
 * takes it. */
int pc_stream_run(struct pc_stream *s, struct paco_error *err);

/** Read and hash the tensors of all inputs that did not stream by. */
int pc_stream_rest_of_inputs(struct pc_stream *s, struct paco_error *err);

#endif
