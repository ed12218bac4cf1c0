// SPDX-License-Identifier: Apache-2.0
/* Checkpoints made here by hand, hostile ones above all. The legacy form: test_torch_legacy.c. What paco and
 * PyTorch wrote: test_torch_write.c. */
#include "base/threads.h"
#include "torch_build.h"

#include <fcntl.h>
#include <stdatomic.h>

/* ---- reading ---- */

static void a_plain_tensor(void **state)
{
    (void)state;
    const struct item items[] = {{"w", "FloatStorage", "0", 6, 0, 2, {2, 3}, {3, 1}}};
    struct one o;
    one_finish(&o, items, 1, 24, false);
    struct pc_checkpoint *ck = open_zip(&o.z);
    assert_string_equal(ck->kind, "torch");
    assert_int_equal(ck->n_tensors, 1);
    const struct pc_tensor *t = pc_checkpoint_find(ck, "w");
    assert_int_equal(t->dtype, PC_F32);
    assert_int_equal(t->n_rows, 2);
    assert_int_equal(t->row_size, 12);
    uint8_t row[12];
    struct paco_error err = {0};
    assert_int_equal(pc_tensor_read(t, 1, 1, row, &err), 0);
    assert_memory_equal(row, o.bytes + 12, 12);
    assert_memory_equal(pc_tensor_map(t), o.bytes, 24);
    const char *path;
    uint64_t at;
    assert_true(ck->ops->where(t, &path, &at));
    assert_string_equal(path, g_path);
    assert_int_equal(at, o.data->data_at);
    assert_null(ck->note);
    assert_int_equal(pc_tensor_read(t, 1, 2, row, &err), PACO_EINVAL);
    pc_checkpoint_close(ck);
    one_release(&o);
}

static uint32_t g_seed = 12345;

static uint32_t random_below(uint32_t n)
{
    g_seed = g_seed * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)(g_seed >> 8) * n) >> 24);
}

/* The element of a view that lies at position i of its row-major order, found the slow way. */
static uint64_t element_at(const struct item *t, uint64_t i)
{
    int64_t at = t->offset;
    for (int d = t->n_dims - 1; d >= 0; d--) {
        at += (int64_t)(i % (uint64_t)t->shape[d]) * t->stride[d];
        i /= (uint64_t)t->shape[d];
    }
    return (uint64_t)at;
}

/* A view of random shape, strides in any order, overlapping or far apart, that fits n_elements. */
static struct item random_view(const char *name, const char *storage_class, uint32_t n_elements)
{
    struct item t = {
        .name = name, .storage_class = storage_class, .key = "0", .n_elements = (int32_t)n_elements};
    static const uint32_t scales[] = {1, 2, 7, 100, 3000, 20000};
    int64_t last = 0;
    t.n_dims = (int)random_below(6);
    for (int d = 0; d < t.n_dims; d++) {
        t.shape[d] = 1 + (int32_t)random_below(d == 0 ? 40 : 7);
        t.stride[d] = (int32_t)(random_below(5) == 0 ? 0
                                : random_below(3)    ? scales[random_below(6)]
                                                     : 1 + random_below(5000));
        if (last + (int64_t)(t.shape[d] - 1) * t.stride[d] >= (int64_t)n_elements)
            t.stride[d] = 0;
        last += (int64_t)(t.shape[d] - 1) * t.stride[d];
    }
    t.offset = (int32_t)random_below(n_elements - (uint32_t)last);
    return t;
}

static void check_rows(const struct pc_tensor *t, const struct item *item, const uint8_t *storage)
{
    size_t size = pc_dtype_traits(t->dtype)->block_size;
    for (uint64_t row = 0; row < t->n_rows;) {
        uint64_t n = 1 + random_below((uint32_t)(t->n_rows - row));
        // Exactly as large as promised, so that the address sanitizer sees a byte too many.
        uint8_t *buf = malloc(n * t->row_size);
        assert_non_null(buf);
        struct paco_error err = {0};
        if (pc_tensor_read(t, row, n, buf, &err) < 0)
            fail_msg("%s", err.message);
        for (uint64_t i = 0; i < n * t->row_elems; i++)
            if (memcmp(buf + i * size, storage + element_at(item, row * t->row_elems + i) * size, size) != 0)
                fail_msg("%s: element %llu of row %llu differs", t->name, (unsigned long long)i,
                    (unsigned long long)row);
        free(buf);
        row += n;
    }
}

/* Random views against the slow way: strides small and large, zero, overlapping, in every order, for each
 * element size. */
