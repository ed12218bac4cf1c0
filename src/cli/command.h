// SPDX-License-Identifier: Apache-2.0
/* A subcommand: one row in main.c's table, one file cmd_NAME.c with its options and its function.
 *
 *     static int run(const struct pc_command *self, int argc, char **argv)
 *     {
 *         struct values v = {.threads = 0};
 *         struct pc_args args;
 *         int code = pc_command_parse(self, argc, argv, &v, &args);
 *         if (code >= 0)
 *             return code;
 *         ...
 *         if (paco_job(&options, pc_progress_bar(self), &result, &err) < 0)
 *             code = pc_command_fail(self, &err);
 *         pc_progress_bar_end();
 *         pc_args_release(&args);
 *         return code < 0 ? PC_EXIT_OK : code;
 *     }
 *
 * Results go to stdout, everything else to stderr by the functions here. -h, --quiet, --verbose, --color and
 * --cpu belong to every command: pc_command_parse adds them to the command's own table. main() flushes stdout
 * and turns a failed write into exit 1, so a command need not check its printf calls. */
#ifndef PC_CLI_COMMAND_H
#define PC_CLI_COMMAND_H

#include "base/buf.h"
#include "base/error.h"
#include "base/options.h"
#include "base/progress.h"

#include <stdbool.h>

enum pc_exit { PC_EXIT_OK = 0, PC_EXIT_FAILED = 1, PC_EXIT_MISUSED = 2 };

/* Rows that several commands have, for a member of struct TYPE. */
// Designators and member names take no parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define PC_THREADS_ROW(TYPE, MEMBER)                                                                         \
    {                                                                                                        \
        .name = "threads", .short_name = 't', .type = PC_OPT_INT, .offset = offsetof(TYPE, MEMBER),          \
        .arg = "N", .min = 0, .max = 512, .help = "worker threads (0: all processors)"                       \
    }
#define PC_JSON_ROW(TYPE, MEMBER)                                                                            \
    {                                                                                                        \
        .name = "json", .type = PC_OPT_FLAG, .offset = offsetof(TYPE, MEMBER),                               \
        .help = "print the result as one line of JSON"                                                       \
    }
#define PC_BOS_ROW(TYPE, MEMBER)                                                                             \
    {                                                                                                        \
        .name = "bos", .type = PC_OPT_CHOICE, .offset = offsetof(TYPE, MEMBER),                              \
        .choices = "auto|always|never", .help = "begin with BOS; auto: as the tokenizer's own settings say"  \
    }
// NOLINTEND(bugprone-macro-parentheses)

struct pc_command {
    const char *name;
    const char *alias;       /* another name that works, or NULL */
    const char *summary;     /* one line for `paco help` */
    const char *usage;       /* "-m MODEL [options]": what follows the name */
    const char *description; /* paragraphs for help and the man page; lines of at most 100 columns */
    const char *examples;    /* lines "$ paco ..." for help and the man page, or NULL */
    const struct pc_option *options;
    /** Append the words that may stand without an option (names of tasks), a space before each, for
     * completion; NULL: only files, if anything. */
    void (*put_words)(struct pc_buf *out);
    /** Commands under this one, ending with NULL, or NULL: "paco data reformat" is the part called "data
     * reformat". run hands over to them (pc_command_part). */
    const struct pc_command *const *parts;
    /** argv[0..argc) follows the command's name. Returns an enum pc_exit. Parses with pc_command_parse. */
    int (*run)(const struct pc_command *self, int argc, char **argv);
};

/** Parse into values. Returns -1 to go on; otherwise the exit code to return at once: help was printed, or
 * the misuse was. PC_OPT_IGNORED options are remarked on stderr. Release args in the first case.
 *
 * From here on a mapped file that is cut short, or a disk that fails under it, ends the process with a
 * message and PC_EXIT_FAILED instead of SIGBUS. */
int pc_command_parse(
    const struct pc_command *self, int argc, char **argv, void *values, struct pc_args *args);
