// SPDX-License-Identifier: Apache-2.0
/* A benchmark, as the evaluation sees it: data in, questions out, answers in, scores out. Each setting of the
 * card is one row of pc_tasks and each benchmark one file, task_NAME.c. A task knows upstream's prompts,
 * extraction and metrics and nothing of models: who answers (the engine, an endpoint), in which order, in
 * what batches, and what becomes of a run that is stopped, is eval/run.h.
 *
 *     task->open(task, &env, &data, &err);                    read, sample: all that can be known beforehand
 *     for (i = 0; i < task->n_items(data); i++)
 *         task->ask(data, i, &ask, &err);                     a prompt, and how it is to be answered
 *     task->judge(data, i, &answers, record, &err);           extraction and verdict, into the item's record
 *     task->finish(data, records, dir, metrics, &score, &e, &err);    upstream's files and numbers
 *     task->close(data);
 *
 * Items are in upstream's order, after its sampling. A record is a line of items.jsonl, and all that finish
 * knows of an item besides data: so a run that was stopped goes on from its records, and ends with the same
 * bytes. Where n_samples is above 1, one record holds all samples of the item.
 *
 * After open, a task's data is immutable: ask and judge may be called from any thread, several at once. */
#ifndef PC_EVAL_TASK_H
#define PC_EVAL_TASK_H

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "base/notes.h"
#include "base/options.h"
#include "prompt/format.h"
#include "tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Named departures from upstream's quirks: --fix NAME. Each is recorded in the result. */
enum pc_fix {
    PC_FIX_MMLU_NONE = 1 << 0,   /* mmlu-none: the cell None stays None instead of becoming nan */
    PC_FIX_GSM_QUESION = 1 << 1, /* gsm-quesion: direct demonstrations say Question */
    PC_FIX_GSM_SIGN = 1 << 2,   /* gsm-sign: an integer keeps its sign, and numbers are compared as numbers */
    PC_FIX_BBH_STOP = 1 << 3,   /* bbh-stop: an answer ends at the next "Q:" too */
    PC_FIX_BBH_MATCH = 1 << 4,  /* bbh-match: answers are compared with their punctuation */
    PC_FIX_TYDIQA_BOS = 1 << 5, /* tydiqa-bos: shortened contexts get no literal <s> */
    PC_FIX_CODEX_STOP = 1 << 6, /* codex-stop: stops are looked for in the text, not in the ids */
};

/** What a user may say of the questions, by upstream's names. What is not said (0, or what the comment names)
 * goes by the task's own row of the reference's section 1.1. */
struct pc_task_flags {
    int64_t ntrain, n_shot;                  /* -1 */
    int64_t n_instances;                     /* MMLU, per subject */
    int64_t max_num_examples;                /* GSM, codex; -1: all, here and below */
    int64_t max_num_examples_per_task;       /* BBH */
    int64_t max_num_examples_per_lang;       /* TyDi QA */
    int64_t max_context_length;              /* TyDi QA, tokens */
    int64_t unbiased_sampling_size_n;        /* codex */
    struct pc_strings eval_pass_at_ks;       /* codex */
    struct pc_strings subjects;              /* MMLU; empty: all */
    double temperature;                      /* NAN */
    int64_t seed;                            /* of sampled answers */
    int64_t limit;                           /* the first N after sampling, per subject, task or language */
    int no_cot, no_context, use_chat_format; /* -1; 0, 1 */
    unsigned fixes;                          /* enum pc_fix */
    bool unsafe_exec;                        /* codex: run programs even where there is no sandbox */
};

/** What open gets; everything is borrowed until close. */
struct pc_task_env {
    const struct pc_task_flags *flags;
    const char *data_dir;  /* --data, or the folder of the file it names */
    const char *data_file; /* that file; NULL where it names a folder */
    const struct pc_tokenizer
        *tok;               /* NULL behind an endpoint: nothing is cut by tokens then, and that is noted */
    int bos;                /* for tasks that encode texts themselves: -1 by the tokenizer's own settings, 0
                               never, 1 always */
    enum pc_format format;  /* what the model was tuned on; PC_FORMAT_AUTO where nobody knows */
    const char *model_name; /* for the names of upstream's files; NULL: "model" */
    const char *outputs;    /* judges: the file of answers to be judged */
    struct pc_notes *notes; /* what is left out, and why */
    /* An object: each file that was read, by its path below data_dir, and its SHA-256 in hex, added to by
     * whoever reads it. A run that was stopped goes on only where they are unchanged. NULL: nobody asks. */
    json_t *files;
    /** Programs of others that verdicts depend on, by name with their versions, where there are any: a task
     * adds them, and they are part of what a run is told by. May be NULL. */
    json_t *tools;
};

enum pc_ask_kind {
    PC_ASK_CHOICE, /* which of few tokens comes next (reference 1.4) */
    PC_ASK_TEXT,   /* what comes next (reference 1.3) */
    PC_ASK_NATS,   /* how likely the end of the prompt is behind its beginning */
};