static void any_view(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t size;
    } classes[] = {{"ByteStorage", 1}, {"HalfStorage", 2}, {"FloatStorage", 4}, {"DoubleStorage", 8}};
    enum { N = 60, BYTES = 480000 };
    for (int c = 0; c < 4; c++)
        for (int deflated = 0; deflated < 2; deflated++) {
            struct item items[N];
            char names[N][8];
            for (int i = 0; i < N; i++) {
                snprintf(names[i], sizeof names[i], "t%d", i);
                items[i] = random_view(names[i], classes[c].name, BYTES / classes[c].size);
            }
            struct one o;
            one_finish(&o, items, deflated ? 10 : N, BYTES, deflated);
            struct pc_checkpoint *ck = open_zip(&o.z);
            for (size_t i = 0; i < ck->n_tensors; i++)
                check_rows(&ck->tensors[i], &items[i], o.bytes);
            pc_checkpoint_close(ck);
            one_release(&o);
        }
}

static void views_are_not_mapped_unless_contiguous(void **state)
{
    (void)state;
    const struct item items[] = {
        {"plain", "FloatStorage", "0", 24, 0, 2, {4, 6}, {6, 1}},
        {"rows", "FloatStorage", "0", 24, 6, 2, {2, 6}, {6, 1}},
        {"transposed", "FloatStorage", "0", 24, 0, 2, {6, 4}, {1, 6}},
        {"columns", "FloatStorage", "0", 24, 0, 2, {4, 3}, {6, 1}},
        {"one column", "FloatStorage", "0", 24, 2, 2, {1, 3}, {99, 1}},
        {"expanded", "FloatStorage", "0", 24, 0, 2, {5, 6}, {0, 1}},
        {"empty", "FloatStorage", "0", 24, 1000, 2, {0, 6}, {6, 1}},
        {"scalar", "FloatStorage", "0", 24, 5, 0, {0}, {0}},
    };
    static const int at[] = {0, 24, -1, -1, 8, -1, -1, 20};
    for (int deflated = 0; deflated < 2; deflated++) {
        struct one o;
        one_finish(&o, items, 8, 96, deflated);
        struct pc_checkpoint *ck = open_zip(&o.z);
        for (int i = 0; i < 8; i++) {
            const char *path;
            uint64_t offset;
            const struct pc_tensor *t = &ck->tensors[i];
            const void *map = pc_tensor_map(t);
            if (at[i] < 0 || deflated)
                assert_null(map);
            else
                assert_memory_equal(map, o.bytes + at[i], t->size);
            if (i != 6)
                assert_int_equal(ck->ops->where(t, &path, &offset), at[i] >= 0 && !deflated);
            if (at[i] >= 0 && !deflated)
                assert_int_equal(offset, o.data->data_at + (size_t)at[i]);
            check_rows(t, &items[i], o.bytes);
        }
        pc_checkpoint_close(ck);
        one_release(&o);
    }
}

static void wrapped_state_dicts(void **state)
{
    (void)state;
    const struct item w = {"w", "FloatStorage", "0", 1, 0, 1, {1}, {1}};
    static const char *const wrappers[] = {
        "state_dict", "model", "module", "model_state_dict", "model_state"};
    for (size_t i = 0; i < 5; i++) {
        struct pc_buf b;
        struct zb z = {0};
        pc_buf_init(&b, 1 << 16);
        pc_buf_puts(&b, "\x80\2}(");
        put_string(&b, "epoch");
        put_int(&b, 3);
        put_string(&b, wrappers[i]);
        put_dict(&b, &w, 1, false);
        put_string(&b, "optimizer");
        pc_buf_puts(&b, "}u.");
        zb_add(&z, "data.pkl", b.data, b.len, false);
        zb_add(&z, "data/0", "\0\0\x80\x3f", 4, false);
        zb_finish(&z);
        struct pc_checkpoint *ck = open_zip(&z);
        assert_int_equal(ck->n_tensors, 1);
        char note[128];
        snprintf(note, sizeof note,
            "the tensors are under '%s', beside 'epoch' (an integer), 'optimizer' (a dict)", wrappers[i]);
        assert_string_equal(ck->note, note);
        pc_checkpoint_close(ck);
        pc_buf_release(&b);
        pc_buf_release(&z.b);
    }
}

