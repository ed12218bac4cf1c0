// SPDX-License-Identifier: Apache-2.0
/* paco bench: how fast this machine is, how fast a model runs on it, and what share of the limit that is. */
#include "base/cpu.h"
#include "base/host.h"
#include "cli/bench_model.h"
#include "cli/bench_recover.h"
#include "cli/command.h"
#include "cli/model_args.h"
#include "cli/output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_DECODE = 64, DEFAULT_REPEAT = 5, MOST_TOKENS = 1 << 20 };

struct values {
    struct pc_model_args model;
    const char *prefill, *depth, *batch;
    int64_t decode, repeat;
    double seconds;
    bool json, roofline;
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
    {.name = "json",
        .type = PC_OPT_FLAG,
        .offset = offsetof(struct values, json),
        .help = "print the result as one line of JSON"},
    {0},
};

struct job {
    const struct pc_command *self;
    const struct values *v;
    struct pc_model model;
    struct pc_bench_plan plan;
    struct pc_machine machine;
    struct pc_bench_result *result; /* of the model, or NULL */
    struct pc_bench_recover recover;
    double find_seconds; /* opening the model's files */
    uint64_t peak_rss;   /* without what measuring the machine took */
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
    bool answers = v->decode >= 0 || v->depth || v->batch, all = !v->prefill && !answers;
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
    j->find_seconds = pc_seconds() - start;
    if (rc == 0)
        fit_context(j);
    return rc;
}

static int measure_model(struct job *j)
{
    j->result = calloc(1, sizeof *j->result);
    if (!j->result)
        return pc_error_mem(&j->err, sizeof *j->result, "results");
    return pc_bench_model(j->model.weights, j->model.config, &j->plan, j->result, &j->err);
}

static int measure_recover(struct job *j)
{
    const char *parent = getenv("TMPDIR");
    return pc_bench_recover(parent && *parent ? parent : "/tmp", (int)j->v->model.threads, j->plan.progress,
        &j->recover, &j->err);
}

/* The machine before and after: whatever else runs may have left one of the two alone. */
static int measure(struct job *j)
{
    struct pc_machine after;
    struct pc_machine_options o = {.n_threads = (int)j->v->model.threads, .progress = j->plan.progress};
    int rc = pc_machine_measure(&o, &j->machine, &j->err);
    pc_peak_rss_reset();
    if (rc == 0)
        rc = j->v->model.model ? measure_model(j) : measure_recover(j);
    j->peak_rss = pc_peak_rss();
    if (rc == 0)
        rc = pc_machine_measure(&o, &after, &j->err);
    if (rc == 0)
        pc_machine_join(&j->machine, &after);
    return rc;
}

/* ---- printing ---- */

/* How a row compares with the machine. */
struct share {
    double limit_tok_s, share;
    const char *bound; /* "memory", or the arithmetic most of the work is in */
};

static const char *main_arithmetic(const struct job *j, const struct pc_step_work *w)
{
    int most = 0;
    for (int a = 1; a < PC_N_ARITHMETICS; a++)
        if (j->machine.flop_s[a] > 0 && w->flop[a] > w->flop[most])
            most = a;
    return pc_arithmetic_name((enum pc_arithmetic)most);
}

static double all_flop(const struct pc_step_work *w)
{
    double all = 0;
    for (int a = 0; a < PC_N_ARITHMETICS; a++)
        all += w->flop[a];
    return all;
}

static struct share share_of(const struct job *j, const struct pc_bench_row *r)
{
    bool by_memory;
    double least = pc_least_seconds(&j->machine, &r->work, &by_memory);
    return (struct share){(double)r->tokens * r->batch / least, least / r->seconds,
        by_memory ? "memory" : main_arithmetic(j, &r->work)};
}

static json_t *row_json(const struct job *j, const struct pc_bench_row *r)
{
    struct share s = share_of(j, r);
    double n = (double)r->tokens * r->batch;
    json_t *o = json_object();
    json_object_set_new(o, "phase", json_string(r->phase == PC_BENCH_PREFILL ? "prefill" : "decode"));
    json_object_set_new(o, "tokens", json_integer(r->tokens));
    json_object_set_new(o, "depth", json_integer(r->depth));
    json_object_set_new(o, "batch", json_integer(r->batch));
    json_object_set_new(o, "tok_s", pc_json_number(r->tok_s));
    json_object_set_new(o, "spread", pc_json_number(r->spread));
    json_object_set_new(o, "n_runs", json_integer(r->n_runs));
    json_object_set_new(o, "bytes_per_token", pc_json_number(r->work.bytes / n));
    json_object_set_new(o, "flop_per_token", pc_json_number(all_flop(&r->work) / n));
    json_object_set_new(o, "limit_tok_s", pc_json_number(s.limit_tok_s));
    json_object_set_new(o, "share", pc_json_number(s.share));
    json_object_set_new(o, "bound", json_string(s.bound));
    return o;
}

