// SPDX-License-Identifier: Apache-2.0
/* libmicrohttpd, loaded when a server starts. Linked, it and what is behind it (GnuTLS, nettle, gmp, p11-kit,
 * ...) would cost every command megabytes of resident memory and milliseconds before main; `recover` promises
 * 64 MiB in all and serves nobody. So only its header is used at build time, and what is called of it is this
 * table. The names are of libmicrohttpd.so.12, whose interface has been kept since 2012. */
#ifndef PC_SERVE_MHD_API_H
#define PC_SERVE_MHD_API_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <microhttpd.h>

struct pc_mhd {
    struct MHD_Daemon *(*start_daemon)(unsigned flags, uint16_t port, MHD_AcceptPolicyCallback, void *,
        MHD_AccessHandlerCallback, void *, ...);
    MHD_socket (*quiesce_daemon)(struct MHD_Daemon *);
    void (*stop_daemon)(struct MHD_Daemon *);
    void (*suspend)(struct MHD_Connection *);
    void (*resume)(struct MHD_Connection *);
    struct MHD_Response *(*response_of_buffer)(size_t, void *, enum MHD_ResponseMemoryMode);
    struct MHD_Response *(*response_of_callback)(
        uint64_t, size_t, MHD_ContentReaderCallback, void *, MHD_ContentReaderFreeCallback);
    enum MHD_Result (*add_header)(struct MHD_Response *, const char *, const char *);
    enum MHD_Result (*queue_response)(struct MHD_Connection *, unsigned, struct MHD_Response *);
    void (*destroy_response)(struct MHD_Response *);
    const char *(*lookup)(struct MHD_Connection *, enum MHD_ValueKind, const char *);
    const union MHD_ConnectionInfo *(*connection_info)(
        struct MHD_Connection *, enum MHD_ConnectionInfoType, ...);
    enum MHD_Result (*is_feature_supported)(enum MHD_FEATURE);
};

/** The table, the same for all; loads libmicrohttpd on the first call. NULL when it cannot be had:
 * PACO_EUNSUPPORTED says which package is missing. Thread-safe. */
const struct pc_mhd *pc_mhd_load(struct paco_error *err);

#endif
