// SPDX-License-Identifier: Apache-2.0
/* What is written comes back through the reader (test_gguf.c), which was made from the specification. */
#include "unit.h"

#include "base/file.h"
#include "format/gguf_write.h"
#include "scratch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void fill_head(struct pc_gguf_head *h)
{
    static const char text[] = "two\0parts";
    pc_gguf_head_init(h);
    pc_gguf_put_str(h, "general.architecture", "llama", 5);
    pc_gguf_put_u32(h, "a.number", 4000000000u);
    pc_gguf_put_f32(h, "a.real", 0.1f);
    pc_gguf_put_bool(h, "a.truth", true);
    pc_gguf_put_array(h, "some.texts", PC_GGUF_STRING, 3);
    pc_gguf_add_str(h, "", 0);
    pc_gguf_add_str(h, text, sizeof text - 1);
    pc_gguf_add_str(h, "x", 1);
    pc_gguf_put_array(h, "some.reals", PC_GGUF_F32, 2);
    pc_gguf_add_f32(h, -1.5f);
    pc_gguf_add_f32(h, 3);
    pc_gguf_put_array(h, "some.numbers", PC_GGUF_I32, 1);
    pc_gguf_add_i32(h, -7);
    pc_gguf_put_array(h, "nothing", PC_GGUF_STRING, 0);
}

static const struct pc_out_tensor g_tensors[] = {
    {.name = "a.weight", .dtype = PC_F32, .n_dims = 1, .shape = {3}},
    {.name = "b.weight", .dtype = PC_Q8_0, .n_dims = 2, .shape = {5, 64}},
    {.name = "c.weight", .dtype = PC_BF16, .n_dims = 3, .shape = {2, 3, 4}},
};
enum { N_TENSORS = sizeof g_tensors / sizeof *g_tensors };

/* The file, its tensors' bytes counted up from the tensor's number. */
static void write_file(const struct pc_gguf_head *h, const char *path)
{
    struct pc_layout *l;
    assert_int_equal(pc_layout_new_gguf(h, "f.gguf", g_tensors, N_TENSORS, &l, NULL), 0);
    assert_int_equal(l->n_files, 1);
    assert_string_equal(l->files[0].name, "f.gguf");
    assert_null(pc_layout_index_name(l));
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)l->files[0].size), 0);
    for (uint32_t i = 0; i < N_TENSORS; i++) {
        assert_int_equal(l->tensors[i].offset % PC_GGUF_ALIGNMENT, 0);
        for (uint64_t k = 0; k < l->tensors[i].size; k++)
            assert_int_equal(
                pc_fd_write(fd, path, l->tensors[i].offset + k, &(uint8_t){(uint8_t)(i + k)}, 1, NULL), 0);
    }
    assert_int_equal(pc_layout_seal(l, 0, fd, path, NULL), 0);
    assert_int_equal(lseek(fd, 0, SEEK_END), (off_t)l->files[0].size);
    assert_int_equal(l->files[0].size % PC_GGUF_ALIGNMENT, 0);
    close(fd);
    pc_layout_free(l);
}