static json_t *machine_json(const struct pc_machine *m)
{
    json_t *o = json_object();
    json_object_set_new(o, "threads", json_integer(m->n_threads));
    json_object_set_new(o, "cpu", json_string(pc_cpu_level()));
    json_object_set_new(o, "read_bytes_s", pc_json_number(m->read_bytes_s));
    json_object_set_new(o, "f32_flop_s", pc_json_number(m->flop_s[PC_ARITHMETIC_F32]));
    json_object_set_new(o, "bf16_flop_s", pc_json_number(m->flop_s[PC_ARITHMETIC_BF16]));
    json_object_set_new(o, "int8_op_s", pc_json_number(m->flop_s[PC_ARITHMETIC_INT8]));
    return o;
}

/* The first row of a phase by its plain names: what most ask for. */
static void add_headline(
    const struct job *j, json_t *o, enum pc_bench_phase phase, const char *speed, const char *share)
{
    for (size_t i = 0; i < j->result->n_rows; i++) {
        const struct pc_bench_row *r = &j->result->row[i];
        if (r->phase != phase)
            continue;
        json_object_set_new(o, speed, pc_json_number(r->tok_s));
        json_object_set_new(o, share, pc_json_number(share_of(j, r).share));
        return;
    }
}

static double repack_seconds(const struct pc_bench_result *r)
{
    return r->first_seconds > r->step_seconds ? r->first_seconds - r->step_seconds : 0;
}

static void add_model(const struct job *j, json_t *o)
{
    const struct pc_bench_result *r = j->result;
    json_object_set_new(o, "model", json_string(j->v->model.model));
    json_object_set_new(o, "n_params", json_integer((json_int_t)r->work.n_params));
    json_object_set_new(o, "load_seconds", pc_json_number(j->find_seconds + r->open_seconds));
    json_object_set_new(o, "repack_seconds", pc_json_number(repack_seconds(r)));
    add_headline(j, o, PC_BENCH_PREFILL, "prefill_tok_s", "prefill_share");
    add_headline(j, o, PC_BENCH_DECODE, "decode_tok_s", "decode_share");
    json_t *rows = json_array();
    for (size_t i = 0; i < r->n_rows; i++)
        json_array_append_new(rows, row_json(j, &r->row[i]));
    json_object_set_new(o, "rows", rows);
    json_object_set_new(o, "planned_bytes",
        json_integer((
            json_int_t)(r->plan.program + r->plan.weights + r->plan.loading + r->plan.kv + r->plan.scratch)));
}

static int print_results_json(struct job *j)
{
    json_t *o = json_object();
    json_object_set_new(o, "machine", machine_json(&j->machine));
    if (j->result)
        add_model(j, o);
    else {
        json_object_set_new(
            o, "recover_bytes_s", pc_json_number((double)j->recover.bytes / j->recover.seconds));
        json_object_set_new(
            o, "recover_share", pc_json_number(j->recover.write_seconds / j->recover.seconds));
    }
    json_object_set_new(o, "peak_rss_bytes", json_integer((json_int_t)j->peak_rss));
    return pc_print_json(o, &j->err);
}

static void print_machine(const struct pc_machine *m)
{
    printf("machine  %d threads, %s: reads %.1f GB/s, F32 %.0f GFLOP/s", m->n_threads, pc_cpu_level(),
        m->read_bytes_s * 1e-9, m->flop_s[PC_ARITHMETIC_F32] * 1e-9);
    if (m->flop_s[PC_ARITHMETIC_BF16] > 0)
        printf(", BF16 %.0f GFLOP/s", m->flop_s[PC_ARITHMETIC_BF16] * 1e-9);
    if (m->flop_s[PC_ARITHMETIC_INT8] > 0)
        printf(", INT8 %.0f GOP/s", m->flop_s[PC_ARITHMETIC_INT8] * 1e-9);
    putchar('\n');
}

