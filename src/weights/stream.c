// SPDX-License-Identifier: Apache-2.0
#include "weights/stream.h"

#include "algebra/trace.h"
#include "base/crc32.h"
#include "base/host.h"
#include "weights/sweep.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_WORKERS = 12,
    WRITERS = 4,
    BUFFER = 1 << 20,
    BUFFER_BUDGET = 28 << 20, /* all buffers; with the workers' scratch this stays below 40 MiB */
    SOURCES = 4,              /* tensors of files that one tensor is made of */
    HASHES = 3,               /* of a tensor's pieces: its own, base's and diff's */
    MAX_LANES = 6,            /* tensors a worker has in hand */
    MAX_IN_HAND = 16,         /* and all workers together */
    RECORDS = 512,            /* of the journal, made and synced at once */
};

/* A batch is journaled when it is this large or this old. */
static const uint64_t SETTLE_BYTES = 256 << 20;
static const double SETTLE_SECONDS = 0.25;

struct source {
    const struct pc_tensor *t;
    uint64_t n_rows; /* seen so far, from the first on; UINT64_MAX when they did not come in order */
    uint8_t sha256[PC_SHA256_SIZE];
};

/* One tensor on its way. */
struct unit {
    struct run *run;
    uint32_t index;
    struct pc_disk_batch batch;
    struct source sources[SOURCES];
    int n_sources;
    struct unit *next; /* in run->written */
};

struct run {
    struct pc_stream *s;
    struct unit *units; /* largest first */
    uint32_t n_units;
    _Atomic uint32_t next_unit;
    _Atomic bool stop;
    struct pc_disk *disk;
    size_t buffer_size;
    int n_lanes; /* of each worker */
    uint64_t total;

    pthread_mutex_t lock; /* of all below */
    uint64_t done;        /* bytes, for progress */
    struct unit *written; /* not yet in the journal */
    uint64_t written_bytes;
    double last_settled;
    bool settling;
};

/* A buffer being filled. What lies behind its last page boundary moves on to the next one, so that all writes
 * but a tensor's first and last are of whole pages. */
struct filling {
    struct pc_disk_buffer *b;
    size_t start, end;
    uint64_t offset; /* in the file, of start */
    struct pc_disk_file *file;
};

/* A tensor in hand, and the piece of it that is at hand. */
struct lane {
    struct unit *u; /* NULL: none */
    uint64_t row;   /* the next to be read */
    uint32_t crc;
    struct filling f;
    struct pc_trace trace;
    struct pc_sha256 *hash, *source_hash[SOURCES];
    const unsigned char *piece;
    size_t piece_size;
};

struct worker {
    struct run *run;
    struct lane lanes[MAX_LANES];
};

/* ---- the journal ---- */

static int input_of(const struct pc_stream *s, const struct pc_tensor *t)
{
    for (size_t i = 0; i < s->n_inputs; i++)
        if (s->inputs[i].ck == t->owner)
            return (int)i;
    return -1;
}

/* JSON has no infinity, which a narrowed number may be off by; no F32 is as far off as DBL_MAX. */
static double to_json(double x)
{
    return isinf(x) ? DBL_MAX : x;
}

static double from_json(double x)
{
    return x == DBL_MAX ? (double)INFINITY : x;
}

static json_t *sources_of(const struct unit *u)
{
    char hex[PC_SHA256_HEX];
    json_t *sources = json_array();
    bool good = sources != NULL;
    for (int i = 0; i < u->n_sources; i++) {
        const struct source *src = &u->sources[i];
        int input = input_of(u->run->s, src->t);
        if (input >= 0 && src->n_rows == src->t->n_rows)
            good = json_array_append_new(sources,
                       json_pack("[i,s,s]", input, src->t->name, pc_sha256_hex(src->sha256, hex))) == 0 &&
                   good;
    }
    if (good)
        return sources;
    json_decref(sources);
    return NULL;
}

static json_t *record_of(const struct unit *u)
{
    const struct pc_stream *s = u->run->s;
    const struct pc_tensor_result *r = &s->results[u->index];
    char hex[PC_SHA256_HEX];
    return json_pack("{s:I,s:s,s:I,s:I,s:I,s:f,s:o}", "tensor", (json_int_t)u->index, "sha256",
        pc_sha256_hex(r->sha256, hex), "crc32", (json_int_t)s->layout->tensors[u->index].crc32, "special",
        (json_int_t)r->n_special, "lossy", (json_int_t)r->n_lossy, "max_error", to_json(r->max_error),
        "sources", sources_of(u));
}

