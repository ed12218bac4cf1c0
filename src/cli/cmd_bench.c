// SPDX-License-Identifier: Apache-2.0
/* paco bench: how fast this machine is, how fast a model runs on it, and what share of the limit that is. */
#include "base/cpu.h"
#include "base/file.h"
#include "base/host.h"
#include "base/memory.h"
#include "cli/bench_model.h"
#include "cli/bench_report.h"
#include "cli/command.h"
#include "cli/model_args.h"
#include "cli/output.h"
#include "engine/selftest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_DECODE = 64, DEFAULT_REPEAT = 5, MOST_TOKENS = 1 << 20 };

struct values {
    struct pc_model_args model;
    const char *prefill, *depth, *batch;
    struct pc_strings beside;
    int64_t decode, repeat;
    double seconds;
    bool json, roofline, verify;
};

static const struct pc_option g_options[] = {
    PC_MODEL_ROWS(struct values, model, false),
    {.name = "prefill",
        .short_name = 'p',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, prefill),
        .arg = "N,...",
        .help = "tokens of the prompts (128,512,2048)"},
    {.name = "decode",
        .short_name = 'n',
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, decode),
        .arg = "N",
        .min = 1,
        .max = 1 << 16,
        .help = "tokens written one by one in a run (64)"},
    {.name = "depth",
        .short_name = 'd',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, depth),
        .arg = "N,...",
        .help = "tokens already there when writing begins; batches take the first (0,512,2048)"},
    {.name = "batch",
        .short_name = 'b',
        .type = PC_OPT_STRING,
        .offset = offsetof(struct values, batch),
        .arg = "N,...",
        .help = "sequences that write at once (1,2,4,8,16,32)"},
    {.name = "beside",
        .type = PC_OPT_LIST,
        .offset = offsetof(struct values, beside),
        .arg = "DIR",
        .help =
            "an adapter or a weight diff run beside MODEL: batches are measured again with their sequences "
            "taking these in turn; may be given several times"},
    {.name = "repeat",
        .short_name = 'r',
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, repeat),
        .arg = "N",
        .min = 1,
        .max = 1000,
        .help = "runs of each measurement, of which the median counts (5)"},
    {.name = "seconds",
        .type = PC_OPT_FLOAT,
        .offset = offsetof(struct values, seconds),
        .arg = "S",
        .min = 0,
        .max = 1e6,
        .help = "no further run of a measurement after this long (10)"},
    PC_RUN_ROWS(struct values, model),
    {.name = "roofline",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, roofline),
        .help = "also show bytes and operations per token, the rates reached, and which limit binds"},
    {.name = "verify-determinism",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, verify),
        .help = "see that threads, batches and kept beginnings change no byte; no speeds"},
    PC_JSON_ROW(struct values, json),
    {0},
};

struct job {
    const struct pc_command *self;
    const struct values *v;
    struct pc_model model;
    struct pc_bench_plan plan;
    struct pc_variant_options *beside;
    struct pc_bench_report found;
    struct paco_error err;
};

/* ---- options ---- */

/* "128,512" with every number at least `least`. */
static bool parse_list(const char *text, int32_t least, int32_t most, struct pc_bench_list *out)
{
    out->n = 0;
    for (const char *at = text; *at;) {
        char *end;
        long n = strtol(at, &end, 10);
        if (end == at || n < least || n > most || (*end != ',' && *end != '\0') ||
            out->n == PC_BENCH_MAX_LIST)
            return false;
        out->v[out->n++] = (int32_t)n;
        at = *end ? end + 1 : end;
    }
    return out->n > 0;
}

static bool read_list(struct job *j, const char *option, const char *text, const char *otherwise,
    int32_t least, int32_t most, struct pc_bench_list *out)
{
    if (parse_list(text ? text : otherwise, least, most, out))
        return true;
    pc_command_misuse(j->self, "--%s %s: numbers from %d to %d with commas are expected", option,
        text ? text : otherwise, least, most);
    return false;
}

/* Nothing named: all of it. Otherwise what was named: --prefill its prompts; --decode, --depth and --batch
 * answers. */
