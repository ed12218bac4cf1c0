// SPDX-License-Identifier: Apache-2.0
/* paco doctor: what this machine has, which kernels are in use, and whether a model is in order. */
#include "base/cpu.h"
#include "base/host.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/doctor_kernels.h"
#include "cli/doctor_model.h"
#include "cli/output.h"
#include "engine/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { QUICK_READ = 256 << 20 };

struct values {
    struct pc_model_args model;
    int64_t context;
    bool json;
};

static const struct pc_option g_options[] = {
    PC_MODEL_ROWS(struct values, model, false),
    {.name = "context",
        .aliases = "ctx-size",
        .short_name = 'c',
        .type = PC_OPT_INT,
        .offset = offsetof(struct values, context),
        .arg = "N",
        .min = 1,
        .max = 1 << 24,
        .help = "tokens to plan memory for (at most 4096)"},
    PC_RUN_ROWS(struct values, model),
    PC_JSON_ROW(struct values, json),
    {0},
};

struct job {
    const struct pc_command *self;
    const struct values *v;
    char cpu[128], huge_pages[32];
    long n_online;
    int n_usable;
    uint64_t memory, disk;
    struct pc_machine machine;
    struct pc_kernel_use kernel[PC_DOCTOR_MAX_KERNELS];
    size_t n_kernels;
    struct pc_doctor_model found;
    struct pc_doctor_problems problems;
    struct paco_error err;
};

/* ---- the machine ---- */

/* What follows ": " in the first line that begins with key. */
static void read_field(const char *path, const char *key, char *out, size_t size)
{
    FILE *f = fopen(path, "re");
    char line[512];
    out[0] = '\0';
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) == 0 && colon) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(out, size, "%s", colon + (colon[1] == ' ' ? 2 : 1));
            break;
        }
    }
    if (f)
        fclose(f);
}

/* "always [madvise] never": the word in brackets. */
static void read_huge_pages(char *out, size_t size)
{
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    char line[256];
    snprintf(out, size, "unknown");
    if (f && fgets(line, sizeof line, f)) {
        char *open = strchr(line, '['), *close = open ? strchr(open, ']') : NULL;
        if (close) {
            *close = '\0';
            snprintf(out, size, "%s", open + 1);
        }
    }
    if (f)
        fclose(f);
}

static uint64_t disk_free(const char *path)
{
    struct statvfs s;
    return statvfs(path, &s) == 0 ? (uint64_t)s.f_bavail * s.f_frsize : 0;
}

static int look_at_machine(struct job *j)
{
    read_field("/proc/cpuinfo", "model name", j->cpu, sizeof j->cpu);
    read_huge_pages(j->huge_pages, sizeof j->huge_pages);
    j->n_online = sysconf(_SC_NPROCESSORS_ONLN);
    j->n_usable = pc_cpu_count();
    j->memory = pc_host_memory_available();
    j->disk = disk_free(".");
    j->n_kernels = pc_doctor_kernels(j->kernel);
    if (strcmp(j->huge_pages, "never") == 0)
        pc_doctor_problem(&j->problems,
            "huge pages are off (/sys/kernel/mm/transparent_hugepage/enabled): reading "
            "weights is slower");
    if (strcmp(pc_cpu_level(), "scalar") == 0)
        pc_doctor_problem(&j->problems, "only the readable kernels are in use: everything is slow");
    const struct pc_machine_options o = {.n_threads = (int)j->v->model.threads,
        .read_size = QUICK_READ,
        .seconds = 0.1,
        .progress = pc_progress_bar(j->self)};
    int rc = pc_machine_measure(&o, &j->machine, &j->err);
    pc_progress_bar_end();
    return rc;
}

static int look_at_model(struct job *j)
{
    struct pc_model m = {0};
    int rc = pc_model_open(&j->v->model, &m, &j->err);
    const struct pc_engine_options o = pc_model_engine_options(&j->v->model);
    if (rc == 0)
        pc_doctor_look(&m, &o, (int32_t)j->v->context, &j->found, &j->problems);
    pc_model_close(&m);
    return rc;
}

/* ---- printing ---- */

