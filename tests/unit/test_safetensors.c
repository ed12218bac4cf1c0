// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/file.h"
#include "format/layout.h"
#include "format/safetensors.h"
#include "scratch.h"

#include <fcntl.h>

struct file {
    unsigned char bytes[8192];
    size_t len;
};

/* A file with this header and n_data bytes 0, 1, 2 ... behind it. */
static struct file make(const char *header, size_t n_data)
{
    struct file f = {.len = 8 + strlen(header) + n_data};
    assert_true(f.len <= sizeof f.bytes);
    for (int i = 0; i < 8; i++)
        f.bytes[i] = (unsigned char)((uint64_t)strlen(header) >> (8 * i));
    memcpy(f.bytes + 8, header, strlen(header));
    for (size_t i = 0; i < n_data; i++)
        f.bytes[8 + strlen(header) + i] = (unsigned char)i;
    return f;
}

static int open_bytes(const void *bytes, size_t len, struct pc_checkpoint **ck, struct paco_error *err)
{
    struct scratch s;
    scratch_open(&s);
    *err = (struct paco_error){0};
    int rc = pc_safetensors_open(scratch_write(&s, "x.safetensors", bytes, len), ck, err);
    scratch_close(&s);
    return rc;
}

#define TWO                                                                                                  \
    "{\"__metadata__\":{\"format\":\"pt\"},"                                                                 \
    "\"b\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"                                     \
    "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}    "

static void reads_tensors_in_the_order_of_their_bytes(void **state)
{
    (void)state;
    struct file f = make(TWO, 20);
    struct pc_checkpoint *ck;
    struct paco_error err;
    assert_int_equal(open_bytes(f.bytes, f.len, &ck, &err), 0);
    assert_int_equal(ck->n_tensors, 2);
    assert_string_equal(ck->tensors[0].name, "a");
    const struct pc_tensor *b = pc_checkpoint_find(ck, "b");
    assert_int_equal(b->dtype, PC_F16);
    assert_int_equal(b->n_rows, 2);
    assert_int_equal(b->row_elems, 3);
    unsigned char got[12];
    assert_int_equal(pc_tensor_read(b, 1, 1, got, &err), 0);
    for (int i = 0; i < 6; i++)
        assert_int_equal(got[i], 8 + 6 + i);
    assert_int_equal(pc_tensor_read(b, 1, 2, got, &err), PACO_EINVAL);
    const char *path;
    uint64_t offset;
    assert_true(ck->ops->where(b, &path, &offset));
    assert_int_equal(offset, 8 + strlen(TWO) + 8);
    assert_contains(path, "x.safetensors");
    pc_checkpoint_close(ck);
}

static void maps_what_is_aligned(void **state)
{
    (void)state;
    struct pc_checkpoint *ck;
    struct paco_error err;
    // The header is a multiple of four bytes long: the data is aligned for F32, and the tensor behind three
    // bytes is not.
    struct file f = make("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                         "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[4,7]},"
                         "\"c\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[7,11]}} ",
        11);
    assert_int_equal(open_bytes(f.bytes, f.len, &ck, &err), 0);
    const unsigned char *a = pc_tensor_map(pc_checkpoint_find(ck, "a"));
    assert_non_null(a);
    assert_int_equal(a[3], 3);
    assert_non_null(pc_tensor_map(pc_checkpoint_find(ck, "b")));
    const struct pc_tensor *c = pc_checkpoint_find(ck, "c");
    assert_null(pc_tensor_map(c));
    unsigned char got[4];
    assert_int_equal(pc_tensor_read(c, 0, 1, got, &err), 0);
    assert_int_equal(got[0], 7);
    pc_checkpoint_close(ck);
}

static void takes_every_dtype_and_empty_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum pc_dtype dtype;
        int size;
    } all[] = {{"F64", PC_F64, 8}, {"F32", PC_F32, 4}, {"F16", PC_F16, 2}, {"BF16", PC_BF16, 2},
        {"F8_E4M3", PC_F8_E4M3, 1}, {"F8_E5M2", PC_F8_E5M2, 1}, {"I64", PC_I64, 8}, {"I32", PC_I32, 4},
        {"I16", PC_I16, 2}, {"I8", PC_I8, 1}, {"U64", PC_U64, 8}, {"U32", PC_U32, 4}, {"U16", PC_U16, 2},
        {"U8", PC_U8, 1}, {"BOOL", PC_BOOL, 1}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char header[256];
        snprintf(header, sizeof header,
            "{\"z\":{\"dtype\":\"F32\",\"shape\":[5,0],\"data_offsets\":[0,0]},"
            "\"t\":{\"dtype\":\"%s\",\"shape\":[1,3],\"data_offsets\":[0,%d]}}",
            all[i].name, 3 * all[i].size);
        struct file f = make(header, (size_t)(3 * all[i].size));
        struct pc_checkpoint *ck;
        struct paco_error err;
        assert_int_equal(open_bytes(f.bytes, f.len, &ck, &err), 0);
        assert_int_equal(pc_checkpoint_find(ck, "t")->dtype, all[i].dtype);
        assert_int_equal(pc_checkpoint_find(ck, "z")->size, 0);
        assert_int_equal(pc_checkpoint_find(ck, "z")->n_rows, 0);
        pc_checkpoint_close(ck);
    }
}

