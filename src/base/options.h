// SPDX-License-Identifier: Apache-2.0
/* Command-line options as a table: one array gives parsing, -h, the man page and shell completion.
 *
 *     struct args { const char *out; bool force; int64_t threads; } a = {.threads = 0};
 *     static const struct pc_option options[] = {
 *         {.name = "out", .aliases = "path_tuned", .type = PC_OPT_STRING, .offset = offsetof(struct args,
 * out), .arg = "DIR", .help = "where the tuned model goes", .required = true},
 *         {.name = "force", .type = PC_OPT_FLAG, .offset = offsetof(struct args, force), .help = "replace
 * OUT"},
 *         {.name = "threads", .short_name = 't', .type = PC_OPT_INT, .offset = offsetof(struct args,
 * threads), .arg = "N", .min = 0, .max = 512, .help = "worker threads (0: all processors)"}, {0}};
 *
 * A name matches with '-' and '_' alike, by an unambiguous prefix, as "--name value" or "--name=value". An
 * option not on the command line is taken from the environment variable PACO_COMMAND_NAME, else from
 * PACO_NAME, else keeps what the struct held before parsing. One name may mean different things to different
 * commands
 * (--format): what PACO_NAME holds that is no choice of this command is passed over with a remark. */
#ifndef PC_BASE_OPTIONS_H
#define PC_BASE_OPTIONS_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pc_option_type {
    PC_OPT_FLAG =
        1, /* bool; present means true. "--flag False" and "--flag=no" work too, as with python-fire */
    PC_OPT_STRING,  /* const char *, borrowed from argv or the environment */
    PC_OPT_CHOICE,  /* const char *, one of .choices ("f32|f16|bf16") */
    PC_OPT_INT,     /* int64_t within [min, max] (no bound when both are 0) */
    PC_OPT_FLOAT,   /* double within [min, max] */
    PC_OPT_SIZE,    /* uint64_t bytes: "10GB" is decimal, "10GiB" binary, plain is bytes */
    PC_OPT_LIST,    /* struct pc_strings; may be given several times */
    PC_OPT_IGNORED, /* upstream's flag without meaning here: takes its value if one follows, says .help once
                     */
};

struct pc_strings {
    const char **v; /* v is owned by the parse (pc_args_release), the strings are borrowed */
    size_t n;
};

struct pc_option {
    const char *name;    /* long name without dashes */
    const char *aliases; /* other long names, "path_tuned|target-model-path", or NULL */
    char short_name;     /* 'm' for -m, or 0 */
    enum pc_option_type type;
    size_t offset;       /* of the value in the command's struct */
    void *at;            /* where the value lives instead, for options every command shares; else NULL */
    const char *arg;     /* how help names the value: "DIR"; of a choice: instead of listing all */
    const char *help;    /* one line, lower case, no full stop */
    const char *choices; /* for PC_OPT_CHOICE */
    double min, max;
    bool required;
};

enum { PC_MAX_LIST_OPTIONS = 8, PC_MAX_OPTIONS = 128 };

/** What a parse leaves behind besides the struct. Release with pc_args_release. */
struct pc_args {
    struct pc_strings positional;
    struct pc_strings ignored;  /* notes about PC_OPT_IGNORED options that were given: their .help texts */
    struct pc_buf remarks;      /* on the environment: lines */
    bool help;                  /* -h or --help was there; nothing else was checked */
    bool given[PC_MAX_OPTIONS]; /* option i was on the command line or in the environment */
    struct pc_strings *lists[PC_MAX_LIST_OPTIONS]; /* the values of PC_OPT_LIST options, for the release */
    int n_lists;
};

/** Parse argv[0..argc) (no program or command name) into values. table ends with a row of zeros, at most
 * PC_MAX_OPTIONS rows; command is the COMMAND of environment variables, or NULL. Unknown options come back as
 * PACO_EINVAL with the nearest name; so do missing required ones, bad numbers and choices.
 *  "--" ends options; a lone "-" is positional. After a failure args is empty. */
int pc_options_parse(const struct pc_option *table, const char *command, int argc, char **argv, void *values,
    struct pc_args *args, struct paco_error *err);
void pc_args_release(struct pc_args *args);

/** The value of the environment's PACO_COMMAND_OPTION, or of PACO_OPTION when command is NULL; NULL when it
 * is empty or not there. Its name in any case. */
const char *pc_option_variable(const char *command, const char *option, char name[128]);

/** Append a line or more of help per row, wrapped to 100 columns. */
void pc_options_help(const struct pc_option *table, struct pc_buf *out);

/** The row called name exactly (with - and _ alike, aliases included), or NULL. */
const struct pc_option *pc_option_find(const struct pc_option *table, const char *name);

/** Edit distance for "did you mean", two exchanged neighbours counting as one edit; at most 64 bytes of each
 * are looked at. */
int pc_edit_distance(const char *a, const char *b);

/** Parse "10GB", "512MiB", "1000" into bytes. */
bool pc_parse_size(const char *text, uint64_t *bytes);

#endif
