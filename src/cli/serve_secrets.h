// SPDX-License-Identifier: Apache-2.0
/* The keys and the certificate that paco serve is told to use, which may be read again later. */
#ifndef PC_CLI_SERVE_SECRETS_H
#define PC_CLI_SERVE_SECRETS_H

#include "cli/serve_options.h"

enum { PC_MAX_KEYS = 1024 };

struct pc_secrets {
    const char *keys[PC_MAX_KEYS]; /* views, into the options and key_text */
    size_t n_keys;
    struct pc_buf key_text, cert, cert_key; /* cert.data: NULL without one */
};

/** Read them. *owned*: pc_secrets_release, also after a failure. Errors: those of reading; PACO_EINVAL for
 * keys that are none, and a certificate without its key. */
int pc_secrets_read(const struct pc_serve_args *v, struct pc_secrets *out, struct paco_error *err);
/** Wipes them, too. */
void pc_secrets_release(struct pc_secrets *s);

#endif