/* offset: from the end of the header when at_data, else where in the header the text is found. */
struct bad {
    const char *header;
    size_t n_data;
    int code;
    const char *message;
    const char *header_at; /* text in the header the offset must point to, or NULL: data_at */
    int64_t data_at;
};

#define T(dtype, shape, offsets)                                                                             \
    "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define AB(a, b)                                                                                             \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" a "},"                                        \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" b "}}"

static const struct bad g_bad[] = {
    {AB("[0,4]", "[3,7]"), 7, PACO_EFORMAT,
        "tensor 'b' begins at byte 3 of the data and overlaps tensor 'a', which ends at 4", NULL, 3},
    {AB("[0,4]", "[0,4]"), 4, PACO_EFORMAT, "overlaps tensor 'a'", NULL, 0},
    {AB("[0,4]", "[6,10]"), 10, PACO_EFORMAT, "2 bytes of the data before tensor 'b' belong to no tensor",
        NULL, 4},
    {AB("[1,5]", "[5,9]"), 9, PACO_EFORMAT, "1 bytes of the data before tensor 'a' belong to no tensor", NULL,
        0},
    {AB("[0,4]", "[4,8]"), 11, PACO_EFORMAT, "3 bytes behind the last tensor belong to none", NULL, 8},
    {AB("[0,4]", "[4,8]"), 6, PACO_EFORMAT,
        "tensor 'b' ends at byte 8 of the data, but the file holds 6 (truncated?)", NULL, 6},
    {AB("[4,0]", "[4,8]"), 8, PACO_EFORMAT, "tensor 'a' ends at byte 0 of the data, before it begins at 4",
        "\"a\"", 0},
    {T("\"F32\"", "[2,2]", "[0,12]"), 12, PACO_EFORMAT,
        "tensor 't' has 12 bytes; its shape [2,2] in F32 takes 16", NULL, 0},
    {T("\"F32\"", "[9007199254740992,9007199254740992]", "[0,8]"), 8, PACO_EFORMAT, "is no possible size",
        "\"t\"", 0},
    {T("\"F32\"", "[1,100000000]", "[0,8]"), 8, PACO_EFORMAT,
        "tensor 't' has 8 bytes; its shape [1,100000000] in F32 takes 400000000", NULL, 0},
    {T("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, PACO_EFORMAT, "\"shape\" has 9 members; at most 8",
        "\"t\"", 0},
    {T("\"F32\"", "[-1]", "[0,4]"), 4, PACO_EFORMAT, "tensor 't': \"shape\"[0] is no integer from 0 to 2^53",
        "\"t\"", 0},
    {T("\"F32\"", "[1]", "[0,99999999999999999999]"), 4, PACO_EFORMAT, "\"data_offsets\"[1] is no integer",
        "\"t\"", 0},
    {T("\"F32\"", "[1]", "[0,-4]"), 4, PACO_EFORMAT, "\"data_offsets\"[1] is no integer", "\"t\"", 0},
    {T("\"F32\"", "[1.5]", "[0,4]"), 4, PACO_EFORMAT, "\"shape\"[0] is no integer", "\"t\"", 0},
    {T("\"F32\"", "[1]", "[0]"), 4, PACO_EFORMAT, "\"data_offsets\" has 1 members; 2 are expected", "\"t\"",
        0},
    {T("\"F32\"", "1", "[0,4]"), 4, PACO_EFORMAT, "\"shape\" is an integer where an array", "\"t\"", 0},
    {T("\"F4\"", "[1]", "[0,4]"), 4, PACO_EUNSUPPORTED,
        "tensor 't' has the dtype 'F4', which paco does not read", "\"t\"", 0},
    {T("7", "[1]", "[0,4]"), 4, PACO_EFORMAT, "tensor 't': \"dtype\" is an integer where a string", "\"t\"",
        0},
    {"{\"t\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, PACO_EFORMAT, "tensor 't': \"dtype\" is missing",
        "\"t\"", 0},
    {"{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, PACO_EFORMAT,
        "tensor 't': \"shape\" is missing", "\"t\"", 0},
    {"{\"t\":[]}", 0, PACO_EFORMAT, "tensor 't' is an array where an object is expected", "\"t\"", 0},
    {"{\"\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, PACO_EFORMAT, "empty, overlong",
        "\"\"", 0},
    {"{\"__metadata__\":[]}", 0, PACO_EFORMAT, "__metadata__ is an array", "\"__metadata__\"", 0},
    {"{\"__metadata__\":{\"x\":1}}", 0, PACO_EFORMAT, "__metadata__ 'x' is an integer where a string",
        "\"__metadata__\"", 0},
    {" {}", 0, PACO_EFORMAT, "does not begin with '{'", " ", 0},
    {"[]\x01", 0, PACO_EFORMAT, "does not begin with '{'", "[", 0},
};

static void names_tensor_finding_expectation_and_offset(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof g_bad / sizeof *g_bad; i++) {
        const struct bad *b = &g_bad[i];
        struct file f = make(b->header, b->n_data);
        struct pc_checkpoint *ck;
        struct paco_error err;
        assert_int_equal(open_bytes(f.bytes, f.len, &ck, &err), b->code);
        assert_null(ck);
        assert_int_equal(err.code, b->code);
        assert_contains(err.message, b->message);
        assert_contains(err.path, "x.safetensors");
        assert_true(err.has_offset);
        uint64_t at = b->header_at ? 8 + (uint64_t)(strstr(b->header, b->header_at) - b->header)
                                   : 8 + strlen(b->header) + (uint64_t)b->data_at;
        assert_int_equal(err.offset, at);
    }
}

