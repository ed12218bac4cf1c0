// SPDX-License-Identifier: Apache-2.0
/* One program, from its first statement to its verdict, watched from outside.
 *
 * The interpreter says R when it is ready, and we note where its stack pointer is while it waits for our
 * answer. When the program has run to its end the same function waits at the same place again, having said P.
 * Whatever a program does, it does below exec(), so deeper in the stack: words written to the channel from
 * there are not believed, whoever found the channel and however well it knows them. /proc/PID/syscall is
 * where the kernel says what a process waits in and with which stack pointer; the depth alone can
 * be met again by code that runs while the interpreter shuts down, so the calls on the stack have to be the
 * same as well.
 *
 * The process is known by a pidfd and taken from the credentials that the kernel puts beside its first
 * message: its own idea of its number is of another namespace. */
#include "eval/sandbox_parts.h"

#include "base/file.h"
#include "base/host.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MAX_MESSAGE = 65536 + 1,
    CALLS_FROM = 256, /* bytes above the stack pointer that the last call may use in several ways */
    N_CALLS = 128,    /* words of the stack above them that are compared: up to the interpreter's main */
};
static const double start_limit_s = 30;

static const char *const clean_environment[] = {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=/tmp",
    "OMP_NUM_THREADS=1", "PYTHONHASHSEED=0", "OPENBLAS_MAIN_FREE=1", "GOTOBLAS_MAIN_FREE=1",
    NULL}; /* numpy sets these two if they are not there */

/* ---- what the kernel says of a process ---- */

struct place {
    uint64_t stack_pointer;
    uint64_t calls[N_CALLS]; /* the stack from CALLS_FROM bytes above it */
};

/** One run. */
struct run {
    const struct pc_watch *watch;
    int channel; /* -1, as the next two */
    int pidfd;   /* the interpreter's */
    int initfd;  /* of the process whose end ends its namespace; -1 where there is none */
    pid_t child; /* what we started: bwrap, or the interpreter itself */
    pid_t pid;   /* the interpreter */
    struct place ready;
    double start, end;
    char *message; /* MAX_MESSAGE bytes and a NUL */
    ssize_t len;
    bool stopped; /* nobody wants the verdict any more */
};

/** Whether the memory of pid at address could be read. */
static bool peek(pid_t pid, uint64_t address, void *to, size_t size)
{
    struct iovec here = {to, size};
    struct iovec there = {(void *)(uintptr_t)address, size};
    return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)size;
}

/** Whether pid waits for us: 1, with its stack pointer; 0: not now, or not for us; -1: the kernel does not
 * tell. */
static int is_waiting(pid_t pid, uint64_t *stack_pointer)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    if (len <= 0)
        return -1;
    text[len] = '\0';
    long nr; /* then six arguments, the stack pointer, the program counter; or "running" */
    unsigned long long channel, ignored, sp;
    if (sscanf(text, "%ld %llx %llx %llx %llx %llx %llx %llx", &nr, &channel, &ignored, &ignored, &ignored,
            &ignored, &ignored, &sp) != 8)
        return 0;
    *stack_pointer = sp;
    return nr == SYS_read && channel == PC_SANDBOX_CHANNEL;
}

/** The same, once it does, which is at once after its message, or at the end of time. */
static int await(const struct run *r, double end, uint64_t *stack_pointer)
{
    struct pollfd gone = {.fd = r->pidfd, .events = POLLIN};
    for (unsigned pause_us = 20;; pause_us = pause_us < 2000 ? 2 * pause_us : 2000) {
        int waits = is_waiting(r->pid, stack_pointer);
        if (waits || pc_seconds() > end || poll(&gone, 1, 0) > 0)
            return waits;
        usleep(pause_us);
    }
}

static int note_place(struct run *r, struct paco_error *err)
{
    struct place *p = &r->ready;
    if (await(r, pc_seconds() + start_limit_s, &p->stack_pointer) == 1 &&
        peek(r->pid, p->stack_pointer + CALLS_FROM, p->calls, sizeof p->calls))
        return 0;
    return pc_error_set(err, PACO_EUNSUPPORTED,
        "/proc/%d/syscall does not say where Python waits (is kernel.yama.ptrace_scope 3, or /proc "
        "restricted?)",
        (int)r->pid);
}

