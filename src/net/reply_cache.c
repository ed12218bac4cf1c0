// SPDX-License-Identifier: Apache-2.0
#include "net/reply_cache.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_REPLY = 16 << 20 };

int pc_reply_cache_key(
    const char *url, const char *body, size_t len, char key[PC_SHA256_HEX], struct paco_error *err)
{
    uint8_t digest[PC_SHA256_SIZE];
    struct pc_sha256 *h = pc_sha256_new(err);
    if (!h)
        return PACO_EMEM;
    pc_sha256_update(h, url, strlen(url) + 1);
    pc_sha256_update(h, body, len);
    pc_sha256_final(h, digest);
    pc_sha256_free(h);
    pc_sha256_hex(digest, key);
    return 0;
}

bool pc_reply_cache_get(const char *dir, const char *key, struct pc_buf *out)
{
    char *path = pc_path_join(dir, key);
    pc_buf_init(out, 0);
    int rc = path && pc_path_exists(path) ? pc_file_slurp(path, MAX_REPLY, out, NULL) : -1;
    pc_free(path);
    return rc == 0 && out->len > 0;
}

/* Private, as replies may be. */
static void make_folders(char *dir)
{
    for (char *p = dir; (p = strchr(p + 1, '/'));) {
        *p = '\0';
        (void)mkdir(dir, 0700);
        *p = '/';
    }
    (void)mkdir(dir, 0700);
}

void pc_reply_cache_put(const char *dir, const char *key, const char *reply, size_t len)
{
    char *copy = pc_strdup(dir), *path = pc_path_join(dir, key);
    if (copy && path) {
        make_folders(copy);
        (void)pc_file_write_atomic(path, reply, len, NULL);
    }
    pc_free(copy);
    pc_free(path);
}

char *pc_reply_cache_dir(const char *name)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct pc_buf b;
    pc_buf_init(&b, 4096);
    if (cache && cache[0] == '/')
        pc_buf_printf(&b, "%s/paco/%s", cache, name);
    else if (home && home[0] == '/')
        pc_buf_printf(&b, "%s/.cache/paco/%s", home, name);
    char *dir = b.len ? pc_buf_detach(&b) : NULL;
    pc_buf_release(&b);
    return dir;
}
