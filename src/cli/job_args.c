// SPDX-License-Identifier: Apache-2.0
#include "cli/job_args.h"

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/output.h"
#include "weights/source.h"
#include "weights/verify.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

int pc_job_progress(void *ctx, const struct paco_progress_event *e)
{
    struct pc_progress_event event = {
        .phase = e->phase, .item = e->item, .done = e->done, .total = e->total, .unit = e->unit};
    return pc_progress(ctx, &event);
}

static void note(void *ctx, const char *text)
{
    const struct pc_progress *bar = ctx;
    if (bar->note)
        bar->note(bar->ctx, text);
}

enum paco_dtype pc_job_dtype(const char *name)
{
    static const struct {
        const char *name;
        enum paco_dtype dtype;
    } names[] = {{"f16", PACO_DTYPE_F16}, {"bf16", PACO_DTYPE_BF16}, {"keep", PACO_DTYPE_KEEP},
        {"auto", PACO_DTYPE_AUTO}, {"q8_0", PACO_DTYPE_Q8_0}, {"q4_0", PACO_DTYPE_Q4_0},
        {"q4_1", PACO_DTYPE_Q4_1}, {"q5_0", PACO_DTYPE_Q5_0}, {"q5_1", PACO_DTYPE_Q5_1},
        {"q4_k", PACO_DTYPE_Q4_K}, {"q5_k", PACO_DTYPE_Q5_K}, {"q6_k", PACO_DTYPE_Q6_K}};
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i].name) == 0)
            return names[i].dtype;
    return PACO_DTYPE_F32;
}

bool pc_job_is_gguf(const struct pc_job_args *a)
{
    return a->format && strcmp(a->format, "gguf") == 0;
}

static enum paco_container container_of(const struct pc_job_args *a)
{
    if (pc_job_is_gguf(a))
        return PACO_CONTAINER_GGUF;
    if (a->format && strcmp(a->format, "meta") == 0)
        return PACO_CONTAINER_META;
    return a->format && pc_ends_with(a->format, "bin") ? PACO_CONTAINER_BIN : PACO_CONTAINER_SAFETENSORS;
}

int pc_job_settle_format(const struct pc_command *self, struct pc_job_args *a)
{
    if (!a->format)
        a->format = pc_ends_with(a->out, ".gguf") ? "gguf" : "safetensors";
    if (a->dtype && a->dtype[0] == 'q' && !pc_job_is_gguf(a))
        return pc_command_misuse(
            self, "--type %s is for GGUF files: give --to gguf, or f32, f16, bf16, keep or auto", a->dtype);
    return -1;
}

struct paco_job_options pc_job_options(const struct pc_command *self, const struct pc_job_args *a)
{
    // A file-size limit shall be an error that names the file, not a signal that kills.
    signal(SIGXFSZ, SIG_IGN);
    return (struct paco_job_options){
        .out = a->out,
        .dtype = pc_job_dtype(a->dtype),
        .container = container_of(a),
        .max_shard = a->max_shard,
        .n_threads = (int)a->threads,
        .force = a->force,
        .no_repair = a->no_repair,
        .dry_run = a->dry_run,
        .on_progress = pc_job_progress,
        .on_note = note,
        .ctx = (void *)pc_progress_bar(self),
    };
}

/* What is not known, or does not apply, is null. */
static json_t *text_or_null(const char *text)
{
    return text[0] ? json_string_nocheck(text) : json_null();
}

