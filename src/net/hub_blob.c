// SPDX-License-Identifier: Apache-2.0
#include "net/hub_blob.h"

#include "base/file.h"
#include "base/file_digest.h"
#include "base/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_sha256(const struct pc_hub_file *f)
{
    return strlen(f->digest) == PC_SHA256_HEX - 1;
}

static int os_error(const char *path, const char *doing, struct paco_error *err)
{
    int rc = pc_error_os(err, errno, "%s", doing);
    pc_error_path(err, path);
    return rc;
}

static int digest_of(
    const struct pc_hub_file *f, const char *path, char hex[PC_SHA256_HEX], struct paco_error *err)
{
    return is_sha256(f) ? pc_file_sha256(path, hex, err) : pc_git_blob(path, hex, err);
}

/* A blob of another size is a damaged one: what is fetched will take its place. */
static int look(struct pc_blob *b, bool verify, struct paco_error *err)
{
    struct stat st;
    char hex[PC_SHA256_HEX];
    if (stat(b->path, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != b->file->size)
        return 0;
    if (verify) {
        int rc = digest_of(b->file, b->path, hex, err);
        b->damaged = rc == 0 && strcmp(hex, b->file->digest) != 0;
        if (rc < 0 || b->damaged)
            return rc;
    }
    b->state = PC_BLOB_THERE;
    return 0;
}

int pc_blob_init(struct pc_blob *b, const struct pc_hub_store *store, const struct pc_hub_file *file,
    bool verify, struct paco_error *err)
{
    struct stat st;
    *b = (struct pc_blob){.file = file, .fd = -1, .lock = -1};
    b->path = pc_hub_store_blob(store, file->digest, "");
    b->part = pc_hub_store_blob(store, file->digest, ".incomplete");
    if (!b->path || !b->part)
        return pc_error_mem(err, PC_SHA256_HEX, "a path");
    if (stat(b->part, &st) == 0 && S_ISREG(st.st_mode))
        b->len = (uint64_t)st.st_size < file->size ? (uint64_t)st.st_size : file->size;
    return look(b, verify, err);
}

/* ---- the sink ---- */

static int restart(struct pc_blob *b, struct paco_error *err)
{
    b->len = 0;
    pc_sha256_reset(b->hash);
    return ftruncate(b->fd, 0) < 0 ? os_error(b->part, "emptying it", err) : 0;
}

/* The server does not go on where the part ends: the same version, from byte 0. */
static int on_begin(void *ctx, const char *validator, struct paco_error *err)
{
    struct pc_blob *b = ctx;
    (void)validator;
    return b->len ? restart(b, err) : 0;
}

static int on_bytes(void *ctx, uint64_t at, const void *bytes, size_t len, struct paco_error *err)
{
    struct pc_blob *b = ctx;
    char shown[200];
    assert(at == b->len);
    if (len > b->file->size - at) {
        (void)restart(b, NULL);
        return pc_error_set(err, PACO_EVERIFY, "%s: more came than the %llu bytes it has",
            pc_printable(b->file->name, shown, sizeof shown), (unsigned long long)b->file->size);
    }
    int rc = pc_fd_write(b->fd, b->part, at, bytes, len, err);
    if (rc < 0)
        return rc;
    pc_sha256_update(b->hash, bytes, len);
    b->len = at + len;
    b->came += len;
    return 0;
}

/* ---- from the lock to the name ---- */

/* The running digest catches up with what came earlier. */
static int hash_part(struct pc_blob *b, struct paco_error *err)
{
    if (!b->hash)
        b->hash = pc_sha256_new(err);
    if (!b->hash)
        return PACO_EMEM;
    pc_sha256_reset(b->hash);
    return b->len > 0 && is_sha256(b->file) ? pc_sha256_update_file(b->hash, b->part, err) : 0;
}

static int open_part(struct pc_blob *b, struct paco_error *err)
{
    struct stat st;
    b->fd = open(b->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (b->fd < 0 || fstat(b->fd, &st) < 0)
        return os_error(b->part, "opening it for writing", err);
    if (!S_ISREG(st.st_mode))
        return pc_error_file(err, PACO_EFORMAT, b->part, 0, "is in the way: no regular file");
    b->len = (uint64_t)st.st_size;
    if (b->len > b->file->size) {
        b->len = 0;
        if (ftruncate(b->fd, 0) < 0)
            return os_error(b->part, "emptying it", err);
    }
    return hash_part(b, err);
}

int pc_blob_begin(struct pc_blob *b, const struct pc_hub_store *store, struct paco_error *err)
{
    int rc = pc_hub_store_lock(store, b->file->digest, &b->lock, err);
    if (rc <= 0)
        return rc;
    rc = look(b, b->damaged, err); // who held the lock before may have brought it
    if (rc == 0 && b->state != PC_BLOB_THERE)
        rc = open_part(b, err);
    if (rc == 0 && b->state != PC_BLOB_THERE) {
        b->sink = (struct pc_http_sink){on_bytes, b, on_begin};
        b->state = PC_BLOB_COMING;
        return 1;
    }
    pc_blob_end(b);
    return rc < 0 ? rc : 1;
}

static int check(struct pc_blob *b, struct paco_error *err)
{
    char hex[PC_SHA256_HEX], shown[200];
    uint8_t digest[PC_SHA256_SIZE];
    int rc = 0;
    pc_printable(b->file->name, shown, sizeof shown);
    if (b->len != b->file->size)
        return pc_error_set(err, PACO_EIO, "%s: %llu bytes came, and it has %llu", shown,
            (unsigned long long)b->len, (unsigned long long)b->file->size);
    if (is_sha256(b->file)) {
        pc_sha256_final(b->hash, digest);
        pc_sha256_hex(digest, hex);
    } else {
        rc = pc_git_blob(b->part, hex, err);
    }
    if (rc < 0 || strcmp(hex, b->file->digest) == 0)
        return rc;
    (void)restart(b, NULL);
    return pc_error_set(err, PACO_EVERIFY, "%s: other bytes came than the hub announced (%s %s, not %s)",
        shown, is_sha256(b->file) ? "SHA-256" : "git's name", hex, b->file->digest);
}

int pc_blob_settle(struct pc_blob *b, struct paco_error *err)
{
    int rc = check(b, err);
    if (rc == 0 && fsync(b->fd) < 0)
        rc = os_error(b->part, "writing it out", err);
    if (rc == 0 && rename(b->part, b->path) < 0)
        rc = os_error(b->path, "giving it its name", err);
    if (rc == 0)
        b->state = PC_BLOB_THERE;
    return rc;
}

void pc_blob_end(struct pc_blob *b)
{
    if (b->fd >= 0) {
        close(b->fd);
        if (b->state != PC_BLOB_THERE && b->len == 0)
            unlink(b->part);
    }
    if (b->lock >= 0)
        close(b->lock);
    b->fd = b->lock = -1;
    pc_sha256_free(b->hash);
    b->hash = NULL;
    if (b->state == PC_BLOB_COMING)
        b->state = PC_BLOB_WANTED;
}

void pc_blob_close(struct pc_blob *b)
{
    pc_blob_end(b);
    pc_free(b->path);
    pc_free(b->part);
}
