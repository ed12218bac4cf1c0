// SPDX-License-Identifier: Apache-2.0
/* What every command shares: names, shared options, exit codes, and how a signal becomes a wish to stop. The
 * table here stands in for main.c's. */
#include "base/memory.h"
#include "cli/command.h"
#include "cli/finetune_bar.h"
#include "unit.h"

#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct values {
    int64_t n;
    bool verbose;
};
static const struct pc_option g_options[] = {{.name = "number",
                                                 .short_name = 'q',
                                                 .type = PC_OPT_INT,
                                                 .offset = offsetof(struct values, n),
                                                 .arg = "N",
                                                 .help = "how many"},
    {.name = "verbose", .type = PC_OPT_FLAG, .offset = offsetof(struct values, verbose), .help = "its own"},
    {0}};

static const struct pc_command g_convert = {.name = "convert", .summary = "s", .options = g_options},
                               g_copy = {.name = "copy", .alias = "duplicate", .summary = "s"},
                               g_recover = {.name = "recover", .summary = "s"};
const struct pc_command *const pc_commands[] = {&g_convert, &g_copy, &g_recover, NULL};

static void finds_commands(void **state)
{
    (void)state;
    struct paco_error err = {0};
    assert_ptr_equal(pc_command_find("recover", &err), &g_recover);
    assert_ptr_equal(pc_command_find("duplicate", &err), &g_copy);
    assert_ptr_equal(pc_command_find("con", &err), &g_convert);
    assert_ptr_equal(pc_command_find("dup", &err), &g_copy);
    assert_null(pc_command_find("co", &err));
    assert_string_equal(err.message, "command 'co' is ambiguous: convert or copy");
    assert_null(pc_command_find("recvoer", &err));
    assert_string_equal(err.message, "unknown command 'recvoer' (did you mean recover?)");
    assert_null(pc_command_find("xyzzyxyzzy", &err));
    assert_string_equal(err.message, "unknown command 'xyzzyxyzzy' (paco help lists them)");
    assert_null(pc_command_find("", &err));
}

static int parse(struct values *v, const char *line)
{
    static char words[256];
    char *argv[16], *save = NULL;
    int argc = 0;
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    struct pc_args args;
    int code = pc_command_parse(&g_convert, argc, argv, v, &args);
    if (code < 0)
        pc_args_release(&args);
    return code;
}

static void shares_options(void **state)
{
    (void)state;
    struct values v = {0};
    assert_int_equal(parse(&v, "--quiet=no --color never -q 7 --verbose"), -1);
    assert_int_equal(v.n, 7); // the command's own -q and --verbose win
    assert_true(v.verbose);
    assert_false(pc_command_quiet());
    assert_false(pc_command_verbose());
    assert_false(pc_command_color(true));
    assert_int_equal(parse(&v, "--color always"), -1);
    assert_true(pc_command_color(true));
    assert_int_equal(parse(&v, "--color never --quiet"), -1);
    assert_true(pc_command_quiet());
    assert_int_equal(parse(&v, "--cpu avx9"), PC_EXIT_MISUSED);
    assert_int_equal(parse(&v, "--numbr 3"), PC_EXIT_MISUSED);
}

static void exit_codes(void **state)
{
    (void)state;
    struct paco_error err = {0};
    pc_error_set(&err, PACO_EFORMAT, "broken");
    assert_int_equal(pc_command_fail(&g_recover, &err), PC_EXIT_FAILED);
    pc_error_set(&err, PACO_EINVAL, "no such thing");
    assert_int_equal(pc_command_fail(&g_recover, &err), PC_EXIT_MISUSED);
    assert_int_equal(pc_command_misuse(&g_recover, "%d too many", 3), PC_EXIT_MISUSED);
}

static void writes_bytes_as_people_do(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{0, "0 B"}, {999, "999 B"}, {1000, "1.00 kB"}, {1234567, "1.23 MB"}, {45100000, "45.1 MB"},
        {999499, "999 kB"}, {999500, "1.00 MB"}, {13476839424u, "13.5 GB"}, {UINT64_MAX, "18.4 EB"}};
    char out[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(pc_human_bytes(cases[i].bytes, out), cases[i].text);
    assert_true(pc_peak_rss() > 1000000 && pc_peak_rss() < 4000000000u);
}

static int tick(const struct pc_progress *p, uint64_t done)
{
    return pc_progress(p, &(struct pc_progress_event){"working", NULL, done, 10, "steps", NULL});
}

/* In a child: signals end it. Exit 10 when the first signal became a wish to stop, and the error the right
 * code. */
static void signalled(int n_signals)
{
    const struct pc_progress *p = pc_progress_bar(&g_recover);
    struct paco_error err = {0};
    if (tick(p, 1) != 0 || pc_progress_stopped())
        _exit(1);
    for (int i = 0; i < n_signals; i++)
        raise(SIGINT);
    if (tick(p, 2) == 0 || pc_progress_stopped() != SIGINT)
        _exit(2);
    pc_error_set(&err, PACO_ECANCELLED, "stopped");
    _exit(pc_command_fail(&g_recover, &err) == 128 + SIGINT ? 10 : 3);
}

