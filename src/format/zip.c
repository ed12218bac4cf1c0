// SPDX-License-Identifier: Apache-2.0
#include "format/zip.h"

#include "base/cursor.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    END_SIZE = 22,
    LOCATOR_SIZE = 20,
    END64_SIZE = 56,
    CENTRAL_SIZE = 46,
    LOCAL_SIZE = 30,
    MAX_COMMENT = 65535,
    ENCRYPTED = 1,
    DESCRIPTOR = 8, /* sizes and CRC follow the data instead of standing in the local header */
    STORED = 0,
    DEFLATED = 8,
    MOST_INFLATION = 1032, /* what deflate can make of a byte */
};

static const uint32_t g_central = 0x02014b50, g_local = 0x04034b50, g_end = 0x06054b50, g_end64 = 0x06064b50,
                      g_locator = 0x07064b50;

#define MAX32 UINT64_C(0xffffffff)

struct reader {
    const struct pc_file *f;
    struct pc_zip *z;
    uint64_t directory_at, directory_size, n;
    struct paco_error *err;
};

static int place(const struct reader *r, uint64_t offset, int code)
{
    pc_error_at(r->err, r->f->path, offset);
    return code;
}

#define FAIL(r, offset, code, ...) (pc_error_set((r)->err, (code), __VA_ARGS__), place((r), (offset), (code)))

/* ---- the end records ---- */

/* Where an archive ends that bytes follow which are none of its own; 0 when there is no such end in the tail.
 * tail is n bytes that begin at `at` in the file. */
static uint64_t end_before(const uint8_t *tail, size_t n, uint64_t at)
{
    for (size_t i = n < END_SIZE ? 0 : n - END_SIZE + 1; i-- > 0;) {
        struct pc_cursor c = pc_cursor(tail + i, n - i, 0);
        if (pc_cursor_u32(&c) != g_end)
            continue;
        pc_cursor_bytes(&c, 8); // disks and counts
        uint64_t directory_size = pc_cursor_u32(&c), directory_at = pc_cursor_u32(&c);
        uint64_t end = at + i + END_SIZE + pc_cursor_u16(&c);
        bool zip64 = directory_size == MAX32 || directory_at == MAX32;
        if (end < at + n && (zip64 || directory_at + directory_size <= at + i))
            return end;
    }
    return 0;
}

/* The end record, which a comment may follow; it must reach to the end of the file. */
static int find_end(const struct reader *r, uint64_t *at, struct pc_cursor *record, uint8_t *tail)
{
    const uint64_t size = r->f->size;
    const size_t n = size < END_SIZE + MAX_COMMENT ? (size_t)size : END_SIZE + MAX_COMMENT;
    int rc = pc_file_read(r->f, size - n, tail, n, r->err);
    if (rc < 0)
        return rc;
    for (size_t i = n < END_SIZE ? 0 : n - END_SIZE + 1; i-- > 0;) {
        struct pc_cursor c = pc_cursor(tail + i, n - i, size - n + i);
        if (pc_cursor_u32(&c) != g_end)
            continue;
        struct pc_cursor comment = pc_cursor(tail + i + 20, 2, 0);
        if (pc_cursor_u16(&comment) != n - i - END_SIZE)
            continue;
        *at = size - n + i;
        *record = c;
        return 0;
    }
    const uint64_t end = end_before(tail, n, size - n);
    if (end)
        return FAIL(r, end, PACO_EFORMAT,
            "the zip archive ends here, but %llu more byte%s: something was appended to it; "
            "download it again",
            (unsigned long long)(size - end), size - end == 1 ? " follows" : "s follow");
    return FAIL(r, size, PACO_EFORMAT,
        "is a zip archive without its end: the file is cut off or not all downloaded (%llu bytes are here); "
        "download "
        "it again",
        (unsigned long long)size);
}