static void check_metadata(const struct pc_checkpoint *ck)
{
    const char *text;
    size_t len;
    int64_t number = 0;
    double real = 0;
    bool truth = false;
    struct pc_gguf_array a;
    assert_int_equal(pc_gguf_get_str(ck, "general.architecture", &text, &len, NULL), 0);
    assert_int_equal(len, 5);
    assert_int_equal(pc_gguf_get_i64(ck, "a.number", 0, INT64_MAX, &number, NULL), 0);
    assert_int_equal(number, 4000000000);
    assert_int_equal(pc_gguf_get_f64(ck, "a.real", &real, NULL), 0);
    assert_true((float)real == 0.1f);
    assert_int_equal(pc_gguf_opt_bool(ck, "a.truth", &truth, NULL), 0);
    assert_true(truth);
    assert_int_equal(pc_gguf_get_array(ck, "some.texts", PC_GGUF_STRING, &a, NULL), 0);
    assert_int_equal(a.n, 3);
    assert_memory_equal(pc_gguf_array_str(&a, 1, &len), "two\0parts", 9);
    assert_int_equal(len, 9);
    assert_int_equal(pc_gguf_get_array(ck, "some.reals", PC_GGUF_F64, &a, NULL), 0);
    assert_true(a.n == 2 && pc_gguf_array_f64(&a, 0) == -1.5);
    assert_int_equal(pc_gguf_get_array(ck, "some.numbers", PC_GGUF_I64, &a, NULL), 0);
    assert_true(a.n == 1 && pc_gguf_array_i64(&a, 0) == -7);
    assert_int_equal(pc_gguf_get_array(ck, "nothing", PC_GGUF_STRING, &a, NULL), 0);
    assert_int_equal(a.n, 0);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_gguf_head h;
    struct pc_checkpoint *ck;
    char path[600];
    scratch_open(&s);
    snprintf(path, sizeof path, "%s/f.gguf", s.dir);
    fill_head(&h);
    assert_int_equal(pc_gguf_head_check(&h, NULL), 0);
    write_file(&h, path);
    assert_int_equal(pc_gguf_open(path, &ck, NULL), 0);
    check_metadata(ck);
    assert_int_equal(ck->n_tensors, N_TENSORS);
    for (uint32_t i = 0; i < N_TENSORS; i++) {
        const struct pc_tensor *t = &ck->tensors[i];
        uint8_t bytes[400];
        assert_string_equal(t->name, g_tensors[i].name);
        assert_int_equal(t->dtype, g_tensors[i].dtype);
        assert_int_equal(t->n_dims, g_tensors[i].n_dims);
        assert_memory_equal(t->shape, g_tensors[i].shape, (size_t)t->n_dims * sizeof *t->shape);
        assert_int_equal(pc_tensor_read(t, 0, t->n_rows, bytes, NULL), 0);
        for (uint64_t k = 0; k < t->size; k++)
            assert_int_equal(bytes[k], (uint8_t)(i + k));
    }
    pc_gguf_head_release(&h);
    pc_checkpoint_close(ck);
    scratch_close(&s);
}

static void entries_are_copied_as_they_stand(void **state)
{
    (void)state;
    struct scratch s;
    struct pc_gguf_head h, copy, more;
    struct pc_checkpoint *ck;
    char path[600];
    size_t n;
    scratch_open(&s);
    snprintf(path, sizeof path, "%s/f.gguf", s.dir);
    fill_head(&h);
    write_file(&h, path);
    assert_int_equal(pc_gguf_open(path, &ck, NULL), 0);
    pc_gguf_head_init(&copy);
    pc_gguf_head_init(&more);
    const struct pc_gguf_entry *entries = pc_gguf_entries(ck, &n);
    for (size_t i = 0; i < n; i++)
        pc_gguf_put_entry(i < 3 ? &copy : &more, &entries[i]);
    pc_gguf_put_head(&copy, &more);
    assert_int_equal(copy.n, h.n);
    assert_int_equal(copy.bytes.len, h.bytes.len);
    assert_memory_equal(copy.bytes.data, h.bytes.data, h.bytes.len);
    pc_gguf_head_release(&h);
    pc_gguf_head_release(&copy);
    pc_gguf_head_release(&more);
    pc_checkpoint_close(ck);
    scratch_close(&s);
}

static void what_gguf_has_not_is_refused(void **state)
{
    (void)state;
    struct pc_gguf_head h;
    struct pc_layout *l = NULL;
    struct paco_error err = {0};
    pc_gguf_head_init(&h);
    struct pc_out_tensor t = {.name = "x", .dtype = PC_F8_E4M3, .n_dims = 1, .shape = {3}};
    assert_int_equal(pc_layout_new_gguf(&h, "f", &t, 1, &l, &err), PACO_EUNSUPPORTED);
    assert_string_equal(err.message, "tensor 'x': GGUF files cannot hold f8_e4m3");
    t = (struct pc_out_tensor){.name = "x", .dtype = PC_F32, .n_dims = 5, .shape = {1, 1, 1, 1, 1}};
    assert_int_equal(pc_layout_new_gguf(&h, "f", &t, 1, &l, &err), PACO_EUNSUPPORTED);
    assert_string_equal(err.message, "tensor 'x' has 5 dimensions; GGUF files hold 1 to 4");
    t = (struct pc_out_tensor){.name = "x", .dtype = PC_Q4_K, .n_dims = 2, .shape = {2, 100}};
    assert_int_equal(pc_layout_new_gguf(&h, "f", &t, 1, &l, &err), PACO_ELIMIT);
    assert_null(l);
    pc_gguf_head_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(entries_are_copied_as_they_stand),
        cmocka_unit_test(what_gguf_has_not_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
