// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "format/gguf.h"
#include "gguf_builder.h"
#include "scratch.h"

static struct blob g_blob;

static int open_blob(const struct blob *b, struct pc_checkpoint **ck, struct paco_error *err)
{
    struct scratch s;
    scratch_open(&s);
    *err = (struct paco_error){0};
    int rc = pc_gguf_open(scratch_write(&s, "x.gguf", b->bytes, b->len), ck, err);
    scratch_close(&s);
    assert_true((rc == 0) == (*ck != NULL));
    assert_int_equal(err->code, rc);
    return rc;
}

/* One of everything; two tensors, the second before the first in the file. */
static void build_good(struct blob *b, uint32_t version)
{
    blob_head(b, version, 2, 9);
    blob_key_str(b, "general.architecture", "llama");
    blob_key_u32(b, "general.alignment", 64);
    blob_key(b, "i8", PC_GGUF_I8);
    blob_uint(b, 0xfe, 1);
    blob_key(b, "u64", PC_GGUF_U64);
    blob_uint(b, UINT64_MAX, 8);
    blob_key_f32(b, "f32", 0.5f);
    blob_key(b, "yes", PC_GGUF_BOOL);
    blob_uint(b, 1, 1);
    blob_key(b, "strings", PC_GGUF_ARRAY);
    blob_uint(b, PC_GGUF_STRING, 4);
    blob_uint(b, 3, 8);
    blob_str(b, "one");
    blob_str(b, "");
    blob_str(b, "three");
    blob_key(b, "ints", PC_GGUF_ARRAY);
    blob_uint(b, PC_GGUF_I32, 4);
    blob_uint(b, 2, 8);
    blob_uint(b, 7, 4);
    blob_uint(b, 0xffffffff, 4);
    blob_key(b, "doubles", PC_GGUF_ARRAY);
    blob_uint(b, PC_GGUF_F64, 4);
    blob_uint(b, 1, 8);
    blob_bytes(b, &(double){1.25}, 8);
    blob_tensor(b, "q", 8, 32, 2, 64);
    blob_tensor(b, "v", 0, 3, 0, 0);
    blob_data(b, 64, 64 + 68);
}

static void reads_tensors_rows_first(void **state)
{
    (void)state;
    struct pc_checkpoint *ck;
    struct paco_error err;
    for (uint32_t version = 2; version <= 3; version++) {
        build_good(&g_blob, version);
        assert_int_equal(open_blob(&g_blob, &ck, &err), 0);
        assert_true(pc_is_gguf(ck));
        assert_int_equal(ck->n_tensors, 2);
        const struct pc_tensor *q = pc_checkpoint_find(ck, "q");
        assert_int_equal(q->index, 0);
        assert_int_equal(q->dtype, PC_Q8_0);
        assert_int_equal(q->shape[0], 2);
        assert_int_equal(q->shape[1], 32);
        assert_int_equal(q->row_size, 34);
        unsigned char row[34];
        assert_int_equal(pc_tensor_read(q, 1, 1, row, &err), 0);
        assert_int_equal(row[0], 64 + 34);
        const unsigned char *map = pc_tensor_map(q);
        assert_memory_equal(map + 34, row, 34);
        const char *path;
        uint64_t offset;
        assert_true(ck->ops->where(q, &path, &offset));
        assert_int_equal(offset, g_blob.len - 68);
        pc_checkpoint_close(ck);
    }
}