static bool parse_hex(const char *hex, uint8_t digest[PC_SHA256_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    if (!hex || strlen(hex) != 2 * PC_SHA256_SIZE)
        return false;
    for (int i = 0; i < PC_SHA256_SIZE; i++) {
        const char *hi = strchr(digits, hex[2 * i]), *lo = strchr(digits, hex[2 * i + 1]);
        if (!hi || !lo)
            return false;
        digest[i] = (uint8_t)((hi - digits) << 4 | (lo - digits));
    }
    return true;
}

static bool restore_source(struct pc_stream *s, const json_t *source)
{
    size_t input = (size_t)json_integer_value(json_array_get(source, 0));
    const char *name = json_string_value(json_array_get(source, 1));
    const struct pc_tensor *t =
        name && input < s->n_inputs ? pc_checkpoint_find(s->inputs[input].ck, name) : NULL;
    if (!t ||
        !parse_hex(json_string_value(json_array_get(source, 2)), s->inputs[input].tensors[t->index].sha256))
        return false;
    s->inputs[input].tensors[t->index].known = true;
    return true;
}

int pc_stream_restore(struct pc_stream *s, const json_t *record, struct paco_error *err)
{
    int64_t i = -1, crc = 0, special = 0, lossy = 0;
    double max_error = 0;
    int rc = pc_json_get_i64(record, "tensor", 0, (int64_t)s->layout->n_tensors - 1, &i, err);
    if (rc == 0)
        rc = pc_json_get_i64(record, "crc32", 0, UINT32_MAX, &crc, err);
    if (rc == 0)
        rc = pc_json_get_i64(record, "special", 0, INT64_MAX, &special, err);
    if (rc == 0)
        rc = pc_json_get_i64(record, "lossy", 0, INT64_MAX, &lossy, err);
    if (rc == 0)
        rc = pc_json_opt_f64(record, "max_error", &max_error, err);
    if (rc < 0)
        return rc;
    struct pc_tensor_result r = {.done = true,
        .n_special = (uint64_t)special,
        .n_lossy = (uint64_t)lossy,
        .max_error = from_json(max_error)};
    bool good = parse_hex(json_string_value(json_object_get(record, "sha256")), r.sha256);
    size_t k;
    json_t *source;
    json_array_foreach(json_object_get(record, "sources"), k, source) good =
        good && restore_source(s, source);
    if (!good)
        return pc_error_set(err, PACO_EFORMAT, "a record of the journal does not fit the job");
    s->layout->tensors[i].crc32 = (uint32_t)crc;
    s->results[i] = r;
    return 0;
}

static int sync_files_of(const struct unit *list, struct paco_error *err)
{
    for (const struct unit *u = list; u; u = u->next) {
        const struct pc_stream *s = u->run->s;
        uint32_t file = s->layout->tensors[u->index].i_file;
        bool seen = false;
        for (const struct unit *v = list; v != u && !seen; v = v->next)
            seen = s->layout->tensors[v->index].i_file == file;
        int rc = seen ? 0 : pc_disk_sync(&s->files[file], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The records of up to RECORDS units from *list on, which moves behind them: a record is a tree of JSON, some
 * ten times its text. */
static int journal_some(struct run *run, const struct unit **list, struct paco_error *err)
{
    json_t *records[RECORDS];
    size_t n = 0;
    int rc = 0;
    for (; *list && n < RECORDS && rc == 0; *list = (*list)->next)
        if (!(records[n++] = record_of(*list)))
            rc = pc_error_mem(err, 256, "a journal record");
    if (rc == 0)
        rc = pc_journal_add(run->s->journal, records, n, err);
    while (n > 0)
        json_decref(records[--n]);
    return rc;
}

/* Data first, then the records that speak of it. */
static int journal_units(struct run *run, const struct unit *list, struct paco_error *err)
{
    int rc = sync_files_of(list, err);
    while (list && rc == 0)
        rc = journal_some(run, &list, err);
    return rc;
}

static int settle(struct run *run, bool now, struct paco_error *err)
{
    pthread_mutex_lock(&run->lock);
    bool due = now || run->s->journal_each || run->written_bytes >= SETTLE_BYTES ||
               pc_seconds() - run->last_settled >= SETTLE_SECONDS;
    struct unit *list = NULL;
    if (due && !run->settling) {
        list = run->written;
        run->written = NULL;
        run->written_bytes = 0;
        run->settling = list != NULL;
    }
    pthread_mutex_unlock(&run->lock);
    if (!list)
        return 0;
    int rc = journal_units(run, list, err);
    pthread_mutex_lock(&run->lock);
    run->settling = false;
    run->last_settled = pc_seconds();
    pthread_mutex_unlock(&run->lock);
    return rc;
}

/* All bytes of a tensor are written (or at least in the page cache). */
static void unit_written(void *arg)
{
    struct unit *u = arg;
    struct run *run = u->run;
    struct paco_error err = {0};
    pthread_mutex_lock(&run->lock);
    u->next = run->written;
    run->written = u;
    run->written_bytes += run->s->layout->tensors[u->index].size;
    pthread_mutex_unlock(&run->lock);
    if (settle(run, false, &err) < 0)
        pc_disk_fail(run->disk, &err);
}

/* ---- a tensor ---- */

static int say_progress(struct run *run, const char *item, uint64_t bytes, struct paco_error *err)
{
    pthread_mutex_lock(&run->lock);
    run->done += bytes;
    struct pc_progress_event e = {
        .phase = run->s->phase, .item = item, .done = run->done, .total = run->total, .unit = "B"};
    int stop = pc_progress(run->s->progress, &e);
    pthread_mutex_unlock(&run->lock);
    return stop ? pc_error_set(err, PACO_ECANCELLED, "interrupted; the same command goes on from here") : 0;
}

/* Where the hash of a view's tensor stands, or NULL for what is not hashed: a node's rows, rows out of order.
 */
static struct source *source_of(const struct lane *lane, const struct pc_trace_view *v)
{
    struct unit *u = lane->u;
    struct source *src = NULL;
    for (int i = 0; i < u->n_sources && !src; i++)
        if (u->sources[i].t == v->t)
            src = &u->sources[i];
    if (!src && u->n_sources < SOURCES && input_of(u->run->s, v->t) >= 0) {
        pc_sha256_reset(lane->source_hash[u->n_sources]);
        src = &u->sources[u->n_sources++];
        *src = (struct source){.t = v->t};
    }
    if (!src || src->n_rows != v->row0) {
        if (src && src->n_rows != src->t->n_rows)
            src->n_rows = UINT64_MAX;
        return NULL;
    }
    return src;
}

static bool flush(struct run *run, struct lane *lane, bool last)
{
    unsigned char carry[PC_DISK_PAGE];
    struct filling *f = &lane->f;
    size_t end = last ? f->end : f->end / PC_DISK_PAGE * PC_DISK_PAGE, rest = f->end - end;
    memcpy(carry, f->b->data + end, rest);
    pc_disk_write(run->disk, f->b, f->file, f->offset, f->start, end - f->start, &lane->u->batch);
    f->offset += end - f->start;
    f->b = NULL;
    if (last)
        return true;
    f->b = pc_disk_take(run->disk);
    if (!f->b)
        return false;
    memcpy(f->b->data, carry, rest);
    f->start = 0;
    f->end = rest;
    return true;
}

/* Take a tensor in hand, if there is one left: 1, or 0 if there is none, or -1 if others stopped. */
static int lane_begin(struct run *run, struct lane *lane)
{
    uint32_t i = atomic_fetch_add(&run->next_unit, 1);
    if (i >= run->n_units)
        return 0;
    struct unit *u = &run->units[i];
    const struct pc_out_tensor *out = &run->s->layout->tensors[u->index];
    struct pc_disk_buffer *b = pc_disk_take(run->disk);
    if (!b)
        return -1;
    u->batch = (struct pc_disk_batch){.n_pending = 1, .done = unit_written, .arg = u};
    lane->u = u;
    lane->row = 0;
    lane->crc = 0;
    lane->f = (struct filling){.b = b, .offset = out->offset, .file = &run->s->files[out->i_file]};
    lane->f.start = lane->f.end = (size_t)(out->offset % PC_DISK_PAGE);
    lane->trace.n_special = lane->trace.n_lossy = 0;
    lane->trace.max_error = 0;
    pc_sha256_reset(lane->hash);
    return 1;
}

/* The next piece. 0, a negative code, or 1 when others stopped. */
static int lane_read(struct run *run, struct lane *lane, struct paco_error *err)
{
    const struct pc_tensor *t = &run->s->ck->tensors[lane->u->index];
    lane->piece_size = 0;
    pc_trace_reset(&lane->trace);
    if (lane->row == t->n_rows || t->row_size == 0)
        return 0;
    uint64_t n = pc_trace_rows(t, t->n_rows - lane->row);
    size_t size = (size_t)(n * t->row_size);
    if (lane->f.end + size > run->buffer_size && !flush(run, lane, false))
        return 1;
    unsigned char *to = lane->f.b->data + lane->f.end;
    int rc = pc_tensor_read_traced(t, lane->row, n, to, &lane->trace, err);
    if (rc < 0)
        return rc;
    lane->piece = to;
    lane->piece_size = size;
    lane->row += n;
    return 0;
}

/* All lanes' pieces and all they came from, in step. */
static void hash_pieces(struct worker *w)
{
    struct pc_sha256_part parts[MAX_LANES * (1 + SOURCES)];
    size_t n = 0;
    for (int l = 0; l < w->run->n_lanes; l++) {
        struct lane *lane = &w->lanes[l];
        if (!lane->u || lane->piece_size == 0)
            continue;
        parts[n++] = (struct pc_sha256_part){lane->hash, lane->piece, lane->piece_size};
        for (size_t i = 0; i < lane->trace.n_views; i++) {
            const struct pc_trace_view *v = &lane->trace.views[i];
            struct source *src = source_of(lane, v);
            if (!src)
                continue;
            src->n_rows += v->n_rows;
            parts[n++] = (struct pc_sha256_part){
                lane->source_hash[src - lane->u->sources], v->bytes, (size_t)(v->n_rows * v->t->row_size)};
        }
    }
    pc_sha256_update_many(parts, n);
}

static void note_result(struct run *run, struct lane *lane)
{
    struct unit *u = lane->u;
    struct pc_tensor_result *r = &run->s->results[u->index];
    pc_sha256_final(lane->hash, r->sha256);
    r->n_special = lane->trace.n_special;
    r->n_lossy = lane->trace.n_lossy;
    r->max_error = lane->trace.max_error;
    r->done = true;
    run->s->layout->tensors[u->index].crc32 = lane->crc;
    for (int i = 0; i < u->n_sources; i++) {
        struct source *src = &u->sources[i];
        if (src->n_rows != src->t->n_rows)
            continue;
        pc_sha256_final(lane->source_hash[i], src->sha256);
        struct pc_input_digests *in = &run->s->inputs[input_of(run->s, src->t)];
        // Two tensors may share a source (a tied head): both have the same to say.
        pthread_mutex_lock(&run->lock);
        memcpy(in->tensors[src->t->index].sha256, src->sha256, PC_SHA256_SIZE);
        in->tensors[src->t->index].known = true;
        pthread_mutex_unlock(&run->lock);
    }
}

/* After the piece at hand was hashed. */
static int lane_advance(struct run *run, struct lane *lane, struct paco_error *err)
{
    const struct pc_tensor *t = &run->s->ck->tensors[lane->u->index];
    if (run->s->layout->wants_crc)
        lane->crc = pc_crc32(lane->crc, lane->piece, lane->piece_size);
    lane->f.end += lane->piece_size;
    int rc = say_progress(run, t->name, lane->piece_size, err);
    if (rc < 0 || (lane->row < t->n_rows && t->row_size > 0))
        return rc;
    note_result(run, lane);
    flush(run, lane, true);
    pc_disk_batch_end(&lane->u->batch);
    lane->u = NULL;
    return 0;
}

/* ---- a worker ---- */

static int worker_init(struct worker *w, struct paco_error *err)
{
    bool good = true;
    for (int l = 0; l < w->run->n_lanes && good; l++) {
        good = (w->lanes[l].hash = pc_sha256_new(err)) != NULL;
        for (int i = 0; i < SOURCES && good; i++)
            good = (w->lanes[l].source_hash[i] = pc_sha256_new(err)) != NULL;
    }
    return good ? 0 : PACO_EMEM;
}

static void worker_release(struct worker *w)
{
    for (int l = 0; l < MAX_LANES; l++) {
        struct lane *lane = &w->lanes[l];
        if (lane->u && lane->f.b)
            pc_disk_return(w->run->disk, lane->f.b);
        pc_trace_release(&lane->trace);
        pc_sha256_free(lane->hash);
        for (int i = 0; i < SOURCES; i++)
            pc_sha256_free(lane->source_hash[i]);
    }
}

enum { GO_ON = 0, STOPPED = 1, FINISHED = 2 }; /* beside negative codes */

/* One piece of every tensor in hand. */
static int worker_round(struct worker *w, struct paco_error *err)
{
    struct run *run = w->run;
    int n_active = 0, rc = 0;
    for (int l = 0; l < run->n_lanes && rc == 0; l++) {
        struct lane *lane = &w->lanes[l];
        int began = lane->u ? 1 : lane_begin(run, lane);
        if (began < 0)
            return STOPPED;
        if (began == 0)
            continue;
        n_active++;
        rc = lane_read(run, lane, err);
    }
    if (rc != 0 || n_active == 0)
        return rc != 0 ? rc : FINISHED;
    hash_pieces(w);
    for (int l = 0; l < run->n_lanes && rc == 0; l++)
        if (w->lanes[l].u)
            rc = lane_advance(run, &w->lanes[l], err);
    return rc;
}

static void worker_main(void *arg, int64_t i_task, int i_worker)
{
    (void)i_task, (void)i_worker;
    struct worker w = {.run = arg};
    struct paco_error err = {0};
    int rc = worker_init(&w, &err);
    while (rc == GO_ON && !w.run->stop)
        rc = worker_round(&w, &err);
    if (rc < 0)
        pc_disk_fail(w.run->disk, &err);
    if (rc != GO_ON && rc != FINISHED)
        w.run->stop = true;
    worker_release(&w);
}

/* ---- all of them ---- */

static int by_size(const void *a, const void *b)
{
    const struct unit *x = a, *y = b;
    const struct pc_out_tensor *t = x->run->s->layout->tensors;
    if (t[x->index].size != t[y->index].size)
        return t[x->index].size > t[y->index].size ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static int plan_units(struct run *run, struct paco_error *err)
{
    struct pc_stream *s = run->s;
    run->units = pc_alloc_zero(s->layout->n_tensors, sizeof *run->units);
    if (!run->units)
        return pc_error_mem(err, s->layout->n_tensors * sizeof *run->units, "the list of tensors");
    size_t piece = 0;
    for (uint32_t i = 0; i < s->layout->n_tensors; i++) {
        const struct pc_tensor *t = &s->ck->tensors[i];
        size_t size = (size_t)(pc_trace_rows(t, t->n_rows ? t->n_rows : 1) * t->row_size);
        piece = size > piece ? size : piece;
        run->total += t->size;
        if (s->results[i].done)
            run->done += t->size;
        else
            run->units[run->n_units++] = (struct unit){.run = run, .index = i};
    }
    if (run->n_units)
        qsort(run->units, run->n_units, sizeof *run->units, by_size);
    // Room for two pieces, so that every flush but the last has whole pages to write.
    run->buffer_size = (2 * piece > BUFFER ? 2 * piece : (size_t)BUFFER) + 2 * PC_DISK_PAGE;
    return 0;
}

/* Workers, the tensors each has in hand, and buffers: one for each tensor in hand, some on their way to the
 * disk. */
static int count_workers(struct run *run, int *n_buffers)
{
    int most = (int)(BUFFER_BUDGET / run->buffer_size);
    int n = pc_pool_size(run->s->pool);
    n = n > MAX_WORKERS ? MAX_WORKERS : n;
    n = n > most / 2 ? most / 2 : n;
    n = (uint32_t)n > run->n_units ? (int)run->n_units : n;
    n = n < 1 ? 1 : n;
    int lanes = run->s->one_in_hand ? 1 : (pc_sha256_width() + HASHES - 1) / HASHES;
    lanes = lanes > MAX_LANES ? MAX_LANES : lanes;
    lanes = lanes > MAX_IN_HAND / n ? MAX_IN_HAND / n : lanes;
    lanes = lanes > most / 2 / n ? most / 2 / n : lanes;
    run->n_lanes = lanes < 1 ? 1 : lanes;
    int in_hand = n * run->n_lanes;
    *n_buffers = in_hand + n + WRITERS > most ? most : in_hand + n + WRITERS;
    *n_buffers = *n_buffers <= in_hand ? in_hand + 1 : *n_buffers;
    return n;
}

static int run_units(struct run *run, struct paco_error *err)
{
    int n_buffers, n_workers = count_workers(run, &n_buffers);
    int rc = pc_disk_new(run->buffer_size, n_buffers, WRITERS, &run->disk, err);
    if (rc < 0)
        return rc;
    run->last_settled = pc_seconds();
    pc_pool_run(run->s->pool, n_workers, worker_main, run);
    rc = pc_disk_wait(run->disk, err);
    // After a failure too: what was finished before it counts.
    struct paco_error late = {0};
    int settled = settle(run, true, rc < 0 ? &late : err);
    pc_disk_free(run->disk);
    return rc < 0 ? rc : settled;
}

int pc_stream_run(struct pc_stream *s, struct paco_error *err)
{
    struct run run = {.s = s};
    pthread_mutex_init(&run.lock, NULL);
    int rc = plan_units(&run, err);
    if (rc == 0 && run.n_units > 0)
        rc = run_units(&run, err);
    pthread_mutex_destroy(&run.lock);
    pc_free(run.units);
    return rc;
}

/* ---- inputs that did not stream by ---- */

struct rest {
    struct pc_stream *s;
    const struct pc_tensor **tensors;
    uint64_t *sizes;
    size_t n;
};

static int hash_tensor(void *ctx, size_t i, struct pc_sweep *sweep, struct paco_error *err)
{
    struct rest *rest = ctx;
    const struct pc_tensor *t = rest->tensors[i];
    struct pc_trace tr = {0};
    struct pc_sha256 *h = pc_sha256_new(err);
    int rc = h ? 0 : PACO_EMEM;
    for (uint64_t row = 0, n; rc == 0 && row < t->n_rows && t->row_size > 0; row += n) {
        n = pc_trace_rows(t, t->n_rows - row);
        pc_trace_reset(&tr);
        void *buf = pc_trace_scratch(&tr, n * t->row_size, err);
        rc = buf ? pc_tensor_read(t, row, n, buf, err) : PACO_EMEM;
        if (rc == 0) {
            pc_sha256_update(h, buf, (size_t)(n * t->row_size));
            rc = pc_sweep_step(sweep, t->name, n * t->row_size, err);
        }
    }
    if (rc == 0) {
        struct pc_input_digests *in = &rest->s->inputs[input_of(rest->s, t)];
        pc_sha256_final(h, in->tensors[t->index].sha256);
        in->tensors[t->index].known = true;
    }
    pc_sha256_free(h);
    pc_trace_release(&tr);
    return rc;
}

static void list_rest(struct rest *rest)
{
    struct pc_stream *s = rest->s;
    for (size_t k = 0; k < s->n_inputs; k++)
        for (size_t i = 0; i < s->inputs[k].ck->n_tensors; i++) {
            if (s->inputs[k].tensors[i].known)
                continue;
            rest->tensors[rest->n] = &s->inputs[k].ck->tensors[i];
            rest->sizes[rest->n++] = s->inputs[k].ck->tensors[i].size;
        }
}

int pc_stream_rest_of_inputs(struct pc_stream *s, struct paco_error *err)
{
    struct rest rest = {.s = s};
    size_t n = 0;
    for (size_t k = 0; k < s->n_inputs; k++)
        n += s->inputs[k].ck->n_tensors;
    rest.tensors = pc_alloc(n, sizeof *rest.tensors);
    rest.sizes = pc_alloc(n, sizeof *rest.sizes);
    int rc = 0;
    if (rest.tensors && rest.sizes) {
        list_rest(&rest);
        struct pc_sweep_options o = {.task = hash_tensor,
            .ctx = &rest,
            .n = rest.n,
            .sizes = rest.sizes,
            .pool = s->pool,
            .progress = s->progress,
            .phase = "hashing"};
        rc = rest.n ? pc_sweep_run(&o, err) : 0;
    } else {
        rc = pc_error_mem(err, n * sizeof *rest.tensors, "the list of tensors");
    }
    pc_free(rest.tensors);
    pc_free(rest.sizes);
    return rc;
}