/** Whether it waits where it waited before. The same call takes a little more or less stack once a process
 * has had threads; a call from inside the program takes 700 bytes more at the least (tried out by
 * pc_sandbox_open). A few words of frames that live on may have changed; other calls change nearly all. */
static bool is_at_its_end(const struct run *r)
{
    struct place now;
    if (await(r, r->end, &now.stack_pointer) != 1)
        return false;
    uint64_t was = r->ready.stack_pointer;
    if (now.stack_pointer + CALLS_FROM < was || now.stack_pointer > was + CALLS_FROM ||
        !peek(r->pid, was + CALLS_FROM, now.calls, sizeof now.calls))
        return false;
    int n_same = 0;
    for (int i = 0; i < N_CALLS; i++)
        n_same += now.calls[i] == r->ready.calls[i];
    return n_same >= N_CALLS * 3 / 4;
}

/* ---- one run ---- */

static int make_program(const char *program, size_t len, int *fd, struct paco_error *err)
{
    int made = memfd_create("program", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (made < 0)
        return pc_error_os(err, errno, "cannot make a memory file");
    int code = pc_fd_write(made, "memory file", 0, program, len, err);
    if (!code && fcntl(made, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        code = pc_error_os(err, errno, "cannot seal a memory file");
    if (code)
        close(made);
    else
        *fd = made;
    return code;
}

/** The same memory file with a position of its own: bwrap reads from where the last one stopped. */
static int reopen(int fd, int *own, struct paco_error *err)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    *own = open(path, O_RDONLY | O_CLOEXEC);
    return *own < 0 ? pc_error_os(err, errno, "cannot read the filter of system calls") : 0;
}

/** Wait for a message: its length in r->len, 0 at the end of the channel, -1 when time is up or it is to
 * stop. */
static void receive(struct run *r, double end, struct msghdr *header)
{
    struct pollfd p[] = {{.fd = r->channel, .events = POLLIN}, {.fd = r->watch->stop_fd, .events = POLLIN}};
    r->len = -1;
    do {
        if (poll(p, 2, pc_left_ms(end)) <= 0)
            continue;
        r->stopped = p[1].revents != 0;
        if (r->stopped)
            return;
        struct iovec to = {r->message, MAX_MESSAGE};
        header->msg_iov = &to;
        header->msg_iovlen = 1;
        r->len = recvmsg(r->channel, header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (r->len < 0 && errno != EAGAIN && errno != EINTR)
            r->len = 0;
    } while (r->len < 0 && pc_left_ms(end));
    if (r->len >= 0)
        r->message[r->len] = '\0';
}

static int say_stopped(struct paco_error *err)
{
    return pc_error_set(err, PACO_ECANCELLED, "stopped while it ran");
}

/** The first message, and from whom it is. */
static int receive_ready(struct run *r, struct paco_error *err)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct msghdr header = {.msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    receive(r, pc_seconds() + start_limit_s, &header);
    if (r->stopped)
        return say_stopped(err);
    if (r->len < 0)
        return pc_error_set(err, PACO_EUNSUPPORTED, "Python did not start within %g s", start_limit_s);
    const struct cmsghdr *c = r->len == 1 && r->message[0] == 'R' ? CMSG_FIRSTHDR(&header) : NULL;
    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
        return pc_error_set(err, PACO_EUNSUPPORTED, "Python did not start");
    struct ucred from;
    memcpy(&from, CMSG_DATA(c), sizeof from);
    r->pid = from.pid;
    r->pidfd = (int)syscall(SYS_pidfd_open, from.pid, 0);
    if (r->pidfd < 0)
        return pc_error_os(err, errno, "cannot watch process %d", (int)from.pid);
    return 0;
}

/** Its parent is bwrap's, the first of the namespace. */
static int find_init(struct run *r, struct paco_error *err)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)r->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[len > 0 ? len : 0] = '\0';
    const char *name_end = strrchr(text, ')');
    int parent = 0;
    if (name_end && sscanf(name_end, ") %*c %d", &parent) == 1)
        r->initfd = (int)syscall(SYS_pidfd_open, parent, 0);
    return r->initfd < 0 ? pc_error_os(err, errno, "cannot watch the parent of process %d", (int)r->pid) : 0;
}

static int set_limits(const struct run *r, struct paco_error *err)
{
    const struct pc_sandbox_settings *s = r->watch->settings;
    const rlim_t cpu = (rlim_t)ceil(s->kill_s) + 1;
    const struct {
        int what;
        rlim_t most;
    } limits[] = {{RLIMIT_AS, s->memory_size}, {RLIMIT_FSIZE, s->disk_size}, {RLIMIT_NOFILE, 64},
        {RLIMIT_CORE, 0}, {RLIMIT_MEMLOCK, 0}, {RLIMIT_MSGQUEUE, 0}, {RLIMIT_STACK, 8 << 20},
        {RLIMIT_CPU, cpu}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit now;
        if (prlimit(r->pid, limits[i].what, NULL, &now) == 0 && now.rlim_max <= limits[i].most)
            continue;
        const struct rlimit most = {limits[i].most, limits[i].most};
        if (prlimit(r->pid, limits[i].what, &most, NULL) < 0)
            return pc_error_os(err, errno, "cannot limit what a program may use");
    }
    /* When memory runs out it is not the evaluation that should go. */
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)r->pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t written = write(fd, "1000", 4);
        (void)written;
        close(fd);
    }
    return 0;
}