/* The ZIP64 record, if a locator stands before the end record; *at then moves to it. */
static int read_end64(struct reader *r, uint64_t *at, bool *found)
{
    uint8_t bytes[END64_SIZE];
    *found = false;
    if (*at < LOCATOR_SIZE)
        return 0;
    int rc = pc_file_read(r->f, *at - LOCATOR_SIZE, bytes, LOCATOR_SIZE, r->err);
    if (rc < 0)
        return rc;
    struct pc_cursor c = pc_cursor(bytes, LOCATOR_SIZE, 0);
    if (pc_cursor_u32(&c) != g_locator)
        return 0;
    uint32_t disk = pc_cursor_u32(&c);
    uint64_t end64_at = pc_cursor_u64(&c);
    uint32_t n_disks = pc_cursor_u32(&c);
    if (disk != 0 || n_disks > 1)
        return FAIL(r, *at - LOCATOR_SIZE, PACO_EUNSUPPORTED, "the zip archive spans %u disks", n_disks);
    if (*at - LOCATOR_SIZE < END64_SIZE || end64_at != *at - LOCATOR_SIZE - END64_SIZE)
        return FAIL(r, *at - LOCATOR_SIZE, PACO_EFORMAT,
            "the ZIP64 locator points to byte %llu, not right before itself", (unsigned long long)end64_at);
    rc = pc_file_read(r->f, end64_at, bytes, END64_SIZE, r->err);
    if (rc < 0)
        return rc;
    c = pc_cursor(bytes, END64_SIZE, end64_at);
    uint32_t signature = pc_cursor_u32(&c);
    uint64_t record_size = pc_cursor_u64(&c);
    pc_cursor_u32(&c); // versions
    uint64_t disks = pc_cursor_u64(&c);
    uint64_t n_here = pc_cursor_u64(&c);
    r->n = pc_cursor_u64(&c);
    r->directory_size = pc_cursor_u64(&c);
    r->directory_at = pc_cursor_u64(&c);
    if (signature != g_end64 || record_size != END64_SIZE - 12 || disks != 0 || n_here != r->n)
        return FAIL(r, end64_at, PACO_EFORMAT, "the ZIP64 end record is malformed");
    *at = end64_at;
    *found = true;
    return 0;
}

/* A field of the old end record: either it says the same as ZIP64's, or it says "see there". */
static bool agrees(uint64_t old, uint64_t saturated, uint64_t value)
{
    return old == value || old == saturated;
}

static int read_end(struct reader *r)
{
    uint64_t at;
    struct pc_cursor c;
    uint8_t *tail = pc_alloc(END_SIZE + MAX_COMMENT, 1);
    if (!tail)
        return pc_error_mem(r->err, END_SIZE + MAX_COMMENT, "the end of a zip archive");
    int rc = find_end(r, &at, &c, tail);
    uint64_t disks = 0, n_here = 0, n = 0, size = 0, directory_at = 0;
    if (rc == 0) {
        disks = pc_cursor_u32(&c);
        n_here = pc_cursor_u16(&c);
        n = pc_cursor_u16(&c);
        size = pc_cursor_u32(&c);
        directory_at = pc_cursor_u32(&c);
    }
    pc_free(tail);
    if (rc < 0)
        return rc;
    const uint64_t end_at = at;
    bool zip64;
    if (disks != 0 || n_here != n)
        return FAIL(r, end_at, PACO_EUNSUPPORTED, "the zip archive spans several disks");
    rc = read_end64(r, &at, &zip64);
    if (rc < 0)
        return rc;
    if (!zip64) {
        r->n = n;
        r->directory_size = size;
        r->directory_at = directory_at;
    }
    if (zip64 && !(agrees(n, 0xffff, r->n) && agrees(size, MAX32, r->directory_size) &&
                     agrees(directory_at, MAX32, r->directory_at)))
        return FAIL(r, end_at, PACO_EFORMAT, "the zip archive's two end records disagree");
    if (r->directory_at > at || r->directory_size != at - r->directory_at)
        return FAIL(r, end_at, PACO_EFORMAT,
            "the zip directory should be the %llu bytes at %llu, but they do not end where the end record "
            "begins (%llu)",
            (unsigned long long)r->directory_size, (unsigned long long)r->directory_at,
            (unsigned long long)at);
    if (r->directory_size > PC_ZIP_MAX_DIRECTORY)
        return FAIL(r, end_at, PACO_ELIMIT, "the zip directory is %llu bytes; at most %d are supported",
            (unsigned long long)r->directory_size, PC_ZIP_MAX_DIRECTORY);
    if (r->n > r->directory_size / CENTRAL_SIZE)
        return FAIL(r, end_at, PACO_EFORMAT,
            "the zip archive claims %llu entries, but its directory is %llu bytes", (unsigned long long)r->n,
            (unsigned long long)r->directory_size);
    return 0;
}