static void print_row(const struct job *j, const struct pc_bench_row *r)
{
    struct share s = share_of(j, r);
    double n = (double)r->tokens * r->batch;
    char what[64];
    if (r->phase == PC_BENCH_PREFILL)
        snprintf(what, sizeof what, "prefill %d", r->tokens);
    else
        snprintf(what, sizeof what, "decode at %d, %d at once", r->depth, r->batch);
    printf("%-28s %10.1f  %5.1f %%  %9.0f  %5.1f %%", what, r->tok_s, 100 * r->spread, s.limit_tok_s,
        100 * s.share);
    if (j->v->roofline)
        printf("  %9.2f  %9.1f  %8.1f  %8.1f  %s", r->work.bytes / n * 1e-6, all_flop(&r->work) / n * 1e-6,
            r->work.bytes / r->seconds * 1e-9, all_flop(&r->work) / r->seconds * 1e-9, s.bound);
    putchar('\n');
}

static void print_model(const struct job *j)
{
    const struct pc_bench_result *r = j->result;
    char bytes[32], peak[32];
    printf("model    %.1f M parameters, %s read for a token\n", (double)r->work.n_params * 1e-6,
        pc_human_bytes((uint64_t)(r->work.layer_bytes + r->work.head_bytes), bytes));
    printf("load     %.3f s, then %.3f s to read and repack the weights with the first token\n",
        j->find_seconds + r->open_seconds, repack_seconds(r));
    printf("memory   %s planned, %s at most\n\n",
        pc_human_bytes(
            r->plan.program + r->plan.weights + r->plan.loading + r->plan.kv + r->plan.scratch, bytes),
        pc_human_bytes(j->peak_rss, peak));
    printf("%-28s %10s  %7s  %9s  %7s", "", "tokens/s", "spread", "limit", "share");
    if (j->v->roofline)
        printf("  %9s  %9s  %8s  %8s  %s", "MB/token", "MFLOP/tok", "GB/s", "GFLOP/s", "bound by");
    putchar('\n');
    for (size_t i = 0; i < r->n_rows; i++)
        print_row(j, &r->row[i]);
}

static void print_results(const struct job *j)
{
    print_machine(&j->machine);
    if (j->result)
        print_model(j);
    else
        printf("recover  %.2f GB/s written, %.0f %% of writing the same bytes from memory\n",
            (double)j->recover.bytes / j->recover.seconds * 1e-9,
            100 * j->recover.write_seconds / j->recover.seconds);
}

/* ---- all of it ---- */

static int run_job(struct job *j)
{
    int rc = j->v->model.model ? open_model(j) : 0;
    if (rc < 0)
        return rc;
    j->plan.progress = pc_progress_bar(j->self);
    rc = measure(j);
    pc_progress_bar_end();
    if (rc == 0 && j->v->json)
        return print_results_json(j);
    if (rc == 0)
        print_results(j);
    return rc;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values v = {.decode = -1, .repeat = DEFAULT_REPEAT, .seconds = 10};
    struct pc_args args;
    int code = pc_command_parse(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    struct job j = {.self = self, .v = &v};
    if (args.positional.n > 0)
        code = pc_command_misuse(self, "'%s' is not expected", args.positional.v[0]);
    else if (!v.model.model && (v.model.diff || v.prefill || v.depth || v.batch || v.decode >= 0))
        code = pc_command_misuse(self, "-m MODEL is missing: without it only the machine is measured");
    else
        code = read_plan(&j);
    if (code == PC_EXIT_OK)
        code = run_job(&j) < 0 ? pc_command_fail(self, &j.err) : PC_EXIT_OK;
    pc_model_close(&j.model);
    free(j.result);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_bench = {
    .name = "bench",
    .summary = "how fast this machine and a model on it are, against the machine's limits",
    .usage = "[-m MODEL] [options]",
    .description = "Measures what this machine can do (reading memory, multiply-adds in F32, BF16 and INT8), "
                   "then MODEL:\n"
                   "loading and repacking, prompts of several lengths, answers at several depths, and many "
                   "at once. Each\n"
                   "speed is the median of some runs, with half the distance of the slowest and fastest as "
                   "its spread, and\n"
                   "comes with its limit: the tokens per second at which either the bytes that must be read "
                   "take all of\n"
                   "the bandwidth, or the operations all of the peak, whichever is fewer. A model that fits "
                   "into the caches\n"
                   "can be faster than that.\n"
                   "\n"
                   "Naming some of --prefill, --decode, --depth and --batch leaves out the rest.\n"
                   "\n"
                   "Without a model, the machine, and how fast paco recover writes in $TMPDIR.",
    .examples = "$ paco bench -m model.gguf\n"
                "$ paco bench -m model.gguf --prefill 512 --decode 64 --batch 1 --json\n"
                "$ paco bench -m model.gguf --roofline --depth 0,1024,4096\n"
                "$ paco bench",
    .options = g_options,
    .run = run,
};
