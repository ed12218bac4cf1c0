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

int pc_server_set_keys(struct pc_server *s, const char *const *keys, size_t n, struct paco_error *err)
{
    uint8_t(*digests)[PC_SHA256_SIZE] = pc_alloc(n, sizeof *digests);
    if (!digests)
        return pc_error_mem(err, n * sizeof *digests, "keys");
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = digest(keys[i], strlen(keys[i]), digests[i], err);
    if (rc == 0) {
        pthread_mutex_lock(&s->lock);
        uint8_t(*before)[PC_SHA256_SIZE] = s->key_digests;
        s->key_digests = digests;
        s->n_keys = n;
        pthread_mutex_unlock(&s->lock);
        digests = before;
    }
    pc_free(digests);
    return rc;
}

/* The number of the key with that digest, from 1; or 0. */
static unsigned find(struct pc_server *s, const uint8_t theirs[PC_SHA256_SIZE], bool *none)
{
    unsigned found = 0;
    pthread_mutex_lock(&s->lock);
    *none = s->n_keys == 0;
    for (size_t i = 0; i < s->n_keys; i++) {
        unsigned differs = 0;
        for (size_t k = 0; k < PC_SHA256_SIZE; k++)
            differs |= (unsigned)(theirs[k] ^ s->key_digests[i][k]);
        found |= ((differs - 1) >> 8 & 1) * (unsigned)(i + 1);
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

bool pc_access_key(struct pc_server *s, const char *authorization, char *client, size_t client_size)
{
    static const char scheme[] = "Bearer ";
    uint8_t theirs[PC_SHA256_SIZE];
    bool bearer = authorization && strncasecmp(authorization, scheme, sizeof scheme - 1) == 0, none;
    const char *key = bearer ? authorization + sizeof scheme - 1 : "";
    if (digest(key, strlen(key), theirs, NULL) < 0)
        return false;
    unsigned found = find(s, theirs, &none);
    if (none)
        return true;
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