/* ---- entries ---- */

/* A relative path of plain components: nothing that would lead out of a folder. */
static bool safe_name(const char *name, size_t len)
{
    if (len == 0 || len > PC_ZIP_MAX_NAME || memchr(name, 0, len) || memchr(name, '\\', len) ||
        name[0] == '/' || !pc_utf8_valid((const uint8_t *)name, len, NULL))
        return false;
    for (size_t i = 0; i + 1 < len; i++) {
        bool starts = i == 0 || name[i - 1] == '/';
        bool ends = i + 2 == len || name[i + 2] == '/';
        if (starts && ends && name[i] == '.' && name[i + 1] == '.')
            return false;
    }
    return true;
}

/* The ZIP64 extra field holds, in this order, those of size, packed size and offset that did not fit. */
static bool read_extra64(struct pc_cursor extra, struct pc_zip_entry *e)
{
    uint64_t *const fields[] = {&e->size, &e->packed_size, &e->header_at};
    bool wanted = e->size == MAX32 || e->packed_size == MAX32 || e->header_at == MAX32;
    while (wanted && pc_cursor_left(&extra) >= 4) {
        uint16_t id = pc_cursor_u16(&extra), len = pc_cursor_u16(&extra);
        const uint8_t *payload = pc_cursor_bytes(&extra, len);
        if (!payload)
            return false;
        if (id != 1)
            continue;
        struct pc_cursor c = pc_cursor(payload, len, 0);
        for (int i = 0; i < 3; i++)
            if (*fields[i] == MAX32)
                *fields[i] = pc_cursor_u64(&c);
        return !c.failed;
    }
    return !wanted;
}

static int check_entry(const struct reader *r, const struct pc_zip_entry *e, unsigned flags, unsigned method)
{
    if (flags & ENCRYPTED)
        return FAIL(r, e->central_at, PACO_EUNSUPPORTED, "zip entry '%s' is encrypted", e->name);
    if (method != STORED && method != DEFLATED)
        return FAIL(r, e->central_at, PACO_EUNSUPPORTED,
            "zip entry '%s' is compressed by method %u; only deflate is supported (PyTorch itself stores)",
            e->name, method);
    if (method == STORED && e->packed_size != e->size)
        return FAIL(r, e->central_at, PACO_EFORMAT, "zip entry '%s' is stored, yet %llu bytes become %llu",
            e->name, (unsigned long long)e->packed_size, (unsigned long long)e->size);
    if (method == DEFLATED && e->size / MOST_INFLATION > e->packed_size)
        return FAIL(r, e->central_at, PACO_EFORMAT,
            "zip entry '%s' claims to unpack %llu bytes from %llu, more than deflate can (a zip bomb?)",
            e->name, (unsigned long long)e->size, (unsigned long long)e->packed_size);
    if (e->header_at > r->directory_at || r->directory_at - e->header_at < LOCAL_SIZE ||
        e->packed_size > r->directory_at - e->header_at - LOCAL_SIZE)
        return FAIL(r, e->central_at, PACO_EFORMAT,
            "zip entry '%s' should be %llu bytes at %llu, which is outside of the archive's data (%llu "
            "bytes)",
            e->name, (unsigned long long)e->packed_size, (unsigned long long)e->header_at,
            (unsigned long long)r->directory_at);
    return 0;
}

