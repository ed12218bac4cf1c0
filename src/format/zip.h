// SPDX-License-Identifier: Apache-2.0
/* The table of contents of a zip archive from strangers: where each entry's bytes lie, checked so that no two
 * readers can understand it differently.
 *
 * Only the reading of the table is here: stored entries are then read in place, deflated ones by inflate.h.
 * minizip was considered: it tells neither overlaps nor duplicates nor the offset of what it refuses, and
 * reads through one position.
 *
 * Required: the end record at the very end of the file; the central directory right before it; one disk; for
 * each entry, a local header that agrees with it; no encryption; methods stored and deflate; names that are
 * UTF-8, unique and do not leave the archive's folder; data that lies before the directory and overlaps
 * nothing; no deflated entry that claims more than deflate can give. Source: APPNOTE.TXT 6.3.10. */
#ifndef PC_FORMAT_ZIP_H
#define PC_FORMAT_ZIP_H

#include "base/error.h"
#include "base/file.h"
#include "base/map.h"
#include "base/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PC_ZIP_MAX_DIRECTORY = 64 * 1024 * 1024, /* bytes of the central directory */
    PC_ZIP_MAX_NAME = 512,
};

struct pc_zip_entry {
    const char *name; /* UTF-8, NUL-terminated */
    uint64_t header_at, data_at;
    uint64_t packed_size, size; /* bytes in the file and unpacked; the same when stored */
    uint64_t central_at;        /* of its record in the central directory */
    uint32_t crc32;             /* of the unpacked bytes */
    bool deflated;
};

struct pc_zip {
    struct pc_zip_entry *entries; /* in the central directory's order */
    size_t n_entries;
    struct pc_map by_name;
    struct pc_arena arena;
};

/** Read and check the table of f. *out is released with pc_zip_release, and needs no release after an error.
 * Errors carry path and offset and name the entry. */
int pc_zip_read(const struct pc_file *f, struct pc_zip *out, struct paco_error *err);
void pc_zip_release(struct pc_zip *z);

/** The entry called name, or NULL. */
const struct pc_zip_entry *pc_zip_find(const struct pc_zip *z, const char *name);

#endif
