// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "format/zip.h"

#include <stdio.h>

#include "scratch.h"
#include "zip_build.h"

static struct scratch g_dir;

static int read_zip(const void *bytes, size_t len, struct pc_zip *out, struct paco_error *err)
{
    struct pc_file f;
    *err = (struct paco_error){0};
    const char *path = scratch_write(&g_dir, "x.zip", bytes, len);
    assert_int_equal(pc_file_open(&f, path, err), 0);
    int rc = pc_zip_read(&f, out, err);
    if (rc < 0)
        assert_string_equal(err->path, path);
    pc_file_close(&f);
    return rc;
}

/* Two entries: "a/one" of 5 bytes, stored, and "a/two" of 1000, deflated. */
static struct zb two_entries(bool zip64)
{
    static const char zeros[1000];
    struct zb z = {.zip64 = zip64};
    zb_add(&z, "a/one", "12345", 5, false);
    zb_add(&z, "a/two", zeros, sizeof zeros, true);
    zb_finish(&z);
    return z;
}

static void expect_two(const struct zb *z, const char *bytes, size_t len)
{
    struct pc_zip zip;
    struct paco_error err;
    if (read_zip(bytes, len, &zip, &err) < 0)
        fail_msg("%s at %llu", err.message, (unsigned long long)err.offset);
    assert_int_equal(zip.n_entries, 2);
    const struct pc_zip_entry *one = pc_zip_find(&zip, "a/one"), *two = pc_zip_find(&zip, "a/two");
    assert_ptr_equal(one, &zip.entries[0]);
    assert_int_equal(one->data_at, z->entries[0].data_at);
    assert_int_equal(one->header_at, 0);
    assert_int_equal(one->central_at, z->entries[0].central_at);
    assert_int_equal(one->size, 5);
    assert_int_equal(one->crc32, 0xcbf53a1c);
    assert_false(one->deflated);
    assert_ptr_equal(two, &zip.entries[1]);
    assert_int_equal(two->data_at, z->entries[1].data_at);
    assert_int_equal(two->size, 1000);
    assert_int_equal(two->packed_size, z->entries[1].packed_size);
    assert_true(two->deflated);
    assert_null(pc_zip_find(&zip, "a/thr"));
    pc_zip_release(&zip);
}

static void archives_are_read(void **state)
{
    (void)state;
    for (int zip64 = 0; zip64 < 2; zip64++) {
        struct zb z = two_entries(zip64);
        expect_two(&z, z.b.data, z.b.len);
        // A comment, which may even look like another end record.
        zb_patch(&z, z.end_at + 20, 26, 2);
        zb_put(&z.b, 0x06054b50, 4);
        pc_buf_add(&z.b, "0123456789012345678901", 22);
        expect_two(&z, z.b.data, z.b.len);
        pc_buf_release(&z.b);
    }
}

static void an_empty_archive_is_read(void **state)
{
    (void)state;
    struct zb z = {0};
    pc_buf_init(&z.b, 100);
    zb_finish(&z);
    struct pc_zip zip;
    struct paco_error err;
    assert_int_equal(read_zip(z.b.data, z.b.len, &zip, &err), 0);
    assert_int_equal(zip.n_entries, 0);
    assert_null(pc_zip_find(&zip, "x"));
    pc_zip_release(&zip);
    pc_buf_release(&z.b);
}

static void expect_error(const struct zb *z, int code, uint64_t offset, const char *part)
{
    struct pc_zip zip;
    struct paco_error err;
    assert_int_equal(read_zip(z->b.data, z->b.len, &zip, &err), code);
    assert_contains(err.message, part);
    assert_true(err.has_offset);
    if (err.offset != offset)
        fail_msg("'%s' at %llu, not %llu", err.message, (unsigned long long)err.offset,
            (unsigned long long)offset);
    assert_null(zip.entries);
}

/* Spoil one field of the two entries. `at` is relative to the record `in`. */
enum record { LOCAL_1, CENTRAL_1, CENTRAL_2, END, LOCATOR, END64 };

static size_t position(const struct zb *z, enum record in)
{
    switch (in) {
    case LOCAL_1: return z->entries[0].header_at;
    case CENTRAL_1: return z->entries[0].central_at;
    case CENTRAL_2: return z->entries[1].central_at;
    case END: return z->end_at;
    case LOCATOR: return z->end_at - 20;
    case END64: return z->end_at - 76;
    }
    return 0;
}

