// SPDX-License-Identifier: Apache-2.0
#include "base/digest.h"

#include "base/memory.h"

#include <openssl/evp.h>

struct pc_sha256 {
    EVP_MD_CTX *ctx;
};

struct pc_sha256 *pc_sha256_new(struct paco_error *err)
{
    struct pc_sha256 *h = pc_alloc_zero(1, sizeof *h);
    if (h)
        h->ctx = EVP_MD_CTX_new();
    if (!h || !h->ctx || !EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL)) {
        pc_error_mem(err, sizeof *h, "a SHA-256 state");
        pc_sha256_free(h);
        return NULL;
    }
    return h;
}

void pc_sha256_free(struct pc_sha256 *h)
{
    if (h)
        EVP_MD_CTX_free(h->ctx);
    pc_free(h);
}

void pc_sha256_reset(struct pc_sha256 *h)
{
    EVP_DigestInit_ex(h->ctx, NULL, NULL);
}

void pc_sha256_update(struct pc_sha256 *h, const void *bytes, size_t len)
{
    EVP_DigestUpdate(h->ctx, bytes, len);
}

void pc_sha256_final(struct pc_sha256 *h, uint8_t digest[PC_SHA256_SIZE])
{
    EVP_DigestFinal_ex(h->ctx, digest, NULL);
}

char *pc_sha256_hex(const uint8_t digest[PC_SHA256_SIZE], char hex[PC_SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < PC_SHA256_SIZE; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[PC_SHA256_HEX - 1] = '\0';
    return hex;
}