static int in_child(int n_signals)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        signalled(n_signals);
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}

static void stops_on_signals(void **state)
{
    (void)state;
    int status = in_child(1);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 10);
    status = in_child(2); // the second one kills
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGINT);
}

/* What a child that runs job(n) writes to its stderr, which is stderr_fd: at most size - 1 bytes of it. */
static void watch(int reader, int stderr_fd, void (*job)(int n), int n, char *out, size_t size)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(stderr_fd, STDERR_FILENO);
        close(reader);
        setenv("TERM", "xterm", 1);
        setenv("LC_ALL", "C", 1);
        job(n);
        pc_progress_bar_end();
        _exit(0);
    }
    close(stderr_fd);
    size_t len = 0;
    for (ssize_t got; len + 1 < size && (got = read(reader, out + len, size - 1 - len)) > 0;)
        len += (size_t)got;
    out[len] = '\0';
    close(reader);
    waitpid(child, NULL, 0);
}

/* n steps of 30 ms. */
static void recovering(int n)
{
    const struct pc_progress *p = pc_progress_bar(&g_recover);
    for (int i = 0; i <= n; i++) {
        pc_progress(p, &(struct pc_progress_event){
                           "recovering", "model.norm", (uint64_t)i * 1000, (uint64_t)n * 1000, "B", NULL});
        usleep(30000);
        if (i == n / 2)
            p->note(p->ctx, "a remark\033[2J");
    }
}

static void training(int n)
{
    struct pc_finetune_bar bar;
    pc_finetune_bar_init(&bar, &g_recover);
    for (uint64_t i = 0; i < (uint64_t)n; i++) {
        pc_progress(
            &bar.progress, &(struct pc_progress_event){"training", NULL, i, (uint64_t)n, "steps", NULL});
        usleep(30000);
        pc_finetune_bar_step(&bar,
            &(struct pc_train_report){
                .step = i + 1, .loss = 1.23456, .rate = 2e-5, .n_tokens = 9876, .seconds = 10},
            (uint64_t)n);
    }
    for (uint64_t i = 0; i < 2; i++) {
        pc_progress(&bar.progress, &(struct pc_progress_event){"saving", NULL, i, 2, "B", NULL});
        usleep(150000);
    }
}

static void draws_on_a_terminal(void **state)
{
    (void)state;
    static char out[1 << 16];
    int master, slave;
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
    parse(&(struct values){0}, "--color never --quiet=no");
    watch(master, slave, recovering, 20, out, sizeof out);
    assert_contains(out, "\r\033[Krecovering  ####");
    assert_contains(out, " % ");
    assert_contains(
        out, "paco recover: a remark\\x1b[2J\r\n"); // what a file says never reaches the terminal raw
    assert_contains(out, "\r\033[Krecovering: 20.0 kB in ");
    for (char *line = strtok(out, "\r\n"); line; line = strtok(NULL, "\r\n"))
        assert_true(strlen(line) < 80 + 3); // the erase code is not shown
}

/* The figures of training stand behind the time left, as many as there is room for, and end with it. */
static void shows_what_training_does(void **state)
{
    (void)state;
    static char out[1 << 16];
    for (int wide = 0; wide < 2; wide++) {
        int master, slave;
        struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)(wide ? 160 : 80)};
        assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
        parse(&(struct values){0}, "--color never --quiet=no");
        watch(master, slave, training, 20, out, sizeof out);
        assert_contains(out, " left  loss 1.235  988 tokens/s");
        assert_int_equal(strstr(out, "  lr 2.00e-05  ") && strstr(out, " % of memory)"), wide);
        assert_null(strstr(out, "steps/s  "));
        assert_contains(out, "training: 20 steps in ");
        assert_null(strstr(strstr(out, "\033[Ksaving"), "loss"));
        for (char *line = strtok(out, "\r\n"); line; line = strtok(NULL, "\r\n"))
            assert_true(strlen(line) < (size_t)size.ws_col + 3);
    }
}

static void stays_quiet_in_a_pipe(void **state)
{
    (void)state;
    static char out[1 << 16];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    watch(ends[0], ends[1], recovering, 5, out, sizeof out);
    assert_string_equal(out, "paco recover: a remark\\x1b[2J\n"); // a short job needs no progress
    assert_int_equal(pipe(ends), 0);
    watch(ends[0], ends[1], recovering, 80, out, sizeof out);
    assert_null(strchr(out, '\r'));
    assert_contains(out, "\nrecovering: ");
    assert_contains(out, " left\n");
    assert_contains(out, "\nrecovering: 80.0 kB in ");
}

int main(void)
{
    // What the person running the tests has set is not what they test.
    unsetenv("PACO_CPU");
    unsetenv("PACO_QUIET");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_commands),
        cmocka_unit_test(shares_options),
        cmocka_unit_test(exit_codes),
        cmocka_unit_test(writes_bytes_as_people_do),
        cmocka_unit_test(stops_on_signals),
        cmocka_unit_test(draws_on_a_terminal),
        cmocka_unit_test(shows_what_training_does),
        cmocka_unit_test(stays_quiet_in_a_pipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