static void metadata_has_types(void **state)
{
    (void)state;
    struct pc_checkpoint *ck;
    struct paco_error err = {0};
    build_good(&g_blob, 3);
    assert_int_equal(open_blob(&g_blob, &ck, &err), 0);
    int64_t i = 0;
    double d = 0;
    bool yes = false;
    const char *s;
    size_t len;
    struct pc_gguf_array a;
    assert_int_equal(pc_gguf_get_i64(ck, "i8", -5, 5, &i, &err), 0);
    assert_int_equal(i, -2);
    assert_int_equal(pc_gguf_get_i64(ck, "i8", 0, 5, &i, &err), PACO_EFORMAT);
    assert_string_equal(err.message, "metadata 'i8' is -2, outside 0 to 5");
    assert_true(err.has_offset);
    assert_int_equal(g_blob.bytes[err.offset], 0xfe);
    assert_int_equal(pc_gguf_get_i64(ck, "u64", 0, INT64_MAX - 1, &i, &err), PACO_EFORMAT);
    assert_int_equal(pc_gguf_get_f64(ck, "f32", &d, &err), 0);
    assert_true(d == 0.5);
    assert_int_equal(pc_gguf_get_f64(ck, "i8", &d, &err), PACO_EFORMAT);
    assert_string_equal(err.message, "metadata 'i8' is an int8 where a real number is expected");
    assert_int_equal(pc_gguf_opt_bool(ck, "yes", &yes, &err), 0);
    assert_true(yes);
    assert_int_equal(pc_gguf_get_str(ck, "general.architecture", &s, &len, &err), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(s, "llama", 5);
    assert_int_equal(pc_gguf_get_str(ck, "absent", &s, &len, &err), PACO_EFORMAT);
    assert_string_equal(err.message, "metadata 'absent' is missing");
    i = 77;
    assert_int_equal(pc_gguf_opt_i64(ck, "absent", 0, 1, &i, &err), 0);
    assert_int_equal(i, 77);
    assert_int_equal(pc_gguf_get_array(ck, "strings", PC_GGUF_STRING, &a, &err), 0);
    assert_int_equal(a.n, 3);
    s = pc_gguf_array_str(&a, 2, &len);
    assert_int_equal(len, 5);
    assert_memory_equal(s, "three", 5);
    pc_gguf_array_str(&a, 1, &len);
    assert_int_equal(len, 0);
    assert_int_equal(pc_gguf_get_array(ck, "ints", PC_GGUF_I64, &a, &err), 0);
    assert_int_equal(pc_gguf_array_i64(&a, 1), -1);
    assert_int_equal(pc_gguf_get_array(ck, "doubles", PC_GGUF_F64, &a, &err), 0);
    assert_true(pc_gguf_array_f64(&a, 0) == 1.25);
    assert_int_equal(pc_gguf_get_array(ck, "ints", PC_GGUF_STRING, &a, &err), PACO_EFORMAT);
    assert_string_equal(
        err.message, "metadata 'ints' is an array of int32 where an array of strings is expected");
    size_t n;
    const struct pc_gguf_entry *entries = pc_gguf_entries(ck, &n);
    assert_int_equal(n, 9);
    assert_memory_equal(entries[1].key, "general.alignment", entries[1].key_len);
    pc_checkpoint_close(ck);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    static struct blob whole;
    build_good(&whole, 3);
    struct scratch s;
    scratch_open(&s);
    for (size_t len = 4; len < whole.len; len++) {
        struct pc_checkpoint *ck;
        struct paco_error err = {0};
        const char *path = scratch_write(&s, "x.gguf", whole.bytes, len);
        assert_int_equal(pc_gguf_open(path, &ck, &err), PACO_EFORMAT);
        assert_contains(err.message, "truncated");
        assert_true(err.has_offset && err.offset <= len);
        assert_contains(err.path, "x.gguf");
    }
    scratch_close(&s);
}

static void expect(int code, const char *message, uint64_t offset)
{
    struct pc_checkpoint *ck;
    struct paco_error err;
    assert_int_equal(open_blob(&g_blob, &ck, &err), code);
    assert_contains(err.message, message);
    assert_true(err.has_offset);
    assert_int_equal(err.offset, offset);
}

static void versions_and_counts(void **state)
{
    (void)state;
    blob_head(&g_blob, 1, 0, 0);
    expect(PACO_EUNSUPPORTED, "GGUF version 1", 4);
    blob_head(&g_blob, 4, 0, 0);
    expect(PACO_EUNSUPPORTED, "GGUF version 4; versions 2 and 3", 4);
    blob_head(&g_blob, 0x03000000, 0, 0);
    expect(PACO_EUNSUPPORTED, "big-endian", 4);
    blob_head(&g_blob, 3, UINT64_C(1) << 40, 0);
    expect(PACO_EFORMAT, "says it has 1099511627776 tensors, but only 0 bytes follow", 8);
    blob_head(&g_blob, 3, 0, UINT64_MAX);
    expect(PACO_EFORMAT, "says it has 18446744073709551615 metadata entries, but only 0", 16);
    struct pc_checkpoint *ck;
    struct paco_error err;
    blob_head(&g_blob, 3, 0, 0);
    assert_int_equal(open_blob(&g_blob, &ck, &err), 0);
    pc_checkpoint_close(ck);
}

static void metadata_is_checked(void **state)
{
    (void)state;
    blob_head(&g_blob, 3, 0, 2);
    blob_key_u32(&g_blob, "a", 1);
    size_t at = g_blob.len;
    blob_key_u32(&g_blob, "a", 1);
    expect(PACO_EFORMAT, "metadata key 'a' appears twice", at);
    blob_head(&g_blob, 3, 0, 1);
    blob_key(&g_blob, "a", 13);
    blob_uint(&g_blob, 0, 8);
    expect(PACO_EFORMAT, "metadata 'a' is of the unknown value type 13", 24 + 9);
    blob_head(&g_blob, 3, 0, 1);
    blob_key(&g_blob, "a", PC_GGUF_ARRAY);
    blob_uint(&g_blob, PC_GGUF_ARRAY, 4);
    blob_uint(&g_blob, 1, 8);
    expect(PACO_EUNSUPPORTED, "metadata 'a' is an array of arrays", 24 + 13);
    blob_head(&g_blob, 3, 0, 1);
    blob_key(&g_blob, "a", PC_GGUF_ARRAY);
    blob_uint(&g_blob, PC_GGUF_U8, 4);
    blob_uint(&g_blob, UINT64_C(1) << 40, 8);
    expect(PACO_EFORMAT, "metadata 'a' says it has 1099511627776 elements, but only 0 bytes follow", 24 + 13);
    blob_head(&g_blob, 3, 0, 1);
    blob_key(&g_blob, "a", PC_GGUF_BOOL);
    blob_uint(&g_blob, 2, 1);
    expect(PACO_EFORMAT, "metadata 'a' holds a bool of value 2", 24 + 13);
    blob_head(&g_blob, 3, 0, 1);
    blob_key(&g_blob, "a\xff", PC_GGUF_BOOL);
    blob_uint(&g_blob, 1, 1);
    expect(PACO_EFORMAT, "metadata key 0 is empty, longer than 65535 bytes or no UTF-8", 24);
    blob_head(&g_blob, 3, 0, 1);
    blob_uint(&g_blob, UINT64_MAX - 7, 8);
    blob_uint(&g_blob, 0, 8);
    expect(PACO_EFORMAT, "a metadata key takes 18446744073709551608 bytes, but the file ends after 8", 32);
    blob_head(&g_blob, 3, 0, 1);
    blob_key_u32(&g_blob, "general.alignment", 48);
    expect(PACO_EFORMAT, "general.alignment is 48, which is no power of two", 24 + 29);
    blob_head(&g_blob, 3, 0, 1);
    blob_key_u32(&g_blob, "general.alignment", 0);
    expect(PACO_EFORMAT, "metadata 'general.alignment' is 0, outside 1 to 1048576", 24 + 29);
    blob_head(&g_blob, 3, 0, 1);
    blob_key_u32(&g_blob, "split.count", 3);
    expect(PACO_EUNSUPPORTED, "is one of 3 parts of a split model", 24 + 23);
}

static void one_tensor(
    const char *name, uint32_t type, uint64_t d0, uint64_t d1, uint64_t offset, size_t n_data)
{
    blob_head(&g_blob, 3, 1, 0);
    blob_tensor(&g_blob, name, type, d0, d1, offset);
    blob_data(&g_blob, 32, n_data);
}

static void tensors_are_checked(void **state)
{
    (void)state;
    one_tensor("t", 10, 256, 1, 0, 256);
    expect(
        PACO_EUNSUPPORTED, "tensor 't' is of GGML type 10 (Q2_K), which paco does not read", 24 + 9 + 4 + 16);
    one_tensor("t", 4000, 256, 1, 0, 256);
    expect(PACO_EUNSUPPORTED, "GGML type 4000 (unknown)", 24 + 9 + 4 + 16);
    one_tensor("t", 36, 256, 1, 0, 256);
    expect(PACO_EUNSUPPORTED, "GGML type 36 (unknown)", 24 + 9 + 4 + 16);
    one_tensor("t", 8, 48, 2, 0, 256);
    expect(PACO_EFORMAT, "tensor 't': a row of 48 elements is no whole number of q8_0 blocks of 32", 24);
    one_tensor("t", 0, 4, 2, 16, 64);
    expect(PACO_EFORMAT, "tensor 't' is at byte 16 of the data, no multiple of the alignment 32", 24 + 41);
    one_tensor("t", 0, 4, 2, UINT64_C(1) << 60, 64);
    expect(PACO_EFORMAT, "tensor 't' takes 32 bytes from byte 1152921504606846976 of the data", 160);
    one_tensor("t", 0, 4, 2, 0, 31);
    expect(PACO_EFORMAT, "but the file ends at 127 (truncated?)", 127);
    one_tensor("t", 0, UINT64_C(1) << 40, UINT64_C(1) << 40, 0, 31);
    expect(PACO_EFORMAT, "tensor 't': shape [1099511627776,1099511627776] in f32 is no possible size", 24);
    one_tensor("", 0, 4, 2, 0, 32);
    expect(PACO_EFORMAT, "tensor 0 has an empty, overlong or non-UTF-8 name", 24);
    blob_head(&g_blob, 3, 1, 0);
    blob_str(&g_blob, "t");
    blob_uint(&g_blob, 5, 4);
    blob_data(&g_blob, 32, 64);
    expect(PACO_EFORMAT, "tensor 't' has 5 dimensions; GGUF allows 4", 24 + 9);
    blob_head(&g_blob, 3, 2, 0);
    blob_tensor(&g_blob, "t", 0, 4, 0, 0);
    size_t at = g_blob.len;
    blob_tensor(&g_blob, "t", 0, 4, 0, 32);
    blob_data(&g_blob, 32, 64);
    expect(PACO_EFORMAT, "tensor 't' appears twice", at);
    blob_head(&g_blob, 3, 2, 0);
    blob_tensor(&g_blob, "a", 0, 4, 4, 32);
    blob_tensor(&g_blob, "b", 0, 9, 0, 0);
    blob_data(&g_blob, 32, 128);
    expect(PACO_EFORMAT, "tensor 'a' begins inside tensor 'b', which ends at byte", g_blob.len - 96);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    struct scratch s;
    scratch_open(&s);
    build_good(&g_blob, 3);
    const char *path = scratch_write(&s, "x.gguf", g_blob.bytes, g_blob.len);
    struct pc_checkpoint *ck = NULL;
    for (int64_t n = 0; !ck; n++) {
        struct paco_error err = {0};
        pc_alloc_fail_after(n);
        int rc = pc_gguf_open(path, &ck, &err);
        pc_alloc_fail_after(-1);
        assert_true(rc == 0 ? ck != NULL : rc == PACO_EMEM && err.code == PACO_EMEM);
        assert_true(n < 100);
    }
    pc_checkpoint_close(ck);
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors_rows_first),
        cmocka_unit_test(metadata_has_types),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(versions_and_counts),
        cmocka_unit_test(metadata_is_checked),
        cmocka_unit_test(tensors_are_checked),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
