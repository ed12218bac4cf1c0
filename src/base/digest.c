// SPDX-License-Identifier: Apache-2.0
/* libcrypto's SHA256_CTX rather than its EVP interface: its chaining values are in plain sight, so that whole
 * blocks of two hashes can go through one loop (below), and it starts no providers. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/digest.h"

#include "base/cpu.h"
#include "base/memory.h"

#include <assert.h>
#include <openssl/sha.h>
#include <stdbool.h>

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

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

static const uint32_t K[64] __attribute__((aligned(16))) = {0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5,
    0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
    0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5,
    0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#define SHA_TARGET __attribute__((target("sha,sse4.1")))

/* The two halves of a state in the order the instructions want: ABEF and CDGH. */
struct lane {
    __m128i abef, cdgh;
};

SHA_TARGET static inline struct lane load_state(const uint32_t h[8])
{
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)h), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(h + 4)), 0x1b);
    return (struct lane){_mm_alignr_epi8(abcd, efgh, 8), _mm_blend_epi16(efgh, abcd, 0xf0)};
}

SHA_TARGET static inline void store_state(uint32_t h[8], struct lane s)
{
    __m128i feba = _mm_shuffle_epi32(s.abef, 0x1b), dchg = _mm_shuffle_epi32(s.cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)h, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}

/* n blocks of two messages in step. A round's result is the next one's operand four cycles later, and the
 * unit takes a new round every two: the second message goes in between. */
SHA_TARGET static void two_lanes(uint32_t *const state[2], const uint8_t *const bytes[2], size_t n)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    struct lane s[2] = {load_state(state[0]), load_state(state[1])};
    for (size_t b = 0; b < n; b++) {
        const struct lane before[2] = {s[0], s[1]};
        __m128i w[4][2];
        for (int l = 0; l < 2; l++)
            for (int i = 0; i < 4; i++) {
                const __m128i *from = (const __m128i *)(bytes[l] + BLOCK * b + 16 * (size_t)i);
                w[i][l] = _mm_shuffle_epi8(_mm_loadu_si128(from), big_endian);
            }
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m128i k = _mm_load_si128((const __m128i *)(K + 4 * i));
            for (int l = 0; l < 2; l++) {
                __m128i x = _mm_add_epi32(w[i & 3][l], k);
                s[l].cdgh = _mm_sha256rnds2_epu32(s[l].cdgh, s[l].abef, x);
                s[l].abef = _mm_sha256rnds2_epu32(s[l].abef, s[l].cdgh, _mm_shuffle_epi32(x, 0x0e));
            }
            for (int l = 0; l < 2 && i < 12; l++) {
                __m128i m = _mm_sha256msg1_epu32(w[i & 3][l], w[(i + 1) & 3][l]);
                m = _mm_add_epi32(m, _mm_alignr_epi8(w[(i + 3) & 3][l], w[(i + 2) & 3][l], 4));
                w[i & 3][l] = _mm_sha256msg2_epu32(m, w[(i + 3) & 3][l]);
            }
        }
        for (int l = 0; l < 2; l++) {
            s[l].abef = _mm_add_epi32(s[l].abef, before[l].abef);
            s[l].cdgh = _mm_add_epi32(s[l].cdgh, before[l].cdgh);
        }
    }
    store_state(state[0], s[0]);
    store_state(state[1], s[1]);
}

/* SHA256_Update's bookkeeping for whole blocks that did not pass through it. */
static void count_blocks(SHA256_CTX *ctx, size_t n)
{
    uint64_t bits = ((uint64_t)ctx->Nh << 32 | ctx->Nl) + (uint64_t)n * BLOCK * 8;
    ctx->Nl = (uint32_t)bits;
    ctx->Nh = (uint32_t)(bits >> 32);
}

static void advance_pair(struct pc_sha256_part *a, struct pc_sha256_part *b, size_t n_blocks)
{
    two_lanes((uint32_t *const[2]){a->h->ctx.h, b->h->ctx.h}, (const uint8_t *const[2]){a->bytes, b->bytes},
        n_blocks);
    struct pc_sha256_part *both[2] = {a, b};
    for (int l = 0; l < 2; l++) {
        count_blocks(&both[l]->h->ctx, n_blocks);
        both[l]->bytes = (const uint8_t *)both[l]->bytes + n_blocks * BLOCK;
        both[l]->len -= n_blocks * BLOCK;
    }
}

/* Largest first, by insertion: parts are few. */
static void sort_parts(struct pc_sha256_part *p, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && p[j].len > p[j - 1].len; j--) {
            struct pc_sha256_part t = p[j];
            p[j] = p[j - 1];
            p[j - 1] = t;
        }
}

/* Always the two with most left, down to where a third has as much: nearly everything finds a partner. */
static void pair_up(struct pc_sha256_part *p, size_t n)
{
    enum { LEAST = 16 }; // blocks; below that switching costs more than it brings
    for (;;) {
        sort_parts(p, n);
        size_t second = p[1].len / BLOCK, third = n > 2 ? p[2].len / BLOCK : 0;
        if (second == 0)
            return;
        size_t step = second - third;
        if (step < LEAST)
            step = second / 2 < LEAST ? second : second / 2;
        advance_pair(&p[0], &p[1], step);
    }
}

static bool aligned(const struct pc_sha256_part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (parts[i].h->ctx.num != 0)
            return false;
    return true;
}

static bool can_pair(const struct pc_sha256_part *parts, size_t n)
{
    return n > 1 && (pc_cpu_flags() & PC_CPU_SHA) && aligned(parts, n);
}
#else
static bool can_pair(const struct pc_sha256_part *parts, size_t n)
{
    (void)parts, (void)n;
    return false;
}

static void pair_up(struct pc_sha256_part *p, size_t n)
{
    (void)p, (void)n;
}
#endif

void pc_sha256_update_many(const struct pc_sha256_part *parts, size_t n)
{
    assert(n <= PC_SHA256_MAX_PARTS);
    struct pc_sha256_part p[PC_SHA256_MAX_PARTS];
    for (size_t i = 0; i < n; i++)
        p[i] = parts[i];
    if (can_pair(p, n))
        pair_up(p, n);
    for (size_t i = 0; i < n; i++)
        SHA256_Update(&p[i].h->ctx, p[i].bytes, p[i].len);
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