static void other_values_are_noted(void **state)
{
    (void)state;
    const struct item w = {"w", "FloatStorage", "0", 1, 0, 1, {1}, {1}};
    struct pc_buf b;
    struct zb z = {0};
    pc_buf_init(&b, 1 << 16);
    pc_buf_puts(&b, "\x80\2");
    put_dict(&b, &w, 1, false);
    pc_buf_puts(&b, "(");
    for (int i = 0; i < 7; i++) {
        char name[8];
        snprintf(name, sizeof name, "n%d", i);
        put_string(&b, name);
        pc_buf_putc(&b, 'N');
    }
    put_int(&b, 5);
    put_tensor(&b, &w, false);
    pc_buf_puts(&b, "u.");
    zb_add(&z, "p/data.pkl", b.data, b.len, false);
    zb_add(&z, "p/data/0", "\0\0\x80\x3f", 4, false);
    zb_finish(&z);
    struct pc_checkpoint *ck = open_zip(&z);
    assert_int_equal(ck->n_tensors, 1);
    assert_string_equal(ck->note,
        "skipped 8 values that are not tensors: 'n0' (None), 'n1' (None), 'n2' (None), "
        "'n3' (None), 'n4' (None), ...");
    pc_checkpoint_close(ck);
    pc_buf_release(&b);
    pc_buf_release(&z.b);
}

/* ---- damage ---- */

static int read_in_steps(
    const struct pc_tensor *t, uint64_t step, uint64_t *failed_row, struct paco_error *err)
{
    uint8_t *buf = malloc(step * t->row_size);
    assert_non_null(buf);
    int rc = 0;
    for (uint64_t row = 0; rc == 0 && row < t->n_rows; row += step) {
        uint64_t n = t->n_rows - row < step ? t->n_rows - row : step;
        *failed_row = row;
        rc = pc_tensor_read(t, row, n, buf, err);
    }
    free(buf);
    return rc;
}

static void expect_damage(
    const struct pc_checkpoint *ck, const struct one *o, int rc, const struct paco_error *err)
{
    assert_int_equal(rc, PACO_EFORMAT);
    assert_contains(err->message, "tensor '");
    assert_contains(err->message, "zip entry 'archive/data/0' is damaged");
    assert_string_equal(err->path, ck->path);
    assert_int_equal(err->offset, o->data->data_at);
}

static void damage_is_found_while_reading(void **state)
{
    (void)state;
    const struct item items[] = {
        {"low", "FloatStorage", "0", 1000, 0, 2, {60, 10}, {10, 1}},
        {"high", "FloatStorage", "0", 1000, 600, 2, {40, 10}, {10, 1}},
        {"across", "FloatStorage", "0", 1000, 0, 2, {10, 100}, {1, 10}},
    };
    struct one o;
    one_finish(&o, items, 3, 4000, false);
    o.z.b.data[o.data->data_at + 1234] ^= 1;
    struct paco_error err = {0};
    uint64_t row;
    // Two tensors share the storage: the read that completes it fails, whichever comes last.
    for (int order = 0; order < 2; order++) {
        struct pc_checkpoint *ck = open_zip(&o.z);
        assert_int_equal(read_in_steps(&ck->tensors[order], 7, &row, &err), 0);
        expect_damage(ck, &o, read_in_steps(&ck->tensors[!order], 7, &row, &err), &err);
        assert_int_equal(row, order ? 56 : 35);
        // From then on it stays bad.
        expect_damage(ck, &o, read_in_steps(&ck->tensors[order], 7, &row, &err), &err);
        assert_int_equal(row, 0);
        pc_checkpoint_close(ck);
    }
    // A view that jumps about is summed whole before the first row.
    struct pc_checkpoint *ck = open_zip(&o.z);
    expect_damage(ck, &o, read_in_steps(&ck->tensors[2], 1, &row, &err), &err);
    assert_int_equal(row, 0);
    pc_checkpoint_close(ck);
    one_release(&o);
}

/* What has sampled some rows, as a look at the weights does, must not keep the rest from being summed. */
static void sampled_rows_are_no_holes_in_the_sum(void **state)
{
    (void)state;
    const struct item items[] = {{"w", "FloatStorage", "0", 8000, 0, 2, {800, 10}, {10, 1}}};
    struct paco_error err = {0};
    uint8_t row[40];
    uint64_t at;
    for (int damaged = 0; damaged < 2; damaged++)
        for (uint64_t n_sampled = 1; n_sampled <= 800; n_sampled += n_sampled == 1 ? 7 : 264) {
            struct one o;
            one_finish(&o, items, 1, 32000, false);
            if (damaged)
                o.z.b.data[o.data->data_at + 1234] ^= 1;
            struct pc_checkpoint *ck = open_zip(&o.z);
            for (uint64_t i = 0; i < n_sampled; i++)
                (void)pc_tensor_read(&ck->tensors[0], (i * 7 + 3) % 800, 1, row, NULL);
            int rc = read_in_steps(&ck->tensors[0], 7, &at, &err);
            if (damaged)
                expect_damage(ck, &o, rc, &err);
            else
                assert_int_equal(rc, 0);
            pc_checkpoint_close(ck);
            one_release(&o);
        }
}