static void refuses_duplicates_and_broken_json(void **state)
{
    (void)state;
    struct pc_checkpoint *ck;
    struct paco_error err;
    struct file f = make("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
        2);
    assert_int_equal(open_bytes(f.bytes, f.len, &ck, &err), PACO_EFORMAT);
    assert_contains(err.message, "duplicate object key");
    assert_true(err.has_offset && err.offset > 56 && err.offset < 66);
    f = make("{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0);
    assert_int_equal(open_bytes(f.bytes, f.len, &ck, &err), PACO_EFORMAT);
    assert_contains(err.message, "not valid UTF-8");
    assert_int_equal(err.offset, 10);
    f = make("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0);
    assert_int_equal(open_bytes(f.bytes, f.len, &ck, &err), PACO_EFORMAT);
    char deep[200];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":{\"x\":", 10);
    deep[199] = '\0';
    f = make(deep, 0);
    assert_int_equal(open_bytes(f.bytes, f.len, &ck, &err), PACO_ELIMIT);
    assert_string_equal(err.message, "JSON nested deeper than 64 levels");
    assert_int_equal(err.offset, 8 + 10 + 62);
}

static void names_what_is_there_instead(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *message;
    } all[] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123456\n", "is a git-lfs pointer"},
        {"<!DOCTYPE html><html><body>Sign in</body></html>", "is an HTML page, not a safetensors file"},
        {"{\"error\":\"Entry not found\"}", "is JSON, not a safetensors file"},
        {"Entry not found", "is a short text"},
        {"GGUF\3", "is a GGUF file"},
        {"PK\3\4 and more bytes", "is a zip archive"},
        {"\x80\x02}q\1 and more", "is a Python pickle"},
        {"", "is empty"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct pc_checkpoint *ck;
        struct paco_error err;
        assert_int_equal(open_bytes(all[i].bytes, strlen(all[i].bytes), &ck, &err), PACO_EFORMAT);
        assert_contains(err.message, all[i].message);
        assert_true(err.has_offset && err.offset == 0);
    }
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    struct file f = make(TWO, 20);
    for (size_t len = 1; len < f.len; len++) {
        struct pc_checkpoint *ck;
        struct paco_error err;
        assert_int_equal(open_bytes(f.bytes, len, &ck, &err), PACO_EFORMAT);
        assert_contains(err.message, "truncated");
        assert_true(err.has_offset);
        assert_true(err.offset <= len);
    }
}

