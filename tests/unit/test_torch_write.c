// SPDX-License-Identifier: Apache-2.0
/* torch_write.c's output read back; and, in tests/fixtures/torch, files that PyTorch 1.13 and 2.9 wrote. */
#include "unit.h"

#include "base/crc32.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/memory.h"
#include "format/layout.h"
#include "format/torch.h"
#include "scratch.h"

#include <fcntl.h>
#include <stdio.h>

static struct scratch g_dir;

/* ---- the writer ---- */

static uint8_t pattern(uint32_t i_tensor, uint64_t i_byte)
{
    return (uint8_t)(i_tensor * 31 + i_byte * 7 + (i_byte >> 8));
}

/* Write file i_file of the plan to the scratch directory; returns its path. */
static const char *write_file(const struct pc_layout *l, uint32_t i_file, const char *name)
{
    struct paco_error err = {0};
    const struct pc_out_file *file = &l->files[i_file];
    const char *path = scratch_path(&g_dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    // Last tensor first: any order will do.
    for (uint32_t i = file->first + file->n; i-- > file->first;) {
        struct pc_out_tensor *t = &l->tensors[i];
        uint8_t *bytes = malloc(t->size + 1);
        assert_non_null(bytes);
        for (uint64_t k = 0; k < t->size; k++)
            bytes[k] = pattern(i, k);
        t->crc32 = pc_crc32(0, bytes, t->size);
        assert_int_equal(pc_fd_write(fd, path, t->offset, bytes, t->size, &err), 0);
        free(bytes);
    }
    assert_int_equal(pc_layout_seal(l, i_file, fd, path, &err), 0);
    assert_int_equal(lseek(fd, 0, SEEK_END), file->size);
    close(fd);
    return path;
}

static void expect_file(const struct pc_layout *l, uint32_t i_file, const char *path)
{
    const struct pc_out_file *file = &l->files[i_file];
    struct pc_checkpoint *ck;
    struct paco_error err = {0};
    if (pc_torch_open(path, &ck, &err) < 0)
        fail_msg("%s at %llu", err.message, (unsigned long long)err.offset);
    assert_int_equal(ck->n_tensors, file->n);
    for (uint32_t i = 0; i < file->n; i++) {
        const struct pc_out_tensor *want = &l->tensors[file->first + i];
        const struct pc_tensor *t = &ck->tensors[i];
        const char *where;
        uint64_t at;
        assert_string_equal(t->name, want->name);
        assert_int_equal(t->dtype, want->dtype);
        assert_int_equal(t->n_dims, want->n_dims);
        assert_memory_equal(t->shape, want->shape, (size_t)t->n_dims * sizeof *t->shape);
        if (t->size) {
            assert_true(ck->ops->where(t, &where, &at));
            assert_int_equal(at, want->offset);
            assert_int_equal(at % 64, 0);
        }
        uint8_t *bytes = malloc(t->size + 1);
        assert_non_null(bytes);
        assert_int_equal(pc_tensor_read(t, 0, t->n_rows, bytes, &err), 0);
        for (uint64_t k = 0; k < t->size; k++)
            assert_int_equal(bytes[k], pattern(file->first + i, k));
        free(bytes);
    }
    pc_checkpoint_close(ck);
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    static const enum pc_dtype dtypes[] = {PC_F32, PC_F16, PC_BF16, PC_F64, PC_F8_E4M3, PC_F8_E5M2, PC_I64,
        PC_I32, PC_I16, PC_I8, PC_U64, PC_U32, PC_U16, PC_U8, PC_BOOL};
    enum { N = 40 };
    struct pc_out_tensor tensors[N] = {0};
    char names[N][32];
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "layers.%d.\xc3\xa9", i);
        tensors[i].name = names[i];
        tensors[i].dtype = dtypes[i % 15];
        tensors[i].n_dims = i % 5;
        for (int d = 0; d < tensors[i].n_dims; d++)
            tensors[i].shape[d] = (uint64_t)(i * 3 + d) % 7 * (i == 17 ? 50 : 1);
    }
    tensors[3].shape[0] = 70000; // needs BININT
    for (uint64_t max_shard = 0; max_shard < 2; max_shard++) {
        struct pc_layout *l;
        struct paco_error err = {0};
        // In one file, then in one file for each tensor.
        assert_int_equal(pc_layout_new(PC_TORCH_BIN, tensors, N, max_shard, &l, &err), 0);
        assert_true(l->wants_crc);
        if (max_shard)
            assert_in_range(l->n_files, N / 2, N);
        else
            assert_int_equal(l->n_files, 1);
        for (uint32_t i = 0; i < l->n_files; i++)
            expect_file(l, i, write_file(l, i, "out.bin"));
        pc_layout_free(l);
    }
}

static void the_bytes_written_depend_on_the_tensors_alone(void **state)
{
    (void)state;
    const struct pc_out_tensor t = {.name = "w", .dtype = PC_F16, .n_dims = 2, .shape = {3, 5}};
    char hex[2][PC_SHA256_HEX];
    for (int i = 0; i < 2; i++) {
        struct pc_layout *l;
        struct paco_error err = {0};
        struct pc_buf bytes;
        uint8_t digest[PC_SHA256_SIZE];
        assert_int_equal(pc_layout_new(PC_TORCH_BIN, &t, 1, 0, &l, &err), 0);
        assert_int_equal(
            pc_file_slurp(write_file(l, 0, i ? "second.bin" : "first.bin"), 1 << 20, &bytes, &err), 0);
        struct pc_sha256 *h = pc_sha256_new(&err);
        pc_sha256_update(h, bytes.data, bytes.len);
        pc_sha256_final(h, digest);
        pc_sha256_hex(digest, hex[i]);
        pc_sha256_free(h);
        pc_buf_release(&bytes);
        pc_layout_free(l);
    }
    assert_string_equal(hex[0], hex[1]);
}

