// SPDX-License-Identifier: Apache-2.0
/* What the converters of reformat.h share: each is a function of a struct pc_reformat, one per data set. */
#ifndef PC_DATA_REFORMAT_PARTS_H
#define PC_DATA_REFORMAT_PARTS_H

#include "base/json.h"
#include "base/json_records.h"
#include "base/out_file.h"
#include "base/py_random.h"
#include "data/reformat.h"

/** Text that may hold NUL; borrowed. */
struct pc_data_text {
    const char *s;
    size_t len;
};

struct pc_data_turn {
    const char *role; /* "user", "assistant" */
    struct pc_data_text content;
};

struct pc_reformat {
    const struct pc_reformat_options *options;
    const char *name; /* of the data set */
    const char *dir;  /* of its files */
    struct pc_py_random random;
    struct pc_out_file out;
    uint64_t n;                       /* examples written */
    uint64_t n_invalid;               /* conversations of ShareGPT that were left out */
    struct pc_buf prompt, answer, id; /* of the example at hand */
    struct paco_error *err;
};

/** Append one example, called NAME_ID, and count it. */
int pc_reformat_emit(
    struct pc_reformat *f, struct pc_data_text id, const struct pc_data_turn *turns, size_t n);
/** The same with the number it has among those written. */
int pc_reformat_emit_next(struct pc_reformat *f, const struct pc_data_turn *turns, size_t n);
/** The same for a question and an answer. */
int pc_reformat_emit_pair(struct pc_reformat *f, struct pc_data_text prompt, struct pc_data_text answer);

/** An instruction in a template that is drawn; input may have no text (s NULL). Written with the next number,
 * or under id when that is not NULL. */
int pc_reformat_instruction(struct pc_reformat *f, const struct pc_data_text *id,
    struct pc_data_text instruction, struct pc_data_text input, struct pc_data_text output);

/** Call each(f, record) for every record of a file of the set, in order; an error gets its line. */
int pc_reformat_each(
    struct pc_reformat *f, const char *file, int (*each)(struct pc_reformat *f, const json_t *record));

/** A member that is a string; or, with pc_reformat_optional, null, for which s is NULL. */
int pc_reformat_text(struct pc_reformat *f, const json_t *record, const char *key, struct pc_data_text *out);
int pc_reformat_optional(
    struct pc_reformat *f, const json_t *record, const char *key, struct pc_data_text *out);

/** Tell where the job is; PACO_ECANCELLED to stop. */
int pc_reformat_report(struct pc_reformat *f, const char *item, uint64_t done, uint64_t total);

/* The converters. */
int pc_reformat_baize(struct pc_reformat *f);
int pc_reformat_code_alpaca(struct pc_reformat *f);
int pc_reformat_cot(struct pc_reformat *f);
int pc_reformat_dolly(struct pc_reformat *f);
int pc_reformat_flan_v2(struct pc_reformat *f);
int pc_reformat_gpt4_alpaca(struct pc_reformat *f);
int pc_reformat_oasst1(struct pc_reformat *f);
int pc_reformat_self_instruct(struct pc_reformat *f);
int pc_reformat_sharegpt(struct pc_reformat *f);
int pc_reformat_stanford_alpaca(struct pc_reformat *f);
int pc_reformat_super_ni(struct pc_reformat *f);
int pc_reformat_unnatural_instructions(struct pc_reformat *f);

#endif
