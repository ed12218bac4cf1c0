// SPDX-License-Identifier: Apache-2.0
/* The HTTP side of a server: connections (gate.c), requests (front.c), and what each path answers (routes.c).
 * All of it runs on libmicrohttpd's thread, but for ticks and wakes, and what large requests are answered by
 * (reader.c). */
#ifndef PC_SERVE_FRONT_H
#define PC_SERVE_FRONT_H

#include "serve/server_parts.h"

/** A connection, from accept to close. */
struct pc_link {
    struct pc_link *prev, *next;
    int fd;
    bool busy;    /* a request is being read or answered */
    bool whole;   /* all of it is here */
    double since; /* when the last one ended, or it came */
};

/** A request and its answer. */
struct pc_exchange {
    struct pc_exchange *prev, *next; /* under the lock */
    struct pc_front *front;
    struct MHD_Connection *connection;
    struct pc_link *link;
    const struct pc_route *route; /* NULL: none */
    const char *tail;             /* what follows the route's path: a view into path */
    char path[256];
    char method[16];
    char client[80];     /* who asks */
    double began, asked; /* asked: when it was asked whether it is there, since it closed its side; or 0 */
    bool knows_interim;  /* an answer may be sent before the answer: HTTP/1.1, and in the clear */
    bool has_body;       /* all of it; under the lock */
    struct pc_buf body;  /* of the request */
    size_t n_dropped;    /* bytes of a body nobody wants */
    bool suspended;      /* under the lock */
    bool called_again;   /* all of it is here, and libmicrohttpd asked for the answer before */
    bool is_read;        /* the route answered; under the lock while a reader has it */
    struct pc_exchange *next_to_read;

    struct pc_fault fault;
    struct pc_offer *offer; /* held: what the request is read and answered by; NULL: not yet */
    struct pc_turn *made;   /* by the route, not yet queued */
    struct pc_turn *turn;   /* NULL: the answer is in reply. Set under the lock */
    bool answered;          /* an answer began to be sent */
    int status;
    const char *type;                /* of reply */
    const char *const (*headers)[2]; /* instead of the type and the usual ones, up to a NULL name; or NULL */
    bool packed;                     /* reply is gzip */
    struct pc_buf reply;
};

/** Who reads large requests, one after the other. `{0}` does not run. */
struct pc_reader {
    pthread_t thread;
    pthread_mutex_t *lock; /* the server's; the rest is under it */
    pthread_cond_t work;
    struct pc_exchange *first, *last;
    bool runs, must_end;
};

struct pc_front {
    struct pc_server *server;
    struct pc_reader reader;
    const struct pc_mhd *mhd;
    struct pc_gate *gate; /* the newest one (gate.c); the caller's thread's */
    int fd;
    /* Under the server's lock. */
    struct pc_exchange *exchanges;
    struct pc_link *links;
    size_t n_exchanges, n_links;
    uint64_t body_bytes;  /* of all requests */
    struct pollfd *polls; /* room for max_connections */
};

/** Let connections in, with TLS if there is a certificate, instead of those that were let in before: these go
 * on as they are. The same certificate changes nothing, nor does none. Errors: PACO_EINVAL when libmicrohttpd
 * does not take certificate and key; nothing is changed then. This and the next ones are for the caller's
 * thread, without the lock. */
int pc_gate_open(struct pc_front *f, const char *cert, const char *key, struct paco_error *err);
/** Let no more in. */
void pc_gate_quiesce(struct pc_front *f);
/** Release what was replaced, once its connections are gone. */
void pc_gate_tick(struct pc_front *f, double now);
void pc_gate_close(struct pc_front *f);

/** libmicrohttpd's: a request goes on; it is over. cls is the front. */
enum MHD_Result pc_exchange_handle(void *cls, struct MHD_Connection *c, const char *url, const char *method,
    const char *version, const char *bytes, size_t *len, void **context);
void pc_exchange_completed(
    void *cls, struct MHD_Connection *c, void **context, enum MHD_RequestTerminationCode code);

/** A header of the request, borrowed, or NULL. */
const char *pc_exchange_header(const struct pc_exchange *x, const char *name);

/** Let a connection that rests go on. The server's lock is held. */
void pc_exchange_wake(void *exchange);

/** Whether who sent the header Accept-Encoding, or none, takes gzip. */
bool pc_accepts_gzip(const char *accepts);

/** A path, and how it is answered: into reply, or by a turn that is made, or by fault. */
struct pc_route {
    const char *method, *path;
    bool prefix; /* path is the beginning of one */
    bool open;   /* no key is needed */
    void (*answer)(struct pc_exchange *x);
};

/** Begin to read. */
int pc_reader_start(struct pc_reader *reader, pthread_mutex_t *lock, struct paco_error *err);
/** Have x's route answer it; x, which rests, is woken with is_read set. What waited longer than a request may
 * take is a fault instead. With the lock held. False, and nothing is done, once it is to stop. */
bool pc_reader_put(struct pc_reader *reader, struct pc_exchange *x);
/** Read what was put, and no more. Not with the lock held. */
void pc_reader_stop(struct pc_reader *reader);

/** The route of a request, or NULL with the fault. *tail is what follows it. */
const struct pc_route *pc_route_find(
    const char *method, const char *path, const char **tail, struct pc_fault *fault);

/** Whether the key in an Authorization header's value (or NULL) is one of the server's; who that is goes to
 * client. So is any where none is asked for. Takes the same time for every wrong key. */
bool pc_access_key(struct pc_server *s, const char *authorization, char *client, size_t client_size);
/** Whether pages of origin (or NULL: no page asks) may ask a server that they call host. */
bool pc_access_origin(const struct pc_server *s, const char *origin, const char *host);

#endif
