// SPDX-License-Identifier: Apache-2.0
/* What every command shares: its options, how it reports, and a few measures of the process. */
#include "cli/command.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "cli/output.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ROWS = PC_MAX_OPTIONS };

static struct {
    bool quiet, verbose, json;
    const char *color, *cpu;
} g_common = {.color = "auto"};

const struct pc_option pc_common_options[] = {
    {.name = "quiet",
        .short_name = 'q',
        .type = PC_OPT_FLAG,
        .at = &g_common.quiet,
        .help = "no progress, no remarks: errors, and what a narrower type lost"},
    {.name = "verbose",
        .short_name = 'v',
        .type = PC_OPT_FLAG,
        .at = &g_common.verbose,
        .help = "say more about what is done"},
    {.name = "color",
        .type = PC_OPT_CHOICE,
        .at = &g_common.color,
        .choices = "auto|always|never",
        .help = "colour messages (auto: on a terminal, unless NO_COLOR is set)"},
    {.name = "cpu",
        .type = PC_OPT_CHOICE,
        .at = &g_common.cpu,
        .choices = "native|avx512|avx2|neon|scalar",
        .help = "use no instructions beyond this level"},
    {0}};

/* The command's rows, then the shared ones it does not define itself: row numbers of the command's own table
 * hold. */
static bool merge_options(const struct pc_option *own, struct pc_option merged[MAX_ROWS + 1])
{
    size_t n = 0;
    for (const struct pc_option *o = own; o && o->name; o++) {
        if (n == MAX_ROWS)
            return false;
        merged[n++] = *o;
    }
    size_t n_own = n;
    for (const struct pc_option *o = pc_common_options; o->name; o++) {
        if (own && pc_option_find(own, o->name))
            continue;
        if (n == MAX_ROWS)
            return false;
        merged[n] = *o;
        for (size_t i = 0; i < n_own; i++)
            if (merged[i].short_name == o->short_name)
                merged[n].short_name = 0;
        n++;
    }
    merged[n] = (struct pc_option){0};
    return true;
}

static void say_prefix(const struct pc_command *self, bool is_error)
{
    const char *on = !pc_command_color(true) ? "" : is_error ? "\033[1;31m" : "\033[1m";
    fprintf(stderr, "%spaco%s%s:%s ", on, self ? " " : "", self ? self->name : "", *on ? "\033[0m" : "");
}

static int print_help(const struct pc_command *self)
{
    struct pc_buf out;
    pc_buf_init(&out, 1 << 20);
    pc_command_help(self, &out);
    if (out.failed) {
        pc_buf_release(&out);
        return PC_EXIT_FAILED;
    }
    fwrite(out.data, 1, out.len, stdout);
    pc_buf_release(&out);
    return PC_EXIT_OK;
}

static int see_help(const struct pc_command *self)
{
    fprintf(stderr, "usage: paco %s %s\nMore: paco %s -h\n", self->name,
        self->usage ? self->usage : "[options]", self->name);
    return PC_EXIT_MISUSED;
}

/* Whether JSON is asked for: by the value of the command's own row, or plainly, where parsing did not come so
 * far. */
