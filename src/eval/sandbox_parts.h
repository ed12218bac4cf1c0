// SPDX-License-Identifier: Apache-2.0
/* What the files of the sandbox know of each other: sandbox_command.c finds the interpreter and writes the
 * command lines, sandbox_filter.c the list of system calls, sandbox_spawn.c starts, sandbox_watch.c watches
 * one program, sandbox.c is the door. */
#ifndef PC_EVAL_SANDBOX_PARTS_H
#define PC_EVAL_SANDBOX_PARTS_H

#include "eval/sandbox.h"

#include "base/buf.h"

#include <sys/types.h>

/** The runner's text (sandbox_runner.py). */
extern const char pc_sandbox_runner[];

/** Descriptors a child is born with, besides 0, 1 and 2. */
enum { PC_SANDBOX_CHANNEL = 3, PC_SANDBOX_PROGRAM = 4, PC_SANDBOX_FILTER = 5 };

/** A command line under construction; `{0}` is an empty one. */
struct pc_argv {
    char **args; /* owned, each of them too; a NULL follows */
    size_t n, capacity;
    bool failed;
};

void pc_argv_add(struct pc_argv *argv, const char *arg);
void pc_argv_printf(struct pc_argv *argv, const char *fmt, ...) PC_PRINTF(2, 3);
void pc_argv_release(struct pc_argv *argv);

/** What the machine offers. */
struct pc_interpreter {
    char *path;    /* of the program itself, no link and no wrapper */
    char *version; /* "3.11.2" */
    char **dirs;   /* where it looks for modules */
    size_t n_dirs;
    char **roots; /* what of the disk it needs besides /usr: its own tree, its packages */
    size_t n_roots;
};

/** Ask the python3 that PATH has (or python, a name or path) where it lives. */
int pc_interpreter_find(const char *python, struct pc_interpreter *out, struct paco_error *err);
void pc_interpreter_release(struct pc_interpreter *interpreter);

/** How programs are shut in. */
enum pc_isolation {
    PC_ISOLATION_NONE,
    PC_ISOLATION_USER_NAMESPACE, /* as anybody */
    PC_ISOLATION_ROOT,           /* as root, where there are no user namespaces: in a chroot, say */
};

/** The full path of a program, from PATH if name has no slash; owned, NULL if there is none. */
char *pc_find_program(const char *name);

/** What bwrap is: its version ("0.8.0") and whether it can bound a tmpfs. */
int pc_bwrap_ask(const char *bwrap, char version[32], bool *has_size, struct paco_error *err);

struct pc_sandbox_settings {
    const char *bwrap;
    bool has_size;
    enum pc_isolation isolation;
    uint64_t memory_size, disk_size;
    double alarm_s, kill_s;
    const struct pc_interpreter *interpreter;
};

/** The command line that waits for a program. Check argv->failed. */
void pc_sandbox_command(const struct pc_sandbox_settings *settings, struct pc_argv *argv);

/** The filter of system calls as a memory file from which bwrap loads it; a descriptor, closed on exec, or an
 * error. */
int pc_sandbox_filter(int *fd, struct paco_error *err);

struct pc_watch {
    const struct pc_sandbox_settings *settings;
    const char *const *argv;
    int filter_fd; /* -1: none */
    int stop_fd;   /* an eventfd: readable, nothing is waited for any more */
    int null_fd;
    int stderr_fd; /* of the child; null_fd but while trying it out */
};

/** Run one program to its verdict. See pc_sandbox_run. */
int pc_watch_run(const struct pc_watch *watch, const char *program, size_t len, struct pc_execution *out,
    struct paco_error *err);

/** What a child is given. */
struct pc_descriptors {
    int std_in, std_out, std_err;
    int channel, program, filter; /* -1: none */
    const char *dir;              /* to be in; NULL: here */
};

/** Start argv[0], a path, with these descriptors and no other, no blocked or ignored signals, a session of
 * its own. */
int pc_spawn(const struct pc_descriptors *d, const char *const *argv, const char *const *env, pid_t *pid,
    struct paco_error *err);

/** Wait for a child; its status as waitpid gives it. */
int pc_wait_for(pid_t pid);

/** Run argv with this process's own environment and collect its output, standard error too if asked, at most
 * out->max. For what is trusted: no isolation, but no more than limit_s seconds. */
int pc_spawn_collect(const char *const *argv, bool with_stderr, double limit_s, struct pc_buf *out,
    int *status, struct paco_error *err);

/** Milliseconds until pc_seconds() says end, for poll. */
int pc_left_ms(double end);

#endif