static int read_plan(struct job *j)
{
    const struct values *v = j->v;
    struct pc_bench_plan *p = &j->plan;
    bool answers = v->decode >= 0 || v->depth || v->batch || v->beside.n, all = !v->prefill && !answers;
    *p = (struct pc_bench_plan){.decode = v->decode >= 0 ? (int32_t)v->decode : DEFAULT_DECODE,
        .repeat = (int)v->repeat,
        .seconds = v->seconds,
        .engine = pc_model_engine_options(&v->model)};
    if (!read_list(j, "prefill", v->prefill, "128,512,2048", 1, MOST_TOKENS, &p->prefill) ||
        !read_list(j, "depth", v->depth, all ? "0,512,2048" : "0", 0, MOST_TOKENS, &p->depth) ||
        !read_list(j, "batch", v->batch, all ? "1,2,4,8,16,32" : "1", 1, PC_BENCH_MAX_BATCH, &p->batch))
        return PC_EXIT_MISUSED;
    p->prefill.n = v->prefill || all ? p->prefill.n : 0;
    p->decode = answers || all ? p->decode : 0;
    return PC_EXIT_OK;
}

static size_t up_to(const struct pc_bench_list *l, int32_t most)
{
    size_t n = 0;
    while (n < l->n && l->v[n] <= most)
        n++;
    return n;
}

/* What nobody asked for is left out where the model's context ends; what was asked for is remarked. */
static void fit_context(struct job *j)
{
    struct pc_bench_plan *p = &j->plan;
    int32_t own = j->model.config->max_positions;
    if (own <= 0)
        return;
    if (!j->v->prefill)
        p->prefill.n = up_to(&p->prefill, own);
    if (!j->v->depth)
        p->depth.n = up_to(&p->depth, own - p->decode);
    if (p->depth.n == 0)
        p->depth = (struct pc_bench_list){.n = 1};
    if (pc_bench_longest(p) > own)
        pc_command_note(j->self, "%d tokens are more than the %d positions this model was trained for",
            pc_bench_longest(p), own);
}

/* ---- measuring ---- */

static int open_model(struct job *j)
{
    double start = pc_seconds();
    int rc = pc_model_open(&j->v->model, &j->model, &j->err);
    j->found.find_seconds = pc_seconds() - start;
    pc_model_say(j->self, &j->model);
    if (rc == 0)
        fit_context(j);
    return rc;
}

/* A folder with adapter_config.json is an adapter. */
static int find_beside(struct job *j)
{
    const struct pc_strings *dirs = &j->v->beside;
    j->beside = calloc(dirs->n ? dirs->n : 1, sizeof *j->beside);
    if (!j->beside)
        return pc_error_mem(&j->err, dirs->n * sizeof *j->beside, "fine-tunes");
    for (size_t i = 0; i < dirs->n; i++) {
        char *config = pc_path_join(dirs->v[i], "adapter_config.json");
        bool is_adapter = config && pc_path_exists(config);
        pc_free(config);
        j->beside[i] =
            (struct pc_variant_options){is_adapter ? PC_VARIANT_ADAPTER : PC_VARIANT_DIFF, dirs->v[i]};
    }
    j->plan.beside = j->beside;
    j->plan.n_beside = dirs->n;
    j->plan.base = &j->model.source;
    return 0;
}

static int measure_model(struct job *j)
{
    if (find_beside(j) < 0)
        return j->err.code;
    j->found.result = calloc(1, sizeof *j->found.result);
    if (!j->found.result)
        return pc_error_mem(&j->err, sizeof *j->found.result, "results");
    return pc_bench_model(j->model.weights, j->model.config, &j->plan, j->found.result, &j->err);
}

static int measure_recover(struct job *j)
{
    const char *parent = getenv("TMPDIR");
    return pc_bench_recover(parent && *parent ? parent : "/tmp", (int)j->v->model.threads, j->plan.progress,
        &j->found.recover, &j->err);
}

/* The machine before and after: whatever else runs may have left one of the two alone. */
static int measure(struct job *j)
{
    struct pc_machine after;
    struct pc_machine_options o = {.n_threads = (int)j->v->model.threads, .progress = j->plan.progress};
    int rc = pc_machine_measure(&o, &j->found.machine, &j->err);
    pc_peak_rss_reset();
    if (rc == 0)
        rc = j->v->model.model ? measure_model(j) : measure_recover(j);
    j->found.peak_rss = pc_peak_rss();
    if (rc == 0)
        rc = pc_machine_measure(&o, &after, &j->err);
    if (rc == 0)
        pc_machine_join(&j->found.machine, &after);
    return rc;
}

/* ---- all of it ---- */

static int print_selftest_json(const struct pc_selftest *t, struct paco_error *err)
{
    char digest[24];
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)t->digest);
    json_t *o = json_object();
    json_object_set_new(o, "n_ways", json_integer(t->n_ways));
    json_object_set_new(o, "n_rows", json_integer((json_int_t)t->n_rows));
    json_object_set_new(o, "n_different", json_integer(t->n_different));
    json_object_set_new(o, "first", t->n_different ? json_string(t->first) : json_null());
    json_object_set_new(o, "digest", json_string(digest));
    return pc_print_json(o, err);
}