static json_t *machine_json(const struct job *j)
{
    const char *flags[PC_DOCTOR_MAX_KERNELS];
    json_t *o = json_object(), *list = json_array(), *kernels = json_object();
    for (size_t i = 0, n = pc_doctor_cpu_flags(flags); i < n; i++)
        json_array_append_new(list, json_string(flags[i]));
    for (size_t i = 0; i < j->n_kernels; i++)
        json_object_set_new(kernels, j->kernel[i].operation, json_string(j->kernel[i].level));
    json_object_set_new(o, "cpu", json_string(j->cpu));
    json_object_set_new(o, "level", json_string(pc_cpu_level()));
    json_object_set_new(o, "flags", list);
    json_object_set_new(o, "processors", json_integer(j->n_online));
    json_object_set_new(o, "usable_processors", json_integer(j->n_usable));
    json_object_set_new(o, "memory_available_bytes",
        j->memory == UINT64_MAX ? json_null() : json_integer((json_int_t)j->memory));
    json_object_set_new(o, "disk_free_bytes", json_integer((json_int_t)j->disk));
    json_object_set_new(o, "huge_pages", json_string(j->huge_pages));
    json_object_set_new(o, "read_bytes_s", pc_json_number(j->machine.read_bytes_s));
    json_object_set_new(o, "f32_flop_s", pc_json_number(j->machine.flop_s[PC_ARITHMETIC_F32]));
    json_object_set_new(o, "bf16_flop_s", pc_json_number(j->machine.flop_s[PC_ARITHMETIC_BF16]));
    json_object_set_new(o, "int8_op_s", pc_json_number(j->machine.flop_s[PC_ARITHMETIC_INT8]));
    json_object_set_new(o, "kernels", kernels);
    return o;
}

static json_t *plan_json(const struct pc_doctor_model *m)
{
    json_t *o = json_object();
    json_object_set_new(o, "context", json_integer(m->context));
    json_object_set_new(o, "weights_bytes", json_integer((json_int_t)m->plan.weights));
    json_object_set_new(o, "kv_bytes", json_integer((json_int_t)m->plan.kv));
    json_object_set_new(o, "kv_token_bytes", json_integer((json_int_t)m->plan.kv_token));
    json_object_set_new(o, "scratch_bytes", json_integer((json_int_t)m->plan.scratch));
    json_object_set_new(o, "total_bytes", json_integer((json_int_t)m->plan_total));
    return o;
}

static json_t *model_json(const struct job *j)
{
    const struct pc_doctor_model *m = &j->found;
    json_t *o = json_object();
    json_object_set_new(o, "model", json_string(j->v->model.model));
    json_object_set_new(o, "tokenizer", json_boolean(m->has_tokenizer));
    json_object_set_new(o, "n_tokens", json_integer(m->n_tokens));
    json_object_set_new(o, "bos", m->bos < 0 ? json_null() : json_integer(m->bos));
    json_object_set_new(o, "eos", m->eos < 0 ? json_null() : json_integer(m->eos));
    json_object_set_new(o, "adds_bos", json_boolean(m->adds_bos));
    json_object_set_new(o, "round_trips", json_integer(m->n_round_trips));
    json_object_set_new(o, "texts", json_integer(m->n_texts));
    json_object_set_new(o, "chat_template", json_boolean(m->has_template));
    json_object_set_new(o, "format", json_string(pc_format_name(m->format)));
    json_object_set_new(o, "computes", m->planned ? json_string(m->computes) : json_null());
    json_object_set_new(o, "memory", m->planned ? plan_json(m) : json_null());
    return o;
}

static int print_results_json(struct job *j)
{
    json_t *o = json_object(), *list = json_array();
    for (size_t i = 0; i < j->problems.n; i++)
        json_array_append_new(list, json_string(j->problems.text[i]));
    json_object_set_new(o, "machine", machine_json(j));
    if (j->v->model.model)
        json_object_set_new(o, "model", model_json(j));
    json_object_set_new(o, "problems", list);
    return pc_print_json(o, &j->err);
}

static void print_machine(const struct job *j)
{
    const char *flags[PC_DOCTOR_MAX_KERNELS];
    char memory[32], disk[32];
    printf("processor   ");
    pc_print_text(j->cpu[0] ? j->cpu : "unknown", 0);
    printf(", %ld online, %d usable\nlevel       %s:", j->n_online, j->n_usable, pc_cpu_level());
    for (size_t i = 0, n = pc_doctor_cpu_flags(flags); i < n; i++)
        printf(" %s", flags[i]);
    printf("\nlimits      reads %.1f GB/s, F32 %.0f GFLOP/s", j->machine.read_bytes_s * 1e-9,
        j->machine.flop_s[PC_ARITHMETIC_F32] * 1e-9);
    if (j->machine.flop_s[PC_ARITHMETIC_BF16] > 0)
        printf(", BF16 %.0f GFLOP/s", j->machine.flop_s[PC_ARITHMETIC_BF16] * 1e-9);
    if (j->machine.flop_s[PC_ARITHMETIC_INT8] > 0)
        printf(", INT8 %.0f GOP/s", j->machine.flop_s[PC_ARITHMETIC_INT8] * 1e-9);
    printf(" (a quick look: paco bench measures)\nmemory      %s available, huge pages: %s\ndisk        %s "
           "free here\n",
        j->memory == UINT64_MAX ? "all" : pc_human_bytes(j->memory, memory), j->huge_pages,
        pc_human_bytes(j->disk, disk));
    printf("\nkernels\n");
    for (size_t i = 0; i < j->n_kernels; i++)
        printf("  %-26s %s\n", j->kernel[i].operation, j->kernel[i].level);
}

