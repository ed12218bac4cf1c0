// SPDX-License-Identifier: Apache-2.0
/* Programs that mean harm, and programs that lie. Each is a file of tests/fixtures/sandbox with what is to
 * become of it in its second line: the beginning of the verdict's text, or "died: " and a part of how it
 * ended; " | " between several. They run side by side; what each test asserts is the verdict of one.
 * Afterwards the machine is looked over. */
#include "unit.h"

#include "base/file.h"
#include "base/host.h"
#include "base/memory.h"
#include "eval/sandbox.h"
#include "eval/sandbox_parts.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char folder[] = "tests/fixtures/sandbox";
enum { MAX_PROGRAMS = 256 };

static struct {
    struct pc_sandbox *sandbox; /* NULL: none to be had here */
    struct paco_error err;      /* why */
    char alarm[16];             /* as it stands in the command lines of this run, and of no other */
    char **names;
    size_t n;
    struct pc_buf texts[MAX_PROGRAMS];
    struct pc_execution done[MAX_PROGRAMS];
    int listener;
    mode_t null_mode;
} all;

static struct pc_execution run(const char *program)
{
    struct paco_error err = {0};
    struct pc_execution e;
    if (pc_sandbox_run(all.sandbox, program, strlen(program), &e, &err))
        fail_msg("%s", err.message);
    return e;
}

static void need_sandbox(void)
{
    if (!all.sandbox)
        skip_because("%s", all.err.message);
}

/* ---- the hostile ones ---- */

/** A service of the host that a program must not reach. */
static int listen_on(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "%s", name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))),
        0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static void open_sandbox(void)
{
    double alarm_s = 3 + (double)(getpid() % 500) / 1000;
    snprintf(all.alarm, sizeof all.alarm, "%.3f", alarm_s);
    struct pc_sandbox_options options = {.alarm_s = alarm_s, .kill_s = 4.5, .n_parallel = 4};
    if (pc_sandbox_open(&options, &all.sandbox, &all.err))
        all.sandbox = NULL;
    else
        print_message("%s\n", pc_sandbox_describe(all.sandbox));
}

static int run_them(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(stat("/dev/null", &st), 0);
    all.null_mode = st.st_mode & 0777;
    assert_int_equal(setenv("PACO_TEST_SECRET", "do not tell", 1), 0);
    all.listener = listen_on("paco-hostile");
    assert_true(dup2(all.listener, 700) == 700); /* for somebody to forget */
    if (!all.sandbox)
        return 0;
    struct pc_program programs[MAX_PROGRAMS];
    for (size_t i = 0; i < all.n; i++)
        programs[i] = (struct pc_program){all.texts[i].data, all.texts[i].len};
    struct paco_error err = {0};
    if (pc_sandbox_run_all(all.sandbox, programs, all.n, all.done, &err))
        fail_msg("%s", err.message);
    return 0;
}

static int forget_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < all.n; i++)
        pc_execution_release(&all.done[i]);
    pc_sandbox_close(all.sandbox);
    close(all.listener);
    close(700);
    return 0;
}

/** Whether one expectation holds; it ends at " | " or at the end of the line. */
static bool is_as(const struct pc_execution *e, const char *expected, size_t len)
{
    char want[200];
    snprintf(want, sizeof want, "%.*s", (int)len, expected);
    if (strncmp(want, "died:", 5) == 0)
        return e->verdict == PC_VERDICT_FAILED && strcmp(e->text, "timed out") == 0 &&
               strstr(e->why, want + 5 + (want[5] == ' '));
    enum pc_verdict verdict = strcmp(want, "passed") == 0      ? PC_VERDICT_PASSED
                              : strcmp(want, "timed out") == 0 ? PC_VERDICT_TIMED_OUT
                                                               : PC_VERDICT_FAILED;
    return e->verdict == verdict && e->text_len == strlen(e->text) &&
           strncmp(e->text, want, strlen(want)) == 0;
}

