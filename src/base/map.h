// SPDX-License-Identifier: Apache-2.0
/* A hash map from byte strings to 32-bit values. Seeded per process, so that a hostile file cannot choose
 * collisions. */
#ifndef PC_BASE_MAP_H
#define PC_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** `{0}` is a valid empty map. Keys are *borrowed*: they must outlive the map. */
struct pc_map {
    struct pc_map_slot *slots;
    size_t n_used, capacity;
};

/** Make room for n keys at once. False when memory is out. */
bool pc_map_reserve(struct pc_map *m, size_t n);
/** Add key (len bytes, borrowed) unless present. Returns 1 when added, 0 when it was there (its value is
 * kept), -1 when memory is out. */
int pc_map_add(struct pc_map *m, const char *key, size_t len, uint32_t value);
/** True, and *value, if key is present. */
bool pc_map_get(const struct pc_map *m, const char *key, size_t len, uint32_t *value);
void pc_map_release(struct pc_map *m);

/** The hash the map uses: seeded, spread over all bits. */
uint64_t pc_hash_bytes(const char *key, size_t len);

/** This process's seed, and a 64-bit key spread over all bits by it: for tables whose numbers a file chose.
 */
uint64_t pc_hash_seed(void);
static inline uint64_t pc_hash_u64(uint64_t key, uint64_t seed)
{
    key = (key ^ seed) * 0x9fb21c651e98df25u;
    key = (key ^ key >> 32) * 0xd6e8feb86659fd93u;
    return key ^ key >> 32;
}

#endif