static void spoiled_fields_are_refused(void **state)
{
    (void)state;
    static const struct {
        bool zip64;
        enum record in;
        size_t at;
        uint64_t value;
        int n_bytes;
        int code;
        enum record reported;
        const char *part;
    } cases[] = {
        {false, LOCAL_1, 0, 0, 4, PACO_EFORMAT, LOCAL_1, "'a/one' has no header here"},
        {false, LOCAL_1, 6, 1, 2, PACO_EFORMAT, LOCAL_1, "differ from those in the directory"},
        {false, LOCAL_1, 8, 8, 2, PACO_EFORMAT, LOCAL_1, "differ from those in the directory"},
        {false, LOCAL_1, 14, 7, 4, PACO_EFORMAT, LOCAL_1, "differ from those in the directory"},
        {false, LOCAL_1, 18, 4, 4, PACO_EFORMAT, LOCAL_1, "differ from those in the directory"},
        {false, LOCAL_1, 22, 6, 4, PACO_EFORMAT, LOCAL_1, "differ from those in the directory"},
        {false, LOCAL_1, 26, 4, 2, PACO_EFORMAT, LOCAL_1, "another name"},
        {false, LOCAL_1, 30, 'A', 1, PACO_EFORMAT, LOCAL_1, "another name"},
        {false, LOCAL_1, 28, 0xffff, 2, PACO_EFORMAT, LOCAL_1, "runs into the directory"},
        {false, CENTRAL_1, 0, 0, 4, PACO_EFORMAT, CENTRAL_1, "malformed at entry 0 of 2"},
        {false, CENTRAL_1, 8, 1, 2, PACO_EUNSUPPORTED, CENTRAL_1, "'a/one' is encrypted"},
        {false, CENTRAL_1, 10, 12, 2, PACO_EUNSUPPORTED, CENTRAL_1, "compressed by method 12"},
        {false, CENTRAL_1, 20, 6, 4, PACO_EFORMAT, CENTRAL_1, "is stored, yet 6 bytes become 5"},
        {false, CENTRAL_2, 24, 0x7fffffff, 4, PACO_EFORMAT, CENTRAL_2, "a zip bomb?"},
        {false, CENTRAL_2, 28, 0xffff, 2, PACO_EFORMAT, CENTRAL_2, "malformed at entry 1 of 2"},
        {false, CENTRAL_1, 34, 1, 2, PACO_EFORMAT, CENTRAL_1, "malformed at entry 0"},
        {false, CENTRAL_1, 42, 0xfffffff0, 4, PACO_EFORMAT, CENTRAL_1, "outside of the archive's data"},
        {false, CENTRAL_1, 42, 0xffffffff, 4, PACO_EFORMAT, CENTRAL_1, "lacks its ZIP64 sizes"},
        {false, CENTRAL_1, 46, '/', 1, PACO_EFORMAT, CENTRAL_1, "leads out of the archive"},
        {false, CENTRAL_1, 47, '\\', 1, PACO_EFORMAT, CENTRAL_1, "leads out of the archive"},
        {false, CENTRAL_1, 46, 0x2f2e2e, 3, PACO_EFORMAT, CENTRAL_1, "leads out of the archive"},
        {false, CENTRAL_1, 48, 0x2e2e2f, 3, PACO_EFORMAT, CENTRAL_1, "leads out of the archive"},
        {false, CENTRAL_1, 46, 0, 1, PACO_EFORMAT, CENTRAL_1, "leads out of the archive"},
        {false, CENTRAL_1, 46, 0xff, 1, PACO_EFORMAT, CENTRAL_1, "not UTF-8"},
        {false, END, 4, 1, 2, PACO_EUNSUPPORTED, END, "spans several disks"},
        {false, END, 10, 3, 2, PACO_EUNSUPPORTED, END, "spans several disks"},
        {false, END, 12, 100, 4, PACO_EFORMAT, END, "do not end where the end record begins"},
        {false, END, 16, 1, 4, PACO_EFORMAT, END, "do not end where the end record begins"},
        {false, END, 16, 0xffffffff, 4, PACO_EFORMAT, END, "do not end where the end record begins"},
        {true, LOCATOR, 16, 2, 4, PACO_EUNSUPPORTED, LOCATOR, "spans 2 disks"},
        {true, LOCATOR, 8, 3, 8, PACO_EFORMAT, LOCATOR, "points to byte 3"},
        {true, END64, 0, 0, 4, PACO_EFORMAT, END64, "ZIP64 end record is malformed"},
        {true, END64, 24, 3, 8, PACO_EFORMAT, END64, "ZIP64 end record is malformed"},
        {true, END64, 4, 45, 8, PACO_EFORMAT, END64, "ZIP64 end record is malformed"},
        {true, END, 16, 3, 4, PACO_EFORMAT, END, "two end records disagree"},
        {true, END64, 40, UINT64_MAX, 8, PACO_EFORMAT, END, "do not end where the end record begins"},
        {true, END64, 48, UINT64_MAX, 8, PACO_EFORMAT, END, "do not end where the end record begins"},
        {true, CENTRAL_1, 46 + 5 + 2, 8, 2, PACO_EFORMAT, CENTRAL_1, "lacks its ZIP64 sizes"},
        {true, CENTRAL_1, 46 + 5 + 2, 100, 2, PACO_EFORMAT, CENTRAL_1, "lacks its ZIP64 sizes"},
        {true, CENTRAL_1, 46 + 5 + 4, UINT64_MAX, 8, PACO_EFORMAT, CENTRAL_1, "is stored, yet"},
        {true, CENTRAL_1, 46 + 5 + 20, UINT64_MAX, 8, PACO_EFORMAT, CENTRAL_1,
            "outside of the archive's data"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct zb z = two_entries(cases[i].zip64);
        zb_patch(&z, position(&z, cases[i].in) + cases[i].at, cases[i].value, cases[i].n_bytes);
        expect_error(&z, cases[i].code, position(&z, cases[i].reported), cases[i].part);
        pc_buf_release(&z.b);
    }
}

static void counts_that_disagree_are_refused(void **state)
{
    (void)state;
    struct zb z = two_entries(false);
    zb_patch(&z, z.end_at + 8, 0x00010001, 4);
    expect_error(&z, PACO_EFORMAT, z.entries[1].central_at, "longer than its 1 entries");
    zb_patch(&z, z.end_at + 8, 0x00030003, 4);
    expect_error(&z, PACO_EFORMAT, z.end_at, "claims 3 entries, but its directory is 102 bytes");
    pc_buf_release(&z.b);
    z = two_entries(true);
    zb_patch(&z, z.end_at - 76 + 24, UINT64_MAX, 8);
    zb_patch(&z, z.end_at - 76 + 32, UINT64_MAX, 8);
    expect_error(&z, PACO_EFORMAT, z.end_at, "claims 18446744073709551615 entries");
    pc_buf_release(&z.b);
}

static void duplicates_are_refused(void **state)
{
    (void)state;
    struct zb z = {0};
    zb_add(&z, "a/one", "12345", 5, false);
    zb_add(&z, "a/one", "67890", 5, false);
    zb_finish(&z);
    expect_error(&z, PACO_EFORMAT, z.entries[1].central_at, "zip entry 'a/one' appears twice");
    pc_buf_release(&z.b);
}

static void overlaps_are_refused(void **state)
{
    (void)state;
    // The second entry, header and all, is the content of the first.
    struct zb inner = {0}, z = {0};
    zb_add(&inner, "inside", "12345", 5, false);
    struct zb_entry *outer = zb_add(&z, "outside", inner.b.data, inner.b.len, false);
    z.entries[1] = inner.entries[0];
    z.entries[1].header_at = outer->data_at;
    z.n = 2;
    zb_finish(&z);
    expect_error(&z, PACO_EFORMAT, outer->data_at, "zip entry 'inside' overlaps 'outside', which ends at 93");
    pc_buf_release(&inner.b);
    pc_buf_release(&z.b);
}

static void truncation_anywhere_is_an_error(void **state)
{
    (void)state;
    for (int zip64 = 0; zip64 < 2; zip64++) {
        struct zb z = two_entries(zip64);
        for (size_t n = 0; n < z.b.len; n++) {
            struct pc_zip zip;
            struct paco_error err;
            assert_int_equal(read_zip(z.b.data, n, &zip, &err), PACO_EFORMAT);
            assert_contains(err.message, "is a zip archive without its end");
            assert_int_equal(err.offset, n);
        }
        // One byte too many is no truncation.
        struct pc_zip zip;
        struct paco_error err;
        const size_t end = z.b.len;
        pc_buf_putc(&z.b, 'x');
        assert_int_equal(read_zip(z.b.data, z.b.len, &zip, &err), PACO_EFORMAT);
        assert_contains(err.message, "the zip archive ends here, but 1 more byte follows");
        assert_int_equal(err.offset, end);
        pc_buf_release(&z.b);
    }
}

/* Any single changed byte either is refused or changes nothing we look at; nothing crashes. */
static void any_changed_byte_is_survived(void **state)
{
    (void)state;
    struct zb z = two_entries(true);
    for (size_t i = 0; i < z.b.len; i++)
        for (int bit = 0; bit < 8; bit += 3) {
            struct pc_zip zip;
            struct paco_error err;
            z.b.data[i] ^= (char)(1 << bit);
            int rc = read_zip(z.b.data, z.b.len, &zip, &err);
            if (rc == 0) {
                assert_int_equal(zip.n_entries, 2);
                pc_zip_release(&zip);
            } else {
                assert_true(err.has_offset && err.offset <= z.b.len && err.message[0]);
            }
            z.b.data[i] ^= (char)(1 << bit);
        }
    pc_buf_release(&z.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(archives_are_read),
        cmocka_unit_test(an_empty_archive_is_read),
        cmocka_unit_test(spoiled_fields_are_refused),
        cmocka_unit_test(counts_that_disagree_are_refused),
        cmocka_unit_test(duplicates_are_refused),
        cmocka_unit_test(overlaps_are_refused),
        cmocka_unit_test(truncation_anywhere_is_an_error),
        cmocka_unit_test(any_changed_byte_is_survived),
    };
    scratch_open(&g_dir);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_close(&g_dir);
    return failed;
}
