// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_secrets.h"

#include "base/memory.h"
#include "cli/input.h"

#include <string.h>

enum { MAX_KEY_FILE = 1 << 20, MAX_PEM = 1 << 20 };

static int add_key(struct pc_secrets *s, const char *key, struct paco_error *err)
{
    if (!*key)
        return pc_error_set(err, PACO_EINVAL, "an API key is empty");
    if (s->n_keys == PC_MAX_KEYS)
        return pc_error_set(err, PACO_ELIMIT, "more than %d API keys", PC_MAX_KEYS);
    s->keys[s->n_keys++] = key;
    return 0;
}

static int read_keys(const struct pc_serve_args *v, struct pc_secrets *s, struct paco_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < v->keys.n && rc == 0; i++)
        rc = add_key(s, v->keys.v[i], err);
    if (rc < 0 || !v->key_file)
        return rc;
    rc = pc_read_input(v->key_file, &s->key_text, err);
    char *rest = NULL;
    for (char *line = rc == 0 && s->key_text.data ? strtok_r(s->key_text.data, "\r\n", &rest) : NULL;
         line && rc == 0; line = strtok_r(NULL, "\r\n", &rest))
        rc = add_key(s, line, err);
    if (rc == 0 && s->n_keys == 0)
        rc = pc_error_set(err, PACO_EINVAL, "%s holds no keys", v->key_file);
    return rc;
}

static int read_tls(const struct pc_serve_args *v, struct pc_secrets *s, struct paco_error *err)
{
    if (!v->cert != !v->cert_key)
        return pc_error_set(err, PACO_EINVAL, "--tls-cert and --tls-key belong together");
    int rc = v->cert ? pc_read_input(v->cert, &s->cert, err) : 0;
    return rc == 0 && v->cert ? pc_read_input(v->cert_key, &s->cert_key, err) : rc;
}

int pc_secrets_read(const struct pc_serve_args *v, struct pc_secrets *s, struct paco_error *err)
{
    s->n_keys = 0;
    pc_buf_init(&s->key_text, MAX_KEY_FILE);
    pc_buf_init(&s->cert, MAX_PEM);
    pc_buf_init(&s->cert_key, MAX_PEM);
    int rc = read_keys(v, s, err);
    return rc == 0 ? read_tls(v, s, err) : rc;
}

static void wipe(struct pc_buf *b)
{
    if (b->data)
        explicit_bzero(b->data, b->len);
    pc_buf_release(b);
}

void pc_secrets_release(struct pc_secrets *s)
{
    wipe(&s->key_text);
    wipe(&s->cert);
    wipe(&s->cert_key);
}
