// SPDX-License-Identifier: Apache-2.0
#include "eval/sandbox.h"

#include "eval/sandbox_parts.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "base/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_PARALLEL = 256 };

struct pc_sandbox {
    struct pc_interpreter interpreter;
    struct pc_sandbox_settings settings;
    struct pc_argv argv;
    struct pc_watch watch;
    char *bwrap;
    char line[128];
    int n_parallel, n_running;
    bool stopped;
    pthread_mutex_t lock;
    pthread_cond_t one_less;
};

/* ---- opening ---- */

/** What is tried out before anything is believed. */
struct trial {
    const char *program;
    enum pc_verdict verdict;
    const char *text;
};

static const struct trial trials[] = {
    {"assert sorted([2, 1]) == [1, 2]\n", PC_VERDICT_PASSED, "passed"},
    {"raise ValueError('as it should')\n", PC_VERDICT_FAILED, "failed: as it should"},
    {"import os\nos.write(3, b'P')\nos.read(3, 1)\n", PC_VERDICT_FAILED, "failed: it claimed to have passed"},
};

static int try_out(struct pc_sandbox *s, struct paco_error *err)
{
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        struct pc_execution done;
        int code = pc_watch_run(&s->watch, trials[i].program, strlen(trials[i].program), &done, err);
        if (!code && (done.verdict != trials[i].verdict ||
                         strncmp(done.text, trials[i].text, strlen(trials[i].text)) != 0))
            code = pc_error_set(err, PACO_EUNSUPPORTED,
                "trial %zu of Python %s gave '%.60s'%s%.80s where '%s' was expected", i + 1,
                s->interpreter.version, done.text, *done.why ? ": " : "", done.why, trials[i].text);
        pc_execution_release(&done);
        if (code)
            return code;
    }
    return 0;
}

static int make_command(struct pc_sandbox *s, enum pc_isolation isolation, struct paco_error *err)
{
    pc_argv_release(&s->argv);
    s->settings.isolation = isolation;
    pc_sandbox_command(&s->settings, &s->argv);
    s->watch.argv = (const char *const *)s->argv.args;
    return s->argv.failed ? pc_error_mem(err, sizeof(char *), "a command line") : 0;
}

/** Try out one way; what bwrap complains of comes into words (NUL-terminated). */
static int try_way(struct pc_sandbox *s, enum pc_isolation isolation, char words[200], struct paco_error *err)
{
    *words = '\0';
    int code = make_command(s, isolation, err);
    if (code)
        return code;
    int fd = memfd_create("words", MFD_CLOEXEC);
    if (fd < 0)
        return pc_error_os(err, errno, "cannot make a memory file");
    s->watch.stderr_fd = fd;
    code = try_out(s, err);
    s->watch.stderr_fd = s->watch.null_fd;
    ssize_t len = pread(fd, words, 199, 0);
    words[len > 0 ? len : 0] = '\0';
    words[strcspn(words, "\n")] = '\0';
    close(fd);
    return code;
}

static int refuse(const char *words, const struct paco_error *why, struct paco_error *err)
{
    char clean[200];
    return pc_error_set(err, PACO_EUNSUPPORTED,
        "programs cannot be isolated on this machine: %s. bubblewrap needs user namespaces (sysctl "
        "user.max_user_namespaces, "
        "kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0) or root's right "
        "to mount; "
        "in a container, allow it those",
        *words ? pc_printable(words, clean, sizeof clean) : why->message);
}

static int shut_in(struct pc_sandbox *s, const char *bwrap, struct paco_error *err)
{
    s->bwrap = pc_find_program(bwrap);
    if (!s->bwrap)
        return pc_error_set(err, PACO_ENOENT,
            "%s: there is no such program: it isolates the programs that are tested (Debian, Ubuntu: apt "
            "install "
            "bubblewrap)",
            bwrap);
    s->settings.bwrap = s->bwrap;
    char version[32], words[200];
    struct paco_error why = {0};
    int code = pc_bwrap_ask(s->bwrap, version, &s->settings.has_size, err);
    if (!code)
        code = pc_sandbox_filter(&s->watch.filter_fd, err);
    if (code)
        return code;
    code = try_way(s, PC_ISOLATION_USER_NAMESPACE, words, &why);
    if (code && geteuid() == 0) {
        struct paco_error again = {0};
        char other[200];
        code = try_way(s, PC_ISOLATION_ROOT, other, &again);
    }
    if (code)
        return refuse(words, &why, err);
    snprintf(s->line, sizeof s->line, "bubblewrap %s%s, seccomp, Python %s", version,
        s->settings.isolation == PC_ISOLATION_ROOT ? " as root" : "", s->interpreter.version);
    return 0;
}

