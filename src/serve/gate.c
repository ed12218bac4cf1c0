// SPDX-License-Identifier: Apache-2.0
/* Where connections come in: a daemon of libmicrohttpd at the socket that the front listens at. It takes a
 * certificate when it is started and no other afterwards, so another certificate is another daemon at the
 * same socket; the one before takes no more connections, keeps those it has, and goes with the last of them.
 */
#include "base/host.h"
#include "base/memory.h"
#include "serve/front.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

enum {
    HEADER_MEMORY = 32 << 10, /* of a connection: request line and headers fit into half of it */
    CLOSING_SECONDS = 5,      /* in which a connection that was being accepted is seen */
};

struct pc_gate {
    struct pc_gate *older;
    struct pc_front *front;
    struct MHD_Daemon *daemon;
    char *cert;
    double closed;  /* when it was; 0: it is open */
    size_t n_links; /* under the lock */
};

static void on_link(
    void *cls, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code)
{
    struct pc_gate *gate = cls;
    struct pc_front *f = gate->front;
    struct pc_link *link = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = f->mhd->connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        link = info ? pc_alloc_zero(1, sizeof *link) : NULL;
        *context = link;
        if (!link)
            return; /* it is served, and nobody looks after it */
        link->fd = info->connect_fd;
        link->since = pc_seconds();
        int on = 1;
        setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        pthread_mutex_lock(&f->server->lock);
        link->next = f->links;
        if (f->links)
            f->links->prev = link;
        f->links = link;
        f->n_links++;
        gate->n_links++;
        pthread_mutex_unlock(&f->server->lock);
    } else if (link) {
        pthread_mutex_lock(&f->server->lock);
        *(link->prev ? &link->prev->next : &f->links) = link->next;
        if (link->next)
            link->next->prev = link->prev;
        f->n_links--;
        gate->n_links--;
        pthread_mutex_unlock(&f->server->lock);
        pc_free(link);
        *context = NULL;
    }
}

static void say_nothing(void *cls, const char *fmt, va_list args)
{
    (void)cls, (void)fmt, (void)args;
}

static int start(struct pc_gate *gate, const char *key, struct paco_error *err)
{
    struct pc_front *f = gate->front;
    const struct pc_server_options *o = &f->server->o;
    const char *cert = gate->cert;
    const struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key}, {MHD_OPTION_END, 0, NULL}};
    const struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
#ifdef __linux__
    flags |= MHD_USE_EPOLL;
#else
    flags |= MHD_USE_AUTO;
#endif
    if (cert && f->mhd->is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        return pc_error_set(err, PACO_EUNSUPPORTED, "this libmicrohttpd was built without TLS");
    /* A descriptor of its own, for libmicrohttpd closes it when it does not start. */
    int fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return pc_error_os(err, errno, "connections");
    gate->daemon = f->mhd->start_daemon(flags | (cert ? MHD_USE_TLS : 0), 0, NULL, NULL, pc_exchange_handle,
        f, MHD_OPTION_EXTERNAL_LOGGER, say_nothing, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_MEMORY, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)o->max_connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)o->max_per_address,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(o->idle_seconds < 1 ? 1 : o->idle_seconds),
        MHD_OPTION_NOTIFY_COMPLETED, pc_exchange_completed, f, MHD_OPTION_NOTIFY_CONNECTION, on_link, gate,
        MHD_OPTION_ARRAY, cert ? tls : none, MHD_OPTION_END);
    if (gate->daemon)
        return 0;
    return cert ? pc_error_set(err, PACO_EINVAL,
                      "libmicrohttpd does not take this certificate and key (both are PEM files, and belong "
                      "together)")
                : pc_error_set(err, PACO_EIO, "libmicrohttpd does not start");
}

static void free_gate(struct pc_gate *gate)
{
    if (gate->daemon)
        gate->front->mhd->stop_daemon(gate->daemon);
    pc_free(gate->cert);
    pc_free(gate);
}

int pc_gate_open(struct pc_front *f, const char *cert, const char *key, struct paco_error *err)
{
    if (f->gate && (!cert || strcmp(cert, f->gate->cert) == 0))
        return 0;
    struct pc_gate *gate = pc_alloc_zero(1, sizeof *gate);
    if (!gate)
        return pc_error_mem(err, sizeof *gate, "connections");
    gate->front = f;
    gate->cert = cert ? pc_strdup(cert) : NULL;
    int rc = cert && !gate->cert ? pc_error_mem(err, strlen(cert), "a certificate") : start(gate, key, err);
    if (rc < 0) {
        free_gate(gate);
        return rc;
    }
    pc_gate_quiesce(f);
    gate->older = f->gate;
    f->gate = gate;
    return 0;
}

void pc_gate_quiesce(struct pc_front *f)
{
    struct pc_gate *gate = f->gate;
    if (!gate || gate->closed > 0)
        return;
    int fd = f->mhd->quiesce_daemon(gate->daemon); /* ours again */
    if (fd >= 0)
        close(fd);
    gate->closed = pc_seconds();
}

void pc_gate_tick(struct pc_front *f, double now)
{
    for (struct pc_gate **at = f->gate ? &f->gate->older : &f->gate; *at;) {
        struct pc_gate *gate = *at;
        pthread_mutex_lock(&f->server->lock);
        bool left = gate->n_links > 0;
        pthread_mutex_unlock(&f->server->lock);
        if (left || now - gate->closed < CLOSING_SECONDS) {
            at = &gate->older;
            continue;
        }
        *at = gate->older;
        free_gate(gate);
    }
}

void pc_gate_close(struct pc_front *f)
{
    while (f->gate) {
        struct pc_gate *gate = f->gate;
        f->gate = gate->older;
        free_gate(gate);
    }
}