static void what_torch_has_no_type_for_is_not_written(void **state)
{
    (void)state;
    const struct pc_out_tensor t = {.name = "w", .dtype = PC_Q4_0, .n_dims = 1, .shape = {32}};
    struct pc_layout *l;
    struct paco_error err = {0};
    assert_int_equal(pc_layout_new(PC_TORCH_BIN, &t, 1, 0, &l, &err), PACO_EUNSUPPORTED);
    assert_string_equal(err.message, "tensor 'w': PyTorch files cannot hold q4_0");
}

/* 4 GiB and more need ZIP64: a sparse file, whose tensor of zeros has a CRC that needs no reading. */
static void large_files_are_zip64(void **state)
{
    (void)state;
    const struct pc_out_tensor tensors[] = {
        {.name = "big", .dtype = PC_F16, .n_dims = 2, .shape = {1u << 16, 40000}},
        {.name = "after", .dtype = PC_U8, .n_dims = 1, .shape = {10}}};
    struct pc_layout *l;
    struct paco_error err = {0};
    assert_int_equal(pc_layout_new(PC_TORCH_BIN, tensors, 2, UINT64_MAX, &l, &err), 0);
    assert_true(l->tensors[1].offset > UINT32_MAX);
    uint32_t crc = 0;
    uint8_t zeros[4096] = {0}, got[10];
    crc = pc_crc32(0, zeros, sizeof zeros);
    for (uint64_t n = sizeof zeros; n < l->tensors[0].size;) {
        uint64_t add = n < l->tensors[0].size - n ? n : l->tensors[0].size - n;
        uint32_t rest = pc_crc32(0, zeros, (size_t)(add % sizeof zeros));
        for (uint64_t k = add / sizeof zeros; k; k--)
            rest = pc_crc32_combine(rest, pc_crc32(0, zeros, sizeof zeros), sizeof zeros);
        crc = pc_crc32_combine(crc, rest, add);
        n += add;
    }
    l->tensors[0].crc32 = crc;
    l->tensors[1].crc32 = pc_crc32(0, "0123456789", 10);
    const char *path = scratch_path(&g_dir, "big.bin");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(pc_fd_write(fd, path, l->tensors[1].offset, "0123456789", 10, &err), 0);
    assert_int_equal(pc_layout_seal(l, 0, fd, path, &err), 0);
    close(fd);
    struct pc_checkpoint *ck;
    if (pc_torch_open(path, &ck, &err) < 0)
        fail_msg("%s at %llu", err.message, (unsigned long long)err.offset);
    assert_int_equal(ck->tensors[0].size, (uint64_t)40000 << 17);
    assert_int_equal(pc_tensor_read(&ck->tensors[1], 0, 10, got, &err), 0);
    assert_memory_equal(got, "0123456789", 10);
    pc_checkpoint_close(ck);
    pc_layout_free(l);
    unlink(path);
}

/* ---- genuine files ---- */

/* tests/fixtures/torch/expected.tsv: file, tensor, dtype, shape, SHA-256 of the row-major bytes. */
static void files_that_torch_wrote(void **state)
{
    (void)state;
    struct pc_buf list;
    struct paco_error err = {0};
    struct pc_checkpoint *ck = NULL;
    char open_file[64] = "";
    size_t i_tensor = 0, n_lines = 0;
    assert_int_equal(pc_file_slurp("tests/fixtures/torch/expected.tsv", 1 << 20, &list, &err), 0);
    for (char *line = strtok(list.data, "\n"); line; line = strtok(NULL, "\n"), n_lines++) {
        char file[64], name[64], dtype[16], shape[64], want[80], path[160], text[160], hex[PC_SHA256_HEX];
        assert_int_equal(sscanf(line, "%63s %63s %15s %63s %79s", file, name, dtype, shape, want), 5);
        if (strcmp(file, open_file) != 0) {
            if (ck)
                assert_int_equal(i_tensor, ck->n_tensors);
            pc_checkpoint_close(ck);
            snprintf(path, sizeof path, "tests/fixtures/torch/%s", file);
            if (pc_torch_open(path, &ck, &err) < 0)
                fail_msg("%s: %s", file, err.message);
            strcpy(open_file, file);
            i_tensor = 0;
        }
        assert_true(i_tensor < ck->n_tensors);
        const struct pc_tensor *t = &ck->tensors[i_tensor++];
        assert_string_equal(t->name, name);
        assert_string_equal(pc_dtype_name(t->dtype), dtype);
        assert_string_equal(pc_tensor_shape(t, text, sizeof text), shape);
        uint8_t *bytes = malloc(t->size + 1), digest[PC_SHA256_SIZE];
        assert_non_null(bytes);
        assert_int_equal(pc_tensor_read(t, 0, t->n_rows, bytes, &err), 0);
        struct pc_sha256 *h = pc_sha256_new(&err);
        pc_sha256_update(h, bytes, t->size);
        pc_sha256_final(h, digest);
        pc_sha256_free(h);
        free(bytes);
        if (strcmp(pc_sha256_hex(digest, hex), want) != 0)
            fail_msg("%s: tensor '%s' differs", file, name);
    }
    if (ck)
        assert_int_equal(i_tensor, ck->n_tensors);
    pc_checkpoint_close(ck);
    pc_buf_release(&list);
    assert_in_range(n_lines, 40, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(the_bytes_written_depend_on_the_tensors_alone),
        cmocka_unit_test(what_torch_has_no_type_for_is_not_written),
        cmocka_unit_test(large_files_are_zip64),
        cmocka_unit_test(files_that_torch_wrote),
    };
    scratch_open(&g_dir);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_close(&g_dir);
    return failed;
}