static void has_its_verdict(void **state)
{
    need_sandbox();
    size_t i = (size_t)(uintptr_t)*state;
    const struct pc_execution *e = &all.done[i];
    const char *line = strstr(all.texts[i].data, "# expect: ");
    assert_non_null(line);
    const char *end = strchr(line += 10, '\n');
    assert_non_null(end);
    for (const char *p = line, *next; p < end; p = next) {
        const char *bar = strstr(p, " | ");
        size_t len = (size_t)((bar && bar < end ? bar : end) - p);
        if (is_as(e, p, len))
            return;
        next = p + len + 3;
    }
    fail_msg("'%.80s' (%s) after %.2f s is not '%.*s'", e->text, e->why, e->seconds, (int)(end - line), line);
}

/** Processes with a run's own alarm among their arguments. */
static int count_left(const char *alarm)
{
    int n = 0;
    DIR *dir = opendir("/proc");
    assert_non_null(dir);
    for (const struct dirent *d; (d = readdir(dir));) {
        char path[300], text[65536];
        snprintf(path, sizeof path, "/proc/%s/cmdline", d->d_name);
        FILE *f = *d->d_name >= '0' && *d->d_name <= '9' ? fopen(path, "r") : NULL;
        if (!f)
            continue;
        size_t len = fread(text, 1, sizeof text - 1, f);
        fclose(f);
        text[len] = '\0';
        for (const char *p = text; p < text + len; p += strlen(p) + 1)
            n += strcmp(p, alarm) == 0;
    }
    closedir(dir);
    return n;
}