/** How well a text was predicted. */
struct pc_nats {
    double sum;                /* of -log p over the tokens that count */
    int64_t n_tokens, n_bytes; /* that count, and of the text they stand for */
};

enum { PC_MAX_CHOICES = 16, PC_MAX_STOPS = 8 };

/** One item, to be asked. Zero but for prompt when ask gets it; what it points to lives as long as data. */
struct pc_ask {
    struct pc_buf *prompt; /* appended to: what is encoded, special tokens in it recognised */
    enum pc_ask_kind kind;
    bool bos; /* upstream encodes this prompt with special tokens added */
    /* PC_ASK_CHOICE: each encoded alone without special tokens; its first id is the candidate. */
    const char *choices[PC_MAX_CHOICES];
    size_t n_choices;
    /* PC_ASK_TEXT */
    bool new_only; /* the answer is the decoding of the new ids; else what the decoding of prompt and answer
                      has more than that of the prompt, in characters (1.3 step 5) */
    int32_t max_tokens, n_samples;
    double temperature, top_p; /* 0: greedy; off */
    int32_t top_k;
    /* Ends of the answer, and no part of it: sequences of ids (upstream's way), and the texts an endpoint is
     * given instead. texts_only: texts, whoever answers. */
    const struct pc_ids *stop_ids[PC_MAX_STOPS];
    const char *stop_texts[PC_MAX_STOPS];
    size_t n_stop_ids, n_stop_texts;
    bool texts_only;
    /* PC_ASK_NATS: who has the tokenizer reads ids and not the prompt, which is the same as text. Tokens
     * behind position first count, which stand for the last tail_len bytes of the prompt. */
    const int32_t *ids;
    size_t n_ids, first, tail_len;
    bool until_blank_line; /* nothing counts behind the first "\n\n" that follows something not blank: an
                              early end that changes nothing of what is extracted */
};

/** What came back for one item. Borrowed. */
struct pc_answers {
    const double *probs; /* of the choices; they sum to 1 */
    size_t n_probs;
    const char *const *texts; /* n_samples of them, UTF-8, NUL-terminated; a NUL may also be inside */
    const size_t *lens;
    size_t n_texts;
    struct pc_nats nats; /* PC_ASK_NATS */
};

struct pc_task_data; /* a task's own */

struct pc_task {
    const char *name;                 /* "mmlu_0shot" */
    const char *summary;              /* one line for --list */
    const char *benchmark;            /* of the card: "MMLU". NULL: not on the card, no part of its average */
    const char *setting;              /* "0-shot" */
    double card_score;                /* what the card says, 0 to 100; NAN where it says nothing */
    int variant;                      /* what the benchmark's file tells its settings apart by */
    enum pc_json_style metrics_style; /* upstream's metrics.json */
    /** The score is a perplexity, which is no share of 100 and better when lower; items have `nats` and
     * `n_scored` in place of verdicts. */
    bool is_perplexity;

    int (*open)(const struct pc_task *task, const struct pc_task_env *env, struct pc_task_data **out,
        struct paco_error *err);
    void (*close)(struct pc_task_data *data); /* NULL is fine */
    size_t (*n_items)(const struct pc_task_data *data);
    /** A name unique in the task and stable ("abstract_algebra/17": the subject, then the line's number in
     * its file counted from 0), and the group scores are listed by ("abstract_algebra") or NULL. */
    void (*name_item)(const struct pc_task_data *data, size_t i, char out[96], const char **group);
    int (*ask)(const struct pc_task_data *data, size_t i, struct pc_ask *ask, struct paco_error *err);
    /** Add to record the item's own fields by upstream's names (what was asked and expected), `extraction` (a
     * text, or a list for several samples) and `correct` (true or false, or a list), or `score` (0 to 1)
     * where it is not yes or no. */
    int (*judge)(const struct pc_task_data *data, size_t i, const struct pc_answers *answers, json_t *record,
        struct paco_error *err);
    /** Ask calls of judge that are under way, and may take seconds, to end soon with PACO_ECANCELLED. Called
     * while they run; nothing is judged afterwards. NULL where judging is quick. */
    void (*stop)(const struct pc_task_data *data);
    /** records: an array in item order; one with `error` failed and is no part of any mean. Write upstream's
     * files but metrics.json into dir, and put into metrics what that holds, by upstream's names, order and
     * scale. *score is the card's number, 0 to 100, unrounded, *se its standard error; NAN without items. */
    int (*finish)(const struct pc_task_data *data, const json_t *records, const char *dir, json_t *metrics,
        double *score, double *se, struct paco_error *err);
};

/** The table: the card's settings in its order, then what is not on the card; ends with NULL. */
extern const struct pc_task *const pc_tasks[];

#endif
