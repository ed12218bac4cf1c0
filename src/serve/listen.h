// SPDX-License-Identifier: Apache-2.0
/* Sockets that a server listens on. */
#ifndef PC_SERVE_LISTEN_H
#define PC_SERVE_LISTEN_H

#include "base/error.h"

#include <stddef.h>

/** A listening socket, *owned* (close), at an address or name and port (0: any free one, which *port then
 * is), or, for a host that begins with "unix:", at that path: a socket of a server that is gone is replaced,
 * anything else there refused. Only the owner may connect to it.
 *
 *  Errors: PACO_EINVAL for a host that is none, PACO_EEXIST when the port or path is in use, saying what to
 * do; else PACO_EIO. */
int pc_listen(const char *host, int *port, int *fd, struct paco_error *err);

/** The path of "unix:PATH", or NULL. */
const char *pc_listen_path(const char *host);

#endif