/* The promise tried out. Its failure is the command's, once it is printed. */
static int verify(struct job *j)
{
    struct pc_selftest t;
    struct pc_engine_options o = pc_model_engine_options(&j->v->model);
    int rc = open_model(j);
    if (rc < 0)
        return rc;
    const struct pc_progress *bar = pc_progress_bar(j->self);
    rc = pc_selftest_determinism(j->model.weights, j->model.config, &o, bar, &t, &j->err);
    pc_progress_bar_end();
    if (rc < 0)
        return rc;
    if (j->v->json)
        rc = print_selftest_json(&t, &j->err);
    else if (t.n_different == 0)
        printf("the same bytes in all of %d ways, %llu rows of logits, digest %016llx\n", t.n_ways,
            (unsigned long long)t.n_rows, (unsigned long long)t.digest);
    if (rc == 0 && t.n_different)
        rc = pc_error_set(&j->err, PACO_EMISMATCH, "%d of %d ways give other bytes; the first: %s",
            t.n_different, t.n_ways, t.first);
    return rc;
}

static int run_job(struct job *j)
{
    if (j->v->verify)
        return verify(j);

    int rc = j->v->model.model ? open_model(j) : 0;
    if (rc < 0)
        return rc;
    j->plan.progress = pc_progress_bar(j->self);
    rc = measure(j);
    pc_progress_bar_end();
    if (rc == 0 && j->v->json)
        return pc_bench_report_json(&j->found, &j->err);
    if (rc == 0)
        pc_bench_report_print(&j->found);
    return rc;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values v = {.decode = -1, .repeat = DEFAULT_REPEAT, .seconds = 10};
    struct pc_args args;
    int code = pc_command_parse(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    struct job j = {.self = self, .v = &v, .found = {.model = v.model.model, .roofline = v.roofline}};
    if (args.positional.n > 0)
        code = pc_command_misuse(self, "'%s' is not expected", args.positional.v[0]);
    else if (v.beside.n && v.model.diff)
        code = pc_command_misuse(self, "--beside goes with a plain MODEL, not with --diff");
    else if (!v.model.model &&
             (v.verify || v.beside.n || v.model.diff || v.prefill || v.depth || v.batch || v.decode >= 0))
        code = pc_command_misuse(self, "-m MODEL is missing: without it only the machine is measured");
    else
        code = read_plan(&j);
    if (code == PC_EXIT_OK)
        code = run_job(&j) < 0 ? pc_command_fail(self, &j.err) : PC_EXIT_OK;
    pc_model_close(&j.model);
    free(j.beside);
    free(j.found.result);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_bench = {
    .name = "bench",
    .summary = "how fast this machine and a model on it are, against the machine's limits",
    .usage = "[-m MODEL] [options]",
    .description =
        "Measures what this machine can do (reading memory, multiply-adds in F32, BF16 and INT8), then "
        "MODEL:\n"
        "loading and repacking, prompts of several lengths, answers at several depths, and many at once. "
        "Each\n"
        "speed is the median of some runs, with half the distance of their quartiles as its spread, and "
        "comes\n"
        "with its limit: the tokens per second at which either the bytes that must be read take all of the\n"
        "bandwidth, or the operations all of the peak, whichever is fewer. A model that fits into the "
        "caches\n"
        "can be faster than that.\n"
        "\n"
        "Naming some of --prefill, --decode, --depth, --batch and --beside leaves out the rest. Without a "
        "model: the\n"
        "machine, and how fast paco recover writes in $TMPDIR.\n"
        "\n"
        "--verify-determinism measures nothing: it computes a prompt and an answer with one thread, alone, "
        "and\n"
        "again with others, in pieces, among 7 and 32 sequences and from kept beginnings. Exit status 1, "
        "and\n"
        "the first place, when a bit differs.",
    .examples = "$ paco bench -m model.gguf\n"
                "$ paco bench -m model.gguf --prefill 512 --decode 64 --batch 1 --json\n"
                "$ paco bench -m model.gguf --roofline --depth 0,1024,4096\n"
                "$ paco bench -m model.gguf --batch 32 --beside adapter-1 --beside adapter-2\n"
                "$ paco bench -m model.gguf --verify-determinism\n"
                "$ paco bench",
    .options = g_options,
    .run = run,
};