/* The local header must tell the same story, or another reader would see another file. Sets data_at. */
static int check_local(const struct reader *r, struct pc_zip_entry *e, unsigned method)
{
    uint8_t bytes[LOCAL_SIZE + PC_ZIP_MAX_NAME];
    size_t name_len = strlen(e->name);
    uint64_t room = r->directory_at - e->header_at;
    size_t n = room < LOCAL_SIZE + name_len ? LOCAL_SIZE : LOCAL_SIZE + name_len;
    int rc = pc_file_read(r->f, e->header_at, bytes, n, r->err);
    if (rc < 0)
        return rc;
    struct pc_cursor c = pc_cursor(bytes, n, 0);
    uint32_t signature = pc_cursor_u32(&c);
    pc_cursor_u16(&c); // version
    unsigned flags = pc_cursor_u16(&c), local_method = pc_cursor_u16(&c);
    pc_cursor_u32(&c); // time and date
    uint32_t crc = pc_cursor_u32(&c);
    uint64_t packed = pc_cursor_u32(&c), size = pc_cursor_u32(&c);
    size_t local_name_len = pc_cursor_u16(&c), extra_len = pc_cursor_u16(&c);
    const uint8_t *name = pc_cursor_bytes(&c, name_len);
    if (signature != g_local)
        return FAIL(r, e->header_at, PACO_EFORMAT, "zip entry '%s' has no header here", e->name);
    if (!name || local_name_len != name_len || memcmp(name, e->name, name_len) != 0)
        return FAIL(
            r, e->header_at, PACO_EFORMAT, "zip entry '%s' has another name in its own header", e->name);
    bool same_sizes =
        agrees(packed, MAX32, e->packed_size) && agrees(size, MAX32, e->size) && crc == e->crc32;
    if (local_method != method || (flags & ENCRYPTED) || (!(flags & DESCRIPTOR) && !same_sizes))
        return FAIL(r, e->header_at, PACO_EFORMAT,
            "zip entry '%s': method, size or CRC here differ from those in the directory", e->name);
    uint64_t header_size = LOCAL_SIZE + (uint64_t)name_len + extra_len;
    if (header_size > room || e->packed_size > room - header_size)
        return FAIL(r, e->header_at, PACO_EFORMAT,
            "zip entry '%s' of %llu bytes runs into the directory at %llu", e->name,
            (unsigned long long)e->packed_size, (unsigned long long)r->directory_at);
    e->data_at = e->header_at + header_size;
    return 0;
}

static int read_entry(struct reader *r, struct pc_cursor *c, struct pc_zip_entry *e)
{
    struct pc_zip *z = r->z;
    e->central_at = c->offset;
    uint32_t signature = pc_cursor_u32(c);
    pc_cursor_u32(c); // versions
    unsigned flags = pc_cursor_u16(c), method = pc_cursor_u16(c);
    pc_cursor_u32(c); // time and date
    e->crc32 = pc_cursor_u32(c);
    e->packed_size = pc_cursor_u32(c);
    e->size = pc_cursor_u32(c);
    size_t name_len = pc_cursor_u16(c), extra_len = pc_cursor_u16(c), comment_len = pc_cursor_u16(c);
    unsigned disk = pc_cursor_u16(c);
    pc_cursor_bytes(c, 6); // attributes
    e->header_at = pc_cursor_u32(c);
    const uint8_t *name = pc_cursor_bytes(c, name_len), *extra = pc_cursor_bytes(c, extra_len);
    pc_cursor_bytes(c, comment_len);
    if (c->failed || signature != g_central || disk != 0)
        return FAIL(r, e->central_at, PACO_EFORMAT, "the zip directory is malformed at entry %zu of %llu",
            z->n_entries, (unsigned long long)r->n);
    if (!safe_name((const char *)name, name_len))
        return FAIL(r, e->central_at, PACO_EFORMAT,
            "zip entry %zu has a name that is empty, overlong, not UTF-8 or leads out of the archive",
            z->n_entries);
    e->name = pc_arena_strndup(&z->arena, (const char *)name, name_len);
    if (!e->name)
        return pc_error_mem(r->err, name_len, "a zip entry's name");
    if (!read_extra64(pc_cursor(extra, extra_len, 0), e))
        return FAIL(r, e->central_at, PACO_EFORMAT, "zip entry '%s' lacks its ZIP64 sizes", e->name);
    e->deflated = method == DEFLATED;
    int rc = check_entry(r, e, flags, method);
    return rc < 0 ? rc : check_local(r, e, method);
}

