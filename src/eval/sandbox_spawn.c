// SPDX-License-Identifier: Apache-2.0
/* Starting other programs, whatever this process has open, blocked or ignored.
 *
 * posix_spawn and not fork: a process that holds a model and a pool of threads is not copied, even for a
 * moment. */
#include "eval/sandbox_parts.h"

#include "base/host.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void give(posix_spawn_file_actions_t *a, int fd, int as, bool *failed)
{
    if (fd >= 0)
        *failed |= posix_spawn_file_actions_adddup2(a, fd, as) != 0;
}

/** pc_spawn with descriptors that lie above those they become. Returns an errno. */
static int spawn_with(
    const struct pc_descriptors *d, const char *const *argv, const char *const *env, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (posix_spawn_file_actions_init(&actions))
        return ENOMEM;
    if (posix_spawnattr_init(&attributes)) {
        posix_spawn_file_actions_destroy(&actions);
        return ENOMEM;
    }
    bool failed = false;
    give(&actions, d->std_in, 0, &failed);
    give(&actions, d->std_out, 1, &failed);
    give(&actions, d->std_err, 2, &failed);
    give(&actions, d->channel, PC_SANDBOX_CHANNEL, &failed);
    give(&actions, d->program, PC_SANDBOX_PROGRAM, &failed);
    give(&actions, d->filter, PC_SANDBOX_FILTER, &failed);
    int first = d->filter >= 0 ? PC_SANDBOX_FILTER + 1 : d->channel >= 0 ? PC_SANDBOX_PROGRAM + 1 : 3;
    failed |= posix_spawn_file_actions_addclosefrom_np(&actions, first) != 0;
    if (d->dir)
        failed |= posix_spawn_file_actions_addchdir_np(&actions, d->dir) != 0;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    int code =
        failed ? ENOMEM
               : posix_spawn(pid, argv[0], &actions, &attributes, (char *const *)argv, (char *const *)env);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

/** A copy of fd, closed on exec, that is none of those a child is given: dup2 in the child must not overwrite
 * one that is still to be copied. */
static int lift(int fd)
{
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 16);
}

int pc_spawn(const struct pc_descriptors *d, const char *const *argv, const char *const *env, pid_t *pid,
    struct paco_error *err)
{
    struct pc_descriptors high = {lift(d->std_in), lift(d->std_out), lift(d->std_err), lift(d->channel),
        lift(d->program), lift(d->filter), d->dir};
    int *fds[] = {&high.std_in, &high.std_out, &high.std_err, &high.channel, &high.program, &high.filter};
    const int from[] = {d->std_in, d->std_out, d->std_err, d->channel, d->program, d->filter};
    int code = 0;
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (from[i] >= 0 && *fds[i] < 0)
            code = errno;
    if (!code)
        code = spawn_with(&high, argv, env, pid);
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (*fds[i] >= 0)
            close(*fds[i]);
    return code ? pc_error_os(err, code, "cannot start %s", argv[0]) : 0;
}

int pc_wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

int pc_left_ms(double end)
{
    double left = (end - pc_seconds()) * 1000;
    return left <= 0 ? 0 : left > 1e6 ? 1000000 : (int)ceil(left);
}

/** What comes from fd, to its end: true; false when time is up or out is full. */
static bool collect(int fd, double end, struct pc_buf *out)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char part[4096];
    while (!out->failed && pc_left_ms(end)) {
        if (poll(&p, 1, pc_left_ms(end)) <= 0) // interrupted, or time is up; revents is the last one's
            continue;
        ssize_t got = read(fd, part, sizeof part);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return true;
        pc_buf_add(out, part, (size_t)got);
    }
    return false;
}

int pc_spawn_collect(const char *const *argv, bool with_stderr, double limit_s, struct pc_buf *out,
    int *status, struct paco_error *err)
{
    int ends[2];
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || pipe2(ends, O_CLOEXEC) < 0) {
        int e = errno;
        if (null_fd >= 0)
            close(null_fd);
        return pc_error_os(err, e, "cannot start %s", argv[0]);
    }
    struct pc_descriptors d = {null_fd, ends[1], with_stderr ? ends[1] : null_fd, -1, -1, -1, NULL};
    pid_t pid;
    int code = pc_spawn(&d, argv, (const char *const *)environ, &pid, err);
    close(null_fd);
    close(ends[1]);
    if (code) {
        close(ends[0]);
        return code;
    }
    bool whole = collect(ends[0], pc_seconds() + limit_s, out);
    close(ends[0]);
    if (!whole)
        kill(-pid, SIGKILL);
    *status = pc_wait_for(pid);
    if (!whole && !out->failed)
        return pc_error_set(err, PACO_EUNSUPPORTED, "%s did not end within %g s", argv[0], limit_s);
    pc_buf_putc(out, '\0');
    return pc_buf_check(out, argv[0], err);
}
