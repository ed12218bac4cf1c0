// SPDX-License-Identifier: Apache-2.0
/* libcrypto's SHA256_CTX rather than its EVP interface: its chaining values are in plain sight, so that whole
 * blocks of several hashes can go through one loop (sha256_lanes.h), and it starts no providers. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/digest.h"

#include "base/cpu.h"
#include "base/memory.h"
#include "base/sha256_lanes.h"

#include <assert.h>
#include <openssl/sha.h>

enum { BLOCK = SHA256_CBLOCK };

struct pc_sha256 {
    SHA256_CTX ctx;
};

struct pc_sha256 *pc_sha256_new(struct paco_error *err)
{
    struct pc_sha256 *h = pc_alloc_zero(1, sizeof *h);
    if (h)
        SHA256_Init(&h->ctx);
    else
        pc_error_mem(err, sizeof *h, "a SHA-256 state");
    return h;
}

void pc_sha256_free(struct pc_sha256 *h)
{
    pc_free(h);
}

void pc_sha256_reset(struct pc_sha256 *h)
{
    SHA256_Init(&h->ctx);
}

void pc_sha256_update(struct pc_sha256 *h, const void *bytes, size_t len)
{
    SHA256_Update(&h->ctx, bytes, len);
}

void pc_sha256_final(struct pc_sha256 *h, uint8_t digest[PC_SHA256_SIZE])
{
    SHA256_Final(digest, &h->ctx);
}

/* ---- several at once ---- */

/* Fewer full lanes of sixteen are slower than pairs. */
enum { SIXTEEN = 16, WORTH_SIXTEEN = 10, LEAST_PAIR = 16 };

/* SHA256_Update's bookkeeping for whole blocks that do not pass through it. */
static void advance(struct pc_sha256_part *p, size_t n_blocks)
{
    SHA256_CTX *ctx = &p->h->ctx;
    uint64_t bits = ((uint64_t)ctx->Nh << 32 | ctx->Nl) + (uint64_t)n_blocks * BLOCK * 8;
    ctx->Nl = (uint32_t)bits;
    ctx->Nh = (uint32_t)(bits >> 32);
    p->bytes = (const uint8_t *)p->bytes + n_blocks * BLOCK;
    p->len -= n_blocks * BLOCK;
}

/* Largest first, by insertion: parts are few, and all but sorted. */
static void sort_parts(struct pc_sha256_part *p, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && p[j].len > p[j - 1].len; j--) {
            struct pc_sha256_part t = p[j];
            p[j] = p[j - 1];
            p[j - 1] = t;
        }
}

/* Each lane takes part after part, until too few lanes have anything to do. */
static void fill_lanes(struct pc_sha256_part *p, size_t n)
{
    struct pc_sha256_part *lanes[SIXTEEN] = {NULL};
    uint32_t idle_state[8] = {0}, *state[SIXTEEN];
    const uint8_t *bytes[SIXTEEN];
    sort_parts(p, n);
    for (size_t next = 0;;) {
        size_t n_active = 0, step = SIZE_MAX;
        struct pc_sha256_part *any = NULL;
        for (int l = 0; l < SIXTEEN; l++) {
            if (!lanes[l] || lanes[l]->len < BLOCK)
                lanes[l] = next < n && p[next].len >= BLOCK ? &p[next++] : NULL;
            if (!lanes[l])
                continue;
            any = lanes[l];
            n_active++;
            step = lanes[l]->len / BLOCK < step ? lanes[l]->len / BLOCK : step;
        }
        if (n_active < WORTH_SIXTEEN)
            return;
        for (int l = 0; l < SIXTEEN; l++) {
            state[l] = lanes[l] ? (uint32_t *)lanes[l]->h->ctx.h : idle_state;
            bytes[l] = lanes[l] ? lanes[l]->bytes : any->bytes;
        }
        pc_sha256_sixteen(state, bytes, step);
        for (int l = 0; l < SIXTEEN; l++)
            if (lanes[l])
                advance(lanes[l], step);
    }
}

/* Always the two with most left, down to where a third has as much: nearly everything finds a partner. */
static void pair_up(struct pc_sha256_part *p, size_t n)
{
    while (n > 1) {
        sort_parts(p, n);
        size_t second = p[1].len / BLOCK, third = n > 2 ? p[2].len / BLOCK : 0;
        if (second == 0)
            return;
        size_t step = second - third;
        if (step < LEAST_PAIR)
            step = second / 2 < LEAST_PAIR ? second : second / 2;
        pc_sha256_two((uint32_t *const[2]){p[0].h->ctx.h, p[1].h->ctx.h},
            (const uint8_t *const[2]){p[0].bytes, p[1].bytes}, step);
        advance(&p[0], step);
        advance(&p[1], step);
    }
}

void pc_sha256_update_many(const struct pc_sha256_part *parts, size_t n)
{
    assert(n <= PC_SHA256_MAX_PARTS);
    struct pc_sha256_part p[PC_SHA256_MAX_PARTS];
    unsigned flags = pc_cpu_flags() & pc_sha256_lanes();
    size_t n_whole = 0;
    // What is in the middle of a block goes alone.
    for (size_t i = 0; i < n; i++) {
        if (parts[i].h->ctx.num == 0)
            p[n_whole++] = parts[i];
        else
            SHA256_Update(&parts[i].h->ctx, parts[i].bytes, parts[i].len);
    }
    if (flags & PC_CPU_AVX512)
        fill_lanes(p, n_whole);
    if (flags & PC_CPU_SHA)
        pair_up(p, n_whole);
    for (size_t i = 0; i < n_whole; i++)
        SHA256_Update(&p[i].h->ctx, p[i].bytes, p[i].len);
}

int pc_sha256_width(void)
{
    unsigned flags = pc_cpu_flags() & pc_sha256_lanes();
    return flags & PC_CPU_AVX512 ? SIXTEEN : flags & PC_CPU_SHA ? 2 : 1;
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