/* A slice of a larger storage: nobody reads the rest of it. */
static void a_slice_is_checked_too(void **state)
{
    (void)state;
    const struct item items[] = {{"w", "FloatStorage", "0", 1000, 100, 2, {60, 10}, {10, 1}}};
    struct paco_error err = {0};
    uint64_t row;
    struct one o;
    one_finish(&o, items, 1, 4000, false);
    struct pc_checkpoint *ck = open_zip(&o.z);
    assert_int_equal(read_in_steps(&ck->tensors[0], 7, &row, &err), 0);
    pc_checkpoint_close(ck);
    o.z.b.data[o.data->data_at + 1234] ^= 1;
    ck = open_zip(&o.z);
    expect_damage(ck, &o, read_in_steps(&ck->tensors[0], 7, &row, &err), &err);
    pc_checkpoint_close(ck);
    one_release(&o);
}

static void a_sum_of_zero_is_no_sum(void **state)
{
    (void)state;
    const struct item items[] = {{"w", "FloatStorage", "0", 1000, 0, 2, {100, 10}, {10, 1}}};
    struct one o;
    uint64_t row;
    struct paco_error err = {0};
    one_finish(&o, items, 1, 4000, false);
    zb_patch(&o.z, o.data->central_at + 16, 0, 4);
    zb_patch(&o.z, o.data->header_at + 14, 0, 4);
    struct pc_checkpoint *ck = open_zip(&o.z);
    assert_int_equal(read_in_steps(&ck->tensors[0], 9, &row, &err), 0);
    pc_checkpoint_close(ck);
    one_release(&o);
}

struct shared_read {
    const struct pc_tensor *t;
    uint8_t *out;
    int64_t n_tasks;
    _Atomic int n_failed;
};

/* Chunks in an order far from ascending. */
static void read_task(void *arg, int64_t i_task, int i_worker)
{
    (void)i_worker;
    struct shared_read *r = arg;
    uint64_t i = (uint64_t)(i_task * 37 % r->n_tasks), step = r->t->n_rows / (uint64_t)r->n_tasks;
    struct paco_error err = {0};
    if (pc_tensor_read(r->t, i * step, step, r->out + i * step * r->t->row_size, &err) < 0)
        atomic_fetch_add(&r->n_failed, 1);
}

static void many_threads_read_and_sum(void **state)
{
    (void)state;
    enum { ROWS = 101 * 50, COLS = 100, SIZE = ROWS * COLS * 4 };
    const struct item items[] = {{"w", "FloatStorage", "0", ROWS * COLS, 0, 2, {ROWS, COLS}, {COLS, 1}}};
    struct paco_error err = {0};
    struct pc_pool *pool = pc_pool_new(4, &err);
    assert_non_null(pool);
    for (int deflated = 0; deflated < 2; deflated++)
        for (int damaged = 0; damaged < 2; damaged++) {
            struct one o;
            one_finish(&o, items, 1, SIZE, deflated);
            if (damaged && !deflated)
                o.z.b.data[o.data->data_at + 1000000] ^= 4;
            if (damaged && deflated) {
                // The bytes are sound, the sum is not.
                zb_patch(&o.z, o.data->header_at + 14, o.data->crc32 ^ 1, 4);
                zb_patch(&o.z, o.data->central_at + 16, o.data->crc32 ^ 1, 4);
            }
            struct pc_checkpoint *ck = open_zip(&o.z);
            struct shared_read r = {.t = &ck->tensors[0], .out = malloc(SIZE), .n_tasks = 101};
            assert_non_null(r.out);
            pc_pool_run(pool, r.n_tasks, read_task, &r);
            if (damaged)
                assert_in_range(r.n_failed, 1, 101);
            else
                assert_int_equal(r.n_failed, 0);
            if (!damaged)
                assert_memory_equal(r.out, o.bytes, SIZE);
            free(r.out);
            pc_checkpoint_close(ck);
            one_release(&o);
        }
    pc_pool_free(pool);
}

