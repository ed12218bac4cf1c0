// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_report.h"

#include "base/cpu.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/output.h"

#include <stdio.h>

/* How a row compares with the machine. */
struct share {
    double limit_tok_s, share;
    const char *bound; /* "memory", or the arithmetic most of the work is in */
};

static const char *main_arithmetic(const struct pc_bench_report *b, const struct pc_step_work *w)
{
    int most = 0;
    for (int a = 1; a < PC_N_ARITHMETICS; a++)
        if (b->machine.flop_s[a] > 0 && w->flop[a] > w->flop[most])
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

static struct share share_of(const struct pc_bench_report *b, const struct pc_bench_row *r)
{
    bool by_memory;
    double least = pc_least_seconds(&b->machine, &r->work, &by_memory);
    return (struct share){(double)r->tokens * r->batch / least, least / r->seconds,
        by_memory ? "memory" : main_arithmetic(b, &r->work)};
}

static json_t *row_json(const struct pc_bench_report *b, const struct pc_bench_row *r)
{
    struct share s = share_of(b, r);
    double n = (double)r->tokens * r->batch;
    json_t *o = json_object();
    json_object_set_new(o, "phase", json_string(r->phase == PC_BENCH_PREFILL ? "prefill" : "decode"));
    json_object_set_new(o, "tokens", json_integer(r->tokens));
    json_object_set_new(o, "depth", json_integer(r->depth));
    json_object_set_new(o, "batch", json_integer(r->batch));
    if (b->result->beside)
        json_object_set_new(o, "n_beside", json_integer((json_int_t)r->n_beside));
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
static void add_headline(const struct pc_bench_report *b, json_t *o, enum pc_bench_phase phase,
    const char *speed, const char *share)
{
    for (size_t i = 0; i < b->result->n_rows; i++) {
        const struct pc_bench_row *r = &b->result->row[i];
        if (r->phase != phase)
            continue;
        json_object_set_new(o, speed, pc_json_number(r->tok_s));
        json_object_set_new(o, share, pc_json_number(share_of(b, r).share));
        return;
    }
}

static double repack_seconds(const struct pc_bench_result *r)
{
    return r->first_seconds > r->step_seconds ? r->first_seconds - r->step_seconds : 0;
}

static void add_model(const struct pc_bench_report *b, json_t *o)
{
    const struct pc_bench_result *r = b->result;
    json_object_set_new(o, "model", json_string(b->model));
    json_object_set_new(o, "n_params", json_integer((json_int_t)r->work.n_params));
    json_object_set_new(o, "load_seconds", pc_json_number(b->find_seconds + r->open_seconds));
    json_object_set_new(
        o, "first_layer_seconds", pc_json_number(b->find_seconds + r->open_seconds + r->ready_seconds));
    json_object_set_new(o, "repack_seconds", pc_json_number(repack_seconds(r)));
    add_headline(b, o, PC_BENCH_PREFILL, "prefill_tok_s", "prefill_share");
    add_headline(b, o, PC_BENCH_DECODE, "decode_tok_s", "decode_share");
    json_t *rows = json_array();
    for (size_t i = 0; i < r->n_rows; i++)
        json_array_append_new(rows, row_json(b, &r->row[i]));
    json_object_set_new(o, "rows", rows);
    json_object_set_new(o, "planned_bytes", json_integer((json_int_t)r->planned));
    if (r->beside)
        json_object_set_new(o, "beside_bytes", json_integer((json_int_t)r->beside));
}

int pc_bench_report_json(const struct pc_bench_report *b, struct paco_error *err)
{
    json_t *o = json_object();
    json_object_set_new(o, "machine", machine_json(&b->machine));
    if (b->result)
        add_model(b, o);
    else {
        json_object_set_new(
            o, "recover_bytes_s", pc_json_number((double)b->recover.bytes / b->recover.seconds));
        json_object_set_new(
            o, "recover_share", pc_json_number(b->recover.write_seconds / b->recover.seconds));
    }
    json_object_set_new(o, "peak_rss_bytes", json_integer((json_int_t)b->peak_rss));
    return pc_print_json(o, err);
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

static void print_row(const struct pc_bench_report *b, const struct pc_bench_row *r)
{
    struct share s = share_of(b, r);
    double n = (double)r->tokens * r->batch;
    char what[64];
    if (r->phase == PC_BENCH_PREFILL)
        snprintf(what, sizeof what, "prefill %d", r->tokens);
    else if (r->n_beside)
        snprintf(what, sizeof what, "  with %zu fine-tunes", r->n_beside);
    else
        snprintf(what, sizeof what, "decode at %d, %d at once", r->depth, r->batch);
    printf("%-28s %10.1f  %5.1f %%  %9.0f  %5.1f %%", what, r->tok_s, 100 * r->spread, s.limit_tok_s,
        100 * s.share);
    if (b->roofline)
        printf("  %9.2f  %9.1f  %8.1f  %8.1f  %s", r->work.bytes / n * 1e-6, all_flop(&r->work) / n * 1e-6,
            r->work.bytes / r->seconds * 1e-9, all_flop(&r->work) / r->seconds * 1e-9, s.bound);
    putchar('\n');
}

static void print_model(const struct pc_bench_report *b)
{
    const struct pc_bench_result *r = b->result;
    char bytes[32], peak[32];
    printf("model    %.1f M parameters, %s read for a token\n", (double)r->work.n_params * 1e-6,
        pc_human_bytes((uint64_t)(r->work.layer_bytes + r->work.head_bytes), bytes));
    double opened = b->find_seconds + r->open_seconds;
    printf("load     %.3f s to open and plan, at %.3f s the first layer is repacked; %.3f s for all, with "
           "the first "
           "token\n",
        opened, opened + r->ready_seconds, repack_seconds(r));
    printf("memory   %s planned, %s at most", pc_human_bytes(r->planned, bytes),
        pc_human_bytes(b->peak_rss, peak));
    if (r->beside)
        printf(", %s of it fine-tunes (the first: %s)", pc_human_bytes(r->beside, bytes), r->first);
    printf("\n\n");
    printf("%-28s %10s  %7s  %9s  %7s", "", "tokens/s", "spread", "limit", "share");
    if (b->roofline)
        printf("  %9s  %9s  %8s  %8s  %s", "MB/token", "MFLOP/tok", "GB/s", "GFLOP/s", "bound by");
    putchar('\n');
    for (size_t i = 0; i < r->n_rows; i++)
        print_row(b, &r->row[i]);
}

void pc_bench_report_print(const struct pc_bench_report *b)
{
    print_machine(&b->machine);
    if (b->result)
        print_model(b);
    else
        printf("recover  %.2f GB/s written, %.0f %% of writing the same bytes from memory\n",
            (double)b->recover.bytes / b->recover.seconds * 1e-9,
            100 * b->recover.write_seconds / b->recover.seconds);
}
