// SPDX-License-Identifier: Apache-2.0
/* Random access to deflated entries with bounded memory.
 *
 * torch.save never deflates, but people zip again. A cursor is an inflating stream at some position; a read
 * takes the idle cursor nearest before it and throws away what lies between, or starts again from the
 * beginning. Threads that take neighbouring chunks in order therefore each keep a cursor moving forward. An
 * index of the stream with its windows would be faster for random reads and take 32 KiB for each point in it:
 * more than rare files deserve.
 *
 * A cursor takes some 110 KiB. All files of the process share one pool of them: a model of a hundred deflated
 * shards is bounded like one of one. */
#include "format/torch_file.h"

#include "base/crc32.h"
#include "base/zlib_memory.h"

#include <string.h>

enum { N_CURSORS = 32, IN_SIZE = 32 * 1024, OUT_SIZE = 32 * 1024 };

struct cursor {
    z_stream z;
    bool ready, busy;
    const struct pc_inflate *owner;
    uint64_t source; /* offset of the entry's data in the file, or UINT64_MAX */
    uint64_t packed_pos, pos;
    uint64_t last_use;
    uint32_t crc32; /* of all bytes before pos */
    uint8_t in[IN_SIZE];
    uint8_t skipped[OUT_SIZE];
};

struct pc_inflate {
    const struct pc_file *f;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t idle;
    uint64_t clock;
    struct cursor *cursors[N_CURSORS]; /* made when first needed; gone with the file they read */
} g_pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .idle = PTHREAD_COND_INITIALIZER};

struct pc_inflate *pc_inflate_new(const struct pc_file *f)
{
    struct pc_inflate *inf = pc_alloc_zero(1, sizeof *inf);
    if (!inf)
        return NULL;
    inf->f = f;
    return inf;
}

void pc_inflate_free(struct pc_inflate *inf)
{
    if (!inf)
        return;
    pthread_mutex_lock(&g_pool.lock);
    for (int i = 0; i < N_CURSORS; i++) {
        struct cursor *c = g_pool.cursors[i];
        if (!c || c->owner != inf)
            continue;
        if (c->ready)
            inflateEnd(&c->z);
        pc_free(c);
        g_pool.cursors[i] = NULL;
    }
    pthread_mutex_unlock(&g_pool.lock);
    pc_free(inf);
}

/* The idle cursor nearest before offset in this source; else one never used, else the one idle longest.
 * Called with the lock; NULL if all are busy. */
static struct cursor **choose(const struct pc_inflate *inf, uint64_t source, uint64_t offset)
{
    struct cursor **best = NULL, **unused = NULL, **oldest = NULL;
    for (int i = 0; i < N_CURSORS; i++) {
        struct cursor *c = g_pool.cursors[i];
        if (!c) {
            unused = &g_pool.cursors[i];
            continue;
        }
        if (c->busy)
            continue;
        if (c->owner == inf && c->source == source && c->pos <= offset && (!best || c->pos > (*best)->pos))
            best = &g_pool.cursors[i];
        if (!oldest || c->last_use < (*oldest)->last_use)
            oldest = &g_pool.cursors[i];
    }
    return best ? best : unused ? unused : oldest;
}

static struct cursor *acquire(const struct pc_inflate *inf, uint64_t source, uint64_t offset)
{
    struct cursor **slot;
    pthread_mutex_lock(&g_pool.lock);
    while (!(slot = choose(inf, source, offset)))
        pthread_cond_wait(&g_pool.idle, &g_pool.lock);
    if (!*slot && (*slot = pc_alloc_zero(1, sizeof **slot)))
        (*slot)->source = UINT64_MAX;
    struct cursor *c = *slot;
    if (c) {
        if (c->owner != inf)
            c->source = UINT64_MAX;
        c->owner = inf;
        c->busy = true;
        c->last_use = ++g_pool.clock;
    }
    pthread_mutex_unlock(&g_pool.lock);
    return c;
}

static void release(struct cursor *c)
{
    pthread_mutex_lock(&g_pool.lock);
    c->busy = false;
    pthread_cond_broadcast(&g_pool.idle);
    pthread_mutex_unlock(&g_pool.lock);
}

static int rewind_cursor(struct cursor *c, const struct pc_torch_storage *s, struct paco_error *err)
{
    if (c->ready)
        inflateEnd(&c->z);
    c->z = (z_stream){.zalloc = pc_zlib_alloc, .zfree = pc_zlib_free};
    c->ready = inflateInit2(&c->z, -MAX_WBITS) == Z_OK;
    if (!c->ready)
        return pc_error_mem(err, 1 << MAX_WBITS, "inflating");
    c->source = s->offset;
    c->packed_pos = c->pos = 0;
    c->crc32 = 0;
    return 0;
}

