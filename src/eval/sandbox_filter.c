// SPDX-License-Identifier: Apache-2.0
/* System calls a tested program may make, as the program for the kernel's filter that bwrap loads.
 *
 * A list of what is allowed: what an interpreter, its threads, files, pipes and event loops need. What is not
 * on it answers EPERM, so that a program meets an exception rather than a crash; a foreign architecture's
 * calls kill. Four calls are looked into: new threads but no new processes, socket pairs but no sockets, the
 * questions of ioctl, and no small thread stacks, since every thread then counts for much of the bounded
 * address space: RLIMIT_NPROC does not bind root, and control groups cannot be had everywhere.
 *
 * The filter is a straight line of comparisons; the kernel keeps the answers that hang on the number alone.
 * libseccomp would write the same from the same list: that is not worth a dependency of everybody who builds
 * paco. */
#include "eval/sandbox_parts.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define OWN_ARCH AUDIT_ARCH_RISCV64
#endif

#ifdef OWN_ARCH

static const int allowed[] = {
    /* files */
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_lseek,
    SYS_openat,
    SYS_close,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_faccessat,
    SYS_getdents64,
    SYS_getcwd,
    SYS_chdir,
    SYS_fchdir,
    SYS_fcntl,
    SYS_flock,
    SYS_fsync,
    SYS_fdatasync,
    SYS_truncate,
    SYS_ftruncate,
    SYS_renameat2,
    SYS_mkdirat,
    SYS_unlinkat,
    SYS_linkat,
    SYS_symlinkat,
    SYS_readlinkat,
    SYS_umask,
    SYS_statfs,
    SYS_fstatfs,
    SYS_dup,
    SYS_dup3,
    SYS_pipe2,
    SYS_sendfile,
    SYS_copy_file_range,
    SYS_fadvise64,
    SYS_fallocate,
    /* memory */
    SYS_brk,
    SYS_munmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_madvise,
    SYS_msync,
    /* threads, and this one process: there is no other */
    SYS_futex,
    SYS_exit,
    SYS_exit_group,
    SYS_set_tid_address,
    SYS_set_robust_list,
    SYS_get_robust_list,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_getpriority,
    SYS_getpid,
    SYS_gettid,
    SYS_getppid,
    SYS_getpgid,
    SYS_getsid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getresuid,
    SYS_getresgid,
    SYS_getgroups,
    SYS_kill,
    SYS_tkill,
    SYS_tgkill,
    SYS_wait4,
    SYS_waitid,
    SYS_execve,
    SYS_membarrier,
    SYS_getcpu,
    SYS_restart_syscall,
    /* signals, time, limits */
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigpending,
    SYS_rt_sigsuspend,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_getitimer,
    SYS_setitimer,
    SYS_nanosleep,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_gettimeofday,
    SYS_times,
    SYS_getrusage,
    SYS_prlimit64,
    SYS_sysinfo,
    SYS_uname,
    SYS_getrandom,
    /* event loops, and pairs of sockets */
    SYS_ppoll,
    SYS_pselect6,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_eventfd2,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_timerfd_gettime,
    SYS_signalfd4,
    SYS_sendto,
    SYS_recvfrom,
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_shutdown,
    SYS_getsockopt,
    SYS_setsockopt,
    SYS_getsockname,
    SYS_getpeername,
/* what only older architectures have, and what only newer systems name */
#ifdef SYS_open
    SYS_open,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_creat,
    SYS_getdents,
    SYS_rename,
    SYS_mkdir,
    SYS_rmdir,
    SYS_unlink,
    SYS_link,
    SYS_symlink,
    SYS_readlink,
    SYS_dup2,
    SYS_pipe,
    SYS_poll,
    SYS_select,
    SYS_epoll_create,
    SYS_epoll_wait,
    SYS_eventfd,
    SYS_getpgrp,
    SYS_alarm,
    SYS_pause,
    SYS_time,
#endif
#ifdef SYS_renameat
    SYS_renameat,
#endif
#ifdef SYS_getrlimit
    SYS_getrlimit,
    SYS_setrlimit,
#endif
#ifdef SYS_arch_prctl
    SYS_arch_prctl,
#endif
#ifdef SYS_rseq
    SYS_rseq,
#endif
#ifdef SYS_faccessat2
    SYS_faccessat2,
#endif
#ifdef SYS_close_range
    SYS_close_range,
#endif
#ifdef SYS_epoll_pwait2
    SYS_epoll_pwait2,
#endif
};

enum { MAX_CODE = 1024, SMALLEST_STACK = 2 << 20 };

/** Commands of ioctl that open() and isatty() use: everything else answers ENOTTY. */
static const uint32_t questions[] = {0x5401 /* TCGETS */, 0x5413 /* TIOCGWINSZ */, 0x541b /* FIONREAD */,
    0x5421 /* FIONBIO */, 0x5450 /* FIONCLEX */, 0x5451 /* FIOCLEX */};