static void bounds_the_header(void **state)
{
    (void)state;
    struct scratch s;
    scratch_open(&s);
    struct paco_error err;
    struct pc_checkpoint *ck;
    // Sparse: a header of 16 MiB + 1 is refused by its length, before anything is read.
    unsigned char prefix[9] = {1, 0, 0, 1, 0, 0, 0, 0, 0x7b};
    const char *path = scratch_write(&s, "big.safetensors", prefix, 9);
    assert_int_equal(truncate(path, 8 + 16 * 1024 * 1024 + 1), 0);
    assert_int_equal(pc_safetensors_open(path, &ck, &err), PACO_ELIMIT);
    assert_string_equal(err.message, "the header is 16777217 bytes; at most 16777216 are read");
    // Short values in great number: refused at the first, and none of them takes memory.
    size_t n = 4 * 1024 * 1024;
    char *many = calloc(8 + n, 1);
    many[2] = 0x40;
    memset(many + 8, '0', n);
    memcpy(many + 8, "{\"a\":[", 6);
    for (size_t i = 14; i + 1 < 8 + n; i += 2)
        many[i + 1] = ',';
    memcpy(many + 8 + n - 3, "0]}", 3);
    path = scratch_write(&s, "many.safetensors", many, 8 + n);
    assert_int_equal(pc_safetensors_open(path, &ck, &err), PACO_EFORMAT);
    assert_string_equal(err.message, "tensor 'a' is an array where an object is expected");
    free(many);
    scratch_close(&s);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    struct scratch s;
    scratch_open(&s);
    struct file f = make(TWO, 20);
    const char *path = scratch_write(&s, "x.safetensors", f.bytes, f.len);
    struct pc_checkpoint *ck = NULL;
    for (int64_t n = 0; !ck; n++) {
        struct paco_error err = {0};
        pc_alloc_fail_after(n);
        int rc = pc_safetensors_open(path, &ck, &err);
        pc_alloc_fail_after(-1);
        assert_true(rc == 0 ? ck != NULL : rc == PACO_EMEM && err.code == PACO_EMEM);
        assert_true(n < 100);
    }
    pc_checkpoint_close(ck);
    scratch_close(&s);
}

static void writes_what_it_reads(void **state)
{
    (void)state;
    struct pc_out_tensor tensors[3] = {
        {.name = "z\"\xc3\xa9", .dtype = PC_BF16, .n_dims = 2, .shape = {2, 2}, .size = 8},
        {.name = "empty", .dtype = PC_F32, .n_dims = 1, .shape = {0}, .size = 0},
        {.name = "a", .dtype = PC_I64, .n_dims = 0, .size = 8},
    };
    char name[] = "model.safetensors";
    struct pc_out_file file = {.name = name, .first = 0, .n = 3};
    struct pc_layout layout = {.tensors = tensors, .n_tensors = 3, .files = &file, .n_files = 1};
    struct paco_error err;
    assert_int_equal(pc_safetensors_place(&layout, &file, &err), 0);
    assert_int_equal(file.data_start, 4096);
    assert_int_equal(file.size, 4096 + 16);
    assert_int_equal(tensors[0].offset, 4096);
    assert_int_equal(tensors[2].offset, 4096 + 8);
    struct scratch s;
    scratch_open(&s);
    const char *path = scratch_write(&s, "out.safetensors", "", 0);
    int fd = open(path, O_RDWR);
    assert_int_equal(pc_fd_write(fd, path, tensors[2].offset, "12345678", 8, &err), 0);
    assert_int_equal(pc_fd_write(fd, path, tensors[0].offset, "abcdefgh", 8, &err), 0);
    assert_int_equal(pc_safetensors_seal(&layout, &file, fd, path, &err), 0);
    close(fd);
    struct pc_checkpoint *ck;
    assert_int_equal(pc_safetensors_open(path, &ck, &err), 0);
    assert_int_equal(ck->n_tensors, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(ck->tensors[i].name, tensors[i].name);
        assert_int_equal(ck->tensors[i].dtype, tensors[i].dtype);
        assert_int_equal(ck->tensors[i].n_dims, tensors[i].n_dims);
    }
    char got[8];
    assert_int_equal(pc_tensor_read(&ck->tensors[2], 0, 1, got, &err), 0);
    assert_memory_equal(got, "12345678", 8);
    pc_checkpoint_close(ck);
    pc_arena_release(&layout.arena);
    tensors[0].dtype = PC_Q4_0;
    assert_int_equal(pc_safetensors_place(&layout, &file, &err), PACO_EUNSUPPORTED);
    assert_contains(err.message, "safetensors files cannot hold q4_0");
    pc_arena_release(&layout.arena);
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors_in_the_order_of_their_bytes),
        cmocka_unit_test(maps_what_is_aligned),
        cmocka_unit_test(takes_every_dtype_and_empty_tensors),
        cmocka_unit_test(names_tensor_finding_expectation_and_offset),
        cmocka_unit_test(refuses_duplicates_and_broken_json),
        cmocka_unit_test(names_what_is_there_instead),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(bounds_the_header),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(writes_what_it_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