static int start(struct run *r, const char *program, size_t len, const char *dir, struct paco_error *err)
{
    int ends[2], program_fd = -1, filter_fd = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return pc_error_os(err, errno, "cannot make a channel");
    r->channel = ends[0];
    const int on = 1;
    int code = setsockopt(r->channel, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0
                   ? pc_error_os(err, errno, "cannot make a channel")
                   : make_program(program, len, &program_fd, err);
    if (!code && r->watch->filter_fd >= 0)
        code = reopen(r->watch->filter_fd, &filter_fd, err);
    struct pc_descriptors d = {
        r->watch->null_fd, r->watch->null_fd, r->watch->stderr_fd, ends[1], program_fd, filter_fd, dir};
    if (!code)
        code = pc_spawn(&d, r->watch->argv, clean_environment, &r->child, err);
    close(ends[1]);
    if (program_fd >= 0)
        close(program_fd);
    if (filter_fd >= 0)
        close(filter_fd);
    if (!code)
        code = receive_ready(r, err);
    if (!code && r->watch->settings->isolation != PC_ISOLATION_NONE)
        code = find_init(r, err);
    if (!code)
        code = set_limits(r, err);
    if (!code)
        code = note_place(r, err);
    return code;
}

/** End what is left of it. No process of the run is there when this returns, but for those that left the
 * session when there was no isolation. Returns how the child ended. */
static int stop(struct run *r)
{
    if (r->pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, r->pidfd, SIGKILL, NULL, 0);
        close(r->pidfd);
    }
    if (r->channel >= 0)
        close(r->channel);
    if (r->child && (r->initfd < 0 || r->pidfd < 0))
        kill(-r->child, SIGKILL);
    int status = r->child ? pc_wait_for(r->child) : 0;
    if (r->initfd >= 0) { /* bwrap leaves when the program has; the namespace may take a moment longer */
        syscall(SYS_pidfd_send_signal, r->initfd, SIGKILL, NULL, 0);
        poll(&(struct pollfd){.fd = r->initfd, .events = POLLIN}, 1, 10000);
        close(r->initfd);
    }
    return status;
}

static int say(
    struct pc_execution *out, enum pc_verdict verdict, const char *text, size_t len, struct paco_error *err)
{
    struct pc_buf b;
    pc_buf_init(&b, 4 * (size_t)MAX_MESSAGE + 64);
    if (verdict != PC_VERDICT_FAILED)
        pc_buf_puts(&b, verdict == PC_VERDICT_PASSED ? "passed" : "timed out");
    else {
        pc_buf_puts(&b, "failed: ");
        len -= pc_utf8_incomplete_tail((const uint8_t *)text, len);
        for (size_t i = 0, bad; i < len; i += bad) {
            if (pc_utf8_valid((const uint8_t *)text + i, len - i, &bad))
                bad = len - i;
            pc_buf_add(&b, text + i, bad);
            if (i + bad < len) {
                pc_buf_puts(&b, "\xef\xbf\xbd");
                bad += pc_utf8_broken((const uint8_t *)text + i + bad, len - i - bad);
            }
        }
    }
    out->verdict = verdict;
    out->text_len = b.len;
    out->text = pc_buf_detach(&b);
    return out->text ? 0 : pc_error_mem(err, len, "a verdict");
}

