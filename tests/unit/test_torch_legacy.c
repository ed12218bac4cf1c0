// SPDX-License-Identifier: Apache-2.0
/* Checkpoints in the form PyTorch wrote before 1.6, made here by hand. */
#include "torch_build.h"

/* The header and a state dict of two tensors over storages 'a' (6 floats) and 'b' (4 halves). */
static struct pc_buf legacy_file(const char *keys, size_t n_keys, bool little)
{
    static const struct item items[] = {
        {"w", "FloatStorage", "a", 6, 0, 2, {2, 3}, {1, 2}}, {"v", "HalfStorage", "b", 4, 1, 1, {3}, {1}}};
    struct pc_buf b;
    pc_buf_init(&b, 1 << 16);
    pc_buf_add(&b,
        "\x80\2\x8a\nl\xfc\x9c"
        "F\xf9 j\xa8P\x19.",
        15);
    pc_buf_add(&b, "\x80\2M\xe9\3.", 6);
    pc_buf_puts(&b, "\x80\2}(");
    put_string(&b, "protocol_version");
    pc_buf_puts(&b, "M\xe9\3");
    put_string(&b, "little_endian");
    pc_buf_puts(&b, little ? "\x88u." : "\x89u.");
    pc_buf_puts(&b, "\x80\2");
    put_dict(&b, items, 2, true);
    pc_buf_puts(&b, ".\x80\2](");
    for (size_t i = 0; i < n_keys; i++)
        put_string(&b, (char[]){keys[i], 0});
    pc_buf_puts(&b, "e.");
    return b;
}

static void put_storage(struct pc_buf *b, uint64_t n, size_t size, int first)
{
    zb_put(b, n, 8);
    for (size_t i = 0; i < size; i++)
        pc_buf_putc(b, (char)(first + (int)i));
}

static void legacy_files_are_read(void **state)
{
    (void)state;
    // Storages come in the order of the list, not of the dict.
    struct pc_buf b = legacy_file("ba", 2, true);
    size_t at_b = b.len + 8, at_a = at_b + 8 + 8;
    put_storage(&b, 4, 8, 100);
    put_storage(&b, 6, 24, 0);
    struct pc_checkpoint *ck;
    struct paco_error err;
    if (open_bytes("old.bin", b.data, b.len, &ck, &err) < 0)
        fail_msg("%s at %llu", err.message, (unsigned long long)err.offset);
    assert_int_equal(ck->n_tensors, 2);
    const struct pc_tensor *w = &ck->tensors[0], *v = &ck->tensors[1];
    uint8_t got[24];
    assert_int_equal(pc_tensor_read(w, 0, 2, got, &err), 0);
    static const uint8_t transposed[24] = {
        0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23};
    assert_memory_equal(got, transposed, 24);
    assert_int_equal(pc_tensor_read(v, 0, 3, got, &err), 0);
    assert_memory_equal(got, "fghijk", 6);
    const char *path;
    uint64_t at;
    assert_true(ck->ops->where(v, &path, &at));
    assert_int_equal(at, at_b + 2);
    assert_false(ck->ops->where(w, &path, &at));
    // Mapped only if the storage happens to lie aligned.
    if (at_b % 2 == 0)
        assert_memory_equal(pc_tensor_map(v), "fghijk", 6);
    else
        assert_null(pc_tensor_map(v));
    assert_int_equal(b.len, at_a + 24);
    pc_checkpoint_close(ck);
    pc_buf_release(&b);
}