static int print_machine(
    const struct pc_job_args *a, const struct paco_job_result *r, bool with_rows, struct paco_error *err)
{
    json_t *warnings = json_array(), *rows = json_array();
    for (size_t i = 0; i < r->n_warnings; i++)
        json_array_append_new(warnings, json_string(r->warnings[i]));
    for (size_t i = 0; i < r->n_undefined_rows; i++)
        json_array_append_new(
            rows, json_pack("{s:s,s:I,s:I}", "tensor", r->undefined_rows[i].tensor, "first",
                      (json_int_t)r->undefined_rows[i].first, "n", (json_int_t)r->undefined_rows[i].n));
    json_t *o = json_pack("{s:o,s:I,s:I,s:f,s:I,s:o}", "out", json_string_nocheck(r->out), "n_tensors",
        (json_int_t)r->n_tensors, "bytes_written", (json_int_t)r->bytes_written, "seconds", r->seconds,
        "peak_rss_bytes", (json_int_t)pc_peak_rss(), "warnings", warnings);
    if (with_rows && o)
        json_object_set(o, "undefined_rows", rows);
    json_decref(rows);
    if (o)
        json_object_update_new(
            o, json_pack("{s:I,s:I,s:b,s:o,s:o,s:o,s:I,s:I}", "n_files", (json_int_t)r->n_files, "n_resumed",
                   (json_int_t)r->n_resumed, "dry_run", a->dry_run, "content_sha256",
                   text_or_null(r->content_sha256), "recipe", text_or_null(r->recipe), "licence",
                   text_or_null(r->licence), "n_not_finite", (json_int_t)r->n_not_finite, "n_changed",
                   (json_int_t)r->n_changed));
    if (o && r->n_changed)
        json_object_set_new(o, "max_change", pc_json_number(r->max_change));
    return pc_print_json(o, err);
}

static void print_people(const struct pc_job_args *a, const struct paco_job_result *r)
{
    char bytes[32], rss[32], rate[32];
    pc_human_bytes(r->bytes_written, bytes);
    pc_print_text(r->out, 0);
    if (a->dry_run) {
        printf(": would be %u tensors in %u file%s, %s; about %.0f s, by a sample. Nothing was written.\n",
            r->n_tensors, r->n_files, r->n_files == 1 ? "" : "s", bytes, r->seconds);
    } else {
        double seconds = r->seconds > 1e-3 ? r->seconds : 1e-3;
        pc_human_bytes((uint64_t)((double)r->bytes_written / seconds), rate);
        printf(": %u tensors in %u file%s, %s in %.1f s", r->n_tensors, r->n_files,
            r->n_files == 1 ? "" : "s", bytes, r->seconds);
        if (r->n_resumed) // most of the bytes may be an earlier run's: no rate
            printf(" (%u tensors were there)", r->n_resumed);
        else
            printf(" (%s/s)", rate);
        printf(", peak memory %s\n", pc_human_bytes(pc_peak_rss(), rss));
        printf("content digest: %s\n", r->content_sha256);
    }
    if (r->licence[0]) {
        printf("licence: ");
        pc_print_text(r->licence, 0);
        printf("\n");
    }
}

int pc_job_print(const struct pc_command *self, const struct pc_job_args *a, const struct paco_job_result *r,
    bool with_rows, struct paco_error *err)
{
    if (a->json)
        return print_machine(a, r, with_rows, err);
    print_people(a, r);
    if (pc_command_quiet() && r->n_changed)
        pc_command_warn(self, "narrowing changed %llu elements, the largest by %g",
            (unsigned long long)r->n_changed, r->max_change);
    return 0;
}

int pc_job_checksum(const struct pc_command *self, const char *dir, int n_threads, struct paco_error *err)
{
    struct pc_source src = {0};
    struct pc_pool *pool = pc_pool_new(n_threads, err);
    struct pc_scan *scans = NULL;
    int rc = pool ? pc_source_open(dir, &src, err) : PACO_EMEM;
    if (rc == 0 && !(scans = pc_alloc_zero(src.ck->n_tensors, sizeof *scans)))
        rc = pc_error_mem(err, src.ck->n_tensors * sizeof *scans, "sums");
    if (rc == 0)
        rc = pc_scan_checkpoint(src.ck, PC_SCAN_VALUES, pool, pc_progress_bar(self), "summing", scans, err);
    if (rc == 0)
        pc_command_note(self,
            "Stanford's checksum is %.4f; Alpaca-7B has %.4f, and means nothing for other models",
            pc_stanford_sum(src.ck, scans, src.has_config ? src.config.head_dim : 128), PC_STANFORD_SUM);
    pc_source_close(&src);
    pc_pool_free(pool);
    pc_free(scans);
    return rc;
}