static int open_all(struct pc_sandbox *s, const struct pc_sandbox_options *o, struct paco_error *err)
{
    s->settings =
        (struct pc_sandbox_settings){.memory_size = o->memory_size ? o->memory_size : UINT64_C(1) << 30,
            .disk_size = o->disk_size ? o->disk_size : 16 << 20,
            .alarm_s = o->alarm_s > 0 ? o->alarm_s : 3.0,
            .kill_s = o->kill_s > 0 ? o->kill_s : 4.0,
            .interpreter = &s->interpreter};
    s->watch.settings = &s->settings;
    s->n_parallel = o->n_parallel > 0 ? o->n_parallel : pc_cpu_count();
    if (s->n_parallel > MAX_PARALLEL)
        s->n_parallel = MAX_PARALLEL;
    s->watch.null_fd = s->watch.stderr_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (s->watch.null_fd < 0)
        return pc_error_os(err, errno, "/dev/null");
    s->watch.stop_fd = eventfd(0, EFD_CLOEXEC);
    if (s->watch.stop_fd < 0)
        return pc_error_os(err, errno, "cannot make an event");
    int code = pc_interpreter_find(o->python ? o->python : "python3", &s->interpreter, err);
    if (code)
        return code;
    if (!o->unsafe)
        return shut_in(s, o->bwrap ? o->bwrap : "bwrap", err);
    snprintf(s->line, sizeof s->line, "NO ISOLATION, Python %s", s->interpreter.version);
    code = make_command(s, PC_ISOLATION_NONE, err);
    return code ? code : try_out(s, err);
}

int pc_sandbox_open(const struct pc_sandbox_options *options, struct pc_sandbox **out, struct paco_error *err)
{
    static const struct pc_sandbox_options usual;
    struct pc_sandbox *s = pc_alloc_zero(1, sizeof *s);
    if (!s)
        return pc_error_mem(err, sizeof *s, "the sandbox");
    s->watch.null_fd = s->watch.filter_fd = s->watch.stop_fd = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->one_less, NULL);
    int code = open_all(s, options ? options : &usual, err);
    if (code)
        pc_sandbox_close(s);
    else
        *out = s;
    return code;
}

void pc_sandbox_close(struct pc_sandbox *s)
{
    if (!s)
        return;
    if (s->watch.null_fd >= 0)
        close(s->watch.null_fd);
    if (s->watch.filter_fd >= 0)
        close(s->watch.filter_fd);
    if (s->watch.stop_fd >= 0)
        close(s->watch.stop_fd);
    pthread_cond_destroy(&s->one_less);
    pthread_mutex_destroy(&s->lock);
    pc_argv_release(&s->argv);
    pc_interpreter_release(&s->interpreter);
    pc_free(s->bwrap);
    pc_free(s);
}

const char *pc_sandbox_describe(const struct pc_sandbox *sandbox)
{
    return sandbox->line;
}

const char *pc_sandbox_python(const struct pc_sandbox *sandbox)
{
    return sandbox->interpreter.version;
}

/* ---- running ---- */

void pc_sandbox_stop(struct pc_sandbox *s)
{
    const uint64_t one = 1;
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    ssize_t written = write(s->watch.stop_fd, &one, sizeof one); // it fails when it is full of others
    (void)written;
    pthread_cond_broadcast(&s->one_less);
    pthread_mutex_unlock(&s->lock);
}

/** Wait for a place to run in; false: there will be none. */
static bool enter(struct pc_sandbox *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->n_running == s->n_parallel && !s->stopped)
        pthread_cond_wait(&s->one_less, &s->lock);
    bool entered = !s->stopped;
    s->n_running += entered;
    pthread_mutex_unlock(&s->lock);
    return entered;
}

int pc_sandbox_run(
    struct pc_sandbox *s, const char *program, size_t len, struct pc_execution *out, struct paco_error *err)
{
    *out = (struct pc_execution){0};
    if (!enter(s))
        return pc_error_set(err, PACO_ECANCELLED, "stopped before it ran");
    int code = pc_watch_run(&s->watch, program, len, out, err);
    if (code)
        pc_execution_release(out);
    pthread_mutex_lock(&s->lock);
    s->n_running--;
    pthread_cond_signal(&s->one_less);
    pthread_mutex_unlock(&s->lock);
    return code;
}

struct many {
    struct pc_sandbox *sandbox;
    const struct pc_program *programs;
    struct pc_execution *out;
    pthread_mutex_t lock;
    struct paco_error err; /* the first */
    int code;
};

static void run_one(void *arg, int64_t i, int i_worker)
{
    struct many *m = arg;
    (void)i_worker;
    struct paco_error err = {0};
    pthread_mutex_lock(&m->lock);
    int code = m->code;
    pthread_mutex_unlock(&m->lock);
    if (code) /* nobody will look at it */
        return;
    code = pc_sandbox_run(m->sandbox, m->programs[i].text, m->programs[i].len, &m->out[i], &err);
    if (!code)
        return;
    pthread_mutex_lock(&m->lock);
    if (!m->code)
        m->code = code, m->err = err;
    pthread_mutex_unlock(&m->lock);
}

int pc_sandbox_run_all(struct pc_sandbox *s, const struct pc_program *programs, size_t n,
    struct pc_execution *out, struct paco_error *err)
{
    memset(out, 0, n * sizeof *out);
    if (!n)
        return 0;
    struct pc_pool *pool = pc_pool_new(n < (size_t)s->n_parallel ? (int)n : s->n_parallel, err);
    if (!pool)
        return err ? err->code : PACO_EMEM;
    struct many m = {.sandbox = s, .programs = programs, .out = out};
    pthread_mutex_init(&m.lock, NULL);
    pc_pool_run(pool, (int64_t)n, run_one, &m);
    pthread_mutex_destroy(&m.lock);
    pc_pool_free(pool);
    if (m.code) {
        for (size_t i = 0; i < n; i++)
            pc_execution_release(&out[i]);
        if (err)
            *err = m.err;
    }
    return m.code;
}

void pc_execution_release(struct pc_execution *execution)
{
    pc_free(execution->text);
    *execution = (struct pc_execution){0};
}