static bool wants_json(const struct pc_command *self, int argc, char **argv, const void *values)
{
    const struct pc_option *o = self->options ? pc_option_find(self->options, "json") : NULL;
    for (int i = 0; o && i < argc; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return o && o->type == PC_OPT_FLAG && *(const bool *)(o->at ? o->at : (const char *)values + o->offset);
}

/* Lines of remarks, one note each. */
static void say_remarks(const struct pc_command *self, const struct pc_buf *remarks)
{
    for (const char *s = remarks->data, *end; s && (end = strchr(s, '\n')); s = end + 1)
        pc_command_note(self, "%.*s", (int)(end - s), s);
}

/* What a handler may use: made beforehand. */
static char g_bus_text[160];

/* Weights are used where their file is mapped: when somebody cuts it short, or its disk fails, this comes
 * instead of an error from a read. */
static void on_bus_error(int number)
{
    (void)number;
    (void)!write(STDERR_FILENO, g_bus_text, strlen(g_bus_text));
    _exit(PC_EXIT_FAILED);
}

static void say_bus_errors(const struct pc_command *self)
{
    snprintf(g_bus_text, sizeof g_bus_text,
        "\npaco %s: a file of the model was cut short, or could not be read, while it was in use\n",
        self->name);
    signal(SIGBUS, on_bus_error);
}

int pc_command_parse(const struct pc_command *self, int argc, char **argv, void *values, struct pc_args *args)
{
    struct pc_option merged[MAX_ROWS + 1];
    struct paco_error err = {0};
    int rc = merge_options(self->options, merged)
                 ? pc_options_parse(merged, self->name, argc, argv, values, args, &err)
                 : pc_error_set(&err, PACO_ELIMIT, "more than %d options in the table", MAX_ROWS);
    g_common.json = wants_json(self, argc, argv, values);
    if (rc == 0 && args->help) {
        pc_args_release(args);
        return print_help(self);
    }
    if (rc == 0 && g_common.cpu && !pc_cpu_mask(g_common.cpu))
        rc = pc_error_set(&err, PACO_EINVAL, "option --cpu: unknown level '%s'", g_common.cpu);
    if (rc < 0) {
        pc_args_release(args);
        int code = pc_command_fail(self, &err);
        return code == PC_EXIT_MISUSED ? see_help(self) : code;
    }
    for (size_t i = 0; i < args->ignored.n; i++)
        pc_command_note(self, "%s", args->ignored.v[i]);
    if (g_common.cpu && strcmp(g_common.cpu, "native") != 0 && strcmp(g_common.cpu, pc_cpu_level()) != 0)
        pc_command_note(
            self, "--cpu %s: this processor does not have that; using %s", g_common.cpu, pc_cpu_level());
    say_remarks(self, &args->remarks);
    say_bus_errors(self);
    if (g_common.verbose)
        pc_command_note(self, "%d threads, instructions: %s", pc_cpu_count(), pc_cpu_level());
    return -1;
}

/* A model given without its -m. */
static bool lacks_model(const struct pc_command *self, const struct pc_args *args)
{
    for (size_t i = 0; self->options[i].name; i++)
        if (self->options[i].short_name == 'm' && strcmp(self->options[i].name, "model") == 0)
            return args->positional.n == 1 && !args->given[i];
    return false;
}

int pc_command_parse_options(
    const struct pc_command *self, int argc, char **argv, void *values, struct pc_args *args)
{
    int code = pc_command_parse(self, argc, argv, values, args);
    if (code >= 0 || !args->positional.n)
        return code;
    const char *word = args->positional.v[0];
    bool is_model = lacks_model(self, args);
    code = pc_command_misuse(self, "'%s' belongs to no option%s%s%s", word,
        is_model ? ": did you mean -m " : "", is_model ? word : "", is_model ? "?" : "");
    pc_args_release(args);
    return code;
}

/* A program that asked for JSON gets the error as such, too: one line on stdout. */
static void print_error_json(const struct paco_error *err)
{
    json_t *e = json_pack(
        "{s:s, s:o}", "code", paco_code_name(err->code), "message", json_string_nocheck(err->message));
    if (e) {
        json_object_set_new(e, "path", err->path[0] ? json_string_nocheck(err->path) : json_null());
        json_object_set_new(
            e, "offset", err->has_offset ? json_integer((json_int_t)err->offset) : json_null());
        pc_print_json(json_pack("{s:o}", "error", e), NULL);
    }
}

int pc_command_fail(const struct pc_command *self, const struct paco_error *err)
{
    char text[4096];
    pc_progress_bar_end();
    if (g_common.json)
        print_error_json(err);
    fflush(stdout);
    say_prefix(self, true);
    fprintf(stderr, "%s\n", pc_error_format(err, text, sizeof text));
    if (err->code == PACO_ECANCELLED && pc_progress_stopped())
        return 128 + pc_progress_stopped();
    return err->code == PACO_EINVAL ? PC_EXIT_MISUSED : PC_EXIT_FAILED;
}

int pc_command_misuse(const struct pc_command *self, const char *fmt, ...)
{
    struct paco_error err = {0};
    char text[sizeof err.message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    pc_error_set(&err, PACO_EINVAL, "%s", text);
    pc_command_fail(self, &err);
    return see_help(self);
}

void pc_command_note(const struct pc_command *self, const char *fmt, ...)
{
    if (g_common.quiet)
        return;
    char text[2048], safe[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    say_prefix(self, false);
    fprintf(stderr, "%s\n", pc_printable(text, safe, sizeof safe));
}

void pc_command_warn(const struct pc_command *self, const char *fmt, ...)
{
    bool quiet = g_common.quiet;
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    g_common.quiet = false;
    pc_command_note(self, "%s", text);
    g_common.quiet = quiet;
}

bool pc_command_quiet(void)
{
    return g_common.quiet;
}

bool pc_command_verbose(void)
{
    return g_common.verbose;
}

bool pc_command_color(bool err)
{
    if (strcmp(g_common.color, "auto") != 0)
        return strcmp(g_common.color, "always") == 0;
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return !(no_color && *no_color) && term && strcmp(term, "dumb") != 0 &&
           isatty(err ? STDERR_FILENO : STDOUT_FILENO);
}

/* VmHWM belongs to this program's own memory. getrusage's figure survives exec: under a large parent that
 * forked, it is the parent's size. */
void pc_peak_rss_reset(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "we");
    if (f) {
        fputs("5", f); /* proc(5): the peak begins anew at what is resident now */
        fclose(f);
    }
}

uint64_t pc_peak_rss(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    if (kib)
        return kib * 1024;
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

char *pc_human_bytes(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double x = (double)bytes;
    int i = 0;
    for (; x >= 999.5 && i < 6; i++)
        x /= 1000;
    int digits = i == 0 || x >= 99.95 ? 0 : x >= 9.995 ? 1 : 2;
    snprintf(out, 32, "%.*f %s", digits, x, units[i]);
    return out;
}

static bool starts_with(const char *name, const char *start)
{
    return strncmp(name, start, strlen(start)) == 0;
}

const struct pc_command *pc_command_find(const char *name, struct paco_error *err)
{
    const struct pc_command *found = NULL, *near = NULL;
    int n_found = 0, distance = 2 + (int)strlen(name) / 3;
    for (const struct pc_command *const *c = pc_commands; *c; c++) {
        const char *names[] = {(*c)->name, (*c)->alias};
        bool is_prefix = false;
        for (int i = 0; i < 2 && names[i]; i++) {
            if (strcmp(names[i], name) == 0)
                return *c;
            is_prefix |= *name && starts_with(names[i], name);
            int d = pc_edit_distance(names[i], name);
            if (d < distance) {
                distance = d;
                near = *c;
            }
        }
        if (is_prefix) {
            if (n_found++ == 0)
                found = *c;
            else if (n_found == 2)
                pc_error_set(
                    err, PACO_EINVAL, "command '%s' is ambiguous: %s or %s", name, found->name, (*c)->name);
        }
    }
    if (n_found == 0 && near)
        pc_error_set(err, PACO_EINVAL, "unknown command '%s' (did you mean %s?)", name, near->name);
    else if (n_found == 0)
        pc_error_set(err, PACO_EINVAL, "unknown command '%s' (paco help lists them)", name);
    return n_found == 1 ? found : NULL;
}
