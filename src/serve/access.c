// SPDX-License-Identifier: Apache-2.0
/* Who may ask. Keys are compared by their digests, all of them and to the end: how long that takes says
 * nothing about a key. */
#include "base/digest.h"
#include "base/memory.h"
#include "serve/front.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static int digest(const char *text, size_t len, uint8_t out[PC_SHA256_SIZE], struct paco_error *err)
{
    struct pc_sha256 *h = pc_sha256_new(err);
    if (!h)
        return PACO_EMEM;
    pc_sha256_update(h, text, len);
    pc_sha256_final(h, out);
    pc_sha256_free(h);
    return 0;
}

int pc_access_init(struct pc_server *s, struct paco_error *err)
{
    s->key_digests = pc_alloc(s->o.n_keys, sizeof *s->key_digests);
    if (!s->key_digests)
        return pc_error_mem(err, s->o.n_keys * sizeof *s->key_digests, "keys");
    int rc = 0;
    for (size_t i = 0; i < s->o.n_keys && rc == 0; i++)
        rc = digest(s->o.keys[i], strlen(s->o.keys[i]), s->key_digests[i], err);
    return rc;
}

bool pc_access_key(const struct pc_server *s, const char *authorization, char *client, size_t client_size)
{
    static const char scheme[] = "Bearer ";
    uint8_t theirs[PC_SHA256_SIZE];
    bool bearer = authorization && strncasecmp(authorization, scheme, sizeof scheme - 1) == 0;
    const char *key = bearer ? authorization + sizeof scheme - 1 : "";
    if (digest(key, strlen(key), theirs, NULL) < 0)
        return false;
    unsigned found = 0;
    for (size_t i = 0; i < s->o.n_keys; i++) {
        unsigned differs = 0;
        for (size_t k = 0; k < sizeof theirs; k++)
            differs |= (unsigned)(theirs[k] ^ s->key_digests[i][k]);
        found |= ((differs - 1) >> 8 & 1) * (unsigned)(i + 1);
    }
    if (found && bearer)
        snprintf(client, client_size, "key %u", found);
    return found && bearer;
}

/* "http://host:port" is host's own page. */
static bool is_own(const char *origin, const char *host)
{
    const char *at = strstr(origin, "://");
    return host && at && strcasecmp(at + 3, host) == 0;
}

bool pc_access_origin(const struct pc_server *s, const char *origin, const char *host)
{
    if (!origin || is_own(origin, host))
        return true;
    return s->o.cors && (strcmp(s->o.cors, "*") == 0 || strcmp(s->o.cors, origin) == 0);
}