/** It ended without a word: upstream waits on and calls that a time-out. */
static int say_gone(struct pc_execution *out, struct paco_error *err)
{
    int code = say(out, PC_VERDICT_TIMED_OUT, "", 0, err);
    out->verdict = PC_VERDICT_FAILED;
    return code;
}

static int judge(struct run *r, struct pc_execution *out, struct paco_error *err)
{
    static const char forged[] = "it claimed to have passed before it had ended";
    switch (r->len > 0 ? r->message[0] : r->len) {
    case -1:
        snprintf(out->why, sizeof out->why, "killed after %g s", r->watch->settings->kill_s);
        return say(out, PC_VERDICT_TIMED_OUT, "", 0, err);
    case 'A': return say(out, PC_VERDICT_TIMED_OUT, "", 0, err);
    case 'P':
        if (is_at_its_end(r))
            return say(out, PC_VERDICT_PASSED, "", 0, err);
        snprintf(out->why, sizeof out->why, "%s", forged);
        return say(out, PC_VERDICT_FAILED, forged, strlen(forged), err);
    case 'F': return say(out, PC_VERDICT_FAILED, r->message + 1, (size_t)r->len - 1, err);
    case 'T': {
        char text[128], clean[128];
        snprintf(text, sizeof text, "%.*s", 100, r->message + 1);
        snprintf(out->why, sizeof out->why, "it reached for %s", pc_printable(text, clean, sizeof clean));
        return say(out, PC_VERDICT_FAILED, out->why, strlen(out->why), err);
    }
    case 0: return say_gone(out, err);
    default:
        snprintf(out->why, sizeof out->why, "it wrote to the channel of its verdict");
        return say(out, PC_VERDICT_FAILED, out->why, strlen(out->why), err);
    }
}

static void say_how(int status, char *why, size_t size)
{
    /* bwrap passes a signal on as a shell does. */
    int number = WIFSIGNALED(status)         ? WTERMSIG(status)
                 : WEXITSTATUS(status) > 128 ? WEXITSTATUS(status) - 128
                                             : 0;
    if (number)
        snprintf(why, size, "killed by signal %d", number);
    else
        snprintf(why, size, "exited with status %d before its end", WEXITSTATUS(status));
}

static int run_in(const struct pc_watch *watch, const char *dir, const char *program, size_t len,
    struct pc_execution *out, struct paco_error *err)
{
    struct run r = {
        .watch = watch, .channel = -1, .pidfd = -1, .initfd = -1, .message = pc_alloc(MAX_MESSAGE + 1, 1)};
    if (!r.message)
        return pc_error_mem(err, MAX_MESSAGE, "a verdict");
    int code = start(&r, program, len, dir, err);
    if (!code) {
        struct msghdr header = {0};
        r.start = pc_seconds();
        r.end = r.start + watch->settings->kill_s;
        if (send(r.channel, "g", 1, MSG_NOSIGNAL) == 1)
            receive(&r, r.end, &header);
        code = r.stopped ? say_stopped(err) : judge(&r, out, err);
        out->seconds = pc_seconds() - r.start;
    }
    bool gone = !code && r.len == 0;
    if (gone) /* let it end by itself: how it did is what there is to say */
        poll((struct pollfd[]){{.fd = r.pidfd, .events = POLLIN}, {.fd = watch->stop_fd, .events = POLLIN}},
            2, pc_left_ms(r.end));
    int status = stop(&r);
    if (gone)
        say_how(status, out->why, sizeof out->why);
    pc_free(r.message);
    return code;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    remove(path);
    return 0;
}

int pc_watch_run(const struct pc_watch *watch, const char *program, size_t len, struct pc_execution *out,
    struct paco_error *err)
{
    *out = (struct pc_execution){0};
    if (watch->settings->isolation != PC_ISOLATION_NONE) /* its folder is inside */
        return run_in(watch, NULL, program, len, out, err);
    char dir[4096];
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/paco-program-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir))
        return pc_error_os(err, errno, "cannot make a folder for a program");
    int code = run_in(watch, dir, program, len, out, err);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return code;
}