static int fail(const struct pc_inflate *inf, const struct cursor *c, const struct pc_torch_storage *s,
    const char *what, struct paco_error *err)
{
    pc_error_set(err, PACO_EFORMAT,
        "zip entry '%s' %s at unpacked byte %llu of %llu; download the file again", s->name, what,
        (unsigned long long)(c->pos + c->z.total_out), (unsigned long long)s->size);
    pc_error_at(err, inf->f->path, s->offset + c->packed_pos - c->z.avail_in);
    return PACO_EFORMAT;
}

static int refill(
    const struct pc_inflate *inf, struct cursor *c, const struct pc_torch_storage *s, struct paco_error *err)
{
    uint64_t left = s->packed_size - c->packed_pos;
    size_t n = left < IN_SIZE ? (size_t)left : IN_SIZE;
    int rc = pc_file_read(inf->f, s->offset + c->packed_pos, c->in, n, err);
    c->packed_pos += n;
    c->z.next_in = c->in;
    c->z.avail_in = (uInt)n;
    return rc;
}

/* The last byte is out: the stream must end here, having used all its input, with the right sum. */
static int finish(
    const struct pc_inflate *inf, struct cursor *c, const struct pc_torch_storage *s, struct paco_error *err)
{
    uint8_t beyond;
    int z = Z_OK;
    c->z.next_out = &beyond;
    c->z.avail_out = 1;
    while (z == Z_OK && c->z.avail_out) {
        if (c->z.avail_in == 0 && c->packed_pos < s->packed_size) {
            int rc = refill(inf, c, s, err);
            if (rc < 0)
                return rc;
        }
        z = inflate(&c->z, Z_NO_FLUSH);
    }
    c->z.total_out = 0;
    if (z == Z_MEM_ERROR)
        return pc_error_mem(err, 1 << MAX_WBITS, "inflating");
    if (z != Z_STREAM_END || !c->z.avail_out || c->z.avail_in || c->packed_pos != s->packed_size)
        return fail(inf, c, s, "does not end", err);
    if (s->has_crc && c->crc32 != s->crc32) {
        pc_error_set(err, PACO_EFORMAT,
            "zip entry '%s' is damaged: its CRC-32 is %08x, not %08x; download the file again", s->name,
            c->crc32, s->crc32);
        pc_error_at(err, inf->f->path, s->offset);
        return PACO_EFORMAT;
    }
    return 0;
}

/* The next len bytes (at most UINT_MAX) into buf. */
static int advance(const struct pc_inflate *inf, struct cursor *c, const struct pc_torch_storage *s,
    uint8_t *buf, uInt len, struct paco_error *err)
{
    c->z.next_out = buf;
    c->z.avail_out = len;
    c->z.total_out = 0;
    while (c->z.avail_out) {
        if (c->z.avail_in == 0 && c->packed_pos < s->packed_size) {
            int rc = refill(inf, c, s, err);
            if (rc < 0)
                return rc;
        }
        // All input may be taken while output is still to come: zlib says when there is none.
        int z = inflate(&c->z, Z_NO_FLUSH);
        if (z == Z_BUF_ERROR || (z == Z_STREAM_END && c->z.avail_out))
            return fail(inf, c, s, "ends early", err);
        if (z == Z_MEM_ERROR)
            return pc_error_mem(err, 1 << MAX_WBITS, "inflating");
        if (z != Z_OK && z != Z_STREAM_END)
            return fail(inf, c, s, "is damaged", err);
        if (z == Z_STREAM_END)
            break;
    }
    if (s->has_crc)
        c->crc32 = pc_crc32(c->crc32, buf, len);
    c->pos += len;
    c->z.total_out = 0;
    return c->pos == s->size ? finish(inf, c, s, err) : 0;
}

static int read_at(const struct pc_inflate *inf, struct cursor *c, const struct pc_torch_storage *s,
    uint64_t offset, uint8_t *buf, size_t len, struct paco_error *err)
{
    int rc = 0;
    if (c->source != s->offset || c->pos > offset)
        rc = rewind_cursor(c, s, err);
    while (rc == 0 && c->pos < offset) {
        uint64_t gap = offset - c->pos;
        rc = advance(inf, c, s, c->skipped, gap < OUT_SIZE ? (uInt)gap : OUT_SIZE, err);
    }
    for (size_t done = 0; rc == 0 && done < len;) {
        const size_t most = 1u << 30;
        uInt n = (uInt)(len - done < most ? len - done : most);
        rc = advance(inf, c, s, buf + done, n, err);
        done += n;
    }
    if (rc < 0)
        c->source = UINT64_MAX;
    return rc;
}

int pc_inflate_read(struct pc_inflate *inf, const struct pc_torch_storage *s, uint64_t offset, void *buf,
    size_t len, struct paco_error *err)
{
    if (len == 0)
        return 0;
    struct cursor *c = acquire(inf, s->offset, offset);
    if (!c)
        return pc_error_mem(err, sizeof *c, "inflating");
    int rc = read_at(inf, c, s, offset, buf, len, err);
    release(c);
    return rc;
}