static void mapped_tensors_are_summed_when_asked(void **state)
{
    (void)state;
    const struct item items[] = {{"w", "FloatStorage", "0", 4000, 0, 2, {10, 200}, {200, 1}},
        {"v", "FloatStorage", "0", 4000, 2000, 2, {10, 200}, {200, 1}}};
    for (int damaged = 0; damaged < 2; damaged++)
        for (int n_items = 1; n_items <= 2; n_items++) {
            struct one o;
            struct paco_error err = {0};
            one_finish(&o, items, (size_t)n_items, 16000, false);
            if (damaged)
                o.z.b.data[o.data->data_at + 15990] ^= 4;
            struct pc_checkpoint *ck = open_zip(&o.z);
            const struct pc_tensor *w = &ck->tensors[0], *last = &ck->tensors[n_items - 1];
            assert_non_null(pc_tensor_map(w));
            assert_true(pc_tensor_has_check(w));
            // One tensor leaves half of the entry to nobody, which is then summed at once; two cover it.
            assert_int_equal(pc_tensor_check(w, 5, 5, &err), damaged && n_items == 1 ? PACO_EFORMAT : 0);
            assert_int_equal(pc_tensor_check(w, 0, 5, &err), damaged && n_items == 1 ? PACO_EFORMAT : 0);
            if (n_items == 2)
                assert_int_equal(pc_tensor_check(last, 0, 10, &err), damaged ? PACO_EFORMAT : 0);
            if (damaged) {
                char name[32];
                snprintf(name, sizeof name, "tensor '%s': zip entry", last->name);
                assert_contains(err.message, name);
                assert_contains(err.message, "is damaged");
                assert_int_equal(err.offset, o.data->data_at);
                assert_int_equal(pc_tensor_check(w, 0, 1, &err), PACO_EFORMAT);
            }
            pc_checkpoint_close(ck);
            one_release(&o);
        }
}

/* A deflated entry half of which no tensor shows, or one half twice: its end is reached all the same. */
static void deflated_ends_are_reached(void **state)
{
    (void)state;
    const struct item items[] = {{"w", "FloatStorage", "0", 4000, 0, 2, {10, 200}, {200, 1}},
        {"again", "FloatStorage", "0", 4000, 0, 2, {10, 200}, {200, 1}}};
    for (int damaged = 0; damaged < 2; damaged++)
        for (int n_items = 1; n_items <= 2; n_items++) {
            struct one o;
            struct paco_error err = {0};
            float rows[2000];
            one_finish(&o, items, (size_t)n_items, 16000, true);
            if (damaged) {
                zb_patch(&o.z, o.data->header_at + 14, o.data->crc32 ^ 1, 4);
                zb_patch(&o.z, o.data->central_at + 16, o.data->crc32 ^ 1, 4);
            }
            struct pc_checkpoint *ck = open_zip(&o.z);
            assert_int_equal(pc_tensor_read(&ck->tensors[0], 0, 10, rows, &err), damaged ? PACO_EFORMAT : 0);
            if (damaged)
                assert_contains(
                    err.message, "tensor 'w': zip entry 'archive/data/0' is damaged: its CRC-32 is");
            else
                assert_memory_equal(rows, o.bytes, sizeof rows);
            pc_checkpoint_close(ck);
            one_release(&o);
        }
}

/* The last bytes of a run are still to come when all of the packed ones are taken. */
static void deflated_bytes_one_by_one(void **state)
{
    (void)state;
    const struct item items[] = {{"w", "ByteStorage", "0", 5000, 0, 2, {5000, 1}, {1, 1}}};
    struct one o;
    struct pc_buf pkl = state_dict(items, 1);
    static const char zeros[5000];
    uint64_t row;
    struct paco_error err = {0};
    o = (struct one){.bytes = NULL};
    zb_add(&o.z, "a/data.pkl", pkl.data, pkl.len, false);
    zb_add(&o.z, "a/data/0", zeros, sizeof zeros, true);
    zb_finish(&o.z);
    pc_buf_release(&pkl);
    struct pc_checkpoint *ck = open_zip(&o.z);
    assert_int_equal(read_in_steps(&ck->tensors[0], 1, &row, &err), 0);
    pc_checkpoint_close(ck);
    one_release(&o);
}

/* Rows of a transposed matrix, a few at a time: all threads share one panel of rows gathered ahead. */
static void many_threads_gather(void **state)
{
    (void)state;
    enum { ROWS = 101 * 20, COLS = 700, SIZE = ROWS * COLS * 4 };
    const struct item items[] = {{"w", "FloatStorage", "0", ROWS * COLS, 0, 2, {ROWS, COLS}, {1, ROWS}}};
    struct paco_error err = {0};
    struct pc_pool *pool = pc_pool_new(4, &err);
    assert_non_null(pool);
    struct one o;
    one_finish(&o, items, 1, SIZE, false);
    struct pc_checkpoint *ck = open_zip(&o.z);
    struct shared_read r = {.t = &ck->tensors[0], .out = malloc(SIZE), .n_tasks = 101};
    assert_non_null(r.out);
    pc_pool_run(pool, r.n_tasks, read_task, &r);
    assert_int_equal(r.n_failed, 0);
    for (size_t row = 0; row < ROWS; row++)
        for (size_t column = 0; column < COLS; column++)
            assert_memory_equal(r.out + (row * COLS + column) * 4, o.bytes + (column * ROWS + row) * 4, 4);
    free(r.out);
    pc_checkpoint_close(ck);
    one_release(&o);
    pc_pool_free(pool);
}

