// SPDX-License-Identifier: Apache-2.0
/* paco data stats: how long a training file's texts are, and what training would see of them. */
#include "base/json.h"
#include "base/memory.h"
#include "base/out_file.h"
#include "cli/data_parts.h"
#include "cli/output.h"
#include "cli/vocab_files.h"
#include "data/stats.h"
#include "prompt/vocabulary.h"
#include "train/encode_example.h"
#include "train/show.h"

#include <inttypes.h>
#include <stdio.h>

enum { MAX_TEXT = 1 << 28 };

struct values {
    const char *data_path, *save_path, *model, *encoding;
    int64_t max_seq_length, show, threads, seed;
    bool force, json;
};

#define ROW_OF(member) .offset = offsetof(struct values, member)

static const struct pc_option g_options[] = {
    {.name = "data_path",
        .type = PC_OPT_STRING,
        ROW_OF(data_path),
        .arg = "FILE",
        .help = "the data, where it is not given as FILE"},
    {.name = "model",
        .short_name = 'm',
        .type = PC_OPT_STRING,
        ROW_OF(model),
        .arg = "MODEL",
        .help = "whose tokens are counted: a model folder, tokenizer.model, tokenizer.json or .gguf file, or "
                "a name in "
                "the Hugging Face cache",
        .required = true},
    {.name = "save_path",
        .type = PC_OPT_STRING,
        ROW_OF(save_path),
        .arg = "FILE",
        .help = "write the statistics there, too"},
    {.name = "encoding",
        .type = PC_OPT_CHOICE,
        ROW_OF(encoding),
        .choices = "auto|completion|messages|stanford",
        .help = "how training would make text of an example (auto: as its members say)"},
    {.name = "max_seq_length",
        .type = PC_OPT_INT,
        ROW_OF(max_seq_length),
        .arg = "N",
        .min = 1,
        .max = PC_EXAMPLES_MAX_LENGTH,
        .help = "where training would cut off an example, in tokens (512)"},
    {.name = "show-examples",
        .type = PC_OPT_INT,
        ROW_OF(show),
        .arg = "N",
        .min = 0,
        .max = 100000,
        .help = "print N examples, trained tokens told from masked, instead of statistics"},
    {.name = "seed",
        .type = PC_OPT_INT,
        ROW_OF(seed),
        .arg = "N",
        .min = 0,
        .max = 9007199254740991.0,
        .help = "of which examples are shown (42)"},
    {.name = "force", .type = PC_OPT_FLAG, ROW_OF(force), .help = "replace the file of --save_path"},
    PC_THREADS_ROW(struct values, threads),
    PC_JSON_ROW(struct values, json),
    {0},
};

struct job {
    const struct pc_command *self;
    const struct values *v;
    const char *path;
    struct pc_tokenizer *tok;
    struct pc_pool *pool;
    struct pc_examples set;
    bool trains; /* set is what training would see */
    struct paco_error err;
};

static int open_all(struct job *j)
{
    char *vocabulary = pc_vocabulary_find(j->v->model, &j->err);
    int rc = vocabulary ? pc_vocabulary_open(vocabulary, &j->tok, &j->err) : j->err.code;
    pc_free(vocabulary);
    if (rc == 0 && !(j->pool = pc_pool_new((int)j->v->threads, &j->err)))
        rc = j->err.code;
    return rc;
}

/* ---- what training would see ---- */

static int encode(struct job *j)
{
    enum pc_encoding encoding = PC_ENCODING_AUTO;
    (void)pc_encoding_parse(j->v->encoding, &encoding);
    const struct pc_examples_options o = {.tokenizer = j->tok,
        .encoding = encoding,
        .max_seq_length = (uint32_t)j->v->max_seq_length,
        .gets_pad = pc_tokenizer_marks_spaces(j->tok) && pc_tokenizer_pad(j->tok) < 0,
        .pool = j->pool,
        .progress = pc_progress_bar(j->self)};
    return pc_examples_read(j->path, &o, &j->set, &j->err);
}

static json_t *training_json(const struct job *j)
{
    const struct pc_examples *s = &j->set;
    char hex[PC_SHA256_HEX], file_hex[PC_SHA256_HEX];
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:s, s:s}", "encoding",
        pc_encoding_name(s->encoding), "max_seq_length", (json_int_t)j->v->max_seq_length, "examples",
        (json_int_t)s->n, "left_out", (json_int_t)s->n_dropped, "tokens", (json_int_t)s->n_ids,
        "trained_tokens", (json_int_t)s->n_trained, "longest", (json_int_t)s->longest, "truncated",
        (json_int_t)s->n_truncated, "trained_share", s->n_ids ? (double)s->n_trained / (double)s->n_ids : 0.0,
        "missing_eos", (json_int_t)s->n_no_eos, "empty", (json_int_t)s->n_empty, "all_masked",
        (json_int_t)s->n_masked, "digest", pc_sha256_hex(s->digest, hex), "file_sha256",
        pc_sha256_hex(s->file_digest, file_hex));
}