/** The same for a command that takes options alone: an argument that belongs to none is misuse. */
int pc_command_parse_options(
    const struct pc_command *self, int argc, char **argv, void *values, struct pc_args *args);

/** Print "paco NAME: MESSAGE" on stderr. Returns PC_EXIT_FAILED, or PC_EXIT_MISUSED for PACO_EINVAL; 128 +
 * SIGINT after an interrupt. */
int pc_command_fail(const struct pc_command *self, const struct paco_error *err);

/** Print "paco NAME: MESSAGE" and where help is. Returns PC_EXIT_MISUSED. */
int pc_command_misuse(const struct pc_command *self, const char *fmt, ...) PC_PRINTF(2, 3);

/** A remark on stderr, "paco NAME: TEXT", unless --quiet. */
void pc_command_note(const struct pc_command *self, const char *fmt, ...) PC_PRINTF(2, 3);

/** The same, in spite of --quiet: for what was lost. */
void pc_command_warn(const struct pc_command *self, const char *fmt, ...) PC_PRINTF(2, 3);

/** What the shared options say. Valid once pc_command_parse returned. */
bool pc_command_quiet(void);
bool pc_command_verbose(void);
/** Whether to colour what goes to stderr (err) or stdout: --color, NO_COLOR, TERM=dumb, and whether it is a
 * terminal. */
bool pc_command_color(bool err);

/** A progress bar on stderr: drawn on a terminal, a line now and then elsewhere; its update asks jobs to stop
 * after SIGINT, SIGTERM or SIGHUP (a second signal kills). The struct is valid until the process ends; one
 * bar at a time. */
const struct pc_progress *pc_progress_bar(const struct pc_command *self);
/** Finish the bar: before other output, and before the command ends. Signals kill again from here on. */
void pc_progress_bar_end(void);
/** The signal that asked a job to stop, or 0. */
int pc_progress_stopped(void);
/** As if that signal had come; from handlers, too. */
void pc_progress_stop(int number);

/** Peak resident memory of this process so far, in bytes: mapped pages and libraries count. */
uint64_t pc_peak_rss(void);
/** Forget the peak so far, where the system can. */
void pc_peak_rss_reset(void);
/** "512 B", "1.23 GB", "45.1 MB" as people read them (decimal units), into out. Returns out. */
char *pc_human_bytes(uint64_t bytes, char out[32]);

/** The table, sorted by name, ending with NULL (main.c). */
extern const struct pc_command *const pc_commands[];
/** The rows of the options every command shares, ending with zeros (command.c). */
extern const struct pc_option pc_common_options[];
/** The command that name, alias or an unambiguous prefix means; else NULL, with err saying which are near. */
const struct pc_command *pc_command_find(const char *name, struct paco_error *err);
/** The part that word names, exactly, or NULL. */
const struct pc_command *pc_command_part(const struct pc_command *self, const char *word);
/** Append the full help text of a command, with its parts' (help.c). */
void pc_command_help(const struct pc_command *self, struct pc_buf *out);
/** Append the manual page of a command, or of the program for NULL, in the man macros (manual.c). */
void pc_manual(const struct pc_command *self, struct pc_buf *out);
/** Append the completion script for "bash", "zsh" or "fish" (completion.c); false for another shell. */
bool pc_completion(const char *shell, struct pc_buf *out);
/** `paco help [CMD]`; exit code (help.c). */
int pc_help_main(int argc, char **argv);

extern const struct pc_command pc_cmd_recover, pc_cmd_chat, pc_cmd_data, pc_cmd_diff, pc_cmd_merge,
    pc_cmd_inspect, pc_cmd_verify, pc_cmd_convert, pc_cmd_tokenize, pc_cmd_generate, pc_cmd_perplexity,
    pc_cmd_bench, pc_cmd_doctor, pc_cmd_eval, pc_cmd_finetune, pc_cmd_pull, pc_cmd_serve;

#endif