static void damaged_streams_are_found(void **state)
{
    (void)state;
    const struct item items[] = {{"w", "ByteStorage", "0", 100000, 0, 2, {1000, 100}, {100, 1}}};
    static const struct {
        int what;
        const char *part;
    } cases[] = {{0, "is damaged at unpacked byte"}, {1, "ends early at unpacked byte"},
        {2, "does not end at unpacked byte"}};
    for (int i = 0; i < 3; i++) {
        struct one o;
        uint64_t row;
        struct paco_error err = {0};
        one_finish(&o, items, 1, 100000, true);
        if (cases[i].what == 0) {
            memset(o.z.b.data + o.data->data_at + 30, 0xff, 8);
        } else {
            // It unpacks to fewer or more bytes than the directory and the pickle agree on.
            static const char zeros[100100];
            struct pc_buf pkl = state_dict(items, 1);
            pc_buf_release(&o.z.b);
            o.z = (struct zb){0};
            zb_add(&o.z, "a/data.pkl", pkl.data, pkl.len, false);
            o.data = zb_add(&o.z, "a/data/0", zeros, cases[i].what == 1 ? 99900 : 100100, true);
            zb_patch(&o.z, o.data->header_at + 22, 100000, 4);
            o.data->size = 100000;
            zb_finish(&o.z);
            pc_buf_release(&pkl);
        }
        struct pc_checkpoint *ck = open_zip(&o.z);
        assert_int_equal(read_in_steps(&ck->tensors[0], 10, &row, &err), PACO_EFORMAT);
        assert_contains(err.message, cases[i].part);
        assert_contains(err.message, "tensor 'w'");
        assert_in_range(err.offset, o.data->data_at, o.data->data_at + o.data->packed_size);
        pc_checkpoint_close(ck);
        one_release(&o);
    }
}

/* ---- hostile archives ---- */

static void impossible_tensors_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct item t;
        int code;
        const char *part;
    } cases[] = {
        {{"w", "FloatStorage", "0", 6, 0, 2, {2, 3}, {3, -1}}, PACO_EFORMAT,
            "dimension 1 has size 3 and stride -1"},
        {{"w", "FloatStorage", "0", 6, 0, 2, {-2, 3}, {3, 1}}, PACO_EFORMAT, "dimension 0 has size -2"},
        {{"w", "FloatStorage", "0", 6, -1, 1, {2}, {1}}, PACO_EFORMAT, "begins at element -1"},
        {{"w", "FloatStorage", "0", 6, 1, 2, {2, 3}, {3, 1}}, PACO_EFORMAT,
            "reaches to element 6 of f32, beyond its storage of 24"},
        {{"w", "FloatStorage", "0", 6, 0, 1, {2}, {INT32_MAX}}, PACO_EFORMAT,
            "reaches to element 2147483647"},
        {{"w", "FloatStorage", "0", 6, 6, 0, {0}, {0}}, PACO_EFORMAT, "reaches to element 6"},
        {{"w", "FloatStorage", "0", 6, 0, 9, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1}},
            PACO_ELIMIT, "has 9 dimensions"},
        {{"w", "FloatStorage", "0", 6, 0, 2, {INT32_MAX, 100}, {0, 0}}, PACO_ELIMIT,
            "would expand 24 bytes of storage to"},
        {{"w", "FloatStorage", "0", 6, 0, 3, {INT32_MAX, INT32_MAX, INT32_MAX}, {0, 0, 0}}, PACO_EFORMAT,
            "of no possible size"},
        {{"w", "FloatStorage", "0", 6, 0, 3, {INT32_MAX, INT32_MAX, 1}, {INT32_MAX, INT32_MAX, 1}},
            PACO_EFORMAT, "reaches to element"},
        {{"w", "FloatStorage", "0", 6, 0, 3, {INT32_MAX, INT32_MAX, 0}, {1, 1, 1}}, 0, NULL},
        {{"w", "FloatStorage", "0", 7, 0, 1, {2}, {1}}, PACO_EFORMAT,
            "tensor 'w': zip entry 'archive/data/0' has 24 bytes, but its storage is 7 elements of f32"},
        {{"w", "FloatStorage", "0", -6, 0, 1, {2}, {1}}, PACO_EFORMAT, "but its storage is -6 elements"},
        {{"w", "FloatStorage", "1", 6, 0, 1, {2}, {1}}, PACO_EFORMAT,
            "zip entry 'archive/data/1', its storage, is not in the archive"},
        {{"w", "FloatStorage", "../../etc/passwd", 6, 0, 1, {2}, {1}}, PACO_EFORMAT, "is not in the archive"},
        {{"", "FloatStorage", "0", 6, 0, 1, {2}, {1}}, PACO_EFORMAT, "empty, overlong or non-UTF-8 name"},
        {{"\xff", "FloatStorage", "0", 6, 0, 1, {2}, {1}}, PACO_EFORMAT, "empty, overlong or non-UTF-8 name"},
        {{"w", "ComplexFloatStorage", "0", 3, 0, 1, {2}, {1}}, PACO_EUNSUPPORTED,
            "complex numbers are not supported"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int deflated = 0; deflated < 2; deflated++) {
            struct one o;
            uint64_t offset;
            one_finish(&o, &cases[i].t, 1, 24, deflated);
            if (cases[i].code == 0) {
                pc_checkpoint_close(open_zip(&o.z));
            } else {
                refuse_bytes(o.z.b.data, o.z.b.len, cases[i].code, cases[i].part, &offset);
                if (!deflated)
                    assert_in_range(offset, o.pkl->data_at, o.pkl->data_at + o.pkl->size);
            }
            one_release(&o);
        }
}