struct code {
    struct sock_filter at[MAX_CODE];
    size_t n;
};

static void add(struct code *c, uint16_t op, uint32_t k, uint8_t yes, uint8_t no)
{
    if (c->n < MAX_CODE)
        c->at[c->n++] = (struct sock_filter){op, yes, no, k};
}

static void load(struct code *c, size_t offset)
{
    add(c, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/** The low or high half of argument i, which has 64 bits, the filter's words 32. All these processors are
 * little endian. */
static void load_argument(struct code *c, int i, bool high)
{
    load(c, offsetof(struct seccomp_data, args) + 8 * (size_t)i + (high ? 4 : 0));
}

static void answer(struct code *c, uint32_t action)
{
    add(c, BPF_RET | BPF_K, action, 0, 0);
}

static uint32_t refuse(int error)
{
    return SECCOMP_RET_ERRNO | (uint32_t)error;
}

/** Begin the treatment of call nr; the number is in the accumulator. Returns what end_case wants. */
static size_t begin_case(struct code *c, int nr)
{
    add(c, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 0);
    return c->n - 1;
}

static void end_case(struct code *c, size_t begin)
{
    if (c->n < MAX_CODE)
        c->at[begin].jf = (uint8_t)(c->n - begin - 1);
}

/** A thread shares memory, files and signals; anything less is a process. clone3 hides its flags behind a
 * pointer: libraries fall back to clone when it is unknown. */
static void add_threads(struct code *c)
{
    const uint32_t thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
    size_t begin = begin_case(c, SYS_clone);
    load_argument(c, 0, false);
    add(c, BPF_ALU | BPF_AND | BPF_K, thread, 0, 0);
    add(c, BPF_JMP | BPF_JEQ | BPF_K, thread, 0, 1);
    answer(c, SECCOMP_RET_ALLOW);
    answer(c, refuse(EPERM));
    end_case(c, begin);
#ifdef SYS_clone3
    begin = begin_case(c, SYS_clone3);
    answer(c, refuse(ENOSYS));
    end_case(c, begin);
#endif
}

static void add_mmap(struct code *c)
{
    size_t begin = begin_case(c, SYS_mmap);
    load_argument(c, 3, false);
    add(c, BPF_JMP | BPF_JSET | BPF_K, MAP_STACK, 0, 5);
    load_argument(c, 1, true);
    add(c, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3);
    load_argument(c, 1, false);
    add(c, BPF_JMP | BPF_JGE | BPF_K, SMALLEST_STACK, 1, 0);
    answer(c, refuse(ENOMEM));
    answer(c, SECCOMP_RET_ALLOW);
    end_case(c, begin);
}

static void add_sockets(struct code *c)
{
    size_t begin = begin_case(c, SYS_socketpair);
    load_argument(c, 0, false);
    add(c, BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 1);
    answer(c, SECCOMP_RET_ALLOW);
    answer(c, refuse(EPERM));
    end_case(c, begin);
}

static void add_ioctl(struct code *c)
{
    size_t begin = begin_case(c, SYS_ioctl);
    load_argument(c, 1, false);
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        add(c, BPF_JMP | BPF_JEQ | BPF_K, questions[i], 0, 1);
        answer(c, SECCOMP_RET_ALLOW);
    }
    answer(c, refuse(ENOTTY));
    end_case(c, begin);
}

static void write_code(struct code *c)
{
    load(c, offsetof(struct seccomp_data, arch));
    add(c, BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0);
    answer(c, SECCOMP_RET_KILL_PROCESS);
    load(c, offsetof(struct seccomp_data, nr));
#ifdef __x86_64__
    add(c, BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0,
        1); /* x32's calls have other numbers for the same things */
    answer(c, SECCOMP_RET_KILL_PROCESS);
#endif
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        add(c, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], 0, 1);
        answer(c, SECCOMP_RET_ALLOW);
    }
    add_mmap(c);
    add_threads(c);
    add_sockets(c);
    add_ioctl(c);
    answer(c, refuse(EPERM));
}

int pc_sandbox_filter(int *fd, struct paco_error *err)
{
    struct code c = {.n = 0};
    write_code(&c);
    if (c.n == MAX_CODE)
        return pc_error_set(err, PACO_ELIMIT, "the filter of system calls is too long");
    int made = memfd_create("filter", MFD_CLOEXEC);
    if (made < 0)
        return pc_error_os(err, errno, "cannot make a memory file");
    size_t size = c.n * sizeof *c.at;
    if (pwrite(made, c.at, size, 0) != (ssize_t)size) {
        int e = errno;
        close(made);
        return pc_error_os(err, e, "cannot write the filter of system calls");
    }
    *fd = made;
    return 0;
}

#else

int pc_sandbox_filter(int *fd, struct paco_error *err)
{
    (void)fd;
    return pc_error_set(
        err, PACO_EUNSUPPORTED, "there is no filter of system calls for this kind of processor");
}

#endif
