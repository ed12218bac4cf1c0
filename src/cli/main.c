// SPDX-License-Identifier: Apache-2.0
/* The table of subcommands, and what surrounds each run: sane standard descriptors before, a checked stdout
 * after. */
#include "base/json.h"
#include "cli/command.h"
#include "paco/paco.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* One row per command, sorted by name; each is defined in its own cmd_NAME.c. */
const struct pc_command *const pc_commands[] = {
    &pc_cmd_bench,
    &pc_cmd_chat,
    &pc_cmd_convert,
    &pc_cmd_data,
    &pc_cmd_diff,
    &pc_cmd_doctor,
    &pc_cmd_eval,
    &pc_cmd_finetune,
    &pc_cmd_generate,
    &pc_cmd_inspect,
    &pc_cmd_merge,
    &pc_cmd_perplexity,
    &pc_cmd_pull,
    &pc_cmd_recover,
    &pc_cmd_serve,
    &pc_cmd_tokenize,
    &pc_cmd_verify,
    NULL,
};

/* Started with a standard descriptor closed, the next file opened would take its number, and output meant for
 * it would end up inside a model. A read-only /dev/null in stdout's place keeps writes failing, as they
 * should. */
static int fill_standard_descriptors(void)
{
    static const int modes[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd)
            return -1;
    return 0;
}

/* The shards of a job are open all at once, and systems that allow a process 1,024 files allow more on
 * request. */
static void raise_open_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* A full disk may only show when stdout is closed. A reader that went away (`| head`) is no failure worth
 * words. */
static int close_stdout(int code)
{
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) != 0 || failed) {
        int cause = errno;
        if (cause == EPIPE)
            return 128 + SIGPIPE;
        fprintf(stderr, "paco: writing to standard output%s%s\n", cause ? ": " : " failed",
            cause ? strerror(cause) : "");
        return code == PC_EXIT_OK ? PC_EXIT_FAILED : code;
    }
    return code;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: paco COMMAND [options]\nStart with: paco help\n");
        return PC_EXIT_MISUSED;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0)
        return pc_help_main(argc - 2, argv + 2);
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0 || strcmp(name, "-V") == 0) {
        printf("paco %s\n", paco_version());
        return PC_EXIT_OK;
    }
    if (name[0] == '-') {
        fprintf(stderr, "paco: options follow the command: paco COMMAND %s (paco help lists the commands)\n",
            name);
        return PC_EXIT_MISUSED;
    }
    struct paco_error err = {0};
    const struct pc_command *c = pc_command_find(name, &err);
    if (!c) {
        pc_command_fail(NULL, &err);
        return PC_EXIT_MISUSED;
    }
    return c->run(c, argc - 2, argv + 2);
}

int main(int argc, char **argv)
{
    pc_json_use_memory();
    if (fill_standard_descriptors() < 0)
        return PC_EXIT_FAILED;
    raise_open_files();
    // A parent may leave SIGPIPE ignored; `paco inspect | head` should end quietly all the same.
    signal(SIGPIPE, SIG_DFL);
    return close_stdout(dispatch(argc, argv));
}