static void legacy_views_of_storages(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 2; wrong++) {
        struct pc_buf b;
        pc_buf_init(&b, 1 << 16);
        pc_buf_add(&b,
            "\x80\2\x8a\nl\xfc\x9c"
            "F\xf9 j\xa8P\x19.\x80\2M\xe9\3.\x80\2}.",
            15 + 6 + 4);
        pc_buf_add(&b, "\x80\2}U\1w", 6);
        size_t id_at = b.len;
        pc_buf_puts(
            &b, "ctorch._utils\n_rebuild_tensor\n((U\7storagectorch\nShortStorage\nU\1aU\3cpuK\6(U\1b");
        pc_buf_puts(&b, wrong ? "K\5K\2ttQK\1K\1\x85K\1\x85tRs." : "K\2K\3ttQK\1K\2\x85K\1\x85tRs.");
        // BININT1 of zero cannot be written through a C string; the tensor begins at element 1 of the view
        // instead.
        pc_buf_puts(&b, "\x80\2]U\1aa.");
        put_storage(&b, 6, 12, 0);
        struct pc_checkpoint *ck;
        struct paco_error err;
        int rc = open_bytes("old.bin", b.data, b.len, &ck, &err);
        if (wrong) {
            assert_int_equal(rc, PACO_EFORMAT);
            assert_contains(
                err.message, "tensor 'w': a view of 2 elements from 5 of storage 'a', which has 6");
            assert_int_equal(b.data[err.offset], 'Q');
            assert_true(err.offset > id_at);
        } else {
            uint8_t got[4];
            assert_int_equal(rc, 0);
            assert_int_equal(pc_tensor_read(&ck->tensors[0], 0, 2, got, &err), 0);
            assert_memory_equal(got, "\6\7\10\11", 4);
            pc_checkpoint_close(ck);
        }
        pc_buf_release(&b);
    }
}

static void broken_legacy_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        bool little;
        uint64_t n_a;
        size_t size_a;
        int code;
        const char *part;
    } cases[] = {
        {"ab", false, 6, 24, PACO_EUNSUPPORTED, "was written on a big-endian machine"},
        {"a", true, 6, 24, PACO_EFORMAT, "tensor 'v': storage 'b' is not in the file's list"},
        {"aba", true, 6, 24, PACO_EFORMAT, "storage 'a' is listed twice"},
        {"abc", true, 6, 24, PACO_EFORMAT, "names one that the state dict does not"},
        {"ab", true, 7, 28, PACO_EFORMAT, "storage 'a' has 7 elements here and 6 in the state dict"},
        {"ab", true, UINT64_MAX, 24, PACO_EFORMAT, "storage 'a' has -1 elements here"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pc_buf b = legacy_file(cases[i].keys, strlen(cases[i].keys), cases[i].little);
        size_t data_at = b.len;
        uint64_t offset;
        put_storage(&b, cases[i].n_a, cases[i].size_a, 0);
        put_storage(&b, 4, 8, 100);
        refuse_bytes(b.data, b.len, cases[i].code, cases[i].part, &offset);
        if (cases[i].n_a != 6)
            assert_int_equal(offset, data_at);
        pc_buf_release(&b);
    }
    struct pc_buf b = legacy_file("ab", 2, true);
    uint64_t offset;
    b.data[15 + 3] = 0;
    refuse_bytes(b.data, b.len, PACO_EUNSUPPORTED, "is not of version 1001", &offset);
    assert_int_equal(offset, 17);
    pc_buf_release(&b);
}

static void legacy_truncation_anywhere_is_an_error(void **state)
{
    (void)state;
    struct pc_buf b = legacy_file("ab", 2, true);
    put_storage(&b, 6, 24, 0);
    put_storage(&b, 4, 8, 100);
    struct pc_checkpoint *ck;
    struct paco_error err;
    assert_int_equal(open_bytes("old.bin", b.data, b.len, &ck, &err), 0);
    pc_checkpoint_close(ck);
    for (size_t n = 0; n < b.len; n++) {
        uint64_t offset;
        refuse_bytes(b.data, n, PACO_EFORMAT, "", &offset);
    }
    pc_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legacy_files_are_read),
        cmocka_unit_test(legacy_views_of_storages),
        cmocka_unit_test(broken_legacy_files_are_refused),
        cmocka_unit_test(legacy_truncation_anywhere_is_an_error),
    };
    scratch_open(&g_dir);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_close(&g_dir);
    return failed;
}