static void print_id(const char *name, int32_t id)
{
    if (id >= 0)
        printf(", %s %d", name, id);
    else
        printf(", no %s", name);
}

static void print_model(const struct job *j)
{
    const struct pc_doctor_model *m = &j->found;
    char a[32], b[32], c[32], d[32];
    printf("\nmodel       ");
    pc_print_text(j->v->model.model, 0);
    if (m->has_tokenizer) {
        printf("\ntokenizer   %d tokens", m->n_tokens);
        print_id("BOS", m->bos);
        print_id("EOS", m->eos);
        printf("%s; %d of %d texts come back as they were\n", m->adds_bos ? ", texts begin with BOS" : "",
            m->n_round_trips, m->n_texts);
        printf("prompts     %s%s\n", pc_format_name(m->format), m->has_template ? "" : ", no chat template");
    } else
        putchar('\n');
    if (m->planned)
        printf("computes    %s\nneeds       %s for %d tokens: weights %s, keys and values %s, scratch %s\n",
            m->computes, pc_human_bytes(m->plan_total, a), m->context, pc_human_bytes(m->plan.weights, b),
            pc_human_bytes(m->plan.kv, c), pc_human_bytes(m->plan.scratch, d));
}

static void print_results(const struct job *j)
{
    print_machine(j);
    if (j->v->model.model)
        print_model(j);
    printf(j->problems.n ? "\nproblems\n" : "\nno problems\n");
    for (size_t i = 0; i < j->problems.n; i++) {
        printf("  ");
        pc_print_text(j->problems.text[i], 0);
        putchar('\n');
    }
}

/* ---- all of it ---- */

static int run_job(struct job *j)
{
    int rc = j->v->model.model ? look_at_model(j) : 0;
    if (rc == 0)
        rc = look_at_machine(j);
    if (rc == 0 && j->v->json)
        return print_results_json(j);
    if (rc == 0)
        print_results(j);
    return rc;
}

static int run(const struct pc_command *self, int argc, char **argv)
{
    struct values v = {.context = 0};
    struct pc_args args;
    int code = pc_command_parse(self, argc, argv, &v, &args);
    if (code >= 0)
        return code;
    struct job *j = calloc(1, sizeof *j);
    struct paco_error err = {0};
    if (!j) {
        pc_error_mem(&err, sizeof *j, "findings");
        code = pc_command_fail(self, &err);
    } else if (args.positional.n > 0) {
        code = pc_command_misuse(self, "'%s' is not expected", args.positional.v[0]);
    } else if (!v.model.model && (v.model.diff || v.context)) {
        code = pc_command_misuse(self, "-m MODEL is missing: without it only the machine is looked at");
    } else {
        j->self = self;
        j->v = &v;
        code = run_job(j) < 0 ? pc_command_fail(self, &j->err) : PC_EXIT_OK;
    }
    free(j);
    pc_args_release(&args);
    return code;
}

const struct pc_command pc_cmd_doctor = {
    .name = "doctor",
    .summary = "what this machine has, which kernels are in use, and whether a model is in order",
    .usage = "[-m MODEL] [options]",
    .description =
        "Says what there is to compute with: the processor and what of it may be used, memory, disk, huge\n"
        "pages, a quick measurement of the limits, and for each operation the version of its kernel.\n"
        "\n"
        "With a MODEL, also whether its tokenizer gives texts back as they were, whether tokenizer and\n"
        "configuration agree on BOS, EOS and the size of the vocabulary, which format prompts are wrapped "
        "in,\n"
        "which arithmetic its weights get, and what it needs in memory for -c tokens. What looks wrong is\n"
        "listed under problems; the exit status is 0 all the same.",
    .examples = "$ paco doctor\n"
                "$ paco doctor -m model.gguf -c 8192\n"
                "$ paco doctor -m llama-7b --diff alpaca-diff --json",
    .options = g_options,
    .run = run,
};