static void nothing_was_harmed(void **state)
{
    (void)state;
    need_sandbox();
    static const char *const places[] = {
        "/tmp", "/home", "/root", "/etc", "/dev/shm", "/var/tmp", "", "/usr"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char path[100];
        snprintf(path, sizeof path, "%s/paco-hostile-was-here", places[i]);
        if (access(path, F_OK) == 0)
            fail_msg("%s exists", path);
    }
    struct stat st;
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_int_equal(st.st_mode & 0777, all.null_mode);
    assert_int_equal(accept(all.listener, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(count_left(all.alarm), 0);
}

/* ---- sources that are not files ---- */

static void takes_any_source(void **state)
{
    (void)state;
    need_sandbox();
    struct paco_error err = {0};
    struct pc_execution e;
    assert_int_equal(pc_sandbox_run(all.sandbox, "x = 1\0 y", 8, &e, &err), 0);
    assert_int_equal(e.verdict, PC_VERDICT_FAILED);
    assert_contains(e.text, "null bytes");
    pc_execution_release(&e);

    assert_int_equal(pc_sandbox_run(all.sandbox, "x = '\xff\xfe'", 8, &e, &err), 0);
    assert_int_equal(e.verdict, PC_VERDICT_FAILED);
    assert_contains(e.text, "surrogates not allowed");
    pc_execution_release(&e);

    e = run("");
    assert_int_equal(e.verdict, PC_VERDICT_PASSED);
    assert_string_equal(e.text, "passed");
    pc_execution_release(&e);

    e = run("raise ValueError('a\\0b\\n' + chr(0x1f999))");
    assert_int_equal(e.text_len, 8 + 8);
    assert_memory_equal(e.text, "failed: a\0b\n\xf0\x9f\xa6\x99", 16);
    pc_execution_release(&e);

    e = run("raise ValueError('\\u20ac' * 100000)");
    assert_int_equal(e.verdict, PC_VERDICT_FAILED);
    assert_int_equal(e.text_len, 8 + 65536 / 3 * 3); /* no character is cut */
    pc_execution_release(&e);
}

static void takes_large_sources(void **state)
{
    (void)state;
    need_sandbox();
    struct paco_error err = {0};
    struct pc_execution e;
    size_t len = 10 << 20;
    char *text = pc_alloc(len, 1);
    assert_non_null(text);
    memset(text, '#', len);
    memcpy(text + len - 9, "\nassert 0", 9);
    assert_int_equal(pc_sandbox_run(all.sandbox, text, len, &e, &err), 0);
    assert_int_equal(e.verdict, PC_VERDICT_FAILED);
    assert_string_equal(e.text, "failed: ");
    pc_execution_release(&e);

    memset(text, '[', len);
    assert_int_equal(pc_sandbox_run(all.sandbox, text, len, &e, &err), 0);
    assert_int_not_equal(e.verdict, PC_VERDICT_PASSED);
    pc_execution_release(&e);

    for (size_t i = 0; i + 4 <= len; i += 4)
        memcpy(text + i, "x=1\n", 4);
    assert_int_equal(pc_sandbox_run(all.sandbox, text, len, &e, &err), 0);
    assert_int_not_equal(e.verdict, PC_VERDICT_PASSED);
    pc_execution_release(&e);
    pc_free(text);
}

/* ---- the door ---- */

static void keeps_upstreams_times(void **state)
{
    (void)state;
    need_sandbox();
    struct pc_sandbox *s;
    struct paco_error err = {0};
    assert_int_equal(pc_sandbox_open(NULL, &s, &err), 0);
    static const char *const texts[] = {
        "while 1: pass", "while 1:\n try:\n  while 1:\n   pass\n except:\n  continue", "1"};
    struct pc_program programs[3];
    for (size_t i = 0; i < 3; i++)
        programs[i] = (struct pc_program){texts[i], strlen(texts[i])};
    struct pc_execution done[3];
    assert_int_equal(pc_sandbox_run_all(s, programs, 3, done, &err), 0);
    assert_int_equal(done[0].verdict, PC_VERDICT_TIMED_OUT);
    assert_string_equal(done[0].text, "timed out");
    assert_string_equal(done[0].why, "");
    assert_true(done[0].seconds >= 3.0 && done[0].seconds < 4.0);
    assert_int_equal(done[1].verdict, PC_VERDICT_TIMED_OUT);
    assert_string_equal(done[1].why, "killed after 4 s");
    assert_true(done[1].seconds >= 4.0);
    assert_int_equal(done[2].verdict, PC_VERDICT_PASSED);
    for (int i = 0; i < 3; i++)
        pc_execution_release(&done[i]);
    pc_sandbox_close(s);
}

static void refuses_without_its_parts(void **state)
{
    (void)state;
    struct pc_sandbox *s = NULL;
    struct paco_error err = {0};
    struct pc_sandbox_options options = {.python = "no-such-python"};
    assert_int_equal(pc_sandbox_open(&options, &s, &err), PACO_ENOENT);
    assert_contains(err.message, "no-such-python: there is no such program");
    options = (struct pc_sandbox_options){.python = "true"};
    assert_int_equal(pc_sandbox_open(&options, &s, &err), PACO_EFORMAT);
    assert_contains(err.message, "does not say where it lives");
    options = (struct pc_sandbox_options){.python = "false"};
    assert_int_equal(pc_sandbox_open(&options, &s, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "does not run as Python 3.8 or newer");
    options = (struct pc_sandbox_options){.bwrap = "no-such-bwrap"};
    assert_int_equal(pc_sandbox_open(&options, &s, &err), PACO_ENOENT);
    assert_contains(err.message, "apt install bubblewrap");
    options = (struct pc_sandbox_options){.bwrap = "false"};
    assert_int_equal(pc_sandbox_open(&options, &s, &err), PACO_EUNSUPPORTED);
    assert_null(s);
}

/** A bwrap that isolates nothing must not be believed, nor one that cannot. */
static void refuses_what_does_not_isolate(void **state)
{
    (void)state;
    need_sandbox();
    char path[] = "/tmp/paco-test-bwrap-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char script[] = "#!/bin/sh\n"
                                 "case $1 in --version) echo bubblewrap 0.8.0; exit;;\n"
                                 "--help) echo '--unshare-cgroup-try --size BYTES'; exit;; esac\n"
                                 "echo 'bwrap: No permissions to create new namespace' >&2\nexit 1\n";
    assert_int_equal(write(fd, script, sizeof script - 1), sizeof script - 1);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    struct pc_sandbox *s = NULL;
    struct paco_error err = {0};
    struct pc_sandbox_options options = {.bwrap = path};
    assert_int_equal(pc_sandbox_open(&options, &s, &err), PACO_EUNSUPPORTED);
    assert_null(s);
    assert_contains(err.message, "bwrap: No permissions to create new namespace");
    assert_contains(err.message, "user namespaces");
    unlink(path);
}

static void runs_unsafe_when_told(void **state)
{
    (void)state;
    struct pc_sandbox *s;
    struct paco_error err = {0};
    struct pc_sandbox_options options = {.unsafe = true, .bwrap = "no-such-bwrap", .memory_size = 128 << 20};
    int code = pc_sandbox_open(&options, &s, &err);
    if (code == PACO_ENOENT || code == PACO_EUNSUPPORTED)
        skip_because("%s", err.message);
    assert_int_equal(code, 0);
    assert_contains(pc_sandbox_describe(s), "NO ISOLATION");
    const char *const texts[] = {"open('x', 'w').write('y')\nassert open('x').read() == 'y'",
        "import os\nassert 'PACO_TEST_SECRET' not in os.environ\nraise ValueError('hm')",
        "import os\nos.write(3, b'P')\nos.read(3, 1)",
        "import signal\nsignal.signal(14, signal.SIG_IGN)\nwhile 1: pass",
        "x = []\nwhile 1: x.append(bytearray(1 << 24))"};
    static const char *const expected[] = {
        "passed", "failed: hm", "failed: it claimed", "timed out", "failed: "};
    struct pc_program programs[5];
    struct pc_execution done[5];
    for (size_t i = 0; i < 5; i++)
        programs[i] = (struct pc_program){texts[i], strlen(texts[i])};
    assert_int_equal(pc_sandbox_run_all(s, programs, 5, done, &err), 0);
    for (size_t i = 0; i < 5; i++) {
        assert_memory_equal(done[i].text, expected[i], strlen(expected[i]));
        pc_execution_release(&done[i]);
    }
    pc_sandbox_close(s);
}

struct stopping {
    struct pc_sandbox *sandbox;
    int code;
    struct paco_error err;
};

static void *run_for_long(void *arg)
{
    struct stopping *s = arg;
    struct pc_program programs[5];
    struct pc_execution done[5];
    for (size_t i = 0; i < 5; i++)
        programs[i] = (struct pc_program){"while 1: pass", 13};
    s->code = pc_sandbox_run_all(s->sandbox, programs, 5, done, &s->err);
    for (size_t i = 0; i < 5; i++)
        assert_null(done[i].text);
    return NULL;
}

/** Two run, three wait for their turn. */
static void stops_when_asked(void **state)
{
    (void)state;
    need_sandbox();
    struct stopping s = {0};
    struct paco_error err = {0};
    struct pc_execution e;
    pthread_t thread;
    char alarm_text[16]; // as in open_sandbox
    double alarm_s = 30 + (double)(getpid() % 500) / 1000;
    snprintf(alarm_text, sizeof alarm_text, "%.3f", alarm_s);
    struct pc_sandbox_options options = {.alarm_s = alarm_s, .kill_s = 40, .n_parallel = 2};
    assert_int_equal(pc_sandbox_open(&options, &s.sandbox, &err), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_for_long, &s), 0);
    usleep(300 * 1000);
    double start = pc_seconds();
    pc_sandbox_stop(s.sandbox);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(pc_seconds() - start < 10);
    assert_int_equal(s.code, PACO_ECANCELLED);
    assert_contains(s.err.message, "stopped ");
    assert_int_equal(count_left(alarm_text), 0);
    assert_int_equal(pc_sandbox_run(s.sandbox, "1", 1, &e, &err), PACO_ECANCELLED);
    assert_string_equal(err.message, "stopped before it ran");
    assert_null(e.text);
    pc_sandbox_close(s.sandbox);
}

static void ignore(int signal_number)
{
    (void)signal_number;
}

/** Signals that come all the time, while nothing does. */
static void collects_in_spite_of_signals(void **state)
{
    (void)state;
    static const char *const argv[] = {"/bin/sh", "-c", "echo a; sleep 0.3; echo b", NULL};
    static const char *const endless[] = {"/bin/sh", "-c", "echo a; exec sleep 20", NULL};
    const struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    struct sigaction on = {.sa_handler = ignore}, was;
    struct paco_error err = {0};
    struct pc_buf out;
    int status = -1;
    assert_int_equal(sigaction(SIGALRM, &on, &was), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    pc_buf_init(&out, 100);
    int code = pc_spawn_collect(argv, false, 20, &out, &status, &err);
    double start = pc_seconds();
    struct pc_buf rest;
    pc_buf_init(&rest, 100);
    int late = pc_spawn_collect(endless, false, 0.3, &rest, &status, &err);
    double seconds = pc_seconds() - start;
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &was, NULL);
    assert_int_equal(code, 0);
    assert_string_equal(out.data, "a\nb\n");
    assert_int_equal(late, PACO_EUNSUPPORTED);
    assert_contains(err.message, "/bin/sh did not end within 0.3 s");
    assert_true(seconds < 10);
    pc_buf_release(&out);
    pc_buf_release(&rest);
}

static void survives_lack_of_memory(void **state)
{
    (void)state;
    need_sandbox();
    bool passed = false;
    for (int64_t i = 0; !passed && i < 100; i++) {
        struct paco_error err = {0};
        struct pc_execution e = {0};
        pc_alloc_fail_after(i);
        int code = pc_sandbox_run(all.sandbox, "1", 1, &e, &err);
        pc_alloc_fail_after(-1);
        if (code)
            assert_int_equal(code, PACO_EMEM);
        passed = !code;
        pc_execution_release(&e);
    }
    assert_true(passed);
}

int main(void)
{
    struct CMUnitTest tests[MAX_PROGRAMS + 16];
    struct paco_error err = {0};
    if (pc_dir_list(folder, &all.names, &all.n, &err) || all.n > MAX_PROGRAMS || all.n < 25) {
        print_message("%s: %s\n", folder, err.message);
        return 1;
    }
    open_sandbox();
    size_t n = 0;
    for (; n < (all.sandbox ? all.n : 1); n++) {
        char path[300];
        snprintf(path, sizeof path, "%s/%s", folder, all.names[n]);
        if (pc_file_slurp(path, 1 << 16, &all.texts[n], &err)) {
            print_message("%s: %s\n", path, err.message);
            return 1;
        }
        const char *name =
            all.sandbox ? all.names[n] : "hostile_programs"; /* all skipped, and once is enough to say it */
        tests[n] = (struct CMUnitTest){name, has_its_verdict, NULL, NULL, (void *)(uintptr_t)n};
    }
    const struct CMUnitTest others[] = {
        cmocka_unit_test(nothing_was_harmed),
        cmocka_unit_test(takes_any_source),
        cmocka_unit_test(takes_large_sources),
        cmocka_unit_test(keeps_upstreams_times),
        cmocka_unit_test(refuses_without_its_parts),
        cmocka_unit_test(refuses_what_does_not_isolate),
        cmocka_unit_test(runs_unsafe_when_told),
        cmocka_unit_test(stops_when_asked),
        cmocka_unit_test(collects_in_spite_of_signals),
        cmocka_unit_test(survives_lack_of_memory),
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        tests[n++] = others[i];
    int code = _cmocka_run_group_tests("sandbox", tests, n, run_them, forget_them);
    for (size_t i = 0; i < all.n; i++)
        pc_buf_release(&all.texts[i]);
    pc_names_free(all.names, all.n);
    return code;
}
