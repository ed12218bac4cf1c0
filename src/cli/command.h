// SPDX-License-Identifier: Apache-2.0
/* A subcommand: one row in main.c's table, one file cmd_NAME.c with its options and its function. */
#ifndef PC_CLI_COMMAND_H
#define PC_CLI_COMMAND_H

#include "base/error.h"
#include "base/options.h"
#include "base/progress.h"

enum pc_exit { PC_EXIT_OK = 0, PC_EXIT_FAILED = 1, PC_EXIT_MISUSED = 2 };

struct pc_command {
    const char *name;
    const char *alias;       /* another name that works, or NULL */
    const char *summary;     /* one line for `paco help` */
    const char *usage;       /* "-m MODEL [options]": what follows the name */
    const char *description; /* paragraphs for help and the man page; lines of at most 100 columns */
    const char *examples;    /* lines "$ paco ..." for help and the man page, or NULL */
    const struct pc_option *options;
    /** argv[0..argc) follows the command's name. Returns an enum pc_exit. Parses with pc_command_parse. */
    int (*run)(const struct pc_command *self, int argc, char **argv);
};

/** Parse into values. Returns -1 to go on; otherwise the exit code to return at once: help was printed, or the misuse
 *  was. PC_OPT_IGNORED options are remarked on stderr. Release args in the first case. */
int pc_command_parse(const struct pc_command *self, int argc, char **argv, void *values, struct pc_args *args);

/** Print "paco NAME: MESSAGE" on stderr. Returns PC_EXIT_FAILED, or PC_EXIT_MISUSED for PACO_EINVAL; 128 + SIGINT after
 *  an interrupt. */
int pc_command_fail(const struct pc_command *self, const struct paco_error *err);

/** A remark on stderr, "paco NAME: TEXT", unless --quiet. */
void pc_command_note(const struct pc_command *self, const char *fmt, ...) PC_PRINTF(2, 3);

/** A progress bar on stderr: drawn on a terminal, a line now and then elsewhere; its update asks jobs to stop after
 *  SIGINT or SIGTERM. The struct is valid until the process ends; one bar at a time. */
const struct pc_progress *pc_progress_bar(const struct pc_command *self);
/** Erase or finish the bar before other output. */
void pc_progress_bar_end(void);

/** Peak resident memory of this process so far, in bytes (getrusage). */
uint64_t pc_peak_rss(void);
/** Seconds on a monotonic clock. */
double pc_seconds(void);
/** "1.23 GB", "45.1 MiB" as people read them (decimal units), into out. Returns out. */
char *pc_human_bytes(uint64_t bytes, char out[32]);

extern const struct pc_command pc_cmd_recover, pc_cmd_diff, pc_cmd_merge, pc_cmd_inspect, pc_cmd_verify, pc_cmd_convert,
    pc_cmd_tokenize, pc_cmd_generate;

#endif
