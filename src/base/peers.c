// SPDX-License-Identifier: Apache-2.0
#include "base/peers.h"

#include "base/memory.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct pc_peers {
    struct pc_peer *peer;
    struct pollfd *watch; /* fd -1: not on this machine, ourselves, or this system cannot tell */
    int n, lost;
};

/* The first line of a file, or nothing. */
static void read_line(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "re");
    if (!f || !fgets(out, (int)size, f))
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    if (f)
        fclose(f);
}

void pc_peer_self(struct pc_peer *out)
{
    *out = (struct pc_peer){.pid = getpid()};
    char boot[64], names[48];
    read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    ssize_t n = readlink("/proc/self/ns/pid", names, sizeof names - 1);
    names[n > 0 ? n : 0] = '\0';
    if (boot[0] && names[0])
        snprintf(out->machine, sizeof out->machine, "%s %s", boot, names);
    if (gethostname(out->host, sizeof out->host - 1) < 0)
        strcpy(out->host, "?");
}

/* A descriptor that becomes readable when the process ends, or -1. Unlike a process number it cannot come to
 * mean another process, and it sees one that ended though nobody has asked after it. */
static int watch(int64_t pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
#else
    (void)pid;
    return -1;
#endif
}

int pc_peers_new(struct pc_peers **out, const struct pc_peer *peer, int n, int i_self, struct paco_error *err)
{
    struct pc_peers *p = pc_alloc_zero(1, sizeof *p);
    if (p) {
        p->peer = pc_alloc((size_t)n, sizeof *p->peer);
        p->watch = pc_alloc((size_t)n, sizeof *p->watch);
    }
    if (!p || !p->peer || !p->watch) {
        pc_peers_free(p);
        return pc_error_mem(err, (size_t)n * sizeof *peer, "what is known of the ranks");
    }
    memcpy(p->peer, peer, (size_t)n * sizeof *peer);
    p->n = n;
    p->lost = -1;
    for (int i = 0; i < n; i++) {
        bool near = i != i_self && peer[i].machine[0] && !strcmp(peer[i].machine, peer[i_self].machine);
        p->watch[i] = (struct pollfd){.fd = near ? watch(peer[i].pid) : -1, .events = POLLIN};
    }
    *out = p;
    return 0;
}

void pc_peers_free(struct pc_peers *p)
{
    if (!p)
        return;
    for (int i = 0; p->watch && i < p->n; i++)
        if (p->watch[i].fd >= 0)
            close(p->watch[i].fd);
    pc_free(p->watch);
    pc_free(p->peer);
    pc_free(p);
}

int pc_peers_check(struct pc_peers *p, struct paco_error *err)
{
    if (poll(p->watch, (nfds_t)p->n, 0) <= 0)
        return 0;
    for (int i = 0; i < p->n; i++)
        if (p->watch[i].revents & POLLIN) {
            p->lost = i;
            return pc_error_set(err, PACO_EIO, "rank %d (process %lld on %s) is gone", i,
                (long long)p->peer[i].pid, p->peer[i].host);
        }
    return 0;
}

int pc_peers_lost(const struct pc_peers *p)
{
    return p->lost;
}