static int read_directory(struct reader *r)
{
    struct pc_zip *z = r->z;
    uint8_t *bytes = pc_alloc((size_t)r->directory_size, 1);
    z->entries = pc_arena_alloc(&z->arena, (size_t)r->n, sizeof *z->entries);
    if (!bytes || !z->entries || !pc_map_reserve(&z->by_name, (size_t)r->n)) {
        pc_free(bytes);
        return pc_error_mem(r->err, r->directory_size, "the directory of a zip archive");
    }
    int rc = pc_file_read(r->f, r->directory_at, bytes, (size_t)r->directory_size, r->err);
    struct pc_cursor c = pc_cursor(bytes, (size_t)r->directory_size, r->directory_at);
    while (rc == 0 && z->n_entries < r->n) {
        struct pc_zip_entry *e = &z->entries[z->n_entries];
        rc = read_entry(r, &c, e);
        if (rc < 0)
            break;
        int added = pc_map_add(&z->by_name, e->name, strlen(e->name), (uint32_t)z->n_entries);
        if (added < 0)
            rc = pc_error_mem(r->err, sizeof *e, "the directory of a zip archive");
        else if (added == 0)
            rc = FAIL(r, e->central_at, PACO_EFORMAT, "zip entry '%s' appears twice", e->name);
        z->n_entries++;
    }
    if (rc == 0 && pc_cursor_left(&c) > 0)
        rc = FAIL(r, c.offset, PACO_EFORMAT, "the zip directory is longer than its %llu entries",
            (unsigned long long)r->n);
    pc_free(bytes);
    return rc;
}

static int by_position(const void *a, const void *b)
{
    const struct pc_zip_entry *x = *(const struct pc_zip_entry *const *)a,
                              *y = *(const struct pc_zip_entry *const *)b;
    return (x->header_at > y->header_at) - (x->header_at < y->header_at);
}

static int check_overlaps(const struct reader *r)
{
    const struct pc_zip *z = r->z;
    const struct pc_zip_entry **order = pc_alloc(z->n_entries, sizeof(const struct pc_zip_entry *));
    if (!order)
        return pc_error_mem(r->err, z->n_entries * sizeof *order, "the directory of a zip archive");
    for (size_t i = 0; i < z->n_entries; i++)
        order[i] = &z->entries[i];
    qsort(order, z->n_entries, sizeof *order, by_position);
    int rc = 0;
    for (size_t i = 1; rc == 0 && i < z->n_entries; i++) {
        const struct pc_zip_entry *a = order[i - 1], *b = order[i];
        if (b->header_at < a->data_at + a->packed_size)
            rc = FAIL(r, b->header_at, PACO_EFORMAT, "zip entry '%s' overlaps '%s', which ends at %llu",
                b->name, a->name, (unsigned long long)(a->data_at + a->packed_size));
    }
    pc_free(order);
    return rc;
}

int pc_zip_read(const struct pc_file *f, struct pc_zip *out, struct paco_error *err)
{
    *out = (struct pc_zip){0};
    struct reader r = {.f = f, .z = out, .err = err};
    int rc = read_end(&r);
    if (rc == 0)
        rc = read_directory(&r);
    if (rc == 0)
        rc = check_overlaps(&r);
    if (rc < 0)
        pc_zip_release(out);
    return rc;
}

void pc_zip_release(struct pc_zip *z)
{
    pc_map_release(&z->by_name);
    pc_arena_release(&z->arena);
    *z = (struct pc_zip){0};
}

const struct pc_zip_entry *pc_zip_find(const struct pc_zip *z, const char *name)
{
    uint32_t i;
    return pc_map_get(&z->by_name, name, strlen(name), &i) ? &z->entries[i] : NULL;
}
