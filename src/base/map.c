// SPDX-License-Identifier: Apache-2.0
/* Open addressing with linear probing at a load below 2/3. The hash is a seeded multiply-fold over 8-byte
 * words: not cryptographic, but its collisions cannot be prepared without the seed. */
#include "base/map.h"

#include "base/memory.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct pc_map_slot {
    const char *key;
    size_t len;
    uint64_t hash;
    uint32_t value;
};

uint64_t pc_hash_seed(void)
{
    static _Atomic uint64_t g_seed;
    uint64_t s = atomic_load_explicit(&g_seed, memory_order_relaxed);
    if (s == 0) {
        if (getrandom(&s, sizeof s, GRND_NONBLOCK) != sizeof s)
            s = (uint64_t)time(NULL) * 0x9e3779b97f4a7c15u;
        s |= 1;
        uint64_t none = 0;
        if (!atomic_compare_exchange_strong(&g_seed, &none, s))
            s = none;
    }
    return s;
}

static uint64_t fold(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9fb21c651e98df25u;
    return h ^ h >> 32;
}

uint64_t pc_hash_bytes(const char *key, size_t len)
{
    uint64_t h = fold(pc_hash_seed(), len), word;
    for (; len >= 8; key += 8, len -= 8) {
        memcpy(&word, key, 8);
        h = fold(h, word);
    }
    word = 0;
    if (len)
        memcpy(&word, key, len);
    return fold(fold(h, word), pc_hash_seed());
}

static struct pc_map_slot *find(const struct pc_map *m, const char *key, size_t len, uint64_t hash)
{
    for (size_t i = hash & (m->capacity - 1);; i = (i + 1) & (m->capacity - 1)) {
        struct pc_map_slot *s = &m->slots[i];
        if (!s->key || (s->hash == hash && s->len == len && memcmp(s->key, key, len) == 0))
            return s;
    }
}

bool pc_map_reserve(struct pc_map *m, size_t n)
{
    size_t capacity = m->capacity ? m->capacity : 16;
    if (n > SIZE_MAX / 4)
        return false;
    while (capacity / 3 * 2 < n)
        capacity *= 2;
    if (capacity == m->capacity)
        return true;
    struct pc_map grown = {pc_alloc_zero(capacity, sizeof *m->slots), m->n_used, capacity};
    if (!grown.slots)
        return false;
    for (size_t i = 0; i < m->capacity; i++)
        if (m->slots[i].key)
            *find(&grown, m->slots[i].key, m->slots[i].len, m->slots[i].hash) = m->slots[i];
    pc_free(m->slots);
    *m = grown;
    return true;
}

int pc_map_add(struct pc_map *m, const char *key, size_t len, uint32_t value)
{
    if (!pc_map_reserve(m, m->n_used + 1))
        return -1;
    uint64_t hash = pc_hash_bytes(key, len);
    struct pc_map_slot *s = find(m, key, len, hash);
    if (s->key)
        return 0;
    *s = (struct pc_map_slot){key, len, hash, value};
    m->n_used++;
    return 1;
}

bool pc_map_get(const struct pc_map *m, const char *key, size_t len, uint32_t *value)
{
    if (!m->n_used)
        return false;
    struct pc_map_slot *s = find(m, key, len, pc_hash_bytes(key, len));
    if (!s->key)
        return false;
    *value = s->value;
    return true;
}

void pc_map_release(struct pc_map *m)
{
    pc_free(m->slots);
    *m = (struct pc_map){0};
}
