// SPDX-License-Identifier: Apache-2.0
/* What the parts of self_instruct.h share: a generation under way, which each of them is a side of. */
#ifndef PC_DATA_SELF_INSTRUCT_PARTS_H
#define PC_DATA_SELF_INSTRUCT_PARTS_H

#include "base/json.h"
#include "base/py_random.h"
#include "data/new_tasks.h"
#include "data/rouge.h"
#include "data/self_instruct.h"

#include <time.h>

enum {
    PC_GENERATE_MAX_PROMPT = 16, /* tasks in a prompt */
    PC_GENERATE_MAX_BATCH = 64,  /* prompts asked at once */
    PC_GENERATE_MAX_FILE = 1 << 30,
};

struct pc_generating {
    const struct pc_generate_options *o;
    struct pc_generate_result *result;
    json_t *seeds; /* [[instruction, input, output]] */
    struct pc_buf preamble;
    char *list_path, *log_path; /* regen.json, regen.jsonl */
    int log;                    /* its descriptor */
    uint64_t log_size;
    struct pc_buf list;   /* records as they stand in regen.json */
    json_t *instructions; /* all texts, seeds first */
    struct pc_rouge *rouge;
    double *scores;
    size_t scores_capacity;
    struct pc_py_random random;
    uint64_t n_requests; /* batches so far, of earlier runs too */
    int n_barren;        /* batches in a row of which nothing was kept */
    struct timespec saved;
    struct pc_openai *api;
    struct pc_openai_reply replies[PC_GENERATE_MAX_BATCH];
    struct pc_buf prompts[PC_GENERATE_MAX_BATCH];
    int32_t asked_tokens[PC_GENERATE_MAX_BATCH]; /* of a reply to each, at most */
    json_t *accepted;                            /* records of the batch at hand */
    size_t n_found;
    struct paco_error *err;
};

/** Seeds and the text in front of them, and earlier results: self_instruct_kept.c. Errors name file and line.
 */
int pc_generate_read_inputs(struct pc_generating *g);
int pc_generate_read_earlier(struct pc_generating *g);

/** Open OUT/regen.jsonl; a line that a crash tore has no end, and is cut off. */
int pc_generate_open_log(struct pc_generating *g);
/** What a batch gave, on the disk before the next one is asked. entry is released. */
int pc_generate_log(struct pc_generating *g, json_t *entry);
/** An earlier list that upstream made becomes the log's first line. */
int pc_generate_import(struct pc_generating *g);
/** Write OUT/regen.json. */
int pc_generate_save(struct pc_generating *g);
/** A record is accepted: its instruction is known from now on. */
int pc_generate_keep(struct pc_generating *g, const json_t *record);

/** Draw seeds for a prompt, and write it: self_instruct_ask.c. */
int pc_generate_draw(struct pc_generating *g, struct pc_buf *out);
/** Draw what earlier batches drew. */
int pc_generate_catch_up(struct pc_generating *g);
/** Draw a batch's prompts and wait for all replies. */
int pc_generate_ask(struct pc_generating *g);

/** pc_new_tasks_parse's: accept a task, unless it is too like one that is known. self_instruct_accept.c. ctx
 * is the generation. */
int pc_generate_consider(void *ctx, const struct pc_new_task *task);

#endif