static void names_given_twice_are_refused(void **state)
{
    (void)state;
    const struct item items[] = {
        {"w", "FloatStorage", "0", 6, 0, 1, {2}, {1}}, {"w", "FloatStorage", "0", 6, 0, 1, {3}, {1}}};
    struct one o;
    uint64_t offset;
    one_finish(&o, items, 2, 24, false);
    refuse_bytes(o.z.b.data, o.z.b.len, PACO_EFORMAT, "tensor 'w' appears twice", &offset);
    assert_in_range(offset, o.pkl->data_at + o.pkl->size / 2, o.pkl->data_at + o.pkl->size);
    one_release(&o);
}

static void archive_of(struct zb *z, const char *pickle, size_t len)
{
    *z = (struct zb){0};
    zb_add(z, "x/data.pkl", pickle, len, false);
    zb_finish(z);
}

static void hostile_and_foreign_archives_are_refused(void **state)
{
    (void)state;
#define PKL(text) text, sizeof(text) - 1
    static const struct {
        const char *pickle;
        size_t len;
        int code;
        uint64_t at; /* in the pickle */
        const char *part;
    } cases[] = {
        {PKL("\x80\2"
             "cposix\nsystem\nX\2\0\0\0id\x85R."),
            PACO_EUNSUPPORTED, 2, "global 'posix.system'"},
        {PKL("\x80\2}X\1\0\0\0w"
             "cbuiltins\neval\nX\1\0\0\0"
             "1\x85Rs."),
            PACO_EUNSUPPORTED, 9, "global 'builtins.eval'"},
        {PKL("\x80\2]."), PACO_EFORMAT, 2, "holds a list where a dict of named tensors is expected"},
        {PKL("\x80\2}."), PACO_EFORMAT, 2, "holds no named tensors, only an empty dict"},
        {PKL("\x80\2}X\5\0\0\0stepsK\1s."), PACO_EFORMAT, 2,
            "holds no named tensors, only 'steps' (an integer)"},
        {PKL("\x80\2}X\5\0\0\0model}X\1\0\0\0aK\1ss."), PACO_EFORMAT, 2, "only 'model' (a dict)"},
        {PKL("\x80\2}"), PACO_EFORMAT, 3, "the pickle ends in the middle"},
        {PKL(""), PACO_EFORMAT, 0, "the pickle ends in the middle"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct zb z;
        uint64_t offset;
        archive_of(&z, cases[i].pickle, cases[i].len);
        refuse_bytes(z.b.data, z.b.len, cases[i].code, cases[i].part, &offset);
        assert_int_equal(offset, z.entries[0].data_at + cases[i].at);
        pc_buf_release(&z.b);
    }
}

static void archives_of_another_kind_are_refused(void **state)
{
    (void)state;
    uint64_t offset;
    struct zb z = {0};
    zb_add(&z, "word/document.xml", "<x/>", 4, true);
    zb_finish(&z);
    refuse_bytes(z.b.data, z.b.len, PACO_EFORMAT,
        "not a PyTorch checkpoint: none of its 1 entries is a data.pkl", &offset);
    pc_buf_release(&z.b);
    z = (struct zb){0};
    zb_add(&z, "a/data.pkl", "\x80\2}.", 4, false);
    zb_add(&z, "b/data.pkl", "\x80\2}.", 4, false);
    zb_finish(&z);
    refuse_bytes(z.b.data, z.b.len, PACO_EFORMAT, "two state dicts, 'a/data.pkl' and 'b/data.pkl'", &offset);
    assert_int_equal(offset, z.entries[1].central_at);
    pc_buf_release(&z.b);
    z = (struct zb){0};
    zb_add(&z, "a/data.pkl", "\x80\2}.", 4, false);
    zb_add(&z, "a/constants.pkl", "\x80\2}.", 4, false);
    zb_finish(&z);
    refuse_bytes(z.b.data, z.b.len, PACO_EUNSUPPORTED, "is a TorchScript program", &offset);
    pc_buf_release(&z.b);
    z = (struct zb){0};
    zb_add(&z, "a/data.pkl", "\x80\2}.", 4, false);
    zb_add(&z, "a/byteorder", "big", 3, false);
    zb_finish(&z);
    refuse_bytes(z.b.data, z.b.len, PACO_EUNSUPPORTED, "was written on a big-endian machine", &offset);
    assert_int_equal(offset, z.entries[1].data_at);
    pc_buf_release(&z.b);
    // The pickle's own CRC is checked before it is believed.
    z = (struct zb){0};
    zb_add(&z, "a/data.pkl", "\x80\2}.", 4, false);
    zb_finish(&z);
    z.b.data[z.entries[0].data_at + 2] = ']';
    refuse_bytes(z.b.data, z.b.len, PACO_EFORMAT, "zip entry 'a/data.pkl' is damaged", &offset);
    pc_buf_release(&z.b);
}

static void files_of_another_kind_are_refused(void **state)
{
    (void)state;
    uint64_t offset;
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 42\n";
    refuse_bytes(
        lfs, sizeof lfs - 1, PACO_EFORMAT, "is a git-lfs pointer, not the file of 42 bytes", &offset);
    refuse_bytes("<!DOCTYPE html>", 15, PACO_EFORMAT, "is an HTML page, not a PyTorch checkpoint", &offset);
    refuse_bytes("", 0, PACO_EFORMAT, "is empty", &offset);
    refuse_bytes(
        "\2\0\0\0\0\0\0\0{}", 10, PACO_EFORMAT, "is a safetensors file, not a PyTorch checkpoint", &offset);
    refuse_bytes(
        "\x80\2}.", 4, PACO_EFORMAT, "is a Python pickle of a dict, but not a PyTorch checkpoint", &offset);
    refuse_bytes("\x80\2"
                 "cos\nsystem\n.",
        13, PACO_EUNSUPPORTED, "global 'os.system'", &offset);
    assert_int_equal(offset, 2);
    struct pc_checkpoint *ck;
    struct paco_error err = {0};
    assert_int_equal(pc_torch_open(g_dir.dir, &ck, &err), PACO_EFORMAT);
    assert_contains(err.message, "is a directory");
    assert_int_equal(pc_torch_open(scratch_path(&g_dir, "absent"), &ck, &err), PACO_ENOENT);
}

static void truncation_anywhere_is_an_error(void **state)
{
    (void)state;
    const struct item items[] = {{"w", "FloatStorage", "0", 6, 0, 2, {2, 3}, {3, 1}}};
    struct one o;
    one_finish(&o, items, 1, 24, false);
    for (size_t n = 0; n < o.z.b.len; n++) {
        uint64_t offset;
        refuse_bytes(o.z.b.data, n, PACO_EFORMAT, "", &offset);
        if (n >= 8)
            assert_int_equal(offset, n);
    }
    one_release(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_tensor),
        cmocka_unit_test(any_view),
        cmocka_unit_test(views_are_not_mapped_unless_contiguous),
        cmocka_unit_test(wrapped_state_dicts),
        cmocka_unit_test(other_values_are_noted),
        cmocka_unit_test(damage_is_found_while_reading),
        cmocka_unit_test(sampled_rows_are_no_holes_in_the_sum),
        cmocka_unit_test(a_slice_is_checked_too),
        cmocka_unit_test(a_sum_of_zero_is_no_sum),
        cmocka_unit_test(many_threads_read_and_sum),
        cmocka_unit_test(mapped_tensors_are_summed_when_asked),
        cmocka_unit_test(deflated_ends_are_reached),
        cmocka_unit_test(deflated_bytes_one_by_one),
        cmocka_unit_test(many_threads_gather),
        cmocka_unit_test(damaged_streams_are_found),
        cmocka_unit_test(impossible_tensors_are_refused),
        cmocka_unit_test(names_given_twice_are_refused),
        cmocka_unit_test(hostile_and_foreign_archives_are_refused),
        cmocka_unit_test(archives_of_another_kind_are_refused),
        cmocka_unit_test(files_of_another_kind_are_refused),
        cmocka_unit_test(truncation_anywhere_is_an_error),
    };
    scratch_open(&g_dir);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_close(&g_dir);
    return failed;
}
