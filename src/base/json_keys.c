// SPDX-License-Identifier: Apache-2.0
/* A safetensors header is one object of tens of thousands of keys, each an object of three: so few keys are
 * compared one by one, without a table to make and drop, and many are found by their hash. A key costs its
 * length and some ten bytes. */
#include "base/json_keys.h"

#include "base/map.h"
#include "base/memory.h"

#include <string.h>

enum { FEW = 16 };

void pc_json_keys_init(struct pc_json_keys *k, size_t max)
{
    *k = (struct pc_json_keys){.depth = 0};
    pc_buf_init(&k->names, max < INT32_MAX ? max : INT32_MAX);
}

void pc_json_keys_release(struct pc_json_keys *k)
{
    while (k->depth > 0)
        pc_json_keys_close(k);
    pc_buf_release(&k->names);
}

void pc_json_keys_open(struct pc_json_keys *k)
{
    k->levels[k->depth++] = (struct pc_json_level){.first = k->names.len};
}

void pc_json_keys_close(struct pc_json_keys *k)
{
    struct pc_json_level *l = &k->levels[--k->depth];
    pc_free(l->slots);
    k->names.len = l->first;
}

static size_t length_at(const struct pc_json_keys *k, size_t at)
{
    uint32_t len;
    memcpy(&len, k->names.data + at, sizeof len);
    return len;
}

static const char *bytes_at(const struct pc_json_keys *k, size_t at)
{
    return k->names.data + at + sizeof(uint32_t);
}

static bool is_at(const struct pc_json_keys *k, size_t at, const char *key, size_t len)
{
    return length_at(k, at) == len && memcmp(bytes_at(k, at), key, len) == 0;
}

/* The slot of key, or the free one where it belongs. */
static uint32_t *slot_of(
    const struct pc_json_keys *k, uint32_t *slots, uint32_t capacity, const char *key, size_t len)
{
    for (uint64_t i = pc_hash_bytes(key, len);; i++) {
        uint32_t *slot = &slots[i & (capacity - 1)];
        if (*slot == 0 || is_at(k, *slot - 1, key, len))
            return slot;
    }
}

/* A table of at least twice as many slots as there are keys. */
static bool make_table(const struct pc_json_keys *k, struct pc_json_level *l)
{
    uint32_t capacity = l->capacity ? l->capacity : 2 * FEW;
    while (capacity / 2 < l->n + 1)
        capacity *= 2;
    uint32_t *slots = pc_alloc_zero(capacity, sizeof *slots);
    if (!slots)
        return false;
    for (size_t at = l->first; at < k->names.len; at += sizeof(uint32_t) + length_at(k, at))
        *slot_of(k, slots, capacity, bytes_at(k, at), length_at(k, at)) = (uint32_t)at + 1;
    pc_free(l->slots);
    l->slots = slots;
    l->capacity = capacity;
    return true;
}

static bool is_there(const struct pc_json_keys *k, const struct pc_json_level *l, const char *key, size_t len)
{
    for (size_t at = l->first; at < k->names.len; at += sizeof(uint32_t) + length_at(k, at))
        if (is_at(k, at, key, len))
            return true;
    return false;
}

int pc_json_keys_add(struct pc_json_keys *k, const char *key, size_t len)
{
    struct pc_json_level *l = &k->levels[k->depth - 1];
    uint32_t *slot = NULL, n = (uint32_t)len;
    if (l->n >= FEW && l->capacity / 2 < l->n + 1 && !make_table(k, l))
        return -1;
    if (l->slots)
        slot = slot_of(k, l->slots, l->capacity, key, len);
    if (slot ? *slot != 0 : is_there(k, l, key, len))
        return 0;
    size_t at = k->names.len;
    pc_buf_add(&k->names, &n, sizeof n);
    pc_buf_add(&k->names, key, len);
    if (k->names.failed)
        return -1;
    if (slot)
        *slot = (uint32_t)at + 1;
    l->n++;
    return 1;
}
