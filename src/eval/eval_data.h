// SPDX-License-Identifier: Apache-2.0
/* A benchmark's files: where they lie below --data, and what is in them. What is read goes into env->files.
 *
 *     char *path = NULL;
 *     rc = pc_eval_find(dir, "GSM8K", (const char *const[]){"gsm/test.jsonl", NULL}, &path, &err);
 *     rc = pc_jsonl_read(env, path, &lines, &err);
 *     rc = pc_jsonl_text(&lines, i, "question", &question, &err);     errors name file and line
 *
 * DIR may be upstream's `data/eval`, the folder above that, or one benchmark's own folder (as upstream's
 * --data_dir is). */
#ifndef PC_EVAL_EVAL_DATA_H
#define PC_EVAL_EVAL_DATA_H

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "eval/task.h"
#include "eval/text_match.h"

#include <stddef.h>
#include <stdint.h>

enum {
    PC_EVAL_MAX_FILE = 256 << 20, /* bytes of a benchmark's file, also when inflated */
    PC_EVAL_MAX_ITEMS = 1 << 20,  /* of one benchmark */
};

/** The first of names (a NULL-ended list of paths, "gsm/test.jsonl") that exists below data_dir, below its
 * data/eval or eval, or in data_dir without the name's first folder; *path is owned. A folder is found as a
 * file is. PACO_ENOENT says what was looked for, where, and what fetches it (the first name's first folder is
 * the data set's name there); what names the benchmark in the message. */
int pc_eval_find(
    const char *data_dir, const char *what, const char *const *names, char **path, struct paco_error *err);

/** Code, text and file in one, as pc_error_file, where no byte of the file is to blame. Returns code. */
int pc_data_error(struct paco_error *err, int code, const char *path, const char *fmt, ...) PC_PRINTF(4, 5);

/** Read a whole file into out (initialised here; release it in any case), inflated if its name ends in .gz,
 * and list it, with the SHA-256 of its bytes on disk, in env->files (env may be NULL). At most
 * PC_EVAL_MAX_FILE bytes. */
int pc_eval_slurp(
    const struct pc_task_env *env, const char *path, struct pc_buf *out, struct paco_error *err);

/** The same for a JSON file, whose root must be an object or an array; *out is owned. */
int pc_eval_json(const struct pc_task_env *env, const char *path, json_t **out, struct paco_error *err);

/** JSON lines: an object each; blank lines are passed over. Zero is valid and empty. */
struct pc_jsonl {
    char *path;
    json_t **v;   /* owned */
    size_t *line; /* of each, counted from 1 */
    size_t n, capacity, line_capacity;
};

/** A file without any line is PACO_EFORMAT, as is a line that is no object; both say which line. */
int pc_jsonl_read(
    const struct pc_task_env *env, const char *path, struct pc_jsonl *out, struct paco_error *err);
/** The same of text that was read already. */
int pc_jsonl_parse(
    const char *text, size_t len, const char *path, struct pc_jsonl *out, struct paco_error *err);
void pc_jsonl_release(struct pc_jsonl *lines);

/** Line i's member key, which must be a string; a view. */
int pc_jsonl_text(
    const struct pc_jsonl *lines, size_t i, const char *key, struct pc_text *out, struct paco_error *err);

/** An object's member key, which must be a string, with its length; a view. Errors name no place. */
int pc_member_text(const json_t *object, const char *key, struct pc_text *out, struct paco_error *err);

#endif
