// SPDX-License-Identifier: Apache-2.0
#include "base/file_digest.h"

#include "base/file.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>

enum { CHUNK = 1 << 16 };

int pc_sha256_update_file(struct pc_sha256 *h, const char *path, struct paco_error *err)
{
    struct pc_file f = {.fd = -1};
    uint8_t bytes[CHUNK];
    int rc = pc_file_open(&f, path, err);
    for (uint64_t at = 0; rc == 0 && at < f.size;) {
        size_t n = f.size - at < CHUNK ? (size_t)(f.size - at) : CHUNK;
        rc = pc_file_read(&f, at, bytes, n, err);
        pc_sha256_update(h, bytes, rc == 0 ? n : 0);
        at += n;
    }
    pc_file_close(&f);
    return rc;
}

int pc_file_sha256(const char *path, char hex[PC_SHA256_HEX], struct paco_error *err)
{
    uint8_t digest[PC_SHA256_SIZE];
    struct pc_sha256 *h = pc_sha256_new(err);
    int rc = h ? pc_sha256_update_file(h, path, err) : PACO_EMEM;
    if (rc == 0) {
        pc_sha256_final(h, digest);
        pc_sha256_hex(digest, hex);
    }
    pc_sha256_free(h);
    return rc;
}

static int hash_blob(
    EVP_MD_CTX *ctx, const struct pc_file *f, uint8_t digest[EVP_MAX_MD_SIZE], struct paco_error *err)
{
    static const char what[] = "libcrypto's SHA-1";
    char heading[32], bytes[16 << 10];
    int n = snprintf(heading, sizeof heading, "blob %" PRIu64, f->size), rc = 0;
    unsigned len;
    if (!EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) || !EVP_DigestUpdate(ctx, heading, (size_t)n + 1))
        return pc_error_set(err, PACO_EUNSUPPORTED, "%s cannot be had", what);
    for (uint64_t at = 0; at < f->size && rc == 0;) {
        size_t k = f->size - at < sizeof bytes ? (size_t)(f->size - at) : sizeof bytes;
        rc = pc_file_read(f, at, bytes, k, err);
        if (rc == 0 && !EVP_DigestUpdate(ctx, bytes, k))
            rc = pc_error_mem(err, k, what);
        at += k;
    }
    if (rc == 0 && !EVP_DigestFinal_ex(ctx, digest, &len))
        rc = pc_error_mem(err, 20, what);
    return rc;
}

int pc_git_blob(const char *path, char hex[PC_GIT_BLOB_HEX], struct paco_error *err)
{
    struct pc_file f = {.fd = -1};
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int rc = ctx ? pc_file_open(&f, path, err) : pc_error_mem(err, 64, "a hash");
    if (rc == 0)
        rc = hash_blob(ctx, &f, digest, err);
    for (int i = 0; i < 20 && rc == 0; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    pc_file_close(&f);
    EVP_MD_CTX_free(ctx);
    return rc;
}