static void say_training(const struct job *j)
{
    const struct pc_examples *s = &j->set;
    char n[32], n_ids[32];
    pc_command_note(j->self,
        "training sees %s examples (%s, at most %" PRId64
        " tokens) of %s tokens, %.1f %% of them trained; the longest "
        "has %u",
        pc_human_count(s->n, n), pc_encoding_name(s->encoding), j->v->max_seq_length,
        pc_human_count(s->n_ids, n_ids), s->n_ids ? 100 * (double)s->n_trained / (double)s->n_ids : 0.0,
        s->longest);
    pc_command_note(j->self,
        "%zu truncated, %zu without their end-of-sequence token, %zu with nothing for an answer, "
        "%zu left out because nothing is to be learned",
        s->n_truncated, s->n_no_eos, s->n_empty, s->n_dropped);
}

static int show(struct job *j)
{
    struct pc_buf b;
    const size_t n = (size_t)j->v->show < j->set.n ? (size_t)j->v->show : j->set.n;
    uint32_t *order = pc_alloc(j->set.n, sizeof *order);
    if (!order)
        return pc_error_mem(&j->err, j->set.n * sizeof *order, "the examples' order");
    pc_buf_init(&b, MAX_TEXT);
    pc_examples_order((uint64_t)j->v->seed, 0, true, order, j->set.n);
    int rc = pc_examples_show(&j->set, j->tok, order, n, pc_command_color(false), &b, &j->err);
    if (rc == 0 && b.len)
        fwrite(b.data, 1, b.len, stdout);
    pc_buf_release(&b);
    pc_free(order);
    return rc;
}

/* ---- statistics ---- */

static int save(struct job *j, const struct pc_buf *text)
{
    struct pc_out_file f = {.fd = -1};
    if (!j->v->save_path)
        return 0;
    int rc = pc_out_file_open(&f, j->v->save_path, j->v->force, &j->err);
    if (rc == 0) {
        pc_buf_add(&f.buf, text->data, text->len);
        rc = pc_out_file_commit(&f, &j->err);
    }
    pc_out_file_close(&f);
    return rc;
}

static int print(struct job *j, json_t *stats)
{
    struct pc_buf text;
    pc_buf_init(&text, MAX_TEXT);
    pc_stats_write(&text, stats);
    int rc = pc_buf_check(&text, "statistics", &j->err);
    if (rc == 0)
        rc = save(j, &text);
    if (rc == 0 && j->v->json) {
        json_object_set_new(stats, "training", j->trains ? training_json(j) : json_null());
        rc = pc_print_json(json_incref(stats), &j->err);
    } else if (rc == 0) {
        printf("%s\n", text.data);
        if (j->trains)
            say_training(j);
    }
    pc_buf_release(&text);
    return rc;
}

/* Upstream counts what it would not train on, too: that no encoding fits is a remark here. */
static int count(struct job *j)
{
    json_t *stats = NULL;
    const struct pc_stats_options o = {
        .tokenizer = j->tok, .pool = j->pool, .progress = pc_progress_bar(j->self)};
    int rc = pc_data_stats(j->path, &o, &stats, &j->err);
    if (rc == 0) {
        rc = encode(j);
        pc_progress_bar_end();
        j->trains = rc == 0;
        if (rc < 0 && rc != PACO_ECANCELLED) {
            char text[2048];
            pc_command_warn(
                j->self, "training would refuse this file: %s", pc_error_format(&j->err, text, sizeof text));
            j->err = (struct paco_error){0};
            rc = 0;
        }
    }
    if (rc == 0)
        rc = print(j, stats);
    json_decref(stats);
    return rc;
}

static int run_job(struct job *j)
{
    int rc = open_all(j);
    if (rc == 0 && j->v->show) {
        rc = encode(j);
        pc_progress_bar_end();
        return rc == 0 ? show(j) : rc;
    }
    return rc == 0 ? count(j) : rc;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values v = {.max_seq_length = 512, .seed = 42, .encoding = "auto"};
    struct pc_args args;
    int code = pc_command_parse(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    struct job j = {.self = self, .v = &v, .path = v.data_path};
    if (args.positional.n + (v.data_path != NULL) != 1) {
        code = pc_command_misuse(self, "which file? paco data stats FILE -m MODEL");
    } else {
        j.path = v.data_path ? v.data_path : args.positional.v[0];
        int rc = run_job(&j);
        pc_progress_bar_end();
        code = rc < 0 ? pc_command_fail(self, &j.err) : PC_EXIT_OK;
    }
    pc_examples_release(&j.set);
    pc_pool_free(j.pool);
    pc_tokenizer_free(j.tok);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_data_stats = {
    .name = "data stats",
    .summary = "how long a training file's texts are, in tokens",
    .usage = "FILE -m MODEL [options]",
    .description =
        "Prints what Open-Instruct's get_statistics.py prints, as the same JSON: numbers of instances and "
        "turns,\n"
        "lengths of prompts and answers in tokens with their quartiles, how many instances are longer than "
        "the\n"
        "usual bounds, and which are longest. FILE holds JSON lines, or an array, of objects with 'prompt' "
        "and\n"
        "'completion' or with 'messages'.\n"
        "\n"
        "Besides, on stderr or under 'training' with --json: what training sees of it with "
        "--max_seq_length;\n"
        "the share of trained tokens, examples that are truncated, lack their end-of-sequence token, have "
        "an\n"
        "empty answer, or nothing to learn. --show-examples prints examples as training sees them: trained\n"
        "tokens in bold, others dim, or without colour between {+ and +}.",
    .examples = "$ paco data stats data/processed/dolly/dolly_data.jsonl -m llama-7b\n"
                "$ paco data stats train.jsonl -m llama-7b --show-examples 20",
    .options = g_options,
    .run = run,
};
