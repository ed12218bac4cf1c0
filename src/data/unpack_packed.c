// SPDX-License-Identifier: Apache-2.0
/* Sources that come packed. */
#include "base/crc32.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/out_file.h"
#include "data/unpack.h"
#include "format/zip.h"

#include <inttypes.h>
#include <string.h>
#include <zlib.h>

enum { CHUNK = 256 << 10, GZIP = 16 + MAX_WBITS };
/* What a packed file may become, where nothing better says: text is packed to a tenth or so. */
enum { MOST_TIMES = 200, MOST_BESIDES = 1 << 20 };

static voidpf zlib_alloc(voidpf unused, uInt n, uInt size)
{
    (void)unused;
    return pc_alloc(n, size);
}

static void zlib_free(voidpf unused, voidpf p)
{
    (void)unused;
    pc_free(p);
}

/* A stretch of a file on its way into another. */
struct unpacking {
    struct pc_file file;
    uint64_t at, end; /* of what is still to be read */
    struct pc_out_file out;
    z_stream z;
    char *bytes; /* CHUNK of them */
    uint32_t crc32;
    uint64_t size, most; /* bytes written, and that may be */
};

static int damaged(const struct unpacking *u, const char *why, struct paco_error *err)
{
    return pc_error_file(err, PACO_EFORMAT, u->file.path, u->at - u->z.avail_in, "bad packed data (%s)", why);
}

static int read_some(struct unpacking *u, struct paco_error *err)
{
    size_t n = u->end - u->at < CHUNK ? (size_t)(u->end - u->at) : CHUNK;
    if (n == 0)
        return damaged(u, "it ends too early", err);
    int rc = pc_file_read(&u->file, u->at, u->bytes, n, err);
    u->at += n;
    u->z.next_in = (Bytef *)u->bytes;
    u->z.avail_in = (uInt)n;
    return rc;
}

static int write_some(struct unpacking *u, const char *bytes, size_t n, struct paco_error *err)
{
    if (n > u->most - u->size)
        return pc_error_file(err, PACO_ELIMIT, u->file.path, u->at - u->z.avail_in,
            "becomes more than %" PRIu64 " bytes when it is unpacked, which is the most expected of %" PRIu64,
            u->most, u->file.size);
    u->crc32 = pc_crc32(u->crc32, bytes, n);
    u->size += n;
    pc_buf_add(&u->out.buf, bytes, n);
    return pc_out_file_flush(&u->out, false, err);
}

/* All members of a gzip file, one after the other, or one stream of a zip. */
static int inflate_all(struct unpacking *u, int window, struct paco_error *err)
{
    char *out = pc_alloc(CHUNK, 1);
    u->z = (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free};
    if (!out || inflateInit2(&u->z, window) != Z_OK) {
        pc_free(out);
        return pc_error_mem(err, CHUNK, "unpacking");
    }
    int rc = 0, zrc = Z_OK;
    for (bool more = true; more && rc == 0;) {
        if (u->z.avail_in == 0)
            rc = read_some(u, err);
        u->z.next_out = (Bytef *)out;
        u->z.avail_out = CHUNK;
        if (rc == 0)
            zrc = inflate(&u->z, Z_NO_FLUSH);
        if (rc == 0 && zrc != Z_OK && zrc != Z_STREAM_END && zrc != Z_BUF_ERROR)
            rc = damaged(u, u->z.msg ? u->z.msg : "not what it should be", err);
        if (rc == 0)
            rc = write_some(u, out, CHUNK - u->z.avail_out, err);
        bool left = u->z.avail_in > 0 || u->at < u->end;
        if (zrc == Z_STREAM_END && window == GZIP && left)
            inflateReset(&u->z);
        else
            more = zrc != Z_STREAM_END;
    }
    inflateEnd(&u->z);
    pc_free(out);
    return rc;
}

static int copy_all(struct unpacking *u, struct paco_error *err)
{
    int rc = 0;
    while (u->at < u->end && rc == 0) {
        rc = read_some(u, err);
        if (rc == 0)
            rc = write_some(u, u->bytes, u->z.avail_in, err);
    }
    return rc;
}

static int begin(struct unpacking *u, const char *path, const char *out, struct paco_error *err)
{
    *u = (struct unpacking){.file = {.fd = -1}, .out = {.fd = -1}, .bytes = pc_alloc(CHUNK, 1)};
    int rc = u->bytes ? pc_file_open(&u->file, path, err) : pc_error_mem(err, CHUNK, "unpacking");
    u->end = u->file.size;
    if (!pc_mul_u64(u->file.size, MOST_TIMES, &u->most) || u->most > UINT64_MAX - MOST_BESIDES)
        u->most = UINT64_MAX - MOST_BESIDES;
    u->most += MOST_BESIDES;
    return rc == 0 ? pc_out_file_open(&u->out, out, true, err) : rc;
}

static int end(struct unpacking *u, int rc, struct paco_error *err)
{
    if (rc == 0)
        rc = pc_out_file_commit(&u->out, err);
    pc_out_file_close(&u->out);
    pc_file_close(&u->file);
    pc_free(u->bytes);
    return rc;
}

int pc_unpack_gzip(const char *path, const char *out, struct paco_error *err)
{
    struct unpacking u;
    int rc = begin(&u, path, out, err);
    if (rc == 0)
        rc = inflate_all(&u, GZIP, err);
    return end(&u, rc, err);
}

static const struct pc_zip_entry *find_entry(const struct pc_zip *zip, const char *name)
{
    for (size_t i = 0; i < zip->n_entries; i++)
        if (strcmp(pc_path_base(zip->entries[i].name), name) == 0)
            return &zip->entries[i];
    return NULL;
}

static int unpack_entry(
    struct unpacking *u, const struct pc_zip *zip, const char *name, struct paco_error *err)
{
    const struct pc_zip_entry *entry = find_entry(zip, name);
    if (!entry) {
        int rc = pc_error_set(err, PACO_EFORMAT, "the archive holds no %s", name);
        pc_error_path(err, u->file.path);
        return rc;
    }
    u->at = entry->data_at;
    u->end = entry->data_at + entry->packed_size;
    u->most = entry->size < u->most ? entry->size : u->most;
    int rc = entry->deflated ? inflate_all(u, -MAX_WBITS, err) : copy_all(u, err);
    if (rc == 0 && (u->size != entry->size || u->crc32 != entry->crc32))
        rc = damaged(u, "its checksum is another", err);
    return rc;
}

int pc_unpack_zip(const char *path, const char *name, const char *out, struct paco_error *err)
{
    struct unpacking u;
    struct pc_zip zip = {0};
    int rc = begin(&u, path, out, err);
    if (rc == 0)
        rc = pc_zip_read(&u.file, &zip, err);
    if (rc == 0) {
        rc = unpack_entry(&u, &zip, name, err);
        pc_zip_release(&zip);
    }
    return end(&u, rc, err);
}
